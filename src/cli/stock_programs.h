// SPDX-License-Identifier: Apache-2.0
// The demo's second half: programs from the distribution, as they are.
#pragma once

#include <string>

#include "cli/demo_report.h"
#include "cli/supervise.h"

namespace causeway::cli {

StockRun RunDevinfo(const SignalsHeld& signals, const std::string& machine_path);
// Server on one NIC, client on the other, in two processes.
StockRun RunWriteBandwidth(const SignalsHeld& signals, const std::string& machine_path, const std::string& server_nic,
                           const std::string& client_nic);

}  // namespace causeway::cli
