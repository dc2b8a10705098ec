// SPDX-License-Identifier: Apache-2.0
#include "causeway/memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "device.h"

namespace causeway {

DmaBuf::DmaBuf(DmaBuf&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
DmaBuf& DmaBuf::operator=(DmaBuf&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
DmaBuf::~DmaBuf() {
  if (fd_ >= 0) close(fd_);
}

uint64_t DmaBuf::bytes() const {
  const off_t end = lseek(fd_, 0, SEEK_END);
  if (end < 0) throw Error(errno, "lseek", "dma-buf", "the descriptor is not of a dma-buf");
  lseek(fd_, 0, SEEK_SET);
  return static_cast<uint64_t>(end);
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : device_(std::move(other.device_)), handle_(other.handle_), address_(other.address_), bytes_(other.bytes_) {}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  std::swap(address_, other.address_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
DeviceMemory::~DeviceMemory() { Free(); }

void DeviceMemory::Free() noexcept {
  if (!device_) return;
  if (!device_->gaudi2()) {
    device_->GiveDram(address_);
  } else {
    // Both are refused while an exported dma-buf lives; closing the device gives everything back in any case.
    uapi::hl_mem_args args = {};
    args.in.op = uapi::kHlMemOpUnmap;
    args.in.unmap.device_virt_addr = address_;
    if (device_->Try(uapi::kHlMemory, &args) == 0) {
      args = {};
      args.in.op = uapi::kHlMemOpFree;
      args.in.free.handle = handle_;
      (void)device_->Try(uapi::kHlMemory, &args);
    }
  }
  device_.reset();
}

DmaBuf DeviceMemory::Export(uint64_t offset, uint64_t bytes) const {
  // Gaudi takes the address of the bytes themselves, and no offset.
  const bool flat = !device_->gaudi2();
  uapi::hl_mem_args args = {};
  args.in.op = uapi::kHlMemOpExportDmabufFd;
  args.in.flags = O_RDWR | O_CLOEXEC;
  args.in.export_dmabuf_fd.addr = flat ? address_ + offset : address_;
  args.in.export_dmabuf_fd.mem_size = bytes;
  args.in.export_dmabuf_fd.offset = flat ? 0 : offset;
  if (const int error = device_->Try(uapi::kHlMemory, &args); error != 0) {
    throw Error(
        error, "HL_MEM_OP_EXPORT_DMABUF_FD", device_->info().path,
        error == EOPNOTSUPP ? "this kernel's driver cannot export this device's memory (Gaudi2: since Linux 6.3)" : "");
  }
  return DmaBuf(args.out.fd);
}

DmaBuf DeviceMemory::Export() const { return Export(0, (bytes_ + 4095) / 4096 * 4096); }

HostMapping::HostMapping(HostMapping&& other) noexcept
    : device_(std::move(other.device_)), address_(other.address_), host_(other.host_) {}
HostMapping& HostMapping::operator=(HostMapping&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(address_, other.address_);
  std::swap(host_, other.host_);
  return *this;
}
HostMapping::~HostMapping() { Unmap(); }

void HostMapping::Unmap() noexcept {
  if (!device_) return;
  uapi::hl_mem_args args = {};
  args.in.op = uapi::kHlMemOpUnmap;
  args.in.unmap.device_virt_addr = address_;
  (void)device_->Try(uapi::kHlMemory, &args);
  device_.reset();
}

}  // namespace causeway
