// SPDX-License-Identifier: Apache-2.0
// MAP_BLOCK and mmap() of register blocks: linux gaudi2_get_hw_block_id(), hl_hw_block_mmap(), gaudi2_block_mmap();
// the blocks are those of specs 8.4.
#include "drivers/habanalabs/hw_block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "drivers/habanalabs/harness.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kCfg = 0x1000007FF8000000;
constexpr uint64_t kDcore1Sobs = 0x1000007FFC300000, kDcore1SmGlobal = 0x1000007FFC31E000;
constexpr uint64_t kSchedulerDccm = 0x1000007FFCE90000;

int MapBlockOf(Harness& h, const Ref<kernel::File>& file, uint64_t address, uapi::hl_mem_out* out) {
  return h.Memory(file, {.map_block = {.block_addr = address}, .op = uapi::kHlMemOpMapBlock}, out);
}

struct Mapped {
  kernel::Mapping mapping;
  uint32_t* words = nullptr;
};
Mapped Map(Harness& h, const Ref<kernel::File>& file, uint64_t address) {
  uapi::hl_mem_out out{};
  EXPECT_EQ(MapBlockOf(h, file, address, &out), 0);
  const auto mapping =
      file->Mmap(h.task, {.length = out.block.block_size, .prot = 0, .flags = 0, .offset = out.block.block_handle});
  EXPECT_TRUE(mapping.has_value());
  uint64_t len = out.block.block_size;
  return {*mapping, reinterpret_cast<uint32_t*>(h.machine.memories().At(mapping->memory, mapping->offset, &len))};
}

TEST(HlHwBlock, TableOfBlocks) {
  constexpr struct {
    uint64_t address;
    uint32_t id, size;
  } kCases[] = {
      {kSchedulerDccm, 0, 0x10000},       // ARC_FARM_ARC0_DCCM0
      {0x1000007FFCEF0000, 3, 0x10000},   // ... ARC3
      {0x1000007FFC2C0000, 4, 0x8000},    // scheduler 4: DCORE1 MME
      {0x1000007FFC6C0000, 5, 0x8000},    // scheduler 5: DCORE3 MME
      {0x1000007FFC000000, 6, 0x8000},    // TPC0
      {0x1000007FFC200000, 12, 0x8000},   // TPC6: DCORE1 TPC0
      {0x1000007FFC060000, 30, 0x8000},   // TPC24: DCORE0 TPC6
      {0x1000007FFC0C0000, 31, 0x8000},   // MME0
      {0x1000007FFC1C0000, 33, 0x8000},   // EDMA0
      {0x1000007FFCC90000, 42, 0x8000},   // PDMA1
      {0x1000007FFD410000, 45, 0x8000},   // NIC0
      {0x1000007FFCE8F000, 69, 0x1000},   // ACP of ARC_FARM_ARC0
      {0x1000007FFC6CF000, 76, 0x1000},   // ACP of DCORE3 MME
      {0x1000007FFD400000, 77, 0x1000},   // NIC0 UMR
      {0x1000007FFD9AE000, 436, 0x1000},  // the last page of NIC23
      {0x1000007FFC1E0000, 437, 0x1000},  // DCORE0 DEC0
      {0x1000007FFCF10000, 446, 0x1000},  // PCIE DEC1
      {kDcore1Sobs, 447, 0x14000},       {kDcore1SmGlobal, 448, 0x1000},
      {0x1000007FFC71E000, 452, 0x1000},  // DCORE3 SM GLBL
  };
  Harness h;
  const Ref<kernel::File> file = *h.Open();
  for (const auto& c : kCases) {
    uapi::hl_mem_out out{};
    EXPECT_EQ(MapBlockOf(h, file, c.address, &out), 0) << std::hex << c.address;
    EXPECT_EQ(out.block.block_handle, uapi::HlHandle(uapi::kHlMmapTypeBlock, c.id)) << std::hex << c.address;
    EXPECT_EQ(out.block.block_size, c.size) << std::hex << c.address;
  }
}

TEST(HlHwBlock, NoTwoBlocksShareAByte) {
  std::vector<HwBlock> blocks(Gaudi2MappedBlocks().begin(), Gaudi2MappedBlocks().end());
  std::ranges::sort(blocks, {}, &HwBlock::offset);
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(blocks[i].offset % 4096, 0u);
    EXPECT_EQ(blocks[i].size % 4096, 0u);
    if (i == 0) continue;
    EXPECT_LE(blocks[i - 1].offset + blocks[i - 1].size, blocks[i].offset) << std::hex << blocks[i].offset;
  }
}

