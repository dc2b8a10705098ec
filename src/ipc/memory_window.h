// SPDX-License-Identifier: Apache-2.0
// How memory objects (memory_table.h) are numbered and cut into windows. Freestanding: the preloaded library maps them,
// too.
#pragma once

#include <cstdint>

namespace causeway::ipc {

constexpr uint32_t kArenaMemory = 0;
// The "RAM" of the machine's programs: pages of ordinary memory that a program registered and shares with its peers
// (docs/architecture.md, "Host memory").
constexpr uint32_t kHostMemory = 1;
constexpr uint32_t kMaxMemories = 256;
constexpr uint64_t kMemoryWindow = uint64_t{1} << 30;
constexpr uint32_t kMaxMemoryWindows = 256;        // per memory: 256 GiB
constexpr uint32_t kHostMemoryWindows = 1u << 16;  // of the host memory, whose offsets are many and sparse: 64 TiB

constexpr uint32_t MaxWindows(uint32_t memory) {
  return memory == kHostMemory ? kHostMemoryWindows : kMaxMemoryWindows;
}

}  // namespace causeway::ipc
