// SPDX-License-Identifier: Apache-2.0
// Memory of the program that the shim itself may read and write: what lies on the calling thread's stack above the
// shim's own frames. Arguments of calls nearly always do; they cross with the message (ipc/channel.h). Whatever lies
// elsewhere, and may not be there at all, is the machine's to copy: a bad pointer is its EFAULT, never a fault in here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

// [low, high): mapped, readable, writable. Holds nothing when empty.
struct StackRange {
  uint64_t low = 0, high = 0;
  bool Holds(uint64_t address, uint64_t length) const {
    return address >= low && address <= high && length <= high - address;
  }
};

// The stack from `frame` up, if [address, address + length), length not 0, is part of it and all of that is there.
StackRange StackOf(const void* frame, uint64_t address, uint64_t length);

// As memcpy(), of what the program's own memcpy() (a sanitizer's, say) is not to judge: the kernel's copies do not ask
// it.
inline void CopyRaw(void* to, const void* from, size_t bytes) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

}  // namespace causeway::shim
