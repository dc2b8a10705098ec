// SPDX-License-Identifier: Apache-2.0
// The DRM driver of a machine: GPUs named amdgpu, of which only a render node is there (/dev/dri/renderD128, 226:128
// and up), and of that only what makes, maps and shares buffers. No primary node, no engine.
//
// Minors are the lowest that neither the host nor this machine uses, so that a real GPU's node stays what it is.
// Everything passed in outlives the driver, and the driver outlives every file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "drivers/drm/device.h"
#include "ipc/memory_table.h"
#include "kernel/refusals.h"
#include "kernel/tree.h"
#include "pci/bus.h"

namespace causeway::drm {

class Driver {
 public:
  Driver(kernel::Tree& tree, pci::Bus& bus, ipc::MemoryTable& memories, kernel::RefusalLog& refusals)
      : tree_(tree), bus_(bus), memories_(memories), refusals_(refusals) {}

  // errors: those of DrmDevice and Tree.
  Status AddDevice(uint64_t vram_bytes, const pci::Function& function);

  // For `causeway ps`.
  struct DeviceReport {
    std::string name, node, bdf;
    uint64_t vram_bytes = 0, used_bytes = 0;
  };
  std::vector<DeviceReport> Report() const;
  DrmDevice& device(size_t n) { return *devices_.at(n).device; }

 private:
  struct Entry {
    uint32_t minor;
    std::unique_ptr<DrmDevice> device;
  };
  Status AddToTree(const Entry& entry);

  kernel::Tree& tree_;
  pci::Bus& bus_;
  ipc::MemoryTable& memories_;
  kernel::RefusalLog& refusals_;
  uint32_t next_minor_ = 128;
  std::vector<Entry> devices_;  // filled before the first program connects
};

}  // namespace causeway::drm
