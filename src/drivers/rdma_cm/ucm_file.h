// SPDX-License-Identifier: Apache-2.0
// One open /dev/infiniband/rdma_cm (struct ucma_file): ids and the queue of their events. Every command is a write();
// GET_EVENT on an empty queue is EAGAIN here, and the program's side waits on its descriptor and writes again
// (ipc::kFileRdmaCm), so that no thread of the machine sleeps in it.
#pragma once

#include <list>
#include <string>
#include <utility>

#include "drivers/rdma_cm/cm.h"
#include "kernel/file.h"
#include "kernel/task.h"

namespace causeway::rdma_cm {

class UcmFile final : public kernel::File {
 public:
  static constexpr uint32_t kMajor = 10, kMinor = 124;  // a misc device; its minor is dynamic

  UcmFile(Cm& cm, pid_t opener) : File(ipc::kFileRdmaCm), cm_(cm), opener_(opener) {}
  ~UcmFile() override;  // ucma_close(): its ids go, oldest first

  Result<int64_t> Write(kernel::Task& task, uint64_t buffer, uint64_t len) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return "/dev/infiniband/rdma_cm"; }

  Cm& cm() { return cm_; }
  pid_t opener() const { return opener_; }

  // struct ucma_event.
  struct Queued {
    Ref<Id> id;
    Ref<Id> conn;  // CONNECT_REQUEST: the new one
    Ref<Multicast> mc;
    uapi::rdma_ucm_event_resp resp = {};
  };
  // Guarded by Cm's lock.
  std::list<Queued> events;
  std::list<Ref<Id>> ids;

  // With Cm's lock held: takes events out that nobody shall get any more, and returns them.
  template <typename Predicate>
  std::list<Queued> DropEvents(kernel::Readiness& readiness, Predicate predicate) {
    std::list<Queued> dropped;
    for (auto it = events.begin(); it != events.end();) {
      const auto next = std::next(it);
      if (predicate(std::as_const(*it))) dropped.splice(dropped.end(), events, it);
      it = next;
    }
    if (!dropped.empty() && events.empty()) readiness.ClearReadable(id());
    return dropped;
  }

 private:
  Cm& cm_;
  const pid_t opener_;
};

}  // namespace causeway::rdma_cm
