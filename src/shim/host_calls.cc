// SPDX-License-Identifier: Apache-2.0
// Calls that mean something else on shared pages than on the private anonymous ones that the program believes in.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "shim/host_maps.h"
#include "shim/host_memory.h"
#include "shim/mapping.h"
#include "shim/real.h"

namespace causeway::shim {

std::atomic<bool> any_dontfork{false};

namespace {

constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, linux v5.18
constexpr int kDontUnmap = 4;        // MREMAP_DONTUNMAP

// visit(start, end, vma) of each mapped stretch of [start, end). False as soon as one is false.
template <typename Visit>
bool Stretches(uint64_t start, uint64_t end, Visit visit) {
  OwnMaps maps;
  uapi::Vma vma;
  for (uint64_t at = start; at < end && maps.Next(at, &vma) && vma.start < end; at = vma.end) {
    if (!visit(vma.start > at ? vma.start : at, vma.end < end ? vma.end : end, vma)) return false;
  }
  return true;
}

}  // namespace

// On private memory MADV_DONTNEED and MADV_FREE let the content go; on a file's pages it comes back, or EINVAL.
int HostMadvise(void* address, size_t length, int advice, Way way) {
  const auto advise = [&](void* at, size_t bytes, int what) {
    return way == Way::kLibc ? real.madvise(at, bytes, what) : static_cast<int>(Ret(Raw(SYS_madvise, at, bytes, what)));
  };
  if (advice == MADV_DONTFORK) any_dontfork.store(true, std::memory_order_relaxed);
  const auto start = reinterpret_cast<uintptr_t>(address);
  const bool drops = advice == MADV_DONTNEED || advice == MADV_FREE || advice == kDontNeedLocked;
  if ((!drops && advice != MADV_REMOVE) || (start & (kPage - 1)) != 0 || length > PageDown(UINTPTR_MAX - start) ||
      !IsHostShared(start, PageUp(length))) {
    return advise(address, length, advice);
  }
  if (advice == MADV_REMOVE) {  // madvise_remove(): what the program has is no file
    errno = EINVAL;
    return -1;
  }
  bool hole = false;
  uint64_t covered = start;
  const bool done = Stretches(start, start + PageUp(length), [&](uint64_t from, uint64_t to, const uapi::Vma& vma) {
    hole = hole || from != covered;
    covered = to;
    if (!IsHostVma(vma)) return advise(reinterpret_cast<void*>(from), to - from, advice) == 0;
    if (way == Way::kLibc) {  // who watches libc's function is told; by itself it only lets go of what is mapped
      const ErrnoKeeper keeper;
      (void)real.madvise(reinterpret_cast<void*>(from), to - from, advice);
      keeper.Restore();
    }
    // MADV_REMOVE frees the file's pages: both sides read zeroes then.
    return Ret(Raw(SYS_madvise, from, to - from, MADV_REMOVE)) == 0;
  });
  if (!done) return -1;
  if (hole || covered != start + PageUp(length)) {
    errno = ENOMEM;  // as mm/madvise.c: after all that is mapped
    return -1;
  }
  return 0;
}

// libc would grow a block by mremap(), which shows the host memory's next pages where new memory is due.
void* HostRealloc(void* block, size_t size) {
  if (block == nullptr || size == 0 || !IsHostShared(reinterpret_cast<uintptr_t>(block), 1)) {
    return real.realloc(block, size);
  }
  const size_t had = real.malloc_usable_size(block);
  void* const moved = malloc(size);
  if (moved == nullptr) return nullptr;
  memcpy(moved, block, had < size ? had : size);
  free(block);
  return moved;
}

void* HostRemap(void* address, size_t length, size_t new_length, int flags, void* new_address, Way way) {
  const auto start = reinterpret_cast<uintptr_t>(address);
  const uint64_t old_bytes = PageUp(length);
  const uint64_t new_bytes = PageUp(new_length);
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  // What asks for no new pages and no new place is the kernel's to do; so is what it refuses.
  if ((start & (kPage - 1)) != 0 || new_bytes == 0 || old_bytes == 0 || (flags & kDontUnmap) != 0 ||
      (!fixed && new_bytes <= old_bytes)) {
    void* const same = RemapBy(way, address, length, new_length, flags, new_address);
    if (same != MAP_FAILED && new_bytes < old_bytes) HostUnmapped(start + new_bytes, old_bytes - new_bytes);
    return same;
  }
  int prot = 0;
  uint64_t covered = start;
  const uint64_t kept = old_bytes < new_bytes ? old_bytes : new_bytes;
  (void)Stretches(start, start + old_bytes, [&](uint64_t from, uint64_t to, const uapi::Vma& vma) {
    if (from != covered) return false;
    prot |= ProtOf(vma);
    covered = to;
    return true;
  });
  if (covered != start + old_bytes) {
    errno = EFAULT;
    return MAP_FAILED;
  }
  constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (!fixed) {  // growing in place, if there is room
    void* const tail = address == nullptr ? MAP_FAILED
                                          : MapBy(way, reinterpret_cast<void*>(start + old_bytes),
                                                  new_bytes - old_bytes, prot, kPrivate | MAP_FIXED_NOREPLACE, -1, 0);
    if (tail == reinterpret_cast<void*>(start + old_bytes)) return address;
    if (tail != MAP_FAILED) (void)UnmapBy(way, tail, new_bytes - old_bytes);  // a kernel without NOREPLACE
    if ((flags & MREMAP_MAYMOVE) == 0) {
      errno = ENOMEM;
      return MAP_FAILED;
    }
  }
  void* const to =
      MapBy(way, fixed ? new_address : nullptr, new_bytes, prot, fixed ? kPrivate | MAP_FIXED : kPrivate, -1, 0);
  if (to == MAP_FAILED) return MAP_FAILED;
  const auto target = reinterpret_cast<uintptr_t>(to);
  // Mapping by mapping: a move cannot span several. The list is read anew after each, as each changes it.
  for (uint64_t done = 0; done < kept;) {
    OwnMaps maps;
    uapi::Vma vma;
    if (!maps.Next(start + done, &vma)) break;
    const uint64_t stop = vma.end - start < kept ? vma.end - start : kept;
    if (RemapBy(way, reinterpret_cast<void*>(start + done), stop - done, stop - done, MREMAP_MAYMOVE | MREMAP_FIXED,
                reinterpret_cast<void*>(target + done)) == MAP_FAILED) {
      return MAP_FAILED;
    }
    done = stop;
  }
  WidenHostBounds(target, target + kept);
  if (kept < old_bytes) {
    (void)UnmapBy(way, reinterpret_cast<void*>(start + kept), old_bytes - kept);
    HostUnmapped(start + kept, old_bytes - kept);
  }
  return to;
}

}  // namespace causeway::shim
