// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/notifier.h"

#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

namespace causeway::habanalabs {

Status NotifierEvent::Register(kernel::Task& task, int fd) {
  {
    const std::lock_guard lock(mutex_);
    if (eventfd_) return Err(EINVAL);  // before the descriptor is looked at
  }
  // eventfd_ctx_fdget(), without the lock: fetching a descriptor talks to the program.
  CW_TRY(const auto file, task.GetFile(fd));
  if (file) return Err(EINVAL);
  CW_TRY(UniqueFd host, task.GetHostFd(fd));
  char target[64];
  const std::string link = "/proc/self/fd/" + std::to_string(host.get());
  const ssize_t len = ::readlink(link.c_str(), target, sizeof(target));
  if (len < 0 || std::string_view(target, static_cast<size_t>(len)) != "anon_inode:[eventfd]") return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  if (eventfd_) return Err(EINVAL);
  eventfd_ = std::move(host);
  return {};
}

Status NotifierEvent::Unregister() {
  const std::lock_guard lock(mutex_);
  if (!eventfd_) return Err(EINVAL);
  eventfd_.Reset();
  return {};
}

bool NotifierEvent::registered() const {
  const std::lock_guard lock(mutex_);
  return static_cast<bool>(eventfd_);
}

uint64_t NotifierEvent::TakeEvents() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_mask_, 0);
}

void NotifierEvent::Notify(uint64_t events) {
  const std::lock_guard lock(mutex_);
  events_mask_ |= events;
  const uint64_t one = 1;
  // eventfd_signal() drops the event when the counter is full, too.
  if (eventfd_) (void)!::write(eventfd_.get(), &one, sizeof(one));
}

}  // namespace causeway::habanalabs
