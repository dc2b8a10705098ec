// SPDX-License-Identifier: Apache-2.0
// Streams over virtual files. libc reads and writes streams without passing the interposed names, so a stream over a
// virtual file is made of our own functions (fopencookie), and one over a live attribute or fdinfo that is only read is
// a stream over its text.
#include <string.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

int CookieFd(void* cookie) { return static_cast<int>(reinterpret_cast<intptr_t>(cookie)); }

ssize_t CookieRead(void* cookie, char* buffer, size_t size) { return Read(CookieFd(cookie), buffer, size); }
ssize_t CookieWrite(void* cookie, const char* buffer, size_t size) {
  const ssize_t done = Write(CookieFd(cookie), buffer, size);
  return done < 0 ? 0 : done;  // fopencookie's way to say failure
}
int CookieSeek(void* cookie, off64_t* offset, int whence) {
  const off_t at = Lseek(CookieFd(cookie), *offset, whence);
  if (at < 0) return -1;
  *offset = at;
  return 0;
}
int CookieClose(void* cookie) { return Close(CookieFd(cookie)); }

FILE* StreamOver(int fd, const char* mode) {
  if (fd < 0) return nullptr;
  const cookie_io_functions_t functions = {CookieRead, CookieWrite, CookieSeek, CookieClose};
  FILE* stream = fopencookie(reinterpret_cast<void*>(static_cast<intptr_t>(fd)), mode, functions);
  if (stream == nullptr) {
    const ErrnoKeeper keeper;
    (void)Close(fd);
    keeper.Restore();
    return nullptr;
  }
  // fileno() of a cookie stream is -1 unless the public field says otherwise; nothing else of such a stream uses it.
  stream->_fileno = fd;
  return stream;
}

FILE* StreamOverText(int fd, const char* mode) {
  if (fd < 0) return nullptr;
  FILE* stream = real.fdopen(fd, mode);
  if (stream == nullptr) {
    const ErrnoKeeper keeper;
    (void)real.close(fd);
    keeper.Restore();
  }
  return stream;
}

// fopen()'s mode as open()'s flags; -1: not one.
int ModeFlags(const char* mode) {
  int flags = 0;
  switch (mode[0]) {
    case 'r': flags = O_RDONLY; break;
    case 'w': flags = O_WRONLY | O_CREAT | O_TRUNC; break;
    case 'a': flags = O_WRONLY | O_CREAT | O_APPEND; break;
    default: return -1;
  }
  for (const char* at = mode + 1; *at != '\0' && *at != ','; ++at) {
    if (*at == '+') flags = (flags & ~O_ACCMODE) | O_RDWR;
    if (*at == 'e') flags |= O_CLOEXEC;
    if (*at == 'x') flags |= O_EXCL;
  }
  return flags;
}

// The tree's node that `path` names, or nullptr: then `path` is an ordinary file, in the tree or not.
const ipc::NodeEntry* NodeOf(ResolvedPath& at) {
  const ErrnoKeeper keeper;
  struct stat status;
  const ipc::NodeEntry* node = nullptr;
  const bool real_exists = at.kind == ResolvedPath::kRealFirst && real.fstatat(AT_FDCWD, at.logical, &status, 0) == 0;
  const char* const tree = at.TreePath();
  if (!real_exists && tree != nullptr && real.fstatat(AT_FDCWD, tree, &status, 0) == 0) {
    node = FindNode(status.st_dev, status.st_ino);
  }
  keeper.Restore();
  return node;
}

bool OnlyReads(int flags) { return (flags & O_ACCMODE) == O_RDONLY; }

}  // namespace

FILE* Fopen(const char* path, const char* mode) {
  ResolvedPath at;
  const int flags = ModeFlags(mode);
  if (flags < 0 || !ResolvePath(AT_FDCWD, path, &at)) return real.fopen(path, mode);
  if (at.kind == ResolvedPath::kFdLink) return StreamOver(OpenFdLink(at.fd, flags), mode);
  if (at.kind == ResolvedPath::kFdInfo) return StreamOverText(OpenFdInfo(at.fd, flags), mode);
  if (const ipc::NodeEntry* node = NodeOf(at); node != nullptr) {
    if (node->kind == ipc::NodeEntry::kAttribute && OnlyReads(flags)) {
      return StreamOverText(OpenAttributeText(node->node_id, flags), mode);
    }
    return StreamOver(OpenNode(node->node_id, flags, 0666), mode);
  }
  return OnPlaces(at, [&](const char* place, bool) { return real.fopen(place, mode); });
}

// Deviation: a device node or a writable attribute cannot be reopened onto an existing stream (ENXIO).
FILE* Freopen(const char* path, const char* mode, FILE* stream) {
  ResolvedPath at;
  const int flags = ModeFlags(mode);
  if (path == nullptr || flags < 0 || !PathMatters(AT_FDCWD, path) || !ResolvePath(AT_FDCWD, path, &at)) {
    return real.freopen(path, mode, stream);
  }
  int text = -1;
  if (at.kind == ResolvedPath::kFdInfo) {
    text = OpenFdInfo(at.fd, flags | O_CLOEXEC);
  } else if (at.kind == ResolvedPath::kFdLink) {
    errno = ENXIO;
  } else if (const ipc::NodeEntry* node = NodeOf(at); node == nullptr) {
    struct stat status;
    const char* const tree = at.TreePath();
    const bool in_tree = tree != nullptr && real.fstatat(AT_FDCWD, tree, &status, 0) == 0;
    return real.freopen(in_tree && at.kind == ResolvedPath::kTreeFirst ? tree : at.logical, mode, stream);
  } else if (node->kind == ipc::NodeEntry::kAttribute && OnlyReads(flags)) {
    text = OpenAttributeText(node->node_id, flags | O_CLOEXEC);
  } else {
    errno = ENXIO;
  }
  if (text < 0) {
    const ErrnoKeeper keeper;
    (void)Fclose(stream);
    keeper.Restore();
    return nullptr;
  }
  char link[64];
  (void)AppendNumber(AppendText(link, "/proc/self/fd/"), static_cast<uint64_t>(text));
  FILE* const result = real.freopen(link, mode, stream);
  (void)real.close(text);
  return result;
}

FILE* Fdopen(int fd, const char* mode) {
  if (!IsFileKind(SettledKind(fd)) || ModeFlags(mode) < 0) return real.fdopen(fd, mode);
  return StreamOver(fd, mode);
}

// A stream that was made over an ordinary descriptor whose number became a virtual file's (dup2): its close is ours.
int Fclose(FILE* stream) {
  const ErrnoKeeper keeper;
  const int fd = stream != nullptr ? fileno(stream) : -1;
  keeper.Restore();
  const uint8_t kind = KindOf(fd);
  if (kind == kFdOrdinary) return real.fclose(stream);
  const uint64_t file = FileOf(fd);
  const int flushed = fflush(stream);  // while the number still says whose it is
  ClearFd(fd);
  const int result = real.fclose(stream) == 0 ? flushed : EOF;
  if (IsFileKind(kind)) (void)PlainCall(ipc::Op::kSync, file, {});
  return result;
}

}  // namespace causeway::shim
