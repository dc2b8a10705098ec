// SPDX-License-Identifier: Apache-2.0
// A dma-buf that a memory region lies in: linux drivers/infiniband/core/umem_dmabuf.c, and of its users mlx5 (dynamic)
// and irdma (pinned, revocable).
//
//   dynamic   the exporter may move the buffer: accesses stall, and go on in the new place
//   pinned    the buffer is pinned first, so that it stays; what the exporter may still do is take it away
//
//   mapped --move_notify--> stalled --mapped again--> mapped        (dynamic)
//                              \-----no mapping-----> revoked       the keys are dead, the region stays
//   mapped --move_notify--------------------------> revoked         (pinned)
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "devices/roce_nic/nic.h"
#include "dmabuf/dma_buf.h"

namespace causeway::infiniband {

class DmaBufImport;

// The thread that maps moved buffers again. The exporter calls with the buffer's lock held and moves afterwards, so
// somebody else must wait for it. Starts with the first move.
class RemapThread {
 public:
  ~RemapThread();  // what still waits is dropped: its accesses stay stalled
  void Queue(Ref<DmaBufImport> import);

 private:
  void Run();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Ref<DmaBufImport>> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

class DmaBufImport : public RefCounted {
 public:
  // Attaches, pins unless dynamic, maps, and programs `create` (whose bus part is filled in here).
  // errors: the exporter's; those of NicDevices::CreateMr().
  static Result<Ref<DmaBufImport>> Create(roce::NicDevices& nics, RemapThread& remap, Ref<dmabuf::DmaBuf> dmabuf,
                                          const pci::Function& importer, bool dynamic, roce::MrCreate create);
  DmaBufImport(roce::NicDevices& nics, RemapThread& remap, Ref<dmabuf::DmaBuf> buffer, bool dynamic, uint64_t offset)
      : nics_(nics), remap_(remap), buffer_(std::move(buffer)), dynamic_(dynamic), offset_(offset) {}

  uint32_t index() const { return index_; }  // of the region; not after Close()
  // Destroys the region and lets go of the buffer. The exporter calls no more when this has returned.
  void Close();
  void Remap();  // on the remap thread

 private:
  Status AttachAndProgram(const pci::Function& importer, roce::MrCreate create);
  void MovedLocked();

  roce::NicDevices& nics_;
  RemapThread& remap_;
  const Ref<dmabuf::DmaBuf> buffer_;
  const bool dynamic_;
  const uint64_t offset_;  // of the region in the buffer
  std::unique_ptr<dmabuf::DmaBufAttachment> attachment_;
  // Guarded by the buffer's reservation lock, which the exporter holds when it moves the buffer.
  uint32_t index_ = 0;
  std::unique_ptr<dmabuf::DmaBufMapping> mapping_;  // dies before its attachment
};

}  // namespace causeway::infiniband
