// SPDX-License-Identifier: Apache-2.0
// One range of device virtual addresses of a context: struct hl_va_range of linux v6.12
// drivers/accel/habanalabs/common/memory.c. Free blocks in address order; best fit, ties to the lowest address.
//
// Not thread safe: guarded by the owning context.
#pragma once

#include <cstdint>
#include <map>

#include "base/result.h"

namespace causeway::habanalabs {

struct VaRangeProperties {
  uint64_t start = 0;
  uint64_t end = 0;        // exclusive
  uint64_t page_size = 0;  // a power of two, or not (Gaudi2's DRAM pages)
  // Window that only calls with a hint may use; both 0: none. end is inclusive, as the kernel's constants are.
  uint64_t hint_window_start = 0;
  uint64_t hint_window_end = 0;
};

class VaRange {
 public:
  explicit VaRange(const VaRangeProperties& properties);

  // get_va_block(): `size` bytes (> 0) at a multiple of `align`.
  //   hint        wanted address, 0 for none; honoured when it is aligned and free
  //   force_hint  HL_MEM_FORCE_HINT: fail rather than choose another address (hint 0 never succeeds then)
  //   errors      ENOMEM
  Result<uint64_t> Get(uint64_t size, uint64_t hint, uint64_t align, bool force_hint);
  // Takes exactly [address, + size) out, for the driver's own use. errors: ENOMEM.
  Status Reserve(uint64_t address, uint64_t size);
  // Gives back what Get() gave; `size` as it was asked for.
  void Put(uint64_t address, uint64_t size);

  const VaRangeProperties& properties() const { return properties_; }
  size_t free_blocks_for_report() const { return free_.size(); }

 private:
  uint64_t RoundedSize(uint64_t size) const;
  void Take(uint64_t block_start, uint64_t address, uint64_t size);

  const VaRangeProperties properties_;
  const bool page_is_power_of_two_;
  std::map<uint64_t, uint64_t> free_;  // start -> last address, inclusive
};

}  // namespace causeway::habanalabs
