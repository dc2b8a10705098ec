// SPDX-License-Identifier: Apache-2.0
// Programs against a server: real sockets, real processes, a made-up driver.
#include "kernel/server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "ipc/memory_table.h"
#include "kernel/test_program.h"
#include "kernel/tree.h"

namespace causeway::kernel {
namespace {

using ipc::Op;

// ioctls of the made-up device.
enum Request : uint32_t { kEcho, kExport, kExportThenFail, kIdentify, kHostFd, kCheck, kEvents, kThrow, kPid };

struct World {
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<int> open_files = 0;
  std::set<uint32_t> spaces, ended_spaces, recovered;
  std::atomic<int> unmapped = 0;
  void Change(const std::function<void()>& change) {
    const std::lock_guard lock(mutex);
    change();
    changed.notify_all();
  }
  size_t Count(const std::set<uint32_t>& what) {
    const std::lock_guard lock(mutex);
    return what.size();
  }
  // Waits with a deadline, so that a failing test ends.
  bool Wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), condition);
  }
};

class Device : public File {
 public:
  Device(World& world, FileTable& files, ipc::FileKind kind) : File(kind), world_(world), files_(files) {
    world_.Change([&] { ++world_.open_files; });
  }
  ~Device() override {
    world_.Change([&] { --world_.open_files; });
  }
  Result<int64_t> Ioctl(Task& task, uint32_t request, uint64_t arg) override {
    switch (request) {
      case kEcho: {
        CW_TRY(const uint64_t value, task.memory().Read<uint64_t>(arg));
        CW_CHECK(task.memory().Write(arg, value + 1));
        return 5;
      }
      case kExport: {
        CW_TRY(const int fd, task.InstallFile(MakeRef<Device>(world_, files_, ipc::kFileDmaBuf), O_CLOEXEC));
        return fd;
      }
      case kExportThenFail: {
        CW_TRY(const int fd, task.InstallFile(MakeRef<Device>(world_, files_, ipc::kFileDmaBuf), O_CLOEXEC));
        task.TakeBack(fd);
        return Err(EFAULT);
      }
      case kIdentify: {
        CW_TRY(const auto file, task.GetFile(static_cast<int>(arg)));
        return file ? static_cast<int64_t>(file->id()) : 0;
      }
      case kHostFd: {
        CW_TRY(const auto fd, task.GetHostFd(static_cast<int>(arg)));
        const uint64_t one = 1;
        return ::write(fd.get(), &one, sizeof(one));
      }
      case kCheck: CW_CHECK(task.CheckRange(arg, 4096, true)); return 0;
      case kEvents:
        events_ = static_cast<int>(arg);
        if (events_ != 0) files_.SetReadable(id());
        if (events_ == 0) files_.ClearReadable(id());
        return 0;
      case kThrow: throw std::bad_alloc();
      case kPid: return task.pid();
      default: return Err(ENOTTY);
    }
  }
  Result<int64_t> Read(Task&, uint64_t, uint64_t len, bool* drained) override {
    if (events_ == 0) return Err(EAGAIN);
    if (len == 0) return Err(EINVAL);
    *drained = --events_ == 0;
    return 1;
  }
  Result<int64_t> Write(Task&, uint64_t, uint64_t len) override { return static_cast<int64_t>(len); }
  Result<Mapping> Mmap(Task&, const MmapRequest& request) override {
    if (request.length != 8192) return Err(ENXIO);
    return Mapping{.memory = 0, .offset = request.offset + 64, .vma = 77};
  }
  void Unmapped(Task&, uint64_t vma) override {
    EXPECT_EQ(vma, 77u);
    world_.Change([&] { ++world_.unmapped; });
  }
  FileStat Stat() const override {
    return {.mode = S_IFCHR | 0666, .rdev_major = 3, .rdev_minor = 4, .size = 5, .inode = 6};
  }
  std::string Name() const override { return "/dev/hl0"; }
  std::string FdInfo() const override { return "pos:\t0\n"; }

 private:
  World& world_;
  FileTable& files_;
  std::atomic<int> events_ = 0;
};

