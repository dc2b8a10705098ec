// SPDX-License-Identifier: Apache-2.0
// read(), write(), ioctl(), lseek() on virtual files. Blocking is done here: the machine never blocks a read, it says
// EAGAIN, and the descriptor's own socket tells when to ask again.
#include <poll.h>
#include <sys/ioctl.h>

#include "shim/calls.h"
#include "shim/doorbell.h"
#include "shim/host_memory.h"
#include "shim/machine.h"
#include "shim/memcheck.h"
#include "shim/path.h"
#include "shim/process.h"
#include "shim/stack.h"
#include "uapi/rdma_ioctl.h"

namespace causeway::shim {
namespace {

// Can be on what is no virtual file after all (an inherited descriptor of another machine).
bool Settled(int fd) { return IsFileKind(SettledKind(fd)); }

bool IsNetlink(int fd) { return KindOf(fd) == kFdNetlink; }

bool IsPrivate(int fd) { return KindOf(fd) == kFdPrivate; }

bool IsNonblocking(int fd) {
  const long flags = Raw(SYS_fcntl, fd, F_GETFL, 0);
  return flags < 0 || (flags & O_NONBLOCK) != 0;
}

// Waits until the descriptor is readable, or its machine is gone (hang-up). 0, or -errno: EINTR for a signal handler.
// By libc's poll(), as read() and write() are cancellation points and their callers rely on it. Nothing is held here.
long AwaitReadable(int fd, bool may_wait) {
  struct pollfd poll = {fd, POLLIN, 0};
  const int ready = real.poll(&poll, 1, may_wait ? -1 : 0);
  if (ready < 0) return -errno;
  return ready == 0 ? -EAGAIN : 0;
}

// Waits for what ends a wait that no event ends: a signal handler, or the thread's cancellation.
long AwaitSignal() {
  (void)real.poll(nullptr, 0, -1);
  return -EINTR;
}

// A call's argument of `bytes` bytes, if it lies on this thread's stack above `frame`.
CallData ArgumentOnStack(const void* frame, const void* argument, size_t bytes) {
  CallData data = {.input_address = reinterpret_cast<uintptr_t>(argument), .input_bytes = bytes, .stack = {}};
  if (bytes != 0) data.stack = StackOf(frame, data.input_address, bytes);
  return data;
}

// Bytes that the driver copies from the argument: what the request says. RDMA's request says the header, and the header
// how many attributes follow it.
CallData IoctlArgument(const void* frame, uint32_t request, const void* argument) {
  CallData data = ArgumentOnStack(frame, argument, _IOC_SIZE(request));
  if (request == uapi::kRdmaVerbsIoctl && data.stack.high != 0) {
    uapi::ib_uverbs_ioctl_hdr header;
    CopyRaw(&header, argument, sizeof(header));
    if (header.length > sizeof(header)) data = ArgumentOnStack(frame, argument, header.length);
  }
  return data;
}

constexpr uint64_t kFilePosition = ~uint64_t{0};

int64_t ReadFile(int fd, void* buffer, size_t size, uint64_t offset) {
  const bool is_event = KindOf(fd) == kFdEvent;
  const bool nonblocking = IsNonblocking(fd);
  bool wait_first = is_event && offset == kFilePosition;
  CallData room = ArgumentOnStack(__builtin_frame_address(0), buffer, size);
  room.input_bytes = 0;
  for (;;) {
    if (wait_first) {
      if (const long error = AwaitReadable(fd, !nonblocking); error != 0) return error;
    }
    ipc::Message reply;
    const int64_t result = FileCall(
        fd, ipc::Op::kRead, {.a0 = reinterpret_cast<uintptr_t>(buffer), .a1 = size, .a2 = offset}, &reply, room);
    if (reply.value[0] == 1 && result != -ENODEV) TakeReadinessByte(fd);
    if (result > 0) MarkDefined(buffer, static_cast<size_t>(result));
    if (result != -EAGAIN || nonblocking) return result;
    wait_first = true;
  }
}

// A call that may pin memory of this program: what the machine would rather have shared is moved, and the call
// repeated.
int64_t PinningCall(int fd, ipc::Op op, CallArgs args, ipc::Message* reply, const CallData& data) {
  args.a3 = MayShareHost() ? 1 : 0;
  const int64_t result = FileCall(fd, op, args, reply, data);
  if (result != ipc::kShareFirst) return result;
  ShareHost(reply->value[0], reply->value[1]);
  args.a3 = 0;
  return FileCall(fd, op, args, reply, data);
}

int64_t WriteFile(int fd, const void* buffer, size_t size, uint64_t offset) {
  const bool uverbs = KindOf(fd) == kFdUverbs;
  if (uverbs) {
    const int64_t rung = RingDoorbell(fd, buffer, size);
    if (rung != kNotADoorbell) return rung;
  }
  const CallData argument = ArgumentOnStack(__builtin_frame_address(0), buffer, size);
  const bool takes_events = KindOf(fd) == kFdRdmaCm;
  for (bool waited = false;; waited = true) {
    ipc::Message reply;
    const int64_t result = PinningCall(
        fd, ipc::Op::kWrite, {.a0 = reinterpret_cast<uintptr_t>(buffer), .a1 = size, .a2 = offset}, &reply, argument);
    if (uverbs && result > 0) LearnDoorbell(fd, buffer, size, reply.value[0]);
    if (!takes_events || (result != -EAGAIN && !(waited && result == -EBADF))) return result;
    // GET_EVENT of rdma_cm (ucma_get_event()): it waits in the write. Who waits there holds the file (fdget()) and does
    // not learn that another thread closed the descriptor, as programs do when they end: no event comes any more.
    const long flags = Raw(SYS_fcntl, fd, F_GETFL, 0);
    if (flags < 0 || KindOf(fd) != kFdRdmaCm) return AwaitSignal();
    if (reply.value[1] == 1) TakeReadinessByte(fd);
    if ((flags & O_NONBLOCK) != 0) return result;
    if (const long error = AwaitReadable(fd, true); error != 0) return error;
  }
}

// read and write by segments, one call each, as for a file without read_iter (fs/read_write.c do_loop_readv_writev()).
template <typename Call>
ssize_t OnSegments(const struct iovec* list, int count, Call call) {
  if (count < 0 || count > 1024) return Ret(-EINVAL);
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    if (list[i].iov_len == 0) continue;
    const int64_t done = call(list[i].iov_base, list[i].iov_len, static_cast<uint64_t>(total));
    if (done < 0) return total > 0 ? static_cast<ssize_t>(total) : Ret(done);
    total += done;
    if (static_cast<size_t>(done) != list[i].iov_len) break;
  }
  return static_cast<ssize_t>(total);
}

uint64_t Position(off_t offset, uint64_t done) { return static_cast<uint64_t>(offset) + done; }

}  // namespace

