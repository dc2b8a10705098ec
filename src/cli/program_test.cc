// SPDX-License-Identifier: Apache-2.0
// Which programs can be served, and which file a name is. The ELF files are made here, byte by byte (System V gABI).
#include "cli/program.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/elf.h"
#include "cli/failure.h"

namespace causeway::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct ElfShape {
  std::string interpreter = "/lib64/ld-linux-x86-64.so.2";
  std::vector<std::string> needed = {"libc.so.6"};
  std::string soname = "";
  uint16_t machine = NativeElfMachine();
  unsigned char elf_class = ELFCLASS64;
};

// Header, program headers (PT_LOAD of the whole file, PT_INTERP, PT_DYNAMIC), then what they name.
std::string MakeElf(const ElfShape& shape) {
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = shape.elf_class;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_DYN;
  header.e_machine = shape.machine;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;
  constexpr uint64_t kBase = 0x10000;
  const uint64_t text_at = sizeof(header) + 3 * sizeof(Elf64_Phdr);

  std::string strings(1, '\0');
  std::vector<Elf64_Dyn> dynamic;
  const auto add = [&](int64_t tag, const std::string& text) {
    Elf64_Dyn entry = {};
    entry.d_tag = tag;
    entry.d_un.d_val = strings.size();
    dynamic.push_back(entry);
    strings += text + '\0';
  };
  for (const std::string& name : shape.needed) add(DT_NEEDED, name);
  if (!shape.soname.empty()) add(DT_SONAME, shape.soname);
  const std::string interpreter = shape.interpreter + '\0';
  const uint64_t strings_at = text_at + interpreter.size();
  const uint64_t dynamic_at = strings_at + strings.size();
  dynamic.push_back({DT_STRTAB, {kBase + strings_at}});
  dynamic.push_back({DT_STRSZ, {strings.size()}});
  dynamic.push_back({DT_NULL, {0}});
  const uint64_t dynamic_bytes = dynamic.size() * sizeof(Elf64_Dyn);

  Elf64_Phdr segments[3] = {};
  segments[0] = {PT_LOAD, PF_R, 0, kBase, kBase, dynamic_at + dynamic_bytes, dynamic_at + dynamic_bytes, 4096};
  segments[1] = {shape.interpreter.empty() ? Elf64_Word{PT_NULL} : Elf64_Word{PT_INTERP},
                 PF_R,
                 text_at,
                 kBase + text_at,
                 kBase + text_at,
                 interpreter.size(),
                 interpreter.size(),
                 1};
  segments[2] = {PT_DYNAMIC, PF_R, dynamic_at, kBase + dynamic_at, kBase + dynamic_at, dynamic_bytes, dynamic_bytes, 8};
  std::string file(reinterpret_cast<const char*>(&header), sizeof(header));
  file.append(reinterpret_cast<const char*>(segments), sizeof(segments));
  file += interpreter + strings;
  file.append(reinterpret_cast<const char*>(dynamic.data()), dynamic_bytes);
  return file;
}

class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cwXXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string Write(const std::string& name, const std::string& content, mode_t mode = 0755) {
    const std::string path = root_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    ::chmod(path.c_str(), mode);
    return path;
  }
  // 0 when it is found and can be served.
  int StatusOf(const std::string& name, const char* path_variable = nullptr) {
    try {
      found_ = FindProgram(name, path_variable);
      return 0;
    } catch (const Failure& failure) {
      words_ = failure.what();
      return failure.status();
    }
  }
  std::string root_, words_;
  Program found_;
};

TEST_F(ProgramTest, ADynamicProgramIsServed) {
  const std::string path = Write("prog", MakeElf({}));
  ASSERT_EQ(StatusOf(path), 0) << words_;
  EXPECT_EQ(found_.path, path);
  EXPECT_EQ(found_.loaded, path);
  EXPECT_TRUE(found_.run_times.empty());
}

TEST_F(ProgramTest, WhatCannotBeServedIsNamedWithTheReason) {
  const struct {
    const char* name;
    std::string content;
    const char* words;
  } kCases[] = {
      {"static", MakeElf({.interpreter = "", .needed = {}}), "linked statically"},
      {"foreign", MakeElf({.machine = EM_S390}), "another kind of processor"},
      {"musl", MakeElf({.interpreter = "/lib/ld-musl-x86_64.so.1"}), "ld-musl"},
      {"broken", MakeElf({}).substr(0, 80), "broken"},
      {"no-interpreter", "#!/no/such/interpreter\n", "/no/such/interpreter"},
  };
  for (const auto& c : kCases) {
    const std::string path = Write(c.name, c.content);
    EXPECT_EQ(StatusOf(path), c.name == std::string("no-interpreter") ? kExitNotFound : kExitNotExecutable) << c.name;
    EXPECT_THAT(words_, HasSubstr(c.words));
    EXPECT_THAT(words_, HasSubstr(path));
  }
}

