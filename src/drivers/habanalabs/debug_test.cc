// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_DEBUG: linux hl_debug_ioctl(), debug_coresight(), hl_device_set_debug_mode(); specs/habanalabs 2.5.
#include "drivers/habanalabs/debug.h"

#include <gtest/gtest.h>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

int Debug(Harness& harness, const Ref<kernel::File>& file, uapi::hl_debug_args args) {
  return harness.Ioctl(*file, uapi::HlIoctlH(uapi::kHlDebug), args);
}
int SetMode(Harness& harness, const Ref<kernel::File>& file, bool enable) {
  return Debug(harness, file, {.op = uapi::kHlDebugSetMode, .enable = enable ? 1u : 0u});
}

TEST(HlDebug, SetModeErrnoTable) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.Open();
    EXPECT_EQ(SetMode(harness, file, false), EFAULT);  // it is off
    EXPECT_EQ(SetMode(harness, file, true), 0);
    EXPECT_EQ(SetMode(harness, file, true), EFAULT);  // it is on
    EXPECT_EQ(SetMode(harness, file, false), 0);
    EXPECT_EQ(SetMode(harness, file, true), 0);
    harness.device().set_status(uapi::kHlStatusInReset);
    EXPECT_EQ(SetMode(harness, file, false), EBUSY);
    harness.device().set_status(uapi::kHlStatusOperational);
    // open_close / close_without_releasing_debug of hl-thunk: debug mode ends with the context.
    file.Reset();
    file = *harness.Open();
    EXPECT_EQ(SetMode(harness, file, true), 0);
    // The control node has INFO only.
    EXPECT_EQ(Debug(harness, *harness.OpenControl(), {.op = uapi::kHlDebugSetMode}), ENOTTY);
  }
}

TEST(HlDebug, ComponentErrnoTable) {
  Harness harness({.asic = gaudi::Asic::kGaudi});
  Ref<kernel::File> file = *harness.Open();
  for (uint32_t op = 0; op < uapi::kHlDebugSetMode; ++op) EXPECT_EQ(Debug(harness, file, {.op = op}), EFAULT) << op;
  EXPECT_EQ(Debug(harness, file, {.op = 8}), EINVAL);
  ASSERT_EQ(SetMode(harness, file, true), 0);
  EXPECT_EQ(Debug(harness, file, {.op = 8}), EINVAL);

  struct {
    uapi::hl_debug_params_etr etr;
  } in = {.etr = {.buffer_address = 0x20000000, .buffer_size = 0x1000, .sink_mode = 0, .pad = 0}};
  ASSERT_TRUE(harness.task.user.Write(kUserOut, in).has_value());
  uapi::hl_debug_params_spmu spmu{};
  spmu.event_types_num = 6;
  ASSERT_TRUE(harness.task.user.Write(kUserOut + 0x100, spmu).has_value());
  const uint64_t etr_in = kUserOut, spmu_in = kUserOut + 0x100, out = kUserOut + 0x200;
  const struct {
    const char* name;
    uapi::hl_debug_args args;
    int want;
  } cases[] = {
      {"ETR on", {.input_ptr = etr_in, .input_size = 24, .op = 0, .enable = 1}, 0},
      {"ETR on, no input", {.op = 0, .enable = 1}, EINVAL},
      {"ETR on, no size", {.input_ptr = etr_in, .input_size = 8, .op = 0, .enable = 1}, EINVAL},
      {"ETR on, bad pointer", {.input_ptr = kUserNothing, .input_size = 24, .op = 0, .enable = 1}, EFAULT},
      {"ETR off", {.output_ptr = out, .output_size = 8, .op = 0}, 0},
      {"ETR off, bad pointer", {.output_ptr = kUserNothing, .output_size = 8, .op = 0}, EFAULT},
      {"ETF", {.input_ptr = etr_in, .input_size = 99, .op = 1, .reg_idx = 47, .enable = 1}, 0},
      {"no such ETF", {.input_ptr = etr_in, .input_size = 24, .op = 1, .reg_idx = 48, .enable = 1}, EINVAL},
      {"STM off", {.op = 2, .reg_idx = 45}, 0},
      {"no such STM", {.op = 2, .reg_idx = 46}, EINVAL},
      {"FUNNEL", {.op = 3, .reg_idx = 75, .enable = 1}, 0},
      {"no such FUNNEL", {.op = 3, .reg_idx = 76}, EINVAL},
      {"no such BMON", {.op = 4, .reg_idx = 121}, EINVAL},
      {"SPMU on", {.input_ptr = spmu_in, .input_size = 96, .op = 5, .reg_idx = 39, .enable = 1}, 0},
      {"SPMU on, input cut short", {.input_ptr = spmu_in, .input_size = 80, .op = 5, .enable = 1}, EINVAL},
      {"SPMU off", {.output_ptr = out, .output_size = 64, .op = 5}, 0},
      {"SPMU off, no room", {.output_ptr = out, .output_size = 16, .op = 5}, EINVAL},
      {"SPMU off, too much room", {.output_ptr = out, .output_size = 72, .op = 5}, EINVAL},
      {"output beyond reason", {.output_ptr = out, .output_size = 0xffffffff, .op = 5}, ENOMEM},
      {"TIMESTAMP", {.op = 6, .enable = 1}, 0},
  };
  for (const auto& c : cases) EXPECT_EQ(Debug(harness, file, c.args), c.want) << c.name;
}

}  // namespace
}  // namespace causeway::habanalabs