class ServerTest : public testing::Test {
 protected:
  static constexpr uint64_t kArenaBytes = 16 << 20;
  static constexpr uint32_t kSlots = 8;

  ServerTest() {
    char name[] = "/tmp/causeway-server-XXXXXX";
    folder_ = ::mkdtemp(name);
    arena_fd_.Reset(::memfd_create("arena", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(arena_fd_.get(), kArenaBytes), 0);
    header_ = static_cast<ipc::ArenaHeader*>(
        ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, arena_fd_.get(), 0));
    header_->arena_bytes = kArenaBytes;
    header_->slots_offset = 1 << 20;
    EXPECT_TRUE(memories_.Adopt("arena", UniqueFd(::dup(arena_fd_.get())), kArenaBytes));
    std::filesystem::create_directory(folder_ + "/tree");
    tree_.emplace(folder_ + "/tree", *header_);
    files_.emplace("cafe" + std::to_string(::getpid()));  // tests run side by side
    EXPECT_TRUE(tree_->AddDevice("/dev/hl0", 0666, 10, 1, [this](Task&, uint32_t) -> Result<Ref<File>> {
      return Ref<File>(MakeRef<Device>(world_, *files_, ipc::kFileDevice));
    }));
    EXPECT_TRUE(tree_->AddDevice("/dev/events", 0666, 10, 2, [this](Task&, uint32_t) -> Result<Ref<File>> {
      return Ref<File>(MakeRef<Device>(world_, *files_, ipc::kFileEvent));
    }));
    // Exclusive open, as an accelerator's.
    EXPECT_TRUE(tree_->AddDevice("/dev/hl1", 0666, 10, 1, [this](Task&, uint32_t) -> Result<Ref<File>> {
      {
        const std::lock_guard lock(world_.mutex);
        if (world_.open_files != 0) return Err(EBUSY);
      }
      return Ref<File>(MakeRef<Device>(world_, *files_, ipc::kFileDevice));
    }));
    EXPECT_TRUE(tree_->AddAttribute("/sys/status", 0444, [] { return std::string("Operational\n"); }));
    syscalls_.emplace(*tree_, *files_, memories_);
    ServerOptions options;
    options.socket_path = folder_ + "/machine.sock";
    options.header = header_;
    options.arena_fd = arena_fd_.get();
    options.slot_count = kSlots;
    options.hooks.add_address_space = [this](uint32_t) -> Result<uint32_t> {
      const uint32_t mm = ++last_mm_;
      world_.Change([&] { world_.spaces.insert(mm); });
      return mm;
    };
    options.hooks.end_address_space = [this](uint32_t mm) {
      world_.Change([&] {
        world_.spaces.erase(mm);
        world_.ended_spaces.insert(mm);
      });
    };
    options.hooks.recover_slot = [this](uint32_t slot) { world_.Change([&] { world_.recovered.insert(slot); }); };
    server_ = std::move(*Server::Start(std::move(options), *syscalls_, *files_));
    stop_.Reset(::eventfd(0, EFD_CLOEXEC));
    loop_ = std::thread([this] {
      for (;;) {
        struct pollfd polls[2] = {{server_->fd(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
        if (::poll(polls, 2, -1) < 0) continue;
        if (polls[1].revents != 0) return;
        server_->Process();
      }
    });
  }
  ~ServerTest() override {
    Stop();
    server_.reset();
    files_.reset();
    ::munmap(header_, kArenaBytes);
    std::filesystem::remove_all(folder_);
  }
  void Stop() {
    if (!loop_.joinable()) return;
    const uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof(one)), 8);
    loop_.join();
    server_->Stop();
  }
  std::string path() const { return folder_ + "/machine.sock"; }
  // Runs `body` as a process of its own, which says when it is ready and is then killed (or ends by itself).
  pid_t Fork(const std::function<void()>& body) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ready[0]);
      body();
      (void)!::write(ready[1], "x", 1);
      ::pause();
      ::_exit(0);
    }
    ::close(ready[1]);
    char byte;
    int status = 0;
    if (::read(ready[0], &byte, 1) != 1) {
      ::waitpid(child, &status, 0);
      ADD_FAILURE() << "the child failed: wait status " << status;
    }
    ::close(ready[0]);
    return child;
  }
  static void Kill(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  bool AllSlotsFree() {
    for (int round = 0; round < 2000; ++round) {
      if (server_->free_slots() == kSlots) return true;
      struct pollfd nothing = {};
      (void)::poll(&nothing, 0, 10);
    }
    return false;
  }

  World world_;
  std::string folder_;
  UniqueFd arena_fd_, stop_;
  ipc::ArenaHeader* header_ = nullptr;
  ipc::MemoryTable memories_;
  std::optional<Tree> tree_;
  std::optional<FileTable> files_;
  std::optional<Syscalls> syscalls_;
  uint32_t last_mm_ = 0;
  std::unique_ptr<Server> server_;
  std::thread loop_;
};

