// SPDX-License-Identifier: Apache-2.0
// Open files of the compute and the control node: struct hl_fpriv and struct file together. The destructor of HlFile is
// hl_device_release().
#pragma once

#include <cstdint>

#include "drivers/habanalabs/context.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/hw_block.h"
#include "drivers/habanalabs/memory_manager.h"
#include "drivers/habanalabs/notifier.h"
#include "kernel/task.h"

namespace causeway::habanalabs {

class HlFile : public kernel::File {
 public:
  HlFile(HlDevice& device, Ref<HlCtx> ctx, uint32_t major, uint32_t minor)
      : kernel::File(ipc::kFileDevice),
        device_(device),
        major_(major),
        minor_(minor),
        ctx_(std::move(ctx)),
        hw_blocks_(device.board()) {}
  ~HlFile() override;

  HlDevice& device() { return device_; }
  HlCtx& ctx() { return *ctx_; }
  Ref<HlCtx> ctx_ref() const { return ctx_; }
  NotifierEvent& notifier() { return ctx_->notifier; }
  MemoryManager& memory_manager() { return memory_manager_; }
  std::mutex& restore_phase_mutex() { return restore_phase_mutex_; }

  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  void Unmapped(kernel::Task& task, uint64_t vma) override;
  Result<kernel::Mapping> Mmap(kernel::Task& task, const kernel::MmapRequest& request) override;
  Status StoreMapped(kernel::Task& task, uint64_t vma, uint64_t offset, uint64_t value, uint32_t bytes) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return device_.node(); }

 private:
  HlDevice& device_;  // outlives every file
  const uint32_t major_, minor_;
  Ref<HlCtx> ctx_;
  MemoryManager memory_manager_;
  HwBlockMappings hw_blocks_;
  std::mutex restore_phase_mutex_;  // outermost
};

class HlControlFile : public kernel::File {
 public:
  HlControlFile(HlDevice& device, uint32_t major, uint32_t minor)
      : kernel::File(ipc::kFileDevice), device_(device), major_(major), minor_(minor) {
    device_.AddNotifier(notifier_, /*control=*/true);
  }
  ~HlControlFile() override { device_.RemoveNotifier(notifier_); }

  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return device_.control_node(); }

 private:
  HlDevice& device_;
  const uint32_t major_, minor_;
  NotifierEvent notifier_;  // v6.1 only: later kernels refuse the event ops here
};

}  // namespace causeway::habanalabs
