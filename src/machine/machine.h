// SPDX-License-Identifier: Apache-2.0
// The machine: builds the computer that a configuration describes, and serves programs until it is told to end.
//
//   <folder>/machine.sock   programs (ipc/channel.h)
//   <folder>/control.sock   the causeway command (machine/control.h)
//   <folder>/tree/          sys/ and dev/ (kernel/tree.h)
//
// Threads: main loop (the caller of RunMachine), release (kernel/file_table.h), reaper and one server thread per
// program thread (kernel/server.h), control, NIC.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "config/config.h"

namespace causeway::machine {

// Runs a machine in `folder` (made, with mode 0700, if it is missing) until SIGTERM, SIGINT, SIGHUP or the op "down".
// `ready_fd` gets one byte when programs may connect, and is closed in any case; -1: nobody waits. Returns an exit
// status; what went wrong is in the log. Programs that are still there get ENODEV. Removes what it made in the folder,
// and the folder if nothing else is in it.
int RunMachine(const config::MachineConfig& config, const std::string& folder, int ready_fd);

// The same in parts, for tests and for programs that hold a machine themselves.
class Machine {
 public:
  // Programs can connect from now on, and are served by Run(). Everything but Stop() is the calling thread's, which
  // must outlive the machine: its death is the machine's, to programs.
  static Result<std::unique_ptr<Machine>> Create(const config::MachineConfig& config, const std::string& folder);
  ~Machine();
  // Until Stop(), "down", or a descriptor in `also` (-1: none) is readable.
  void Run(int also = -1);
  void Stop();  // any thread

 private:
  struct Parts;
  explicit Machine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace causeway::machine
