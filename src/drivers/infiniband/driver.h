// SPDX-License-Identifier: Apache-2.0
// The infiniband driver of a machine: uverbs with rxe's personality over the machine's NICs. Makes the devices, their
// nodes (/dev/infiniband/uverbsN, 231:192+N) and what sysfs says of them.
//
// Life: created before NicDevices::Start() (it takes the interrupts); files are gone (the FileTable is cleared) before
// it is destroyed; the tree, the NICs and the bus outlive it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/infiniband/device.h"
#include "drivers/infiniband/net_monitor.h"
#include "kernel/tree.h"

namespace causeway::infiniband {

class Driver {
 public:
  // errors: ENODEV no such network interface; those of the tree.
  static Result<std::unique_ptr<Driver>> Create(kernel::Tree& tree, roce::NicDevices& nics, pci::Bus& bus,
                                                kernel::Readiness& readiness, const Config& config);
  ~Driver();

  // What is open, for reports: one entry per open uverbs file.
  struct ContextInfo {
    std::string device;  // "rxe0"
    pid_t pid = 0;       // who opened it
    size_t pds = 0, mrs = 0, cqs = 0, qps = 0;
  };
  std::vector<ContextInfo> Contexts() const;

  struct DeviceInfo {
    std::string name;    // "rxe0"
    std::string node;    // "/dev/infiniband/uverbs0"
    std::string netdev;  // "eth0"
    std::string node_guid;
    std::vector<std::string> gids;
    uint32_t nic = 0;  // index of NicDevices
    const pci::Function* function = nullptr;
  };
  std::vector<DeviceInfo> Devices() const;

  IbCore& core() { return *core_; }

 private:
  Driver(kernel::Tree& tree, std::unique_ptr<IbCore> core);
  void FollowNetDevices();
  void ShowChanges(IbDevice& device, const std::vector<uint32_t>& indices);

  kernel::Tree& tree_;
  const std::unique_ptr<IbCore> core_;
  std::unique_ptr<NetMonitor> monitor_;  // ends before what it changes
};

// The device's part of /sys and /dev (sysfs.cc).
Status AddToTree(kernel::Tree& tree, IbDevice& device, const std::string& function_path);
// The files of one index of a device's GID table, as the table is now; an index that has files keeps them.
Status ShowGid(kernel::Tree& tree, const IbDevice& device, const std::string& function_path, uint32_t index);
// What belongs to no device: class folders, claims.
Status AddClasses(kernel::Tree& tree);

}  // namespace causeway::infiniband
