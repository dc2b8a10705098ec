// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/receive.h"

namespace causeway::roce {
namespace {

// Whether the entry names a region that is being moved or changed: it cannot be used now, and must not be taken.
bool NamesStalledRegion(const Engine& engine, const QpContext& qp, const Receive& receive) {
  for (uint32_t i = 0; i < receive.num_sge; ++i) {
    const uapi::rxe_sge& sge = receive.sge[i];
    Stretch unused;
    if (FindRegion(engine, sge.lkey, qp.pd, uapi::IB_ACCESS_LOCAL_WRITE, sge.addr, sge.length, &unused) ==
        KeyCheck::kStalled) {
      return true;
    }
  }
  return false;
}

}  // namespace

Take TakeShared(const Engine& engine, const Actor& actor, const QpContext& qp, Receive* out) {
  if (qp.srq == 0) return Take::kEmpty;
  SrqContext& srq = engine.nic->srqs[qp.srq];
  OwnedLockGuard lock(actor, srq.lock, ipc::kLockShared);
  if (srq.valid.load(std::memory_order_relaxed) == 0) return Take::kEmpty;
  uapi::rxe_queue_buf* queue = QueueOf(engine, srq.ring);
  const uint32_t producer = queue->producer_index.load(std::memory_order_acquire) & srq.ring.mask;
  if (producer == srq.ring.index) return Take::kEmpty;
  if (!CopyReceive(engine, srq.ring, srq.max_sge, out)) return Take::kMalformed;
  if (NamesStalledRegion(engine, qp, *out)) return Take::kStalled;
  srq.ring.index = (srq.ring.index + 1) & srq.ring.mask;
  queue->consumer_index.store(srq.ring.index, std::memory_order_release);
  const uint32_t limit = srq.limit.load(std::memory_order_relaxed);
  if (limit != 0 && ((producer - srq.ring.index) & srq.ring.mask) < limit) {
    srq.limit.store(0, std::memory_order_relaxed);
    srq.limits_pending.fetch_add(1, std::memory_order_relaxed);
    lock.Release();
    RaiseSrq(engine, qp.srq);
  }
  return Take::kOk;
}

void EnterError(const Engine& engine, QpContext& qp) {
  const uint32_t before = qp.state.exchange(kErr, std::memory_order_acq_rel);
  // Its queues are flushed by the machine, which may take the SQ lock that this thread, holding another QP's, must not;
  // it also sees to receives that are posted later.
  RaiseAttention(engine, qp, before != kErr && qp.srq != 0 ? kAttentionFlush | kAttentionLastWqe : kAttentionFlush);
}

Answer Fail(const Engine& engine, QpContext& qp, Answer answer) {
  EnterError(engine, qp);
  return answer;
}

Answer FailReceive(const Engine& engine, const Actor& actor, QpContext& qp, const Receive& receive,
                   uapi::ib_wc_status status, Answer answer) {
  ConsumeReceive(engine, qp);
  (void)PostError(engine, actor, qp.recv_cq, qp.qpn, receive.wr_id, status);  // an overflow leads to ERR as well
  return Fail(engine, qp, answer);
}

Answer FailMalformed(const Engine& engine, const Actor& actor, QpContext& qp, const Receive& receive) {
  if (qp.srq != 0) return Fail(engine, qp, Answer::kNakOperation);
  return FailReceive(engine, actor, qp, receive, uapi::IB_WC_WR_FLUSH_ERR, Answer::kNakOperation);
}

CopyResult Scatter(const Engine& engine, QpContext& requester, const QpContext& qp, const Gather& from,
                   const Receive& receive, uint64_t skip, ScatterFault* fault) {
  uint64_t done = 0;
  for (uint32_t i = 0; i < receive.num_sge && done < from.length; ++i) {
    const uapi::rxe_sge& sge = receive.sge[i];
    if (skip >= sge.length) {
      skip -= sge.length;
      continue;
    }
    uint64_t now = from.length - done;
    if (now > sge.length - skip) now = sge.length - skip;
    Stretch to;
    const KeyCheck check = FindRegion(engine, sge.lkey, qp.pd, uapi::IB_ACCESS_LOCAL_WRITE, sge.addr + skip, now, &to);
    // A shared entry is taken already, and its regions were usable then.
    if (check != KeyCheck::kOk && !(check == KeyCheck::kStalled && qp.srq != 0)) {
      fault->stalled = check == KeyCheck::kStalled;
      fault->key_error = !fault->stalled;
      return CopyResult::kTargetFault;
    }
    const CopyResult result = CopyGather(engine, requester, to, from, done, now);
    if (result != CopyResult::kOk) return result;
    done += now;
    skip = 0;
  }
  return CopyResult::kOk;
}

void FlushReceiveQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp) {
  if (qp.rq.offset == 0) return;
  uapi::rxe_queue_buf* queue = QueueOf(engine, qp.rq);
  // The producer is read once: a program that goes on posting is flushed in the next round, not for ever in this one.
  const uint32_t producer = queue->producer_index.load(std::memory_order_acquire) & qp.rq.mask;
  while (qp.rq.index != producer) {
    const auto* wqe = reinterpret_cast<const uapi::rxe_recv_wqe*>(uapi::RxeSlot(queue, qp.rq.index, qp.rq.log2_elem));
    const uint64_t wr_id = wqe->wr_id;
    ConsumeReceive(engine, qp);
    (void)PostError(engine, actor, qp.recv_cq, qp.qpn, wr_id, uapi::IB_WC_WR_FLUSH_ERR);
  }
}

}  // namespace causeway::roce
