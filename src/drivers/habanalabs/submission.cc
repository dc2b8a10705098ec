// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{command_submission.c,hw_queue.c,irq.c}.
#include "drivers/habanalabs/submission.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/log.h"
#include "drivers/habanalabs/device.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {

int64_t KtimeGetNs() {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail: the clock exists and the pointer is good
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

Submission::Submission(HlDevice& device)
    : device_(device),
      engines_(device.board().engines()),
      gaudi2_(device.properties().asic == gaudi::Asic::kGaudi2),
      max_pending_cs_(gaudi2_ ? 64 : 16384),  // GAUDI2_MAX_PENDING_CS, GAUDI_MAX_PENDING_CS
      queue_properties_(QueuesOf(device.properties().asic)),
      user_interrupts_(device.properties().first_available_interrupt_id, device.properties().number_of_user_interrupts,
                       device.properties().decoder_enabled_mask),
      shadow_cs_(max_pending_cs_) {
  CreateQueues();
  engines_.SetClient(this);
  const std::lock_guard lock(mutex_);
  InitDeviceLocked();
}

Submission::~Submission() {
  engines_.SetClient(nullptr);
  engines_.Reset();
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    timer_wake_.notify_all();
  }
  if (timer_.joinable()) timer_.join();
}

uint64_t Submission::timeout_ns() const { return uint64_t{device_.timeout_locked_sec().load()} * 1'000'000'000; }

void Submission::Count(HlCtx& ctx, std::atomic<uint64_t> CsCounters::*counter) {
  (ctx.cs_counters.*counter).fetch_add(1, std::memory_order_relaxed);
  (device_.cs_counters().*counter).fetch_add(1, std::memory_order_relaxed);
}

Result<CsRef> Submission::Allocate(HlCtx& ctx, CsType type, uint32_t flags, uint64_t timeout_ns) {
  auto cs = std::make_shared<Cs>();
  cs->ctx = Ref<HlCtx>::Share(&ctx);
  cs->type = type;
  cs->timestamp = (flags & uapi::kHlCsTimestamp) != 0;
  cs->encaps_signals = (flags & uapi::kHlCsEncapSignals) != 0;
  cs->skip_reset_on_timeout = (flags & uapi::kHlCsSkipResetOnTimeout) != 0;
  cs->timeout_ns = timeout_ns;
  cs->fence = std::make_shared<Fence>();
  cs->fence->type = type;

  const std::lock_guard lock(mutex_);
  CsContext& context = ctx.cs;
  std::shared_ptr<Fence>& place = context.pending[context.sequence & (max_pending_cs_ - 1)];
  if (place && !place->done) {
    Count(ctx, &CsCounters::max_cs_in_flight_drop_cnt);
    return Err(EAGAIN);
  }
  cs->sequence = cs->fence->seq = context.sequence++;
  place = cs->fence;
  return cs;
}

void Submission::Reject(const CsRef& cs) {
  std::vector<CsRef> gone;
  {
    const std::lock_guard lock(mutex_);
    ReleaseLocked(cs);
    gone = TakeGraveyardLocked();
  }
  Finish(gone);
}

// ---- scheduling

uint32_t Submission::FreeSlots(uint32_t queue) const {
  return queue_properties_[queue].length - (queues_[queue].pi - queues_[queue].ci);
}

// ext_queue_sanity_checks(), int_queue_sanity_checks(), hw_queue_sanity_checks().
Status Submission::CheckQueuesLocked(const Cs& cs) {
  for (const auto& [queue, count] : cs.jobs_in_queue) {
    const QueueProperties& properties = queue_properties_[queue];
    if (properties.type == QueueType::kInternal && count > properties.length) return Err(ENOMEM);
    if (FreeSlots(queue) < count) return Err(EAGAIN);
  }
  return {};
}

Status Submission::Schedule(const CsRef& cs) {
  const std::lock_guard lock(mutex_);
  CsContext& context = cs->ctx->cs;
  if (!device_.operational()) {
    Count(*cs->ctx, &CsCounters::device_in_reset_drop_cnt);
    return Err(EPERM);
  }
  if (const Status room = CheckQueuesLocked(*cs); !room) {
    Count(*cs->ctx, &CsCounters::queue_full_drop_cnt);
    return room;
  }
  if (cs->type == CsType::kSignal) CW_CHECK(InitSignalLocked(*cs));
  if (cs->type == CsType::kWait) CW_CHECK(InitWaitLocked(*cs));

  if (cs->encaps_signals && cs->staged_first) {  // encaps_sig_first_staged_cs_handler()
    const auto it = context.handles.find(cs->encaps_handle_id);
    if (it == context.handles.end()) return Err(EINVAL);
    EncapsHandle& handle = *it->second;
    handle.cs_seq = cs->sequence;
    cs->fence->encaps = it->second;
    cs->fence->sob = handle.sob;
    cs->fence->sob_val = handle.pre_sob_val + handle.count;
  }
  if (cs->staged && !cs->staged_first) {
    // hl_staged_cs_find_first(), is_staged_cs_last_exists().
    const auto first = std::ranges::find_if(mirror_, [&](const CsRef& other) {
      return other->staged && other->staged_first && other->staged_sequence == cs->staged_sequence &&
             other->ctx == cs->ctx;
    });
    if (first == mirror_.end()) return Err(EINVAL);
    const bool ended = std::ranges::any_of(mirror_, [&](const CsRef& other) {
      return other->staged && other->staged_last && other->staged_sequence == cs->staged_sequence;
    });
    if (ended) return Err(EINVAL);
    (*first)->fence->stream_masters |= cs->stream_masters;
  }
  cs->fence->stream_masters |= cs->stream_masters;
  mirror_.push_back(cs);
  if (mirror_.front() == cs && cs->NeedsTimeout()) ArmTdrLocked(cs);
  shadow_cs_[cs->sequence & (max_pending_cs_ - 1)] = cs;
  cs->submitted = true;
  SubmitJobsLocked(cs);
  return {};
}

// ---- completion

void Submission::Interrupt(uint32_t vector) {
  if (gaudi2_ && vector != kGaudi2CsCompletionVector) return user_interrupts_.Raise(vector, KtimeGetNs());
  std::vector<CsRef> gone;
  {
    const std::lock_guard lock(mutex_);
    if (gaudi2_) {
      HandleCsCompletionsLocked();
    } else {
      HandleCompletionQueuesLocked();
    }
    gone = TakeGraveyardLocked();
  }
  Finish(gone);
}

// hl_irq_handler_cq() of Gaudi: one MSI for the completion queues of all external queues.
void Submission::HandleCompletionQueuesLocked() {
  for (uint32_t id = 0; id < queues_.size(); ++id) {
    Queue& queue = queues_[id];
    if (!queue.cq) continue;
    for (;;) {
      std::byte* const entry = queue.cq.bytes() + (queue.cq_ci % kQueueLength) * sizeof(uint32_t);
      uint32_t data = 0;
      std::memcpy(&data, entry, sizeof(data));
      if ((data & kCqReady) == 0) break;
      const uint32_t none = 0;
      std::memcpy(entry, &none, sizeof(none));
      ++queue.cq_ci;
      if ((data & kCqShadowValid) == 0) continue;
      ++queue.ci;
      if (const CsRef cs = std::exchange(queue.shadow[data & kCqShadowMask], nullptr)) CompleteJobLocked(cs);
    }
  }
}

// cs_finish() of Gaudi2.
void Submission::HandleCsCompletionsLocked() {
  for (;;) {
    std::byte* const entry = cs_cq_.bytes() + (cs_cq_ci_ % kCsCqEntries) * sizeof(uint32_t);
    uint32_t data = 0;
    std::memcpy(&data, entry, sizeof(data));
    if ((data & kCqReady) == 0) break;
    const uint32_t none = 0;
    std::memcpy(entry, &none, sizeof(none));
    ++cs_cq_ci_;
    const CsRef cs = shadow_cs_[(data & kCqShadowMask) & (max_pending_cs_ - 1)];
    if (!cs || !cs->submitted || cs->completed) continue;
    for (const auto& [queue, count] : cs->jobs_in_queue) queues_[queue].ci += count;
    cs->pending_jobs = 0;
    cs->fence->timestamp = cs->timestamp ? KtimeGetNs() : 0;
    ReleaseLocked(cs);
  }
}

void Submission::CompleteJobLocked(const CsRef& cs) {
  if (cs->pending_jobs == 0 || --cs->pending_jobs != 0) return;
  cs->fence->timestamp = cs->timestamp ? KtimeGetNs() : 0;
  ReleaseLocked(cs);
}

// complete_job() for each: what a job holds goes.
void Submission::FinishJobsLocked(Cs& cs) {
  for (Job& job : cs.jobs) {
    if (job.user_cb) job.user_cb->cs_cnt.fetch_sub(1);
    if (job.internal_slot) cs.ctx->GiveInternalCb(*job.internal_slot);
  }
}

// cs_do_release().
void Submission::ReleaseLocked(const CsRef& cs) {
  if (cs->completed) return;
  cs->completed = true;
  HlCtx& ctx = *cs->ctx;
  FinishJobsLocked(*cs);
  if (cs->submitted) {
    if (!gaudi2_) {  // hl_hw_queue_update_ci()
      for (const auto& [queue, count] : cs->jobs_in_queue) {
        if (!cs->NeedsCompletion() || queue_properties_[queue].type == QueueType::kInternal) queues_[queue].ci += count;
      }
    }
    mirror_.erase(std::ranges::find(mirror_, cs));
    if (cs->tdr_active) std::erase_if(deadlines_, [&](const auto& entry) { return entry.second == cs; });
    // cs_handle_tdr(): the oldest one left is timed from now.
    const auto next = std::ranges::find_if(mirror_, [](const CsRef& other) { return other->NeedsTimeout(); });
    if (next != mirror_.end() && !(*next)->tdr_active) ArmTdrLocked(*next);
    if (cs->staged && cs->staged_last) {
      std::vector<CsRef> parts;
      for (const CsRef& other : mirror_) {
        if (other->staged && other->staged_sequence == cs->staged_sequence) parts.push_back(other);
      }
      for (const CsRef& part : parts) {
        part->fence->timestamp = part->timestamp ? KtimeGetNs() : 0;
        part->timed_out = part->timed_out || cs->timed_out;
        part->aborted = part->aborted || cs->aborted;
        ReleaseLocked(part);
      }
    }
    if (cs->fence->encaps) PutHandleLocked(ctx, cs->fence->encaps);
  }
  if (cs->wait_handle) PutHandleLocked(ctx, std::exchange(cs->wait_handle, nullptr));
  CsRef& shadow = shadow_cs_[cs->sequence & (max_pending_cs_ - 1)];
  if (shadow == cs) shadow.reset();

  Fence& fence = *cs->fence;
  if (cs->timed_out) {
    fence.error = ETIMEDOUT;
  } else if (cs->aborted) {
    fence.error = EIO;
  } else if (!cs->submitted) {
    fence.error = EBUSY;
  }
  if (cs->timestamp) ctx.cs.outcomes.Push(cs->sequence, {.timestamp = fence.timestamp, .error = fence.error});
  completed_cs_.fetch_add(cs->submitted ? 1 : 0, std::memory_order_relaxed);
  if (cs->submitted) {  // cs_release_sob_reset_handler(), and the reset of the completion SOB
    const bool sync_stream = cs->type == CsType::kSignal || cs->type == CsType::kWait || fence.encaps;
    // Put, it may be zeroed: who waits for this signal until Finish() says that it is done must not take it.
    if (sync_stream) {
      if (HwSob* const sob = std::exchange(fence.sob, nullptr); sob != nullptr) PutSobLocked(*sob);
    }
    if (gaudi2_) {
      const auto slot = static_cast<uint32_t>(cs->sequence & (max_pending_cs_ - 1));
      engines_.WriteRegister(gaudi::SyncManagerBase(gaudi::Asic::kGaudi2, 0) + slot * 4, 0);
    }
  }
  graveyard_.push_back(cs);
}

// The end of cs_do_release(): the context is let go, perhaps as the last who had it, before anybody hears of the
// completion; who then closes the file is the last.
void Submission::Finish(const std::vector<CsRef>& gone) {
  if (gone.empty()) return;
  for (const CsRef& cs : gone) cs->ctx.Reset();
  const std::lock_guard lock(mutex_);
  for (const CsRef& cs : gone) {
    cs->fence->done = true;
    cs->fence->wake.notify_all();
    CompleteMultiLocked(*cs);
  }
}

// complete_multi_cs().
void Submission::CompleteMultiLocked(const Cs& cs) {
  if (cs.staged && !cs.staged_first) return;
  for (MultiWaiter& waiter : multi_) {
    if (!waiter.used || (waiter.stream_masters & cs.fence->stream_masters) == 0) continue;
    if (waiter.timestamp == 0) waiter.timestamp = cs.fence->timestamp;
    waiter.fired = true;
    waiter.wake.notify_all();
  }
}

// ---- time-out

void Submission::ArmTdrLocked(const CsRef& cs) {
  if (cs->timeout_ns == 0) return;
  cs->tdr_active = true;
  const uint64_t deadline = static_cast<uint64_t>(KtimeGetNs()) + cs->timeout_ns;
  deadlines_.emplace(deadline, cs);
  if (!timer_.joinable()) timer_ = std::thread([this] { Timer(); });
  // Nearly all are done long before their time, and the timer still sleeps for an earlier one: it is left alone.
  if (deadline < timer_until_) timer_wake_.notify_one();
}

void Submission::Timer() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    timer_until_ = deadlines_.empty() ? UINT64_MAX : deadlines_.begin()->first;
    if (timer_until_ == UINT64_MAX) {
      timer_wake_.wait(lock);
      continue;
    }
    const auto now = static_cast<uint64_t>(KtimeGetNs());
    if (now < timer_until_) {
      timer_wake_.wait_for(lock, std::chrono::nanoseconds(timer_until_ - now));
      continue;
    }
    CsRef cs = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    lock.unlock();
    TimedOut(cs);
    cs.reset();  // perhaps the last reference: not under the lock
    lock.lock();
  }
}

