// SPDX-License-Identifier: Apache-2.0
// An open render node (struct drm_file): its handles, its ioctls, its mappings.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "drivers/drm/device.h"
#include "kernel/task.h"
#include "uapi/drm.h"

namespace causeway::drm {

constexpr uint32_t kDrmMajor = 226;

class DrmFile : public kernel::File {
 public:
  DrmFile(DrmDevice& device, uint32_t minor) : kernel::File(ipc::kFileDevice), device_(device), minor_(minor) {}
  ~DrmFile() override;

  // drm_ioctl(). errors: ENOTTY not of type 'd'; EINVAL a number that this driver does not have; EACCES one that render
  // nodes do not serve; EFAULT; those of the call.
  Result<int64_t> Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) override;
  // drm_gem_mmap(). errors: EINVAL no buffer begins there, it is shorter, or a private writable mapping; EACCES a
  // buffer of which this file has no handle; EPERM one made with NO_CPU_ACCESS.
  Result<kernel::Mapping> Mmap(kernel::Task& task, const kernel::MmapRequest& request) override;
  void Unmapped(kernel::Task& task, uint64_t vma) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override { return "/dev/dri/renderD" + std::to_string(minor_); }

 private:
  struct Row;
  static const Row kRows[];

  Status Version(kernel::Task&, uapi::drm_version&);
  Status GetCap(kernel::Task&, uapi::drm_get_cap&);
  Status GemClose(kernel::Task&, uapi::drm_gem_close&);
  Status PrimeHandleToFd(kernel::Task&, uapi::drm_prime_handle&);
  Status PrimeFdToHandle(kernel::Task&, uapi::drm_prime_handle&);
  Status GemCreate(kernel::Task&, uapi::drm_amdgpu_gem_create&);
  Status GemMmap(kernel::Task&, uapi::drm_amdgpu_gem_mmap&);

  std::shared_ptr<GemObject> Find(uint32_t handle) const;
  uint32_t MakeHandle(std::shared_ptr<GemObject> object);  // the one it has, or a new one

  DrmDevice& device_;
  const uint32_t minor_;
  mutable std::mutex mutex_;  // guards what follows; outside the device's
  std::map<uint32_t, std::shared_ptr<GemObject>> handles_;
  std::map<uint64_t, std::shared_ptr<GemObject>> mappings_;  // by vma
  uint64_t next_vma_ = 1;
};

}  // namespace causeway::drm
