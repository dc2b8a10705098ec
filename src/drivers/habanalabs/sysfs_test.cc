// SPDX-License-Identifier: Apache-2.0
// Nodes and attributes of each flavour: linux drivers/accel/habanalabs/common/sysfs.c, and what hl-thunk reads.
#include "drivers/habanalabs/sysfs.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

std::string AttributeFolder(const Harness& harness, Flavour flavour) {
  const std::string folder = "/sys/class/" + harness.names.device_class + "/" + harness.names.name;
  return flavour == Flavour::kDrm ? folder + "/device" : folder;
}

TEST(HlSysfs, FixedAttributesOfEveryFlavour) {
  for (const Flavour flavour : kEveryFlavour) {
    SCOPED_TRACE(ToString(flavour));
    Harness harness({.flavour = flavour});
    const std::string folder = AttributeFolder(harness, flavour);
    EXPECT_EQ(harness.Content(folder + "/pci_addr"), harness.machine.gaudi2().bdf().ToString() + "\n");
    EXPECT_EQ(harness.Content(folder + "/device_type"), "GAUDI2\n");
    EXPECT_EQ(harness.Content(folder + "/security_enabled"), "0\n");
    EXPECT_EQ(harness.Content(folder + "/vrm_ver"), "0x64\n");
    EXPECT_EQ(harness.Content(folder + "/cpld_ver"),
              flavour == Flavour::kMisc ? "0x00000010\n" : "0x0000000000000010\n");
    EXPECT_TRUE(harness.Content(folder + "/preboot_btl_ver").starts_with("1.11.0"));
    for (const char* name : {"uboot_ver", "cpucp_ver", "armcp_ver", "cpucp_kernel_ver", "armcp_kernel_ver", "fw_os_ver",
                             "thermal_ver", "fuse_ver"}) {
      EXPECT_TRUE(harness.Content(folder + "/" + name).ends_with('\n')) << name;
    }
    EXPECT_EQ(harness.Content(folder + "/module_id"), flavour == Flavour::kDrm ? "3\n" : "");
    EXPECT_FALSE(harness.Exists(folder + "/infineon_ver"));
    EXPECT_FALSE(harness.Exists(folder + "/soft_reset"));
    EXPECT_EQ(harness.Content(folder + "/eeprom").size(), 4096u);
    // Control devices have no attributes.
    const std::string control = "/sys/class/" + harness.names.device_class + "/" + harness.names.control_name;
    EXPECT_TRUE(harness.Exists(control + "/dev"));
    EXPECT_FALSE(harness.Exists(control + "/pci_addr"));
  }
}

TEST(HlSysfs, GaudiHasItsOwnNames) {
  Harness harness({.asic = gaudi::Asic::kGaudi, .flavour = Flavour::kMisc});
  EXPECT_EQ(harness.Content("/sys/class/habanalabs/hl0/device_type"), "GAUDI\n");
  EXPECT_EQ(harness.Content("/sys/class/habanalabs/hl0/infineon_ver"), "0x64\n");
  EXPECT_FALSE(harness.Exists("/sys/class/habanalabs/hl0/vrm_ver"));
}

// hlthunk_open_by_module_id(), hlthunk_get_pci_bus_id_from_fd(): MAJ:(control minor - 1) leads to pci_addr.
TEST(HlSysfs, HlThunkFindsTheBusIdThroughTheControlNode) {
  for (const Flavour flavour : {Flavour::kAccel, Flavour::kMisc}) {
    Harness harness({.flavour = flavour});
    const std::string dev =
        harness.Content("/sys/class/" + harness.names.device_class + "/" + harness.names.control_name + "/dev");
    unsigned major = 0, minor = 0;
    ASSERT_EQ(std::sscanf(dev.c_str(), "%u:%u", &major, &minor), 2);
    EXPECT_EQ(harness.Content("/sys/dev/char/" + std::to_string(major) + ":" + std::to_string(minor - 1) + "/pci_addr"),
              harness.machine.gaudi2().bdf().ToString() + "\n");
  }
}

TEST(HlSysfs, NumbersAndNodesAgree) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    const ipc::NodeEntry* node = harness.Find(harness.names.node());
    ASSERT_NE(node, nullptr);
    EXPECT_EQ(node->kind, ipc::NodeEntry::kCharDevice);
    EXPECT_EQ(harness.Content("/sys/class/" + harness.names.device_class + "/" + harness.names.name + "/dev"),
              std::to_string(node->rdev_major) + ":" + std::to_string(node->rdev_minor) + "\n");
    const ipc::NodeEntry* control = harness.Find(harness.names.control_node());
    ASSERT_NE(control, nullptr);
    EXPECT_EQ(control->rdev_minor, flavour == Flavour::kDrm ? node->rdev_minor : node->rdev_minor + 1);
    EXPECT_TRUE(harness.Exists("/sys/dev/char/" + std::to_string(node->rdev_major) + ":" +
                               std::to_string(node->rdev_minor) + "/subsystem/" + harness.names.name));
  }
}

