// SPDX-License-Identifier: Apache-2.0
// Memory regions of programs' ordinary memory: which parts the data path reaches through the host memory
// (ipc::kHostMemory) and which by system call. A part can fall back to system calls at any time (its pages are
// unmapped, its process ends); it never goes the other way while the region lives.
//
// Runs on: any machine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"
#include "devices/roce_nic/heap.h"
#include "devices/roce_nic/nic.h"
#include "devices/roce_nic/nic_memory.h"

namespace causeway::roce {

class HostRegions {
 public:
  // `grace` returns when no thread uses what the context memory said before the call.
  HostRegions(std::byte* arena, NicMemory& nic, Heap& heap, std::function<void()> grace)
      : arena_(arena), nic_(nic), heap_(heap), grace_(std::move(grace)) {}

  // Writes the segments of a host region whose other fields are set. errors: ENOMEM.
  Status Place(const HostRegion& host, uint32_t index);
  // The region is gone (no thread uses it); its table is the caller's to free.
  void Forget(uint32_t index);

  // Pages of [address, address + len) are not mapped there any more: what lies there is left to system calls, which
  // will find out. Returns when nobody reaches the old pages.
  void Unmapped(uint32_t mm, uint64_t address, uint64_t len);
  // The same for all of an address space, and its regions are not asked for again. The caller lets a grace period pass.
  void EndAddressSpace(uint32_t mm);

  // Does a region reach a part of [address, address + len) by system call?
  bool ReachedByCall(uint32_t mm, uint64_t address, uint64_t len) const;
  // Parts of the host memory that regions of `mm` reach: [offset, end).
  std::vector<std::pair<uint64_t, uint64_t>> Offsets(uint32_t mm) const;
  std::vector<HostRegionReport> Report() const;

 private:
  struct Space {
    std::multimap<uint64_t, uint32_t> regions;  // address -> index
    uint64_t longest = 0;                       // length of any region there was
  };
  Segment* Segments(const MrEntry& entry) const;
  // visit(index, segment) for each segment that overlaps the range.
  void Visit(uint32_t mm, uint64_t address, uint64_t len, const std::function<void(uint32_t, Segment&)>& visit) const;

  std::byte* const arena_;
  NicMemory& nic_;
  Heap& heap_;
  const std::function<void()> grace_;
  mutable std::mutex mutex_;
  std::map<uint32_t, Space> spaces_;  // by mm
};

}  // namespace causeway::roce
