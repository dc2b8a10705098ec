// SPDX-License-Identifier: Apache-2.0
// Exclusive open, control node, release: linux hl_device_open(), hl_device_open_ctrl(), hl_device_release().
#include <gtest/gtest.h>

#include "dmabuf/dma_buf.h"
#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

// hl_device_open(): the status decides before the context does.
TEST(HlOpen, ErrnoTable) {
  constexpr struct {
    uapi::HlDeviceStatus status;
    bool already_open;
    int want;
  } kCases[] = {
      {uapi::kHlStatusOperational, false, 0},      {uapi::kHlStatusOperational, true, EBUSY},
      {uapi::kHlStatusInDeviceCreation, false, 0}, {uapi::kHlStatusInReset, false, EAGAIN},
      {uapi::kHlStatusInReset, true, EAGAIN},      {uapi::kHlStatusInResetAfterDeviceRelease, false, EAGAIN},
      {uapi::kHlStatusMalfunction, false, EPERM},  {uapi::kHlStatusMalfunction, true, EPERM},
      {uapi::kHlStatusNeedsReset, false, EPERM},
  };
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    for (const auto& c : kCases) {
      SCOPED_TRACE(std::string(ToString(flavour)) + " status " + std::to_string(c.status));
      Ref<kernel::File> holder;
      harness.device().set_status(uapi::kHlStatusOperational);
      if (c.already_open) holder = *harness.Open();
      harness.device().set_status(c.status);
      EXPECT_EQ(harness.OpenErrno(), c.want);
    }
  }
}

// hl_device_open_ctrl(): v6.1 wants an operational device, later kernels one that is not disabled.
TEST(HlOpen, ControlNodeErrnoTable) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    const bool misc = flavour == Flavour::kMisc;
    for (const auto& [status, want] : {std::pair(uapi::kHlStatusOperational, 0),
                                       {uapi::kHlStatusInReset, misc ? EPERM : 0},
                                       {uapi::kHlStatusNeedsReset, misc ? EPERM : 0},
                                       {uapi::kHlStatusMalfunction, EPERM}}) {
      harness.device().set_status(status);
      const auto file = harness.OpenControl();
      EXPECT_EQ(file ? 0 : file.error().code(), want) << ToString(flavour) << " status " << status;
    }
  }
}

TEST(HlOpen, ControlNodeIsNotExclusive) {
  Harness harness;
  const auto compute = harness.Open();
  const auto first = harness.OpenControl();
  const auto second = harness.OpenControl();
  ASSERT_TRUE(compute && first && second);
  EXPECT_EQ((*first)->Mmap(harness.task, {.length = kPageSize}).error(), Errno(ENODEV));
}

TEST(HlOpen, NextOpenSucceedsAsSoonAsTheLastHolderIsGone) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    for (int i = 0; i < 3; ++i) {
      Ref<kernel::File> file = *harness.Open();
      Ref<kernel::File> copy = file;  // dup, fork, SCM_RIGHTS
      file.Reset();
      EXPECT_EQ(harness.OpenErrno(), EBUSY);
      copy.Reset();
    }
    EXPECT_EQ(harness.OpenErrno(), 0);
    EXPECT_EQ(harness.device().open_stats().open_counter, 4u);
    EXPECT_FALSE(harness.device().open_stats().active);
  }
}

TEST(HlOpen, StatTellsNumbersOfTheNode) {
  Harness harness({.flavour = Flavour::kAccel});
  const auto compute = (*harness.Open())->Stat();
  const auto control = (*harness.OpenControl())->Stat();
  EXPECT_EQ(compute.mode, S_IFCHR | 0666u);
  EXPECT_EQ(compute.rdev_major, control.rdev_major);
  EXPECT_EQ(compute.rdev_minor % 2, 0u);
  EXPECT_EQ(control.rdev_minor, compute.rdev_minor + 1);  // what hl-thunk relies on
}

