// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_WAIT_CS: linux v6.12 common/command_submission.c hl_wait_ioctl(), hl_cs_wait_ioctl(),
// hl_multi_cs_wait_ioctl(), hl_interrupt_wait_ioctl(). Where v6.1 differs it is said.
#include <algorithm>

#include "drivers/habanalabs/cs_ioctl.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kMaxScheduleTimeout = INT64_MAX;

// hl_usecs64_to_jiffies(), without the rounding.
uint64_t MicrosecondsToNs(uint64_t us) { return us > UINT64_MAX / 1000 ? UINT64_MAX : us * 1000; }

// hl_cs_wait_ioctl().
Status WaitOne(HlFile& file, kernel::Task& task, uapi::hl_wait_cs_args& args) {
  // usecs_to_jiffies() takes an unsigned int, and its largest value means no end.
  uint64_t timeout_ns = UINT64_MAX;
  if (args.in.cs.timeout_us != kMaxScheduleTimeout) {
    const auto us = static_cast<uint32_t>(args.in.cs.timeout_us);
    timeout_ns = us == UINT32_MAX ? UINT64_MAX : uint64_t{us} * 1000;
  }
  const auto result = file.device().submission().Wait(task, file.ctx(), args.in.cs.seq, timeout_ns);
  if (!result && result.error() == Errno(EINTR)) return Err(EINTR);  // the argument stays as it was
  args = {};
  if (!result) {
    if (result.error() == Errno(ETIMEDOUT)) args.out.status = uapi::kHlWaitTimedOut;
    if (result.error() == Errno(EIO)) args.out.status = uapi::kHlWaitAborted;
    return Err(result.error());
  }
  if (result->timestamp != 0) {
    args.out.flags |= uapi::kHlWaitFlagTimestamp;
    args.out.timestamp_nsec = result->timestamp;
  }
  if (result->gone) args.out.flags |= uapi::kHlWaitFlagGone;
  args.out.status = result->completed ? uapi::kHlWaitCompleted : uapi::kHlWaitBusy;
  return {};
}

Status WaitMulti(HlFile& file, kernel::Task& task, uapi::hl_wait_cs_args& args) {
  const bool padded = std::ranges::any_of(args.in.multi.pad, [](uint8_t byte) { return byte != 0; });
  if (file.device().properties().flavour != Flavour::kMisc && padded) return Err(EINVAL);
  Submission& submission = file.device().submission();
  if (submission.is_gaudi2()) return Err(EPERM);  // supports_wait_for_multi_cs
  if (args.in.multi.seq_arr_len > uapi::kHlWaitMultiCsMax) return Err(EINVAL);
  std::vector<uint64_t> seqs(args.in.multi.seq_arr_len);
  CW_CHECK(task.memory().CopyFrom(std::as_writable_bytes(std::span(seqs)), args.in.cs.seq));
  CW_TRY(const auto result, submission.WaitMulti(task, file.ctx(), seqs, MicrosecondsToNs(args.in.cs.timeout_us)));
  args = {};
  if (result.map == 0) {
    args.out.status = uapi::kHlWaitBusy;
    return {};
  }
  args.out.status = uapi::kHlWaitCompleted;
  args.out.cs_completion_map = result.map;
  if (result.timestamp != 0) {
    args.out.timestamp_nsec = result.timestamp;
    args.out.flags = uapi::kHlWaitFlagTimestamp;
  } else {
    args.out.flags = uapi::kHlWaitFlagGone;
  }
  return {};
}

Status WaitInterrupt(HlFile& file, kernel::Task& task, uapi::hl_wait_cs_args& args) {
  UserInterrupts& interrupts = file.device().submission().user_interrupts();
  const uint32_t flags = args.in.flags;
  const uint32_t id = uapi::HlWaitInterruptId(flags);
  CW_CHECK(interrupts.CheckId(id));
  const uint64_t timeout_ns = MicrosecondsToNs(args.in.interrupt_timeout_us);
  UserInterrupts::Outcome outcome;
  if ((flags & uapi::kHlWaitInterruptKernelCq) != 0) {
    const auto cb = file.memory_manager().Get<CommandBuffer>(args.in.interrupt.cq_counters_handle);
    if (!cb || args.in.cq_counters_offset >= cb->size() / sizeof(uint64_t)) return Err(EINVAL);
    if ((flags & uapi::kHlWaitRegisterInterrupt) != 0) {
      const auto timestamps = file.memory_manager().Get<TimestampBuffer>(args.in.timestamp_handle);
      if (!timestamps || args.in.timestamp_offset >= timestamps->mappable() / sizeof(uint64_t)) return Err(EINVAL);
      interrupts.Register(id, cb, args.in.cq_counters_offset, args.in.interrupt.target, timestamps,
                          args.in.timestamp_offset);
    } else {
      const auto waited =
          interrupts.WaitCounter(task, id, cb, args.in.cq_counters_offset, args.in.interrupt.target, timeout_ns);
      if (!waited) {
        // v6.1 reports a wait that a reset ended as a completion.
        const bool misc = file.device().properties().flavour == Flavour::kMisc;
        if (!misc || waited.error() != Errno(EIO)) return Err(waited.error());
      } else {
        outcome = *waited;
      }
    }
  } else {
    CW_TRY(outcome, interrupts.WaitAddress(task, id, args.in.interrupt.addr, args.in.interrupt.target, timeout_ns));
  }
  args = {};
  args.out.status = outcome.status;
  if (outcome.timestamp != 0) {
    args.out.timestamp_nsec = outcome.timestamp;
    args.out.flags |= uapi::kHlWaitFlagTimestamp;
  }
  return {};
}

}  // namespace

Status WaitIoctl(HlFile& file, kernel::Task& task, uapi::hl_wait_cs_args& args) {
  if (!file.device().operational()) return Err(EBUSY);
  if ((args.in.flags & uapi::kHlWaitInterrupt) != 0) return WaitInterrupt(file, task, args);
  if ((args.in.flags & uapi::kHlWaitMultiCs) != 0) return WaitMulti(file, task, args);
  return WaitOne(file, task, args);
}

}  // namespace causeway::habanalabs
