// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace causeway {

Error::Error(int error, std::string call, std::string device, std::string hint)
    : std::system_error(error, std::generic_category()),
      call_(std::move(call)),
      device_(std::move(device)),
      hint_(std::move(hint)),
      text_(call_ + " on " + device_ + ": " + code().message() + (hint_.empty() ? "" : "; " + hint_)) {}

namespace detail {
namespace {

const char* OpenHint(int error) {
  switch (error) {
    case ENOENT:
    case ENXIO:
    case ENODEV: return "load the habanalabs driver, or start this program with `causeway run --`";
    case EBUSY: return "one process at a time may have it: another one does, or holds memory of it";
    case EACCES:
    case EPERM: return "the node is not yours to open: see its group with ls -l";
    default: return "";
  }
}

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// /dev/accel/accel3 -> accel3, where the class device is /sys/class/accel/accel3; /dev/hl0 ->
// /sys/class/habanalabs/hl0.
std::string PciAddress(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  const std::string folder =
      std::string(name.starts_with("hl") ? "/sys/class/habanalabs/" : "/sys/class/accel/") + name;
  for (const char* place : {"/pci_addr", "/device/pci_addr"}) {
    if (std::string line = FirstLine(folder + place); !line.empty()) return line;
  }
  return {};
}

}  // namespace

Device::~Device() {
  if (notification_fd_ >= 0) close(notification_fd_);
  close(fd_);
}

std::shared_ptr<Device> Device::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw Error(errno, "open", path, OpenHint(errno));
  auto device = std::make_shared<Device>(fd, path);
  device->ReadInfo();
  return device;
}

int Device::Try(uapi::HlIoctlRow row, void* argument) const {
  const uint32_t request = drm_numbers_ ? uapi::HlIoctlDrm(row) : uapi::HlIoctlH(row);
  int result;
  do {
    result = ioctl(fd_, request, argument);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

void Device::Do(uapi::HlIoctlRow row, void* argument, const char* call, const char* hint) const {
  if (const int error = Try(row, argument); error != 0) throw Error(error, call, info_.path, hint);
}

int Device::Info(uint32_t op, void* out, uint32_t bytes, uint32_t parameter) const {
  uapi::hl_info_args args = {};
  args.return_pointer = reinterpret_cast<uint64_t>(out);
  args.return_size = bytes;
  args.op = op;
  args.ctx_id = parameter;  // one word with several names
  return Try(uapi::kHlInfo, &args);
}

void Device::ReadInfo() {
  uapi::hl_info_hw_ip_info ip = {};
  int error = Info(uapi::kHlInfoHwIpInfo, &ip, sizeof(ip));
  if (error == ENOTTY) {
    drm_numbers_ = true;
    error = Info(uapi::kHlInfoHwIpInfo, &ip, sizeof(ip));
  }
  if (error != 0) throw Error(error, "HL_INFO_HW_IP_INFO", info_.path);
  // PCI device ids: Gaudi 0x1000, 0x1010; Gaudi2 0x1020 and later.
  info_.generation = ip.device_id < 0x1020 ? Generation::kGaudi : Generation::kGaudi2;
  info_.pci_address = PciAddress(info_.path);
  info_.card_name.assign(reinterpret_cast<const char*>(ip.card_name),
                         strnlen(reinterpret_cast<const char*>(ip.card_name), sizeof(ip.card_name)));
  info_.dram_base = ip.dram_base_address;
  info_.dram_bytes = ip.dram_size;
  info_.dram_page_bytes = ip.device_mem_alloc_default_page_size;
  info_.sram_base = ip.sram_base_address;
  info_.sram_bytes = ip.sram_size;

  uapi::hl_info_sync_manager first = {};
  if (Info(uapi::kHlInfoSyncManager, &first, sizeof(first)) == 0) {
    next_sob_ = first.first_available_sync_object;
    next_monitor_ = first.first_available_monitor;
    sobs_ = gaudi2() ? 8192 : 2048;
    monitors_ = gaudi2() ? 2048 : 512;
  }
}

uint64_t Device::TakeDram(uint64_t bytes) {
  constexpr uint64_t kAlign = 4096;
  if (bytes == 0 || bytes > info_.dram_bytes) return 0;
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  const std::lock_guard lock(mutex_);
  uint64_t at = info_.dram_base;
  for (const auto& [address, taken] : dram_) {
    if (address - at >= bytes) break;
    at = address + taken;
  }
  if (info_.dram_base + info_.dram_bytes - at < bytes) return 0;
  dram_[at] = bytes;
  return at;
}

void Device::GiveDram(uint64_t address) {
  const std::lock_guard lock(mutex_);
  dram_.erase(address);
}

bool Device::TakeSemaphore(uint32_t* sob, uint32_t* monitor) {
  const auto take = [](std::set<uint32_t>& free, uint32_t& next, uint32_t count, uint32_t* out) {
    if (!free.empty()) {
      *out = *free.begin();
      free.erase(free.begin());
      return true;
    }
    if (next >= count) return false;
    *out = next++;
    return true;
  };
  const std::lock_guard lock(mutex_);
  if (!take(free_sobs_, next_sob_, sobs_, sob)) return false;
  if (take(free_monitors_, next_monitor_, monitors_, monitor)) return true;
  free_sobs_.insert(*sob);
  return false;
}

void Device::GiveSemaphore(uint32_t sob, uint32_t monitor) {
  const std::lock_guard lock(mutex_);
  free_sobs_.insert(sob);
  free_monitors_.insert(monitor);
}

int Device::notification_fd() {
  const std::lock_guard lock(mutex_);
  if (notification_fd_ >= 0) return notification_fd_;
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw Error(errno, "eventfd", info_.path);
  const int error = Info(uapi::kHlInfoRegisterEventfd, nullptr, 0, static_cast<uint32_t>(fd));
  if (error != 0) {
    close(fd);
    throw Error(error, "HL_INFO_REGISTER_EVENTFD", info_.path);
  }
  return notification_fd_ = fd;
}

}  // namespace detail
}  // namespace causeway
