// SPDX-License-Identifier: Apache-2.0
// The NIC thread: delivers interrupts, tries again what waits for a timer, flushes receives posted to QPs in ERR.
#include <bit>

#include "devices/roce_nic/nic_impl.h"
#include "devices/roce_nic/responder.h"

namespace causeway::roce {
namespace {

constexpr int64_t kErrPollNs = 2'000'000;  // receives posted to a QP in ERR ring no doorbell: looked for this often
constexpr int64_t kIdleNs = 1'000'000'000;

// Calls visit(index) for every pending bit, clearing it first.
void Drain(auto& set, auto&& visit) {
  for (uint32_t s = 0; s < std::size(set.summary); ++s) {
    uint64_t words = set.summary[s].load(std::memory_order_relaxed) == 0 ? 0 : set.summary[s].exchange(0);
    for (; words != 0; words &= words - 1) {
      const uint32_t leaf = s * 64 + static_cast<uint32_t>(std::countr_zero(words));
      uint64_t bits = set.leaf[leaf].exchange(0, std::memory_order_acquire);
      for (; bits != 0; bits &= bits - 1) visit(leaf * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
    }
  }
}

}  // namespace

void NicDevices::Impl::RunFromMachine(QpContext& qp) {
  const std::lock_guard lock(mutex);
  const EpochGuard epoch(actor);
  for (;;) {
    OwnedLockGuard sq(actor, qp.sq_lock, ipc::kLockSq);
    const uint32_t seen = qp.doorbells.load(std::memory_order_acquire);
    RunSendQueueLocked(engine, actor, qp);
    sq.Release();
    if (qp.doorbells.load(std::memory_order_seq_cst) == seen) return;
  }
}

void NicDevices::Impl::HandleQp(uint32_t qpn) {
  if (!qpns.IsUsed(qpn)) return;  // destroyed meanwhile; a look at it would bring its page back
  QpContext& qp = nic->qps[qpn];
  const uint32_t attention = qp.attention.exchange(0, std::memory_order_acq_rel);
  if (qp.valid.load(std::memory_order_acquire) == 0) return;
  if ((attention & kAttentionFlush) != 0) {
    RunFromMachine(qp);
    const std::lock_guard lock(mutex);
    if (qp.valid.load(std::memory_order_acquire) != 0) in_error.insert(qpn);
  }
  if ((attention & kAttentionRun) != 0) RunFromMachine(qp);
  if ((attention & kAttentionTimer) != 0) {
    const uint64_t deadline = qp.deadline_ns.load(std::memory_order_relaxed);
    if (deadline != 0) timers.emplace(deadline, qpn);
  }
  if ((attention & kAttentionDrained) != 0 && interrupts.qp) interrupts.qp(qpn, QpEvent::kSqDrained);
  // Behind the flush, which has held the RQ lock: whatever was being received has completed.
  if ((attention & kAttentionLastWqe) != 0 && interrupts.qp) interrupts.qp(qpn, QpEvent::kLastWqeReached);
}

void NicDevices::Impl::HandleCq(uint32_t index) {
  if (!cqs.IsUsed(index)) return;
  CqContext& cq = nic->cqs[index];
  if (cq.valid.load(std::memory_order_acquire) == 0) return;
  for (uint32_t n = cq.overflows_pending.exchange(0); n > 0; --n) {
    if (interrupts.cq_error) interrupts.cq_error(index);
  }
  for (uint32_t n = cq.completions_pending.exchange(0); n > 0; --n) {
    if (interrupts.completion) interrupts.completion(index);
  }
}

void NicDevices::Impl::HandleSrq(uint32_t index) {
  if (!srqs.IsUsed(index)) return;
  SrqContext& srq = nic->srqs[index];
  if (srq.valid.load(std::memory_order_acquire) == 0) return;
  for (uint32_t n = srq.limits_pending.exchange(0); n > 0; --n) {
    if (interrupts.srq_limit) interrupts.srq_limit(index);
  }
}

void NicDevices::Impl::FlushLateReceives() {
  const std::lock_guard lock(mutex);
  const EpochGuard epoch(actor);
  for (auto it = in_error.begin(); it != in_error.end();) {
    QpContext& qp = nic->qps[*it];
    if (qp.valid.load(std::memory_order_acquire) == 0 || qp.state.load(std::memory_order_acquire) != kErr ||
        qp.rq.offset == 0) {
      it = in_error.erase(it);
      continue;
    }
    if ((Queue(qp.rq)->producer_index.load(std::memory_order_acquire) & qp.rq.mask) != qp.rq.index) {
      const OwnedLockGuard rq(actor, qp.rq_lock, ipc::kLockRq);
      FlushReceiveQueueLocked(engine, actor, qp);
    }
    ++it;
  }
}

void NicDevices::Impl::Run() {
  while (!stop.load(std::memory_order_acquire)) {
    const uint32_t seen = nic->interrupt.load(std::memory_order_seq_cst);
    Drain(nic->pending_qps, [&](uint32_t qpn) { HandleQp(qpn); });
    Drain(nic->pending_cqs, [&](uint32_t cq) { HandleCq(cq); });
    Drain(nic->pending_srqs, [&](uint32_t srq) { HandleSrq(srq); });
    uint64_t now = MonotonicNs();
    while (!timers.empty() && timers.begin()->first <= now) {
      const uint32_t qpn = timers.begin()->second;
      timers.erase(timers.begin());
      if (qpns.IsUsed(qpn)) RunFromMachine(nic->qps[qpn]);
      now = MonotonicNs();
    }
    int64_t wait = kIdleNs;
    if (!timers.empty()) wait = static_cast<int64_t>(timers.begin()->first - now);
    bool any_in_error;
    {
      const std::lock_guard lock(mutex);
      any_in_error = !in_error.empty();
    }
    if (any_in_error) {
      FlushLateReceives();
      wait = std::min(wait, kErrPollNs);
    }
    nic->sleeping.store(1, std::memory_order_seq_cst);
    if (nic->interrupt.load(std::memory_order_seq_cst) == seen) FutexWait(nic->interrupt, seen, wait);
    nic->sleeping.store(0, std::memory_order_relaxed);
  }
}

}  // namespace causeway::roce
