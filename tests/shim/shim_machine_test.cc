// SPDX-License-Identifier: Apache-2.0
// libcauseway.so at its two seams: an ordinary program (probe.cc) above, the kernel half with a made-up driver below.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "devices/roce_nic/nic_memory.h"
#include "ipc/memory_table.h"
#include "kernel/server.h"
#include "kernel/tree.h"
#include "requests.h"

namespace causeway::test {
namespace {

using kernel::File;
using kernel::FileStat;
using kernel::Mapping;
using kernel::MmapRequest;
using kernel::Task;

struct World {
  kernel::FileTable* files = nullptr;
  std::atomic<int> unmapped{0};
  std::mutex mutex;
  std::condition_variable changed;
  int events = 0;  // mutex
  kernel::FileId event_file = 0;
  uint32_t memory = 0;
  bool stopping = false;  // mutex
};

class EventFile : public File {
 public:
  explicit EventFile(World& world) : File(ipc::kFileEvent), world_(world) {}
  Result<int64_t> Read(Task& task, uint64_t buffer, uint64_t len, bool* drained) override {
    const std::lock_guard lock(world_.mutex);
    if (world_.events == 0) return Err(EAGAIN);
    if (len < 8) return Err(EINVAL);
    CW_CHECK(task.memory().Write(buffer, uint64_t{17}));
    *drained = --world_.events == 0;
    return 8;
  }
  FileStat Stat() const override { return {.mode = S_IFREG | 0600}; }
  std::string Name() const override { return "anon_inode:[probe]"; }

 private:
  World& world_;
};

class Buffer : public File {
 public:
  explicit Buffer(World& world) : File(ipc::kFileDmaBuf), world_(world) {}
  Result<Mapping> Mmap(Task&, const MmapRequest&) override {
    return Mapping{.memory = world_.memory, .offset = 1 << 20};
  }
  Result<int64_t> Seek(Task&, int64_t offset, int whence) override {
    if (whence == SEEK_END && offset == 0) return static_cast<int64_t>(kDmaBufBytes);
    if (whence == SEEK_SET && offset == 0) return 0;
    return Err(EINVAL);
  }
  FileStat Stat() const override { return {.mode = S_IFREG | 0600, .size = kDmaBufBytes}; }
  std::string Name() const override { return "/dmabuf:"; }
  std::string FdInfo() const override { return "size:\t1048576\nexp_name:\tprobe\n"; }

