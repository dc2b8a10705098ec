// SPDX-License-Identifier: Apache-2.0
// The exported symbols, one per row of exports.def. Each function has a C++ name of its own and the libc name as its
// assembler label, because libc's headers declare some of them differently (variadic, noexcept).
#include <limits.h>
#include <sys/mman.h>

#include "shim/calls.h"
#include "shim/dmabuf_mr.h"
#include "shim/fd_table.h"
#include "shim/host_memory.h"
#include "shim/leak_check.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/path.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/store_trap.h"

extern "C" [[noreturn]] void __chk_fail();  // libc's: "buffer overflow detected", and abort

namespace causeway::shim {
namespace {

// What _FORTIFY_SOURCE's functions check before they do anything.
inline void CheckRoom(size_t size, size_t room) {
  if (size > room) __chk_fail();
}

__attribute__((constructor)) void Load() { StartProcess(); }

}  // namespace
}  // namespace causeway::shim

// dlsym() and dlvsym() (symbols.h). A jump, so that the next function sees the caller's return address.
#define CW_EXPORT_STUB(name)                                                        \
  __asm__(".text\n.balign 16\n.globl " #name "\n.type " #name ", @function\n" #name \
          ":\n"                                                                     \
          "  .cfi_startproc\n"                                                      \
          "  endbr64\n"                                                             \
          "  push %rdi\n  .cfi_adjust_cfa_offset 8\n"                               \
          "  push %rsi\n  .cfi_adjust_cfa_offset 8\n"                               \
          "  push %rdx\n  .cfi_adjust_cfa_offset 8\n"                               \
          "  call cw_answer_" #name                                                 \
          "\n"                                                                      \
          "  mov %rdx, %rcx\n"                                                      \
          "  pop %rdx\n  .cfi_adjust_cfa_offset -8\n"                               \
          "  pop %rsi\n  .cfi_adjust_cfa_offset -8\n"                               \
          "  pop %rdi\n  .cfi_adjust_cfa_offset -8\n"                               \
          "  test %rcx, %rcx\n"                                                     \
          "  jnz 1f\n"                                                              \
          "  jmp *cw_next_" #name                                                   \
          "(%rip)\n"                                                                \
          "1: ret\n"                                                                \
          "  .cfi_endproc\n.size " #name ", . - " #name "\n");

using namespace causeway::shim;  // NOLINT: the table's bodies are written in its terms

#define CW_EXPORT(result, name, params, ...)                                                \
  extern "C" __attribute__((visibility("default"))) result cw_##name params __asm__(#name); \
  result cw_##name params { __VA_ARGS__; }
#include "shim/exports.def"
#undef CW_EXPORT_STUB
#undef CW_EXPORT
