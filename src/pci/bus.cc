// SPDX-License-Identifier: Apache-2.0
#include "pci/bus.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "base/checked.h"
#include "base/log.h"
#include "pci/iova.h"

namespace causeway::pci {
namespace {

// A range of a BAR that BackBar() gave to a memory object.
struct Backing {
  uint64_t begin, end;  // bus addresses
  const Function* target;
  uint32_t memory;
  uint64_t memory_offset;
};

// One dma_map_resource() of a translating domain. Whole pages.
struct Mapping {
  uint64_t bus_address, len;
  std::vector<uint32_t> windows;
};

struct Domain {
  IovaSpace space;
  std::map<uint64_t, Mapping> mappings;  // by IOVA
};

struct Route {
  const Function* initiator;
  const Function* target;  // nullptr: host memory
  std::vector<Hop> hops;
  uint64_t bytes_read = 0, bytes_written = 0;
};

void Walk(std::vector<Hop>* hops, std::string* at, const std::string& to) {
  hops->push_back({*at, to});
  *at = to;
}

}  // namespace

struct Bus::Impl {
  Impl(Topology& tree, BusMap& table) : topology(tree), map(table) {}

  Topology& topology;
  BusMap& map;

  // Guards everything below and all writing of `map`. Innermost: nothing is called with it held.
  mutable std::mutex mutex;
  std::vector<Backing> backings;
  std::map<uint16_t, Domain> domains;  // by Function::index()
  // By initiator, target (-1: host memory) and whether it goes through the root complex.
  std::map<std::tuple<uint16_t, int, bool>, RouteId> route_ids;
  std::vector<Route> routes;
  std::vector<LiveTraffic> sources;

  bool Translates() const { return topology.iommu() == IommuMode::kOn; }

  Result<uint32_t> AddWindowLocked(uint64_t base, uint64_t size, const Backing& backing, uint16_t initiator,
                                   uint64_t memory_offset);
  void RemoveWindowLocked(uint32_t index);
  Status ShowLocked(uint16_t initiator, uint64_t iova, Mapping* mapping, const Backing& backing);

