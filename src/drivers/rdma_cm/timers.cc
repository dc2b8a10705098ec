// SPDX-License-Identifier: Apache-2.0
#include "drivers/rdma_cm/timers.h"

#include <utility>

namespace causeway::rdma_cm {

TimerThread::~TimerThread() { Stop(); }

void TimerThread::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TimerThread::After(std::chrono::milliseconds delay, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  const auto it = work_.emplace(Clock::now() + delay, std::move(work));
  if (!thread_.joinable() && !stopping_) thread_ = std::thread([this] { Run(); });
  if (it == work_.begin()) changed_.notify_all();
}

void TimerThread::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (work_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = work_.begin();
    if (const auto due = first->first; due > Clock::now()) {
      changed_.wait_until(lock, due);
      continue;
    }
    {
      const std::function<void()> work = std::move(first->second);
      work_.erase(first);
      lock.unlock();
      work();
    }
    lock.lock();
  }
}

}  // namespace causeway::rdma_cm
