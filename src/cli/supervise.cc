// SPDX-License-Identifier: Apache-2.0
#include "cli/supervise.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/failure.h"

namespace causeway::cli {
namespace {

constexpr std::array kHeld = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1, SIGUSR2,
                              SIGALRM, SIGTSTP, SIGWINCH, SIGCONT, SIGCHLD};

// What every child did since the last look. True when the program has ended.
bool CollectChildren(pid_t program, pid_t machine, Outcome& outcome) {
  for (bool program_ended = false;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return program_ended;
    if (pid == machine && !WIFSTOPPED(status)) {
      outcome.machine_ended = true;
      outcome.machine_status = status;
    }
    if (pid != program) continue;
    if (WIFSTOPPED(status)) {
      // The shell watches this process, so it must be seen to stop too. SIGCONT, ours or the group's, wakes both.
      ::kill(::getpid(), SIGSTOP);
      ::kill(program, SIGCONT);
      continue;
    }
    outcome.status = WIFSIGNALED(status) ? kExitSignal + WTERMSIG(status) : WEXITSTATUS(status);
    program_ended = true;  // go on: the machine may have ended too
  }
}

}  // namespace

SignalsHeld::SignalsHeld() {
  sigemptyset(&held_);
  for (const int signal : kHeld) sigaddset(&held_, signal);
  ::sigprocmask(SIG_BLOCK, &held_, &before_);
}

SignalsHeld::~SignalsHeld() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

Outcome Supervise(const SignalsHeld& signals, pid_t program, pid_t machine) {
  Outcome outcome;
  for (;;) {
    siginfo_t info = {};
    const int signal = ::sigwaitinfo(&signals.held(), &info);
    if (signal < 0) continue;  // EINTR
    if (signal == SIGCHLD) {
      if (CollectChildren(program, machine, outcome)) return outcome;
      continue;
    }
    // From the kernel (a terminal, si_code > 0) the whole group has it already. The program's own are not sent back to
    // it.
    const bool from_process = info.si_code <= 0 && info.si_pid != program;
    if (from_process) ::kill(program, signal);
  }
}

const char* SignalName(int signal) { return ::strsignal(signal); }

}  // namespace causeway::cli
