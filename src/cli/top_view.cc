// SPDX-License-Identifier: Apache-2.0
#include "cli/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cli/table.h"

namespace causeway::cli {
namespace {

using Json = nlohmann::ordered_json;

// The entry of `list` that has the same values for `keys` as `entry`.
const Json* Same(const Json& list, const Json& entry, std::initializer_list<const char*> keys) {
  for (const Json& other : list) {
    if (std::ranges::all_of(keys, [&](const char* key) { return other.value(key, "") == entry.value(key, ""); })) {
      return &other;
    }
  }
  return nullptr;
}

double Rate(const Json* before, const Json& after, const char* key, double seconds) {
  const auto now = after.value(key, uint64_t{0});
  const auto then = before == nullptr ? now : before->value(key, uint64_t{0});
  // A counter that went back belongs to a machine that began anew.
  return now < then || seconds <= 0 ? 0 : static_cast<double>(now - then) / seconds;
}

std::string Count(double rate) {
  if (rate >= 1e6) return fmt::format("{:.1f}M", rate / 1e6);
  if (rate >= 1e4) return fmt::format("{:.1f}k", rate / 1e3);
  return fmt::format("{:.0f}", rate);
}

std::string PerSecond(double bytes) { return FormatBytes(static_cast<uint64_t>(bytes)) + "/s"; }

std::string Scaled(const Json& entry, const char* key, double scale, const char* unit) {
  if (!entry.contains(key) || !entry[key].is_number()) return "-";
  return fmt::format("{:.0f} {}", entry[key].get<double>() / scale, unit);
}

void AddLines(std::vector<std::string>& lines, const std::string& text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
}

std::string Engines(const Json& accelerator) {
  std::string text;
  for (const Json& engine : accelerator.value("busy_engines", Json::array())) {
    text += (text.empty() ? "" : " ") + engine.get<std::string>();
  }
  return text.empty() ? "idle" : text;
}

std::string Accelerators(const Json& list) {
  Table table({{"accelerator"},
               {"status"},
               {"opener", Align::kRight},
               {"memory", Align::kRight},
               {"of", Align::kRight},
               {"subm/s", Align::kRight},
               {"active", Align::kRight},
               {"power", Align::kRight},
               {"temp", Align::kRight},
               {"engines"}});
  for (const Json& entry : list) {
    const Json opener = entry.value("opened_by", Json());
    table.Add({Printable(entry.value("name", "")), Printable(entry.value("status", "")),
               opener.is_null() ? "-" : opener.dump(), FormatBytes(entry.value("used_bytes", uint64_t{0})),
               FormatBytes(entry.value("memory_bytes", uint64_t{0})), Count(entry.value("submissions_per_second", 0.0)),
               fmt::format("{}", entry.value("active_submissions", 0)), Scaled(entry, "power_mw", 1e3, "W"),
               Scaled(entry, "temperature_mc", 1e3, "C"), Engines(entry)});
  }
  return table.Render();
}

std::string Nics(const Json& list) {
  Table table({{"nic"},
               {"contexts", Align::kRight},
               {"qps", Align::kRight},
               {"mrs", Align::kRight},
               {"sent pkt/s", Align::kRight},
               {"rcvd pkt/s", Align::kRight}});
  for (const Json& entry : list) {
    table.Add({Printable(entry.value("name", "")), fmt::format("{}", entry.value("contexts", 0)),
               fmt::format("{}", entry.value("qps", 0)), fmt::format("{}", entry.value("mrs", 0)),
               Count(entry.value("sent_per_second", 0.0)), Count(entry.value("received_per_second", 0.0))});
  }
  return table.Render();
}

// The busiest first; idle ones are not shown.
std::string Links(const Json& list) {
  std::vector<const Json*> busy;
  for (const Json& link : list) {
    if (link.value("bytes_per_second", 0.0) > 0) busy.push_back(&link);
  }
  std::ranges::stable_sort(busy, [](const Json* a, const Json* b) {
    return a->value("bytes_per_second", 0.0) > b->value("bytes_per_second", 0.0);
  });
  if (busy.empty()) return "no link carries anything\n";
  Table table({{"link"}, {"carries", Align::kRight}, {"in all", Align::kRight}});
  for (const Json* link : busy) {
    table.Add({Printable(link->value("from", "") + " > " + link->value("to", "")),
               PerSecond(link->value("bytes_per_second", 0.0)), FormatBytes(link->value("bytes", uint64_t{0}))});
  }
  return table.Render();
}

}  // namespace

Json WithRates(const Json& before, const Json& after) {
  Json sample = after;
  const double seconds = after.value("time", 0.0) - before.value("time", 0.0);
  sample["seconds"] = seconds;
  const Json none = Json::array();
  for (Json& entry : sample["accelerators"]) {
    const Json* old = Same(before.contains("accelerators") ? before["accelerators"] : none, entry, {"name"});
    entry["submissions_per_second"] = Rate(old, entry, "submissions", seconds);
  }
  for (Json& entry : sample["nics"]) {
    const Json* old = Same(before.contains("nics") ? before["nics"] : none, entry, {"name"});
    entry["sent_per_second"] = Rate(old, entry, "sent_pkts", seconds);
    entry["received_per_second"] = Rate(old, entry, "rcvd_pkts", seconds);
  }
  for (Json& entry : sample["links"]) {
    const Json* old = Same(before.contains("links") ? before["links"] : none, entry, {"from", "to"});
    entry["bytes_per_second"] = Rate(old, entry, "bytes", seconds);
  }
  return sample;
}

std::string RenderTop(const std::string& machine, const Json& sample, const TerminalSize& size) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("machine '{}'  programs {}  open files {}  resident {}", machine,
                              sample.value("programs", 0), sample.value("files", 0),
                              FormatBytes(sample.value("resident_bytes", uint64_t{0}))));
  const Json none = Json::array();
  const auto list = [&](const char* key) -> const Json& { return sample.contains(key) ? sample[key] : none; };
  if (!list("accelerators").empty()) {
    lines.emplace_back();
    AddLines(lines, Accelerators(list("accelerators")));
  }
  if (!list("nics").empty()) {
    lines.emplace_back();
    AddLines(lines, Nics(list("nics")));
  }
  lines.emplace_back();
  AddLines(lines, Links(list("links")));

  if (size.rows != 0 && lines.size() > size.rows) {
    const size_t missing = lines.size() - (size.rows - 1);
    lines.resize(size.rows - 1);
    lines.push_back(fmt::format("... {} more lines", missing));
  }
  std::string text;
  for (const std::string& line : lines) text += line.substr(0, size.columns) + "\n";
  return text;
}

}  // namespace causeway::cli
