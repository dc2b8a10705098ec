// SPDX-License-Identifier: Apache-2.0
#include "shim/real.h"

#include <dlfcn.h>

#include <atomic>

#include "shim/raw.h"
#include "shim/symbols.h"

namespace causeway::shim {
namespace {

template <typename Result, typename... Args>
Result Absent(Args...) {
  errno = ENOSYS;
  if constexpr (std::is_pointer_v<Result>) {
    return nullptr;
  } else {
    return Result{-1};
  }
}

enum Resolution : uint32_t { kNotYet, kResolving, kResolved };
std::atomic<uint32_t> resolution{kNotYet};

// A fallback's `long` as the function's own type.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#define CW_REAL(result, name, params, args, fallback) \
  result Fallback_##name params { return fallback; }
#include "shim/real.def"
#undef CW_REAL
#pragma GCC diagnostic pop

#define CW_REAL(result, name, params, args, fallback)                                         \
  result Boot_##name params {                                                                 \
    ResolveReal();                                                                            \
    if (resolution.load(std::memory_order_acquire) != kResolved) return Fallback_##name args; \
    return real.name args;                                                                    \
  }
#include "shim/real.def"
#undef CW_REAL

template <typename Function>
Function Next(const char* name, Function fallback) {
  void* const symbol = RealDlsym(RTLD_NEXT, name);
  return symbol != nullptr ? reinterpret_cast<Function>(symbol) : fallback;
}

}  // namespace

Real real = {
#define CW_REAL(result, name, params, args, fallback) .name = Boot_##name,
#include "shim/real.def"
#undef CW_REAL
};

void ResolveReal() {
  uint32_t expected = kNotYet;
  // A second thread that comes while the first resolves uses the fallbacks: they mean the same.
  if (!resolution.compare_exchange_strong(expected, kResolving, std::memory_order_acq_rel)) return;
  Real found;
#define CW_REAL(result, name, params, args, fallback) found.name = Next(#name, &Fallback_##name);
#include "shim/real.def"
#undef CW_REAL
  // Pointer by pointer: another thread may be reading them.
#define CW_REAL(result, name, params, args, fallback) __atomic_store_n(&real.name, found.name, __ATOMIC_RELEASE);
#include "shim/real.def"
#undef CW_REAL
  resolution.store(kResolved, std::memory_order_release);
}

}  // namespace causeway::shim
