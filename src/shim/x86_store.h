// SPDX-License-Identifier: Apache-2.0
// Carries out one store instruction of x86-64 for a thread that faulted on it: decodes it, hands the stored bytes out,
// and moves the thread's registers on as the processor would have. What compilers and memcpy() make of stores to
// registers of a device:
//
//   mov, movnti, xchg (an atomic store), movs and stos with and without rep,
//   movups/movaps/movdqu/movdqa/movnt*/movss/movsd/movlps/movhps/movd/movq, their VEX forms, and the EVEX forms of
//   whole registers up to 64 bytes, masked or not
//
// Not: read-modify-write instructions, other EVEX stores (of one element, compressed, scattered), MMX, 32-bit
// addresses, segments FS and GS, DF set.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

class StoreSink {
 public:
  // May all of [address, + bytes) be stored to? Asked once, before the first Store().
  virtual bool Takes(uintptr_t address, size_t bytes) = 0;
  // 1, 2, 4 or 8 bytes, naturally aligned, in order of address.
  virtual void Store(uintptr_t address, uint64_t value, uint32_t bytes) = 0;
  // How many bytes from `address` on it takes: a rep instruction is carried out in pieces.
  virtual size_t Room(uintptr_t address) = 0;

 protected:
  ~StoreSink() = default;
};

// False: not such an instruction, or the sink does not take it; nothing has changed.
bool EmulateStore(ucontext_t* context, StoreSink* sink);

}  // namespace causeway::shim
