// SPDX-License-Identifier: Apache-2.0
// SIGNAL and WAIT submissions and encapsulated signals: the SOBs that the driver lends to queues. Sources: linux v6.12
// common/command_submission.c (hl_cs_signal_sob_wraparound_handler, cs_ioctl_reserve_signals, cs_ioctl_signal_wait),
// common/hw_queue.c (init_signal_cs, init_wait_cs), gaudi_gen_signal_cb() and its kin.
#include <cstring>

#include "devices/gaudi/packets.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kMaxSobValue = 1u << 15;  // HL_MAX_SOB_VAL
constexpr uint32_t kFence = 2;               // the driver's fence counter
constexpr uint32_t kEngineBarrier = gaudi::kCtlEngineBarrier, kRegisterBarrier = 1u << 30,
                   kMessageBarrier = gaudi::kCtlMessageBarrier;

// Appends packets of 8 bytes.
class PacketWriter {
 public:
  explicit PacketWriter(Job& job) : job_(job) {}
  void MsgShort(uint32_t base, uint32_t offset, uint32_t value, uint32_t barriers) {
    Put(value, static_cast<uint32_t>(gaudi::Opcode::kMsgShort) << 24 | base << 22 | (offset & 0xffff) | barriers);
  }
  void Fence(uint32_t id, uint32_t target, uint32_t dec, uint32_t barriers) {
    Put(dec | target << 16 | id << 30, static_cast<uint32_t>(gaudi::Opcode::kFence) << 24 | barriers);
  }

 private:
  void Put(uint32_t word, uint32_t ctl) {
    std::memcpy(job_.bytes + job_.user_size, &word, sizeof(word));
    std::memcpy(job_.bytes + job_.user_size + 4, &ctl, sizeof(ctl));
    job_.user_size += 8;
  }
  Job& job_;
};

}  // namespace

// hl_cs_signal_sob_wraparound_handler(): takes a reference on the SOB to use, which is the queue's other one when this
// one has no room for `count` more.
Status Submission::SwitchSobLocked(uint32_t id, HwSob** sob, uint32_t count, bool encaps) {
  Queue& queue = queues_[id];
  ++(*sob)->refs;
  if (queue.next_sob_val + count < kMaxSobValue) {
    queue.next_sob_val += count;
    return {};
  }
  --(*sob)->refs;
  HwSob& old = **sob;
  const uint32_t other_index = (queue.curr_sob + 1) % static_cast<uint32_t>(queue.sobs.size());
  HwSob& other = queue.sobs[other_index];
  if (other.refs != 1) return Err(EINVAL);
  queue.next_sob_val = encaps ? count + 1 : count;
  queue.curr_sob = other_index;
  *sob = &other;
  if (other.need_reset) PutSobLocked(other);
  if (encaps) {
    old.need_reset = true;
    ++other.refs;
  }
  return {};
}

// hw_sob_put(): the last reference resets the SOB and takes the queue's own again.
void Submission::PutSobLocked(HwSob& sob) {
  if (--sob.refs != 0) return;
  const gaudi::Asic asic = device_.properties().asic;
  engines_.WriteRegister(gaudi::SyncManagerBase(asic, 0) + sob.id * 4, 0);
  sob.refs = 1;
  sob.need_reset = false;
}

void Submission::GenerateSignal(Job& job, const HwSob& sob) {
  job.user_size = 0;
  PacketWriter(job).MsgShort(gaudi2_ ? 1 : 3, sob.id * 4, 0x80000001,
                             kEngineBarrier | (gaudi2_ ? 0 : kRegisterBarrier) | kMessageBarrier);
  job.size = job.user_size;
}

void Submission::GenerateWait(Job& job, const HwSob& sob, uint32_t value) {
  const gaudi::Asic asic = device_.properties().asic;
  const gaudi::SyncManagerRegisters& sm = gaudi::SyncManagerRegistersOf(asic);
  const gaudi::QmanRegisters& r = gaudi::QmanRegistersOf(asic);
  const QueueProperties& properties = queue_properties_[job.queue];
  const uint64_t fence = gaudi::MapOf(asic).cfg_base + engines_.qman_specs()[properties.qman].base + r.fence_rdata +
                         kFence * gaudi::kFenceStride + properties.stream * 4;
  const uint32_t base = gaudi2_ ? 0 : 2;
  const uint32_t mon = queues_[job.queue].base_mon * 4;
  const uint32_t barrier = gaudi2_ ? 0 : kRegisterBarrier;
  const uint32_t group = sob.id / 8;
  const uint32_t mask = 0xffu & ~(1u << sob.id % 8);
  job.user_size = 0;
  PacketWriter packets(job);
  packets.MsgShort(base, mon, static_cast<uint32_t>(fence), barrier);
  packets.MsgShort(base, sm.pay_addr_hi - sm.pay_addr_lo + mon, static_cast<uint32_t>(fence >> 32), barrier);
  packets.MsgShort(base, sm.pay_data - sm.pay_addr_lo + mon, 1, barrier);
  if (gaudi2_) packets.MsgShort(base, sm.config - sm.pay_addr_lo + mon, (group >> 8) << 16, barrier);
  packets.MsgShort(base, sm.arm - sm.pay_addr_lo + mon, (group & 0xff) | mask << 8 | value << 17,
                   barrier | kMessageBarrier);
  packets.Fence(kFence, 1, 1, barrier | kMessageBarrier);
  job.size = job.user_size;
}

namespace {

// What the driver appends to a buffer of an external queue; see queue_setup.cc.
constexpr uint32_t kCompletionTail = 32;

}  // namespace

