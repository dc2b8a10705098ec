// SPDX-License-Identifier: Apache-2.0
// A program that the demo starts and talks to by lines. Ends it when destroyed; ends by itself when the command dies.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "cli/served_program.h"
#include "cli/supervise.h"

namespace causeway::cli {

class Child {
 public:
  // `arguments[0]` is the program's name for FindProgram(). Its standard error is kept, for StandardError().
  Child(const SignalsHeld& signals, const std::string& machine_path, const std::vector<std::string>& arguments);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line of its standard output, without the newline; false at the end. Throws Failure (128 + signal) when a
  // signal that ends the command arrives.
  bool ReadLine(std::string& line);
  // All that is left of its standard output.
  std::string ReadAll();
  void Write(const std::string& text);
  // Takes what it says for at most this long; false when it has ended (both streams closed).
  bool Pause(int timeout_ms);
  // Waits for its end: exit status, or 128 + signal.
  int Wait();
  const std::string& StandardError() const { return error_; }
  const std::string& name() const { return name_; }

 private:
  bool Fill(int timeout_ms = -1);  // false at the end of both streams; true at the latest when the time is over

  std::string name_;
  pid_t pid_ = -1;
  UniqueFd signal_fd_, input_, output_, errors_;
  std::string text_, error_;
};

}  // namespace causeway::cli
