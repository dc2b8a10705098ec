// SPDX-License-Identifier: Apache-2.0
// What a machine is made of, as its owner writes it: one TOML file. ParseConfig() checks everything that can be wrong
// with it, so that a MachineConfig describes a computer that can be built; BuildTopology() builds its PCI side.
//
//   [machine]        name, iommu, cpu, memlock, host_memory
//   [[host_bridge]]  a root complex           [[root_port]] on = a host bridge
//   [[switch]]       on = a root port or another switch's port; ports = how many, or their names
//   [[accelerator]]  at = a port              [[nic]] at = a port           [[gpu]] at = a port
//
// Names are one space: every thing has its own. A switch "sw0" with ports = 2 has the ports "sw0.0" and "sw0.1".
// A file that names no hardware has the hardware of the default machine. DefaultConfigText() documents every key.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pci/topology.h"

namespace causeway::config {

// RLIMIT_MEMLOCK on pinned user memory: the kernel enforces it (uverbs: ib_umem_get()); most containers have it at
// 8 MiB or less, which is why ignoring it is the default.
enum class Memlock : uint8_t { kIgnore, kEnforce };
// How peers reach ordinary memory that a program registered: in pages shared by the machine's processes, where that can
// be done safely, or by process_vm_readv() and process_vm_writev() alone.
enum class HostMemory : uint8_t { kShared, kProcessVm };
enum class AcceleratorType : uint8_t { kGaudi, kGaudi2 };
// Which of the three habanalabs uAPIs a device offers (DESIGN.md decision 7).
enum class Flavour : uint8_t { kAccel, kMisc, kDrm };

// One place in the file, 1-based; 0 where the text has none (a default). Each thing has two: `where` of its name, and
// `where_on` of what it is on or at.
struct Where {
  uint32_t line = 0;
  uint32_t column = 0;
};

struct HostBridge {
  std::string name;
  uint16_t vendor = 0x8086;
  uint16_t device = 0x2020;
  int numa_node = 0;
  Where where;
};

struct RootPort {
  std::string name;
  std::string on;
  pci::AcsControl acs;
  pci::Link link;
  Where where, where_on;
};

struct Switch {
  std::string name;
  std::string on;
  std::vector<std::string> ports;  // names of the downstream ports, in device-number order
  pci::AcsControl acs;             // of every downstream port
  pci::Link link;                  // of every port
  Where where, where_on;
};

struct Accelerator {
  std::string name;
  AcceleratorType type = AcceleratorType::kGaudi2;
  Flavour flavour = Flavour::kAccel;
  std::string at;
  uint32_t hbm_stacks = 6;  // Gaudi2: 6, or 5 with one binned, of 16 GiB each; Gaudi: 4 of 8 GiB each
  uint64_t bar_size = 0;    // bytes of BAR4, a power of two; always set by ParseConfig()
  uint32_t module_id = 0;   // place on the board, 0..7; by default the order in the file
  pci::Link link;
  Where where, where_on;
};

// What the NIC has; each can be switched off, so that a program's other ways can be tried.
struct NicCapabilities {
  bool uc = true;            // unreliable connections
  bool ud = true;            // datagrams, and address handles
  bool multicast = true;     // UD queue pairs in multicast groups
  bool srq = true;           // shared receive queues
  bool mw = true;            // memory windows
  bool rereg_mr = true;      // changing a region's PD and access
  bool resize_cq = true;     // resizing completion queues
  bool atomics = true;       // IB_ATOMIC_HCA; false: IB_ATOMIC_NONE
  bool atomic_write = true;  // IB_DEVICE_ATOMIC_WRITE
  bool flush = true;         // IB_DEVICE_FLUSH_GLOBAL, IB_DEVICE_FLUSH_PERSISTENT
  bool odp = true;           // on-demand registration and advice
  bool dmabuf = true;        // ibv_reg_dmabuf_mr()
};
struct NicCapabilityName {
  std::string_view name;
  bool NicCapabilities::*member;
};
std::span<const NicCapabilityName> NicCapabilityNames();  // each key of `capabilities`

struct Nic {
  std::string name;  // the RDMA device's name: rxe0
  std::string at;
  std::string netdev = "auto";  // kAutoNetdev: the machine chooses; else a host interface whose addresses the NIC takes
  std::optional<uint64_t> mac;  // 48 bits, first byte of the text highest; see NicMac()
  NicCapabilities capabilities;
  pci::Link link;
  Where where, where_on;
};

// A GPU of which only the render node is there (drivers/drm).
struct Gpu {
  std::string name;
  std::string at;
  uint64_t vram = uint64_t{256} << 20;  // bytes, a power of two; all of it behind BAR0
  pci::Link link;
  Where where, where_on;
};

constexpr std::string_view kAutoNetdev = "auto";
constexpr size_t kMaxNics = 64;
constexpr size_t kMaxAccelerators = 64;
constexpr size_t kMaxGpus = 16;

struct MachineConfig {
  std::string name = "default";
  pci::IommuMode iommu = pci::IommuMode::kOff;
  bool amd_zen = false;  // cpu = "amd-zen": its root complex forwards peer-to-peer whatever its id
  Memlock memlock = Memlock::kIgnore;
  HostMemory host_memory = HostMemory::kShared;
  std::vector<HostBridge> host_bridges;
  std::vector<RootPort> root_ports;
  std::vector<Switch> switches;
  std::vector<Accelerator> accelerators;
  std::vector<Nic> nics;
  std::vector<Gpu> gpus;
};

struct ConfigError {
  std::string file;
  uint32_t line = 0;
  uint32_t column = 0;
  std::string message;           // what is wrong, and after "; " what to do about it
  std::string ToString() const;  // "file:line:column: message"; "file: message" of the file as a whole
};

// Either a config, or at least one error, in file order. Every error that can be found is found, not only the first.
struct ParseOutcome {
  std::optional<MachineConfig> config;
  std::vector<ConfigError> errors;
};

// `file` is only what the errors say.
ParseOutcome ParseConfig(std::string_view text, std::string_view file);
// Reads the file first; one that cannot be read is an error at 0:0 with the system's words.
ParseOutcome LoadConfig(const std::string& path);

// The built-in machine as a commented file: what `causeway config` prints.
std::string_view DefaultConfigText();

// A machine's name may stand in paths: 1..63 of [A-Za-z0-9._-], not beginning with '.' or '-'.
bool IsMachineName(std::string_view name);

std::string_view ToString(Memlock memlock);
std::string_view ToString(AcceleratorType type);
std::string_view ToString(Flavour flavour);

// Bytes of device memory the accelerator has, before any reserved by the driver.
uint64_t HbmBytes(const Accelerator& accelerator);

// The MAC that was given, or one made from the machine's and the NIC's name: locally administered, the same every time.
uint64_t NicMac(const MachineConfig& config, const Nic& nic);

// The PCI side. The functions are called as in the config; Topology::FindFunction() gives them. Precondition: from
// ParseConfig() without errors.
std::unique_ptr<pci::Topology> BuildTopology(const MachineConfig& config);
// What it is built from.
pci::TopologySpec DescribeTopology(const MachineConfig& config);

}  // namespace causeway::config
