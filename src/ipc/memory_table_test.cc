// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_table.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "base/checked.h"

namespace causeway::ipc {
namespace {

TEST(MemoryTable, RefusesWhatCannotBeMapped) {
  MemoryTable table;
  EXPECT_EQ(table.Create("none", 0).error(), Errno(EINVAL));
  EXPECT_EQ(table.Create("huge", kMemoryWindow * kMaxMemoryWindows + 1).error(), Errno(EINVAL));
  EXPECT_EQ(table.count(), 0u);
  uint64_t len = 1;
  EXPECT_EQ(table.At(0, 0, &len), nullptr);
  EXPECT_EQ(table.fd(0), -1);
  EXPECT_EQ(table.size(7), 0u);
}

TEST(MemoryTable, A96GibMemoryCostsWhatIsTouched) {
  MemoryTable table;
  const uint32_t hbm = table.Create("hbm", 96 * kGiB).value();
  EXPECT_EQ(table.resident_bytes(hbm), 0u);
  uint64_t len = 4096;
  std::byte* at = table.At(hbm, 95 * kGiB, &len);
  ASSERT_NE(at, nullptr);
  EXPECT_EQ(len, 4096u);
  std::memset(at, 0xa5, 4096);
  EXPECT_EQ(table.resident_bytes(hbm), 4096u);
  table.Discard(hbm, 95 * kGiB, 4096);
  EXPECT_EQ(table.resident_bytes(hbm), 0u);
  EXPECT_EQ(at[17], std::byte{0});
}

TEST(MemoryTable, AMappingIsCutAtItsWindowsEnd) {
  MemoryTable table;
  const uint32_t hbm = table.Create("hbm", 2 * kGiB + 8192).value();
  struct {
    uint64_t offset, len, want;  // want 0: out of range
  } const cases[] = {
      {0, 4096, 4096},     {kGiB - 100, 200, 100},  {kGiB, 2 * kGiB, 0},  {2 * kGiB, 8192, 8192},
      {2 * kGiB, 8193, 0}, {2 * kGiB + 8192, 0, 0}, {~uint64_t{0}, 2, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.offset);
    uint64_t len = c.len;
    std::byte* at = table.At(hbm, c.offset, &len);
    EXPECT_EQ(at != nullptr, c.want != 0);
    if (c.want != 0) {
      EXPECT_EQ(len, c.want);
    }
  }
}

TEST(MemoryTable, TheDescriptorAndTheMachinesMappingAreTheSameBytes) {
  MemoryTable table;
  const uint32_t hbm = table.Create("hbm", 8192).value();
  uint64_t len = 4;
  std::byte* at = table.At(hbm, 4096, &len);
  ASSERT_NE(at, nullptr);
  void* other = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(hbm), 0);
  ASSERT_NE(other, MAP_FAILED);
  at[0] = std::byte{42};
  EXPECT_EQ(static_cast<std::byte*>(other)[4096], std::byte{42});
  ::munmap(other, 8192);
}

TEST(MemoryTable, AFullTableIsEnospc) {
  MemoryTable table;
  for (uint32_t i = 0; i < kMaxMemories; ++i) ASSERT_EQ(table.Create("m", 4096).value(), i);
  EXPECT_EQ(table.Create("m", 4096).error(), Errno(ENOSPC));
}

}  // namespace
}  // namespace causeway::ipc
