// SPDX-License-Identifier: Apache-2.0
#include <string.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

constexpr long kSysfsMagic = 0x62656572;  // linux/magic.h SYSFS_MAGIC
constexpr long kTmpfsMagic = 0x01021994;  // devtmpfs says TMPFS_MAGIC

bool IsOwnFd(int dir, const char* path, int flags) {
  return (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || path[0] == '\0') && dir >= 0;
}

// AT_SYMLINK_NOFOLLOW on "/proc/self/fd/N" means the link itself: that is the real one's business.
bool IsLinkItself(const ResolvedPath& path, int flags) {
  return path.kind == ResolvedPath::kFdInfo ||
         (path.kind == ResolvedPath::kFdLink && (flags & AT_SYMLINK_NOFOLLOW) != 0);
}

void ToStatx(const struct stat& from, struct statx* to) {
  memset(to, 0, sizeof(*to));
  to->stx_mask = STATX_BASIC_STATS;
  to->stx_blksize = static_cast<uint32_t>(from.st_blksize);
  to->stx_nlink = static_cast<uint32_t>(from.st_nlink);
  to->stx_uid = from.st_uid;
  to->stx_gid = from.st_gid;
  to->stx_mode = static_cast<uint16_t>(from.st_mode);
  to->stx_ino = from.st_ino;
  to->stx_size = static_cast<uint64_t>(from.st_size);
  to->stx_rdev_major = major(from.st_rdev);
  to->stx_rdev_minor = minor(from.st_rdev);
  to->stx_dev_major = major(from.st_dev);
  to->stx_dev_minor = minor(from.st_dev);
}

int VirtualStat(int fd, struct stat* out) {
  ipc::Message reply;
  const int64_t result = FileCall(fd, ipc::Op::kStat, {}, &reply);
  if (result < 0) return static_cast<int>(Ret(result));
  memset(out, 0, sizeof(*out));
  out->st_mode = static_cast<mode_t>(reply.value[0]);
  out->st_rdev = makedev(static_cast<unsigned>(reply.value[1] >> 32), static_cast<unsigned>(reply.value[1]));
  out->st_size = static_cast<off_t>(reply.value[2]);
  out->st_ino = reply.value[3];
  out->st_nlink = 1;
  out->st_blksize = 4096;
  if (const ipc::ArenaHeader* header = MachineIfConnected(); header != nullptr) out->st_dev = header->tree_device;
  return 0;
}

int NodeAccess(const ipc::NodeEntry& node, int mode) {
  const bool root = Raw(SYS_geteuid) == 0;  // CAP_DAC_OVERRIDE
  const bool refused = (mode & X_OK) != 0 || (!root && (mode & W_OK) != 0 && (node.mode & 0222) == 0) ||
                       (!root && (mode & R_OK) != 0 && (node.mode & 0444) == 0);
  return refused ? static_cast<int>(Ret(-EACCES)) : 0;
}

// access() of any kind: `call` is the real one on a path.
template <typename Call>
int AccessOn(ResolvedPath& at, int mode, Call call) {
  if (at.kind == ResolvedPath::kFdLink || at.kind == ResolvedPath::kFdInfo) return 0;
  return OnPlaces(at, [&](const char* place, bool in_tree) {
    struct stat status;
    if (in_tree && real.fstatat(AT_FDCWD, place, &status, 0) == 0) {
      if (const ipc::NodeEntry* node = FindNode(status.st_dev, status.st_ino); node != nullptr) {
        return NodeAccess(*node, mode);
      }
    }
    return call(place);
  });
}

bool IsFdPlace(const ResolvedPath& at) { return at.kind == ResolvedPath::kFdLink || at.kind == ResolvedPath::kFdInfo; }

}  // namespace

int Fstat(int fd, struct stat* out) {
  const uint8_t kind = SettledKind(fd);
  if (IsFileKind(kind)) return VirtualStat(fd, out);
  const int result = real.fstat(fd, out);
  if (result == 0 && kind == kFdOverlay) FixStat(out);
  return result;
}

int StatAt(int dir, const char* path, struct stat* out, int flags) {
  if (IsOwnFd(dir, path, flags)) return Fstat(dir, out);
  ResolvedPath at;
  if (!PathMatters(dir, path) || !ResolvePath(dir, path, &at) || IsLinkItself(at, flags)) {
    return real.fstatat(dir, path, out, flags);
  }
  if (at.kind == ResolvedPath::kFdLink) return Fstat(at.fd, out);
  return OnPlaces(at, [&](const char* place, bool in_tree) {
    const int result = real.fstatat(AT_FDCWD, place, out, flags);
    if (result == 0 && in_tree) FixStat(out);
    return result;
  });
}