TEST_F(ProgramTest, TheLoaderItselfMayBeRun) {
  EXPECT_EQ(StatusOf(Write("ld.so", MakeElf({.interpreter = "", .soname = "ld-linux-x86-64.so.2"}))), 0) << words_;
}

// linux security/commoncap.c: nothing is raised for the owner himself.
TEST_F(ProgramTest, SetuidIsRefusedOnlyWhenItRaisesPrivileges) {
  const std::string path = Write("prog", MakeElf({}), 04755);
  EXPECT_EQ(StatusOf(path), 0) << words_;
  if (::geteuid() != 0 || ::chown(path.c_str(), 65534, 0) != 0 || ::chmod(path.c_str(), 04755) != 0) {
    GTEST_SKIP() << "only root can make a file of somebody else's";
  }
  EXPECT_EQ(StatusOf(path), kExitNotExecutable);
  EXPECT_THAT(words_, HasSubstr("setuid"));
}

TEST_F(ProgramTest, AScriptIsJudgedByItsInterpreter) {
  const std::string good = Write("good", MakeElf({}));
  const std::string script = Write("script", "#! " + good + " -x\nrest\n");
  ASSERT_EQ(StatusOf(script), 0) << words_;
  EXPECT_EQ(found_.path, script);
  EXPECT_EQ(found_.loaded, good);
  const std::string bad = Write("bad", MakeElf({.interpreter = "", .needed = {}}));
  const std::string other = Write("other", "#!" + bad + "\n");
  EXPECT_EQ(StatusOf(other), kExitNotExecutable);
  EXPECT_THAT(words_, HasSubstr(bad + " (which runs " + other + ")"));
}

TEST_F(ProgramTest, ScriptsThatRunEachOtherEndAtTheKernelsDepth) {
  Write("a", "#!" + root_ + "/b\n");
  Write("b", "#!" + root_ + "/a\n");
  EXPECT_EQ(StatusOf(root_ + "/a"), kExitNotExecutable);
  EXPECT_THAT(words_, HasSubstr("too many levels"));
}

TEST_F(ProgramTest, AFileThatIsNoProgramIsForTheShell) {
  ASSERT_EQ(StatusOf(Write("plain", "echo hello\n")), 0) << words_;
  EXPECT_TRUE(found_.is_plain_text);
  EXPECT_EQ(found_.loaded, "/bin/sh");
}

TEST_F(ProgramTest, PathIsSearchedAsExecvpDoes) {
  Write("first/other", MakeElf({}));
  Write("first/prog", MakeElf({}), 0644);  // not executable: the search goes on
  std::filesystem::create_directories(root_ + "/folder/prog");
  const std::string prog = Write("second/prog", MakeElf({}));
  const std::string path = root_ + "/first:" + root_ + "/folder:" + root_ + "/second";
  ASSERT_EQ(StatusOf("prog", path.c_str()), 0) << words_;
  EXPECT_EQ(found_.path, prog);
  EXPECT_EQ(StatusOf("prog", (root_ + "/first").c_str()), kExitNotExecutable);
  EXPECT_EQ(StatusOf("nowhere", path.c_str()), kExitNotFound);
  EXPECT_EQ(StatusOf(root_ + "/nowhere"), kExitNotFound);
  EXPECT_EQ(StatusOf(root_), kExitNotExecutable);
  EXPECT_EQ(StatusOf(""), kExitNotFound);
  ASSERT_EQ(StatusOf("sh", nullptr), 0) << words_;  // /bin:/usr/bin when PATH is not set
}

TEST_F(ProgramTest, SanitizerRunTimesAreFound) {
  ASSERT_EQ(StatusOf(Write("prog", MakeElf({.needed = {"libstdc++.so.6", "libasan.so.8", "libubsan.so.1"}}))), 0);
  EXPECT_THAT(found_.run_times, ElementsAre("libasan.so.8"));
}

TEST(PreloadFor, RunTimesFirstThenOursThenTheUsersOnce) {
  EXPECT_EQ(PreloadFor({}, "/p/libcauseway.so", ""), "/p/libcauseway.so");
  EXPECT_EQ(PreloadFor({"libasan.so.8"}, "/p/libcauseway.so", "/j/libjemalloc.so.2 /x.so:/old/libcauseway.so"),
            "libasan.so.8:/p/libcauseway.so:/j/libjemalloc.so.2:/x.so");
}

// Every prefix of a good file, and every byte of its headers changed: an answer or a refusal, never a crash.
TEST_F(ProgramTest, AnyBytesAreAnsweredOrRefused) {
  const std::string good = MakeElf({});
  for (size_t len = 0; len < good.size(); len += 7) (void)StatusOf(Write("cut", good.substr(0, len)));
  for (size_t at = 0; at < 400 && at < good.size(); ++at) {
    std::string changed = good;
    changed[at] = '\xff';
    (void)StatusOf(Write("changed", changed));
  }
}

}  // namespace
}  // namespace causeway::cli
