// SPDX-License-Identifier: Apache-2.0
// The program that `run` is given: which file it is (PATH, as execvp), what the kernel will load for it (#! lines), and
// whether the preloaded library can serve it. Decided before a machine is started.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace causeway::cli {

struct Program {
  std::string path;            // what to execute
  std::string loaded;          // the ELF file that is loaded in the end: path, or the interpreter of a script
  bool is_plain_text = false;  // neither ELF nor "#!": given to /bin/sh, as execvp() does
  // Sanitizer run-times the program is linked against, by soname. They insist on being first among the preloaded.
  std::vector<std::string> run_times;
};

// `path_variable` is PATH's value, or nullptr when it is not set.
// Throws Failure: 127 not found; 126 found but not executable, or not servable: static, setuid, of another machine.
Program FindProgram(const std::string& name, const char* path_variable);

// LD_PRELOAD for it: run-times, then our library, then what the user had there. An entry that is ours already is
// dropped from `inherited`.
std::string PreloadFor(const std::vector<std::string>& run_times, const std::string& library,
                       std::string_view inherited);

}  // namespace causeway::cli
