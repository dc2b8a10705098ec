// SPDX-License-Identifier: Apache-2.0
// linux drivers/accel/habanalabs/common/memory.c get_va_block(), add_va_block_locked().
#include "drivers/habanalabs/va_range.h"

#include <gtest/gtest.h>

#include "base/checked.h"
#include "drivers/habanalabs/asic_properties.h"
#include "drivers/habanalabs/dram_pool.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kStart = 0x1000000, kEnd = 0x1100000;  // 256 pages
VaRange Pages() { return VaRange({.start = kStart, .end = kEnd, .page_size = kPageSize}); }

TEST(VaRange, BestFitTiesToTheLowestAddress) {
  VaRange range = Pages();
  ASSERT_TRUE(range.Reserve(kStart + 4 * kPageSize, kPageSize).has_value());   // free: 4 pages, then the rest
  ASSERT_TRUE(range.Reserve(kStart + 7 * kPageSize, kPageSize).has_value());   // free: 4, 2, the rest
  ASSERT_TRUE(range.Reserve(kStart + 10 * kPageSize, kPageSize).has_value());  // free: 4, 2, 2, the rest
  EXPECT_EQ(range.Get(2 * kPageSize, 0, kPageSize, false).value(), kStart + 5 * kPageSize);
  EXPECT_EQ(range.Get(2 * kPageSize, 0, kPageSize, false).value(), kStart + 8 * kPageSize);
  EXPECT_EQ(range.Get(2 * kPageSize, 0, kPageSize, false).value(), kStart);
  EXPECT_EQ(range.Get(3 * kPageSize, 0, kPageSize, false).value(), kStart + 11 * kPageSize);
}

TEST(VaRange, FreedRangesMergeWithTheirNeighbours) {
  VaRange range = Pages();
  uint64_t va[4];
  for (uint64_t& v : va) v = range.Get(kPageSize, 0, kPageSize, false).value();
  for (const int i : {1, 3, 0, 2}) range.Put(va[i], kPageSize);
  EXPECT_EQ(range.free_blocks_for_report(), 1u);
  EXPECT_EQ(range.Get(kEnd - kStart, 0, kPageSize, false).value(), kStart);
  EXPECT_EQ(range.Get(kPageSize, 0, kPageSize, false).error(), Errno(ENOMEM));
}

TEST(VaRange, AlignmentSkipsTheStartOfABlock) {
  VaRange range = Pages();
  EXPECT_EQ(range.Get(kPageSize, 0, kPageSize, false).value(), kStart);
  EXPECT_EQ(range.Get(kPageSize, 0, 0x10000, false).value(), kStart + 0x10000);
  // What was skipped is still there.
  EXPECT_EQ(range.Get(kPageSize, 0, kPageSize, false).value(), kStart + kPageSize);
}

TEST(VaRange, HintTable) {
  constexpr uint64_t kUsed = kStart + 0x10000;
  constexpr struct {
    const char* name;
    uint64_t size, hint;
    bool force;
    uint64_t want;  // 0: ENOMEM
  } kCases[] = {
      {"free and aligned", kPageSize, kStart + 0x20000, false, kStart + 0x20000},
      {"free and aligned, forced", kPageSize, kStart + 0x20000, true, kStart + 0x20000},
      {"unaligned is ignored", kPageSize, kStart + 0x20001, false, kStart},
      {"unaligned, forced", kPageSize, kStart + 0x20001, true, 0},
      {"occupied falls back", kPageSize, kUsed, false, kStart},
      {"occupied, forced", kPageSize, kUsed, true, 0},
      {"outside falls back", kPageSize, kEnd + 0x1000, false, kStart},
      {"outside, forced", kPageSize, kEnd + 0x1000, true, 0},
      {"forced without a hint", kPageSize, 0, true, 0},
      {"ends at the block's last byte: one byte of slack is missing", kPageSize, kEnd - kPageSize, false, kStart},
      {"ends at the block's last byte, forced", kPageSize, kEnd - kPageSize, true, 0},
      {"just before that", kPageSize, kEnd - 2 * kPageSize, true, kEnd - 2 * kPageSize},
      {"near 2^64", 2 * kPageSize, ~uint64_t{0} & ~(kPageSize - 1), false, kStart},
      {"near 2^64, forced", 2 * kPageSize, ~uint64_t{0} & ~(kPageSize - 1), true, 0},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    VaRange range = Pages();
    ASSERT_TRUE(range.Reserve(kUsed, kPageSize).has_value());
    const auto got = range.Get(c.size, c.hint, kPageSize, c.force);
    EXPECT_EQ(got ? *got : 0, c.want);
    if (!got) {
      EXPECT_EQ(got.error(), Errno(ENOMEM));
    }
  }
}

