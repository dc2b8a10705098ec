// SPDX-License-Identifier: Apache-2.0
// The machine's end of a thread slot's system-call channel (ipc/channel.h).
//
// The slot is shared with a program that may write anything at any time: a message is copied out once and only the copy
// is looked at. Runs on: the slot's server thread; Close() on any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "ipc/arena.h"
#include "ipc/channel.h"

namespace causeway::kernel {

class ServerChannel {
 public:
  explicit ServerChannel(ipc::ThreadSlot& slot) : slot_(slot) {}
  ServerChannel(const ServerChannel&) = delete;
  ServerChannel& operator=(const ServerChannel&) = delete;

  // Waits for the program's next call. False: the channel was closed.
  bool WaitForCall(ipc::Message* call);
  // Hands the program a request in the middle of a call, and waits for its answer.
  // errors: ESRCH the channel was closed.
  Result<ipc::Message> Ask(const ipc::Message& request);
  // Ends the call.
  void Done(const ipc::Message& answer);

  // Ends all waiting, now and later: the program is dead, or the machine stops. Any thread.
  void Close();
  // What crosses with the message. The program may write to both at any time.
  const std::byte* input() const { return slot_.input; }
  std::byte* output() { return slot_.output; }
  bool closed() const { return slot_.state.load() == ipc::ThreadSlot::kDead; }

 private:
  bool WaitForTurn(bool spin);

  ipc::ThreadSlot& slot_;
  // Spinning pays when calls follow one another closely; this many waits are slept through before it is tried again.
  uint32_t no_spin_ = 0;
};

}  // namespace causeway::kernel
