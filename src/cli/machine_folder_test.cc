// SPDX-License-Identifier: Apache-2.0
#include "cli/machine_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "cli/failure.h"

namespace causeway::cli {
namespace {

using ::testing::HasSubstr;

class MachineFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cwXXXXXX";
    root_ = ::mkdtemp(pattern.data());
    ::setenv("XDG_RUNTIME_DIR", root_.c_str(), 1);
    ::unsetenv("CAUSEWAY_MACHINE");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  template <typename Call>
  static int StatusOf(Call call, std::string* words = nullptr) {
    try {
      call();
    } catch (const Failure& failure) {
      if (words != nullptr) *words = failure.what();
      return failure.status();
    }
    return 0;
  }
  std::string root_;
};

TEST_F(MachineFolderTest, IsTheUsersAlone) {
  const MachineFolder folder = MachineFolder::Create("lab");
  EXPECT_EQ(folder.path(), root_ + "/causeway/lab");
  struct stat status = {};
  ASSERT_EQ(::stat(folder.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST_F(MachineFolderTest, ANameIsUpAsLongAsItsLockIsHeld) {
  auto folder = std::make_optional(MachineFolder::Create("lab"));
  std::string words;
  EXPECT_EQ(StatusOf([] { (void)MachineFolder::Create("lab"); }, &words), kExitFailure);
  EXPECT_THAT(words, HasSubstr("causeway down --name lab"));
  ASSERT_EQ(LiveMachines().size(), 1u);
  EXPECT_EQ(LiveMachines()[0].name, "lab");
  EXPECT_EQ(FindMachine("lab")->path, folder->path());
  EXPECT_FALSE(FindMachine(std::nullopt).has_value());  // "default" is not up
  EXPECT_EQ(StatusOf([] { (void)RequireMachine(std::nullopt); }, &words), kExitFailure);
  EXPECT_THAT(words, HasSubstr("--name: lab"));

  std::ofstream(folder->path() + "/left-over") << "x";
  const std::string path = folder->path();
  folder.reset();  // as the kernel does when the machine is killed
  EXPECT_TRUE(LiveMachines().empty());
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(MachineFolderTest, WhatAKilledMachineLeftIsNotInTheWay) {
  std::string path;
  {
    const MachineFolder folder = MachineFolder::Create("lab");
    path = folder.path();
    std::ofstream(path + "/machine.sock") << "x";
  }
  const MachineFolder folder = MachineFolder::Create("lab");
  EXPECT_FALSE(std::filesystem::exists(path + "/machine.sock"));
}

TEST_F(MachineFolderTest, TheEnvironmentNamesTheMachineUnlessNameDoes) {
  const MachineFolder folder = MachineFolder::Create("run-7");
  ::setenv("CAUSEWAY_MACHINE", folder.path().c_str(), 1);
  EXPECT_EQ(FindMachine(std::nullopt)->name, "run-7");
  EXPECT_EQ(StatusOf([] { (void)FindMachine("other"); }), kExitFailure);
  ::setenv("CAUSEWAY_MACHINE", (root_ + "/gone").c_str(), 1);
  EXPECT_EQ(StatusOf([] { (void)FindMachine(std::nullopt); }), kExitFailure);
  ::unsetenv("CAUSEWAY_MACHINE");
}

TEST_F(MachineFolderTest, NamesThatAreNoFileNamesAreRefused) {
  for (const char* name : {"", ".", "..", "a/b", "-x", "with blank"}) {
    EXPECT_EQ(StatusOf([&] { (void)MachineFolder::Create(name); }), kExitUsage) << name;
  }
}

TEST_F(MachineFolderTest, AFolderThatOthersCanWriteIsRefused) {
  ASSERT_EQ(::mkdir((root_ + "/causeway").c_str(), 0700), 0);
  ASSERT_EQ(::chmod((root_ + "/causeway").c_str(), 0777), 0);
  EXPECT_EQ(StatusOf([] { (void)MachineFolder::Create("lab"); }), kExitFailure);
}

TEST_F(MachineFolderTest, APathTooLongForASocketIsSaidSo) {
  const std::string deep = root_ + "/" + std::string(100, 'd');
  ASSERT_EQ(::mkdir(deep.c_str(), 0700), 0);
  ::setenv("XDG_RUNTIME_DIR", deep.c_str(), 1);
  std::string words;
  EXPECT_EQ(StatusOf([] { (void)MachineFolder::Create("lab"); }, &words), kExitFailure);
  EXPECT_THAT(words, HasSubstr("too long"));
}

}  // namespace
}  // namespace causeway::cli
