// SPDX-License-Identifier: Apache-2.0
// Topology::Build(): from a description to a numbered tree with addresses.
//
// Bus numbers go depth first, each bridge's secondary bus next after the last one used, as linux v6.1
// drivers/pci/probe.c pci_scan_bridge_extend() does. Addresses are given from the leaves up, as setup-bus.c
// pbus_size_mem() and then from the root down, as __pci_bus_assign_resources(): a bridge's window is as large as its
// children need at their natural alignment, in 1 MiB steps, the largest alignment first.
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <map>
#include <vector>

#include "base/checked.h"
#include "pci/topology.h"

namespace causeway::pci {
namespace {

// One 64-bit aperture for all root complexes, far above memory (Intel servers: above 0x2000'0000'0000 too) and inside
// the 46 bits that every x86-64 server decodes.
constexpr uint64_t kApertureBase = 0x2000'0000'0000;
constexpr uint64_t kApertureEnd = 0x4000'0000'0000;
constexpr uint64_t kBridgeWindowStep = uint64_t{1} << 20;  // PCI-to-PCI bridge spec: windows in steps of 1 MiB
constexpr uint64_t kRootWindowStep = uint64_t{1} << 30;
constexpr uint64_t kMaxBarSize = uint64_t{1} << 44;
constexpr size_t kDevicesPerBus = 32;
constexpr size_t kFunctionsPerDevice = 8;

// A place in the tree being built, and what it needs of its parent's window.
struct Node {
  enum class Kind { kHost, kRootPort, kUpstream, kDownstream };
  Kind kind;
  std::string name;
  AcsControl acs;
  Link link;
  const HostBridgeSpec* host = nullptr;
  Node* parent = nullptr;
  std::vector<Node*> children;
  std::vector<const FunctionSpec*> functions;

  HostBridge* host_bridge = nullptr;
  Bridge* bridge = nullptr;
  uint64_t size = 0, align = 1;  // of the window
};

// One thing that has a place in a window: a child's window or a BAR.
struct Item {
  uint64_t size, align;
  Node* child;
  Function* function;
  unsigned bar;
  uint64_t offset = 0;
};

}  // namespace

struct Topology::Builder {
  explicit Builder(const TopologySpec& description) : spec(description) {}

  const TopologySpec& spec;
  std::string why;
  std::unique_ptr<Topology> made{new Topology()};
  std::deque<Node> nodes;
  std::vector<Node*> hosts;
  std::map<std::string, Node*, std::less<>> places;  // nullptr: a name that nothing can be put on
  std::map<const Node*, std::vector<Item>> items;

  template <typename... Args>
  Status Refuse(int code, fmt::format_string<Args...> format, Args&&... args) {
    why = fmt::format(format, std::forward<Args>(args)...);
    return Err(Errno::FromHost(code));
  }

  Status Name(const std::string& name, Node* place) {
    if (name.empty()) return Refuse(EINVAL, "a part of the tree has no name");
    if (!places.emplace(name, place).second) return Refuse(EINVAL, "the name \"{}\" is used twice", name);
    return {};
  }

  Node* Make(Node::Kind kind, const std::string& name, AcsControl acs, Link link) {
    Node& node = nodes.emplace_back();
    node.kind = kind;
    node.name = name;
    node.acs = acs;
    node.link = link;
    return &node;
  }

  static void Attach(Node* child, Node* parent) {
    child->parent = parent;
    parent->children.push_back(child);
  }

  // What `name` is put on: `on`, which must be there and be a port (or a host bridge where that will do).
  Result<Node*> PlaceFor(const std::string& name, const std::string& on, bool host_will_do) {
    const auto found = places.find(on);
    if (found == places.end() || found->second == nullptr) {
      (void)Refuse(EINVAL, "\"{}\" is on \"{}\", which is no {}", name, on,
                   host_will_do ? "port" : "switch or root port");
      return Err(EINVAL);
    }
    Node* place = found->second;
    if (place->kind == Node::Kind::kHost && !host_will_do) {
      (void)Refuse(EINVAL, "\"{}\" is on \"{}\", a host bridge: a switch needs a root port", name, on);
      return Err(EINVAL);
    }
    if (place->kind != Node::Kind::kHost && !place->children.empty()) {
      (void)Refuse(EINVAL, "\"{}\" is on \"{}\", where there is a switch already", name, on);
      return Err(EINVAL);
    }
    return place;
  }

