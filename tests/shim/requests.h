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

// arg: Sized<N>*, N bytes; every one is raised by one. The sizes: less than what crosses with a call, all of it, more.
template <unsigned kBytes>
struct Sized {
  unsigned char bytes[kBytes];
};
constexpr unsigned SizedRequest(unsigned bytes) { return 3u << 30 | bytes << 16 | 'p' << 8 | 1; }  // _IOWR('p', 1, ...)
// arg: Chain*. Copies `value` to *to, then from there to `back`.
struct Chain {
  unsigned long value, to, back;
};
constexpr unsigned kChain = 3u << 30 | sizeof(Chain) << 16 | 'p' << 8 | 2;
// arg: Watched*. Reads `value`, says so by `seen` = 1, and reads it again until it is something else: `after`.
struct Watched {
  unsigned long value, seen, after;
};
constexpr unsigned kWatch = 3u << 30 | sizeof(Watched) << 16 | 'p' << 8 | 3;
constexpr unsigned long kDmaBufBytes = 1ul << 20;

}  // namespace causeway::test
