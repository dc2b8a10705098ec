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

struct BusWindow {
  std::atomic<uint64_t> size;  // 0: free entry. Stored last (release) when made, first when removed.
  uint64_t base;
  uint32_t memory;  // memory object (ipc/memory_table.h); the shim maps it on first use
  uint16_t initiator;  // index of the function that may use it, or kAnyInitiator
  uint16_t target;     // index of the function whose memory it is
  uint64_t memory_offset;
};

struct BusMap {
  std::atomic<uint32_t> count;  // entries ever used: the search stops there
  uint32_t reserved;
  BusWindow windows[kMaxWindows];
};

// The window that holds all of [address, address + len) for `initiator`, or kMaxWindows. `hint` is tried first.
inline uint32_t FindWindow(const BusMap& map, uint16_t initiator, uint64_t address, uint64_t len, uint32_t hint) {
  const auto holds = [&](const BusWindow& window) {
    const uint64_t size = window.size.load(std::memory_order_acquire);
    return size != 0 && (window.initiator == kAnyInitiator || window.initiator == initiator) &&
           address >= window.base && len <= size && address - window.base <= size - len;
  };
  if (hint < kMaxWindows && holds(map.windows[hint])) return hint;
  const uint32_t count = map.count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < count && i < kMaxWindows; ++i) {
    if (holds(map.windows[i])) return i;
  }
  return kMaxWindows;
}

}  // namespace causeway::pci
