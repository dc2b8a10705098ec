// SPDX-License-Identifier: Apache-2.0
// The ops "faults" and "inject" of the control socket.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "drivers/habanalabs/driver.h"
#include "machine/control.h"

namespace causeway::machine {

// The driver outlives the handlers.
void AddFaultHandlers(std::map<std::string, ControlServer::Handler>& handlers, habanalabs::Driver& driver);

}  // namespace causeway::machine
