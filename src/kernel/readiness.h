// SPDX-License-Identifier: Apache-2.0
// Makes a file readable: what poll() and a blocking read() in a program wait on. Implemented by the machine's
// FileTable.
#pragma once

#include "kernel/file.h"

namespace causeway::kernel {

class Readiness {
 public:
  virtual ~Readiness() = default;
  // The file has something to read now: its descriptors become readable (level triggered) until a read reports
  // `drained`. Cheap when it is readable already. A file that is in no table yet is ignored.
  virtual void SetReadable(FileId file) = 0;
  // Nothing is left although no read took it (an object was destroyed with its events).
  virtual void ClearReadable(FileId file) = 0;
};

}  // namespace causeway::kernel
