// SPDX-License-Identifier: Apache-2.0
// Interrupts that programs wait for: struct hl_user_interrupt and hl_user_pending_interrupt. Each waiter or timestamp
// registration watches a counter and looks at it when an interrupt of its kind comes.
//
// Runs on: Raise() on the engines' thread, the rest on server threads. Lock: its own mutex_, with no other inside but
// that of user memory copies outside it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include "base/ref.h"
#include "base/result.h"
#include "drivers/habanalabs/memory_manager.h"
#include "kernel/task.h"

namespace causeway::habanalabs {

class UserInterrupts {
 public:
  UserInterrupts(uint32_t first, uint32_t count, uint32_t decoder_mask)
      : first_(first), count_(count), decoder_mask_(decoder_mask) {}

  // hl_interrupt_wait_ioctl(): which list an id of the uAPI means. errors: EPERM the ASIC has none; EINVAL.
  Status CheckId(uint32_t id) const;

  struct Outcome {
    uint32_t status = 0;
    int64_t timestamp = 0;  // 0: none
  };
  // _hl_interrupt_wait_ioctl_user_addr(). errors: EFAULT, EINTR.
  Result<Outcome> WaitAddress(kernel::Task& task, uint32_t id, uint64_t address, uint64_t target, uint64_t timeout_ns);
  // _hl_interrupt_wait_ioctl(): a 64-bit counter in a command buffer. errors: EIO a reset, EINTR.
  Result<Outcome> WaitCounter(kernel::Task& task, uint32_t id, const Ref<CommandBuffer>& cb, uint64_t index,
                              uint64_t target, uint64_t timeout_ns);
  // The same with REGISTER: the time goes to timestamps[slot] when the counter is there, which may be now.
  void Register(uint32_t id, const Ref<CommandBuffer>& cb, uint64_t index, uint64_t target,
                const Ref<TimestampBuffer>& timestamps, uint64_t slot);

  // An interrupt came.
  void Raise(uint32_t vector, int64_t now);
  // hl_release_pending_user_interrupts(): waiters go with EIO, registrations are dropped.
  void ReleasePending();
  void DropRegistrations();

 private:
  struct Pending {
    uint32_t id = 0;
    const std::byte* counter = nullptr;  // null: the waiter looks at a program's memory itself
    uint64_t target = 0;
    bool raised = false, aborted = false;
    int64_t timestamp = 0;
    std::condition_variable wake;
    // Registration.
    Ref<CommandBuffer> cb;
    Ref<TimestampBuffer> timestamps;
    uint64_t slot = 0;
  };
  bool Means(uint32_t id, uint32_t vector) const;
  static void Store(const Pending& pending, int64_t now);

  const uint32_t first_, count_, decoder_mask_;
  std::mutex mutex_;
  std::list<std::shared_ptr<Pending>> pending_;
};

}  // namespace causeway::habanalabs
