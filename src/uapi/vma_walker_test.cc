// SPDX-License-Identifier: Apache-2.0
#include "uapi/vma_walker.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace causeway::uapi {
namespace {

// fs/proc/task_mmu.c show_map_vma().
TEST(ParseMapsLine, Table) {
  struct {
    const char* line;
    bool good;
    Vma want;
  } const cases[] = {
      {"7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ",
       true,
       {0x7f0000000000, 0x7f0000021000, 0, 0, 0, 0, true, true, false, false}},
      {"55d000000000-55d000001000 r-xs 0001f000 fd:1a 131077    /memfd:x (deleted)",
       true,
       {0x55d000000000, 0x55d000001000, 0x1f000, 131077, 0xfd, 0x1a, true, false, true, true}},
      {"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]",
       true,
       {0xffffffffff600000, 0xffffffffff601000, 0, 0, 0, 0, false, false, true, false}},
      {"Rss:                   4 kB", false, {}},
      {"7f0000000000-7f0000000000 rw-p 00000000 00:00 0", false, {}},
      {"7f0000000000-7f0000021000 rw", false, {}},
      {"", false, {}},
  };
  for (const auto& row : cases) {
    Vma vma = {};
    ASSERT_EQ(ParseMapsLine(row.line, row.line + strlen(row.line), &vma), row.good) << row.line;
    if (!row.good) continue;
    EXPECT_EQ(vma.start, row.want.start) << row.line;
    EXPECT_EQ(vma.end, row.want.end) << row.line;
    EXPECT_EQ(vma.offset, row.want.offset) << row.line;
    EXPECT_EQ(vma.inode, row.want.inode) << row.line;
    EXPECT_EQ(vma.dev_major, row.want.dev_major) << row.line;
    EXPECT_EQ(vma.dev_minor, row.want.dev_minor) << row.line;
    EXPECT_EQ(vma.read, row.want.read) << row.line;
    EXPECT_EQ(vma.write, row.want.write) << row.line;
    EXPECT_EQ(vma.exec, row.want.exec) << row.line;
    EXPECT_EQ(vma.shared, row.want.shared) << row.line;
  }
}

// A kernel with PROCMAP_QUERY (fd 1), and one without (any other), over the same mappings.
struct FakeSystem {
  inline static std::vector<Vma> vmas;
  inline static std::string text;
  static long Ioctl(int fd, unsigned long request, void* argument) {
    if (fd != 1 || request != PROCMAP_QUERY) return -ENOTTY;
    auto* query = static_cast<procmap_query*>(argument);
    for (const Vma& vma : vmas) {
      if (vma.end <= query->query_addr) continue;
      query->vma_start = vma.start;
      query->vma_end = vma.end;
      query->vma_offset = vma.offset;
      query->inode = vma.inode;
      query->vma_flags = PROCMAP_QUERY_VMA_READABLE | (vma.shared ? uint64_t{PROCMAP_QUERY_VMA_SHARED} : 0);
      return 0;
    }
    return -ENOENT;
  }
  static long Pread(int, void* buffer, size_t size, uint64_t offset) {
    if (offset >= text.size()) return 0;
    const size_t got = std::min({size, text.size() - offset, size_t{977}});  // lines do not end where reads do
    memcpy(buffer, text.data() + offset, got);
    return static_cast<long>(got);
  }
};

TEST(VmaWalker, QueryAndTextSayTheSame) {
  FakeSystem::vmas.clear();
  FakeSystem::text.clear();
  for (uint64_t i = 0; i < 200; ++i) {
    const Vma vma = {0x10000 * i + 0x1000, 0x10000 * i + 0x5000, 0x1000 * i, i, 0, 1, true, false, false, i % 2 == 1};
    FakeSystem::vmas.push_back(vma);
    char line[600];
    snprintf(line, sizeof(line), "%lx-%lx r--%c %08lx 00:01 %lu   /%0*d\n", vma.start, vma.end, vma.shared ? 's' : 'p',
             vma.offset, vma.inode, i % 7 == 0 ? 400 : 10, 0);
    FakeSystem::text += line;
  }
  VmaWalker<FakeSystem> by_query(1), by_text(2);
  Vma query = {}, text = {};
  uint64_t at = 0;
  size_t seen = 0;
  for (; by_query.Next(at, &query); at = query.end, ++seen) {
    ASSERT_TRUE(by_text.Next(at, &text));
    EXPECT_EQ(query.start, text.start);
    EXPECT_EQ(query.end, text.end);
    EXPECT_EQ(query.offset, text.offset);
    EXPECT_EQ(query.inode, text.inode);
    EXPECT_EQ(query.shared, text.shared);
  }
  EXPECT_EQ(seen, 200u);
  EXPECT_FALSE(by_text.Next(at, &text));
  VmaWalker<FakeSystem> skipping(2);  // forward over some; twice the same
  ASSERT_TRUE(skipping.Next(0x504000, &text));
  EXPECT_EQ(text.inode, 0x50u);
  ASSERT_TRUE(skipping.Next(0x504fff, &text));
  EXPECT_EQ(text.inode, 0x50u);
  ASSERT_TRUE(skipping.Next(0x505000, &text));
  EXPECT_EQ(text.inode, 0x51u);
}

}  // namespace
}  // namespace causeway::uapi
