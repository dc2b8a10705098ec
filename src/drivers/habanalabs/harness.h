// SPDX-License-Identifier: Apache-2.0
// For unit tests of this driver: one device in a small computer, its nodes in a real tree below a temporary folder, and
// a made-up program.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "base/checked.h"
#include "base/log.h"
#include "devices/gaudi/fake_machine.h"
#include "drivers/habanalabs/driver.h"
#include "drivers/habanalabs/file.h"
#include "drivers/habanalabs/sysfs.h"
#include "kernel/fake_task.h"

namespace causeway::habanalabs {

constexpr uint64_t kUserArgs = 0x10000;         // ioctl arguments
constexpr uint64_t kUserOut = 0x20000;          // INFO results
constexpr uint64_t kUserHost = 0x7f0000000000;  // host memory to map: 2 MiB aligned
constexpr uint64_t kUserHostSize = 0x400000;
constexpr uint64_t kUserReadOnly = 0x7f1000000000;
constexpr uint64_t kUserNothing = 0x500000000000;

struct HarnessSpec {
  gaudi::Asic asic = gaudi::Asic::kGaudi2;
  Flavour flavour = Flavour::kAccel;
  uint32_t hbm_stacks = 6;
  pci::IommuMode iommu = pci::IommuMode::kOff;
  uint64_t gaudi2_bar4 = 128 * kGiB;
  uint64_t gaudi_bar4 = 32 * kGiB;
};

class Harness {
 public:
  explicit Harness(const HarnessSpec& spec = {})
      : machine(spec.iommu, spec.gaudi2_bar4, spec.gaudi_bar4), header_(std::make_unique<ipc::ArenaHeader>()) {
    [[maybe_unused]] static const bool quiet = (log::Configure("", log::Level::kWarn), true);
    std::string name = (::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + std::string("/causeway-hl-XXXXXX");
    CW_INVARIANT(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    tree_.emplace(root_, *header_);
    driver_.emplace(*tree_, machine.bus(), machine.memories(), refusals, &work);
    const Status added = driver_->AddDevice(
        {.flavour = spec.flavour, .hbm_stacks = spec.hbm_stacks, .module_id = 3, .serial = "SN0"}, function(spec.asic));
    CW_INVARIANT(added.has_value());
    names = NamesOf(spec.flavour, 0);
    task.user.Map(kUserArgs, kPageSize);
    task.user.Map(kUserOut, 4 * kPageSize);
    task.user.Map(kUserHost, kUserHostSize);
    task.user.Map(kUserReadOnly, 4 * kPageSize, /*writable=*/false);
  }
  ~Harness() {
    task.files.clear();
    driver_.reset();
    tree_.reset();
    std::filesystem::remove_all(root_);
  }

  const pci::Function& function(gaudi::Asic asic) {
    return asic == gaudi::Asic::kGaudi ? machine.gaudi() : machine.gaudi2();
  }
  HlDevice& device() { return driver_->device(0); }
  Driver& driver() { return *driver_; }
  kernel::Tree& tree() { return *tree_; }
  const ipc::ArenaHeader& header() const { return *header_; }

  // open(2) of a node, through the tree.
  Result<Ref<kernel::File>> OpenPath(const std::string& path, uint32_t flags = O_RDWR) {
    const ipc::NodeEntry* node = Find(path);
    if (node == nullptr) return Err(ENOENT);
    return tree_->Open(task, node->node_id, flags);
  }
  Result<Ref<kernel::File>> Open() { return OpenPath(names.node()); }
  Result<Ref<kernel::File>> OpenControl() { return OpenPath(names.control_node()); }
  int OpenErrno() {
    const auto file = Open();
    return file ? 0 : file.error().code();
  }
  const ipc::NodeEntry* Find(const std::string& path) const {
    struct stat status;
    if (::stat((root_ + path).c_str(), &status) != 0) return nullptr;
    for (uint32_t i = 0; i < header_->node_count; ++i) {
      if (header_->nodes[i].inode == status.st_ino) return &header_->nodes[i];
    }
    return nullptr;
  }
  std::string Content(const std::string& path) const {
    std::ifstream stream(root_ + path);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  bool Exists(const std::string& path) const { return std::filesystem::exists(root_ + path); }

  // ioctl(2) with a struct; copied back whatever the result is.
  template <typename T>
  int Ioctl(kernel::File& file, uint32_t request, T& args) {
    CW_INVARIANT(task.user.Write(kUserArgs, args).has_value());
    const auto result = file.Ioctl(task, request, kUserArgs);
    args = *task.user.Read<T>(kUserArgs);
    return result ? 0 : result.error().code();
  }
  int Memory(kernel::File& file, uapi::hl_mem_args& args) { return Ioctl(file, uapi::HlIoctlH(uapi::kHlMemory), args); }
  int Memory(const Ref<kernel::File>& file, const uapi::hl_mem_in& in, uapi::hl_mem_out* out = nullptr) {
    uapi::hl_mem_args args{.in = in};
    const int rc = Memory(*file, args);
    if (out != nullptr) *out = args.out;
    return rc;
  }
  template <typename T>
  int Info(const Ref<kernel::File>& file, uint32_t op, T* out, uint32_t size = sizeof(T), uint32_t argument = 0) {
    uapi::hl_info_args args{.return_pointer = kUserOut, .return_size = size, .op = op};
    args.dcore_id = argument;
    const int rc = Ioctl(*file, uapi::HlIoctlH(uapi::kHlInfo), args);
    std::vector<std::byte> bytes(sizeof(T));
    CW_INVARIANT(task.user.CopyFrom(bytes, kUserOut).has_value());
    std::memcpy(out, bytes.data(), sizeof(T));
    return rc;
  }

  // The usual steps, which must succeed.
  uint64_t Alloc(const Ref<kernel::File>& file, uint64_t size, uint32_t flags = 0) {
    uapi::hl_mem_out out{};
    EXPECT_EQ(
        Memory(file, {.alloc = {.mem_size = size, .page_size = 0}, .op = uapi::kHlMemOpAlloc, .flags = flags}, &out),
        0);
    return out.handle;
  }
  uint64_t Map(const Ref<kernel::File>& file, uint64_t handle, uint64_t hint = 0, uint32_t flags = 0) {
    uapi::hl_mem_out out{};
    EXPECT_EQ(
        Memory(file, {.map_device = {.hint_addr = hint, .handle = handle}, .op = uapi::kHlMemOpMap, .flags = flags},
               &out),
        0);
    return out.device_virt_addr;
  }
  int Unmap(const Ref<kernel::File>& file, uint64_t va) {
    return Memory(file, {.unmap = {.device_virt_addr = va}, .op = uapi::kHlMemOpUnmap});
  }
  int Free(const Ref<kernel::File>& file, uint64_t handle) {
    return Memory(file, {.free = {.handle = handle}, .op = uapi::kHlMemOpFree});
  }
  int Export(const Ref<kernel::File>& file, uint64_t addr, uint64_t size, uint64_t offset, int* fd) {
    uapi::hl_mem_out out{};
    const int rc = Memory(file,
                          {.export_dmabuf_fd = {.addr = addr, .mem_size = size, .offset = offset},
                           .op = uapi::kHlMemOpExportDmabufFd,
                           .flags = O_RDWR | O_CLOEXEC},
                          &out);
    *fd = out.fd;
    return rc;
  }
  int MapHost(const Ref<kernel::File>& file, uint64_t address, uint64_t size, uint64_t* va, uint64_t hint = 0,
              uint32_t flags = 0) {
    uapi::hl_mem_out out{};
    const int rc = Memory(file,
                          {.map_host = {.host_virt_addr = address, .hint_addr = hint, .mem_size = size},
                           .op = uapi::kHlMemOpMap,
                           .flags = flags | uapi::kHlMemUserptr},
                          &out);
    *va = out.device_virt_addr;
    return rc;
  }

  gaudi::FakeMachine machine;
  kernel::RefusalLog refusals;
  ManualWorkQueue work;  // hard resets run in work.Advance()
  kernel::FakeTask task;
  NodeNames names;

 private:
  std::unique_ptr<ipc::ArenaHeader> header_;
  std::string root_;
  std::optional<kernel::Tree> tree_;
  std::optional<Driver> driver_;
};

constexpr Flavour kEveryFlavour[] = {Flavour::kAccel, Flavour::kMisc, Flavour::kDrm};
constexpr gaudi::Asic kEveryAsic[] = {gaudi::Asic::kGaudi, gaudi::Asic::kGaudi2};
constexpr uint64_t kDramPage = 768 * kMiB;

}  // namespace causeway::habanalabs
