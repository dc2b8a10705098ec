// SPDX-License-Identifier: Apache-2.0
// The bus as an initiator sees it: which bytes a bus address means. A table of windows in memory shared by the machine
// and its programs (arena region kRegionBusMap), because a DMA is carried out where the doorbell is rung.
//
// A window maps [base, base + size) of the address space that `initiator` sees to bytes of a memory object (a device's
// memory behind a BAR). With an IOMMU in front of the initiator the windows are the mappings of its domain (IOVA);
// without, they are the BARs themselves and initiator is kAnyInitiator. Freestanding.
#pragma once

#include <atomic>
#include <cstdint>

namespace causeway::pci {

constexpr uint16_t kAnyInitiator = 0xffff;
constexpr uint32_t kMaxWindows = 4096;

// Every field is an atomic because a search reads entries of other initiators while these come and go. An entry that an
// initiator uses stays as it is: it is unmapped only when no DMA of that initiator uses it any more.
struct BusWindow {
  std::atomic<uint64_t> size;  // 0: free entry. Stored last (release) when made, first when removed.
  std::atomic<uint64_t> base;
  std::atomic<uint32_t> memory;     // memory object (ipc/memory_table.h); the shim maps it on first use
  std::atomic<uint16_t> initiator;  // index of the function that may use it, or kAnyInitiator
  std::atomic<uint16_t> target;     // index of the function whose memory it is
  std::atomic<uint64_t> memory_offset;
};
static_assert(sizeof(BusWindow) == 32 && std::atomic<uint64_t>::is_always_lock_free);

struct BusMap {
  std::atomic<uint32_t> count;  // entries ever used: the search stops there
  uint32_t reserved;
  BusWindow windows[kMaxWindows];
};

// The window that holds all of [address, address + len) for `initiator`, or kMaxWindows. `hint` is tried first.
inline uint32_t FindWindow(const BusMap& map, uint16_t initiator, uint64_t address, uint64_t len, uint32_t hint) {
  const auto holds = [&](const BusWindow& window) {
    const uint64_t size = window.size.load(std::memory_order_acquire);
    if (size == 0) return false;
    const uint16_t user = window.initiator.load(std::memory_order_relaxed);
    const uint64_t base = window.base.load(std::memory_order_relaxed);
    return (user == kAnyInitiator || user == initiator) && address >= base && len <= size &&
           address - base <= size - len;
  };
  if (hint < kMaxWindows && holds(map.windows[hint])) return hint;
  const uint32_t count = map.count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count && i < kMaxWindows; ++i) {
    if (holds(map.windows[i])) return i;
  }
  return kMaxWindows;
}

}  // namespace causeway::pci