 private:
  World& world_;
};

class Device : public File {
 public:
  explicit Device(World& world) : File(ipc::kFileDevice), world_(world) {}
  Result<int64_t> Ioctl(Task& task, uint32_t request, uint64_t arg) override {
    switch (request) {
      case kEcho: {
        CW_TRY(const uint64_t value, task.memory().Read<uint64_t>(arg));
        CW_CHECK(task.memory().Write(arg, value + 1));
        return 5;
      }
      case kExport: {
        CW_TRY(const int fd, task.InstallFile(MakeRef<Buffer>(world_), O_CLOEXEC));
        return fd;
      }
      case kEventFile: {
        auto file = MakeRef<EventFile>(world_);
        EventFile* const events = file.get();
        CW_TRY(const int fd, task.InstallFile(std::move(file), O_CLOEXEC));
        world_.event_file = events->id();
        return fd;
      }
      case kOpenFiles:
        world_.files->Drain();  // the files of a process that the caller has just waited for: Syscalls::Open()
        return static_cast<int64_t>(world_.files->size());
      case kUnmapped: return world_.unmapped.load();
      case kRaise: {
        const std::lock_guard lock(world_.mutex);
        world_.events += static_cast<int>(arg);
        world_.files->SetReadable(world_.event_file);
        return 0;
      }
      case kHang: {
        std::unique_lock lock(world_.mutex);
        world_.changed.wait(lock, [&] { return world_.stopping; });
        return 0;
      }
      case kForeign: {
        CW_TRY(const auto file, task.GetFile(static_cast<int>(arg)));
        return file ? 1 : 0;
      }
      case kChain: {
        CW_TRY(const auto chain, task.memory().Read<Chain>(arg));
        CW_CHECK(task.memory().Write(chain.to, chain.value));
        CW_TRY(const auto back, task.memory().Read<uint64_t>(chain.to));
        CW_CHECK(task.memory().Write(arg + offsetof(Chain, back), back));
        return 0;
      }
      case kWatch: {
        CW_TRY(auto watched, task.memory().Read<Watched>(arg));
        CW_CHECK(task.memory().Write(arg + offsetof(Watched, seen), uint64_t{1}));
        for (const uint64_t before = watched.value; watched.value == before && !task.Killed();) {
          CW_TRY(watched.value, task.memory().Read<uint64_t>(arg));
        }
        CW_CHECK(task.memory().Write(arg + offsetof(Watched, after), watched.value));
        return 0;
      }
      default: break;
    }
    const unsigned bytes = request >> 16 & 0x3fff;
    if (request != SizedRequest(bytes)) return Err(ENOTTY);
    std::vector<std::byte> copy(bytes);
    CW_CHECK(task.memory().CopyFrom(copy, arg));
    for (std::byte& byte : copy) byte = static_cast<std::byte>(static_cast<uint8_t>(byte) + 1);
    CW_CHECK(task.memory().CopyTo(arg, copy));
    return 0;
  }
  // As uverbs and rdma_cm: a header, what follows it, and the answer where the header says. Fewer bytes than a header
  // are taken as they are.
  Result<int64_t> Write(Task& task, uint64_t buffer, uint64_t len) override {
    if (len < sizeof(uint64_t)) return static_cast<int64_t>(len);
    CW_TRY(const uint64_t answer, task.memory().Read<uint64_t>(buffer));
    std::vector<std::byte> rest(len - sizeof(answer));
    CW_CHECK(task.memory().CopyFrom(rest, buffer + sizeof(answer)));
    CW_CHECK(task.memory().CopyTo(answer, rest));
    return static_cast<int64_t>(len);
  }
  Result<Mapping> Mmap(Task&, const MmapRequest& request) override {
    return Mapping{.memory = world_.memory, .offset = request.offset, .vma = 1};
  }
  void Unmapped(Task&, uint64_t) override { ++world_.unmapped; }
  FileStat Stat() const override { return {.mode = S_IFCHR | 0660, .rdev_major = 500, .rdev_minor = 2, .inode = 6}; }
  std::string Name() const override { return "/dev/hl0"; }

 private:
  World& world_;
};

// uverbs as far as the doorbell goes: one queue pair, of handle 5, with an empty send queue.
class Uverbs : public File {
 public:
  Uverbs(World& world, roce::NicMemory& nic) : File(ipc::kFileUverbs), world_(world), nic_(nic) {}
  Result<int64_t> Write(Task& task, uint64_t buffer, uint64_t len) override {
    struct {
      uint32_t command, words;
      uint64_t response;
      uint32_t qp_handle, wr_count, sge_count, wqe_size;
    } bell;
    if (len != sizeof(bell)) return Err(EINVAL);
    CW_TRY(bell, task.memory().Read<decltype(bell)>(buffer));
    ++slow_;
    if (bell.qp_handle != 5) return Err(ENOENT);
    roce::QpContext& qp = nic_.qps[kQpn];
    if (qp.valid.load() == 0) {
      qp.qpn = kQpn;
      qp.owner_file = id();
      qp.handle = 5;
      qp.sq = {.offset = kRingOffset, .bytes = 4096, .mask = 3, .log2_elem = 8, .index = 0};
      qp.state.store(roce::kRts);
      // Somebody is at its send queue: a doorbell is counted for whoever that is, and only then.
      qp.sq_lock.word.store(roce::kMachineSlot + 1);
      qp.valid.store(1);
    }
    task.set_hint(kQpn);
    CW_CHECK(task.memory().Write(bell.response, uint32_t{0}));
    return static_cast<int64_t>(len);
  }
  Result<int64_t> Ioctl(Task&, uint32_t request, uint64_t arg) override {
    switch (request) {
      case kSlowDoorbells: return slow_.load();
      case kRungDoorbells: return nic_.qps[kQpn].doorbells.load();
      case kSetQpState: nic_.qps[kQpn].state.store(static_cast<uint32_t>(arg)); return 0;
      default: return Err(ENOTTY);
    }
  }
  FileStat Stat() const override { return {.mode = S_IFCHR | 0666, .rdev_major = 231, .rdev_minor = 192, .inode = 7}; }
  std::string Name() const override { return "/dev/infiniband/uverbs0"; }
  static constexpr uint32_t kQpn = 17;
  static constexpr uint64_t kRingOffset = 3 << 20;

