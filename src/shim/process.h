// SPDX-License-Identifier: Apache-2.0
// The shim in the life of a process: start, fork, and small services that several parts need.
#pragma once

#include <sys/types.h>

namespace causeway::shim {

// Runs once when the library is loaded (and earlier if a call comes first): finds libc's functions, reads the
// environment, notes inherited descriptors, registers fork handlers. Touches nothing else: `causeway run -- true` is
// measured.
void StartProcess();

// _Fork(): fork() without the handlers that StartProcess() registers, so they are run here.
pid_t ForkPlain();

// Takes one readiness byte back from a virtual file's socket (kernel/readiness.h): what the machine sent when there was
// something to read, and what poll() sees.
void TakeReadinessByte(int fd);

}  // namespace causeway::shim