TEST(HlHwBlock, MapBlockErrnoTable) {
  constexpr struct {
    const char* name;
    gaudi::Asic asic;
    uint64_t address;
    int want;
  } kCases[] = {
      {"Gaudi has none", gaudi::Asic::kGaudi, kDcore1Sobs, EPERM},
      {"inside a block", gaudi::Asic::kGaudi2, kDcore1Sobs + 4, EINVAL},
      {"DCORE0's sync manager is the driver's", gaudi::Asic::kGaudi2, 0x1000007FFC100000, EINVAL},
      {"a queue manager", gaudi::Asic::kGaudi2, 0x1000007FFCC8A000, EINVAL},
      {"DCCM of a TPC that does not exist", gaudi::Asic::kGaudi2, 0x1000007FFC260000, EINVAL},
      {"an offset instead of an address", gaudi::Asic::kGaudi2, kDcore1Sobs - kCfg, EINVAL},
      {"nothing", gaudi::Asic::kGaudi2, 0, EINVAL},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    Harness h({.asic = c.asic});
    const Ref<kernel::File> file = *h.Open();
    uapi::hl_mem_args args{.in = {.map_block = {.block_addr = c.address}, .op = uapi::kHlMemOpMapBlock, .ctx_id = 9}};
    EXPECT_EQ(h.Memory(*file, args), c.want);
    EXPECT_EQ(args.out.block.block_handle, 0u);
    EXPECT_EQ(args.out.block.block_size, 0u);
    EXPECT_EQ(args.in.ctx_id, 9u);
  }
}

TEST(HlHwBlock, MmapErrnoTable) {
  constexpr uint64_t kHandle = uapi::HlHandle(uapi::kHlMmapTypeBlock, 447);
  constexpr struct {
    const char* name;
    gaudi::Asic asic;
    uint64_t length, offset;
    int want;
  } kCases[] = {
      {"Gaudi", gaudi::Asic::kGaudi, 0x14000, kHandle, EPERM},
      {"whole", gaudi::Asic::kGaudi2, 0x14000, kHandle, 0},
      {"a page of it", gaudi::Asic::kGaudi2, 0x1000, kHandle, EINVAL},
      {"too long", gaudi::Asic::kGaudi2, 0x15000, kHandle, EINVAL},
      {"no such block", gaudi::Asic::kGaudi2, 0x1000, uapi::HlHandle(uapi::kHlMmapTypeBlock, 453), EINVAL},
      {"far outside", gaudi::Asic::kGaudi2, 0x1000, uapi::HlHandle(uapi::kHlMmapTypeBlock, 0xffffffff), EINVAL},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    Harness h({.asic = c.asic});
    const Ref<kernel::File> file = *h.Open();
    const auto mapping = file->Mmap(h.task, {.length = c.length, .prot = 0, .flags = 0, .offset = c.offset});
    EXPECT_EQ(mapping ? 0 : mapping.error().code(), c.want);
  }
}

// Memory of an ARC: what a program stores there is what the device has, and the other way round.
TEST(HlHwBlock, MemoryBlocksAreTheRegistersThemselves) {
  Harness h;
  const Ref<kernel::File> file = *h.Open();
  gaudi::Engines& engines = h.device().board().engines();
  const Mapped dccm = Map(h, file, kSchedulerDccm);
  EXPECT_FALSE(dccm.mapping.trap_stores);
  dccm.words[3] = 0xcafe;
  EXPECT_EQ(engines.ReadRegister(kSchedulerDccm - kCfg + 12), 0xcafeu);
  engines.WriteRegister(kSchedulerDccm - kCfg + 0x10000 - 4, 7);
  EXPECT_EQ(dccm.words[0x10000 / 4 - 1], 7u);
  const Mapped again = Map(h, file, kSchedulerDccm);  // many mappings of one block are allowed
  EXPECT_EQ(again.words[3], 0xcafeu);
  EXPECT_NE(again.mapping.vma, dccm.mapping.vma);
}

