// SPDX-License-Identifier: Apache-2.0
// The habanalabs uAPI: numbers and structs of every flavour, memory side and INFO. Our own definition of public facts:
// linux v6.1 include/uapi/misc/habanalabs.h ("misc") and v6.12 include/uapi/drm/habanalabs_accel.h ("accel").
// habanalabs_parity_test.cc compares with the system's <misc/habanalabs.h>. Freestanding.
//
// The two headers differ by growth at the end of structs; a struct below is the longest form, and kMisc... sizes say
// where the shorter one ends. INFO copies min(return_size, size), so a prefix is always a valid answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace causeway::uapi {

// One row per ioctl of the family. Numbers of both schemes: type 'H' nr 1..6 (misc and the vendor's accel driver), and
// DRM type 'd' nr 0x40..0x45 (linux >= 6.7). Direction is _IOWR for all.
struct HlIoctl {
  std::string_view name;  // HL_IOCTL_<name>, DRM_IOCTL_HL_<name>
  uint8_t nr;             // 'H'
  uint8_t drm_nr;         // 'd'
  uint16_t size;          // bytes of the argument
};
enum HlIoctlRow : size_t { kHlInfo, kHlCb, kHlCs, kHlWaitCs, kHlMemory, kHlDebug, kHlIoctlCount };
constexpr HlIoctl kHlIoctls[kHlIoctlCount] = {
    {"INFO", 1, 0x40, 24},    {"CB", 2, 0x41, 24},     {"CS", 3, 0x42, 48},
    {"WAIT_CS", 4, 0x43, 56}, {"MEMORY", 5, 0x44, 40}, {"DEBUG", 6, 0x45, 40},
};
constexpr uint8_t kHlCommandStart = 1;  // HL_COMMAND_START
constexpr uint8_t kHlCommandEnd = 7;    // HL_COMMAND_END
constexpr uint8_t kDrmCommandBase = 0x40;

constexpr uint32_t HlRequest(uint8_t type, uint8_t nr, uint16_t size) {  // _IOWR(type, nr, size)
  return uint32_t{3} << 30 | static_cast<uint32_t>(size) << 16 | static_cast<uint32_t>(type) << 8 | nr;
}
constexpr uint32_t HlIoctlH(HlIoctlRow row) { return HlRequest('H', kHlIoctls[row].nr, kHlIoctls[row].size); }
constexpr uint32_t HlIoctlDrm(HlIoctlRow row) { return HlRequest('d', kHlIoctls[row].drm_nr, kHlIoctls[row].size); }
static_assert(HlIoctlH(kHlInfo) == 0xC0184801 && HlIoctlH(kHlMemory) == 0xC0284805);
static_assert(HlIoctlDrm(kHlInfo) == 0xC0186440 && HlIoctlDrm(kHlMemory) == 0xC0286444);

// Fields of an ioctl request number (asm-generic/ioctl.h).
constexpr uint8_t IocNr(uint32_t request) { return static_cast<uint8_t>(request); }
constexpr uint8_t IocType(uint32_t request) { return static_cast<uint8_t>(request >> 8); }
constexpr uint16_t IocSize(uint32_t request) { return static_cast<uint16_t>((request >> 16) & 0x3fff); }
constexpr bool IocIn(uint32_t request) { return (request >> 30 & 1) != 0; }
constexpr bool IocOut(uint32_t request) { return (request >> 31 & 1) != 0; }

// --- INFO ---------------------------------------------------------------------------------------------------------

struct hl_info_args {
  uint64_t return_pointer;
  uint32_t return_size;
  uint32_t op;
  union {
    uint32_t dcore_id, ctx_id, period_ms, pll_index, eventfd, user_buffer_actual_size, sec_attest_nonce, array_size,
        fw_sub_opcode;
  };
  uint32_t pad;
};
static_assert(sizeof(hl_info_args) == 24);

