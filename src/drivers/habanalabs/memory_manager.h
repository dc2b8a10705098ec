// SPDX-License-Identifier: Apache-2.0
// Objects that programs name by handle and mmap: command buffers and timestamp buffers. struct hl_mem_mgr with its
// struct hl_mmap_mem_buf, one per open of a compute node; both kinds share one space of ids, from 1.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "base/ref.h"
#include "base/result.h"
#include "drivers/habanalabs/coherent_memory.h"
#include "kernel/file.h"

namespace causeway::habanalabs {

class HlCtx;

// Memory lives until the last reference is gone: the handle's, a mapping's, a submission's.
class MmapBuffer : public RefCounted {
 public:
  // `mappable`: what a mapping must be long, rounded up to pages.
  MmapBuffer(CoherentMemory::Piece piece, uint64_t mappable) : piece_(std::move(piece)), mappable_(mappable) {}
  const CoherentMemory::Piece& piece() const { return piece_; }
  uint64_t mappable() const { return mappable_; }
  uint32_t id() const { return id_; }

 private:
  friend class MemoryManager;
  const CoherentMemory::Piece piece_;
  const uint64_t mappable_;
  uint32_t id_ = 0;
  std::atomic<bool> mapped_{false};  // one mapping at a time
};

// struct hl_cb.
class CommandBuffer : public MmapBuffer {
 public:
  using MmapBuffer::MmapBuffer;
  ~CommandBuffer() override;
  uint64_t size() const { return piece().size(); }

  std::atomic<uint32_t> cs_cnt{0};  // submissions that hold it
  // HL_CB_FLAGS_MAP: device VA, and the context it is mapped in. 0: not mapped.
  uint64_t virtual_addr = 0;
  Ref<HlCtx> ctx;
};

// struct hl_ts_buff.
class TimestampBuffer : public MmapBuffer {
 public:
  using MmapBuffer::MmapBuffer;
};

class MemoryManager {
 public:
  uint64_t Add(Ref<MmapBuffer> buffer, uint64_t mmap_type);  // its handle
  // hl_mmap_mem_buf_get(): only the id in the handle counts, not the type. An empty Ref: unknown, or another kind.
  template <typename T>
  Ref<T> Get(uint64_t handle) const {
    return DynamicRefCast<T>(Find(handle));
  }
  Ref<MmapBuffer> Find(uint64_t handle) const;
  // Takes the handle away. errors: EINVAL unknown.
  Status Remove(uint64_t handle);
  void RemoveAll();

  // hl_mem_mgr_mmap(). errors: EINVAL unknown handle, other length, mapped already.
  Result<kernel::Mapping> Mmap(uint64_t length, uint64_t offset);
  void Unmapped(uint64_t vma);

 private:
  mutable std::mutex mutex_;
  std::map<uint32_t, Ref<MmapBuffer>> handles_;
  std::map<uint64_t, Ref<MmapBuffer>> vmas_;
  uint32_t next_id_ = 1;
  uint64_t next_vma_ = 1;
};

}  // namespace causeway::habanalabs
