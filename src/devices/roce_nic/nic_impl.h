// SPDX-License-Identifier: Apache-2.0
// What the NIC's commands (nic*.cc) share: index pools, the heap, the NIC thread. Private to this room.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "base/checked.h"
#include "base/result.h"
#include "devices/roce_nic/engine.h"
#include "devices/roce_nic/heap.h"
#include "devices/roce_nic/host_regions.h"
#include "devices/roce_nic/nic.h"
#include "uapi/rxe.h"

namespace causeway::roce {

// Cyclic index allocation, as the kernel's rxe_pool does: a freed number rests until the others have had their turn. So
// the indices wander through their table; pages of it that they have left go back to the system (and read as zeroes: an
// entry that is not valid).
class IndexPool {
 public:
  // [first, limit), in turn; `next` is the first to be taken.
  IndexPool(uint32_t first, uint32_t limit, uint32_t next) : first_(first), limit_(limit), next_(next) {}
  IndexPool(uint32_t first, uint32_t limit) : IndexPool(first, limit, first) {}
  Result<uint32_t> Take() {
    const std::lock_guard lock(mutex_);
    if (used_.size() >= limit_ - first_) return Err(ENOMEM);
    while (!used_.insert(next_).second) Step();
    const uint32_t index = next_;
    Step();
    return index;
  }
  // Nobody is inside the entry any more.
  void Give(uint32_t index) {
    const std::lock_guard lock(mutex_);
    used_.erase(index);
    if (memories_ == nullptr) return;
    const uint64_t entry = table_ + uint64_t{index} * entry_bytes_;
    for (uint64_t page = AlignDown(entry, kPageSize); page < entry + entry_bytes_; page += kPageSize) {
      if (IsLeft(page)) Discard(page);
    }
  }
  // Entry `index` lies at arena offset `table` + index * `entry_bytes`. Before the first Take().
  void SetTable(ipc::MemoryTable& memories, uint64_t table, uint32_t entry_bytes) {
    memories_ = &memories;
    table_ = table;
    entry_bytes_ = entry_bytes;
  }
  bool IsUsed(uint32_t index) const {
    const std::lock_guard lock(mutex_);
    return used_.contains(index);
  }
  std::vector<uint32_t> Used() const {
    const std::lock_guard lock(mutex_);
    return {used_.begin(), used_.end()};
  }

 private:
  // No entry of the page is in use, nor is the next one to be. A page that is not all the table's is kept.
  bool IsLeft(uint64_t page) const {
    if (page < table_ || page + kPageSize > table_ + uint64_t{limit_} * entry_bytes_) return false;
    const uint64_t first = (page - table_) / entry_bytes_, last = (page + kPageSize - 1 - table_) / entry_bytes_;
    if (first <= next_ && next_ <= last) return false;
    const auto used = used_.lower_bound(static_cast<uint32_t>(first));
    return used == used_.end() || *used > last;
  }
  // A program that guesses an index which it has once known (shim/doorbell.cc) reads an entry that is gone, and that
  // brings the page back: it is given back once more when that is past.
  void Discard(uint64_t page) {
    memories_->Discard(ipc::kArenaMemory, page, kPageSize);
    left_.push_back(page);
    if (left_.size() <= kAgain) return;
    if (IsLeft(left_.front())) memories_->Discard(ipc::kArenaMemory, left_.front(), kPageSize);
    left_.pop_front();
  }
  void Step() { next_ = next_ + 1 == limit_ ? first_ : next_ + 1; }
  mutable std::mutex mutex_;
  const uint32_t first_, limit_;
  uint32_t next_;
  std::set<uint32_t> used_;
  ipc::MemoryTable* memories_ = nullptr;
  uint64_t table_ = 0;
  uint32_t entry_bytes_ = 0;
  static constexpr size_t kAgain = 64;
  std::deque<uint64_t> left_;  // the last pages that were given back
};

struct NicDevices::Impl {
  Impl(std::byte* base, ipc::ArenaHeader& header, ipc::MemoryTable& memories, pci::Bus& bus);

