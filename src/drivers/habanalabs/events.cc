// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/events.h"

#include <algorithm>
#include <array>
#include <bit>

#include "drivers/habanalabs/error_capture.h"

namespace causeway::habanalabs {
namespace {

using Reset = EventClass::Reset;
constexpr uint64_t kHw = uapi::kHlEventGeneralHwErr;
constexpr uint64_t kUser = uapi::kHlEventUserEngineErr;
constexpr uint64_t kUserReset = kUser | uapi::kHlEventDeviceReset;  // told without a reset: the time-out brings it

constexpr std::array kGaudiEvents = {
    EventClass{32, 36, 2, Reset::kNone, false, kHw, "PCIE_SERR"},
    EventClass{33, 37, 2, Reset::kHard, true, kHw, "PCIE_DERR"},
    EventClass{38, 45, 1, Reset::kNone, false, kHw, "TPC_SERR"},
    EventClass{46, 53, 1, Reset::kHard, true, kHw, "TPC_DERR"},
    EventClass{54, 68, 2, Reset::kNone, false, kHw, "MME_SERR"},
    EventClass{55, 69, 2, Reset::kHard, true, kHw, "MME_DERR"},
    EventClass{70, 77, 1, Reset::kNone, false, kHw, "DMA_SERR_ECC"},
    EventClass{78, 85, 1, Reset::kHard, true, kHw, "DMA_DERR_ECC"},
    EventClass{86, 86, 1, Reset::kNone, false, kHw, "CPU_IF_ECC_SERR"},
    EventClass{87, 87, 1, Reset::kHard, true, kHw, "CPU_IF_ECC_DERR"},
    EventClass{88, 89, 1, Reset::kNone, false, kHw, "PSOC_SERR"},
    EventClass{90, 91, 1, Reset::kHard, true, kHw, "PSOC_DERR"},
    EventClass{92, 123, 1, Reset::kNone, false, kHw, "SRAM_SERR"},
    EventClass{124, 155, 1, Reset::kHard, true, kHw, "SRAM_DERR"},
    EventClass{156, 160, 1, Reset::kNone, false, kHw, "NIC_SERR"},
    EventClass{166, 170, 1, Reset::kHard, true, kHw, "NIC_DERR"},
    EventClass{176, 179, 1, Reset::kNone, false, kHw, "DMA_IF_SERR"},
    EventClass{180, 183, 1, Reset::kHard, true, kHw, "DMA_IF_DERR"},
    EventClass{184, 184, 1, Reset::kHard, true, kHw, "GIC500"},
    EventClass{185, 188, 1, Reset::kNone, false, kHw, "HBM_SERR"},
    EventClass{189, 192, 1, Reset::kHard, true, kHw, "HBM_DERR"},
    EventClass{193, 193, 1, Reset::kNone, false, kHw, "MMU_SERR"},
    EventClass{194, 194, 1, Reset::kHard, true, kHw, "MMU_DERR"},
    EventClass{200, 200, 1, Reset::kNone, false, kHw, "PCIE_DEC"},
    EventClass{201, 215, 2, Reset::kNone, false, kUserReset | uapi::kHlEventTpcAssert, "TPC_DEC"},
    EventClass{217, 217, 1, Reset::kHard, true, kHw, "AXI_ECC"},
    EventClass{218, 218, 1, Reset::kHard, true, kHw, "L2_RAM_ECC"},
    EventClass{219, 234, 5, Reset::kNone, false, kUserReset, "MME_WBC_RSP"},
    EventClass{220, 235, 5, Reset::kNone, false, kUserReset, "MME_SBAB0_RSP"},
    EventClass{239, 256, 1, Reset::kHard, true, kHw, "PLL"},
    EventClass{257, 257, 1, Reset::kNone, false, kHw, "CPU_AXI_SPLITTER"},
    EventClass{262, 262, 1, Reset::kNone, false, kHw, "PSOC_AXI_DEC"},
    EventClass{263, 263, 1, Reset::kNone, false, kHw, "PSOC_PRSTN_FALL"},
    EventClass{264, 268, 1, Reset::kNone, false, kUser, "NIC_SEI"},
    EventClass{277, 280, 1, Reset::kNone, false, kUser, "DMA_IF_SEI"},
    EventClass{300, 342, 6, Reset::kNone, false, kUser, "TPC_BMON_SPMU"},
    EventClass{301, 343, 6, Reset::kNone, false, kUserReset, "TPC_KRN_ERR"},
    EventClass{380, 380, 1, Reset::kNone, false, kUser, "MMU_PAGE_FAULT"},
    EventClass{381, 381, 1, Reset::kNone, false, kUser, "MMU_WR_PERM"},
    EventClass{383, 390, 1, Reset::kNone, false, kUser, "DMA_BM"},
    EventClass{395, 407, 4, Reset::kHard, true, kHw, "HBM_SPI_0"},
    EventClass{396, 408, 4, Reset::kNone, false, kHw, "HBM_SPI_1"},
    EventClass{421, 421, 1, Reset::kNone, false, kUser, "PSOC_GPIO_U16_0"},
    EventClass{483, 499, 4, Reset::kHard, true, kHw, "NIC_CS_DBG_DERR"},
    EventClass{548, 548, 1, Reset::kNone, false, kUserReset, "RAZWI_OR_ADC"},
    EventClass{572, 579, 1, Reset::kNone, false, kUserReset, "TPC_QM"},
    EventClass{581, 582, 1, Reset::kNone, false, kUserReset, "MME_QM"},
    EventClass{583, 590, 1, Reset::kNone, false, kUserReset, "DMA_QM"},
    EventClass{594, 603, 1, Reset::kNone, false, kUserReset, "NIC_QM"},
    EventClass{604, 611, 1, Reset::kNone, false, kUserReset, "DMA_CORE"},
    EventClass{645, 645, 1, Reset::kHard, false, uapi::kHlEventCriticalFwErr, "FW_ALIVE_S"},
    EventClass{646, 646, 1, Reset::kHard, false, kHw, "DEV_RESET_REQ"},
    EventClass{647, 647, 1, Reset::kHard, false, kHw, "PKT_QUEUE_OUT_SYNC"},
    EventClass{648, 657, 1, Reset::kNone, false, 0, "STATUS_NIC"},
    EventClass{658, 659, 1, Reset::kNone, false, 0, "FIX_POWER_ENV"},
    EventClass{660, 661, 1, Reset::kNone, false, kUser, "FIX_THERMAL_ENV"},
    EventClass{662, 662, 1, Reset::kHard, false, kUser, "RAZWI_OR_ADC_SW"},
};

constexpr std::array kGaudi2Events = {
    EventClass{32, 410, 1, Reset::kCritical, true, kHw, "ECC"},
    EventClass{412, 412, 1, Reset::kNone, true, kHw, "PCIE_ADDR_DEC_ERR"},
    EventClass{413, 437, 1, Reset::kHard, false, kUser, "TPC_AXI_ERR_RSP"},
    EventClass{438, 439, 1, Reset::kHard, true, kHw, "CPU_ECC"},
    EventClass{440, 467, 1, Reset::kHard, false, kUser, "MME_AXI_ERR_RSP"},
    EventClass{468, 501, 1, Reset::kHard, false, kHw, "PLL_LOCK_ERR"},
    EventClass{502, 502, 1, Reset::kHard, true, uapi::kHlEventCriticalFwErr, "CPU_AXI_ERR_RSP"},
    EventClass{503, 518, 1, Reset::kHard, true, kUser, "HMMU_AXI_ERR_RSP"},
    EventClass{519, 519, 1, Reset::kHard, true, kHw, "PMMU_FATAL"},
    EventClass{520, 520, 1, Reset::kHard, true, kUser, "PMMU_AXI_ERR_RSP"},
    EventClass{521, 528, 1, Reset::kNone, true, kHw, "VM_ALARM"},
    EventClass{529, 529, 1, Reset::kHard, true, kHw, "PSOC_AXI_ERR_RSP"},
    EventClass{530, 530, 1, Reset::kNone, false, kHw, "PSOC_PRSTN_FALL"},
    EventClass{539, 539, 1, Reset::kHard, false, kHw, "KDMA_CH0_AXI_ERR_RSP"},
    EventClass{540, 541, 1, Reset::kHard, false, kUser, "PDMA_AXI_ERR_RSP"},
    EventClass{542, 547, 1, Reset::kHard, false, kHw, "HBM_CATTRIP"},
    EventClass{548, 570, 2, Reset::kHard, true, kHw, "HBM_MC_SEI_SEVERE"},
    EventClass{549, 571, 2, Reset::kNone, false, kHw, "HBM_MC_SEI_NON_SEVERE"},
    EventClass{572, 581, 1, Reset::kHard, false, kUser, "DEC_AXI_ERR_RSPONSE"},
    EventClass{584, 599, 1, Reset::kHard, true, kHw, "HIF_FATAL"},
    EventClass{612, 615, 1, Reset::kHard, false, kUser, "SM_AXI_ERROR_RESPONSE"},
    EventClass{616, 616, 1, Reset::kHard, false, kUser, "ARC_AXI_ERROR_RESPONSE"},
    EventClass{619, 619, 1, Reset::kNone, false, kHw, "PCIE_FLR_REQUESTED"},
    EventClass{622, 622, 1, Reset::kHard, true, kHw, "PCIE_APB_TIMEOUT"},
    EventClass{627, 627, 1, Reset::kNone, true, kHw, "PCIE_FATAL_ERR"},
    EventClass{631, 631, 1, Reset::kNone, false, kUser, "PCIE_P2P_MSIX"},
    EventClass{632, 632, 1, Reset::kNone, true, kHw, "PCIE_DRAIN_COMPLETE"},
    EventClass{633, 682, 1, Reset::kNone, false, kUser, "TPC_SPI"},
    EventClass{688, 719, 1, Reset::kNone, false, kUser, "MME_SPI"},
    EventClass{720, 766, 1, Reset::kHard, true, kUser, "HMMU_PAGE_FAULT_WR_PERM"},
    EventClass{768, 769, 1, Reset::kHard, true, kUser, "PMMU0_PAGE_FAULT_WR_PERM"},
    EventClass{770, 789, 1, Reset::kNone, false, kUser, "DMA_BM_SPMU"},
    EventClass{790, 801, 1, Reset::kNone, false, kHw, "HBM_MC_SPI"},
    EventClass{871, 871, 1, Reset::kHard, true, kHw, "RPM_ERROR_OR_DRAIN"},
    EventClass{875, 875, 1, Reset::kNone, false, kUser, "RAZWI_OR_PID_MIN_MAX_INTERRUPT"},
    EventClass{1118, 1121, 1, Reset::kCritical, true, kHw, "ROTATOR_ECC"},
    EventClass{1206, 1245, 1, Reset::kNone, false, kUser, "QM"},
    EventClass{1249, 1250, 1, Reset::kNone, false, kUser, "ROT_QM"},
    EventClass{1252, 1252, 1, Reset::kNone, false, kHw, "CPLD_SHUTDOWN_CAUSE"},
    EventClass{1253, 1254, 1, Reset::kNone, false, 0, "FIX_POWER_ENV"},
    EventClass{1255, 1256, 1, Reset::kNone, false, kUser, "FIX_THERMAL_ENV"},
    EventClass{1257, 1257, 1, Reset::kNone, false, kHw, "CPLD_SHUTDOWN_EVENT"},
    EventClass{1258, 1258, 1, Reset::kNone, true, kHw, "PKT_QUEUE_OUT_SYNC"},
    EventClass{1259, 1268, 1, Reset::kNone, false, kUser, "DMA_CORE"},
    EventClass{1269, 1269, 1, Reset::kNone, false, kHw, "KDMA0_CORE"},
    EventClass{1270, 1293, 1, Reset::kNone, false, kUser, "NIC_QM"},
    EventClass{1294, 1294, 1, Reset::kNone, true, kHw, "CPU_PKT_SANITY_FAILED"},
    EventClass{1319, 1319, 1, Reset::kNone, false, kUser, "ARC_DCCM_FULL"},
    EventClass{1320, 1321, 1, Reset::kHard, false, kHw, "DEV_RESET_REQ"},
};

constexpr EventIds kGaudiIds = {.hbm_serr = 185,
                                .hbm_derr = 189,
                                .sram_serr = 92,
                                .sram_derr = 124,
                                .page_fault_pmmu = 380,
                                .page_fault_hmmu = 380,
                                .razwi = 548,
                                .pcie_link = 33,
                                .device_reset_request = 646,
                                .power_start = 658,
                                .power_end = 659,
                                .thermal_start = 660,
                                .thermal_end = 661};
constexpr EventIds kGaudi2Ids = {.hbm_serr = 549,
                                 .hbm_derr = 548,
                                 .sram_serr = 32,
                                 .sram_derr = 33,
                                 .page_fault_pmmu = 768,
                                 .page_fault_hmmu = 720,
                                 .razwi = 875,
                                 .pcie_link = 622,
                                 .device_reset_request = 1321,
                                 .power_start = 1253,
                                 .power_end = 1254,
                                 .thermal_start = 1255,
                                 .thermal_end = 1256};

}  // namespace

std::span<const EventClass> EventClasses(gaudi::Asic asic) {
  if (asic == gaudi::Asic::kGaudi) return kGaudiEvents;
  return kGaudi2Events;
}

const EventClass* FindEvent(gaudi::Asic asic, uint16_t event_id) {
  const auto classes = EventClasses(asic);
  const auto it = std::ranges::find_if(classes, [event_id](const EventClass& c) {
    return event_id >= c.first && event_id <= c.last && (event_id - c.first) % c.step == 0;
  });
  return it == classes.end() ? nullptr : &*it;
}

const EventIds& EventIdsOf(gaudi::Asic asic) { return asic == gaudi::Asic::kGaudi ? kGaudiIds : kGaudi2Ids; }

uint16_t QmanEventOf(gaudi::Asic asic, uint16_t engine_id) {
  const unsigned engine = engine_id;
  unsigned event = 0;
  if (asic == gaudi::Asic::kGaudi) {
    if (engine < 8) {
      event = 583 + engine;  // DMA
    } else if (engine < 12) {
      event = 581 + (engine - 8) / 2;  // MME 1 and 3 are slaves of 0 and 2
    } else if (engine < 20) {
      event = 572 + engine - 12;  // TPC
    } else {
      event = 594 + std::min(engine - 20, 9u);  // NIC
    }
    return static_cast<uint16_t>(event);
  }
  constexpr unsigned kEdmaEvents[] = {1238, 1236, 1242, 1240};  // HDMA0, 2, 4, 6 of dcores 0, 1, 2, 3
  if (engine < 44) {
    const unsigned dcore = engine / 11, at = engine % 11;
    event = at < 2 ? kEdmaEvents[dcore] + at : at == 2 ? 1232 + dcore : 1206 + 6 * dcore + std::min(at - 3, 5u);
  } else if (engine == 44) {
    event = 1230;  // DCORE0 TPC6
  } else if (engine < 47) {
    event = 1244 + engine - 45;  // PDMA
  } else if (engine < 49) {
    event = 1249 + engine - 47;  // ROT
  } else {
    event = 1270 + std::min(engine < 51 ? 0 : engine - 51, 23u);  // NIC
  }
  return static_cast<uint16_t>(event);
}

bool EventStats::Count(uint16_t event_id) {
  const std::lock_guard lock(mutex_);
  if (event_id >= since_reset_.size()) return false;
  ++since_reset_[event_id];
  ++since_load_[event_id];
  return true;
}

void EventStats::ClearAtHardReset() {
  const std::lock_guard lock(mutex_);
  std::ranges::fill(since_reset_, 0);
}

std::vector<uint32_t> EventStats::Get(bool aggregate) const {
  const std::lock_guard lock(mutex_);
  return aggregate ? since_load_ : since_reset_;
}

void ClkThrottling::Start(uint32_t reason) {
  const std::lock_guard lock(mutex_);
  current_reason_ |= reason;
  aggregated_reason_ |= reason;
  timestamp_[std::countr_zero(reason)] = {.start = KtimeNs(), .end = 0};
}

void ClkThrottling::End(uint32_t reason) {
  const std::lock_guard lock(mutex_);
  current_reason_ &= ~reason;
  timestamp_[std::countr_zero(reason)].end = KtimeNs();
}

// clk_throttle_info().
uapi::hl_info_clk_throttle ClkThrottling::Info() const {
  const std::lock_guard lock(mutex_);
  uapi::hl_info_clk_throttle info{};
  info.clk_throttling_reason = current_reason_;
  for (unsigned type = 0; type < 2; ++type) {
    if ((aggregated_reason_ >> type & 1) == 0) continue;
    const auto& stamp = timestamp_[type];
    info.clk_throttling_timestamp_us[type] = static_cast<uint64_t>(stamp.start / 1000);
    info.clk_throttling_duration_ns[type] =
        static_cast<uint64_t>((stamp.end != 0 ? stamp.end : KtimeNs()) - stamp.start);
  }
  return info;
}

}  // namespace causeway::habanalabs