TEST(HlSysfs, LiveAttributes) {
  Harness harness;
  const std::string folder = AttributeFolder(harness, Flavour::kAccel);
  const auto show = [&](const char* name) -> std::string {
    const ipc::NodeEntry* node = harness.Find(folder + "/" + name);
    if (node == nullptr) return "absent";
    const auto text = harness.tree().Show(node->node_id);
    return text ? *text : "errno " + std::to_string(text.error().code());
  };
  EXPECT_EQ(show("status"), "Operational\n");
  EXPECT_EQ(show("clk_max_freq_mhz"), "1650\n");
  EXPECT_EQ(show("clk_cur_freq_mhz"), "1650\n");
  EXPECT_EQ(show("max_power"), "600000\n");
  EXPECT_EQ(show("hard_reset_cnt"), "0\n");
  EXPECT_EQ(show("hard_reset"), "errno " + std::to_string(EIO));  // write only
  harness.device().set_status(uapi::kHlStatusInReset);
  EXPECT_EQ(show("status"), "In reset\n");
  EXPECT_EQ(show("max_power"), "errno " + std::to_string(ENODEV));
  EXPECT_EQ(show("clk_cur_freq_mhz"), "errno " + std::to_string(ENODEV));
}

// max_power_store(): kstrtoul(buf, 0, &value).
TEST(HlSysfs, StoreErrnoTable) {
  Harness harness;
  const std::string path = AttributeFolder(harness, Flavour::kAccel) + "/max_power";
  const auto write = [&](std::string_view text) {
    auto file = harness.OpenPath(path);
    if (!file) return file.error().code();
    CW_INVARIANT(harness.task.user.CopyTo(kUserOut, std::as_bytes(std::span(text.data(), text.size()))).has_value());
    const auto written = (*file)->WriteAt(harness.task, kUserOut, text.size(), -1);
    return written ? 0 : written.error().code();
  };
  const struct {
    std::string_view text;
    int want;
    uint64_t value;
  } cases[] = {
      {"500000\n", 0, 500000},
      {"0x1000", 0, 4096},
      {"010", 0, 8},
      {"+7", 0, 7},
      {"0", 0, 0},
      {"", EINVAL, 0},
      {"\n", EINVAL, 0},
      {"-1", EINVAL, 0},
      {"12 ", EINVAL, 0},
      {"0x", EINVAL, 0},
      {"09", EINVAL, 0},
      {"99999999999999999999999", EINVAL, 0},
  };
  for (const auto& c : cases) {
    if (c.text.empty()) continue;  // write(2) of nothing does not reach store()
    EXPECT_EQ(write(c.text), c.want) << c.text;
    if (c.want == 0) {
      EXPECT_EQ(*harness.device().SendCpuMessage({.opcode = gaudi::CpucpOpcode::kMaxPowerGet}), c.value);
    }
  }
  harness.device().set_status(uapi::kHlStatusMalfunction);
  EXPECT_EQ(write("1"), ENODEV);
}

// hard_reset_store(): any number; the reset itself runs later.
TEST(HlSysfs, HardReset) {
  Harness harness;
  auto file = *harness.OpenPath(AttributeFolder(harness, Flavour::kAccel) + "/hard_reset", O_WRONLY);
  for (const auto& [text, want] : {std::pair(std::string_view("x"), EINVAL), {"0", 0}}) {
    CW_INVARIANT(harness.task.user.CopyTo(kUserOut, std::as_bytes(std::span(text.data(), text.size()))).has_value());
    const auto written = file->WriteAt(harness.task, kUserOut, text.size(), -1);
    EXPECT_EQ(written ? 0 : written.error().code(), want);
    EXPECT_EQ(harness.device().status(), want == 0 ? uapi::kHlStatusInReset : uapi::kHlStatusOperational);
  }
  harness.work.Advance(std::chrono::seconds(0));
  EXPECT_EQ(harness.device().reset_count().hard, 1u);
}

TEST(HlSysfs, PathsOfEachFlavourAreClaimed) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    std::vector<std::string> claims;
    for (uint32_t i = 0; i < harness.header().claim_count; ++i) claims.emplace_back(harness.header().claims[i]);
    EXPECT_EQ(std::ranges::count(claims, flavour == Flavour::kMisc ? "/dev/hl*" : "/dev/accel"), 1);
    EXPECT_EQ(std::ranges::count(claims, "/sys/class/" + harness.names.device_class), 1);
  }
}

}  // namespace
}  // namespace causeway::habanalabs
