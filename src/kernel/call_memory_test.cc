// SPDX-License-Identifier: Apache-2.0
// copy_from_user() and copy_to_user() of one call: what crossed with the message, and what did not. The program is this
// process.
#include "kernel/call_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace causeway::kernel {
namespace {

using Block = std::array<std::byte, 64>;

uint64_t At(const void* address) { return reinterpret_cast<uint64_t>(address); }

Block Pattern(uint8_t first) {
  Block bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(first + i);
  return bytes;
}

class CallMemoryTest : public testing::Test {
 protected:
  // A call with `bytes` of what is in `stack_` now, which then is the program's to change.
  CallMemory Call(size_t bytes, bool has_stack = true) {
    ipc::Message call = {};
    call.input_address = At(stack_.data());
    call.input_bytes = static_cast<uint32_t>(bytes);
    std::memcpy(input_, stack_.data(), std::min(bytes, sizeof(input_)));
    if (has_stack) {
      call.stack_low = At(stack_.data());
      call.stack_high = call.stack_low + stack_.size();
    }
    return CallMemory(::getpid(), call, input_, output_);
  }
  Block Read(CallMemory& memory, size_t offset, size_t bytes) {
    Block out = {};
    EXPECT_TRUE(memory.CopyFrom(std::span(out).first(bytes), At(stack_.data()) + offset));
    return out;
  }
  // What the preloaded library does with the answer.
  void CarryOut(const CallMemory& memory) {
    for (uint32_t at = 0; at < memory.output_bytes();) {
      ipc::OutputRecord record;
      std::memcpy(&record, output_ + at, sizeof(record));
      at += static_cast<uint32_t>(sizeof(record));
      ASSERT_LE(at + record.bytes, memory.output_bytes());
      std::memcpy(reinterpret_cast<void*>(record.address), output_ + at, record.bytes);
      at += static_cast<uint32_t>((record.bytes + 15) / 16 * 16);
    }
  }

  alignas(64) std::array<std::byte, 4096> stack_ = {};
  std::byte input_[ipc::kCallBytes] = {};
  std::byte output_[ipc::kCallBytes] = {};
};

TEST_F(CallMemoryTest, TheArgumentIsAsItWasWhenTheCallWasMade) {
  std::ranges::copy(Pattern(1), stack_.begin());
  CallMemory memory = Call(48);
  stack_.fill(std::byte{0xee});  // another thread changes it during the call
  EXPECT_EQ(Read(memory, 0, 8)[7], std::byte{8});
  EXPECT_EQ(Read(memory, 8, 40)[0], std::byte{9});  // header, then body
}

TEST_F(CallMemoryTest, WhoReadsAgainReadsTheProgramsMemory) {
  std::ranges::copy(Pattern(1), stack_.begin());
  CallMemory memory = Call(48);
  EXPECT_EQ(Read(memory, 0, 8)[0], std::byte{1});
  stack_.fill(std::byte{0xee});
  EXPECT_EQ(Read(memory, 0, 8)[0], std::byte{0xee});   // HL_IOCTL_WAIT_CS looks at a value until it changes
  EXPECT_EQ(Read(memory, 16, 8)[0], std::byte{0xee});  // nothing older than what was read before
}

TEST_F(CallMemoryTest, WhatReachesPastTheArgumentIsReadInThePlaceItIsIn) {
  std::ranges::copy(Pattern(1), stack_.begin());
  for (const auto& [offset, bytes] : {std::pair<size_t, size_t>{40, 16}, {48, 8}, {0, 49}}) {
    CallMemory memory = Call(48);
    stack_.fill(std::byte{0xee});
    EXPECT_EQ(Read(memory, offset, bytes)[0], std::byte{0xee}) << offset;
  }
}

TEST_F(CallMemoryTest, StoresToTheStackComeWithTheAnswerInTheirOrder) {
  CallMemory memory = Call(0);
  const Block first = Pattern(1);
  const Block second = Pattern(101);
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 100, first));
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 132, std::span<const std::byte>(second).first(5)));
  EXPECT_EQ(stack_[100], std::byte{0});
  CarryOut(memory);
  EXPECT_EQ(stack_[100], first[0]);
  EXPECT_EQ(stack_[132], second[0]);
  EXPECT_EQ(stack_[136], second[4]);
  EXPECT_EQ(stack_[137], first[37]);
}

TEST_F(CallMemoryTest, AReadFindsWhatTheCallHasStored) {
  std::ranges::copy(Pattern(1), stack_.begin());
  CallMemory memory = Call(48);
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 4, std::span<const std::byte>(Pattern(201)).first(8)));
  EXPECT_EQ(Read(memory, 0, 16)[4], std::byte{201});  // and not the argument's
  EXPECT_EQ(Read(memory, 0, 16)[0], std::byte{1});
  EXPECT_EQ(memory.output_bytes(), 0u);  // it is done
}

TEST_F(CallMemoryTest, AStoreThatReachesPastTheStackIsCopiedAfterThoseBeforeIt) {
  ipc::Message call = {};
  call.stack_low = At(stack_.data());
  call.stack_high = call.stack_low + 128;
  CallMemory memory(::getpid(), call, input_, output_);
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 64, Pattern(1)));
  EXPECT_EQ(stack_[64], std::byte{0});
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 96, Pattern(101)));
  CarryOut(memory);
  EXPECT_EQ(stack_[95], std::byte{32});
  EXPECT_EQ(stack_[96], std::byte{101});
  EXPECT_EQ(stack_[159], std::byte{164});
}

