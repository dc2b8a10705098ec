// SPDX-License-Identifier: Apache-2.0
// What a DMA core does: linear copies and fills, and copies between arrays of up to five dimensions.
//
// Bytes are moved without the engines' lock, so that registers can be reached meanwhile; a reset in the meantime makes
// the rest of the transfer vanish (kAborted). Runs on: the engines' thread.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "devices/gaudi/fabric.h"

namespace causeway::gaudi {

enum class DmaSwap : uint8_t { kNone, k16, k32, k64 };  // byte order reversed within units of so many bits

struct DmaOutcome {
  enum class Kind : uint8_t { kDone, kFault, kAborted } kind = Kind::kDone;
  uint64_t address = 0;  // kFault: which
  bool write = false;
};

// One side of a strided transfer. Dimension 0 is contiguous bytes; count[n] elements of dimension n + 1 lie stride[n]
// apart (0 elements: one).
struct DmaShape {
  uint64_t base = 0;
  uint32_t bytes = 0;
  std::array<uint32_t, 4> count{};
  std::array<uint32_t, 4> stride{};
};

class DmaMover {
 public:
  // `epoch` changes when the engines are reset. Both outlive the mover.
  DmaMover(Fabric& fabric, const uint64_t& epoch) : fabric_(fabric), epoch_(epoch) {}

  DmaOutcome Copy(std::unique_lock<std::mutex>& lock, uint64_t source, uint64_t target, uint64_t size, DmaSwap swap);
  DmaOutcome Fill(std::unique_lock<std::mutex>& lock, uint64_t target, uint64_t size, uint64_t pattern);
  // Ends when either side is through.
  DmaOutcome CopyShapes(std::unique_lock<std::mutex>& lock, const DmaShape& source, const DmaShape& target);

 private:
  template <typename Work>
  bool Unlocked(std::unique_lock<std::mutex>& lock, uint64_t bytes, const Work& work);
  bool Load(const Run& run, std::byte* to, uint64_t len);
  bool Store(const Run& run, const std::byte* from, uint64_t len);

  Fabric& fabric_;
  const uint64_t& epoch_;
  std::vector<std::byte> bounce_;
};

}  // namespace causeway::gaudi
