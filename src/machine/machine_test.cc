// SPDX-License-Identifier: Apache-2.0
// Whole machines: the default one, spoken to as programs and the causeway command do.
#include "machine/machine.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <semaphore>
#include <thread>

#include "kernel/test_program.h"

namespace causeway::machine {
namespace {

namespace fs = std::filesystem;
using ipc::Op;
using kernel::TestProgram;
using nlohmann::json;

config::MachineConfig DefaultConfig() { return *config::ParseConfig(config::DefaultConfigText(), "default").config; }

std::string MakeFolderName() {
  std::string name = testing::TempDir() + "causeway-machine-XXXXXX";
  return ::mkdtemp(name.data());
}

std::string AskText(const std::string& folder, const std::string& request) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, (folder + "/control.sock").c_str(), sizeof(name.sun_path) - 1);
  if (::connect(socket.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) != 0) return {};
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::recv(socket.get(), buffer, sizeof(buffer), 0)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}
json Ask(const std::string& folder, const std::string& op) {
  return json::parse(AskText(folder, "{\"op\": \"" + op + "\"}\n"), nullptr, false);
}

// A machine on a thread of this process.
class MachineTest : public testing::Test {
 protected:
  MachineTest() : folder_(MakeFolderName()) {
    thread_ = std::thread([this] {
      auto machine = Machine::Create(DefaultConfig(), folder_);
      if (machine) machine_ = machine->get();
      up_.release();
      if (!machine) return;
      (*machine)->Run();
      may_go_.acquire();
    });
    up_.acquire();
    EXPECT_NE(machine_, nullptr);
  }
  ~MachineTest() override {
    End();
    fs::remove_all(folder_);
  }
  void End() {
    if (!thread_.joinable()) return;
    machine_->Stop();
    may_go_.release();  // nobody calls it any more
    thread_.join();
  }
  std::string socket() const { return folder_ + "/machine.sock"; }

  const std::string folder_;
  Machine* machine_ = nullptr;
  std::binary_semaphore up_{0}, may_go_{0};
  std::thread thread_;
};

TEST_F(MachineTest, AProgramFindsItsComputer) {
  TestProgram program(socket());
  ASSERT_EQ(program.hello_result(), 0);
  EXPECT_TRUE(ipc::MachineAlive(program.header()));
  EXPECT_EQ(program.header().tree_root, folder_ + "/tree");
  const fs::path sys = fs::path(folder_) / "tree/sys";
  size_t accelerators = 0;
  for (const auto& entry : fs::directory_iterator(sys / "bus/pci/devices")) {
    std::ifstream file(entry.path() / "vendor");  // through the link
    std::string vendor;
    file >> vendor;
    EXPECT_EQ(vendor.substr(0, 2), "0x") << entry.path();
    EXPECT_TRUE(fs::exists(entry.path() / "subsystem/devices" / entry.path().filename())) << entry.path();
    if (vendor != "0x1da3") continue;
    ++accelerators;
    EXPECT_EQ(fs::read_symlink(entry.path() / "driver").filename(), "habanalabs");
    EXPECT_TRUE(fs::exists(entry.path() / "driver" / entry.path().filename()));
  }
  EXPECT_EQ(accelerators, 2u);
  uint64_t file = 0;
  UniqueFd fd(program.Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, &file));
  ASSERT_GE(fd.get(), 0);
  EXPECT_EQ(program.Open("/dev/accel/accel0", O_RDWR, nullptr), -EBUSY) << "exclusive";
  fd.Reset();
  program.Call(Op::kSync, file, {});
  fd.Reset(program.Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, &file));
  EXPECT_GE(fd.get(), 0) << "close() then open()";
}

TEST_F(MachineTest, TheControlSocketAnswers) {
  TestProgram program(socket());
  const UniqueFd fd(program.Open("/dev/accel/accel1", O_RDWR | O_CLOEXEC, nullptr));
  const json ps = Ask(folder_, "ps");
  ASSERT_EQ(ps["programs"].size(), 1u) << ps.dump(2);
  EXPECT_EQ(ps["programs"][0]["pid"], ::getpid());
  EXPECT_EQ(ps["programs"][0]["files"], json({"/dev/accel/accel1"}));
  ASSERT_EQ(ps["accelerators"].size(), 2u);
  EXPECT_EQ(ps["accelerators"][1]["opened_by"], ::getpid());
  EXPECT_EQ(ps["accelerators"][0]["opened_by"], json());
  EXPECT_GT(ps["resident_bytes"], 0u);
  ASSERT_EQ(ps["nics"].size(), 2u);
  EXPECT_EQ(ps["nics"][0]["name"], "rxe0");
  EXPECT_EQ(ps["nics"][0]["contexts"], 0);
  EXPECT_FALSE(Ask(folder_, "links")["links"].empty());
  EXPECT_TRUE(Ask(folder_, "routes")["routes"].is_array());
  EXPECT_EQ(Ask(folder_, "explain")["refusals"], json::array());
  EXPECT_EQ(Ask(folder_, "stats")["files"], 1);
  EXPECT_EQ(Ask(folder_, "stats")["nics"]["rxe1"]["sent_pkts"], 0);
  EXPECT_EQ(Ask(folder_, "version")["protocol"], ipc::kProtocolVersion);
  EXPECT_EQ(Ask(folder_, "config")["config"], json()) << "nobody put one into the folder";
  std::ofstream(folder_ + "/config.toml") << "[machine]\n";
  EXPECT_EQ(Ask(folder_, "config")["config"], "[machine]\n");
}

