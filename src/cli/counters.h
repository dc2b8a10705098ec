// SPDX-License-Identifier: Apache-2.0
// The machine's byte counters, per PCIe link and per route, and what was added between two looks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace causeway::cli {

constexpr const char* kHostMemory = "host memory";  // pci::Bus::DescribeTarget()

// One direction of a link of the topology.
struct LinkCount {
  std::string from, to;
  uint64_t bytes = 0;
};

// Between an initiator of DMA and whose memory it was.
struct RouteCount {
  std::string initiator, target;
  std::vector<std::string> way;  // every thing on it, from initiator to target
  uint64_t bytes_read = 0;       // target to initiator
  uint64_t bytes_written = 0;    // initiator to target
  bool crosses_host_memory = false;
};

struct Counters {
  std::vector<LinkCount> links;
  std::vector<RouteCount> routes;
};

// Ops "links" and "routes" of the control socket. Throws Failure.
Counters ReadCounters(const std::string& machine_path);

// Links and routes that carried anything between the two, with what they carried.
Counters Added(const Counters& before, const Counters& after);

uint64_t HostMemoryBytes(const Counters& counters);

// The way the data of one transfer took, in its direction: out of the memory that was read, into the memory that was
// written. "gaudi0 > sw0.0 > sw0.1 > rxe0 ~ rxe1 > sw1.1 > sw1.0 > gaudi1", where ~ is the network between two NICs.
std::string DescribeWay(const Counters& added);

}  // namespace causeway::cli
