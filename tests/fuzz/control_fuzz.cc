// SPDX-License-Identifier: Apache-2.0
// One line to the machine's control socket: every line gets one JSON object, on one line.
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "machine/control.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Json = nlohmann::ordered_json;
  static const std::map<std::string, causeway::machine::ControlServer::Handler> handlers = {
      {"version",
       [](const auto&) {
         return Json{{"version", "1"}};
       }},
      {"name",
       [](const auto&) {
         return Json{{"name", std::string("\xff\xfe\n\"")}};
       }},
      {"fails", [](const auto&) -> Json { throw std::runtime_error("no \xff"); }}};
  const std::string line(reinterpret_cast<const char*>(data), size);
  const std::string reply = causeway::machine::ControlReply(handlers, line);
  CW_INVARIANT(reply.find('\n') == std::string::npos && Json::parse(reply).is_object());
  return 0;
}
