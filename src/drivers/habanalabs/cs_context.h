// SPDX-License-Identifier: Apache-2.0
// What command submission keeps per context and per submission: struct hl_fence, hl_cs_compl, hl_cs_encaps_sig_handle,
// hl_cs_outcome_store, and the submission part of struct hl_ctx. All of it is guarded by the device's
// Submission::mutex_.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

enum class CsType : uint8_t {
  kDefault,
  kSignal,
  kWait,
  kCollectiveWait,
  kReserveSignals,
  kUnreserveSignals,
  kEngineCores,
  kEngines,
  kFlushPciHbwWrites,
};

// A SOB that SIGNAL submissions of one queue use: struct hl_hw_sob. `refs` as its kref: 1 is the queue's own.
struct HwSob {
  uint32_t id = 0;
  uint32_t address_offset = 0;  // as reported to programs
  uint32_t refs = 1;
  bool need_reset = false;
};

// struct hl_cs_encaps_sig_handle.
struct EncapsHandle {
  uint32_t id = 0, queue = 0, count = 0, pre_sob_val = 0;
  HwSob* sob = nullptr;
  uint64_t cs_seq = UINT64_MAX;  // the submission that carries the signals
  uint32_t refs = 1;
};

struct Fence {
  uint64_t seq = 0;
  CsType type = CsType::kDefault;
  bool done = false;
  int error = 0;          // positive errno
  int64_t timestamp = 0;  // ktime, ns; 0: the submission did not ask
  uint8_t stream_masters = 0;
  HwSob* sob = nullptr;
  uint32_t sob_val = 0;
  std::shared_ptr<EncapsHandle> encaps;  // a staged submission that carries encapsulated signals
  std::condition_variable wake;
};

// The last 256 submissions with HL_CS_FLAGS_TIMESTAMP: struct hl_cs_outcome_store.
class OutcomeStore {
 public:
  struct Outcome {
    int64_t timestamp = 0;
    int error = 0;
  };
  void Push(uint64_t seq, const Outcome& outcome) {
    if (order_.size() == kKept) {
      outcomes_.erase(order_.front());
      order_.pop_front();
    }
    outcomes_[seq] = outcome;
    order_.push_back(seq);
  }
  // Reading consumes it.
  std::optional<Outcome> Pop(uint64_t seq) {
    const auto it = outcomes_.find(seq);
    if (it == outcomes_.end()) return std::nullopt;
    const Outcome outcome = it->second;
    outcomes_.erase(it);
    std::erase(order_, seq);
    return outcome;
  }

 private:
  static constexpr size_t kKept = 256;  // HL_CS_OUTCOME_HISTORY_LEN
  std::unordered_map<uint64_t, Outcome> outcomes_;
  std::deque<uint64_t> order_;
};

struct CsContext {
  explicit CsContext(uint32_t max_pending) : pending(max_pending) {}
  uint64_t sequence = 1;
  std::vector<std::shared_ptr<Fence>> pending;  // by sequence modulo its size, a power of two
  OutcomeStore outcomes;
  std::map<uint32_t, std::shared_ptr<EncapsHandle>> handles;  // sig_mgr

  // hl_ctx_get_fence(): false when `seq` was never issued; an empty fence when its record is overwritten.
  bool Find(uint64_t seq, std::shared_ptr<Fence>* fence) const {
    fence->reset();
    if (seq >= sequence) return false;
    if (seq + pending.size() < sequence) return true;
    *fence = pending[seq & (pending.size() - 1)];
    return true;
  }
};

}  // namespace causeway::habanalabs
