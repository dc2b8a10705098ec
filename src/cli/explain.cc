// SPDX-License-Identifier: Apache-2.0
// causeway explain: why the machine said no.
#include <ctime>

#include "cli/control_client.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/table.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

// Seconds since 1970 as the user's clock shows them; text as it is.
std::string TimeText(const nlohmann::ordered_json& time) {
  if (time.is_string()) return Printable(time.get<std::string>());
  if (!time.is_number()) return {};
  const auto seconds = static_cast<std::time_t>(time.get<double>());
  std::tm local = {};
  char text[32] = {};
  if (::localtime_r(&seconds, &local) != nullptr) std::strftime(text, sizeof(text), "%H:%M:%S", &local);
  return text;
}

}  // namespace

int Explain(const QueryOptions& options) {
  const LiveMachine machine = RequireMachine(options.name);
  const nlohmann::ordered_json answer = AskOp(machine.path, "explain");
  if (options.json) {
    fmt::print("{}\n", answer.dump(2));
    return 0;
  }
  const nlohmann::ordered_json& refusals = answer.is_object() ? answer.at("refusals") : answer;
  if (refusals.empty()) fmt::print("machine '{}' has refused nothing\n", machine.name);
  for (const nlohmann::ordered_json& refusal : refusals) {
    const std::string time = refusal.contains("time") ? TimeText(refusal["time"]) : "";
    fmt::print("{}{}{}\n", time, time.empty() ? "" : "  ", Printable(refusal.value("what", "")));
    const std::string provider = refusal.value("provider", ""), client = refusal.value("client", "");
    if (!provider.empty()) fmt::print("  memory of   {}\n", Printable(provider));
    if (!client.empty()) fmt::print("  wanted by   {}\n", Printable(client));
    fmt::print("  rule        {}\n", Printable(refusal.value("rule", "")));
    const std::string remedy = refusal.value("remedy", "");
    if (!remedy.empty()) fmt::print("  what helps  {}\n", Printable(remedy));
    fmt::print("\n");
  }
  return 0;
}

}  // namespace causeway::cli
