// SPDX-License-Identifier: Apache-2.0
#include "shim/mapping.h"

#include <sys/mman.h>

#include <atomic>

#include "ipc/memory_window.h"
#include "shim/fd_table.h"
#include "shim/host_maps.h"
#include "shim/host_memory.h"
#include "shim/machine.h"
#include "shim/raw.h"
#include "shim/real.h"
#include "shim/store_trap.h"

namespace causeway::shim {
namespace {

// A range of this address space that the machine counts as one vma (or what partial unmaps left of it).
struct Tracked {
  uintptr_t start;
  size_t length;
  uint64_t vma;
  uint64_t offset;  // of `start` in what was mapped
  bool traps;       // read-only here: stores are the machine's to carry out
};
constexpr size_t kMaxTracked = 65536;  // vm.max_map_count (65530 by default) is reached first

Lock tracked_lock;
Tracked tracked[kMaxTracked];          // tracked_lock
std::atomic<size_t> tracked_count{0};  // written under tracked_lock

std::atomic<std::byte*> windows[ipc::kMaxMemories][ipc::kMaxMemoryWindows];
std::atomic<std::byte*> host_windows[ipc::kHostMemoryWindows];

uintptr_t AddressOf(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

bool Track(uintptr_t start, size_t length, uint64_t vma, bool traps) {
  const LockGuard lock(tracked_lock);
  const size_t count = tracked_count.load(std::memory_order_relaxed);
  if (count == kMaxTracked) return false;
  tracked[count] = {start, length, vma, 0, traps};
  tracked_count.store(count + 1, std::memory_order_release);
  return true;
}

// Cuts [start, end) out of one tracked range that overlaps it. Returns true when there was one; *gone is its vma id
// when nothing is left of that vma, else 0.
bool CutOne(uintptr_t start, uintptr_t end, uint64_t* gone) {
  const LockGuard lock(tracked_lock);
  size_t count = tracked_count.load(std::memory_order_relaxed);
  *gone = 0;
  for (size_t i = 0; i < count; ++i) {
    Tracked& entry = tracked[i];
    const uintptr_t entry_end = entry.start + entry.length;
    if (entry.start >= end || entry_end <= start) continue;
    const uint64_t vma = entry.vma;
    const bool keep_low = entry.start < start;
    const bool keep_high = entry_end > end;
    if (keep_low && keep_high && count < kMaxTracked) {
      tracked[count++] = {end, entry_end - end, vma, entry.offset + (end - entry.start), entry.traps};
    }
    if (keep_low) {
      entry.length = start - entry.start;
    } else if (keep_high) {
      entry.offset += end - entry.start;
      entry.start = end;
      entry.length = entry_end - end;
    } else {
      entry = tracked[--count];
      bool left = false;
      for (size_t j = 0; j < count; ++j) left = left || tracked[j].vma == vma;
      if (!left) *gone = vma;
    }
    tracked_count.store(count, std::memory_order_release);
    return true;
  }
  return false;
}

// The descriptor of a memory object, for mapping; the caller closes it. -errno.
int64_t FetchMemory(uint32_t memory) {
  const int64_t size = PlainCall(ipc::Op::kMapMemory, 0, {.a0 = memory});
  if (size < 0) return size;
  const int fd = InstalledFd();
  return fd >= 0 ? fd : -ENODEV;
}

}  // namespace

bool FindTrap(uintptr_t address, Trap* trap) {
  const LockGuard lock(tracked_lock);
  const size_t count = tracked_count.load(std::memory_order_relaxed);
  for (size_t i = 0; i < count; ++i) {
    const Tracked& entry = tracked[i];
    if (!entry.traps || address < entry.start || address - entry.start >= entry.length) continue;
    const uint64_t into = address - entry.start;
    *trap = {entry.vma, entry.offset + into, entry.length - into};
    return true;
  }
  return false;
}

bool AnyTracked() { return tracked_count.load(std::memory_order_relaxed) != 0; }

bool MattersToMappings(const void* address, size_t length) {
  return AnyTracked() || MayBeHostShared(AddressOf(address), length);
}

void ForgetRange(uintptr_t address, size_t length) {
  uintptr_t end = 0;
  if (__builtin_add_overflow(address, PageUp(length), &end)) end = UINTPTR_MAX;
  uint64_t gone = 0;
  while (AnyTracked() && CutOne(address, end, &gone)) {
    if (gone != 0) (void)PlainCall(ipc::Op::kMunmap, 0, {.a0 = gone});
  }
}

void* MapFile(void* address, size_t length, int prot, int flags, int fd, off_t offset) {
  if (!IsFileKind(SettledKind(fd)) || length == 0) return real.mmap(address, length, prot, flags, fd, offset);
  ipc::Message reply;
  const bool over_shared = (flags & MAP_FIXED) != 0 && IsHostShared(AddressOf(address), length);
  int64_t result = FileCall(fd, ipc::Op::kMmap,
                            {.a0 = length,
                             .a1 = static_cast<uint32_t>(prot),
                             .a2 = static_cast<uint32_t>(flags),
                             .a3 = static_cast<uint64_t>(offset)},
                            &reply);
  if (result < 0) {
    errno = static_cast<int>(-result);
    return MAP_FAILED;
  }
  const uint64_t vma = reply.value[2];
  const int64_t memory_fd = FetchMemory(static_cast<uint32_t>(reply.value[0]));
  const bool traps = (reply.value[0] & ipc::kMapTrapsStores) != 0 && (prot & PROT_WRITE) != 0;
  if (traps) StartStoreTraps();
  void* mapped = MAP_FAILED;
  if (memory_fd >= 0) {
    mapped = real.mmap(address, length, traps ? prot & ~PROT_WRITE : prot, flags | MAP_NORESERVE,
                       static_cast<int>(memory_fd), static_cast<off_t>(reply.value[1]));
    (void)Raw(SYS_close, memory_fd);
  } else {
    errno = static_cast<int>(-memory_fd);
  }
  if (mapped != MAP_FAILED && (flags & MAP_FIXED) != 0) ForgetRange(reinterpret_cast<uintptr_t>(mapped), length);
  if (mapped != MAP_FAILED && over_shared) HostUnmapped(AddressOf(mapped), length);
  if (mapped != MAP_FAILED && vma != 0 && !Track(reinterpret_cast<uintptr_t>(mapped), PageUp(length), vma, traps)) {
    (void)real.munmap(mapped, length);
    mapped = MAP_FAILED;
    errno = ENOMEM;  // as with vm.max_map_count reached
  }
  // VM_DONTCOPY: the mapping is not its child's, who would store to registers of a file it has not mapped.
  if (mapped != MAP_FAILED && traps) (void)real.madvise(mapped, length, MADV_DONTFORK);
  if (mapped == MAP_FAILED && vma != 0) (void)PlainCall(ipc::Op::kMunmap, 0, {.a0 = vma});
  return mapped;
}

void* MapBy(Way way, void* address, size_t length, int prot, int flags, int fd, off_t offset) {
  return way == Way::kLibc ? real.mmap(address, length, prot, flags, fd, offset)
                           : reinterpret_cast<void*>(Ret(Raw(SYS_mmap, address, length, prot, flags, fd, offset)));
}

int UnmapBy(Way way, void* address, size_t length) {
  return way == Way::kLibc ? real.munmap(address, length) : static_cast<int>(Ret(Raw(SYS_munmap, address, length)));
}

void* RemapBy(Way way, void* address, size_t length, size_t new_length, int flags, void* new_address) {
  return way == Way::kLibc
             ? real.mremap(address, length, new_length, flags, new_address)
             : reinterpret_cast<void*>(Ret(Raw(SYS_mremap, address, length, new_length, flags, new_address)));
}

void* MapOther(void* address, size_t length, int prot, int flags, int fd, off_t offset, Way way) {
  const bool fixed = (flags & MAP_FIXED) != 0;
  const bool over_shared = __builtin_expect(fixed, 0) && IsHostShared(AddressOf(address), length);
  void* const mapped = MapBy(way, address, length, prot, flags, fd, offset);
  if (__builtin_expect(fixed, 0) && mapped != MAP_FAILED) {
    if (AnyTracked()) ForgetRange(AddressOf(mapped), length);
    if (over_shared) HostUnmapped(AddressOf(mapped), length);
  }
  return mapped;
}

int Unmap(void* address, size_t length, Way way) {
  const bool shared = IsHostShared(AddressOf(address), length);
  const int result = UnmapBy(way, address, length);
  if (result == 0) ForgetRange(AddressOf(address), length);
  if (result == 0 && shared) HostUnmapped(AddressOf(address), length);
  return result;
}

void* Remap(void* address, size_t length, size_t new_length, int flags, void* new_address, Way way) {
  const auto old_start = reinterpret_cast<uintptr_t>(address);
  const bool shared = IsHostShared(old_start, length);
  const bool over_shared = (flags & MREMAP_FIXED) != 0 && IsHostShared(AddressOf(new_address), new_length);
  void* const moved = shared ? HostRemap(address, length, new_length, flags, new_address, way)
                             : RemapBy(way, address, length, new_length, flags, new_address);
  if (moved == MAP_FAILED) return moved;
  if (over_shared) HostUnmapped(AddressOf(moved), new_length);
  const auto new_start = reinterpret_cast<uintptr_t>(moved);
  if (new_start != old_start && (flags & MREMAP_FIXED) != 0) ForgetRange(new_start, new_length);
  {
    const LockGuard lock(tracked_lock);
    const size_t count = tracked_count.load(std::memory_order_relaxed);
    for (size_t i = 0; i < count; ++i) {
      Tracked& entry = tracked[i];
      if (entry.start < old_start || entry.start + entry.length > old_start + PageUp(length)) continue;
      const bool whole = entry.start == old_start && entry.length == PageUp(length);
      entry.start = new_start + (entry.start - old_start);
      if (whole && new_length > length) entry.length = PageUp(new_length);
    }
  }
  if (new_length < length) ForgetRange(new_start + PageUp(new_length), PageUp(length) - PageUp(new_length));
  return moved;
}

namespace {

// Maps a window so that equal offsets of two memories differ in address bits 21 to 26. Windows one after the other are
// a multiple of 1 GiB apart; copies between such were a fifth slower (docs/performance.md).
long MapApart(int fd, uint32_t memory, uint64_t begin, uint64_t length) {
  constexpr uint64_t kStep = uint64_t{2} << 20;  // keeps huge pages possible
  constexpr uint64_t kSteps = 64;
  constexpr uint64_t kPeriod = kStep * kSteps;
  const long reserved =
      Raw(SYS_mmap, nullptr, length + kPeriod, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved < 0)
    return Raw(SYS_mmap, nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, begin);
  const auto low = static_cast<uint64_t>(reserved);
  const uint64_t wanted = memory * 13 % kSteps * kStep;
  const uint64_t at = low + ((wanted - low) & (kPeriod - 1));
  const long mapped =
      Raw(SYS_mmap, at, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, begin);
  if (mapped < 0) {
    (void)Raw(SYS_munmap, low, length + kPeriod);
    return mapped;
  }
  if (at != low) (void)Raw(SYS_munmap, low, at - low);
  if (at != low + kPeriod) (void)Raw(SYS_munmap, at + length, low + kPeriod - at);
  return mapped;
}

}  // namespace

std::byte* MapWindow(uint32_t memory, uint32_t window) {
  if (memory >= ipc::kMaxMemories || window >= ipc::MaxWindows(memory)) return nullptr;
  std::atomic<std::byte*>& place = WindowTable(memory)[window];
  if (std::byte* start = place.load(std::memory_order_acquire); start != nullptr) return start;

  const ErrnoKeeper keeper;
  const int64_t size = PlainCall(ipc::Op::kMapMemory, 0, {.a0 = memory});
  const int fd = InstalledFd();
  if (fd < 0) return nullptr;
  const uint64_t begin = uint64_t{window} * ipc::kMemoryWindow;
  std::byte* start = nullptr;
  if (size > 0 && begin < static_cast<uint64_t>(size)) {
    const uint64_t left = static_cast<uint64_t>(size) - begin;
    const uint64_t length = left < ipc::kMemoryWindow ? left : ipc::kMemoryWindow;
    const long at = MapApart(fd, memory, begin, length);
    if (at > 0) {
      start = reinterpret_cast<std::byte*>(at);
      (void)Raw(SYS_madvise, at, length, MADV_DONTDUMP);
      // Device memory in huge pages where the host lets shared memory have them (shmem_enabled = advise).
      if (memory != ipc::kHostMemory) (void)Raw(SYS_madvise, at, length, MADV_HUGEPAGE);
      std::byte* expected = nullptr;
      if (!place.compare_exchange_strong(expected, start, std::memory_order_acq_rel)) {
        (void)Raw(SYS_munmap, at, length);  // another thread was first
        start = expected;
      }
    }
  }
  (void)Raw(SYS_close, fd);
  keeper.Restore();
  return start;
}

std::atomic<std::byte*>* WindowTable(uint32_t memory) {
  return memory == ipc::kHostMemory ? host_windows : windows[memory];
}

// The child shares what is mapped, but a vma is its parent's to end: the rings it names are the parent's objects.
// Deviation: on Linux the child's copy of a vma keeps the object's memory until the child unmaps it, too.
void ResetMappingsInChild() {
  tracked_lock.Reset();
  tracked_count.store(0, std::memory_order_relaxed);
}

}  // namespace causeway::shim
