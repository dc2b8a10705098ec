// SPDX-License-Identifier: Apache-2.0
// Exporters for tests: host-like memory at made-up bus addresses, static or dynamic. A dynamic one can be moved, and
// counts pins.
#pragma once

#include <atomic>
#include <memory>

#include "base/checked.h"
#include "dmabuf/dma_buf.h"

namespace causeway::dmabuf {

// What tests see of a fake exporter, also after its release().
struct FakeExporterState {
  std::atomic<bool> alive{false};  // the last reference may be another thread's
  uint64_t base = 0x100000000;
  int attached = 0, mapped = 0, pinned = 0;
  int cpu_begin = 0, cpu_end = 0;
  Direction last_direction = Direction::kBidirectional;
  int attach_errno = 0, map_errno = 0, pin_errno = 0;  // not 0: that op fails
};

class FakeExporter : public DmaBufOps {
 public:
  FakeExporter(std::shared_ptr<FakeExporterState> state, bool is_dynamic)
      : state_(std::move(state)), dynamic_(is_dynamic) {
    state_->alive = true;
  }
  ~FakeExporter() override { state_->alive = false; }

  Status Attach(DmaBuf&, DmaBufAttachment&) override {
    if (state_->attach_errno != 0) return Err(Errno::FromHost(state_->attach_errno));
    ++state_->attached;
    return {};
  }
  void Detach(DmaBuf&, DmaBufAttachment&) override { --state_->attached; }
  bool dynamic() const override { return dynamic_; }
  Status Pin(DmaBufAttachment&) override {
    if (state_->pin_errno != 0) return Err(Errno::FromHost(state_->pin_errno));
    ++state_->pinned;
    return {};
  }
  void Unpin(DmaBufAttachment&) override { --state_->pinned; }
  Result<SgTable> MapDmaBuf(DmaBufAttachment& attachment, Direction direction) override {
    if (state_->map_errno != 0) return Err(Errno::FromHost(state_->map_errno));
    const uint64_t segment = AlignDown(attachment.max_segment, kPageSize);
    if (segment == 0) return Err(EINVAL);
    ++state_->mapped;
    state_->last_direction = direction;
    SgTable table;
    for (uint64_t at = 0, size = attachment.dmabuf().size(); at < size; at += table.back().len) {
      table.push_back({state_->base + at, std::min(segment, size - at)});
    }
    return table;
  }
  void UnmapDmaBuf(DmaBufAttachment&, const SgTable&, Direction) override { --state_->mapped; }
  Status BeginCpuAccess(DmaBuf&, Direction direction) override {
    ++state_->cpu_begin;
    state_->last_direction = direction;
    return {};
  }
  Status EndCpuAccess(DmaBuf&, Direction direction) override {
    ++state_->cpu_end;
    state_->last_direction = direction;
    return {};
  }

 private:
  const std::shared_ptr<FakeExporterState> state_;
  const bool dynamic_;
};

}  // namespace causeway::dmabuf
