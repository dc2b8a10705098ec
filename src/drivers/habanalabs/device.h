// SPDX-License-Identifier: Apache-2.0
// One accelerator as the driver sees it: struct hl_device. Exclusive open, device memory, accounting.
//
//   HlFile (compute node) --holds--> HlCtx <--holds-- dma-bufs of E1      HlFile <--holds-- dma-bufs of E4
//
//   closed --OpenCompute()--> active --last reference on the file--> in release --last reference on the context-->
//   closed
//
// With rules E4 a live dma-buf keeps the file, so other opens get EBUSY; with E1 it keeps only the context, so they get
// EAGAIN (linux hl_device_open()). On Gaudi2 the release ends with a compute reset; no engine state exists here, so it
// takes no time and nobody sees that status.
//
// Lock order: HlCtx::mutex_, then HlDevice::mutex_. Neither is held while user memory is copied, a descriptor is
// installed, or pages go back to the system. Runs on: any server thread.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "devices/gaudi/gaudi.h"
#include "drivers/habanalabs/asic_properties.h"
#include "drivers/habanalabs/dram_pool.h"
#include "kernel/file.h"
#include "kernel/refusals.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

class HlCtx;
class HlFile;

// An allocation of device memory: struct hl_vm_phys_pg_pack.
struct PhysPgPack {
  uint32_t handle = 0;
  uint32_t asid = 0;
  uint32_t flags = 0;           // HL_MEM_...
  uint64_t total_size = 0;      // bytes, whole pages
  std::vector<uint64_t> pages;  // physical addresses, in the order of the allocation
  uint32_t mapping_cnt = 0;     // guarded by HlDevice::mutex_
};

struct DeviceReport {
  std::string name;  // of the function: "gaudi0"
  std::string bdf;
  std::string type;  // "GAUDI2"
  std::string node;  // "/dev/accel/accel0"
  std::string control_node;
  uint32_t status = 0;  // HlDeviceStatus
  pid_t opener = 0;     // 0: nobody has the compute node open
  bool in_release = false;
  uint64_t dram_used = 0, dram_size = 0;
  uint64_t hbm_resident = 0;  // bytes of host memory that back the HBM
  uint32_t dmabufs = 0;
};

class HlDevice {
 public:
  HlDevice(std::unique_ptr<gaudi::Board> board, const AsicProperties& properties, pci::Bus& bus,
           kernel::RefusalLog& refusals, std::string node, std::string control_node);
  HlDevice(const HlDevice&) = delete;
  HlDevice& operator=(const HlDevice&) = delete;

  // hl_device_open(): errors EAGAIN, EPERM, EBUSY in the order of specs; see the table test.
  Result<Ref<kernel::File>> OpenCompute(pid_t opener, uint32_t major, uint32_t minor);
  // hl_device_open_ctrl(). errors: EPERM.
  Result<Ref<kernel::File>> OpenControl(uint32_t major, uint32_t minor);

  uapi::HlDeviceStatus status() const { return status_.load(std::memory_order_acquire); }
  bool operational() const {
    const auto now = status();
    return now == uapi::kHlStatusOperational || now == uapi::kHlStatusInDeviceCreation;
  }
  void set_status(uapi::HlDeviceStatus status) { status_.store(status, std::memory_order_release); }
  std::string_view StatusName() const;  // "operational", as sysfs and logs say it
  std::string TypeName() const;         // sysfs device_type

  const AsicProperties& properties() const { return properties_; }
  gaudi::Board& board() { return *board_; }
  const pci::Function& function() const { return board_->function(); }
  pci::Bus& bus() { return bus_; }
  kernel::RefusalLog& refusals() { return refusals_; }
  const std::string& node() const { return node_; }
  const std::string& control_node() const { return control_node_; }

  // alloc_device_memory() and free_device_memory() of an ASIC with virtual device memory.
  Result<uint32_t> AllocateMemory(HlCtx& ctx, uint64_t size, uint32_t flags);
  Status FreeMemory(HlCtx& ctx, uint32_t handle);
  // Takes one mapping count, so that the memory cannot be freed. errors: EINVAL unknown; EPERM another's and not
  // shared.
  Result<std::shared_ptr<PhysPgPack>> MapMemory(const HlCtx& ctx, uint32_t handle);
  void UnmapMemory(PhysPgPack& pack);

  // Accounting of Gaudi, whose programs manage device memory themselves: counts what they say, wrapping as they make
  // it.
  void AddDramUsed(HlCtx& ctx, uint64_t bytes);
  uint64_t dram_used() const { return dram_used_.load(std::memory_order_relaxed); }

  std::atomic<uint32_t>& dmabuf_export_cnt() { return dmabuf_export_cnt_; }

  struct OpenStats {
    uint64_t open_counter = 0, last_open_period_ms = 0;
    bool active = false, in_release = false;
    int64_t last_open_ktime_ns = 0;
  };
  OpenStats open_stats() const;
  DeviceReport Report() const;

 private:
  friend class HlFile;
  friend class HlCtx;
  void Released();               // hl_device_release() began
  void CtxReleased(HlCtx& ctx);  // hl_ctx_do_release(): frees what the context owned; the node can be opened again
  void FreePack(PhysPgPack& pack);

  const std::unique_ptr<gaudi::Board> board_;
  const AsicProperties properties_;
  pci::Bus& bus_;
  kernel::RefusalLog& refusals_;
  const std::string node_, control_node_;
  std::atomic<uapi::HlDeviceStatus> status_{uapi::kHlStatusInDeviceCreation};
  std::atomic<uint64_t> dram_used_{0};
  std::atomic<uint32_t> dmabuf_export_cnt_{0};

  mutable std::mutex mutex_;  // guards what follows
  DramPool pool_;
  std::map<uint32_t, std::shared_ptr<PhysPgPack>> handles_;
  bool is_compute_ctx_active_ = false;
  bool compute_ctx_in_release_ = false;
  pid_t opener_ = 0;
  uint64_t open_counter_ = 0;
  uint64_t last_open_period_ms_ = 0;
  int64_t last_open_ktime_ns_ = 0;
};

}  // namespace causeway::habanalabs
