// SPDX-License-Identifier: Apache-2.0
#include "kernel/tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernel/fake_task.h"

namespace causeway::kernel {
namespace {

class TreeTest : public testing::Test {
 protected:
  TreeTest() : header_(new ipc::ArenaHeader{}) {
    char name[] = "/tmp/causeway-tree-XXXXXX";
    root_ = ::mkdtemp(name);
    tree_.emplace(root_, *header_);
  }
  ~TreeTest() override { std::filesystem::remove_all(root_); }

  std::string Content(const std::string& path) const {
    std::ifstream stream(root_ + path);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  // As the shim does it: by inode number.
  const ipc::NodeEntry* Find(const std::string& path) const {
    struct stat status;
    if (::stat((root_ + path).c_str(), &status) != 0) return nullptr;
    for (uint32_t i = 0; i < header_->node_count; ++i) {
      if (header_->nodes[i].inode == status.st_ino) return &header_->nodes[i];
    }
    return nullptr;
  }

  std::unique_ptr<ipc::ArenaHeader> header_;
  std::string root_;
  std::optional<Tree> tree_;
  FakeTask task_;
};

class PlainFile : public File {
 public:
  PlainFile() : File(ipc::kFileDevice) {}
  FileStat Stat() const override { return {}; }
  std::string Name() const override { return "/dev/hl0"; }
};

TEST_F(TreeTest, FilesFoldersAndLinksAreRealOnes) {
  ASSERT_TRUE(tree_->AddFile("/sys/class/infiniband/rxe0/node_guid", "0011:22ff\n"));
  EXPECT_EQ(Content("/sys/class/infiniband/rxe0/node_guid"), "0011:22ff\n");
  ASSERT_TRUE(tree_->AddFile("/sys/class/infiniband/rxe0/node_guid", "x\n", 0644));
  EXPECT_EQ(Content("/sys/class/infiniband/rxe0/node_guid"), "x\n");
  struct stat status;
  ASSERT_EQ(::stat((root_ + "/sys/class/infiniband/rxe0/node_guid").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0644u);
  ASSERT_TRUE(tree_->AddLink("/sys/bus/pci/devices/0000:01:00.0", "../../../devices/pci0000:00"));
  EXPECT_EQ(std::filesystem::read_symlink(root_ + "/sys/bus/pci/devices/0000:01:00.0"), "../../../devices/pci0000:00");
  EXPECT_EQ(tree_->AddLink("/sys/bus/pci/devices/0000:01:00.0", "x").error(), Errno(EEXIST));
  ASSERT_TRUE(tree_->AddFolder("/dev/accel"));
  ASSERT_TRUE(tree_->AddFolder("/dev/accel"));
  EXPECT_TRUE(std::filesystem::is_directory(root_ + "/dev/accel"));
}

TEST_F(TreeTest, RemovingAFolderRemovesItsNodes) {
  ASSERT_TRUE(tree_->AddAttribute("/sys/class/hl/hl0/status", 0444, [] { return std::string("ok\n"); }));
  ASSERT_TRUE(tree_->AddAttribute("/sys/class/hl/hl01", 0444, [] { return std::string("other\n"); }));
  const uint32_t id = Find("/sys/class/hl/hl0/status")->node_id;
  ASSERT_TRUE(tree_->Show(id));
  ASSERT_TRUE(tree_->Remove("/sys/class/hl/hl0"));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/sys/class/hl/hl0"));
  EXPECT_EQ(tree_->Show(id).error(), Errno(ENOENT));
  EXPECT_NE(Find("/sys/class/hl/hl01"), nullptr) << "a name with the folder's as prefix is not inside it";
  // The entry is used again, under a new number.
  ASSERT_TRUE(tree_->AddAttribute("/sys/class/hl/hl0/status", 0444, [] { return std::string("new\n"); }));
  EXPECT_NE(Find("/sys/class/hl/hl0/status")->node_id, id);
  EXPECT_EQ(header_->node_count, 2u);
  EXPECT_EQ(tree_->Remove("/sys/none").error(), Errno(ENOENT));
}

TEST_F(TreeTest, ADeviceIsFoundByInodeAndOpensByItsFunction) {
  uint32_t seen_flags = 0;
  ASSERT_TRUE(tree_->AddDevice("/dev/hl0", 0666, 10, 200, [&](Task&, uint32_t flags) -> Result<Ref<File>> {
    seen_flags = flags;
    return Ref<File>(MakeRef<PlainFile>());
  }));
  const ipc::NodeEntry* node = Find("/dev/hl0");
  ASSERT_NE(node, nullptr);
  EXPECT_EQ(node->kind, uint32_t{ipc::NodeEntry::kCharDevice});
  EXPECT_EQ(node->mode, uint32_t{S_IFCHR | 0666});
  EXPECT_EQ(node->rdev_major, 10u);
  EXPECT_EQ(node->rdev_minor, 200u);
  EXPECT_EQ(tree_->Open(task_, node->node_id, O_RDWR | O_CLOEXEC).value()->Name(), "/dev/hl0");
  EXPECT_EQ(seen_flags, uint32_t{O_RDWR | O_CLOEXEC});
  // fs/namei.c do_open().
  EXPECT_EQ(tree_->Open(task_, node->node_id, O_RDONLY | O_DIRECTORY).error(), Errno(ENOTDIR));
  EXPECT_EQ(tree_->Open(task_, node->node_id, O_RDWR | O_CREAT | O_EXCL).error(), Errno(EEXIST));
  EXPECT_EQ(tree_->Open(task_, 999, O_RDWR).error(), Errno(ENOENT));
  EXPECT_EQ(tree_->Show(node->node_id).error(), Errno(EINVAL));
}

TEST_F(TreeTest, AttributesAreOpenedAsKernfsDoes) {
  const auto show = [] { return std::string("1\n"); };
  const auto store = [](std::string_view) -> Status { return {}; };
  ASSERT_TRUE(tree_->AddAttribute("/sys/ro", 0644, show));
  ASSERT_TRUE(tree_->AddAttribute("/sys/rw", 0644, show, store));
  ASSERT_TRUE(tree_->AddAttribute("/sys/wo", 0200, {}, store));
  EXPECT_EQ(Find("/sys/ro")->mode, uint32_t{S_IFREG | 0444}) << "without store() nothing is writable";
  struct {
    const char* path;
    uint32_t flags;
    int want_errno;
  } const cases[] = {
      // fs/kernfs/file.c kernfs_fop_open()
      {"/sys/ro", O_RDONLY, 0}, {"/sys/ro", O_WRONLY, EACCES}, {"/sys/ro", O_RDWR, EACCES}, {"/sys/rw", O_RDWR, 0},
      {"/sys/wo", O_WRONLY, 0}, {"/sys/wo", O_RDONLY, EACCES}, {"/sys/wo", O_RDWR, EACCES},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.path);
    const auto file = tree_->Open(task_, Find(c.path)->node_id, c.flags);
    EXPECT_EQ(file ? 0 : file.error().code(), c.want_errno);
  }
}

TEST_F(TreeTest, AnAttributeShowsAnewAtOffsetZeroAndKeepsItsTextInBetween) {
  int shows = 0;
  ASSERT_TRUE(tree_->AddAttribute("/sys/count", 0444, [&] { return "number " + std::to_string(++shows) + "\n"; }));
  const auto file = tree_->Open(task_, Find("/sys/count")->node_id, O_RDONLY).value();
  task_.user.Map(0x1000, 64);
  bool drained = false;
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 7, -1, &drained).value(), 7);
  EXPECT_EQ(file->ReadAt(task_, 0x1007, 57, -1, &drained).value(), 2);
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, -1, &drained).value(), 0);
  EXPECT_EQ(shows, 1);
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, 7, &drained).value(), 2) << "pread() does not show again";
  EXPECT_EQ(shows, 1);
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, 0, &drained).value(), 9);
  EXPECT_EQ(shows, 2);
  EXPECT_EQ(file->Seek(task_, 0, SEEK_SET).value(), 0);
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, -1, &drained).value(), 9);
  EXPECT_EQ(shows, 3);
  EXPECT_EQ(file->Seek(task_, 0, SEEK_CUR).value(), 9);
  EXPECT_EQ(file->Seek(task_, 0, SEEK_END).value(), 4096);
  EXPECT_EQ(file->Seek(task_, -1, SEEK_SET).error(), Errno(EINVAL));
  EXPECT_EQ(file->Seek(task_, 0, 77).error(), Errno(EINVAL));
  EXPECT_EQ(file->Seek(task_, 0, SEEK_SET).value(), 0);
  EXPECT_EQ(file->ReadAt(task_, 0x9000, 64, -1, &drained).error(), Errno(EFAULT));
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, -5, &drained).error(), Errno(EINVAL));
  EXPECT_EQ(file->Stat().size, 4096u);
}

