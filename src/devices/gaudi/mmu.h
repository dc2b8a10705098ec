// SPDX-License-Identifier: Apache-2.0
// The device's MMU: virtual addresses of the user's address space (ASID 1) to device memory or to host memory. The
// page tables' content, kept as ranges: the driver maps and unmaps whole ranges, engines look addresses up.
//
// A look-up result stays usable after an unmap (it holds the host memory), as a DMA on its way does on hardware; who
// unmaps must not have work queued that uses the range. `generation()` tells a cache that it is stale (a TLB
// invalidation).
//
// Runs on: map and unmap on driver threads, look-ups on the engines' thread and, for debugfs, on any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <span>
#include <vector>

namespace causeway::gaudi {

// Host memory as the IOMMU gives it to the device: pages of a program, or of the driver (coherent memory).
class HostRegion {
 public:
  virtual ~HostRegion() = default;
  // False: the memory is gone (its program has unmapped it, or has ended): a bus error.
  virtual bool Read(uint64_t offset, std::span<std::byte> to) = 0;
  virtual bool Write(uint64_t offset, std::span<const std::byte> from) = 0;
  // The bytes themselves where this process has them mapped; nullptr: only Read() and Write() reach them. *len is cut
  // to what the answer is true for.
  virtual std::byte* Bytes(uint64_t /*offset*/, uint64_t* /*len*/) { return nullptr; }
};

class Mmu {
 public:
  struct Translation {
    uint64_t start = 0;                // first virtual address that continues linearly up to ...
    uint64_t size = 0;                 // ... this many bytes; 0: not mapped
    std::shared_ptr<HostRegion> host;  // null: device memory
    uint64_t target = 0;               // offset of `start` in the region, or physical device address
  };

  void MapHost(uint64_t va, uint64_t size, std::shared_ptr<HostRegion> host, uint64_t offset);
  // Pages of `page_size` bytes at these physical device addresses, one after the other.
  void MapDevice(uint64_t va, uint64_t page_size, const std::vector<uint64_t>& pages);
  // The range that starts at `va`; nothing when there is none.
  void Unmap(uint64_t va);
  void UnmapAll();

  Translation Find(uint64_t va) const;
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  struct Range {
    uint64_t size = 0;
    std::shared_ptr<HostRegion> host;
    uint64_t offset = 0;
    uint64_t page_size = 0;
    std::vector<uint64_t> pages;
  };
  mutable std::shared_mutex mutex_;  // innermost
  std::map<uint64_t, Range> ranges_;
  std::atomic<uint64_t> generation_{1};
};

}  // namespace causeway::gaudi
