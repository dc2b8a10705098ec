// SPDX-License-Identifier: Apache-2.0
// Open files of the compute and the control node: struct hl_fpriv and struct file together. The destructor of HlFile is
// hl_device_release().
#pragma once

#include <cstdint>
#include <mutex>

#include "base/unique_fd.h"
#include "drivers/habanalabs/context.h"
#include "drivers/habanalabs/device.h"
#include "kernel/task.h"

namespace causeway::habanalabs {

// struct hl_notifier_event: what INFO GET_EVENTS and the registered eventfd tell.
class NotifierEvent {
 public:
  Status Register(kernel::Task& task, int fd);  // errors: EINVAL one is registered, or no eventfd; EBADF
  Status Unregister();                          // errors: EINVAL none
  uint64_t TakeEvents();                        // reading clears
  void Notify(uint64_t events);                 // hl_notifier_event_send()

 private:
  std::mutex mutex_;
  UniqueFd eventfd_;
  uint64_t events_mask_ = 0;
};

class HlFile : public kernel::File {
 public:
  HlFile(HlDevice& device, Ref<HlCtx> ctx, uint32_t major, uint32_t minor)
      : kernel::File(ipc::kFileDevice), device_(device), major_(major), minor_(minor), ctx_(std::move(ctx)) {}
  ~HlFile() override;

  HlDevice& device() { return device_; }
  HlCtx& ctx() { return *ctx_; }
  Ref<HlCtx> ctx_ref() const { return ctx_; }
  NotifierEvent& notifier() { return notifier_; }

  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  Result<kernel::Mapping> Mmap(kernel::Task& task, const kernel::MmapRequest& request) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return device_.node(); }

 private:
  HlDevice& device_;  // outlives every file
  const uint32_t major_, minor_;
  NotifierEvent notifier_;
  Ref<HlCtx> ctx_;
};

class HlControlFile : public kernel::File {
 public:
  HlControlFile(HlDevice& device, uint32_t major, uint32_t minor)
      : kernel::File(ipc::kFileDevice), device_(device), major_(major), minor_(minor) {}

  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return device_.control_node(); }

 private:
  HlDevice& device_;
  const uint32_t major_, minor_;
  NotifierEvent notifier_;  // v6.1 only: later kernels refuse the event ops here
};

}  // namespace causeway::habanalabs
