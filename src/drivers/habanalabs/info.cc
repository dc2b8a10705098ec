// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.1 drivers/misc/habanalabs/common/habanalabs_ioctl.c, v6.12 drivers/accel/habanalabs/common/
// habanalabs_ioctl.c. Where the two headers differ the accel flavours answer as the later one.
#include "drivers/habanalabs/info.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "drivers/habanalabs/engine_status.h"

namespace causeway::habanalabs {
namespace {

bool IsMisc(const InfoCall& call) { return call.device.properties().flavour == Flavour::kMisc; }

// if (!max_size || !out) return -EINVAL, with which nearly every body begins.
Status CheckOut(const InfoCall& call) {
  if (call.args.return_size == 0 || call.args.return_pointer == 0) return Err(EINVAL);
  return {};
}

Status CopyOut(const InfoCall& call, std::span<const std::byte> bytes) {
  CW_CHECK(CheckOut(call));
  return call.task.memory().CopyTo(call.args.return_pointer,
                                   bytes.first(std::min<size_t>(bytes.size(), call.args.return_size)));
}

// The first `size` bytes of a struct of which an older header has a shorter form.
template <typename T>
Status CopyOutStruct(const InfoCall& call, const T& value, size_t size = sizeof(T)) {
  return CopyOut(call, std::as_bytes(std::span(&value, 1)).first(size));
}

// hw_ip_info().
Status HwIpInfo(const InfoCall& call) {
  const AsicProperties& properties = call.device.properties();
  const gaudi::FirmwareInfo& firmware = call.device.board().firmware();
  const pci::Identity& identity = call.device.function().identity();
  uapi::hl_info_hw_ip_info info{};
  info.sram_base_address = properties.sram_user_base_address;
  info.dram_base_address = properties.user_dram_base();
  info.dram_size = properties.user_dram_size();
  info.sram_size = properties.sram_user_size;
  info.num_of_events = properties.num_of_events;
  info.device_id = identity.device;
  info.module_id = firmware.module_id;
  info.decoder_enabled_mask = properties.decoder_enabled_mask;
  info.first_available_interrupt_id = properties.first_available_interrupt_id;
  info.server_type = properties.server_type;
  info.cpld_version = firmware.cpld_version;
  info.tpc_enabled_mask = static_cast<uint8_t>(properties.tpc_enabled_mask);
  info.dram_enabled = 1;
  info.security_enabled = firmware.security_enabled ? 1 : 0;
  info.mme_master_slave_mode = properties.mme_master_slave_mode;
  const auto text = [](std::span<uint8_t> field, std::string_view value) {
    std::memcpy(field.data(), value.data(), std::min(field.size() - 1, value.size()));
  };
  text(info.cpucp_version, firmware.cpucp_version);
  text(info.card_name, firmware.card_name);
  info.tpc_enabled_mask_ext = properties.tpc_enabled_mask;
  info.dram_page_size = properties.dram_page_size;
  info.edma_enabled_mask = properties.edma_enabled_mask;
  info.number_of_user_interrupts = properties.number_of_user_interrupts;
  info.device_mem_alloc_default_page_size = properties.dram_page_size;
  info.revision_id = identity.revision;
  info.tpc_interrupt_id = properties.tpc_interrupt_id;
  info.rotator_enabled_mask = properties.rotator_enabled_mask;
  info.engine_core_interrupt_reg_addr = properties.engine_core_interrupt_reg_addr;
  info.reserved_dram_size = properties.reserved_dram_size();
  return CopyOutStruct(call, info, IsMisc(call) ? uapi::kMiscHwIpInfoSize : sizeof(info));
}

// hw_events_info(): since the last hard reset; aggregate: since the driver was loaded.
Status HwEvents(const InfoCall& call) {
  const bool aggregate = call.args.op == uapi::kHlInfoHwEventsAggregate;
  return CopyOut(call, std::as_bytes(std::span<const uint32_t>(call.device.events().Get(aggregate))));
}

// dram_usage_info().
Status DramUsage(const InfoCall& call) {
  uapi::hl_info_dram_usage usage{};
  usage.dram_free_mem = call.device.properties().user_dram_size() - call.device.dram_used();
  if (call.file != nullptr) usage.ctx_dram_mem = call.file->ctx().dram_phys_mem.load(std::memory_order_relaxed);
  return CopyOutStruct(call, usage);
}

// hw_idle().
Status HwIdle(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  uapi::hl_info_hw_idle idle{};
  const EngineMask busy = call.device.BusyEngines();
  std::ranges::copy(busy, idle.busy_engines_mask_ext);
  idle.busy_engines_mask = static_cast<uint32_t>(busy[0]);
  idle.is_idle = std::ranges::all_of(busy, [](uint64_t word) { return word == 0; }) ? 1 : 0;
  return CopyOutStruct(call, idle, IsMisc(call) ? uapi::kMiscHwIdleSize : sizeof(idle));
}

Status DeviceStatus(const InfoCall& call) {
  return CopyOutStruct(call, uapi::hl_info_device_status{.status = call.device.status(), .pad = 0});
}

Result<uint64_t> AskFirmware(const InfoCall& call, gaudi::CpucpOpcode opcode, uint16_t index = 0) {
  return call.device.SendCpuMessage({.opcode = opcode, .index = index});
}

// hl_device_utilization(): the share of the power between idle and maximum. Whatever fails is EINVAL.
Status DeviceUtilization(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  const uint64_t idle = call.device.board().firmware().dc_power_default;
  const auto max = AskFirmware(call, gaudi::CpucpOpcode::kMaxPowerGet);
  const auto power = AskFirmware(call, gaudi::CpucpOpcode::kPowerGet);
  if (!max || !power || *max <= idle) return Err(EINVAL);
  const auto percent = static_cast<uint32_t>((std::clamp(*power, idle, *max) - idle) * 100 / (*max - idle));
  return CopyOutStruct(call, uapi::hl_info_device_utilization{.utilization = percent, .pad = 0});
}

Status ClkRate(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  CW_TRY(const uint64_t now, AskFirmware(call, gaudi::CpucpOpcode::kFrequencyCurrGet));
  CW_TRY(const uint64_t max, AskFirmware(call, gaudi::CpucpOpcode::kFrequencyGet));
  return CopyOutStruct(call, uapi::hl_info_clk_rate{.cur_clk_rate_mhz = static_cast<uint32_t>(now),
                                                    .max_clk_rate_mhz = static_cast<uint32_t>(max)});
}

// Releases are not counted.
Status ResetCount(const InfoCall& call) {
  const HlDevice::ResetCount count = call.device.reset_count();
  return CopyOutStruct(call, uapi::hl_info_reset_count{.hard_reset_cnt = count.hard, .soft_reset_cnt = count.soft});
}

// time_sync_info().
Status TimeSync(const InfoCall& call) {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC_RAW, &now);  // cannot fail: the clock exists and the pointer is good
  uapi::hl_info_time_sync sync{};
  sync.device_time = call.device.board().timestamp();
  sync.host_time = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
#if defined(__x86_64__)
  sync.tsc_time = __rdtsc();
#endif
  return CopyOutStruct(call, sync, IsMisc(call) ? uapi::kMiscTimeSyncSize : sizeof(sync));
}

// cs_counters_info(): pairs of the device's and the context's; a control node has no context.
Status CsCountersInfo(const InfoCall& call) {
  uapi::hl_info_cs_counters info{};
  const auto fill = [&](const CsCounters& counters, size_t at) {
    for (const std::atomic<uint64_t>* counter :
         {&counters.out_of_mem_drop_cnt, &counters.parsing_drop_cnt, &counters.queue_full_drop_cnt,
          &counters.device_in_reset_drop_cnt, &counters.max_cs_in_flight_drop_cnt, &counters.validation_drop_cnt}) {
      info.counters[at] = counter->load(std::memory_order_relaxed);
      at += 2;
    }
  };
  fill(call.device.cs_counters(), 0);
  if (call.file != nullptr) fill(call.file->ctx().cs_counters, 1);
  return CopyOutStruct(call, info);
}

Status ClkThrottleReason(const InfoCall& call) { return CopyOutStruct(call, call.device.clk_throttling().Info()); }

// sync_manager_info().
Status SyncManager(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  if (call.args.dcore_id >= uapi::kHlMaxDcores) return Err(EINVAL);
  const AsicProperties& properties = call.device.properties();
  uapi::hl_info_sync_manager info{};
  info.first_available_cq = properties.first_available_cq_other_dcores;
  if (call.args.dcore_id == 0) {
    info = {.first_available_sync_object = properties.first_available_sob,
            .first_available_monitor = properties.first_available_mon,
            .first_available_cq = properties.first_available_cq,
            .reserved = 0};
  }
  return CopyOutStruct(call, info);
}

// pci_counters_info().
Status PciCounters(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  uapi::hl_info_pci_counters counters = call.device.PciCounters();
  CW_TRY(counters.replay_cnt, AskFirmware(call, gaudi::CpucpOpcode::kPcieReplayCntGet));
  return CopyOutStruct(call, counters);
}

// pll_frequency_info(): every output of every PLL of this board runs at the engines' clock.
Status PllFrequency(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  if (call.args.pll_index >= call.device.properties().pll_count) return Err(EINVAL);
  CW_TRY(const uint64_t clock,
         AskFirmware(call, gaudi::CpucpOpcode::kPllInfoGet, static_cast<uint16_t>(call.args.pll_index)));
  uapi::hl_pll_frequency_info info{};
  std::ranges::fill(info.output, static_cast<uint16_t>(clock));
  return CopyOutStruct(call, info);
}

Status Power(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  CW_TRY(const uint64_t power, AskFirmware(call, gaudi::CpucpOpcode::kPowerGet));
  return CopyOutStruct(call, uapi::hl_power_info{.power = power});
}

Status TotalEnergy(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  CW_TRY(const uint64_t energy, AskFirmware(call, gaudi::CpucpOpcode::kTotalEnergyGet));
  return CopyOutStruct(call, uapi::hl_info_energy{.total_energy_consumption = energy});
}

// engine_status_info(): the size comes back whatever fits.
Status EngineStatus(const InfoCall& call) {
  constexpr uint32_t kMinSize = 1024, kMaxSize = 1 << 20;  // SZ_1K, HL_ENGINES_DATA_MAX_SIZE
  const uint32_t size = call.args.return_size;
  if (size < kMinSize || size > kMaxSize || call.args.return_pointer == 0) return Err(EINVAL);
  const std::string text = EngineStatusText(call.device.properties().asic, call.device.BusyEngines());
  if (text.size() > size) return Err(ENOMEM);
  call.args.user_buffer_actual_size = static_cast<uint32_t>(text.size());
  return call.task.memory().CopyTo(call.args.return_pointer, std::as_bytes(std::span(text.data(), text.size())));
}

// send_fw_generic_request(): HL_PASSTHROUGH_VERSIONS only. The blob is the firmware's; this one's is text.
Status FwGenericReq(const InfoCall& call) {
  constexpr uint32_t kPassthroughVersions = 0, kMaxSize = 1 << 20;
  if (call.args.fw_sub_opcode != kPassthroughVersions || call.args.return_size > kMaxSize) return Err(EINVAL);
  if (call.args.return_size == 0) return Err(ENOMEM);  // gen_pool_alloc() of nothing
  const gaudi::FirmwareInfo& firmware = call.device.board().firmware();
  const std::string text = firmware.preboot_version + "\n" + firmware.uboot_version + "\n" + firmware.cpucp_version;
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return call.task.memory().CopyTo(call.args.return_pointer,
                                   bytes.first(std::min<size_t>(bytes.size(), call.args.return_size)));
}

Status OpenStats(const InfoCall& call) {
  const HlDevice::OpenStats stats = call.device.open_stats();
  uapi::hl_open_stats_info info{};
  info.open_counter = stats.open_counter;
  info.last_open_period_ms = stats.last_open_period_ms;
  info.is_compute_ctx_active = stats.active ? 1 : 0;
  info.compute_ctx_in_release = stats.in_release ? 1 : 0;
  return CopyOutStruct(call, info);
}

// The HBM has no faulty rows.
Status DramReplacedRows(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  CW_TRY(const uint64_t rows, AskFirmware(call, gaudi::CpucpOpcode::kHbmReplacedRowsInfoGet));
  return CopyOutStruct(call, rows);
}
Status DramPendingRows(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  CW_TRY(const uint64_t rows, AskFirmware(call, gaudi::CpucpOpcode::kHbmPendingRowsStatus));
  return CopyOutStruct(call, static_cast<uint32_t>(rows));
}

Status LastErrOpenDevTime(const InfoCall& call) {
  return CopyOutStruct(call,
                       uapi::hl_info_last_err_open_dev_time{.timestamp = call.device.open_stats().last_open_ktime_ns});
}

// Records of errors (error_capture.h). What never happened is zeros, or in later kernels success that leaves the buffer
// as it was.
template <typename T>
Status RecordOrZeros(const InfoCall& call, const std::optional<T>& record) {
  return CopyOutStruct(call, record.value_or(T{}));
}
template <typename T>
Status RecordOrNothing(const InfoCall& call, const std::optional<T>& record) {
  CW_CHECK(CheckOut(call));
  if (!record) return {};
  return CopyOutStruct(call, *record);
}
// hw_err_info() and its two neighbours: a short buffer is ENOMEM even when there is nothing to tell.
template <typename T>
Status ErrRecord(const InfoCall& call, const std::optional<T>& record) {
  CW_CHECK(CheckOut(call));
  if (call.args.return_size < sizeof(T)) return Err(ENOMEM);
  return RecordOrNothing(call, record);
}
Status CsTimeoutEvent(const InfoCall& call) { return RecordOrZeros(call, call.device.errors().cs_timeout()); }
Status UndefinedOpcodeEvent(const InfoCall& call) {
  return RecordOrZeros(call, call.device.errors().undefined_opcode());
}
Status RazwiEvent(const InfoCall& call) {
  if (IsMisc(call)) return RecordOrZeros(call, call.device.errors().razwi_misc());
  return RecordOrNothing(call, call.device.errors().razwi());
}
Status PageFaultEvent(const InfoCall& call) { return RecordOrNothing(call, call.device.errors().page_fault()); }
Status HwErrEvent(const InfoCall& call) { return ErrRecord(call, call.device.errors().hw_err()); }
Status FwErrEvent(const InfoCall& call) { return ErrRecord(call, call.device.errors().fw_err()); }
Status UserEngineErrEvent(const InfoCall& call) { return ErrRecord(call, call.device.errors().user_engine_err()); }

// user_mappings_info(): what was mapped when the recorded page fault came. The count comes back with ENOMEM, too.
Status UserMappings(const InfoCall& call) {
  if (call.args.return_pointer == 0) return Err(EINVAL);
  if (!call.device.errors().page_fault()) return {};
  const std::vector<uapi::hl_user_mapping> mappings = call.device.errors().user_mappings();
  call.args.array_size = static_cast<uint32_t>(mappings.size());
  if (call.args.return_size < mappings.size() * sizeof(mappings[0])) return Err(ENOMEM);
  return call.task.memory().CopyTo(call.args.return_pointer, std::as_bytes(std::span(mappings)));
}

Status DevMemAllocPageSizes(const InfoCall& call) {
  return CopyOutStruct(call, uapi::hl_info_dev_memalloc_page_sizes{});
}

// sec_attest_info(), dev_info_signed(): the firmware is not a secured one and refuses.
Status Attestation(const InfoCall& call) {
  CW_CHECK(CheckOut(call));
  return Err(EIO);
}

Status RegisterEventfd(const InfoCall& call) {
  return call.notifier.Register(call.task, static_cast<int>(call.args.eventfd));
}
Status UnregisterEventfd(const InfoCall& call) { return call.notifier.Unregister(); }

// events_info(): cleared by reading, also when the copy then faults.
Status GetEvents(const InfoCall& call) {
  if (call.args.return_size < sizeof(uint64_t) || call.args.return_pointer == 0) return Err(EINVAL);
  return CopyOutStruct(call, call.notifier.TakeEvents());
}

constexpr std::array kRows = {
    InfoRow{uapi::kHlInfoHwIpInfo, "HW_IP_INFO", InfoWhen::kAlways, false, HwIpInfo},
    InfoRow{uapi::kHlInfoHwEvents, "HW_EVENTS", InfoWhen::kAlways, false, HwEvents},
    InfoRow{uapi::kHlInfoDramUsage, "DRAM_USAGE", InfoWhen::kMiscLive, false, DramUsage},
    InfoRow{uapi::kHlInfoHwIdle, "HW_IDLE", InfoWhen::kLive, false, HwIdle},
    InfoRow{uapi::kHlInfoDeviceStatus, "DEVICE_STATUS", InfoWhen::kAlways, false, DeviceStatus},
    InfoRow{uapi::kHlInfoDeviceUtilization, "DEVICE_UTILIZATION", InfoWhen::kLive, false, DeviceUtilization},
    InfoRow{uapi::kHlInfoHwEventsAggregate, "HW_EVENTS_AGGREGATE", InfoWhen::kAlways, false, HwEvents},
    InfoRow{uapi::kHlInfoClkRate, "CLK_RATE", InfoWhen::kLive, false, ClkRate},
    InfoRow{uapi::kHlInfoResetCount, "RESET_COUNT", InfoWhen::kAlways, false, ResetCount},
    InfoRow{uapi::kHlInfoTimeSync, "TIME_SYNC", InfoWhen::kLive, false, TimeSync},
    InfoRow{uapi::kHlInfoCsCounters, "CS_COUNTERS", InfoWhen::kAlways, false, CsCountersInfo},
    InfoRow{uapi::kHlInfoPciCounters, "PCI_COUNTERS", InfoWhen::kLive, false, PciCounters},
    InfoRow{uapi::kHlInfoClkThrottleReason, "CLK_THROTTLE_REASON", InfoWhen::kAlways, false, ClkThrottleReason},
    InfoRow{uapi::kHlInfoSyncManager, "SYNC_MANAGER", InfoWhen::kAlways, false, SyncManager},
    InfoRow{uapi::kHlInfoTotalEnergy, "TOTAL_ENERGY", InfoWhen::kLive, false, TotalEnergy},
    InfoRow{uapi::kHlInfoPllFrequency, "PLL_FREQUENCY", InfoWhen::kLive, false, PllFrequency},
    InfoRow{uapi::kHlInfoPower, "POWER", InfoWhen::kLive, false, Power},
    InfoRow{uapi::kHlInfoOpenStats, "OPEN_STATS", InfoWhen::kAlways, false, OpenStats},
    InfoRow{uapi::kHlInfoDramReplacedRows, "DRAM_REPLACED_ROWS", InfoWhen::kLive, false, DramReplacedRows},
    InfoRow{uapi::kHlInfoDramPendingRows, "DRAM_PENDING_ROWS", InfoWhen::kLive, false, DramPendingRows},
    InfoRow{uapi::kHlInfoLastErrOpenDevTime, "LAST_ERR_OPEN_DEV_TIME", InfoWhen::kAlways, false, LastErrOpenDevTime},
    InfoRow{uapi::kHlInfoCsTimeoutEvent, "CS_TIMEOUT_EVENT", InfoWhen::kAlways, false, CsTimeoutEvent},
    InfoRow{uapi::kHlInfoRazwiEvent, "RAZWI_EVENT", InfoWhen::kAlways, false, RazwiEvent},
    InfoRow{uapi::kHlInfoDevMemAllocPageSizes, "DEV_MEM_ALLOC_PAGE_SIZES", InfoWhen::kAlways, false,
            DevMemAllocPageSizes},
    InfoRow{uapi::kHlInfoSecuredAttestation, "SECURED_ATTESTATION", InfoWhen::kLive, false, Attestation},
    InfoRow{uapi::kHlInfoRegisterEventfd, "REGISTER_EVENTFD", InfoWhen::kLive, false, RegisterEventfd},
    InfoRow{uapi::kHlInfoUnregisterEventfd, "UNREGISTER_EVENTFD", InfoWhen::kMiscLive, false, UnregisterEventfd},
    InfoRow{uapi::kHlInfoGetEvents, "GET_EVENTS", InfoWhen::kAlways, false, GetEvents},
    InfoRow{uapi::kHlInfoUndefinedOpcodeEvent, "UNDEFINED_OPCODE_EVENT", InfoWhen::kAlways, false,
            UndefinedOpcodeEvent},
    InfoRow{uapi::kHlInfoEngineStatus, "ENGINE_STATUS", InfoWhen::kLive, false, EngineStatus},
    InfoRow{uapi::kHlInfoPageFaultEvent, "PAGE_FAULT_EVENT", InfoWhen::kAlways, true, PageFaultEvent},
    InfoRow{uapi::kHlInfoUserMappings, "USER_MAPPINGS", InfoWhen::kAlways, true, UserMappings},
    InfoRow{uapi::kHlInfoFwGenericReq, "FW_GENERIC_REQ", InfoWhen::kLive, true, FwGenericReq},
    InfoRow{uapi::kHlInfoHwErrEvent, "HW_ERR_EVENT", InfoWhen::kAlways, true, HwErrEvent},
    InfoRow{uapi::kHlInfoFwErrEvent, "FW_ERR_EVENT", InfoWhen::kAlways, true, FwErrEvent},
    InfoRow{uapi::kHlInfoUserEngineErrEvent, "USER_ENGINE_ERR_EVENT", InfoWhen::kAlways, true, UserEngineErrEvent},
    InfoRow{uapi::kHlInfoDevSigned, "DEV_SIGNED", InfoWhen::kLive, true, Attestation},
};

}  // namespace

std::span<const InfoRow> InfoRows() { return kRows; }

Status InfoIoctl(const InfoCall& call) {
  const bool misc = IsMisc(call);
  const uint32_t op = call.args.op;
  // hl_info_ioctl_control() of v6.12 looks at the opcode first.
  if (call.file == nullptr && !misc &&
      (op == uapi::kHlInfoGetEvents || op == uapi::kHlInfoRegisterEventfd || op == uapi::kHlInfoUnregisterEventfd)) {
    return Err(EOPNOTSUPP);
  }
  if (call.args.pad != 0) return Err(EINVAL);
  const auto row = std::ranges::find_if(kRows, [&](const InfoRow& r) { return r.op == op && !(misc && r.accel_only); });
  const bool always =
      row != kRows.end() && (row->when == InfoWhen::kAlways || (row->when == InfoWhen::kMiscLive && !misc));
  if (!always && !call.device.operational()) return Err(EBUSY);
  if (row == kRows.end()) return Err(EINVAL);
  return row->call(call);
}

}  // namespace causeway::habanalabs
