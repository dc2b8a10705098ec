// SPDX-License-Identifier: Apache-2.0
// Commands on queue pairs and shared receive queues.
#include <algorithm>
#include <cstring>

#include "devices/roce_nic/completion.h"
#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/nic_impl.h"
#include "devices/roce_nic/responder.h"

namespace causeway::roce {

void NicDevices::Impl::RetireCounts(QpContext& qp) {
  FlushTraffic(engine, qp.local);
  FlushTraffic(engine, qp.remote);
  const uint64_t packets = qp.packets.exchange(0);
  const uint64_t replies = qp.replies.exchange(0);
  const uint64_t receives = qp.receives.exchange(0);
  NicCounters& own = nic->counters[qp.nic];
  own.retired_sent.fetch_add(packets);
  own.retired_received.fetch_add(replies + (qp.type == kUd ? receives : 0));
  own.retired_sends.fetch_add(qp.sends.exchange(0));
  own.retired_receives.fetch_add(receives);
  if (qp.av.dest_nic != kNoNic) {
    nic->counters[qp.av.dest_nic].retired_received.fetch_add(packets);
    nic->counters[qp.av.dest_nic].retired_sent.fetch_add(replies);
  }
}

// ---- queue pairs

Result<uint32_t> NicDevices::CreateQp(const QpCreate& create) {
  CW_TRY(const uint32_t qpn, impl_->qpns.Take());
  auto sq = impl_->MakeRing(create.sq);
  if (!sq) {
    impl_->qpns.Give(qpn);
    return Err(sq.error());
  }
  auto rq = impl_->MakeRing(create.rq);
  if (!rq) {
    FreeRing(*sq);
    impl_->qpns.Give(qpn);
    return Err(rq.error());
  }
  QpContext& qp = impl_->nic->qps[qpn];
  std::memset(static_cast<void*>(&qp), 0, sizeof(qp));  // nobody has it: it was given back after a grace period
  qp.state.store(kReset);
  qp.qpn = qpn;
  qp.type = create.type;
  qp.nic = create.nic;
  qp.pd = create.pd;
  qp.owner_file = create.owner_file;
  qp.handle = create.handle;
  qp.user_handle = create.user_handle;
  qp.sq_sig_all = create.sq_sig_all ? 1 : 0;
  qp.send_cq = create.send_cq;
  qp.recv_cq = create.recv_cq;
  qp.srq = create.srq;
  qp.max_send_sge = create.max_send_sge;
  qp.max_recv_sge = create.max_recv_sge;
  qp.max_inline = create.max_inline;
  qp.av.dest_nic = kNoNic;
  qp.sq = *sq;
  qp.rq = *rq;
  qp.valid.store(1, std::memory_order_release);
  return qpn;
}

QpContext& NicDevices::qp(uint32_t qpn) { return impl_->nic->qps[qpn]; }

void NicDevices::ModifyQp(uint32_t qpn, const QpAttributes& attributes) {
  const std::lock_guard machine(impl_->mutex);
  const EpochGuard epoch(impl_->actor);
  QpContext& qp = impl_->nic->qps[qpn];
  const OwnedLockGuard sq(impl_->actor, qp.sq_lock, ipc::kLockSq);
  bool flush = false;
  bool last_wqe = false;
  {
    const OwnedLockGuard rq(impl_->actor, qp.rq_lock, ipc::kLockRq);
    const auto apply = [](const auto& from, auto& to) {
      if (from) to = *from;
    };
    if (attributes.av) impl_->RetireCounts(qp);
    apply(attributes.av, qp.av);
    apply(attributes.dest_qpn, qp.dest_qpn);
    apply(attributes.path_mtu_bytes, qp.path_mtu_bytes);
    apply(attributes.access, qp.access);
    apply(attributes.qkey, qp.qkey);
    apply(attributes.rq_psn, qp.expected_psn);
    apply(attributes.sq_psn, qp.sq_psn);
    apply(attributes.timeout, qp.timeout);
    apply(attributes.retry_count, qp.retry_count);
    apply(attributes.rnr_retry, qp.rnr_retry);
    apply(attributes.min_rnr_timer, qp.min_rnr_timer);
    apply(attributes.max_rd_atomic, qp.max_rd_atomic);
    apply(attributes.max_dest_rd_atomic, qp.max_dest_rd_atomic);
    if (attributes.retry_count || attributes.state == kRts) qp.retries_left = qp.retry_count;
    if (attributes.rnr_retry || attributes.state == kRts) qp.rnr_left = qp.rnr_retry;
    if (attributes.state) {
      const uint32_t before = qp.state.load(std::memory_order_relaxed);
      qp.state.store(*attributes.state, std::memory_order_release);
      switch (*attributes.state) {
        case kReset:
          impl_->EmptyRing(qp.sq);
          impl_->EmptyRing(qp.rq);
          qp.parked = 0;
          qp.deadline_ns.store(0);
          qp.msn = 0;
          qp.psn_nak_sent = 0;
          qp.sq_draining = 0;
          break;
        case kErr:
          flush = true;
          last_wqe = before != kErr && qp.srq != 0;
          break;
        case kSqd:
          if (before == kRts) {
            if (qp.parked != 0) {
              qp.sq_draining = 1;
            } else {
              RaiseAttention(impl_->engine, qp, kAttentionDrained);
            }
          }
          break;
        default: break;
      }
    }
  }
  if (flush) {
    FlushLocked(impl_->engine, impl_->actor, qp);
    impl_->in_error.insert(qpn);
    // Wakes the NIC thread to its polling of late receives.
    RaiseAttention(impl_->engine, qp, last_wqe ? kAttentionFlush | kAttentionLastWqe : kAttentionFlush);
  }
}

void NicDevices::DestroyQp(uint32_t qpn) {
  QpContext& qp = impl_->nic->qps[qpn];
  {
    const std::lock_guard machine(impl_->mutex);
    const EpochGuard epoch(impl_->actor);
    const OwnedLockGuard sq(impl_->actor, qp.sq_lock, ipc::kLockSq);
    const OwnedLockGuard rq(impl_->actor, qp.rq_lock, ipc::kLockRq);
    qp.valid.store(0, std::memory_order_seq_cst);
    impl_->in_error.erase(qpn);
    impl_->RetireCounts(qp);
  }
  std::vector<uint32_t> memberships;
  {
    const std::lock_guard machine(impl_->mutex);
    memberships = impl_->LeaveGroups(qpn);
  }
  impl_->Grace();
  for (const uint32_t member : memberships) impl_->members.Give(member);
  // Deviation: the kernel's rxe blocks for 50 s while a window is bound to the QP (specs 4.10).
  impl_->Unbind([qpn](const MwEntry& mw) { return mw.type == static_cast<uint32_t>(MwType::k2) && mw.qpn == qpn; });
  impl_->ClearPending(impl_->nic->pending_qps, qpn);
  impl_->qpns.Give(qpn);
}

void NicDevices::RingDoorbell(uint32_t qpn) {
  QpContext& qp = impl_->nic->qps[qpn];
  qp.doorbells.fetch_add(1, std::memory_order_seq_cst);
  impl_->RunFromMachine(qp);
}

// ---- shared receive queues

Result<uint32_t> NicDevices::CreateSrq(const SrqCreate& create) {
  CW_TRY(const uint32_t index, impl_->srqs.Take());
  auto ring = impl_->MakeRing(create.ring);
  if (!ring) {
    impl_->srqs.Give(index);
    return Err(ring.error());
  }
  SrqContext& srq = impl_->nic->srqs[index];
  srq.nic = create.nic;
  srq.pd = create.pd;
  srq.max_sge = create.max_sge;
  srq.limit.store(create.limit);
  srq.limits_pending.store(0);
  srq.ring = *ring;
  srq.valid.store(1, std::memory_order_release);
  return index;
}

const Ring& NicDevices::srq_ring(uint32_t srq) const { return impl_->nic->srqs[srq].ring; }
uint32_t NicDevices::srq_limit(uint32_t srq) const { return impl_->nic->srqs[srq].limit.load(); }

void NicDevices::SetSrqLimit(uint32_t index, uint32_t limit) {
  const std::lock_guard machine(impl_->mutex);
  SrqContext& srq = impl_->nic->srqs[index];
  const OwnedLockGuard lock(impl_->actor, srq.lock, ipc::kLockShared);
  srq.limit.store(limit);
}

Result<Ring> NicDevices::ResizeSrq(uint32_t index, RingSize size, Ring* old_ring) {
  CW_TRY(Ring ring, impl_->MakeRing(size));
  const std::lock_guard machine(impl_->mutex);
  SrqContext& srq = impl_->nic->srqs[index];
  OwnedLockGuard lock(impl_->actor, srq.lock, ipc::kLockShared);
  auto* from = impl_->Queue(srq.ring);
  auto* to = impl_->Queue(ring);
  uint32_t at = srq.ring.index;
  const uint32_t producer = from->producer_index.load(std::memory_order_acquire) & srq.ring.mask;
  const uint32_t count = (producer - at) & srq.ring.mask;
  if (count > ring.mask) {
    lock.Release();
    FreeRing(ring);
    return Err(EINVAL);
  }
  const size_t bytes = size_t{1} << std::min(ring.log2_elem, srq.ring.log2_elem);
  for (uint32_t i = 0; i < count; ++i, at = (at + 1) & srq.ring.mask) {
    std::memcpy(uapi::RxeSlot(to, i, ring.log2_elem), uapi::RxeSlot(from, at, srq.ring.log2_elem), bytes);
  }
  to->producer_index.store(count, std::memory_order_release);
  from->consumer_index.store(producer, std::memory_order_release);
  *old_ring = srq.ring;
  srq.ring = ring;
  return ring;
}

void NicDevices::DestroySrq(uint32_t index) {
  impl_->Retire(impl_->nic->srqs[index].valid);
  impl_->ClearPending(impl_->nic->pending_srqs, index);
  impl_->srqs.Give(index);
}

}  // namespace causeway::roce
