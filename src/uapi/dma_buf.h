// SPDX-License-Identifier: Apache-2.0
// The dma-buf uAPI: ioctls of a dma-buf descriptor. Our own definition of public facts; dma_buf_parity_test.cc compares
// them with the system's <linux/dma-buf.h>. Freestanding.
#pragma once

#include <cstdint>
#include <string_view>

namespace causeway::uapi {

struct dma_buf_sync {
  uint64_t flags;
};
struct dma_buf_export_sync_file {
  uint32_t flags;
  int32_t fd;
};
struct dma_buf_import_sync_file {
  uint32_t flags;
  int32_t fd;
};

constexpr uint64_t kDmaBufSyncRead = 1;
constexpr uint64_t kDmaBufSyncWrite = 2;
constexpr uint64_t kDmaBufSyncRw = kDmaBufSyncRead | kDmaBufSyncWrite;
constexpr uint64_t kDmaBufSyncEnd = 4;
constexpr uint64_t kDmaBufSyncValidFlagsMask = kDmaBufSyncRw | kDmaBufSyncEnd;
constexpr uint64_t kDmaBufNameLen = 32;  // with the terminating NUL

constexpr uint32_t kDmaBufIoctlSync = 0x40086200;            // _IOW('b', 0, struct dma_buf_sync)
constexpr uint32_t kDmaBufSetNameA = 0x40046201;             // _IOW('b', 1, __u32)
constexpr uint32_t kDmaBufSetNameB = 0x40086201;             // _IOW('b', 1, __u64); DMA_BUF_SET_NAME on 64 bits
constexpr uint32_t kDmaBufIoctlExportSyncFile = 0xc0086202;  // _IOWR('b', 2, struct dma_buf_export_sync_file)
constexpr uint32_t kDmaBufIoctlImportSyncFile = 0x40086203;  // _IOW('b', 3, struct dma_buf_import_sync_file)

struct DmaBufIoctl {
  uint32_t request;
  std::string_view name;
  bool served;  // false: ENOTTY, as a kernel without CONFIG_SYNC_FILE answers
};
constexpr DmaBufIoctl kDmaBufIoctls[] = {
    {kDmaBufIoctlSync, "DMA_BUF_IOCTL_SYNC", true},
    {kDmaBufSetNameA, "DMA_BUF_SET_NAME_A", true},
    {kDmaBufSetNameB, "DMA_BUF_SET_NAME_B", true},
    {kDmaBufIoctlExportSyncFile, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE", false},
    {kDmaBufIoctlImportSyncFile, "DMA_BUF_IOCTL_IMPORT_SYNC_FILE", false},
};

}  // namespace causeway::uapi
