// SPDX-License-Identifier: Apache-2.0
// Starts machines, as children of this command (no exec: a private machine must cost milliseconds).
//
//   command                                   machine
//     folder made, locked                       (inherits the lock)
//     fork ------------------------------->     own session, log as stderr, every other descriptor closed
//     waits for the ready pipe                  RunMachine(): a byte when programs may connect; end of file: it failed
//
// A machine that lives with its parent gets SIGTERM when the parent dies, however it dies.
#pragma once

#include <sys/types.h>

#include <string>

#include "cli/machine_folder.h"
#include "config/config.h"

namespace causeway::cli {

enum class Life {
  kUntilDown,   // `up`: goes on when the command ends
  kWithParent,  // `run`, `demo`, `up --foreground`
};

struct LaunchOptions {
  Life life = Life::kWithParent;
  bool verbose = false;        // log debug messages too
  bool log_to_stderr = false;  // `up --foreground`: not to <folder>/log
};

// A machine's configuration, and the text it was read from.
struct Configuration {
  config::MachineConfig config;
  std::string text;
};
// The built-in machine, or that of a file. Throws Failure with every error of the file.
Configuration ReadConfig(const std::string& path_or_empty);

// Writes config.toml and pid into the folder. Returns the machine's process id once it serves. Throws Failure, with the
// end of its log, and removes the folder, when it does not come up.
pid_t Launch(const Configuration& configuration, const MachineFolder& folder, const LaunchOptions& options);

// The last lines of the log in this folder, indented; "" when there are none.
std::string LogTail(const std::string& folder);

// Ends a machine that is this process's child and removes its folder: SIGTERM, then SIGKILL when it does not go.
void StopChild(pid_t machine, const MachineFolder& folder);
// The same without ado. A machine keeps nothing that outlives it but the folder, so this is all that `run` need wait
// for.
void DropChild(pid_t machine, const MachineFolder& folder);

// A machine that lives as long as this object.
class PrivateMachine {
 public:
  // Under the name run-<this process>.
  static PrivateMachine Start(const Configuration& configuration, bool verbose);
  PrivateMachine(PrivateMachine&& other) noexcept : folder_(std::move(other.folder_)), pid_(other.pid_) {
    other.pid_ = -1;
  }
  PrivateMachine& operator=(PrivateMachine&&) = delete;
  ~PrivateMachine();

  const std::string& path() const { return folder_.path(); }
  pid_t pid() const { return pid_; }
  // Its process has been waited for already: only the folder is left to remove.
  void Ended() { ended_ = true; }

 private:
  PrivateMachine(MachineFolder folder, pid_t pid) : folder_(std::move(folder)), pid_(pid) {}
  MachineFolder folder_;
  pid_t pid_;
  bool ended_ = false;
};

}  // namespace causeway::cli
