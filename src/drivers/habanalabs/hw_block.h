// SPDX-License-Identifier: Apache-2.0
// Register blocks that programs may map: HL_MEM_OP_MAP_BLOCK and mmap() of what it gives. Gaudi2 only.
//
// Most blocks only keep what is stored (memory of the ARCs, their ACPs, doorbells of NICs, command registers of
// decoders): a mapping is that memory. A sync manager acts on stores: its mapping traps them (kernel::Mapping), and
// each is a register store of the device.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>

#include "base/result.h"
#include "devices/gaudi/gaudi.h"
#include "kernel/file.h"

namespace causeway::habanalabs {

struct HwBlock {
  uint32_t offset = 0;  // from CFG_BASE
  uint32_t size = 0;
};
// gaudi2->mapped_blocks, in the order of gaudi2_user_mapped_blocks_init(): an index is a handle's id.
constexpr uint32_t kGaudi2MappedBlocks = 453;
const std::array<HwBlock, kGaudi2MappedBlocks>& Gaudi2MappedBlocks();

// map_block(): the handle to mmap() and the block's size. errors: EPERM Gaudi; EINVAL no block starts at `address`.
struct BlockHandle {
  uint64_t handle = 0;
  uint32_t size = 0;
};
Result<BlockHandle> MapBlock(gaudi::Asic asic, uint64_t address);

// The mappings of one open file: struct hl_ctx's hw_block_mem_list. Thread safe.
class HwBlockMappings {
 public:
  explicit HwBlockMappings(gaudi::Board& board) : board_(board) {}

  // hl_hw_block_mmap(). errors: EPERM Gaudi; EINVAL no such block, another length.
  Result<kernel::Mapping> Mmap(uint64_t length, uint64_t offset);
  // False: not one of these.
  bool Unmapped(uint64_t vma);
  // errors: EINVAL no mapping of this file, or outside of it.
  Status Store(uint64_t vma, uint64_t offset, uint64_t value, uint32_t bytes);

 private:
  static constexpr uint64_t kFirstVma = uint64_t{1} << 32;  // away from the memory manager's

  gaudi::Board& board_;
  std::mutex mutex_;  // guards what follows
  std::map<uint64_t, HwBlock> vmas_;
  uint64_t next_vma_ = kFirstVma;
};

}  // namespace causeway::habanalabs
