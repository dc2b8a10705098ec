// SPDX-License-Identifier: Apache-2.0
#include "drivers/drm/driver.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "drivers/drm/file.h"
#include "pci/sysfs.h"

namespace causeway::drm {
namespace {

// "../../.." from a folder below /sys up to it.
std::string UpToSys(const std::string& folder) {
  std::string up;
  for (size_t at = folder.find('/', 1); at != std::string::npos; at = folder.find('/', at + 1))
    up += up.empty() ? ".." : "/..";
  return up;
}

bool HostHas(uint32_t minor) {
  return ::access(fmt::format("/dev/dri/renderD{}", minor).c_str(), F_OK) == 0 ||
         ::access(fmt::format("/sys/class/drm/renderD{}", minor).c_str(), F_OK) == 0;
}

}  // namespace

Status Driver::AddDevice(uint64_t vram_bytes, const pci::Function& function) {
  while (HostHas(next_minor_)) ++next_minor_;
  CW_TRY(auto device, DrmDevice::Create(vram_bytes, function, bus_, memories_, refusals_));
  devices_.push_back({next_minor_++, std::move(device)});  // from here on tree nodes refer to it
  CW_CHECK(AddToTree(devices_.back()));
  log::Info("renderD{}: {} at {}, {} MiB of device memory", devices_.back().minor, function.name(),
            function.bdf().ToString(), vram_bytes >> 20);
  return {};
}

// drm_minor_register(): the class device, and the links that udev makes.
Status Driver::AddToTree(const Entry& entry) {
  DrmDevice& device = *entry.device;
  const uint32_t minor = entry.minor;
  const std::string bdf = device.function().bdf().ToString();
  const std::string function_folder = pci::SysfsPath(bus_.topology(), device.function());
  const std::string name = fmt::format("renderD{}", minor);
  const std::string folder = function_folder + "/drm/" + name;
  const std::string numbers = fmt::format("{}:{}", kDrmMajor, minor);
  const std::string below_sys = folder.substr(std::string_view("/sys/").size());
  CW_CHECK(tree_.AddFolder(folder));
  CW_CHECK(tree_.AddFile(folder + "/dev", numbers + "\n"));
  CW_CHECK(tree_.AddFile(folder + "/uevent", fmt::format("MAJOR={}\nMINOR={}\nDEVNAME=dri/{}\nDEVTYPE=drm_minor\n",
                                                         kDrmMajor, minor, name)));
  CW_CHECK(tree_.AddLink(folder + "/device", "../../../" + bdf));
  CW_CHECK(tree_.AddLink(folder + "/subsystem", UpToSys(folder) + "/class/drm"));
  CW_CHECK(tree_.AddLink("/sys/class/drm/" + name, "../../" + below_sys));
  CW_CHECK(tree_.AddLink("/sys/dev/char/" + numbers, "../../" + below_sys));
  CW_CHECK(tree_.AddFile(function_folder + "/mem_info_vram_total", fmt::format("{}\n", device.vram_bytes())));
  CW_CHECK(tree_.AddAttribute(function_folder + "/mem_info_vram_used", 0444,
                              [&device]() -> Result<std::string> { return fmt::format("{}\n", device.used_bytes()); }));
  // amdgpu_debugfs_evict_vram(): a read moves what can be moved.
  CW_CHECK(tree_.AddAttribute(fmt::format("/sys/kernel/debug/dri/{}/amdgpu_evict_vram", minor), 0444,
                              [&device]() -> Result<std::string> {
                                (void)device.Evict();  // how many moved is not told
                                return std::string("0\n");
                              }));
  CW_CHECK(tree_.AddLink(fmt::format("/dev/dri/by-path/pci-{}-render", bdf), "../" + name));
  return tree_.AddDevice("/dev/dri/" + name, 0666, kDrmMajor, minor,
                         [&device, minor](kernel::Task&, uint32_t) -> Result<Ref<kernel::File>> {
                           return Ref<kernel::File>(MakeRef<DrmFile>(device, minor));
                         });
}

std::vector<Driver::DeviceReport> Driver::Report() const {
  std::vector<DeviceReport> reports;
  for (const Entry& entry : devices_) {
    const DrmDevice& device = *entry.device;
    reports.push_back({.name = device.function().name(),
                       .node = fmt::format("/dev/dri/renderD{}", entry.minor),
                       .bdf = device.function().bdf().ToString(),
                       .vram_bytes = device.vram_bytes(),
                       .used_bytes = device.used_bytes()});
  }
  return reports;
}

}  // namespace causeway::drm
