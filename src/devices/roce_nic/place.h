// SPDX-License-Identifier: Apache-2.0
// Bytes as a NIC stores them into memory that somebody watches. Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace causeway::roce {

// memmove() for a reader who takes the last byte for the end of the message (perftest's *_lat, rsockets' riostream,
// MPI's eager RDMA), and may store there at once: the last byte is stored after all others, and no byte of the last
// cache line twice. libc's does neither: it ends a long copy with the head, and copies 64 bytes as two halves that may
// be the same.
inline void Place(std::byte* to, const std::byte* from, uint64_t len) {
  constexpr uint64_t kLine = 64;
  const uint64_t tail = len <= kLine ? len : (reinterpret_cast<uintptr_t>(to + len - 1) & (kLine - 1)) + 1;
  std::byte last[kLine];  // taken first: what is stored in front of it may overlap it
  memcpy(last, from + (len - tail), tail);
  if (len > tail) memmove(to, from, len - tail);
  to += len - tail;
  for (uint64_t at = 0; at < tail;) {
    const auto store = [&]<typename T>(T value) {
      if (sizeof(T) > tail - at || reinterpret_cast<uintptr_t>(to + at) % sizeof(T) != 0) return false;
      memcpy(&value, last + at, sizeof(T));
      // Release: not before what precedes it, neither by the compiler nor by the processor.
      __atomic_store_n(reinterpret_cast<T*>(to + at), value, __ATOMIC_RELEASE);
      at += sizeof(T);
      return true;
    };
    (void)(store(uint64_t{}) || store(uint32_t{}) || store(uint16_t{}) || store(uint8_t{}));
  }
}

}  // namespace causeway::roce
