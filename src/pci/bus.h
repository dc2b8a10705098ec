// SPDX-License-Identifier: Apache-2.0
// The bus at work: mapping memory for an importer, the way a DMA takes, and bytes per link. Built on a Topology
// (topology.h: host bridges, root ports, switches, functions) and the rules of p2p.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "pci/bus_map.h"
#include "pci/function.h"
#include "pci/p2p.h"
#include "pci/topology.h"

namespace causeway::pci {

// A way through the tree from an initiator to its target, for accounting. Dense, never reused.
using RouteId = uint32_t;

// One directed hop of a route, in the terms of the topology: "rxe0 -> sw0.down1".
struct Hop {
  std::string from;
  std::string to;
};

struct LinkBytes {
  std::string from, to;  // data flows from -> to
  uint64_t bytes = 0;
};

class Bus {
 public:
  // `map` is the shared window table (zeroed). The topology outlives the bus.
  Bus(Topology& topology, BusMap& map);

  Topology& topology() { return topology_; }

  // Declares that `len` bytes from `bar_offset` of the function's BAR are bytes [memory_offset, +len) of a memory
  // object: makes the BAR's window. Without it a BAR address decodes to nothing (a master abort).
  // errors: EINVAL outside the BAR or overlapping; ENOMEM table full.
  Status BackBar(const Function& function, unsigned bar, uint64_t bar_offset, uint64_t len, uint32_t memory,
                 uint64_t memory_offset);

  // dma_map_resource(): the address by which `initiator` reaches [bus_address, + len) of a peer's BAR. The bus address
  // itself, or an IOVA of the initiator's domain when an IOMMU translates for it.
  // errors: ENOMEM (no IOVA space, table full), EINVAL (no BAR holds the range).
  Result<uint64_t> MapResource(const Function& initiator, uint64_t bus_address, uint64_t len);
  void UnmapResource(const Function& initiator, uint64_t dma_address, uint64_t len);

  // The way data takes between `initiator` and the function whose memory it is (`target`), or host memory (nullptr).
  RouteId RouteTo(const Function& initiator, const Function* target);
  std::vector<Hop> HopsOf(RouteId route) const;  // from initiator to target
  bool CrossesHostMemory(RouteId route) const;   // the target is host memory
  std::string DescribeTarget(RouteId route) const;  // "gaudi1" or "host memory"

  // Adds finished traffic: bytes read from the target (they flow target -> initiator) and written to it.
  void Account(RouteId route, uint64_t bytes_read, uint64_t bytes_written);

  // A source of traffic not yet accounted (live memory regions); called by Links() and Routes() without bus locks held.
  using LiveTraffic = std::function<void(const std::function<void(RouteId, uint64_t read, uint64_t written)>&)>;
  void AddLiveTraffic(LiveTraffic source);

  struct RouteBytes {
    RouteId route;
    std::string initiator, target;
    uint64_t bytes_read, bytes_written;
    std::vector<Hop> hops;
  };
  std::vector<LinkBytes> Links() const;   // every directed link of the topology, in tree order
  std::vector<RouteBytes> Routes() const; // every route ever used

 private:
  struct Impl;
  Topology& topology_;
  std::shared_ptr<Impl> impl_;
};

}  // namespace causeway::pci
