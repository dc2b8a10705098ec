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

// gaudi2_handle_page_error(), gaudi_print_and_get_mmu_error_info(). The engine stalls; no reset follows by itself.
void HlDevice::PageFault(uint64_t va, uint16_t engine_id, bool pmmu) {
  log::Error("{}: MMU page fault on va {:#x}, engine {}", node_, va, engine_id);
  uint64_t event_mask = uapi::kHlEventUserEngineErr;
  if (properties_.flavour == Flavour::kMisc) {
    (void)errors_.RazwiMisc(va, engine_id, uapi::kHlRazwiMiscPageFault);
  } else {
    (void)errors_.PageFault(va, engine_id, [&] {
      const std::lock_guard lock(ctx_mutex_);
      return ctx_ == nullptr ? std::vector<uapi::hl_user_mapping>{} : ctx_->UserMappings(pmmu);
    });
    event_mask |= uapi::kHlEventPageFault;
    if (properties_.asic == gaudi::Asic::kGaudi2) (void)errors_.UserEngineErr(engine_id, 1);
  }
  NotifyAll(event_mask);
}

void HlDevice::Razwi(uint64_t address, uint16_t engine_id, uint8_t flags) {
  log::Error("{}: RAZWI, illegal access to {:#x}, engine {}", node_, address, engine_id);
  uint64_t event_mask = uapi::kHlEventUserEngineErr;
  if (properties_.flavour == Flavour::kMisc) {
    (void)errors_.RazwiMisc(address, engine_id, uapi::kHlRazwiMiscMmuAccess);
  } else {
    (void)errors_.Razwi(address, std::span(&engine_id, 1), flags);
    event_mask |= uapi::kHlEventRazwi;
    if (properties_.asic == gaudi::Asic::kGaudi2) (void)errors_.UserEngineErr(engine_id, 1);
  }
  // Gaudi's handler says that a reset follows, and leaves it to the command submission's time-out.
  if (properties_.asic == gaudi::Asic::kGaudi) event_mask |= uapi::kHlEventDeviceReset;
  NotifyAll(event_mask);
}

// gaudi_handle_qman_err_generic(), gaudi2_handle_qman_err_generic(): the bit is only set when the record was kept.
void HlDevice::UndefinedOpcode(const uapi::hl_info_undefined_opcode_event& event) {
  log::Error("{}: engine {} stream {}: undefined opcode", node_, event.engine_id, event.stream_id);
  uint64_t event_mask = uapi::kHlEventUserEngineErr;
  if (errors_.UndefinedOpcode(event)) event_mask |= uapi::kHlEventUndefinedOpcode;
  if (properties_.asic == gaudi::Asic::kGaudi) event_mask |= uapi::kHlEventDeviceReset;
  if (properties_.asic == gaudi::Asic::kGaudi2 && properties_.flavour != Flavour::kMisc) {
    (void)errors_.UserEngineErr(static_cast<uint16_t>(event.engine_id), 1);
  }
  NotifyAll(event_mask);
}

// hl_device_set_debug_mode(). Coresight has no blocks here that would have to be halted.
Status HlDevice::SetDebugMode(bool enable) {
  if (in_debug_.exchange(enable, std::memory_order_acq_rel) == enable) return Err(EFAULT);
  return {};
}

}  // namespace causeway::habanalabs
