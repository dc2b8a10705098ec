// SPDX-License-Identifier: Apache-2.0
// Memory that an accelerator's engines and its peers can reach. Every object owns what it names and gives it back when
// it is destroyed; all of one accelerator's objects keep its node open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace causeway {

namespace detail {
class Device;
}

/// A dma-buf descriptor (linux Documentation/driver-api/dma-buf.rst). The memory behind it lives as long as any
/// descriptor or importer does.
class DmaBuf {
 public:
  DmaBuf() = default;
  /// Takes a descriptor over: one that came from another process (SCM_RIGHTS), say.
  explicit DmaBuf(int fd) : fd_(fd) {}
  DmaBuf(DmaBuf&& other) noexcept;
  DmaBuf& operator=(DmaBuf&& other) noexcept;
  ~DmaBuf();

  int fd() const noexcept { return fd_; }  ///< close-on-exec; -1: none
  uint64_t bytes() const;                  ///< lseek(SEEK_END). @throws Error

 private:
  int fd_ = -1;
};

/// Device memory (HBM), mapped in the accelerator's address space.
/// Source: HL_MEM_OP_ALLOC, HL_MEM_OP_MAP (Gaudi2); Gaudi has no allocator, so the library divides its DRAM up.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  uint64_t address() const noexcept { return address_; }  ///< device VA of the first byte
  uint64_t bytes() const noexcept { return bytes_; }      ///< as asked for

  /// Shares [offset, offset + bytes) with other devices and processes.
  /// @param offset, bytes  multiples of 4096
  /// @throws Error  EINVAL bad range; EOPNOTSUPP the kernel's driver cannot export this device's memory; ENOMEM
  DmaBuf Export(uint64_t offset, uint64_t bytes) const;
  DmaBuf Export() const;  ///< all of it, rounded up to 4096 bytes

 private:
  friend class Accelerator;
  void Free() noexcept;
  std::shared_ptr<detail::Device> device_;
  uint64_t handle_ = 0;
  uint64_t address_ = 0;
  uint64_t bytes_ = 0;
};

/// Host memory that the accelerator's engines can reach. Source: HL_MEM_OP_MAP with HL_MEM_USERPTR.
class HostMapping {
 public:
  HostMapping() = default;
  HostMapping(HostMapping&& other) noexcept;
  HostMapping& operator=(HostMapping&& other) noexcept;
  ~HostMapping();

  uint64_t address() const noexcept { return address_; }        ///< device VA of the first byte
  std::span<std::byte> host() const noexcept { return host_; }  ///< the same bytes for the CPU

 private:
  friend class Accelerator;
  void Unmap() noexcept;
  std::shared_ptr<detail::Device> device_;
  uint64_t address_ = 0;
  std::span<std::byte> host_;
};

}  // namespace causeway
