// SPDX-License-Identifier: Apache-2.0
// Words of resets: linux v6.12 drivers/accel/habanalabs/common/habanalabs.h. The functions are HlDevice's (reset.cc).
#pragma once

#include <cstdint>

#include "drivers/habanalabs/work_queue.h"

namespace causeway::habanalabs {

enum ResetFlags : uint32_t {     // HL_DRV_RESET_...
  kResetHard = 1 << 0,           // of the whole chip, not of the compute engines only
  kResetHeartbeat = 1 << 2,      // the management processor does not answer
  kResetTdr = 1 << 3,            // a command submission timed out
  kResetDevRelease = 1 << 4,     // the user's context has ended
  kResetBypassReqToFw = 1 << 5,  // the firmware resets: cannot be postponed
  kResetFwFatalErr = 1 << 6,     // an error event of the firmware
  kResetDelay = 1 << 7,          // wait a little first, so that errors can be collected
  kResetFromWatchdog = 1 << 8,   // the user did not release the device in time
};

// struct hl_reset_info. Guarded by HlDevice::reset_mutex_.
struct ResetInfo {
  bool in_reset = false;
  bool in_compute_reset = false;
  bool needs_reset = false;
  bool disabled = false;
  bool init_done = false;
  bool hard_reset_pending = false;
  bool watchdog_active = false;
  uint32_t watchdog_flags = 0;
  WorkQueue::Id watchdog = 0;
  uint32_t hard_reset_schedule_flags = 0;
  uint32_t prev_reset_trigger = 0;
  bool reset_trigger_repeated = false;
  uint32_t hard_reset_cnt = 0, compute_reset_cnt = 0;
  uint32_t process_kill_trial_cnt = 0;
};

}  // namespace causeway::habanalabs
