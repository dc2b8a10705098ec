// SPDX-License-Identifier: Apache-2.0
// The DRM uAPI of a render node as far as buffers go: core ioctls, and amdgpu's own for making and mapping a buffer.
// Our own definition of public facts; drm_parity_test.cc compares them with the system's <drm/drm.h> and
// <drm/amdgpu_drm.h>. struct drm_version and the parts of an ioctl number stand in habanalabs.h. Freestanding.
#pragma once

#include <cstdint>

#include "uapi/habanalabs.h"

namespace causeway::uapi {

struct drm_gem_close {
  uint32_t handle;
  uint32_t pad;
};
struct drm_get_cap {
  uint64_t capability;
  uint64_t value;
};
struct drm_prime_handle {
  uint32_t handle;
  uint32_t flags;  // kDrmCloexec, kDrmRdwr
  int32_t fd;
};
union drm_amdgpu_gem_create {
  struct {
    uint64_t bo_size;
    uint64_t alignment;
    uint64_t domains;       // kAmdgpuGemDomain*
    uint64_t domain_flags;  // kAmdgpuGemCreate*
  } in;
  struct {
    uint32_t handle;
    uint32_t pad;
  } out;
};
union drm_amdgpu_gem_mmap {
  struct {
    uint32_t handle;
    uint32_t pad;
  } in;
  struct {
    uint64_t addr_ptr;  // what mmap() of the node takes as offset
  } out;
};

// Numbers of type 'd'.
constexpr uint8_t kDrmGemCloseNr = 0x09;
constexpr uint8_t kDrmGemFlinkNr = 0x0a;
constexpr uint8_t kDrmGemOpenNr = 0x0b;
constexpr uint8_t kDrmGetCapNr = 0x0c;
constexpr uint8_t kDrmPrimeHandleToFdNr = 0x2d;
constexpr uint8_t kDrmPrimeFdToHandleNr = 0x2e;
constexpr uint8_t kDrmAmdgpuGemCreateNr = 0x40;
constexpr uint8_t kDrmAmdgpuGemMmapNr = 0x41;

constexpr uint32_t DrmIoctl(uint32_t direction, uint8_t nr, uint32_t size) {
  return direction << 30 | size << 16 | uint32_t{'d'} << 8 | nr;
}
constexpr uint32_t kDrmIoctlGemClose = DrmIoctl(1, kDrmGemCloseNr, sizeof(drm_gem_close));
constexpr uint32_t kDrmIoctlGetCap = DrmIoctl(3, kDrmGetCapNr, sizeof(drm_get_cap));
constexpr uint32_t kDrmIoctlPrimeHandleToFd = DrmIoctl(3, kDrmPrimeHandleToFdNr, sizeof(drm_prime_handle));
constexpr uint32_t kDrmIoctlPrimeFdToHandle = DrmIoctl(3, kDrmPrimeFdToHandleNr, sizeof(drm_prime_handle));
constexpr uint32_t kDrmIoctlAmdgpuGemCreate = DrmIoctl(3, kDrmAmdgpuGemCreateNr, sizeof(drm_amdgpu_gem_create));
constexpr uint32_t kDrmIoctlAmdgpuGemMmap = DrmIoctl(3, kDrmAmdgpuGemMmapNr, sizeof(drm_amdgpu_gem_mmap));

constexpr uint64_t kDrmCapPrime = 0x5;
constexpr uint64_t kDrmPrimeCapImport = 1;
constexpr uint64_t kDrmPrimeCapExport = 2;
constexpr uint64_t kDrmCapTimestampMonotonic = 0x6;
constexpr uint64_t kDrmCapSyncobj = 0x13;
constexpr uint64_t kDrmCapSyncobjTimeline = 0x14;
constexpr uint32_t kDrmCloexec = 02000000;  // O_CLOEXEC
constexpr uint32_t kDrmRdwr = 02;           // O_RDWR

constexpr uint64_t kAmdgpuGemDomainCpu = 0x1;
constexpr uint64_t kAmdgpuGemDomainGtt = 0x2;
constexpr uint64_t kAmdgpuGemDomainVram = 0x4;
constexpr uint64_t kAmdgpuGemDomainMask = 0x3f;
constexpr uint64_t kAmdgpuGemCreateNoCpuAccess = 1 << 1;
constexpr uint64_t kAmdgpuGemCreateVmAlwaysValid = 1 << 6;
// What amdgpu_gem_create_ioctl() of linux v6.1 accepts on a part without TMZ: CPU_ACCESS_REQUIRED, NO_CPU_ACCESS,
// CPU_GTT_USWC, VRAM_CLEARED, VM_ALWAYS_VALID, EXPLICIT_SYNC, DISCARDABLE.
constexpr uint64_t kAmdgpuGemCreateFlags = 0x10cf;

}  // namespace causeway::uapi
