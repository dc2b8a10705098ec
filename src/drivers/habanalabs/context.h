// SPDX-License-Identifier: Apache-2.0
// The address space of one open of a compute node: struct hl_ctx with its hl_vm part. Counted as the kernel counts it;
// its destructor is hl_ctx_do_release(): everything still mapped is unmapped, owned device memory is freed, and the
// node can be opened again.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "drivers/habanalabs/coherent_memory.h"
#include "drivers/habanalabs/cs_context.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/notifier.h"
#include "drivers/habanalabs/va_range.h"
#include "kernel/task.h"

namespace causeway::habanalabs {

// Host memory mapped for the device: struct hl_userptr. The pin is the program's memory and the address.
struct HostPin {
  std::shared_ptr<kernel::PinnedMemory> memory;
  uint64_t address = 0;  // page aligned
  uint64_t size = 0;     // whole pages
};

class HlCtx : public RefCounted {
 public:
  explicit HlCtx(HlDevice& device);
  ~HlCtx() override;

  uint32_t asid() const { return 1; }  // HL_KERNEL_ASID_ID is 0, and one user context exists at a time
  HlDevice& device() { return device_; }

  // map_device_va() in its two cases. `flags`: HL_MEM_FORCE_HINT, HL_MEM_SHARED ...; errno as specs of MAP.
  Result<uint64_t> MapHost(kernel::Task& task, uint64_t address, uint64_t size, uint64_t hint, uint32_t flags);
  Result<uint64_t> MapDevice(uint32_t handle, uint64_t hint, uint32_t flags);
  // unmap_device_va(): exactly an address that a map gave. errors: EINVAL unknown, or exported.
  Status Unmap(uint64_t va);

  // memhash_node_export_get(): counts an export of the device memory mapped at `va`, which then cannot be unmapped.
  // errors: EINVAL nothing mapped there, or host memory.
  Result<std::shared_ptr<PhysPgPack>> ExportGet(uint64_t va);
  void ExportPut(uint64_t va);

  size_t mapping_count() const;
  std::optional<MappingKind> MappingAt(uint64_t va, uint64_t bytes) const;
  // What is mapped now, host memory or device memory: hl_capture_user_mappings().
  std::vector<uapi::hl_user_mapping> UserMappings(bool host) const;

  NotifierEvent notifier;  // struct hl_fpriv's, which lives as long as its context
  CsCounters cs_counters;
  // HL_CB_FLAGS_MAP: a command buffer in the context's pool of device addresses. errors: ENOMEM.
  Result<uint64_t> MapCommandBuffer(const CoherentMemory::Piece& piece);
  void UnmapCommandBuffer(uint64_t va, uint64_t size);

  // hl_cb_kernel_create() of an internal buffer: a slot of the pool that the device sees at a fixed address.
  static constexpr uint64_t kInternalCbSlot = 256;
  struct InternalCb {
    std::byte* bytes = nullptr;
    uint64_t va = 0;
    uint32_t slot = 0;
  };
  std::optional<InternalCb> TakeInternalCb();
  void GiveInternalCb(uint32_t slot);

  CsContext cs;  // guarded by the device's Submission

  std::atomic<uint64_t> dram_phys_mem{0};  // bytes of device memory this context asked for

 private:
  // struct hl_vm_hash_node.
  struct Mapping {
    uint64_t block = 0;  // start of the block; the address given out has the host pointer's offset in its page added
    uint64_t size = 0;
    std::optional<HostPin> host;
    bool huge = false;                 // in host_huge_
    std::shared_ptr<PhysPgPack> pack;  // device memory
    uint32_t export_cnt = 0;
  };

  HlDevice& device_;          // outlives every file
  mutable std::mutex mutex_;  // guards what follows; before HlDevice::mutex_
  VaRange host_;
  std::optional<VaRange> host_huge_;  // where huge pages have a range of their own
  VaRange dram_;
  std::map<uint64_t, Mapping> mappings_;  // by the address given out
  std::mutex pool_mutex_;                 // guards what follows
  RangeAllocator cb_va_;
  CoherentMemory::Piece internal_cbs_;
  uint64_t internal_cb_va_ = 0;
  std::vector<uint32_t> free_internal_cbs_;
};

}  // namespace causeway::habanalabs