// init_signal_cs(). When the queue changes to its other SOB here, this signal is still the old one's last, and its
// completion drops the reference that was the queue's own; what is reported is the new one, as the driver does it.
Status Submission::InitSignalLocked(Cs& cs) {
  Job& job = cs.jobs.front();
  Queue& queue = queues_[job.queue];
  HwSob* sob = &queue.sobs[queue.curr_sob];
  cs.fence->sob = sob;
  cs.fence->sob_val = queue.next_sob_val;
  GenerateSignal(job, *sob);
  const Status switched = SwitchSobLocked(job.queue, &sob, 1, false);
  if (!switched) cs.fence->sob = nullptr;  // nothing is to be put
  cs.sob_address_offset = sob->address_offset;
  cs.initial_sob_count = static_cast<uint16_t>(queue.next_sob_val - 1);
  CW_CHECK(switched);
  if (!gaudi2_) job.size += kCompletionTail;
  return {};
}

// init_wait_cs(). errors: EINVAL the signal is done by now.
Status Submission::InitWaitLocked(Cs& cs) {
  Job& job = cs.jobs.front();
  Fence& fence = *cs.fence;
  if (cs.wait_handle) {  // hl_hw_queue_encaps_sig_set_sob_info()
    fence.sob = cs.wait_handle->sob;
    const uint32_t offset = cs.encaps_wait_offset != 0 ? cs.encaps_wait_offset - 1 : 0;
    fence.sob_val = cs.wait_handle->pre_sob_val + offset;
  } else {
    fence.sob = cs.signal_fence->sob;
    fence.sob_val = cs.signal_fence->sob_val;
  }
  if (cs.signal_fence->done || fence.sob == nullptr) {
    fence.sob = nullptr;
    return Err(EINVAL);
  }
  ++fence.sob->refs;
  GenerateWait(job, *fence.sob, fence.sob_val);
  if (!gaudi2_) job.size += kCompletionTail;
  return {};
}

// ---- encapsulated signals

Result<Submission::Reservation> Submission::ReserveSignals(HlCtx& ctx, uint32_t id, uint32_t count) {
  if (count >= kMaxSobValue) return Err(EINVAL);
  if (id >= queue_properties_.size() || !queue_properties_[id].sync_stream) return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  Queue& queue = queues_[id];
  HwSob* sob = &queue.sobs[queue.curr_sob];
  CW_CHECK(SwitchSobLocked(id, &sob, count, true));
  auto handle = std::make_shared<EncapsHandle>();
  uint32_t handle_id = 1;  // idr_alloc(1, 0)
  while (ctx.cs.handles.contains(handle_id)) ++handle_id;
  handle->id = handle_id;
  handle->queue = id;
  handle->count = count;
  handle->sob = sob;
  handle->pre_sob_val = queue.next_sob_val - count;
  ctx.cs.handles.emplace(handle_id, handle);
  return Reservation{.handle_id = handle_id, .sob_address_offset = sob->address_offset, .count = queue.next_sob_val};
}

Status Submission::UnreserveSignals(HlCtx& ctx, uint32_t handle_id) {
  const std::lock_guard lock(mutex_);
  const auto it = ctx.cs.handles.find(handle_id);
  if (it == ctx.cs.handles.end()) return Err(EINVAL);
  EncapsHandle& handle = *it->second;
  Queue& queue = queues_[handle.queue];
  HwSob& current = queue.sobs[queue.curr_sob];
  if (handle.pre_sob_val + handle.count != queue.next_sob_val || handle.sob != &current) return Err(EINVAL);
  queue.next_sob_val -= handle.count;
  PutSobLocked(current);
  ctx.cs.handles.erase(it);
  return {};
}

// hl_encaps_release_handle_and_put_ctx().
void Submission::PutHandleLocked(HlCtx& ctx, const std::shared_ptr<EncapsHandle>& handle) {
  if (--handle->refs != 0) return;
  ctx.cs.handles.erase(handle->id);
}

void Submission::PutHandle(HlCtx& ctx, const std::shared_ptr<EncapsHandle>& handle) {
  const std::lock_guard lock(mutex_);
  PutHandleLocked(ctx, handle);
}

Result<Submission::WaitTarget> Submission::FindWaitTarget(HlCtx& ctx, uint64_t seq, bool encaps,
                                                          uint32_t encaps_offset) {
  const std::lock_guard lock(mutex_);
  WaitTarget target;
  const auto put = [&] {
    if (target.handle) PutHandleLocked(ctx, std::exchange(target.handle, nullptr));
  };
  if (encaps) {
    for (const auto& [id, handle] : ctx.cs.handles) {
      if (handle->cs_seq != seq) continue;
      ++handle->refs;
      target.handle = handle;
      break;
    }
    if (!target.handle) {
      target.finished = true;
      return target;
    }
    if (encaps_offset > target.handle->count) {
      put();
      return Err(EINVAL);
    }
  }
  const auto validation = [&] {
    put();
    Count(ctx, &CsCounters::validation_drop_cnt);
    return Err(EINVAL);
  };
  if (!ctx.cs.Find(seq, &target.fence)) return validation();
  if (!target.fence) {
    put();
    target.finished = true;
    return target;
  }
  const bool staged_with_signals = encaps && target.fence->type == CsType::kDefault;
  if (target.fence->type != CsType::kSignal && !staged_with_signals) return validation();
  if (target.fence->done) {
    put();
    target.finished = true;
  }
  return target;
}

}  // namespace causeway::habanalabs
