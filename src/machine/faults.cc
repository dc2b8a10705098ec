// SPDX-License-Identifier: Apache-2.0
#include "machine/faults.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "drivers/habanalabs/inject.h"

namespace causeway::machine {
namespace {

using Json = nlohmann::ordered_json;
using Request = nlohmann::json;

// A number of the request that fits its field; anything else is the asker's mistake, and said so.
template <typename T>
void Take(const Request& request, const char* key, std::optional<T>* field) {
  if (!request.contains(key)) return;
  const Request& value = request[key];
  const bool fits =
      std::numeric_limits<T>::is_signed
          ? value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)
          : value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<T>::max();
  if (!fits) throw std::invalid_argument(fmt::format("'{}' is no number of its range", key));
  *field = value.get<T>();
}
void Take(const Request& request, const char* key, bool* field) {
  if (!request.contains(key)) return;
  if (!request[key].is_boolean()) throw std::invalid_argument(fmt::format("'{}' is true or false", key));
  *field = request[key].get<bool>();
}
std::string Text(const Request& request, const char* key) {
  if (!request.contains(key) || !request[key].is_string()) {
    throw std::invalid_argument(fmt::format("'{}' is missing", key));
  }
  return request[key].get<std::string>();
}

habanalabs::HlDevice* Find(habanalabs::Driver& driver, const std::string& name) {
  for (size_t i = 0; i < driver.device_count(); ++i) {
    habanalabs::HlDevice& device = driver.device(i);
    const std::string bdf = device.function().bdf().ToString();
    const std::string node = device.node().substr(device.node().rfind('/') + 1);
    if (name == device.function().name() || name == device.node() || name == node || name == bdf ||
        "0000:" + name == bdf) {
      return &device;
    }
  }
  return nullptr;
}

Json Faults() {
  Json faults = Json::array();
  for (const auto& kind : habanalabs::FaultKinds()) {
    faults.push_back({{"name", kind.name}, {"what", kind.what}, {"options", kind.options}});
  }
  return {{"faults", std::move(faults)}};
}

Json InjectFault(habanalabs::Driver& driver, const Request& request) {
  const std::string name = Text(request, "device");
  habanalabs::HlDevice* device = Find(driver, name);
  if (device == nullptr) {
    std::string known;
    for (size_t i = 0; i < driver.device_count(); ++i) {
      known += (i == 0 ? "" : ", ") + driver.device(i).function().name();
    }
    throw std::invalid_argument(fmt::format("no accelerator '{}'; there are: {}", name, known));
  }
  habanalabs::Fault fault;
  fault.name = Text(request, "fault");
  Take(request, "address", &fault.address);
  Take(request, "engine", &fault.engine);
  Take(request, "stream", &fault.stream);
  Take(request, "index", &fault.index);
  Take(request, "celsius", &fault.celsius);
  Take(request, "event", &fault.event);
  Take(request, "after", &fault.after);
  Take(request, "write", &fault.write);
  Take(request, "uncorrectable", &fault.uncorrectable);
  Take(request, "critical", &fault.critical);
  if (request.contains("at")) fault.at = Text(request, "at");
  const auto effect = habanalabs::Inject(*device, fault);
  if (!effect && effect.error() == Errno(ENOENT)) {
    std::string known;
    for (const auto& kind : habanalabs::FaultKinds()) known += (known.empty() ? "" : ", ") + std::string(kind.name);
    throw std::invalid_argument(fmt::format("no fault '{}'; there are: {}", fault.name, known));
  }
  if (!effect) {
    std::string options;
    for (const auto& kind : habanalabs::FaultKinds()) {
      if (kind.name == fault.name) options = kind.options;
    }
    throw std::invalid_argument(options.empty() ? fmt::format("'{}' takes no options", fault.name)
                                                : fmt::format("'{}' takes {}, with values that {} has", fault.name,
                                                              options, device->TypeName()));
  }
  return {{"device", device->function().name()},
          {"fault", fault.name},
          {"effect", *effect},
          {"status", device->StatusName()}};
}

}  // namespace

void AddFaultHandlers(std::map<std::string, ControlServer::Handler>& handlers, habanalabs::Driver& driver) {
  handlers["faults"] = [](const Request&) { return Faults(); };
  handlers["inject"] = [&driver](const Request& request) { return InjectFault(driver, request); };
}

}  // namespace causeway::machine
