// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/rings.h"

#include <algorithm>

#include "base/checked.h"

namespace causeway::infiniband {

uapi::mminfo PendingRings::Add(uint64_t context, Ref<RingMemory> ring) {
  const std::lock_guard lock(mutex_);
  const uapi::mminfo info = {.offset = next_offset_, .size = ring->ring().bytes, .pad = 0};
  next_offset_ += AlignUp(info.size, kPageSize);
  entries_.push_back({context, info, std::move(ring)});
  return info;
}

void PendingRings::Withdraw(uint64_t offset) {
  std::list<Entry> gone;  // its memory is given back without the lock
  const std::lock_guard lock(mutex_);
  const auto it = std::ranges::find(entries_, offset, [](const Entry& entry) { return entry.info.offset; });
  if (it != entries_.end()) gone.splice(gone.end(), entries_, it);
}

Result<Ref<RingMemory>> PendingRings::Take(uint64_t context, uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex_);
  const auto it = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.context == context && entry.info.offset == offset; });
  if (it == entries_.end() || length > it->info.size) return Err(EINVAL);
  Ref<RingMemory> ring = std::move(it->ring);
  entries_.erase(it);
  return ring;
}

size_t PendingRings::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace causeway::infiniband
