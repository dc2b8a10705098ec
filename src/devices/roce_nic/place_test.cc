// SPDX-License-Identifier: Apache-2.0
// What a program that polls the memory it is written to may see: every state of the target during the copy is looked
// at.
#include "devices/roce_nic/place.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <numeric>
#include <vector>

namespace causeway::roce {
namespace {

constexpr uint8_t kOld = 0xee, kAnswer = 0xdd;

// The reader of the test, who looks after each instruction (the trap flag raises SIGTRAP there). When he sees the last
// byte arrive he answers in its place, as riostream's peer does.
struct Watch {
  volatile uint8_t* target = nullptr;
  const uint8_t* expected = nullptr;
  size_t len = 0;
  bool seen = false;      // the last byte
  bool complete = false;  // and everything else was there then
} watch;

void Look(int) {
  volatile uint8_t& last = watch.target[watch.len - 1];
  if (watch.seen || last != watch.expected[watch.len - 1]) return;
  watch.seen = watch.complete = true;
  for (size_t i = 0; i < watch.len; ++i) watch.complete = watch.complete && watch.target[i] == watch.expected[i];
  last = kAnswer;
}

#ifdef __x86_64__
// Below the 128 bytes under the stack pointer that a function may use.
void SetTrapFlag() {
  asm volatile("leaq -128(%%rsp), %%rsp\n pushfq\n orq $0x100, (%%rsp)\n popfq\n leaq 128(%%rsp), %%rsp" ::
                   : "memory", "cc");
}
void ClearTrapFlag() {
  asm volatile("leaq -128(%%rsp), %%rsp\n pushfq\n andq $~0x100, (%%rsp)\n popfq\n leaq 128(%%rsp), %%rsp" ::
                   : "memory", "cc");
}
#endif

TEST(Place, TheLastByteComesLastAndOnce) {
#ifndef __x86_64__
  GTEST_SKIP() << "single steps are x86's";
#else
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a signal after each instruction, in TSan's run time too, does not come to an end";
#endif
  struct sigaction action = {}, before = {};
  action.sa_handler = Look;
  ASSERT_EQ(sigaction(SIGTRAP, &action, &before), 0);
  std::vector<uint8_t> source(6000);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint8_t>(1 + i % 200);  // neither old nor answer
  alignas(64) static uint8_t memory[8192];
  for (const size_t len :
       {1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 200, 256, 300, 511, 512, 1000, 5000}) {
    for (const size_t offset : {0, 1, 4, 16, 63}) {
      memset(memory, kOld, sizeof(memory));
      watch = {.target = memory + offset, .expected = source.data() + 3, .len = len};
      SetTrapFlag();
      Place(reinterpret_cast<std::byte*>(memory + offset), reinterpret_cast<const std::byte*>(source.data() + 3), len);
      ClearTrapFlag();
      EXPECT_TRUE(watch.seen && watch.complete) << len << " bytes at " << offset;
      EXPECT_EQ(memory[offset + len - 1], kAnswer) << len << " bytes at " << offset;
      EXPECT_EQ(memory[offset + len], kOld);
      EXPECT_TRUE(offset == 0 || memory[offset - 1] == kOld);
    }
  }
  sigaction(SIGTRAP, &before, nullptr);
#endif
}

TEST(Place, OverlapsAreCopiedAsByMemmove) {
  for (const size_t len : {1, 8, 64, 65, 200, 1000}) {
    for (const int distance : {-70, -64, -8, -1, 0, 1, 8, 64, 70}) {
      std::vector<uint8_t> bytes(2000);
      std::iota(bytes.begin(), bytes.end(), uint8_t{0});
      std::vector<uint8_t> expected = bytes;
      memmove(expected.data() + 100 + distance, expected.data() + 100, len);
      auto* const from = reinterpret_cast<std::byte*>(bytes.data() + 100);
      Place(from + distance, from, len);
      EXPECT_EQ(bytes, expected) << len << " bytes by " << distance;
    }
  }
}

}  // namespace
}  // namespace causeway::roce