// glibc before 2.33: the version says which struct; on x86-64 0 and 1 are the same.
int OldStat(int version, int dir, const char* path, struct stat* out, int flags) {
  if (version != 0 && version != 1) return static_cast<int>(Ret(-EINVAL));
  return StatAt(dir, path, out, flags);
}
int OldFstat(int version, int fd, struct stat* out) {
  if (version != 0 && version != 1) return static_cast<int>(Ret(-EINVAL));
  return Fstat(fd, out);
}

int Statx(int dir, const char* path, int flags, unsigned mask, struct statx* out) {
  struct stat status;
  if (IsOwnFd(dir, path, flags)) {
    const uint8_t kind = SettledKind(dir);
    if (IsFileKind(kind)) {
      if (VirtualStat(dir, &status) != 0) return -1;
      ToStatx(status, out);
      return 0;
    }
    const int result = real.statx(dir, path, flags, mask, out);
    if (result == 0 && kind == kFdOverlay) FixStatx(out);
    return result;
  }
  ResolvedPath at;
  if (!PathMatters(dir, path) || !ResolvePath(dir, path, &at) || IsLinkItself(at, flags)) {
    return real.statx(dir, path, flags, mask, out);
  }
  if (at.kind == ResolvedPath::kFdLink) {
    if (VirtualStat(at.fd, &status) != 0) return -1;
    ToStatx(status, out);
    return 0;
  }
  return OnPlaces(at, [&](const char* place, bool in_tree) {
    const int result = real.statx(AT_FDCWD, place, flags, mask, out);
    if (result == 0 && in_tree) FixStatx(out);
    return result;
  });
}

int AccessAt(int dir, const char* path, int mode, int flags) {
  ResolvedPath at;
  if (!ResolvePath(dir, path, &at)) return real.faccessat(dir, path, mode, flags);
  return AccessOn(at, mode, [&](const char* place) { return real.faccessat(AT_FDCWD, place, mode, flags); });
}

int EuidAccess(const char* path, int mode) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at)) return real.euidaccess(path, mode);
  return AccessOn(at, mode, [&](const char* place) { return real.euidaccess(place, mode); });
}

int Statfs(const char* path, struct statfs* out) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || IsFdPlace(at)) return real.statfs(path, out);
  return OnPlaces(at, [&](const char* place, bool in_tree) {
    const int result = real.statfs(place, out);
    // TreePath() made `place`, so `logical` is what follows the root.
    if (result == 0 && in_tree) out->f_type = strncmp(at.logical, "/sys", 4) == 0 ? kSysfsMagic : kTmpfsMagic;
    return result;
  });
}

int Fstatfs(int fd, struct statfs* out) {
  const int result = real.fstatfs(fd, out);
  const ipc::ArenaHeader* header = MachineIfConnected();
  struct stat status;
  if (result != 0 || header == nullptr || real.fstat(fd, &status) != 0 || status.st_dev != header->tree_device) {
    return result;
  }
  char path[PATH_MAX];
  bool in_tree = false;
  if (LogicalFolder(fd, path, &in_tree) && in_tree) {
    out->f_type = strncmp(path, "/sys", 4) == 0 ? kSysfsMagic : kTmpfsMagic;
  }
  return result;
}

int Statvfs(const char* path, struct statvfs* out) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || IsFdPlace(at)) return real.statvfs(path, out);
  return OnPlaces(at, [&](const char* place, bool) { return real.statvfs(place, out); });
}

ssize_t Getxattr(const char* path, const char* name, void* out, size_t size, bool follow) {
  const auto call = follow ? real.getxattr : real.lgetxattr;
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || IsFdPlace(at)) return call(path, name, out, size);
  return OnPlaces(at, [&](const char* place, bool) { return call(place, name, out, size); });
}

ssize_t Listxattr(const char* path, char* out, size_t size, bool follow) {
  const auto call = follow ? real.listxattr : real.llistxattr;
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || IsFdPlace(at)) return call(path, out, size);
  return OnPlaces(at, [&](const char* place, bool) { return call(place, out, size); });
}

int InotifyAddWatch(int fd, const char* path, uint32_t mask) {
  ResolvedPath at;
  if (!ResolvePath(AT_FDCWD, path, &at) || IsFdPlace(at)) return real.inotify_add_watch(fd, path, mask);
  return OnPlaces(at, [&](const char* place, bool) { return real.inotify_add_watch(fd, place, mask); });
}

}  // namespace causeway::shim
