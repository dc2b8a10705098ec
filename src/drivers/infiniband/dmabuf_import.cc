// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/dmabuf_import.h"

#include <vector>

#include "base/log.h"

namespace causeway::infiniband {
namespace {

std::vector<roce::BusSegment> SegmentsOf(const dmabuf::DmaBufMapping& mapping) {
  std::vector<roce::BusSegment> segments;
  for (const dmabuf::SgEntry& entry : mapping.table()) segments.push_back({entry.dma_address, entry.len});
  return segments;
}

}  // namespace

RemapThread::~RemapThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void RemapThread::Queue(Ref<DmaBufImport> import) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  queue_.push_back(std::move(import));
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  wake_.notify_all();
}

void RemapThread::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Ref<DmaBufImport> import = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    import->Remap();
    import.Reset();
    lock.lock();
  }
}

Result<Ref<DmaBufImport>> DmaBufImport::Create(roce::NicDevices& nics, RemapThread& remap, Ref<dmabuf::DmaBuf> dmabuf,
                                               const pci::Function& importer, bool dynamic, roce::MrCreate create) {
  auto import = MakeRef<DmaBufImport>(nics, remap, std::move(dmabuf), dynamic, create.bus_offset);
  if (const Status done = import->AttachAndProgram(importer, create); !done) {
    import->Close();
    return Err(done.error());
  }
  return import;
}

// ib_umem_dmabuf_get_pinned(), ib_umem_dmabuf_map_pages().
Status DmaBufImport::AttachAndProgram(const pci::Function& importer, roce::MrCreate create) {
  CW_TRY(attachment_,
         dmabuf::DmaBufAttachment::Create(
             buffer_, importer,
             {.allow_peer2peer = true, .move_notify = [this](dmabuf::DmaBufAttachment&) { MovedLocked(); }}));
  const std::lock_guard lock(buffer_->resv_mutex());
  if (!dynamic_) CW_CHECK(attachment_->PinLocked());
  CW_TRY(mapping_, attachment_->Map(dmabuf::Direction::kBidirectional));
  const auto segments = SegmentsOf(*mapping_);
  create.bus = segments;
  CW_TRY(index_, nics_.CreateMr(create));
  return {};
}

// mlx5_ib_dmabuf_invalidate_cb(), irdma's revoke: no access is in progress when the mapping goes.
void DmaBufImport::MovedLocked() {
  if (index_ == 0 || mapping_ == nullptr) return;  // not yet, not any more, or moved already
  if (!dynamic_) {
    nics_.InvalidateMr(index_);
    mapping_.reset();
    return;
  }
  nics_.StallMr(index_);
  mapping_.reset();
  remap_.Queue(Ref<DmaBufImport>::Share(this));  // the region's reference is there as long as we are called
}

// pagefault_dmabuf_mr(). An exporter that has no mapping for us any more has revoked the buffer.
void DmaBufImport::Remap() {
  const std::lock_guard lock(buffer_->resv_mutex());
  if (index_ == 0 || mapping_ != nullptr) return;
  const Status resumed = [this]() -> Status {
    CW_TRY(mapping_, attachment_->Map(dmabuf::Direction::kBidirectional));
    return nics_.ResumeMr(index_, SegmentsOf(*mapping_), offset_);
  }();
  if (resumed) return;
  log::Info("infiniband: a moved dma-buf cannot be reached any more (errno {})", resumed.error().code());
  nics_.InvalidateMr(index_);
  mapping_.reset();
}

void DmaBufImport::Close() {
  {
    const std::lock_guard lock(buffer_->resv_mutex());
    if (const uint32_t index = std::exchange(index_, 0); index != 0) nics_.DestroyMr(index);
    mapping_.reset();
  }
  attachment_.reset();
}

}  // namespace causeway::infiniband
