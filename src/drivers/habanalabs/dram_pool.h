// SPDX-License-Identifier: Apache-2.0
// Pages of device memory: struct hl_vm's dram_pg_pool. Linux's pool is a gen_pool with a granule of 8 MiB and first
// fit; every request is whole DRAM pages, so a map of pages behaves the same.
//
// Not thread safe: guarded by the owning device.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace causeway::habanalabs {

class DramPool {
 public:
  // Whole pages of [start, end); start is the first page.
  DramPool(uint64_t start, uint64_t end, uint64_t page_size)
      : start_(start), page_size_(page_size), used_(page_size == 0 ? 0 : (end - start) / page_size) {}

  uint64_t pages() const { return used_.size(); }
  uint64_t free_pages() const;
  // Physical address of the first of `count` adjacent free pages; nullopt: there is no such run.
  std::optional<uint64_t> Allocate(uint64_t count);
  void Free(uint64_t address, uint64_t count);

 private:
  const uint64_t start_;
  const uint64_t page_size_;
  std::vector<bool> used_;
};

}  // namespace causeway::habanalabs
