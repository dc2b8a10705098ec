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

void Erase(std::multimap<uint64_t, uint64_t>& ranges, uint64_t start, uint64_t end) {
  auto [it, last] = ranges.equal_range(start);
  it = std::find_if(it, last, [&](const auto& range) { return range.second == end; });
  if (it != last) ranges.erase(it);
}

}  // namespace

// A device's hold on a range.
class HostMemory::Pages : public kernel::PinnedPages {
 public:
  struct Part {
    uint64_t start, end, offset;  // addresses; of `start` in the host memory, kByCall: not there
  };
  static constexpr uint64_t kByCall = ~uint64_t{0};

  Pages(HostMemory& host, std::shared_ptr<Image> image, uint64_t address, uint64_t len,
        const std::vector<kernel::SharedPages>& shared)
      : host_(host), image_(std::move(image)) {
    uint64_t at = address;
    const uint64_t end = address + len;
    for (const kernel::SharedPages& pages : shared) {
      const uint64_t start = address + pages.start;
      if (start > at) parts_.push_back({at, start, kByCall});
      at = start + pages.len;
      Part* const last = parts_.empty() ? nullptr : &parts_.back();
      const bool continues = last != nullptr && last->end == start && last->offset != kByCall &&
                             last->offset + (last->end - last->start) == pages.offset;
      if (continues) {
        last->end = at;
      } else {
        parts_.push_back({start, at, pages.offset});
      }
    }
    if (at < end) parts_.push_back({at, end, kByCall});
    const std::lock_guard lock(image_->mutex);
    ++image_->pins;
    for (const Part& part : parts_) {
      if (part.offset == kByCall) {
        image_->by_call.emplace(part.start, part.end);
        image_->longest_by_call = std::max(image_->longest_by_call, part.end - part.start);
      } else {
        image_->pinned.emplace(part.offset, part.offset + (part.end - part.start));
      }
    }
  }
  ~Pages() override {
    const std::lock_guard lock(image_->mutex);
    for (const Part& part : parts_) {
      if (part.offset == kByCall) {
        Erase(image_->by_call, part.start, part.end);
      } else {
        Erase(image_->pinned, part.offset, part.offset + (part.end - part.start));
      }
    }
    if (--image_->pins == 0 && image_->ended) host_.End(*image_);
  }

  std::byte* Bytes(uint64_t address, uint64_t* len) override {
    const auto part = std::ranges::partition_point(parts_, [&](const Part& one) { return one.end <= address; });
    if (part == parts_.end() || address < part->start) return nullptr;
    *len = std::min(*len, part->end - address);
    if (part->offset == kByCall) return nullptr;
    return host_.memories_.At(ipc::kHostMemory, part->offset + (address - part->start), len);
  }
  bool HasImage() const override { return !image_->ended.load(std::memory_order_acquire); }

 private:
  HostMemory& host_;
  const std::shared_ptr<Image> image_;
  std::vector<Part> parts_;  // in order, without gaps
};

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

std::shared_ptr<HostMemory::Image> HostMemory::Find(kernel::AddressSpace mm, bool make) {
  std::shared_ptr<Image> stale;  // made by the last call of a program that had ended already
  {
    const std::lock_guard lock(mutex_);
    const auto it = images_.find(mm.index);
    if (it != images_.end() && it->second->pid == mm.pid) return it->second;
    if (!make) return nullptr;
    auto image = std::make_shared<Image>(mm.pid);
    stale = std::exchange(images_[mm.index], image);
    if (!stale) return image;
  }
  EndImage(*stale);
  return Find(mm, make);
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
  const auto image = Find(mm, true);
  const std::lock_guard lock(image->mutex);
  if (nics_->ReachedByCall(mm.index, address, len)) return Err(EBUSY);
  const uint64_t first = address - std::min(address, image->longest_by_call);
  for (auto it = image->by_call.lower_bound(first); it != image->by_call.end() && it->first < end; ++it) {
    if (it->second > address) return Err(EBUSY);
  }
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
  const auto image = Find(mm, false);
  if (!image) return;
  const std::lock_guard lock(image->mutex);
  nics_->HostUnmapped(mm.index, address, len);
  Sweep(*image, mm);
}

std::shared_ptr<kernel::PinnedPages> HostMemory::Pin(kernel::AddressSpace mm, uint64_t address, uint64_t len,
                                                     const std::vector<kernel::SharedPages>& shared) {
  return std::make_shared<Pages>(*this, Find(mm, true), address, len, shared);
}

void HostMemory::Sweep(Image& image, kernel::AddressSpace mm) {
  auto mapped = kernel::MappedOffsets(mm.pid, file_);
  if (!mapped) return;  // nothing is known of it
  std::vector<std::pair<uint64_t, uint64_t>>& used = *mapped;
  for (const auto& range : nics_->HostOffsets(mm.index)) used.push_back(range);
  for (const auto& [start, end] : image.pinned) used.emplace_back(start, end);
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
  EndImage(*image);
}

void HostMemory::EndImage(Image& image) {
  const std::lock_guard lock(image.mutex);
  image.ended.store(true, std::memory_order_release);
  if (image.pins == 0) End(image);
}

void HostMemory::End(Image& image) {
  for (const auto& [start, end] : image.leased) memories_.Discard(ipc::kHostMemory, start, end - start);
  const std::lock_guard lock(mutex_);
  for (const auto& [start, end] : image.leased) Insert(free_, start, end);
}

}  // namespace causeway::machine
