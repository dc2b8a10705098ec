// SPDX-License-Identifier: Apache-2.0
// Event descriptors of uverbs (linux drivers/infiniband/core/uverbs_main.c, ib_uverbs_event_queue): the asynchronous
// events of a context, and completion channels. Each read() gives exactly one event.
//
// What an object's events_reported counts is what read() handed out, not what was raised: libibverbs blocks in its
// destroy call until the application has acknowledged that many. So an object's undelivered events leave the queue with
// it (EventCounter, Forget()).
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>

#include "base/ref.h"
#include "kernel/readiness.h"
#include "uapi/ib_verbs.h"

namespace causeway::infiniband {

// One object's account with one event file. Its fields are guarded by that file's mutex.
class EventCounter : public RefCounted {
 private:
  friend class EventFile;
  uint32_t reported_ = 0;
  bool dead_ = false;
};

class EventFile : public kernel::File {
 public:
  enum class Type { kAsync, kCompletion };

  // `context`: the uverbs file (its serial number) whose objects may use this one.
  EventFile(Type type, uint64_t context, kernel::Readiness& readiness)
      : File(ipc::kFileEvent), type_(type), context_(context), readiness_(readiness) {}

  Type type() const { return type_; }
  uint64_t context() const { return context_; }

  // Queues an event of an object; `counter` may be empty (port events). Dropped when the object is gone.
  void Push(uint64_t element, uint32_t event_type, const Ref<EventCounter>& counter);
  // The object is being destroyed: takes its events back and returns how many were read.
  uint32_t Forget(const Ref<EventCounter>& counter);
  // The context is closed: nothing comes any more, and who waits is told (EIO).
  void Close();

  Result<int64_t> Read(kernel::Task& task, uint64_t buffer, uint64_t len, bool* drained) override;
  Result<int64_t> Write(kernel::Task&, uint64_t, uint64_t) override { return Err(EBADF); }  // opened O_RDONLY
  kernel::FileStat Stat() const override { return {.mode = 0600}; }
  std::string Name() const override { return "anon_inode:[infinibandevent]"; }

  size_t queued() const;

 private:
  struct Event {
    uint64_t element;
    uint32_t type;
    Ref<EventCounter> counter;
  };
  const Type type_;
  const uint64_t context_;
  kernel::Readiness& readiness_;
  // Held while readiness is told, so that "there is something" and "nothing is left" cannot overtake each other.
  mutable std::mutex mutex_;
  std::deque<Event> events_;
  bool closed_ = false;
};

}  // namespace causeway::infiniband
