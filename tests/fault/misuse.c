// SPDX-License-Identifier: Apache-2.0
//
// Programs that use verbs wrongly, or end in odd ways. `misuse WHAT` does one thing (kWhat below) with two processes of
// its own where it needs a peer, says what it saw, and exits 0 when that is what Linux would have shown it.
// test_misuse.py then looks at what is left in the machine.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "fail.h"
#include "rdma.h"

enum {
  kBytes = 256 * 1024,
  kDepth = 8,
  kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC
};
static const double kPatience = 20;

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define CHECK(condition)                                                                        \
  do {                                                                                          \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      _exit(1);                                                                                 \
    }                                                                                           \
  } while (0)

// One side: a NIC, a region, an RC QP. What the other side needs of it.
struct side {
  struct nic nic;
  char* memory;
  struct ibv_mr* mr;
  struct ibv_qp* qp;
};
struct card {
  struct endpoint endpoint;
  uint64_t address;
  uint32_t rkey;
};

static void Open(struct side* side, const char* name) {
  memset(side, 0, sizeof(*side));
  NicOpen(&side->nic, name, 0);
  side->memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(side->memory != MAP_FAILED);
  memset(side->memory, 1, kBytes);
  side->mr = ibv_reg_mr(side->nic.pd, side->memory, kBytes, kAccess);
  CHECK(side->mr != NULL);
  side->qp = NicCreateQp(&side->nic, kDepth, kDepth);
}
static struct card CardOf(const struct side* side) {
  const struct card card = {NicEndpoint(&side->nic, side->qp), (uint64_t)(uintptr_t)side->memory, side->mr->rkey};
  return card;
}
static void Close(struct side* side) {
  CHECK(ibv_destroy_qp(side->qp) == 0);
  CHECK(ibv_dereg_mr(side->mr) == 0);
  NicClose(&side->nic);
}

// Connects with the NIC's defaults, then sets what these tests want: short timers, `rnr_retry` as asked.
static void Connect(struct side* side, const struct card* other, uint8_t rnr_retry) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = kPort, .qp_access_flags = kAccess};
  CHECK(ibv_modify_qp(side->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0);
  memset(&attr, 0, sizeof(attr));
  attr.qp_state = IBV_QPS_RTR;
  attr.path_mtu = IBV_MTU_1024;
  attr.dest_qp_num = other->endpoint.qpn;
  attr.rq_psn = other->endpoint.psn;
  attr.max_dest_rd_atomic = 4;
  attr.min_rnr_timer = 1;
  attr.ah_attr.port_num = kPort;
  attr.ah_attr.is_global = 1;
  attr.ah_attr.grh.dgid = other->endpoint.gid;
  attr.ah_attr.grh.sgid_index = (uint8_t)side->nic.gid.gid_index;
  attr.ah_attr.grh.hop_limit = 64;
  CHECK(ibv_modify_qp(side->qp, &attr,
                      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                          IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER) == 0);
  memset(&attr, 0, sizeof(attr));
  attr.qp_state = IBV_QPS_RTS;
  attr.timeout = 10;  // 4 ms
  attr.retry_cnt = 3;
  attr.rnr_retry = rnr_retry;
  attr.sq_psn = NicEndpoint(&side->nic, side->qp).psn;
  attr.max_rd_atomic = 4;
  CHECK(ibv_modify_qp(side->qp, &attr,
                      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                          IBV_QP_MAX_QP_RD_ATOMIC) == 0);
}

