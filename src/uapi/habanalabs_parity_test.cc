// SPDX-License-Identifier: Apache-2.0
// Our structs and numbers against the system's <misc/habanalabs.h> (linux-libc-dev): size, offset, value.
#include <gtest/gtest.h>

#include "uapi/habanalabs.h"

#if __has_include(<misc/habanalabs.h>)
#include <misc/habanalabs.h>

namespace {

namespace ours = causeway::uapi;

#define SAME_FIELD(type, field) static_assert(offsetof(ours::type, field) == offsetof(::type, field))
#define SAME_FIELD_SIZE(type, field) \
  SAME_FIELD(type, field);           \
  static_assert(sizeof(ours::type::field) == sizeof(::type::field))
#define SAME_SIZE(type) static_assert(sizeof(ours::type) == sizeof(::type))

SAME_SIZE(hl_info_args);
SAME_FIELD_SIZE(hl_info_args, return_pointer);
SAME_FIELD_SIZE(hl_info_args, return_size);
SAME_FIELD_SIZE(hl_info_args, op);
SAME_FIELD_SIZE(hl_info_args, dcore_id);
SAME_FIELD_SIZE(hl_info_args, pll_index);
SAME_FIELD_SIZE(hl_info_args, eventfd);
SAME_FIELD_SIZE(hl_info_args, pad);

static_assert(ours::kMiscHwIpInfoSize == sizeof(::hl_info_hw_ip_info));
SAME_FIELD_SIZE(hl_info_hw_ip_info, sram_base_address);
SAME_FIELD_SIZE(hl_info_hw_ip_info, dram_base_address);
SAME_FIELD_SIZE(hl_info_hw_ip_info, dram_size);
SAME_FIELD_SIZE(hl_info_hw_ip_info, sram_size);
SAME_FIELD_SIZE(hl_info_hw_ip_info, num_of_events);
SAME_FIELD_SIZE(hl_info_hw_ip_info, device_id);
SAME_FIELD_SIZE(hl_info_hw_ip_info, module_id);
SAME_FIELD_SIZE(hl_info_hw_ip_info, decoder_enabled_mask);
SAME_FIELD_SIZE(hl_info_hw_ip_info, first_available_interrupt_id);
SAME_FIELD_SIZE(hl_info_hw_ip_info, server_type);
SAME_FIELD_SIZE(hl_info_hw_ip_info, cpld_version);
SAME_FIELD_SIZE(hl_info_hw_ip_info, psoc_pci_pll_nr);
SAME_FIELD_SIZE(hl_info_hw_ip_info, psoc_pci_pll_nf);
SAME_FIELD_SIZE(hl_info_hw_ip_info, psoc_pci_pll_od);
SAME_FIELD_SIZE(hl_info_hw_ip_info, psoc_pci_pll_div_factor);
SAME_FIELD_SIZE(hl_info_hw_ip_info, tpc_enabled_mask);
SAME_FIELD_SIZE(hl_info_hw_ip_info, dram_enabled);
SAME_FIELD_SIZE(hl_info_hw_ip_info, security_enabled);
SAME_FIELD_SIZE(hl_info_hw_ip_info, mme_master_slave_mode);
SAME_FIELD_SIZE(hl_info_hw_ip_info, cpucp_version);
SAME_FIELD_SIZE(hl_info_hw_ip_info, card_name);
SAME_FIELD_SIZE(hl_info_hw_ip_info, tpc_enabled_mask_ext);
SAME_FIELD_SIZE(hl_info_hw_ip_info, dram_page_size);
SAME_FIELD_SIZE(hl_info_hw_ip_info, edma_enabled_mask);
SAME_FIELD_SIZE(hl_info_hw_ip_info, number_of_user_interrupts);
SAME_FIELD_SIZE(hl_info_hw_ip_info, device_mem_alloc_default_page_size);

SAME_SIZE(hl_info_dram_usage);
SAME_FIELD(hl_info_dram_usage, ctx_dram_mem);
static_assert(ours::kMiscHwIdleSize == sizeof(::hl_info_hw_idle));
SAME_FIELD(hl_info_hw_idle, busy_engines_mask);
SAME_FIELD(hl_info_hw_idle, busy_engines_mask_ext);
SAME_SIZE(hl_info_device_status);
SAME_SIZE(hl_info_device_utilization);
SAME_SIZE(hl_info_clk_rate);
SAME_FIELD(hl_info_clk_rate, max_clk_rate_mhz);
SAME_SIZE(hl_info_reset_count);
static_assert(ours::kMiscTimeSyncSize == sizeof(::hl_info_time_sync));
SAME_FIELD(hl_info_time_sync, host_time);
SAME_SIZE(hl_info_cs_counters);
SAME_SIZE(hl_info_clk_throttle);
SAME_FIELD(hl_info_clk_throttle, clk_throttling_timestamp_us);
SAME_FIELD(hl_info_clk_throttle, clk_throttling_duration_ns);
SAME_SIZE(hl_info_sync_manager);
SAME_FIELD(hl_info_sync_manager, first_available_cq);
SAME_SIZE(hl_pll_frequency_info);
SAME_SIZE(hl_info_energy);
SAME_SIZE(hl_power_info);
SAME_SIZE(hl_open_stats_info);
SAME_FIELD(hl_open_stats_info, is_compute_ctx_active);
SAME_FIELD(hl_open_stats_info, compute_ctx_in_release);
SAME_SIZE(hl_info_last_err_open_dev_time);
SAME_SIZE(hl_info_cs_timeout_event);
static_assert(sizeof(ours::hl_info_razwi_event_misc) == sizeof(::hl_info_razwi_event));
SAME_SIZE(hl_info_undefined_opcode_event);
SAME_FIELD(hl_info_undefined_opcode_event, cq_addr);
SAME_FIELD(hl_info_undefined_opcode_event, stream_id);
SAME_SIZE(hl_info_dev_memalloc_page_sizes);

SAME_SIZE(hl_mem_in);
SAME_SIZE(hl_mem_args);
SAME_FIELD_SIZE(hl_mem_in, alloc.mem_size);
SAME_FIELD_SIZE(hl_mem_in, alloc.page_size);
SAME_FIELD_SIZE(hl_mem_in, free.handle);
SAME_FIELD_SIZE(hl_mem_in, map_device.hint_addr);
SAME_FIELD_SIZE(hl_mem_in, map_device.handle);
SAME_FIELD_SIZE(hl_mem_in, map_host.host_virt_addr);
SAME_FIELD_SIZE(hl_mem_in, map_host.hint_addr);
SAME_FIELD_SIZE(hl_mem_in, map_host.mem_size);
SAME_FIELD_SIZE(hl_mem_in, map_block.block_addr);
SAME_FIELD_SIZE(hl_mem_in, unmap.device_virt_addr);
static_assert(offsetof(ours::hl_mem_in, export_dmabuf_fd.addr) == offsetof(::hl_mem_in, export_dmabuf_fd.handle));
SAME_FIELD_SIZE(hl_mem_in, export_dmabuf_fd.mem_size);
SAME_FIELD_SIZE(hl_mem_in, op);
SAME_FIELD_SIZE(hl_mem_in, flags);
SAME_FIELD_SIZE(hl_mem_in, ctx_id);
SAME_FIELD_SIZE(hl_mem_in, num_of_elements);
SAME_FIELD(hl_mem_out, fd);

TEST(HabanalabsParity, NumbersOfTheHeader) {
  EXPECT_EQ(ours::HlIoctlH(ours::kHlInfo), HL_IOCTL_INFO);
  EXPECT_EQ(ours::HlIoctlH(ours::kHlCb), HL_IOCTL_CB);
  EXPECT_EQ(ours::HlIoctlH(ours::kHlCs), HL_IOCTL_CS);
  EXPECT_EQ(ours::HlIoctlH(ours::kHlWaitCs), HL_IOCTL_WAIT_CS);
  EXPECT_EQ(ours::HlIoctlH(ours::kHlMemory), HL_IOCTL_MEMORY);
  EXPECT_EQ(ours::HlIoctlH(ours::kHlDebug), HL_IOCTL_DEBUG);
  EXPECT_EQ(ours::kHlCommandStart, HL_COMMAND_START);
  EXPECT_EQ(ours::kHlCommandEnd, HL_COMMAND_END);
}

TEST(HabanalabsParity, OpcodesOfTheHeader) {
  EXPECT_EQ(ours::kHlInfoHwIpInfo, HL_INFO_HW_IP_INFO);
  EXPECT_EQ(ours::kHlInfoHwEvents, HL_INFO_HW_EVENTS);
  EXPECT_EQ(ours::kHlInfoDramUsage, HL_INFO_DRAM_USAGE);
  EXPECT_EQ(ours::kHlInfoHwIdle, HL_INFO_HW_IDLE);
  EXPECT_EQ(ours::kHlInfoDeviceStatus, HL_INFO_DEVICE_STATUS);
  EXPECT_EQ(ours::kHlInfoDeviceUtilization, HL_INFO_DEVICE_UTILIZATION);
  EXPECT_EQ(ours::kHlInfoHwEventsAggregate, HL_INFO_HW_EVENTS_AGGREGATE);
  EXPECT_EQ(ours::kHlInfoClkRate, HL_INFO_CLK_RATE);
  EXPECT_EQ(ours::kHlInfoResetCount, HL_INFO_RESET_COUNT);
  EXPECT_EQ(ours::kHlInfoTimeSync, HL_INFO_TIME_SYNC);
  EXPECT_EQ(ours::kHlInfoCsCounters, HL_INFO_CS_COUNTERS);
  EXPECT_EQ(ours::kHlInfoPciCounters, HL_INFO_PCI_COUNTERS);
  EXPECT_EQ(ours::kHlInfoClkThrottleReason, HL_INFO_CLK_THROTTLE_REASON);
  EXPECT_EQ(ours::kHlInfoSyncManager, HL_INFO_SYNC_MANAGER);
  EXPECT_EQ(ours::kHlInfoTotalEnergy, HL_INFO_TOTAL_ENERGY);
  EXPECT_EQ(ours::kHlInfoPllFrequency, HL_INFO_PLL_FREQUENCY);
  EXPECT_EQ(ours::kHlInfoPower, HL_INFO_POWER);
  EXPECT_EQ(ours::kHlInfoOpenStats, HL_INFO_OPEN_STATS);
  EXPECT_EQ(ours::kHlInfoDramReplacedRows, HL_INFO_DRAM_REPLACED_ROWS);
  EXPECT_EQ(ours::kHlInfoDramPendingRows, HL_INFO_DRAM_PENDING_ROWS);
  EXPECT_EQ(ours::kHlInfoLastErrOpenDevTime, HL_INFO_LAST_ERR_OPEN_DEV_TIME);
  EXPECT_EQ(ours::kHlInfoCsTimeoutEvent, HL_INFO_CS_TIMEOUT_EVENT);
  EXPECT_EQ(ours::kHlInfoRazwiEvent, HL_INFO_RAZWI_EVENT);
  EXPECT_EQ(ours::kHlInfoDevMemAllocPageSizes, HL_INFO_DEV_MEM_ALLOC_PAGE_SIZES);
  EXPECT_EQ(ours::kHlInfoSecuredAttestation, HL_INFO_SECURED_ATTESTATION);
  EXPECT_EQ(ours::kHlInfoRegisterEventfd, HL_INFO_REGISTER_EVENTFD);
  EXPECT_EQ(ours::kHlInfoUnregisterEventfd, HL_INFO_UNREGISTER_EVENTFD);
  EXPECT_EQ(ours::kHlInfoGetEvents, HL_INFO_GET_EVENTS);
  EXPECT_EQ(ours::kHlInfoUndefinedOpcodeEvent, HL_INFO_UNDEFINED_OPCODE_EVENT);
  EXPECT_EQ(ours::kHlInfoEngineStatus, HL_INFO_ENGINE_STATUS);
  EXPECT_EQ(ours::kHlMemOpAlloc, HL_MEM_OP_ALLOC);
  EXPECT_EQ(ours::kHlMemOpFree, HL_MEM_OP_FREE);
  EXPECT_EQ(ours::kHlMemOpMap, HL_MEM_OP_MAP);
  EXPECT_EQ(ours::kHlMemOpUnmap, HL_MEM_OP_UNMAP);
  EXPECT_EQ(ours::kHlMemOpMapBlock, HL_MEM_OP_MAP_BLOCK);
  EXPECT_EQ(ours::kHlMemOpExportDmabufFd, HL_MEM_OP_EXPORT_DMABUF_FD);
  EXPECT_EQ(ours::kHlMemOpTsAlloc, HL_MEM_OP_TS_ALLOC);
  EXPECT_EQ(ours::kHlMemContiguous, HL_MEM_CONTIGUOUS);
  EXPECT_EQ(ours::kHlMemShared, HL_MEM_SHARED);
  EXPECT_EQ(ours::kHlMemUserptr, HL_MEM_USERPTR);
  EXPECT_EQ(ours::kHlMemForceHint, HL_MEM_FORCE_HINT);
  EXPECT_EQ(ours::kHlMemPrefetch, HL_MEM_PREFETCH);
  EXPECT_EQ(ours::kHlStatusOperational, HL_DEVICE_STATUS_OPERATIONAL);
  EXPECT_EQ(ours::kHlStatusInReset, HL_DEVICE_STATUS_IN_RESET);
  EXPECT_EQ(ours::kHlStatusMalfunction, HL_DEVICE_STATUS_MALFUNCTION);
  EXPECT_EQ(ours::kHlStatusNeedsReset, HL_DEVICE_STATUS_NEEDS_RESET);
  EXPECT_EQ(ours::kHlStatusInDeviceCreation, HL_DEVICE_STATUS_IN_DEVICE_CREATION);
  EXPECT_EQ(ours::kHlStatusInResetAfterDeviceRelease, HL_DEVICE_STATUS_IN_RESET_AFTER_DEVICE_RELEASE);
}

}  // namespace
#else
TEST(HabanalabsParity, NumbersOfTheHeader) { GTEST_SKIP() << "the system has no <misc/habanalabs.h>"; }
#endif
