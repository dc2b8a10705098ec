// SPDX-License-Identifier: Apache-2.0
#include "cli/machine_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "cli/failure.h"
#include "config/config.h"
#include "ipc/channel.h"

namespace causeway::cli {
namespace {

bool IsOwnFolder(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == ::geteuid();
}

// A machine has hundreds of small files (its sysfs): on a disk they cost a hundred times what they cost in memory.
bool IsMemoryFolder(const char* path) {
  struct statfs system = {};
  return ::statfs(path, &system) == 0 && system.f_type == TMPFS_MAGIC && ::access(path, W_OK | X_OK) == 0;
}

void RemoveTree(const std::string& path) {
  std::error_code ignored;  // somebody else may be removing it too
  std::filesystem::remove_all(path, ignored);
}

// Held while a folder is made and locked, or found stale and removed, so that the two cannot meet.
UniqueFd LockBase(const std::string& base) {
  const std::string path = base + "/.lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) Fail(kExitFailure, "cannot open {}: {}", path, std::strerror(errno));
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) Fail(kExitFailure, "cannot lock {}: {}", path, std::strerror(errno));
  }
  return fd;
}

// Whether the machine of this folder is up. Precondition: the base is locked.
bool IsHeld(const std::string& folder) {
  const UniqueFd lock(::open((folder + "/lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  return lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

std::string NameOf(const std::string& folder) { return folder.substr(folder.rfind('/') + 1); }

}  // namespace

std::string BaseFolder(bool make) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  std::string base;
  if (runtime != nullptr && runtime[0] == '/' && IsOwnFolder(runtime)) {
    base = std::string(runtime) + "/causeway";
  } else {
    const char* shared = IsMemoryFolder("/dev/shm") ? "/dev/shm" : "/tmp";
    base = fmt::format("{}/causeway-{}", shared, ::geteuid());
  }
  if (make && ::mkdir(base.c_str(), 0700) != 0 && errno != EEXIST) {
    Fail(kExitFailure, "cannot make the folder for machines, {}: {}", base, std::strerror(errno));
  }
  struct stat status = {};
  if (::lstat(base.c_str(), &status) != 0) {
    if (errno == ENOENT && !make) return base;
    Fail(kExitFailure, "cannot look at {}: {}", base, std::strerror(errno));
  }
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 0077) != 0) {
    Fail(kExitFailure,
         "{} must be a folder of yours with mode 0700, and is not; remove it, or point XDG_RUNTIME_DIR at "
         "a folder of your own",
         base);
  }
  return base;
}

MachineFolder MachineFolder::Create(const std::string& name) {
  if (!config::IsMachineName(name)) {
    Fail(kExitUsage, "'{}' cannot be a machine's name; use up to 63 of A-Z a-z 0-9 . _ -, not beginning with . or -",
         name);
  }
  const std::string base = BaseFolder(/*make=*/true);
  std::string path = base + "/" + name;
  if (path.size() + 1 + std::strlen(ipc::kControlName) >= sizeof(sockaddr_un::sun_path)) {
    Fail(kExitFailure, "{} is too long a path for a socket; use a shorter name, or a shorter XDG_RUNTIME_DIR", path);
  }
  const UniqueFd base_lock = LockBase(base);
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno != EEXIST) Fail(kExitFailure, "cannot make {}: {}", path, std::strerror(errno));
    if (IsHeld(path)) {
      Fail(kExitFailure,
           "a machine '{}' is up already; take it down with `causeway down --name {}`, or choose another "
           "--name",
           name, name);
    }
    RemoveTree(path);
    if (::mkdir(path.c_str(), 0700) != 0) Fail(kExitFailure, "cannot make {}: {}", path, std::strerror(errno));
  }
  const std::string lock_path = path + "/lock";
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    Fail(kExitFailure, "cannot lock {}: {}", lock_path, std::strerror(errno));
  }
  return {name, std::move(path), std::move(lock)};
}

void MachineFolder::Remove() const { RemoveTree(path_); }

std::vector<LiveMachine> LiveMachines() {
  const std::string base = BaseFolder(/*make=*/false);
  std::vector<LiveMachine> machines;
  DIR* folder = ::opendir(base.c_str());
  if (folder == nullptr) return machines;
  const UniqueFd base_lock = LockBase(base);
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    const std::string path = base + "/" + name;
    if (!config::IsMachineName(name) || !IsOwnFolder(path)) continue;
    if (IsHeld(path)) {
      machines.push_back({name, path});
    } else {
      RemoveTree(path);
    }
  }
  ::closedir(folder);
  std::ranges::sort(machines, {}, &LiveMachine::name);
  return machines;
}

std::optional<LiveMachine> FindMachine(const std::optional<std::string>& name) {
  if (!name) {
    if (const char* path = std::getenv(ipc::kMachineEnv); path != nullptr && path[0] != '\0') {
      if (IsHeld(path)) return LiveMachine{NameOf(path), path};
      Fail(kExitFailure, "{} names {}, where no machine is up; unset it, or start that machine again", ipc::kMachineEnv,
           path);
    }
  } else if (!config::IsMachineName(*name)) {
    Fail(kExitUsage, "'{}' cannot be a machine's name", *name);
  }
  const std::string base = BaseFolder(/*make=*/false);
  const std::string wanted = name.value_or(std::string(kDefaultMachine));
  if (IsHeld(base + "/" + wanted)) return LiveMachine{wanted, base + "/" + wanted};
  if (name) {
    std::string up;
    for (const LiveMachine& machine : LiveMachines()) up += (up.empty() ? "" : ", ") + machine.name;
    Fail(kExitFailure, "no machine '{}' is up (up: {}); start it with `causeway up --name {}`", wanted,
         up.empty() ? "none" : up, wanted);
  }
  return std::nullopt;
}

LiveMachine RequireMachine(const std::optional<std::string>& name) {
  if (auto machine = FindMachine(name)) return *std::move(machine);
  std::string others;
  for (const LiveMachine& machine : LiveMachines()) others += (others.empty() ? "" : ", ") + machine.name;
  if (!others.empty()) Fail(kExitFailure, "no machine 'default' is up; name one of these with --name: {}", others);
  Fail(kExitFailure, "no machine is up; start one with `causeway up`");
}

}  // namespace causeway::cli