// 0 or the errno of ibv_post_send().
static int Post(struct side* side, enum ibv_wr_opcode opcode, const struct card* other, uint32_t bytes) {
  struct ibv_sge sge = {.addr = (uint64_t)(uintptr_t)side->memory, .length = bytes, .lkey = side->mr->lkey};
  struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = opcode, .send_flags = IBV_SEND_SIGNALED};
  if (opcode == IBV_WR_RDMA_WRITE || opcode == IBV_WR_RDMA_READ) {
    wr.wr.rdma.remote_addr = other->address;
    wr.wr.rdma.rkey = other->rkey;
  }
  struct ibv_send_wr* bad = NULL;
  return ibv_post_send(side->qp, &wr, &bad);
}
static void Receive(struct side* side) {
  struct ibv_sge sge = {.addr = (uint64_t)(uintptr_t)side->memory, .length = kBytes, .lkey = side->mr->lkey};
  struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1};
  struct ibv_recv_wr* bad = NULL;
  CHECK(ibv_post_recv(side->qp, &wr, &bad) == 0);
}
// The next completion's status; -1 when none comes in `seconds`.
static int Complete(struct side* side, double seconds) {
  const double end = Now() + seconds;
  struct ibv_wc wc;
  int n;
  while ((n = ibv_poll_cq(side->nic.cq, 1, &wc)) == 0) {
    if (Now() > end) return -1;
  }
  CHECK(n == 1);
  return (int)wc.status;
}

