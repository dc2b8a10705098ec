// SPDX-License-Identifier: Apache-2.0
// The machine's memory and valgrind.
//
// memcheck's leak check, at a program's end, looks for pointers in everything that may be accessed, and all of it that
// is looked at comes into being: of the arena and of devices' windows gibibytes that nothing was ever in, for half a
// minute. So they are made inaccessible (to memcheck, not to the processor) when nobody will access them any more.
#pragma once

namespace causeway::shim {

// exit(): registers what does it after all destructors. Once, before main(). Does nothing without valgrind.
void WatchExit();

// _exit().
[[noreturn]] void ExitAtOnce(int status);

}  // namespace causeway::shim