void TakeReadinessByte(int fd) {
  char byte = 0;
  (void)Raw(SYS_recvfrom, fd, &byte, 1, MSG_DONTWAIT, nullptr, nullptr);
}

ssize_t Read(int fd, void* buffer, size_t size) {
  if (IsPrivate(fd)) return Ret(-EBADF);
  if (!Settled(fd)) return real.read(fd, buffer, size);
  if (IsNetlink(fd)) {
    const struct iovec part = {buffer, size};
    return NetlinkRead(fd, &part, 1);
  }
  return Ret(ReadFile(fd, buffer, size, kFilePosition));
}

ssize_t Pread(int fd, void* buffer, size_t size, off_t offset) {
  if (!Settled(fd)) return real.pread(fd, buffer, size, offset);
  if (offset < 0) return Ret(-EINVAL);
  return Ret(ReadFile(fd, buffer, size, static_cast<uint64_t>(offset)));
}

ssize_t Readv(int fd, const struct iovec* list, int count) {
  if (IsPrivate(fd)) return Ret(-EBADF);
  if (!Settled(fd)) return real.readv(fd, list, count);
  if (IsNetlink(fd)) return NetlinkRead(fd, list, count);
  return OnSegments(list, count,
                    [&](void* buffer, size_t size, uint64_t) { return ReadFile(fd, buffer, size, kFilePosition); });
}

ssize_t Preadv(int fd, const struct iovec* list, int count, off_t offset) {
  if (!Settled(fd)) return real.preadv(fd, list, count, offset);
  if (offset < 0) return Ret(-EINVAL);
  return OnSegments(list, count, [&](void* buffer, size_t size, uint64_t done) {
    return ReadFile(fd, buffer, size, Position(offset, done));
  });
}

