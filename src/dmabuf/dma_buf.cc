// SPDX-License-Identifier: Apache-2.0
// The dma-buf's file: linux v6.1 drivers/dma-buf/dma-buf.c.
#include "dmabuf/dma_buf.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "kernel/task.h"
#include "uapi/dma_buf.h"

namespace causeway::dmabuf {
namespace {

std::atomic<uint64_t> next_inode{1};  // dma_buf_getfile()'s dmabuf_inode

// strndup_user(): at most `limit` bytes with the NUL. errors: EFAULT; EINVAL no NUL within the limit. Reads up to a
// page's end at a time, so that a name that ends just below an unmapped page is read.
Result<std::string> ReadUserString(kernel::UserMemory& memory, uint64_t address, uint64_t limit) {
  std::string text;
  while (text.size() < limit) {
    const uint64_t at = address + text.size();
    const uint64_t chunk = std::min(limit - text.size(), kPageSize - at % kPageSize);
    std::array<std::byte, uapi::kDmaBufNameLen> bytes;
    CW_CHECK(memory.CopyFrom(std::span(bytes).first(chunk), at));
    for (uint64_t i = 0; i < chunk; ++i) {
      if (bytes[i] == std::byte{0}) return text;
      text.push_back(static_cast<char>(bytes[i]));
    }
  }
  return Err(EINVAL);
}

// dma_buf_ioctl(), DMA_BUF_IOCTL_SYNC.
Status SyncIoctl(DmaBuf& dmabuf, kernel::Task& task, uint64_t arg) {
  CW_TRY(const auto sync, task.memory().Read<uapi::dma_buf_sync>(arg));
  if ((sync.flags & ~uapi::kDmaBufSyncValidFlagsMask) != 0) return Err(EINVAL);
  Direction direction;
  switch (sync.flags & uapi::kDmaBufSyncRw) {
    case uapi::kDmaBufSyncRead: direction = Direction::kFromDevice; break;
    case uapi::kDmaBufSyncWrite: direction = Direction::kToDevice; break;
    case uapi::kDmaBufSyncRw: direction = Direction::kBidirectional; break;
    default: return Err(EINVAL);
  }
  if ((sync.flags & uapi::kDmaBufSyncEnd) != 0) return dmabuf.ops().EndCpuAccess(dmabuf, direction);
  return dmabuf.ops().BeginCpuAccess(dmabuf, direction);
}

}  // namespace

Result<Ref<DmaBuf>> DmaBuf::Export(ExportInfo info) {
  if (info.ops == nullptr || info.size == 0) return Err(EINVAL);
  return Ref<DmaBuf>::Adopt(new DmaBuf(std::move(info)));
}

DmaBuf::DmaBuf(ExportInfo info)
    : kernel::File(ipc::kFileDmaBuf),
      exporter_name_(std::move(info.exporter_name)),
      size_(info.size),
      function_(info.function),
      inode_(next_inode.fetch_add(1, std::memory_order_relaxed)),
      ops_(std::move(info.ops)) {}

// dma_buf_release(): every attachment holds a reference, so none is left here. ~DmaBufOps is the exporter's release().
DmaBuf::~DmaBuf() { CW_INVARIANT(attachments_.empty()); }

size_t DmaBuf::attachment_count() const {
  const std::lock_guard lock(resv_mutex_);
  return attachments_.size();
}

std::string DmaBuf::name() const {
  const std::lock_guard lock(resv_mutex_);
  return name_;
}

void DmaBuf::MoveNotifyLocked() {
  for (DmaBufAttachment* attachment : attachments_) {
    if (attachment->dynamic()) attachment->importer_ops().move_notify(*attachment);
  }
}

Result<int64_t> DmaBuf::Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) {
  switch (request) {
    case uapi::kDmaBufIoctlSync: {
      CW_CHECK(SyncIoctl(*this, task, arg));
      return 0;
    }
    case uapi::kDmaBufSetNameA:
    case uapi::kDmaBufSetNameB: {
      // dma_buf_set_name(). The number's two sizes are an accident of 32-bit Android; the argument is the string
      // itself.
      CW_TRY(auto name, ReadUserString(task.memory(), arg, uapi::kDmaBufNameLen));
      const std::lock_guard lock(resv_mutex_);
      name_ = std::move(name);
      return 0;
    }
    default: return Err(ENOTTY);
  }
}

// dma_buf_mmap_internal().
Result<kernel::Mapping> DmaBuf::Mmap(kernel::Task&, const kernel::MmapRequest& request) {
  if (request.length == 0 || request.length > UINT64_MAX - kPageSize) return Err(EINVAL);
  const uint64_t size = AlignDown(size_, kPageSize);
  if (!InRange(request.offset, AlignUp(request.length, kPageSize), size)) return Err(EINVAL);
  return ops_->Mmap(*this, request);
}

// dma_buf_llseek(): only to learn the size.
Result<int64_t> DmaBuf::Seek(kernel::Task&, int64_t offset, int whence) {
  if ((whence != SEEK_END && whence != SEEK_SET) || offset != 0) return Err(EINVAL);
  return whence == SEEK_END ? static_cast<int64_t>(size_) : 0;
}

// alloc_anon_inode(): mode 0600 without a file type.
kernel::FileStat DmaBuf::Stat() const { return {.mode = S_IRUSR | S_IWUSR, .size = size_, .inode = inode_}; }

// dmabuffs_dname().
std::string DmaBuf::Name() const { return "/dmabuf:" + name(); }

// dma_buf_show_fdinfo(). Deviation: `count` sees one holder for all descriptors of programs together, where Linux
// counts each process that has one; attachments count as in Linux.
std::string DmaBuf::FdInfo() const {
  // The caller's own reference is left out, as the one procfs takes.
  const uint32_t count = std::max(ref_count_for_report(), 2u) - 1;
  std::string text = "size:\t" + std::to_string(size_) + "\ncount:\t" + std::to_string(count) + "\nexp_name:\t" +
                     exporter_name_ + "\n";
  if (const std::string given = name(); !given.empty()) text += "name:\t" + given + "\n";
  return text;
}

}  // namespace causeway::dmabuf
