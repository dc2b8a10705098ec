// SPDX-License-Identifier: Apache-2.0
// A GPU as an exporter of device memory: VRAM behind BAR0 of a PCI function, buffer objects (GEM) in it, and their
// dma-bufs. The rules are amdgpu's (linux v6.1 drivers/gpu/drm/amd/amdgpu; pinning is v6.15's, which pins in VRAM where
// v6.1 would move the buffer to system memory). There is nothing else: no engine, no display, no system memory (GTT).
//
//   GemObject ---- placement: [offset, + size) of the VRAM       handles of files hold it (shared_ptr)
//      ^                                                          mappings of programs hold it
//      +-- DmaBuf's GemDmaBufOps holds it                         DmaBufs hold it
//
// A buffer may move (Evict()), which dynamic importers are told: an unpinned one that no program has mapped. Locks:
// resv of the DmaBuf, then the device's mutex.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "dmabuf/dma_buf.h"
#include "ipc/memory_table.h"
#include "kernel/refusals.h"
#include "pci/bus.h"

namespace causeway::drm {

constexpr unsigned kVramBar = 0;

class DrmDevice;

// struct drm_gem_object with struct amdgpu_bo. Its memory goes back when the last holder lets go.
class GemObject {
 public:
  GemObject(DrmDevice& device, uint64_t bytes, uint64_t create_flags, uint64_t offset, uint64_t fake_offset)
      : size(bytes), flags(create_flags), mmap_offset(fake_offset), device_(device), offset_(offset) {}
  GemObject(const GemObject&) = delete;
  GemObject& operator=(const GemObject&) = delete;
  ~GemObject();

  const uint64_t size;         // bytes, whole pages
  const uint64_t flags;        // AMDGPU_GEM_CREATE_*
  const uint64_t mmap_offset;  // what mmap() of the node takes (drm_vma_offset_manager)
  DrmDevice& device() const { return device_; }

 private:
  friend class DrmDevice;
  friend class GemDmaBufOps;
  DrmDevice& device_;  // outlives every file and buffer
  // Guarded by the device's mutex.
  uint64_t offset_;  // placement
  uint32_t pins_ = 0;
  bool cpu_mapped_ = false;  // Deviation: a program's mapping cannot be taken away, so the buffer stays from then on
  uint32_t handles_ = 0;     // drm_gem_object::handle_count
  std::vector<Ref<dmabuf::DmaBuf>> dma_bufs_;  // drm_gem_object::dma_buf, those in use: while there are handles
};

class DrmDevice {
 public:
  // Makes the VRAM and puts it behind BAR0. errors: ENODEV the BAR is smaller; those of MemoryTable and Bus.
  static Result<std::unique_ptr<DrmDevice>> Create(uint64_t vram_bytes, const pci::Function& function, pci::Bus& bus,
                                                   ipc::MemoryTable& memories, kernel::RefusalLog& refusals);

  const pci::Function& function() const { return function_; }
  uint64_t vram_bytes() const { return vram_bytes_; }
  uint64_t used_bytes() const;

  // amdgpu_gem_object_create(). `size` is rounded up to pages. errors: EINVAL size 0; ENOMEM.
  Result<std::shared_ptr<GemObject>> CreateObject(uint64_t size, uint64_t flags);
  // drm_gem_handle_create() and drm_gem_object_handle_put_unlocked() count; the last handle drops the dma-buf.
  void AddHandle(GemObject& object);
  void DropHandle(GemObject& object);
  // drm_vma_offset_exact_lookup(): the object whose mapping begins at `mmap_offset`; nullptr: none.
  std::shared_ptr<GemObject> FindByMmapOffset(uint64_t mmap_offset);
  // Where its bytes are for a program that maps them; they stay there.
  kernel::Mapping MapForCpu(GemObject& object);
  // amdgpu_gem_prime_export(). Deviation: a new dma-buf at each call, where Linux has one as long as there are handles;
  // a file of the machine is installed once. errors: EPERM.
  Result<Ref<dmabuf::DmaBuf>> Export(const std::shared_ptr<GemObject>& object);
  // amdgpu_gem_prime_import() of a buffer of this device: its object; nullptr: another exporter's.
  std::shared_ptr<GemObject> ObjectOf(dmabuf::DmaBuf& dma_buf);

  // Moves every buffer that may move and has room elsewhere, as debugfs amdgpu_evict_vram does to system memory.
  // Returns how many moved.
  size_t Evict();

 private:
  friend class GemObject;
  friend class GemDmaBufOps;
  DrmDevice(uint64_t vram_bytes, const pci::Function& function, pci::Bus& bus, ipc::MemoryTable& memories,
            kernel::RefusalLog& refusals, uint32_t memory);
  Result<uint64_t> TakeLocked(uint64_t size);
  void GiveLocked(uint64_t offset, uint64_t size);
  bool MoveLocked(GemObject& object);
  void CopyLocked(uint64_t from, uint64_t to, uint64_t size);

  const uint64_t vram_bytes_;
  const pci::Function& function_;
  pci::Bus& bus_;
  ipc::MemoryTable& memories_;
  kernel::RefusalLog& refusals_;
  const uint32_t memory_;
  mutable std::mutex mutex_;           // guards what follows, and the objects' own
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes, never adjacent
  uint64_t used_ = 0;
  uint64_t next_mmap_offset_;
  std::map<uint64_t, std::weak_ptr<GemObject>> objects_;  // by mmap_offset
};

}  // namespace causeway::drm
