// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/responder.h"

#include <cstring>

#include "devices/roce_nic/completion.h"

namespace causeway::roce {
namespace {

using uapi::ib_uverbs_wc;

uapi::rxe_queue_buf* QueueOf(const Engine& engine, const Ring& ring) {
  return reinterpret_cast<uapi::rxe_queue_buf*>(engine.arena + ring.offset);
}

// A receive WQE, copied out of the program's ring once: what is checked is what is used.
struct Receive {
  uint64_t wr_id;
  uint32_t num_sge;
  uint64_t capacity;
  uapi::rxe_sge sge[Gather::kMaxSge];
};

enum class Take { kOk, kEmpty, kMalformed };

Take PeekReceive(const Engine& engine, const QpContext& qp, Receive* out) {
  if (qp.rq.offset == 0) return Take::kEmpty;
  uapi::rxe_queue_buf* queue = QueueOf(engine, qp.rq);
  const uint32_t producer = queue->producer_index.load(std::memory_order_acquire) & qp.rq.mask;
  if (producer == qp.rq.index) return Take::kEmpty;
  const auto* wqe = reinterpret_cast<const uapi::rxe_recv_wqe*>(uapi::RxeSlot(queue, qp.rq.index, qp.rq.log2_elem));
  out->wr_id = wqe->wr_id;
  out->num_sge = __atomic_load_n(&wqe->dma.num_sge, __ATOMIC_RELAXED);
  if (out->num_sge > qp.max_recv_sge || out->num_sge > Gather::kMaxSge) return Take::kMalformed;
  out->capacity = 0;
  memcpy(out->sge, uapi::RxeSges(wqe), out->num_sge * sizeof(uapi::rxe_sge));
  for (uint32_t i = 0; i < out->num_sge; ++i) out->capacity += out->sge[i].length;
  return Take::kOk;
}

void ConsumeReceive(const Engine& engine, QpContext& qp) {
  qp.rq.index = (qp.rq.index + 1) & qp.rq.mask;
  QueueOf(engine, qp.rq)->consumer_index.store(qp.rq.index, std::memory_order_release);
}

// Class A/C errors of the responder: the QP is done for. Its queues are flushed by the machine, which may take the SQ
// lock that this thread, holding another QP's, must not.
void EnterError(const Engine& engine, QpContext& qp) {
  qp.state.store(kErr, std::memory_order_release);
  RaiseAttention(engine, qp, kAttentionFlush);
}

Answer Fail(const Engine& engine, QpContext& qp, Answer answer) {
  EnterError(engine, qp);
  return answer;
}

// The held receive WQE completes with `status`, and the QP goes to ERR.
Answer FailReceive(const Engine& engine, const Actor& actor, QpContext& qp, uint64_t wr_id, uapi::ib_wc_status status,
                   Answer answer) {
  (void)PostError(engine, actor, qp.recv_cq, qp.qpn, wr_id, status);  // an overflow leads to ERR as well
  ConsumeReceive(engine, qp);
  return Fail(engine, qp, answer);
}

// The requester's bytes [offset, offset + len) into `to`.
CopyResult CopyGather(const Engine& engine, QpContext& requester, const Stretch& to, const Gather& from,
                      uint64_t offset, uint64_t len) {
  if (from.inline_data != nullptr) {
    CountTraffic(engine, requester.remote, to.mr->route, 0, len);
    return CopyIn(engine, to, from.inline_data + offset, len);
  }
  uint64_t done = 0;
  for (uint32_t i = 0; i < from.count && done < len; ++i) {
    const Stretch& part = from.parts[i];
    if (offset >= part.len) {
      offset -= part.len;
      continue;
    }
    uint64_t now = part.len - offset;
    if (now > len - done) now = len - done;
    const CopyResult result = Copy(engine, {to.mr, to.offset + done, now}, {part.mr, part.offset + offset, now});
    if (result != CopyResult::kOk) return result;
    CountTraffic(engine, requester.local, part.mr->route, now, 0);
    CountTraffic(engine, requester.remote, to.mr->route, 0, now);
    done += now;
    offset = 0;
  }
  return CopyResult::kOk;
}

// What a copy's failure means to the requester. A process that ends takes its QPs with it: it answers nothing any more,
// and it is not for the requester to say that a key was bad.
Answer FailedCopy(CopyResult result, bool local_is_source, Answer nak) {
  const bool source = result == CopyResult::kSourceFault || result == CopyResult::kSourceGone;
  if (source == local_is_source) return Answer::kLocalFault;
  const bool gone = result == CopyResult::kSourceGone || result == CopyResult::kTargetGone;
  return gone ? Answer::kNone : nak;
}

// [from] into the requester's buffer.
CopyResult CopyScatter(const Engine& engine, QpContext& requester, const Gather& to, const Stretch& from) {
  uint64_t done = 0;
  for (uint32_t i = 0; i < to.count && done < from.len; ++i) {
    const uint64_t now = to.parts[i].len < from.len - done ? to.parts[i].len : from.len - done;
    const CopyResult result = Copy(engine, to.parts[i], {from.mr, from.offset + done, now});
    if (result != CopyResult::kOk) return result;
    CountTraffic(engine, requester.local, to.parts[i].mr->route, 0, now);
    CountTraffic(engine, requester.remote, from.mr->route, now, 0);
    done += now;
  }
  return CopyResult::kOk;
}

void CompleteReceive(const Engine& engine, const Actor& actor, QpContext& qp, const Request& request, uint64_t wr_id,
                     uint32_t opcode, uint64_t byte_len, bool has_immediate) {
  ib_uverbs_wc entry = {};
  entry.wr_id = wr_id;
  entry.opcode = opcode;
  entry.byte_len = static_cast<uint32_t>(byte_len);
  entry.qp_num = qp.qpn;
  entry.wc_flags = uapi::IB_WC_GRH;  // rxe sets it on RC as well
  if (has_immediate) {
    entry.ex = request.immediate;
    entry.wc_flags |= uapi::IB_WC_WITH_IMM;
  }
  entry.port_num = 1;
  const bool fits = PostCompletion(engine, actor, qp.recv_cq, entry, request.solicited);
  ConsumeReceive(engine, qp);
  if (!fits) EnterError(engine, qp);
}

// Scatters a SEND into the receive. kOk, or which side failed; *key_error: a receive key did not hold.
CopyResult ScatterSend(const Engine& engine, QpContext& requester, const QpContext& qp, const Request& request,
                       const Receive& receive, bool* key_error) {
  uint64_t done = 0;
  for (uint32_t i = 0; i < receive.num_sge && done < request.local->length; ++i) {
    const uapi::rxe_sge& sge = receive.sge[i];
    uint64_t now = request.local->length - done;
    if (now > sge.length) now = sge.length;
    if (now == 0) continue;
    Stretch to;
    if (FindRegion(engine, sge.lkey, qp.pd, uapi::IB_ACCESS_LOCAL_WRITE, sge.addr, now, &to) != KeyCheck::kOk) {
      *key_error = true;
      return CopyResult::kTargetFault;
    }
    const CopyResult result = CopyGather(engine, requester, to, *request.local, done, now);
    if (result != CopyResult::kOk) return result;
    done += now;
  }
  return CopyResult::kOk;
}

Answer RespondSend(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                   const Request& request) {
  Receive receive;
  const Take take = PeekReceive(engine, qp, &receive);
  if (take == Take::kEmpty) return Answer::kRnrNak;
  if (take == Take::kMalformed) {  // rxe_resp.c: -EIO path, the entry is flushed (specs 5.4)
    return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_WR_FLUSH_ERR, Answer::kNakOperation);
  }
  // Deviation (as IBTA has it; rxe answers 0x63 and completes LOC_QP_OP_ERR).
  if (request.local->length > receive.capacity) {
    return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_LOC_LEN_ERR, Answer::kNakInvalid);
  }
  bool key_error = false;
  const CopyResult result = ScatterSend(engine, requester, qp, request, receive, &key_error);
  if (result != CopyResult::kOk) {
    const Answer answer = FailedCopy(result, true, Answer::kNakOperation);
    if (answer != Answer::kNakOperation) return answer;
    return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_LOC_PROT_ERR, answer);
  }
  if (request.opcode == uapi::IB_WR_SEND_WITH_INV) {
    // rxe_resp.c invalidate_rkey(): only memory windows of type 2 can be invalidated, and there are none. The request
    // is acknowledged all the same; the receiver learns it (class J).
    return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_REM_INV_REQ_ERR, Answer::kAck);
  }
  CompleteReceive(engine, actor, qp, request, receive.wr_id, uapi::IB_WC_RECV, request.local->length,
                  request.opcode == uapi::IB_WR_SEND_WITH_IMM);
  return Answer::kAck;
}

