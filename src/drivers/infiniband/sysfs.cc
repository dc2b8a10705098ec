// SPDX-License-Identifier: Apache-2.0
// What /sys and /dev show of an RDMA device: linux v6.1 drivers/infiniband/core/sysfs.c, uverbs_main.c, sw/rxe.
//
//   /sys/devices/.../<function>/infiniband/rxe0/            the device; class/infiniband/rxe0 links here
//   /sys/devices/.../<function>/infiniband_verbs/uverbs0/   its node; class/infiniband_verbs/uverbs0 links here
//   /sys/devices/.../<function>/net/<interface>             link to the host's own interface
//
// Deviation: real rxe devices have no parent; ours are PCI functions, as a RoCE NIC's are. gid_tbl_len is 1024 and the
// ioctls answer for every index, but only the first entries have files here.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "drivers/infiniband/driver.h"
#include "drivers/infiniband/hw_counters.h"
#include "drivers/infiniband/uverbs_file.h"

namespace causeway::infiniband {
namespace {

constexpr uint32_t kGidFiles = 4;  // at least; every filled entry has its files, and one empty one after them

// From a folder of /sys to /sys: "../" for each name below it.
std::string UpToSys(const std::string& folder) {
  std::string up;
  for (auto names = std::ranges::count(folder, '/') - 1; names > 0; --names) up += "../";
  return up;
}

std::string BelowSys(const std::string& path) { return path.substr(std::string_view("/sys/").size()); }

std::string LastName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The folder, its links to class and parent, and the class's link to it.
Status AddClassDevice(kernel::Tree& tree, const std::string& function_path, const std::string& class_name,
                      const std::string& name, const std::string& uevent) {
  const std::string folder = function_path + "/" + class_name + "/" + name;
  CW_CHECK(tree.AddFolder(folder));
  CW_CHECK(tree.AddFile(folder + "/uevent", uevent, 0644));
  CW_CHECK(tree.AddLink(folder + "/device", "../../../" + LastName(function_path)));
  CW_CHECK(tree.AddLink(folder + "/subsystem", UpToSys(folder) + "class/" + class_name));
  return tree.AddLink("/sys/class/" + class_name + "/" + name, "../../" + BelowSys(folder));
}

Status AddPort(kernel::Tree& tree, IbDevice& device, const std::string& port) {
  const struct {
    const char* name;
    std::string content;
  } files[] = {
      {"rate", std::string(device.rate().text) + "\n"},
      {"lid", "0x0\n"},
      {"sm_lid", "0x0\n"},
      {"lid_mask_count", "0\n"},
      {"sm_sl", "0\n"},
      {"cap_mask", "0x00010000\n"},
      {"link_layer", "Ethernet\n"},
      {"pkeys/0", "0xffff\n"},
      {"hw_counters/lifespan", "10\n"},
  };
  for (const auto& file : files) CW_CHECK(tree.AddFile(port + "/" + file.name, file.content));
  // The link as the net device has it now.
  CW_CHECK(tree.AddAttribute(port + "/state", 0444, [&device]() -> Result<std::string> {
    return device.link() == LinkState::kUp ? "4: ACTIVE\n" : "1: DOWN\n";
  }));
  CW_CHECK(tree.AddAttribute(port + "/phys_state", 0444, [&device]() -> Result<std::string> {
    switch (device.link()) {
      case LinkState::kUp: return "5: LinkUp\n";
      case LinkState::kNoCarrier: return "2: Polling\n";
      case LinkState::kDown: break;
    }
    return "3: Disabled\n";
  }));
  for (const auto& row : kHwCounters) {
    const Counter counter = row.counter;
    CW_CHECK(tree.AddAttribute(port + "/hw_counters/" + row.name, 0444, [&device, counter]() -> Result<std::string> {
      const roce::NicCounters& counters = device.core().nics().counters(device.nic());
      return fmt::format("{}\n", (counters.*counter).load(std::memory_order_relaxed));
    }));
  }
  return {};
}

}  // namespace

// Reading the type or the net device of an empty entry is EINVAL, which no plain file can say.
Status ShowGid(kernel::Tree& tree, const IbDevice& device, const std::string& function_path, uint32_t index) {
  const std::string port = function_path + "/infiniband/" + device.name() + "/ports/1";
  const std::string number = std::to_string(index);
  const auto gid = device.gids().Get(index);
  CW_CHECK(tree.AddFile(port + "/gids/" + number, GidText(gid ? *gid : Gid{}) + "\n"));
  const std::pair<std::string, std::string> attributes[] = {
      {port + "/gid_attrs/types/" + number, "RoCE v2\n"},
      {port + "/gid_attrs/ndevs/" + number, device.netdev() + "\n"},
  };
  for (const auto& [path, content] : attributes) {
    (void)tree.Remove(path);  // ENOENT: it is new
    if (gid) {
      CW_CHECK(tree.AddFile(path, content));
    } else {
      CW_CHECK(tree.AddAttribute(path, 0444, []() -> Result<std::string> { return Err(EINVAL); }));
    }
  }
  return {};
}

Status AddClasses(kernel::Tree& tree) {
  CW_CHECK(tree.AddFolder("/sys/class/infiniband"));
  CW_CHECK(tree.AddFile("/sys/class/infiniband_verbs/abi_version", fmt::format("{}\n", uapi::kIbUserVerbsAbiVersion)));
  CW_CHECK(tree.AddFolder("/dev/infiniband"));
  for (const char* claim : {"/sys/class/infiniband", "/sys/class/infiniband_verbs", "/dev/infiniband"}) {
    CW_CHECK(tree.Claim(claim));
  }
  return tree.Claim(fmt::format("/sys/dev/char/{}:*", kUverbsMajor));
}

Status AddToTree(kernel::Tree& tree, IbDevice& device, const std::string& function_path) {
  const std::string& name = device.name();
  const std::string node = "uverbs" + std::to_string(device.number());
  const uint32_t minor = kUverbsMinor + device.number();
  const std::string guid = GuidText(Eui64(device.mac())) + "\n";

  CW_CHECK(AddClassDevice(tree, function_path, "infiniband", name, "NAME=" + name + "\n"));
  const std::string folder = function_path + "/infiniband/" + name;
  const std::pair<const char*, std::string> files[] = {
      {"node_type", "1: CA\n"}, {"node_guid", guid}, {"sys_image_guid", guid},
      {"node_desc", "rxe\n"},   {"fw_ver", "\n"},    {"parent", device.netdev() + "\n"},
  };
  for (const auto& [file, content] : files) CW_CHECK(tree.AddFile(folder + "/" + file, content));
  CW_CHECK(tree.AddFolder(folder + "/power"));
  CW_CHECK(AddPort(tree, device, folder + "/ports/1"));
  const uint32_t shown = device.gids().filled().back().index + 2;
  for (uint32_t index = 0; index < std::max(shown, kGidFiles); ++index) {
    CW_CHECK(ShowGid(tree, device, function_path, index));
  }
  // The host's own interface: an absolute target leaves the tree.
  CW_CHECK(tree.AddLink(function_path + "/net/" + device.netdev(), "/sys/class/net/" + device.netdev()));

  CW_CHECK(AddClassDevice(
      tree, function_path, "infiniband_verbs", node,
      fmt::format("MAJOR={}\nMINOR={}\nDEVNAME=infiniband/{}\nDEVMODE=0666\n", kUverbsMajor, minor, node)));
  const std::string verbs = function_path + "/infiniband_verbs/" + node;
  CW_CHECK(tree.AddFolder(verbs + "/power"));
  CW_CHECK(tree.AddLink(fmt::format("/sys/dev/char/{}:{}", kUverbsMajor, minor), "../../" + BelowSys(verbs)));
  CW_CHECK(tree.AddFile(verbs + "/ibdev", name + "\n"));
  CW_CHECK(tree.AddFile(verbs + "/dev", fmt::format("{}:{}\n", kUverbsMajor, minor)));
  CW_CHECK(tree.AddFile(verbs + "/abi_version", fmt::format("{}\n", uapi::kRxeUverbsAbiVersion)));
  return tree.AddDevice("/dev/infiniband/" + node, 0666, kUverbsMajor, minor,
                        [&device](kernel::Task& task, uint32_t) -> Result<Ref<kernel::File>> {
                          return Ref<kernel::File>(MakeRef<UverbsFile>(device, task.pid()));
                        });
}

}  // namespace causeway::infiniband
