// SPDX-License-Identifier: Apache-2.0
// The machine's log: for people. error (cannot do what was asked), warn (odd, goes on), info (few per device life),
// debug. Prefix as the kernel does: "hl0: ", "rxe0: ". spdlog stays behind this header, so that rooms compile fast.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace causeway::log {

enum class Level { kDebug, kInfo, kWarn, kError };

// Where to and from which level on; "" logs to stderr. Called once, by main().
void Configure(std::string_view path, Level level);
void Write(Level level, std::string_view message);
bool Enabled(Level level);

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kDebug)) Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kInfo)) Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Warn(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kWarn)) Write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  if (Enabled(Level::kError)) Write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace causeway::log
