// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/dma.h"

#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "devices/roce_nic/place.h"
#include "ipc/memory_window.h"
#include "uapi/rxe.h"

namespace causeway::roce {
namespace {

// Contiguous bytes: mapped here, or in some process's address space.
struct Piece {
  std::byte* pointer;  // not null: readable and writable here
  uint32_t mm;
  uint64_t address;
  uint64_t len;  // 0: cannot be reached
  bool gone;     // because its process has ended
};

std::byte* Window(const Engine& engine, uint32_t memory, uint64_t offset) {
  const uint64_t window = offset >> kWindowBits;
  if (memory >= kMemories || window >= ipc::MaxWindows(memory)) return nullptr;
  std::atomic<std::byte*>* table = engine.windows[memory];
  std::byte* start = table != nullptr ? table[window].load(std::memory_order_acquire) : nullptr;
  if (start == nullptr) start = engine.map_window(engine.context, memory, static_cast<uint32_t>(window));
  return start;
}

// The segment that holds `offset`. Precondition: offset < mr.length, so there is one.
Segment& FindSegment(const Engine& engine, MrEntry& mr, uint64_t offset) {
  if (mr.segments == 0) return mr.segment;
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
Piece Reach(const Engine& engine, MrEntry& mr, uint64_t offset, uint64_t len) {
  Segment& segment = FindSegment(engine, mr, offset);
  const uint64_t delta = offset - segment.start;
  if (len > segment.len - delta) len = segment.len - delta;
  constexpr uint64_t kInWindow = (uint64_t{1} << kWindowBits) - 1;
  if (mr.kind == kMrHost) {
    const uint64_t base = __atomic_load_n(&segment.address, __ATOMIC_RELAXED);
    if (base != kByCall) {
      const uint64_t in_window = (base + delta) & kInWindow;
      if (std::byte* const start = Window(engine, ipc::kHostMemory, base + delta); start != nullptr) {
        if (len > kInWindow + 1 - in_window) len = kInWindow + 1 - in_window;
        return {start + in_window, 0, 0, len, false};
      }
      // No room here for a window: the same pages by system call.
    }
    if (engine.nic->mms[mr.mm].generation.load(std::memory_order_acquire) != mr.mm_generation) {
      return {.pointer = nullptr, .mm = 0, .address = 0, .len = 0, .gone = true};
    }
    return {nullptr, mr.mm, mr.address + offset, len, false};
  }
  const uint64_t address = segment.address + delta;
  const uint32_t hint = segment.window.load(std::memory_order_relaxed);
  const uint32_t found = pci::FindWindow(*engine.bus, static_cast<uint16_t>(mr.function), address, len, hint);
  if (found >= pci::kMaxWindows) return {};  // master abort: nothing answers at this address
  if (found != hint) segment.window.store(found, std::memory_order_relaxed);
  const pci::BusWindow& window = engine.bus->windows[found];
  const uint64_t at = window.memory_offset + (address - window.base);
  const uint64_t in_window = at & kInWindow;
  if (len > kInWindow + 1 - in_window) len = kInWindow + 1 - in_window;
  std::byte* start = Window(engine, window.memory, at);
  if (start == nullptr) return {};
  return {start + in_window, 0, 0, len, false};
}

// Bytes moved (> 0), or 0: a fault on either side, or *gone.
uint64_t CrossProcess(const Engine& engine, uint32_t mm, void* here, uint64_t there, uint64_t len, bool write,
                      bool* gone) {
  constexpr uint64_t kMost = uint64_t{1} << 30;  // below the 2 GiB cap of one system call
  iovec local = {here, len < kMost ? len : kMost};
  iovec remote = {reinterpret_cast<void*>(there), local.iov_len};
  const auto pid = static_cast<pid_t>(engine.nic->mms[mm].pid);
  const ssize_t moved =
      write ? process_vm_writev(pid, &local, 1, &remote, 1, 0) : process_vm_readv(pid, &local, 1, &remote, 1, 0);
  // ESRCH: no such process, or one that exits has given its memory up (mm/process_vm_access.c, mm_access()).
  *gone = moved < 0 && errno == ESRCH;
  return moved > 0 ? static_cast<uint64_t>(moved) : 0;
}

bool Readable(const Engine& engine, uint32_t mm, uint64_t address) {
  char byte;
  bool gone;
  return CrossProcess(engine, mm, &byte, address, 1, false, &gone) == 1;
}

CopyResult Source(bool gone) { return gone ? CopyResult::kSourceGone : CopyResult::kSourceFault; }
CopyResult Target(bool gone) { return gone ? CopyResult::kTargetGone : CopyResult::kTargetFault; }

// Host memory to host memory. Sets *moved, or says which side failed.
CopyResult HostToHost(const Engine& engine, const Piece& to, const Piece& from, uint64_t len, uint64_t* moved) {
  bool gone = false;
  bool target_side = true;  // which process the failing call addressed
  if (from.mm == engine.mm) {
    *moved = CrossProcess(engine, to.mm, reinterpret_cast<void*>(from.address), to.address, len, true, &gone);
  } else if (to.mm == engine.mm) {
    *moved = CrossProcess(engine, from.mm, reinterpret_cast<void*>(to.address), from.address, len, false, &gone);
    target_side = false;
  } else {  // neither is ours: the machine carries it in its own hands
    std::byte bounce[32 * 1024];
    target_side = false;
    *moved =
        CrossProcess(engine, from.mm, bounce, from.address, len < sizeof(bounce) ? len : sizeof(bounce), false, &gone);
    if (*moved > 0) {
      target_side = true;
      *moved = CrossProcess(engine, to.mm, bounce, to.address, *moved, true, &gone);
    }
  }
  if (*moved > 0) return CopyResult::kOk;
  if (gone) return target_side ? CopyResult::kTargetGone : CopyResult::kSourceGone;
  return Readable(engine, from.mm, from.address) ? CopyResult::kTargetFault : CopyResult::kSourceFault;
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
  const uint32_t state = mr.valid.load(std::memory_order_acquire);
  if (state == kMrDead || mr.key != key || mr.pd != pd || (mr.access & access) != access) {
    return KeyCheck::kBadKey;
  }
  if (iova < mr.iova || !InRange(iova - mr.iova, len, mr.length)) return KeyCheck::kBadRange;
  *out = {&mr, iova - mr.iova, len};
  return state == kMrUsable ? KeyCheck::kOk : KeyCheck::kStalled;
}

CopyResult Copy(const Engine& engine, const Stretch& to, const Stretch& from) {
  bool gone = false;
  for (uint64_t done = 0; done < from.len;) {
    const Piece source = Reach(engine, *from.mr, from.offset + done, from.len - done);
    if (source.len == 0) return Source(source.gone);
    const Piece target = Reach(engine, *to.mr, to.offset + done, source.len);
    if (target.len == 0) return Target(target.gone);
    uint64_t moved = target.len;
    if (source.pointer != nullptr && target.pointer != nullptr) {
      Place(target.pointer, source.pointer, moved);
    } else if (source.pointer != nullptr) {
      moved = CrossProcess(engine, target.mm, source.pointer, target.address, moved, true, &gone);
      if (moved == 0) return Target(gone);
    } else if (target.pointer != nullptr) {
      moved = CrossProcess(engine, source.mm, target.pointer, source.address, moved, false, &gone);
      if (moved == 0) return Source(gone);
    } else {
      const CopyResult result = HostToHost(engine, target, source, moved, &moved);
      if (result != CopyResult::kOk) return result;
    }
    done += moved;
  }
  return CopyResult::kOk;
}

CopyResult CopyIn(const Engine& engine, const Stretch& to, const void* from, uint64_t len) {
  const auto* bytes = static_cast<const std::byte*>(from);
  bool gone = false;
  for (uint64_t done = 0; done < len;) {
    const Piece target = Reach(engine, *to.mr, to.offset + done, len - done);
    if (target.len == 0) return Target(target.gone);
    uint64_t moved = target.len;
    if (target.pointer != nullptr) {
      Place(target.pointer, bytes + done, moved);
    } else {
      moved = CrossProcess(engine, target.mm, const_cast<std::byte*>(bytes + done), target.address, moved, true, &gone);
      if (moved == 0) return Target(gone);
    }
    done += moved;
  }
  return CopyResult::kOk;
}

CopyResult Atomic(const Engine& engine, const Actor& actor, const Stretch& at, const AtomicOp& op, uint64_t* original) {
  const Piece piece = Reach(engine, *at.mr, at.offset, 8);
  if (piece.len != 8) return Target(piece.gone);
  if (piece.pointer != nullptr) {
    auto* word = reinterpret_cast<std::atomic<uint64_t>*>(piece.pointer);
    if (op.compare_swap) {
      *original = op.compare_add;
      word->compare_exchange_strong(*original, op.swap);
    } else {
      *original = word->fetch_add(op.compare_add);
    }
    return CopyResult::kOk;
  }
  // rxe_resp.c atomic_reply() holds the device-wide atomic_ops_lock. Taken at CQ level: nothing nests in it.
  const OwnedLockGuard lock(actor, engine.nic->atomic_lock, ipc::kLockCq);
  bool gone = false;
  if (CrossProcess(engine, piece.mm, original, piece.address, 8, false, &gone) != 8) return Target(gone);
  uint64_t result = *original + op.compare_add;
  if (op.compare_swap) result = *original == op.compare_add ? op.swap : *original;
  if (CrossProcess(engine, piece.mm, &result, piece.address, 8, true, &gone) != 8) return Target(gone);
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

CopyResult StoreWord(const Engine& engine, const Stretch& at, uint64_t value) {
  const Piece piece = Reach(engine, *at.mr, at.offset, 8);
  if (piece.len != 8) return Target(piece.gone);
  if (piece.pointer == nullptr) return CopyIn(engine, at, &value, 8);
  reinterpret_cast<std::atomic<uint64_t>*>(piece.pointer)->store(value, std::memory_order_release);
  return CopyResult::kOk;
}

}  // namespace causeway::roce