TEST_F(ServerTest, CallsReachTheFile) {
  TestProgram program(path());
  ASSERT_EQ(program.hello_result(), 0);
  uint64_t file = 0;
  const int fd = program.Open("/dev/hl0", O_RDWR | O_CLOEXEC, &file);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(program.last_kind, uint32_t{ipc::kFileDevice});
  uint64_t value = 41;
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kEcho, reinterpret_cast<uint64_t>(&value)}), 5);
  EXPECT_EQ(value, 42u);
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kEcho, 8}), -EFAULT);
  EXPECT_EQ(program.Result(Op::kIoctl, file, {12345, 0}), -ENOTTY);
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kThrow, 0}), -ENOMEM);
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kPid, 0}), ::getpid());
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kCheck, reinterpret_cast<uint64_t>(&value) & ~uint64_t{4095}}), 0);
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kCheck, 4096}), -EFAULT);
  EXPECT_EQ(program.Result(Op::kIoctl, 999, {kEcho, 0}), -EBADF);
  EXPECT_EQ(program.Result(Op::kWrite, file, {0, 10, ~uint64_t{0}}), 10);
  EXPECT_EQ(program.Result(Op::kWrite, file, {0, 10, 0}), -ESPIPE) << "pwrite() on a stream";
  EXPECT_EQ(program.Result(Op::kSeek, file, {0, SEEK_SET}), -ESPIPE);
  EXPECT_EQ(program.Result(static_cast<Op>(77), file, {}), -ENOSYS);
  EXPECT_EQ(program.Result(Op::kOpen, 0, {4242, O_RDWR}), -ENOENT);
  const auto stat = program.Call(Op::kStat, file, {});
  EXPECT_EQ(stat.value[0], uint64_t{S_IFCHR | 0666});
  EXPECT_EQ(stat.value[1], (uint64_t{3} << 32) | 4);
  EXPECT_EQ(stat.value[3], 6u);
  char text[64] = {};
  EXPECT_EQ(program.Result(Op::kName, file, {reinterpret_cast<uint64_t>(text), sizeof(text)}), 8);
  EXPECT_STREQ(text, "/dev/hl0");
  EXPECT_EQ(program.Result(Op::kFdInfo, file, {reinterpret_cast<uint64_t>(text), 4}), 4);
  ::close(fd);
  EXPECT_EQ(program.Result(Op::kSync, file, {}), 0);
  EXPECT_EQ(world_.open_files, 0);
}

