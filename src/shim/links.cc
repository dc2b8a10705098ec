// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/memcheck.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

// What readlink("/proc/self/fd/N") says of a virtual file. Length, or -1 and errno.
ssize_t FdName(int fd, char (&out)[PATH_MAX]) {
  const int64_t len = FileCall(fd, ipc::Op::kName, {.a0 = reinterpret_cast<uintptr_t>(out), .a1 = sizeof(out) - 1});
  if (len < 0) return Ret(len);
  MarkDefined(out, static_cast<size_t>(len));
  out[len] = '\0';
  return static_cast<ssize_t>(len);
}

ssize_t CopyLink(const char* from, ssize_t len, char* out, size_t size) {
  if (len < 0) return len;
  const size_t copied = static_cast<size_t>(len) < size ? static_cast<size_t>(len) : size;
  memcpy(out, from, copied);
  return static_cast<ssize_t>(copied);
}

char* ReturnPath(const char* path, char* out) {
  if (out == nullptr) return strdup(path);
  memcpy(out, path, strlen(path) + 1);
  return out;
}

// getcwd() in the tree, as the program means it. 0: not in the tree; else the length with its terminator.
size_t CwdInTree(char (&path)[PATH_MAX]) {
  if (!cwd_matters.load(std::memory_order_relaxed) || !IsActive() || Machine() == nullptr) return 0;
  const long size = Raw(SYS_getcwd, path, sizeof(path));
  if (size <= 1 || path[0] != '/') return 0;
  const auto len = static_cast<size_t>(size - 1);
  const size_t stripped = StripTreeRoot(path, len);
  return stripped == len ? 0 : stripped + 1;
}

}  // namespace

ssize_t ReadlinkAt(int dir, const char* path, char* out, size_t size) {
  char link[PATH_MAX];
  ResolvedPath at;
  if (path != nullptr && path[0] == '\0') return real.readlinkat(dir, path, out, size);
  const auto stripped = [&](ssize_t len) {
    if (len <= 0) return CopyLink(link, len, out, size);
    link[len] = '\0';
    return CopyLink(link, static_cast<ssize_t>(StripTreeRoot(link, static_cast<size_t>(len))), out, size);
  };
  if (static_cast<ssize_t>(size) <= 0) return real.readlinkat(dir, path, out, size);
  if (!ResolvePath(dir, path, &at)) {
    // "/proc/self/fd/N" of a file in the tree, "/proc/self/cwd".
    if (MachineIfConnected() == nullptr) return real.readlinkat(dir, path, out, size);
    return stripped(real.readlinkat(dir, path, link, sizeof(link) - 1));
  }
  switch (at.kind) {
    case ResolvedPath::kFdLink: return CopyLink(link, FdName(at.fd, link), out, size);
    case ResolvedPath::kFdInfo: return Ret(-EINVAL);  // a plain file
    case ResolvedPath::kTreeFirst:
    case ResolvedPath::kRealFirst: break;
  }
  return stripped(
      OnPlaces(at, [&](const char* place, bool) { return real.readlinkat(AT_FDCWD, place, link, sizeof(link) - 1); }));
}

char* Realpath(const char* path, char* out) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at)) return real.realpath(path, out);
  char found[PATH_MAX];
  if (at.kind == ResolvedPath::kFdLink) {
    if (FdName(at.fd, found) < 0) return nullptr;
    if (found[0] == '/') return ReturnPath(found, out);
    errno = ENOENT;  // "anon_inode:[...]" is no path
    return nullptr;
  }
  if (at.kind == ResolvedPath::kFdInfo) return real.realpath(path, out);
  const char* const result = OnPlaces(at, [&](const char* place, bool) { return real.realpath(place, found); });
  if (result == nullptr) return nullptr;
  (void)StripTreeRoot(found, strlen(found));
  return ReturnPath(found, out);
}

int Chdir(const char* path) {
  ResolvedPath at;
  int result = -1;
  if (!PathMatters(AT_FDCWD, path) || !ResolvePath(AT_FDCWD, path, &at) || at.kind == ResolvedPath::kFdLink ||
      at.kind == ResolvedPath::kFdInfo) {
    result = real.chdir(path);
  } else {
    result = OnPlaces(at, [](const char* place, bool) { return real.chdir(place); });
  }
  if (result == 0 && IsActive()) UpdateCwd();
  return result;
}

int Fchdir(int fd) {
  if (IsVirtual(fd)) return static_cast<int>(Ret(-ENOTDIR));
  const int result = real.fchdir(fd);
  if (result == 0 && IsActive()) UpdateCwd();
  return result;
}

char* Getcwd(char* out, size_t size) {
  char path[PATH_MAX];
  const size_t needed = CwdInTree(path);
  if (needed == 0) return real.getcwd(out, size);
  if (out == nullptr) {
    const size_t room = size == 0 ? needed : size;
    if (room >= needed) out = static_cast<char*>(malloc(room));
    if (out == nullptr) {
      if (room < needed) errno = ERANGE;
      return nullptr;
    }
  } else if (size < needed) {
    errno = size == 0 ? EINVAL : ERANGE;
    return nullptr;
  }
  memcpy(out, path, needed);
  return out;
}

char* Getwd(char* out) {
  char path[PATH_MAX];
  const size_t needed = CwdInTree(path);
  if (needed == 0 || out == nullptr) return real.getwd(out);
  memcpy(out, path, needed);
  return out;
}

char* GetCurrentDirName() {
  char path[PATH_MAX];
  return CwdInTree(path) == 0 ? real.get_current_dir_name() : strdup(path);
}

}  // namespace causeway::shim