TEST_F(CallMemoryTest, ElsewhereIsCopiedAtOnce) {
  for (const bool has_stack : {true, false}) {
    CallMemory memory = Call(0, has_stack);
    alignas(64) Block other = {};
    EXPECT_TRUE(memory.CopyTo(At(&other), Pattern(1)));
    EXPECT_EQ(other, Pattern(1));
    EXPECT_TRUE(memory.CopyTo(At(stack_.data()), std::span<const std::byte>()));
    EXPECT_EQ(memory.output_bytes(), 0u);
    Block back = {};
    EXPECT_TRUE(memory.CopyFrom(back, At(&other)));
    EXPECT_EQ(back, Pattern(1));
  }
}

// copy_to_user() and copy_from_user() fail where the memory is not there; get_user_pages() would not let a copy wrap.
TEST_F(CallMemoryTest, BadMemoryIsEfault) {
  void* const page = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CallMemory memory = Call(48);
  Block bytes = {};
  EXPECT_TRUE(memory.CopyFrom(bytes, At(page)));
  EXPECT_EQ(memory.CopyTo(At(page), bytes).error(), Errno(EFAULT));  // read-only
  ::munmap(page, 4096);
  EXPECT_EQ(memory.CopyFrom(bytes, At(page)).error(), Errno(EFAULT));
  EXPECT_EQ(memory.CopyTo(At(page), bytes).error(), Errno(EFAULT));
  EXPECT_EQ(memory.CopyTo(~uint64_t{0} - 8, bytes).error(), Errno(EFAULT));
  EXPECT_EQ(memory.CopyFrom(bytes, ~uint64_t{0} - 8).error(), Errno(EFAULT));
}

TEST_F(CallMemoryTest, WhatTheAnswerCannotHoldIsCopied) {
  CallMemory memory = Call(0);
  const std::vector<std::byte> large(ipc::kCallBytes, std::byte{7});
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()), large));
  EXPECT_EQ(memory.output_bytes(), 0u);
  EXPECT_EQ(stack_[511], std::byte{7});
  // The bytes of one record, exactly; then there is no room, and its order counts all the same.
  const std::vector<std::byte> fits(ipc::kCallBytes - sizeof(ipc::OutputRecord), std::byte{8});
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()), fits));
  EXPECT_EQ(memory.output_bytes(), ipc::kCallBytes);
  EXPECT_EQ(stack_[0], std::byte{7});
  EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + 8, std::span<const std::byte>(Pattern(9)).first(1)));
  CarryOut(memory);
  EXPECT_EQ(stack_[0], std::byte{8});
  EXPECT_EQ(stack_[8], std::byte{9});
  EXPECT_EQ(stack_[9], std::byte{8});
}

TEST_F(CallMemoryTest, ManySmallStoresAllArrive) {
  CallMemory memory = Call(0);
  for (size_t i = 0; i < 40; ++i) {
    const auto value = static_cast<std::byte>(i + 1);
    EXPECT_TRUE(memory.CopyTo(At(stack_.data()) + i * 3, std::span(&value, 1)));
  }
  CarryOut(memory);
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(stack_[i * 3], static_cast<std::byte>(i + 1));
}

// The program's word for where its stack and its argument are is looked at before it is used.
// A call that is made again (ipc::kShareFirst). habanalabs' ioctls store their answer, a union with the argument,
// whatever came of the call (drivers/misc/habanalabs/common/habanalabs_ioctl.c _hl_ioctl()).
TEST_F(CallMemoryTest, ACallThatIsMadeAgainStoresNothing) {
  const Block answer = Pattern(1);
  Block heap = {};
  CallMemory memory = Call(64);
  ASSERT_TRUE(memory.CopyTo(At(stack_.data()), std::span(answer).first(16)));
  memory.DropStores();
  ASSERT_TRUE(memory.CopyTo(At(stack_.data()) + 32, std::span(answer).first(16)));
  ASSERT_TRUE(memory.CopyTo(At(heap.data()), std::span(answer).first(16)));
  EXPECT_EQ(memory.output_bytes(), 0u);
  CarryOut(memory);
  EXPECT_EQ(stack_[1], std::byte{0});
  EXPECT_EQ(heap[1], std::byte{0});
}

TEST_F(CallMemoryTest, NonsenseCountsAsNothing) {
  struct {
    const char* name;
    uint64_t address;
    uint32_t bytes;
    uint64_t low, high;
  } const cases[] = {
      {"longer than what crosses", At(stack_.data()), ipc::kCallBytes + 1, 0, 0},
      {"wraps", ~uint64_t{0} - 8, 64, 0, 0},
      {"a stack that ends before it begins", At(stack_.data()), 0, ~uint64_t{0}, 0},
      {"all of memory", 0, 0, 0, ~uint64_t{0}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    stack_.fill(std::byte{5});
    ipc::Message call = {};
    call.input_address = c.address;
    call.input_bytes = c.bytes;
    call.stack_low = c.low;
    call.stack_high = c.high;
    CallMemory memory(::getpid(), call, input_, output_);
    EXPECT_EQ(Read(memory, 0, 64)[63], std::byte{5});
    Block bytes = Pattern(1);
    EXPECT_EQ(memory.CopyTo(~uint64_t{0} - 8, bytes).error(), Errno(EFAULT));
    EXPECT_TRUE(memory.CopyTo(At(stack_.data()), bytes));
    EXPECT_LE(memory.output_bytes(), ipc::kCallBytes);
  }
}

}  // namespace
}  // namespace causeway::kernel
