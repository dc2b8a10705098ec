// SPDX-License-Identifier: Apache-2.0
// Calls on sockets: descriptors that come by SCM_RIGHTS, and those that are the machine's: netlink sockets of the RDMA
// family (netlink.cc). Other virtual files are no sockets to their programs.
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/uio.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/memcheck.h"
#include "shim/path.h"

namespace causeway::shim {
namespace {

#if !defined(NETLINK_RDMA)
#define NETLINK_RDMA 20
#endif

void RecogniseReceived(struct msghdr* message) {
  if (message->msg_controllen == 0) return;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t bytes = header->cmsg_len - CMSG_LEN(0);
    for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(header) + at, sizeof(int));
      RecogniseFd(fd);
    }
  }
}

// What a call on `fd` is: the host's, ours, or none.
template <typename Real, typename Ours>
auto OnSocket(int fd, Real host, Ours ours) -> decltype(host()) {
  const uint8_t kind = KindOf(fd) == kFdOrdinary ? uint8_t{kFdOrdinary} : SettledKind(fd);
  if (kind == kFdOrdinary || kind == kFdOverlay) return host();
  if (kind == kFdNetlink) return ours();
  errno = kind == kFdPrivate ? EBADF : ENOTSOCK;
  return -1;
}

int AddressCall(int fd, ipc::Op op, const struct sockaddr* name, socklen_t size) {
  return static_cast<int>(Ret(FileCall(fd, op, {.a0 = reinterpret_cast<uintptr_t>(name), .a1 = size})));
}

int NameCall(int fd, struct sockaddr* name, socklen_t* size, bool peer) {
  const int64_t result = FileCall(
      fd, ipc::Op::kSocketName,
      {.a0 = reinterpret_cast<uintptr_t>(name), .a1 = reinterpret_cast<uintptr_t>(size), .a2 = peer ? 1u : 0u});
  if (result >= 0) MarkDefined(name, sizeof(struct sockaddr_nl) < *size ? sizeof(struct sockaddr_nl) : *size);
  return static_cast<int>(Ret(result));
}

}  // namespace

int Socket(int family, int type, int protocol) {
  if (family == AF_NETLINK && protocol == NETLINK_RDMA && IsActive() && Machine() != nullptr &&
      HasClaim("/sys/class/infiniband")) {
    return static_cast<int>(Ret(PlainCall(ipc::Op::kSocket, 0,
                                          {.a0 = static_cast<uint32_t>(family),
                                           .a1 = static_cast<uint32_t>(type),
                                           .a2 = static_cast<uint32_t>(protocol)})));
  }
  return real.socket(family, type, protocol);
}

int Bind(int fd, const struct sockaddr* name, socklen_t size) {
  return OnSocket(
      fd, [&] { return real.bind(fd, name, size); }, [&] { return AddressCall(fd, ipc::Op::kBind, name, size); });
}

int Connect(int fd, const struct sockaddr* name, socklen_t size) {
  return OnSocket(
      fd, [&] { return real.connect(fd, name, size); }, [&] { return AddressCall(fd, ipc::Op::kConnect, name, size); });
}

ssize_t Send(int fd, const void* buffer, size_t size, int flags) {
  return OnSocket(
      fd, [&] { return real.send(fd, buffer, size, flags); },
      [&] { return Sendto(fd, buffer, size, flags, nullptr, 0); });
}

ssize_t Sendto(int fd, const void* buffer, size_t size, int flags, const struct sockaddr* to, socklen_t to_size) {
  return OnSocket(
      fd, [&] { return real.sendto(fd, buffer, size, flags, to, to_size); },
      [&] {
        struct iovec part = {const_cast<void*>(buffer), size};
        struct msghdr message = {};
        message.msg_name = const_cast<struct sockaddr*>(to);
        message.msg_namelen = to != nullptr ? to_size : 0;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        return NetlinkSend(fd, &message, flags);
      });
}

ssize_t Sendmsg(int fd, const struct msghdr* message, int flags) {
  return OnSocket(
      fd, [&] { return real.sendmsg(fd, message, flags); }, [&] { return NetlinkSend(fd, message, flags); });
}

