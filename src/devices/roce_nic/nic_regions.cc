// SPDX-License-Identifier: Apache-2.0
// Commands on memory regions and memory windows.
#include "base/checked.h"
#include "devices/roce_nic/nic_impl.h"

namespace causeway::roce {

// ---- memory regions

Status NicDevices::Impl::PlaceSegments(std::span<const BusSegment> bus_segments, uint64_t bus_offset, MrEntry& entry) {
  std::vector<BusSegment> parts;
  uint64_t skip = bus_offset;
  uint64_t start = 0;
  for (const BusSegment& from : bus_segments) {
    if (skip >= from.len) {
      skip -= from.len;
      continue;
    }
    if (start >= entry.length) break;
    parts.push_back({from.dma_address + skip, std::min(from.len - skip, entry.length - start)});
    start += parts.back().len;
    skip = 0;
  }
  if (start < entry.length || parts.empty()) return Err(EINVAL);
  uint64_t table_offset = 0;
  uint32_t table_bytes = 0;
  Segment* table = &entry.segment;
  if (parts.size() > 1) {
    table_bytes = static_cast<uint32_t>(AlignUp(parts.size() * sizeof(Segment), kPageSize));
    CW_TRY(table_offset, heap.Allocate(table_bytes));
    table = reinterpret_cast<Segment*>(arena + table_offset);
  }
  start = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    table[i].start = start;
    table[i].address = parts[i].dma_address;
    table[i].len = parts[i].len;
    table[i].window.store(pci::kMaxWindows);
    start += parts[i].len;
  }
  if (entry.segments != 0) heap.Free(entry.segments, entry.segment_bytes);
  entry.segments = table_offset;
  entry.segment_bytes = table_bytes;
  entry.segment_count = static_cast<uint32_t>(parts.size());
  return {};
}

Result<uint32_t> NicDevices::CreateMr(const MrCreate& create) {
  CW_TRY(const uint32_t index, impl_->mrs.Take());
  MrEntry& entry = impl_->nic->mrs[index];
  entry.key = index << 8 | impl_->RandomKey();
  entry.pd = create.pd;
  entry.access = create.access;
  entry.iova = create.iova;
  entry.length = create.length;
  entry.nic = create.nic;
  entry.route = create.route;
  entry.segments = 0;
  entry.segment_count = 0;
  entry.function = create.initiator != nullptr ? create.initiator->index() : pci::kAnyInitiator;
  if (create.host != nullptr) {
    entry.kind = kMrHost;
    entry.mm = create.host->mm;
    entry.mm_generation = impl_->nic->mms[entry.mm].generation.load(std::memory_order_acquire);
    entry.address = create.host->address;
    if (const Status placed = impl_->host_regions->Place(*create.host, index); !placed) {
      entry.length = 0;
      impl_->mrs.Give(index);
      return Err(placed.error());
    }
  } else {
    entry.kind = kMrBus;
    if (const Status placed = impl_->PlaceSegments(create.bus, create.bus_offset, entry); !placed) {
      entry.length = 0;
      impl_->mrs.Give(index);
      return Err(placed.error());
    }
  }
  entry.valid.store(kMrUsable, std::memory_order_release);
  return index;
}

const MrEntry& NicDevices::mr(uint32_t index) const { return impl_->nic->mrs[index]; }

bool NicDevices::Impl::Stall(MrEntry& entry) {
  {
    // Through `mutex`: a machine thread that is inside the data path leaves it before this returns.
    const std::lock_guard machine(mutex);
    uint32_t usable = kMrUsable;
    if (!entry.valid.compare_exchange_strong(usable, kMrStalled) && usable == kMrDead) return false;
  }
  Grace();
  return true;
}

void NicDevices::Impl::Resume(MrEntry& entry) {
  uint32_t stalled = kMrStalled;  // a region that died meanwhile stays dead
  (void)entry.valid.compare_exchange_strong(stalled, kMrUsable, std::memory_order_release);
}

