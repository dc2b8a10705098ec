// SPDX-License-Identifier: Apache-2.0
// Asking a machine: one JSON line to <folder>/control.sock, one JSON document back (machine/control.h says which).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace causeway::cli {

// Throws Failure when the machine does not answer, or answers {"error": ...}.
nlohmann::ordered_json Ask(const std::string& folder, const nlohmann::ordered_json& request);
// {"op": op}
nlohmann::ordered_json AskOp(const std::string& folder, const char* op);

}  // namespace causeway::cli
