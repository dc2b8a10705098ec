// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_MEMORY but for export: linux drivers/accel/habanalabs/common/memory.c.
#include <gtest/gtest.h>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kFirstDramVa = 0x1001001800000000;
constexpr uint64_t kFirstHostVa2 = 0xFFF0000100200000;  // Gaudi2: after the CB pools
constexpr uint64_t kFirstHostVa1 = 0x0001000000200000;  // Gaudi

uapi::hl_mem_in AllocIn(uint64_t size, uint32_t flags = 0, uint64_t page_size = 0) {
  return {.alloc = {.mem_size = size, .page_size = page_size}, .op = uapi::kHlMemOpAlloc, .flags = flags};
}

// alloc_device_memory() on Gaudi2.
TEST(HlAlloc, ErrnoTable) {
  constexpr struct {
    const char* name;
    uint64_t size;
    uint32_t flags;
    uint64_t page_size;
    int want;
    uint64_t used;
  } kCases[] = {
      {"nothing", 0, 0, 0, EINVAL, 0},
      {"one byte takes a page", 1, 0, 0, 0, kDramPage},
      {"a page and a byte", kDramPage + 1, 0, 0, 0, 2 * kDramPage},
      {"contiguous", 2 * kDramPage, uapi::kHlMemContiguous, 0, 0, 2 * kDramPage},
      {"everything", 127 * kDramPage, 0, 0, 0, 127 * kDramPage},
      {"everything in one range", 127 * kDramPage, uapi::kHlMemContiguous, 0, 0, 127 * kDramPage},
      {"a byte too much", 127 * kDramPage + 1, 0, 0, ENOMEM, 0},
      {"a byte too much, contiguous", 127 * kDramPage + 1, uapi::kHlMemContiguous, 0, ENOMEM, 0},
      {"wraps to no pages", ~uint64_t{0}, 0, 0, EINVAL, 0},
      {"the largest that does not wrap", ~uint64_t{0} - kDramPage, 0, 0, ENOMEM, 0},
      {"page_size is not looked at", 1, 0, 12345, 0, kDramPage},
      {"unknown flags are ignored", 1, 0xffff0000, 0, 0, kDramPage},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    Harness harness;
    Ref<kernel::File> file = *harness.Open();
    uapi::hl_mem_args args{.in = AllocIn(c.size, c.flags, c.page_size)};
    args.in.ctx_id = 77;
    EXPECT_EQ(harness.Memory(*file, args), c.want);
    EXPECT_EQ(harness.device().dram_used(), c.used);
    if (c.size == 0) {
      EXPECT_EQ(args.in.ctx_id, 77u);  // left as sent
    } else {
      EXPECT_EQ(args.in.op, 0u);  // cleared, on failure too
      EXPECT_EQ(args.in.ctx_id, 0u);
      EXPECT_EQ(args.out.handle, c.want == 0 ? 1u : 0u);
    }
  }
}

TEST(HlAlloc, HandlesAreTheLowestFreeNumberAndPagesFirstFit) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(harness.Alloc(file, 1), 1u);
  EXPECT_EQ(harness.Alloc(file, 1), 2u);
  EXPECT_EQ(harness.Alloc(file, 1), 3u);
  EXPECT_EQ(harness.Free(file, 2), 0);
  EXPECT_EQ(harness.Alloc(file, 2 * kDramPage, uapi::kHlMemContiguous), 2u);
  EXPECT_EQ(harness.Free(file, 1), 0);
  EXPECT_EQ(harness.Alloc(file, 1), 1u);
  EXPECT_EQ(harness.device().dram_used(), 4 * kDramPage);
}

TEST(HlAlloc, HolesServeOnlyWhatNeedNotBeContiguous) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  for (int i = 0; i < 127; ++i) (void)harness.Alloc(file, 1);
  for (uint64_t handle = 2; handle <= 6; handle += 2) EXPECT_EQ(harness.Free(file, handle), 0);
  EXPECT_EQ(harness.Memory(file, AllocIn(2 * kDramPage, uapi::kHlMemContiguous)), ENOMEM);
  EXPECT_EQ(harness.Alloc(file, 3 * kDramPage), 2u);
  EXPECT_EQ(harness.Memory(file, AllocIn(1)), ENOMEM);
}

