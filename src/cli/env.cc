// SPDX-License-Identifier: Apache-2.0
// causeway env: what a shell has to export so that everything it starts runs on a machine.
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/quote.h"
#include "cli/served_program.h"
#include "cli/verbs.h"

namespace causeway::cli {

int Env(const EnvOptions& options) {
  const LiveMachine machine = RequireMachine(options.name);
  for (const auto& [name, value] : ServedEnvironment(machine.path, {})) {
    const std::string quoted = ShellQuote(value);
    switch (options.shell) {
      case Shell::kPosix: fmt::print("export {}={}\n", name, quoted); break;
      case Shell::kCsh: fmt::print("setenv {} {};\n", name, quoted); break;
      case Shell::kFish: fmt::print("set -gx {} {};\n", name, FishQuote(value)); break;
    }
  }
  return 0;
}

}  // namespace causeway::cli
