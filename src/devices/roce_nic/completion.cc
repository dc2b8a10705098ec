// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/completion.h"

#include <cstring>

namespace causeway::roce {
namespace {

template <uint32_t kBits>
void Raise(const Engine& engine, PendingSet<kBits>& set, uint32_t index) {
  set.leaf[index / 64].fetch_or(uint64_t{1} << (index % 64), std::memory_order_release);
  set.summary[index / 4096].fetch_or(uint64_t{1} << (index / 64 % 64), std::memory_order_release);
  NicMemory& nic = *engine.nic;
  nic.interrupt.fetch_add(1, std::memory_order_seq_cst);  // pairs with the NIC thread's sleeping = 1, then load
  if (nic.sleeping.load(std::memory_order_seq_cst) != 0) FutexWake(nic.interrupt, 1);
}

}  // namespace

void RaiseCq(const Engine& engine, uint32_t cq) { Raise(engine, engine.nic->pending_cqs, cq); }

void RaiseSrq(const Engine& engine, uint32_t srq) { Raise(engine, engine.nic->pending_srqs, srq); }

void RaiseAttention(const Engine& engine, QpContext& qp, uint32_t attention) {
  qp.attention.fetch_or(attention, std::memory_order_release);
  Raise(engine, engine.nic->pending_qps, qp.qpn);
}

bool PostCompletion(const Engine& engine, const Actor& actor, uint32_t cq_index, const uapi::ib_uverbs_wc& entry,
                    bool solicited) {
  CqContext& cq = engine.nic->cqs[cq_index];
  {
    OwnedLockGuard lock(actor, cq.lock, ipc::kLockCq);
    if (cq.valid.load(std::memory_order_relaxed) == 0) return true;  // nobody is left to read it
    Ring& ring = cq.ring;
    auto* queue = reinterpret_cast<uapi::rxe_queue_buf*>(engine.arena + ring.offset);
    uint32_t consumer = queue->consumer_index.load(std::memory_order_acquire) & ring.mask;
    const uint32_t outstanding = (ring.index - cq.consumer_seen) & ring.mask;
    if (((consumer - cq.consumer_seen) & ring.mask) == outstanding + 1) {
      // The program's index ran one past ours (rdma-core 44's cq_ex end_poll after an empty next_poll). Meet it there,
      // or the next entry would never be seen.
      ring.index = consumer;
    }
    cq.consumer_seen = consumer;
    const uint32_t next = (ring.index + 1) & ring.mask;
    if (next == consumer) {
      cq.overflows_pending.fetch_add(1, std::memory_order_relaxed);
      lock.Release();
      RaiseCq(engine, cq_index);
      return false;
    }
    memcpy(uapi::RxeSlot(queue, ring.index, ring.log2_elem), &entry, sizeof(entry));
    ring.index = next;
    queue->producer_index.store(next, std::memory_order_release);
  }
  // The lock's release is a full barrier: a program that arms, then finds the queue empty, is seen armed here.
  const uint32_t armed = cq.notify.load(std::memory_order_relaxed);
  if (armed != kNotArmed && (armed == kArmedNext || solicited || entry.status != uapi::IB_WC_SUCCESS) &&
      cq.notify.exchange(kNotArmed, std::memory_order_acq_rel) != kNotArmed) {
    cq.completions_pending.fetch_add(1, std::memory_order_relaxed);
    RaiseCq(engine, cq_index);
  }
  return true;
}

bool PostError(const Engine& engine, const Actor& actor, uint32_t cq, uint32_t qpn, uint64_t wr_id,
               uapi::ib_wc_status status) {
  uapi::ib_uverbs_wc entry = {};
  entry.wr_id = wr_id;
  entry.status = status;
  entry.qp_num = qpn;
  return PostCompletion(engine, actor, cq, entry, false);
}

}  // namespace causeway::roce
