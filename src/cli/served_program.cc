// SPDX-License-Identifier: Apache-2.0
#include "cli/served_program.h"

#include <unistd.h>

#include <cstdlib>

#include "cli/installation.h"
#include "ipc/channel.h"

namespace causeway::cli {

std::vector<std::pair<std::string, std::string>> ServedEnvironment(const std::string& machine_path,
                                                                   const std::vector<std::string>& run_times) {
  const char* inherited = std::getenv("LD_PRELOAD");
  std::vector<std::pair<std::string, std::string>> variables = {
      {ipc::kMachineEnv, machine_path},
      {"LD_PRELOAD", PreloadFor(run_times, LibraryPath(), inherited != nullptr ? inherited : "")},
  };
  // A program started by this program may be linked against libasan and find libcauseway.so before it in LD_PRELOAD;
  // the two get on in either order, so AddressSanitizer is told not to insist. The user's own options come last and
  // win.
  const char* options = std::getenv("ASAN_OPTIONS");
  constexpr const char* kAnyOrder = "verify_asan_link_order=0";
  if (options == nullptr || options[0] == '\0') {
    variables.emplace_back("ASAN_OPTIONS", kAnyOrder);
  } else if (std::string(options).find("verify_asan_link_order") == std::string::npos) {
    variables.emplace_back("ASAN_OPTIONS", std::string(kAnyOrder) + ":" + options);
  }
  return variables;
}

void BecomeProgram(const Program& program, const std::vector<std::string>& arguments,
                   const std::vector<std::pair<std::string, std::string>>& environment) {
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  // As execvp() does for a file that is no program: sh FILE ARGS.
  if (program.is_plain_text) {
    argv.push_back(const_cast<char*>("sh"));
    argv.push_back(const_cast<char*>(program.path.c_str()));
  }
  for (size_t i = program.is_plain_text ? 1 : 0; i < arguments.size(); ++i) {
    argv.push_back(const_cast<char*>(arguments[i].c_str()));
  }
  argv.push_back(nullptr);
  ::execv(program.is_plain_text ? program.loaded.c_str() : program.path.c_str(), argv.data());
}

}  // namespace causeway::cli
