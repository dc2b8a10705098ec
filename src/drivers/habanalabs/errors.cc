// SPDX-License-Identifier: Apache-2.0
// What the submission side and the engines report: records, notifications and resets as the driver decides.
// Sources: linux v6.12 drivers/accel/habanalabs/common/command_submission.c cs_timedout(); gaudi/gaudi.c and
// gaudi2/gaudi2.c, what the handlers of the engines' events do.
#include "base/log.h"
#include "drivers/habanalabs/context.h"
#include "drivers/habanalabs/device.h"

namespace causeway::habanalabs {

void HlDevice::CsTimedOut(uint64_t seq, bool skip_reset_on_timeout) {
  const bool reset = !skip_reset_on_timeout && reset_on_lockup();
  if (!skip_reset_on_timeout && !reset) {
    const std::lock_guard lock(reset_mutex_);
    reset_.needs_reset = true;
    UpdateStatusLocked();
  }
  uint64_t event_mask = errors_.CsTimeout(seq) ? uint64_t{uapi::kHlEventCsTimeout} : 0;
  log::Error("{}: Command submission {} has not finished in time!", node_, seq);
  if (reset) {
    (void)CondReset(kResetTdr, event_mask | uapi::kHlEventDeviceReset);
  } else {
    NotifyAll(event_mask);
  }
}

// gaudi_handle_eqe(), gaudi2_handle_eqe().
void HlDevice::HandleEvent(uint16_t event_id, const EventDetails& details) {
  if (!events_.Count(event_id)) {
    log::Error("{}: Event type {} exceeds maximum of {}", node_, event_id, properties_.num_of_events - 1);
    return;
  }
  const gaudi::Asic asic = properties_.asic;
  const bool gaudi2 = asic == gaudi::Asic::kGaudi2;
  const bool misc = properties_.flavour == Flavour::kMisc;
  const EventClass* event = FindEvent(asic, event_id);
  if (event == nullptr) {
    log::Error("{}: Received invalid H/W interrupt {}", node_, event_id);
    return;
  }
  const EventIds& ids = EventIdsOf(asic);
  if (event_id == ids.power_start) clk_throttling_.Start(uapi::kHlClkThrottlePower);
  if (event_id == ids.power_end) clk_throttling_.End(uapi::kHlClkThrottlePower);
  if (event_id == ids.thermal_start) clk_throttling_.Start(uapi::kHlClkThrottleThermal);
  if (event_id == ids.thermal_end) clk_throttling_.End(uapi::kHlClkThrottleThermal);
  const bool clock = event_id >= ids.power_start && event_id <= ids.thermal_end;
  if (!clock) log::Error("{}: Received H/W interrupt {} [\"{}\"]", node_, event_id, event->name);

  uint64_t event_mask = event->mask | details.event_mask;
  if ((event_mask & uapi::kHlEventCriticalFwErr) != 0) (void)errors_.FwErr(uapi::kHlFwErrReported, event_id);
  if (gaudi2 && !misc && (event_mask & uapi::kHlEventUserEngineErr) != 0) {
    (void)errors_.UserEngineErr(details.engine_id, details.error_count);
  }
  const bool reset =
      event->reset == EventClass::Reset::kHard || (event->reset == EventClass::Reset::kCritical && details.critical);
  if (reset) {
    // General errors of the hardware become critical ones.
    if (!misc && (event_mask & uapi::kHlEventGeneralHwErr) != 0) {
      (void)errors_.HwErr(event_id);
      event_mask |= uapi::kHlEventCriticalHwErr;
    }
    event_mask |= uapi::kHlEventDeviceReset;
  }
  constexpr uint64_t kMiscEvents = uapi::kHlEventRazwi - 1;  // v6.1 knows no others
  if (misc) event_mask &= kMiscEvents;
  if (!reset) return NotifyAll(event_mask);
  const uint32_t fatal = event->fatal ? uint32_t{kResetFwFatalErr} : 0;
  (void)CondReset(kResetHard | kResetDelay | fatal, event_mask);
}

// gaudi2_handle_page_error(), gaudi_print_and_get_mmu_error_info().
void HlDevice::PageFault(uint64_t va, uint16_t engine_id, bool pmmu) {
  log::Error("{}: MMU page fault on va {:#x}, engine {}", node_, va, engine_id);
  if (properties_.flavour == Flavour::kMisc) {
    (void)errors_.RazwiMisc(va, engine_id, uapi::kHlRazwiMiscPageFault);
  } else {
    (void)errors_.PageFault(va, engine_id, [&] {
      const std::lock_guard lock(ctx_mutex_);
      return ctx_ == nullptr ? std::vector<uapi::hl_user_mapping>{} : ctx_->UserMappings(pmmu);
    });
  }
  const EventIds& ids = EventIdsOf(properties_.asic);
  HandleEvent(pmmu ? ids.page_fault_pmmu : ids.page_fault_hmmu,
              {.event_mask = uapi::kHlEventPageFault, .engine_id = engine_id});
}

void HlDevice::Razwi(uint64_t address, uint16_t engine_id, uint8_t flags) {
  log::Error("{}: RAZWI, illegal access to {:#x}, engine {}", node_, address, engine_id);
  if (properties_.flavour == Flavour::kMisc) {
    (void)errors_.RazwiMisc(address, engine_id, uapi::kHlRazwiMiscMmuAccess);
  } else {
    (void)errors_.Razwi(address, std::span(&engine_id, 1), flags);
  }
  HandleEvent(EventIdsOf(properties_.asic).razwi, {.event_mask = uapi::kHlEventRazwi, .engine_id = engine_id});
}

// gaudi_handle_qman_err_generic(), gaudi2_handle_qman_err_generic(): the bit is only set when the record was kept.
void HlDevice::UndefinedOpcode(const uapi::hl_info_undefined_opcode_event& event) {
  log::Error("{}: engine {} stream {}: undefined opcode", node_, event.engine_id, event.stream_id);
  const auto engine_id = static_cast<uint16_t>(event.engine_id);
  const uint64_t mask = errors_.UndefinedOpcode(event) ? uint64_t{uapi::kHlEventUndefinedOpcode} : 0;
  HandleEvent(QmanEventOf(properties_.asic, engine_id), {.event_mask = mask, .engine_id = engine_id});
}

// hl_device_heartbeat(), when the management processor does not answer.
void HlDevice::HeartbeatLost() {
  log::Error("{}: Device heartbeat failed! PCI link is {}", node_, pci_link_down_ ? "broken" : "healthy");
  uint64_t event_mask = uapi::kHlEventDeviceReset | uapi::kHlEventDeviceUnavailable;
  if (properties_.flavour != Flavour::kMisc) {
    (void)errors_.FwErr(uapi::kHlFwErrHeartbeat, 0);
    event_mask |= uapi::kHlEventCriticalFwErr;
  }
  (void)CondReset(kResetHard | kResetHeartbeat, event_mask);
}

// hl_device_set_debug_mode(). Coresight has no blocks here that would have to be halted.
Status HlDevice::SetDebugMode(bool enable) {
  if (in_debug_.exchange(enable, std::memory_order_acq_rel) == enable) return Err(EFAULT);
  return {};
}

}  // namespace causeway::habanalabs