  bool GoesThroughRoot(const Function& initiator, const Function* target) const;
  std::vector<Hop> HopsFor(const Function& initiator, const Function* target, bool through_root) const;
  std::vector<Route> RoutesNow() const;
};

// Lowest free entry: the search of FindWindow() ends at `count`, so the table is kept dense. The entry's fields are
// written while its size is 0, and the size is stored last (release; pairs with the acquire in FindWindow()).
Result<uint32_t> Bus::Impl::AddWindowLocked(uint64_t base, uint64_t size, const Backing& backing, uint16_t initiator,
                                            uint64_t memory_offset) {
  const uint32_t count = map.count.load(std::memory_order_relaxed);
  uint32_t index = 0;
  while (index < count && map.windows[index].size.load(std::memory_order_relaxed) != 0) ++index;
  if (index == kMaxWindows) return Err(ENOMEM);
  BusWindow& window = map.windows[index];
  window.base.store(base, std::memory_order_relaxed);
  window.memory.store(backing.memory, std::memory_order_relaxed);
  window.initiator.store(initiator, std::memory_order_relaxed);
  window.target.store(backing.target->index(), std::memory_order_relaxed);
  window.memory_offset.store(memory_offset, std::memory_order_relaxed);
  window.size.store(size, std::memory_order_release);
  if (index == count) map.count.store(count + 1, std::memory_order_release);
  return index;
}

void Bus::Impl::RemoveWindowLocked(uint32_t index) {
  map.windows[index].size.store(0, std::memory_order_release);
  uint32_t count = map.count.load(std::memory_order_relaxed);
  while (count > 0 && map.windows[count - 1].size.load(std::memory_order_relaxed) == 0) --count;
  map.count.store(count, std::memory_order_release);
}

// Makes the window for what a mapping and a backing have in common, if anything.
Status Bus::Impl::ShowLocked(uint16_t initiator, uint64_t iova, Mapping* mapping, const Backing& backing) {
  const uint64_t begin = std::max(mapping->bus_address, backing.begin);
  const uint64_t end = std::min(mapping->bus_address + mapping->len, backing.end);
  if (begin >= end) return {};
  CW_TRY(const uint32_t index, AddWindowLocked(iova + (begin - mapping->bus_address), end - begin, backing, initiator,
                                               backing.memory_offset + (begin - backing.begin)));
  mapping->windows.push_back(index);
  return {};
}

// Up to the root complex and back: where no bridge is shared, where a port on the way redirects, and where a TLP
// carries an IOVA, which no switch decodes and only the IOMMU can translate.
bool Bus::Impl::GoesThroughRoot(const Function& initiator, const Function* target) const {
  if (target == nullptr) return true;
  if (&initiator == target) return false;  // a device does not leave itself
  if (Translates()) return true;
  const P2pVerdict verdict = P2pDistance(topology, *target, initiator);
  return verdict.map_type != P2pMapType::kBusAddr;
}

std::vector<Hop> Bus::Impl::HopsFor(const Function& initiator, const Function* target, bool through_root) const {
  std::vector<Hop> hops;
  if (&initiator == target) return hops;
  const auto ports_above = [](const Function& function) {
    std::vector<const Bridge*> ports;
    for (const Bridge* port = function.upstream(); port != nullptr; port = port->upstream()) ports.push_back(port);
    return ports;
  };
  std::vector<const Bridge*> up = ports_above(initiator);
  std::vector<const Bridge*> down = target != nullptr ? ports_above(*target) : std::vector<const Bridge*>();
  if (!through_root) {
    // Leave out what lies above the lowest common port.
    while (up.size() > 1 && down.size() > 1 && up[up.size() - 2] == down[down.size() - 2]) {
      up.pop_back();
      down.pop_back();
    }
    down.pop_back();  // the common port is on the way up already
  }
  std::string at = initiator.name();
  for (const Bridge* port : up) Walk(&hops, &at, port->name());
  if (through_root) {
    const HostBridge& from = topology.HostBridgeOf(initiator);
    Walk(&hops, &at, from.name());
    if (target == nullptr) {
      Walk(&hops, &at, std::string(kHostMemoryName));
      return hops;
    }
    const HostBridge& to = topology.HostBridgeOf(*target);
    if (&from != &to) Walk(&hops, &at, to.name());
  }
  for (auto port = down.rbegin(); port != down.rend(); ++port) Walk(&hops, &at, (*port)->name());
  Walk(&hops, &at, target->name());
  return hops;
}

// Accounted and live traffic together. Sources are called without the lock: they may take their own and call RouteTo().
std::vector<Route> Bus::Impl::RoutesNow() const {
  std::vector<LiveTraffic> live;
  {
    const std::lock_guard lock(mutex);
    live = sources;
  }
  struct Extra {
    uint64_t read = 0, written = 0;
  };
  std::map<RouteId, Extra> extras;
  for (const LiveTraffic& source : live) {
    source([&](RouteId route, uint64_t read, uint64_t written) {
      extras[route].read += read;
      extras[route].written += written;
    });
  }
  const std::lock_guard lock(mutex);
  std::vector<Route> now = routes;
  for (const auto& [id, extra] : extras) {
    if (id >= now.size()) continue;
    now[id].bytes_read += extra.read;
    now[id].bytes_written += extra.written;
  }
  return now;
}

Bus::Bus(Topology& topology, BusMap& map) : topology_(topology), impl_(std::make_shared<Impl>(topology, map)) {}

bool Bus::Translates(const Function&) const { return impl_->Translates(); }

Status Bus::BackBar(const Function& function, unsigned bar, uint64_t bar_offset, uint64_t len, uint32_t memory,
                    uint64_t memory_offset) {
  if (bar >= 6 || len == 0 || !InRange(bar_offset, len, function.bar(bar).size)) return Err(EINVAL);
  const uint64_t begin = function.bar(bar).base + bar_offset;
  const Backing backing{begin, begin + len, &function, memory, memory_offset};
  const std::lock_guard lock(impl_->mutex);
  for (const Backing& other : impl_->backings) {
    if (backing.begin < other.end && other.begin < backing.end) return Err(EINVAL);
  }
  if (!impl_->Translates()) {
    CW_CHECK(impl_->AddWindowLocked(begin, len, backing, kAnyInitiator, memory_offset));
  }
  Status shown;
  std::vector<Mapping*> done;
  for (auto& [initiator, domain] : impl_->domains) {
    for (auto& [iova, mapping] : domain.mappings) {
      const size_t before = mapping.windows.size();
      if (shown) shown = impl_->ShowLocked(initiator, iova, &mapping, backing);
      if (mapping.windows.size() != before) done.push_back(&mapping);
    }
  }
  if (!shown) {
    for (Mapping* mapping : done) {
      impl_->RemoveWindowLocked(mapping->windows.back());
      mapping->windows.pop_back();
    }
    return shown;
  }
  impl_->backings.push_back(backing);
  return {};
}

Result<uint64_t> Bus::MapResource(const Function& initiator, uint64_t bus_address, uint64_t len) {
  unsigned bar = 0;
  uint64_t offset = 0;
  if (len == 0 || topology_.Decode(bus_address, len, &bar, &offset) == nullptr) return Err(EINVAL);
  if (!impl_->Translates()) return bus_address;

  // dma-iommu.c __iommu_dma_map(): whole pages are mapped, and the offset in the first page is kept. A BAR smaller than
  // a page has the page to itself (enumerate.cc).
  const uint64_t begin = AlignDown(bus_address, kPageSize);
  Mapping mapping{.bus_address = begin, .len = AlignUp(bus_address + len, kPageSize) - begin, .windows = {}};
  const std::lock_guard lock(impl_->mutex);
  Domain& domain = impl_->domains[initiator.index()];
  CW_TRY(const uint64_t iova, domain.space.Allocate(mapping.len));
  for (const Backing& backing : impl_->backings) {
    const Status shown = impl_->ShowLocked(initiator.index(), iova, &mapping, backing);
    if (shown) continue;
    for (const uint32_t window : mapping.windows) impl_->RemoveWindowLocked(window);
    domain.space.Free(iova);
    return Err(shown.error());
  }
  domain.mappings.emplace(iova, std::move(mapping));
  return iova + (bus_address - begin);
}

void Bus::UnmapResource(const Function& initiator, uint64_t dma_address, [[maybe_unused]] uint64_t len) {
  if (!impl_->Translates()) return;
  const uint64_t iova = AlignDown(dma_address, kPageSize);
  bool unmapped = false;
  {
    const std::lock_guard lock(impl_->mutex);
    Domain& domain = impl_->domains[initiator.index()];
    const auto found = domain.mappings.find(iova);
    if (found != domain.mappings.end()) {
      for (const uint32_t window : found->second.windows) impl_->RemoveWindowLocked(window);
      domain.mappings.erase(found);
      unmapped = domain.space.Free(iova);
    }
  }
  if (!unmapped) log::Warn("{}: unmap of {:#x}, which is not mapped", initiator.name(), dma_address);
}

RouteId Bus::RouteTo(const Function& initiator, const Function* target) {
  const bool through_root = impl_->GoesThroughRoot(initiator, target);
  const std::tuple key{initiator.index(), target != nullptr ? static_cast<int>(target->index()) : -1, through_root};
  const std::lock_guard lock(impl_->mutex);
  const auto [place, made] = impl_->route_ids.emplace(key, static_cast<RouteId>(impl_->routes.size()));
  if (made) impl_->routes.push_back({&initiator, target, impl_->HopsFor(initiator, target, through_root)});
  return place->second;
}

std::vector<Hop> Bus::HopsOf(RouteId route) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->routes.at(route).hops;
}