Answer RespondWrite(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                    const Request& request) {
  const bool immediate = request.opcode == uapi::IB_WR_RDMA_WRITE_WITH_IMM;
  if ((qp.access & uapi::IB_ACCESS_REMOTE_WRITE) == 0) return Fail(engine, qp, Answer::kNakInvalid);
  Receive receive = {};
  if (immediate) {
    const Take take = PeekReceive(engine, qp, &receive);
    if (take == Take::kEmpty) return Answer::kRnrNak;
    if (take == Take::kMalformed) {
      return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_WR_FLUSH_ERR, Answer::kNakOperation);
    }
  }
  CopyResult result = CopyResult::kOk;
  if (request.local->length != 0) {  // a zero-length write checks no key
    Stretch to;
    if (FindRegion(engine, request.rkey, qp.pd, uapi::IB_ACCESS_REMOTE_WRITE, request.remote_addr,
                   request.local->length, &to) != KeyCheck::kOk) {
      result = CopyResult::kTargetFault;
    } else {
      result = CopyGather(engine, requester, to, *request.local, 0, request.local->length);
    }
  }
  if (result != CopyResult::kOk) {
    const Answer answer = FailedCopy(result, true, Answer::kNakAccess);
    if (answer != Answer::kNakAccess) return answer;
    if (!immediate) return Fail(engine, qp, Answer::kNakAccess);
    return FailReceive(engine, actor, qp, receive.wr_id, uapi::IB_WC_REM_ACCESS_ERR, Answer::kNakAccess);
  }
  if (immediate) {
    CompleteReceive(engine, actor, qp, request, receive.wr_id, uapi::IB_WC_RECV_RDMA_WITH_IMM, request.local->length,
                    true);
  }
  return Answer::kAck;
}

