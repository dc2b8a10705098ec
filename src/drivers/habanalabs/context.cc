// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{context.c,memory.c}.
#include "drivers/habanalabs/context.h"

#include "base/checked.h"
#include "base/log.h"

namespace causeway::habanalabs {
namespace {

constexpr uint64_t kHugePageSize = uint64_t{2} << 20;  // pmmu_huge.page_size

}  // namespace

HlCtx::HlCtx(HlDevice& device) : device_(device), host_(device.properties().host), dram_(device.properties().dram) {
  // hl_vm_ctx_init(), hl_cb_va_pool_init(), gaudi2_map_virtual_msix_doorbell_memory(): what the driver takes first.
  const AsicProperties& properties = device.properties();
  CW_INVARIANT(host_.Reserve(properties.host.start, properties.host_reserved_at_start).has_value());
  if (properties.msix_doorbell_va != 0) {
    CW_INVARIANT(host_.Reserve(properties.msix_doorbell_va, kPageSize).has_value());
  }
}

HlCtx::~HlCtx() {
  device_.CtxEnding();
  // hl_vm_ctx_fini(): no lock is needed, nobody else has the context.
  if (!mappings_.empty()) {
    log::Debug("{}: user released device without removing its {} memory mappings", device_.node(), mappings_.size());
  }
  for (auto& [va, mapping] : mappings_) {
    if (mapping.pack) device_.UnmapMemory(*mapping.pack);
  }
  device_.CtxReleased(*this);
}

size_t HlCtx::mapping_count() const {
  const std::lock_guard lock(mutex_);
  return mappings_.size();
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
  const HostPin pin{.mm = task.mm(), .address = start, .size = AlignUp(end, kPageSize) - start};
  // v6.1 pins with FOLL_FORCE, which makes a private copy of a read-only page; later ones ask for write access.
  const bool write = flavour != Flavour::kMisc;
  if (!task.CheckRange(pin.address, pin.size, write)) {
    // get_user_memory(): an error of the first page is passed on; a pin that got only a part is ENOMEM from 6.7 on.
    const bool part = pin.size > kPageSize && task.CheckRange(pin.address, kPageSize, write).has_value();
    if (flavour == Flavour::kDrm && part) return Err(ENOMEM);
    return Err(EFAULT);
  }

  const uint64_t offset = address - start;
  const bool force_hint = (flags & uapi::kHlMemForceHint) != 0;
  if (hint != 0 && offset != 0 && force_hint) return Err(EINVAL);
  // Host pages are not contiguous as the device sees them, so the leaves are of 4 KiB; the alignment follows the host
  // address all the same (map_device_va()).
  const uint64_t align = IsAligned(address, kHugePageSize) ? kHugePageSize : kPageSize;

  const std::lock_guard lock(mutex_);
  CW_TRY(const uint64_t block, host_.Get(pin.size, hint, align, force_hint));
  const uint64_t va = block + offset;
  mappings_.emplace(va, Mapping{.block = block, .size = pin.size, .host = pin});
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
  mappings_.emplace(*va, Mapping{.block = *va, .size = size, .pack = std::move(pack)});
  return *va;
}

Status HlCtx::Unmap(uint64_t va) {
  const std::lock_guard lock(mutex_);
  const auto it = mappings_.find(va);
  if (it == mappings_.end() || it->second.export_cnt != 0) return Err(EINVAL);
  const Mapping& mapping = it->second;
  (mapping.pack ? dram_ : host_).Put(mapping.block, mapping.size);
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

}  // namespace causeway::habanalabs
