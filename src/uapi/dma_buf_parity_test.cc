// SPDX-License-Identifier: Apache-2.0
// Our dma-buf numbers against the system's <linux/dma-buf.h>.
#include <gtest/gtest.h>
#include <linux/dma-buf.h>
#include <sys/ioctl.h>

#include "uapi/dma_buf.h"

namespace {

namespace ours = causeway::uapi;

static_assert(sizeof(ours::dma_buf_sync) == sizeof(::dma_buf_sync));
static_assert(sizeof(ours::dma_buf_export_sync_file) == 8 && sizeof(ours::dma_buf_import_sync_file) == 8);

TEST(DmaBufParity, NumbersOfTheHeader) {
  EXPECT_EQ(ours::kDmaBufIoctlSync, DMA_BUF_IOCTL_SYNC);
  EXPECT_EQ(ours::kDmaBufSetNameA, DMA_BUF_SET_NAME_A);
  EXPECT_EQ(ours::kDmaBufSetNameB, DMA_BUF_SET_NAME_B);
#ifdef DMA_BUF_IOCTL_EXPORT_SYNC_FILE
  EXPECT_EQ(ours::kDmaBufIoctlExportSyncFile, DMA_BUF_IOCTL_EXPORT_SYNC_FILE);
  EXPECT_EQ(ours::kDmaBufIoctlImportSyncFile, DMA_BUF_IOCTL_IMPORT_SYNC_FILE);
#endif
  EXPECT_EQ(ours::kDmaBufNameLen, DMA_BUF_NAME_LEN);
  EXPECT_EQ(ours::kDmaBufSyncRead, DMA_BUF_SYNC_READ);
  EXPECT_EQ(ours::kDmaBufSyncWrite, DMA_BUF_SYNC_WRITE);
  EXPECT_EQ(ours::kDmaBufSyncEnd, DMA_BUF_SYNC_END);
  EXPECT_EQ(ours::kDmaBufSyncValidFlagsMask, DMA_BUF_SYNC_VALID_FLAGS_MASK);
}

}  // namespace