ssize_t Preadv2(int fd, const struct iovec* list, int count, off_t offset, int flags) {
  if (!Settled(fd)) return real.preadv2(fd, list, count, offset, flags);
  if (flags != 0) return Ret(-EOPNOTSUPP);  // do_loop_readv_writev() knows only RWF_HIPRI
  return offset == -1 ? Readv(fd, list, count) : Preadv(fd, list, count, offset);
}

ssize_t Write(int fd, const void* buffer, size_t size) {
  if (__builtin_expect(KindOf(fd) == kFdUverbs, 1)) return Ret(WriteFile(fd, buffer, size, kFilePosition));
  if (IsPrivate(fd)) return Ret(-EBADF);
  if (!Settled(fd)) return real.write(fd, buffer, size);
  if (IsNetlink(fd)) {
    const struct iovec part = {const_cast<void*>(buffer), size};
    return NetlinkWrite(fd, &part, 1);
  }
  return Ret(WriteFile(fd, buffer, size, kFilePosition));
}

ssize_t Pwrite(int fd, const void* buffer, size_t size, off_t offset) {
  if (!Settled(fd)) return real.pwrite(fd, buffer, size, offset);
  if (offset < 0) return Ret(-EINVAL);
  return Ret(WriteFile(fd, buffer, size, static_cast<uint64_t>(offset)));
}

ssize_t Writev(int fd, const struct iovec* list, int count) {
  if (IsPrivate(fd)) return Ret(-EBADF);
  if (!Settled(fd)) return real.writev(fd, list, count);
  if (IsNetlink(fd)) return NetlinkWrite(fd, list, count);
  return OnSegments(list, count, [&](const void* buffer, size_t size, uint64_t) {
    return WriteFile(fd, buffer, size, kFilePosition);
  });
}

ssize_t Pwritev(int fd, const struct iovec* list, int count, off_t offset) {
  if (!Settled(fd)) return real.pwritev(fd, list, count, offset);
  if (offset < 0) return Ret(-EINVAL);
  return OnSegments(list, count, [&](const void* buffer, size_t size, uint64_t done) {
    return WriteFile(fd, buffer, size, Position(offset, done));
  });
}

ssize_t Pwritev2(int fd, const struct iovec* list, int count, off_t offset, int flags) {
  if (!Settled(fd)) return real.pwritev2(fd, list, count, offset, flags);
  if (flags != 0) return Ret(-EOPNOTSUPP);
  return offset == -1 ? Writev(fd, list, count) : Pwritev(fd, list, count, offset);
}

int Ioctl(int fd, unsigned long request, void* argument) {
  if (IsPrivate(fd)) return static_cast<int>(Ret(-EBADF));
  if (!Settled(fd)) return real.ioctl(fd, request, argument);
  switch (static_cast<uint32_t>(request)) {
    // What fs/ioctl.c do_vfs_ioctl() answers for every file, before its driver.
    case FIOCLEX:
    case FIONCLEX:
    case FIONBIO:
    case FIOASYNC: return real.ioctl(fd, request, argument);
    default: break;
  }
  ipc::Message reply;
  const int64_t result = PinningCall(
      fd, ipc::Op::kIoctl, {.a0 = static_cast<uint32_t>(request), .a1 = reinterpret_cast<uintptr_t>(argument)}, &reply,
      IoctlArgument(__builtin_frame_address(0), static_cast<uint32_t>(request), argument));
  if (result >= 0 && (_IOC_DIR(request) & _IOC_READ) != 0) MarkDefined(argument, _IOC_SIZE(request));
  return static_cast<int>(Ret(result));
}

off_t Lseek(int fd, off_t offset, int whence) {
  if (IsPrivate(fd)) return Ret(-EBADF);
  if (!Settled(fd)) {
    if (KindOf(fd) == kFdOverlay) ForgetListing(fd);
    return real.lseek(fd, offset, whence);
  }
  return Ret(FileCall(fd, ipc::Op::kSeek, {.a0 = static_cast<uint64_t>(offset), .a1 = static_cast<uint32_t>(whence)}));
}

}  // namespace causeway::shim
