// SPDX-License-Identifier: Apache-2.0
// The NIC's doorbell. libibverbs' rxe provider rings it by a 32-byte write() of POST_SEND to the uverbs descriptor;
// when the QP it names is known here, the write does not leave the process: this thread runs the send queue itself
// (devices/roce_nic/engine.h).
//
//   write(POST_SEND) -> cache of (file, handle) -> QPN -- hit, and the QP's context agrees --> RingDoorbell()
//                                                     `-- else --> the machine's slow path; its answer is learned
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

// Not a doorbell this process can ring: the machine answers the write.
constexpr int64_t kNotADoorbell = INT64_MIN;

// Rings, if `buffer` is a doorbell of a QP that is known: the bytes written, or -errno as the kernel's write() does;
// kNotADoorbell else. Precondition: `fd` is an uverbs file.
int64_t RingDoorbell(int fd, const void* buffer, size_t size);

// After a write that the machine answered: `answer` is the QPN that it named when it was a doorbell
// (Message::value[0]), else 0.
void LearnDoorbell(int fd, const void* buffer, size_t size, uint64_t answer);

}  // namespace causeway::shim
