// SPDX-License-Identifier: Apache-2.0
// What stands between a shell and the program that `run` started: exit status, signals, job control. The program stays
// in this process's group, so what a terminal sends (^C, ^\, ^Z, a new window size) reaches it without help; what
// another process sends to the command alone is passed on.
#pragma once

#include <signal.h>
#include <sys/types.h>

namespace causeway::cli {

// Blocks, for as long as it lives, the signals that Supervise() handles. Made before anything is started, so that none
// is lost and none ends the command before it has cleaned up.
class SignalsHeld {
 public:
  SignalsHeld();
  ~SignalsHeld();
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;
  const sigset_t& held() const { return held_; }
  const sigset_t& before() const { return before_; }  // what a child gets back

 private:
  sigset_t held_;
  sigset_t before_;
};

struct Outcome {
  int status = 0;              // as the shell says it: exit status, or 128 + signal
  bool machine_ended = false;  // the machine, when there is one, ended first and has been waited for
  int machine_status = 0;      // then: as waitpid() gives it
};

// Waits for `program`, a child; `machine` is another child, or -1.
Outcome Supervise(const SignalsHeld& signals, pid_t program, pid_t machine);

// "signal 11 (Segmentation fault)" or "status 1".
const char* SignalName(int signal);

}  // namespace causeway::cli
