// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accel.h"
#include "fail.h"

union control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
};

static void SendDescriptor(int socket, int fd) {
  char byte = 0;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union control control;
  memset(&control, 0, sizeof(control));
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(int));
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1)
    Fail("sendmsg", "the socket between the two processes", errno, NULL);
}

static int ReceiveDescriptor(int socket) {
  char byte;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union control control;
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
  ssize_t n;
  do {
    n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) Fail("recvmsg", "the socket between the two processes", errno, NULL);
  if (n == 0) {
    FailText("recvmsg", "the socket between the two processes", "the process that owns accelerator 1 has ended",
             "its own message stands above");
  }
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
    FailText("recvmsg", "the socket between the two processes", "no descriptor came with the message", NULL);
  }
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof(int));
  return fd;
}

void StartHolder(struct holder* holder, unsigned index, uint64_t bytes) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) Fail("socketpair", "AF_UNIX", errno, NULL);
  char text[64];
  snprintf(text, sizeof(text), "%d,%u,%" PRIu64, ends[1], index, bytes);
  holder->pid = fork();
  if (holder->pid < 0) Fail("fork", "this program", errno, NULL);
  if (holder->pid == 0) {
    (void)fcntl(ends[1], F_SETFD, 0);
    char* const arguments[] = {program_invocation_name, (char*)"--hold", text, NULL};
    execv("/proc/self/exe", arguments);
    Fail("execv", "/proc/self/exe", errno, NULL);
  }
  close(ends[1]);
  holder->socket = ends[0];
  holder->dmabuf = ReceiveDescriptor(ends[0]);
}

void StopHolder(struct holder* holder) {
  close(holder->socket);
  int status = 0;
  pid_t ended;
  do {
    ended = waitpid(holder->pid, &status, 0);
  } while (ended < 0 && errno == EINTR);
  if (ended < 0) Fail("waitpid", "the process that owns accelerator 1", errno, NULL);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    FailText("waitpid", "the process that owns accelerator 1", "it did not end well", NULL);
  }
}

int HoldAccelerator(const char* text) {
  int socket;
  unsigned index;
  uint64_t bytes;
  if (sscanf(text, "%d,%u,%" SCNu64, &socket, &index, &bytes) != 3) return 2;
  struct accel accel;
  AccelOpen(&accel, index);
  AccelAlloc(&accel, bytes);
  const int dmabuf = AccelExport(&accel, 0, bytes);
  SendDescriptor(socket, dmabuf);
  close(dmabuf);
  char byte;
  while (recv(socket, &byte, 1, 0) < 0 && errno == EINTR) {
  }
  AccelClose(&accel);
  return 0;
}