// The other process: runs `body` with its end of a socket, and must exit 0 unless it is to be killed.
struct child {
  pid_t pid;
  int socket;
};
static struct child Fork(void (*body)(int socket)) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
  const struct child child = {fork(), ends[0]};
  CHECK(child.pid >= 0);
  if (child.pid == 0) {
    close(ends[0]);
    body(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  return child;
}
static int Wait(const struct child* child) {
  int status = 0;
  CHECK(waitpid(child->pid, &status, 0) == child->pid);
  return status;
}
static void Tell(int socket, const void* what, size_t size) {
  CHECK(send(socket, what, size, MSG_NOSIGNAL) == (ssize_t)size);
}
static void Hear(int socket, void* what, size_t size) {
  struct pollfd poll_one = {.fd = socket, .events = POLLIN};
  CHECK(poll(&poll_one, 1, (int)(kPatience * 1000)) == 1);
  CHECK(recv(socket, what, size, 0) == (ssize_t)size);
}
// Opens a side, exchanges cards, connects; both sides are ready when both have returned.
static struct card Meet(struct side* side, const char* name, int socket, uint8_t rnr_retry) {
  Open(side, name);
  const struct card own = CardOf(side);
  struct card other;
  Tell(socket, &own, sizeof(own));
  Hear(socket, &other, sizeof(other));
  Connect(side, &other, rnr_retry);
  char ready = 1;
  Tell(socket, &ready, 1);
  Hear(socket, &ready, 1);
  return other;
}
// A passive side: there until it hears a byte or the other's end.
static void Passive(int socket) {
  struct side side;
  Meet(&side, "rxe1", socket, 7);
  char byte;
  (void)!recv(socket, &byte, 1, 0);
  Close(&side);
}

// ---- what

// InfiniBand 9.7.5.2.8: RNR NAKs are counted; 7 means for ever, and a receive that is posted late is taken.
static void PassiveThatReceives(int socket) {
  struct side side;
  Meet(&side, "rxe1", socket, 7);
  char byte;
  Hear(socket, &byte, 1);
  Receive(&side);
  CHECK(Complete(&side, kPatience) == IBV_WC_SUCCESS);
  (void)!recv(socket, &byte, 1, 0);
  Close(&side);
}
static void NoReceives(void) {
  struct child child = Fork(Passive);
  struct side side;
  struct card other = Meet(&side, "rxe0", child.socket, 2);
  for (int i = 0; i < 4; ++i) CHECK(Post(&side, IBV_WR_SEND, &other, 64) == 0);
  CHECK(Complete(&side, kPatience) == IBV_WC_RNR_RETRY_EXC_ERR);
  for (int i = 0; i < 3; ++i) CHECK(Complete(&side, kPatience) == IBV_WC_WR_FLUSH_ERR);
  Close(&side);
  close(child.socket);
  CHECK(Wait(&child) == 0);

  child = Fork(PassiveThatReceives);
  other = Meet(&side, "rxe0", child.socket, 7);
  CHECK(Post(&side, IBV_WR_SEND, &other, 64) == 0);
  CHECK(Complete(&side, 0.2) == -1);
  char byte = 1;
  Tell(child.socket, &byte, 1);
  CHECK(Complete(&side, kPatience) == IBV_WC_SUCCESS);
  Close(&side);
  close(child.socket);
  CHECK(Wait(&child) == 0);
}

// fork() without ibv_fork_init(): the child has the descriptors, and ends; the parent goes on.
static void ForkAfterwards(void) {
  struct child child = Fork(Passive);
  struct side side;
  struct card other = Meet(&side, "rxe0", child.socket, 7);
  for (int round = 0; round < 8; ++round) {
    CHECK(Post(&side, IBV_WR_RDMA_WRITE, &other, kBytes) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
      if (round % 2 == 0) _exit(0);
      side.memory[0] = 2;  // its own copy
      exit(0);             // with the library's destructors
    }
    CHECK(Complete(&side, kPatience) == IBV_WC_SUCCESS);
    CHECK(Post(&side, IBV_WR_RDMA_READ, &other, kBytes) == 0);
    CHECK(Complete(&side, kPatience) == IBV_WC_SUCCESS);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(side.memory[0] == 1);
  }
  Close(&side);
  close(child.socket);
  CHECK(Wait(&child) == 0);
}

// A child of fork() keeps the descriptors of a parent that has exited: the parent's memory is gone, so who writes to it
// gets an error; nothing else happens until the child ends.
static void Orphan(int socket) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  struct side side;
  Meet(&side, "rxe1", socket, 7);
  if (fork() == 0) {  // waits for the parent's end, then for the requester's
    close(ends[1]);
    char byte;
    CHECK(read(ends[0], &byte, 1) == 0);
    Tell(socket, "g", 1);
    (void)!recv(socket, &byte, 1, 0);
    _exit(0);
  }
  _exit(0);
}
static void ParentExitsFirst(void) {
  struct child child = Fork(Orphan);
  struct side side;
  const struct card other = Meet(&side, "rxe0", child.socket, 7);
  CHECK(Wait(&child) == 0);
  char byte;
  Hear(child.socket, &byte, 1);
  const double end = Now() + kPatience;
  int status = IBV_WC_SUCCESS;  // the machine may learn of the exit a moment later
  while (status == IBV_WC_SUCCESS && Now() < end) {
    CHECK(Post(&side, IBV_WR_RDMA_WRITE, &other, 64) == 0);
    status = Complete(&side, kPatience);
  }
  printf("a write to the memory of a process that is gone: %s\n", ibv_wc_status_str((enum ibv_wc_status)status));
  CHECK(status != IBV_WC_SUCCESS && status != -1);
  Close(&side);
  close(child.socket);
}

// uverbs_destroy_uobject(): EBUSY while something is built on it; a context takes all with it.
static void WrongOrder(void) {
  struct side side;
  Open(&side, "rxe0");
  errno = 0;
  CHECK(ibv_dealloc_pd(side.nic.pd) == EBUSY);
  CHECK(ibv_destroy_cq(side.nic.cq) == EBUSY);
  struct ibv_mr* second = ibv_reg_mr(side.nic.pd, side.memory, kBytes, 0);
  CHECK(second != NULL);
  CHECK(ibv_destroy_qp(side.qp) == 0);
  CHECK(ibv_dealloc_pd(side.nic.pd) == EBUSY);  // regions
  CHECK(ibv_dereg_mr(second) == 0);
  // The device, with CQ, PD and region alive; then the same again by another context.
  CHECK(ibv_close_device(side.nic.context) == 0);
  Open(&side, "rxe0");
  CHECK(ibv_close_device(side.nic.context) == 0);
}

