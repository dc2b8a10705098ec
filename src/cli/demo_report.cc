// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_report.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/table.h"

namespace causeway::cli {
namespace {

std::string OperationName(const nlohmann::json& measured) {
  return measured.value("op", "") == "RDMA_READ" ? "RDMA read" : "RDMA write";
}

// "1.50 GiB", or the range when the links carried different amounts.
std::string BytesPerLink(const Counters& added) {
  if (added.links.empty()) return "0";
  const auto [least, most] = std::ranges::minmax(added.links, {}, &LinkCount::bytes);
  if (least.bytes == most.bytes) return FormatBytes(least.bytes);
  return FormatBytes(least.bytes) + " to " + FormatBytes(most.bytes);
}

}  // namespace

std::vector<std::string> DemoReport::Faults() const {
  std::vector<std::string> faults;
  for (const Leg& leg : legs) {
    if (!leg.verified())
      faults.push_back(fmt::format("{}: the data that arrived is not the data that was sent", leg.name));
    const uint64_t host = HostMemoryBytes(leg.added);
    if (leg.PeerToPeer() && host != 0) {
      faults.push_back(fmt::format("{}: {} bytes went through host memory", leg.name, host));
    }
  }
  for (const StockRun& run : stock) {
    if (!run.good && !run.skipped) faults.push_back(fmt::format("{}: {}", run.command, run.result));
  }
  return faults;
}

std::string DemoReport::Text() const {
  const int passes = legs.empty() ? 0 : legs[0].measured.value("passes", 0);
  std::string text =
      fmt::format("machine: {}\n\nRDMA between accelerator memories: {} of {} per leg, median of {} passes\n\n",
                  machine, FormatBytes(bytes), source, passes);
  Table speeds({{"leg"}, {"by"}, {"GiB/s", Align::kRight}, {"memcpy", Align::kRight}, {"data"}, {"checksum"}});
  for (const Leg& leg : legs) {
    speeds.Add({leg.name, OperationName(leg.measured), fmt::format("{:.2f}", leg.measured.value("gib_per_s", 0.0)),
                fmt::format("{:.2f}", leg.measured.value("memcpy_gib_per_s", 0.0)),
                leg.verified() ? "verified" : "WRONG", leg.measured.value("checksum", "")});
  }
  text += speeds.Render("  ") + "\nBytes counted while each leg ran (all passes, warm-up included)\n\n";
  Table paths({{"leg"},
               {"moved", Align::kRight},
               {"host memory", Align::kRight},
               {"PCIe links", Align::kRight},
               {"on each link", Align::kRight}});
  for (const Leg& leg : legs) {
    paths.Add({leg.name, FormatBytes(leg.measured.value("bytes_moved", uint64_t{0})),
               FormatBytes(HostMemoryBytes(leg.added)), fmt::format("{}", leg.added.links.size()),
               BytesPerLink(leg.added)});
  }
  text += paths.Render("  ") + "\nThe way they took (> a PCIe link, ~ the network)\n\n";
  Table ways({{"leg"}, {"way"}});
  for (const Leg& leg : legs) ways.Add({leg.name, DescribeWay(leg.added)});
  text += ways.Render("  ") + "\nStock programs on the same machine, unmodified\n\n";
  Table programs({{"program"}, {"result"}});
  for (const StockRun& run : stock) programs.Add({run.command, run.result});
  return text + programs.Render("  ");
}

nlohmann::ordered_json DemoReport::Json() const {
  nlohmann::ordered_json document;
  document["good"] = Faults().empty();
  document["machine"] = machine;
  document["source"] = source;
  document["bytes"] = bytes;
  document["legs"] = nlohmann::ordered_json::array();
  for (const Leg& leg : legs) {
    nlohmann::ordered_json entry(leg.measured);
    entry["peer_to_peer"] = leg.PeerToPeer();
    entry["host_memory_bytes"] = HostMemoryBytes(leg.added);
    entry["way"] = DescribeWay(leg.added);
    entry["links"] = nlohmann::ordered_json::array();
    for (const LinkCount& link : leg.added.links) {
      entry["links"].push_back({{"from", link.from}, {"to", link.to}, {"bytes", link.bytes}});
    }
    document["legs"].push_back(std::move(entry));
  }
  document["programs"] = nlohmann::ordered_json::array();
  for (const StockRun& run : stock) {
    nlohmann::ordered_json entry = {
        {"command", run.command}, {"good", run.good}, {"skipped", run.skipped}, {"result", run.result}};
    entry.update(nlohmann::ordered_json(run.details));
    document["programs"].push_back(std::move(entry));
  }
  document["faults"] = Faults();
  return document;
}

}  // namespace causeway::cli