  Status MakeTree() {
    for (const HostBridgeSpec& row : spec.host_bridges) {
      Node* node = Make(Node::Kind::kHost, row.name, {}, {});
      node->host = &row;
      hosts.push_back(node);
      CW_CHECK(Name(row.name, node));
    }
    for (const RootPortSpec& row : spec.root_ports) {
      const auto found = places.find(row.on);
      if (found == places.end() || found->second == nullptr || found->second->kind != Node::Kind::kHost) {
        return Refuse(EINVAL, "the root port \"{}\" is on \"{}\", which is no host bridge", row.name, row.on);
      }
      Node* node = Make(Node::Kind::kRootPort, row.name, row.acs, row.link);
      CW_CHECK(Name(row.name, node));
      Attach(node, found->second);
    }
    std::vector<Node*> upstreams;
    for (const SwitchSpec& row : spec.switches) {
      if (row.ports.empty() || row.ports.size() > kDevicesPerBus) {
        return Refuse(EINVAL, "the switch \"{}\" has {} ports: 1 to {} are possible", row.name, row.ports.size(),
                      kDevicesPerBus);
      }
      Node* upstream = Make(Node::Kind::kUpstream, row.name, {}, row.link);
      CW_CHECK(Name(row.name, nullptr));
      for (const std::string& port : row.ports) {
        Node* downstream = Make(Node::Kind::kDownstream, port, row.acs, row.link);
        CW_CHECK(Name(port, downstream));
        Attach(downstream, upstream);
      }
      upstreams.push_back(upstream);
    }
    for (size_t i = 0; i < upstreams.size(); ++i) {
      CW_TRY(Node * place, PlaceFor(spec.switches[i].name, spec.switches[i].on, false));
      Attach(upstreams[i], place);
    }
    for (const Node* upstream : upstreams) {  // a circle never ends at a host bridge
      size_t steps = 0;
      for (const Node* at = upstream; at != nullptr; at = at->parent) {
        if (++steps > nodes.size()) return Refuse(EINVAL, "the switch \"{}\" is below itself", upstream->name);
      }
    }
    for (const FunctionSpec& row : spec.functions) {
      CW_CHECK(CheckFunction(row));
      CW_TRY(Node * place, PlaceFor(row.name, row.at, true));
      CW_CHECK(Name(row.name, nullptr));
      place->functions.push_back(&row);
      if (place->kind != Node::Kind::kHost && place->functions.size() > kFunctionsPerDevice) {
        return Refuse(ENOSPC, "more than {} functions at \"{}\"", kFunctionsPerDevice, row.at);
      }
    }
    return {};
  }

  Status CheckFunction(const FunctionSpec& row) {
    for (unsigned n = 0; n < 6; ++n) {
      const uint64_t size = row.bars[n].size;
      if (size == 0) continue;
      if (!std::has_single_bit(size) || size < 16 || size > kMaxBarSize || n % 2 != 0) {
        return Refuse(EINVAL, "BAR{} of \"{}\" cannot have {:#x} bytes: a power of two up to 16 TiB, in BAR 0, 2 or 4",
                      n, row.name, size);
      }
    }
    return {};
  }

  // Buses below a node, its secondary bus counted.
  static unsigned BusesBelow(const Node& node) {
    unsigned buses = 1;
    for (const Node* child : node.children) buses += BusesBelow(*child);
    return buses;
  }

  Status Number() {
    // Root buses are spread over the 256 numbers as firmware does, or packed where they do not fit so.
    const unsigned stride =
        hosts.empty() ? 256 : std::max(1U, 256 / std::bit_ceil(static_cast<unsigned>(hosts.size())));
    unsigned packed = 0;
    bool spread = true;
    for (const Node* host : hosts) {
      spread = spread && BusesBelow(*host) <= stride;
      packed += BusesBelow(*host);
    }
    if (packed > 256) return Refuse(ENOSPC, "the tree needs {} bus numbers, and there are 256", packed);
    unsigned next = 0;
    for (size_t i = 0; i < hosts.size(); ++i) {
      if (spread) next = stride * static_cast<unsigned>(i);
      CW_CHECK(NumberHost(*hosts[i], &next));
    }
    return {};
  }

  Status NumberHost(Node& host, unsigned* next) {
    const HostBridgeSpec& row = *host.host;
    const size_t devices = 1 + host.children.size() + host.functions.size();
    if (devices > kDevicesPerBus) {
      return Refuse(ENOSPC, "\"{}\" has {} root ports and functions: its root bus has room for {}", host.name,
                    devices - 1, kDevicesPerBus - 1);
    }
    const auto bus = static_cast<uint8_t>((*next)++);
    host.host_bridge =
        &made->host_bridges_.emplace_back(row.name, uint16_t{0}, bus, row.vendor, row.device, row.numa_node);
    made->host_bridge_list_.push_back(host.host_bridge);
    uint8_t device = 1;  // 00.0 is the root complex's own
    for (Node* port : host.children) NumberBridge(*port, host, {0, bus, device++, 0}, next);
    for (const FunctionSpec* function : host.functions) AddFunction(*function, host, {0, bus, device++, 0});
    return {};
  }

