// SPDX-License-Identifier: Apache-2.0
// Source: linux v6.1 drivers/gpu/drm/drm_ioctl.c, drm_gem.c, drm_prime.c, amd/amdgpu/amdgpu_gem.c.
#include "drivers/drm/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "kernel/drm_ioctl.h"

namespace causeway::drm {
// struct drm_ioctl_desc. Numbers that are not here answer EINVAL.
struct DrmFile::Row {
  uint32_t request;
  bool render_allow;  // DRM_RENDER_ALLOW
  Status (*call)(DrmFile&, kernel::Task&, std::byte* args);

  template <uint32_t kRequest, typename Args, Status (DrmFile::*kCall)(kernel::Task&, Args&)>
  static constexpr Row Serves() {
    static_assert(sizeof(Args) == uapi::IocSize(kRequest), "uAPI struct and command number disagree");
    return {kRequest, true, [](DrmFile& file, kernel::Task& task, std::byte* bytes) {
              return kernel::WithArgs<Args>(bytes, [&](Args& args) { return (file.*kCall)(task, args); });
            }};
  }
};

const DrmFile::Row DrmFile::kRows[] = {
    Row::Serves<uapi::kDrmIoctlVersion, uapi::drm_version, &DrmFile::Version>(),
    Row::Serves<uapi::kDrmIoctlGetCap, uapi::drm_get_cap, &DrmFile::GetCap>(),
    Row::Serves<uapi::kDrmIoctlGemClose, uapi::drm_gem_close, &DrmFile::GemClose>(),
    Row::Serves<uapi::kDrmIoctlPrimeHandleToFd, uapi::drm_prime_handle, &DrmFile::PrimeHandleToFd>(),
    Row::Serves<uapi::kDrmIoctlPrimeFdToHandle, uapi::drm_prime_handle, &DrmFile::PrimeFdToHandle>(),
    Row::Serves<uapi::kDrmIoctlAmdgpuGemCreate, uapi::drm_amdgpu_gem_create, &DrmFile::GemCreate>(),
    Row::Serves<uapi::kDrmIoctlAmdgpuGemMmap, uapi::drm_amdgpu_gem_mmap, &DrmFile::GemMmap>(),
    // drm_ioctl_permit(): global names are for primary nodes.
    {uapi::kDrmGemFlinkNr, false, nullptr},
    {uapi::kDrmGemOpenNr, false, nullptr},
};

// drm_release(): handles go, and with them the dma-bufs that nobody else holds.
DrmFile::~DrmFile() {
  for (const auto& [handle, object] : handles_) device_.DropHandle(*object);
}

// drm_ioctl(): the number picks the row; sizes may differ, short input is zero-extended; copied out always.
Result<int64_t> DrmFile::Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) {
  if (uapi::IocType(request) != 'd') return Err(ENOTTY);
  const auto* const row =
      std::ranges::find_if(kRows, [&](const Row& r) { return uapi::IocNr(r.request) == uapi::IocNr(request); });
  if (row == std::end(kRows)) return Err(EINVAL);
  if (!row->render_allow) return Err(EACCES);
  const size_t size = uapi::IocSize(request);
  const size_t in = uapi::IocIn(request) && uapi::IocIn(row->request) ? size : 0;
  const size_t out = uapi::IocOut(request) && uapi::IocOut(row->request) ? size : 0;
  return kernel::CopyInCallCopyOut(task, arg, in, out, uapi::IocSize(row->request),
                                   [&](std::byte* args) { return row->call(*this, task, args); });
}

// amdgpu's numbers.
Status DrmFile::Version(kernel::Task& task, uapi::drm_version& version) {
  return DrmVersion(task, version, {3, 49, 0, "amdgpu", "20150101", "AMD GPU"});
}

// drm_getcap() of a driver without DRIVER_MODESET and DRIVER_SYNCOBJ.
Status DrmFile::GetCap(kernel::Task&, uapi::drm_get_cap& cap) {
  switch (cap.capability) {
    case uapi::kDrmCapTimestampMonotonic: cap.value = 1; return {};
    case uapi::kDrmCapPrime: cap.value = uapi::kDrmPrimeCapImport | uapi::kDrmPrimeCapExport; return {};
    case uapi::kDrmCapSyncobj:
    case uapi::kDrmCapSyncobjTimeline: cap.value = 0; return {};
    default: return Err(EOPNOTSUPP);
  }
}

// drm_gem_handle_delete().
Status DrmFile::GemClose(kernel::Task&, uapi::drm_gem_close& args) {
  std::shared_ptr<GemObject> object;
  {
    const std::lock_guard lock(mutex_);
    const auto found = handles_.find(args.handle);
    if (found == handles_.end()) return Err(EINVAL);
    object = std::move(found->second);
    handles_.erase(found);
  }
  device_.DropHandle(*object);
  return {};
}

