// SPDX-License-Identifier: Apache-2.0
#include "causeway/commands.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "device.h"
#include "packets.h"
#include "uapi/habanalabs_submission.h"

namespace causeway {

using namespace detail;

Semaphore::Semaphore(Semaphore&& other) noexcept
    : device_(std::move(other.device_)), sob_(other.sob_), monitor_(other.monitor_) {}
Semaphore& Semaphore::operator=(Semaphore&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(sob_, other.sob_);
  std::swap(monitor_, other.monitor_);
  return *this;
}
Semaphore::~Semaphore() { Free(); }
void Semaphore::Free() noexcept {
  if (device_) device_->GiveSemaphore(sob_, monitor_);
  device_.reset();
}

CommandBuffer::CommandBuffer(CommandBuffer&& other) noexcept
    : device_(std::move(other.device_)),
      handle_(other.handle_),
      device_address_(other.device_address_),
      packets_(std::exchange(other.packets_, nullptr)),
      bytes_(other.bytes_),
      used_(other.used_) {}
CommandBuffer& CommandBuffer::operator=(CommandBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(handle_, other.handle_);
  std::swap(device_address_, other.device_address_);
  std::swap(packets_, other.packets_);
  std::swap(bytes_, other.bytes_);
  std::swap(used_, other.used_);
  return *this;
}
CommandBuffer::~CommandBuffer() { Free(); }

void CommandBuffer::Free() noexcept {
  if (!device_) return;
  if (packets_ != nullptr) munmap(std::exchange(packets_, nullptr), bytes_);
  uapi::hl_cb_args args = {};
  args.in.op = uapi::kHlCbOpDestroy;
  args.in.cb_handle = handle_;
  (void)device_->Try(uapi::kHlCb, &args);
  device_.reset();
}

std::byte* CommandBuffer::Take(uint32_t bytes) {
  if (bytes > bytes_ - used_) throw std::length_error("causeway::CommandBuffer: no room for another packet");
  std::byte* at = packets_ + used_;
  used_ += bytes;
  return at;
}

void CommandBuffer::Nop() {
  const NopPacket packet = {0, Control(kOpNop)};
  memcpy(Take(sizeof(packet)), &packet, sizeof(packet));
}

void CommandBuffer::Message(uint64_t address, uint32_t value, uint32_t barriers) {
  const MsgLongPacket packet = {value, Control(kOpMsgLong) | barriers, address};
  memcpy(Take(sizeof(packet)), &packet, sizeof(packet));
}

void CommandBuffer::Copy(uint64_t to, uint64_t from, uint64_t bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 31;  // tsize has 32 bits
  while (bytes > 0) {
    const auto now = static_cast<uint32_t>(std::min(bytes, kMost));
    const LinDmaPacket packet = {now, Control(kOpLinDma) | (device_->gaudi2() ? 0 : kGaudiLinear), from, to};
    memcpy(Take(sizeof(packet)), &packet, sizeof(packet));
    to += now;
    from += now;
    bytes -= now;
  }
}

void CommandBuffer::Fill(uint64_t to, uint32_t pattern, uint64_t bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 31;
  while (bytes > 0) {
    const auto now = static_cast<uint32_t>(std::min(bytes, kMost));
    const LinDmaPacket packet = {now, Control(kOpLinDma) | kMemSet | (device_->gaudi2() ? 0 : kGaudiLinear),
                                 uint64_t{pattern} << 32 | pattern, to};
    memcpy(Take(sizeof(packet)), &packet, sizeof(packet));
    to += now;
    bytes -= now;
  }
}

void CommandBuffer::Store(uint64_t address, uint32_t value) {
  Message(address, value, kEngineBarrier | kMessageBarrier);
}

void CommandBuffer::Clear(const Semaphore& semaphore) {
  Message(SobAddress(device_->gaudi2(), semaphore.sob_), 0, kMessageBarrier);
}

void CommandBuffer::Signal(const Semaphore& semaphore) {
  Message(SobAddress(device_->gaudi2(), semaphore.sob_), kSobAdd | 1, kEngineBarrier | kMessageBarrier);
}

void CommandBuffer::Wait(const Semaphore& semaphore, uint16_t value, Stream stream) {
  const bool gaudi2 = device_->gaudi2();
  if (stream.queue >= 8) throw std::invalid_argument("causeway::CommandBuffer::Wait: not a stream of a PCI DMA engine");
  const uint64_t fence = FenceAddress(gaudi2, stream.queue);
  const MonitorRegisters monitor = Monitor(gaudi2, semaphore.monitor_);
  Message(monitor.pay_addr_low, static_cast<uint32_t>(fence), kMessageBarrier);
  Message(monitor.pay_addr_high, static_cast<uint32_t>(fence >> 32), kMessageBarrier);
  Message(monitor.pay_data, 1, kMessageBarrier);
  if (monitor.config != 0) Message(monitor.config, MonitorGroupHigh(semaphore.sob_), kMessageBarrier);
  Message(monitor.arm, ArmAtLeast(semaphore.sob_, value), kMessageBarrier);
  const FencePacket packet = {FenceWait(1, 1), Control(kOpFence)};
  memcpy(Take(sizeof(packet)), &packet, sizeof(packet));
}

CommandBuffer Accelerator::NewCommandBuffer(uint32_t bytes) {
  CommandBuffer buffer;
  uapi::hl_cb_args args = {};
  args.in.op = uapi::kHlCbOpCreate;
  args.in.cb_size = bytes;
  args.in.flags = device_->gaudi2() ? uapi::kHlCbFlagsMap : 0;
  device_->Do(uapi::kHlCb, &args, "HL_CB_OP_CREATE");
  buffer.device_ = device_;
  buffer.handle_ = args.out.cb_handle;
  const uint32_t mapped = std::max((bytes + 4095) / 4096 * 4096, 4096U);
  if (device_->gaudi2()) {
    args = {};
    args.in.op = uapi::kHlCbOpInfo;
    args.in.cb_handle = buffer.handle_;
    args.in.flags = uapi::kHlCbFlagsGetDeviceVa;
    device_->Do(uapi::kHlCb, &args, "HL_CB_OP_INFO");
    buffer.device_address_ = args.out.device_va;
  }
  void* packets =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, device_->fd(), static_cast<off_t>(buffer.handle_));
  if (packets == MAP_FAILED) throw Error(errno, "mmap of a command buffer", device_->info().path);
  buffer.packets_ = static_cast<std::byte*>(packets);
  buffer.bytes_ = mapped;
  return buffer;
}

