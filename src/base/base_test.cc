// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/checked.h"
#include "base/ref.h"
#include "base/result.h"

namespace causeway {
namespace {

struct Counted : RefCounted {
  explicit Counted(int* deaths) : deaths_(deaths) {}
  ~Counted() override { ++*deaths_; }
  int* deaths_;
};

TEST(Ref, TheLastHolderDeletes) {
  int deaths = 0;
  Ref<Counted> a = MakeRef<Counted>(&deaths);
  Ref<Counted> b = a;
  Ref<RefCounted> c = b;
  a.Reset();
  b.Reset();
  EXPECT_EQ(deaths, 0);
  EXPECT_TRUE(DynamicRefCast<Counted>(c));
  c.Reset();
  EXPECT_EQ(deaths, 1);
}

Status FailsWith(int host_errno) {
  errno = host_errno;
  return HostErr();
}
Result<int> PassesOn(int host_errno) {
  if (host_errno != 0) CW_CHECK(FailsWith(host_errno));
  return 7;
}
Result<int> Binds(int host_errno) {
  CW_TRY(int value, PassesOn(host_errno));
  return value + 1;
}

TEST(Result, MacrosPassTheFirstErrorOn) {
  EXPECT_EQ(Binds(ENOMEM).error().code(), ENOMEM);
  EXPECT_EQ(*Binds(0), 8);
  EXPECT_EQ(Errno::FromHost(0).code(), EIO);
}

}  // namespace
}  // namespace causeway