// Registered memory that is unmapped under traffic: its own and the other side's. Requests end; nobody crashes.
static void Unmapper(int socket) {
  struct side side;
  Meet(&side, "rxe1", socket, 7);
  char byte;
  Hear(socket, &byte, 1);
  CHECK(munmap(side.memory, kBytes) == 0);
  Tell(socket, "u", 1);
  (void)!recv(socket, &byte, 1, 0);
  Close(&side);
}
static void UnmappedMemory(void) {
  for (int round = 0; round < 4; ++round) {
    struct child child = Fork(round < 2 ? Unmapper : Passive);
    struct side side;
    const struct card other = Meet(&side, "rxe0", child.socket, 7);
    const enum ibv_wr_opcode opcode = round % 2 == 0 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
    int posted = 0, completed = 0, since = 0, status = IBV_WC_SUCCESS;
    bool told = false, unmapped = false;
    const double end = Now() + kPatience;
    while (status == IBV_WC_SUCCESS && Now() < end) {
      while (posted - completed < kDepth && Post(&side, opcode, &other, kBytes) == 0) ++posted;
      status = Complete(&side, kPatience);
      ++completed;
      if (completed == 20 && round < 2) {
        Tell(child.socket, "m", 1);
        told = true;
      }
      if (completed == 20 && round >= 2) {  // its own
        CHECK(munmap(side.memory, kBytes) == 0);
        unmapped = true;
      }
      if (told && !unmapped) {
        char byte;
        if (recv(child.socket, &byte, 1, MSG_DONTWAIT) == 1) unmapped = true;
      }
      if (unmapped && ++since > 400) break;  // far more than were on their way when the memory went
    }
    printf("%s, %s memory unmapped: %s after %d\n", opcode == IBV_WR_RDMA_WRITE ? "write" : "read",
           round < 2 ? "remote" : "own", status == -1 ? "hang" : ibv_wc_status_str((enum ibv_wc_status)status),
           completed);
    CHECK(unmapped || status != IBV_WC_SUCCESS);
    CHECK(status != -1 && status != IBV_WC_SUCCESS);
    for (; completed < posted; ++completed) CHECK(Complete(&side, kPatience) == IBV_WC_WR_FLUSH_ERR);
    // The error may arrive before the other side has said that it unmapped: it must not find the socket closed.
    if (told && !unmapped) Hear(child.socket, &(char){0}, 1);
    Close(&side);
    close(child.socket);
    CHECK(Wait(&child) == 0);
  }
}

// One of each, and gone.
static void NoCleanup(void) {
  struct side side;
  Open(&side, "rxe0");
  struct accel accel;
  AccelOpen(&accel, 0);
  AccelAlloc(&accel, kBytes);
  const int dmabuf = AccelExport(&accel, 0, kBytes);
  CHECK(ibv_reg_dmabuf_mr(side.nic.pd, 0, kBytes, 0, dmabuf, kAccess) != NULL);
  struct ibv_comp_channel* channel = ibv_create_comp_channel(side.nic.context);
  CHECK(channel != NULL);
  struct ibv_cq* cq = ibv_create_cq(side.nic.context, 10, NULL, channel, 0);
  CHECK(cq != NULL);
  struct ibv_srq_init_attr srq_attr = {.attr = {.max_wr = 10, .max_sge = 1}};
  struct ibv_srq* srq = ibv_create_srq(side.nic.pd, &srq_attr);
  CHECK(srq != NULL);
  struct ibv_qp_init_attr attr = {.send_cq = cq, .recv_cq = cq, .srq = srq, .qp_type = IBV_QPT_RC};
  attr.cap.max_send_wr = 4;
  attr.cap.max_send_sge = 1;
  CHECK(ibv_create_qp(side.nic.pd, &attr) != NULL);
  CHECK(ibv_alloc_mw(side.nic.pd, IBV_MW_TYPE_2) != NULL);
  const struct endpoint own = NicEndpoint(&side.nic, side.qp);
  struct ibv_ah_attr ah = {.is_global = 1, .port_num = kPort};
  ah.grh.dgid = own.gid;
  ah.grh.sgid_index = (uint8_t)side.nic.gid.gid_index;
  CHECK(ibv_create_ah(side.nic.pd, &ah) != NULL);
  _exit(0);
}