// vfs_read(), vfs_write(), do_mmap(): what the access mode of open() allows.
TEST_F(ServerTest, AccessModeErrnoTable) {
  TestProgram program(path());
  struct {
    uint32_t flags;
    int64_t read, write, map_shared, map_private;
  } const cases[] = {
      {O_RDWR, -EAGAIN, 1, 0, 0},
      {O_RDONLY, -EAGAIN, -EBADF, -EACCES, 0},
      {O_WRONLY, -EBADF, 1, -EACCES, -EACCES},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.flags);
    uint64_t file = 0;
    const UniqueFd fd(program.Open("/dev/hl0", c.flags, &file));
    EXPECT_EQ(program.Result(Op::kRead, file, {0, 1, ~uint64_t{0}}), c.read);
    EXPECT_EQ(program.Result(Op::kWrite, file, {0, 1, ~uint64_t{0}}), c.write);
    EXPECT_EQ(program.Result(Op::kMmap, file, {8192, PROT_READ | PROT_WRITE, MAP_SHARED, 0}), c.map_shared);
    EXPECT_EQ(program.Result(Op::kMmap, file, {8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0}), c.map_private);
    EXPECT_EQ(program.Result(Op::kMmap, file, {0, PROT_READ, MAP_SHARED, 0}), -EINVAL);
    EXPECT_EQ(program.Result(Op::kMmap, file, {8192, PROT_READ, MAP_SHARED, 100}), -EINVAL);
    EXPECT_EQ(program.Result(Op::kMmap, file, {8192, PROT_READ, 0, 0}), -EINVAL);
  }
}

TEST_F(ServerTest, AMappingHoldsItsFile) {
  TestProgram program(path());
  uint64_t file = 0;
  UniqueFd fd(program.Open("/dev/hl0", O_RDWR, &file));
  const auto map = program.Call(Op::kMmap, file, {8000, PROT_READ, MAP_SHARED, 4096});  // rounded up to pages
  ASSERT_EQ(map.result, 0);
  EXPECT_EQ(map.value[1], 4096u + 64);
  ASSERT_NE(map.value[2], 0u);
  fd.Reset();
  program.Call(Op::kSync, file, {});
  EXPECT_EQ(world_.open_files, 1);
  EXPECT_EQ(program.Result(Op::kMunmap, 0, {map.value[2]}), 0);
  EXPECT_EQ(world_.unmapped, 1);
  EXPECT_EQ(world_.open_files, 0);
  EXPECT_EQ(program.Result(Op::kMunmap, 0, {map.value[2]}), -EINVAL);
}

TEST_F(ServerTest, DescriptorsCrossBothWays) {
  TestProgram program(path());
  uint64_t file = 0;
  const UniqueFd fd(program.Open("/dev/hl0", O_RDWR | O_CLOEXEC, &file));
  const UniqueFd exported(static_cast<int>(program.Result(Op::kIoctl, file, {kExport, 0})));
  ASSERT_TRUE(exported);
  EXPECT_EQ(program.last_kind, uint32_t{ipc::kFileDmaBuf});
  const uint64_t exported_file = program.last_file;
  const UniqueFd copy(::dup(exported.get()));
  const auto identify = [&](int number) {
    return program.Result(Op::kIoctl, file, {kIdentify, static_cast<uint64_t>(number)});
  };
  EXPECT_EQ(identify(exported.get()), static_cast<int64_t>(exported_file));
  EXPECT_EQ(identify(copy.get()), static_cast<int64_t>(exported_file));
  EXPECT_EQ(identify(fd.get()), static_cast<int64_t>(file));
  EXPECT_EQ(identify(STDIN_FILENO), 0) << "open, but no file of the machine";
  EXPECT_EQ(identify(9999), -EBADF);
  EXPECT_EQ(identify(-1), -EBADF);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kHostFd, static_cast<uint64_t>(event.get())}), 8);
  uint64_t count = 0;
  EXPECT_EQ(::read(event.get(), &count, sizeof(count)), 8);
  EXPECT_EQ(count, 1u);
}

TEST_F(ServerTest, AStepThatFailsAfterTheDescriptorLeavesNothing) {
  TestProgram program(path());
  uint64_t file = 0;
  const UniqueFd fd(program.Open("/dev/hl0", O_RDWR | O_CLOEXEC, &file));
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kExportThenFail, 0}), -EFAULT);
  EXPECT_EQ(world_.open_files, 1);
  program.install_errno = EMFILE;
  EXPECT_EQ(program.Result(Op::kIoctl, file, {kExport, 0}), -EMFILE);
  EXPECT_EQ(world_.open_files, 1);
  EXPECT_EQ(program.Open("/dev/hl0", O_RDWR, nullptr), -EMFILE);
  EXPECT_EQ(world_.open_files, 1);
}

