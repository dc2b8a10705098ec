// SPDX-License-Identifier: Apache-2.0
// Sockets: descriptors that come by SCM_RIGHTS, and the RDMA netlink family.
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#include "shim/calls.h"
#include "shim/machine.h"
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

}  // namespace

// libibverbs asks netlink for RDMA devices first and looks into sysfs only when there is no such netlink: what a kernel
// without ib_core answers, so that it finds the machine's devices (net/netlink/af_netlink.c netlink_create()).
int Socket(int family, int type, int protocol) {
  if (family == AF_NETLINK && protocol == NETLINK_RDMA && IsActive() && Machine() != nullptr &&
      HasClaim("/sys/class/infiniband")) {
    return static_cast<int>(Ret(-EPROTONOSUPPORT));
  }
  return real.socket(family, type, protocol);
}

bool RefuseSocketCall(int fd) {
  const uint8_t kind = KindOf(fd);
  if (kind == kFdOrdinary || kind == kFdOverlay) return false;
  errno = kind == kFdPrivate ? EBADF : ENOTSOCK;
  return true;
}

ssize_t Recvmsg(int fd, struct msghdr* message, int flags) {
  const ssize_t result = real.recvmsg(fd, message, flags);
  if (result >= 0 && IsActive()) RecogniseReceived(message);
  return result;
}

int Recvmmsg(int fd, struct mmsghdr* list, unsigned count, int flags, struct timespec* timeout) {
  const int result = real.recvmmsg(fd, list, count, flags, timeout);
  for (int i = 0; i < result && IsActive(); ++i) RecogniseReceived(&list[i].msg_hdr);
  return result;
}

int PidfdGetfd(int pidfd, int fd, unsigned flags) {
  const int result = real.pidfd_getfd(pidfd, fd, flags);
  if (result >= 0 && IsActive()) RecogniseFd(result);
  return result;
}

}  // namespace causeway::shim
