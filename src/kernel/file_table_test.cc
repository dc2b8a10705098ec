// SPDX-License-Identifier: Apache-2.0
#include "kernel/file_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <semaphore>

namespace causeway::kernel {
namespace {

class CountedFile : public File {
 public:
  CountedFile(std::atomic<int>& released, std::binary_semaphore* done)
      : File(ipc::kFileEvent), released_(released), done_(done) {}
  ~CountedFile() override {
    ++released_;
    if (done_ != nullptr) done_->release();
  }
  FileStat Stat() const override { return {}; }
  std::string Name() const override { return "counted"; }

 private:
  std::atomic<int>& released_;
  std::binary_semaphore* const done_;
};

class FileTableTest : public testing::Test {
 protected:
  UniqueFd Install(std::binary_semaphore* done = nullptr, uint32_t flags = 0) {
    Ref<File> file = MakeRef<CountedFile>(released_, done);
    auto installed = files_.Install(std::move(file), flags, FileTable::kAnyAccess, 1);
    EXPECT_TRUE(installed);
    last_ = installed->id;
    return std::move(installed->end);
  }
  static bool Readable(const UniqueFd& fd) {
    struct pollfd poll = {fd.get(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  }
  // What the shim does when it is told so.
  static bool TakeByte(const UniqueFd& fd) {
    char byte;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 1;
  }

  std::atomic<int> released_ = 0;
  FileTable files_{"feed" + std::to_string(::getpid())};  // tests run side by side
  FileId last_ = 0;
};

TEST_F(FileTableTest, TheLastCloseReleases) {
  std::binary_semaphore done(0);
  UniqueFd fd = Install(&done);
  UniqueFd copy(::dup(fd.get()));
  fd.Reset();
  files_.Drain();
  EXPECT_EQ(released_, 0);
  copy.Reset();
  done.acquire();  // the table's own thread sees it
  EXPECT_EQ(released_, 1);
  EXPECT_EQ(files_.size(), 0u);
}

TEST_F(FileTableTest, SyncAndDrainReturnAfterRelease) {
  UniqueFd fd = Install();
  const FileId id = last_;
  files_.Sync(id);
  EXPECT_EQ(released_, 0) << "still open";
  fd.Reset();
  files_.Sync(id);
  EXPECT_EQ(released_, 1);
  files_.Sync(id);
  EXPECT_EQ(files_.Get(id).error(), Errno(EBADF));
  for (int i = 0; i < 100; ++i) Install();
  files_.Drain();
  EXPECT_EQ(released_, 101);
}

TEST_F(FileTableTest, AnotherRefKeepsTheFileButNotItsDescriptor) {
  UniqueFd fd = Install();
  const Ref<File> held = files_.Get(last_).value().file;
  fd.Reset();
  files_.Sync(last_);
  EXPECT_EQ(released_, 0);
  EXPECT_EQ(files_.Get(last_).error(), Errno(EBADF));
}

TEST_F(FileTableTest, ADescriptorTellsWhichFileItIs) {
  const UniqueFd a = Install();
  const FileId id = last_;
  const UniqueFd b = Install();
  EXPECT_EQ(files_.Identify(a.get())->id(), id);
  EXPECT_EQ(files_.Identify(b.get())->id(), last_);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  const UniqueFd c(pair[0]), d(pair[1]);
  EXPECT_FALSE(files_.Identify(c.get()));
  EXPECT_FALSE(files_.Identify(STDIN_FILENO));
  FileTable other("beef" + std::to_string(::getpid()));
  EXPECT_FALSE(other.Identify(a.get())) << "another machine's";
}

TEST_F(FileTableTest, AFileHasOneDescriptorFromTheMachine) {
  const UniqueFd fd = Install();
  EXPECT_EQ(files_.Install(files_.Get(last_).value().file, 0, 0, 1).error(), Errno(EEXIST));
}

TEST_F(FileTableTest, FlagsAreTheDescriptors) {
  const UniqueFd plain = Install();
  EXPECT_EQ(::fcntl(plain.get(), F_GETFL) & O_NONBLOCK, 0);
  const UniqueFd nonblocking = Install(nullptr, O_NONBLOCK);
  EXPECT_EQ(::fcntl(nonblocking.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
}

TEST_F(FileTableTest, ReadableUntilDrained) {
  const UniqueFd fd = Install();
  EXPECT_FALSE(Readable(fd));
  files_.SetReadable(last_);
  files_.SetReadable(last_);
  EXPECT_TRUE(Readable(fd));
  const uint64_t generation = files_.Generation(last_);
  EXPECT_TRUE(files_.TakeReadable(last_, generation));
  EXPECT_TRUE(TakeByte(fd));
  EXPECT_FALSE(TakeByte(fd)) << "one byte however often it was set";
  EXPECT_FALSE(Readable(fd));
  EXPECT_FALSE(files_.TakeReadable(last_, generation)) << "nothing to take";
}

TEST_F(FileTableTest, AnEventBetweenReadAndTakeIsNotLost) {
  const UniqueFd fd = Install();
  files_.SetReadable(last_);
  const uint64_t generation = files_.Generation(last_);
  files_.SetReadable(last_);  // after the read that found it empty
  EXPECT_FALSE(files_.TakeReadable(last_, generation));
  EXPECT_TRUE(Readable(fd));
  // And one after the take, before the program took the byte: two bytes, one taken.
  EXPECT_TRUE(files_.TakeReadable(last_, generation + 1));
  files_.SetReadable(last_);
  EXPECT_TRUE(TakeByte(fd));
  EXPECT_TRUE(Readable(fd));
}

TEST_F(FileTableTest, ClearingInACallTellsItsProgram) {
  const UniqueFd fd = Install();
  files_.SetReadable(last_);
  files_.ClearReadable(last_);
  EXPECT_TRUE(Readable(fd)) << "no call is in progress: a later read that finds nothing takes the byte";
  {
    const FileTable::CallScope scope;
    files_.ClearReadable(last_);
    EXPECT_EQ(scope.cleared(), last_);
  }
  {
    const FileTable::CallScope scope;
    files_.ClearReadable(last_);
    EXPECT_EQ(scope.cleared(), 0u) << "it is not readable any more";
  }
  EXPECT_TRUE(TakeByte(fd));
}

TEST_F(FileTableTest, AByteNobodyTookIsTakenByTheNextEmptyRead) {
  const UniqueFd fd = Install();
  files_.SetReadable(last_);
  {
    const FileTable::CallScope scope;
    files_.ClearReadable(last_);  // its program died before it took the byte
  }
  EXPECT_TRUE(Readable(fd));
  EXPECT_TRUE(files_.TakeReadable(last_, files_.Generation(last_)));
}

TEST_F(FileTableTest, EveryFileIsReleasedWithTheTable) {
  UniqueFd fd;
  std::atomic<int> released = 0;
  {
    FileTable files("dead" + std::to_string(::getpid()));
    fd = std::move(files.Install(MakeRef<CountedFile>(released, nullptr), 0, 0, 1)->end);
  }
  EXPECT_EQ(released, 1);
  struct pollfd poll = {fd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&poll, 1, 0), 1);
  EXPECT_NE(poll.revents & POLLHUP, 0) << "what a program's poll() sees of a machine that went";
}

TEST_F(FileTableTest, TheListNamesFiles) {
  const UniqueFd fd = Install();
  const auto list = files_.List();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].name, "counted");
  EXPECT_EQ(list[0].opener, 1);
  EXPECT_EQ(list[0].id, last_);
}

}  // namespace
}  // namespace causeway::kernel
