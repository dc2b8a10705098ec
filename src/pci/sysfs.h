// SPDX-License-Identifier: Apache-2.0
// What sysfs says of the tree: /sys/devices/pci0000:00/... as text, with which lspci, hwloc and UCX draw and measure
// it. Contents are those of linux v6.1 drivers/pci/pci-sysfs.c; the machine writes them into its tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pci/topology.h"

namespace causeway::pci {

struct SysfsAttribute {
  std::string name;     // "vendor"
  std::string content;  // as read(2) gives it; "config" is binary
  uint32_t mode = 0444;
};

struct SysfsDevice {
  std::string path;  // "/sys/devices/pci0000:00/0000:00:01.0"; parents come first in DescribeTree()
  Bdf bdf;
  const Function* function = nullptr;  // nullptr: a bridge or a root complex's own device
  std::vector<SysfsAttribute> attributes;

  // Where /sys/bus/pci/devices/<bdf> points: "../../../devices/pci0000:00/0000:00:01.0".
  std::string BusLinkTarget() const;
};

// A function's folder. Absolute, without a trailing slash.
std::string SysfsPath(const Topology& topology, const Function& function);

// One function. `driver` becomes uevent's DRIVER= line; "": not bound.
SysfsDevice DescribeFunction(const Topology& topology, const Function& function, std::string_view driver = "");

// Root complexes, bridges (driver pcieport) and functions, by address; functions without a driver.
std::vector<SysfsDevice> DescribeTree(const Topology& topology);

}  // namespace causeway::pci