TEST_F(MachineTest, BadRequestsGetAnError) {
  for (const char* request : {"\n", "{}\n", "nonsense\n", "{\"op\": 1}\n", "{\"op\": \"fly\"}\n", "[]\n"}) {
    SCOPED_TRACE(request);
    const json reply = json::parse(AskText(folder_, request), nullptr, false);
    EXPECT_TRUE(reply.is_object() && reply.contains("error"));
  }
  const json reply = json::parse(AskText(folder_, std::string(70000, 'x')), nullptr, false);
  EXPECT_TRUE(reply.contains("error")) << "a line without end";
}

TEST_F(MachineTest, DownEndsTheMachineAndItsFolder) {
  TestProgram program(socket());
  EXPECT_EQ(Ask(folder_, "down")["down"], true);
  may_go_.release();
  thread_.join();
  EXPECT_FALSE(ipc::MachineAlive(program.header()));
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(MachineTest, ASecondMachineInTheSameFolderIsRefused) {
  EXPECT_FALSE(Machine::Create(DefaultConfig(), folder_));
  EXPECT_EQ(Ask(folder_, "version")["pid"], ::getpid()) << "the first one is untouched";
}

// RunMachine() in a process of its own, as the causeway command runs it.
class MachineProcess {
 public:
  explicit MachineProcess(const std::string& folder) {
    int ready[2];
    if (::pipe(ready) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ready[0]);
      ::_exit(RunMachine(DefaultConfig(), folder, ready[1]));
    }
    ::close(ready[1]);
    char byte = 0;
    ready_ = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
  }
  ~MachineProcess() {
    if (pid_ > 0) End(SIGKILL);
  }
  bool ready() const { return ready_; }
  int End(int signal) {
    ::kill(pid_, signal);
    return Wait();
  }
  int Wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

TEST(RunMachine, AKilledMachineIsNotAlive) {
  const std::string folder = MakeFolderName();
  MachineProcess machine(folder);
  ASSERT_TRUE(machine.ready());
  TestProgram program(folder + "/machine.sock");
  uint64_t file = 0;
  const UniqueFd fd(program.Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, &file));
  ASSERT_GE(fd.get(), 0);
  EXPECT_TRUE(ipc::MachineAlive(program.header()));
  machine.End(SIGKILL);
  EXPECT_FALSE(ipc::MachineAlive(program.header()));
  struct pollfd poll = {fd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&poll, 1, 10'000), 1);
  EXPECT_NE(poll.revents & POLLHUP, 0);
  // What it left does not keep the next one from starting.
  MachineProcess next(folder);
  EXPECT_TRUE(next.ready());
  EXPECT_EQ(next.End(SIGTERM), 0);
  EXPECT_FALSE(fs::exists(folder));
}

TEST(RunMachine, ASignalEndsItInOrder) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    SCOPED_TRACE(signal);
    const std::string folder = MakeFolderName();
    MachineProcess machine(folder);
    ASSERT_TRUE(machine.ready());
    TestProgram program(folder + "/machine.sock");
    const UniqueFd fd(program.Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, nullptr));
    EXPECT_EQ(machine.End(signal), 0);
    EXPECT_FALSE(ipc::MachineAlive(program.header()));
    EXPECT_FALSE(fs::exists(folder));
  }
}

TEST(RunMachine, WhatCannotBeMadeIsAnExitStatusAndNoByte) {
  MachineProcess machine("/proc/none");
  EXPECT_FALSE(machine.ready());
  const int status = machine.Wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  const std::string open_to_all = MakeFolderName();
  ::chmod(open_to_all.c_str(), 0755);
  MachineProcess other(open_to_all);
  EXPECT_FALSE(other.ready());
  fs::remove_all(open_to_all);
}

TEST(RunMachine, AKilledProgramGivesItsDeviceBack) {
  const std::string folder = MakeFolderName();
  MachineProcess machine(folder);
  ASSERT_TRUE(machine.ready());
  TestProgram mine(folder + "/machine.sock");
  for (int round = 0; round < 10; ++round) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto* const program = new TestProgram(folder + "/machine.sock");
      const bool ok = program->Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, nullptr) >= 0;
      (void)!::write(ready[1], ok ? "y" : "n", 1);
      ::pause();
      ::_exit(0);
    }
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y') << round;
    EXPECT_EQ(mine.Open("/dev/accel/accel0", O_RDWR, nullptr), -EBUSY);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    uint64_t file = 0;
    UniqueFd fd(mine.Open("/dev/accel/accel0", O_RDWR | O_CLOEXEC, &file));
    EXPECT_GE(fd.get(), 0) << round;
    fd.Reset();
    mine.Call(Op::kSync, file, {});
  }
  EXPECT_EQ(Ask(folder, "ps")["files"], json::array());
  EXPECT_EQ(machine.End(SIGTERM), 0);
}

}  // namespace
}  // namespace causeway::machine
