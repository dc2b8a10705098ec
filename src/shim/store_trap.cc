// SPDX-License-Identifier: Apache-2.0
#include "shim/store_trap.h"

#include <errno.h>
#include <string.h>

#include <atomic>

#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/raw.h"
#include "shim/real.h"
#include "shim/x86_store.h"

namespace causeway::shim {
namespace {

Lock action_lock;
std::atomic<bool> started{false};  // written under action_lock
struct sigaction program_action;   // action_lock: what the program wants of SIGSEGV

// Stores into one trapped mapping.
class Registers final : public StoreSink {
 public:
  bool Takes(uintptr_t address, size_t bytes) override { return Room(address) >= bytes; }
  size_t Room(uintptr_t address) override {
    if (!FindTrap(address, &trap_)) return 0;
    at_ = address;
    return trap_.left;
  }
  void Store(uintptr_t address, uint64_t value, uint32_t bytes) override {
    (void)PlainCall(ipc::Op::kStoreMapped, 0,
                    {.a0 = trap_.vma, .a1 = trap_.offset + (address - at_), .a2 = value, .a3 = bytes});
  }

 private:
  Trap trap_ = {};
  uintptr_t at_ = 0;
};

// What the kernel would have done with the signal, had this handler not been there.
void HandOn(int signal, siginfo_t* info, void* context) {
  struct sigaction action;
  {
    const LockGuard lock(action_lock);
    action = program_action;
    if ((action.sa_flags & SA_RESETHAND) != 0) program_action.sa_handler = SIG_DFL;
  }
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
    const bool sent = info->si_code <= 0;  // by a program, not raised by a fault
    if (sent && action.sa_handler == SIG_IGN) return;
    // The instruction faults again, and the process ends by it. An ignored fault ends it, too (force_sig_fault()).
    struct sigaction fall = {};
    fall.sa_handler = SIG_DFL;
    (void)real.sigaction(signal, &fall, nullptr);
    if (sent) (void)Raw(SYS_tgkill, Raw(SYS_getpid), Raw(SYS_gettid), signal);
    return;
  }
  sigset_t mask = action.sa_mask;
  if ((action.sa_flags & SA_NODEFER) == 0) (void)sigaddset(&mask, signal);
  (void)Raw(SYS_rt_sigprocmask, SIG_BLOCK, &mask, nullptr, sizeof(uint64_t));  // the return from here undoes it
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else {
    action.sa_handler(signal);
  }
}

void OnFault(int signal, siginfo_t* info, void* context) {
  Trap trap;
  if (info->si_code == SEGV_ACCERR && FindTrap(reinterpret_cast<uintptr_t>(info->si_addr), &trap)) {
    const ErrnoKeeper keeper;
    Registers registers;
    const bool done = EmulateStore(static_cast<ucontext_t*>(context), &registers);
    keeper.Restore();
    if (done) return;
  }
  HandOn(signal, info, context);
}

}  // namespace

void StartStoreTraps() {
  if (started.load(std::memory_order_acquire)) return;
  const LockGuard lock(action_lock);
  if (started.load(std::memory_order_relaxed)) return;
  struct sigaction ours = {};
  ours.sa_sigaction = OnFault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  if (real.sigaction(SIGSEGV, &ours, &program_action) == 0) started.store(true, std::memory_order_release);
}

int Sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  if (signal != SIGSEGV || !started.load(std::memory_order_acquire)) return real.sigaction(signal, action, old);
  // The program's memory is not touched with the lock held: a fault there takes it, too.
  struct sigaction before = {}, wanted = {};
  if (action != nullptr) wanted = *action;
  {
    const LockGuard lock(action_lock);
    before = program_action;
    if (action != nullptr) program_action = wanted;
  }
  if (old != nullptr) *old = before;
  return 0;
}

sighandler_t Signal(int signal, sighandler_t handler) {
  if (signal != SIGSEGV || !started.load(std::memory_order_acquire)) return real.signal(signal, handler);
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  struct sigaction action = {}, old = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  (void)sigaddset(&action.sa_mask, signal);
  (void)Sigaction(signal, &action, &old);
  return old.sa_handler;
}

sighandler_t SysvSignal(int signal, sighandler_t handler) {
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  constexpr int kInterrupt = 0x20000000;  // SA_INTERRUPT, which the kernel does not know
  struct sigaction action = {}, old = {};
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_NODEFER | kInterrupt;
  return Sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

void ResetStoreTrapsInChild() { action_lock.Reset(); }

}  // namespace causeway::shim
