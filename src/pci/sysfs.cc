// SPDX-License-Identifier: Apache-2.0
#include "pci/sysfs.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace causeway::pci {
namespace {

// include/linux/ioport.h IORESOURCE_*.
constexpr uint64_t kResourceMem = 0x200;
constexpr uint64_t kResourcePrefetch = 0x2000;
constexpr uint64_t kResourceSizeAlign = 0x40000;
constexpr uint64_t kResourceMem64 = 0x100000;
// BAR and window register type bits, kept in the flags' low byte.
constexpr uint64_t kBarMem64 = 0x4;
constexpr uint64_t kBarPrefetch = 0x8;
constexpr uint64_t kWindow64 = 0x1;

// Lines of `resource` (include/linux/pci.h): six BARs, ROM, six of SR-IOV; bridges have four windows more, the third of
// them the prefetchable one.
constexpr size_t kDeviceResources = 13;
constexpr size_t kBridgeResources = 17;
constexpr size_t kPrefetchWindow = 15;

struct Resource {
  uint64_t start = 0, end = 0, flags = 0;
};

// What one device's files say, whichever kind it is.
struct Description {
  Identity identity;
  std::vector<Resource> resources;
  int numa_node = -1;
  const Link* link = nullptr;  // nullptr: not a PCIe device
  const Bridge* bridge = nullptr;
  const Function* function = nullptr;
  std::string driver;
};

// The root ports and switches themselves: ids of parts whose P2P behaviour the model has, so that lspci has a name for
// them. Nothing decides by these.
Identity BridgeIdentity(const Bridge& bridge) {
  Identity identity{.class_code = 0x060400};  // PCI-to-PCI bridge, normal decode
  if (bridge.kind() != Bridge::Kind::kRootPort) {
    identity.vendor = 0x10b5;  // PLX PEX 8747 switch
    identity.device = 0x8747;
  } else if (bridge.host_bridge().vendor() == 0x1022) {
    identity.vendor = 0x1022;  // AMD Zen GPP bridge
    identity.device = 0x1453;
  } else {
    identity.vendor = 0x8086;  // Sky Lake-E root port A
    identity.device = 0x2030;
  }
  return identity;
}

std::string HostFolder(const HostBridge& host) {
  return fmt::format("/sys/devices/pci{:04x}:{:02x}", host.domain(), host.bus());
}

std::string BridgePath(const Bridge& bridge) {
  const std::string parent =
      bridge.upstream() != nullptr ? BridgePath(*bridge.upstream()) : HostFolder(bridge.host_bridge());
  return parent + "/" + bridge.bdf().ToString();
}

// cpumask and cpulist of the host: the model has no processors of its own, and programs pin threads by these.
std::string CpuMask() {
  const long online = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  std::string text;
  for (long word = (online - 1) / 32; word >= 0; --word) {
    const long bits = std::min(32L, online - word * 32);
    const uint32_t mask = bits == 32 ? 0xffffffffU : (1U << bits) - 1;
    // bitmap_print_to_pagebuf(): groups of 32 bits, leading group without zeros.
    text += text.empty() ? fmt::format("{:x}", mask) : fmt::format(",{:08x}", mask);
  }
  return text + "\n";
}

std::string CpuList() {
  const long online = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  return online == 1 ? "0\n" : fmt::format("0-{}\n", online - 1);
}

// drivers/pci/probe.c pci_speed_string().
std::string Speed(const Link& link) {
  constexpr std::string_view kSpeeds[] = {"2.5 GT/s PCIe",  "5.0 GT/s PCIe",  "8.0 GT/s PCIe",
                                          "16.0 GT/s PCIe", "32.0 GT/s PCIe", "64.0 GT/s PCIe"};
  return link.generation >= 1 && link.generation <= 6 ? fmt::format("{}\n", kSpeeds[link.generation - 1]) : "Unknown\n";
}

Resource ResourceOf(const Bar& bar) {
  if (bar.size == 0) return {};
  uint64_t flags = kResourceMem | kResourceSizeAlign;
  if (bar.is_64bit) flags |= kResourceMem64 | kBarMem64;
  if (bar.prefetchable) flags |= kResourcePrefetch | kBarPrefetch;
  return {bar.base, bar.base + bar.size - 1, flags};
}

// The first 64 bytes of configuration space, which is what any user may read (pci_read_config()).
std::string ConfigHeader(const Description& device) {
  std::array<uint8_t, 64> bytes{};
  const auto put = [&bytes](size_t offset, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; ++i) bytes[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  };
  const Identity& id = device.identity;
  put(0x00, id.vendor, 2);
  put(0x02, id.device, 2);
  put(0x04, device.bridge != nullptr || device.function != nullptr ? 0x0406 : 0x0002, 2);  // memory, master, no INTx
  put(0x08, id.revision, 1);
  put(0x09, id.class_code, 3);
  if (device.bridge != nullptr) {
    put(0x0e, 1, 1);  // header type 1
    put(0x18, device.bridge->bdf().bus, 1);
    put(0x19, device.bridge->secondary(), 1);
    put(0x1a, device.bridge->subordinate(), 1);
    put(0x1c, 0x00f0, 2);      // I/O window closed: base above limit
    put(0x20, 0x0000fff0, 4);  // memory window closed
    const Resource window = device.resources[kPrefetchWindow];
    if (window.flags != 0) {
      put(0x24, ((window.start >> 16) & 0xfff0) | kWindow64, 2);
      put(0x26, ((window.end >> 16) & 0xfff0) | kWindow64, 2);
      put(0x28, window.start >> 32, 4);
      put(0x2c, window.end >> 32, 4);
    } else {
      put(0x24, 0x0001fff1, 4);
    }
  } else {
    for (unsigned n = 0; device.function != nullptr && n < 6; ++n) {
      const Bar& bar = device.function->bar(n);
      if (bar.size == 0) continue;
      const uint64_t type = (bar.is_64bit ? kBarMem64 : 0) | (bar.prefetchable ? kBarPrefetch : 0);
      put(0x10 + 4 * size_t{n}, bar.base | type, bar.is_64bit ? 8 : 4);
    }
    put(0x2c, id.subsystem_vendor, 2);
    put(0x2e, id.subsystem_device, 2);
  }
  return std::string(bytes.begin(), bytes.end());
}

std::vector<SysfsAttribute> Attributes(const Description& device, Bdf bdf) {
  const Identity& id = device.identity;
  // modalias_show().
  const std::string modalias = fmt::format("pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}", id.vendor,
                                           id.device, id.subsystem_vendor, id.subsystem_device,
                                           id.class_code >> 16 & 0xff, id.class_code >> 8 & 0xff, id.class_code & 0xff);
  std::string resource;
  for (const Resource& line : device.resources) {
    resource += fmt::format("0x{:016x} 0x{:016x} 0x{:016x}\n", line.start, line.end, line.flags);
  }
  // pci_uevent(), with what drivers/base/core.c dev_uevent() puts first.
  std::string uevent = device.driver.empty() ? "" : fmt::format("DRIVER={}\n", device.driver);
  uevent += fmt::format(
      "PCI_CLASS={:04X}\nPCI_ID={:04X}:{:04X}\nPCI_SUBSYS_ID={:04X}:{:04X}\nPCI_SLOT_NAME={}\nMODALIAS={}\n",
      id.class_code, id.vendor, id.device, id.subsystem_vendor, id.subsystem_device, bdf.ToString(), modalias);
  std::vector<SysfsAttribute> list = {
      {"ari_enabled", "0\n"},
      {"broken_parity_status", "0\n"},
      {"class", fmt::format("0x{:06x}\n", id.class_code)},
      {"config", ConfigHeader(device)},
      {"consistent_dma_mask_bits", "64\n"},
      {"d3cold_allowed", "1\n"},
      {"device", fmt::format("0x{:04x}\n", id.device)},
      {"dma_mask_bits", "64\n"},
      {"driver_override", "(null)\n"},
      {"enable", "1\n"},
      {"irq", "0\n"},
      {"local_cpulist", CpuList()},
      {"local_cpus", CpuMask()},
      {"modalias", modalias + "\n"},
      {"msi_bus", "1\n"},
      {"numa_node", fmt::format("{}\n", device.numa_node)},
      {"power_state", "D0\n"},
      {"resource", resource},
      {"revision", fmt::format("0x{:02x}\n", id.revision)},
      {"subsystem_device", fmt::format("0x{:04x}\n", id.subsystem_device)},
      {"subsystem_vendor", fmt::format("0x{:04x}\n", id.subsystem_vendor)},
      {"uevent", uevent},
      {"vendor", fmt::format("0x{:04x}\n", id.vendor)},
  };
  if (device.link != nullptr) {
    list.push_back({"current_link_speed", Speed(*device.link)});
    list.push_back({"current_link_width", fmt::format("{}\n", device.link->width)});
    list.push_back({"max_link_speed", Speed(*device.link)});
    list.push_back({"max_link_width", fmt::format("{}\n", device.link->width)});
  }
  if (device.bridge != nullptr) {
    list.push_back({"secondary_bus_number", fmt::format("{}\n", device.bridge->secondary())});
    list.push_back({"subordinate_bus_number", fmt::format("{}\n", device.bridge->subordinate())});
  }
  return list;
}

SysfsDevice DescribeHost(const HostBridge& host) {
  Description device;
  device.identity = {.vendor = host.vendor(), .device = host.device(), .class_code = 0x060000};
  device.resources.resize(kDeviceResources);
  device.numa_node = host.numa_node();
  return {HostFolder(host) + "/" + host.bdf().ToString(), host.bdf(), nullptr, Attributes(device, host.bdf())};
}

SysfsDevice DescribeBridge(const Bridge& bridge) {
  Description device;
  device.identity = BridgeIdentity(bridge);
  device.resources.resize(kBridgeResources);
  if (bridge.window_size() != 0) {
    device.resources[kPrefetchWindow] = {bridge.window_base(), bridge.window_base() + bridge.window_size() - 1,
                                         kResourceMem | kResourcePrefetch | kResourceMem64 | kWindow64};
  }
  device.numa_node = bridge.host_bridge().numa_node();
  device.link = &bridge.link();
  device.bridge = &bridge;
  device.driver = "pcieport";
  return {BridgePath(bridge), bridge.bdf(), nullptr, Attributes(device, bridge.bdf())};
}

}  // namespace