  void NumberBridge(Node& node, const Node& host, Bdf bdf, unsigned* next) {
    constexpr Bridge::Kind kKinds[] = {Bridge::Kind::kRootPort, Bridge::Kind::kRootPort, Bridge::Kind::kUpstream,
                                       Bridge::Kind::kDownstream};
    node.host_bridge = host.host_bridge;
    node.bridge = &made->bridges_.emplace_back(node.name, kKinds[static_cast<size_t>(node.kind)], *host.host_bridge,
                                               node.parent->bridge, node.acs, node.link);
    made->bridge_list_.push_back(node.bridge);
    node.bridge->bdf_ = bdf;
    const auto secondary = static_cast<uint8_t>((*next)++);
    node.bridge->secondary_ = secondary;
    uint8_t device = 0;
    for (Node* child : node.children) NumberBridge(*child, host, {0, secondary, device++, 0}, next);
    uint8_t number = 0;
    for (const FunctionSpec* function : node.functions) AddFunction(*function, node, {0, secondary, 0, number++});
    node.bridge->subordinate_ = static_cast<uint8_t>(*next - 1);
  }

  void AddFunction(const FunctionSpec& row, Node& node, Bdf bdf) {
    const auto index = static_cast<uint16_t>(made->function_list_.size());
    Function& function = made->functions_.emplace_back(row.name, bdf, index, row.identity, node.bridge);
    function.set_numa_node(node.host_bridge->numa_node());
    made->function_list_.push_back(&function);
    made->function_host_.push_back(node.host_bridge);
    made->function_link_.push_back(row.link);
    for (unsigned n = 0; n < 6; ++n) {
      const BarSpec& bar = row.bars[n];
      if (bar.size == 0) continue;
      function.set_bar(n, {.base = 0, .size = bar.size, .is_64bit = true, .prefetchable = bar.prefetchable});
      // A BAR smaller than a page gets a page of its own, so that one page never holds two functions' registers.
      items[&node].push_back({std::max(bar.size, kPageSize), std::max(bar.size, kPageSize), nullptr, &function, n});
    }
  }

  void Size(Node& node) {
    std::vector<Item>& list = items[&node];
    for (Node* child : node.children) {
      Size(*child);
      if (child->size != 0) list.push_back({child->size, child->align, child, nullptr, 0});
    }
    if (list.empty()) return;
    std::stable_sort(list.begin(), list.end(), [](const Item& a, const Item& b) { return a.align > b.align; });
    const uint64_t step = node.kind == Node::Kind::kHost ? kRootWindowStep : kBridgeWindowStep;
    node.align = std::max(step, list.front().align);
    uint64_t offset = 0;
    for (Item& item : list) {
      item.offset = AlignUp(offset, item.align);
      offset = item.offset + item.size;
    }
    node.size = AlignUp(offset, step);
  }

  void Place(Node& node, uint64_t base) {
    if (node.size == 0) return;
    if (node.kind == Node::Kind::kHost) {
      node.host_bridge->window_base_ = base;
      node.host_bridge->window_size_ = node.size;
    } else {
      node.bridge->window_base_ = base;
      node.bridge->window_size_ = node.size;
    }
    for (const Item& item : items[&node]) {
      if (item.child != nullptr) {
        Place(*item.child, base + item.offset);
      } else {
        Bar bar = item.function->bar(item.bar);
        bar.base = base + item.offset;
        item.function->set_bar(item.bar, bar);
      }
    }
  }

  Status Address() {
    uint64_t next = kApertureBase;
    for (Node* host : hosts) {
      Size(*host);
      const uint64_t base = AlignUp(next, host->align);
      if (base > kApertureEnd || host->size > kApertureEnd - base) {
        return Refuse(ENOSPC, "the BARs need more than the {} TiB of bus addresses there are",
                      (kApertureEnd - kApertureBase) >> 40);
      }
      Place(*host, base);
      next = base + host->size;
    }
    return {};
  }
};

Result<std::unique_ptr<Topology>> Topology::Build(const TopologySpec& spec, std::string* reason) {
  Builder builder(spec);
  for (Status (Builder::*step)() : {&Builder::MakeTree, &Builder::Number, &Builder::Address}) {
    const Status status = (builder.*step)();
    if (status) continue;
    if (reason != nullptr) *reason = builder.why;
    return Err(status.error());
  }
  builder.made->iommu_ = spec.iommu;
  builder.made->amd_zen_ = spec.amd_zen;
  return std::move(builder.made);
}

}  // namespace causeway::pci
