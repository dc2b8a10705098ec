// SPDX-License-Identifier: Apache-2.0
// syscall(): the calls of exports.def by number. Raw system-call instructions in a program are not seen
// (docs/fidelity.md).
#include <sys/mman.h>
#include <sys/syscall.h>

#include "shim/calls.h"
#include "shim/host_memory.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

template <typename T>
T As(long value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}

using Text = const char*;
using Vector = const struct iovec*;

}  // namespace

long Syscall(long number, long a, long b, long c, long d, long e, long f) {
  const auto forward = [&] { return real.syscall(number, a, b, c, d, e, f); };
  if (shim_mode.load(std::memory_order_relaxed) == Mode::kPassThrough) return forward();
  const int fd = static_cast<int>(a);
  const auto on_path = [&](int dir, long path) { return PathMatters(dir, As<Text>(path)); };
  const bool ours = KindOf(fd) != kFdOrdinary;  // meaningful where `a` is a descriptor
  switch (number) {
    case SYS_open: return on_path(AT_FDCWD, a) ? OpenAt(AT_FDCWD, As<Text>(a), As<int>(b), As<mode_t>(c)) : forward();
    case SYS_openat: return on_path(fd, b) ? OpenAt(fd, As<Text>(b), As<int>(c), As<mode_t>(d)) : forward();
    case SYS_creat:
      return on_path(AT_FDCWD, a) ? OpenAt(AT_FDCWD, As<Text>(a), O_CREAT | O_WRONLY | O_TRUNC, As<mode_t>(b))
                                  : forward();
    case SYS_stat: return on_path(AT_FDCWD, a) ? StatAt(AT_FDCWD, As<Text>(a), As<struct stat*>(b), 0) : forward();
    case SYS_lstat:
      return on_path(AT_FDCWD, a) ? StatAt(AT_FDCWD, As<Text>(a), As<struct stat*>(b), AT_SYMLINK_NOFOLLOW) : forward();
    case SYS_fstat: return ours ? Fstat(fd, As<struct stat*>(b)) : forward();
    case SYS_newfstatat:
      return on_path(fd, b) || ours ? StatAt(fd, As<Text>(b), As<struct stat*>(c), As<int>(d)) : forward();
    case SYS_statx:
      return on_path(fd, b) || ours ? Statx(fd, As<Text>(b), As<int>(c), As<unsigned>(d), As<struct statx*>(e))
                                    : forward();
    case SYS_access: return on_path(AT_FDCWD, a) ? AccessAt(AT_FDCWD, As<Text>(a), As<int>(b), 0) : forward();
    case SYS_faccessat: return on_path(fd, b) ? AccessAt(fd, As<Text>(b), As<int>(c), 0) : forward();
    case SYS_faccessat2: return on_path(fd, b) ? AccessAt(fd, As<Text>(b), As<int>(c), As<int>(d)) : forward();
    case SYS_readlink:
      return on_path(AT_FDCWD, a) ? ReadlinkAt(AT_FDCWD, As<Text>(a), As<char*>(b), As<size_t>(c)) : forward();
    case SYS_readlinkat: return on_path(fd, b) ? ReadlinkAt(fd, As<Text>(b), As<char*>(c), As<size_t>(d)) : forward();
    case SYS_chdir: return Chdir(As<Text>(a));
    case SYS_fchdir: return Fchdir(fd);
    case SYS_getcwd: {
      char* const out = Getcwd(As<char*>(a), As<size_t>(b));
      return out == nullptr ? -1 : static_cast<long>(__builtin_strlen(out) + 1);
    }
    case SYS_statfs: return on_path(AT_FDCWD, a) ? Statfs(As<Text>(a), As<struct statfs*>(b)) : forward();
    case SYS_fstatfs: return Fstatfs(fd, As<struct statfs*>(b));
    case SYS_getdents64: return ours ? Getdents64(fd, As<void*>(b), As<size_t>(c)) : forward();
    case SYS_inotify_add_watch:
      return on_path(AT_FDCWD, b) ? InotifyAddWatch(fd, As<Text>(b), As<uint32_t>(c)) : forward();
    case SYS_read: return ours ? Read(fd, As<void*>(b), As<size_t>(c)) : forward();
    case SYS_pread64: return ours ? Pread(fd, As<void*>(b), As<size_t>(c), d) : forward();
    case SYS_readv: return ours ? Readv(fd, As<Vector>(b), As<int>(c)) : forward();
    case SYS_preadv: return ours ? Preadv(fd, As<Vector>(b), As<int>(c), d) : forward();
    case SYS_write: return ours ? Write(fd, As<const void*>(b), As<size_t>(c)) : forward();
    case SYS_pwrite64: return ours ? Pwrite(fd, As<const void*>(b), As<size_t>(c), d) : forward();
    case SYS_writev: return ours ? Writev(fd, As<Vector>(b), As<int>(c)) : forward();
    case SYS_pwritev: return ours ? Pwritev(fd, As<Vector>(b), As<int>(c), d) : forward();
    case SYS_ioctl: return ours ? Ioctl(fd, As<unsigned long>(b), As<void*>(c)) : forward();
    case SYS_lseek: return ours ? Lseek(fd, b, As<int>(c)) : forward();
    case SYS_mmap:
      if (!IsVirtual(static_cast<int>(e)) || (d & MAP_ANONYMOUS) != 0) {
        return As<long>(reinterpret_cast<intptr_t>(
            MapOther(As<void*>(a), As<size_t>(b), As<int>(c), As<int>(d), static_cast<int>(e), f, Way::kNumber)));
      }
      return As<long>(reinterpret_cast<intptr_t>(
          MapFile(As<void*>(a), As<size_t>(b), As<int>(c), As<int>(d), static_cast<int>(e), f)));
    case SYS_madvise:
      return AnyHostShared() || c == MADV_DONTFORK ? HostMadvise(As<void*>(a), As<size_t>(b), As<int>(c), Way::kNumber)
                                                   : forward();
    case SYS_munmap:
      return MattersToMappings(As<void*>(a), As<size_t>(b)) ? Unmap(As<void*>(a), As<size_t>(b), Way::kNumber)
                                                            : forward();
    case SYS_mremap:
      return MattersToMappings(As<void*>(a), As<size_t>(b))
                 ? static_cast<long>(reinterpret_cast<intptr_t>(
                       Remap(As<void*>(a), As<size_t>(b), As<size_t>(c), As<int>(d), As<void*>(e), Way::kNumber)))
                 : forward();
    case SYS_dup: return Dup(fd);
    case SYS_dup2: return Dup2(fd, As<int>(b));
    case SYS_dup3: return Dup3(fd, As<int>(b), As<int>(c));
    case SYS_fcntl: return ours ? Fcntl(fd, As<int>(b), As<void*>(c)) : forward();
    case SYS_close: return Close(fd);
    case SYS_close_range: return CloseRange(As<unsigned>(a), As<unsigned>(b), As<int>(c));
    case SYS_pidfd_getfd: return PidfdGetfd(fd, As<int>(b), As<unsigned>(c));
    case SYS_socket: return Socket(fd, As<int>(b), As<int>(c));
    case SYS_bind: return ours ? Bind(fd, As<const struct sockaddr*>(b), As<socklen_t>(c)) : forward();
    case SYS_connect: return ours ? Connect(fd, As<const struct sockaddr*>(b), As<socklen_t>(c)) : forward();
    case SYS_sendto:
      return ours ? Sendto(fd, As<const void*>(b), As<size_t>(c), As<int>(d), As<const struct sockaddr*>(e),
                           As<socklen_t>(f))
                  : forward();
    case SYS_sendmsg: return ours ? Sendmsg(fd, As<const struct msghdr*>(b), As<int>(c)) : forward();
    case SYS_sendmmsg: return ours ? Sendmmsg(fd, As<struct mmsghdr*>(b), As<unsigned>(c), As<int>(d)) : forward();
    case SYS_recvfrom:
      return ours ? Recvfrom(fd, As<void*>(b), As<size_t>(c), As<int>(d), As<struct sockaddr*>(e), As<socklen_t*>(f))
                  : forward();
    case SYS_shutdown: return ours ? Shutdown(fd, As<int>(b)) : forward();
    case SYS_getsockopt:
      return ours ? Getsockopt(fd, As<int>(b), As<int>(c), As<void*>(d), As<socklen_t*>(e)) : forward();
    case SYS_setsockopt:
      return ours ? Setsockopt(fd, As<int>(b), As<int>(c), As<const void*>(d), As<socklen_t>(e)) : forward();
    case SYS_getsockname: return ours ? Getsockname(fd, As<struct sockaddr*>(b), As<socklen_t*>(c)) : forward();
    case SYS_getpeername: return ours ? Getpeername(fd, As<struct sockaddr*>(b), As<socklen_t*>(c)) : forward();
    case SYS_recvmsg: return Recvmsg(fd, As<struct msghdr*>(b), As<int>(c));
    case SYS_recvmmsg:
      return Recvmmsg(fd, As<struct mmsghdr*>(b), As<unsigned>(c), As<int>(d), As<struct timespec*>(e));
    case SYS_fork: return real.fork();
    case SYS_vfork: return HostVfork();
    default: return forward();
  }
}

}  // namespace causeway::shim
