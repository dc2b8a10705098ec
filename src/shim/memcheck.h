// SPDX-License-Identifier: Apache-2.0
// The machine writes into a program's memory from outside (process_vm_writev), which valgrind's memcheck does not see:
// it would call the bytes uninitialised. This tells it, by valgrind's client request for x86-64 (a sequence that does
// nothing outside valgrind; valgrind.h and memcheck.h of its manual, "The Client Request mechanism").
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

inline void MarkDefined(const void* address, size_t size) {
  constexpr uint64_t kMakeMemDefined = uint64_t{'M'} << 24 | uint64_t{'C'} << 16 | 2;
  const volatile uint64_t request[6] = {kMakeMemDefined, reinterpret_cast<uintptr_t>(address), size, 0, 0, 0};
  uint64_t result = 0;
  __asm__ volatile(
      "rolq $3, %%rdi; rolq $13, %%rdi\n\t"
      "rolq $61, %%rdi; rolq $51, %%rdi\n\t"
      "xchgq %%rbx, %%rbx"
      : "=d"(result)
      : "a"(&request[0]), "0"(result)
      : "cc", "memory");
}

}  // namespace causeway::shim
