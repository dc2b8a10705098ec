// SPDX-License-Identifier: Apache-2.0
// Event descriptors against linux v6.1 drivers/infiniband/core/uverbs_main.c ib_uverbs_event_read() (specs: verbs 2.5,
// 7).
#include "drivers/infiniband/event_file.h"

#include <gtest/gtest.h>

#include "kernel/fake_task.h"

namespace causeway::infiniband {
namespace {

constexpr uint64_t kUser = 0x10000;
constexpr uint64_t kUnmapped = 0x900000;

class EventFiles : public testing::Test {
 protected:
  EventFiles() { task_.user.Map(kUser, 4096); }
  Ref<EventFile> Make(EventFile::Type type) {
    auto file = MakeRef<EventFile>(type, 1, readiness_);
    file->set_id(next_id_++);
    return file;
  }
  int64_t Read(const Ref<EventFile>& file, uint64_t len, uint64_t buffer = kUser) {
    drained_ = false;
    const auto got = file->Read(task_, buffer, len, &drained_);
    return got ? *got : -got.error().code();
  }
  kernel::FakeTask task_;
  kernel::FakeReadiness readiness_;
  kernel::FileId next_id_ = 1;
  bool drained_ = false;
};

TEST_F(EventFiles, ReadErrnoTable) {
  for (const auto type : {EventFile::Type::kAsync, EventFile::Type::kCompletion}) {
    const int64_t size = type == EventFile::Type::kAsync ? 16 : 8;
    auto file = Make(type);
    EXPECT_EQ(Read(file, 4096), -EAGAIN);
    EXPECT_EQ(Read(file, 0), -EAGAIN);  // whatever the buffer
    file->Push(1, 5, {});
    file->Push(2, 5, {});
    EXPECT_EQ(Read(file, static_cast<uint64_t>(size - 1)), -EINVAL);  // kept
    EXPECT_EQ(file->queued(), 2u);
    EXPECT_EQ(Read(file, 4096), size);  // exactly one, however long the buffer
    EXPECT_FALSE(drained_);
    EXPECT_EQ(*task_.user.Read<uint64_t>(kUser), 1u);
    EXPECT_EQ(Read(file, 4096, kUnmapped), -EFAULT);  // lost
    EXPECT_TRUE(drained_);
    EXPECT_EQ(Read(file, 4096), -EAGAIN);
    EXPECT_EQ(file->Write(task_, kUser, 8).error(), Errno(EBADF));
    EXPECT_EQ(file->Seek(task_, 0, 0).error(), Errno(ESPIPE));
  }
}

TEST_F(EventFiles, AnAsynchronousEventNamesElementAndType) {
  auto file = Make(EventFile::Type::kAsync);
  file->Push(0x1122334455667788, uapi::IB_EVENT_SQ_DRAINED, {});
  ASSERT_EQ(Read(file, 16), 16);
  const auto desc = *task_.user.Read<uapi::ib_uverbs_async_event_desc>(kUser);
  EXPECT_EQ(desc.element, 0x1122334455667788u);
  EXPECT_EQ(desc.event_type, 5u);
  EXPECT_EQ(desc.reserved, 0u);
}

TEST_F(EventFiles, ReportedCountsWhatWasReadAndTheRestVanishes) {
  auto file = Make(EventFile::Type::kCompletion);
  auto mine = MakeRef<EventCounter>(), other = MakeRef<EventCounter>();
  file->Push(1, 0, mine);
  file->Push(2, 0, other);
  file->Push(1, 0, mine);
  ASSERT_EQ(Read(file, 8), 8);
  EXPECT_EQ(file->Forget(mine), 1u);
  EXPECT_EQ(file->queued(), 1u);
  file->Push(1, 0, mine);  // an interrupt that was on its way
  EXPECT_EQ(file->queued(), 1u);
  EXPECT_TRUE(readiness_.readable.contains(file->id()));
  EXPECT_EQ(file->Forget(other), 0u);
  EXPECT_FALSE(readiness_.readable.contains(file->id()));
}

TEST_F(EventFiles, ClosingTheContextWakesWhoWaits) {
  auto file = Make(EventFile::Type::kAsync);
  file->Push(1, 5, {});
  file->Close();
  EXPECT_TRUE(readiness_.readable.contains(file->id()));
  EXPECT_EQ(Read(file, 16), 16);
  EXPECT_FALSE(drained_);  // EIO stays readable
  EXPECT_EQ(Read(file, 16), -EIO);
  file->Push(2, 5, {});
  EXPECT_EQ(Read(file, 16), -EIO);
}

}  // namespace
}  // namespace causeway::infiniband
