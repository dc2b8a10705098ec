// SPDX-License-Identifier: Apache-2.0
// ioctls of the made-up device that probe.cc calls and shim_machine_test.cc serves.
#pragma once

namespace causeway::test {

enum Request : unsigned {
  kEcho = 0x7001,  // arg: uint64_t*; adds one
  kExport,         // -> descriptor of a dma-buf of kDmaBufBytes
  kOpenFiles,      // -> files of the machine that programs hold
  kUnmapped,       // -> vmas that ended
  kRaise,          // arg: events to queue on the event file
  kEventFile,      // -> descriptor of the event file
  kHang,           // no answer while the machine lives
  kForeign,        // arg: descriptor -> 1 when it is a file of the machine, 0 when not; EBADF
  kSlowDoorbells,  // -> POST_SEND writes that reached the machine (uverbs0)
  kSetQpState,     // arg: state of the queue pair (uverbs0)
  kRungDoorbells,  // -> times that the queue pair was rung by a program (uverbs0)
};
constexpr unsigned long kDmaBufBytes = 1ul << 20;

}  // namespace causeway::test
