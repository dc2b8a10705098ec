// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/heap.h"

#include "base/checked.h"

namespace causeway::roce {

Heap::Heap(ipc::MemoryTable& memories, uint64_t offset, uint64_t bytes) : memories_(memories) { free_[offset] = bytes; }

Result<uint64_t> Heap::Allocate(uint64_t bytes) {
  if (bytes == 0 || bytes > (uint64_t{1} << 40)) return Err(ENOMEM);
  bytes = AlignUp(bytes, kPageSize);
  const std::lock_guard lock(mutex_);
  for (auto it = free_.begin(); it != free_.end(); ++it) {  // first fit: low pages are used again soon
    if (it->second < bytes) continue;
    const uint64_t offset = it->first;
    const uint64_t rest = it->second - bytes;
    free_.erase(it);
    if (rest != 0) free_[offset + bytes] = rest;
    used_ += bytes;
    return offset;
  }
  return Err(ENOMEM);
}

void Heap::Free(uint64_t offset, uint64_t bytes) {
  bytes = AlignUp(bytes, kPageSize);
  memories_.Discard(ipc::kArenaMemory, offset, bytes);
  const std::lock_guard lock(mutex_);
  used_ -= bytes;
  auto [it, inserted] = free_.emplace(offset, bytes);
  CW_INVARIANT(inserted);
  if (const auto next = std::next(it); next != free_.end() && it->first + it->second == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it != free_.begin()) {
    if (const auto before = std::prev(it); before->first + before->second == it->first) {
      before->second += it->second;
      free_.erase(it);
    }
  }
}

uint64_t Heap::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

}  // namespace causeway::roce
