// SPDX-License-Identifier: Apache-2.0
// Dispatch of both number schemes: linux v6.1 habanalabs_ioctl.c hl_ioctl(), _hl_ioctl(), hl_ioctl_control(), and
// v6.12 drivers/gpu/drm/drm_ioctl.c drm_ioctl().
#include <gtest/gtest.h>

#include "drivers/habanalabs/harness.h"
#include "drivers/habanalabs/info.h"

namespace causeway::habanalabs {
namespace {

using uapi::HlRequest;

constexpr uint32_t kInfoH = uapi::HlIoctlH(uapi::kHlInfo);
constexpr uint32_t kInfoDrm = uapi::HlIoctlDrm(uapi::kHlInfo);

uapi::hl_info_args StatusArgs() {
  return {.return_pointer = kUserOut, .return_size = 8, .op = uapi::kHlInfoDeviceStatus, .dcore_id = 0, .pad = 0};
}

TEST(HlDispatch, NumberErrnoTable) {
  const struct {
    const char* name;
    uint32_t request;
    int accel, misc, drm;
  } cases[] = {
      {"INFO", kInfoH, 0, 0, 0},
      {"DRM INFO", kInfoDrm, 0, 0, 0},
      {"INFO by another type: not looked at but by the DRM core", HlRequest('x', 1, 24), 0, 0, ENOTTY},
      {"number 0", HlRequest('H', 0, 24), ENOTTY, ENOTTY, ENOTTY},
      {"number 7", HlRequest('H', 7, 24), ENOTTY, ENOTTY, ENOTTY},
      {"CB: an unknown operation", uapi::HlIoctlH(uapi::kHlCb), EINVAL, EINVAL, EINVAL},
      {"CS without chunks", uapi::HlIoctlH(uapi::kHlCs), EINVAL, EINVAL, EINVAL},
      {"WAIT_CS of what was never issued", uapi::HlIoctlH(uapi::kHlWaitCs), EINVAL, EINVAL, EINVAL},
      {"DRM CS without chunks", uapi::HlIoctlDrm(uapi::kHlCs), EINVAL, EINVAL, EINVAL},
      {"DEBUG, without debug mode", uapi::HlIoctlH(uapi::kHlDebug), EFAULT, EFAULT, EFAULT},
      {"DRM DEBUG, without debug mode", uapi::HlIoctlDrm(uapi::kHlDebug), EFAULT, EFAULT, EFAULT},
      {"DRM number out of the driver's range", HlRequest('d', 0x46, 24), ENOTTY, ENOTTY, EINVAL},
      {"unknown DRM core number", HlRequest('d', 0x3f, 24), ENOTTY, ENOTTY, EINVAL},
  };
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.Open();
    for (const auto& c : cases) {
      SCOPED_TRACE(std::string(c.name) + " " + std::string(ToString(flavour)));
      uapi::hl_info_args args = StatusArgs();
      const int want = flavour == Flavour::kAccel ? c.accel : flavour == Flavour::kMisc ? c.misc : c.drm;
      EXPECT_EQ(harness.Ioctl(*file, c.request, args), want);
    }
  }
}

TEST(HlDispatch, ControlNodeServesInfoOnly) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.OpenControl();
    for (const auto& [request, want] : {std::pair(kInfoH, 0),
                                        {kInfoDrm, 0},
                                        {HlRequest('z', 1, 24), 0},
                                        {uapi::HlIoctlH(uapi::kHlMemory), ENOTTY},
                                        {uapi::HlIoctlDrm(uapi::kHlMemory), ENOTTY},
                                        {uapi::kDrmIoctlVersion, ENOTTY}}) {
      uapi::hl_info_args args = StatusArgs();
      EXPECT_EQ(harness.Ioctl(*file, request, args), want) << std::hex << request;
    }
  }
}

TEST(HlDispatch, BadPointersAreEfault) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(file->Ioctl(harness.task, kInfoH, kUserNothing).error(), Errno(EFAULT));
  EXPECT_EQ(file->Ioctl(harness.task, kInfoH, 0).error(), Errno(EFAULT));
  EXPECT_EQ(file->Ioctl(harness.task, kInfoH, kUserArgs + kPageSize - 8).error(), Errno(EFAULT));  // runs over the end
  // Readable but not writable: the command is carried out, and the copy back fails.
  uapi::hl_info_args args = StatusArgs();
  harness.task.user.Map(0x30000, kPageSize);
  EXPECT_TRUE(harness.task.user.Write(0x30000, args).has_value());
  EXPECT_EQ(harness.Ioctl(*file, kInfoH, args), 0);
  args.return_pointer = kUserNothing;
  EXPECT_EQ(harness.Ioctl(*file, kInfoH, args), EFAULT);
  // On a device in reset the copy still comes first.
  harness.device().set_status(uapi::kHlStatusInReset);
  EXPECT_EQ(file->Ioctl(harness.task, uapi::HlIoctlH(uapi::kHlMemory), kUserNothing).error(), Errno(EFAULT));
}