enum HlInfoOp : uint32_t {  // HL_INFO_...
  kHlInfoHwIpInfo = 0,
  kHlInfoHwEvents = 1,
  kHlInfoDramUsage = 2,
  kHlInfoHwIdle = 3,
  kHlInfoDeviceStatus = 4,
  kHlInfoDeviceUtilization = 6,
  kHlInfoHwEventsAggregate = 7,
  kHlInfoClkRate = 8,
  kHlInfoResetCount = 9,
  kHlInfoTimeSync = 10,
  kHlInfoCsCounters = 11,
  kHlInfoPciCounters = 12,
  kHlInfoClkThrottleReason = 13,
  kHlInfoSyncManager = 14,
  kHlInfoTotalEnergy = 15,
  kHlInfoPllFrequency = 16,
  kHlInfoPower = 17,
  kHlInfoOpenStats = 18,
  kHlInfoDramReplacedRows = 21,
  kHlInfoDramPendingRows = 22,
  kHlInfoLastErrOpenDevTime = 23,
  kHlInfoCsTimeoutEvent = 24,
  kHlInfoRazwiEvent = 25,
  kHlInfoDevMemAllocPageSizes = 26,
  kHlInfoSecuredAttestation = 27,
  kHlInfoRegisterEventfd = 28,
  kHlInfoUnregisterEventfd = 29,
  kHlInfoGetEvents = 30,
  kHlInfoUndefinedOpcodeEvent = 31,
  kHlInfoEngineStatus = 32,
  kHlInfoPageFaultEvent = 33,
  kHlInfoUserMappings = 34,
  kHlInfoFwGenericReq = 35,
  kHlInfoHwErrEvent = 36,
  kHlInfoFwErrEvent = 37,
  kHlInfoUserEngineErrEvent = 38,
  kHlInfoDevSigned = 40,
};

struct hl_info_hw_ip_info {
  uint64_t sram_base_address;
  uint64_t dram_base_address;
  uint64_t dram_size;
  uint32_t sram_size;
  uint32_t num_of_events;
  uint32_t device_id;
  uint32_t module_id;
  uint32_t decoder_enabled_mask;
  uint16_t first_available_interrupt_id;
  uint16_t server_type;
  uint32_t cpld_version;
  uint32_t psoc_pci_pll_nr;
  uint32_t psoc_pci_pll_nf;
  uint32_t psoc_pci_pll_od;
  uint32_t psoc_pci_pll_div_factor;
  uint8_t tpc_enabled_mask;
  uint8_t dram_enabled;
  uint8_t security_enabled;
  uint8_t mme_master_slave_mode;
  uint8_t cpucp_version[128];
  uint8_t card_name[16];
  uint64_t tpc_enabled_mask_ext;
  uint64_t dram_page_size;
  uint32_t edma_enabled_mask;
  uint16_t number_of_user_interrupts;
  uint16_t pad2;
  uint64_t reserved4;
  uint64_t device_mem_alloc_default_page_size;
  // accel from here on
  uint64_t reserved5;
  uint64_t reserved6;
  uint32_t reserved7;
  uint8_t reserved8;
  uint8_t revision_id;
  uint16_t tpc_interrupt_id;
  uint32_t rotator_enabled_mask;
  uint32_t reserved9;
  uint64_t engine_core_interrupt_reg_addr;
  uint64_t reserved_dram_size;
};
constexpr size_t kMiscHwIpInfoSize = 256;
static_assert(sizeof(hl_info_hw_ip_info) == 304);
static_assert(offsetof(hl_info_hw_ip_info, cpucp_version) == 72);
static_assert(offsetof(hl_info_hw_ip_info, edma_enabled_mask) == 232);
static_assert(offsetof(hl_info_hw_ip_info, reserved5) == kMiscHwIpInfoSize);
static_assert(offsetof(hl_info_hw_ip_info, revision_id) == 277);
static_assert(offsetof(hl_info_hw_ip_info, reserved_dram_size) == 296);

