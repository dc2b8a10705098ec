// SPDX-License-Identifier: Apache-2.0
// The dma-buf's file: errno of every ioctl and file operation by linux v6.1 drivers/dma-buf/dma-buf.c, and the paths of
// attach that only a failing exporter takes.
#include "dmabuf/dma_buf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "devices/gaudi/fake_machine.h"
#include "dmabuf/fake_exporter.h"
#include "kernel/fake_task.h"
#include "uapi/dma_buf.h"

namespace causeway::dmabuf {
namespace {

constexpr uint64_t kUser = 0x10000;
constexpr uint64_t kUnmapped = 0x900000;

class DmaBufFile : public testing::Test {
 protected:
  DmaBufFile() : state_(std::make_shared<FakeExporterState>()), dmabuf_(Make(false)) {
    task_.user.Map(kUser, kPageSize);
  }

  Ref<DmaBuf> Make(bool is_dynamic, uint64_t size = 4 * kPageSize) {
    auto dmabuf = DmaBuf::Export(
        {.exporter_name = "fake", .size = size, .ops = std::make_unique<FakeExporter>(state_, is_dynamic)});
    EXPECT_TRUE(dmabuf.has_value());
    return *dmabuf;
  }
  int Ioctl(uint32_t request, uint64_t arg) {
    const auto result = dmabuf_->Ioctl(task_, request, arg);
    return result ? 0 : result.error().code();
  }
  uint64_t Put(std::string_view text) {  // with its NUL
    EXPECT_TRUE(task_.user.CopyTo(kUser, std::as_bytes(std::span(text.data(), text.size()))).has_value());
    EXPECT_TRUE(task_.user.Write<char>(kUser + text.size(), '\0').has_value());
    return kUser;
  }

  std::shared_ptr<FakeExporterState> state_;
  kernel::FakeTask task_;
  Ref<DmaBuf> dmabuf_;
  gaudi::FakeMachine machine_;
};

// dma_buf_ioctl(), DMA_BUF_IOCTL_SYNC.
TEST_F(DmaBufFile, SyncErrnoTable) {
  constexpr struct {
    const char* name;
    uint64_t flags;
    int want;
  } kCases[] = {
      {"start read", 1, 0},           {"start write", 2, 0},
      {"start both", 3, 0},           {"end both", 7, 0},
      {"no direction", 0, EINVAL},    {"end without direction", 4, EINVAL},
      {"unknown bit", 3 | 8, EINVAL}, {"unknown high bit", 3 | uint64_t{1} << 63, EINVAL},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    ASSERT_TRUE(task_.user.Write(kUser, c.flags).has_value());
    EXPECT_EQ(Ioctl(uapi::kDmaBufIoctlSync, kUser), c.want);
  }
  EXPECT_EQ(Ioctl(uapi::kDmaBufIoctlSync, kUnmapped), EFAULT);
  EXPECT_EQ(state_->cpu_begin, 3);
  EXPECT_EQ(state_->cpu_end, 1);
}

// dma_buf_set_name(): strndup_user(buf, DMA_BUF_NAME_LEN).
TEST_F(DmaBufFile, SetNameErrnoTable) {
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, Put("buffer one")), 0);
  EXPECT_EQ(dmabuf_->name(), "buffer one");
  EXPECT_EQ(dmabuf_->Name(), "/dmabuf:buffer one");
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameA, Put(std::string(31, 'x'))), 0);
  EXPECT_EQ(dmabuf_->name(), std::string(31, 'x'));
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, Put(std::string(32, 'y'))), EINVAL);
  EXPECT_EQ(dmabuf_->name(), std::string(31, 'x'));
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, kUnmapped), EFAULT);
  // A short name that ends just below an unmapped page is good; one that runs into it faults.
  const uint64_t edge = kUser + kPageSize - 4;
  ASSERT_TRUE(task_.user.CopyTo(edge, std::as_bytes(std::span("abc", 4))).has_value());
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, edge), 0);
  ASSERT_TRUE(task_.user.CopyTo(edge, std::as_bytes(std::span("abcd", 4))).has_value());
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, edge), EFAULT);
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, Put("")), 0);
  EXPECT_EQ(dmabuf_->Name(), "/dmabuf:");
}

TEST_F(DmaBufFile, OtherIoctlsAreEnotty) {
  EXPECT_EQ(Ioctl(uapi::kDmaBufIoctlExportSyncFile, kUser), ENOTTY);  // no CONFIG_SYNC_FILE
  EXPECT_EQ(Ioctl(uapi::kDmaBufIoctlImportSyncFile, kUser), ENOTTY);
  EXPECT_EQ(Ioctl(0x40046200, kUser), ENOTTY);  // SYNC's number with another size: the whole number counts here
  EXPECT_EQ(Ioctl(0, 0), ENOTTY);
}

// dma_buf_llseek().
TEST_F(DmaBufFile, SeekTellsTheSizeAndNothingElse) {
  EXPECT_EQ(dmabuf_->Seek(task_, 0, SEEK_END).value(), int64_t{4 * kPageSize});
  EXPECT_EQ(dmabuf_->Seek(task_, 0, SEEK_SET).value(), 0);
  for (const auto& [offset, whence] : {std::pair<int64_t, int>(1, SEEK_SET), {-1, SEEK_END}, {0, SEEK_CUR}, {0, 99}}) {
    EXPECT_EQ(dmabuf_->Seek(task_, offset, whence).error(), Errno(EINVAL));
  }
}