// drm_prime_handle_to_fd_ioctl().
Status DrmFile::PrimeHandleToFd(kernel::Task& task, uapi::drm_prime_handle& args) {
  if ((args.flags & ~(uapi::kDrmCloexec | uapi::kDrmRdwr)) != 0) return Err(EINVAL);
  const auto object = Find(args.handle);
  if (object == nullptr) return Err(ENOENT);
  CW_TRY(auto dma_buf, device_.Export(object));
  CW_TRY(args.fd, task.InstallFile(std::move(dma_buf), args.flags & O_CLOEXEC));
  return {};
}

// drm_prime_fd_to_handle_ioctl(). Deviation: the buffer of another exporter is not imported, EOPNOTSUPP.
Status DrmFile::PrimeFdToHandle(kernel::Task& task, uapi::drm_prime_handle& args) {
  CW_TRY(const auto file, task.GetFile(args.fd));
  const auto dma_buf = DynamicRefCast<dmabuf::DmaBuf>(file);
  if (!dma_buf) return Err(EINVAL);
  auto object = device_.ObjectOf(*dma_buf);
  if (object == nullptr) return Err(EOPNOTSUPP);
  args.handle = MakeHandle(std::move(object));
  return {};
}

// amdgpu_gem_create_ioctl(). Deviation: GTT, system memory mapped to the GPU, is VRAM here.
Status DrmFile::GemCreate(kernel::Task&, uapi::drm_amdgpu_gem_create& args) {
  const auto in = args.in;
  if ((in.domain_flags & ~uapi::kAmdgpuGemCreateFlags) != 0) return Err(EINVAL);
  if ((in.domains & ~uapi::kAmdgpuGemDomainMask) != 0) return Err(EINVAL);
  constexpr uint64_t kMemory = uapi::kAmdgpuGemDomainCpu | uapi::kAmdgpuGemDomainGtt | uapi::kAmdgpuGemDomainVram;
  if ((in.domains & ~kMemory) != 0) return Err(EINVAL);  // GDS, GWS, OA: no such memories
  CW_TRY(auto object, device_.CreateObject(in.bo_size, in.domain_flags));
  args = {};
  args.out.handle = MakeHandle(std::move(object));
  return {};
}

// amdgpu_mode_dumb_mmap().
Status DrmFile::GemMmap(kernel::Task&, uapi::drm_amdgpu_gem_mmap& args) {
  const auto object = Find(args.in.handle);
  if (object == nullptr) return Err(ENOENT);
  if ((object->flags & uapi::kAmdgpuGemCreateNoCpuAccess) != 0) return Err(EPERM);
  args.out.addr_ptr = object->mmap_offset;
  return {};
}

Result<kernel::Mapping> DrmFile::Mmap(kernel::Task&, const kernel::MmapRequest& request) {
  auto object = device_.FindByMmapOffset(request.offset);
  if (object == nullptr || request.length > object->size) return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  if (std::ranges::none_of(handles_, [&](const auto& entry) { return entry.second == object; })) return Err(EACCES);
  if ((object->flags & uapi::kAmdgpuGemCreateNoCpuAccess) != 0) return Err(EPERM);
  const bool is_private = (request.flags & MAP_TYPE) == MAP_PRIVATE;
  if (is_private && (request.prot & PROT_WRITE) != 0) return Err(EINVAL);  // ttm_bo_mmap_obj(): is_cow_mapping()
  kernel::Mapping mapping = device_.MapForCpu(*object);
  mapping.vma = next_vma_++;
  mappings_.emplace(mapping.vma, std::move(object));
  return mapping;
}

void DrmFile::Unmapped(kernel::Task&, uint64_t vma) {
  std::shared_ptr<GemObject> object;  // goes after the lock
  const std::lock_guard lock(mutex_);
  const auto found = mappings_.find(vma);
  if (found == mappings_.end()) return;
  object = std::move(found->second);
  mappings_.erase(found);
}

kernel::FileStat DrmFile::Stat() const {
  return {.mode = S_IFCHR | 0666, .rdev_major = kDrmMajor, .rdev_minor = minor_};
}

std::shared_ptr<GemObject> DrmFile::Find(uint32_t handle) const {
  const std::lock_guard lock(mutex_);
  const auto found = handles_.find(handle);
  return found == handles_.end() ? nullptr : found->second;
}

uint32_t DrmFile::MakeHandle(std::shared_ptr<GemObject> object) {
  const std::lock_guard lock(mutex_);
  uint32_t handle = 1;  // idr_alloc(): the lowest free
  for (const auto& [number, held] : handles_) {
    if (held == object) return number;
    if (number == handle) ++handle;
  }
  device_.AddHandle(*object);
  handles_.emplace(handle, std::move(object));
  return handle;
}

}  // namespace causeway::drm