// SCM_RIGHTS: the device's descriptor goes to another process; the context lives until that one closes it.
static void SendFd(int socket, int fd) {
  char byte = 1;
  struct iovec part = {&byte, 1};
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  CHECK(sendmsg(socket, &message, 0) == 1);
}
static int ReceiveFd(int socket) {
  char byte;
  struct iovec part = {&byte, 1};
  char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  CHECK(recvmsg(socket, &message, 0) == 1);
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
  return fd;
}
static void Giver(int socket) {
  struct side side;
  Open(&side, "rxe0");
  SendFd(socket, side.nic.context->cmd_fd);
  _exit(0);  // without closing
}
static void ScmRights(void) {
  struct child child = Fork(Giver);
  const int fd = ReceiveFd(child.socket);
  CHECK(Wait(&child) == 0);
  struct ibv_context* context = ibv_import_device(fd);
  if (context == NULL) CHECK(errno == EOPNOTSUPP || errno == ENOTSUP);  // rxe: no query_ucontext
  puts("held");
  fflush(stdout);
  char line[16];
  CHECK(fgets(line, sizeof(line), stdin) != NULL);
  CHECK(close(fd) == 0);
  puts("closed");
  fflush(stdout);
  (void)fgets(line, sizeof(line), stdin);
}

// Two peers write to each other without end; the parent (the test) stops, continues or kills one of them. The one
// that hears its fate says how far it came when asked (a line of input), or ends at the end of input.
static void Traffic(const char* name, int socket, bool reports) {
  struct side side;
  const struct card other = Meet(&side, name, socket, 7);
  if (reports) {
    puts("running");
    fflush(stdout);
  }
  long posted = 0, completed = 0;
  for (;;) {
    while (posted - completed < kDepth && Post(&side, IBV_WR_RDMA_WRITE, &other, kBytes) == 0) ++posted;
    struct ibv_wc wc;
    while (ibv_poll_cq(side.nic.cq, 1, &wc) == 1) {
      if (wc.status != IBV_WC_SUCCESS) {
        if (reports) printf("%s\n", ibv_wc_status_str(wc.status));
        fflush(stdout);
        _exit(0);
      }
      ++completed;
    }
    struct pollfd input = {.fd = reports ? STDIN_FILENO : socket, .events = POLLIN};
    if (poll(&input, 1, 0) == 0) continue;
    char line[16];
    if (!reports || fgets(line, sizeof(line), stdin) == NULL) break;
    printf("%ld\n", completed);
    fflush(stdout);
  }
  _exit(0);
}
static void OtherEnd(int socket) { Traffic("rxe1", socket, false); }
static void Pair(void) {
  const struct child child = Fork(OtherEnd);
  printf("%d\n", child.pid);
  fflush(stdout);
  Traffic("rxe0", child.socket, true);
}

static const struct {
  const char* name;
  void (*run)(void);
} kWhat[] = {{"no-receives", NoReceives},
             {"fork", ForkAfterwards},
             {"parent-exits-first", ParentExitsFirst},
             {"wrong-order", WrongOrder},
             {"unmap", UnmappedMemory},
             {"no-cleanup", NoCleanup},
             {"scm-rights", ScmRights},
             {"pair", Pair}};

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (size_t i = 0; argc == 2 && i < sizeof(kWhat) / sizeof(kWhat[0]); ++i) {
    if (strcmp(argv[1], kWhat[i].name) != 0) continue;
    kWhat[i].run();
    return 0;
  }
  fprintf(stderr, "Usage: %s WHAT\n", argv[0]);
  return 2;
}