// free_device_memory().
TEST(HlFree, ErrnoTable) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(harness.Free(file, 1), EINVAL);
  const uint64_t handle = harness.Alloc(file, 1);
  const uint64_t va = harness.Map(file, handle);
  const uint64_t again = harness.Map(file, handle);
  EXPECT_NE(va, again);
  EXPECT_EQ(harness.Free(file, handle), EINVAL);  // mapped twice
  EXPECT_EQ(harness.Unmap(file, va), 0);
  EXPECT_EQ(harness.Free(file, handle), EINVAL);  // mapped once
  EXPECT_EQ(harness.Unmap(file, again), 0);
  EXPECT_EQ(harness.Free(file, handle | uint64_t{7} << 32), 0);  // cut to 32 bits
  EXPECT_EQ(harness.Free(file, handle), EINVAL);
  EXPECT_EQ(harness.device().dram_used(), 0u);
}

// hl_mem_ioctl(), DRAM without virtual memory: only counters, and they believe the program.
TEST(HlGaudi, AllocAndFreeOnlyCount) {
  Harness harness({.asic = gaudi::Asic::kGaudi});
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(harness.Memory(file, AllocIn(0)), EINVAL);
  EXPECT_EQ(harness.Alloc(file, 1000), 0u);
  EXPECT_EQ(harness.device().dram_used(), 1000u);
  EXPECT_EQ(harness.Free(file, 400), 0);  // what lies where the handle does
  EXPECT_EQ(harness.device().dram_used(), 600u);
  uapi::hl_info_dram_usage usage{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoDramUsage, &usage), 0);
  EXPECT_EQ(usage.ctx_dram_mem, 600u);
  EXPECT_EQ(usage.dram_free_mem, 0x7E0000000u - 600);
  EXPECT_EQ(harness.Memory(file, {.map_device = {.hint_addr = 0, .handle = 0}, .op = uapi::kHlMemOpMap}), EINVAL);
  EXPECT_EQ(harness.Memory(file, AllocIn(uint64_t{1} << 50)), 0);  // no check
}

// map_device_va(), device memory.
TEST(HlMapDevice, ErrnoTable) {
  constexpr uint32_t kForce = uapi::kHlMemForceHint;
  const uint64_t aligned = kFirstDramVa + 0x30000000ull * 100;
  const uint64_t dram_end = 0x1001C00600000000;
  const struct {
    const char* name;
    uint64_t handle, hint;
    uint32_t flags;
    int want;
    uint64_t va;
  } cases[] = {
      {"unknown handle", 9, 0, 0, EINVAL, 0},
      {"handle 0", 0, 0, 0, EINVAL, 0},
      {"first address is dram_base_address", 1, 0, 0, 0, kFirstDramVa},
      {"handle is cut to 32 bits", uint64_t{5} << 32 | 1, 0, 0, 0, kFirstDramVa},
      {"hint", 1, kFirstDramVa + 2 * kDramPage, kForce, 0, kFirstDramVa + 2 * kDramPage},
      {"unaligned hint", 1, kFirstDramVa + kPageSize, 0, 0, kFirstDramVa},
      {"unaligned hint, forced", 1, kFirstDramVa + kPageSize, kForce, ENOMEM, 0},
      {"forced without a hint", 1, 0, kForce, ENOMEM, 0},
      {"hint outside the range", 1, 0x1000, 0, 0, kFirstDramVa},
      {"hint outside the range, forced", 1, 0x1000, kForce, ENOMEM, 0},
      {"hint at the range's last block", 1, dram_end - kDramPage, kForce, ENOMEM, 0},
      {"far hint", 1, aligned, kForce, 0, aligned},
      {"prefetch is ignored", 1, 0, uapi::kHlMemPrefetch, 0, kFirstDramVa},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Harness harness;
    Ref<kernel::File> file = *harness.Open();
    ASSERT_EQ(harness.Alloc(file, 1), 1u);
    uapi::hl_mem_args args{.in = {.map_device = {.hint_addr = c.hint, .handle = c.handle},
                                  .op = uapi::kHlMemOpMap,
                                  .flags = c.flags,
                                  .ctx_id = 7}};
    EXPECT_EQ(harness.Memory(*file, args), c.want);
    EXPECT_EQ(args.out.device_virt_addr, c.va);
    EXPECT_EQ(args.in.ctx_id, 0u);  // cleared, on failure too
    // A failed map holds nothing.
    EXPECT_EQ(harness.Free(file, 1), c.want == 0 ? EINVAL : 0);
  }
}

