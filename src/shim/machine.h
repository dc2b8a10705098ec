// SPDX-License-Identifier: Apache-2.0
// This process's connection to its machine: control socket, arena, one channel per thread, and calls over it
// (ipc/channel.h). Made at the first need: the first path that may be the machine's, or the first call on a virtual
// file. A process whose machine cannot be reached passes everything through.
//
// Runs on: any thread. A signal handler that interrupts a call and makes one itself gets a channel of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "devices/roce_nic/engine.h"
#include "ipc/arena.h"
#include "ipc/channel.h"
#include "shim/stack.h"

namespace causeway::shim {

enum class Mode : uint8_t {
  kUnknown,      // the environment has not been read yet
  kPassThrough,  // no CAUSEWAY_MACHINE: the shim does nothing
  kActive,
};
extern std::atomic<Mode> shim_mode;
void Start();  // reads the environment; idempotent
inline bool IsActive() {
  Mode now = shim_mode.load(std::memory_order_acquire);
  if (__builtin_expect(now == Mode::kUnknown, 0)) {
    Start();
    now = shim_mode.load(std::memory_order_acquire);
  }
  return now == Mode::kActive;
}

// The arena's header; nullptr when there is no machine. Connects when that has not been tried.
const ipc::ArenaHeader* Machine();
// The same without connecting.
const ipc::ArenaHeader* MachineIfConnected();
// The machine's tree as kernel paths show it: symbolic links in the root's own path resolved. Valid once connected.
const char* TreeRoot();
size_t TreeRootLen();
const char* MachineFolder();  // CAUSEWAY_MACHINE

// One call. `message` holds op, file, file_kind and arguments; on return result and values. Returns the result:
// >= 0, or -errno; -ENODEV when the machine is gone or was never there.
int64_t Transact(ipc::Message* message);

struct CallArgs {
  uint64_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
};
// Memory of the program that crosses with a call instead of being copied by the machine.
struct CallData {
  uint64_t input_address = 0;
  size_t input_bytes = 0;  // none where they are more than ipc::kCallBytes, or not on `stack`
  StackRange stack;        // what the call stores there comes with the answer
};
// A call on the virtual file behind `fd`. `reply` may be nullptr.
int64_t FileCall(int fd, ipc::Op op, CallArgs args, ipc::Message* reply = nullptr, const CallData& data = {});
// A call on a file that has no descriptor here any more, or on no file (0).
int64_t PlainCall(ipc::Op op, uint64_t file, CallArgs args, ipc::Message* reply = nullptr);

// The descriptor that this thread's last call brought (kMapMemory, kAttribute); -1 none.
int InstalledFd();

// The kind of a virtual descriptor, asked of the machine if need be; kFdOrdinary when it proves to be none of this
// machine's.
uint8_t SettledKind(int fd);

// This thread's channel number, for the NIC's data path; -1 without a machine.
int ThreadSlotIndex();
// The NIC engine of this process; nullptr before a connection.
const roce::Engine* NicEngine();

// The control socket's number, or -1. Moves it out of the way of dup2(..., `fd`).
int ControlFd();
void MoveControlFd(int avoid);

// fork(): held across it, so that the child finds nothing half done.
void LockForFork();
void UnlockInParent();
void ResetInChild();

}  // namespace causeway::shim