// cs_timedout().
void Submission::TimedOut(const CsRef& cs) {
  {
    const std::lock_guard lock(mutex_);
    if (!cs->submitted || cs->completed) return;
    cs->timed_out = !cs->skip_reset_on_timeout;
  }
  device_.CsTimedOut(cs->sequence, cs->skip_reset_on_timeout);
}

// ---- resets

EngineMask Submission::BusyEngines() const { return engines_.BusyMask(); }

void Submission::HaltAndRollBack(bool) {
  engines_.Reset();
  std::vector<CsRef> gone;
  {
    const std::lock_guard lock(mutex_);
    // hl_cs_rollback_all().
    while (!mirror_.empty()) {
      const CsRef cs = mirror_.front();
      cs->aborted = true;
      ReleaseLocked(cs);
    }
    ForceMultiLocked();
    gone = TakeGraveyardLocked();
    for (Queue& queue : queues_) {
      for (CsRef& cs : queue.shadow) cs.reset();
    }
  }
  Finish(gone);
  user_interrupts_.ReleasePending();
}

// hl_abort_waiting_for_cs_completions(): waiters go, the submissions stay.
void Submission::AbortWaiters() {
  {
    const std::lock_guard lock(mutex_);
    for (const CsRef& cs : mirror_) {
      cs->fence->error = EIO;
      cs->fence->done = true;
      cs->fence->wake.notify_all();
    }
    ForceMultiLocked();
  }
  user_interrupts_.ReleasePending();
}