TEST(VaRange, FallBackOfAHintDoesNotSkipTheWindowForHints) {
  const VaRangeProperties properties{.start = kStart,
                                     .end = kEnd,
                                     .page_size = kPageSize,
                                     .hint_window_start = kStart + 0x1000,
                                     .hint_window_end = kEnd - 1};
  VaRange range(properties);
  EXPECT_EQ(range.Get(0x1000, 0, kPageSize, false).value(), kStart);
  EXPECT_EQ(range.Get(0x1000, 0, kPageSize, false).error(), Errno(ENOMEM));         // only the window is left
  EXPECT_EQ(range.Get(0x1000, kStart, kPageSize, false).value(), kStart + 0x1000);  // the hint is taken: not skipped
}

TEST(VaRange, DramPagesOfNoPowerOfTwo) {
  const AsicProperties properties = MakeAsicProperties(gaudi::Asic::kGaudi2, Flavour::kAccel, 6);
  const uint64_t page = properties.dram_page_size;
  VaRange range(properties.dram);
  EXPECT_EQ(range.Get(1, 0, page, false).value(), 0x1001001800000000u);
  EXPECT_EQ(range.Get(page + 1, 0, page, false).value(), 0x1001001800000000u + page);
  EXPECT_EQ(range.Get(1, 0, page, false).value(), 0x1001001800000000u + 3 * page);
  // A hint counts as aligned when its low 48 bits are a multiple of the page.
  const uint64_t low = 0x1001500000000000 & 0xffffffffffff;
  const uint64_t aligned = 0x1001500000000000 + (page - low % page) % page;
  EXPECT_EQ(range.Get(page, aligned, page, true).value(), aligned);
  EXPECT_EQ(range.Get(page, aligned + kPageSize, page, true).error(), Errno(ENOMEM));
  EXPECT_EQ(range.Get(page, aligned + kPageSize, page, false).value(), 0x1001001800000000u + 4 * page);
  range.Put(0x1001001800000000u + page, page + 1);
  EXPECT_EQ(range.Get(2 * page, 0, page, false).value(), 0x1001001800000000u + page);
}

// Ranges of specs/habanalabs 3.3, recomputed from the constants of gaudiP.h and gaudi2P.h.
TEST(AsicProperties, RangesOfBothAsics) {
  const AsicProperties gaudi2 = MakeAsicProperties(gaudi::Asic::kGaudi2, Flavour::kAccel, 6);
  EXPECT_EQ(gaudi2.dram.start, 0x1001001800000000u);
  EXPECT_EQ(gaudi2.dram.end, 0x1001C00600000000u);
  EXPECT_EQ(gaudi2.dram_page_size, 0x30000000u);
  EXPECT_EQ(gaudi2.user_dram_size(), 0x17D0000000u);
  const AsicProperties binned = MakeAsicProperties(gaudi::Asic::kGaudi2, Flavour::kAccel, 5);
  EXPECT_EQ(binned.dram.start, 0x1001001400000000u);
  EXPECT_EQ(binned.dram.end, 0x1001A00780000000u);
  EXPECT_EQ(binned.dram_page_size, 0x28000000u);
  EXPECT_EQ(binned.user_dram_size(), 0x13D8000000u);
  const AsicProperties gaudi = MakeAsicProperties(gaudi::Asic::kGaudi, Flavour::kMisc, 4);
  EXPECT_EQ(gaudi.user_dram_base(), 0x20000000u);
  EXPECT_EQ(gaudi.user_dram_size(), 0x7E0000000u);
  EXPECT_EQ(gaudi.host.end, 0x00027FC000000000u);
  EXPECT_EQ(gaudi.sram_user_base_address, 0x7FF0000080u);
  EXPECT_EQ(gaudi.sram_user_size, 0x13FFF80u);
}

TEST(DramPool, FirstFitOfWholePages) {
  DramPool pool(100, 100 + 8 * 10, 10);
  EXPECT_EQ(pool.pages(), 8u);
  EXPECT_EQ(pool.Allocate(0), std::nullopt);
  EXPECT_EQ(pool.Allocate(9), std::nullopt);
  EXPECT_EQ(pool.Allocate(3), 100u);
  EXPECT_EQ(pool.Allocate(1), 130u);
  EXPECT_EQ(pool.Allocate(2), 140u);
  pool.Free(100, 3);
  EXPECT_EQ(pool.Allocate(1), 100u);
  EXPECT_EQ(pool.Allocate(3), std::nullopt);  // four are free, at most two adjacent
  EXPECT_EQ(pool.free_pages(), 4u);
  EXPECT_EQ(pool.Allocate(2), 110u);
  EXPECT_EQ(pool.Allocate(2), 160u);
}

}  // namespace
}  // namespace causeway::habanalabs
