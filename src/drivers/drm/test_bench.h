// SPDX-License-Identifier: Apache-2.0
// For unit tests: a GPU of 64 pages, a NIC below the same switch, and one ("far") that no peer-to-peer path reaches.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "base/checked.h"
#include "base/log.h"
#include "drivers/drm/file.h"
#include "kernel/fake_task.h"

namespace causeway::drm {

constexpr uint64_t kVram = 64 * kPageSize;
constexpr uint64_t kUserArgs = 0x10000;
constexpr uint64_t kUserText = 0x20000;

class TestBench {
 public:
  explicit TestBench(pci::IommuMode iommu = pci::IommuMode::kOff) : map_(std::make_unique<pci::BusMap>()) {
    pci::TopologySpec spec;
    spec.iommu = iommu;
    spec.host_bridges = {{.name = "pc0"}, {.name = "pc1", .vendor = 0x1234, .device = 0x5678}};
    spec.root_ports = {{.name = "rp0", .on = "pc0", .acs = {}, .link = {}},
                       {.name = "rp1", .on = "pc1", .acs = {}, .link = {}}};
    spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1"}, .acs = {}, .link = {}}};
    for (const auto& [name, at] : {std::pair("gpu0", "sw0.0"), std::pair("nic0", "sw0.1"), std::pair("far", "rp1")}) {
      pci::FunctionSpec function;
      function.name = name;
      function.at = at;
      function.identity = {.vendor = 0x1234, .device = 0xca06, .class_code = 0x038000};
      if (function.name == "gpu0") function.bars[kVramBar] = {.size = 1 << 20, .prefetchable = true};
      spec.functions.push_back(function);
    }
    auto built = pci::Topology::Build(spec);
    CW_INVARIANT(built);
    topology_ = std::move(*built);
    bus_ = std::make_unique<pci::Bus>(*topology_, *map_);
    auto made = DrmDevice::Create(kVram, function("gpu0"), *bus_, memories_, refusals);
    CW_INVARIANT(made);
    device_ = std::move(*made);
    task.user.Map(kUserArgs, kPageSize);
    task.user.Map(kUserText, kPageSize);
  }
  ~TestBench() { task.files.clear(); }

  const pci::Function& function(const char* name) { return *topology_->FindFunction(name); }
  DrmDevice& device() { return *device_; }
  Ref<DrmFile> Open() { return MakeRef<DrmFile>(*device_, 128u); }
  std::byte* At(const kernel::Mapping& mapping) {
    uint64_t len = 1;
    return memories_.At(mapping.memory, mapping.offset, &len);
  }

  template <typename T>
  int Ioctl(DrmFile& file, uint32_t request, T& args) {
    CW_INVARIANT(task.user.Write(kUserArgs, args).has_value());
    const auto result = file.Ioctl(task, request, kUserArgs);
    args = *task.user.Read<T>(kUserArgs);
    return result ? 0 : result.error().code();
  }
  int Create(DrmFile& file, uint64_t size, uint32_t* handle, uint64_t domains = uapi::kAmdgpuGemDomainVram,
             uint64_t flags = 0) {
    uapi::drm_amdgpu_gem_create args = {};
    args.in = {.bo_size = size, .alignment = 0, .domains = domains, .domain_flags = flags};
    const int rc = Ioctl(file, uapi::kDrmIoctlAmdgpuGemCreate, args);
    *handle = args.out.handle;
    return rc;
  }
  int Close(DrmFile& file, uint32_t handle) {
    uapi::drm_gem_close args = {handle, 0};
    return Ioctl(file, uapi::kDrmIoctlGemClose, args);
  }
  int ToFd(DrmFile& file, uint32_t handle, int* fd, uint32_t flags = uapi::kDrmRdwr) {
    uapi::drm_prime_handle args = {handle, flags, -1};
    const int rc = Ioctl(file, uapi::kDrmIoctlPrimeHandleToFd, args);
    *fd = args.fd;
    return rc;
  }
  int ToHandle(DrmFile& file, int fd, uint32_t* handle) {
    uapi::drm_prime_handle args = {0, 0, fd};
    const int rc = Ioctl(file, uapi::kDrmIoctlPrimeFdToHandle, args);
    *handle = args.handle;
    return rc;
  }
  int MmapOffset(DrmFile& file, uint32_t handle, uint64_t* offset) {
    uapi::drm_amdgpu_gem_mmap args = {};
    args.in.handle = handle;
    const int rc = Ioctl(file, uapi::kDrmIoctlAmdgpuGemMmap, args);
    *offset = args.out.addr_ptr;
    return rc;
  }

  kernel::RefusalLog refusals;
  kernel::FakeTask task;

 private:
  std::unique_ptr<pci::BusMap> map_;
  std::unique_ptr<pci::Topology> topology_;
  std::unique_ptr<pci::Bus> bus_;
  ipc::MemoryTable memories_;
  std::unique_ptr<DrmDevice> device_;
};

}  // namespace causeway::drm
