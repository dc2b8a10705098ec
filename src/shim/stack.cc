// SPDX-License-Identifier: Apache-2.0
#include "shim/stack.h"

#include "shim/host_maps.h"

namespace causeway::shim {
namespace {

constexpr uint64_t kReach = 64 << 10;  // how far above the frame an address counts as the stack's

// What was found to be there, of the stack that this thread was on. A stack stays where it is while frames are on it,
// so what lies above one of its frames is there as long as that frame is.
thread_local StackRange known;

std::atomic<bool> unsupported{false};

// Makes the pages present as a store to each would, without one. False: one of them cannot be written, or is not there.
bool Populate(uint64_t start, uint64_t end) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, linux v5.14
  return Raw(SYS_madvise, start, end - start, kPopulateWrite) == 0;
}

}  // namespace

StackRange StackOf(const void* frame, uint64_t address, uint64_t length) {
  const auto low = reinterpret_cast<uint64_t>(frame);
  if (address < low || address - low >= kReach || length > kReach) return {};
  const uint64_t end = address + length;
  if (__builtin_expect(low >= known.low && end <= known.high, 1)) return {low, known.high};
  if (unsupported.load(std::memory_order_relaxed)) return {};
  const uint64_t page = PageDown(low);
  uint64_t high = PageUp(end);
  if (known.high > high && known.high - page <= kReach && Populate(page, known.high)) {
    high = known.high;  // a deeper frame of the same stack
  } else if (!Populate(page, high)) {
    // The frame's own page is there: where even that fails, the kernel is older.
    if (!Populate(page, page + kPage)) unsupported.store(true, std::memory_order_relaxed);
    return {};
  }
  known = {page >= known.low && page <= known.high ? known.low : page, high};
  return {low, high};
}

}  // namespace causeway::shim
