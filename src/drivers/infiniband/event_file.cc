// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/event_file.h"

#include <algorithm>

#include "kernel/task.h"

namespace causeway::infiniband {

void EventFile::Push(uint64_t element, uint32_t event_type, const Ref<EventCounter>& counter) {
  const std::lock_guard lock(mutex_);
  if (closed_ || (counter && counter->dead_)) return;
  events_.push_back({element, event_type, counter});
  readiness_.SetReadable(id());
}

uint32_t EventFile::Forget(const Ref<EventCounter>& counter) {
  const std::lock_guard lock(mutex_);
  counter->dead_ = true;
  const bool had = !events_.empty();
  std::erase_if(events_, [&](const Event& event) { return event.counter == counter; });
  if (had && events_.empty() && !closed_) readiness_.ClearReadable(id());
  return counter->reported_;
}

void EventFile::Close() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(closed_, true)) return;
  readiness_.SetReadable(id());
}

size_t EventFile::queued() const {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

// uverbs_main.c ib_uverbs_event_read(): an empty queue is reported whatever the buffer; a buffer that is too small
// keeps the event; a copy that fails loses it.
Result<int64_t> EventFile::Read(kernel::Task& task, uint64_t buffer, uint64_t len, bool* drained) {
  const size_t size =
      type_ == Type::kAsync ? sizeof(uapi::ib_uverbs_async_event_desc) : sizeof(uapi::ib_uverbs_comp_event_desc);
  uapi::ib_uverbs_async_event_desc desc = {};
  {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) {
      if (closed_) return Err(EIO);
      return Err(EAGAIN);
    }
    if (len < size) return Err(EINVAL);
    const Event event = std::move(events_.front());
    events_.pop_front();
    if (event.counter) ++event.counter->reported_;
    desc.element = event.element;
    desc.event_type = event.type;
    *drained = events_.empty() && !closed_;
  }
  // A completion event is the first field alone.
  CW_CHECK(task.memory().CopyTo(buffer, std::as_bytes(std::span(&desc, 1)).first(size)));
  return static_cast<int64_t>(size);
}

}  // namespace causeway::infiniband