// force_complete_multi_cs().
void Submission::ForceMultiLocked() {
  for (MultiWaiter& waiter : multi_) {
    if (!waiter.used) continue;
    waiter.fired = true;
    waiter.wake.notify_all();
  }
}

void Submission::Reinit(bool) {
  const std::lock_guard lock(mutex_);
  InitDeviceLocked();
}

uint32_t Submission::ActiveCs() const {
  const std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(mirror_.size());
}

void Submission::ContextReleased() {
  user_interrupts_.DropRegistrations();
  if (gaudi2_) return;  // a reset follows
  // gaudi_restore_user_registers(): W_S keeps what the driver uses.
  const gaudi::SyncManagerRegisters& sm = gaudi::kGaudiSm;
  static_assert(gaudi::kSyncManagers == 4);
  const uint32_t from_sob[] = {device_.properties().first_available_sob, 0, 0, 0};
  const uint32_t from_monitor[] = {device_.properties().first_available_mon, 0, 0, 0};
  CW_INVARIANT(from_sob[0] <= sm.sobs && from_monitor[0] <= sm.monitors);
  engines_.ResetSyncManagers(from_sob, from_monitor);
}

void Submission::Event(const gaudi::EngineEvent& event) {
  using Kind = gaudi::EngineEvent::Kind;
  switch (event.kind) {
    case Kind::kUndefinedOpcode: {
      uapi::hl_info_undefined_opcode_event record{};
      record.cq_addr = event.cb_address;
      record.cq_size = event.cb_size;
      record.engine_id = event.engine_id;
      record.stream_id = event.cp;
      if (event.cp < gaudi::kStreams) {
        record.cb_addr_streams[event.cp][0] = event.cb_address;
        record.cb_addr_streams_len = 1;
      }
      return device_.UndefinedOpcode(record);
    }
    case Kind::kPageFault: {
      const VaRangeProperties& host = device_.properties().host;
      const uint64_t host_end = std::max(host.end, device_.properties().host_huge.end);
      return device_.PageFault(event.address, event.engine_id, event.address >= host.start && event.address < host_end);
    }
    case Kind::kRefusedStore:
      return device_.Razwi(event.address, event.engine_id, uapi::kHlRazwiWrite | uapi::kHlRazwiLbw | uapi::kHlRazwiRr);
  }
}

}  // namespace causeway::habanalabs