TEST(HlMapDevice, LengthIsTheRoundedAllocation) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t big = harness.Map(file, harness.Alloc(file, 2 * kDramPage + 1));
  const uint64_t next = harness.Map(file, harness.Alloc(file, 1));
  EXPECT_EQ(big, kFirstDramVa);
  EXPECT_EQ(next, kFirstDramVa + 3 * kDramPage);
}

// hl_pin_host_memory(), get_user_memory(), map_device_va().
TEST(HlMapHost, ErrnoTable) {
  constexpr uint32_t kForce = uapi::kHlMemForceHint;
  const struct {
    const char* name;
    uint64_t address, size, hint;
    uint32_t flags;
    int want, want_misc, want_drm;
  } cases[] = {
      {"nothing", kUserHost, 0, 0, 0, EINVAL, EINVAL, EINVAL},
      {"wraps", ~uint64_t{0} - 10, 100, 0, 0, EINVAL, EINVAL, EINVAL},
      {"page-aligned end wraps", ~uint64_t{0} - 100, 50, 0, 0, EINVAL, EINVAL, EINVAL},
      {"not mapped", kUserNothing, kPageSize, 0, 0, EFAULT, EFAULT, EFAULT},
      {"only the first part is mapped", kUserHost + kUserHostSize - kPageSize, 2 * kPageSize, 0, 0, EFAULT, EFAULT,
       ENOMEM},
      {"read-only", kUserReadOnly, kPageSize, 0, 0, EFAULT, 0, EFAULT},
      {"good", kUserHost, kPageSize, 0, 0, 0, 0, 0},
      {"unaligned", kUserHost + 5, 10, 0, 0, 0, 0, 0},
      {"forced hint with an unaligned pointer", kUserHost + 5, 10, 0x1000, kForce, EINVAL, EINVAL, EINVAL},
      {"forced hint outside", kUserHost + kPageSize, 10, 0x1000, kForce, ENOMEM, ENOMEM, ENOMEM},
      {"forced without a hint", kUserHost, 10, 0, kForce, ENOMEM, ENOMEM, ENOMEM},
  };
  for (const gaudi::Asic asic : kEveryAsic) {
    for (const Flavour flavour : kEveryFlavour) {
      Harness harness({.asic = asic, .flavour = flavour});
      Ref<kernel::File> file = *harness.Open();
      for (const auto& c : cases) {
        SCOPED_TRACE(std::string(c.name) + " " + std::string(ToString(flavour)));
        const int want = flavour == Flavour::kMisc ? c.want_misc : flavour == Flavour::kDrm ? c.want_drm : c.want;
        uint64_t va = 1;
        EXPECT_EQ(harness.MapHost(file, c.address, c.size, &va, c.hint, c.flags), want);
        EXPECT_EQ(va == 0, want != 0);
        if (want == 0) {
          EXPECT_EQ(harness.Unmap(file, va), 0);
        }
      }
    }
  }
}

TEST(HlMapHost, FirstAddressesOfBothAsics) {
  for (const auto& [asic, first] :
       {std::pair(gaudi::Asic::kGaudi, kFirstHostVa1), {gaudi::Asic::kGaudi2, kFirstHostVa2}}) {
    Harness harness({.asic = asic});
    Ref<kernel::File> file = *harness.Open();
    uint64_t a = 0, b = 0, c = 0, d = 0;
    EXPECT_EQ(harness.MapHost(file, kUserHost + 0x1234, 0x100, &a), 0);
    EXPECT_EQ(a, first + 0x234);  // the offset in the page is kept
    EXPECT_EQ(harness.MapHost(file, kUserHost + 0x1234, 0x100, &b), 0);
    EXPECT_EQ(b, first + kPageSize + 0x234);  // the same range again: another address
    EXPECT_EQ(harness.MapHost(file, kUserHost + 0xfff, 2, &c), 0);
    EXPECT_EQ(c, first + 2 * kPageSize + 0xfff);  // two pages
    EXPECT_EQ(harness.MapHost(file, kUserHost, kPageSize, &d), 0);
    EXPECT_EQ(d, AlignUp(first + 4 * kPageSize, 2 * kMiB));  // a 2 MiB aligned pointer gets such an address
    for (const uint64_t va : {a, b, c, d}) EXPECT_EQ(harness.Unmap(file, va), 0);
    EXPECT_EQ(harness.MapHost(file, kUserHost + 0x1000, 1, &a), 0);
    EXPECT_EQ(a, first);
  }
}

