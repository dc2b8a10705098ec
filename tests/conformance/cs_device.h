// SPDX-License-Identifier: Apache-2.0
// An accelerator as cs_ways' cases use it: packets, buffers, submissions and their ends, on the uAPI alone.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "devices/gaudi/engine_table.h"
#include "devices/gaudi/packets.h"
#include "devices/gaudi/registers.h"
#include "drivers/habanalabs/queue_table.h"
#include "uapi/habanalabs.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::conformance {

using gaudi::Opcode;

constexpr uint64_t kForever = INT64_MAX;
constexpr uint32_t kArbiter = 1u << 4 | gaudi::kArbEnable;

[[noreturn]] inline void Fail(const std::string& what) {
  std::printf("%s (errno %d)\n", what.c_str(), errno);
  std::exit(1);
}
#define EXPECT(condition) \
  if (!(condition)) Fail("line " + std::to_string(__LINE__) + ": " #condition)

// Packets, as a program writes them.
class Packets {
 public:
  Packets& Add(Opcode opcode, uint32_t word0, uint32_t ctl = 0) {
    words_.insert(words_.end(), {word0, ctl | static_cast<uint32_t>(opcode) << 24});
    return *this;
  }
  Packets& Quad(uint64_t value) {
    words_.insert(words_.end(), {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)});
    return *this;
  }
  Packets& Nop() { return Add(Opcode::kNop, 0); }
  Packets& Store(uint64_t address, uint32_t value, uint32_t predicate = 0) {
    return Add(Opcode::kMsgLong, value, predicate | gaudi::kCtlMessageBarrier).Quad(address);
  }
  Packets& Fence() { return Add(Opcode::kFence, 1 | 1u << 16); }  // id 0, target 1, subtract 1
  Packets& Take(uint32_t priority) { return Add(Opcode::kArbPoint, priority); }
  Packets& Release() { return Add(Opcode::kArbPoint, gaudi::kArbRelease); }
  const std::vector<uint32_t>& words() const { return words_; }

 private:
  std::vector<uint32_t> words_;
};

