// SPDX-License-Identifier: Apache-2.0
// dma-buf: memory that one device exports and others import (linux drivers/dma-buf/dma-buf.c). The roles:
//
//   exporter    owns the memory and serves DmaBufOps (habanalabs)
//   importer    a device that will access it: attaches, maps, accesses the scatterlist, unmaps, detaches (the NIC)
//   DmaBuf      the file between them: descriptors in programs and attachments in the kernel half hold it
//
//   Attach() --ok--> attachment --Map()--> scatterlist of DMA addresses --~Mapping--> attachment --~DmaBufAttachment
//
// A pinned importer (no move_notify) pins before it maps; a dynamic importer is told by move_notify that its mapping is
// void and maps again. Locking: resv is the buffer's reservation lock; map, unmap, pin, unpin and move_notify run with
// it held, attach and detach of an exporter without (dma-buf.c, "DOC: locking convention").
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "kernel/file.h"
#include "pci/function.h"

namespace causeway::dmabuf {

enum class Direction { kBidirectional, kToDevice, kFromDevice };  // enum dma_data_direction

// One scatterlist entry: an address as the importer puts it on the bus. Only DMA address and length exist: exporters of
// device memory give no pages.
struct SgEntry {
  uint64_t dma_address = 0;
  uint64_t len = 0;  // bytes, > 0
  friend bool operator==(const SgEntry&, const SgEntry&) = default;
};
using SgTable = std::vector<SgEntry>;

class DmaBuf;
class DmaBufAttachment;

// struct dma_buf_attach_ops, importer side.
struct ImporterOps {
  bool allow_peer2peer = false;
  // The mapping is void; the importer must stop using it and map again. Called with resv held. Empty: pinned importer.
  std::function<void(DmaBufAttachment&)> move_notify;
  // dma_get_max_seg_size() of the importer: the largest entry it takes, bytes.
  uint64_t max_segment = uint64_t{2} << 30;
};

// struct dma_buf_ops, exporter side. Defaults are what dma-buf.c does when an exporter leaves the op out.
class DmaBufOps {
 public:
  virtual ~DmaBufOps() = default;  // dma_buf_ops.release: the last holder is gone
  virtual Status Attach(DmaBuf&, DmaBufAttachment&) { return {}; }
  virtual void Detach(DmaBuf&, DmaBufAttachment&) {}
  // A dynamic exporter has pin and unpin; without them memory never moves.
  virtual bool dynamic() const { return false; }
  virtual Status Pin(DmaBufAttachment&) { return {}; }
  virtual void Unpin(DmaBufAttachment&) {}
  virtual Result<SgTable> MapDmaBuf(DmaBufAttachment&, Direction) = 0;
  virtual void UnmapDmaBuf(DmaBufAttachment&, const SgTable&, Direction) = 0;
  // EINVAL: dma_buf_mmap_internal() when the exporter has no mmap op.
  virtual Result<kernel::Mapping> Mmap(DmaBuf&, const kernel::MmapRequest&) { return Err(EINVAL); }
  virtual Status BeginCpuAccess(DmaBuf&, Direction) { return {}; }
  virtual Status EndCpuAccess(DmaBuf&, Direction) { return {}; }
};

struct ExportInfo {
  std::string exporter_name;  // "habanalabs"
  uint64_t size = 0;          // bytes
  std::unique_ptr<DmaBufOps> ops;
  const pci::Function* function = nullptr;  // whose memory it is; nullptr: host memory
};

class DmaBuf : public kernel::File {
 public:
  // dma_buf_export(). errors: EINVAL without ops or with size 0.
  static Result<Ref<DmaBuf>> Export(ExportInfo info);
  ~DmaBuf() override;

  uint64_t size() const { return size_; }
  const std::string& exporter_name() const { return exporter_name_; }
  const pci::Function* function() const { return function_; }
  DmaBufOps& ops() { return *ops_; }
  std::recursive_mutex& resv_mutex() { return resv_mutex_; }
  size_t attachment_count() const;
  std::string name() const;  // DMA_BUF_SET_NAME

