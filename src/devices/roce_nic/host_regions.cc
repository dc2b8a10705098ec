// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/host_regions.h"

#include <algorithm>

#include "base/checked.h"
#include "pci/bus_map.h"

namespace causeway::roce {
namespace {

// `address` of a segment in use: the data path reads it at any time.
uint64_t LoadAddress(const Segment& segment) { return __atomic_load_n(&segment.address, __ATOMIC_RELAXED); }

}  // namespace

Segment* HostRegions::Segments(const MrEntry& entry) const {
  return entry.segments != 0 ? reinterpret_cast<Segment*>(arena_ + entry.segments)
                             : const_cast<Segment*>(&entry.segment);
}

Status HostRegions::Place(const HostRegion& host, uint32_t index) {
  MrEntry& entry = nic_.mrs[index];
  struct Part {
    uint64_t start, len, address;
  };
  std::vector<Part> parts;
  uint64_t at = 0;
  for (const HostPiece& piece : host.shared) {
    if (piece.start < at || !InRange(piece.start, piece.len, entry.length) || piece.len == 0) return Err(EINVAL);
    if (piece.start > at) parts.push_back({at, piece.start - at, kByCall});
    at = piece.start + piece.len;
    if (!parts.empty() && parts.back().address != kByCall && parts.back().address + parts.back().len == piece.offset) {
      parts.back().len += piece.len;
    } else {
      parts.push_back({piece.start, piece.len, piece.offset});
    }
  }
  if (at < entry.length) parts.push_back({at, entry.length - at, kByCall});
  Segment* table = &entry.segment;
  if (parts.size() > 1) {
    entry.segment_bytes = static_cast<uint32_t>(AlignUp(parts.size() * sizeof(Segment), kPageSize));
    CW_TRY(entry.segments, heap_.Allocate(entry.segment_bytes));
    table = reinterpret_cast<Segment*>(arena_ + entry.segments);
  }
  for (const Part& part : parts) {
    Segment& segment = table[entry.segment_count++];
    segment.start = part.start;
    segment.address = part.address;
    segment.len = part.len;
    segment.window.store(pci::kMaxWindows);
  }
  const std::lock_guard lock(mutex_);
  Space& space = spaces_[entry.mm];
  space.regions.emplace(entry.address, index);
  space.longest = std::max(space.longest, entry.length);
  return {};
}

void HostRegions::Forget(uint32_t index) {
  const MrEntry& entry = nic_.mrs[index];
  if (entry.kind != kMrHost) return;
  const std::lock_guard lock(mutex_);
  const auto space = spaces_.find(entry.mm);
  if (space == spaces_.end()) return;
  auto [it, end] = space->second.regions.equal_range(entry.address);
  for (; it != end; ++it) {
    if (it->second != index) continue;
    space->second.regions.erase(it);
    return;
  }
}

void HostRegions::Visit(uint32_t mm, uint64_t address, uint64_t len,
                        const std::function<void(uint32_t, Segment&)>& visit) const {
  const auto space = spaces_.find(mm);
  if (space == spaces_.end()) return;
  const uint64_t end = len > ~uint64_t{0} - address ? ~uint64_t{0} : address + len;
  const uint64_t from = address - std::min(address, space->second.longest);
  for (auto it = space->second.regions.lower_bound(from); it != space->second.regions.end() && it->first < end; ++it) {
    const MrEntry& entry = nic_.mrs[it->second];
    if (entry.address + entry.length <= address) continue;
    Segment* const segments = Segments(entry);
    for (uint32_t i = 0; i < entry.segment_count; ++i) {
      const uint64_t start = entry.address + segments[i].start;
      if (start < end && start + segments[i].len > address) visit(it->second, segments[i]);
    }
  }
}

void HostRegions::Unmapped(uint32_t mm, uint64_t address, uint64_t len) {
  const std::lock_guard lock(mutex_);
  bool changed = false;
  Visit(mm, address, len, [&](uint32_t, Segment& segment) {
    if (LoadAddress(segment) == kByCall) return;
    __atomic_store_n(&segment.address, kByCall, __ATOMIC_SEQ_CST);
    changed = true;
  });
  if (changed) grace_();
}

void HostRegions::EndAddressSpace(uint32_t mm) {
  const std::lock_guard lock(mutex_);
  Visit(mm, 0, ~uint64_t{0},
        [](uint32_t, Segment& segment) { __atomic_store_n(&segment.address, kByCall, __ATOMIC_SEQ_CST); });
  spaces_.erase(mm);
}

bool HostRegions::ReachedByCall(uint32_t mm, uint64_t address, uint64_t len) const {
  const std::lock_guard lock(mutex_);
  bool found = false;
  Visit(mm, address, len, [&](uint32_t, const Segment& segment) { found = found || LoadAddress(segment) == kByCall; });
  return found;
}

std::vector<std::pair<uint64_t, uint64_t>> HostRegions::Offsets(uint32_t mm) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<uint64_t, uint64_t>> offsets;
  Visit(mm, 0, ~uint64_t{0}, [&](uint32_t, const Segment& segment) {
    const uint64_t address = LoadAddress(segment);
    if (address != kByCall)
      offsets.emplace_back(AlignDown(address, kPageSize), AlignUp(address + segment.len, kPageSize));
  });
  return offsets;
}

std::vector<HostRegionReport> HostRegions::Report() const {
  const std::lock_guard lock(mutex_);
  std::vector<HostRegionReport> report;
  for (const auto& [mm, space] : spaces_) {
    for (const auto& [address, index] : space.regions) {
      const MrEntry& entry = nic_.mrs[index];
      HostRegionReport row = {nic_.mms[mm].pid, entry.nic, entry.key, address, entry.length, 0};
      const Segment* const segments = Segments(entry);
      for (uint32_t i = 0; i < entry.segment_count; ++i) {
        if (LoadAddress(segments[i]) != kByCall) row.shared_bytes += segments[i].len;
      }
      report.push_back(row);
    }
  }
  return report;
}

}  // namespace causeway::roce
