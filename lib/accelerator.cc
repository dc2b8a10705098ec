// SPDX-License-Identifier: Apache-2.0
#include "causeway/accelerator.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "device.h"

namespace causeway {

using detail::Device;

std::vector<std::string> Accelerator::List() {
  // linux: the accel class has its own folder; the older driver has /dev/hlN beside everything else.
  const bool accel = access("/dev/accel", F_OK) == 0;
  const std::string folder = accel ? "/dev/accel/" : "/dev/";
  const std::string_view prefix = accel ? "accel" : "hl";
  std::vector<std::pair<unsigned, std::string>> found;
  if (DIR* dir = opendir(folder.c_str()); dir != nullptr) {
    while (const dirent* entry = readdir(dir)) {
      const std::string_view name = entry->d_name;
      unsigned number = 0;
      if (!name.starts_with(prefix)) continue;
      const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
      if (error == std::errc() && end == name.data() + name.size()) found.emplace_back(number, folder + entry->d_name);
    }
    closedir(dir);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  for (auto& [number, path] : found) paths.push_back(std::move(path));
  return paths;
}

Accelerator Accelerator::Open(unsigned number) {
  const bool accel = access("/dev/accel", F_OK) == 0;
  return OpenPath((accel ? "/dev/accel/accel" : "/dev/hl") + std::to_string(number));
}

Accelerator Accelerator::OpenPath(const std::string& path) { return Accelerator(Device::Open(path)); }

const AcceleratorInfo& Accelerator::info() const noexcept { return device_->info(); }
int Accelerator::fd() const noexcept { return device_->fd(); }

DeviceMemory Accelerator::Allocate(uint64_t bytes) {
  DeviceMemory memory;
  if (!device_->gaudi2()) {
    memory.address_ = device_->TakeDram(bytes);
    if (memory.address_ == 0) throw Error(ENOMEM, "device memory", device_->info().path, "device memory is used up");
  } else {
    uapi::hl_mem_args args = {};
    args.in.op = uapi::kHlMemOpAlloc;
    args.in.flags = uapi::kHlMemContiguous;
    args.in.alloc.mem_size = bytes;
    device_->Do(uapi::kHlMemory, &args, "HL_MEM_OP_ALLOC", "device memory is used up, or not in one piece");
    memory.handle_ = args.out.handle;
    args = {};
    args.in.op = uapi::kHlMemOpMap;
    args.in.map_device.handle = memory.handle_;
    if (const int error = device_->Try(uapi::kHlMemory, &args); error != 0) {
      args = {};
      args.in.op = uapi::kHlMemOpFree;
      args.in.free.handle = memory.handle_;
      (void)device_->Try(uapi::kHlMemory, &args);
      throw Error(error, "HL_MEM_OP_MAP", device_->info().path);
    }
    memory.address_ = args.out.device_virt_addr;
  }
  memory.device_ = device_;
  memory.bytes_ = bytes;
  return memory;
}

HostMapping Accelerator::Map(std::span<std::byte> host) {
  HostMapping mapping;
  uapi::hl_mem_args args = {};
  args.in.op = uapi::kHlMemOpMap;
  args.in.flags = uapi::kHlMemUserptr;
  args.in.map_host.host_virt_addr = reinterpret_cast<uint64_t>(host.data());
  args.in.map_host.mem_size = host.size();
  device_->Do(uapi::kHlMemory, &args, "HL_MEM_OP_MAP of host memory");
  mapping.address_ = args.out.device_virt_addr;
  mapping.host_ = host;
  mapping.device_ = device_;
  return mapping;
}

DramUsage Accelerator::dram_usage() const {
  uapi::hl_info_dram_usage usage = {};
  if (const int error = device_->Info(uapi::kHlInfoDramUsage, &usage, sizeof(usage)); error != 0) {
    throw Error(error, "HL_INFO_DRAM_USAGE", device_->info().path);
  }
  return {usage.dram_free_mem, usage.ctx_dram_mem};
}

void Accelerator::Copy(uint64_t to, uint64_t from, uint64_t bytes) {
  // A packet of 24 bytes for every 2 GiB.
  CommandBuffer commands = NewCommandBuffer(static_cast<uint32_t>(24 * (bytes / (uint64_t{1} << 31) + 1)));
  commands.Copy(to, from, bytes);
  if (commands.bytes_used() != 0) Wait(Submit(kHostToDevice, commands));
}

int Accelerator::notification_fd() { return device_->notification_fd(); }

uint64_t Accelerator::TakeNotifications() {
  uint64_t mask = 0;
  if (const int error = device_->Info(uapi::kHlInfoGetEvents, &mask, sizeof(mask)); error != 0) {
    throw Error(error, "HL_INFO_GET_EVENTS", device_->info().path);
  }
  return mask;
}

}  // namespace causeway
