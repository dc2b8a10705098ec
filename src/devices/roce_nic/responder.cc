// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/responder.h"

#include <cstring>

#include "devices/roce_nic/receive.h"
#include "devices/roce_nic/window.h"

namespace causeway::roce {
namespace {

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

// What a remote operation on `qp` names: a region, or a memory window.
KeyCheck FindRemote(const Engine& engine, const Actor& actor, const QpContext& qp, uint32_t key, uint32_t access,
                    uint64_t iova, uint64_t len, Stretch* out) {
  if (IsWindowKey(key)) [[unlikely]]
    return FindThroughWindow(engine, actor, qp, key, access, iova, len, out);
  return FindRegion(engine, key, qp.pd, access, iova, len, out);
}

// A request that names memory it may not touch. UC drops it and goes on (rxe_resp.c RESPST_ERR_RKEY_VIOLATION).
Answer AccessViolation(const Engine& engine, QpContext& qp) {
  return qp.type == kUc ? Answer::kNone : Fail(engine, qp, Answer::kNakAccess);
}

Answer RespondSend(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                   const Request& request) {
  Receive receive;
  switch (TakeReceive(engine, actor, qp, &receive)) {
    case Take::kOk: break;
    case Take::kEmpty: return Answer::kRnrNak;
    case Take::kStalled: return Answer::kStalled;
    case Take::kMalformed: return FailMalformed(engine, actor, qp, receive);
  }
  // Deviation (as IBTA has it; rxe answers 0x63 and completes LOC_QP_OP_ERR).
  if (request.local->length > receive.capacity) {
    return FailReceive(engine, actor, qp, receive, uapi::IB_WC_LOC_LEN_ERR, Answer::kNakInvalid);
  }
  ScatterFault fault;
  const CopyResult result = Scatter(engine, requester, qp, *request.local, receive, 0, &fault);
  if (result != CopyResult::kOk) {
    if (fault.stalled) return Answer::kStalled;
    const Answer answer = fault.key_error ? Answer::kNakOperation : FailedCopy(result, true, Answer::kNakOperation);
    if (answer != Answer::kNakOperation) return answer;
    return FailReceive(engine, actor, qp, receive, uapi::IB_WC_LOC_PROT_ERR, answer);
  }
  Arrival arrival = {.byte_len = request.local->length, .solicited = request.solicited};
  if (request.opcode == uapi::IB_WR_SEND_WITH_IMM) {
    arrival.ex = request.immediate;
    arrival.flags = uapi::IB_WC_WITH_IMM;
  } else if (request.opcode == uapi::IB_WR_SEND_WITH_INV) {
    if (!InvalidateWindow(engine, actor, qp, request.invalidate, true)) {
      // Class J: the request is acknowledged all the same; the receiver learns it.
      return FailReceive(engine, actor, qp, receive, uapi::IB_WC_REM_INV_REQ_ERR, Answer::kAck);
    }
    arrival.ex = request.invalidate;
    arrival.flags = uapi::IB_WC_WITH_INVALIDATE;
  }
  CompleteReceive(engine, actor, qp, receive, arrival);
  return Answer::kAck;
}

// Where an RDMA write goes; a zero-length one checks no key.
KeyCheck FindWriteTarget(const Engine& engine, const Actor& actor, const QpContext& qp, const Request& request,
                         Stretch* to) {
  if (request.local->length == 0) return KeyCheck::kOk;
  return FindRemote(engine, actor, qp, request.rkey, uapi::IB_ACCESS_REMOTE_WRITE, request.remote_addr,
                    request.local->length, to);
}

Answer PlaceWrite(const Engine& engine, QpContext& requester, const Request& request, const Stretch& to) {
  if (request.local->length == 0) return Answer::kAck;
  const CopyResult result = CopyGather(engine, requester, to, *request.local, 0, request.local->length);
  return result == CopyResult::kOk ? Answer::kAck : FailedCopy(result, true, Answer::kNakAccess);
}

Answer RespondWrite(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                    const Request& request) {
  if ((qp.access & uapi::IB_ACCESS_REMOTE_WRITE) == 0) [[unlikely]] {
    return qp.type == kUc ? Answer::kNone : Fail(engine, qp, Answer::kNakInvalid);
  }
  Stretch to;
  const KeyCheck check = FindWriteTarget(engine, actor, qp, request, &to);
  if (check == KeyCheck::kStalled) return Answer::kStalled;
  const Answer answer = check == KeyCheck::kOk ? PlaceWrite(engine, requester, request, to) : Answer::kNakAccess;
  return answer == Answer::kNakAccess ? AccessViolation(engine, qp) : answer;
}

Answer RespondWriteImmediate(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                             const Request& request) {
  if ((qp.access & uapi::IB_ACCESS_REMOTE_WRITE) == 0) {
    return qp.type == kUc ? Answer::kNone : Fail(engine, qp, Answer::kNakInvalid);
  }
  // Looked up first, because a shared receive that was taken cannot be put back; judged after the receive, as rxe does.
  Stretch to;
  const KeyCheck check = FindWriteTarget(engine, actor, qp, request, &to);
  if (check == KeyCheck::kStalled) return Answer::kStalled;
  Receive receive;
  switch (TakeReceive(engine, actor, qp, &receive)) {
    case Take::kOk: break;
    case Take::kEmpty: return Answer::kRnrNak;
    case Take::kStalled: return Answer::kStalled;
    case Take::kMalformed: return FailMalformed(engine, actor, qp, receive);
  }
  const Answer answer = check == KeyCheck::kOk ? PlaceWrite(engine, requester, request, to) : Answer::kNakAccess;
  if (answer == Answer::kNakAccess) {
    if (qp.type == kRc) return FailReceive(engine, actor, qp, receive, uapi::IB_WC_REM_ACCESS_ERR, answer);
    // The entry of its own queue waits for the next message; a shared one completes in error.
    if (qp.srq != 0) {
      (void)PostError(engine, actor, qp.recv_cq, qp.qpn, receive.wr_id, uapi::IB_WC_REM_ACCESS_ERR);
    }
    return Answer::kNone;
  }
  if (answer != Answer::kAck) return answer;
  CompleteReceive(engine, actor, qp, receive,
                  {.opcode = uapi::IB_WC_RECV_RDMA_WITH_IMM,
                   .byte_len = request.local->length,
                   .ex = request.immediate,
                   .flags = uapi::IB_WC_WITH_IMM,
                   .solicited = request.solicited});
  return Answer::kAck;
}

Answer RespondRead(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                   const Request& request) {
  if ((qp.access & uapi::IB_ACCESS_REMOTE_READ) == 0 || qp.max_dest_rd_atomic == 0) {
    return Fail(engine, qp, Answer::kNakInvalid);
  }
  if (request.local->length == 0) return Answer::kAck;
  Stretch from;
  const KeyCheck check = FindRemote(engine, actor, qp, request.rkey, uapi::IB_ACCESS_REMOTE_READ, request.remote_addr,
                                    request.local->length, &from);
  if (check == KeyCheck::kStalled) return Answer::kStalled;
  if (check != KeyCheck::kOk) return Fail(engine, qp, Answer::kNakAccess);
  const CopyResult result = CopyScatter(engine, requester, *request.local, from);
  if (result == CopyResult::kOk) return Answer::kAck;
  const Answer answer = FailedCopy(result, false, Answer::kNakAccess);
  return answer == Answer::kNakAccess ? Fail(engine, qp, answer) : answer;
}

// Finds the word of an atomic operation: 8 bytes, aligned. kAck, or the answer.
Answer FindWord(const Engine& engine, const Actor& actor, QpContext& qp, const Request& request, uint32_t access,
                Stretch* at) {
  if ((qp.access & access) == 0 || qp.max_dest_rd_atomic == 0) return Fail(engine, qp, Answer::kNakInvalid);
  const KeyCheck check = FindRemote(engine, actor, qp, request.rkey, access, request.remote_addr, 8, at);
  if (check == KeyCheck::kStalled) return Answer::kStalled;
  if (check != KeyCheck::kOk) return Fail(engine, qp, Answer::kNakAccess);
  if ((request.remote_addr & 7) != 0) return Fail(engine, qp, Answer::kNakInvalid);
  return Answer::kAck;
}

Answer RespondAtomic(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                     const Request& request) {
  Stretch at;
  const Answer found = FindWord(engine, actor, qp, request, uapi::IB_ACCESS_REMOTE_ATOMIC, &at);
  if (found != Answer::kAck) return found;
  uint64_t original = 0;
  if (const CopyResult result = Atomic(engine, actor, at, request.atomic, &original); result != CopyResult::kOk) {
    return result == CopyResult::kTargetGone ? Answer::kNone : Fail(engine, qp, Answer::kNakAccess);
  }
  CountTraffic(engine, requester.remote, at.mr->route, 8, 8);
  if (CopyIn(engine, request.local->parts[0], &original, 8) != CopyResult::kOk) return Answer::kLocalFault;
  CountTraffic(engine, requester.local, request.local->parts[0].mr->route, 0, 8);
  return Answer::kAck;
}

// rxe_resp.c atomic_write_reply().
Answer RespondAtomicWrite(const Engine& engine, const Actor& actor, QpContext& requester, QpContext& qp,
                          const Request& request) {
  Stretch at;
  const Answer found = FindWord(engine, actor, qp, request, uapi::IB_ACCESS_REMOTE_WRITE, &at);
  if (found != Answer::kAck) return found;
  if (request.local->length != 8) return Fail(engine, qp, Answer::kNakInvalid);  // payload and RETH disagree
  if (const CopyResult result = StoreWord(engine, at, request.atomic.swap); result != CopyResult::kOk) {
    return result == CopyResult::kTargetGone ? Answer::kNone : Fail(engine, qp, Answer::kNakAccess);
  }
  CountTraffic(engine, requester.remote, at.mr->route, 0, 8);
  return Answer::kAck;
}

// rxe_resp.c check_op_valid(), check_rkey(), process_flush(). What earlier requests of the QP stored was stored by this
// thread: one fence makes it visible to all. The machine's memory lives as long as the machine, so it persists as far
// as anything here does.
Answer RespondFlush(const Engine& engine, const Actor& actor, QpContext& qp, const Request& request) {
  uint32_t access = 0;
  if ((request.flush_type & uapi::IB_FLUSH_GLOBAL) != 0) access |= uapi::IB_ACCESS_FLUSH_GLOBAL;
  if ((request.flush_type & uapi::IB_FLUSH_PERSISTENT) != 0) access |= uapi::IB_ACCESS_FLUSH_PERSISTENT;
  if ((qp.access & access) != access) return Fail(engine, qp, Answer::kNakInvalid);
  const bool whole = request.flush_level == uapi::IB_FLUSH_MR;  // address and length say nothing then
  Stretch range;
  const KeyCheck check = FindRemote(engine, actor, qp, request.rkey, access, request.remote_addr,
                                    whole ? 0 : request.local->length, &range);
  if (check == KeyCheck::kStalled) return Answer::kStalled;
  if (check == KeyCheck::kBadKey || (check == KeyCheck::kBadRange && !whole)) {
    return Fail(engine, qp, Answer::kNakAccess);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return Answer::kAck;
}

// A request whose PSN is not the next (rxe_resp.c check_psn(), duplicate_request()).
Answer OutOfSequence(const Engine& engine, QpContext& qp, const Request& request) {
  NicCounters& counters = engine.nic->counters[qp.nic];
  const auto ahead = static_cast<int32_t>((request.psn - qp.expected_psn) << 8);
  if (ahead > 0) {
    if (qp.psn_nak_sent != 0) return Answer::kNone;
    qp.psn_nak_sent = 1;
    counters.out_of_seq_request.fetch_add(1, std::memory_order_relaxed);
    return Answer::kNakSequence;
  }
  counters.duplicate_request.fetch_add(1, std::memory_order_relaxed);
  const auto end = static_cast<int32_t>((request.psn + request.packets - qp.expected_psn) << 8);
  switch (request.opcode) {
    case uapi::IB_WR_SEND:
    case uapi::IB_WR_SEND_WITH_IMM:
    case uapi::IB_WR_SEND_WITH_INV:
    case uapi::IB_WR_RDMA_WRITE:
    case uapi::IB_WR_RDMA_WRITE_WITH_IMM: return end <= 0 ? Answer::kDuplicate : Answer::kNone;
    default: return Answer::kNone;  // no such read or atomic is remembered: dropped
  }
}

// What a NIC may lack.
Answer RespondRare(const Engine& engine, const Actor& actor, QpContext& from, QpContext& qp, const Request& request) {
  switch (request.opcode) {
    case uapi::IB_WR_ATOMIC_WRITE: return RespondAtomicWrite(engine, actor, from, qp, request);
    case uapi::IB_WR_FLUSH: return RespondFlush(engine, actor, qp, request);
    default: return RespondAtomic(engine, actor, from, qp, request);
  }
}

}  // namespace

Answer Respond(const Engine& engine, const Actor& actor, QpContext& from, const Request& request, uint32_t* rnr_timer) {
  if (from.av.dest_nic == kNoNic || from.dest_qpn >= kMaxQps) return Answer::kNone;
  QpContext& qp = engine.nic->qps[from.dest_qpn];
  if (qp.valid.load(std::memory_order_acquire) == 0) return Answer::kNone;
  OwnedLockGuard lock(actor, qp.rq_lock, ipc::kLockRq);
  if (qp.valid.load(std::memory_order_relaxed) == 0) return Answer::kNone;
  const uint32_t state = qp.state.load(std::memory_order_relaxed);
  // rxe_recv.c check_type_state(), check_addr(): anything that is not this connection is dropped without a word.
  if (qp.type != from.type || (state != kRtr && state != kRts && state != kSqd)) return Answer::kNone;
  if (qp.nic != from.av.dest_nic || qp.dest_qpn != from.qpn || qp.av.dest_nic != from.nic ||
      memcmp(qp.av.sgid, from.av.dgid, 16) != 0 || memcmp(qp.av.dgid, from.av.sgid, 16) != 0) {
    return Answer::kNone;
  }
  if (qp.expected_psn != request.psn) [[unlikely]] {
    if (qp.type != kUc) return OutOfSequence(engine, qp, request);
    qp.expected_psn = request.psn;  // the start of a message is taken wherever it stands
  }
  uint32_t replies = 1;
  Answer answer = Answer::kNakInvalid;
  switch (request.opcode) {
    case uapi::IB_WR_SEND:
    case uapi::IB_WR_SEND_WITH_IMM:
    case uapi::IB_WR_SEND_WITH_INV: answer = RespondSend(engine, actor, from, qp, request); break;
    case uapi::IB_WR_RDMA_WRITE: answer = RespondWrite(engine, actor, from, qp, request); break;
    case uapi::IB_WR_RDMA_WRITE_WITH_IMM: answer = RespondWriteImmediate(engine, actor, from, qp, request); break;
    case uapi::IB_WR_RDMA_READ:
      answer = RespondRead(engine, actor, from, qp, request);
      replies = request.packets;
      break;
    case uapi::IB_WR_ATOMIC_CMP_AND_SWP:
    case uapi::IB_WR_ATOMIC_FETCH_AND_ADD:
    case uapi::IB_WR_ATOMIC_WRITE:
    case uapi::IB_WR_FLUSH:
      if (!Lacks(*engine.nic, qp.nic, request.opcode)) answer = RespondRare(engine, actor, from, qp, request);
      break;
    default: break;
  }
  if (answer == Answer::kAck) {
    qp.expected_psn = (qp.expected_psn + request.packets) & 0xffffff;
    qp.msn = (qp.msn + 1) & 0xffffff;
    qp.psn_nak_sent = 0;
    // A READ is one packet out and many back; of the others it is the other way round.
    const uint32_t sent = request.opcode == uapi::IB_WR_RDMA_READ ? 1 : request.packets;
    from.packets.store(from.packets.load(std::memory_order_relaxed) + sent, std::memory_order_relaxed);
    if (qp.type != kUc)
      from.replies.store(from.replies.load(std::memory_order_relaxed) + replies, std::memory_order_relaxed);
  } else if (answer == Answer::kRnrNak) {
    *rnr_timer = qp.min_rnr_timer;
    if (qp.type != kUc) {
      engine.nic->counters[qp.nic].send_rnr_err.fetch_add(1, std::memory_order_relaxed);
    }
  }
  lock.ReleasePlain();
  return answer;
}

}  // namespace causeway::roce
