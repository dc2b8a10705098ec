// SPDX-License-Identifier: Apache-2.0
#include "shim/stack.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>
#include <thread>

namespace causeway::shim {
namespace {

uint64_t At(const void* address) { return reinterpret_cast<uint64_t>(address); }

// The kernels before 5.14 do not tell whether a page can be written: nothing is found then, and calls are copied.
bool Supported() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool known = ::madvise(page, 4096, 23 /* MADV_POPULATE_WRITE */) == 0;
  ::munmap(page, 4096);
  return known;
}

class StackTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!Supported()) GTEST_SKIP() << "the host's kernel has no MADV_POPULATE_WRITE";
  }
};

TEST_F(StackTest, ALocalVariableIsFound) {
  volatile char value[64] = {};
  const void* const at = const_cast<const char*>(value);
  const StackRange found = StackOf(at, At(at), 64);
  EXPECT_TRUE(found.Holds(At(at), 64));
  EXPECT_EQ(found.low, At(at));  // not what lies below: frames of the shim's own
  EXPECT_FALSE(found.Holds(At(at) - 8, 8));
}

TEST_F(StackTest, OtherMemoryIsNot) {
  volatile char value[64] = {};
  const void* const frame = const_cast<const char*>(value);
  const auto heap = std::make_unique<char[]>(64);
  for (const uint64_t address :
       {At(heap.get()), uint64_t{0}, ~uint64_t{0} - 8, At(frame) - 64, At(frame) + (1 << 20)}) {
    SCOPED_TRACE(address);
    EXPECT_FALSE(StackOf(frame, address, 8).Holds(address, 8));
  }
  EXPECT_FALSE(StackOf(frame, At(frame), ~uint64_t{0}).Holds(At(frame), ~uint64_t{0}));  // wraps
}

TEST_F(StackTest, ARangeThatEndsIsNotLeft) {
  const StackRange range = {100, 200};
  EXPECT_TRUE(range.Holds(100, 100));
  EXPECT_TRUE(range.Holds(200, 0));
  EXPECT_FALSE(range.Holds(100, 101));
  EXPECT_FALSE(range.Holds(99, 1));
  EXPECT_FALSE(range.Holds(150, ~uint64_t{0}));
  EXPECT_FALSE(StackRange{}.Holds(0, 1));
}

// A stack of four pages with something else right above it, as coroutines and small threads have: `above` is what an
// address past its end meets.
struct SmallStack {
  SmallStack(int protection, bool mapped) {
    memory = static_cast<char*>(
        ::mmap(nullptr, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
    if (!mapped) ::munmap(memory + kSize, 4096);
    if (mapped) ::mprotect(memory + kSize, 4096, protection);
  }
  ~SmallStack() { ::munmap(memory, 5 * 4096); }
  static constexpr size_t kSize = 4 * 4096;
  char* memory;
};

TEST_F(StackTest, WhatLiesPastAStacksEndIsNotTouched) {
  const struct {
    const char* name;
    int protection;
    bool mapped;
    bool there;
  } cases[] = {
      {"nothing", 0, false, false},
      {"no access", PROT_NONE, true, false},
      {"read only", PROT_READ, true, false},
      {"ordinary memory", PROT_READ | PROT_WRITE, true, true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const SmallStack stack(c.protection, c.mapped);
    const void* const frame = stack.memory + SmallStack::kSize - 256;
    const uint64_t end = At(stack.memory) + SmallStack::kSize;
    EXPECT_TRUE(StackOf(frame, At(frame), 64).Holds(At(frame), 64));
    EXPECT_EQ(StackOf(frame, end - 8, 16).Holds(end - 8, 16), c.there);
    EXPECT_EQ(StackOf(frame, end, 8).Holds(end, 8), c.there);
    EXPECT_TRUE(StackOf(frame, end - 8, 8).Holds(end - 8, 8));  // still
  }
}

TEST_F(StackTest, WhatWasFoundIsOfOneStack) {
  const SmallStack first(PROT_READ | PROT_WRITE, true);
  const SmallStack second(PROT_NONE, true);
  for (int turn = 0; turn < 3; ++turn) {
    for (const SmallStack* stack : {&first, &second}) {
      const void* const frame = stack->memory + 4096;
      const void* const deeper = stack->memory + 64;
      const uint64_t high = At(stack->memory) + 2 * 4096;
      EXPECT_TRUE(StackOf(frame, high, 32).Holds(high, 32));
      EXPECT_TRUE(StackOf(deeper, At(deeper), 32).Holds(high, 32));  // the same stack's, further up
      const uint64_t past = At(stack->memory) + SmallStack::kSize;
      EXPECT_EQ(StackOf(frame, past, 8).Holds(past, 8), stack == &first);
    }
  }
}

TEST_F(StackTest, EveryThreadHasItsOwn) {
  volatile char value[64] = {};
  const void* const mine = const_cast<const char*>(value);
  EXPECT_TRUE(StackOf(mine, At(mine), 64).Holds(At(mine), 64));
  std::thread([&] {
    volatile char other[64] = {};
    const void* const frame = const_cast<const char*>(other);
    EXPECT_TRUE(StackOf(frame, At(frame), 64).Holds(At(frame), 64));
    EXPECT_FALSE(StackOf(frame, At(mine), 64).Holds(At(mine), 64));
  }).join();
}

TEST(CopyRaw, CopiesEveryLength) {
  char from[70];
  for (size_t i = 0; i < sizeof(from); ++i) from[i] = static_cast<char>(i + 1);
  for (size_t length = 0; length <= sizeof(from); ++length) {
    char to[80] = {};
    CopyRaw(to, from, length);
    EXPECT_EQ(std::memcmp(to, from, length), 0);
    EXPECT_EQ(to[length], 0);
  }
}

}  // namespace
}  // namespace causeway::shim
