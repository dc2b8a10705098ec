// SPDX-License-Identifier: Apache-2.0
// The bus at work: mapping memory for an importer, the way a DMA takes, and bytes per link. Built on a Topology
// (topology.h: host bridges, root ports, switches, functions) and the rules of p2p.h. Thread safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pci/bus_map.h"
#include "pci/function.h"
#include "pci/p2p.h"
#include "pci/topology.h"

namespace causeway::pci {

// A way through the tree from an initiator to its target, for accounting. Dense, never reused.
using RouteId = uint32_t;

// What the ends of hops are called: functions and ports by name, root complexes by name, and this one.
constexpr std::string_view kHostMemoryName = "host memory";

// One directed hop of a route, along an edge of the tree: "rxe0 -> sw0.1". Below one switch a route is
// rxe0 -> sw0.1 -> sw0 -> sw0.0 -> gaudi0, where sw0 stands for the switch's internal bus; a redirected one goes on
// from sw0 up to the root complex and comes back.
struct Hop {
  std::string from;
  std::string to;
};

struct LinkBytes {
  std::string from, to;  // data flows from -> to
  uint64_t bytes = 0;
  bool internal = false;  // inside a switch or a root complex, not a PCIe link with a speed
  Link link;              // of a PCIe link
};

class Bus {
 public:
  // `map` is the shared window table (zeroed). The topology outlives the bus.
  Bus(Topology& topology, BusMap& map);

  Topology& topology() { return topology_; }

  // Declares that `len` bytes from `bar_offset` of the function's BAR are bytes [memory_offset, +len) of a memory
  // object: makes the BAR's window. Without it a BAR address decodes to nothing (a master abort).
  // Also gives the range to mappings made before. errors: EINVAL outside the BAR or overlapping; ENOMEM table full.
  Status BackBar(const Function& function, unsigned bar, uint64_t bar_offset, uint64_t len, uint32_t memory,
                 uint64_t memory_offset);

  // dma_map_resource(): the address by which `initiator` reaches [bus_address, + len) of a peer's BAR. The bus address
  // itself, or an IOVA of the initiator's domain when an IOMMU translates for it.
  // Every call makes a mapping of its own, as in Linux. Bytes that no BackBar() declared decode to nothing.
  // errors: ENOMEM (no IOVA space, table full), EINVAL (no BAR holds the range).
  Result<uint64_t> MapResource(const Function& initiator, uint64_t bus_address, uint64_t len);
  // dma_unmap_resource(). Precondition: a range that MapResource() gave, and no DMA of the initiator uses it any more.
  void UnmapResource(const Function& initiator, uint64_t dma_address, uint64_t len);

  // True when DMA addresses of the initiator are IOVAs, so that everything it sends goes up to the IOMMU.
  bool Translates(const Function& initiator) const;

  // The way data takes between `initiator` and the function whose memory it is (`target`), or host memory (nullptr).
  // Follows the ACS bits as they are at the call; a change of them gives another route.
  RouteId RouteTo(const Function& initiator, const Function* target);
  std::vector<Hop> HopsOf(RouteId route) const;     // from initiator to target
  bool CrossesHostMemory(RouteId route) const;      // the target is host memory
  std::string DescribeTarget(RouteId route) const;  // "gaudi1" or "host memory"

  // Adds finished traffic: bytes read from the target (they flow target -> initiator) and written to it.
  void Account(RouteId route, uint64_t bytes_read, uint64_t bytes_written);

  // A source of traffic not yet accounted (the NICs' own counters); called by Links() and Routes() without bus locks
  // held, from their thread. Lives as long as the bus.
  using LiveTraffic = std::function<void(const std::function<void(RouteId, uint64_t read, uint64_t written)>&)>;
  void AddLiveTraffic(LiveTraffic source);

  struct RouteBytes {
    RouteId route = 0;
    std::string initiator, target;
    uint64_t bytes_read = 0, bytes_written = 0;
    std::vector<Hop> hops;
  };
  std::vector<LinkBytes> Links() const;    // every directed link of the topology, in tree order
  std::vector<RouteBytes> Routes() const;  // every route ever used, in order of first use

 private:
  struct Impl;
  Topology& topology_;
  const std::shared_ptr<Impl> impl_;
};

}  // namespace causeway::pci
