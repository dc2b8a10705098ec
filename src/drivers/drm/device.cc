// SPDX-License-Identifier: Apache-2.0
#include "drivers/drm/device.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "pci/p2p.h"
#include "uapi/drm.h"

namespace causeway::drm {
namespace {

// DRM_FILE_PAGE_OFFSET_START: offsets below are those of other mappings.
constexpr uint64_t kFirstMmapOffset = uint64_t{1} << 32;

std::string Describe(const pci::Function& function) { return function.name() + " (" + function.bdf().ToString() + ")"; }

}  // namespace

// amdgpu_dmabuf_ops: a dynamic exporter.
class GemDmaBufOps : public dmabuf::DmaBufOps {
 public:
  explicit GemDmaBufOps(std::shared_ptr<GemObject> object) : object_(std::move(object)), device_(object_->device()) {}

  const std::shared_ptr<GemObject>& object() const { return object_; }

  // amdgpu_dma_buf_attach().
  Status Attach(dmabuf::DmaBuf&, dmabuf::DmaBufAttachment& attachment) override {
    const auto verdict = pci::P2pDistance(device_.bus_.topology(), device_.function_, attachment.importer());
    if (!verdict.allowed) attachment.peer2peer = false;
    return {};
  }

  bool dynamic() const override { return true; }

  // amdgpu_dma_buf_pin(). Deviation: an importer without a path gets EPERM, where amdgpu moves the buffer to system
  // memory; here it has none.
  Status Pin(dmabuf::DmaBufAttachment& attachment) override {
    CW_CHECK(CheckPath(attachment));
    const std::lock_guard lock(device_.mutex_);
    ++object_->pins_;
    return {};
  }
  void Unpin(dmabuf::DmaBufAttachment&) override {
    const std::lock_guard lock(device_.mutex_);
    CW_INVARIANT(object_->pins_ != 0);
    --object_->pins_;
  }

  // amdgpu_dma_buf_map(), amdgpu_vram_mgr_alloc_sgt().
  Result<dmabuf::SgTable> MapDmaBuf(dmabuf::DmaBufAttachment& attachment, dmabuf::Direction) override {
    CW_CHECK(CheckPath(attachment));
    const uint64_t segment = AlignDown(attachment.max_segment, kPageSize);
    if (segment < kPageSize) return Err(EINVAL);
    uint64_t address;
    {
      const std::lock_guard lock(device_.mutex_);
      address = device_.function_.bar(kVramBar).base + object_->offset_;
    }
    dmabuf::SgTable table;
    for (uint64_t at = 0; at < object_->size;) {
      const uint64_t len = std::min(segment, object_->size - at);
      const auto mapped = device_.bus_.MapResource(attachment.importer(), address + at, len);
      if (!mapped) {
        UnmapDmaBuf(attachment, table, dmabuf::Direction::kBidirectional);
        return Err(mapped.error());
      }
      table.push_back({.dma_address = *mapped, .len = len});
      at += len;
    }
    return table;
  }
  void UnmapDmaBuf(dmabuf::DmaBufAttachment& attachment, const dmabuf::SgTable& table, dmabuf::Direction) override {
    for (const dmabuf::SgEntry& entry : table) {
      device_.bus_.UnmapResource(attachment.importer(), entry.dma_address, entry.len);
    }
  }

  // drm_gem_dmabuf_mmap().
  Result<kernel::Mapping> Mmap(dmabuf::DmaBuf&, const kernel::MmapRequest& request) override {
    if ((object_->flags & uapi::kAmdgpuGemCreateNoCpuAccess) != 0) return Err(EPERM);
    kernel::Mapping mapping = device_.MapForCpu(*object_);
    mapping.offset += request.offset;
    mapping.vma = 1;  // the mapping holds the file, and it the memory
    return mapping;
  }