// Sizes of the caller's struct: a short one is zero-extended, a long one gets its extra bytes back untouched.
TEST(HlDispatch, SizesMayDiffer) {
  for (const bool drm : {false, true}) {
    Harness harness({.flavour = drm ? Flavour::kDrm : Flavour::kAccel});
    Ref<kernel::File> file = *harness.Open();
    const char type = drm ? 'd' : 'H';
    const uint8_t nr = drm ? 0x40 : 1;
    struct Long {
      uapi::hl_info_args args;
      uint64_t extra;
    };
    Long longer{StatusArgs(), 0x1122334455667788};
    longer.args.pad = 0;
    EXPECT_EQ(harness.Ioctl(*file, HlRequest(static_cast<uint8_t>(type), nr, sizeof(Long)), longer), 0);
    EXPECT_EQ(longer.extra, 0x1122334455667788u);
    // 20 bytes: the pad, which is set in memory, reads as zero.
    uapi::hl_info_args shorter = StatusArgs();
    shorter.pad = 1;
    EXPECT_EQ(harness.Ioctl(*file, HlRequest(static_cast<uint8_t>(type), nr, 20), shorter), 0);
    EXPECT_EQ(shorter.pad, 1u);
    shorter.pad = 1;
    EXPECT_EQ(harness.Ioctl(*file, HlRequest(static_cast<uint8_t>(type), nr, 24), shorter), EINVAL);
    // No bytes at all: everything is zero, so HW_IP_INFO with no buffer.
    EXPECT_EQ(harness.Ioctl(*file, HlRequest(static_cast<uint8_t>(type), nr, 0), shorter), EINVAL);
  }
}

TEST(HlDispatch, DirectionIsTheCallersForDrmNumbersOnly) {
  // _IOW: nothing comes back by the DRM core; by hl_ioctl() it does, whatever the caller says.
  for (const auto& [request, written_back] : {std::pair(uapi::HlIoctlDrm(uapi::kHlMemory) & ~0x80000000u, false),
                                              std::pair(uapi::HlIoctlH(uapi::kHlMemory) & ~0x80000000u, true)}) {
    Harness harness({.flavour = Flavour::kDrm});
    Ref<kernel::File> file = *harness.Open();
    uapi::hl_mem_args args{.in = {.alloc = {.mem_size = 1, .page_size = 0}, .op = uapi::kHlMemOpAlloc, .ctx_id = 9}};
    EXPECT_EQ(harness.Ioctl(*file, request, args), 0);
    EXPECT_EQ(args.in.ctx_id, written_back ? 0u : 9u);
  }
}

// drm_version(): lengths come back whole, text cut to the buffer.
TEST(HlDispatch, DrmVersion) {
  Harness harness({.flavour = Flavour::kDrm});
  Ref<kernel::File> file = *harness.Open();
  uapi::drm_version version{.name_len = 4, .name = kUserOut};
  EXPECT_EQ(harness.Ioctl(*file, uapi::kDrmIoctlVersion, version), 0);
  EXPECT_EQ(version.name_len, std::string_view("habanalabs").size());
  EXPECT_EQ(*harness.task.user.Read<uint32_t>(kUserOut), 0x61626168u);  // "haba"
  EXPECT_EQ(*harness.task.user.Read<uint8_t>(kUserOut + 4), 0u);
  version = {.name_len = 4, .name = kUserNothing};
  EXPECT_EQ(harness.Ioctl(*file, uapi::kDrmIoctlVersion, version), EFAULT);
}

// hl_mmap().
TEST(HlMmap, ErrnoTable) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    Ref<kernel::File> file = *harness.Open();
    const int block = asic == gaudi::Asic::kGaudi ? EPERM : EINVAL;
    for (const auto& [offset, want] : {std::pair(uint64_t{0}, EINVAL),
                                       {uint64_t{0x1000000000001000}, EINVAL},
                                       {uint64_t{0x2000000000000000}, block},
                                       {uint64_t{0x8000000000001000}, EINVAL}}) {
      EXPECT_EQ(file->Mmap(harness.task, {.length = kPageSize, .offset = offset}).error().code(), want);
    }
    bool drained = false;
    EXPECT_EQ(file->Read(harness.task, kUserOut, 1, &drained).error(), Errno(EINVAL));
    EXPECT_EQ(file->Seek(harness.task, 0, SEEK_SET).error(), Errno(ESPIPE));
  }
}

}  // namespace
}  // namespace causeway::habanalabs