int Sendmmsg(int fd, struct mmsghdr* list, unsigned count, int flags) {
  return OnSocket(
      fd, [&] { return real.sendmmsg(fd, list, count, flags); },
      [&] {
        unsigned done = 0;
        for (; done < count && done < UIO_MAXIOV; ++done) {
          const ssize_t sent = NetlinkSend(fd, &list[done].msg_hdr, flags);
          if (sent < 0) return done != 0 ? static_cast<int>(done) : -1;
          list[done].msg_len = static_cast<unsigned>(sent);
        }
        return static_cast<int>(done);
      });
}

ssize_t Recv(int fd, void* buffer, size_t size, int flags) {
  return OnSocket(
      fd, [&] { return real.recv(fd, buffer, size, flags); },
      [&] { return Recvfrom(fd, buffer, size, flags, nullptr, nullptr); });
}

ssize_t Recvfrom(int fd, void* buffer, size_t size, int flags, struct sockaddr* from, socklen_t* from_size) {
  return OnSocket(
      fd, [&] { return real.recvfrom(fd, buffer, size, flags, from, from_size); },
      [&] {
        struct iovec part = {buffer, size};
        struct msghdr message = {};
        message.msg_name = from;
        message.msg_namelen = from != nullptr && from_size != nullptr ? *from_size : 0;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        const ssize_t got = NetlinkReceive(fd, &message, flags);
        if (got >= 0 && from != nullptr && from_size != nullptr) *from_size = message.msg_namelen;
        return got;
      });
}

ssize_t Recvmsg(int fd, struct msghdr* message, int flags) {
  return OnSocket(
      fd,
      [&] {
        const ssize_t result = real.recvmsg(fd, message, flags);
        if (result >= 0 && IsActive()) RecogniseReceived(message);
        return result;
      },
      [&] { return NetlinkReceive(fd, message, flags); });
}

int Recvmmsg(int fd, struct mmsghdr* list, unsigned count, int flags, struct timespec* timeout) {
  return OnSocket(
      fd,
      [&] {
        const int result = real.recvmmsg(fd, list, count, flags, timeout);
        for (int i = 0; i < result && IsActive(); ++i) RecogniseReceived(&list[i].msg_hdr);
        return result;
      },
      [&] {
        // The time limit is looked at between messages, which come at once or not at all.
        unsigned done = 0;
        for (; done < count && done < UIO_MAXIOV; ++done) {
          const bool waits = done == 0 || (flags & MSG_WAITFORONE) == 0;
          const ssize_t got = NetlinkReceive(fd, &list[done].msg_hdr,
                                             (flags & ~MSG_WAITFORONE) | (waits ? 0 : static_cast<int>(MSG_DONTWAIT)));
          if (got < 0) return done != 0 ? static_cast<int>(done) : -1;
          list[done].msg_len = static_cast<unsigned>(got);
        }
        return static_cast<int>(done);
      });
}

int Shutdown(int fd, int how) {
  return OnSocket(
      fd, [&] { return real.shutdown(fd, how); }, [] { return static_cast<int>(Ret(-EOPNOTSUPP)); });
}

int Getsockopt(int fd, int level, int option, void* value, socklen_t* size) {
  return OnSocket(
      fd, [&] { return real.getsockopt(fd, level, option, value, size); },
      [&] { return NetlinkGetOption(fd, level, option, value, size); });
}

int Setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  return OnSocket(
      fd, [&] { return real.setsockopt(fd, level, option, value, size); },
      [&] { return NetlinkSetOption(fd, level, option, value, size); });
}

int Getsockname(int fd, struct sockaddr* name, socklen_t* size) {
  return OnSocket(
      fd, [&] { return real.getsockname(fd, name, size); }, [&] { return NameCall(fd, name, size, false); });
}

int Getpeername(int fd, struct sockaddr* name, socklen_t* size) {
  return OnSocket(
      fd, [&] { return real.getpeername(fd, name, size); }, [&] { return NameCall(fd, name, size, true); });
}

int PidfdGetfd(int pidfd, int fd, unsigned flags) {
  const int result = real.pidfd_getfd(pidfd, fd, flags);
  if (result >= 0 && IsActive()) RecogniseFd(result);
  return result;
}

}  // namespace causeway::shim
