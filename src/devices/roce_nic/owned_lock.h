// SPDX-License-Identifier: Apache-2.0
// Locks of the NIC's context memory, and the epoch that delays freeing. Both are undone by the machine when the thread
// that holds them is killed: a thread writes down what it is about to take (ThreadSlot::lock) before it takes it.
// Order: SQ, then RQ, then CQ; never two of one level. Freestanding.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "devices/roce_nic/nic_memory.h"
#include "ipc/arena.h"

namespace causeway::roce {

// FUTEX_WAIT on shared memory; returns on a wake, a change, a signal or after timeout_ns.
inline void FutexWait(std::atomic<uint32_t>& word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout = {timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  (void)syscall(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}
inline void FutexWake(std::atomic<uint32_t>& word, int count) {
  (void)syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

// What one thread brings into the data path.
struct Actor {
  std::byte* arena;
  ipc::ThreadSlot* slot;
  uint32_t slot_index;
};

inline uint64_t ArenaOffset(const Actor& actor, const void* object) {
  return static_cast<uint64_t>(static_cast<const std::byte*>(object) - actor.arena);
}

class OwnedLockGuard {
 public:
  enum TryTag { kTry };

  OwnedLockGuard(const Actor& actor, OwnedLock& lock, ipc::LockLevel level)
      : actor_(actor), lock_(lock), level_(level) {
    WriteDown();
    uint32_t expected = 0;
    if (!lock_.word.compare_exchange_strong(expected, owner(), std::memory_order_acquire)) Contend();
  }
  OwnedLockGuard(const Actor& actor, OwnedLock& lock, ipc::LockLevel level, TryTag)
      : actor_(actor), lock_(lock), level_(level) {
    WriteDown();
    uint32_t expected = 0;
    held_ = lock_.word.compare_exchange_strong(expected, owner(), std::memory_order_seq_cst);
    if (!held_) actor_.slot->lock[level_].store(0, std::memory_order_relaxed);
  }
  OwnedLockGuard(const OwnedLockGuard&) = delete;
  OwnedLockGuard& operator=(const OwnedLockGuard&) = delete;
  ~OwnedLockGuard() { Release(); }

  bool held() const { return held_; }
  // Without a locked instruction, for a lock that orders nothing but what it guards. A waiter that goes to sleep
  // between the look at the word and the store is not woken: it looks again by itself after kWaitNs.
  void ReleasePlain() {
    if (!held_ || lock_.word.load(std::memory_order_relaxed) != owner()) return Release();
    held_ = false;
    lock_.word.store(0, std::memory_order_release);
    actor_.slot->lock[level_].store(0, std::memory_order_relaxed);
  }
  void Release() {
    if (!held_) return;
    held_ = false;
    // seq_cst: what others stored before they failed to take this lock is seen after it (doorbells, notify).
    if ((lock_.word.exchange(0, std::memory_order_seq_cst) & OwnedLock::kContended) != 0) FutexWake(lock_.word, 1);
    actor_.slot->lock[level_].store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr int64_t kWaitNs = 2'000'000;
  uint32_t owner() const { return actor_.slot_index + 1; }
  void WriteDown() {
    // A kill between this and the exchange finds a lock that is not ours: nothing to undo.
    actor_.slot->lock[level_].store(ArenaOffset(actor_, &lock_), std::memory_order_release);
  }
  void Contend() {
    for (int spin = 0; spin < 200; ++spin) {
      uint32_t expected = 0;
      if (lock_.word.load(std::memory_order_relaxed) == 0 &&
          lock_.word.compare_exchange_strong(expected, owner(), std::memory_order_acquire)) {
        return;
      }
      __builtin_ia32_pause();
    }
    for (;;) {
      uint32_t value = lock_.word.load(std::memory_order_relaxed);
      if (value == 0) {
        // Taken as contended: others may sleep that this thread does not know of.
        if (lock_.word.compare_exchange_strong(value, owner() | OwnedLock::kContended, std::memory_order_acquire))
          return;
        continue;
      }
      if ((value & OwnedLock::kContended) == 0 &&
          !lock_.word.compare_exchange_strong(value, value | OwnedLock::kContended, std::memory_order_relaxed)) {
        continue;
      }
      FutexWait(lock_.word, value | OwnedLock::kContended, kWaitNs);
    }
  }

  const Actor& actor_;
  OwnedLock& lock_;
  const ipc::LockLevel level_;
  bool held_ = true;
};

// Marks the thread as inside the data path: what it finds valid stays allocated until it leaves.
class EpochGuard {
 public:
  // The caller goes on with a locked instruction (a lock, say) before it looks at anything: that is the barrier then.
  enum LockFollowsTag { kLockFollows };
  EpochGuard(const Actor& actor, LockFollowsTag) : actor_(actor) {
    actor_.slot->epoch.store(actor_.slot->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  explicit EpochGuard(const Actor& actor) : actor_(actor) {
    // A full barrier: the machine that clears `valid` and then reads epochs either sees this one odd, or we see valid
    // 0.
    actor_.slot->epoch.fetch_add(1, std::memory_order_seq_cst);
  }
  EpochGuard(const EpochGuard&) = delete;
  EpochGuard& operator=(const EpochGuard&) = delete;
  ~EpochGuard() {
    actor_.slot->epoch.store(actor_.slot->epoch.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  const Actor& actor_;
};

}  // namespace causeway::roce
