// SPDX-License-Identifier: Apache-2.0
// The I/O virtual addresses of one function's DMA domain. As linux v6.1 drivers/iommu/dma-iommu.c
// iommu_dma_alloc_iova() gives them: below 4 GiB while there is room there, from the top down, aligned to the size
// rounded up to a power of two; never in the MSI window. Not thread safe.
#pragma once

#include <cstdint>
#include <map>

#include "base/result.h"

namespace causeway::pci {

class IovaSpace {
 public:
  // `len` > 0, a multiple of the page size. errors: ENOMEM.
  Result<uint64_t> Allocate(uint64_t len);
  // The whole range that starts at `base`; false when none does.
  bool Free(uint64_t base);

 private:
  Result<uint64_t> AllocateIn(uint64_t low, uint64_t high, uint64_t len);
  std::map<uint64_t, uint64_t> used_;  // base -> length
};

}  // namespace causeway::pci