// An open device, 4 MiB of host memory that it reaches, and the rules of its generation.
class Device {
 public:
  explicit Device(const char* path) : node(path), fd_(open(path, O_RDWR | O_CLOEXEC)) {
    EXPECT(fd_ >= 0);
    uapi::hl_info_args info = {};
    info.return_pointer = reinterpret_cast<uint64_t>(&ip);
    info.return_size = sizeof(ip);
    info.op = uapi::kHlInfoHwIpInfo;
    EXPECT(Call(uapi::kHlInfo, info) == 0);
    gaudi2 = ip.device_id == 0x1020;
    asic = gaudi2 ? gaudi::Asic::kGaudi2 : gaudi::Asic::kGaudi;
    queues_ = habanalabs::QueuesOf(asic);
    qmans_ = gaudi::QmansOf(asic);
    uapi::hl_info_sync_manager sm = {};
    info.return_pointer = reinterpret_cast<uint64_t>(&sm);
    info.return_size = sizeof(sm);
    info.op = uapi::kHlInfoSyncManager;
    // Gaudi: of the north-east block, to which MSG_BASE 0 and 1 lead; Gaudi2: of DCORE 0.
    info.dcore_id = gaudi2 ? 0 : 2;
    EXPECT(Call(uapi::kHlInfo, info) == 0);
    sob = sm.first_available_sync_object;
    monitor = sm.first_available_monitor;
    cq = sm.first_available_cq;
    void* const memory = mmap(nullptr, kHostBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    host = static_cast<std::byte*>(memory);
    host_va = MapHost(host, kHostBytes);
  }

  void Close() { EXPECT(close(fd_) == 0); }

  template <typename Args>
  int Call(uapi::HlIoctlRow number, Args& args) {
    int rc = 0;
    do {
      rc = ioctl(fd_, uapi::HlIoctlH(number), &args);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
  }

  uint64_t Cfg(uint32_t offset) const { return gaudi::MapOf(asic).cfg_base + offset; }
  uint32_t Qman(uint32_t queue) const { return qmans_[queues_[queue].qman].base; }
  uint64_t FenceOf(uint32_t queue) const {
    return Cfg(Qman(queue) + gaudi::QmanRegistersOf(asic).fence_rdata + queues_[queue].stream * 4);
  }
  uint64_t Sob(uint32_t n) const { return Cfg(gaudi::SyncManagerBase(asic, SyncManager()) + (sob + n) * 4); }
  uint32_t SyncManager() const { return gaudi2 ? 0 : gaudi::kGaudiSmEastNorth; }
  uint64_t Scratch(uint32_t n = 0) const { return ip.sram_base_address + 0x1000 + n * 8; }

  // A buffer for `queue`. On Gaudi's PCI DMA queues a CB of the driver, elsewhere host memory.
  uapi::hl_cs_chunk Chunk(uint32_t queue, const Packets& packets) {
    const uint64_t bytes = packets.words().size() * 4;
    uapi::hl_cs_chunk chunk = {};
    chunk.queue_index = queue;
    chunk.cb_size = static_cast<uint32_t>(bytes);
    if (queues_[queue].type == habanalabs::QueueType::kExternal) {
      chunk.cb_handle = CreateCb(kCbBytes);
      EXPECT(bytes <= kCbBytes);
      std::byte* const at = MapCb(chunk.cb_handle, kCbBytes);
      std::memcpy(at, packets.words().data(), bytes);
      EXPECT(munmap(at, kCbBytes) == 0);  // a mapping would keep the device open
    } else {
      chunk.cs_chunk_flags = uapi::kHlCsChunkFlagsUserAllocCb;
      chunk.cb_handle = Place(std::as_bytes(std::span(packets.words())));
    }
    return chunk;
  }
  // Bytes in host memory, at a device address that stays.
  uint64_t Place(std::span<const std::byte> bytes) {
    EXPECT(used_ + bytes.size() <= kHostBytes / 2);
    std::memcpy(host + used_, bytes.data(), bytes.size());
    const uint64_t at = host_va + used_;
    used_ += (bytes.size() + 127) & ~size_t{127};
    return at;
  }
  std::byte* data() const { return host + kHostBytes / 2; }
  uint64_t data_va() const { return host_va + kHostBytes / 2; }

  uint64_t CreateCb(uint32_t size, uint32_t flags = 0) {
    uapi::hl_cb_args args = {};
    args.in.op = uapi::kHlCbOpCreate;
    args.in.cb_size = size;
    args.in.flags = flags;
    EXPECT(Call(uapi::kHlCb, args) == 0);
    return args.out.cb_handle;
  }
  std::byte* MapCb(uint64_t handle, size_t bytes) {
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, static_cast<off_t>(handle));
    EXPECT(at != MAP_FAILED);
    return static_cast<std::byte*>(at);
  }

  int TrySubmit(const std::vector<uapi::hl_cs_chunk>& chunks, uint32_t flags, uapi::hl_cs_args* args) {
    args->in.chunks_execute = reinterpret_cast<uint64_t>(chunks.data());
    args->in.num_chunks_execute = static_cast<uint32_t>(chunks.size());
    args->in.cs_flags = flags;
    return Call(uapi::kHlCs, *args);
  }
  uint64_t Submit(const std::vector<uapi::hl_cs_chunk>& chunks, uint32_t flags = 0) {
    uapi::hl_cs_args args = {};
    int rc = 0;
    do {  // as hl-thunk does when too much is under way
      rc = TrySubmit(chunks, flags, &args);
    } while (rc == EAGAIN);
    EXPECT(rc == 0);
    return args.out.seq;
  }
  uint64_t Submit(uint32_t queue, const Packets& packets, uint32_t flags = 0) {
    return Submit({Chunk(queue, packets)}, flags);
  }
  uapi::hl_wait_cs_args Wait(uint64_t seq, uint64_t timeout_us = kForever) {
    uapi::hl_wait_cs_args args = {};
    args.in.cs.seq = seq;
    args.in.cs.timeout_us = timeout_us;
    EXPECT(Call(uapi::kHlWaitCs, args) == 0);
    return args;
  }
  bool Done(uint64_t seq) { return Wait(seq, 0).out.status == uapi::kHlWaitCompleted; }
  void Finish(uint64_t seq) { EXPECT(Wait(seq).out.status == uapi::kHlWaitCompleted); }
  void Run(uint32_t queue, const Packets& packets) { Finish(Submit(queue, packets)); }

  // The device address of host memory.
  uint64_t MapHost(const void* at, uint64_t bytes) {
    uapi::hl_mem_args map = {};
    map.in.op = uapi::kHlMemOpMap;
    map.in.flags = uapi::kHlMemUserptr;
    map.in.map_host = {};
    map.in.map_host.host_virt_addr = reinterpret_cast<uint64_t>(at);
    map.in.map_host.mem_size = bytes;
    EXPECT(Call(uapi::kHlMemory, map) == 0);
    return map.out.device_virt_addr;
  }

  // The value at a device address, by a copy that the device makes.
  uint32_t Load(uint64_t address) {
    Packets copy;
    copy.Add(Opcode::kLinDma, 8, gaudi2 ? 0 : gaudi::kGaudiDmaLinear).Quad(address).Quad(data_va());
    Run(4, copy);
    uint32_t value = 0;
    std::memcpy(&value, data(), sizeof(value));
    return value;
  }
  // Packets that let `monitor` open the fence of `queue` once SOB n is `value`.
  Packets& Watch(Packets& packets, uint32_t watch, uint32_t n, uint32_t value, uint64_t payload) {
    const gaudi::SyncManagerRegisters& r = gaudi::SyncManagerRegistersOf(asic);
    const uint64_t base = Cfg(gaudi::SyncManagerBase(asic, SyncManager()));
    const uint32_t index = sob + n, m = (monitor + watch) * 4, group = index / 8;
    packets.Store(base + r.pay_addr_lo + m, static_cast<uint32_t>(payload));
    packets.Store(base + r.pay_addr_hi + m, static_cast<uint32_t>(payload >> 32));
    packets.Store(base + r.pay_data + m, 1);
    if (gaudi2) packets.Store(base + r.config + m, (group >> 8) << 16);
    const uint32_t mask = 0xffu & ~(1u << index % 8);
    return packets.Store(base + r.arm + m, (group & 0xff) | mask << 8 | 1u << 16 | value << 17);
  }

  const char* const node;
  static constexpr size_t kHostBytes = size_t{4} << 20;
  static constexpr uint32_t kCbBytes = 0x1000;
  uapi::hl_info_hw_ip_info ip = {};
  bool gaudi2 = false;
  gaudi::Asic asic = gaudi::Asic::kGaudi;
  uint32_t sob = 0, monitor = 0, cq = 0;
  std::byte* host = nullptr;
  uint64_t host_va = 0;

 private:
  const int fd_;
  size_t used_ = 0;
  std::vector<habanalabs::QueueProperties> queues_;
  std::vector<gaudi::QmanSpec> qmans_;
};

}  // namespace causeway::conformance
