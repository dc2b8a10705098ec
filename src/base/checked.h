// SPDX-License-Identifier: Apache-2.0
// Arithmetic on lengths that came from outside: `a + b <= size` wraps, these do not. Freestanding (used in the shim).
#pragma once

#include <cstdint>

namespace causeway {

// True when offset + len neither wraps nor exceeds size.
constexpr bool InRange(uint64_t offset, uint64_t len, uint64_t size) { return len <= size && offset <= size - len; }

// True, and *sum set, when a + b does not wrap.
constexpr bool CheckedAdd(uint64_t a, uint64_t b, uint64_t* sum) { return !__builtin_add_overflow(a, b, sum); }

constexpr uint64_t AlignDown(uint64_t value, uint64_t power_of_two) { return value & ~(power_of_two - 1); }
// Precondition: value + power_of_two - 1 does not wrap.
constexpr uint64_t AlignUp(uint64_t value, uint64_t power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}
constexpr bool IsAligned(uint64_t value, uint64_t power_of_two) { return (value & (power_of_two - 1)) == 0; }
constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;

static_assert(!InRange(~uint64_t{0}, 2, 16) && InRange(14, 2, 16) && !InRange(15, 2, 16));

}  // namespace causeway
