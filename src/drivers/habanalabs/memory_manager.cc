// SPDX-License-Identifier: Apache-2.0
// Source: linux v6.12 drivers/accel/habanalabs/common/memory_mgr.c.
#include "drivers/habanalabs/memory_manager.h"

#include <algorithm>

#include "base/checked.h"
#include "drivers/habanalabs/context.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {

CommandBuffer::~CommandBuffer() {
  if (ctx) ctx->UnmapCommandBuffer(virtual_addr, size());
}

// idr_alloc(): the lowest free id.
uint64_t MemoryManager::Add(Ref<MmapBuffer> buffer, uint64_t mmap_type) {
  const std::lock_guard lock(mutex_);
  uint32_t id = next_id_;
  while (handles_.contains(id)) ++id;
  next_id_ = id + 1;
  buffer->id_ = id;
  handles_.emplace(id, std::move(buffer));
  return uapi::HlHandle(mmap_type, id);
}

Ref<MmapBuffer> MemoryManager::Find(uint64_t handle) const {
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(uapi::HlHandleId(handle));
  return it == handles_.end() ? Ref<MmapBuffer>() : it->second;
}

Status MemoryManager::Remove(uint64_t handle) {
  Ref<MmapBuffer> gone;  // released without the lock
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(uapi::HlHandleId(handle));
  if (it == handles_.end()) return Err(EINVAL);
  gone = std::move(it->second);
  next_id_ = std::min(next_id_, it->first);
  handles_.erase(it);
  return {};
}

void MemoryManager::RemoveAll() {
  std::map<uint32_t, Ref<MmapBuffer>> gone;
  const std::lock_guard lock(mutex_);
  gone.swap(handles_);
}

Result<kernel::Mapping> MemoryManager::Mmap(uint64_t length, uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(uapi::HlHandleId(offset));
  if (it == handles_.end()) return Err(EINVAL);
  MmapBuffer& buffer = *it->second;
  if (length != AlignUp(buffer.mappable(), kPageSize)) return Err(EINVAL);
  if (buffer.mapped_.exchange(true)) return Err(EINVAL);
  const uint64_t vma = next_vma_++;
  vmas_.emplace(vma, it->second);
  return kernel::Mapping{.memory = buffer.piece().memory(), .offset = buffer.piece().offset(), .vma = vma};
}

void MemoryManager::Unmapped(uint64_t vma) {
  Ref<MmapBuffer> gone;
  const std::lock_guard lock(mutex_);
  const auto it = vmas_.find(vma);
  if (it == vmas_.end()) return;
  gone = std::move(it->second);
  gone->mapped_.store(false);
  vmas_.erase(it);
}

}  // namespace causeway::habanalabs
