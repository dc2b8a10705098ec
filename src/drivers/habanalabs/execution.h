// SPDX-License-Identifier: Apache-2.0
// What resets, INFO and debugfs need from the side of the driver that submits work (queues, command submissions,
// engines). The submission side implements it and gives itself to the device: HlDevice::set_execution(). A device
// without one has no engine that could be busy.
//
// The other direction, what the submission side tells the device: HlDevice::CsTimedOut(), PageFault(), Razwi(),
// UndefinedOpcode(), Reset().
#pragma once

#include <array>
#include <cstdint>

namespace causeway::habanalabs {

// Busy engines by their engine ids, as INFO HW_IDLE numbers them: HL_BUSY_ENGINES_MASK_EXT_SIZE words.
using EngineMask = std::array<uint64_t, 4>;

class Execution {
 public:
  virtual ~Execution() = default;
  // is_device_idle(). Any thread, no lock of the device held.
  virtual EngineMask BusyEngines() const = 0;
  // halt_engines() and hl_cs_rollback_all(): engines stop, every command submission ends with EIO, every waiter wakes;
  // when it returns no engine touches memory any more. Called in a reset, from the work thread (hard) or from the
  // thread that released the context (compute reset after release); no lock of the device held.
  virtual void HaltAndRollBack(bool hard) = 0;
  // hl_abort_waiting_for_completions() of a conditional reset: fences fail with EIO, engines go on.
  virtual void AbortWaiters() = 0;
  // hw_init() after HaltAndRollBack(): registers, queues and sync manager as after power-up (compute: as between
  // users).
  virtual void Reinit(bool hard) = 0;
  // hl_get_active_cs_num().
  virtual uint32_t ActiveCs() const = 0;
  // Command submissions that ended, ever: `causeway top`.
  virtual uint64_t CompletedCs() const = 0;
};

}  // namespace causeway::habanalabs
