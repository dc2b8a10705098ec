// SPDX-License-Identifier: Apache-2.0
// Work that is done later: time-outs, retries, the end of timewait. One thread runs all of it, in order of time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace causeway::rdma_cm {

class Timers {
 public:
  virtual ~Timers() = default;
  // Calls `work` once, after `delay`, without locks of this class. Work left over at the end is dropped.
  virtual void After(std::chrono::milliseconds delay, std::function<void()> work) = 0;
};

class TimerThread : public Timers {
 public:
  TimerThread() = default;
  ~TimerThread() override;
  void Stop();  // no work is done when it returns, or later
  void After(std::chrono::milliseconds delay, std::function<void()> work) override;

 private:
  using Clock = std::chrono::steady_clock;
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::multimap<Clock::time_point, std::function<void()>> work_;
  std::thread thread_;  // made by the first After()
};

}  // namespace causeway::rdma_cm
