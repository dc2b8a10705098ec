// SPDX-License-Identifier: Apache-2.0
// Every way a descriptor is copied or closed inside a process. (By fork and exec: process.cc, fd_table.cc; by
// SCM_RIGHTS and pidfd_getfd: sockets.cc.)
#include <linux/close_range.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

// A descriptor of a virtual file is gone: if it was the last, the file's release has run when this returns.
void Closed(uint8_t kind, uint64_t file) {
  if (IsFileKind(kind)) (void)PlainCall(ipc::Op::kSync, file, {});
}

// Around a call that makes `to` a copy of `from`: what `to` was is closed by it.
template <typename Call>
int CopyOnto(int from, int to, Call call) {
  if (from == to) return call();
  if (KindOf(from) == kFdPrivate) return static_cast<int>(Ret(-EBADF));
  if (KindOf(to) == kFdPrivate) {
    MoveControlFd(to);
    if (KindOf(to) == kFdPrivate) ForgetListing(to);
  }
  const uint8_t kind = KindOf(to);
  const uint64_t file = kind != kFdOrdinary ? FileOf(to) : 0;
  if (kind == kFdOverlay) ForgetListing(to);
  const int result = call();
  if (result < 0) return result;
  CopyFd(from, to);
  if (kind != kFdOrdinary) {
    const ErrnoKeeper keeper;
    Closed(kind, file);
    keeper.Restore();
  }
  return result;
}

}  // namespace

int Dup(int fd) {
  if (KindOf(fd) == kFdPrivate) return static_cast<int>(Ret(-EBADF));
  const int copy = real.dup(fd);
  if (copy >= 0) CopyFd(fd, copy);
  return copy;
}

int Dup2(int fd, int to) {
  return CopyOnto(fd, to, [&] { return real.dup2(fd, to); });
}

int Dup3(int fd, int to, int flags) {
  return CopyOnto(fd, to, [&] { return real.dup3(fd, to, flags); });
}

int Fcntl(int fd, int command, void* argument) {
  if (KindOf(fd) == kFdPrivate) return static_cast<int>(Ret(-EBADF));
  const int result = real.fcntl(fd, command, argument);
  if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0) CopyFd(fd, result);
  return result;
}

int Close(int fd) {
  const uint8_t kind = KindOf(fd);
  if (kind == kFdOrdinary) return real.close(fd);
  if (kind == kFdPrivate) return static_cast<int>(Ret(-EBADF));
  const uint64_t file = FileOf(fd);
  if (kind == kFdOverlay) ForgetListing(fd);
  // Before the number can be somebody else's.
  ClearFd(fd);
  const int result = real.close(fd);
  const ErrnoKeeper keeper;
  Closed(kind, file);
  keeper.Restore();
  return result;
}

int CloseRange(unsigned first, unsigned last, int flags) {
  if (first > last || (flags & static_cast<int>(CLOSE_RANGE_CLOEXEC)) != 0) {
    return real.close_range(first, last, flags);
  }
  const auto end = static_cast<unsigned>(FdTableEnd());
  unsigned from = first;
  for (unsigned fd = first; fd < end && fd <= last; ++fd) {
    const uint8_t kind = KindOf(static_cast<int>(fd));
    if (kind == kFdOrdinary) continue;
    if (from < fd) {
      if (const int result = real.close_range(from, fd - 1, flags); result != 0) return result;
    }
    if (kind != kFdPrivate) (void)Close(static_cast<int>(fd));
    from = fd + 1;
  }
  // `from` is past `last` only when the last number of the range was one of ours.
  return from > last || from == 0 ? 0 : real.close_range(from, last, flags);
}

void CloseFrom(int first) { (void)CloseRange(first < 0 ? 0u : static_cast<unsigned>(first), ~0u, 0); }

}  // namespace causeway::shim
