// SPDX-License-Identifier: Apache-2.0
// Ioctl dispatch. Two number schemes, each with the rules of its own dispatcher, are accepted on every node:
//   'H' 1..6      hl_ioctl() of linux v6.1: the type byte is not looked at; direction is the driver's
//   'd' 0x40..45  drm_ioctl() of linux v6.12: direction is the caller's too
#include "drivers/habanalabs/file.h"

#include <sys/stat.h>

#include <array>

#include "drivers/habanalabs/cs_ioctl.h"
#include "drivers/habanalabs/debug.h"
#include "drivers/habanalabs/info.h"
#include "drivers/habanalabs/memory.h"
#include "drivers/habanalabs/submission.h"
#include "kernel/drm_ioctl.h"

namespace causeway::habanalabs {
namespace {

// The commands that this driver carries out. A row of uapi::kHlIoctls without a handler answers as an unknown number.
struct Handler {
  uapi::HlIoctlRow row;
  Status (*call)(HlFile&, kernel::Task&, std::byte* args);
};

// Args in kernel memory are aligned and at least sizeof(Args) long.
template <uapi::HlIoctlRow kRow, typename Args, Status (*kCall)(HlFile&, kernel::Task&, Args&)>
constexpr Handler Entry() {
  static_assert(sizeof(Args) == uapi::kHlIoctls[kRow].size, "uAPI struct and command number disagree");
  return {kRow, [](HlFile& file, kernel::Task& task, std::byte* bytes) {
            return kernel::WithArgs<Args>(bytes, [&](Args& args) { return kCall(file, task, args); });
          }};
}

Status ComputeInfo(HlFile& file, kernel::Task& task, uapi::hl_info_args& args) {
  return InfoIoctl({file.device(), &file, file.notifier(), task, args});
}

constexpr std::array kHandlers = {
    Entry<uapi::kHlInfo, uapi::hl_info_args, ComputeInfo>(),
    Entry<uapi::kHlCb, uapi::hl_cb_args, CbIoctl>(),
    Entry<uapi::kHlCs, uapi::hl_cs_args, CsIoctl>(),
    Entry<uapi::kHlWaitCs, uapi::hl_wait_cs_args, WaitIoctl>(),
    Entry<uapi::kHlMemory, uapi::hl_mem_args, MemoryIoctl>(),
    Entry<uapi::kHlDebug, uapi::hl_debug_args, DebugIoctl>(),
};

constexpr kernel::DrmDriver kDrmDriver = {
    6, 12, 0, "habanalabs", "20190505", "Driver for HabanaLabs's AI Accelerators"};
constexpr size_t kKnown = 64;  // no struct of a command is longer

kernel::FileStat CharDevice(uint32_t major, uint32_t minor) {
  return {.mode = S_IFCHR | 0666, .rdev_major = major, .rdev_minor = minor};
}

}  // namespace

// hl_device_release(). The context may live on (E1 exports hold it); until it is gone the node is "in release".
HlFile::~HlFile() {
  device_.Released();
  memory_manager_.RemoveAll();
  if (!ctx_.Reset()) device_.StillInUse();
}

Result<int64_t> HlFile::Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) {
  const uint8_t nr = uapi::IocNr(request);
  const size_t size = uapi::IocSize(request);
  const bool drm_device = device_.properties().flavour == Flavour::kDrm;
  const auto call = [&](size_t in, size_t out, const auto& handle) {
    return kernel::CopyInCallCopyOut(task, arg, in, out, kKnown, handle);
  };
  if (uapi::IocType(request) == 'd' && nr >= uapi::kDrmCommandBase) {
    for (const Handler& handler : kHandlers) {
      if (uapi::kHlIoctls[handler.row].drm_nr != nr) continue;
      return call(uapi::IocIn(request) ? size : 0, uapi::IocOut(request) ? size : 0,
                  [&](std::byte* args) { return handler.call(*this, task, args); });
    }
    if (drm_device) return Err(EINVAL);
    return Err(ENOTTY);
  }
  if (drm_device && uapi::IocType(request) == 'd') {
    if (nr != uapi::kDrmVersionNr) return Err(EINVAL);
    return call(uapi::IocIn(request) ? size : 0, uapi::IocOut(request) ? size : 0, [&](std::byte* bytes) {
      return kernel::WithArgs<uapi::drm_version>(
          bytes, [&](uapi::drm_version& version) { return DrmVersion(task, version, kDrmDriver); });
    });
  }
  if (drm_device && uapi::IocType(request) != 'H') return Err(ENOTTY);
  for (const Handler& handler : kHandlers) {
    if (uapi::kHlIoctls[handler.row].nr != nr) continue;
    return call(size, size, [&](std::byte* args) { return handler.call(*this, task, args); });
  }
  return Err(ENOTTY);
}

// hl_mmap().
Result<kernel::Mapping> HlFile::Mmap(kernel::Task&, const kernel::MmapRequest& request) {
  const uint64_t type = request.offset >> uapi::kHlMmapTypeShift;
  switch (type) {
    case uapi::kHlMmapTypeCb:
    case uapi::kHlMmapTypeTsBuff: return memory_manager_.Mmap(request.length, request.offset);
    case uapi::kHlMmapTypeBlock: return hw_blocks_.Mmap(request.length, request.offset);
    default: return Err(EINVAL);
  }
}

void HlFile::Unmapped(kernel::Task&, uint64_t vma) {
  if (!hw_blocks_.Unmapped(vma)) memory_manager_.Unmapped(vma);
}

Status HlFile::StoreMapped(kernel::Task&, uint64_t vma, uint64_t offset, uint64_t value, uint32_t bytes) {
  return hw_blocks_.Store(vma, offset, value, bytes);
}

kernel::FileStat HlFile::Stat() const { return CharDevice(major_, minor_); }

// hl_ioctl_control(): INFO, whatever the type byte.
Result<int64_t> HlControlFile::Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) {
  const uint8_t nr = uapi::IocNr(request);
  if (nr != uapi::kHlIoctls[uapi::kHlInfo].nr && nr != uapi::kHlIoctls[uapi::kHlInfo].drm_nr) return Err(ENOTTY);
  const size_t size = uapi::IocSize(request);
  return kernel::CopyInCallCopyOut(task, arg, size, size, kKnown, [&](std::byte* bytes) {
    return kernel::WithArgs<uapi::hl_info_args>(bytes, [&](uapi::hl_info_args& args) {
      return InfoIoctl({device_, nullptr, notifier_, task, args});
    });
  });
}

kernel::FileStat HlControlFile::Stat() const { return CharDevice(major_, minor_); }

}  // namespace causeway::habanalabs
