// SPDX-License-Identifier: Apache-2.0
#include "cli/counters.h"

#include <algorithm>

#include "cli/control_client.h"
#include "cli/failure.h"

namespace causeway::cli {
namespace {

// The list in an answer: the answer itself, or its member of that name.
const nlohmann::ordered_json& ListOf(const nlohmann::ordered_json& answer, const char* name) {
  return answer.is_object() ? answer.at(name) : answer;
}

void Append(std::string& way, const std::vector<std::string>& things, const char* joint) {
  for (size_t i = 0; i < things.size(); ++i) {
    if (!way.empty()) way += i == 0 ? joint : " > ";
    way += things[i];
  }
}

}  // namespace

Counters ReadCounters(const std::string& machine_path) {
  Counters counters;
  try {
    const nlohmann::ordered_json links = AskOp(machine_path, "links");
    for (const auto& link : ListOf(links, "links")) {
      counters.links.push_back({link.at("from"), link.at("to"), link.at("bytes")});
    }
    const nlohmann::ordered_json routes = AskOp(machine_path, "routes");
    for (const auto& route : ListOf(routes, "routes")) {
      RouteCount count{.initiator = route.at("initiator"),
                       .target = route.at("target"),
                       .way = {},
                       .bytes_read = route.at("bytes_read"),
                       .bytes_written = route.at("bytes_written"),
                       .crosses_host_memory = route.at("crosses_host_memory")};
      for (const auto& hop : route.at("hops")) {
        if (count.way.empty()) count.way.push_back(hop.at("from"));
        count.way.push_back(hop.at("to"));
      }
      if (count.way.empty()) count.way.push_back(count.initiator);
      if (count.way.back() != count.target) count.way.push_back(count.target);
      counters.routes.push_back(std::move(count));
    }
  } catch (const nlohmann::ordered_json::exception& error) {
    Fail(kExitFailure, "the machine's counters are not as expected: {}; is it of another version?", error.what());
  }
  return counters;
}

Counters Added(const Counters& before, const Counters& after) {
  Counters added;
  for (LinkCount link : after.links) {
    const auto old = std::ranges::find_if(
        before.links, [&](const LinkCount& other) { return other.from == link.from && other.to == link.to; });
    if (old != before.links.end()) link.bytes -= old->bytes;
    if (link.bytes != 0) added.links.push_back(std::move(link));
  }
  for (RouteCount route : after.routes) {
    const auto old = std::ranges::find_if(before.routes, [&](const RouteCount& other) {
      return other.initiator == route.initiator && other.target == route.target && other.way == route.way;
    });
    if (old != before.routes.end()) {
      route.bytes_read -= old->bytes_read;
      route.bytes_written -= old->bytes_written;
    }
    if (route.bytes_read != 0 || route.bytes_written != 0) added.routes.push_back(std::move(route));
  }
  return added;
}

uint64_t HostMemoryBytes(const Counters& counters) {
  uint64_t bytes = 0;
  for (const RouteCount& route : counters.routes) {
    if (route.crosses_host_memory) bytes += route.bytes_read + route.bytes_written;
  }
  return bytes;
}

std::string DescribeWay(const Counters& added) {
  std::string way, last_initiator;
  for (const RouteCount& route : added.routes) {
    if (route.bytes_read == 0) continue;
    std::vector<std::string> things = route.way;
    std::ranges::reverse(things);
    Append(way, things, "; ");
    last_initiator = route.initiator;
  }
  for (const RouteCount& route : added.routes) {
    if (route.bytes_written == 0) continue;
    std::vector<std::string> things = route.way;
    // The NIC that read also writes: it is named once.
    const bool same = route.initiator == last_initiator;
    if (same) things.erase(things.begin());
    Append(way, things, same ? " > " : " ~ ");
    last_initiator.clear();
  }
  return way;
}

}  // namespace causeway::cli
