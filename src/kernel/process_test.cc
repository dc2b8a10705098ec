// SPDX-License-Identifier: Apache-2.0
#include "kernel/process.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace causeway::kernel {
namespace {

constexpr const char* kMaps =
    "10000000-10002000 r--p 00000000 00:00 0                                  [heap]\n"
    "10002000-10004000 rw-p 00000000 00:00 0 \n"
    "10004000-10005000 ---p 00000000 00:00 0 \n"
    "10005000-10006000 -w-p 00000000 00:00 0 \n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

// mm/gup.c check_vma_flags(), one row per way to fail.
TEST(CheckRange, ErrnoTable) {
  struct {
    const char* name;
    uint64_t address, len;
    bool write;
    int want_errno;
  } const cases[] = {
      {"read inside", 0x10000010, 16, false, 0},
      {"read across two mappings", 0x10001000, 0x3000, false, 0},
      {"write to read-only", 0x10000000, 16, true, EFAULT},
      {"write that begins in read-only", 0x10001ff8, 16, true, EFAULT},
      {"write inside", 0x10002000, 0x2000, true, 0},
      {"no access at the end", 0x10003000, 0x1001, false, EFAULT},
      {"write-only can be written", 0x10005000, 0x1000, true, 0},
      {"write-only cannot be read", 0x10005000, 0x1000, false, EFAULT},
      {"before everything", 0x1000, 16, false, EFAULT},
      {"runs into a hole", 0x10005800, 0x1000, true, EFAULT},
      {"after everything", 0xffffffffff700000, 16, false, EFAULT},
      {"wraps", 0xfffffffffffffff0, 32, false, EFAULT},
      {"nothing", 0, 0, true, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Status got = CheckRangeInMaps(kMaps, c.address, c.len, c.write);
    EXPECT_EQ(got ? 0 : got.error().code(), c.want_errno);
  }
  EXPECT_FALSE(CheckRangeInMaps("", 0x1000, 1, false));
  EXPECT_FALSE(CheckRangeInMaps("nonsense\n\n-\n1-\n", 0x1000, 1, false));
}

TEST(CheckRange, AsksTheHostKernel) {
  const ProcessMaps maps(::getpid());  // before there is anything to be found
  void* page = ::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  const auto address = reinterpret_cast<uint64_t>(page);
  EXPECT_TRUE(CheckProcessRange(maps, address, 8192, false));
  EXPECT_FALSE(CheckProcessRange(maps, address, 8192, true));
  ::munmap(page, 8192);
  EXPECT_FALSE(CheckProcessRange(maps, address, 8192, false));
}

// What a program is told to share before its memory is pinned (ipc::kShareFirst).
TEST(PinProcessRange, TellsSharedPagesFromPrivateOnes) {
  const UniqueFd memory(::memfd_create("host", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 8 * 4096), 0);
  struct stat status;
  ASSERT_EQ(::fstat(memory.get(), &status), 0);
  const HostFile file = {status.st_dev, status.st_ino};
  char* const pages =
      static_cast<char*>(::mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  const auto address = reinterpret_cast<uint64_t>(pages);
  const ProcessMaps maps(::getpid());

  auto range = PinProcessRange(maps, address, 4 * 4096, true, file, 0);
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->shared.empty());
  EXPECT_TRUE(range->has_private);
  EXPECT_FALSE(PinProcessRange(maps, address, 4 * 4096, true, file, address + 17)->has_private) << "a stack";

  ASSERT_NE(::mmap(pages + 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory.get(), 5 * 4096),
            MAP_FAILED);
  range = PinProcessRange(maps, address + 100, 8192, true, file, 0);
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->has_private);
  ASSERT_EQ(range->shared.size(), 1u);
  EXPECT_EQ(range->shared[0].start, 4096u - 100);
  EXPECT_EQ(range->shared[0].len, 4096u);
  EXPECT_EQ(range->shared[0].offset, 5u * 4096);
  EXPECT_FALSE(PinProcessRange(maps, address + 4096 + 8, 64, true, file, 0)->has_private);

  ASSERT_EQ(::mprotect(pages, 4096, PROT_READ), 0);
  EXPECT_FALSE(PinProcessRange(maps, address, 8192, false, file, 0)->has_private) << "it could not be copied back";
  EXPECT_FALSE(PinProcessRange(maps, address, 8192, true, file, 0));
  ::munmap(pages, 4 * 4096);
}

TEST(ProcessMemory, CopiesAndFaultsAsCopyFromUserDoes) {
  char* pages = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ::mprotect(pages + 4096, 4096, PROT_NONE);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  ProcessMemory memory(child);
  const auto address = reinterpret_cast<uint64_t>(pages);
  std::byte buffer[32] = {std::byte{7}};
  EXPECT_TRUE(memory.CopyTo(address, buffer));
  EXPECT_EQ(pages[0], 7);
  EXPECT_TRUE(memory.CopyFrom(buffer, address + 4096 - 32));
  EXPECT_EQ(memory.CopyFrom(buffer, address + 4096 - 31).error(), Errno(EFAULT)) << "one byte of 32 cannot be read";
  EXPECT_EQ(memory.CopyTo(address + 4096, buffer).error(), Errno(EFAULT));
  EXPECT_EQ(memory.CopyTo(0, buffer).error(), Errno(EFAULT));
  EXPECT_TRUE(memory.CopyTo(0, {})) << "no bytes, no fault";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(memory.CopyFrom(buffer, address).error(), Errno(EFAULT)) << "a dead process has no memory";
  ::munmap(pages, 8192);
}

TEST(Process, CapabilitiesAndNameAreTheHosts) {
  EXPECT_FALSE(ProcessCapable(::getpid(), -1));
  EXPECT_FALSE(ProcessCapable(::getpid(), 64));
  EXPECT_FALSE(ProcessCapable(-1, CAP_NET_RAW));
  // CAP_CHOWN: every root has it, no ordinary user.
  EXPECT_EQ(ProcessCapable(::getpid(), CAP_CHOWN), ::geteuid() == 0);
  EXPECT_EQ(ProcessName(-1), "?");
  EXPECT_NE(ProcessName(::getpid()), "?");
}

}  // namespace
}  // namespace causeway::kernel
