// SPDX-License-Identifier: Apache-2.0
#include "kernel/server_channel.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <thread>

namespace causeway::kernel {
namespace {

constexpr uint64_t kSpinNs = 50'000;
constexpr uint32_t kSleepsBetweenSpins = 15;

uint64_t NowNs() {
  struct timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

bool ManyCpus() {
  static const bool many = std::thread::hardware_concurrency() > 1;
  return many;
}

// Shared futexes (no FUTEX_PRIVATE_FLAG): the word is in memory of two processes.
void FutexWait(std::atomic<uint32_t>& word, uint32_t value) {
  (void)::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}
void FutexWake(std::atomic<uint32_t>& word) {
  (void)::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

bool ServerChannel::WaitForTurn(bool spin) {
  // All accesses to state and turn are sequentially consistent: Close() stores state, then turn; this side stores turn
  // (Done, Ask), then loads state. One of the two sees the other.
  if (spin && ManyCpus() && no_spin_ == 0) {
    const uint64_t end = NowNs() + kSpinNs;
    for (uint32_t round = 0;; ++round) {
      if (slot_.turn.load() == ipc::kTurnMachine && !closed()) return true;
      if (round % 64 == 63 && NowNs() >= end) break;
      Pause();
    }
    no_spin_ = kSleepsBetweenSpins;
  } else if (no_spin_ != 0) {
    --no_spin_;
  }
  for (;;) {
    const uint32_t turn = slot_.turn.load();
    if (closed()) return false;
    if (turn == ipc::kTurnMachine) return true;
    slot_.machine_sleeps.store(1);
    FutexWait(slot_.turn, turn);
    slot_.machine_sleeps.store(0);
  }
}

bool ServerChannel::WaitForCall(ipc::Message* call) {
  if (!WaitForTurn(true)) return false;
  *call = slot_.message;
  return true;
}

Result<ipc::Message> ServerChannel::Ask(const ipc::Message& request) {
  if (closed()) return Err(ESRCH);
  Done(request);
  if (!WaitForTurn(false)) return Err(ESRCH);
  return slot_.message;
}

void ServerChannel::Done(const ipc::Message& answer) {
  slot_.message = answer;
  slot_.turn.store(ipc::kTurnProgram);
  if (slot_.program_sleeps.load() != 0) FutexWake(slot_.turn);
}

void ServerChannel::Close() {
  slot_.state.store(ipc::ThreadSlot::kDead);
  uint32_t idle = ipc::kTurnProgram;
  // A program that just made its call keeps its turn: it gets an answer, or is dead.
  (void)slot_.turn.compare_exchange_strong(idle, ipc::kTurnClosed);
  FutexWake(slot_.turn);
}

}  // namespace causeway::kernel