Answer RespondRead(const Engine& engine, QpContext& requester, QpContext& qp, const Request& request) {
  if ((qp.access & uapi::IB_ACCESS_REMOTE_READ) == 0 || qp.max_dest_rd_atomic == 0) {
    return Fail(engine, qp, Answer::kNakInvalid);
  }
  if (request.local->length == 0) return Answer::kAck;
  Stretch from;
  if (FindRegion(engine, request.rkey, qp.pd, uapi::IB_ACCESS_REMOTE_READ, request.remote_addr, request.local->length,
                 &from) != KeyCheck::kOk) {
    return Fail(engine, qp, Answer::kNakAccess);
  }
  const CopyResult result = CopyScatter(engine, requester, *request.local, from);
  if (result == CopyResult::kOk) return Answer::kAck;
  const Answer answer = FailedCopy(result, false, Answer::kNakAccess);
  return answer == Answer::kNakAccess ? Fail(engine, qp, answer) : answer;
}

Answer RespondAtomic(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                     const Request& request) {
  if ((qp.access & uapi::IB_ACCESS_REMOTE_ATOMIC) == 0 || qp.max_dest_rd_atomic == 0) {
    return Fail(engine, qp, Answer::kNakInvalid);
  }
  Stretch at;
  if (FindRegion(engine, request.rkey, qp.pd, uapi::IB_ACCESS_REMOTE_ATOMIC, request.remote_addr, 8, &at) !=
      KeyCheck::kOk) {
    return Fail(engine, qp, Answer::kNakAccess);
  }
  if ((request.remote_addr & 7) != 0) return Fail(engine, qp, Answer::kNakInvalid);
  uint64_t original = 0;
  if (const CopyResult result = Atomic(engine, actor, at, request.atomic, &original); result != CopyResult::kOk) {
    return result == CopyResult::kTargetGone ? Answer::kNone : Fail(engine, qp, Answer::kNakAccess);
  }
  CountTraffic(engine, requester.remote, at.mr->route, 8, 8);
  if (CopyIn(engine, request.local->parts[0], &original, 8) != CopyResult::kOk) return Answer::kLocalFault;
  CountTraffic(engine, requester.local, request.local->parts[0].mr->route, 0, 8);
  return Answer::kAck;
}

}  // namespace

void FlushReceiveQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp) {
  if (qp.rq.offset == 0) return;
  uapi::rxe_queue_buf* queue = QueueOf(engine, qp.rq);
  // The producer is read once: a program that goes on posting is flushed in the next round, not for ever in this one.
  const uint32_t producer = queue->producer_index.load(std::memory_order_acquire) & qp.rq.mask;
  while (qp.rq.index != producer) {
    const auto* wqe = reinterpret_cast<const uapi::rxe_recv_wqe*>(uapi::RxeSlot(queue, qp.rq.index, qp.rq.log2_elem));
    (void)PostError(engine, actor, qp.recv_cq, qp.qpn, wqe->wr_id, uapi::IB_WC_WR_FLUSH_ERR);
    ConsumeReceive(engine, qp);
  }
}

Answer Respond(const Engine& engine, const Actor& actor, QpContext& from, const Request& request, uint32_t* rnr_timer) {
  if (from.av.dest_nic == kNoNic || from.dest_qpn >= kMaxQps) return Answer::kNone;
  QpContext& qp = engine.nic->qps[from.dest_qpn];
  if (qp.valid.load(std::memory_order_acquire) == 0) return Answer::kNone;
  const OwnedLockGuard lock(actor, qp.rq_lock, ipc::kLockRq);
  if (qp.valid.load(std::memory_order_relaxed) == 0) return Answer::kNone;
  const uint32_t state = qp.state.load(std::memory_order_relaxed);
  // rxe_recv.c check_type_state(), check_addr(): anything that is not this connection is dropped without a word.
  if (qp.type != from.type || (state != kRtr && state != kRts && state != kSqd)) return Answer::kNone;
  if (qp.nic != from.av.dest_nic || qp.dest_qpn != from.qpn || qp.av.dest_nic != from.nic ||
      memcmp(qp.av.sgid, from.av.dgid, 16) != 0 || memcmp(qp.av.dgid, from.av.sgid, 16) != 0) {
    return Answer::kNone;
  }
  NicCounters& counters = engine.nic->counters[qp.nic];
  if (qp.expected_psn != request.psn) {
    counters.out_of_seq_request.fetch_add(1, std::memory_order_relaxed);
    return Answer::kNone;
  }
  Answer answer = Answer::kNakInvalid;
  switch (request.opcode) {
    case uapi::IB_WR_SEND:
    case uapi::IB_WR_SEND_WITH_IMM:
    case uapi::IB_WR_SEND_WITH_INV: answer = RespondSend(engine, actor, from, qp, request); break;
    case uapi::IB_WR_RDMA_WRITE:
    case uapi::IB_WR_RDMA_WRITE_WITH_IMM: answer = RespondWrite(engine, actor, from, qp, request); break;
    case uapi::IB_WR_RDMA_READ: answer = RespondRead(engine, from, qp, request); break;
    case uapi::IB_WR_ATOMIC_CMP_AND_SWP:
    case uapi::IB_WR_ATOMIC_FETCH_AND_ADD: answer = RespondAtomic(engine, actor, from, qp, request); break;
    default: break;
  }
  if (answer == Answer::kAck) {
    qp.expected_psn = (qp.expected_psn + request.packets) & 0xffffff;
    qp.msn = (qp.msn + 1) & 0xffffff;
    from.packets.store(from.packets.load(std::memory_order_relaxed) + request.packets, std::memory_order_relaxed);
  } else if (answer == Answer::kRnrNak) {
    *rnr_timer = qp.min_rnr_timer;
    counters.send_rnr_err.fetch_add(1, std::memory_order_relaxed);
  }
  return answer;
}

}  // namespace causeway::roce