// init_phys_pg_pack_from_userptr(): huge leaves, from the huge range, when all of it is whole huge pages.
TEST(HlMapHost, HugePagesHaveARangeOfTheirOwn) {
  constexpr uint64_t kHuge = 2 * kMiB, kHugeRange = 0xFFF0800000000000;
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const struct {
    const char* name;
    uint64_t page, address, size, hint;
    uint32_t flags;
    int want;
    uint64_t va;
  } cases[] = {
      {"huge", kHuge, kUserHost, kHuge, 0, 0, 0, kHugeRange},
      {"two of them", kHuge, kUserHost, 2 * kHuge, 0, 0, 0, kHugeRange},
      {"small pages", kPageSize, kUserHost, kHuge, 0, 0, 0, 0xFFF0000100200000},
      {"a part of one", kHuge, kUserHost, kHuge - 1, 0, 0, 0, kHugeRange},  // rounded up to pages
      {"less by a page", kHuge, kUserHost, kHuge - kPageSize, 0, 0, 0, 0xFFF0000100200000},
      {"not from its start", kHuge, kUserHost + kPageSize, kHuge, 0, 0, 0, 0xFFF0000100200000},
      {"with a hint", kHuge, kUserHost, kHuge, kHugeRange + 7 * kHuge, 0, 0, kHugeRange + 7 * kHuge},
      {"a hint that is not aligned", kHuge, kUserHost, kHuge, kHugeRange + kPageSize, 0, 0, kHugeRange},
      {"forced", kHuge, kUserHost, kHuge, kHugeRange + kPageSize, uapi::kHlMemForceHint, ENOMEM, 0},
      {"forced into the range of small pages", kHuge, kUserHost, kHuge, 0xFFF0000200000000, uapi::kHlMemForceHint,
       ENOMEM, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    harness.task.page_size = c.page;
    uint64_t va = 0;
    EXPECT_EQ(harness.MapHost(file, c.address, c.size, &va, c.hint, c.flags), c.want);
    EXPECT_EQ(va, c.va);
    if (c.want != 0) continue;
    EXPECT_EQ(harness.Unmap(file, va), 0);
  }
  // Gaudi has one range for both.
  Harness gaudi1({.asic = gaudi::Asic::kGaudi});
  gaudi1.task.page_size = kHuge;
  Ref<kernel::File> first = *gaudi1.Open();
  uint64_t va = 0;
  EXPECT_EQ(gaudi1.MapHost(first, kUserHost, kHuge, &va), 0);
  EXPECT_EQ(va, kFirstHostVa1);
}

TEST(HlMapHost, DoorbellPageOfGaudi2IsTaken) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  uint64_t va = 0;
  EXPECT_EQ(harness.MapHost(file, kUserHost + kPageSize, 1, &va, 0xFFF077FFFFFF0000, uapi::kHlMemForceHint), ENOMEM);
  EXPECT_EQ(harness.MapHost(file, kUserHost + kPageSize, 1, &va, 0xFFF077FFFFFF1000, uapi::kHlMemForceHint), 0);
  EXPECT_EQ(va, 0xFFF077FFFFFF1000u);
}

