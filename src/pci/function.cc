// SPDX-License-Identifier: Apache-2.0
#include "pci/function.h"

#include <fmt/core.h>

#include <charconv>

namespace causeway::pci {
namespace {

// Exactly `digits` hexadecimal digits, at most `max`.
std::optional<unsigned> Hex(std::string_view text, size_t digits, unsigned max) {
  unsigned value = 0;
  if (text.size() != digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

}  // namespace

std::string Bdf::ToString() const { return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, device, function); }

std::optional<Bdf> Bdf::Parse(std::string_view text) {
  Bdf bdf;
  if (text.size() == 12) {
    const auto value = Hex(text.substr(0, 4), 4, 0xffff);
    if (!value || text[4] != ':') return std::nullopt;
    bdf.domain = static_cast<uint16_t>(*value);
    text.remove_prefix(5);
  }
  if (text.size() != 7 || text[2] != ':' || text[5] != '.') return std::nullopt;
  const auto bus_number = Hex(text.substr(0, 2), 2, 0xff);
  const auto device_number = Hex(text.substr(3, 2), 2, 0x1f);
  const auto function_number = Hex(text.substr(6, 1), 1, 7);
  if (!bus_number || !device_number || !function_number) return std::nullopt;
  bdf.bus = static_cast<uint8_t>(*bus_number);
  bdf.device = static_cast<uint8_t>(*device_number);
  bdf.function = static_cast<uint8_t>(*function_number);
  return bdf;
}

}  // namespace causeway::pci
