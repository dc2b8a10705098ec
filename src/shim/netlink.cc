// SPDX-License-Identifier: Apache-2.0
// A netlink socket of the machine (kernel/netlink_socket.h). Its descriptor is a packet socket into which the machine
// sends answers: receiving, waiting and time limits are the host's own. Sending is a call, and so is what comes before
// receiving: the machine makes the next part of a dump.
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/memcheck.h"
#include "shim/raw.h"

namespace causeway::shim {
namespace {

// move_addr_to_user() of the machine's address: port 0, no group.
void SayAddress(void* name, socklen_t* size) {
  struct sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  memcpy(name, &address, *size < sizeof(address) ? *size : sizeof(address));
  *size = sizeof(address);
}

// The host says who sent the packet; to a program that is the kernel (netlink_kernel_creds).
void SayKernelSent(struct msghdr* message) {
  for (struct cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    memset(CMSG_DATA(header), 0, header->cmsg_len - CMSG_LEN(0));
  }
}

// What a readv() or writev() is on a socket (sock_read_iter()).
struct msghdr Unaddressed(const struct iovec* list, int count) {
  struct msghdr message = {};
  message.msg_iov = const_cast<struct iovec*>(list);
  message.msg_iovlen = static_cast<size_t>(count);
  return message;
}

// The value of an option of SOL_SOCKET that is another one's for the host.
bool IsMachines(int level, int option) {
  return level != SOL_SOCKET || option == SO_TYPE || option == SO_DOMAIN || option == SO_PROTOCOL;
}

}  // namespace

ssize_t NetlinkSend(int fd, const struct msghdr* message, int flags) {
  int room = 0;
  socklen_t size = sizeof(room);
  if (Raw(SYS_getsockopt, fd, SOL_SOCKET, SO_SNDBUF, &room, &size) != 0) return Ret(-EBADF);
  return Ret(FileCall(fd, ipc::Op::kSendMessage,
                      {.a0 = reinterpret_cast<uintptr_t>(message),
                       .a1 = static_cast<uint32_t>(flags),
                       .a2 = static_cast<uint32_t>(room)}));
}

ssize_t NetlinkReceive(int fd, struct msghdr* message, int flags) {
  if ((flags & MSG_OOB) != 0) return Ret(-EOPNOTSUPP);
  size_t room = 0;
  for (size_t i = 0; i < message->msg_iovlen && i < UIO_MAXIOV; ++i) room += message->msg_iov[i].iov_len;
  if (const int64_t error = FileCall(fd, ipc::Op::kBeforeReceive, {.a0 = room}); error < 0) return Ret(error);
  struct msghdr packet = *message;
  packet.msg_name = nullptr;
  packet.msg_namelen = 0;
  const ssize_t got = real.recvmsg(fd, &packet, flags);
  if (got < 0) return got;
  if (got == 0 && (packet.msg_flags & MSG_TRUNC) == 0) return Ret(-ENODEV);  // the machine is gone
  SayKernelSent(&packet);
  message->msg_flags = packet.msg_flags;
  message->msg_controllen = packet.msg_controllen;
  if (message->msg_name != nullptr) SayAddress(message->msg_name, &message->msg_namelen);
  return got;
}

ssize_t NetlinkRead(int fd, const struct iovec* list, int count) {
  if (count < 0 || count > UIO_MAXIOV) return Ret(-EINVAL);
  struct msghdr message = Unaddressed(list, count);
  return NetlinkReceive(fd, &message, 0);
}

ssize_t NetlinkWrite(int fd, const struct iovec* list, int count) {
  if (count < 0 || count > UIO_MAXIOV) return Ret(-EINVAL);
  const struct msghdr message = Unaddressed(list, count);
  return NetlinkSend(fd, &message, 0);
}

int NetlinkGetOption(int fd, int level, int option, void* value, socklen_t* size) {
  if (!IsMachines(level, option)) return real.getsockopt(fd, level, option, value, size);
  const int64_t result = FileCall(fd, ipc::Op::kGetOption,
                                  {.a0 = static_cast<uint32_t>(level),
                                   .a1 = static_cast<uint32_t>(option),
                                   .a2 = reinterpret_cast<uintptr_t>(value),
                                   .a3 = reinterpret_cast<uintptr_t>(size)});
  if (result >= 0) MarkDefined(value, *size);
  return static_cast<int>(Ret(result));
}

int NetlinkSetOption(int fd, int level, int option, const void* value, socklen_t size) {
  if (level == SOL_SOCKET) return real.setsockopt(fd, level, option, value, size);
  return static_cast<int>(Ret(FileCall(fd, ipc::Op::kSetOption,
                                       {.a0 = static_cast<uint32_t>(level),
                                        .a1 = static_cast<uint32_t>(option),
                                        .a2 = reinterpret_cast<uintptr_t>(value),
                                        .a3 = size})));
}

}  // namespace causeway::shim
