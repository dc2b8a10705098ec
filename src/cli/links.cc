// SPDX-License-Identifier: Apache-2.0
// causeway links: bytes per PCIe link and per route since the machine came up.
#include "cli/control_client.h"
#include "cli/counters.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/table.h"
#include "cli/verbs.h"

namespace causeway::cli {

int Links(const QueryOptions& options) {
  const LiveMachine machine = RequireMachine(options.name);
  const Counters counters = ReadCounters(machine.path);
  if (options.json) {
    nlohmann::ordered_json document = {{"machine", machine.name},
                                       {"links", nlohmann::ordered_json::array()},
                                       {"routes", nlohmann::ordered_json::array()}};
    for (const LinkCount& link : counters.links) {
      document["links"].push_back({{"from", link.from}, {"to", link.to}, {"bytes", link.bytes}});
    }
    for (const RouteCount& route : counters.routes) {
      document["routes"].push_back({{"initiator", route.initiator},
                                    {"target", route.target},
                                    {"way", route.way},
                                    {"bytes_read", route.bytes_read},
                                    {"bytes_written", route.bytes_written}});
    }
    fmt::print("{}\n", document.dump(2));
    return 0;
  }
  Table links({{"from"}, {"to"}, {"bytes", Align::kRight}, {"", Align::kRight}});
  for (const LinkCount& link : counters.links) {
    links.Add({link.from, link.to, fmt::format("{}", link.bytes), link.bytes < 1024 ? "" : FormatBytes(link.bytes)});
  }
  fmt::print("{}", links.Render());
  Table routes({{"initiator"}, {"memory"}, {"read", Align::kRight}, {"written", Align::kRight}, {"way"}});
  for (const RouteCount& route : counters.routes) {
    std::string way;
    for (const std::string& thing : route.way) way += (way.empty() ? "" : " - ") + thing;
    routes.Add({route.initiator, route.target, FormatBytes(route.bytes_read), FormatBytes(route.bytes_written), way});
  }
  if (!routes.empty()) fmt::print("\n{}", routes.Render());
  return 0;
}

}  // namespace causeway::cli
