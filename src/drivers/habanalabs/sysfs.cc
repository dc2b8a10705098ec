// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/sysfs.c, v6.1 drivers/misc/habanalabs/common/sysfs.c; the driver
// core's device_add() for folders and links.
#include "drivers/habanalabs/sysfs.h"

#include <fmt/format.h>

#include "drivers/habanalabs/driver.h"
#include "kernel/kstrto.h"
#include "kernel/task.h"

namespace causeway::habanalabs {
namespace {

// kstrtoul(text, 0, &value), of which every failure is EINVAL.
Result<uint64_t> ParseNumber(std::string_view text) {
  const auto value = kernel::Kstrtoull(text, 0);
  if (!value) return Err(EINVAL);
  return *value;
}

// "../../.." from a folder below /sys up to it.
std::string UpToSys(const std::string& folder) {
  std::string up;
  for (size_t at = folder.find('/', 1); at != std::string::npos; at = folder.find('/', at + 1))
    up += up.empty() ? ".." : "/..";
  return up;
}
std::string BelowSys(const std::string& path) { return path.substr(std::string_view("/sys/").size()); }

// What device_add() makes for a device with a number: its folder below the PCI function, links from the class and from
// /sys/dev/char, `dev`, `uevent`, `device`, `subsystem`.
Result<std::string> AddClassDevice(kernel::Tree& tree, const NodeNames& names, const std::string& function_folder,
                                   const std::string& name, NodeNumbers numbers) {
  const std::string folder = function_folder + "/" + names.device_class + "/" + name;
  const std::string dev_name = (names.dev_folder == "/dev" ? "" : names.dev_folder.substr(5) + "/") + name;
  CW_CHECK(tree.AddFolder(folder));
  CW_CHECK(tree.AddFile(folder + "/dev", fmt::format("{}:{}\n", numbers.major, numbers.minor)));
  CW_CHECK(tree.AddFile(folder + "/uevent",
                        fmt::format("MAJOR={}\nMINOR={}\nDEVNAME={}\n", numbers.major, numbers.minor, dev_name)));
  CW_CHECK(tree.AddLink(folder + "/device", "../../../" + function_folder.substr(function_folder.rfind('/') + 1)));
  CW_CHECK(tree.AddLink(folder + "/subsystem", UpToSys(folder) + "/class/" + names.device_class));
  CW_CHECK(tree.AddLink("/sys/class/" + names.device_class + "/" + name, "../../" + BelowSys(folder)));
  CW_CHECK(tree.AddLink(fmt::format("/sys/dev/char/{}:{}", numbers.major, numbers.minor), "../../" + BelowSys(folder)));
  return folder;
}

std::string CapitalisedStatus(const HlDevice& device) {
  std::string text(device.StatusName());
  text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text + "\n";
}

// Attributes that cannot change.
Status AddFixed(kernel::Tree& tree, const std::string& folder, HlDevice& device) {
  const gaudi::FirmwareInfo& firmware = device.board().firmware();
  const AsicProperties& properties = device.properties();
  const bool misc = properties.flavour == Flavour::kMisc;
  const bool drm = properties.flavour == Flavour::kDrm;
  const std::string pci_address = device.function().bdf().ToString();
  std::vector<std::pair<std::string, std::string>> files = {
      {"pci_addr", pci_address + "\n"},
      {"device_type", device.TypeName() + "\n"},
      {"security_enabled", fmt::format("{}\n", firmware.security_enabled ? 1 : 0)},
      {"uboot_ver", firmware.uboot_version + "\n"},
      {"preboot_btl_ver", firmware.preboot_version + "\n"},
      {"cpucp_ver", firmware.cpucp_version + "\n"},
      {"armcp_ver", firmware.cpucp_version + "\n"},
      {"cpucp_kernel_ver", firmware.kernel_version},
      {"armcp_kernel_ver", firmware.kernel_version},
      {"fw_os_ver", firmware.fw_os_version},
      {"thermal_ver", firmware.thermal_version},
      {"fuse_ver", firmware.fuse_version + "\n"},
      {"cpld_ver", misc ? fmt::format("0x{:08x}\n", firmware.cpld_version)
                        : fmt::format("0x{:08x}{:08x}\n", firmware.cpld_timestamp, firmware.cpld_version)},
      {properties.asic == gaudi::Asic::kGaudi ? "infineon_ver" : "vrm_ver",
       fmt::format("0x{:02x}\n", firmware.vrm_version)},
  };
  if (drm) {
    files.emplace_back("module_id", fmt::format("{}\n", firmware.module_id));
    files.emplace_back("parent_device", pci_address + "\n");
  }
  for (const auto& [name, content] : files) CW_CHECK(tree.AddFile(folder + "/" + name, content));
  return {};
}

// A number of the firmware's that only an operational device tells, and may take.
kernel::Tree::ShowFn ShowLive(HlDevice& device, gaudi::CpucpOpcode get) {
  return [&device, get]() -> Result<std::string> {
    if (!device.operational()) return Err(ENODEV);
    CW_TRY(const uint64_t value, device.SendCpuMessage({.opcode = get}));
    return fmt::format("{}\n", value);
  };
}
kernel::Tree::StoreFn StoreLive(HlDevice& device, gaudi::CpucpOpcode set) {
  return [&device, set](std::string_view text) -> Status {
    if (!device.operational()) return Err(ENODEV);
    CW_TRY(const uint64_t value, ParseNumber(text));
    CW_TRY([[maybe_unused]] const uint64_t done,
           device.SendCpuMessage({.opcode = set, .value = static_cast<int64_t>(value)}));
    return {};
  };
}

// What CPUCP_PACKET_EEPROM_DATA_GET reads: one page, the board's name and number in it.
std::string EepromContent(const gaudi::FirmwareInfo& firmware) {
  std::string content = firmware.card_name + '\0' + firmware.fuse_version;
  content.resize(4096, '\xff');
  return content;
}

Status AddLive(kernel::Tree& tree, const std::string& folder, HlDevice& device) {
  using gaudi::CpucpOpcode;
  CW_CHECK(tree.AddAttribute(folder + "/status", 0444,
                             [&device]() -> Result<std::string> { return CapitalisedStatus(device); }));
  const auto hard_reset = [&device](std::string_view text) -> Status {
    CW_CHECK(ParseNumber(text));  // any number
    return device.Reset(kResetHard);
  };
  CW_CHECK(tree.AddAttribute(folder + "/hard_reset", 0200, {}, hard_reset));
  CW_CHECK(tree.AddAttribute(folder + "/hard_reset_cnt", 0444, [&device]() -> Result<std::string> {
    return fmt::format("{}\n", device.reset_count().hard);
  }));
  CW_CHECK(tree.AddFile(folder + "/eeprom", EepromContent(device.board().firmware()), 0444));
  CW_CHECK(tree.AddAttribute(folder + "/clk_max_freq_mhz", 0644, ShowLive(device, CpucpOpcode::kFrequencyGet),
                             StoreLive(device, CpucpOpcode::kFrequencySet)));
  CW_CHECK(tree.AddAttribute(folder + "/clk_cur_freq_mhz", 0444, ShowLive(device, CpucpOpcode::kFrequencyCurrGet)));
  return tree.AddAttribute(folder + "/max_power", 0644, ShowLive(device, CpucpOpcode::kMaxPowerGet),
                           StoreLive(device, CpucpOpcode::kMaxPowerSet));
}

}  // namespace

NodeNames NamesOf(Flavour flavour, uint32_t index) {
  NodeNames names;
  const std::string number = std::to_string(index);
  if (flavour == Flavour::kMisc) {
    names.device_class = "habanalabs";
    names.name = "hl" + number;
    names.control_name = "hl_controlD" + number;
    names.dev_folder = "/dev";
  } else {
    names.device_class = "accel";
    names.name = "accel" + number;
    names.control_name = "accel_controlD" + number;
    names.dev_folder = "/dev/accel";
  }
  switch (flavour) {
    case Flavour::kAccel:
      names.compute = {kAccelMajor, 2 * index};
      names.control = {kAccelMajor, 2 * index + 1};
      break;
    case Flavour::kMisc:
      names.compute = {kMiscMajor, 2 * index};
      names.control = {kMiscMajor, 2 * index + 1};
      break;
    case Flavour::kDrm:
      names.compute = {kDrmAccelMajor, index};
      names.control = {kDrmControlMajor, index};
      break;
  }
  return names;
}

std::vector<std::string> ClaimsOf(Flavour flavour) {
  switch (flavour) {
    case Flavour::kAccel:
      return {"/dev/accel", "/sys/class/accel", fmt::format("/sys/dev/char/{}:*", kAccelMajor),
              "/sys/kernel/debug/accel", "/sys/kernel/debug/habanalabs"};
    case Flavour::kMisc:
      return {"/dev/hl*", "/sys/class/habanalabs", fmt::format("/sys/dev/char/{}:*", kMiscMajor),
              "/sys/kernel/debug/habanalabs"};
    case Flavour::kDrm:
      return {"/dev/accel",
              "/sys/class/accel",
              fmt::format("/sys/dev/char/{}:*", kDrmAccelMajor),
              fmt::format("/sys/dev/char/{}:*", kDrmControlMajor),
              "/sys/kernel/debug/accel",
              "/sys/kernel/debug/habanalabs"};
  }
  return {};
}

Status AddNodes(kernel::Tree& tree, const NodeNames& names, HlDevice& device) {
  constexpr uint32_t kMode = 0666;  // what the udev rules of the vendor's package give
  CW_CHECK(tree.AddDevice(names.node(), kMode, names.compute.major, names.compute.minor,
                          [&device, numbers = names.compute](kernel::Task& task, uint32_t) {
                            return device.OpenCompute(task, numbers.major, numbers.minor);
                          }));
  return tree.AddDevice(names.control_node(), kMode, names.control.major, names.control.minor,
                        [&device, numbers = names.control](kernel::Task&, uint32_t) {
                          return device.OpenControl(numbers.major, numbers.minor);
                        });
}

Status AddSysfs(kernel::Tree& tree, const NodeNames& names, const std::string& function_folder, HlDevice& device) {
  CW_TRY(const auto compute, AddClassDevice(tree, names, function_folder, names.name, names.compute));
  CW_CHECK(AddClassDevice(tree, names, function_folder, names.control_name, names.control));
  const std::string attributes = device.properties().flavour == Flavour::kDrm ? function_folder : compute;
  CW_CHECK(AddFixed(tree, attributes, device));
  return AddLive(tree, attributes, device);
}

}  // namespace causeway::habanalabs