TEST_F(ServerTest, ReadsKeepTheDescriptorsReadiness) {
  TestProgram program(path());
  uint64_t file = 0;
  const UniqueFd fd(program.Open("/dev/events", O_RDWR | O_CLOEXEC, &file));
  const auto readable = [&] {
    struct pollfd poll = {fd.get(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  };
  const auto take = [&] {
    char byte;
    return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 1;
  };
  const auto read = [&] { return program.Call(Op::kRead, file, {0, 1, ~uint64_t{0}}); };
  EXPECT_FALSE(readable());
  EXPECT_EQ(read().result, -EAGAIN);
  EXPECT_EQ(read().value[0], 0u);
  program.Call(Op::kIoctl, file, {kEvents, 2});
  EXPECT_TRUE(readable());
  auto answer = read();
  EXPECT_EQ(answer.result, 1);
  EXPECT_EQ(answer.value[0], 0u) << "one event is left";
  answer = read();
  EXPECT_EQ(answer.value[0], 1u);
  EXPECT_TRUE(take());
  EXPECT_FALSE(readable());
  // Events that go with their object, in a call.
  program.Call(Op::kIoctl, file, {kEvents, 1});
  EXPECT_EQ(program.Call(Op::kIoctl, file, {kEvents, 0}).value[3], file);
  EXPECT_TRUE(take());
  EXPECT_EQ(program.Call(Op::kIoctl, file, {kEvents, 0}).value[3], 0u);
}

// vfs_poll(): without a poll operation, DEFAULT_POLLMASK.
TEST_F(ServerTest, AFileWithoutEventsIsAlwaysReady) {
  TestProgram program(path());
  const UniqueFd fd(program.Open("/dev/hl0", O_RDWR | O_CLOEXEC, nullptr));
  struct pollfd poll = {fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 1);
  EXPECT_EQ(poll.revents, POLLIN | POLLOUT);
}

TEST_F(ServerTest, MemoriesAndAttributesComeAsDescriptors) {
  TestProgram program(path());
  const uint32_t hbm = memories_.Create("hbm", 1 << 20).value();
  EXPECT_EQ(program.Result(Op::kMapMemory, 0, {hbm}), 1 << 20);
  EXPECT_TRUE(program.last_private);
  EXPECT_EQ(program.Result(Op::kMapMemory, 0, {99}), -EINVAL);
  const UniqueFd text(static_cast<int>(program.Result(Op::kAttribute, 0, {program.Node("/sys/status"), O_CLOEXEC})));
  ASSERT_TRUE(text);
  EXPECT_FALSE(program.last_private);
  char buffer[32] = {};
  EXPECT_EQ(::read(text.get(), buffer, sizeof(buffer)), 12);
  EXPECT_STREQ(buffer, "Operational\n");
  EXPECT_EQ(program.Result(Op::kAttribute, 0, {program.Node("/dev/hl0"), 0}), -EINVAL);
  EXPECT_EQ(program.Result(Op::kAttribute, 0, {12345, 0}), -ENOENT);
}

TEST_F(ServerTest, ThreadsComeAndGo) {
  TestProgram program(path());
  EXPECT_EQ(program.slot_number(), 0u);
  EXPECT_EQ(header_->slots_used.load(), 1u);
  {
    std::vector<std::unique_ptr<TestProgram>> threads;
    for (uint32_t i = 1; i < kSlots; ++i) {
      threads.push_back(std::make_unique<TestProgram>(program));
      ASSERT_EQ(threads.back()->hello_result(), 0);
    }
    EXPECT_EQ(header_->slots_used.load(), kSlots);
    const TestProgram one_more(program);
    EXPECT_EQ(one_more.hello_result(), -ENOMEM);
    EXPECT_EQ(server_->Programs().at(0).threads, kSlots);
    uint64_t file = 0;
    const UniqueFd fd(threads[2]->Open("/dev/hl0", O_RDWR, &file));
    EXPECT_GE(fd.get(), 0);
    EXPECT_EQ(program.Result(Op::kIoctl, file, {kPid, 0}), ::getpid()) << "another thread of the process";
    for (const auto& thread : threads) EXPECT_EQ(thread->Result(Op::kExit, 0, {}), 0);
  }
  program.Disconnect();
  EXPECT_TRUE(AllSlotsFree());
  EXPECT_TRUE(world_.Wait([&] { return world_.spaces.empty(); }));
}

TEST_F(ServerTest, AnExecEndsTheOldImage) {
  const pid_t child = Fork([&] {
    auto* const first = new TestProgram(path());
    uint64_t file = 0;
    if (first->Open("/dev/hl0", O_RDWR, &file) < 0) ::_exit(1);
    if (first->Result(Op::kMmap, file, {8192, PROT_READ, MAP_SHARED, 0}) != 0) ::_exit(2);
    // Same pid, before the old socket hung up.
    auto* const second = new TestProgram(path());
    if (second->hello_result() != 0) ::_exit(3);
  });
  EXPECT_TRUE(world_.Wait([&] { return world_.ended_spaces.size() == 1 && world_.unmapped == 1; }));
  EXPECT_EQ(world_.Count(world_.spaces), 1u);
  EXPECT_EQ(world_.Count(world_.recovered), 1u);
  ASSERT_EQ(server_->Programs().size(), 1u);
  EXPECT_EQ(server_->Programs()[0].pid, child);
  EXPECT_EQ(world_.open_files, 1) << "the descriptor stays open across exec";
  Kill(child);
  EXPECT_TRUE(world_.Wait([&] { return world_.spaces.empty() && world_.open_files == 0; }));
  EXPECT_TRUE(AllSlotsFree());
}

TEST_F(ServerTest, AKilledProgramLeavesNothing) {
  const pid_t child = Fork([&] {
    auto* const program = new TestProgram(path());
    uint64_t file = 0;
    if (program->Open("/dev/hl1", O_RDWR, &file) < 0) ::_exit(1);
    if (program->Result(Op::kMmap, file, {8192, PROT_READ, MAP_SHARED, 0}) != 0) ::_exit(2);
    if (program->Result(Op::kIoctl, file, {kExport, 0}) < 0) ::_exit(3);
    for (int i = 0; i < 3; ++i) new TestProgram(*program);
  });
  TestProgram mine(path());
  EXPECT_EQ(mine.Open("/dev/hl1", O_RDWR, nullptr), -EBUSY);
  Kill(child);
  EXPECT_TRUE(world_.Wait([&] { return world_.spaces.size() == 1 && world_.open_files == 0 && world_.unmapped == 1; }));
  EXPECT_EQ(world_.Count(world_.recovered), 4u);
  const UniqueFd fd(mine.Open("/dev/hl1", O_RDWR, nullptr));
  EXPECT_GE(fd.get(), 0);
  EXPECT_EQ(server_->Programs().size(), 1u);
}

TEST_F(ServerTest, OpenRightAfterAHolderDiedSucceeds) {
  TestProgram mine(path());
  for (int round = 0; round < 20; ++round) {
    const pid_t child = Fork([&] {
      auto* const program = new TestProgram(path());
      if (program->hello_result() != 0) ::_exit(-program->hello_result());
      if (const int opened = program->Open("/dev/hl1", O_RDWR, nullptr); opened < 0) ::_exit(-opened);
    });
    Kill(child);  // waited for: its descriptors are closed
    uint64_t file = 0;
    UniqueFd fd(mine.Open("/dev/hl1", O_RDWR, &file));
    EXPECT_GE(fd.get(), 0);
    fd.Reset();
    mine.Call(Op::kSync, file, {});
  }
}

TEST_F(ServerTest, ADescriptorPassedToAnotherProcessOutlivesItsMaker) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
  const pid_t child = Fork([&] {
    auto* const program = new TestProgram(path());
    const int fd = program->Open("/dev/hl0", O_RDWR, nullptr);
    alignas(struct cmsghdr) char buffer[CMSG_SPACE(sizeof(int))] = {};
    char byte = 1;
    struct iovec data = {&byte, 1};
    struct msghdr packet = {};
    packet.msg_iov = &data;
    packet.msg_iovlen = 1;
    packet.msg_control = buffer;
    packet.msg_controllen = sizeof(buffer);
    struct cmsghdr* header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
    if (::sendmsg(pair[1], &packet, 0) != 1) ::_exit(1);
  });
  alignas(struct cmsghdr) char buffer[CMSG_SPACE(sizeof(int))] = {};
  char byte = 0;
  struct iovec data = {&byte, 1};
  struct msghdr packet = {};
  packet.msg_iov = &data;
  packet.msg_iovlen = 1;
  packet.msg_control = buffer;
  packet.msg_controllen = sizeof(buffer);
  ASSERT_EQ(::recvmsg(pair[0], &packet, 0), 1);
  int number = -1;
  std::memcpy(&number, CMSG_DATA(CMSG_FIRSTHDR(&packet)), sizeof(int));
  UniqueFd fd(number);
  Kill(child);
  TestProgram mine(path());
  uint64_t file = 0;
  const UniqueFd any(mine.Open("/dev/hl0", O_RDWR, &file));
  const int64_t id = mine.Result(Op::kIoctl, file, {kIdentify, static_cast<uint64_t>(fd.get())});
  EXPECT_GT(id, 0);
  EXPECT_EQ(mine.Result(Op::kIoctl, static_cast<uint64_t>(id), {kPid, 0}), ::getpid());
  EXPECT_EQ(world_.open_files, 2);
  fd.Reset();
  mine.Call(Op::kSync, static_cast<uint64_t>(id), {});
  EXPECT_EQ(world_.open_files, 1);
  ::close(pair[0]);
  ::close(pair[1]);
}

TEST_F(ServerTest, AThousandProgramsLeaveNoTrace) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  for (int round = 0; round < 1000; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto* const program = new TestProgram(path());
      if (program->hello_result() != 0) ::_exit(-program->hello_result());  // the errno
      ::_exit(program->Open("/dev/hl0", O_RDWR, nullptr) >= 0 ? 0 : 255);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "round " << round;
  }
  EXPECT_TRUE(AllSlotsFree());
  EXPECT_TRUE(world_.Wait([&] { return world_.spaces.empty() && world_.open_files == 0; }));
  EXPECT_EQ(world_.Count(world_.ended_spaces), 1000u);
  files_->Drain();
  EXPECT_EQ(descriptors(), before);
}

