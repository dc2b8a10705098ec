// SPDX-License-Identifier: Apache-2.0
// Delayed work of the driver: hard resets, the release watchdog, heartbeats. One thread serves all devices, so no work
// may wait for a program; what has to wait queues itself again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace causeway::habanalabs {

class WorkQueue {
 public:
  using Work = std::function<void()>;
  using Id = uint64_t;  // 0: none
  virtual ~WorkQueue() = default;
  // queue_delayed_work(). Safe from any thread, work included.
  virtual Id Queue(std::chrono::milliseconds delay, Work work) = 0;
  // cancel_delayed_work(): does not wait for work that runs. True: it will not run.
  virtual bool Cancel(Id id) = 0;
};

// The driver's. The thread starts with the first Queue(); the destructor drops what has not begun and waits for what
// runs.
class WorkThread : public WorkQueue {
 public:
  ~WorkThread() override;
  Id Queue(std::chrono::milliseconds delay, Work work) override;
  bool Cancel(Id id) override;

 private:
  using Key = std::pair<std::chrono::steady_clock::time_point, Id>;
  void Run();

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::map<Key, Work> due_;
  Id last_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// For tests: time passes when the test says so, and work runs on its thread.
class ManualWorkQueue : public WorkQueue {
 public:
  Id Queue(std::chrono::milliseconds delay, Work work) override {
    const std::lock_guard lock(mutex_);
    due_.emplace(std::pair(now_ + delay, ++last_), std::move(work));
    return last_;
  }
  bool Cancel(Id id) override {
    const std::lock_guard lock(mutex_);
    return std::erase_if(due_, [id](const auto& entry) { return entry.first.second == id; }) != 0;
  }
  // Runs what falls due within `time`, in order, work that such work queues included.
  void Advance(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    const std::chrono::milliseconds end = now_ + time;
    while (!due_.empty() && due_.begin()->first.first <= end) {
      auto node = due_.extract(due_.begin());
      now_ = node.key().first;
      lock.unlock();
      node.mapped()();
      lock.lock();
    }
    now_ = end;
  }
  size_t pending() const {
    const std::lock_guard lock(mutex_);
    return due_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::chrono::milliseconds now_{0};
  std::map<std::pair<std::chrono::milliseconds, Id>, Work> due_;
  Id last_ = 0;
};

}  // namespace causeway::habanalabs
