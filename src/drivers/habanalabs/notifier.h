// SPDX-License-Identifier: Apache-2.0
// struct hl_notifier_event: what INFO GET_EVENTS and the registered eventfd tell. One per open.
#pragma once

#include <cstdint>
#include <mutex>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/task.h"

namespace causeway::habanalabs {

class NotifierEvent {
 public:
  Status Register(kernel::Task& task, int fd);  // errors: EINVAL one is registered, or no eventfd; EBADF
  Status Unregister();                          // errors: EINVAL none
  bool registered() const;
  uint64_t TakeEvents();         // reading clears
  void Notify(uint64_t events);  // hl_notifier_event_send()

 private:
  mutable std::mutex mutex_;
  UniqueFd eventfd_;
  uint64_t events_mask_ = 0;
};

}  // namespace causeway::habanalabs
