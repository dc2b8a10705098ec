// SPDX-License-Identifier: Apache-2.0
// Memory of the machine in this process: what mmap() of virtual files maps, which of those ranges the machine wants to
// hear about when they go (vma ids), and the NIC's windows into memory objects.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::shim {

// How the real call is made. Not by way of libc's functions when the program itself gave the number to syscall():
// libraries that watch memory (libfabric, UCX) write a jump into those, to functions of their own that end in
// syscall().
enum class Way { kLibc, kNumber };
void* MapBy(Way way, void* address, size_t length, int prot, int flags, int fd, off_t offset);
int UnmapBy(Way way, void* address, size_t length);
void* RemapBy(Way way, void* address, size_t length, size_t new_length, int flags, void* new_address);

void* MapFile(void* address, size_t length, int prot, int flags, int fd, off_t offset);
// An ordinary mapping, which may end what lay there: MAP_FIXED.
void* MapOther(void* address, size_t length, int prot, int flags, int fd, off_t offset, Way way = Way::kLibc);
int Unmap(void* address, size_t length, Way way = Way::kLibc);
void* Remap(void* address, size_t length, size_t new_length, int flags, void* new_address, Way way = Way::kLibc);
// Is any range tracked?
bool AnyTracked();
// May the range hold tracked mappings, or shared host memory? A few loads: what munmap() of everything else pays.
bool MattersToMappings(const void* address, size_t length);
// Something else is mapped over [address, address + length): MAP_FIXED.
void ForgetRange(uintptr_t address, size_t length);

// A mapping whose stores are the machine's to carry out, at some address in it.
struct Trap {
  uint64_t vma;
  uint64_t offset;  // of the address in what was mapped
  size_t left;      // bytes from the address to its end
};
bool FindTrap(uintptr_t address, Trap* trap);

// Start of a 1 GiB window (ipc::kMemoryWindow) of a memory object; nullptr when it cannot be had.
std::byte* MapWindow(uint32_t memory, uint32_t window);
// The pointers of one memory's windows, which MapWindow() fills: ipc::MaxWindows() of them.
std::atomic<std::byte*>* WindowTable(uint32_t memory);

void ResetMappingsInChild();

}  // namespace causeway::shim
