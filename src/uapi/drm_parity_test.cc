// SPDX-License-Identifier: Apache-2.0
// Our DRM numbers and structs against libdrm's copies of <drm/drm.h> and <drm/amdgpu_drm.h>.
#include "uapi/drm.h"

#include <gtest/gtest.h>

#if __has_include(<libdrm/amdgpu_drm.h>)
#include <fcntl.h>
#include <libdrm/amdgpu_drm.h>
#include <sys/ioctl.h>

namespace {

namespace ours = causeway::uapi;

static_assert(sizeof(ours::drm_gem_close) == sizeof(::drm_gem_close));
static_assert(sizeof(ours::drm_get_cap) == sizeof(::drm_get_cap));
static_assert(sizeof(ours::drm_prime_handle) == sizeof(::drm_prime_handle));
static_assert(sizeof(ours::drm_amdgpu_gem_create) == sizeof(::drm_amdgpu_gem_create));
static_assert(sizeof(ours::drm_amdgpu_gem_mmap) == sizeof(::drm_amdgpu_gem_mmap));
static_assert(offsetof(ours::drm_amdgpu_gem_create, in.domains) == offsetof(::drm_amdgpu_gem_create, in.domains));

TEST(DrmParity, NumbersOfTheHeaders) {
  EXPECT_EQ(ours::kDrmIoctlVersion, DRM_IOCTL_VERSION);
  EXPECT_EQ(ours::kDrmIoctlGemClose, DRM_IOCTL_GEM_CLOSE);
  EXPECT_EQ(ours::kDrmIoctlGetCap, DRM_IOCTL_GET_CAP);
  EXPECT_EQ(ours::kDrmIoctlPrimeHandleToFd, DRM_IOCTL_PRIME_HANDLE_TO_FD);
  EXPECT_EQ(ours::kDrmIoctlPrimeFdToHandle, DRM_IOCTL_PRIME_FD_TO_HANDLE);
  EXPECT_EQ(ours::kDrmIoctlAmdgpuGemCreate, DRM_IOCTL_AMDGPU_GEM_CREATE);
  EXPECT_EQ(ours::kDrmIoctlAmdgpuGemMmap, DRM_IOCTL_AMDGPU_GEM_MMAP);
  EXPECT_EQ(ours::kDrmGemFlinkNr, _IOC_NR(DRM_IOCTL_GEM_FLINK));
  EXPECT_EQ(ours::kDrmGemOpenNr, _IOC_NR(DRM_IOCTL_GEM_OPEN));
  EXPECT_EQ(ours::kDrmCapPrime, uint64_t{DRM_CAP_PRIME});
  EXPECT_EQ(ours::kDrmPrimeCapImport | ours::kDrmPrimeCapExport, uint64_t{DRM_PRIME_CAP_IMPORT | DRM_PRIME_CAP_EXPORT});
  EXPECT_EQ(ours::kDrmCapTimestampMonotonic, uint64_t{DRM_CAP_TIMESTAMP_MONOTONIC});
  EXPECT_EQ(ours::kDrmCapSyncobj, uint64_t{DRM_CAP_SYNCOBJ});
  EXPECT_EQ(ours::kDrmCapSyncobjTimeline, uint64_t{DRM_CAP_SYNCOBJ_TIMELINE});
  EXPECT_EQ(ours::kDrmCloexec, uint32_t{DRM_CLOEXEC});
  EXPECT_EQ(ours::kDrmRdwr, uint32_t{DRM_RDWR});
  EXPECT_EQ(ours::kAmdgpuGemDomainGtt, uint64_t{AMDGPU_GEM_DOMAIN_GTT});
  EXPECT_EQ(ours::kAmdgpuGemDomainVram, uint64_t{AMDGPU_GEM_DOMAIN_VRAM});
  EXPECT_EQ(ours::kAmdgpuGemDomainMask, uint64_t{AMDGPU_GEM_DOMAIN_MASK} & 0x3f);
  EXPECT_EQ(ours::kAmdgpuGemCreateNoCpuAccess, uint64_t{AMDGPU_GEM_CREATE_NO_CPU_ACCESS});
  EXPECT_EQ(ours::kAmdgpuGemCreateVmAlwaysValid, uint64_t{AMDGPU_GEM_CREATE_VM_ALWAYS_VALID});
}

}  // namespace
#else
TEST(DrmParity, NumbersOfTheHeaders) { GTEST_SKIP() << "libdrm-dev is not installed"; }
#endif
