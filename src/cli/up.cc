// SPDX-License-Identifier: Apache-2.0
// causeway up: starts a machine that stays.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "cli/failure.h"
#include "cli/launcher.h"
#include "cli/supervise.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

std::string Describe(const config::MachineConfig& config) {
  const auto count = [](size_t n, const char* one, const char* many) {
    return fmt::format("{} {}", n, n == 1 ? one : many);
  };
  return fmt::format("{}, {}", count(config.accelerators.size(), "accelerator", "accelerators"),
                     count(config.nics.size(), "NIC", "NICs"));
}

// Waits for ^C, or for the machine to end by itself.
int StayInForeground(const SignalsHeld& signals, pid_t machine, const MachineFolder& folder) {
  for (;;) {
    const int signal = ::sigwaitinfo(&signals.held(), nullptr);
    if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT) {
      StopChild(machine, folder);
      return 0;
    }
    if (signal != SIGCHLD) continue;
    int status = 0;
    if (::waitpid(machine, &status, WNOHANG) != machine) continue;
    folder.Remove();
    if (WIFSIGNALED(status)) {
      Fail(kExitFailure, "the machine was killed by signal {} ({})", WTERMSIG(status), SignalName(WTERMSIG(status)));
    }
    return WEXITSTATUS(status);
  }
}

}  // namespace

int Up(const UpOptions& options) {
  const SignalsHeld signals;
  Configuration configuration = ReadConfig(options.config);
  config::MachineConfig& config = configuration.config;
  if (options.name) config.name = *options.name;
  if (IsPrivateName(config.name)) {
    Fail(kExitUsage, "'{}': names that begin with {} are for the machines that `causeway run` makes", config.name,
         kPrivatePrefix);
  }
  const MachineFolder folder = MachineFolder::Create(config.name);
  const pid_t machine = Launch(configuration, folder,
                               {.life = options.foreground ? Life::kWithParent : Life::kUntilDown,
                                .verbose = options.verbose,
                                .log_to_stderr = options.foreground});
  const std::string named = config.name == kDefaultMachine ? "" : " --name " + config.name;
  fmt::print("machine '{}' is up: {}\n  use it:       causeway run{} -- PROG ARGS\n  take it down: {}\n", config.name,
             Describe(config), named, options.foreground ? "^C" : "causeway down" + named);
  std::fflush(stdout);
  return options.foreground ? StayInForeground(signals, machine, folder) : 0;
}

}  // namespace causeway::cli
