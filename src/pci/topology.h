// SPDX-License-Identifier: Apache-2.0
// The PCI tree of a machine: host bridges (root complexes), root ports, switches, functions; numbered and given bus
// addresses as firmware and Linux's drivers/pci/probe.c and setup-bus.c would.
//
//   host bridge pc0 (0000:00)      00:00.0 is the root complex's own device, whose id the kernel's P2P whitelist knows
//     root port rp0   00:01.0
//       switch sw0      01:00.0    upstream port
//         sw0.0         02:00.0    downstream ports on the switch's internal bus
//           gaudi0        03:00.0
//         sw0.1         02:01.0
//           rxe0          04:00.0
//
// Built once from a TopologySpec; immutable afterwards but for the ACS bits (a `setpci` by its owner), so readers need
// no lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pci/function.h"

namespace causeway::pci {

enum class IommuMode : uint8_t {
  kOff,          // no IOMMU: a DMA address is a bus address
  kPassthrough,  // iommu=pt: identity domains; redirected requests pass through it unchanged
  kOn,           // translating DMA domains: a DMA address is an IOVA of the initiator's domain
};
std::string_view ToString(IommuMode mode);

// ACS control bits of a root or downstream port (PCIe 6.0 7.7.11.3; Linux PCI_ACS_SV .. PCI_ACS_DT).
struct AcsControl {
  bool source_validation = false;     // SV
  bool translation_blocking = false;  // TB
  bool request_redirect = false;      // RR
  bool completion_redirect = false;   // CR
  bool upstream_forwarding = false;   // UF
  bool egress_control = false;        // EC
  bool direct_translated = false;     // DT

  // linux v6.1 drivers/pci/p2pdma.c pci_bridge_has_acs_redir(): TLPs between peers go up to the root complex.
  bool Redirects() const { return request_redirect || completion_redirect || egress_control; }
  uint16_t Register() const;  // as PCI_ACS_CTRL holds it
  static AcsControl FromRegister(uint16_t value);
  // What Linux sets when an IOMMU is in use (pci.c pci_std_enable_acs()): SV RR CR UF.
  static AcsControl LinuxDefault() { return FromRegister(0x1d); }
  std::string ToString() const;  // "SV RR CR UF", or "none"
  bool operator==(const AcsControl&) const = default;
};

// A link as sysfs tells it. Only for description: nothing here takes time.
struct Link {
  uint8_t generation = 4;         // 1..6: 2.5, 5, 8, 16, 32, 64 GT/s
  uint8_t width = 16;             // lanes
  double BytesPerSecond() const;  // payload rate of one direction after line coding
};

struct HostBridgeSpec {
  std::string name;
  uint16_t vendor = 0x8086;
  uint16_t device = 0x2020;
  int numa_node = 0;
};
struct RootPortSpec {
  std::string name;
  std::string on;  // host bridge
  AcsControl acs;
  Link link;
};
struct SwitchSpec {
  std::string name;
  std::string on;                  // root port, or another switch's downstream port
  std::vector<std::string> ports;  // downstream ports' names
  AcsControl acs;                  // of every downstream port
  Link link;                       // of every port
};
struct BarSpec {
  uint64_t size = 0;  // 0: not implemented; else a power of two, at least 16
  bool prefetchable = false;
};
struct FunctionSpec {
  std::string name;
  // Root port or downstream port, or a host bridge (a root complex integrated endpoint). Functions at one port are the
  // functions of one device.
  std::string at;
  Identity identity;
  std::array<BarSpec, 6> bars;  // all 64-bit: only 0, 2 and 4
  Link link;
};
struct TopologySpec {
  IommuMode iommu = IommuMode::kOff;
  // The processor's make decides in cpu_supports_p2pdma(): an AMD Zen forwards between any of its ports.
  bool amd_zen = false;
  std::vector<HostBridgeSpec> host_bridges;
  std::vector<RootPortSpec> root_ports;
  std::vector<SwitchSpec> switches;
  std::vector<FunctionSpec> functions;
};

class HostBridge {
 public:
  HostBridge(std::string name, uint16_t domain, uint8_t bus, uint16_t vendor, uint16_t device, int numa_node)
      : name_(std::move(name)), domain_(domain), bus_(bus), vendor_(vendor), device_(device), numa_node_(numa_node) {}
  HostBridge(const HostBridge&) = delete;
  HostBridge& operator=(const HostBridge&) = delete;

