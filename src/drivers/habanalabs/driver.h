// SPDX-License-Identifier: Apache-2.0
// The habanalabs driver: binds to accelerators, makes their nodes and sysfs folders. Memory side only: no command
// buffer or command submission yet, so those ioctl numbers answer as unknown ones do.
//
//   habanalabs::Driver driver(tree, bus, memories, refusals);
//   driver.AddDevice({.flavour = Flavour::kAccel, .hbm_stacks = 6, .module_id = 0, .serial = "..."}, *function);
//
// Everything passed in outlives the driver, and the driver outlives every file (tree nodes and open files refer to it).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "drivers/habanalabs/device.h"
#include "ipc/memory_table.h"
#include "kernel/refusals.h"
#include "kernel/tree.h"
#include "pci/bus.h"

namespace causeway::habanalabs {

struct NodeNames;

struct DeviceSpec {
  Flavour flavour = Flavour::kAccel;
  uint32_t hbm_stacks = 6;  // Gaudi2: 6, or 5 with one binned
  uint32_t module_id = 0;   // 0..7
  std::string serial;
};

// Device numbers. Dynamic majors come from the low end of the kernel's extended dynamic range (384..511), which it
// hands out from the top. Flavour drm has ACCEL_MAJOR for compute nodes.
constexpr uint32_t kAccelMajor = 386;       // flavour accel
constexpr uint32_t kMiscMajor = 385;        // flavour misc
constexpr uint32_t kDrmControlMajor = 384;  // flavour drm, control nodes
constexpr uint32_t kDrmAccelMajor = 261;    // flavour drm, compute nodes

class Driver {
 public:
  // `work`: for tests; nullptr: a thread of the driver's own.
  Driver(kernel::Tree& tree, pci::Bus& bus, ipc::MemoryTable& memories, kernel::RefusalLog& refusals,
         WorkQueue* work = nullptr);
  ~Driver();

  // hl_pci_probe(): which ASIC it is follows from the function's device id. Devices are numbered in this order,
  // flavours accel and drm together. errors: ENODEV no such device, or a revision that the flavour's kernel does not
  // know; those of Board and Tree.
  Status AddDevice(const DeviceSpec& spec, const pci::Function& function);

  // For `causeway ps`.
  std::vector<DeviceReport> Report() const;
  HlDevice& device(size_t n) { return *devices_.at(n); }
  size_t device_count() const { return devices_.size(); }

 private:
  Status AddToTree(const NodeNames& names, uint32_t index, const pci::Function& function, HlDevice& device);

  kernel::Tree& tree_;
  pci::Bus& bus_;
  ipc::MemoryTable& memories_;
  kernel::RefusalLog& refusals_;
  uint32_t next_accel_ = 0, next_misc_ = 0;
  uint32_t next_hwmon_;
  std::set<std::string> claimed_;
  std::vector<std::unique_ptr<HlDevice>> devices_;  // filled before the first program connects
  std::unique_ptr<WorkQueue> own_work_;             // after the devices: its work ends before they do
  WorkQueue& work_;
};

}  // namespace causeway::habanalabs
