// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/va_range.h"

#include <bit>
#include <iterator>

#include "base/checked.h"

namespace causeway::habanalabs {
namespace {

// prop->dram_hints_align_mask: the high 16 bits of a DRAM hint take no part in its alignment (Gaudi2's
// GAUDI2_DRAM_VA_HINT_MASK).
constexpr uint64_t kDramHintMask = 0xffff000000000000;

}  // namespace

VaRange::VaRange(const VaRangeProperties& properties)
    : properties_(properties), page_is_power_of_two_(std::has_single_bit(properties.page_size)) {
  free_.emplace(properties.start, properties.end - 1);
}

uint64_t VaRange::RoundedSize(uint64_t size) const {
  if (page_is_power_of_two_) return size;
  return (size + properties_.page_size - 1) / properties_.page_size * properties_.page_size;
}

Result<uint64_t> VaRange::Get(uint64_t size, uint64_t hint, uint64_t align, bool force_hint) {
  size = RoundedSize(size);
  const bool hint_in_range = hint >= properties_.start && hint < properties_.end;
  const bool unaligned = page_is_power_of_two_ ? !IsAligned(hint, align)
                                               : hint_in_range && (hint & ~kDramHintMask) % properties_.page_size != 0;
  if (unaligned) {
    if (force_hint) return Err(ENOMEM);
    hint = 0;
  }

  const auto none = free_.end();
  auto chosen = none;
  uint64_t chosen_start = 0, chosen_size = 0;
  for (auto block = free_.begin(); block != none; ++block) {
    const uint64_t end = block->second;
    uint64_t valid_start = block->first;
    if (page_is_power_of_two_ && !IsAligned(valid_start, align)) {
      valid_start = AlignDown(valid_start, align) + align;
      if (valid_start > end) continue;
    }
    const uint64_t valid_size = end - valid_start + 1;
    if (valid_size < size) continue;
    // Deviation: the kernel's is_hint_crossing_range() cuts the size to 32 bits here.
    if (hint == 0 && properties_.hint_window_end != 0 && valid_start <= properties_.hint_window_end &&
        properties_.hint_window_start <= valid_start + size - 1) {
      continue;
    }
    if (chosen == none || valid_size < chosen_size) {
      chosen = block;
      chosen_start = valid_start;
      chosen_size = valid_size;
    }
    // One byte of slack is needed at the block's end (get_va_block(): hint + size <= end, with end inclusive).
    // Deviation: the kernel's sum may wrap; a hint near 2^64 is outside the range here.
    uint64_t hint_end = 0;
    if (hint != 0 && hint >= valid_start && CheckedAdd(hint, size, &hint_end) && hint_end <= end) {
      chosen = block;
      chosen_start = hint;
      break;
    }
  }
  if (chosen == none) return Err(ENOMEM);
  if (force_hint && chosen_start != hint) return Err(ENOMEM);
  Take(chosen->first, chosen_start, size);
  return chosen_start;
}

Status VaRange::Reserve(uint64_t address, uint64_t size) {
  auto block = free_.upper_bound(address);
  if (block == free_.begin()) return Err(ENOMEM);
  --block;
  if (address > block->second || block->second - address < size - 1) return Err(ENOMEM);
  Take(block->first, address, size);
  return {};
}

void VaRange::Take(uint64_t block_start, uint64_t address, uint64_t size) {
  const auto block = free_.find(block_start);
  const uint64_t end = block->second;
  free_.erase(block);
  if (address > block_start) free_.emplace(block_start, address - 1);
  if (end - address > size - 1) free_.emplace(address + size, end);
}

// add_va_block_locked() and merge_va_blocks_locked().
void VaRange::Put(uint64_t address, uint64_t size) {
  uint64_t end = address + RoundedSize(size) - 1;
  auto next = free_.upper_bound(address);
  CW_INVARIANT(next == free_.end() || next->first > end);
  if (next != free_.end() && next->first == end + 1) {
    end = next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    CW_INVARIANT(previous->second < address);
    if (previous->second + 1 == address) {
      previous->second = end;
      return;
    }
  }
  free_.emplace(address, end);
}

}  // namespace causeway::habanalabs
