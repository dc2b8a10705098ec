// SPDX-License-Identifier: Apache-2.0
#include "pci/topology.h"

#include "base/checked.h"

namespace causeway::pci {
namespace {

// PCI_ACS_SV and its neighbours, include/uapi/linux/pci_regs.h; the order is the register's.
constexpr struct {
  bool AcsControl::*field;
  uint16_t bit;
  std::string_view name;
} kAcsBits[] = {
    {&AcsControl::source_validation, 0x01, "SV"},   {&AcsControl::translation_blocking, 0x02, "TB"},
    {&AcsControl::request_redirect, 0x04, "RR"},    {&AcsControl::completion_redirect, 0x08, "CR"},
    {&AcsControl::upstream_forwarding, 0x10, "UF"}, {&AcsControl::egress_control, 0x20, "EC"},
    {&AcsControl::direct_translated, 0x40, "DT"},
};

}  // namespace

std::string_view ToString(IommuMode mode) {
  switch (mode) {
    case IommuMode::kOff: return "off";
    case IommuMode::kPassthrough: return "passthrough";
    case IommuMode::kOn: return "on";
  }
  return "?";
}

uint16_t AcsControl::Register() const {
  unsigned value = 0;
  for (const auto& row : kAcsBits) value |= this->*row.field ? row.bit : 0U;
  return static_cast<uint16_t>(value);
}

AcsControl AcsControl::FromRegister(uint16_t value) {
  AcsControl acs;
  for (const auto& row : kAcsBits) acs.*row.field = (value & row.bit) != 0;
  return acs;
}

std::string AcsControl::ToString() const {
  std::string text;
  for (const auto& row : kAcsBits) {
    if (!(this->*row.field)) continue;
    if (!text.empty()) text += ' ';
    text += row.name;
  }
  return text.empty() ? "none" : text;
}

double Link::BytesPerSecond() const {
  // Transfers per second and lane, and what line coding leaves: 8b/10b, then 128b/130b, then FLIT mode (1b/1b; its
  // 242 of 256 bytes are left out as all packet headers are).
  constexpr double kGiga = 1e9;
  constexpr double kRates[] = {2.5 * 0.8, 5 * 0.8, 8 * 128.0 / 130, 16 * 128.0 / 130, 32 * 128.0 / 130, 64};
  if (generation < 1 || generation > 6) return 0;
  return kRates[generation - 1] * kGiga / 8 * width;
}

Function* Topology::FindFunction(std::string_view name) const {
  for (Function* function : function_list_) {
    if (function->name() == name) return function;
  }
  return nullptr;
}

Function* Topology::FindFunction(Bdf bdf) const {
  for (Function* function : function_list_) {
    if (function->bdf() == bdf) return function;
  }
  return nullptr;
}

Bridge* Topology::FindBridge(std::string_view name) const {
  for (Bridge* bridge : bridge_list_) {
    if (bridge->name() == name) return bridge;
  }
  return nullptr;
}

const HostBridge& Topology::HostBridgeOf(const Function& function) const {
  return *function_host_.at(function.index());
}

const Link& Topology::LinkOf(const Function& function) const { return function_link_.at(function.index()); }

Function* Topology::Decode(uint64_t address, uint64_t len, unsigned* bar, uint64_t* offset) const {
  for (Function* function : function_list_) {
    for (unsigned n = 0; n < 6; ++n) {
      const Bar& candidate = function->bar(n);
      if (candidate.size == 0 || address < candidate.base) continue;
      if (!InRange(address - candidate.base, len, candidate.size)) continue;
      *bar = n;
      *offset = address - candidate.base;
      return function;
    }
  }
  return nullptr;
}

}  // namespace causeway::pci
