// SPDX-License-Identifier: Apache-2.0
// One sync manager: sync objects (SOB), monitors that watch groups of eight of them, and on Gaudi2 the completion
// queues that monitors write to.
//
//   store to a SOB --> armed monitors of its group --> payload store (a SOB, a fence, an address, a register)
//                                                  \-> Gaudi2: entry of a completion queue, then an LBW store (MSI-X)
//
// A payload is not stored here: it is handed out (TakeStore()), so that chains of monitors, endless ones included, are
// walked by whoever runs the engines, at its pace. Runs on: the engines' thread, or with its lock.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "devices/gaudi/registers.h"

namespace causeway::gaudi {

// A store that the sync manager wants done.
struct SmStore {
  uint64_t address = 0;
  uint64_t value = 0;
  uint8_t bytes = 4;              // 4, or 8: a counter in host memory
  bool completion_queue = false;  // to the completion queue's memory, else a payload or LBW message
  bool driver_queue = false;      // ... of a queue that the driver keeps for itself: its address is not translated
};

class SyncManager {
 public:
  // The first `driver_cqs` completion queues are the driver's: in memory that no MMU translates.
  SyncManager(Asic asic, uint32_t driver_cqs);

  // Register stores and loads, by offset from the block's first SOB.
  void Write(uint32_t offset, uint32_t value);
  uint32_t Read(uint32_t offset) const;
  // Gaudi2: the block of completion queues (SYNC_MNGR_GLBL).
  void WriteGlobal(uint32_t offset, uint32_t value);
  uint32_t ReadGlobal(uint32_t offset) const;

  // The oldest store not done yet. False: none.
  bool TakeStore(SmStore* store);
  bool HasStores() const { return !stores_.empty(); }
  // Stores wait: whoever makes more of them is to be held up until these are done.
  bool IsBehind() const { return stores_.size() >= kManyStores; }
  // What monitors that arm each other make of themselves, without end and each more than one, is lost beyond this.
  static constexpr size_t kMaxStores = 65536;

  // Everything to its value after reset; `from_sob`, `from_monitor`, `from_cq`: only from these up.
  void Reset(uint32_t from_sob, uint32_t from_monitor, uint32_t from_cq);

  uint32_t sob(uint32_t index) const { return sobs_[index]; }

  // From now on every register's value also stands in these words, for programs that have the block mapped: `objects`
  // is as long as the block, `global` a page (Gaudi2) or nullptr. Both outlive the manager.
  void PublishTo(uint32_t* objects, uint32_t* global);

 private:
  struct Monitor {
    uint32_t address_lo = 0, address_hi = 0, data = 0, arm = 0, config = 0;
    bool armed = false;
    uint32_t armed_group = 0;
  };
  struct CompletionQueue {
    uint64_t base = 0, lbw_address = 0, counter = 0;
    uint32_t size_log2 = 0, pi = 0, lbw_data = 0, inc_mode = 0;
  };
  void WriteSob(uint32_t index, uint32_t value);
  void Arm(uint32_t index, uint32_t value);
  void Evaluate(uint32_t group);
  bool Satisfied(uint32_t index) const;
  void Fire(uint32_t index);
  void Complete(uint32_t cq, uint32_t data, bool message);
  void Push(const SmStore& store) {
    if (stores_.size() < kMaxStores) stores_.push_back(store);
  }
  uint32_t GroupOf(const Monitor& monitor) const;
  bool IsExtension(uint32_t index) const;
  void Disarm(uint32_t index);
  void Publish(uint32_t offset) {
    if (objects_ != nullptr) __atomic_store_n(objects_ + offset / 4, Read(offset), __ATOMIC_RELEASE);
  }
  void PublishGlobal(uint32_t offset) {
    if (global_ != nullptr) __atomic_store_n(global_ + offset / 4, ReadGlobal(offset), __ATOMIC_RELEASE);
  }
  void PublishAll();

  static constexpr size_t kManyStores = 4096;

  const Asic asic_;
  const SyncManagerRegisters& registers_;
  const uint32_t driver_cqs_;
  std::vector<uint32_t> sobs_;
  std::vector<Monitor> monitors_;
  std::vector<std::vector<uint16_t>> armed_;  // per group of eight SOBs: armed monitors, in order of arming
  std::vector<CompletionQueue> cqs_;
  std::deque<SmStore> stores_;
  uint32_t* objects_ = nullptr;  // PublishTo()
  uint32_t* global_ = nullptr;
};

}  // namespace causeway::gaudi
