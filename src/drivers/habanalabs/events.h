// SPDX-License-Identifier: Apache-2.0
// Events of the management processor's event queue: what the driver does with each, and how often each came.
//
// Sources: linux v6.12 drivers/accel/habanalabs/gaudi/gaudi.c gaudi_handle_eqe(), gaudi2/gaudi2.c gaudi2_handle_eqe();
// include/{gaudi/gaudi_async_events.h,gaudi2/gaudi2_async_ids_map_extended.h} for numbers and resets.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "devices/gaudi/address_map.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

// A range of event numbers that are treated alike.
struct EventClass {
  uint16_t first, last;
  uint8_t step;  // every step-th number of the range
  enum class Reset : uint8_t {
    kNone,
    kHard,      // always
    kCritical,  // when the firmware says that the error is critical
  } reset;
  bool fatal;     // HL_DRV_RESET_FW_FATAL_ERR
  uint64_t mask;  // HL_NOTIFIER_EVENT_..., without those of the reset
  std::string_view name;
};
// The class of an event, nullptr: the driver has no handler for it.
const EventClass* FindEvent(gaudi::Asic asic, uint16_t event_id);
std::span<const EventClass> EventClasses(gaudi::Asic asic);

// Numbers that this driver itself needs.
struct EventIds {
  uint16_t hbm_serr, hbm_derr;  // of the first stack; Gaudi2: not severe, severe
  uint16_t sram_serr, sram_derr;
  uint16_t page_fault_pmmu, page_fault_hmmu;
  uint16_t razwi;
  uint16_t pcie_link;  // the PCIe core reports an error that it cannot correct
  uint16_t device_reset_request;
  uint16_t power_start, power_end, thermal_start, thermal_end;
};
const EventIds& EventIdsOf(gaudi::Asic asic);
// The event of an engine's queue manager. `engine_id` as in INFO HW_IDLE.
uint16_t QmanEventOf(gaudi::Asic asic, uint16_t engine_id);

// events_stat and events_stat_aggregate.
class EventStats {
 public:
  explicit EventStats(uint32_t count) : since_reset_(count), since_load_(count) {}
  // False: no such number.
  bool Count(uint16_t event_id);
  void ClearAtHardReset();
  std::vector<uint32_t> Get(bool aggregate) const;

 private:
  mutable std::mutex mutex_;
  std::vector<uint32_t> since_reset_, since_load_;
};

// struct hl_clk_throttle.
class ClkThrottling {
 public:
  void Start(uint32_t reason);  // kHlClkThrottle...
  void End(uint32_t reason);
  uapi::hl_info_clk_throttle Info() const;

 private:
  mutable std::mutex mutex_;
  uint32_t current_reason_ = 0, aggregated_reason_ = 0;
  struct {
    int64_t start = 0, end = 0;  // ktime ns; end 0: it lasts
  } timestamp_[2];
};

}  // namespace causeway::habanalabs
