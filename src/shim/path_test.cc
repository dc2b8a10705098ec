// SPDX-License-Identifier: Apache-2.0
// Which paths the shim looks at, and whose they are. What they then mean is tested with a machine in tests/shim.
#include "shim/path.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>

#include <memory>

namespace causeway::shim {
namespace {

// No machine is there, but the shim is active: read once, at the first call that asks.
const bool environment_is_set = ::setenv(ipc::kMachineEnv, "/nonexistent", 1) == 0;

TEST(PathMatters, OnlySysDevProcAndTheRoot) {
  ASSERT_TRUE(environment_is_set);
  constexpr struct {
    const char* path;
    bool want;
  } kCases[] = {
      {"/", true},          {"/dev", true},          {"/dev/null", true},   {"/sys", true},
      {"/sys/class", true}, {"/proc/self/fd", true}, {"//dev/hl0", true},   {"/./dev/hl0", true},
      {"/../dev", true},    {"/device", false},      {"/devel/x", false},   {"/system", false},
      {"/srv/x", false},    {"/proc", false},        {"/process/x", false}, {"/usr/dev", false},
      {"/tmp/x", false},    {"relative", false},     {"", false},           {nullptr, false},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.path != nullptr ? c.path : "null");
    EXPECT_EQ(PathMatters(AT_FDCWD, c.path), c.want);
  }
}

TEST(PathMatters, RelativePathsFollowTheirFolder) {
  EXPECT_FALSE(PathMatters(30, "class"));
  ASSERT_TRUE(SetFd(30, kFdOverlay, 0));
  EXPECT_TRUE(PathMatters(30, "class"));
  EXPECT_FALSE(PathMatters(30, "/usr"));
  ClearFd(30);
  cwd_matters.store(true);
  EXPECT_TRUE(PathMatters(AT_FDCWD, "class"));
  UpdateCwd();  // the build folder
  EXPECT_FALSE(PathMatters(AT_FDCWD, "class"));
}

TEST(CleanPath, HasNothingToResolve) {
  for (const char* path : {"/", "/dev", "/dev/", "/dev/.hidden", "/dev/..hidden/x", "/a/...", "/a/b/c"}) {
    EXPECT_TRUE(IsCleanPath(path)) << path;
  }
  for (const char* path : {"", "dev", "//dev", "/dev//x", "/.", "/..", "/dev/.", "/dev/./x", "/dev/..", "/dev/../x"}) {
    EXPECT_FALSE(IsCleanPath(path)) << path;
  }
}

TEST(Claims, ClassifyPaths) {
  // The claims are process-wide and point into the header.
  static const auto header = std::make_unique<ipc::ArenaHeader>();
  for (const char* claim : {"/dev/infiniband", "/dev/hl*", "/sys/class/infiniband", "/sys/devices/pci0000:80"}) {
    ::strcpy(header->claims[header->claim_count++], claim);
  }
  UseClaims(*header);
  constexpr struct {
    const char* path;
    Claimed want;
  } kCases[] = {
      {"/", Claimed::kAncestor},
      {"/dev", Claimed::kAncestor},
      {"/dev/", Claimed::kAncestor},
      {"/sys/class", Claimed::kAncestor},
      {"/sys/class/", Claimed::kAncestor},
      {"/sys/devices", Claimed::kAncestor},
      {"/dev/infiniband", Claimed::kYes},
      {"/dev/infiniband/", Claimed::kYes},
      {"/dev/infiniband/uverbs0", Claimed::kYes},
      {"/dev/infinibandit", Claimed::kNo},
      {"/dev/infinib", Claimed::kNo},
      {"/dev/hl0", Claimed::kYes},
      {"/dev/hl_controlD0", Claimed::kYes},
      {"/dev/h", Claimed::kNo},
      {"/dev/null", Claimed::kNo},
      {"/sys/class/infiniband_verbs", Claimed::kNo},
      {"/sys/class/infiniband/rxe0/ports", Claimed::kYes},
      {"/sys/clas", Claimed::kNo},
      {"/sys/devices/pci0000:80/x", Claimed::kYes},
      {"/sys/devices/pci0000:00", Claimed::kNo},
      {"/usr", Claimed::kNo},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.path);
    EXPECT_EQ(Classify(c.path), c.want);
  }
  EXPECT_TRUE(HasClaim("/sys/class/infiniband"));
  EXPECT_FALSE(HasClaim("/sys/class"));
  EXPECT_FALSE(HasClaim("/sys/class/infiniband/rxe0"));
}

TEST(Text, NumbersAreDecimal) {
  char text[64];
  EXPECT_EQ(AppendNumber(AppendText(text, "fd/"), 0), text + 4);
  EXPECT_STREQ(text, "fd/0");
  (void)AppendNumber(text, ~uint64_t{0});
  EXPECT_STREQ(text, "18446744073709551615");
}

}  // namespace
}  // namespace causeway::shim
