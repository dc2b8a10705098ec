// SPDX-License-Identifier: Apache-2.0
// Where the errors of one file are gathered while it is read and checked.
#pragma once

#include <fmt/core.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"

namespace causeway::config {

// Accelerator::module_id while it is not known; gone after Check().
constexpr uint32_t kNoModuleId = 0xffffffff;

class Errors {
 public:
  explicit Errors(std::string_view file) : file_(file) {}

  template <typename... Args>
  void Add(Where where, fmt::format_string<Args...> format, Args&&... args) {
    list_.push_back({file_, where.line, where.column, fmt::format(format, std::forward<Args>(args)...)});
  }
  bool empty() const { return list_.empty(); }
  std::vector<ConfigError> TakeSorted();  // in file order

 private:
  const std::string file_;
  std::vector<ConfigError> list_;
};

// "; did you mean \"acs\"?" when one of `known` is a slip of the finger away, else "".
std::string DidYouMean(std::string_view word, std::span<const std::string> known);

// What parsing alone cannot see: names used twice, things on nothing, two devices on one port, circles, trees that have
// no room. Fills in what the file left open (module ids).
void Check(MachineConfig* config, Errors* errors);

}  // namespace causeway::config
