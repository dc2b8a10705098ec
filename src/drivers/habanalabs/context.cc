// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{context.c,memory.c}.
#include "drivers/habanalabs/context.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/log.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kHugePageSize = uint64_t{2} << 20;    // pmmu_huge.page_size
constexpr uint64_t kInternalCbPool = uint64_t{2} << 20;  // HOST_SPACE_INTERNAL_CB_SZ
constexpr uint64_t kCbVaPool = uint64_t{4} << 30;        // CB_VA_POOL_SIZE, Gaudi2

// Pages of a program.
class ProgramPages : public gaudi::HostRegion {
 public:
  explicit ProgramPages(const HostPin& pin) : pin_(pin) {}
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    return pin_.memory->CopyFrom(to, pin_.address + offset).has_value();
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    return pin_.memory->CopyTo(pin_.address + offset, from).has_value();
  }
  std::byte* Bytes(uint64_t offset, uint64_t* len) override { return pin_.memory->Bytes(pin_.address + offset, len); }

 private:
  const HostPin pin_;
};

// The driver's coherent memory.
class CoherentPages : public gaudi::HostRegion {
 public:
  explicit CoherentPages(const CoherentMemory::Piece& piece) : bytes_(piece.bytes()), size_(piece.size()) {}
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    std::memcpy(to.data(), bytes_ + offset, to.size());
    return true;
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    std::memcpy(bytes_ + offset, from.data(), from.size());
    return true;
  }
  std::byte* Bytes(uint64_t offset, uint64_t* len) override {
    *len = std::min(*len, size_ - offset);
    return bytes_ + offset;
  }

 private:
  std::byte* const bytes_;
  const uint64_t size_;
};

}  // namespace

HlCtx::HlCtx(HlDevice& device)
    : cs(device.submission().max_pending_cs()),
      device_(device),
      host_(device.properties().host),
      dram_(device.properties().dram),
      cb_va_(device.properties().host.start, device.properties().host.start + kCbVaPool) {
  if (device.properties().host_huge.end != 0) host_huge_.emplace(device.properties().host_huge);
  // hl_vm_ctx_init(), hl_cb_va_pool_init(), gaudi2_map_virtual_msix_doorbell_memory(): what the driver takes first.
  const AsicProperties& properties = device.properties();
  CW_INVARIANT(host_.Reserve(properties.host.start, properties.host_reserved_at_start).has_value());
  if (properties.msix_doorbell_va != 0) {
    CW_INVARIANT(host_.Reserve(properties.msix_doorbell_va, kPageSize).has_value());
  }
  // hl_internal_cb_pool_init(): the last 2 MiB of what was reserved.
  internal_cb_va_ = properties.host.start + properties.host_reserved_at_start - kInternalCbPool;
  if (auto pool = device.coherent().Allocate(kInternalCbPool)) {
    internal_cbs_ = std::move(*pool);
    device.board().mmu().MapHost(internal_cb_va_, kInternalCbPool, std::make_shared<CoherentPages>(internal_cbs_), 0);
    for (uint32_t slot = kInternalCbPool / kInternalCbSlot; slot-- != 0;) free_internal_cbs_.push_back(slot);
  }
}

HlCtx::~HlCtx() {
  device_.CtxEnding();
  // hl_vm_ctx_fini(): no lock is needed, nobody else has the context.
  if (!mappings_.empty()) {
    log::Debug("{}: user released device without removing its {} memory mappings", device_.node(), mappings_.size());
  }
  device_.board().mmu().UnmapAll();
  device_.board().engines().InvalidateMmuCache();
  for (auto& [va, mapping] : mappings_) {
    if (mapping.pack) device_.UnmapMemory(*mapping.pack);
  }
  device_.CtxReleased(*this);
}

size_t HlCtx::mapping_count() const {
  const std::lock_guard lock(mutex_);
  return mappings_.size();
}

std::optional<MappingKind> HlCtx::MappingAt(uint64_t va, uint64_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto it = mappings_.upper_bound(va);
  if (it == mappings_.begin()) return std::nullopt;
  --it;
  const uint64_t into = va - it->first, size = it->second.size;
  if (into > size || bytes > size - into) return std::nullopt;
  return it->second.host ? MappingKind::kHost : MappingKind::kDevice;
}

std::vector<uapi::hl_user_mapping> HlCtx::UserMappings(bool host) const {
  std::vector<uapi::hl_user_mapping> list;
  const std::lock_guard lock(mutex_);
  for (const auto& [va, mapping] : mappings_) {
    if (mapping.host.has_value() == host) list.push_back({.dev_va = va, .size = mapping.size});
  }
  return list;
}

