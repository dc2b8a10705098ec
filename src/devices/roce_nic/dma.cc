// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/dma.h"

#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "uapi/rxe.h"

namespace causeway::roce {
namespace {

// Contiguous bytes: mapped here, or in some process's address space.
struct Piece {
  std::byte* pointer;  // not null: readable and writable here
  uint32_t mm;
  uint64_t address;
  uint64_t len;  // 0: cannot be reached
};

std::byte* Window(const Engine& engine, uint32_t memory, uint64_t offset) {
  const uint64_t window = offset >> kWindowBits;
  if (memory >= kMemories || window >= kWindowsPerMemory) return nullptr;
  std::atomic<std::byte*>* table = engine.windows[memory];
  std::byte* start = table != nullptr ? table[window].load(std::memory_order_acquire) : nullptr;
  if (start == nullptr) start = engine.map_window(engine.context, memory, static_cast<uint32_t>(window));
  return start;
}

// The segment that holds `offset`. Precondition: offset < mr.length, so there is one.
Segment& FindSegment(const Engine& engine, const MrEntry& mr, uint64_t offset) {
  auto* segments = reinterpret_cast<Segment*>(engine.arena + mr.segments);
  uint32_t low = 0;
  uint32_t high = mr.segment_count;
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (segments[middle].start <= offset ? low : high) = middle;
  }
  return segments[low];
}

// Where byte `offset` of the region is, and how far it is contiguous (at most `len`).
Piece Reach(const Engine& engine, const MrEntry& mr, uint64_t offset, uint64_t len) {
  if (mr.kind == kMrHost) {
    if (engine.nic->mms[mr.mm].generation.load(std::memory_order_acquire) != mr.mm_generation) return {};
    return {nullptr, mr.mm, mr.address + offset, len};
  }
  Segment& segment = FindSegment(engine, mr, offset);
  const uint64_t delta = offset - segment.start;
  if (len > segment.len - delta) len = segment.len - delta;
  const uint64_t address = segment.address + delta;
  const uint32_t hint = segment.window.load(std::memory_order_relaxed);
  const uint32_t found = pci::FindWindow(*engine.bus, static_cast<uint16_t>(mr.function), address, len, hint);
  if (found >= pci::kMaxWindows) return {};  // master abort: nothing answers at this address
  if (found != hint) segment.window.store(found, std::memory_order_relaxed);
  const pci::BusWindow& window = engine.bus->windows[found];
  const uint64_t at = window.memory_offset + (address - window.base);
  const uint64_t in_window = at & ((uint64_t{1} << kWindowBits) - 1);
  if (len > (uint64_t{1} << kWindowBits) - in_window) len = (uint64_t{1} << kWindowBits) - in_window;
  std::byte* start = Window(engine, window.memory, at);
  if (start == nullptr) return {};
  return {start + in_window, 0, 0, len};
}

// Bytes moved (> 0), or 0 on a fault of the other process's memory.
uint64_t CrossProcess(const Engine& engine, uint32_t mm, void* here, uint64_t there, uint64_t len, bool write) {
  constexpr uint64_t kMost = uint64_t{1} << 30;  // below the 2 GiB cap of one system call
  iovec local = {here, len < kMost ? len : kMost};
  iovec remote = {reinterpret_cast<void*>(there), local.iov_len};
  const auto pid = static_cast<pid_t>(engine.nic->mms[mm].pid);
  const ssize_t moved = write ? process_vm_writev(pid, &local, 1, &remote, 1, 0)
                              : process_vm_readv(pid, &local, 1, &remote, 1, 0);
  return moved > 0 ? static_cast<uint64_t>(moved) : 0;
}

bool Readable(const Engine& engine, uint32_t mm, uint64_t address) {
  char byte;
  return CrossProcess(engine, mm, &byte, address, 1, false) == 1;
}

// Host memory to host memory. Returns bytes moved; 0 on a fault, and then *target_fault.
uint64_t HostToHost(const Engine& engine, const Piece& to, const Piece& from, uint64_t len, bool* target_fault) {
  uint64_t moved = 0;
  if (from.mm == engine.mm) {
    moved = CrossProcess(engine, to.mm, reinterpret_cast<void*>(from.address), to.address, len, true);
  } else if (to.mm == engine.mm) {
    moved = CrossProcess(engine, from.mm, reinterpret_cast<void*>(to.address), from.address, len, false);
  } else {  // neither is ours: the machine carries it in its own hands
    std::byte bounce[32 * 1024];
    const uint64_t part = CrossProcess(engine, from.mm, bounce, from.address, len < sizeof(bounce) ? len : sizeof(bounce), false);
    if (part > 0) moved = CrossProcess(engine, to.mm, bounce, to.address, part, true);
  }
  if (moved == 0) *target_fault = Readable(engine, from.mm, from.address);
  return moved;
}

// One writer at a time: no need for a locked instruction.
void Add(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

KeyCheck FindRegion(const Engine& engine, uint32_t key, uint32_t pd, uint32_t access, uint64_t iova, uint64_t len,
                    Stretch* out) {
  const uint32_t index = key >> 8;
  if (index == 0 || index >= kMaxMrs) return KeyCheck::kBadKey;
  MrEntry& mr = engine.nic->mrs[index];
  if (mr.valid.load(std::memory_order_acquire) == 0 || mr.key != key || mr.pd != pd || (mr.access & access) != access) {
    return KeyCheck::kBadKey;
  }
  if (iova < mr.iova || !InRange(iova - mr.iova, len, mr.length)) return KeyCheck::kBadRange;
  *out = {&mr, iova - mr.iova, len};
  return KeyCheck::kOk;
}

CopyResult Copy(const Engine& engine, const Stretch& to, const Stretch& from) {
  for (uint64_t done = 0; done < from.len;) {
    const Piece source = Reach(engine, *from.mr, from.offset + done, from.len - done);
    if (source.len == 0) return CopyResult::kSourceFault;
    const Piece target = Reach(engine, *to.mr, to.offset + done, source.len);
    if (target.len == 0) return CopyResult::kTargetFault;
    uint64_t moved = target.len;
    if (source.pointer != nullptr && target.pointer != nullptr) {
      memcpy(target.pointer, source.pointer, moved);
    } else if (source.pointer != nullptr) {
      moved = CrossProcess(engine, target.mm, source.pointer, target.address, moved, true);
      if (moved == 0) return CopyResult::kTargetFault;
    } else if (target.pointer != nullptr) {
      moved = CrossProcess(engine, source.mm, target.pointer, source.address, moved, false);
      if (moved == 0) return CopyResult::kSourceFault;
    } else {
      bool target_fault = false;
      moved = HostToHost(engine, target, source, moved, &target_fault);
      if (moved == 0) return target_fault ? CopyResult::kTargetFault : CopyResult::kSourceFault;
    }
    done += moved;
  }
  return CopyResult::kOk;
}

CopyResult CopyIn(const Engine& engine, const Stretch& to, const void* from, uint64_t len) {
  const auto* bytes = static_cast<const std::byte*>(from);
  for (uint64_t done = 0; done < len;) {
    const Piece target = Reach(engine, *to.mr, to.offset + done, len - done);
    if (target.len == 0) return CopyResult::kTargetFault;
    uint64_t moved = target.len;
    if (target.pointer != nullptr) {
      memcpy(target.pointer, bytes + done, moved);
    } else {
      moved = CrossProcess(engine, target.mm, const_cast<std::byte*>(bytes + done), target.address, moved, true);
      if (moved == 0) return CopyResult::kTargetFault;
    }
    done += moved;
  }
  return CopyResult::kOk;
}

CopyResult CopyOut(const Engine& engine, void* to, const Stretch& from, uint64_t len) {
  auto* bytes = static_cast<std::byte*>(to);
  for (uint64_t done = 0; done < len;) {
    const Piece source = Reach(engine, *from.mr, from.offset + done, len - done);
    if (source.len == 0) return CopyResult::kSourceFault;
    uint64_t moved = source.len;
    if (source.pointer != nullptr) {
      memcpy(bytes + done, source.pointer, moved);
    } else {
      moved = CrossProcess(engine, source.mm, bytes + done, source.address, moved, false);
      if (moved == 0) return CopyResult::kSourceFault;
    }
    done += moved;
  }
  return CopyResult::kOk;
}

CopyResult Atomic(const Engine& engine, const Actor& actor, const Stretch& at, const AtomicOp& op, uint64_t* original) {
  const Piece piece = Reach(engine, *at.mr, at.offset, 8);
  if (piece.len != 8) return CopyResult::kTargetFault;
  if (piece.pointer != nullptr) {
    auto* word = reinterpret_cast<std::atomic<uint64_t>*>(piece.pointer);
    if (op.compare_swap) {
      *original = op.compare_add;
      word->compare_exchange_strong(*original, op.swap);
    } else {
      *original = word->fetch_add(op.compare_add);
    }
  } else {
    // rxe_responder.c atomic_reply() holds the device-wide atomic_ops_lock. Taken at CQ level: nothing nests in it.
    const OwnedLockGuard lock(actor, engine.nic->atomic_lock, ipc::kLockCq);
    if (CrossProcess(engine, piece.mm, original, piece.address, 8, false) != 8) return CopyResult::kTargetFault;
    uint64_t result = *original + op.compare_add;
    if (op.compare_swap) result = *original == op.compare_add ? op.swap : *original;
    if (CrossProcess(engine, piece.mm, &result, piece.address, 8, true) != 8) return CopyResult::kTargetFault;
  }
  return CopyResult::kOk;
}

void FlushTraffic(const Engine& engine, QpTraffic& traffic) {
  const uint32_t route = traffic.route.load(std::memory_order_relaxed);
  if (route >= kMaxRoutes) return;
  RouteTraffic& total = engine.nic->routes[route];
  total.read.fetch_add(traffic.read.load(std::memory_order_relaxed), std::memory_order_relaxed);
  total.written.fetch_add(traffic.written.load(std::memory_order_relaxed), std::memory_order_relaxed);
  traffic.read.store(0, std::memory_order_relaxed);
  traffic.written.store(0, std::memory_order_relaxed);
}

void CountTraffic(const Engine& engine, QpTraffic& traffic, uint32_t route, uint64_t read, uint64_t written) {
  if (traffic.route.load(std::memory_order_relaxed) != route) {
    FlushTraffic(engine, traffic);
    traffic.route.store(route, std::memory_order_relaxed);
  }
  Add(traffic.read, read);
  Add(traffic.written, written);
}

}  // namespace causeway::roce
