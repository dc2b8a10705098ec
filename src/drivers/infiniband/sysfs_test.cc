// SPDX-License-Identifier: Apache-2.0
// What programs find in /sys and /dev (specs: verbs 1.3 to 1.6).
#include <fcntl.h>

#include <fstream>
#include <sstream>

#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class Sysfs : public UverbsBench {
 protected:
  std::string Read(const std::string& path) {
    std::ifstream in(root_ + path);
    EXPECT_TRUE(in.good()) << path;
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  // A live attribute, as the machine answers it.
  std::string Show(const std::string& path) {
    struct stat file;
    EXPECT_EQ(::stat((root_ + path).c_str(), &file), 0) << path;
    for (const ipc::NodeEntry& node : header_->nodes) {
      if (node.inode.load() != file.st_ino || node.kind != ipc::NodeEntry::kAttribute) continue;
      const auto text = tree_->Show(node.node_id);
      return text ? *text : "errno " + std::to_string(text.error().code());
    }
    ADD_FAILURE() << "no live attribute at " << path;
    return {};
  }
};

TEST_F(Sysfs, AttributesAreRxes) {
  const std::string guid = GuidText(Eui64(device().mac()));
  const std::string netdev = device().netdev();
  const std::string empty = std::to_string(device().gids().filled().size());  // the first entry without a GID
  const std::pair<std::string, std::string> files[] = {
      {"/sys/class/infiniband_verbs/abi_version", "6"},
      {"/sys/class/infiniband_verbs/uverbs0/ibdev", "rxe0"},
      {"/sys/class/infiniband_verbs/uverbs0/dev", "231:192"},
      {"/sys/class/infiniband_verbs/uverbs0/abi_version", "2"},
      {"/sys/dev/char/231:192/ibdev", "rxe0"},
      {"/sys/dev/char/231:193/ibdev", "rxe1"},
      {"/sys/class/infiniband_verbs/uverbs1/ibdev", "rxe1"},
      {"/sys/class/infiniband_verbs/uverbs1/dev", "231:193"},
      {"/sys/class/infiniband/rxe0/node_type", "1: CA"},
      {"/sys/class/infiniband/rxe0/node_guid", guid},
      {"/sys/class/infiniband/rxe0/sys_image_guid", guid},
      {"/sys/class/infiniband/rxe0/node_desc", "rxe"},
      {"/sys/class/infiniband/rxe0/fw_ver", ""},
      {"/sys/class/infiniband/rxe0/parent", netdev},
      {"/sys/class/infiniband/rxe0/ports/1/link_layer", "Ethernet"},
      {"/sys/class/infiniband/rxe0/ports/1/cap_mask", "0x00010000"},
      {"/sys/class/infiniband/rxe0/ports/1/lid", "0x0"},
      {"/sys/class/infiniband/rxe0/ports/1/pkeys/0", "0xffff"},
      {"/sys/class/infiniband/rxe0/ports/1/rate", "100 Gb/sec (4X EDR)"},
      {"/sys/class/infiniband/rxe0/ports/1/gids/0", GidText(DefaultGid(device().mac()))},
      {"/sys/class/infiniband/rxe0/ports/1/gids/" + empty, "0000:0000:0000:0000:0000:0000:0000:0000"},
      {"/sys/class/infiniband/rxe0/ports/1/gid_attrs/types/0", "RoCE v2"},
      {"/sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/0", netdev},
  };
  for (const auto& [path, want] : files) EXPECT_EQ(Read(path), want + "\n") << path;
  EXPECT_NE(Read("/sys/class/infiniband/rxe1/node_guid"), guid + "\n");
  EXPECT_EQ(Show("/sys/class/infiniband/rxe0/ports/1/gid_attrs/types/" + empty), "errno 22");
  EXPECT_EQ(Show("/sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/" + empty), "errno 22");
  EXPECT_EQ(Show("/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"), "0\n");
  const std::string state = Show("/sys/class/infiniband/rxe0/ports/1/state");
  EXPECT_TRUE(state == "4: ACTIVE\n" || state == "1: DOWN\n") << state;
}

TEST_F(Sysfs, LinksLeadToTheFunctionAndBack) {
  namespace fs = std::filesystem;
  const std::string dev = root_ + "/sys/class/infiniband/rxe0";
  const fs::path real = fs::canonical(dev);
  EXPECT_EQ(real.parent_path().filename(), "infiniband");
  EXPECT_EQ(fs::canonical(dev + "/device"), real.parent_path().parent_path());
  EXPECT_EQ(fs::canonical(dev + "/device").filename(), device().function().bdf().ToString());
  EXPECT_EQ(fs::canonical(dev + "/subsystem"), root_ + "/sys/class/infiniband");
  EXPECT_EQ(fs::canonical(root_ + "/sys/class/infiniband_verbs/uverbs0/device"), fs::canonical(dev + "/device"));
  EXPECT_EQ(fs::canonical(root_ + "/sys/class/infiniband_verbs/uverbs0/subsystem"),
            root_ + "/sys/class/infiniband_verbs");
  EXPECT_EQ(fs::read_symlink(dev + "/device/net/" + device().netdev()), "/sys/class/net/" + device().netdev());
}

TEST_F(Sysfs, TheNodeOpensItsDevice) {
  for (uint32_t n = 0; n < 2; ++n) {
    struct stat file;
    ASSERT_EQ(::stat((root_ + "/dev/infiniband/uverbs" + std::to_string(n)).c_str(), &file), 0);
    const auto node =
        std::ranges::find_if(header_->nodes, [&](const auto& entry) { return entry.inode.load() == file.st_ino; });
    ASSERT_NE(node, std::end(header_->nodes));
    EXPECT_EQ(node->rdev_major, 231u);
    EXPECT_EQ(node->rdev_minor, 192 + n);
    EXPECT_EQ(node->mode & 0777, 0666u);
    const auto opened = tree_->Open(task_, node->node_id, O_RDWR);
    ASSERT_TRUE(opened);
    EXPECT_EQ((*opened)->kind(), ipc::kFileUverbs);
    EXPECT_EQ((*opened)->Stat().rdev_minor, 192 + n);
    EXPECT_EQ((*opened)->Name(), "/dev/infiniband/uverbs" + std::to_string(n));
  }
}

TEST_F(Sysfs, ClaimsAreTheClassesAndTheDeviceFolder) {
  std::vector<std::string> claims;
  for (uint32_t i = 0; i < header_->claim_count; ++i) claims.emplace_back(header_->claims[i]);
  for (const char* want : {"/sys/class/infiniband", "/sys/class/infiniband_verbs", "/dev/infiniband"}) {
    EXPECT_NE(std::ranges::find(claims, want), claims.end()) << want;
  }
}

}  // namespace
}  // namespace causeway::infiniband
