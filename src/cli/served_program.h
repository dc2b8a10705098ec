// SPDX-License-Identifier: Apache-2.0
// Starting a program on a machine: the environment that makes its dynamic loader load libcauseway.so.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/program.h"

namespace causeway::cli {

// Variables to set. Throws Failure when the library cannot be found.
std::vector<std::pair<std::string, std::string>> ServedEnvironment(const std::string& machine_path,
                                                                   const std::vector<std::string>& run_times);

// In a child: sets the environment and becomes the program. Returns only when execv() failed; errno says why.
void BecomeProgram(const Program& program, const std::vector<std::string>& arguments,
                   const std::vector<std::pair<std::string, std::string>>& environment);

}  // namespace causeway::cli
