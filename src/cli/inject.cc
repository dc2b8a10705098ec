// SPDX-License-Identifier: Apache-2.0
// causeway inject: makes an accelerator fail.
#include <charconv>

#include "cli/control_client.h"
#include "cli/failure.h"
#include "cli/machine_folder.h"
#include "cli/table.h"
#include "cli/verbs.h"

namespace causeway::cli {
namespace {

uint64_t ParseAddress(const std::string& text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const char* const begin = text.data() + (hex ? 2 : 0);
  const char* const end = text.data() + text.size();
  uint64_t value = 0;
  const auto [at, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
  if (error != std::errc() || at != end) Fail(kExitUsage, "'{}' is no address", text);
  return value;
}

int List(const LiveMachine& machine, bool json) {
  const nlohmann::ordered_json answer = AskOp(machine.path, "faults");
  if (json) {
    fmt::print("{}\n", answer.dump(2));
    return 0;
  }
  for (const nlohmann::ordered_json& fault : answer.at("faults")) {
    fmt::print("{} {}\n    {}\n", fault.value("name", ""), fault.value("options", ""), fault.value("what", ""));
  }
  return 0;
}

}  // namespace

int Inject(const InjectOptions& options) {
  const LiveMachine machine = RequireMachine(options.name);
  if (options.list) return List(machine, options.json);
  if (options.device.empty() || options.fault.empty()) {
    Fail(kExitUsage, "which device, and which fault? `causeway ps` lists devices, `causeway inject --list` faults");
  }
  nlohmann::ordered_json request = {{"op", "inject"}, {"device", options.device}, {"fault", options.fault}};
  const auto put = [&request](const char* key, const auto& value) {
    if (value) request[key] = *value;
  };
  if (options.address) request["address"] = ParseAddress(*options.address);
  put("engine", options.engine);
  put("stream", options.stream);
  put("index", options.index);
  put("event", options.event);
  put("celsius", options.celsius);
  put("after", options.after);
  put("at", options.at);
  if (options.write) request["write"] = true;
  if (options.uncorrectable) request["uncorrectable"] = true;
  if (options.critical) request["critical"] = true;
  const nlohmann::ordered_json answer = Ask(machine.path, request);
  if (options.json) {
    fmt::print("{}\n", answer.dump(2));
  } else {
    fmt::print("{}: {}; the device is {}\n", answer.value("device", ""), answer.value("effect", ""),
               answer.value("status", ""));
  }
  return 0;
}

}  // namespace causeway::cli