struct hl_info_dram_usage {
  uint64_t dram_free_mem;
  uint64_t ctx_dram_mem;
};
struct hl_info_hw_idle {
  uint32_t is_idle;
  uint32_t busy_engines_mask;
  uint64_t busy_engines_mask_ext[4];
};
constexpr size_t kMiscHwIdleSize = 24;  // two words of the extended mask
struct hl_info_device_status {
  uint32_t status;
  uint32_t pad;
};
struct hl_info_device_utilization {
  uint32_t utilization;  // percent
  uint32_t pad;
};
struct hl_info_clk_rate {
  uint32_t cur_clk_rate_mhz;
  uint32_t max_clk_rate_mhz;
};
struct hl_info_reset_count {
  uint32_t hard_reset_cnt;
  uint32_t soft_reset_cnt;
};
struct hl_info_time_sync {
  uint64_t device_time;
  uint64_t host_time;
  uint64_t tsc_time;
};
constexpr size_t kMiscTimeSyncSize = 16;
struct hl_info_cs_counters {
  uint64_t counters[12];  // pairs total, ctx: out_of_mem, parsing, queue_full, in_reset, max_in_flight, validation
};
struct hl_info_clk_throttle {
  uint32_t clk_throttling_reason;
  uint32_t pad;
  uint64_t clk_throttling_timestamp_us[2];
  uint64_t clk_throttling_duration_ns[2];
};
struct hl_info_sync_manager {
  uint32_t first_available_sync_object;
  uint32_t first_available_monitor;
  uint32_t first_available_cq;
  uint32_t reserved;
};
constexpr uint32_t kHlMaxDcores = 8;
struct hl_pll_frequency_info {
  uint16_t output[4];  // MHz
};
struct hl_info_energy {
  uint64_t total_energy_consumption;  // mJ
};
struct hl_power_info {
  uint64_t power;  // mW
};
struct hl_open_stats_info {
  uint64_t open_counter;
  uint64_t last_open_period_ms;
  uint8_t is_compute_ctx_active;
  uint8_t compute_ctx_in_release;
  uint8_t pad[6];
};
struct hl_info_last_err_open_dev_time {
  int64_t timestamp;  // ktime, ns
};
struct hl_info_cs_timeout_event {
  int64_t timestamp;
  uint64_t seq;
};
struct hl_info_razwi_event_misc {
  int64_t timestamp;
  uint64_t addr;
  uint16_t engine_id_1;
  uint16_t engine_id_2;
  uint8_t no_engine_id;
  uint8_t error_type;
  uint8_t pad[2];
};
struct hl_info_undefined_opcode_event {
  int64_t timestamp;
  uint64_t cb_addr_streams[4][8];
  uint64_t cq_addr;
  uint32_t cq_size;
  uint32_t cb_addr_streams_len;
  uint32_t engine_id;
  uint32_t stream_id;
};
struct hl_info_dev_memalloc_page_sizes {
  uint64_t page_order_bitmask;
};
struct hl_info_pci_counters {
  uint64_t rx_throughput;  // KB/s
  uint64_t tx_throughput;
  uint64_t replay_cnt;
};
struct hl_info_razwi_event {  // accel
  int64_t timestamp;
  uint64_t addr;
  uint16_t engine_id[128];
  uint16_t num_of_possible_engines;
  uint8_t flags;  // kHlRazwi...
  uint8_t pad[5];
};
struct hl_page_fault_info {
  int64_t timestamp;
  uint64_t addr;
  uint16_t engine_id;
  uint8_t pad[6];
};
struct hl_user_mapping {
  uint64_t dev_va;
  uint64_t size;
};
struct hl_info_hw_err_event {
  int64_t timestamp;
  uint16_t event_id;
  uint16_t pad[3];
};
struct hl_info_fw_err_event {
  int64_t timestamp;
  uint16_t err_type;  // kHlFwErr...
  uint16_t event_id;
  uint32_t pad;
};
struct hl_info_engine_err_event {
  int64_t timestamp;
  uint16_t engine_id;
  uint16_t error_count;
  uint32_t pad;
};
static_assert(sizeof(hl_info_razwi_event) == 280 && sizeof(hl_page_fault_info) == 24);
static_assert(sizeof(hl_info_hw_err_event) == 16 && sizeof(hl_info_fw_err_event) == 16);
static_assert(sizeof(hl_info_engine_err_event) == 16 && sizeof(hl_info_pci_counters) == 24);

constexpr uint8_t kHlRazwiRead = 1, kHlRazwiWrite = 2, kHlRazwiLbw = 4, kHlRazwiHbw = 8, kHlRazwiRr = 16,
                  kHlRazwiAddrDec = 32;
constexpr uint16_t kHlRazwiNaEngine = 0xffff;                            // HL_RAZWI_NA_ENG_ID
constexpr uint8_t kHlRazwiMiscPageFault = 0, kHlRazwiMiscMmuAccess = 1;  // misc: HL_RAZWI_...
constexpr uint16_t kHlFwErrHeartbeat = 0, kHlFwErrReported = 1;          // HL_INFO_FW_..._ERR
constexpr uint32_t kHlClkThrottlePower = 1, kHlClkThrottleThermal = 2;   // HL_CLK_THROTTLE_...

enum HlNotifierEvent : uint64_t {  // HL_NOTIFIER_EVENT_...
  kHlEventTpcAssert = 1 << 0,
  kHlEventUndefinedOpcode = 1 << 1,
  kHlEventDeviceReset = 1 << 2,
  kHlEventCsTimeout = 1 << 3,
  kHlEventDeviceUnavailable = 1 << 4,
  kHlEventUserEngineErr = 1 << 5,
  kHlEventGeneralHwErr = 1 << 6,
  kHlEventRazwi = 1 << 7,  // accel from here on
  kHlEventPageFault = 1 << 8,
  kHlEventCriticalHwErr = 1 << 9,
  kHlEventCriticalFwErr = 1 << 10,
};

static_assert(sizeof(hl_info_hw_idle) == 40 && sizeof(hl_info_clk_throttle) == 40 && sizeof(hl_open_stats_info) == 24);
static_assert(sizeof(hl_info_cs_counters) == 96 && sizeof(hl_info_razwi_event_misc) == 24);
static_assert(sizeof(hl_info_undefined_opcode_event) == 288);

