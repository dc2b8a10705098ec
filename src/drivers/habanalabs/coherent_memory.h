// SPDX-License-Identifier: Apache-2.0
// Memory that the driver shares with its device: queues, completion rings, command buffers (dma_alloc_coherent()).
// Pieces of one sparse memory object, so that programs can map some of them. Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/result.h"
#include "ipc/memory_table.h"

namespace causeway::habanalabs {

// Ranges of [start, end), first fit. Not thread safe.
class RangeAllocator {
 public:
  RangeAllocator(uint64_t start, uint64_t end) { free_.emplace(start, end); }
  // `size` a multiple of 4 KiB; never across a multiple of `boundary` (0: none). errors: ENOMEM.
  Result<uint64_t> Take(uint64_t size, uint64_t boundary = 0);
  void Give(uint64_t start, uint64_t size);

 private:
  std::map<uint64_t, uint64_t> free_;  // start -> end
};

class CoherentMemory {
 public:
  static constexpr uint64_t kDmaBase = uint64_t{1} << 32;  // DMA address of the first byte
  static constexpr uint64_t kBytes = uint64_t{64} << 30;

  // A piece; goes back when destroyed.
  class Piece {
   public:
    Piece() = default;
    Piece(Piece&& other) noexcept { *this = std::move(other); }
    Piece& operator=(Piece&& other) noexcept {
      Reset();
      owner_ = std::exchange(other.owner_, nullptr);
      offset_ = other.offset_;
      size_ = other.size_;
      bytes_ = other.bytes_;
      recycled_ = other.recycled_;
      return *this;
    }
    ~Piece() { Reset(); }
    void Reset();
    explicit operator bool() const { return owner_ != nullptr; }

    std::byte* bytes() const { return bytes_; }
    uint64_t size() const { return size_; }
    uint64_t offset() const { return offset_; }           // in the memory object
    uint32_t memory() const { return owner_->memory(); }  // the object
    uint64_t dma_address() const { return kDmaBase + offset_; }

   private:
    friend class CoherentMemory;
    CoherentMemory* owner_ = nullptr;
    uint64_t offset_ = 0, size_ = 0;
    std::byte* bytes_ = nullptr;
    bool recycled_ = false;
  };

  // errors: those of MemoryTable.
  static Result<uint32_t> CreateObject(ipc::MemoryTable& memories, const std::string& name) {
    return memories.Create(name, kBytes);
  }
  CoherentMemory(ipc::MemoryTable& memories, uint32_t memory)
      : memories_(memories), memory_(memory), free_(0, kBytes) {}

  // Zeroed, whole pages. errors: ENOMEM.
  Result<Piece> Allocate(uint64_t size);
  // Of undefined content, quick: for buffers of the driver itself, at most 2 MiB.
  Result<Piece> AllocateRecycled(uint64_t size);
  uint32_t memory() const { return memory_; }

 private:
  static constexpr unsigned kClasses = 14;  // 256 B ... 2 MiB
  void Free(Piece& piece);

  ipc::MemoryTable& memories_;
  const uint32_t memory_;
  std::mutex mutex_;  // innermost
  RangeAllocator free_;
  std::vector<std::pair<uint64_t, std::byte*>> recycled_[kClasses];
};

}  // namespace causeway::habanalabs
