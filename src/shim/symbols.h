// SPDX-License-Identifier: Apache-2.0
// dlsym() and dlvsym() as programs under the shim see them. A program that looks ibv_reg_dmabuf_mr up in a libibverbs
// it has opened (NCCL, and whoever links no verbs) would get that library's own, which refuses rxe; here it gets the
// shim's. Every other look-up goes to the next dlsym() of the process by a jump, not a call: what RTLD_NEXT and
// RTLD_DEFAULT mean depends on the caller's return address, and that stays the caller's.
#pragma once

#include <cstdint>

namespace causeway::shim {

// What the exported stubs (exports.cc) do: return `symbol` if answered, jump to the next function if not.
struct Answer {
  void* symbol;
  uint64_t answered;
};
extern "C" Answer cw_answer_dlsym(void* handle, const char* name);
extern "C" Answer cw_answer_dlvsym(void* handle, const char* name, const char* version);

// dlsym() of the next library that has one (libc's, or another interposer's), as if the shim's did not exist. The
// handle RTLD_NEXT means: after this library.
void* RealDlsym(void* handle, const char* name);

// `name` as the libibverbs of this process defines it: in the global scope behind this library, or in a libibverbs
// that was opened with dlopen(). nullptr: no libibverbs of this process has it.
void* FindInLibibverbs(const char* name);

}  // namespace causeway::shim
