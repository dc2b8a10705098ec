// SPDX-License-Identifier: Apache-2.0
// causeway demo: RDMA between the memories of two accelerators, watched from the bus, on a machine of its own.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "cli/child.h"
#include "cli/control_client.h"
#include "cli/demo_report.h"
#include "cli/failure.h"
#include "cli/installation.h"
#include "cli/launcher.h"
#include "cli/stock_programs.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

// One line that is rewritten, on a terminal only.
class Progress {
 public:
  ~Progress() { Show(""); }
  void Show(const std::string& text) {
    if (on_) fmt::print(stderr, "\r\033[K{}", text);
  }

 private:
  const bool on_ = ::isatty(STDERR_FILENO) != 0;
};

std::string DescribeMachine(const config::MachineConfig& config) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  for (const auto& accelerator : config.accelerators) {
    add(fmt::format("{} ({} at {})", accelerator.name, config::ToString(accelerator.type), accelerator.at));
  }
  for (const auto& nic : config.nics) add(fmt::format("{} (NIC at {})", nic.name, nic.at));
  return text;
}

Leg& FindLeg(std::vector<Leg>& legs, const std::string& name) {
  for (Leg& leg : legs) {
    if (leg.name == name) return leg;
  }
  legs.push_back({.name = name, .added = {}, .measured = {}});
  return legs.back();
}

// Runs causeway-p2p leg by leg (examples/README.md, --step) and looks at the counters between them.
void RunPeerToPeer(const SignalsHeld& signals, const std::string& machine_path, const DemoOptions& options,
                   DemoReport& report) {
  std::vector<std::string> arguments = {PeerToPeerProgram(), "--step", "--memcpy"};
  arguments.insert(arguments.end(), options.file.empty() ? std::initializer_list<std::string>{"--bytes", options.size}
                                                         : std::initializer_list<std::string>{"--file", options.file});
  Progress progress;
  progress.Show("preparing");
  Child program(signals, machine_path, arguments);
  Counters before;
  std::string line;
  while (program.ReadLine(line)) {
    const nlohmann::json said = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!said.is_object()) continue;
    if (said.contains("ready")) {
      before = ReadCounters(machine_path);
      progress.Show(said["ready"] == "verify" ? "verifying" : said["ready"].get<std::string>());
      program.Write("\n");
    } else if (said.contains("progress")) {
      const nlohmann::json& now = said["progress"];
      const uint64_t total = now.value("total", uint64_t{0});
      progress.Show(fmt::format("{}  pass {} of {}  {:3}%", now.value("leg", ""), now.value("pass", 0),
                                now.value("passes", 0),
                                total == 0 ? 100 : 100 * now.value("done", uint64_t{0}) / total));
    } else if (said.contains("moved")) {
      FindLeg(report.legs, said["moved"]).added = Added(before, ReadCounters(machine_path));
    } else if (said.contains("leg")) {
      FindLeg(report.legs, said["leg"]).measured = said;
      report.bytes = said.value("bytes", uint64_t{0});
    }
  }
  const int status = program.Wait();
  progress.Show("");
  if (!program.StandardError().empty()) fmt::print(stderr, "{}", program.StandardError());
  // Wrong data is in the report; anything else has no report to be in.
  const bool complete = report.legs.size() == 4 && !report.legs.back().measured.empty();
  if (status != 0 && !complete) {
    Fail(kExitFailure, "causeway-p2p ended with status {} (its words are above); the end of the machine's log:\n{}",
         status, LogTail(machine_path));
  }
}

// "64M": as causeway-p2p reads it.
bool IsSize(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view unit = text.substr(digits);
  return digits != 0 && (unit.empty() || unit == "K" || unit == "M" || unit == "G");
}

}  // namespace

int Demo(const DemoOptions& options) {
  if (!IsSize(options.size)) Fail(kExitUsage, "'{}' is no size; write 64M, say", options.size);
  struct stat status = {};
  if (!options.file.empty() && ::stat(options.file.c_str(), &status) != 0) {
    Fail(kExitFailure, "{}: {}", options.file, std::strerror(errno));
  }
  if (!options.file.empty() && !S_ISREG(status.st_mode)) Fail(kExitFailure, "{}: not a regular file", options.file);

  const SignalsHeld signals;
  const Configuration configuration = ReadConfig("");
  DemoReport report;
  report.machine = DescribeMachine(configuration.config);
  report.source = options.file.empty() ? "pseudo-random data" : options.file;
  {
    const PrivateMachine machine = PrivateMachine::Start(configuration, /*verbose=*/false);
    RunPeerToPeer(signals, machine.path(), options, report);
    Progress progress;
    progress.Show("ibv_devinfo");
    report.stock.push_back(RunDevinfo(signals, machine.path()));
    progress.Show("ib_write_bw");
    const auto& nics = configuration.config.nics;
    report.stock.push_back(RunWriteBandwidth(signals, machine.path(), nics.at(1).name, nics.at(0).name));
  }
  if (options.json) {
    fmt::print("{}\n", report.Json().dump(2));
  } else {
    fmt::print("{}", report.Text());
  }
  std::fflush(stdout);
  const std::vector<std::string> faults = report.Faults();
  for (const std::string& fault : faults) fmt::print(stderr, "causeway demo: {}\n", fault);
  return faults.empty() ? 0 : kExitFailure;
}

}  // namespace causeway::cli
