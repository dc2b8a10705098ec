// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "config/errors.h"

namespace causeway::config {
namespace {

// Edits from a to b: insert, delete, replace, swap neighbours (optimal string alignment distance).
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> edits(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        edits[i][j] = i + j;
        continue;
      }
      const size_t replaced = edits[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      edits[i][j] = std::min({replaced, edits[i - 1][j] + 1, edits[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        edits[i][j] = std::min(edits[i][j], edits[i - 2][j - 2] + 1);
      }
    }
  }
  return edits[a.size()][b.size()];
}

enum class Kind { kHostBridge, kRootPort, kSwitch, kSwitchPort, kAccelerator, kNic, kGpu };

std::string_view Word(Kind kind) {
  switch (kind) {
    case Kind::kHostBridge: return "host bridge";
    case Kind::kRootPort: return "root port";
    case Kind::kSwitch: return "switch";
    case Kind::kSwitchPort: return "switch port";
    case Kind::kAccelerator: return "accelerator";
    case Kind::kNic: return "NIC";
    case Kind::kGpu: return "GPU";
  }
  return "?";
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

class Checker {
 public:
  Checker(MachineConfig* config, Errors* errors) : config_(*config), errors_(*errors) {}

  void Run() {
    CollectNames();
    for (const RootPort& row : config_.root_ports) {
      const Thing* place = Find(row.on);
      if (place == nullptr || place->kind != Kind::kHostBridge) {
        dangling_.push_back({row.where_on, "on", "root port", row.name, row.on, {Kind::kHostBridge}});
      }
    }
    for (const Switch& row : config_.switches) TakePort(row.where_on, "on", "switch", row.name, row.on);
    for (const Accelerator& row : config_.accelerators) TakePort(row.where_on, "at", "accelerator", row.name, row.at);
    for (const Nic& row : config_.nics) TakePort(row.where_on, "at", "NIC", row.name, row.at);
    for (const Gpu& row : config_.gpus) TakePort(row.where_on, "at", "GPU", row.name, row.at);
    for (const Dangling& row : dangling_) Report(row);
    for (const Switch& row : config_.switches) CheckCircle(row);
    CheckCounts();
    GiveModuleIds();
    CheckMacs();
    if (!errors_.empty()) return;
    std::string reason;
    const auto built = pci::Topology::Build(DescribeTopology(config_), &reason);
    if (!built) errors_.Add({1, 1}, "the PCI tree cannot be built: {}", reason);
  }

 private:
  struct Thing {
    Kind kind;
    Where where;
    const Switch* owner;   // of a switch port
    std::string taken_by;  // what is on the port
  };

  // `on` or `at` that names nothing that could bear it.
  struct Dangling {
    Where where;
    std::string_view key, word;
    std::string name, on;
    std::set<Kind> wanted;
  };

  const Thing* Find(const std::string& name) const {
    const auto found = things_.find(name);
    return found == things_.end() ? nullptr : &found->second;
  }

  void Name(const std::string& name, Kind kind, Where where, const Switch* owner = nullptr) {
    const auto [place, made] = things_.emplace(name, Thing{kind, where, owner, ""});
    if (made) return;
    const Thing& first = place->second;
    errors_.Add(where, "the name \"{}\" is used twice, before for the {} at line {}; every thing needs its own", name,
                Word(first.kind), first.where.line);
  }

  void CollectNames() {
    for (const HostBridge& row : config_.host_bridges) Name(row.name, Kind::kHostBridge, row.where);
    for (const RootPort& row : config_.root_ports) Name(row.name, Kind::kRootPort, row.where);
    for (const Switch& row : config_.switches) {
      Name(row.name, Kind::kSwitch, row.where);
      for (const std::string& port : row.ports) Name(port, Kind::kSwitchPort, row.where, &row);
    }
    for (const Accelerator& row : config_.accelerators) Name(row.name, Kind::kAccelerator, row.where);
    for (const Nic& row : config_.nics) Name(row.name, Kind::kNic, row.where);
    for (const Gpu& row : config_.gpus) Name(row.name, Kind::kGpu, row.where);
  }

  // Says what could bear it; called when every other thing has its place, so that "free" is true.
  void Report(const Dangling& row) {
    const auto& [where, key, word, name, on, wanted] = row;
    std::vector<std::string> known, free;
    for (const auto& [other, thing] : things_) {
      if (!wanted.contains(thing.kind)) continue;
      known.push_back(other);
      if (thing.taken_by.empty()) free.push_back(other);
    }
    const std::string_view port = wanted.contains(Kind::kHostBridge) ? "host bridge" : "port";
    const Thing* thing = Find(on);
    if (on.empty()) {
      errors_.Add(where, "the {} \"{}\" is nowhere; say {} = and the name of a {}", word, name, key, port);
    } else if (thing == nullptr) {
      std::string hint = DidYouMean(on, known);
      if (hint.empty())
        hint = free.empty() ? fmt::format("; there is no free {}", port) : fmt::format("; free: {}", Join(free));
      errors_.Add(where, "{} of the {} \"{}\" names \"{}\", which does not exist{}", key, word, name, on, hint);
    } else if (thing->kind == Kind::kSwitch) {
      const auto named = std::find_if(config_.switches.begin(), config_.switches.end(),
                                      [&row](const Switch& candidate) { return candidate.name == row.on; });
      errors_.Add(where, "{} of the {} \"{}\" names the switch \"{}\"; name one of its ports: {}", key, word, name, on,
                  Join(named->ports));
    } else {
      errors_.Add(where, "{} of the {} \"{}\" names the {} \"{}\", which is no {}; {}", key, word, name,
                  Word(thing->kind), on, port,
                  thing->kind == Kind::kHostBridge ? "put a [[root_port]] on it, and name that"
                                                   : fmt::format("free: {}", Join(free)));
    }
  }

  void TakePort(Where where, std::string_view key, std::string_view word, const std::string& name,
                const std::string& on) {
    const auto found = things_.find(on);
    if (found == things_.end() || (found->second.kind != Kind::kRootPort && found->second.kind != Kind::kSwitchPort)) {
      dangling_.push_back({where, key, word, name, on, {Kind::kRootPort, Kind::kSwitchPort}});
    } else if (!found->second.taken_by.empty()) {
      errors_.Add(where, "\"{}\" and \"{}\" are both on the port \"{}\"; a port has one thing below it{}", name,
                  found->second.taken_by, on,
                  found->second.kind == Kind::kRootPort ? ": put a [[switch]] there to have more" : "");
    } else {
      found->second.taken_by = name;
    }
  }

  void CheckCircle(const Switch& start) {
    const Switch* at = &start;
    for (size_t steps = 0; steps <= config_.switches.size(); ++steps) {
      const Thing* place = Find(at->on);
      if (place == nullptr || place->kind != Kind::kSwitchPort) return;  // a root port, or reported as dangling
      at = place->owner;
      if (at != &start) continue;
      errors_.Add(start.where_on,
                  "the switch \"{}\" is below itself; follow \"on\" from it: it must end at a root port", start.name);
      return;
    }
  }

  void CheckCounts() {
    if (config_.nics.size() > kMaxNics) {
      errors_.Add(config_.nics[kMaxNics].where, "{} NICs; a machine has at most {}", config_.nics.size(), kMaxNics);
    }
    if (config_.accelerators.size() > kMaxAccelerators) {
      errors_.Add(config_.accelerators[kMaxAccelerators].where, "{} accelerators; a machine has at most {}",
                  config_.accelerators.size(), kMaxAccelerators);
    }
    if (config_.gpus.size() > kMaxGpus) {
      errors_.Add(config_.gpus[kMaxGpus].where, "{} GPUs; a machine has at most {}", config_.gpus.size(), kMaxGpus);
    }
  }

  // Those that were not given get the lowest numbers that are free.
  void GiveModuleIds() {
    std::map<uint32_t, const Accelerator*> used;
    for (const Accelerator& row : config_.accelerators) {
      if (row.module_id == kNoModuleId) continue;
      const auto [place, made] = used.emplace(row.module_id, &row);
      if (!made) {
        errors_.Add(row.where, "\"{}\" and \"{}\" both have module_id {}; each needs its own", row.name,
                    place->second->name, row.module_id);
      }
    }
    uint32_t next = 0;
    for (Accelerator& row : config_.accelerators) {
      if (row.module_id != kNoModuleId) continue;
      while (used.contains(next)) ++next;
      row.module_id = next;
      used.emplace(next, &row);
    }
  }

  void CheckMacs() {
    std::map<uint64_t, const Nic*> used;
    for (const Nic& row : config_.nics) {
      const auto [place, made] = used.emplace(NicMac(config_, row), &row);
      if (!made) {
        errors_.Add(row.where, "\"{}\" and \"{}\" have the same MAC address; give one of them a mac of its own",
                    row.name, place->second->name);
      }
    }
  }

  MachineConfig& config_;
  Errors& errors_;
  std::map<std::string, Thing> things_;
  std::vector<Dangling> dangling_;
};

}  // namespace

std::vector<ConfigError> Errors::TakeSorted() {
  std::stable_sort(list_.begin(), list_.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  return std::move(list_);
}

std::string DidYouMean(std::string_view word, std::span<const std::string> known) {
  size_t best = 1 + word.size() / 6;  // more edits than that are another word
  const std::string* nearest = nullptr;
  for (const std::string& candidate : known) {
    const size_t distance = Distance(word, candidate);
    if (distance > best || (nearest != nullptr && distance == best)) continue;
    best = distance;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : fmt::format("; did you mean \"{}\"?", *nearest);
}

void Check(MachineConfig* config, Errors* errors) { Checker(config, errors).Run(); }

}  // namespace causeway::config