  // Waits until no thread uses what was valid before the call. The caller has been through `mutex` since.
  void Grace();
  // Ends `valid` and waits until nobody is inside the object.
  void Retire(std::atomic<uint32_t>& valid);

  Result<Ring> MakeRing(RingSize size);
  uapi::rxe_queue_buf* Queue(const Ring& ring) { return reinterpret_cast<uapi::rxe_queue_buf*>(arena + ring.offset); }
  // Applies RESET's emptying of a queue (rxe_qp.c rxe_qp_reset()): entries vanish, completions stay.
  void EmptyRing(Ring& ring);

  // Keeps what a QP's requests moved when the QP goes, or its peer changes. With the SQ lock held.
  void RetireCounts(QpContext& qp);

  // Writes the part of the driver's list that is the region, and gives the former table back. errors: EINVAL the list
  // is shorter than the region; ENOMEM. On an error the entry is as it was.
  Status PlaceSegments(std::span<const BusSegment> bus, uint64_t bus_offset, MrEntry& entry);
  // Stops accesses for a change: none is in progress when this returns. False: the region is dead.
  bool Stall(MrEntry& entry);
  void Resume(MrEntry& entry);
  uint32_t RandomKey() {
    const std::lock_guard lock(random_mutex);
    return random() & 0xff;
  }
  // Frees windows that `matches`: what they were bound to goes away.
  void Unbind(const std::function<bool(const MwEntry&)>& matches);
  // Takes a QP out of its multicast groups, with `mutex` held. Returns the members, to be given back after Grace().
  std::vector<uint32_t> LeaveGroups(uint32_t qpn);
  void UnlinkMember(uint32_t index);

  void ClearPending(auto& set, uint32_t index) { set.leaf[index / 64].fetch_and(~(uint64_t{1} << (index % 64))); }
  void RunFromMachine(QpContext& qp);

  // ---- the NIC thread (nic_thread.cc): interrupts, retry timers
  void Run();
  void HandleQp(uint32_t qpn);
  void HandleCq(uint32_t cq);
  void HandleSrq(uint32_t srq);
  void FlushLateReceives();

  std::byte* const arena;
  ipc::ArenaHeader& header;
  ipc::MemoryTable& memories;
  pci::Bus& bus;
  Heap heap;
  ipc::ThreadSlot* const slots;
  Engine engine = {};
  NicMemory* nic;
  std::unique_ptr<roce::HostRegions> host_regions;
  Actor actor;
  // The machine's threads use the data path one at a time, under this lock. Outermost: before any OwnedLock.
  std::mutex mutex;
  std::set<uint32_t> in_error;               // guarded by mutex
  std::multimap<uint64_t, uint32_t> timers;  // the NIC thread's own
  Interrupts interrupts;
  std::thread thread;
  std::atomic<bool> stop{false};
  std::mt19937 random;
  std::mutex random_mutex;
  std::atomic<uint32_t> next_pd{1};
  std::atomic<uint64_t> next_generation{1};
  // Two machines with the same addresses are soon made (two `causeway run` without a common machine). A program that
  // was told a QPN of the other one must not find a QP of its own there.
  IndexPool qpns{kFirstQpn, kMaxQps, std::uniform_int_distribution<uint32_t>(kFirstQpn, kMaxQps - 1)(random)};
  IndexPool cqs{1, kMaxCqs};
  IndexPool mrs{2, kMaxMrs};  // 1 is the kernel's own, as on rxe
  IndexPool mms{1, kMaxMms};
  IndexPool srqs{1, kMaxSrqs};
  IndexPool ahs{1, kMaxAhs};
  IndexPool mws{0, kMaxMws};
  IndexPool members{1, kMaxMulticastMembers};
  std::atomic<uint32_t> windows{0};                     // that exist
  std::map<uint32_t, std::vector<uint32_t>> groups_of;  // QPN -> its members; guarded by mutex
};

}  // namespace causeway::roce
