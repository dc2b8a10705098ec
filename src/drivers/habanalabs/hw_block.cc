// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/memory.c (map_block(), hl_hw_block_mmap()), gaudi2/gaudi2.c
// (gaudi2_user_mapped_blocks_init(), gaudi2_get_hw_block_id(), gaudi2_block_mmap()), gaudi/gaudi.c
// (gaudi_get_hw_block_id(), gaudi_block_mmap()).
#include "drivers/habanalabs/hw_block.h"

#include <algorithm>

#include "base/checked.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kDccmSize = 0x8000;       // ARC_DCCM_BLOCK_SIZE of an engine's ARC
constexpr uint32_t kFarmDccmSize = 0x10000;  // a scheduler of the farm has two
constexpr uint32_t kPageBlock = 0x1000;
constexpr uint32_t kDcoreStride = 0x200000;
constexpr uint32_t kFarmStride = 0x20000;
constexpr uint32_t kUmrPages = 15;

std::array<HwBlock, kGaudi2MappedBlocks> MakeBlocks() {
  std::array<HwBlock, kGaudi2MappedBlocks> blocks{};
  size_t count = 0;
  const auto add = [&](uint32_t offset, uint32_t size) { blocks.at(count++) = {.offset = offset, .size = size}; };
  const auto mme_dccm = [](uint32_t dcore) { return 0x40C0000 + dcore * kDcoreStride; };

  // DCCMs, by the ARCs' CPU ids.
  for (uint32_t farm = 0; farm < 4; ++farm) add(0x4E90000 + farm * kFarmStride, kFarmDccmSize);
  add(mme_dccm(1), kDccmSize);  // schedulers 4 and 5
  add(mme_dccm(3), kDccmSize);
  for (uint32_t tpc = 0; tpc < 24; ++tpc) add(0x4000000 + tpc / 6 * kDcoreStride + tpc % 6 * 0x10000, kDccmSize);
  add(0x4060000, kDccmSize);  // TPC 24: DCORE0 TPC6
  add(mme_dccm(0), kDccmSize);
  add(mme_dccm(2), kDccmSize);
  for (uint32_t edma = 0; edma < 8; ++edma) add(0x41C0000 + edma / 2 * kDcoreStride + edma % 2 * 0x10000, kDccmSize);
  for (uint32_t pdma = 0; pdma < 2; ++pdma) add(0x4C80000 + pdma * 0x10000, kDccmSize);
  for (uint32_t rotator = 0; rotator < 2; ++rotator) add(0x4E00000 + rotator * 0x10000, kDccmSize);
  for (uint32_t nic = 0; nic < 24; ++nic) add(0x5410000 + nic / 2 * 0x80000 + nic % 2 * 0x20000, kDccmSize);
  // ACPs.
  for (uint32_t farm = 0; farm < 4; ++farm) add(0x4E8F000 + farm * kFarmStride, kPageBlock);
  for (uint32_t dcore = 0; dcore < 4; ++dcore) add(0x40CF000 + dcore * kDcoreStride, kPageBlock);
  // NIC doorbell pages.
  for (uint32_t nic = 0; nic < 24; ++nic) {
    for (uint32_t page = 0; page < kUmrPages; ++page) {
      add(0x5400000 + nic / 2 * 0x80000 + nic % 2 * 0x20000 + page * kPageBlock, kPageBlock);
    }
  }
  // Decoders.
  for (uint32_t decoder = 0; decoder < 8; ++decoder) {
    add(0x41E0000 + decoder / 2 * kDcoreStride + decoder % 2 * 0x10000, kPageBlock);
  }
  for (uint32_t decoder = 0; decoder < 2; ++decoder) add(0x4F00000 + decoder * 0x10000, kPageBlock);
  // Sync managers; DCORE0's holds what is the driver's.
  for (uint32_t dcore = 1; dcore < gaudi::kSyncManagers; ++dcore) {
    add(gaudi::SyncManagerBase(gaudi::Asic::kGaudi2, dcore), gaudi::kGaudi2Sm.size);
    add(gaudi::SyncManagerGlobalBase(dcore), kPageBlock);
  }
  CW_INVARIANT(count == blocks.size());
  return blocks;
}

}  // namespace

const std::array<HwBlock, kGaudi2MappedBlocks>& Gaudi2MappedBlocks() {
  static const auto blocks = MakeBlocks();
  return blocks;
}

Result<BlockHandle> MapBlock(gaudi::Asic asic, uint64_t address) {
  if (asic == gaudi::Asic::kGaudi) return Err(EPERM);
  const auto& blocks = Gaudi2MappedBlocks();
  const auto found = std::ranges::find(blocks, address,
                                       [](const HwBlock& block) { return gaudi::kGaudi2Map.cfg_base + block.offset; });
  if (found == blocks.end()) return Err(EINVAL);
  const auto id = static_cast<uint32_t>(found - blocks.begin());
  return BlockHandle{.handle = uapi::HlHandle(uapi::kHlMmapTypeBlock, id), .size = found->size};
}

Result<kernel::Mapping> HwBlockMappings::Mmap(uint64_t length, uint64_t offset) {
  if (board_.asic() == gaudi::Asic::kGaudi) return Err(EPERM);
  const uint32_t id = uapi::HlHandleId(offset);
  const auto& blocks = Gaudi2MappedBlocks();
  if (id >= blocks.size() || blocks[id].size != length) return Err(EINVAL);
  const auto registers = board_.engines().MapRegisters(blocks[id].offset, blocks[id].size);
  const std::lock_guard lock(mutex_);
  const uint64_t vma = next_vma_++;
  vmas_.emplace(vma, blocks[id]);
  return kernel::Mapping{
      .memory = registers.memory, .offset = registers.offset, .vma = vma, .trap_stores = registers.stores_act};
}

bool HwBlockMappings::Unmapped(uint64_t vma) {
  const std::lock_guard lock(mutex_);
  return vmas_.erase(vma) != 0;
}

Status HwBlockMappings::Store(uint64_t vma, uint64_t offset, uint64_t value, uint32_t bytes) {
  HwBlock block;
  {
    const std::lock_guard lock(mutex_);
    const auto it = vmas_.find(vma);
    if (it == vmas_.end()) return Err(EINVAL);
    block = it->second;
  }
  if (bytes > sizeof(value) || bytes > block.size || offset > block.size - bytes) return Err(EINVAL);
  board_.engines().StoreBytes(block.offset + static_cast<uint32_t>(offset), value, bytes);
  return {};
}

}  // namespace causeway::habanalabs
