// SPDX-License-Identifier: Apache-2.0
// How memory objects (memory_table.h) are numbered and cut into windows. Freestanding: the preloaded library maps them,
// too.
#pragma once

#include <cstdint>

namespace causeway::ipc {

constexpr uint32_t kArenaMemory = 0;
constexpr uint32_t kMaxMemories = 256;
constexpr uint64_t kMemoryWindow = uint64_t{1} << 30;
constexpr uint32_t kMaxMemoryWindows = 256;  // per memory: 256 GiB

}  // namespace causeway::ipc