enum HlDeviceStatus : uint32_t {  // HL_DEVICE_STATUS_...
  kHlStatusOperational = 0,
  kHlStatusInReset = 1,
  kHlStatusMalfunction = 2,
  kHlStatusNeedsReset = 3,
  kHlStatusInDeviceCreation = 4,
  kHlStatusInResetAfterDeviceRelease = 5,
};

// --- MEMORY -------------------------------------------------------------------------------------------------------

struct hl_mem_in {
  union {
    struct {
      uint64_t mem_size;
      uint64_t page_size;
    } alloc;
    struct {
      uint64_t handle;
    } free;
    struct {
      uint64_t hint_addr;
      uint64_t handle;
    } map_device;
    struct {
      uint64_t host_virt_addr;
      uint64_t hint_addr;
      uint64_t mem_size;
    } map_host;
    struct {
      uint64_t block_addr;
    } map_block;
    struct {
      uint64_t device_virt_addr;
    } unmap;
    struct {
      uint64_t addr;  // misc: "handle", which is an address too
      uint64_t mem_size;
      uint64_t offset;  // accel
    } export_dmabuf_fd;
  };
  uint32_t op;
  uint32_t flags;
  uint32_t ctx_id;
  uint32_t num_of_elements;
};
struct hl_mem_out {
  union {
    uint64_t device_virt_addr;
    uint64_t handle;
    struct {
      uint64_t block_handle;
      uint32_t block_size;
      uint32_t pad;
    } block;
    int32_t fd;
  };
};
union hl_mem_args {
  hl_mem_in in;
  hl_mem_out out;
};
static_assert(sizeof(hl_mem_args) == 40 && offsetof(hl_mem_in, op) == 24 && offsetof(hl_mem_in, num_of_elements) == 36);

enum HlMemOp : uint32_t {  // HL_MEM_OP_...
  kHlMemOpAlloc = 0,
  kHlMemOpFree = 1,
  kHlMemOpMap = 2,
  kHlMemOpUnmap = 3,
  kHlMemOpMapBlock = 4,
  kHlMemOpExportDmabufFd = 5,
  kHlMemOpTsAlloc = 6,
};
constexpr uint32_t kHlMemContiguous = 0x1;
constexpr uint32_t kHlMemShared = 0x2;
constexpr uint32_t kHlMemUserptr = 0x4;
constexpr uint32_t kHlMemForceHint = 0x8;
constexpr uint32_t kHlMemPrefetch = 0x40;

// --- DEBUG --------------------------------------------------------------------------------------------------------

struct hl_debug_args {
  uint64_t input_ptr;
  uint64_t output_ptr;
  uint32_t input_size;
  uint32_t output_size;
  uint32_t op;
  uint32_t reg_idx;
  uint32_t enable;
  uint32_t ctx_id;
};
static_assert(sizeof(hl_debug_args) == 40);
enum HlDebugOp : uint32_t {  // HL_DEBUG_OP_...
  kHlDebugEtr = 0,
  kHlDebugEtf = 1,
  kHlDebugStm = 2,
  kHlDebugFunnel = 3,
  kHlDebugBmon = 4,
  kHlDebugSpmu = 5,
  kHlDebugTimestamp = 6,
  kHlDebugSetMode = 7,
};
struct hl_debug_params_etr {  // hl_debug_params_etf too
  uint64_t buffer_address;
  uint64_t buffer_size;
  uint32_t sink_mode;
  uint32_t pad;
};
struct hl_debug_params_spmu {
  uint64_t event_types[10];
  uint32_t event_types_num;
  uint32_t pmtrc_val;
  uint32_t trc_ctrl_host_val;
  uint32_t trc_en_host_val;
};
static_assert(sizeof(hl_debug_params_etr) == 24 && sizeof(hl_debug_params_spmu) == 96);
constexpr uint32_t kHlDebugStmSize = 24, kHlDebugBmonSize = 80;  // sizeof(struct hl_debug_params_...)

// --- DRM core -----------------------------------------------------------------------------------------------------

// DRM_IOCTL_VERSION, the one ioctl of the DRM core itself that an accel node answers here. Pointers are user addresses.
struct drm_version {
  int32_t version_major;
  int32_t version_minor;
  int32_t version_patchlevel;
  uint32_t pad;
  uint64_t name_len;
  uint64_t name;
  uint64_t date_len;
  uint64_t date;
  uint64_t desc_len;
  uint64_t desc;
};
static_assert(sizeof(drm_version) == 64);
constexpr uint8_t kDrmVersionNr = 0;
constexpr uint32_t kDrmIoctlVersion = HlRequest('d', kDrmVersionNr, sizeof(drm_version));

}  // namespace causeway::uapi
