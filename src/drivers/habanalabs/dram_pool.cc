// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/dram_pool.h"

#include <algorithm>

#include "base/result.h"

namespace causeway::habanalabs {

uint64_t DramPool::free_pages() const { return static_cast<uint64_t>(std::count(used_.begin(), used_.end(), false)); }

std::optional<uint64_t> DramPool::Allocate(uint64_t count) {
  if (count == 0 || count > used_.size()) return std::nullopt;
  uint64_t run = 0;
  for (uint64_t page = 0; page < used_.size(); ++page) {
    run = used_[page] ? 0 : run + 1;
    if (run != count) continue;
    const uint64_t first = page + 1 - count;
    for (uint64_t taken = first; taken <= page; ++taken) used_[taken] = true;
    return start_ + first * page_size_;
  }
  return std::nullopt;
}

void DramPool::Free(uint64_t address, uint64_t count) {
  const uint64_t first = (address - start_) / page_size_;
  CW_INVARIANT((address - start_) % page_size_ == 0 && first < used_.size() && count <= used_.size() - first);
  for (uint64_t page = first; page < first + count; ++page) {
    CW_INVARIANT(used_[page]);
    used_[page] = false;
  }
}

}  // namespace causeway::habanalabs