TEST_F(TreeTest, ShowAndStoreFailWithTheirOwnErrno) {
  std::string stored;
  ASSERT_TRUE(tree_->AddAttribute(
      "/sys/odd", 0644, []() -> Result<std::string> { return Err(ENODEV); },
      [&](std::string_view text) -> Status {
        if (text == "bad\n") return Err(ERANGE);
        stored = text;
        return {};
      }));
  const auto file = tree_->Open(task_, Find("/sys/odd")->node_id, O_RDWR).value();
  task_.user.Map(0x1000, 8192);
  bool drained = false;
  EXPECT_EQ(file->ReadAt(task_, 0x1000, 64, -1, &drained).error(), Errno(ENODEV));
  ASSERT_TRUE(task_.user.CopyTo(0x1000, std::as_bytes(std::span("bad\n", 4))));
  EXPECT_EQ(file->WriteAt(task_, 0x1000, 4, -1).error(), Errno(ERANGE));
  EXPECT_EQ(file->WriteAt(task_, 0x1000, 3, -1).value(), 3);
  EXPECT_EQ(stored, "bad");
  EXPECT_EQ(file->WriteAt(task_, 0x1000, 0, -1).value(), 0);
  EXPECT_EQ(file->WriteAt(task_, 0x1000, 8192, -1).value(), 4096) << "kernfs_fop_write_iter(): a page at most";
  EXPECT_EQ(file->WriteAt(task_, 0x8000, 4, -1).error(), Errno(EFAULT));
}

TEST_F(TreeTest, ClaimsAndRootAreInTheHeader) {
  ASSERT_TRUE(tree_->Claim("/dev/infiniband"));
  ASSERT_TRUE(tree_->Claim("/dev/infiniband"));
  ASSERT_TRUE(tree_->Claim("/dev/hl*"));
  EXPECT_EQ(header_->claim_count, 2u);
  EXPECT_STREQ(header_->claims[1], "/dev/hl*");
  EXPECT_EQ(header_->tree_root, root_);
  EXPECT_EQ(tree_->Claim("/dev/").error(), Errno(EINVAL));
  EXPECT_EQ(tree_->Claim("dev").error(), Errno(EINVAL));
  EXPECT_EQ(tree_->Claim("/" + std::string(80, 'a')).error(), Errno(ENAMETOOLONG));
}

}  // namespace
}  // namespace causeway::kernel