TEST_F(ServerTest, OtherProtocolsAreRefused) {
  TestProgram program(path());
  ipc::ControlMessage message = {};
  message.type = 99;
  EXPECT_EQ(program.Exchange(message, -1, nullptr).result, -EPROTO);
  message.type = ipc::ControlMessage::kHello;
  message.version = 1000;
  EXPECT_EQ(program.Exchange(message, -1, nullptr).result, -EPROTO);
  message.version = ipc::kProtocolVersion;
  EXPECT_EQ(program.Exchange(message, -1, nullptr).result, -EPROTO) << "a second Hello on one socket";
  message.type = ipc::ControlMessage::kFetchFd;
  EXPECT_EQ(program.Exchange(message, -1, nullptr).result, -EBADF) << "nothing to fetch";
  message.slot = 12345;
  EXPECT_EQ(program.Exchange(message, -1, nullptr).result, -EBADF) << "another's slot";
  message.type = ipc::ControlMessage::kPutFd;
  EXPECT_EQ(program.Exchange(message, STDIN_FILENO, nullptr).result, -EBADF);
}

TEST_F(ServerTest, StoppingEndsEveryServerThread) {
  auto program = std::make_unique<TestProgram>(path());
  ASSERT_EQ(program->hello_result(), 0);
  const TestProgram second(*program);
  Stop();
  EXPECT_EQ(server_->free_slots(), kSlots);
  EXPECT_TRUE(server_->Programs().empty());
  EXPECT_EQ(world_.Count(world_.recovered), 0u) << "their threads live";
}

}  // namespace
}  // namespace causeway::kernel
