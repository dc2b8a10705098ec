// SPDX-License-Identifier: Apache-2.0
// An importer's bond to a dma-buf: linux v6.1 drivers/dma-buf/dma-buf.c, with CONFIG_DMABUF_MOVE_NOTIFY.
#include "dmabuf/dma_buf.h"

namespace causeway::dmabuf {

DmaBufAttachment::DmaBufAttachment(Ref<DmaBuf> dmabuf, const pci::Function& importer, ImporterOps ops)
    : peer2peer(ops.allow_peer2peer),
      max_segment(ops.max_segment),
      dmabuf_(std::move(dmabuf)),
      importer_(importer),
      ops_(std::move(ops)) {}

// dma_buf_dynamic_attach().
Result<std::unique_ptr<DmaBufAttachment>> DmaBufAttachment::Create(Ref<DmaBuf> dmabuf, const pci::Function& importer,
                                                                   ImporterOps ops) {
  if (!dmabuf) return Err(EINVAL);
  std::unique_ptr<DmaBufAttachment> attachment(new DmaBufAttachment(std::move(dmabuf), importer, std::move(ops)));
  DmaBuf& buffer = *attachment->dmabuf_;
  CW_CHECK(buffer.ops().Attach(buffer, *attachment));  // on failure: not listed, so no Detach()

  const std::lock_guard lock(buffer.resv_mutex());
  buffer.attachments_.push_back(attachment.get());
  attachment->listed_ = true;
  if (attachment->dynamic() == buffer.ops().dynamic()) return attachment;

  // One side cannot follow a move: the mapping is made now and kept, and a dynamic exporter's memory is pinned under
  // it.
  if (buffer.ops().dynamic()) CW_CHECK(attachment->PinLocked());
  // A failure from here on ends in the destructor, which is dma_buf_detach(). The mutex is recursive, and `lock` is
  // destroyed before `attachment`: detach's own part without resv stays without it.
  CW_TRY(attachment->static_table_, buffer.ops().MapDmaBuf(*attachment, Direction::kBidirectional));
  return attachment;
}

// dma_buf_detach(): unlisted under resv, then the exporter's Detach() without it.
DmaBufAttachment::~DmaBufAttachment() {
  if (!listed_) return;
  {
    const std::lock_guard lock(dmabuf_->resv_mutex());
    if (static_table_) dmabuf_->ops().UnmapDmaBuf(*this, *static_table_, Direction::kBidirectional);
    while (pins_ != 0) UnpinLocked();
    dmabuf_->attachments_.remove(this);
  }
  dmabuf_->ops().Detach(*dmabuf_, *this);
}

// dma_buf_pin(): without a pin op memory never moves, and there is nothing to do.
Status DmaBufAttachment::PinLocked() {
  if (!dmabuf_->ops().dynamic()) return {};
  CW_CHECK(dmabuf_->ops().Pin(*this));
  ++pins_;
  return {};
}

void DmaBufAttachment::UnpinLocked() {
  if (!dmabuf_->ops().dynamic()) return;
  CW_INVARIANT(pins_ != 0);
  --pins_;
  dmabuf_->ops().Unpin(*this);
}

// dma_buf_map_attachment(). A mapping kept since attach is bidirectional, so it serves every direction.
Result<std::unique_ptr<DmaBufMapping>> DmaBufAttachment::Map(Direction direction) {
  const std::lock_guard lock(dmabuf_->resv_mutex());
  if (static_table_) return std::make_unique<DmaBufMapping>(*this, *static_table_, direction);
  CW_TRY(SgTable table, dmabuf_->ops().MapDmaBuf(*this, direction));
  return std::make_unique<DmaBufMapping>(*this, std::move(table), direction);
}

// dma_buf_unmap_attachment().
DmaBufMapping::~DmaBufMapping() {
  if (attachment_.static_table_) return;
  const std::lock_guard lock(attachment_.dmabuf_->resv_mutex());
  attachment_.dmabuf_->ops().UnmapDmaBuf(attachment_, table_, direction_);
}

}  // namespace causeway::dmabuf
