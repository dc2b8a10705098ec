// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

bool Wants(int flags, int access) {
  const int mode = flags & O_ACCMODE;
  return mode == access || mode == O_RDWR;
}

// open() in the tree. -1 and errno; ENOENT: it is not there.
int OpenTree(ResolvedPath& path, int flags, mode_t mode) {
  const char* const place = path.TreePath();
  struct stat status;
  if (place == nullptr) {
    errno = ENOENT;
    return -1;
  }
  const int follow = (flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
  if (real.fstatat(AT_FDCWD, place, &status, follow) != 0) return -1;
  const ipc::NodeEntry* node = FindNode(status.st_dev, status.st_ino);
  if ((flags & O_PATH) != 0) {
    const int fd = real.openat(AT_FDCWD, place, flags, 0);
    if (fd >= 0) (void)SetFd(fd, kFdOverlay, 0);
    return fd;
  }
  if (node != nullptr) return OpenNode(node->node_id, flags, mode);
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
    errno = EEXIST;
    return -1;
  }
  if (S_ISREG(status.st_mode)) {
    // fs/kernfs/file.c kernfs_fop_open(): the mode decides, for root too.
    if ((Wants(flags, O_WRONLY) && (status.st_mode & 0222) == 0) ||
        (Wants(flags, O_RDONLY) && (status.st_mode & 0444) == 0)) {
      errno = EACCES;
      return -1;
    }
    return real.openat(AT_FDCWD, place, flags & ~(O_CREAT | O_TRUNC), 0);
  }
  const int fd = real.openat(AT_FDCWD, place, flags & ~O_TRUNC, mode);
  if (fd >= 0 && S_ISDIR(status.st_mode)) (void)SetFd(fd, kFdOverlay, 0);
  return fd;
}

// A real folder above a claim or under one: what is opened relative to it, ".." too, is resolved again.
int NoteFolder(int fd) {
  struct stat status;
  if (fd >= 0 && real.fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) (void)SetFd(fd, kFdOverlay, 0);
  return fd;
}

// A private file with `size` bytes of text, at offset 0.
int TextFile(const char* text, size_t size, int flags) {
  const long fd = Raw(SYS_memfd_create, "causeway-text", (flags & O_CLOEXEC) != 0 ? 1 : 0);
  if (fd < 0) return static_cast<int>(Ret(fd));
  (void)Raw(SYS_pwrite64, fd, text, size, 0);
  ClearFd(static_cast<int>(fd));
  return static_cast<int>(fd);
}

}  // namespace

int OpenNode(uint32_t node_id, int flags, mode_t mode) {
  const int64_t fd = PlainCall(ipc::Op::kOpen, 0, {.a0 = node_id, .a1 = static_cast<uint32_t>(flags), .a2 = mode});
  return static_cast<int>(Ret(fd));
}

int OpenAttributeText(uint32_t node_id, int flags) {
  const int64_t result = PlainCall(ipc::Op::kAttribute, 0, {.a0 = node_id, .a1 = static_cast<uint32_t>(flags)});
  if (result < 0) return static_cast<int>(Ret(result));
  const int fd = InstalledFd();
  return fd >= 0 ? fd : static_cast<int>(Ret(-EIO));
}

int OpenFdLink(int fd, int flags) {
  const int copy = real.fcntl(fd, (flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD, nullptr);
  if (copy >= 0) CopyFd(fd, copy);
  return copy;
}

// What the kernel writes for the descriptor (pos, flags, mnt_id, ino), then what the file adds (show_fdinfo()).
int OpenFdInfo(int fd, int flags) {
  char text[4096];
  char link[64];
  size_t size = 0;
  (void)AppendNumber(AppendText(link, "/proc/self/fdinfo/"), static_cast<uint64_t>(fd));
  const long info = Raw(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
  if (info >= 0) {
    const long got = Raw(SYS_read, info, text, sizeof(text) / 2);
    if (got > 0) size = static_cast<size_t>(got);
    (void)Raw(SYS_close, info);
  }
  const int64_t added =
      FileCall(fd, ipc::Op::kFdInfo, {.a0 = reinterpret_cast<uintptr_t>(text + size), .a1 = sizeof(text) - size});
  if (added > 0) size += static_cast<size_t>(added);
  return TextFile(text, size, flags);
}

int OpenAt(int dir, const char* path, int flags, mode_t mode) {
  ResolvedPath at;
  if (!ResolvePath(dir, path, &at)) return real.openat(dir, path, flags, mode);
  const ErrnoKeeper keeper;
  int fd = -1;
  switch (at.kind) {
    case ResolvedPath::kFdLink: return OpenFdLink(at.fd, flags);
    case ResolvedPath::kFdInfo: return OpenFdInfo(at.fd, flags);
    case ResolvedPath::kTreeFirst:
      fd = OpenTree(at, flags, mode);
      if (fd >= 0 || errno != ENOENT) return fd;
      keeper.Restore();
      return NoteFolder(real.openat(AT_FDCWD, at.logical, flags, mode));
    case ResolvedPath::kRealFirst: break;
  }
  fd = real.openat(AT_FDCWD, at.logical, flags, mode);
  if (fd >= 0) return at.ancestor ? NoteFolder(fd) : fd;
  if (errno != ENOENT || (flags & O_CREAT) != 0) return fd;
  fd = OpenTree(at, flags, mode);
  if (fd >= 0) keeper.Restore();
  return fd;
}

}  // namespace causeway::shim
