// SPDX-License-Identifier: Apache-2.0
// Where machines live: <base>/<name>, one folder per machine, where <base> is $XDG_RUNTIME_DIR/causeway if that folder
// is this user's own, else /dev/shm/causeway-<uid> (or in /tmp). Mode 0700: a machine belongs to one user.
//
// A machine is up as long as somebody holds the flock on <folder>/lock: the machine itself, and the command that
// started it. Whatever way both end, the kernel drops the lock, and the next command removes what was left.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace causeway::cli {

constexpr std::string_view kDefaultMachine = "default";
// Names of the machines that `run` and `demo` make for themselves.
constexpr std::string_view kPrivatePrefix = "run-";
inline bool IsPrivateName(std::string_view name) { return name.starts_with(kPrivatePrefix); }

// <base>. Makes it when `make` is set. Throws Failure when it is, or would be, somebody else's.
std::string BaseFolder(bool make);

// A folder made for a machine about to start. Holds its lock until destroyed; does not remove the folder by itself.
class MachineFolder {
 public:
  // Throws Failure when a machine of that name is up, when the name is not one, or when the path is too long for a
  // socket.
  static MachineFolder Create(const std::string& name);

  const std::string& path() const { return path_; }
  const std::string& name() const { return name_; }
  int lock_fd() const { return lock_.get(); }
  void Remove() const;

 private:
  MachineFolder(std::string name, std::string path, UniqueFd lock)
      : name_(std::move(name)), path_(std::move(path)), lock_(std::move(lock)) {}
  std::string name_;
  std::string path_;
  UniqueFd lock_;
};

struct LiveMachine {
  std::string name;
  std::string path;
};

// Every machine that is up, by name. Removes folders of machines that are not.
std::vector<LiveMachine> LiveMachines();

// The machine a verb means: --name; else the one the environment names (inside `run` and `env`); else "default".
// nullopt when none was named and "default" is not up. Throws Failure when the one that was named is not up.
std::optional<LiveMachine> FindMachine(const std::optional<std::string>& name);
// The same, but throws Failure, with what to do, when there is none.
LiveMachine RequireMachine(const std::optional<std::string>& name);

}  // namespace causeway::cli
