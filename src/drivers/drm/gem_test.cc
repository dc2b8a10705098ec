// SPDX-License-Identifier: Apache-2.0
// Ioctls and mmap of a render node: linux v6.1 drm_ioctl(), drm_gem.c, drm_prime.c, amdgpu_gem_create_ioctl().
#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "drivers/drm/test_bench.h"

namespace causeway::drm {
namespace {

TEST(DrmVersion, IsAmdgpusAndCutToTheCallersRoom) {
  TestBench bench;
  const auto file = bench.Open();
  uapi::drm_version version = {};
  version.name = kUserText;
  version.name_len = 3;
  ASSERT_EQ(bench.Ioctl(*file, uapi::kDrmIoctlVersion, version), 0);
  EXPECT_EQ(version.name_len, 6u);
  EXPECT_EQ(version.version_major, 3);
  std::array<std::byte, 4> text;
  ASSERT_TRUE(bench.task.user.CopyFrom(text, kUserText));
  EXPECT_EQ(std::memcmp(text.data(), "amd\0", 4), 0);
}

TEST(DrmIoctl, ErrnoTable) {
  TestBench bench;
  const auto file = bench.Open();
  const struct {
    const char* name;
    uint32_t request;
    uint64_t arg;
    int want_errno;
  } kCases[] = {
      {"not a DRM number", 0x5401, kUserArgs, ENOTTY},
      {"a core number that is not served", uapi::DrmIoctl(3, 0x06, 40), kUserArgs, EINVAL},
      {"a driver number that is not served: AMDGPU_INFO", uapi::DrmIoctl(1, 0x45, 32), kUserArgs, EINVAL},
      {"FLINK on a render node", uapi::DrmIoctl(3, uapi::kDrmGemFlinkNr, 8), kUserArgs, EACCES},
      {"OPEN on a render node", uapi::DrmIoctl(3, uapi::kDrmGemOpenNr, 16), kUserArgs, EACCES},
      {"an argument that is not there", uapi::kDrmIoctlGemClose, 0x999000, EFAULT},
      {"GEM_CLOSE of no handle", uapi::kDrmIoctlGemClose, kUserArgs, EINVAL},
      {"PRIME of no handle", uapi::kDrmIoctlPrimeHandleToFd, kUserArgs, ENOENT},
      {"GEM_MMAP of no handle", uapi::kDrmIoctlAmdgpuGemMmap, kUserArgs, ENOENT},
      {"size 0", uapi::kDrmIoctlAmdgpuGemCreate, kUserArgs, EINVAL},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    const std::array<std::byte, 64> zero = {};
    ASSERT_TRUE(bench.task.user.CopyTo(kUserArgs, zero));
    const auto got = file->Ioctl(bench.task, c.request, c.arg);
    EXPECT_EQ(got ? 0 : got.error().code(), c.want_errno);
  }
}

TEST(DrmGetCap, PrimeBothWays) {
  TestBench bench;
  const auto file = bench.Open();
  uapi::drm_get_cap cap = {uapi::kDrmCapPrime, 0};
  EXPECT_EQ(bench.Ioctl(*file, uapi::kDrmIoctlGetCap, cap), 0);
  EXPECT_EQ(cap.value, 3u);
  cap = {0x1, 0};  // DUMB_BUFFER
  EXPECT_EQ(bench.Ioctl(*file, uapi::kDrmIoctlGetCap, cap), EOPNOTSUPP);
}

TEST(GemCreate, FlagsDomainsAndRoom) {
  TestBench bench;
  const auto file = bench.Open();
  uint32_t handle = 0;
  EXPECT_EQ(bench.Create(*file, kPageSize, &handle, 0x40), EINVAL);
  EXPECT_EQ(bench.Create(*file, kPageSize, &handle, 0x8), EINVAL);           // GDS
  EXPECT_EQ(bench.Create(*file, kPageSize, &handle, 0x4, 1 << 5), EINVAL);   // VRAM_CONTIGUOUS
  EXPECT_EQ(bench.Create(*file, kPageSize, &handle, 0x4, 1 << 10), EINVAL);  // ENCRYPTED
  EXPECT_EQ(bench.Create(*file, kVram + 1, &handle), ENOMEM);
  EXPECT_EQ(bench.Create(*file, ~uint64_t{0}, &handle), ENOMEM);
  ASSERT_EQ(bench.Create(*file, 1, &handle, uapi::kAmdgpuGemDomainGtt), 0);  // one page
  EXPECT_EQ(handle, 1u);
  EXPECT_EQ(bench.device().used_bytes(), kPageSize);
  uint32_t rest = 0;
  EXPECT_EQ(bench.Create(*file, kVram, &rest), ENOMEM);
  ASSERT_EQ(bench.Create(*file, kVram - kPageSize, &rest), 0);
  EXPECT_EQ(bench.Close(*file, handle), 0);
  EXPECT_EQ(bench.Close(*file, handle), EINVAL);
  EXPECT_EQ(bench.Create(*file, kPageSize, &handle), 0);
  EXPECT_EQ(handle, 1u);  // the lowest free
}

TEST(GemMmap, BeginsWhereTheBufferBeginsAndOnlyForItsHolders) {
  TestBench bench;
  const auto file = bench.Open();
  const auto other = bench.Open();
  uint32_t handle = 0;
  uint64_t offset = 0;
  ASSERT_EQ(bench.Create(*file, 2 * kPageSize, &handle), 0);
  ASSERT_EQ(bench.MmapOffset(*file, handle, &offset), 0);
  kernel::MmapRequest request = {.length = 2 * kPageSize, .prot = PROT_READ, .flags = MAP_SHARED, .offset = offset};
  const auto mapping = file->Mmap(bench.task, request);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(other->Mmap(bench.task, request).error(), Errno(EACCES));
  request.length = 3 * kPageSize;
  EXPECT_EQ(file->Mmap(bench.task, request).error(), Errno(EINVAL));
  request = {.length = kPageSize, .prot = PROT_READ, .flags = MAP_SHARED, .offset = offset + kPageSize};
  EXPECT_EQ(file->Mmap(bench.task, request).error(), Errno(EINVAL));
  request = {.length = kPageSize, .prot = PROT_WRITE, .flags = MAP_PRIVATE, .offset = offset};
  EXPECT_EQ(file->Mmap(bench.task, request).error(), Errno(EINVAL));
  // The mapping keeps the memory without its handle.
  EXPECT_EQ(bench.Close(*file, handle), 0);
  EXPECT_EQ(bench.device().used_bytes(), 2 * kPageSize);
  file->Unmapped(bench.task, mapping->vma);
  EXPECT_EQ(bench.device().used_bytes(), 0u);
}

TEST(GemMmap, NoCpuAccessMeansNone) {
  TestBench bench;
  const auto file = bench.Open();
  uint32_t handle = 0;
  uint64_t offset = 0;
  int fd = -1;
  ASSERT_EQ(bench.Create(*file, kPageSize, &handle, 0x4, uapi::kAmdgpuGemCreateNoCpuAccess), 0);
  EXPECT_EQ(bench.MmapOffset(*file, handle, &offset), EPERM);
  ASSERT_EQ(bench.ToFd(*file, handle, &fd), 0);
  EXPECT_EQ(bench.task.files.at(fd)->Mmap(bench.task, {.length = kPageSize, .flags = MAP_SHARED}).error(),
            Errno(EPERM));
}

TEST(Prime, OneBufferHasOneHandlePerFile) {
  TestBench bench;
  const auto file = bench.Open();
  const auto other = bench.Open();
  uint32_t handle = 0, again = 0, others = 0;
  int first = -1, second = -1;
  ASSERT_EQ(bench.Create(*file, kPageSize, &handle), 0);
  EXPECT_EQ(bench.ToFd(*file, handle, &first, 0x10), EINVAL);
  ASSERT_EQ(bench.ToFd(*file, handle, &first), 0);
  ASSERT_EQ(bench.ToFd(*file, handle, &second, uapi::kDrmCloexec), 0);
  EXPECT_EQ(bench.ToHandle(*file, first, &again), 0);
  EXPECT_EQ(again, handle);
  EXPECT_EQ(bench.ToHandle(*other, first, &others), 0);
  EXPECT_EQ(bench.ToHandle(*other, 77, &again), EBADF);
  // Every holder in turn: the last one frees.
  EXPECT_EQ(bench.Close(*file, handle), 0);
  bench.task.Close(first);
  bench.task.Close(second);
  EXPECT_EQ(bench.device().used_bytes(), kPageSize);
  EXPECT_EQ(bench.Close(*other, others), 0);
  EXPECT_EQ(bench.device().used_bytes(), 0u);
}

TEST(Prime, ABufferOfTheFilesOwnVmIsNotShared) {
  TestBench bench;
  const auto file = bench.Open();
  uint32_t handle = 0;
  int fd = -1;
  ASSERT_EQ(bench.Create(*file, kPageSize, &handle, 0x4, uapi::kAmdgpuGemCreateVmAlwaysValid), 0);
  EXPECT_EQ(bench.ToFd(*file, handle, &fd), EPERM);
}

TEST(Evict, MovesContentAndNotWhatAProgramHasMapped) {
  TestBench bench;
  const auto file = bench.Open();
  uint32_t handle = 0;
  uint64_t offset = 0;
  ASSERT_EQ(bench.Create(*file, kPageSize, &handle), 0);
  EXPECT_EQ(bench.device().Evict(), 1u);
  ASSERT_EQ(bench.MmapOffset(*file, handle, &offset), 0);
  const kernel::MmapRequest request = {.length = kPageSize, .prot = PROT_READ, .flags = MAP_SHARED, .offset = offset};
  const auto mapping = file->Mmap(bench.task, request);
  ASSERT_TRUE(mapping);
  std::memset(bench.At(*mapping), 0x5a, kPageSize);
  EXPECT_EQ(bench.device().Evict(), 0u);
  EXPECT_EQ(*bench.At(*mapping), std::byte{0x5a});
}

TEST(Evict, MemoryGivenBackIsZeroForTheNextOwner) {
  TestBench bench;
  const auto file = bench.Open();
  for (int round = 0; round < 2; ++round) {
    uint32_t handle = 0;
    uint64_t offset = 0;
    ASSERT_EQ(bench.Create(*file, kVram, &handle), 0);
    ASSERT_EQ(bench.MmapOffset(*file, handle, &offset), 0);
    const auto mapping =
        file->Mmap(bench.task, {.length = kVram, .prot = PROT_READ, .flags = MAP_SHARED, .offset = offset});
    ASSERT_TRUE(mapping);
    EXPECT_EQ(*bench.At(*mapping), std::byte{0});
    *bench.At(*mapping) = std::byte{1};
    file->Unmapped(bench.task, mapping->vma);
    EXPECT_EQ(bench.Close(*file, handle), 0);
  }
}

TEST(DrmFile, GivesEverythingBackWhenItIsClosed) {
  TestBench bench;
  auto file = bench.Open();
  uint32_t handle = 0;
  int fd = -1;
  ASSERT_EQ(bench.Create(*file, kPageSize, &handle), 0);
  ASSERT_EQ(bench.ToFd(*file, handle, &fd), 0);
  file.Reset();
  EXPECT_EQ(bench.device().used_bytes(), kPageSize);
  bench.task.Close(fd);
  EXPECT_EQ(bench.device().used_bytes(), 0u);
}

}  // namespace
}  // namespace causeway::drm