 private:
  Status CheckPath(const dmabuf::DmaBufAttachment& attachment) {
    if (attachment.peer2peer) return {};
    const pci::Function& importer = attachment.importer();
    kernel::Refusal refusal;
    refusal.what = "dma-buf of " + device_.function_.name() + " mapped for " + importer.name() + ": EPERM";
    refusal.provider = Describe(device_.function_);
    refusal.client = Describe(importer);
    const auto verdict = pci::P2pDistance(device_.bus_.topology(), device_.function_, importer);
    if (!verdict.allowed) {
      refusal.rule = verdict.rule_text;
      if (!verdict.detail.empty()) refusal.rule += " (" + verdict.detail + ")";
      refusal.remedy = verdict.remedy;
    } else {
      refusal.rule = "amdgpu_dma_buf_map(): the importer attached without allow_peer2peer";
      refusal.remedy = "use an importer that accepts peer-to-peer addresses";
    }
    device_.refusals_.Add(std::move(refusal));
    return Err(EPERM);
  }

  const std::shared_ptr<GemObject> object_;
  DrmDevice& device_;
};

GemObject::~GemObject() {
  const std::lock_guard lock(device_.mutex_);
  device_.objects_.erase(mmap_offset);
  device_.GiveLocked(offset_, size);
}

Result<std::unique_ptr<DrmDevice>> DrmDevice::Create(uint64_t vram_bytes, const pci::Function& function, pci::Bus& bus,
                                                     ipc::MemoryTable& memories, kernel::RefusalLog& refusals) {
  if (vram_bytes < kPageSize || !IsAligned(vram_bytes, kPageSize) || function.bar(kVramBar).size < vram_bytes) {
    return Err(ENODEV);
  }
  CW_TRY(const uint32_t memory, memories.Create(function.name() + "-vram", vram_bytes));
  CW_CHECK(bus.BackBar(function, kVramBar, 0, vram_bytes, memory, 0));
  return std::unique_ptr<DrmDevice>(new DrmDevice(vram_bytes, function, bus, memories, refusals, memory));
}

DrmDevice::DrmDevice(uint64_t vram_bytes, const pci::Function& function, pci::Bus& bus, ipc::MemoryTable& memories,
                     kernel::RefusalLog& refusals, uint32_t memory)
    : vram_bytes_(vram_bytes),
      function_(function),
      bus_(bus),
      memories_(memories),
      refusals_(refusals),
      memory_(memory),
      free_{{0, vram_bytes}},
      next_mmap_offset_(kFirstMmapOffset) {}

uint64_t DrmDevice::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

Result<std::shared_ptr<GemObject>> DrmDevice::CreateObject(uint64_t size, uint64_t flags) {
  if (size == 0) return Err(EINVAL);
  if (size > vram_bytes_) return Err(ENOMEM);
  size = AlignUp(size, kPageSize);
  const std::lock_guard lock(mutex_);
  CW_TRY(const uint64_t offset, TakeLocked(size));
  auto object = std::make_shared<GemObject>(*this, size, flags, offset, next_mmap_offset_);
  next_mmap_offset_ += size;
  objects_.emplace(object->mmap_offset, object);
  return object;
}

void DrmDevice::AddHandle(GemObject& object) {
  const std::lock_guard lock(mutex_);
  ++object.handles_;
}

void DrmDevice::DropHandle(GemObject& object) {
  std::vector<Ref<dmabuf::DmaBuf>> dropped;  // go after the lock
  const std::lock_guard lock(mutex_);
  CW_INVARIANT(object.handles_ != 0);
  if (--object.handles_ == 0) dropped.swap(object.dma_bufs_);
}

std::shared_ptr<GemObject> DrmDevice::FindByMmapOffset(uint64_t mmap_offset) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(mmap_offset);
  return found == objects_.end() ? nullptr : found->second.lock();
}

kernel::Mapping DrmDevice::MapForCpu(GemObject& object) {
  const std::lock_guard lock(mutex_);
  object.cpu_mapped_ = true;
  return {.memory = memory_, .offset = object.offset_};
}

