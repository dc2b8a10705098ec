// SPDX-License-Identifier: Apache-2.0
// From a checked MachineConfig to PCI functions: which ids and BARs each kind of device has.
#include "base/checked.h"
#include "base/result.h"
#include "config/config.h"

namespace causeway::config {
namespace {

constexpr uint16_t kHabanaVendor = 0x1da3;

// linux drivers/accel/habanalabs/common/habanalabs_drv.c ids[]; BARs as the boards have them: Gaudi SRAM, CFG, HBM;
// Gaudi2 SRAM + CFG, MSI-X, DRAM.
pci::FunctionSpec AcceleratorFunction(const Accelerator& accelerator) {
  const bool gaudi2 = accelerator.type == AcceleratorType::kGaudi2;
  const uint16_t device = gaudi2 ? 0x1020 : 0x1000;
  pci::FunctionSpec function;
  function.name = accelerator.name;
  function.at = accelerator.at;
  function.identity = {.vendor = kHabanaVendor,
                       .device = device,
                       .subsystem_vendor = kHabanaVendor,
                       .subsystem_device = device,
                       .revision = static_cast<uint8_t>(gaudi2 ? 1 : 0),  // 1: GAUDI2, 2: GAUDI2B, ...
                       .class_code = 0x120000};                           // processing accelerator
  function.bars[0] = {.size = (gaudi2 ? 256 : 64) * kMiB, .prefetchable = true};
  function.bars[2] = {.size = gaudi2 ? 16 * 1024 : 128 * kMiB, .prefetchable = true};
  function.bars[4] = {.size = accelerator.bar_size, .prefetchable = true};
  function.link = accelerator.link;
  return function;
}

// The NIC is no product: its RDMA personality is rxe, which has no PCI device at all. So it has an id that no driver
// and no data base claims to know a part by: vendor 0x1234, which emulators have used for their own inventions since
// Bochs, with a device number of ours. Class Ethernet, so that lspci and hwloc show a NIC.
pci::FunctionSpec NicFunction(const Nic& nic) {
  pci::FunctionSpec function;
  function.name = nic.name;
  function.at = nic.at;
  function.identity = {.vendor = 0x1234,
                       .device = 0xca05,
                       .subsystem_vendor = 0x1234,
                       .subsystem_device = 0xca05,
                       .revision = 1,
                       .class_code = 0x020000};
  function.bars[0] = {.size = 64 * 1024, .prefetchable = true};  // doorbells
  function.link = nic.link;
  return function;
}

// No product either (see NicFunction()): amdgpu's ids would have programs look for that part's engines. Class "display
// controller, other": no VGA, no screen.
pci::FunctionSpec GpuFunction(const Gpu& gpu) {
  pci::FunctionSpec function;
  function.name = gpu.name;
  function.at = gpu.at;
  function.identity = {.vendor = 0x1234,
                       .device = 0xca06,
                       .subsystem_vendor = 0x1234,
                       .subsystem_device = 0xca06,
                       .revision = 1,
                       .class_code = 0x038000};
  function.bars[0] = {.size = gpu.vram, .prefetchable = true};
  function.link = gpu.link;
  return function;
}

}  // namespace

uint64_t HbmBytes(const Accelerator& accelerator) {
  return accelerator.hbm_stacks * (accelerator.type == AcceleratorType::kGaudi2 ? 16 : 8) * kGiB;
}

uint64_t NicMac(const MachineConfig& config, const Nic& nic) {
  if (nic.mac) return *nic.mac;
  // FNV-1a over both names, with a zero byte between; 24 bits of it after a prefix with the "locally administered" bit.
  uint32_t hash = 2166136261U;
  const auto mix = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619U;
    hash *= 16777619U;
  };
  mix(config.name);
  mix(nic.name);
  return 0x02'ca05'000000ULL | ((hash >> 8 ^ hash) & 0xffffff);
}

pci::TopologySpec DescribeTopology(const MachineConfig& config) {
  pci::TopologySpec spec;
  spec.iommu = config.iommu;
  spec.amd_zen = config.amd_zen;
  for (const HostBridge& row : config.host_bridges)
    spec.host_bridges.push_back({row.name, row.vendor, row.device, row.numa_node});
  for (const RootPort& row : config.root_ports) spec.root_ports.push_back({row.name, row.on, row.acs, row.link});
  for (const Switch& row : config.switches) spec.switches.push_back({row.name, row.on, row.ports, row.acs, row.link});
  for (const Accelerator& row : config.accelerators) spec.functions.push_back(AcceleratorFunction(row));
  for (const Nic& row : config.nics) spec.functions.push_back(NicFunction(row));
  for (const Gpu& row : config.gpus) spec.functions.push_back(GpuFunction(row));
  return spec;
}

std::unique_ptr<pci::Topology> BuildTopology(const MachineConfig& config) {
  auto topology = pci::Topology::Build(DescribeTopology(config));
  CW_INVARIANT(topology);
  return std::move(*topology);
}

}  // namespace causeway::config
