// SPDX-License-Identifier: Apache-2.0
// causeway run: a program on a machine.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "cli/failure.h"
#include "cli/launcher.h"
#include "cli/program.h"
#include "cli/served_program.h"
#include "cli/supervise.h"
#include "cli/verbs.h"

namespace causeway::cli {

int Run(const RunOptions& options) {
  if (options.program.empty()) {
    Fail(kExitUsage, "no program is named; for example: causeway run -- ibv_devinfo");
  }
  if (options.name && !options.config.empty()) {
    Fail(kExitUsage, "--name is a machine that is up, --config makes a new one: give only one of them");
  }
  // What cannot work is refused before anything is started.
  const Program program = FindProgram(options.program[0], std::getenv("PATH"));

  const SignalsHeld signals;
  std::optional<LiveMachine> machine;
  if (options.config.empty()) machine = FindMachine(options.name);
  std::optional<PrivateMachine> own;
  if (!machine) own.emplace(PrivateMachine::Start(ReadConfig(options.config), options.verbose));
  const std::string path = machine ? machine->path : own->path();

  const auto environment = ServedEnvironment(path, program.run_times);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) Fail(kExitFailure, "cannot start a process: {}", std::strerror(errno));
  if (child == 0) {
    ::sigprocmask(SIG_SETMASK, &signals.before(), nullptr);
    BecomeProgram(program, options.program, environment);
    const int error = errno;
    fmt::print(stderr, "causeway run: {}: {}\n", program.path, std::strerror(error));
    ::_exit(error == ENOENT ? kExitNotFound : kExitNotExecutable);
  }
  const Outcome outcome = Supervise(signals, child, own ? own->pid() : -1);
  if (own && outcome.machine_ended) {
    own->Ended();
    const int status = outcome.machine_status;
    const std::string how =
        WIFSIGNALED(status) ? fmt::format("killed by signal {} ({})", WTERMSIG(status), SignalName(WTERMSIG(status)))
                            : fmt::format("exit status {}", WEXITSTATUS(status));
    fmt::print(stderr, "causeway run: the machine ended before the program did ({}); the end of its log:\n{}", how,
               LogTail(own->path()));
  }
  return outcome.status;
}

}  // namespace causeway::cli
