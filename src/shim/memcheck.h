// SPDX-License-Identifier: Apache-2.0
// The machine writes into a program's memory from outside (process_vm_writev), which valgrind's memcheck does not see:
// it would call the bytes uninitialised. This tells it, by valgrind's client request for x86-64 (a sequence that does
// nothing outside valgrind; valgrind.h and memcheck.h of its manual, "The Client Request mechanism").
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

inline uint64_t ClientRequest(uint64_t code, uint64_t first, uint64_t second) {
  const volatile uint64_t request[6] = {code, first, second, 0, 0, 0};
  uint64_t result = 0;
  __asm__ volatile(
      "rolq $3, %%rdi; rolq $13, %%rdi\n\t"
      "rolq $61, %%rdi; rolq $51, %%rdi\n\t"
      "xchgq %%rbx, %%rbx"
      : "=d"(result)
      : "a"(&request[0]), "0"(result)
      : "cc", "memory");
  return result;
}

inline void MarkDefined(const void* address, size_t size) {
  constexpr uint64_t kMakeMemDefined = uint64_t{'M'} << 24 | uint64_t{'C'} << 16 | 2;
  (void)ClientRequest(kMakeMemDefined, reinterpret_cast<uintptr_t>(address), size);
}

// Not accessible.
inline void HideMemory(const void* address, size_t size) {
  constexpr uint64_t kMakeMemNoaccess = uint64_t{'M'} << 24 | uint64_t{'C'} << 16;
  (void)ClientRequest(kMakeMemNoaccess, reinterpret_cast<uintptr_t>(address), size);
}

inline bool RunsOnValgrind() { return ClientRequest(0x1001, 0, 0) != 0; }

}  // namespace causeway::shim
