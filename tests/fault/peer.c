// SPDX-License-Identifier: Apache-2.0
//
// One side of a transfer that somebody will end. Speaks JSON lines, so that a test can join two of them:
//
//   peer ROLE KIND ACCEL NIC      ROLE requester|responder, KIND write|read|send|atomic with -host or -hbm; srq: sends
//   to
//                                 receives of an SRQ; mw: writes through a memory window; ud: datagrams
//   peer waiter - ACCEL NIC       blocks in ibv_get_cq_event(); out as for a machine that died
//   out {"endpoint": {...}}       in: the other side's object on one line (without the word "endpoint")
//   in  go                        the responder is ready: the requester may begin
//   out {"running": true}         the requester transfers without end, the responder waits for receives
//   out {"status": "..", "count": N}   the requester saw this completion status, and N completions after it
//   in  probe                     a responder whose requester has died writes to it, and says what came of it; either
//                                 side of datagrams sends some more, which succeed: nobody answers a datagram
//   in  quit, or end of input     takes everything down by the book and exits 0
//   out {"errno": "ENODEV", "call": ".."}   the machine has died: every call tried gave this errno; exits 3
//
// Ends by itself when nothing happens for 30 s: status 4, a hang.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "fail.h"
#include "rdma.h"

enum { kBytes = 4 * 1024 * 1024, kMessage = 256 * 1024, kDepth = 8 };
enum { kDatagram = 512, kQkey = 0x11111111 };
enum { kReceive, kSend };  // wr_id: of a failed completion nothing else says which kind it was
static const double kPatience = 30;

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct peer {
  bool requester;
  char kind[16];
  struct accel accel;
  struct nic nic;
  struct ibv_mr* mr;
  uint64_t base;  // address of the region's first byte in work requests
  struct ibv_qp* qp;
  struct ibv_srq* srq;  // NULL, as mw and ah: not of this kind
  struct ibv_mw* mw;
  uint32_t mw_rkey;  // that it will be bound with
  struct ibv_ah* ah;
  uint32_t remote_qpn;
  uint64_t remote;
  uint32_t rkey;
};

// A line of the input, waiting at most `seconds`. False: none yet. The end of the input reads as "quit".
static bool ReadLine(char* line, size_t size, double seconds) {
  static char buffer[1024];
  static size_t used;
  const double end = Now() + seconds;
  for (;;) {
    char* newline = memchr(buffer, '\n', used);
    if (newline != NULL) {
      const size_t length = (size_t)(newline - buffer);
      snprintf(line, size, "%.*s", (int)length, buffer);
      used -= length + 1;
      memmove(buffer, newline + 1, used);
      return true;
    }
    const double left = end - Now();
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, left > 0 ? (int)(left * 1000) + 1 : 0) <= 0) return false;
    const ssize_t n = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used);
    if (n <= 0) {
      snprintf(line, size, "quit");
      return true;
    }
    used += (size_t)n;
  }
}

__attribute__((noreturn)) static void Hang(const char* what) {
  printf("{\"hang\":\"%s\"}\n", what);
  _exit(4);
}

static bool IsKind(const struct peer* peer, const char* kind) { return strncmp(peer->kind, kind, strlen(kind)) == 0; }

static void ConnectDatagrams(struct peer* peer, const struct endpoint* other) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = kPort, .qkey = kQkey};
  int error = ibv_modify_qp(peer->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY);
  if (error != 0) Fail("ibv_modify_qp(INIT)", peer->nic.name, error, NULL);
  attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR};
  error = ibv_modify_qp(peer->qp, &attr, IBV_QP_STATE);
  if (error != 0) Fail("ibv_modify_qp(RTR)", peer->nic.name, error, NULL);
  attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .sq_psn = NicEndpoint(&peer->nic, peer->qp).psn};
  error = ibv_modify_qp(peer->qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN);
  if (error != 0) Fail("ibv_modify_qp(RTS)", peer->nic.name, error, NULL);
  struct ibv_ah_attr ah = {.port_num = kPort, .is_global = 1};
  ah.grh.dgid = other->gid;
  ah.grh.sgid_index = (uint8_t)peer->nic.gid.gid_index;
  ah.grh.hop_limit = 64;
  peer->ah = ibv_create_ah(peer->nic.pd, &ah);
  if (peer->ah == NULL) Fail("ibv_create_ah", peer->nic.name, errno, NULL);
}

