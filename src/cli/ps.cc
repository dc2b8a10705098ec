// SPDX-License-Identifier: Apache-2.0
// causeway ps: machines that are up, their programs, and what those hold.
#include <algorithm>

#include "cli/control_client.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/table.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

std::string Cell(const nlohmann::ordered_json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return Printable(value.get<std::string>());
  return value.dump();
}

// "resident_bytes" as a title, "resident"; its values as amounts.
bool IsAmount(const std::string& key) { return key.ends_with("bytes") || key == "size" || key == "resident"; }

// One of the machine's lists as a table whose columns are the members of its first entry: the machine says what there
// is to see, and this command need not know every kind of thing.
std::string RenderList(const std::string& title, const nlohmann::ordered_json& list) {
  std::vector<Table::Column> columns;
  std::vector<std::string> keys;
  for (const auto& [key, value] : list.front().items()) {
    if (value.is_structured()) continue;
    std::string heading = key;
    if (heading.ends_with("_bytes")) heading.resize(heading.size() - 6);
    columns.push_back({heading, value.is_number() ? Align::kRight : Align::kLeft});
    keys.push_back(key);
  }
  Table table(std::move(columns));
  for (const auto& entry : list) {
    std::vector<std::string> cells;
    for (const std::string& key : keys) {
      const nlohmann::ordered_json value =
          entry.contains(key) ? nlohmann::ordered_json(entry[key]) : nlohmann::ordered_json();
      cells.push_back(IsAmount(key) && value.is_number_unsigned() ? FormatBytes(value.get<uint64_t>()) : Cell(value));
    }
    table.Add(std::move(cells));
  }
  return "  " + title + "\n" + table.Render("    ");
}

void Print(const LiveMachine& machine, const nlohmann::ordered_json& answer) {
  fmt::print("machine '{}'{}", machine.name, IsPrivateName(machine.name) ? " (private)" : "");
  if (answer.contains("pid")) fmt::print(", process {}", answer["pid"].dump());
  for (const auto& [key, value] : answer.items()) {
    if (key.ends_with("_bytes") && value.is_number_unsigned()) {
      std::string of = key.substr(0, key.size() - 6);
      std::ranges::replace(of, '_', ' ');
      fmt::print(", {} {}", FormatBytes(value.get<uint64_t>()), of);
    }
  }
  fmt::print("\n");
  for (const auto& [key, value] : answer.items()) {
    if (!value.is_array()) continue;
    if (value.empty() || !value.front().is_object()) {
      fmt::print("  {}: {}\n", key, value.empty() ? "none" : value.dump());
    } else {
      fmt::print("{}", RenderList(key, value));
    }
  }
}

}  // namespace

int Ps(const QueryOptions& options) {
  const std::vector<LiveMachine> machines =
      options.name ? std::vector<LiveMachine>{RequireMachine(options.name)} : LiveMachines();
  nlohmann::ordered_json document = nlohmann::ordered_json::array();
  bool all_answered = true;
  for (const LiveMachine& machine : machines) {
    nlohmann::ordered_json answer;
    try {
      answer = AskOp(machine.path, "ps");
    } catch (const Failure& failure) {
      // A private machine may be coming or going right now; that is no failure of `ps`.
      if (!IsPrivateName(machine.name)) all_answered = false;
      answer["problem"] = failure.what();
    }
    if (options.json) {
      nlohmann::ordered_json entry = {
          {"machine", machine.name}, {"folder", machine.path}, {"private", IsPrivateName(machine.name)}};
      entry.update(answer);
      document.push_back(std::move(entry));
    } else if (answer.contains("problem")) {
      fmt::print("machine '{}': {}\n", machine.name, answer["problem"].get<std::string>());
    } else {
      Print(machine, answer);
    }
  }
  // A list of machines; with --name, the machine itself.
  if (options.json) fmt::print("{}\n", (options.name ? document.front() : document).dump(2));
  if (!options.json && machines.empty()) fmt::print("no machine is up\n");
  return all_answered ? 0 : kExitFailure;
}

}  // namespace causeway::cli
