// SPDX-License-Identifier: Apache-2.0
// Nodes and sysfs of one accelerator, per flavour:
//
//   accel  /dev/accel/accelN, accel_controlDN   class accel        attributes in /sys/class/accel/accelN/
//   misc   /dev/hlN, hl_controlDN               class habanalabs   attributes in /sys/class/habanalabs/hlN/
//   drm    /dev/accel/accelN, accel_controlDN   class accel        attributes in the PCI function's own folder
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/habanalabs/device.h"
#include "kernel/tree.h"

namespace causeway::habanalabs {

struct NodeNumbers {
  uint32_t major = 0, minor = 0;
};

struct NodeNames {
  std::string device_class;  // "accel"
  std::string name;          // "accel0"
  std::string control_name;  // "accel_controlD0"
  std::string dev_folder;    // "/dev/accel", "/dev"
  NodeNumbers compute, control;

  std::string node() const { return dev_folder + "/" + name; }
  std::string control_node() const { return dev_folder + "/" + control_name; }
};
NodeNames NamesOf(Flavour flavour, uint32_t index);

// Paths that the machine must claim for this flavour.
std::vector<std::string> ClaimsOf(Flavour flavour);

// `function_folder` is the PCI function's folder in /sys/devices.
Status AddNodes(kernel::Tree& tree, const NodeNames& names, HlDevice& device);
Status AddSysfs(kernel::Tree& tree, const NodeNames& names, const std::string& function_folder, HlDevice& device);

}  // namespace causeway::habanalabs
