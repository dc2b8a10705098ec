// SPDX-License-Identifier: Apache-2.0
// How a verb says that it cannot go on: an exit status and a sentence for people (what, where, what to do). Thrown
// inside this room only; main() prints it.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace causeway::cli {

// The command's exit statuses. Those of `run` follow env(1), timeout(1) and the shell.
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitSignal = 128;  // + the signal's number

class Failure : public std::runtime_error {
 public:
  Failure(int status, const std::string& message) : std::runtime_error(message), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

template <typename... Args>
[[noreturn]] void Fail(int status, fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(status, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace causeway::cli