Result<uint64_t> HlCtx::MapHost(kernel::Task& task, uint64_t address, uint64_t size, uint64_t hint, uint32_t flags) {
  const Flavour flavour = device_.properties().flavour;
  // hl_pin_host_memory().
  if (size == 0) return Err(EINVAL);
  uint64_t end = 0;
  if (!CheckedAdd(address, size, &end) || end > UINT64_MAX - (kPageSize - 1)) return Err(EINVAL);
  const uint64_t start = AlignDown(address, kPageSize);
  HostPin pin{.memory = {}, .address = start, .size = AlignUp(end, kPageSize) - start};
  // v6.1 pins with FOLL_FORCE, which makes a private copy of a read-only page; later ones ask for write access.
  const bool write = flavour != Flavour::kMisc;
  if (auto memory = task.PinPages(pin.address, pin.size, write)) {
    pin.memory = std::move(*memory);
  } else {
    // get_user_memory(): an error of the first page is passed on; a pin that got only a part is ENOMEM from 6.7 on.
    const bool part = pin.size > kPageSize && task.CheckRange(pin.address, kPageSize, write).has_value();
    if (flavour == Flavour::kDrm && part) return Err(ENOMEM);
    return Err(EFAULT);
  }

  const uint64_t offset = address - start;
  const bool force_hint = (flags & uapi::kHlMemForceHint) != 0;
  if (hint != 0 && offset != 0 && force_hint) return Err(EINVAL);
  // init_phys_pg_pack_from_userptr(): huge leaves when all that is mapped is pages of 2 MiB. Else of 4 KiB, and the
  // alignment follows the host address all the same (map_device_va()).
  const bool huge = host_huge_ && IsAligned(start, kHugePageSize) && IsAligned(pin.size, kHugePageSize) &&
                    task.PagesAre(start, pin.size, kHugePageSize);
  const uint64_t align = huge || IsAligned(address, kHugePageSize) ? kHugePageSize : kPageSize;

  const std::lock_guard lock(mutex_);
  CW_TRY(const uint64_t block, (huge ? *host_huge_ : host_).Get(pin.size, hint, align, force_hint));
  const uint64_t va = block + offset;
  device_.board().mmu().MapHost(block, pin.size, std::make_shared<ProgramPages>(pin), 0);
  mappings_.emplace(va, Mapping{.block = block, .size = pin.size, .host = pin, .huge = huge});
  return va;
}

Result<uint64_t> HlCtx::MapDevice(uint32_t handle, uint64_t hint, uint32_t flags) {
  const std::lock_guard lock(mutex_);
  CW_TRY(auto pack, device_.MapMemory(*this, handle));
  const auto va =
      dram_.Get(pack->total_size, hint, device_.properties().dram_page_size, (flags & uapi::kHlMemForceHint) != 0);
  if (!va) {
    device_.UnmapMemory(*pack);
    return Err(va.error());
  }
  const uint64_t size = pack->total_size;
  device_.board().mmu().MapDevice(*va, device_.properties().dram_page_size, pack->pages);
  mappings_.emplace(*va, Mapping{.block = *va, .size = size, .pack = std::move(pack)});
  return *va;
}

Status HlCtx::Unmap(uint64_t va) {
  const std::lock_guard lock(mutex_);
  const auto it = mappings_.find(va);
  if (it == mappings_.end() || it->second.export_cnt != 0) return Err(EINVAL);
  const Mapping& mapping = it->second;
  device_.board().mmu().Unmap(mapping.block);
  device_.board().engines().InvalidateMmuCache();
  (mapping.pack ? dram_ : mapping.huge ? *host_huge_ : host_).Put(mapping.block, mapping.size);
  if (mapping.pack) device_.UnmapMemory(*mapping.pack);
  mappings_.erase(it);
  return {};
}

Result<std::shared_ptr<PhysPgPack>> HlCtx::ExportGet(uint64_t va) {
  const std::lock_guard lock(mutex_);
  const auto it = mappings_.find(va);
  if (it == mappings_.end() || !it->second.pack) return Err(EINVAL);
  ++it->second.export_cnt;
  return it->second.pack;
}

void HlCtx::ExportPut(uint64_t va) {
  const std::lock_guard lock(mutex_);
  const auto it = mappings_.find(va);
  CW_INVARIANT(it != mappings_.end() && it->second.export_cnt != 0);
  --it->second.export_cnt;
}

Result<uint64_t> HlCtx::MapCommandBuffer(const CoherentMemory::Piece& piece) {
  const std::lock_guard lock(pool_mutex_);
  CW_TRY(const uint64_t va, cb_va_.Take(piece.size()));
  device_.board().mmu().MapHost(va, piece.size(), std::make_shared<CoherentPages>(piece), 0);
  return va;
}

void HlCtx::UnmapCommandBuffer(uint64_t va, uint64_t size) {
  const std::lock_guard lock(pool_mutex_);
  device_.board().mmu().Unmap(va);
  device_.board().engines().InvalidateMmuCache();
  cb_va_.Give(va, size);
}

std::optional<HlCtx::InternalCb> HlCtx::TakeInternalCb() {
  const std::lock_guard lock(pool_mutex_);
  if (free_internal_cbs_.empty()) return std::nullopt;
  const uint32_t slot = free_internal_cbs_.back();
  free_internal_cbs_.pop_back();
  const uint64_t offset = slot * kInternalCbSlot;
  return InternalCb{.bytes = internal_cbs_.bytes() + offset, .va = internal_cb_va_ + offset, .slot = slot};
}

void HlCtx::GiveInternalCb(uint32_t slot) {
  const std::lock_guard lock(pool_mutex_);
  free_internal_cbs_.push_back(slot);
}

}  // namespace causeway::habanalabs
