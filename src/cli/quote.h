// SPDX-License-Identifier: Apache-2.0
// One word for a shell, whatever is in it.
#pragma once

#include <string>
#include <string_view>

namespace causeway::cli {

// For POSIX shells (and csh, as long as there is no '!'): 'it'\''s'.
inline std::string ShellQuote(std::string_view word) {
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// fish has its own escapes within single quotes: \' and \\.
inline std::string FishQuote(std::string_view word) {
  std::string quoted = "'";
  for (const char c : word) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

}  // namespace causeway::cli