 private:
  World& world_;
  roce::NicMemory& nic_;
  std::atomic<int> slow_{0};
};

// A whole machine but for its devices: what `causeway up` makes.
class TestMachine {
 public:
  TestMachine() {
    char name[] = "/tmp/causeway-shim-XXXXXX";
    folder_ = ::mkdtemp(name);
    arena_fd_.Reset(::memfd_create("arena", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(arena_fd_.get(), kArenaBytes), 0);
    header_ = static_cast<ipc::ArenaHeader*>(
        ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, arena_fd_.get(), 0));
    header_->magic = ipc::kArenaMagic;
    header_->version = ipc::kProtocolVersion;
    header_->arena_bytes = kArenaBytes;
    header_->slots_offset = 1 << 20;
    header_->region_offset[ipc::kRegionBusMap] = 2 << 20;
    header_->region_offset[ipc::kRegionNic] = kNicOffset;
    // As many processes as machines may run at once, and abstract socket names are the host's.
    std::snprintf(header_->machine_id, sizeof(header_->machine_id), "%x", static_cast<unsigned>(::getpid()));
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutex_init(&header_->life, &attributes);
    ::pthread_mutex_lock(&header_->life);
    EXPECT_TRUE(memories_.Adopt("arena", UniqueFd(::dup(arena_fd_.get())), kArenaBytes));
    world_.memory = *memories_.Create("device", 4 << 20);
    std::filesystem::create_directory(folder_ + "/tree");
    tree_.emplace(folder_ + "/tree", *header_);
    files_.emplace(header_->machine_id);
    world_.files = &*files_;
    const auto open = [this](Task&, uint32_t) -> Result<Ref<File>> { return Ref<File>(MakeRef<Device>(world_)); };
    EXPECT_TRUE(tree_->AddDevice("/dev/hl0", 0660, 500, 2, open));
    EXPECT_TRUE(
        tree_->AddDevice("/dev/infiniband/uverbs0", 0666, 231, 192, [this](Task&, uint32_t) -> Result<Ref<File>> {
          auto* base = reinterpret_cast<std::byte*>(header_);
          auto* nic = reinterpret_cast<roce::NicMemory*>(base + kNicOffset);
          return Ref<File>(MakeRef<Uverbs>(world_, *nic));
        }));
    const std::string rxe = "/sys/devices/cwtest/infiniband/rxe0";
    EXPECT_TRUE(tree_->AddFile(rxe + "/node_type", "1: CA\n"));
    EXPECT_TRUE(tree_->AddFolder(rxe + "/ports"));
    EXPECT_TRUE(tree_->AddAttribute(
        rxe + "/live", 0644, [this] { return "value " + value_ + "\n"; },
        [this](std::string_view text) -> Status {
          value_ = text;
          return {};
        }));
    EXPECT_TRUE(tree_->AddAttribute(rxe + "/bad", 0444, []() -> Result<std::string> { return Err(EINVAL); }));
    EXPECT_TRUE(tree_->AddLink("/sys/class/infiniband/rxe0", "../../devices/cwtest/infiniband/rxe0"));
    EXPECT_TRUE(tree_->AddFolder("/sys/class/net/cw0"));
    for (const char* claim :
         {"/dev/hl*", "/dev/infiniband", "/sys/class/infiniband", "/sys/devices/cwtest", "/sys/class/net/cw0"}) {
      EXPECT_TRUE(tree_->Claim(claim));
    }
    syscalls_.emplace(*tree_, *files_, memories_);
    kernel::ServerOptions options;
    options.socket_path = folder_ + "/machine.sock";
    options.header = header_;
    options.arena_fd = arena_fd_.get();
    options.slot_count = 64;
    server_ = std::move(*kernel::Server::Start(std::move(options), *syscalls_, *files_));
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
  ~TestMachine() {
    {
      const std::lock_guard lock(world_.mutex);
      world_.stopping = true;
      world_.changed.notify_all();
    }
    const uint64_t one = 1;
    EXPECT_EQ(::write(stop_.get(), &one, sizeof(one)), 8);
    loop_.join();
    server_->Stop();
    server_.reset();
    files_.reset();
    std::filesystem::remove_all(folder_);
  }
  const std::string& folder() const { return folder_; }
  size_t open_files() {
    files_->Drain();
    return files_->size();
  }
  size_t programs() const { return server_->Programs().size(); }

 private:
  static constexpr uint64_t kNicOffset = 4 << 20;  // the ring of Uverbs lies before it
  static constexpr uint64_t kArenaBytes = (kNicOffset + sizeof(roce::NicMemory) + 4095) & ~uint64_t{4095};
  std::string folder_;
  std::string value_ = "0";
  UniqueFd arena_fd_, stop_;
  ipc::ArenaHeader* header_ = nullptr;
  ipc::MemoryTable memories_;
  World world_;
  std::optional<kernel::Tree> tree_;
  std::optional<kernel::FileTable> files_;
  std::optional<kernel::Syscalls> syscalls_;
  std::unique_ptr<kernel::Server> server_;
  std::thread loop_;
};

// Starts a program under the shim; `out`, if given, becomes its standard output.
pid_t Start(const std::string& folder, const std::vector<std::string>& command, int out = -1,
            const std::string& preload = SHIM_LIBRARY) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setenv("LD_PRELOAD", preload.c_str(), 1);
  ::setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
  if (folder.empty()) {
    ::unsetenv("CAUSEWAY_MACHINE");
  } else {
    ::setenv("CAUSEWAY_MACHINE", folder.c_str(), 1);
  }
  if (out >= 0) ::dup2(out, 1);
  ::closefrom(3);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

pid_t StartProbe(const std::string& folder, const std::string& name, int out = -1) {
  return Start(folder, {SHIM_PROBE, name}, out);
}

int Wait(pid_t child) {
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

class ShimMachine : public testing::TestWithParam<const char*> {};

TEST_P(ShimMachine, AnOrdinaryProgramSeesTheMachine) {
  TestMachine machine;
  EXPECT_EQ(Wait(StartProbe(machine.folder(), GetParam())), 0);
  EXPECT_EQ(machine.open_files(), 0u);  // exit closed everything
}
INSTANTIATE_TEST_SUITE_P(All, ShimMachine,
                         testing::Values("nodes", "attributes", "folders", "proc-links", "copies", "close-all",
                                         "rights", "events", "mappings", "netlink", "forks", "exec", "threads",
                                         "signals", "doorbell", "arguments", "idle"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(ShimMachine, AMachineThatDiesGivesEnodevAndNoHang) {
  int folder_pipe[2];
  int ready_pipe[2];
  ASSERT_EQ(::pipe2(folder_pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(ready_pipe, O_CLOEXEC), 0);
  const pid_t machine = ::fork();
  if (machine == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    TestMachine world;
    (void)!::write(folder_pipe[1], world.folder().c_str(), world.folder().size());
    for (;;) ::pause();
  }
  char folder[256] = {};
  ASSERT_GT(::read(folder_pipe[0], folder, sizeof(folder) - 1), 0);
  const pid_t probe = StartProbe(folder, "death", ready_pipe[1]);
  ::close(ready_pipe[1]);
  char word[6];
  ASSERT_EQ(::read(ready_pipe[0], word, sizeof(word)), 6);
  ::kill(machine, SIGKILL);
  ::waitpid(machine, nullptr, 0);
  EXPECT_EQ(Wait(probe), 0);
  std::filesystem::remove_all(folder);
}

TEST(ShimMachine, WithoutAMachineNothingIsVirtual) {
  EXPECT_EQ(Wait(StartProbe("", "idle")), 0);
  EXPECT_EQ(Wait(StartProbe("/nonexistent", "idle")), 0);
  EXPECT_EQ(Wait(StartProbe("", "absent")), 0);
  EXPECT_EQ(Wait(StartProbe("/nonexistent", "absent")), 0);
}

// ---- programs that others wrote

// Exit status, and standard output in *text.
int Output(const std::string& folder, const std::vector<std::string>& command, std::string* text,
           const std::string& preload = SHIM_LIBRARY) {
  int out[2];
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  const pid_t child = Start(folder, command, out[1], preload);
  ::close(out[1]);
  text->clear();
  char buffer[4096];
  for (ssize_t got; (got = ::read(out[0], buffer, sizeof(buffer))) > 0;) text->append(buffer, static_cast<size_t>(got));
  ::close(out[0]);
  return Wait(child);
}

TEST(ShimPrograms, StockToolsSeeTheMachineBesideTheRealOne) {
  TestMachine machine;
  const struct {
    std::vector<std::string> command;
    std::string want;
  } cases[] = {
      {{"cat", "/sys/class/infiniband/rxe0/node_type"}, "1: CA\n"},
      {{"cat", "/sys/class/infiniband/rxe0/live"}, "value 0\n"},
      {{"stat", "-c", "%F %t:%T %a", "/dev/hl0"}, "character special file 1f4:2 660\n"},
      {{"find", "/sys/class/infiniband/rxe0/", "-type", "f", "-name", "node*"},
       "/sys/class/infiniband/rxe0/node_type\n"},
      {{"find", "/dev/infiniband", "-type", "c"}, "/dev/infiniband/uverbs0\n"},
      {{"readlink", "-f", "/sys/class/infiniband/rxe0"}, "/sys/devices/cwtest/infiniband/rxe0\n"},
      {{"realpath", "/sys/class/infiniband/rxe0/.."}, "/sys/devices/cwtest/infiniband\n"},
      {{"sh", "-c", "cd /sys/class/infiniband/rxe0 && cat < node_type && pwd && echo */ && ls -d /dev/hl*"},
       "1: CA\n/sys/class/infiniband/rxe0\nports/\n/dev/hl0\n"},
      {{"sh", "-c", "echo 5 > /sys/class/infiniband/rxe0/live; cat /sys/class/infiniband/rxe0/live"}, "value 5\n\n"},
      {{"sh", "-c", "ls -l /dev/hl0 | cut -c1-10; ls /sys/class | grep -c -e '^net$' -e '^infiniband$'"},
       "crw-rw----\n2\n"},
      {{"sh", "-c", "exec 7<>/dev/hl0; readlink /proc/self/fd/7"}, "/dev/hl0\n"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.command.back());
    std::string text;
    EXPECT_EQ(Output(machine.folder(), c.command, &text), 0);
    EXPECT_EQ(text, c.want);
  }
}

TEST(ShimPrograms, OrdinaryWorkIsAsWithoutTheShim) {
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"ls", "-la", "/usr/share"},
           {"sh", "-c", "cd / && ls | sort && cat etc/passwd | wc -l && (cd /usr/lib && pwd)"},
           {"find", "/etc/apt", "-name", "*.d"},
           {"sha256sum", "/bin/ls"},
       }) {
    SCOPED_TRACE(command.back());
    std::string plain;
    std::string shimmed;
    std::string no_machine;
    EXPECT_EQ(Output("", command, &plain, ""), 0);
    EXPECT_EQ(Output("", command, &shimmed), 0);
    EXPECT_EQ(Output("/nonexistent", command, &no_machine), 0);
    EXPECT_EQ(plain, shimmed);
    EXPECT_EQ(plain, no_machine);
    EXPECT_FALSE(plain.empty());
  }
}

// Where a tool is not installed its line of the test is left out, and said so.
bool Has(const char* path) {
  const bool found = ::access(path, F_OK) == 0;
  if (!found) std::printf("not installed, left out: %s\n", path);
  return found;
}

TEST(ShimPrograms, OtherRunTimesGetOnWithIt) {
  TestMachine machine;
  std::string text;
  if (Has(JEMALLOC)) {
    for (const std::string& order : {std::string(JEMALLOC ":" SHIM_LIBRARY), std::string(SHIM_LIBRARY ":" JEMALLOC)}) {
      for (const char* name : {"nodes", "folders", "copies", "threads", "forks"}) {
        EXPECT_EQ(Output(machine.folder(), {SHIM_PROBE, name}, &text, order), 0) << name;
      }
    }
  }
  if (Has("/usr/bin/valgrind")) {
    for (const char* name : {"nodes", "folders", "copies", "events", "arguments"}) {
      EXPECT_EQ(Output(machine.folder(), {"valgrind", "-q", "--error-exitcode=9", SHIM_PROBE, name}, &text), 0) << name;
    }
  }
  for (const char* name :
       {"nodes", "attributes", "folders", "copies", "events", "threads", "forks", "exec", "arguments"}) {
    EXPECT_EQ(Output(machine.folder(), {SHIM_PROBE_ASAN, name}, &text), 0) << name;
  }
}

}  // namespace
}  // namespace causeway::test