// Sync manager: loads see what engines did; a store adds, arms, and fires.
TEST(HlHwBlock, SyncManagersActOnStores) {
  Harness h;
  const Ref<kernel::File> file = *h.Open();
  gaudi::Engines& engines = h.device().board().engines();
  engines.WriteRegister(kDcore1Sobs - kCfg + 8 * 4, 5);  // before it is mapped
  const Mapped sobs = Map(h, file, kDcore1Sobs);
  ASSERT_TRUE(sobs.mapping.trap_stores);
  EXPECT_EQ(sobs.words[8], 5u);
  engines.WriteRegister(kDcore1Sobs - kCfg + 8 * 4, 6);
  EXPECT_EQ(sobs.words[8], 6u);

  const auto store = [&](uint64_t offset, uint64_t value, uint32_t bytes = 4) {
    return file->StoreMapped(h.task, sobs.mapping.vma, offset, value, bytes);
  };
  // Twice the same word: two additions, not one.
  EXPECT_TRUE(store(8 * 4, 0x80000001).has_value());
  EXPECT_TRUE(store(8 * 4, 0x80000001).has_value());
  EXPECT_EQ(sobs.words[8], 8u);
  EXPECT_EQ(engines.ReadRegister(kDcore1Sobs - kCfg + 8 * 4), 8u);
  // Eight bytes are two registers, one byte is one register's byte.
  EXPECT_TRUE(store(16 * 4, 0x0000000200000001, 8).has_value());
  EXPECT_EQ(sobs.words[16], 1u);
  EXPECT_EQ(sobs.words[17], 2u);
  EXPECT_TRUE(store(16 * 4 + 1, 0x12, 1).has_value());
  EXPECT_EQ(sobs.words[16], 0x1201u);

  // Monitor 0: when SOB 16 is 3 or more, SOB 40 becomes 9.
  constexpr uint64_t kPayload = kDcore1Sobs + 40 * 4;
  EXPECT_TRUE(store(0x8000, static_cast<uint32_t>(kPayload)).has_value());
  EXPECT_TRUE(store(0xA000, kPayload >> 32).has_value());
  EXPECT_TRUE(store(0xC000, 9).has_value());
  EXPECT_TRUE(store(16 * 4, 0).has_value());
  EXPECT_TRUE(store(0xE000, 2 | 0xfe << 8 | 3u << 17).has_value());
  EXPECT_EQ(sobs.words[0x12000 / 4], 1u);  // STATUS: armed
  EXPECT_TRUE(store(16 * 4, 0x80000003).has_value());
  EXPECT_EQ(sobs.words[0x12000 / 4], 0u);
  const auto payload = [&] { return __atomic_load_n(&sobs.words[40], __ATOMIC_ACQUIRE); };
  for (int i = 0; i < 10000 && payload() != 9; ++i) ::usleep(100);
  EXPECT_EQ(payload(), 9u);
}

TEST(HlHwBlock, CompletionQueuesAreSetUpThroughTheirBlock) {
  Harness h;
  const Ref<kernel::File> file = *h.Open();
  const Mapped global = Map(h, file, kDcore1SmGlobal);
  const auto store = [&](uint64_t offset, uint32_t value) {
    return file->StoreMapped(h.task, global.mapping.vma, offset, value, 4).has_value();
  };
  EXPECT_TRUE(store(0x50 + 4 * 3, 0x12345000));
  EXPECT_TRUE(store(0x250 + 4 * 3, 12));
  EXPECT_EQ(global.words[(0x50 + 12) / 4], 0x12345000u);
  EXPECT_EQ(global.words[(0x250 + 12) / 4], 12u);
  EXPECT_EQ(h.device().board().engines().ReadRegister(kDcore1SmGlobal - kCfg + 0x250 + 12), 12u);
}

TEST(HlHwBlock, StoresOutsideOfAMappingErrnoTable) {
  Harness h;
  const Ref<kernel::File> file = *h.Open();
  const Mapped sobs = Map(h, file, kDcore1Sobs);
  const uint64_t vma = sobs.mapping.vma;
  constexpr uint64_t kEnd = 0x14000;
  const struct {
    uint64_t vma, offset;
    uint32_t bytes;
    bool good;
  } cases[] = {
      {vma, kEnd - 4, 4, true}, {vma, kEnd - 3, 4, false},   {vma, kEnd, 1, false},  {vma, ~uint64_t{0}, 4, false},
      {vma, 0, 9, false},       {vma, 0, 0xffffffff, false}, {vma + 1, 0, 4, false}, {0, 0, 4, false},
  };
  for (const auto& c : cases) EXPECT_EQ(file->StoreMapped(h.task, c.vma, c.offset, 1, c.bytes).has_value(), c.good);
  file->Unmapped(h.task, vma);
  EXPECT_FALSE(file->StoreMapped(h.task, vma, 0, 1, 4).has_value());
}

// A compute reset between two users: registers are zero again, also as a mapping would show them.
TEST(HlHwBlock, ResetShows) {
  Harness h;
  gaudi::Engines& engines = h.device().board().engines();
  Ref<kernel::File> file = *h.Open();
  const Mapped sobs = Map(h, file, kDcore1Sobs);
  const Mapped dccm = Map(h, file, kSchedulerDccm);
  dccm.words[0] = 1;
  engines.WriteRegister(kDcore1Sobs - kCfg, 77);
  file->Unmapped(h.task, sobs.mapping.vma);
  file->Unmapped(h.task, dccm.mapping.vma);
  file.Reset();
  file = *h.Open();
  EXPECT_EQ(*Map(h, file, kDcore1Sobs).words, 0u);
  EXPECT_EQ(*Map(h, file, kSchedulerDccm).words, 0u);
}

}  // namespace
}  // namespace causeway::habanalabs
