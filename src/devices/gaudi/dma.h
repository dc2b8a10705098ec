// SPDX-License-Identifier: Apache-2.0
// What a DMA core does: linear copies and fills, copies between arrays of up to five dimensions, transposition.
//
// Bytes are moved without the engines' lock, so that registers can be reached meanwhile; a reset in the meantime makes
// the rest of the transfer vanish (kAborted). Runs on: the engines' thread.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
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

constexpr uint32_t kTransposeBytes = 128;  // what the transpose engine takes, both ways

class DmaMover {
 public:
  // `epoch` changes when the engines are reset. Both outlive the mover.
  DmaMover(Fabric& fabric, const uint64_t& epoch) : fabric_(fabric), epoch_(epoch) {}

  DmaOutcome Copy(std::unique_lock<std::mutex>& lock, uint64_t source, uint64_t target, uint64_t size, DmaSwap swap);
  DmaOutcome Fill(std::unique_lock<std::mutex>& lock, uint64_t target, uint64_t size, uint64_t pattern);
  // The transpose engine: the source's rows (dimension 0, at most 128 bytes; `rows` of them) become columns. It takes
  // as many rows at once as fill 128 bytes with one element of each, and gives their columns out one after the other:
  // the target's dimension 0 is a piece of a column, its dimension 1 the columns, the next ones the following rows.
  // `element`: 1, 2 or 4 bytes.
  DmaOutcome Transpose(std::unique_lock<std::mutex>& lock, const DmaShape& source, const DmaShape& target,
                       uint32_t rows, uint32_t element);
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