// unmap_device_va().
TEST(HlUnmap, ErrnoTable) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  uint64_t host = 0;
  ASSERT_EQ(harness.MapHost(file, kUserHost + 0x10, 3 * kPageSize, &host), 0);
  const uint64_t handle = harness.Alloc(file, 1);
  const uint64_t device = harness.Map(file, handle);
  EXPECT_EQ(harness.Unmap(file, 0), EINVAL);
  EXPECT_EQ(harness.Unmap(file, host - 0x10), EINVAL);  // without the offset
  EXPECT_EQ(harness.Unmap(file, host + kPageSize), EINVAL);
  EXPECT_EQ(harness.Unmap(file, device + kPageSize), EINVAL);
  EXPECT_EQ(harness.Unmap(file, handle), EINVAL);
  EXPECT_EQ(harness.Unmap(file, host), 0);
  EXPECT_EQ(harness.Unmap(file, host), EINVAL);
  EXPECT_EQ(harness.Unmap(file, device), 0);
  EXPECT_EQ(harness.Unmap(file, device), EINVAL);
}

// Freed memory reads as nothing anyone wrote before, and costs nothing.
TEST(HlFree, GivesTouchedPagesBack) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t kept = harness.Alloc(file, 1);
  const uint64_t freed = harness.Alloc(file, 1);
  const uint32_t hbm = harness.device().board().hbm_memory();
  uint64_t len = 1;
  *harness.machine.memories().At(hbm, kDramPage, &len) = std::byte{1};      // first user page: `kept`
  *harness.machine.memories().At(hbm, 2 * kDramPage, &len) = std::byte{2};  // `freed`
  const uint64_t before = harness.device().board().hbm_resident_bytes();
  EXPECT_EQ(harness.Free(file, freed), 0);
  EXPECT_LT(harness.device().board().hbm_resident_bytes(), before);
  EXPECT_EQ(*harness.machine.memories().At(hbm, kDramPage, &len), std::byte{1});
  EXPECT_EQ(harness.Free(file, kept), 0);
  EXPECT_EQ(harness.device().board().hbm_resident_bytes(), 0u);
}

// hl_mem_ioctl(): the rest of its switch.
TEST(HlMemory, OtherOpsErrnoTable) {
  constexpr struct {
    gaudi::Asic asic;
    uint32_t op;
    int want;
  } kCases[] = {
      {gaudi::Asic::kGaudi, uapi::kHlMemOpMapBlock, EPERM},
      {gaudi::Asic::kGaudi2, uapi::kHlMemOpMapBlock, EINVAL},
      {gaudi::Asic::kGaudi2, 7, EINVAL},
      {gaudi::Asic::kGaudi2, 0xffffffff, EINVAL},
  };
  for (const auto& c : kCases) {
    Harness harness({.asic = c.asic});
    Ref<kernel::File> file = *harness.Open();
    uapi::hl_mem_args args{
        .in = {.map_block = {.block_addr = 0x1000007FF8000000}, .op = c.op, .flags = 3, .ctx_id = 5}};
    EXPECT_EQ(harness.Memory(*file, args), c.want) << c.op;
    EXPECT_EQ(args.in.ctx_id, 5u);
    if (c.op == uapi::kHlMemOpMapBlock) {
      EXPECT_EQ(args.out.block.block_handle, 0u);
      EXPECT_EQ(args.out.block.block_size, 0u);
    }
  }
}

TEST(HlMemory, NothingHappensOnADeviceThatIsNotOperational) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t handle = harness.Alloc(file, 1);
  const uint64_t va = harness.Map(file, handle);
  for (const auto status : {uapi::kHlStatusInReset, uapi::kHlStatusMalfunction, uapi::kHlStatusNeedsReset,
                            uapi::kHlStatusInResetAfterDeviceRelease}) {
    harness.device().set_status(status);
    for (uint32_t op = 0; op < 9; ++op) {
      uapi::hl_mem_args args{.in = {.alloc = {.mem_size = va, .page_size = handle}, .op = op, .flags = 1, .ctx_id = 2}};
      const uapi::hl_mem_args sent = args;
      EXPECT_EQ(harness.Memory(*file, args), EBUSY) << op;
      EXPECT_EQ(std::memcmp(&args, &sent, sizeof(args)), 0) << op;  // left as sent
    }
  }
  harness.device().set_status(uapi::kHlStatusOperational);
  EXPECT_EQ(harness.Unmap(file, va), 0);
}

}  // namespace
}  // namespace causeway::habanalabs
