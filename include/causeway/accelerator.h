// SPDX-License-Identifier: Apache-2.0
// A Gaudi or Gaudi2 accelerator by the habanalabs user API of Linux: the same program runs on real hardware and under
// `causeway run --`. The library finds the flavour of the driver itself: /dev/accel/accelN or /dev/hlN, 'H' or DRM
// ioctl numbers.
//
//   causeway::Accelerator accelerator = causeway::Accelerator::Open(0);
//   causeway::DeviceMemory memory = accelerator.Allocate(1 << 20);
//   causeway::DmaBuf shared = memory.Export();
//
// One process at a time may have an accelerator open. Objects may be used from several threads; one object from one
// thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "causeway/commands.h"
#include "causeway/error.h"
#include "causeway/memory.h"

namespace causeway {

enum class Generation { kGaudi, kGaudi2 };

/// Source: HL_INFO_HW_IP_INFO and the node's sysfs folder.
struct AcceleratorInfo {
  Generation generation = Generation::kGaudi2;
  std::string path;         ///< node
  std::string pci_address;  ///< "0000:03:00.0"
  std::string card_name;
  uint64_t dram_base = 0;        ///< first address of device memory, as engines use it
  uint64_t dram_bytes = 0;       ///< for programs
  uint64_t dram_page_bytes = 0;  ///< Gaudi2: what Allocate() rounds up to
  uint64_t sram_base = 0;
  uint32_t sram_bytes = 0;
};

/// Source: HL_INFO_DRAM_USAGE.
struct DramUsage {
  uint64_t free_bytes;
  uint64_t used_bytes;  ///< by this program
};

class Accelerator {
 public:
  /// Nodes of all accelerators of this machine, by number. Opening them is not tried.
  static std::vector<std::string> List();
  /// @throws Error  ENOENT no such accelerator; EBUSY another process has it, or holds memory of it; EACCES
  static Accelerator Open(unsigned number = 0);
  static Accelerator OpenPath(const std::string& path);

  const AcceleratorInfo& info() const noexcept;
  int fd() const noexcept;  ///< of the node, for what this library does not wrap

  // ---- memory
  /// @throws Error  ENOMEM device memory is used up
  DeviceMemory Allocate(uint64_t bytes);
  /// @throws Error  EFAULT not the caller's memory; ENOMEM
  HostMapping Map(std::span<std::byte> host);
  DramUsage dram_usage() const;

  // ---- commands: see commands.h
  /// @param bytes  room for packets; at most 2 MiB - 32
  CommandBuffer NewCommandBuffer(uint32_t bytes = 4096);
  /// @throws Error  EAGAIN none is left
  Semaphore NewSemaphore();
  /// Starts the command buffers of one submission, each on its stream. Source: HL_IOCTL_CS. Waits for room in the
  /// queues.
  /// @throws Error  EINVAL, EPERM, EFAULT as the driver finds the packets; EBUSY the device is in reset
  Submission Submit(std::span<const Job> jobs);
  Submission Submit(Stream stream, const CommandBuffer& commands);
  /// Whether it ended within `timeout`. Source: HL_IOCTL_WAIT_CS.
  /// @throws Error  ETIMEDOUT the device gave it up; EIO a reset ended it
  bool Wait(Submission submission, std::chrono::microseconds timeout);
  void Wait(Submission submission);

  /// Copies and waits; either address may be of device memory or of mapped host memory.
  void Copy(uint64_t to, uint64_t from, uint64_t bytes);

  // ---- notifications: errors and resets of the device (HL_NOTIFIER_EVENT_* bits)
  /// A descriptor that becomes readable when something happened; the accelerator keeps it. Source:
  /// HL_INFO_REGISTER_EVENTFD.
  int notification_fd();
  /// What happened since the last call, as a mask. Never blocks. Source: HL_INFO_GET_EVENTS.
  uint64_t TakeNotifications();

 private:
  explicit Accelerator(std::shared_ptr<detail::Device> device) : device_(std::move(device)) {}
  std::shared_ptr<detail::Device> device_;
};

}  // namespace causeway
