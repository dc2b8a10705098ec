// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/coherent_memory.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "ipc/memory_window.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kSmallest = 256;

unsigned ClassOf(uint64_t size) {
  return static_cast<unsigned>(std::countr_zero(std::bit_ceil(std::max(size, kSmallest)) / kSmallest));
}

}  // namespace

Result<uint64_t> RangeAllocator::Take(uint64_t size, uint64_t boundary) {
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [start, end] = *it;
    uint64_t at = start;
    if (boundary != 0 && at / boundary != (at + size - 1) / boundary) at = AlignUp(at, boundary);
    if (at >= end || end - at < size) continue;
    free_.erase(it);
    if (at != start) free_.emplace(start, at);
    if (at + size != end) free_.emplace(at + size, end);
    return at;
  }
  return Err(ENOMEM);
}

void RangeAllocator::Give(uint64_t start, uint64_t size) {
  uint64_t end = start + size;
  auto next = free_.lower_bound(start);
  if (next != free_.end() && next->first == end) {
    end = next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin() && std::prev(next)->second == start) {
    std::prev(next)->second = end;
  } else {
    free_.emplace(start, end);
  }
}

void CoherentMemory::Piece::Reset() {
  if (owner_ != nullptr) std::exchange(owner_, nullptr)->Free(*this);
}

Result<CoherentMemory::Piece> CoherentMemory::Allocate(uint64_t size) {
  Piece piece;
  piece.size_ = AlignUp(std::max<uint64_t>(size, 1), kPageSize);
  {
    const std::lock_guard lock(mutex_);
    CW_TRY(piece.offset_, free_.Take(piece.size_, ipc::kMemoryWindow));
  }
  uint64_t len = piece.size_;
  piece.bytes_ = memories_.At(memory_, piece.offset_, &len);
  piece.owner_ = this;
  if (piece.bytes_ == nullptr) return Err(ENOMEM);
  return piece;
}

Result<CoherentMemory::Piece> CoherentMemory::AllocateRecycled(uint64_t size) {
  const unsigned size_class = ClassOf(size);
  CW_INVARIANT(size_class < kClasses);
  const uint64_t bytes = kSmallest << size_class;
  Piece piece;
  piece.size_ = bytes;
  piece.recycled_ = true;
  const std::lock_guard lock(mutex_);
  auto& spare = recycled_[size_class];
  if (spare.empty()) {
    const uint64_t take = AlignUp(bytes, kPageSize);
    CW_TRY(const uint64_t at, free_.Take(take, ipc::kMemoryWindow));
    uint64_t len = take;
    std::byte* const mapped = memories_.At(memory_, at, &len);
    if (mapped == nullptr) return Err(ENOMEM);
    for (uint64_t offset = 0; offset < take; offset += bytes) spare.emplace_back(at + offset, mapped + offset);
  }
  piece.offset_ = spare.back().first;
  piece.bytes_ = spare.back().second;
  spare.pop_back();
  piece.owner_ = this;
  return piece;
}

void CoherentMemory::Free(Piece& piece) {
  if (piece.recycled_) {
    const std::lock_guard lock(mutex_);
    recycled_[ClassOf(piece.size_)].emplace_back(piece.offset_, piece.bytes_);
    return;
  }
  memories_.Discard(memory_, piece.offset_, piece.size_);
  const std::lock_guard lock(mutex_);
  free_.Give(piece.offset_, piece.size_);
}

}  // namespace causeway::habanalabs
