// SPDX-License-Identifier: Apache-2.0
// Work for an accelerator: packets in command buffers, buffers on streams, streams that wait for each other.
//
//   CommandBuffer copy = accelerator.NewCommandBuffer();
//   copy.Copy(memory.address(), mapping.address(), bytes);
//   accelerator.Wait(accelerator.Submit(kHostToDevice, copy));
//
// Packets are encoded for the accelerator's generation (linux
// drivers/accel/habanalabs/include/gaudi*/gaudi*_packets.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace causeway {

namespace detail {
class Device;
}

/// One stream of a queue manager (QMAN), by the driver's queue id. Work of one stream is done in order.
struct Stream {
  uint32_t queue;
};
/// Streams of the two PCI DMA engines: by custom the first moves bytes to the device, the second from it.
constexpr Stream kHostToDevice{0};
constexpr Stream kDeviceToHost{4};

/// What Accelerator::Submit() returns. Source: the sequence number of a CS.
struct Submission {
  uint64_t sequence;
};

/// A counter in the accelerator that streams add to and wait for: a sync object (SOB) and a monitor of its sync
/// manager.
class Semaphore {
 public:
  Semaphore() = default;
  Semaphore(Semaphore&& other) noexcept;
  Semaphore& operator=(Semaphore&& other) noexcept;
  ~Semaphore();

 private:
  friend class Accelerator;
  friend class CommandBuffer;
  void Free() noexcept;
  std::shared_ptr<detail::Device> device_;
  uint32_t sob_ = 0;
  uint32_t monitor_ = 0;
};

/// Packets in memory that the accelerator fetches. Source: HL_IOCTL_CB. Must not be changed while a submission runs it.
class CommandBuffer {
 public:
  CommandBuffer() = default;
  CommandBuffer(CommandBuffer&& other) noexcept;
  CommandBuffer& operator=(CommandBuffer&& other) noexcept;
  ~CommandBuffer();

  /// Packets. @throws std::length_error  no room left
  void Nop();
  void Copy(uint64_t to, uint64_t from, uint64_t bytes);     ///< LIN_DMA, in as many packets as it takes
  void Fill(uint64_t to, uint32_t pattern, uint64_t bytes);  ///< LIN_DMA memset; bytes: a multiple of 4
  void Store(uint64_t address, uint32_t value);              ///< MSG_LONG, after all packets before it have ended
  void Clear(const Semaphore& semaphore);                    ///< to 0
  void Signal(const Semaphore& semaphore);                   ///< adds 1, after all packets before it have ended
  /// The stream goes on when the semaphore is at least `value`. @param stream  the one this buffer is submitted to,
  /// of a PCI DMA engine: kHostToDevice.queue + 0..3, kDeviceToHost.queue + 0..3
  void Wait(const Semaphore& semaphore, uint16_t value, Stream stream);

  void Reset() noexcept { used_ = 0; }  ///< begins anew
  uint32_t bytes_used() const noexcept { return used_; }
  uint32_t bytes() const noexcept { return bytes_; }

 private:
  friend class Accelerator;
  void Free() noexcept;
  std::byte* Take(uint32_t bytes);
  void Message(uint64_t address, uint32_t value, uint32_t barriers);
  std::shared_ptr<detail::Device> device_;
  uint64_t handle_ = 0;
  uint64_t device_address_ = 0;  // Gaudi2
  std::byte* packets_ = nullptr;
  uint32_t bytes_ = 0;
  uint32_t used_ = 0;
};

/// A command buffer and the stream it goes to.
struct Job {
  Stream stream;
  const CommandBuffer* commands;
};

}  // namespace causeway