// A window of type 2 over the whole region, with the rkey that the other side has been told.
static void BindWindow(struct peer* peer) {
  struct ibv_send_wr wr = {.wr_id = kSend, .opcode = IBV_WR_BIND_MW};
  wr.bind_mw.mw = peer->mw;
  wr.bind_mw.rkey = peer->mw_rkey;
  wr.bind_mw.bind_info = (struct ibv_mw_bind_info){.mr = peer->mr,
                                                   .addr = peer->base,
                                                   .length = kBytes,
                                                   .mw_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE};
  struct ibv_send_wr* bad = NULL;
  const int error = ibv_post_send(peer->qp, &wr, &bad);
  if (error != 0) Fail("ibv_post_send(BIND_MW)", peer->nic.name, error, NULL);
  struct ibv_wc wc;
  NicWait(&peer->nic, "BIND_MW", &wc);
}

static void Connect(struct peer* peer, const struct endpoint* other) {
  peer->remote_qpn = other->qpn;
  if (IsKind(peer, "ud")) {
    ConnectDatagrams(peer, other);
    return;
  }
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                             .port_num = kPort,
                             .qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
                                                IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC};
  int error = ibv_modify_qp(peer->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) Fail("ibv_modify_qp(INIT)", peer->nic.name, error, NULL);
  memset(&attr, 0, sizeof(attr));
  attr.qp_state = IBV_QPS_RTR;
  attr.path_mtu = IBV_MTU_1024;
  attr.dest_qp_num = other->qpn;
  attr.rq_psn = other->psn;
  attr.max_dest_rd_atomic = 8;
  attr.min_rnr_timer = 1;
  attr.ah_attr.port_num = kPort;
  attr.ah_attr.is_global = 1;
  attr.ah_attr.grh.dgid = other->gid;
  attr.ah_attr.grh.sgid_index = (uint8_t)peer->nic.gid.gid_index;
  attr.ah_attr.grh.hop_limit = 64;
  error = ibv_modify_qp(peer->qp, &attr,
                        IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                            IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) Fail("ibv_modify_qp(RTR)", peer->nic.name, error, NULL);
  memset(&attr, 0, sizeof(attr));
  attr.qp_state = IBV_QPS_RTS;
  attr.timeout = 10;  // 4 ms
  attr.retry_cnt = 3;
  attr.rnr_retry = 7;  // a responder that is slow to post receives is no failure
  attr.sq_psn = NicEndpoint(&peer->nic, peer->qp).psn;
  attr.max_rd_atomic = 8;
  error = ibv_modify_qp(
      peer->qp, &attr,
      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) Fail("ibv_modify_qp(RTS)", peer->nic.name, error, NULL);
}

static void CreateQp(struct peer* peer) {
  struct ibv_qp_init_attr init = {
      .send_cq = peer->nic.cq,
      .recv_cq = peer->nic.cq,
      .cap = {.max_send_wr = 2 * kDepth, .max_recv_wr = 2 * kDepth, .max_send_sge = 1, .max_recv_sge = 1},
      .qp_type = IsKind(peer, "ud") ? IBV_QPT_UD : IBV_QPT_RC,
      .sq_sig_all = 1};
  if (IsKind(peer, "srq")) {
    struct ibv_srq_init_attr srq = {.attr = {.max_wr = 2 * kDepth, .max_sge = 1}};
    init.srq = peer->srq = ibv_create_srq(peer->nic.pd, &srq);
    if (peer->srq == NULL) Fail("ibv_create_srq", peer->nic.name, errno, NULL);
  }
  peer->qp = ibv_create_qp(peer->nic.pd, &init);
  if (peer->qp == NULL) Fail("ibv_create_qp", peer->nic.name, errno, NULL);
}

