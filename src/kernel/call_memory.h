// SPDX-License-Identifier: Apache-2.0
// The calling program's memory during one call: what lies on the thread's stack crosses with the message
// (ipc/channel.h), everything else is copied from process to process.
//
// A driver sees what it would see without: each byte of the input is handed out once, so that who reads it again reads
// the program's memory. Stores keep their order, and come before every copy that is made after them; the last ones are
// seen by the program when the call ends.
//
// Runs on: the thread's server thread, during one call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ipc/arena.h"
#include "kernel/process.h"
#include "kernel/user_memory.h"

namespace causeway::kernel {

class CallMemory : public UserMemory {
 public:
  // `input` and `output`: ipc::kCallBytes each, shared with the program; they outlive this. What `call` says of them is
  // the program's word: nonsense counts as nothing.
  CallMemory(pid_t pid, const ipc::Message& call, const std::byte* input, std::byte* output);

  Status CopyFrom(std::span<std::byte> to, uint64_t user_address) override;
  Status CopyTo(uint64_t user_address, std::span<const std::byte> from) override;

  // The call is made again from its beginning: nothing that it stores from now on reaches the program, nor what
  // `output` holds. A driver may store its answer whatever came of it, over the argument that is still needed.
  void DropStores() {
    dropped_ = true;
    store_count_ = output_bytes_ = 0;
  }

  // What `output` holds for the program to carry out. The end of the call: nothing is stored afterwards.
  uint32_t output_bytes() const { return output_bytes_; }

 private:
  struct Store {
    uint64_t address, end;
    uint32_t at;  // in output_
  };
  void Supersede(uint64_t address, uint64_t end);
  void CarryOut();

  ProcessMemory process_;
  const std::byte* const input_;
  uint64_t input_start_ = 0;                 // address of input_[0]
  uint64_t input_next_ = 0, input_end_ = 0;  // not yet handed out
  uint64_t stack_low_ = 0, stack_high_ = 0;
  std::byte* const output_;
  uint32_t output_bytes_ = 0;
  std::array<Store, 8> stores_;  // the first store_count_; what output_ says may not be ours any more
  uint32_t store_count_ = 0;
  bool dropped_ = false;
};

}  // namespace causeway::kernel
