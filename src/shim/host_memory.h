// SPDX-License-Identifier: Apache-2.0
// Ordinary memory that this program registers with a NIC or maps for an accelerator is moved into pages that the
// machine's processes share (ipc::kHostMemory), so that RDMA and DMA to and from it is a memcpy. The bytes, the
// addresses and what the program can do with them stay as they are; docs/architecture.md, "Host memory", has the cases.
//
//   a call that would pin memory, answered kShareFirst -> pages of it that are private anonymous memory:
//     one thread:      copy to the host memory, map that over them
//     several threads: userfaultfd holds up who touches them; moved aside, copied, shared pages mapped, woken
//
// What cannot be moved safely stays as it is and is reached by process_vm_readv() and process_vm_writev(). The kernel's
// list of mappings is the only record of what is shared: libc unmaps memory without being seen.
#pragma once

#include "shim/mapping.h"

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::shim {

// False: nothing is shared in this process any more, so that there is no use in asking for it.
bool MayShareHost();
// Shares what can be moved of this memory.
void ShareHost(uint64_t address, uint64_t length);

// [low, high) holds all that was ever shared here; empty at first. What calls on other memory pay is these loads.
struct HostBounds {
  std::atomic<uintptr_t> low{UINTPTR_MAX}, high{0};
};
extern HostBounds host_bounds;
inline bool AnyHostShared() { return host_bounds.high.load(std::memory_order_relaxed) != 0; }
inline bool MayBeHostShared(uintptr_t address, size_t length) {
  const uintptr_t low = host_bounds.low.load(std::memory_order_relaxed);
  return address < host_bounds.high.load(std::memory_order_relaxed) && (address >= low || low - address < length);
}
void WidenHostBounds(uintptr_t start, uintptr_t end);
// Does [address, address + length) hold shared pages? Asks the kernel, when it may.
bool IsHostShared(uintptr_t address, size_t length);
// Pages of it were shared, and are not mapped there any more.
void HostUnmapped(uintptr_t address, size_t length);

// ---- host_calls.cc: calls of the program that mean something else on shared pages than on private ones
int HostMadvise(void* address, size_t length, int advice, Way way = Way::kLibc);
// Set by the first MADV_DONTFORK: from then on a move looks whether its pages are so, and keeps them so.
extern std::atomic<bool> any_dontfork;
void* HostRealloc(void* block, size_t size);
// mremap() of a range that holds shared pages.
void* HostRemap(void* address, size_t length, size_t new_length, int flags, void* new_address, Way way);

// ---- fork(): the child gets pages of its own, and the parent waits until it has them
void HostBeforeFork();
void HostAfterForkInParent();
void HostAfterForkInChild();
pid_t HostVfork();  // the child may see its parent's memory: nothing is copied

}  // namespace causeway::shim
