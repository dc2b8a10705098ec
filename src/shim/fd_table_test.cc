// SPDX-License-Identifier: Apache-2.0
// What a descriptor is: notes that are copied with it, and the peer's name that tells it apart after exec or
// SCM_RIGHTS. The ways libc offers to copy one are in tests/shim (probe.cc, Copies, Rights, Exec, Forks).
#include "shim/fd_table.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

namespace causeway::shim {
namespace {

TEST(FdTable, NumbersOutsideAreOrdinary) {
  EXPECT_EQ(KindOf(-1), kFdOrdinary);
  EXPECT_EQ(KindOf(kMaxFds), kFdOrdinary);
  EXPECT_FALSE(SetFd(-1, kFdDevice, 1));
  EXPECT_FALSE(SetFd(kMaxFds, kFdDevice, 1));
  ClearFd(-1);
  CopyFd(5, kMaxFds);
}

TEST(FdTable, ACopyIsTheSameFileAndCoversWhatWasThere) {
  ASSERT_TRUE(SetFd(40, kFdUverbs, 77));
  CopyFd(40, 41);
  EXPECT_EQ(KindOf(41), kFdUverbs);
  EXPECT_EQ(FileOf(41), 77u);
  EXPECT_TRUE(IsVirtual(41));
  EXPECT_EQ(FindFd(77), 40);
  CopyFd(42, 41);  // an ordinary one over it
  EXPECT_FALSE(IsVirtual(41));
  ClearFd(40);
  EXPECT_EQ(FindFd(77), -1);
  EXPECT_GE(FdTableEnd(), 42);
}

TEST(FdTable, OverlayAndPrivateAreNoFiles) {
  EXPECT_FALSE(IsFileKind(kFdOrdinary));
  EXPECT_FALSE(IsFileKind(kFdOverlay));
  EXPECT_FALSE(IsFileKind(kFdPrivate));
  EXPECT_TRUE(IsFileKind(kFdUnasked));
  EXPECT_TRUE(IsFileKind(kFdAttribute));
}

TEST(FdTable, SettlingOneCopySettlesAll) {
  ASSERT_TRUE(SetFd(50, kFdUnasked, 9));
  ASSERT_TRUE(SetFd(51, kFdUnasked, 9));
  ASSERT_TRUE(SetFd(52, kFdUnasked, 10));
  SettleFd(9, kFdDmaBuf);
  EXPECT_EQ(KindOf(50), kFdDmaBuf);
  EXPECT_EQ(KindOf(51), kFdDmaBuf);
  EXPECT_EQ(KindOf(52), kFdUnasked);
  for (const int fd : {50, 51, 52}) ClearFd(fd);
}

// A socket pair whose other end has an abstract name: [0] bound, [1] as a program holds it.
struct NamedPair {
  int ends[2] = {-1, -1};
  explicit NamedPair(const std::string& name) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + 1 + name.size());
    EXPECT_EQ(::bind(ends[0], reinterpret_cast<struct sockaddr*>(&address), size), 0) << name;
  }
  ~NamedPair() {
    for (const int end : ends) ::close(end);
  }
};

TEST(PeerFile, ReadsTheMachineAndTheFile) {
  const std::string pid = std::to_string(::getpid());  // abstract names are shared by all tests that run
  const struct {
    std::string name;
    uint64_t want;  // 0: not ours
  } cases[] = {
      {"causeway/t" + pid + "/1", 1},
      {"causeway/t" + pid + "/deadbeef01", 0xdeadbeef01},
      {"causeway/t" + pid + "/ffffffffffffffff", ~uint64_t{0}},
      {"causeway/t" + pid + "/10000000000000000", 0},
      {"causeway/t" + pid + "/", 0},
      {"causeway/t" + pid + "/0", 0},
      {"causeway/t" + pid + "/xyz", 0},
      {"causeway/t" + pid, 0},
      {"causeway", 0},
      {"elsewhere/t" + pid + "/1", 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const NamedPair pair(c.name);
    uint64_t file = 0;
    EXPECT_EQ(PeerFile(pair.ends[1], "", &file), c.want != 0);
    EXPECT_EQ(file, c.want);
    EXPECT_FALSE(PeerFile(pair.ends[0], "", &file));  // the machine's end: its peer has no name
  }
  const NamedPair pair("causeway/t" + pid + "/5");
  uint64_t file = 0;
  EXPECT_TRUE(PeerFile(pair.ends[1], ("t" + pid).c_str(), &file));
  EXPECT_FALSE(PeerFile(pair.ends[1], "other", &file));
  EXPECT_FALSE(PeerFile(pair.ends[1], "t", &file));
  EXPECT_FALSE(PeerFile(0, "", &file));
  EXPECT_FALSE(PeerFile(-1, "", &file));
}

TEST(Recognise, NotesOneThatCameAndForgetsWhatWasThere) {
  const NamedPair pair("causeway/r" + std::to_string(::getpid()) + "/2a");
  RecogniseFd(pair.ends[1]);
  EXPECT_EQ(KindOf(pair.ends[1]), kFdUnasked);
  EXPECT_EQ(FileOf(pair.ends[1]), 0x2au);
  ASSERT_TRUE(SetFd(pair.ends[0], kFdDevice, 1));  // a stale note
  RecogniseFd(pair.ends[0]);
  EXPECT_EQ(KindOf(pair.ends[0]), kFdOrdinary);
  ClearFd(pair.ends[1]);
  RecogniseInherited();
  EXPECT_EQ(KindOf(pair.ends[1]), kFdUnasked);
  EXPECT_EQ(KindOf(pair.ends[0]), kFdOrdinary);
  ClearFd(pair.ends[1]);
}

}  // namespace
}  // namespace causeway::shim
