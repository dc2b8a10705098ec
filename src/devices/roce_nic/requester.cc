// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include <cstring>

#include "devices/roce_nic/completion.h"
#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/engine.h"
#include "devices/roce_nic/receive.h"
#include "devices/roce_nic/requester.h"
#include "devices/roce_nic/window.h"

namespace causeway::roce {
namespace {

using uapi::ib_wc_status;

// RNR timer codes 0..31 in microseconds (rxe_comp.c rnrnak_usec[]; specs/verbs.md 8.4).
constexpr uint32_t kRnrMicroseconds[32] = {
    655360, 10,   20,   30,   40,    60,    80,    120,   160,   240,   320,   480,    640,    960,    1280,   1920,
    2560,   3840, 5120, 7680, 10240, 15360, 20480, 30720, 40960, 61440, 81920, 122880, 163840, 245760, 327680, 491520};

constexpr uint64_t kMaxMessage = uint64_t{1} << 31;
constexpr uint64_t kStallRetryNs = 100'000;  // how often a WQE looks whether its region has come back

const uapi::rxe_send_wqe* HeadWqe(const Engine& engine, const QpContext& qp) {
  return reinterpret_cast<const uapi::rxe_send_wqe*>(
      uapi::RxeSlot(QueueOf(engine, qp.sq), qp.sq.index, qp.sq.log2_elem));
}

void Consume(const Engine& engine, QpContext& qp) {
  qp.sq.index = (qp.sq.index + 1) & qp.sq.mask;
  QueueOf(engine, qp.sq)->consumer_index.store(qp.sq.index, std::memory_order_release);
}

// What the completion of a successful request says (rxe_comp.c make_send_cqe(), wr_to_wc_opcode()).
uint32_t CompletionOpcode(uint32_t opcode) {
  switch (opcode) {
    case uapi::IB_WR_RDMA_WRITE:
    case uapi::IB_WR_RDMA_WRITE_WITH_IMM: return uapi::IB_WC_RDMA_WRITE;
    case uapi::IB_WR_RDMA_READ: return uapi::IB_WC_RDMA_READ;
    case uapi::IB_WR_ATOMIC_CMP_AND_SWP: return uapi::IB_WC_COMP_SWAP;
    case uapi::IB_WR_ATOMIC_FETCH_AND_ADD: return uapi::IB_WC_FETCH_ADD;
    case uapi::IB_WR_BIND_MW: return uapi::IB_WC_BIND_MW;
    case uapi::IB_WR_LOCAL_INV: return uapi::IB_WC_LOCAL_INV;
    case uapi::IB_WR_FLUSH: return uapi::IB_WC_FLUSH;
    case uapi::IB_WR_ATOMIC_WRITE: return uapi::IB_WC_ATOMIC_WRITE;
    default: return uapi::IB_WC_SEND;
  }
}

bool TakesLocalWrite(uint32_t opcode) {
  return opcode == uapi::IB_WR_RDMA_READ || opcode == uapi::IB_WR_ATOMIC_CMP_AND_SWP ||
         opcode == uapi::IB_WR_ATOMIC_FETCH_AND_ADD;
}

void Park(const Engine& engine, QpContext& qp, uint64_t delay_ns) {
  qp.parked = 1;
  if (delay_ns == 0) {  // no timer: only another doorbell tries again
    qp.deadline_ns.store(0, std::memory_order_relaxed);
    return;
  }
  qp.deadline_ns.store(MonotonicNs() + delay_ns, std::memory_order_relaxed);
  RaiseAttention(engine, qp, kAttentionTimer);
}

constexpr Outcome kParked = {true, uapi::IB_WC_SUCCESS};

// No answer came. Deviation: retry_cnt 7 is seven retries, as IBTA has it; rxe takes it for endless.
Outcome NoAnswer(const Engine& engine, QpContext& qp) {
  NicCounters& counters = engine.nic->counters[qp.nic];
  if (qp.av.dest_nic == kNoNic) counters.send_err.fetch_add(1, std::memory_order_relaxed);
  if (qp.timeout == 0) {
    Park(engine, qp, 0);
    return kParked;
  }
  if (qp.retries_left == 0) {
    counters.retry_exceeded_err.fetch_add(1, std::memory_order_relaxed);
    return {false, uapi::IB_WC_RETRY_EXC_ERR};
  }
  --qp.retries_left;
  counters.completer_retry_err.fetch_add(1, std::memory_order_relaxed);
  Park(engine, qp, uint64_t{4096} << qp.timeout);
  return kParked;
}

Outcome NotReady(const Engine& engine, QpContext& qp, uint32_t rnr_timer) {
  NicCounters& counters = engine.nic->counters[qp.nic];
  counters.rcvd_rnr_err.fetch_add(1, std::memory_order_relaxed);
  if (qp.rnr_retry != 7) {
    if (qp.rnr_left == 0) {
      counters.retry_rnr_exceeded_err.fetch_add(1, std::memory_order_relaxed);
      return {false, uapi::IB_WC_RNR_RETRY_EXC_ERR};
    }
    --qp.rnr_left;
  }
  Park(engine, qp, uint64_t{kRnrMicroseconds[rnr_timer & 31]} * 1000);
  return kParked;
}

// NAK 0x60: everything before was received; go back (rxe_comp.c AETH_NAK_PSN_SEQ_ERROR). The peer is silent about the
// second attempt, so the timer runs.
Outcome SequenceError(const Engine& engine, QpContext& qp) {
  NicCounters& counters = engine.nic->counters[qp.nic];
  counters.rcvd_seq_err.fetch_add(1, std::memory_order_relaxed);
  if (qp.retries_left == 0) {
    counters.retry_exceeded_err.fetch_add(1, std::memory_order_relaxed);
    return {false, uapi::IB_WC_RETRY_EXC_ERR};
  }
  --qp.retries_left;
  counters.completer_retry_err.fetch_add(1, std::memory_order_relaxed);
  return NoAnswer(engine, qp);
}

// Gives the request to the peer and says what its answer means.
Outcome Transact(const Engine& engine, const Actor& actor, QpContext& qp, const Request& request) {
  uint32_t rnr_timer = 0;
  const Answer answer = Respond(engine, actor, qp, request, &rnr_timer);
  if (answer != Answer::kAck) [[unlikely]] {
    if (answer == Answer::kStalled) return AwaitRegion(engine, qp);
    if (answer == Answer::kLocalFault) return {false, uapi::IB_WC_LOC_PROT_ERR};
    if (qp.type == kRc) {
      switch (answer) {
        case Answer::kNone: return NoAnswer(engine, qp);
        case Answer::kRnrNak: return NotReady(engine, qp, rnr_timer);
        case Answer::kNakSequence: return SequenceError(engine, qp);
        case Answer::kNakInvalid: return {false, uapi::IB_WC_REM_INV_REQ_ERR};
        case Answer::kNakAccess: return {false, uapi::IB_WC_REM_ACCESS_ERR};
        case Answer::kNakOperation: return {false, uapi::IB_WC_REM_OP_ERR};
        default: break;  // a duplicate was acknowledged
      }
    }
  }
  qp.sq_psn = (qp.sq_psn + request.packets) & 0xffffff;
  qp.retries_left = qp.retry_count;
  qp.rnr_left = qp.rnr_retry;
  return {false, uapi::IB_WC_SUCCESS};
}

// Work requests that are not of every day: what needs no peer, and what Linux 6.2 added.
[[gnu::noinline]] Outcome ExecuteRare(const Engine& engine, const Actor& actor, QpContext& qp,
                                      const uapi::rxe_send_wqe& wqe, uint32_t opcode) {
  const auto& wr = wqe.wr.wr;
  Gather local;
  Request request = {};
  request.opcode = static_cast<uapi::ib_wr_opcode>(opcode);
  request.psn = qp.sq_psn;
  request.packets = 1;
  request.local = &local;
  switch (opcode) {
    case uapi::IB_WR_BIND_MW: {
      Bind bind;
      memcpy(&bind, &wr.mw, sizeof(bind));
      return {false, BindWindow(engine, actor, qp, bind) ? uapi::IB_WC_SUCCESS : uapi::IB_WC_MW_BIND_ERR};
    }
    case uapi::IB_WR_LOCAL_INV:  // of a user's region: LOC_QP_OP_ERR, it is no fast-register region
      if (qp.type != kRc) break;
      return {false, InvalidateWindow(engine, actor, qp, __atomic_load_n(&wqe.wr.ex, __ATOMIC_RELAXED), false)
                         ? uapi::IB_WC_SUCCESS
                         : uapi::IB_WC_LOC_QP_OP_ERR};
    case uapi::IB_WR_FLUSH:
      if (qp.type != kRc || Lacks(*engine.nic, qp.nic, opcode)) break;
      request.remote_addr = wr.flush.remote_addr;
      request.rkey = wr.flush.rkey;
      request.flush_type = wr.flush.type;
      request.flush_level = wr.flush.level;
      local.length = __atomic_load_n(&wqe.dma.length, __ATOMIC_RELAXED);
      return Transact(engine, actor, qp, request);
    case uapi::IB_WR_ATOMIC_WRITE:  // counts as a read (rxe_opcode.c WR_ATOMIC_OR_READ_MASK)
      if (qp.type != kRc || Lacks(*engine.nic, qp.nic, opcode)) break;
      if (qp.max_rd_atomic == 0) {
        Park(engine, qp, 0);
        return kParked;
      }
      request.remote_addr = wr.rdma.remote_addr;
      request.rkey = wr.rdma.rkey;
      memcpy(&request.atomic.swap, uapi::RxeInlineData(&wqe), 8);
      local.length = __atomic_load_n(&wqe.dma.length, __ATOMIC_RELAXED);
      return Transact(engine, actor, qp, request);
    default: break;
  }
  return {false, uapi::IB_WC_LOC_QP_OP_ERR};
}

// A message that takes a receive meets lines that the peer wrote last: its receive ring, its entry, the completion
// ring's consumer index and free slot. They are asked for at once, not one after the other when each is needed. Read
// without locks: what is stale costs time only.
void PrefetchReceive(const Engine& engine, const QpContext& qp) {
  if (qp.dest_qpn >= kMaxQps) return;
  const QpContext& peer = engine.nic->qps[qp.dest_qpn];
  if (peer.rq.offset != 0) {
    const uapi::rxe_queue_buf* ring = QueueOf(engine, peer.rq);
    __builtin_prefetch(&ring->producer_index);
    __builtin_prefetch(uapi::RxeSlot(QueueOf(engine, peer.rq), peer.rq.index, peer.rq.log2_elem));
  }
  if (peer.recv_cq >= kMaxCqs) return;
  const Ring& completions = engine.nic->cqs[peer.recv_cq].ring;
  if (completions.offset == 0) return;
  uapi::rxe_queue_buf* ring = QueueOf(engine, completions);
  __builtin_prefetch(&ring->consumer_index);
  __builtin_prefetch(&ring->producer_index, 1);
  __builtin_prefetch(uapi::RxeSlot(ring, completions.index, completions.log2_elem), 1);
}

Outcome Execute(const Engine& engine, const Actor& actor, QpContext& qp, const uapi::rxe_send_wqe& wqe, uint32_t opcode,
                uint32_t flags) {
  Gather local;
  Request request = {};
  request.opcode = static_cast<uapi::ib_wr_opcode>(opcode);
  request.solicited = (flags & uapi::IB_SEND_SOLICITED) != 0;
  request.immediate = wqe.wr.ex;
  switch (opcode) {
    case uapi::IB_WR_RDMA_WRITE_WITH_IMM: PrefetchReceive(engine, qp); [[fallthrough]];
    case uapi::IB_WR_RDMA_READ:
    case uapi::IB_WR_RDMA_WRITE:
      request.remote_addr = wqe.wr.wr.rdma.remote_addr;
      request.rkey = wqe.wr.wr.rdma.rkey;
      break;
    case uapi::IB_WR_SEND:
    case uapi::IB_WR_SEND_WITH_IMM: PrefetchReceive(engine, qp); break;
    case uapi::IB_WR_SEND_WITH_INV: request.invalidate = request.immediate; break;
    case uapi::IB_WR_ATOMIC_CMP_AND_SWP:
    case uapi::IB_WR_ATOMIC_FETCH_AND_ADD:
      if (Lacks(*engine.nic, qp.nic, opcode)) return {false, uapi::IB_WC_LOC_QP_OP_ERR};
      request.remote_addr = wqe.wr.wr.atomic.remote_addr;
      request.rkey = wqe.wr.wr.atomic.rkey;
      request.atomic = {opcode == uapi::IB_WR_ATOMIC_CMP_AND_SWP, wqe.wr.wr.atomic.compare_add, wqe.wr.wr.atomic.swap};
      break;
    default: return ExecuteRare(engine, actor, qp, wqe, opcode);
  }
  // rxe_req.c next_opcode_uc() knows SEND and WRITE, with and without immediate.
  if (opcode >= uapi::IB_WR_RDMA_READ && qp.type != kRc) return {false, uapi::IB_WC_LOC_QP_OP_ERR};
  const ib_wc_status status = GatherLocal(engine, qp, wqe, opcode, flags, &local);
  if (status != uapi::IB_WC_SUCCESS) {
    return status == kRegionStalled ? AwaitRegion(engine, qp) : Outcome{false, status};
  }
  if (TakesLocalWrite(opcode)) {
    if (qp.max_rd_atomic == 0) {  // rxe never starts one: the send queue stands still
      Park(engine, qp, 0);
      return kParked;
    }
    if (opcode != uapi::IB_WR_RDMA_READ) {
      if (local.length < 8 || local.count == 0 || local.parts[0].len < 8) return {false, uapi::IB_WC_LOC_QP_OP_ERR};
      local.length = 8;
    }
  }
  request.local = &local;
  request.psn = qp.sq_psn;
  request.packets = 1;
  if (opcode <= uapi::IB_WR_RDMA_READ && local.length > qp.path_mtu_bytes && qp.path_mtu_bytes != 0) {
    request.packets = static_cast<uint32_t>((local.length + qp.path_mtu_bytes - 1) / qp.path_mtu_bytes);
  }
  return Transact(engine, actor, qp, request);
}

// First the place in the queue, then the completion, as rxe_comp.c do_complete(): who sees this one may post another.
void CompleteSend(const Engine& engine, const Actor& actor, QpContext& qp, const uapi::rxe_send_wqe& wqe,
                  uint32_t opcode, uint32_t flags) {
  if (opcode == uapi::IB_WR_SEND || opcode == uapi::IB_WR_SEND_WITH_IMM || opcode == uapi::IB_WR_SEND_WITH_INV) {
    qp.sends.store(qp.sends.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  if (qp.sq_sig_all == 0 && (flags & uapi::IB_SEND_SIGNALED) == 0) {
    Consume(engine, qp);
    return;
  }
  uapi::ib_uverbs_wc entry = {};
  entry.wr_id = wqe.wr.wr_id;
  entry.opcode = CompletionOpcode(opcode);
  entry.byte_len = wqe.dma.length;
  if (opcode == uapi::IB_WR_BIND_MW || opcode == uapi::IB_WR_LOCAL_INV) entry.byte_len = 0;
  entry.qp_num = qp.qpn;
  if (opcode == uapi::IB_WR_RDMA_WRITE_WITH_IMM || opcode == uapi::IB_WR_SEND_WITH_IMM) {
    entry.wc_flags = uapi::IB_WC_WITH_IMM;
  }
  Consume(engine, qp);
  (void)PostCompletion(engine, actor, qp.send_cq, entry,
                       false);  // a lost entry is reported by CQ_ERR; the QP goes on
}

// The oldest request ends in error.
void FailSend(const Engine& engine, const Actor& actor, QpContext& qp, ib_wc_status status) {
  const uint64_t wr_id = HeadWqe(engine, qp)->wr.wr_id;
  Consume(engine, qp);
  (void)PostError(engine, actor, qp.send_cq, qp.qpn, wr_id, status);
}

void FlushSendQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp) {
  const uint32_t producer = QueueOf(engine, qp.sq)->producer_index.load(std::memory_order_acquire) & qp.sq.mask;
  while (qp.sq.index != producer) {
    FailSend(engine, actor, qp, uapi::IB_WC_WR_FLUSH_ERR);
  }
  qp.parked = 0;
  qp.sq_draining = 0;
  qp.deadline_ns.store(0, std::memory_order_relaxed);
}

}  // namespace

ib_wc_status GatherLocal(const Engine& engine, const QpContext& qp, const uapi::rxe_send_wqe& wqe, uint32_t opcode,
                         uint32_t flags, Gather* out) {
  uint64_t left = __atomic_load_n(&wqe.dma.length, __ATOMIC_RELAXED);
  out->length = left;
  if (left > kMaxMessage) return uapi::IB_WC_LOC_LEN_ERR;
  if ((flags & uapi::IB_SEND_INLINE) != 0 && !TakesLocalWrite(opcode)) {
    if (left > qp.max_inline) return uapi::IB_WC_LOC_QP_OP_ERR;
    out->inline_data = uapi::RxeInlineData(&wqe);
    return uapi::IB_WC_SUCCESS;
  }
  const uint32_t num_sge = __atomic_load_n(&wqe.dma.num_sge, __ATOMIC_RELAXED);
  if (num_sge > qp.max_send_sge || num_sge > Gather::kMaxSge) return uapi::IB_WC_LOC_QP_OP_ERR;
  const uint32_t access = TakesLocalWrite(opcode) ? uint32_t{uapi::IB_ACCESS_LOCAL_WRITE} : 0;
  const uapi::rxe_sge* sges = uapi::RxeSges(&wqe);
  for (uint32_t i = 0; i < num_sge && left > 0; ++i) {
    uapi::rxe_sge sge;
    memcpy(&sge, &sges[i], sizeof(sge));
    const uint64_t len = sge.length < left ? sge.length : left;
    if (len == 0) continue;
    const KeyCheck check = FindRegion(engine, sge.lkey, qp.pd, access, sge.addr, len, &out->parts[out->count]);
    if (check != KeyCheck::kOk) {
      return check == KeyCheck::kStalled ? kRegionStalled : uapi::IB_WC_LOC_PROT_ERR;
    }
    ++out->count;
    left -= len;
  }
  return left == 0 ? uapi::IB_WC_SUCCESS : uapi::IB_WC_LOC_QP_OP_ERR;  // rxe copy_data(): the list ends early, ENOSPC
}

Outcome AwaitRegion(const Engine& engine, QpContext& qp) {
  Park(engine, qp, kStallRetryNs);
  return kParked;
}

uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void FlushLocked(const Engine& engine, const Actor& actor, QpContext& qp) {
  FlushSendQueueLocked(engine, actor, qp);
  const OwnedLockGuard lock(actor, qp.rq_lock, ipc::kLockRq);
  FlushReceiveQueueLocked(engine, actor, qp);
}

void RunSendQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp) {
  if (qp.valid.load(std::memory_order_relaxed) == 0) return;
  const uint64_t deadline = qp.deadline_ns.load(std::memory_order_relaxed);
  if (qp.parked != 0 && deadline != 0 && MonotonicNs() < deadline) {
    // A timer of a former wait is early for this one, which has raised its own.
    if (qp.state.load(std::memory_order_relaxed) != kErr) return;
  }
  for (;;) {
    const uint32_t state = qp.state.load(std::memory_order_acquire);
    if (state == kErr) {
      FlushLocked(engine, actor, qp);
      return;
    }
    if (state != kRts && !(state == kSqd && qp.parked != 0)) return;
    const uint32_t producer = QueueOf(engine, qp.sq)->producer_index.load(std::memory_order_acquire) & qp.sq.mask;
    if (qp.sq.index == producer) return;
    const uapi::rxe_send_wqe& wqe = *HeadWqe(engine, qp);
    const uint32_t opcode = __atomic_load_n(&wqe.wr.opcode, __ATOMIC_RELAXED);
    const uint32_t flags = __atomic_load_n(&wqe.wr.send_flags, __ATOMIC_RELAXED);
    const Outcome outcome = qp.type != kUd ? Execute(engine, actor, qp, wqe, opcode, flags)
                                           : ExecuteDatagram(engine, actor, qp, wqe, opcode, flags);
    if (outcome.parked) return;
    qp.parked = 0;
    qp.deadline_ns.store(0, std::memory_order_relaxed);
    if (outcome.status == uapi::IB_WC_SUCCESS) {
      CompleteSend(engine, actor, qp, wqe, opcode, flags);
      if (state == kSqd && qp.sq_draining != 0) {
        qp.sq_draining = 0;
        RaiseAttention(engine, qp, kAttentionDrained);
        return;
      }
      continue;
    }
    FailSend(engine, actor, qp, outcome.status);
    EnterError(engine, qp);
    FlushLocked(engine, actor, qp);
    return;
  }
}

void RingDoorbell(const Engine& engine, uint32_t slot, uint32_t qpn) {
  auto* slots = reinterpret_cast<ipc::ThreadSlot*>(engine.arena + engine.header->slots_offset);
  const Actor actor = {engine.arena, &slots[slot], slot};
  const EpochGuard epoch(actor, EpochGuard::kLockFollows);
  QpContext& qp = engine.nic->qps[qpn];
  // Counted only when the lock is not to be had: a ring that nobody meets costs the lock and no more. A QP that is gone
  // by now can be locked all the same; it has nothing to run.
  bool counted = false;
  for (;;) {
    OwnedLockGuard lock(actor, qp.sq_lock, ipc::kLockSq, OwnedLockGuard::kTry);
    if (!lock.held()) {
      if (counted) return;  // whoever holds it looks at `doorbells` again after letting go
      qp.doorbells.fetch_add(1, std::memory_order_seq_cst);
      counted = true;
      continue;
    }
    counted = true;  // another's ring, seen below, is the next holder's as well
    const uint32_t seen = qp.doorbells.load(std::memory_order_acquire);
    RunSendQueueLocked(engine, actor, qp);
    lock.Release();
    if (qp.doorbells.load(std::memory_order_seq_cst) == seen) return;
  }
}

void InitEngine(Engine& engine, std::byte* arena, uint32_t mm, std::byte* (*map_window)(void*, uint32_t, uint32_t),
                void* context) {
  engine.arena = arena;
  engine.header = reinterpret_cast<ipc::ArenaHeader*>(arena);
  engine.nic = reinterpret_cast<NicMemory*>(arena + engine.header->region_offset[ipc::kRegionNic]);
  engine.bus = reinterpret_cast<pci::BusMap*>(arena + engine.header->region_offset[ipc::kRegionBusMap]);
  engine.mm = mm;
  engine.map_window = map_window;
  engine.context = context;
}

}  // namespace causeway::roce
