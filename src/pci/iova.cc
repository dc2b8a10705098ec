// SPDX-License-Identifier: Apache-2.0
#include "pci/iova.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace causeway::pci {
namespace {

// The lowest page stays free (iovad->start_pfn is 1), and 0xfee00000 is where x86 sends interrupts.
constexpr uint64_t kLowBegin = kPageSize;
constexpr uint64_t kLowEnd = 0xfee0'0000;
constexpr uint64_t kHighBegin = uint64_t{1} << 32;
constexpr uint64_t kHighEnd = uint64_t{1} << 47;  // AGAW of a four-level IOMMU page table, less its sign bit

}  // namespace

Result<uint64_t> IovaSpace::Allocate(uint64_t len) {
  if (len == 0 || len > kHighEnd) return Err(ENOMEM);
  auto base = AllocateIn(kLowBegin, kLowEnd, len);
  return base ? base : AllocateIn(kHighBegin, kHighEnd, len);
}

Result<uint64_t> IovaSpace::AllocateIn(uint64_t low, uint64_t high, uint64_t len) {
  const uint64_t align = std::bit_ceil(len);
  uint64_t end = high;  // of the gap looked at
  auto next = used_.lower_bound(high);
  while (true) {
    const bool more = next != used_.begin() && std::prev(next)->first >= low;
    const uint64_t begin = more ? std::prev(next)->first + std::prev(next)->second : low;
    if (end >= begin && end - begin >= len) {
      const uint64_t base = AlignDown(end - len, align);
      if (base >= begin) {
        used_.emplace(base, len);
        return base;
      }
    }
    if (!more) return Err(ENOMEM);
    --next;
    end = next->first;
  }
}

bool IovaSpace::Free(uint64_t base) { return used_.erase(base) != 0; }

}  // namespace causeway::pci
