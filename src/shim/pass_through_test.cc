// SPDX-License-Identifier: Apache-2.0
// Calls on ordinary files, folders and memory pass through the shim's functions unchanged, results and errno alike.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "shim/calls.h"
#include "shim/doorbell.h"
#include "shim/fd_table.h"
#include "shim/mapping.h"

namespace causeway::shim {
namespace {

TEST(PassThrough, OrdinaryDescriptorsAreTheKernels) {
  const int fd = OpenAt(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  errno = 77;
  EXPECT_EQ(Write(fd, "hello", 5), 5);
  EXPECT_EQ(Lseek(fd, 1, SEEK_SET), 1);
  char text[8] = {};
  EXPECT_EQ(Read(fd, text, sizeof(text)), 4);
  EXPECT_EQ(Pread(fd, text, 5, 0), 5);
  EXPECT_EQ(errno, 77);
  EXPECT_EQ(std::memcmp(text, "hello", 5), 0);
  EXPECT_EQ(Pwrite(fd, "J", 1, 0), 1);
  struct iovec parts[2] = {{text, 1}, {text + 1, 4}};
  EXPECT_EQ(Preadv(fd, parts, 2, 0), 5);
  EXPECT_EQ(text[0], 'J');
  EXPECT_EQ(Preadv2(fd, parts, 2, 0, 0), 5);
  EXPECT_EQ(Writev(fd, parts, 2), 5);
  EXPECT_EQ(Ioctl(fd, 0x1234, nullptr), -1);
  EXPECT_EQ(errno, ENOTTY);
  struct stat status;
  EXPECT_EQ(Fstat(fd, &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));
  EXPECT_EQ(OldFstat(9, fd, &status), -1);
  EXPECT_EQ(errno, EINVAL);
  void* map = MapFile(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(Unmap(map, 4096), 0);
  EXPECT_FALSE(AnyTracked());
  const int copy = Dup(fd);
  EXPECT_EQ(Dup2(fd, copy), copy);
  EXPECT_EQ(Dup3(fd, copy, O_CLOEXEC), copy);
  EXPECT_EQ(Fcntl(copy, F_GETFD, nullptr), FD_CLOEXEC);
  EXPECT_EQ(Close(copy), 0);
  EXPECT_EQ(Close(copy), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(CloseRange(static_cast<unsigned>(fd), static_cast<unsigned>(fd), 0), 0);
  EXPECT_EQ(CloseRange(5, 4, 0), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST(PassThrough, OrdinaryFoldersAreListed) {
  DIR* stream = Opendir("/proc/self");
  ASSERT_NE(stream, nullptr);
  bool found = false;
  while (const struct dirent* entry = Readdir(stream)) found = found || std::strcmp(entry->d_name, "maps") == 0;
  EXPECT_TRUE(found);
  Rewinddir(stream);
  const long start = Telldir(stream);
  struct dirent entry;
  struct dirent* result = nullptr;
  EXPECT_EQ(ReaddirR(stream, &entry, &result), 0);
  EXPECT_EQ(result, &entry);
  Seekdir(stream, start);
  EXPECT_NE(Readdir(stream), nullptr);
  EXPECT_EQ(Closedir(stream), 0);
  EXPECT_EQ(Opendir("/nonexistent"), nullptr);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Doorbell, WhatIsNoneGoesToTheMachine) {
  ASSERT_TRUE(SetFd(60, kFdUverbs, 3));
  uint32_t words[8] = {28, 8 | 1 << 16, 0, 0, 5, 0, 0, 128};
  uint32_t response = 1;
  const auto address = reinterpret_cast<uintptr_t>(&response);
  std::memcpy(&words[2], &address, sizeof(address));
  EXPECT_EQ(RingDoorbell(60, words, 32), kNotADoorbell);  // a doorbell, of a QP that is not known
  LearnDoorbell(60, words, 32, 17);
  EXPECT_EQ(RingDoorbell(60, words, 32), kNotADoorbell);  // known, but there is no machine
  EXPECT_EQ(RingDoorbell(60, words, 31), kNotADoorbell);
  EXPECT_EQ(RingDoorbell(60, nullptr, 32), kNotADoorbell);
  const uint64_t elsewhere = 8;
  std::memcpy(&words[2], &elsewhere, sizeof(elsewhere));
  EXPECT_EQ(RingDoorbell(60, words, 32), kNotADoorbell);  // a response that is not on this stack
  EXPECT_EQ(response, 1u);
  ClearFd(60);
}

}  // namespace
}  // namespace causeway::shim
