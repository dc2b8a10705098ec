// SPDX-License-Identifier: Apache-2.0
// A PCI function as drivers see it: identity, BARs, place. Made by Topology; outlives every file and attachment.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace causeway::pci {

struct Bdf {
  uint16_t domain = 0;
  uint8_t bus = 0;
  uint8_t device = 0;    // 0..31
  uint8_t function = 0;  // 0..7
  auto operator<=>(const Bdf&) const = default;
  std::string ToString() const;  // "0000:33:00.0", lower-case hex
  // Accepts "dddd:bb:dd.f" and "bb:dd.f" (domain 0).
  static std::optional<Bdf> Parse(std::string_view text);
};

struct Bar {
  uint64_t base = 0;  // bus address; 0 when the BAR is not implemented
  uint64_t size = 0;  // bytes, a power of two
  bool is_64bit = true;
  bool prefetchable = false;
};

struct Identity {
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint16_t subsystem_vendor = 0;
  uint16_t subsystem_device = 0;
  uint8_t revision = 0;
  uint32_t class_code = 0;  // 24 bits: 0x120000 processing accelerator, 0x020000 Ethernet
};

class Bridge;

class Function {
 public:
  Function(std::string name, Bdf bdf, uint16_t index, Identity identity, Bridge* upstream)
      : name_(std::move(name)), bdf_(bdf), index_(index), identity_(identity), upstream_(upstream) {}
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;

  const std::string& name() const { return name_; }  // as configured: "gaudi0", "rxe0"
  Bdf bdf() const { return bdf_; }
  uint16_t index() const { return index_; }  // dense, 0..; BusWindow::initiator and ::target
  const Identity& identity() const { return identity_; }
  const Bar& bar(unsigned n) const { return bars_.at(n); }
  void set_bar(unsigned n, Bar bar) { bars_.at(n) = bar; }
  Bridge* upstream() const { return upstream_; }  // port above; nullptr when directly on a host bridge's root bus
  int numa_node() const { return numa_node_; }
  void set_numa_node(int node) { numa_node_ = node; }

 private:
  const std::string name_;
  const Bdf bdf_;
  const uint16_t index_;
  const Identity identity_;
  Bridge* const upstream_;
  std::array<Bar, 6> bars_{};
  int numa_node_ = -1;
};

}  // namespace causeway::pci
