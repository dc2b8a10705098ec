// SPDX-License-Identifier: Apache-2.0
// The device's inner address space: what an address that an engine puts on it means. Registers, SRAM, device memory,
// and host memory, which is reached through the MMU (a user's addresses) or directly (the driver's own, which only
// trusted accesses may use).
//
//   address --> fixed regions: CFG, SRAM, HBM
//           \-> MMU: HBM pages, host pages          trusted --> host memory at its DMA address (the driver's coherent
//           memory)
//
// Bytes from and to host memory are counted for the bus. Runs on: the engines' thread; Find() with its lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "devices/gaudi/address_map.h"
#include "devices/gaudi/mmu.h"
#include "ipc/memory_table.h"

namespace causeway::gaudi {

// Bytes between the device and host memory, both ways as the device sees them. Outlives the device: the bus reads it.
struct HostTraffic {
  std::atomic<uint64_t> read{0}, written{0};
};

// Where a run of addresses leads.
struct Run {
  enum class Kind : uint8_t { kFault, kBytes, kHost, kRegisters };
  Kind kind = Kind::kFault;
  std::byte* bytes = nullptr;   // kBytes
  HostRegion* host = nullptr;   // kHost; lives as long as the Fabric's look-up, or `keep`
  uint64_t offset = 0;          // in the host region or memory object; kRegisters: from CFG_BASE
  uint64_t len = 0;             // at least 1 and at most what was asked, but for kFault
  bool is_host_memory = false;  // counted
  bool is_own = false;          // the device's: `offset` is in memory object `memory`
  uint32_t memory = 0;
  std::shared_ptr<HostRegion> keep;  // set by FindAndKeep()
};

class Fabric {
 public:
  struct Memories {
    uint32_t hbm = 0;
    uint64_t hbm_bytes = 0;
    uint32_t sram = 0;  // its first bytes
  };
  Fabric(Asic asic, const Memories& own, ipc::MemoryTable& memories, Mmu& mmu);

  // The driver's coherent memory: bytes [0, size) of a memory object at DMA addresses [dma_base, + size).
  void SetCoherent(uint32_t memory, uint64_t dma_base, uint64_t size);

  // `trusted`: the driver's own work (queue entries, completions), which may address host memory directly.
  Run Find(uint64_t address, uint64_t len, bool trusted) { return Look(address, len, trusted, false); }
  // The same, to be used without the engines' lock.
  Run FindAndKeep(uint64_t address, uint64_t len, bool trusted) { return Look(address, len, trusted, true); }

  // Bytes that are no registers. The address at which it failed, if it did.
  std::optional<uint64_t> Read(uint64_t address, std::span<std::byte> to, bool trusted);
  std::optional<uint64_t> Write(uint64_t address, std::span<const std::byte> from, bool trusted);

  // MemoryTable::Extent() of a run of device memory; of any other, all of it is in use.
  uint64_t Extent(const Run& run, uint64_t from, uint64_t len, bool* untouched) const {
    *untouched = false;
    return run.is_own ? memories_.Extent(run.memory, run.offset + from, len, untouched) : len;
  }

  void InvalidateTlb() { tlb_.fill({}); }

  HostTraffic& traffic() { return *traffic_; }
  std::shared_ptr<HostTraffic> shared_traffic() { return traffic_; }
  const AddressMap& map() const { return map_; }

 private:
  Run Look(uint64_t address, uint64_t len, bool trusted, bool keep);
  Run InMemory(uint32_t memory, uint64_t offset, uint64_t len) const;
  const Mmu::Translation* Translate(uint64_t address);

  const Asic asic_;
  const AddressMap& map_;
  const Memories own_;
  ipc::MemoryTable& memories_;
  Mmu& mmu_;
  uint32_t coherent_ = 0;
  uint64_t coherent_base_ = 0, coherent_size_ = 0;
  const std::shared_ptr<HostTraffic> traffic_;

  // TLB.
  static constexpr size_t kTlbEntries = 16;
  std::array<Mmu::Translation, kTlbEntries> tlb_;
  uint64_t tlb_generation_ = 0;
  size_t tlb_last_ = 0, tlb_next_ = 0;
};

}  // namespace causeway::gaudi