void NicDevices::ChangeMr(uint32_t index, std::optional<uint32_t> pd, std::optional<uint32_t> access) {
  MrEntry& entry = impl_->nic->mrs[index];
  const bool was_stalled = entry.valid.load() == kMrStalled;
  if (!impl_->Stall(entry)) return;
  if (pd) entry.pd = *pd;
  if (access) entry.access = *access;
  if (!was_stalled) impl_->Resume(entry);
}

void NicDevices::StallMr(uint32_t index) { (void)impl_->Stall(impl_->nic->mrs[index]); }

Status NicDevices::ResumeMr(uint32_t index, std::span<const BusSegment> bus, uint64_t bus_offset) {
  MrEntry& entry = impl_->nic->mrs[index];
  if (entry.valid.load() == kMrDead) return {};  // revoked meanwhile
  CW_CHECK(impl_->PlaceSegments(bus, bus_offset, entry));
  impl_->Resume(entry);
  return {};
}

void NicDevices::InvalidateMr(uint32_t index) { impl_->Retire(impl_->nic->mrs[index].valid); }

void NicDevices::DestroyMr(uint32_t index) {
  InvalidateMr(index);
  MrEntry& entry = impl_->nic->mrs[index];
  // A bind that began before the region ended may have come to its end.
  impl_->Unbind([index](const MwEntry& mw) { return mw.mr == index; });
  impl_->host_regions->Forget(index);
  if (entry.segments != 0) impl_->heap.Free(entry.segments, entry.segment_bytes);
  entry.length = 0;
  impl_->mrs.Give(index);
}

// ---- regions of host memory, by address space

void NicDevices::HostUnmapped(uint32_t mm, uint64_t address, uint64_t len) {
  impl_->host_regions->Unmapped(mm, address, len);
}
bool NicDevices::ReachedByCall(uint32_t mm, uint64_t address, uint64_t len) const {
  return impl_->host_regions->ReachedByCall(mm, address, len);
}
std::vector<std::pair<uint64_t, uint64_t>> NicDevices::HostOffsets(uint32_t mm) const {
  return impl_->host_regions->Offsets(mm);
}
std::vector<HostRegionReport> NicDevices::HostRegions() const { return impl_->host_regions->Report(); }

// ---- memory windows

Result<uint32_t> NicDevices::CreateMw(uint32_t nic, uint32_t pd, MwType type) {
  CW_TRY(const uint32_t index, impl_->mws.Take());
  MwEntry& mw = impl_->nic->mws[index];
  mw.rkey = (kMaxMrs + 1 + index) << 8 | impl_->RandomKey();
  mw.nic = nic;
  mw.pd = pd;
  mw.type = static_cast<uint32_t>(type);
  mw.mr = 0;
  mw.access = 0;
  mw.qpn = 0;
  mw.addr = mw.length = 0;
  mw.changing = 0;
  mw.valid.store(1, std::memory_order_release);
  impl_->windows.fetch_add(1);
  return index;
}

const MwEntry& NicDevices::mw(uint32_t index) const { return impl_->nic->mws[index]; }

void NicDevices::DestroyMw(uint32_t index) {
  impl_->Retire(impl_->nic->mws[index].valid);
  impl_->nic->mws[index].mr = 0;
  impl_->windows.fetch_sub(1);
  impl_->mws.Give(index);
}

uint32_t NicDevices::WindowsOf(uint32_t mr) {
  if (impl_->windows.load() == 0) return 0;
  const std::lock_guard machine(impl_->mutex);
  uint32_t bound = 0;
  for (const uint32_t index : impl_->mws.Used()) {
    MwEntry& mw = impl_->nic->mws[index];
    const OwnedLockGuard lock(impl_->actor, mw.lock, ipc::kLockShared);
    if (mw.valid.load() != 0 && mw.mr == mr) ++bound;
  }
  return bound;
}

void NicDevices::Impl::Unbind(const std::function<bool(const MwEntry&)>& matches) {
  if (windows.load() == 0) return;
  const std::lock_guard machine(mutex);
  for (const uint32_t index : mws.Used()) {
    MwEntry& mw = nic->mws[index];
    const OwnedLockGuard lock(actor, mw.lock, ipc::kLockShared);
    if (mw.mr != 0 && matches(mw)) mw.mr = 0;
  }
}

}  // namespace causeway::roce
