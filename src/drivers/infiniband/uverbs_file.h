// SPDX-License-Identifier: Apache-2.0
// One open /dev/infiniband/uverbsN (struct ib_uverbs_file): a context and its objects. Commands come by write()
// (uverbs_write.cc) and by ioctl() (uverbs_ioctl.cc); both share one set of handlers (commands.h).
//
// Lock order: none of this room's locks is held while another is taken, but for EventFile's (readiness), and but for
// IbDevice::WithFiles(): the list of a device's files, then a file's table or one object. User memory is copied and
// descriptors are installed without locks. Calls on one file run concurrently; an object's own count of uses
// (uobject.h) keeps it alive and makes destroying it exclusive.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "drivers/infiniband/device.h"
#include "drivers/infiniband/event_file.h"
#include "drivers/infiniband/uobject.h"
#include "kernel/file.h"
#include "kernel/task.h"

namespace causeway::infiniband {

class UverbsFile final : public kernel::File {
 public:
  UverbsFile(IbDevice& device, pid_t opener);
  ~UverbsFile() override;  // destroys every object, newest first

  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  Result<int64_t> Write(kernel::Task& task, uint64_t buffer, uint64_t len) override;
  Result<kernel::Mapping> Mmap(kernel::Task& task, const kernel::MmapRequest& request) override;
  void Unmapped(kernel::Task& task, uint64_t vma) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override;

  IbDevice& device() { return device_; }
  IbCore& core() { return device_.core(); }
  UobjectTable& objects() { return objects_; }
  uint64_t serial() const { return serial_; }
  pid_t opener() const { return opener_; }

  // struct ib_ucontext: nothing but GET_CONTEXT works without one. errors: EINVAL there is one already.
  bool has_context() const { return has_context_.load(std::memory_order_acquire); }
  Status MakeContext(const kernel::Task& task);
  const Tracked& tracked() const { return tracked_; }  // the context's; once there is one
  // rdma_restrack_set_name(), rdma_restrack_add() of an object that `task` made.
  Tracked Track(IbDevice::Restrack kind, const kernel::Task& task) {
    return {.id = device_.NextResId(kind), .pid = task.pid(), .tid = task.tid()};
  }

  // A new event file of this context.
  Ref<EventFile> NewEventFile(EventFile::Type type);
  // The first asynchronous one that a program got is the default for objects that name none.
  void OfferDefaultAsync(const Ref<EventFile>& file);
  Ref<EventFile> default_async() const;
  // A descriptor as an event file of this context. errors: EBADF.
  Result<Ref<EventFile>> GetEventFile(kernel::Task& task, int64_t fd, EventFile::Type type);

 private:
  struct Mapped {
    Ref<RingMemory> ring;
  };
  IbDevice& device_;
  const pid_t opener_;
  const uint64_t serial_;
  std::atomic<bool> has_context_{false};
  std::atomic<bool> making_context_{false};
  Tracked tracked_;  // written before has_context_
  UobjectTable objects_;
  mutable std::mutex mutex_;  // guards what follows
  Ref<EventFile> default_async_;
  std::vector<Ref<EventFile>> event_files_;  // those somebody else holds too; pruned when one is added
  uint64_t next_vma_ = 1;
  std::map<uint64_t, Mapped> mapped_;
};

}  // namespace causeway::infiniband