  // dma_buf_move_notify(): tells every dynamic importer. The caller (the exporter) holds resv.
  void MoveNotifyLocked();

  Result<int64_t> Ioctl(kernel::Task&, uint32_t request, uint64_t arg) override;
  Result<kernel::Mapping> Mmap(kernel::Task&, const kernel::MmapRequest&) override;
  Result<int64_t> Seek(kernel::Task&, int64_t offset, int whence) override;
  kernel::FileStat Stat() const override;
  std::string Name() const override;
  std::string FdInfo() const override;

 private:
  friend class DmaBufAttachment;
  explicit DmaBuf(ExportInfo info);

  const std::string exporter_name_;
  const uint64_t size_;
  const pci::Function* const function_;
  const uint64_t inode_;
  std::unique_ptr<DmaBufOps> ops_;
  mutable std::recursive_mutex resv_mutex_;  // guards attachments_ and name_
  std::list<DmaBufAttachment*> attachments_;
  std::string name_;
};

// One importer's mapping: unmaps when destroyed.
class DmaBufMapping {
 public:
  DmaBufMapping(DmaBufAttachment& attachment, SgTable table, Direction direction)
      : attachment_(attachment), table_(std::move(table)), direction_(direction) {}
  DmaBufMapping(const DmaBufMapping&) = delete;
  DmaBufMapping& operator=(const DmaBufMapping&) = delete;
  ~DmaBufMapping();
  const SgTable& table() const { return table_; }

 private:
  DmaBufAttachment& attachment_;
  const SgTable table_;
  const Direction direction_;
};

// struct dma_buf_attachment: one importer's bond to one dma-buf. Holds a reference on the DmaBuf, so the exporter's
// memory lives until the last importer lets go, whatever happens to the descriptors.
class DmaBufAttachment {
 public:
  // dma_buf_dynamic_attach(). Fails as the exporter's Attach() fails. When one side is dynamic and the other is not,
  // the mapping is made here and kept until detach (with a pin, if the exporter is the dynamic one), so map errors show
  // at attach. Takes resv: the caller must not hold it.
  static Result<std::unique_ptr<DmaBufAttachment>> Create(Ref<DmaBuf> dmabuf, const pci::Function& importer,
                                                          ImporterOps ops = {});
  ~DmaBufAttachment();

  // dma_buf_pin() / dma_buf_unpin(). The caller holds resv.
  Status PinLocked();
  void UnpinLocked();
  // dma_buf_map_attachment(). Page-aligned entries that sum to the buffer's size. The mapping dies before its
  // attachment.
  Result<std::unique_ptr<DmaBufMapping>> Map(Direction direction);

  DmaBuf& dmabuf() { return *dmabuf_; }
  const pci::Function& importer() const { return importer_; }
  const ImporterOps& importer_ops() const { return ops_; }
  bool dynamic() const { return static_cast<bool>(ops_.move_notify); }
  // attachment->peer2peer: set from the importer's allow_peer2peer; an exporter's Attach() clears it when no
  // peer-to-peer path exists.
  bool peer2peer = false;
  uint64_t max_segment;  // ImporterOps::max_segment

 private:
  friend class DmaBufMapping;
  friend class DmaBuf;
  DmaBufAttachment(Ref<DmaBuf> dmabuf, const pci::Function& importer, ImporterOps ops);

  const Ref<DmaBuf> dmabuf_;
  const pci::Function& importer_;  // outlives every attachment: functions go after files
  const ImporterOps ops_;
  bool listed_ = false;
  uint32_t pins_ = 0;                    // PinLocked() calls not undone; guarded by resv
  std::optional<SgTable> static_table_;  // mapped at attach: one side dynamic, the other not (attachment->sgt)
};

}  // namespace causeway::dmabuf