TEST_F(DmaBufFile, ReadWriteAndMmapAreRefused) {
  bool drained = false;
  EXPECT_EQ(dmabuf_->Read(task_, kUser, 1, &drained).error(), Errno(EINVAL));     // vfs_read(): no FMODE_CAN_READ
  EXPECT_EQ(dmabuf_->Write(task_, kUser, 1).error(), Errno(EINVAL));              // vfs_write()
  EXPECT_EQ(dmabuf_->Mmap(task_, {.length = kPageSize}).error(), Errno(EINVAL));  // dma_buf_mmap_internal(): no mmap op
  EXPECT_EQ(dmabuf_->Mmap(task_, {.length = 5 * kPageSize}).error(), Errno(EINVAL));
  EXPECT_EQ(dmabuf_->Mmap(task_, {.length = kPageSize, .offset = ~uint64_t{0} & ~(kPageSize - 1)}).error(),
            Errno(EINVAL));
}

// dma_buf_show_fdinfo(), dma_buf_getfile().
TEST_F(DmaBufFile, TellsItselfInFdinfoAndStat) {
  Ref<DmaBuf> caller = dmabuf_;
  EXPECT_EQ(dmabuf_->FdInfo(), "size:\t16384\ncount:\t1\nexp_name:\tfake\n");
  EXPECT_EQ(Ioctl(uapi::kDmaBufSetNameB, Put("n")), 0);
  auto attachment = DmaBufAttachment::Create(dmabuf_, machine_.nic());
  ASSERT_TRUE(attachment.has_value());
  EXPECT_EQ(dmabuf_->FdInfo(), "size:\t16384\ncount:\t2\nexp_name:\tfake\nname:\tn\n");
  EXPECT_EQ(dmabuf_->Stat().size, 4 * kPageSize);
  EXPECT_EQ(dmabuf_->Stat().mode, 0600u);
  EXPECT_NE(dmabuf_->Stat().inode, Make(false)->Stat().inode);
  EXPECT_EQ(dmabuf_->kind(), ipc::kFileDmaBuf);
}

// dma_buf_export().
TEST_F(DmaBufFile, ExportNeedsOpsAndASize) {
  EXPECT_EQ(DmaBuf::Export({.exporter_name = "x", .size = kPageSize}).error(), Errno(EINVAL));
  EXPECT_EQ(DmaBuf::Export({.exporter_name = "x", .ops = std::make_unique<FakeExporter>(state_, false)}).error(),
            Errno(EINVAL));
}

// dma_buf_dynamic_attach(): each failing step undoes those before it.
TEST_F(DmaBufFile, FailedAttachLeavesNothing) {
  const ImporterOps dynamic_importer{.allow_peer2peer = true, .move_notify = [](DmaBufAttachment&) {}};
  EXPECT_EQ(DmaBufAttachment::Create({}, machine_.nic()).error(), Errno(EINVAL));

  state_->attach_errno = EBUSY;
  EXPECT_EQ(DmaBufAttachment::Create(dmabuf_, machine_.nic()).error(), Errno(EBUSY));
  state_->attach_errno = 0;

  state_->map_errno = ENOMEM;  // static exporter, dynamic importer: mapped at attach
  EXPECT_EQ(DmaBufAttachment::Create(dmabuf_, machine_.nic(), dynamic_importer).error(), Errno(ENOMEM));

  auto moving = Make(true);  // dynamic exporter, pinned importer: pinned and mapped at attach
  EXPECT_EQ(DmaBufAttachment::Create(moving, machine_.nic()).error(), Errno(ENOMEM));
  EXPECT_EQ(state_->pinned, 0);
  state_->map_errno = 0;
  state_->pin_errno = ENOSPC;
  EXPECT_EQ(DmaBufAttachment::Create(moving, machine_.nic()).error(), Errno(ENOSPC));
  state_->pin_errno = 0;

  EXPECT_EQ(state_->attached, 0);
  EXPECT_EQ(state_->mapped, 0);
  EXPECT_EQ(dmabuf_->attachment_count(), 0u);
  EXPECT_EQ(moving->attachment_count(), 0u);
}

TEST_F(DmaBufFile, MappingKeptSinceAttachServesEveryMap) {
  auto attachment = DmaBufAttachment::Create(dmabuf_, machine_.nic(), {.move_notify = [](DmaBufAttachment&) {}});
  ASSERT_TRUE(attachment.has_value());
  EXPECT_EQ(state_->mapped, 1);
  auto mapping = (*attachment)->Map(Direction::kToDevice);
  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(state_->mapped, 1);
  EXPECT_EQ(state_->last_direction, Direction::kBidirectional);
  mapping->reset();
  EXPECT_EQ(state_->mapped, 1);
  attachment->reset();
  EXPECT_EQ(state_->mapped, 0);
}

}  // namespace
}  // namespace causeway::dmabuf
