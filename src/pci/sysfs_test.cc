// SPDX-License-Identifier: Apache-2.0
// What linux v6.1 drivers/pci/pci-sysfs.c shows; formats as on a machine with real devices.
#include "pci/sysfs.h"

#include <gtest/gtest.h>

#include <set>

namespace causeway::pci {
namespace {

std::unique_ptr<Topology> Build() {
  TopologySpec spec;
  spec.host_bridges = {{.name = "pc0"}, {.name = "pc1", .vendor = 0x1022, .device = 0x1450, .numa_node = 1}};
  spec.root_ports = {{.name = "rp0", .on = "pc0", .acs = {}, .link = {}},
                     {.name = "rp1", .on = "pc1", .acs = {}, .link = {}}};
  spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1"}, .acs = {}, .link = {}}};
  FunctionSpec gaudi;
  gaudi.name = "gaudi0";
  gaudi.at = "sw0.0";
  gaudi.identity = {.vendor = 0x1da3,
                    .device = 0x1020,
                    .subsystem_vendor = 0x1da3,
                    .subsystem_device = 0x1021,
                    .revision = 1,
                    .class_code = 0x120000};
  gaudi.bars[0] = {.size = 256 << 20, .prefetchable = true};
  gaudi.bars[2] = {.size = 16 << 10, .prefetchable = false};
  gaudi.bars[4] = {.size = uint64_t{128} << 30, .prefetchable = true};
  FunctionSpec nic;
  nic.name = "rxe0";
  nic.at = "rp1";
  nic.link = {.generation = 5, .width = 8};
  spec.functions = {gaudi, nic};
  return std::move(*Topology::Build(spec));
}

std::string Read(const SysfsDevice& device, std::string_view name) {
  for (const SysfsAttribute& attribute : device.attributes) {
    if (attribute.name == name) return attribute.content;
  }
  return "(absent)";
}

uint64_t Le(const std::string& bytes, size_t offset, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes.at(offset + i));
  return value;
}

TEST(PciSysfs, AFunctionsFiles) {
  const auto topology = Build();
  const SysfsDevice device = DescribeFunction(*topology, *topology->FindFunction("gaudi0"), "habanalabs");
  EXPECT_EQ(device.path, "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0/0000:03:00.0");
  EXPECT_EQ(device.BusLinkTarget(), "../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0/0000:03:00.0");
  EXPECT_EQ(SysfsPath(*topology, *topology->FindFunction("gaudi0")), device.path);
  const struct {
    const char* name;
    const char* content;
  } cases[] = {
      {"vendor", "0x1da3\n"},
      {"device", "0x1020\n"},
      {"subsystem_vendor", "0x1da3\n"},
      {"subsystem_device", "0x1021\n"},
      {"class", "0x120000\n"},
      {"revision", "0x01\n"},
      {"numa_node", "0\n"},
      {"current_link_speed", "16.0 GT/s PCIe\n"},
      {"max_link_width", "16\n"},
      {"modalias", "pci:v00001DA3d00001020sv00001DA3sd00001021bc12sc00i00\n"},
      {"uevent",
       "DRIVER=habanalabs\nPCI_CLASS=120000\nPCI_ID=1DA3:1020\nPCI_SUBSYS_ID=1DA3:1021\nPCI_SLOT_NAME=0000:03:00.0\n"
       "MODALIAS=pci:v00001DA3d00001020sv00001DA3sd00001021bc12sc00i00\n"},
      {"secondary_bus_number", "(absent)"},
  };
  for (const auto& c : cases) EXPECT_EQ(Read(device, c.name), c.content) << c.name;

  const Function& gaudi = *topology->FindFunction("gaudi0");
  char line[64];
  std::snprintf(line, sizeof(line), "0x%016llx 0x%016llx 0x%016llx\n",
                static_cast<unsigned long long>(gaudi.bar(0).base),
                static_cast<unsigned long long>(gaudi.bar(0).base + (256 << 20) - 1), 0x14220cULL);
  const std::string resource = Read(device, "resource");
  EXPECT_EQ(resource.substr(0, 57), line);
  EXPECT_EQ(resource.size(), 13U * 57);
  EXPECT_NE(resource.find("0x0000000000140204\n"), std::string::npos) << "BAR2, not prefetchable";
}

TEST(PciSysfs, ConfigurationHeader) {
  const auto topology = Build();
  const Function& gaudi = *topology->FindFunction("gaudi0");
  const std::string header = Read(DescribeFunction(*topology, gaudi), "config");
  ASSERT_EQ(header.size(), 64U);
  EXPECT_EQ(Le(header, 0x00, 4), 0x10201da3U);
  EXPECT_EQ(Le(header, 0x08, 4), 0x12000001U);
  EXPECT_EQ(Le(header, 0x0e, 1), 0U);
  EXPECT_EQ(Le(header, 0x10, 8), gaudi.bar(0).base | 0xc);
  EXPECT_EQ(Le(header, 0x18, 8), gaudi.bar(2).base | 0x4);
  EXPECT_EQ(Le(header, 0x20, 8), gaudi.bar(4).base | 0xc);
  EXPECT_EQ(Le(header, 0x2c, 4), 0x10211da3U);
}

TEST(PciSysfs, BridgesCarryBusNumbersAndWindows) {
  const auto topology = Build();
  const Bridge& port = *topology->FindBridge("rp0");
  for (const SysfsDevice& device : DescribeTree(*topology)) {
    if (device.bdf != port.bdf()) continue;
    const std::string header = Read(device, "config");
    EXPECT_EQ(Le(header, 0x0e, 1), 1U);
    EXPECT_EQ(Le(header, 0x18, 3), 0x040100U) << "primary 0, secondary 1, subordinate 4";
    const uint64_t base = Le(header, 0x28, 4) << 32 | (Le(header, 0x24, 2) & 0xfff0) << 16;
    const uint64_t limit = Le(header, 0x2c, 4) << 32 | (Le(header, 0x26, 2) & 0xfff0) << 16 | 0xfffff;
    EXPECT_EQ(base, port.window_base());
    EXPECT_EQ(limit, port.window_base() + port.window_size() - 1);
    EXPECT_EQ(Read(device, "class"), "0x060400\n");
    EXPECT_EQ(Read(device, "secondary_bus_number"), "1\n");
    const std::string resource = Read(device, "resource");
    EXPECT_EQ(resource.size(), 17U * 57);
    EXPECT_EQ(resource.substr(15 * 57 + 38, 18), "0x0000000000102201") << "the prefetchable window";
    return;
  }
  FAIL() << "no root port";
}

TEST(PciSysfs, TheTreeHasParentsFirst) {
  const auto topology = Build();
  std::set<std::string> seen = {"/sys/devices/pci0000:00", "/sys/devices/pci0000:80"};
  const auto tree = DescribeTree(*topology);
  EXPECT_EQ(tree.size(), 2U + 5U + 2U);
  for (const SysfsDevice& device : tree) {
    EXPECT_TRUE(seen.contains(device.path.substr(0, device.path.rfind('/')))) << device.path;
    EXPECT_TRUE(seen.insert(device.path).second);
  }
  EXPECT_EQ(Read(tree.front(), "current_link_speed"), "(absent)") << "a root complex's own device has no link";
  EXPECT_EQ(Read(tree.front(), "class"), "0x060000\n");
}

TEST(PciSysfs, NumaNodeAndLinkAreTheDevicesOwn) {
  const auto topology = Build();
  const SysfsDevice device = DescribeFunction(*topology, *topology->FindFunction("rxe0"));
  EXPECT_EQ(Read(device, "numa_node"), "1\n");
  EXPECT_EQ(Read(device, "current_link_speed"), "32.0 GT/s PCIe\n");
  EXPECT_EQ(Read(device, "current_link_width"), "8\n");
  EXPECT_EQ(Read(device, "uevent").substr(0, 10), "PCI_CLASS=");
  EXPECT_NE(Read(device, "local_cpulist"), "(absent)");
  EXPECT_NE(Read(device, "local_cpus"), "(absent)");
}

}  // namespace
}  // namespace causeway::pci
