// SPDX-License-Identifier: Apache-2.0
// Waiting for submissions: hl_wait_for_fence(), hl_multi_cs_wait_ioctl() of linux v6.12 common/command_submission.c.
#include <algorithm>
#include <chrono>

#include "drivers/habanalabs/submission.h"
#include "kernel/task.h"

namespace causeway::habanalabs {
namespace {

constexpr std::chrono::milliseconds kSlice{50};  // how long a killed program may be kept
using Clock = std::chrono::steady_clock;

class Deadline {
 public:
  explicit Deadline(uint64_t timeout_ns)
      : forever_(timeout_ns > uint64_t{INT64_MAX} / 2),
        end_(Clock::now() + std::chrono::nanoseconds(forever_ ? 0 : timeout_ns)) {}
  bool over() const { return !forever_ && Clock::now() >= end_; }
  Clock::time_point next() const {
    const auto slice = Clock::now() + kSlice;
    return forever_ ? slice : std::min(slice, end_);
  }

 private:
  const bool forever_;
  const Clock::time_point end_;
};

}  // namespace

Result<Submission::WaitResult> Submission::Wait(kernel::Task& task, HlCtx& ctx, uint64_t seq, uint64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  std::shared_ptr<Fence> fence;
  if (!ctx.cs.Find(seq, &fence)) return Err(EINVAL);
  WaitResult result;
  int error = 0;
  if (!fence) {
    const auto outcome = ctx.cs.outcomes.Pop(seq);
    result.completed = true;
    result.gone = !outcome.has_value();
    if (outcome) {
      result.timestamp = outcome->timestamp;
      error = outcome->error;
    }
  } else {
    if (timeout_ns != 0 && !fence->done) {
      const Deadline deadline(timeout_ns);
      while (!fence->done && !deadline.over()) {
        if (task.Killed()) return Err(EINTR);
        fence->wake.wait_until(lock, deadline.next());
      }
    }
    result.completed = fence->done;
    if (fence->done) {
      result.timestamp = fence->timestamp;
      error = fence->error;
    }
  }
  if (error == ETIMEDOUT) return Err(ETIMEDOUT);
  if (error == EIO) return Err(EIO);
  return result;
}

Result<Submission::MultiResult> Submission::WaitMulti(kernel::Task& task, HlCtx& ctx, const std::vector<uint64_t>& seqs,
                                                      uint64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  const auto free = std::ranges::find_if(multi_, [](const MultiWaiter& waiter) { return !waiter.used; });
  if (free == multi_.end()) return Err(ENOMEM);
  MultiWaiter& waiter = *free;
  struct Use {
    explicit Use(MultiWaiter& of) : waiter(of) { waiter.used = true; }
    ~Use() { waiter.used = false; }
    MultiWaiter& waiter;
  } use(waiter);
  waiter.stream_masters = 0;
  waiter.timestamp = 0;
  waiter.fired = false;

  // hl_cs_poll_fences().
  std::vector<std::shared_ptr<Fence>> fences(seqs.size());
  MultiResult result;
  bool gone = false;
  const auto poll = [&](bool update_timestamp) -> Status {
    for (size_t i = 0; i < seqs.size(); ++i) {
      if (!ctx.cs.Find(seqs[i], &fences[i])) return Err(EINVAL);
    }
    waiter.fired = false;
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < seqs.size(); ++i) {
      const std::shared_ptr<Fence>& fence = fences[i];
      if (!fence) {
        const auto outcome = ctx.cs.outcomes.Pop(seqs[i]);
        if (outcome && outcome->error == ETIMEDOUT) return Err(ETIMEDOUT);
        if (outcome && outcome->error == EIO) return Err(EIO);
        if (!outcome) gone = true;
        result.map |= 1u << i;
        continue;
      }
      waiter.stream_masters |= fence->stream_masters;
      if (!fence->done) continue;
      if (fence->error == ETIMEDOUT) return Err(ETIMEDOUT);
      if (fence->error == EIO) return Err(EIO);
      result.map |= 1u << i;
      first = std::min(first, fence->timestamp);
    }
    if (update_timestamp && !gone && first != INT64_MAX) result.timestamp = first;
    return {};
  };
  CW_CHECK(poll(true));
  if (result.map != 0 || timeout_ns == 0) return result;
  const Deadline deadline(timeout_ns);
  while (result.map == 0) {
    while (!waiter.fired && !deadline.over()) {
      if (task.Killed()) return Err(EINTR);
      waiter.wake.wait_until(lock, deadline.next());
    }
    if (!waiter.fired) break;
    result.timestamp = waiter.timestamp;
    CW_CHECK(poll(false));
    waiter.timestamp = 0;
  }
  return result;
}

}  // namespace causeway::habanalabs
