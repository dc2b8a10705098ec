// SPDX-License-Identifier: Apache-2.0
// Stores to mapped registers of a device. Such a mapping is read-only to the processor: a store raises SIGSEGV, whose
// handler carries the instruction out (x86_store.h) by a call to the machine, one per aligned piece of at most 8 bytes.
// A load costs what a load costs. The handler is installed with the first such mapping; from then on the program's own
// handler for SIGSEGV is kept here and gets every other fault.
#pragma once

#include <signal.h>

#include <cstdint>

namespace causeway::shim {

// Before the first such mapping is given to the program. Idempotent.
void StartStoreTraps();

// sigaction() and signal() of the program, and what signal() is in programs that ask for ISO C or XSI alone. Signals
// other than SIGSEGV, and SIGSEGV before StartStoreTraps(), are libc's.
int Sigaction(int signal, const struct sigaction* action, struct sigaction* old);
sighandler_t Signal(int signal, sighandler_t handler);
sighandler_t SysvSignal(int signal, sighandler_t handler);

void ResetStoreTrapsInChild();

}  // namespace causeway::shim
