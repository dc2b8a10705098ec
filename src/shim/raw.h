// SPDX-License-Identifier: Apache-2.0
// System calls without libc: used before libc's own functions are found, and where an interposed name must not be
// entered again. Results are the kernel's: -errno on failure; errno is not touched.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <type_traits>

namespace causeway::shim {

#if !defined(__x86_64__)
#error "the preloaded library is written for x86-64"
#endif

inline long RawSyscall6(long number, long a, long b, long c, long d, long e, long f) {
  long result = number;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

template <typename T>
long ToLong(T value) {
  if constexpr (std::is_pointer_v<T> || std::is_null_pointer_v<T>) {
    return static_cast<long>(reinterpret_cast<uintptr_t>(value));
  } else {
    return static_cast<long>(value);
  }
}

template <typename... Args>
long Raw(long number, Args... args) {
  static_assert(sizeof...(args) <= 6);
  const long list[7] = {ToLong(args)..., 0};
  return RawSyscall6(number, list[0], list[1], list[2], list[3], list[4], list[5]);
}

// A kernel result as a libc function returns it.
inline long Ret(int64_t result) {
  if (result < 0) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return static_cast<long>(result);
}

inline long FutexWaitFor(std::atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout = {timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  return Raw(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}
inline void FutexWakeAll(std::atomic<uint32_t>& word) {
  (void)Raw(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

// Keeps errno as it was: "errno is untouched on success" for calls that try one way before another.
class ErrnoKeeper {
 public:
  ErrnoKeeper() : saved_(errno) {}
  void Restore() const { errno = saved_; }

 private:
  const int saved_;
};

// A process-private futex lock. Signals are held off while it is held, so that a handler of the same thread can enter
// the shim. Reset() is for the child of a fork, where the owner may not exist.
class Lock {
 public:
  void Acquire(uint64_t* old_signals) {
    const uint64_t all = ~uint64_t{0};
    (void)Raw(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, old_signals, sizeof(all));
    uint32_t expected = 0;
    if (word_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) return;
    while (word_.exchange(2, std::memory_order_acquire) != 0) (void)FutexWaitFor(word_, 2, 100'000'000);
  }
  void ReleaseTo(const uint64_t* old_signals) {
    if (word_.exchange(0, std::memory_order_release) == 2) FutexWakeAll(word_);
    (void)Raw(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, old_signals, nullptr, sizeof(*old_signals));
  }
  void Reset() { word_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> word_{0};  // 0 free, 1 held, 2 held and somebody may sleep
};

class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_.Acquire(&signals_); }
  ~LockGuard() { lock_.ReleaseTo(&signals_); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
  uint64_t signals_ = 0;
};

}  // namespace causeway::shim