  const std::string& name() const { return name_; }
  uint16_t domain() const { return domain_; }
  uint8_t bus() const { return bus_; }
  uint16_t vendor() const { return vendor_; }
  uint16_t device() const { return device_; }
  int numa_node() const { return numa_node_; }
  Bdf bdf() const { return {domain_, bus_, 0, 0}; }  // of its own device, 00.0 of the root bus
  uint64_t window_base() const { return window_base_; }
  uint64_t window_size() const { return window_size_; }  // 0 when nothing below has a BAR

 private:
  friend class Topology;
  const std::string name_;
  const uint16_t domain_;
  const uint8_t bus_;
  const uint16_t vendor_, device_;
  const int numa_node_;
  uint64_t window_base_ = 0, window_size_ = 0;
};

// A PCI-to-PCI bridge: root port or one port of a switch.
class Bridge {
 public:
  enum class Kind : uint8_t { kRootPort, kUpstream, kDownstream };
  Bridge(std::string name, Kind kind, HostBridge& host_bridge, Bridge* upstream, AcsControl acs, Link link)
      : name_(std::move(name)),
        kind_(kind),
        host_bridge_(host_bridge),
        upstream_(upstream),
        link_(link),
        acs_(acs.Register()) {}
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  Bdf bdf() const { return bdf_; }
  const HostBridge& host_bridge() const { return host_bridge_; }
  Bridge* upstream() const { return upstream_; }  // nullptr: on the root bus (pci_upstream_bridge())
  uint8_t secondary() const { return secondary_; }
  uint8_t subordinate() const { return subordinate_; }
  const Link& link() const { return link_; }
  AcsControl acs() const { return AcsControl::FromRegister(acs_.load(std::memory_order_relaxed)); }
  void set_acs(AcsControl acs) { acs_.store(acs.Register(), std::memory_order_relaxed); }
  // The 64-bit prefetchable window; holds the windows and BARs of everything below. size 0: closed.
  uint64_t window_base() const { return window_base_; }
  uint64_t window_size() const { return window_size_; }

 private:
  friend class Topology;
  const std::string name_;
  const Kind kind_;
  HostBridge& host_bridge_;
  Bridge* const upstream_;
  const Link link_;
  std::atomic<uint16_t> acs_;
  Bdf bdf_;
  uint8_t secondary_ = 0, subordinate_ = 0;
  uint64_t window_base_ = 0, window_size_ = 0;
};

class Topology {
 public:
  // `reason`, when given, says for people what is wrong.
  // errors: EINVAL a name twice or unknown, a port used twice, a bad BAR, switches in a circle; ENOSPC out of bus
  // numbers, device numbers or bus addresses.
  static Result<std::unique_ptr<Topology>> Build(const TopologySpec& spec, std::string* reason = nullptr);

  IommuMode iommu() const { return iommu_; }
  bool amd_zen() const { return amd_zen_; }

  // All in the order of enumeration: depth first, by bus and device number. Pointers live as long as the topology.
  const std::vector<HostBridge*>& host_bridges() const { return host_bridge_list_; }
  const std::vector<Bridge*>& bridges() const { return bridge_list_; }
  const std::vector<Function*>& functions() const { return function_list_; }  // position is Function::index()

  Function* FindFunction(std::string_view name) const;  // nullptr: none
  Function* FindFunction(Bdf bdf) const;
  Bridge* FindBridge(std::string_view name) const;
  Function& function(uint16_t index) const { return *function_list_.at(index); }
  const HostBridge& HostBridgeOf(const Function& function) const;
  const Link& LinkOf(const Function& function) const;

  // The function and BAR that decode all of [address, address + len); nullptr: none does (a master abort).
  Function* Decode(uint64_t address, uint64_t len, unsigned* bar, uint64_t* offset) const;

 private:
  struct Builder;
  Topology() = default;

  IommuMode iommu_ = IommuMode::kOff;
  bool amd_zen_ = false;
  std::deque<HostBridge> host_bridges_;
  std::deque<Bridge> bridges_;
  std::deque<Function> functions_;
  std::vector<HostBridge*> host_bridge_list_;
  std::vector<Bridge*> bridge_list_;
  std::vector<Function*> function_list_;
  std::vector<const HostBridge*> function_host_;  // by Function::index()
  std::vector<Link> function_link_;
};

}  // namespace causeway::pci
