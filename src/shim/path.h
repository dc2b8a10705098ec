// SPDX-License-Identifier: Apache-2.0
// Which paths the machine has a say in, and what they mean. The machine's tree (ArenaHeader::tree_root, with sys/ and
// dev/ in it) lies over the real file system:
//
//   a path under a claim        the tree first, ENOENT: the real path
//   anything else in /sys, /dev the real path first, ENOENT: the tree
//   folders that exist in both  list the union
//   /proc/self/fd/N, /dev/fd/N  the virtual file N
//
// Paths are looked up where they stand: symbolic links inside the tree are relative and stay in it, so the kernel
// resolves them. ".." after a symbolic link is resolved here (ResolvePath), because it may lead out of the tree.
//
// Not seen: a path outside /sys, /dev and /proc that leads there by a symbolic link of the real file system.
#pragma once

#include <limits.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ipc/arena.h"
#include "shim/fd_table.h"
#include "shim/machine.h"
#include "shim/raw.h"

namespace causeway::shim {

// ---- small text, for a library without C++ run time. Each returns the end, which is terminated.
char* AppendText(char* at, const char* text);
char* AppendNumber(char* at, uint64_t value);

enum class Claimed { kNo, kAncestor, kYes };
// Prepares what Classify() needs. Once, at the first connection.
void UseClaims(const ipc::ArenaHeader& header);
// `path` is absolute and clean. kAncestor: a claim lies below it.
Claimed Classify(const char* path);
bool HasClaim(const char* path);

// No "//", "/./", "/../" nor "/." at the end: a path that can be compared as it is.
bool IsCleanPath(const char* path);

// The working folder may matter for relative paths: it is "/" or in /sys, /dev, /proc or the tree.
extern std::atomic<bool> cwd_matters;
void UpdateCwd();

// Cheap: can this path be the machine's business at all? Ordinary paths cost two comparisons.
inline bool PathMatters(int dir, const char* path) {
  if (path == nullptr) return false;
  if (path[0] == '/') {
    const char* at = path;
    while (at[1] == '/') ++at;
    switch (at[1]) {
      case '\0': break;
      case '.': break;
      case 'd':
        if (at[2] != 'e' || at[3] != 'v' || (at[4] != '/' && at[4] != '\0')) return false;
        break;
      case 's':
        if (at[2] != 'y' || at[3] != 's' || (at[4] != '/' && at[4] != '\0')) return false;
        break;
      case 'p':
        if (at[2] != 'r' || at[3] != 'o' || at[4] != 'c' || at[5] != '/') return false;
        break;
      default: return false;
    }
    return IsActive();
  }
  if (dir == AT_FDCWD) return cwd_matters.load(std::memory_order_relaxed) && IsActive();
  return KindOf(dir) == kFdOverlay;
}

struct ResolvedPath {
  enum Kind : uint8_t {
    kTreeFirst,
    kRealFirst,
    kFdLink,  // "/proc/self/fd/N" of a virtual file: `fd`
    kFdInfo,  // "/proc/self/fdinfo/N"
  };
  Kind kind;
  bool ancestor;  // a folder above a claim
  int fd;
  const char* logical;  // absolute, as the program means it; may point to the caller's own path
  char buffer[PATH_MAX + sizeof(ipc::ArenaHeader::tree_root)];

  // The same in the machine's tree (in `buffer`); nullptr when that is too long.
  const char* TreePath();

 private:
  friend bool ResolvePath(int dir, const char* path, ResolvedPath* out);
  bool tree_made_;
};

// Precondition: PathMatters(). False: the real call with the caller's own arguments is the answer.
bool ResolvePath(int dir, const char* path, ResolvedPath* out);

// Where `dir` is, as the program means it: AT_FDCWD or an overlay folder; *in_tree: it is a folder of the tree. False
// when it cannot be named.
bool LogicalFolder(int dir, char (&out)[PATH_MAX], bool* in_tree);

// Takes the tree's root off a path that the kernel gave, in place. Returns the new length.
size_t StripTreeRoot(char* path, size_t len);

// The node that a file of the tree stands for, or nullptr.
const ipc::NodeEntry* FindNode(uint64_t device, uint64_t inode);
// st_mode, st_rdev and st_size of a placeholder, as a program sees them.
void FixStat(struct stat* status);
void FixStatx(struct statx* status);

template <typename T>
bool CallFailed(T value) {
  if constexpr (std::is_pointer_v<T>) {
    return value == nullptr;
  } else {
    return value < 0;
  }
}

template <typename T>
T Failure() {
  if constexpr (std::is_pointer_v<T>) {
    return nullptr;
  } else {
    return T{-1};
  }
}

// Runs `call(path, in_tree)` on the places a resolved path may mean, in order; ENOENT goes on to the next. errno is
// untouched on success.
template <typename Call>
auto OnPlaces(ResolvedPath& path, Call call) {
  const ErrnoKeeper keeper;
  const bool tree_first = path.kind == ResolvedPath::kTreeFirst;
  for (int attempt = 0;; ++attempt) {
    const bool in_tree = (attempt == 0) == tree_first;
    const char* const place = in_tree ? path.TreePath() : path.logical;
    if (place == nullptr) {
      errno = ENOENT;
      if (attempt == 0) continue;
      return Failure<decltype(call(place, in_tree))>();
    }
    auto result = call(place, in_tree);
    if (!CallFailed(result)) {
      keeper.Restore();
      return result;
    }
    if (errno != ENOENT || attempt == 1) return result;
  }
}

}  // namespace causeway::shim