Semaphore Accelerator::NewSemaphore() {
  Semaphore semaphore;
  if (!device_->TakeSemaphore(&semaphore.sob_, &semaphore.monitor_)) {
    throw Error(EAGAIN, "sync object", device_->info().path, "all of them are in use");
  }
  semaphore.device_ = device_;
  return semaphore;
}

Submission Accelerator::Submit(std::span<const Job> jobs) {
  std::vector<uapi::hl_cs_chunk> chunks(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    const CommandBuffer& commands = *jobs[i].commands;
    chunks[i].cb_handle = device_->gaudi2() ? commands.device_address_ : commands.handle_;
    chunks[i].queue_index = jobs[i].stream.queue;
    chunks[i].cb_size = commands.used_;
    chunks[i].cs_chunk_flags = device_->gaudi2() ? uapi::kHlCsChunkFlagsUserAllocCb : 0;
  }
  uapi::hl_cs_args args = {};
  int error;
  do {
    args = {};
    args.in.chunks_execute = reinterpret_cast<uint64_t>(chunks.data());
    args.in.num_chunks_execute = static_cast<uint32_t>(chunks.size());
    error = device_->Try(uapi::kHlCs, &args);
  } while (error == EAGAIN);  // the queues are full: the driver wants it tried again
  if (error != 0) throw Error(error, "HL_IOCTL_CS", device_->info().path);
  return {args.out.seq};
}

Submission Accelerator::Submit(Stream stream, const CommandBuffer& commands) {
  const Job job = {stream, &commands};
  return Submit(std::span(&job, 1));
}

bool Accelerator::Wait(Submission submission, std::chrono::microseconds timeout) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point until = Clock::now() + timeout;
  for (;;) {
    // One CS: only the low 32 bits of the timeout count, so a long wait is many waits of at most a minute.
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(until - Clock::now()).count();
    uapi::hl_wait_cs_args args = {};
    args.in.cs.seq = submission.sequence;
    args.in.cs.timeout_us = static_cast<uint64_t>(std::clamp<int64_t>(left, 0, 60'000'000));
    const int error = device_->Try(uapi::kHlWaitCs, &args);
    if (error != 0) {
      throw Error(error, "HL_IOCTL_WAIT_CS", device_->info().path,
                  error == ETIMEDOUT ? "the device gave the submission up"
                  : error == EIO     ? "a reset ended the submission"
                                     : "");
    }
    if (args.out.status == uapi::kHlWaitCompleted) return true;
    if (left <= 0) return false;
  }
}

void Accelerator::Wait(Submission submission) {
  while (!Wait(submission, std::chrono::minutes(1))) {
  }
}

}  // namespace causeway
