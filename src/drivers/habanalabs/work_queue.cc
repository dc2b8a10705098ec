// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/work_queue.h"

#include <pthread.h>

namespace causeway::habanalabs {

WorkThread::~WorkThread() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    due_.clear();
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

WorkQueue::Id WorkThread::Queue(std::chrono::milliseconds delay, Work work) {
  const auto when = std::chrono::steady_clock::now() + delay;
  const std::lock_guard lock(mutex_);
  if (stop_) return 0;
  due_.emplace(Key(when, ++last_), std::move(work));
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { Run(); });
    (void)::pthread_setname_np(thread_.native_handle(), "cw-hl-work");
  }
  wake_.notify_all();
  return last_;
}

bool WorkThread::Cancel(Id id) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(due_, [id](const auto& entry) { return entry.first.second == id; }) != 0;
}

void WorkThread::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (due_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const auto when = due_.begin()->first.first;
    if (std::chrono::steady_clock::now() < when) {
      wake_.wait_until(lock, when);
      continue;
    }
    auto node = due_.extract(due_.begin());
    lock.unlock();
    node.mapped()();
    node = {};  // what the work captured goes without the lock
    lock.lock();
  }
}

}  // namespace causeway::habanalabs