static void SetUp(struct peer* peer, char** argv) {
  peer->requester = strcmp(argv[1], "requester") == 0;
  snprintf(peer->kind, sizeof(peer->kind), "%s", argv[2]);
  const unsigned accel = (unsigned)atoi(argv[3]);
  NicOpen(&peer->nic, argv[4], 0);
  // Only host memory can have windows: UVERBS_METHOD_REG_DMABUF_MR takes no IB_ACCESS_MW_BIND.
  const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
                     IBV_ACCESS_REMOTE_ATOMIC | (IsKind(peer, "mw") ? IBV_ACCESS_MW_BIND : 0);
  peer->accel.fd = -1;
  if (strstr(peer->kind, "hbm") != NULL) {
    AccelOpen(&peer->accel, accel);
    AccelAlloc(&peer->accel, kBytes);
    const int dmabuf = AccelExport(&peer->accel, 0, kBytes);
    peer->mr = ibv_reg_dmabuf_mr(peer->nic.pd, 0, kBytes, 0, dmabuf, access);
    close(dmabuf);
    peer->base = 0;
  } else {
    void* memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, kBytes);
    peer->mr = ibv_reg_mr(peer->nic.pd, memory, kBytes, (unsigned)access);
    peer->base = (uint64_t)(uintptr_t)memory;
  }
  if (peer->mr == NULL) Fail("ibv_reg_mr / ibv_reg_dmabuf_mr", peer->nic.name, errno, NULL);
  uint32_t rkey = peer->mr->rkey;
  // Before the QP: what a killed program held goes newest first (uverbs_destroy_ufile_hw()), and a window that goes
  // while the QP still answers is a remote access error.
  if (IsKind(peer, "mw") && !peer->requester) {
    peer->mw = ibv_alloc_mw(peer->nic.pd, IBV_MW_TYPE_2);
    if (peer->mw == NULL) Fail("ibv_alloc_mw", peer->nic.name, errno, NULL);
    rkey = peer->mw_rkey = ibv_inc_rkey(peer->mw->rkey);
  }
  CreateQp(peer);

  const struct endpoint own = NicEndpoint(&peer->nic, peer->qp);
  printf("{\"endpoint\":{\"qpn\":%u,\"psn\":%u,\"rkey\":%u,\"address\":%" PRIu64 ",\"gid\":\"", own.qpn, own.psn, rkey,
         peer->base);
  for (int i = 0; i < 16; ++i) printf("%02x", own.gid.raw[i]);
  printf("\"}}\n");

  // The other side's, as the test hands it over: qpn psn rkey address gid.
  char line[256], gid[64];
  if (!ReadLine(line, sizeof(line), kPatience)) Hang("no endpoint");
  struct endpoint other;
  memset(&other, 0, sizeof(other));
  if (sscanf(line, "%u %u %u %" SCNu64 " %32s", &other.qpn, &other.psn, &peer->rkey, &peer->remote, gid) != 5) {
    exit(strcmp(line, "quit") == 0 ? 0 : 2);
  }
  for (int i = 0; i < 16; ++i) {
    unsigned byte;
    if (sscanf(gid + 2 * i, "%2x", &byte) != 1) exit(2);
    other.gid.raw[i] = (uint8_t)byte;
  }
  Connect(peer, &other);
}

static void PostReceive(struct peer* peer) {
  struct ibv_sge sge = {.addr = peer->base, .length = kMessage, .lkey = peer->mr->lkey};
  struct ibv_recv_wr wr = {.wr_id = kReceive, .sg_list = &sge, .num_sge = 1};
  struct ibv_recv_wr* bad = NULL;
  const int error = peer->srq != NULL ? ibv_post_srq_recv(peer->srq, &wr, &bad) : ibv_post_recv(peer->qp, &wr, &bad);
  if (error != 0) Fail("ibv_post_recv / ibv_post_srq_recv", peer->nic.name, error, NULL);
}

