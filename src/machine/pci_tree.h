// SPDX-License-Identifier: Apache-2.0
// /sys/devices/pci*, /sys/bus/pci and their links: the PCI side of a machine as lspci, hwloc and UCX read it.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "kernel/tree.h"
#include "pci/topology.h"

namespace causeway::machine {

// Name of the driver bound to a function, "" for none.
using DriverOf = std::function<std::string(const pci::Function&)>;

Status FillPciTree(kernel::Tree& tree, const pci::Topology& topology, const DriverOf& driver_of);

}  // namespace causeway::machine
