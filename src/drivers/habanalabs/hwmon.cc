// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/hwmon.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "kernel/kstrto.h"

namespace causeway::habanalabs {
namespace {

using gaudi::CpucpOpcode;
using gaudi::Sensor;
using gaudi::SensorAttribute;

struct Attribute {
  const char* name;
  SensorAttribute type;
};
constexpr Attribute kTemperatureAttributes[] = {{"input", SensorAttribute::kInput},
                                                {"max", SensorAttribute::kMax},
                                                {"crit", SensorAttribute::kCrit},
                                                {"lowest", SensorAttribute::kLowest},
                                                {"highest", SensorAttribute::kHighest}};
constexpr Attribute kOtherAttributes[] = {{"input", SensorAttribute::kInput}, {"highest", SensorAttribute::kHighest}};

// hl_read(), and hwmon_attr_show() around it.
kernel::Tree::ShowFn Show(HlDevice& device, CpucpOpcode opcode, uint16_t index, SensorAttribute type) {
  return [&device, opcode, index, type]() -> Result<std::string> {
    if (!device.operational()) return Err(ENODEV);
    CW_TRY(const uint64_t value, device.SendCpuMessage({.opcode = opcode, .index = index, .type = type}));
    return fmt::format("{}\n", static_cast<int64_t>(value));
  };
}

struct TypeInfo {
  const char* prefix;
  CpucpOpcode get;
  unsigned first;  // hwmon numbers temperatures and currents from 1, voltages from 0
};
TypeInfo InfoOf(Sensor::Type type) {
  switch (type) {
    case Sensor::Type::kTemperature: return {"temp", CpucpOpcode::kTemperatureGet, 1};
    case Sensor::Type::kVoltage: return {"in", CpucpOpcode::kVoltageGet, 0};
    case Sensor::Type::kCurrent: break;
  }
  return {"curr", CpucpOpcode::kCurrentGet, 1};
}

Status AddSensor(kernel::Tree& tree, const std::string& folder, HlDevice& device, const Sensor& sensor) {
  const TypeInfo info = InfoOf(sensor.type);
  const std::string base = fmt::format("{}/{}{}_", folder, info.prefix, sensor.index + info.first);
  const auto add = [&](const Attribute& attribute) {
    return tree.AddAttribute(base + attribute.name, 0444, Show(device, info.get, sensor.index, attribute.type));
  };
  CW_CHECK(tree.AddFile(base + "label", std::string(sensor.label) + "\n"));
  if (sensor.type != Sensor::Type::kTemperature) {
    for (const Attribute& attribute : kOtherAttributes) CW_CHECK(add(attribute));
    return {};
  }
  for (const Attribute& attribute : kTemperatureAttributes) CW_CHECK(add(attribute));
  // hl_write(): what a program adds to what the sensor says.
  const auto store = [&device, index = sensor.index](std::string_view text) -> Status {
    if (!device.operational()) return Err(ENODEV);
    CW_TRY(const int64_t value, kernel::Kstrtoll(text, 10));
    CW_CHECK(device.SendCpuMessage(
        {.opcode = CpucpOpcode::kTemperatureSet, .index = index, .type = SensorAttribute::kOffset, .value = value}));
    return {};
  };
  return tree.AddAttribute(base + "offset", 0644, Show(device, info.get, sensor.index, SensorAttribute::kOffset),
                           store);
}

}  // namespace

uint32_t FirstFreeHwmon(const std::string& host_class) {
  uint32_t first = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(host_class, error)) {
    const std::string name = entry.path().filename();
    uint32_t number = 0;
    constexpr std::string_view kPrefix = "hwmon";
    if (!name.starts_with(kPrefix)) continue;
    const auto [end, bad] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
    if (bad == std::errc() && end == name.data() + name.size()) first = std::max(first, number + 1);
  }
  return first;
}

Status AddHwmon(kernel::Tree& tree, const std::string& function_folder, uint32_t number, HlDevice& device) {
  const std::string name = fmt::format("hwmon{}", number);
  const std::string folder = function_folder + "/hwmon/" + name;
  const std::string link = "/sys/class/hwmon/" + name;
  CW_CHECK(tree.Claim(link));  // this one, so that the host's own stay
  CW_CHECK(tree.AddFile(folder + "/name", device.board().firmware().card_name + "\n"));
  CW_CHECK(tree.AddLink(folder + "/device", "../../../" + function_folder.substr(function_folder.rfind('/') + 1)));
  std::string up = "..";
  for (const char c : folder.substr(std::string_view("/sys/").size())) up += c == '/' ? "/.." : "";
  CW_CHECK(tree.AddLink(folder + "/subsystem", up + "/class/hwmon"));
  CW_CHECK(tree.AddFile(folder + "/uevent", ""));
  for (const Sensor& sensor : device.board().cpucp().sensors()) CW_CHECK(AddSensor(tree, folder, device, sensor));
  // Deviation: power as a sensor of its own (the firmware's list decides that on a board), in hwmon's µW.
  const auto power = [&device]() -> Result<std::string> {
    if (!device.operational()) return Err(ENODEV);
    CW_TRY(const uint64_t milliwatts, device.SendCpuMessage({.opcode = CpucpOpcode::kPowerGet}));
    return fmt::format("{}\n", milliwatts * 1000);
  };
  CW_CHECK(tree.AddAttribute(folder + "/power1_input", 0444, power));
  return tree.AddLink(link, "../../" + folder.substr(std::string_view("/sys/").size()));
}

}  // namespace causeway::habanalabs