bool Bus::CrossesHostMemory(RouteId route) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->routes.at(route).target == nullptr;
}

std::string Bus::DescribeTarget(RouteId route) const {
  const std::lock_guard lock(impl_->mutex);
  const Function* target = impl_->routes.at(route).target;
  return target != nullptr ? target->name() : std::string(kHostMemoryName);
}

void Bus::Account(RouteId route, uint64_t bytes_read, uint64_t bytes_written) {
  const std::lock_guard lock(impl_->mutex);
  Route& entry = impl_->routes.at(route);
  entry.bytes_read += bytes_read;
  entry.bytes_written += bytes_written;
}

void Bus::AddLiveTraffic(LiveTraffic source) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sources.push_back(std::move(source));
}

std::vector<Bus::RouteBytes> Bus::Routes() const {
  std::vector<RouteBytes> report;
  for (Route& route : impl_->RoutesNow()) {
    RouteBytes row;
    row.route = static_cast<RouteId>(report.size());
    row.initiator = route.initiator->name();
    row.target = route.target != nullptr ? route.target->name() : std::string(kHostMemoryName);
    row.bytes_read = route.bytes_read;
    row.bytes_written = route.bytes_written;
    row.hops = std::move(route.hops);
    report.push_back(std::move(row));
  }
  return report;
}

std::vector<LinkBytes> Bus::Links() const {
  std::map<std::pair<std::string, std::string>, uint64_t> bytes;
  for (const Route& route : impl_->RoutesNow()) {
    for (const Hop& hop : route.hops) {
      bytes[{hop.from, hop.to}] += route.bytes_written;  // initiator -> target
      bytes[{hop.to, hop.from}] += route.bytes_read;
    }
  }
  std::vector<LinkBytes> report;
  const auto add = [&](const std::string& upper, const std::string& lower, bool internal, const Link& link) {
    for (const auto& [from, to] : {std::pair(upper, lower), std::pair(lower, upper)}) {
      const auto found = bytes.find({from, to});
      report.push_back({from, to, found == bytes.end() ? 0 : found->second, internal, link});
    }
  };
  const std::vector<HostBridge*>& hosts = topology_.host_bridges();
  for (size_t i = 0; i < hosts.size(); ++i) {
    add(std::string(kHostMemoryName), hosts[i]->name(), true, {});
    for (size_t j = i + 1; j < hosts.size(); ++j) add(hosts[i]->name(), hosts[j]->name(), true, {});
  }
  // The list of bridges is in tree order; each one's functions follow it.
  const auto add_functions = [&](const Bridge* port, const HostBridge* host) {
    for (const Function* function : topology_.functions()) {
      if (function->upstream() != port || &topology_.HostBridgeOf(*function) != host) continue;
      // A function on the root bus is part of the root complex.
      add(port != nullptr ? port->name() : host->name(), function->name(), port == nullptr,
          topology_.LinkOf(*function));
    }
  };
  for (const Bridge* bridge : topology_.bridges()) {
    const Bridge* above = bridge->upstream();
    const bool internal = bridge->kind() != Bridge::Kind::kUpstream;
    add(above != nullptr ? above->name() : bridge->host_bridge().name(), bridge->name(), internal, bridge->link());
    add_functions(bridge, &bridge->host_bridge());
  }
  for (const HostBridge* host : hosts) add_functions(nullptr, host);
  return report;
}

}  // namespace causeway::pci