Result<Ref<dmabuf::DmaBuf>> DrmDevice::Export(const std::shared_ptr<GemObject>& object) {
  if ((object->flags & uapi::kAmdgpuGemCreateVmAlwaysValid) != 0) return Err(EPERM);  // amdgpu_gem_prime_export()
  CW_TRY(auto dma_buf, dmabuf::DmaBuf::Export({.exporter_name = "amdgpu",
                                               .size = object->size,
                                               .ops = std::make_unique<GemDmaBufOps>(object),
                                               .function = &function_}));
  std::vector<Ref<dmabuf::DmaBuf>> unused;  // go after the lock
  const std::lock_guard lock(mutex_);
  auto& held = object->dma_bufs_;
  // One that only this list holds: nobody can get at it any more.
  for (auto& other : held) {
    if (other->ref_count_for_report() == 1) unused.push_back(std::move(other));
  }
  std::erase_if(held, [](const auto& other) { return !other; });
  if (object->handles_ != 0) held.push_back(dma_buf);
  return dma_buf;
}

std::shared_ptr<GemObject> DrmDevice::ObjectOf(dmabuf::DmaBuf& dma_buf) {
  const auto* const ops = dynamic_cast<GemDmaBufOps*>(&dma_buf.ops());
  return ops != nullptr && &ops->object()->device() == this ? ops->object() : nullptr;
}

size_t DrmDevice::Evict() {
  std::vector<std::shared_ptr<GemObject>> objects;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [offset, weak] : objects_) {
      if (auto object = weak.lock()) objects.push_back(std::move(object));
    }
  }
  size_t moved = 0;
  for (const auto& object : objects) {
    std::vector<Ref<dmabuf::DmaBuf>> dma_bufs;
    {
      const std::lock_guard lock(mutex_);
      if (object->handles_ == 0 || object->pins_ != 0 || object->cpu_mapped_) continue;
      dma_bufs = object->dma_bufs_;
    }
    std::vector<std::unique_lock<std::recursive_mutex>> resvs;
    for (const auto& dma_buf : dma_bufs) resvs.emplace_back(dma_buf->resv_mutex());
    // Importers let go of the old place first; who maps again waits for resv. What comes between (a pin, a program's
    // mapping, one more export) is looked for again.
    for (const auto& dma_buf : dma_bufs) dma_buf->MoveNotifyLocked();
    const std::lock_guard lock(mutex_);
    if (object->dma_bufs_ == dma_bufs && MoveLocked(*object)) ++moved;
  }
  return moved;
}

bool DrmDevice::MoveLocked(GemObject& object) {
  if (object.pins_ != 0 || object.cpu_mapped_) return false;
  const auto to = TakeLocked(object.size);
  if (!to) return false;
  CopyLocked(object.offset_, *to, object.size);
  GiveLocked(object.offset_, object.size);
  object.offset_ = *to;
  return true;
}

void DrmDevice::CopyLocked(uint64_t from, uint64_t to, uint64_t size) {
  while (size != 0) {
    uint64_t from_len = size, to_len = size;
    const std::byte* source = memories_.At(memory_, from, &from_len);
    std::byte* target = memories_.At(memory_, to, &to_len);
    const uint64_t len = std::min(from_len, to_len);
    CW_INVARIANT(source != nullptr && target != nullptr && len != 0);
    std::memcpy(target, source, len);
    from += len, to += len, size -= len;
  }
}

// First fit.
Result<uint64_t> DrmDevice::TakeLocked(uint64_t size) {
  const auto found = std::ranges::find_if(free_, [size](const auto& range) { return range.second >= size; });
  if (found == free_.end()) return Err(ENOMEM);
  const auto [offset, bytes] = *found;
  free_.erase(found);
  if (bytes > size) free_.emplace(offset + size, bytes - size);
  used_ += size;
  return offset;
}

// The next owner finds zeroes (AMDGPU_GEM_CREATE_VRAM_WIPE_ON_RELEASE, which create sets for every buffer).
void DrmDevice::GiveLocked(uint64_t offset, uint64_t size) {
  memories_.Discard(memory_, offset, size);
  used_ -= size;
  auto [place, made] = free_.emplace(offset, size);
  CW_INVARIANT(made);
  if (const auto next = std::next(place); next != free_.end() && place->first + place->second == next->first) {
    place->second += next->second;
    free_.erase(next);
  }
  if (place == free_.begin()) return;
  const auto before = std::prev(place);
  if (before->first + before->second != place->first) return;
  before->second += place->second;
  free_.erase(place);
}

}  // namespace causeway::drm
