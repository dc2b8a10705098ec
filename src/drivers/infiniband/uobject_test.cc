// SPDX-License-Identifier: Apache-2.0
// The object table against linux v6.1 drivers/infiniband/core/rdma_core.c (specs: verbs 2.1, 2.4).
#include "drivers/infiniband/uobject.h"

#include <gtest/gtest.h>

namespace causeway::infiniband {
namespace {

class Thing final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_PD;
  Thing(std::vector<int>* log, int name) : Uobject(kType, 0), log_(log), name_(name) {}
  Status Destroy() override {
    if (users != 0) return Err(EBUSY);
    log_->push_back(name_);
    return {};
  }

 private:
  std::vector<int>* const log_;
  const int name_;
};
class Other final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_CQ;
  explicit Other(std::vector<int>* log, Ref<Thing> base) : Uobject(kType, 0), log_(log), base_(std::move(base)) {}
  Status Destroy() override {
    log_->push_back(100);
    base_.Release();
    return {};
  }

 private:
  std::vector<int>* const log_;
  UserOf<Thing> base_;
};

class Objects : public testing::Test {
 protected:
  uint32_t Add(int name) {
    auto slot = table_.Reserve();
    const uint32_t handle = slot.handle();
    slot.Commit(MakeRef<Thing>(&log_, name));
    return handle;
  }
  template <typename T>
  static int Code(const Result<T>& result) {
    return result ? 0 : result.error().code();
  }
  std::vector<int> log_;
  UobjectTable table_;
};

TEST_F(Objects, HandlesAreTheLowestFreeNumbersFromZero) {
  EXPECT_EQ(Add(0), 0u);
  EXPECT_EQ(Add(1), 1u);
  EXPECT_EQ(Add(2), 2u);
  ASSERT_TRUE(table_.Destroy<Thing>(1));
  ASSERT_TRUE(table_.Destroy<Thing>(0));
  EXPECT_EQ(Add(3), 0u);
  EXPECT_EQ(Add(4), 1u);
  EXPECT_EQ(Add(5), 3u);
}

TEST_F(Objects, AReservedNumberIsTakenButNotFound) {
  {
    const auto slot = table_.Reserve();
    EXPECT_EQ(slot.handle(), 0u);
    EXPECT_EQ(Add(1), 1u);
    EXPECT_EQ(Code(table_.Lookup<Thing>(0)), ENOENT);
  }
  EXPECT_EQ(Add(2), 0u);
}

TEST_F(Objects, LookupErrnoTable) {
  const uint32_t handle = Add(0);
  EXPECT_EQ(Code(table_.Lookup<Thing>(handle)), 0);
  EXPECT_EQ(Code(table_.Lookup<Thing>(handle + 1)), ENOENT);
  EXPECT_EQ(Code(table_.Lookup<Other>(handle)), EINVAL);
  EXPECT_EQ(Code(table_.Destroy<Other>(handle)), EINVAL);
  EXPECT_EQ(Code(table_.Destroy<Thing>(handle + 1)), ENOENT);
}

TEST_F(Objects, DestroyIsBusyWhileACallUsesTheHandle) {
  const uint32_t handle = Add(0);
  {
    auto use = table_.Lookup<Thing>(handle);
    ASSERT_TRUE(use);
    EXPECT_EQ(Code(table_.Lookup<Thing>(handle)), 0);  // shared
    EXPECT_EQ(Code(table_.Destroy<Thing>(handle)), EBUSY);
  }
  EXPECT_EQ(Code(table_.Destroy<Thing>(handle)), 0);
}

TEST_F(Objects, DestroyIsBusyWhileAnotherObjectIsBuiltOnIt) {
  const uint32_t base = Add(0);
  auto slot = table_.Reserve();
  const uint32_t upper = slot.handle();
  {
    auto use = table_.Lookup<Thing>(base);
    slot.Commit(MakeRef<Other>(&log_, use->ref()));
  }
  EXPECT_EQ(Code(table_.Destroy<Thing>(base)), EBUSY);
  EXPECT_EQ(Code(table_.Lookup<Thing>(base)), 0);  // as before
  EXPECT_EQ(Code(table_.Destroy<Other>(upper)), 0);
  EXPECT_EQ(Code(table_.Destroy<Thing>(base)), 0);
}

TEST_F(Objects, CloseDestroysNewestFirstWhateverTheNumbers) {
  Add(0);
  Add(1);
  Add(2);
  ASSERT_TRUE(table_.Destroy<Thing>(0));
  Add(3);  // number 0, the newest
  log_.clear();
  table_.DestroyAll();
  EXPECT_EQ(log_, (std::vector<int>{3, 2, 1}));
  EXPECT_EQ(table_.Count(uapi::UVERBS_OBJECT_PD), 0u);
}

TEST_F(Objects, CloseTriesAgainWhatHadUsers) {
  // The user is older than what it uses, as a resized or re-parented object may be.
  auto late = MakeRef<Thing>(&log_, 7);
  {
    auto slot = table_.Reserve();
    slot.Commit(MakeRef<Other>(&log_, late));
  }
  auto slot = table_.Reserve();
  slot.Commit(std::move(late));
  table_.DestroyAll();
  EXPECT_EQ(log_, (std::vector<int>{100, 7}));
}

}  // namespace
}  // namespace causeway::infiniband
