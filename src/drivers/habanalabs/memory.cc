// SPDX-License-Identifier: Apache-2.0
// Source: linux v6.12 drivers/accel/habanalabs/common/memory.c hl_mem_ioctl(); v6.1 has the same order and errno.
#include "drivers/habanalabs/memory.h"

#include "drivers/habanalabs/cs_ioctl.h"
#include "drivers/habanalabs/dma_buf_export.h"

namespace causeway::habanalabs {
namespace {

Status Alloc(HlFile& file, uapi::hl_mem_args& args) {
  const uapi::hl_mem_in in = args.in;
  if (in.alloc.mem_size == 0) return Err(EINVAL);  // args stay as sent
  args = {};
  if (!file.device().properties().dram_supports_virtual_memory) {
    // Gaudi's programs manage device memory themselves; the driver only counts what they say. Handle 0.
    file.device().AddDramUsed(file.ctx(), in.alloc.mem_size);
    return {};
  }
  CW_TRY(const uint32_t handle, file.device().AllocateMemory(file.ctx(), in.alloc.mem_size, in.flags));
  args.out.handle = handle;
  return {};
}

Status Free(HlFile& file, const uapi::hl_mem_in& in) {
  if (!file.device().properties().dram_supports_virtual_memory) {
    // The kernel subtracts alloc.mem_size, which lies where the handle does.
    file.device().AddDramUsed(file.ctx(), -in.alloc.mem_size);
    return {};
  }
  return file.device().FreeMemory(file.ctx(), static_cast<uint32_t>(in.free.handle));
}

Status Map(HlFile& file, kernel::Task& task, uapi::hl_mem_args& args) {
  const uapi::hl_mem_in in = args.in;
  args = {};
  if ((in.flags & uapi::kHlMemUserptr) != 0) {
    CW_TRY(args.out.device_virt_addr,
           file.ctx().MapHost(task, in.map_host.host_virt_addr, in.map_host.mem_size, in.map_host.hint_addr, in.flags));
    return {};
  }
  CW_TRY(args.out.device_virt_addr,
         file.ctx().MapDevice(static_cast<uint32_t>(in.map_device.handle), in.map_device.hint_addr, in.flags));
  return {};
}

Status Export(HlFile& file, kernel::Task& task, uapi::hl_mem_args& args) {
  const uapi::hl_mem_in in = args.in;
  args = {};
  args.out.fd = -EBADF;
  CW_TRY(args.out.fd, ExportDmaBuf(file, task, in.export_dmabuf_fd.addr, in.export_dmabuf_fd.mem_size,
                                   in.export_dmabuf_fd.offset, in.flags));
  return {};
}

Status MapBlock(HlFile& file, uapi::hl_mem_args& args) {
  const uint64_t address = args.in.map_block.block_addr;
  args.out.block.block_handle = 0;
  args.out.block.block_size = 0;
  CW_TRY(const BlockHandle block, habanalabs::MapBlock(file.device().properties().asic, address));
  args.out.block.block_handle = block.handle;
  args.out.block.block_size = block.size;
  return {};
}

}  // namespace

Status MemoryIoctl(HlFile& file, kernel::Task& task, uapi::hl_mem_args& args) {
  if (!file.device().operational()) return Err(EBUSY);
  switch (args.in.op) {
    case uapi::kHlMemOpAlloc: return Alloc(file, args);
    case uapi::kHlMemOpFree: return Free(file, args.in);
    case uapi::kHlMemOpMap: return Map(file, task, args);
    case uapi::kHlMemOpUnmap: return file.ctx().Unmap(args.in.unmap.device_virt_addr);
    case uapi::kHlMemOpMapBlock: return MapBlock(file, args);
    case uapi::kHlMemOpExportDmabufFd: return Export(file, task, args);
    case uapi::kHlMemOpTsAlloc: {
      CW_TRY(const uint64_t handle, AllocateTimestamps(file, args.in.num_of_elements));
      args = {};
      args.out.handle = handle;
      return {};
    }
    default: return Err(EINVAL);
  }
}

}  // namespace causeway::habanalabs
