// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/fabric.h"

#include <algorithm>
#include <cstring>

#include "devices/gaudi/registers.h"

namespace causeway::gaudi {
namespace {

constexpr uint64_t kGaudi2HostSize = uint64_t{1} << 56;

// Cuts `len` so that [address, + len) does not leave [base, + size).
bool Inside(uint64_t address, uint64_t base, uint64_t size, uint64_t* len) {
  if (address < base || address - base >= size) return false;
  *len = std::min(*len, size - (address - base));
  return true;
}

// A word of memory is stored in one piece, as a device does: others look at it (completion counters) without a lock.
void StoreBytes(std::byte* to, std::span<const std::byte> from) {
  const auto address = reinterpret_cast<uintptr_t>(to);
  if (from.size() == sizeof(uint64_t) && address % sizeof(uint64_t) == 0) {
    uint64_t word = 0;
    std::memcpy(&word, from.data(), sizeof(word));
    __atomic_store_n(reinterpret_cast<uint64_t*>(to), word, __ATOMIC_RELEASE);
  } else if (from.size() == sizeof(uint32_t) && address % sizeof(uint32_t) == 0) {
    uint32_t word = 0;
    std::memcpy(&word, from.data(), sizeof(word));
    __atomic_store_n(reinterpret_cast<uint32_t*>(to), word, __ATOMIC_RELEASE);
  } else {
    std::memcpy(to, from.data(), from.size());
  }
}

}  // namespace

Fabric::Fabric(Asic asic, const Memories& own, ipc::MemoryTable& memories, Mmu& mmu)
    : asic_(asic),
      map_(MapOf(asic)),
      own_(own),
      memories_(memories),
      mmu_(mmu),
      traffic_(std::make_shared<HostTraffic>()) {}

void Fabric::SetCoherent(uint32_t memory, uint64_t dma_base, uint64_t size) {
  coherent_ = memory;
  coherent_base_ = dma_base;
  coherent_size_ = size;
}

Run Fabric::InMemory(uint32_t memory, uint64_t offset, uint64_t len) const {
  std::byte* const bytes = memories_.At(memory, offset, &len);
  if (bytes == nullptr) return {};
  return {.kind = Run::Kind::kBytes,
          .bytes = bytes,
          .host = nullptr,
          .offset = offset,
          .len = len,
          .is_host_memory = false,
          .is_own = true,
          .memory = memory,
          .keep = {}};
}

const Mmu::Translation* Fabric::Translate(uint64_t address) {
  const uint64_t generation = mmu_.generation();
  if (generation != tlb_generation_) {
    tlb_.fill({});
    tlb_generation_ = generation;
  }
  const auto holds = [&](const Mmu::Translation& entry) { return address - entry.start < entry.size; };
  if (holds(tlb_[tlb_last_])) return &tlb_[tlb_last_];
  for (size_t i = 0; i < kTlbEntries; ++i) {
    if (holds(tlb_[i])) {
      tlb_last_ = i;
      return &tlb_[i];
    }
  }
  Mmu::Translation found = mmu_.Find(address);
  if (found.size == 0) return nullptr;
  tlb_last_ = tlb_next_;
  tlb_next_ = (tlb_next_ + 1) % kTlbEntries;
  tlb_[tlb_last_] = std::move(found);
  return &tlb_[tlb_last_];
}

Run Fabric::Look(uint64_t address, uint64_t len, bool trusted, bool keep) {
  if (len == 0) return {};
  if (Inside(address, map_.cfg_base, map_.cfg_size, &len)) {
    Run run;
    run.kind = Run::Kind::kRegisters;
    run.offset = address - map_.cfg_base;
    run.len = len;
    return run;
  }
  if (Inside(address, map_.dram_base, own_.hbm_bytes, &len)) return InMemory(own_.hbm, address - map_.dram_base, len);
  if (Inside(address, map_.sram_base, map_.sram_size, &len)) return InMemory(own_.sram, address - map_.sram_base, len);
  if (asic_ == Asic::kGaudi2 && Inside(address, kGaudi2MsixDoorbellVa, 0x1000, &len)) {
    Run run;
    run.kind = Run::Kind::kRegisters;
    run.offset = kGaudi2MsixDoorbell;
    run.len = std::min<uint64_t>(len, 4);
    return run;
  }
  const Mmu::Translation* const entry = Translate(address);
  if (entry == nullptr) {
    const uint64_t host_base = asic_ == Asic::kGaudi ? kGaudiHostBase : 0;
    if (!trusted || address < host_base || address - host_base >= kGaudi2HostSize) return {};
    const uint64_t dma = address - host_base;
    if (!Inside(dma, coherent_base_, coherent_size_, &len)) return {};
    Run run = InMemory(coherent_, dma - coherent_base_, len);
    run.is_host_memory = true;
    run.is_own = false;
    return run;
  }
  const uint64_t into = address - entry->start;
  len = std::min(len, entry->size - into);
  if (entry->host == nullptr) return InMemory(own_.hbm, entry->target + into - map_.dram_base, len);
  Run run;
  run.offset = entry->target + into;
  run.is_host_memory = true;
  run.len = len;
  run.bytes = entry->host->Bytes(run.offset, &run.len);
  run.kind = run.bytes != nullptr ? Run::Kind::kBytes : Run::Kind::kHost;
  run.host = entry->host.get();
  if (keep) run.keep = entry->host;
  return run;
}

std::optional<uint64_t> Fabric::Read(uint64_t address, std::span<std::byte> to, bool trusted) {
  while (!to.empty()) {
    const Run run = Find(address, to.size(), trusted);
    if (run.kind == Run::Kind::kFault || run.kind == Run::Kind::kRegisters) return address;
    const auto part = to.first(run.len);
    if (run.kind == Run::Kind::kBytes) {
      std::memcpy(part.data(), run.bytes, part.size());
    } else if (!run.host->Read(run.offset, part)) {
      return address;
    }
    if (run.is_host_memory) traffic_->read.fetch_add(run.len, std::memory_order_relaxed);
    address += run.len;
    to = to.subspan(run.len);
  }
  return std::nullopt;
}

std::optional<uint64_t> Fabric::Write(uint64_t address, std::span<const std::byte> from, bool trusted) {
  while (!from.empty()) {
    const Run run = Find(address, from.size(), trusted);
    if (run.kind == Run::Kind::kFault || run.kind == Run::Kind::kRegisters) return address;
    const auto part = from.first(run.len);
    if (run.kind == Run::Kind::kBytes) {
      StoreBytes(run.bytes, part);
    } else if (!run.host->Write(run.offset, part)) {
      return address;
    }
    if (run.is_host_memory) traffic_->written.fetch_add(run.len, std::memory_order_relaxed);
    address += run.len;
    from = from.subspan(run.len);
  }
  return std::nullopt;
}

}  // namespace causeway::gaudi