static int PostRequest(struct peer* peer, unsigned turn) {
  const uint64_t offset = (uint64_t)(turn % (kBytes / kMessage)) * kMessage;
  struct ibv_sge sge = {.addr = peer->base + offset, .length = kMessage, .lkey = peer->mr->lkey};
  struct ibv_send_wr wr = {.wr_id = kSend, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
  wr.wr.rdma.remote_addr = peer->remote + offset;
  wr.wr.rdma.rkey = peer->rkey;
  if (IsKind(peer, "read")) wr.opcode = IBV_WR_RDMA_READ;
  if (IsKind(peer, "send") || IsKind(peer, "srq")) wr.opcode = IBV_WR_SEND;
  if (IsKind(peer, "ud")) {
    sge.length = kDatagram;
    wr.opcode = IBV_WR_SEND;
    wr.wr.ud.ah = peer->ah;
    wr.wr.ud.remote_qpn = peer->remote_qpn;
    wr.wr.ud.remote_qkey = kQkey;
  }
  if (IsKind(peer, "atomic")) {
    sge.length = 8;
    wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
    wr.wr.atomic.remote_addr = peer->remote + offset;
    wr.wr.atomic.rkey = peer->rkey;
    wr.wr.atomic.compare_add = 1;
  }
  struct ibv_send_wr* bad = NULL;
  return ibv_post_send(peer->qp, &wr, &bad);
}

// The machine is gone when the control path says so. Every kind of call must say the same, and none may hang.
static void CheckMachine(struct peer* peer) {
  struct ibv_port_attr port;
  int error = ibv_query_port(peer->nic.context, kPort, &port);
  if (error == 0) return;
  const char* call = "ibv_query_port";
  if (error == ENODEV && peer->accel.fd >= 0) {
    call = "HL_INFO_HW_IP_INFO";
    error = AccelInfo(&peer->accel);
  }
  if (error == ENODEV) {
    call = "ibv_reg_mr";
    static char memory[4096];
    error = ibv_reg_mr(peer->nic.pd, memory, sizeof(memory), 0) == NULL ? errno : 0;
  }
  if (error == ENODEV) {
    call = "open of the device node";
    struct accel again;
    error = AccelTryOpen(&again, 1);
    if (error == ENOENT || error == ENXIO) error = ENODEV;  // no device is no device
  }
  printf("{\"errno\":\"%s\",\"call\":\"%s\"}\n", strerrorname_np(error), error == ENODEV ? "all" : call);
  exit(3);
}

// Reaps until `wanted` completions with an error have come; prints the first one's status.
static void ReportErrors(struct peer* peer, const struct ibv_wc* first, unsigned outstanding) {
  printf("{\"status\":\"%s\",", ibv_wc_status_str(first->status));
  unsigned flushed = 0;
  const double end = Now() + kPatience;
  while (flushed < outstanding) {
    struct ibv_wc wc;
    const int n = ibv_poll_cq(peer->nic.cq, 1, &wc);
    if (n > 0 && wc.wr_id == kSend) {
      if (wc.status != IBV_WC_WR_FLUSH_ERR) {
        printf("\"then\":\"%s\"}\n", ibv_wc_status_str(wc.status));
        exit(1);
      }
      ++flushed;
    }
    if (Now() > end) {
      printf("\"flushed\":%u,\"outstanding\":%u}\n", flushed, outstanding);
      Hang("completions are missing");
    }
  }
  printf("\"flushed\":%u,\"outstanding\":%u}\n", flushed, outstanding);
}

// Datagrams to nobody: those under way and some more leave this side all the same (rxe_req.c: a UD request completes
// when its packet is sent).
static void ProbeDatagrams(struct peer* peer, unsigned outstanding) {
  const double end = Now() + kPatience;
  for (unsigned turn = 0; outstanding != 0 || turn < 4 * kDepth;) {
    if (turn < 4 * kDepth && outstanding < kDepth) {
      const int error = PostRequest(peer, turn++);
      if (error != 0) Fail("ibv_post_send", peer->nic.name, error, NULL);
      ++outstanding;
    }
    struct ibv_wc wc;
    if (ibv_poll_cq(peer->nic.cq, 1, &wc) > 0 && wc.wr_id == kSend) {
      if (wc.status != IBV_WC_SUCCESS) FailText("a datagram", peer->nic.name, ibv_wc_status_str(wc.status), NULL);
      --outstanding;
    }
    if (Now() > end) Hang("a datagram does not complete");
  }
  printf("{\"status\":\"%s\",\"flushed\":0,\"outstanding\":0}\n", ibv_wc_status_str(IBV_WC_SUCCESS));
}

static void TakeDown(struct peer* peer) {
  int error = ibv_destroy_qp(peer->qp);
  if (error != 0) Fail("ibv_destroy_qp", peer->nic.name, error, NULL);
  error = peer->srq != NULL ? ibv_destroy_srq(peer->srq) : 0;
  if (error != 0) Fail("ibv_destroy_srq", peer->nic.name, error, NULL);
  error = peer->mw != NULL ? ibv_dealloc_mw(peer->mw) : 0;
  if (error != 0) Fail("ibv_dealloc_mw", peer->nic.name, error, NULL);
  error = peer->ah != NULL ? ibv_destroy_ah(peer->ah) : 0;
  if (error != 0) Fail("ibv_destroy_ah", peer->nic.name, error, NULL);
  error = ibv_dereg_mr(peer->mr);
  if (error != 0) Fail("ibv_dereg_mr", peer->nic.name, error, NULL);
  NicClose(&peer->nic);
  if (peer->accel.fd >= 0) AccelClose(&peer->accel);
}

static void Request(struct peer* peer) {
  char go[16];
  if (!ReadLine(go, sizeof(go), kPatience)) Hang("no go");
  if (strcmp(go, "go") != 0) return;
  unsigned posted = 0, completed = 0;
  double last = Now(), checked = last;
  for (;;) {
    while (posted - completed < kDepth) {
      const int error = PostRequest(peer, posted);
      if (error == ENODEV) CheckMachine(peer);
      if (error != 0) Fail("ibv_post_send", peer->nic.name, error, NULL);
      ++posted;
    }
    struct ibv_wc wc;
    const int n = ibv_poll_cq(peer->nic.cq, 1, &wc);
    const double now = Now();
    if (n > 0) {
      if (wc.status != IBV_WC_SUCCESS) {
        ReportErrors(peer, &wc, posted - completed - 1);
        return;
      }
      ++completed;
      last = now;
      if (completed == 4 * kDepth) printf("{\"running\":true}\n");
    }
    if (now - checked > 0.05) {
      CheckMachine(peer);
      char line[64];
      if (ReadLine(line, sizeof(line), 0)) {
        if (strcmp(line, "probe") == 0) ProbeDatagrams(peer, posted - completed);
        return;
      }
      checked = now;
    }
    if (now - last > kPatience) Hang("a work request does not complete");
  }
}

// Nothing will ever complete here: only the end of the machine can end the wait.
__attribute__((noreturn)) static void WaitForEvent(const char* nic_name) {
  struct nic nic;
  NicOpen(&nic, nic_name, 0);
  struct ibv_comp_channel* channel = ibv_create_comp_channel(nic.context);
  if (channel == NULL) Fail("ibv_create_comp_channel", nic.name, errno, NULL);
  struct ibv_cq* cq = ibv_create_cq(nic.context, 16, NULL, channel, 0);
  if (cq == NULL || ibv_req_notify_cq(cq, 0) != 0) Fail("ibv_create_cq / ibv_req_notify_cq", nic.name, errno, NULL);
  printf("{\"running\":true}\n");
  void* context;
  if (ibv_get_cq_event(channel, &cq, &context) == 0) FailText("ibv_get_cq_event", nic.name, "an event came", NULL);
  printf("{\"errno\":\"%s\",\"call\":\"ibv_get_cq_event\"}\n", strerrorname_np(errno));
  exit(3);
}

static void Respond(struct peer* peer) {
  if (peer->mw != NULL) BindWindow(peer);
  for (int i = 0; i < 2 * kDepth; ++i) PostReceive(peer);
  printf("{\"running\":true}\n");
  double checked = Now();
  for (;;) {
    struct ibv_wc wc;
    const int n = ibv_poll_cq(peer->nic.cq, 1, &wc);
    if (n > 0 && wc.status == IBV_WC_SUCCESS) PostReceive(peer);
    const double now = Now();
    if (n > 0 && wc.status != IBV_WC_SUCCESS) {
      printf("{\"status\":\"%s\"}\n", ibv_wc_status_str(wc.status));
      return;
    }
    if (now - checked < 0.01) continue;
    checked = now;
    CheckMachine(peer);
    char line[64];
    if (!ReadLine(line, sizeof(line), 0)) continue;
    if (strcmp(line, "probe") != 0) return;
    if (IsKind(peer, "ud")) {
      ProbeDatagrams(peer, 0);
      return;
    }
    // Requests to a QP that is no more, two at a time: one finds nobody, the next is flushed. The machine may learn of
    // the death a moment after its parent does, so the first ones may still succeed.
    snprintf(peer->kind, sizeof(peer->kind), "write");
    const double end = Now() + kPatience;
    unsigned outstanding = 0;
    for (unsigned turn = 0;; --outstanding) {
      for (; outstanding < 2; ++outstanding, ++turn) {
        const int error = PostRequest(peer, turn);
        if (error != 0) Fail("ibv_post_send", peer->nic.name, error, NULL);
      }
      do {
        if (Now() > end) Hang("the probe does not fail");
      } while (ibv_poll_cq(peer->nic.cq, 1, &wc) == 0 || wc.wr_id != kSend);
      if (wc.status != IBV_WC_SUCCESS) break;
    }
    ReportErrors(peer, &wc, 1);
    return;
  }
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc != 5) {
    fprintf(stderr, "Usage: %s requester|responder KIND ACCEL NIC\n", argv[0]);
    return 2;
  }
  if (strcmp(argv[1], "waiter") == 0) WaitForEvent(argv[4]);
  struct peer peer;
  memset(&peer, 0, sizeof(peer));
  SetUp(&peer, argv);
  if (peer.requester) {
    Request(&peer);
  } else {
    Respond(&peer);
  }
  char line[64];
  if (!ReadLine(line, sizeof(line), kPatience)) Hang("no quit");
  TakeDown(&peer);
  printf("{\"ended\":true}\n");
  return 0;
}
