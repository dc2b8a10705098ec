// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{command_buffer.c,memory.c}.
#include "drivers/habanalabs/cs_ioctl.h"
#include "drivers/habanalabs/device.h"

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kMaxTimestamps = 1u << 20;  // TS_MAX_ELEMENTS_NUM

// hl_cb_create(): a fresh zeroed buffer of whole pages.
Result<uint64_t> Create(HlFile& file, uint32_t size, bool map) {
  if (size > uapi::kHlMaxCbSize) return Err(EINVAL);
  CW_TRY(auto piece, file.device().coherent().Allocate(size));
  const uint64_t bytes = piece.size();
  auto cb = MakeRef<CommandBuffer>(std::move(piece), bytes);
  if (map) {
    // hl_cb_mmu_map(): the inner error is masked by the buffer manager's ENOMEM.
    if (file.device().properties().asic == gaudi::Asic::kGaudi) return Err(ENOMEM);
    const auto va = file.ctx().MapCommandBuffer(cb->piece());
    if (!va) return Err(ENOMEM);
    cb->virtual_addr = *va;
    cb->ctx = file.ctx_ref();
  }
  return file.memory_manager().Add(std::move(cb), uapi::kHlMmapTypeCb);
}

}  // namespace

// hl_cb_ioctl().
Status CbIoctl(HlFile& file, kernel::Task&, uapi::hl_cb_args& args) {
  if (!file.device().operational()) return Err(EBUSY);
  const auto in = args.in;
  switch (in.op) {
    case uapi::kHlCbOpCreate: {
      const auto handle = Create(file, in.cb_size, (in.flags & uapi::kHlCbFlagsMap) != 0);
      args = {};
      if (!handle) return Err(handle.error());
      args.out.cb_handle = *handle;
      return {};
    }
    case uapi::kHlCbOpDestroy: return file.memory_manager().Remove(in.cb_handle);
    case uapi::kHlCbOpInfo: {
      const auto cb = file.memory_manager().Get<CommandBuffer>(in.cb_handle);
      const bool wants_va = (in.flags & uapi::kHlCbFlagsGetDeviceVa) != 0;
      if (!cb || (wants_va && cb->virtual_addr == 0)) {
        args = {};
        return Err(EINVAL);
      }
      args = {};
      if (wants_va) {
        args.out.device_va = cb->virtual_addr;
      } else {
        args.out.info.usage_cnt = cb->cs_cnt.load();
      }
      return {};
    }
    default: return Err(EINVAL);
  }
}

// allocate_timestamps_buffers().
Result<uint64_t> AllocateTimestamps(HlFile& file, uint32_t elements) {
  if (elements > kMaxTimestamps) return Err(EINVAL);
  if (elements == 0) return Err(ENOMEM);
  const uint64_t bytes = uint64_t{elements} * sizeof(uint64_t);
  auto piece = file.device().coherent().Allocate(bytes);
  if (!piece) return Err(ENOMEM);
  return file.memory_manager().Add(MakeRef<TimestampBuffer>(std::move(*piece), bytes), uapi::kHlMmapTypeTsBuff);
}

}  // namespace causeway::habanalabs