std::string SysfsDevice::BusLinkTarget() const { return "../../../" + path.substr(std::strlen("/sys/")); }

std::string SysfsPath(const Topology& topology, const Function& function) {
  const std::string parent =
      function.upstream() != nullptr ? BridgePath(*function.upstream()) : HostFolder(topology.HostBridgeOf(function));
  return parent + "/" + function.bdf().ToString();
}

SysfsDevice DescribeFunction(const Topology& topology, const Function& function, std::string_view driver) {
  Description device;
  device.identity = function.identity();
  device.resources.resize(kDeviceResources);
  for (unsigned n = 0; n < 6; ++n) device.resources[n] = ResourceOf(function.bar(n));
  device.numa_node = function.numa_node();
  device.link = &topology.LinkOf(function);
  device.function = &function;
  device.driver = driver;
  return {SysfsPath(topology, function), function.bdf(), &function, Attributes(device, function.bdf())};
}

std::vector<SysfsDevice> DescribeTree(const Topology& topology) {
  std::vector<SysfsDevice> devices;
  for (const HostBridge* host : topology.host_bridges()) devices.push_back(DescribeHost(*host));
  for (const Bridge* bridge : topology.bridges()) devices.push_back(DescribeBridge(*bridge));
  for (const Function* function : topology.functions()) devices.push_back(DescribeFunction(topology, *function));
  // By address, as the kernel finds them; the bridges above a device have lower bus numbers, so they come first.
  std::stable_sort(devices.begin(), devices.end(),
                   [](const SysfsDevice& a, const SysfsDevice& b) { return a.bdf < b.bdf; });
  return devices;
}

}  // namespace causeway::pci
