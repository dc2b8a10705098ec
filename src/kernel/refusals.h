// SPDX-License-Identifier: Apache-2.0
// The last refusals of the machine, for `causeway explain`: what was asked, which rule said no, and what would help.
// Whoever decides the errno adds the refusal: dma-buf exporters (attach, map), drivers, the kernel room.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace causeway::kernel {

struct Refusal {
  std::chrono::system_clock::time_point time;  // set by Add()
  std::string what;                            // the call that failed and how: "ibv_reg_dmabuf_mr on rxe1: EINVAL"
  std::string rule;                            // the rule that decided, in the kernel's words, with its function
  std::string provider;                        // the function whose memory it is: "gaudi0 (0000:33:00.0)"; may be empty
  std::string client;                          // the function that wanted to reach it; may be empty
  std::string remedy;                          // what a user can change
};

// A ring: the newest kKept stay. Thread-safe.
class RefusalLog {
 public:
  static constexpr size_t kKept = 64;

  void Add(Refusal refusal) {
    refusal.time = std::chrono::system_clock::now();
    const std::lock_guard lock(mutex_);
    if (refusals_.size() == kKept) refusals_.pop_front();
    refusals_.push_back(std::move(refusal));
  }
  // Oldest first.
  std::vector<Refusal> Snapshot() const {
    const std::lock_guard lock(mutex_);
    return {refusals_.begin(), refusals_.end()};
  }

 private:
  mutable std::mutex mutex_;
  std::deque<Refusal> refusals_;
};

}  // namespace causeway::kernel
