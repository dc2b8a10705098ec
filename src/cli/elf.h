// SPDX-License-Identifier: Apache-2.0
// What the kernel and the dynamic loader will make of an ELF file, read from its headers (System V gABI, elf(5)). The
// file is somebody else's: nothing in it is trusted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::cli {

struct ElfFacts {
  bool is_64bit = false;
  uint16_t machine = 0;             // e_machine: EM_X86_64, ...
  std::string interpreter;          // PT_INTERP; "" when there is none: static, or the loader itself
  std::string soname;               // DT_SONAME
  std::vector<std::string> needed;  // DT_NEEDED, in order
};

// errors: ENOEXEC not an ELF executable (or a broken one); those of reading.
Result<ElfFacts> ReadElf(int fd);

// The e_machine of this very build.
uint16_t NativeElfMachine();

}  // namespace causeway::cli
