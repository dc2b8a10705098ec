// SPDX-License-Identifier: Apache-2.0
#include "machine/pci_tree.h"

#include <algorithm>

#include "pci/sysfs.h"

namespace causeway::machine {
namespace {

// "../" up to /sys, from a folder below it.
std::string UpToSys(const std::string& folder) {
  std::string up;
  for (auto slashes = std::ranges::count(folder, '/') - 1; slashes > 0; --slashes) up += "../";
  return up;
}

Status AddDevice(kernel::Tree& tree, const pci::SysfsDevice& device, const std::string& driver) {
  const std::string bdf = device.bdf.ToString();
  CW_CHECK(tree.AddFolder(device.path));
  for (const pci::SysfsAttribute& attribute : device.attributes) {
    CW_CHECK(tree.AddFile(device.path + "/" + attribute.name, attribute.content, attribute.mode));
  }
  CW_CHECK(tree.AddLink(device.path + "/subsystem", UpToSys(device.path) + "bus/pci"));
  CW_CHECK(tree.AddLink("/sys/bus/pci/devices/" + bdf, device.BusLinkTarget()));
  if (driver.empty()) return {};
  CW_CHECK(tree.AddLink(device.path + "/driver", UpToSys(device.path) + "bus/pci/drivers/" + driver));
  return tree.AddLink("/sys/bus/pci/drivers/" + driver + "/" + bdf,
                      "../" + device.BusLinkTarget());  // one folder deeper than /sys/bus/pci/devices
}

}  // namespace

Status FillPciTree(kernel::Tree& tree, const pci::Topology& topology, const DriverOf& driver_of) {
  CW_CHECK(tree.Claim("/sys/bus/pci"));
  for (const pci::HostBridge* bridge : topology.host_bridges()) {
    // "/sys/devices/pci0000:00": the root complex's folder.
    const std::string root = bridge->bdf().ToString().substr(0, 7);
    CW_CHECK(tree.Claim("/sys/devices/pci" + root));
  }
  for (const pci::SysfsDevice& device : pci::DescribeTree(topology)) {
    if (device.function != nullptr) {
      const std::string driver = driver_of(*device.function);
      CW_CHECK(AddDevice(tree, pci::DescribeFunction(topology, *device.function, driver), driver));
    } else {
      const auto uevent = std::ranges::find(device.attributes, "uevent", &pci::SysfsAttribute::name);
      const bool port = uevent != device.attributes.end() && uevent->content.starts_with("DRIVER=pcieport\n");
      CW_CHECK(AddDevice(tree, device, port ? "pcieport" : ""));
    }
  }
  return {};
}

}  // namespace causeway::machine
