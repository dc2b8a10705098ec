// SPDX-License-Identifier: Apache-2.0
// Page-granular allocator of the arena's heap (rings, scatterlists). Book-keeping is the machine's own memory; freed
// pages go back to the system and read as zero when used again. Runs on: any machine thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "base/result.h"
#include "ipc/memory_table.h"

namespace causeway::roce {

class Heap {
 public:
  // [offset, offset + bytes) of the arena (memory object ipc::kArenaMemory).
  Heap(ipc::MemoryTable& memories, uint64_t offset, uint64_t bytes);

  // Arena offset of zeroed memory; `bytes` is rounded up to pages. errors: ENOMEM.
  Result<uint64_t> Allocate(uint64_t bytes);
  void Free(uint64_t offset, uint64_t bytes);
  uint64_t used_bytes() const;

 private:
  ipc::MemoryTable& memories_;
  mutable std::mutex mutex_;
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes, neighbours merged
  uint64_t used_ = 0;
};

}  // namespace causeway::roce
