// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{command_submission.c,irq.c}.
#include "drivers/habanalabs/user_interrupt.h"

#include <atomic>
#include <chrono>
#include <cstring>

#include "drivers/habanalabs/submission.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {
namespace {

uint64_t LoadCounter(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(at), __ATOMIC_ACQUIRE);
}

const std::byte* CounterAt(const Ref<CommandBuffer>& cb, uint64_t index) {
  return cb->piece().bytes() + index * sizeof(uint64_t);
}

}  // namespace

Status UserInterrupts::CheckId(uint32_t id) const {
  if (count_ == 0) return Err(EPERM);
  if (id == uapi::kHlAnyCqInterrupt || id == uapi::kHlAnyDecoderInterrupt) return {};
  if (id >= first_ && id < first_ + count_) return {};
  if (id < 32 && (decoder_mask_ >> id & 1) != 0) return {};
  return Err(EINVAL);
}

bool UserInterrupts::Means(uint32_t id, uint32_t vector) const {
  if (vector < first_ || vector >= first_ + count_) return false;
  return id == vector || id == uapi::kHlAnyCqInterrupt;
}

void UserInterrupts::Store(const Pending& pending, int64_t now) {
  auto* const slot = reinterpret_cast<uint64_t*>(pending.timestamps->piece().bytes()) + pending.slot;
  __atomic_store_n(slot, static_cast<uint64_t>(now), __ATOMIC_RELEASE);
}

// handle_user_interrupt().
void UserInterrupts::Raise(uint32_t vector, int64_t now) {
  std::list<std::shared_ptr<Pending>> gone;
  const std::lock_guard lock(mutex_);
  for (auto it = pending_.begin(); it != pending_.end();) {
    Pending& pending = **it;
    const auto next = std::next(it);
    if (Means(pending.id, vector) && (pending.counter == nullptr || LoadCounter(pending.counter) >= pending.target)) {
      if (pending.timestamps) {
        Store(pending, now);
        gone.splice(gone.end(), pending_, it);
      } else {
        pending.raised = true;
        pending.timestamp = now;
        pending.wake.notify_all();
      }
    }
    it = next;
  }
}

void UserInterrupts::ReleasePending() {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& pending : pending_) {
      pending->aborted = true;
      pending->wake.notify_all();
    }
  }
  DropRegistrations();
}

void UserInterrupts::DropRegistrations() {
  std::list<std::shared_ptr<Pending>> gone;
  const std::lock_guard lock(mutex_);
  for (auto it = pending_.begin(); it != pending_.end();) {
    const auto next = std::next(it);
    if ((*it)->timestamps) gone.splice(gone.end(), pending_, it);
    it = next;
  }
}

void UserInterrupts::Register(uint32_t id, const Ref<CommandBuffer>& cb, uint64_t index, uint64_t target,
                              const Ref<TimestampBuffer>& timestamps, uint64_t slot) {
  auto pending = std::make_shared<Pending>();
  pending->id = id;
  pending->counter = CounterAt(cb, index);
  pending->target = target;
  pending->cb = cb;
  pending->timestamps = timestamps;
  pending->slot = slot;
  std::shared_ptr<Pending> replaced;
  const std::lock_guard lock(mutex_);
  // ts_buff_get_kernel_ts_record(): a slot has one registration, the newest.
  for (auto it = pending_.begin(); it != pending_.end(); ++it) {
    if ((*it)->timestamps == timestamps && (*it)->slot == slot) {
      replaced = std::move(*it);
      pending_.erase(it);
      break;
    }
  }
  if (LoadCounter(pending->counter) >= target) {
    Store(*pending, KtimeGetNs());
  } else {
    pending_.push_back(std::move(pending));
  }
}

namespace {

// Waits for `done` up to the time-out, in slices that let a killed program go.
template <typename Done>
bool WaitFor(std::unique_lock<std::mutex>& lock, std::condition_variable& wake, kernel::Task& task, uint64_t timeout_ns,
             const Done& done, bool* killed) {
  constexpr std::chrono::milliseconds kSlice{50};
  using Clock = std::chrono::steady_clock;
  const bool forever = timeout_ns > uint64_t{INT64_MAX} / 2;
  const auto end = Clock::now() + std::chrono::nanoseconds(forever ? 0 : timeout_ns);
  while (!done()) {
    if (task.Killed()) {
      *killed = true;
      return false;
    }
    const auto now = Clock::now();
    if (!forever && now >= end) return false;
    const auto slice = now + kSlice;
    wake.wait_until(lock, forever ? slice : std::min(slice, end));
  }
  return true;
}

}  // namespace

Result<UserInterrupts::Outcome> UserInterrupts::WaitCounter(kernel::Task& task, uint32_t id,
                                                            const Ref<CommandBuffer>& cb, uint64_t index,
                                                            uint64_t target, uint64_t timeout_ns) {
  const std::byte* const counter = CounterAt(cb, index);
  std::unique_lock lock(mutex_);
  if (LoadCounter(counter) >= target) return Outcome{.status = uapi::kHlWaitCompleted, .timestamp = KtimeGetNs()};
  if (timeout_ns == 0) return Outcome{.status = uapi::kHlWaitBusy, .timestamp = KtimeGetNs()};
  const auto pending = std::make_shared<Pending>();
  pending->id = id;
  pending->counter = counter;
  pending->target = target;
  pending_.push_back(pending);
  bool killed = false;
  const bool done = WaitFor(
      lock, pending->wake, task, timeout_ns, [&] { return pending->raised || pending->aborted; }, &killed);
  pending_.remove(pending);
  if (killed) return Err(EINTR);
  if (!done) return Outcome{.status = uapi::kHlWaitBusy, .timestamp = 0};
  if (!pending->raised) return Err(EIO);
  return Outcome{.status = uapi::kHlWaitCompleted, .timestamp = pending->timestamp};
}

Result<UserInterrupts::Outcome> UserInterrupts::WaitAddress(kernel::Task& task, uint32_t id, uint64_t address,
                                                            uint64_t target, uint64_t timeout_ns) {
  const auto pending = std::make_shared<Pending>();
  pending->id = id;
  std::unique_lock lock(mutex_);
  pending_.push_back(pending);
  for (;;) {
    pending->raised = false;
    // User memory is not read with a lock held; an interrupt that comes meanwhile sets `raised`.
    lock.unlock();
    const auto value = task.memory().Read<uint64_t>(address);
    lock.lock();
    if (!value) {
      pending_.remove(pending);
      return Err(EFAULT);
    }
    if (*value >= target) {
      pending_.remove(pending);
      const int64_t now = pending->timestamp != 0 ? pending->timestamp : KtimeGetNs();
      return Outcome{.status = uapi::kHlWaitCompleted, .timestamp = now};
    }
    if (pending->aborted) {
      pending_.remove(pending);
      return Outcome{.status = uapi::kHlWaitAborted, .timestamp = 0};
    }
    const int64_t before = KtimeGetNs();
    bool killed = false;
    const bool woken = timeout_ns != 0 && WaitFor(
                                              lock, pending->wake, task, timeout_ns,
                                              [&] { return pending->raised || pending->aborted; }, &killed);
    if (killed || !woken) {
      pending_.remove(pending);
      if (killed) return Err(EINTR);
      return Outcome{.status = uapi::kHlWaitBusy, .timestamp = 0};
    }
    const auto waited = static_cast<uint64_t>(KtimeGetNs() - before);
    if (timeout_ns <= uint64_t{INT64_MAX} / 2) timeout_ns = timeout_ns > waited ? timeout_ns - waited : 0;
  }
}

}  // namespace causeway::habanalabs
