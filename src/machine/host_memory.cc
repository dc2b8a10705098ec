// SPDX-License-Identifier: Apache-2.0
#include "machine/host_memory.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/checked.h"

namespace causeway::machine {
namespace {

constexpr uint64_t kLeaseBytes = uint64_t{64} << 20;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kSweepBytes = uint64_t{64} << 20;  // newly shared, at least, between two looks for forgotten pages

// Adds [start, end), merged with its neighbours.
void Insert(std::map<uint64_t, uint64_t>& ranges, uint64_t start, uint64_t end) {
  auto next = ranges.lower_bound(start);
  if (next != ranges.begin() && std::prev(next)->second == start) {
    start = std::prev(next)->first;
    ranges.erase(std::prev(next));
  }
  if (next != ranges.end() && next->first == end) {
    end = next->second;
    ranges.erase(next);
  }
  ranges.emplace(start, end);
}

}  // namespace

Result<std::unique_ptr<HostMemory>> HostMemory::Create(ipc::MemoryTable& memories, bool enabled) {
  std::unique_ptr<HostMemory> host(new HostMemory(memories, enabled));
  constexpr uint64_t kBytes = ipc::kMemoryWindow * ipc::kHostMemoryWindows;
  CW_TRY(const uint32_t memory, memories.Create("causeway-host", kBytes));
  CW_INVARIANT(memory == ipc::kHostMemory);
  struct stat status;
  if (::fstat(memories.fd(memory), &status) != 0) return HostErr();
  host->file_ = {status.st_dev, status.st_ino};
  host->free_.emplace(0, kBytes);
  return host;
}

std::shared_ptr<HostMemory::Image> HostMemory::Find(uint32_t mm, bool make) {
  const std::lock_guard lock(mutex_);
  auto& image = images_[mm];
  if (!image && make) image = std::make_shared<Image>();
  auto found = image;
  if (!image) images_.erase(mm);
  return found;
}

Result<uint64_t> HostMemory::Lease(Image& image, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [start, end] = *it;
    if (end - start < bytes) continue;
    free_.erase(it);
    if (start + bytes < end) free_.emplace(start + bytes, end);
    Insert(image.leased, start, start + bytes);
    return start;
  }
  return Err(ENOSPC);
}

Result<uint64_t> HostMemory::Share(kernel::AddressSpace mm, uint64_t address, uint64_t len) {
  if (!enabled_) return Err(EOPNOTSUPP);
  uint64_t end = 0;
  if (len == 0 || !IsAligned(address, kPageSize) || !IsAligned(len, kPageSize) || !CheckedAdd(address, len, &end)) {
    return Err(EINVAL);
  }
  if (len > ipc::kMemoryWindow * ipc::kHostMemoryWindows / 2) return Err(ENOSPC);
  const auto image = Find(mm.index, true);
  const std::lock_guard lock(image->mutex);
  if (nics_->ReachedByCall(mm.index, address, len)) return Err(EBUSY);
  if (image->bytes_since_sweep >= std::max(kSweepBytes, image->live_bytes / 2)) Sweep(*image, mm);
  // Large ranges lie in a huge page as they do in the program, so that one can be mapped where the host has them.
  const auto place = [&](uint64_t from) {
    return len < kHugePage ? from : from + ((address - from) & (kHugePage - 1));
  };
  uint64_t at = place(image->next);
  if (at > image->end || image->end - at < len) {
    const uint64_t bytes = AlignUp(len + kHugePage, kLeaseBytes);
    CW_TRY(image->next, Lease(*image, bytes));
    image->end = image->next + bytes;
    at = place(image->next);
  }
  image->next = at + len;
  Insert(image->live, at, at + len);
  image->live_bytes += len;
  image->bytes_since_sweep += len;
  return at;
}

void HostMemory::Unmapped(kernel::AddressSpace mm, uint64_t address, uint64_t len) {
  const auto image = Find(mm.index, false);
  if (!image) return;
  const std::lock_guard lock(image->mutex);
  nics_->HostUnmapped(mm.index, address, len);
  Sweep(*image, mm);
}

void HostMemory::Sweep(Image& image, kernel::AddressSpace mm) {
  auto mapped = kernel::MappedOffsets(mm.pid, file_);
  if (!mapped) return;  // nothing is known of it
  std::vector<std::pair<uint64_t, uint64_t>>& used = *mapped;
  for (const auto& range : nics_->HostOffsets(mm.index)) used.push_back(range);
  std::ranges::sort(used);
  std::vector<std::pair<uint64_t, uint64_t>> merged;
  for (const auto& range : used) {
    if (!merged.empty() && range.first <= merged.back().second) {
      merged.back().second = std::max(merged.back().second, range.second);
    } else {
      merged.push_back(range);
    }
  }
  Ranges live;
  uint64_t live_bytes = 0;
  for (const auto& [start, end] : image.live) {
    uint64_t at = start;
    auto it = std::ranges::partition_point(merged, [&](const auto& range) { return range.second <= start; });
    while (at < end) {
      const bool more = it != merged.end() && it->first < end;
      const uint64_t hole_end = more ? std::max(it->first, at) : end;
      if (hole_end > at) memories_.Discard(ipc::kHostMemory, at, hole_end - at);
      if (!more) break;
      at = std::min(it->second, end);
      Insert(live, hole_end, at);
      live_bytes += at - hole_end;
      ++it;
    }
  }
  image.live = std::move(live);
  image.live_bytes = live_bytes;
  image.bytes_since_sweep = 0;
}

void HostMemory::EndAddressSpace(uint32_t mm) {
  std::shared_ptr<Image> image;
  {
    const std::lock_guard lock(mutex_);
    const auto it = images_.find(mm);
    if (it == images_.end()) return;
    image = std::move(it->second);
    images_.erase(it);
  }
  const std::lock_guard image_lock(image->mutex);
  for (const auto& [start, end] : image->live) memories_.Discard(ipc::kHostMemory, start, end - start);
  const std::lock_guard lock(mutex_);
  for (const auto& [start, end] : image->leased) Insert(free_, start, end);
}

}  // namespace causeway::machine
