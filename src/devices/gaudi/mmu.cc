// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/mmu.h"

#include <iterator>
#include <mutex>

namespace causeway::gaudi {

void Mmu::MapHost(uint64_t va, uint64_t size, std::shared_ptr<HostRegion> host, uint64_t offset) {
  const std::unique_lock lock(mutex_);
  ranges_[va] = {.size = size, .host = std::move(host), .offset = offset, .page_size = 0, .pages = {}};
  generation_.fetch_add(1, std::memory_order_release);
}

void Mmu::MapDevice(uint64_t va, uint64_t page_size, const std::vector<uint64_t>& pages) {
  const std::unique_lock lock(mutex_);
  ranges_[va] = {.size = page_size * pages.size(), .host = {}, .offset = 0, .page_size = page_size, .pages = pages};
  generation_.fetch_add(1, std::memory_order_release);
}

void Mmu::Unmap(uint64_t va) {
  Range gone;  // host memory is let go without the lock
  {
    const std::unique_lock lock(mutex_);
    const auto it = ranges_.find(va);
    if (it == ranges_.end()) return;
    gone = std::move(it->second);
    ranges_.erase(it);
    generation_.fetch_add(1, std::memory_order_release);
  }
}

void Mmu::UnmapAll() {
  std::map<uint64_t, Range> gone;
  const std::unique_lock lock(mutex_);
  gone.swap(ranges_);
  generation_.fetch_add(1, std::memory_order_release);
}

Mmu::Translation Mmu::Find(uint64_t va) const {
  const std::shared_lock lock(mutex_);
  auto it = ranges_.upper_bound(va);
  if (it == ranges_.begin()) return {};
  --it;
  const Range& range = it->second;
  const uint64_t offset = va - it->first;
  if (offset >= range.size) return {};
  if (range.page_size == 0) {
    return {.start = it->first, .size = range.size, .host = range.host, .target = range.offset};
  }
  // Neighbouring pages that are neighbours in memory, too, make one run.
  size_t first = offset / range.page_size;
  size_t end = first + 1;
  while (first > 0 && range.pages[first - 1] + range.page_size == range.pages[first]) --first;
  while (end < range.pages.size() && range.pages[end - 1] + range.page_size == range.pages[end]) ++end;
  return {.start = it->first + first * range.page_size,
          .size = (end - first) * range.page_size,
          .host = {},
          .target = range.pages[first]};
}

}  // namespace causeway::gaudi
