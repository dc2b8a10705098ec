// SPDX-License-Identifier: Apache-2.0
// A small computer for unit tests: a Gaudi2, a Gaudi and a NIC below one switch, and a NIC ("far") below a root complex
// that the kernel's peer-to-peer whitelist does not know.
//
//   pc0 -- rp0 -- sw0 -- gaudi2_0, gaudi_0, nic0        pc1 (unknown) -- rp1 -- far
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "devices/gaudi/address_map.h"
#include "ipc/memory_table.h"
#include "pci/bus.h"
#include "pci/topology.h"

namespace causeway::gaudi {

class FakeMachine {
 public:
  explicit FakeMachine(pci::IommuMode iommu = pci::IommuMode::kOff, uint64_t gaudi2_bar4 = 128 * kGiB,
                       uint64_t gaudi_bar4 = 32 * kGiB, uint16_t gaudi_device = kDeviceGaudi)
      : bus_map_(std::make_unique<pci::BusMap>()) {
    pci::TopologySpec spec;
    spec.iommu = iommu;
    spec.host_bridges = {{.name = "pc0"}, {.name = "pc1", .vendor = 0x1234, .device = 0x5678}};
    spec.root_ports = {{.name = "rp0", .on = "pc0", .acs = {}, .link = {}},
                       {.name = "rp1", .on = "pc1", .acs = {}, .link = {}}};
    spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1", "sw0.2"}, .acs = {}, .link = {}}};
    const auto accelerator = [](std::string name, std::string at, uint16_t device, uint8_t revision, Asic asic,
                                uint64_t bar4) {
      pci::FunctionSpec function;
      function.name = std::move(name);
      function.at = std::move(at);
      function.identity = {.vendor = kVendor, .device = device, .revision = revision, .class_code = kClassCode};
      function.bars[kSramBar] = {.size = MapOf(asic).bar0_size, .prefetchable = true};
      function.bars[kCfgBar] = {.size = MapOf(asic).bar2_size, .prefetchable = true};
      function.bars[kHbmBar] = {.size = bar4, .prefetchable = true};
      return function;
    };
    spec.functions.push_back(accelerator("gaudi2_0", "sw0.0", kDeviceGaudi2, 1, Asic::kGaudi2, gaudi2_bar4));
    spec.functions.push_back(accelerator("gaudi_0", "sw0.1", gaudi_device, 0, Asic::kGaudi, gaudi_bar4));
    for (const auto& [name, at] : {std::pair("nic0", "sw0.2"), std::pair("far", "rp1")}) {
      pci::FunctionSpec function;
      function.name = name;
      function.at = at;
      function.identity = {.vendor = 0x15b3, .device = 0x101d, .class_code = 0x020000};
      spec.functions.push_back(function);
    }
    std::string reason;
    auto built = pci::Topology::Build(spec, &reason);
    if (!built) {
      std::fprintf(stderr, "FakeMachine: %s\n", reason.c_str());
      std::abort();
    }
    topology_ = std::move(*built);
    bus_ = std::make_unique<pci::Bus>(*topology_, *bus_map_);
  }

  pci::Topology& topology() { return *topology_; }
  pci::Bus& bus() { return *bus_; }
  pci::BusMap& bus_map() { return *bus_map_; }
  ipc::MemoryTable& memories() { return memories_; }
  pci::Function& gaudi2() { return *topology_->FindFunction("gaudi2_0"); }
  pci::Function& gaudi() { return *topology_->FindFunction("gaudi_0"); }
  pci::Function& nic() { return *topology_->FindFunction("nic0"); }
  pci::Function& far() { return *topology_->FindFunction("far"); }

 private:
  std::unique_ptr<pci::BusMap> bus_map_;
  std::unique_ptr<pci::Topology> topology_;
  std::unique_ptr<pci::Bus> bus_;
  ipc::MemoryTable memories_;
};

}  // namespace causeway::gaudi