// Release with everything still in place: hl_vm_ctx_fini().
TEST(HlRelease, MemoryAndMappingsOfTheContextAreGone) {
  Harness harness;
  {
    Ref<kernel::File> file = *harness.Open();
    const uint64_t handle = harness.Alloc(file, 3 * kDramPage, uapi::kHlMemShared);
    (void)harness.Map(file, handle);  // left mapped on purpose
    (void)harness.Alloc(file, 1);
    uint64_t va = 0;
    EXPECT_EQ(harness.MapHost(file, kUserHost, kPageSize, &va), 0);
    uint64_t len = 8;
    std::byte* byte = harness.machine.memories().At(harness.device().board().hbm_memory(), kDramPage, &len);
    *byte = std::byte{0x5a};
    EXPECT_GT(harness.device().board().hbm_resident_bytes(), 0u);
    EXPECT_EQ(harness.device().dram_used(), 4 * kDramPage);
  }
  EXPECT_EQ(harness.device().dram_used(), 0u);
  EXPECT_EQ(harness.device().board().hbm_resident_bytes(), 0u);
  // All 127 pages are free again, handles start at 1 and addresses at the range's start.
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(harness.Alloc(file, 127 * kDramPage), 1u);
  EXPECT_EQ(harness.Map(file, 1), 0x1001001800000000u);
}

TEST(HlRelease, GaudiForgetsWhatItsProgramCounted) {
  Harness harness({.asic = gaudi::Asic::kGaudi});
  {
    Ref<kernel::File> file = *harness.Open();
    EXPECT_EQ(harness.Alloc(file, 12345), 0u);
    EXPECT_EQ(harness.device().dram_used(), 12345u);
    uint64_t len = 1;
    *harness.machine.memories().At(harness.device().board().hbm_memory(), 0x20000000, &len) = std::byte{1};
  }
  EXPECT_EQ(harness.device().dram_used(), 0u);
  EXPECT_EQ(harness.device().board().hbm_resident_bytes(), 0u);
}

// A live dma-buf at close: E4 holds the file, so EBUSY; E1 holds the context, so EAGAIN.
TEST(HlRelease, LiveDmaBufKeepsTheNodeBusy) {
  constexpr struct {
    gaudi::Asic asic;
    Flavour flavour;
    int want;
    bool in_release;
  } kCases[] = {
      {gaudi::Asic::kGaudi2, Flavour::kAccel, EBUSY, false},
      {gaudi::Asic::kGaudi2, Flavour::kDrm, EBUSY, false},
      {gaudi::Asic::kGaudi, Flavour::kAccel, EBUSY, false},
      {gaudi::Asic::kGaudi, Flavour::kMisc, EAGAIN, true},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(ToString(c.flavour));
    Harness harness({.asic = c.asic, .flavour = c.flavour});
    Ref<kernel::File> file = *harness.Open();
    uint64_t addr = 0x20000000;
    if (c.asic == gaudi::Asic::kGaudi2) addr = harness.Map(file, harness.Alloc(file, kDramPage));
    int fd = -1;
    ASSERT_EQ(harness.Export(file, addr, kPageSize, 0, &fd), 0);
    file.Reset();
    EXPECT_EQ(harness.OpenErrno(), c.want);
    EXPECT_EQ(harness.device().open_stats().in_release, c.in_release);
    EXPECT_TRUE(harness.device().open_stats().active);
    EXPECT_EQ(harness.driver().Report().at(0).dmabufs, 1u);
    harness.task.Close(fd);
    EXPECT_EQ(harness.OpenErrno(), 0);
    EXPECT_EQ(harness.driver().Report().at(0).dmabufs, 0u);
  }
}

TEST(HlReport, TellsOpenerAndUse) {
  Harness harness;
  EXPECT_EQ(harness.driver().Report().at(0).opener, 0);
  Ref<kernel::File> file = *harness.Open();
  (void)harness.Alloc(file, 1);
  const DeviceReport report = harness.driver().Report().at(0);
  EXPECT_EQ(report.opener, harness.task.pid());
  EXPECT_EQ(report.node, "/dev/accel/accel0");
  EXPECT_EQ(report.type, "GAUDI2");
  EXPECT_EQ(report.dram_used, kDramPage);
  EXPECT_EQ(report.dram_size, 127 * kDramPage);
}

// hl_pci_probe(), get_asic_type().
TEST(HlProbe, RefusesWhatIsNoAccelerator) {
  Harness harness;
  EXPECT_EQ(harness.driver().AddDevice({}, harness.machine.nic()).error(), Errno(ENODEV));
  EXPECT_EQ(harness.driver().device_count(), 1u);
}

TEST(HlProbe, NumbersDevicesInOrderPerNodeFamily) {
  Harness harness;  // gaudi2 as accel0
  ASSERT_TRUE(harness.driver().AddDevice({.flavour = Flavour::kDrm}, harness.machine.gaudi()).has_value());
  EXPECT_EQ(harness.driver().Report().at(1).node, "/dev/accel/accel1");
  EXPECT_TRUE(harness.OpenPath("/dev/accel/accel1").has_value());
}

}  // namespace
}  // namespace causeway::habanalabs
