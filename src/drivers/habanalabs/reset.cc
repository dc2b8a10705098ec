// SPDX-License-Identifier: Apache-2.0
// Resets: linux v6.12 drivers/accel/habanalabs/common/device.c hl_device_reset(), hl_device_cond_reset(),
// device_kill_open_processes(). Where the kernel sleeps in a worker, work is queued for later here.
//
//   Reset(hard) -> work: HardReset -> (1 s, if a process has the device) -> KillProcesses -> WaitForProcesses, each
//   second, 10 s a try, 60 tries -> FinishHardReset | FailHardReset
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/notifier.h"

namespace causeway::habanalabs {
namespace {

using std::chrono::seconds;

constexpr uint32_t kPendingResetPerSec = 10;              // HL_PENDING_RESET_PER_SEC
constexpr uint32_t kPendingResetMaxTrials = 60;           // HL_PENDING_RESET_MAX_TRIALS
constexpr std::chrono::milliseconds kResetDelayTime{10};  // HL_RESET_DELAY_USEC

}  // namespace

// hl_device_status().
void HlDevice::UpdateStatusLocked() {
  uapi::HlDeviceStatus status = uapi::kHlStatusOperational;
  if (reset_.in_reset) {
    status = reset_.in_compute_reset ? uapi::kHlStatusInResetAfterDeviceRelease : uapi::kHlStatusInReset;
  } else if (reset_.needs_reset) {
    status = uapi::kHlStatusNeedsReset;
  } else if (reset_.disabled) {
    status = uapi::kHlStatusMalfunction;
  } else if (!reset_.init_done) {
    status = uapi::kHlStatusInDeviceCreation;
  }
  status_.store(status, std::memory_order_release);
}

void HlDevice::set_status(uapi::HlDeviceStatus status) {
  const std::lock_guard lock(reset_mutex_);
  reset_.in_reset = status == uapi::kHlStatusInReset || status == uapi::kHlStatusInResetAfterDeviceRelease;
  reset_.in_compute_reset = status == uapi::kHlStatusInResetAfterDeviceRelease;
  reset_.needs_reset = status == uapi::kHlStatusNeedsReset;
  reset_.disabled = status == uapi::kHlStatusMalfunction;
  if (status != uapi::kHlStatusInDeviceCreation) reset_.init_done = true;
  UpdateStatusLocked();
}

void HlDevice::SetDisabled(bool disabled) {
  const std::lock_guard lock(reset_mutex_);
  reset_.disabled = disabled;
  UpdateStatusLocked();
}

// handle_reset_trigger(): two resets in a row for the same fatal reason, with no user in between, end the device.
void HlDevice::HandleResetTriggerLocked(uint32_t flags) {
  const uint32_t trigger = (flags & kResetHeartbeat) != 0    ? uint32_t{kResetHeartbeat}
                           : (flags & kResetTdr) != 0        ? uint32_t{kResetTdr}
                           : (flags & kResetFwFatalErr) != 0 ? uint32_t{kResetFwFatalErr}
                                                             : 0;
  reset_.reset_trigger_repeated = reset_.prev_reset_trigger == trigger;
  reset_.prev_reset_trigger = trigger;
}

Status HlDevice::Reset(uint32_t flags) {
  bool hard = (flags & kResetHard) != 0;
  const bool from_release = (flags & kResetDevRelease) != 0;
  const bool upon_release = properties_.reset_upon_device_release && from_release;
  bool user = false;
  {
    const std::lock_guard lock(mutex_);
    user = is_compute_ctx_active_;
  }
  {
    const std::lock_guard lock(reset_mutex_);
    if (!reset_.init_done) return {};
    if (!hard && status() == uapi::kHlStatusMalfunction) return {};
    if (!hard && !properties_.supports_compute_reset) hard = true;
    if (upon_release && hard) return Err(EINVAL);
    if (!upon_release) hard = true;  // allow_inference_soft_reset: neither chip does
    if (reset_.in_reset) {
      if (hard && reset_.in_compute_reset) reset_.hard_reset_schedule_flags = flags | kResetHard;
      return {};
    }
    reset_.in_compute_reset = !hard;
    reset_.in_reset = true;
    if (reset_.watchdog_active) {
      reset_.watchdog_active = false;
      (void)work_.Cancel(reset_.watchdog);
      if (from_release && (reset_.watchdog_flags & kResetHard) != 0) {
        reset_.in_compute_reset = false;
        flags = (flags & ~uint32_t{kResetDevRelease});
        hard = true;
      }
    }
    if (!user) HandleResetTriggerLocked(flags);
    reset_.disabled = true;
    UpdateStatusLocked();
  }
  // take_release_locks(): whoever is inside an open has either the device or EAGAIN.
  { const std::lock_guard lock(mutex_); }
  if (hard) {
    StartHardReset(flags | kResetHard);
  } else {
    ComputeReset();
  }
  return {};
}

void HlDevice::StartHardReset(uint32_t flags) {
  log::Info("{}: Going to reset device", node_);
  {
    const std::lock_guard lock(reset_mutex_);
    reset_.hard_reset_pending = true;
    reset_.process_kill_trial_cnt = 0;
  }
  const auto delay = (flags & kResetDelay) != 0 ? kResetDelayTime : std::chrono::milliseconds(0);
  (void)work_.Queue(delay, [this, flags] { HardReset(flags); });
}

// cleanup_resources(), then the first of device_kill_open_processes(): a second for users to close by themselves.
void HlDevice::HardReset(uint32_t) {
  if (execution_ != nullptr) execution_->HaltAndRollBack(/*hard=*/true);
  if (HasProcess()) {
    (void)work_.Queue(seconds(1), [this] { KillProcesses(); });
  } else {
    FinishHardReset();
  }
}

bool HlDevice::HasProcess() const {
  const std::lock_guard lock(mutex_);
  return in_fpriv_list_;
}

void HlDevice::KillProcesses() {
  uint32_t pending = 1;  // processes have been killed already
  {
    const std::lock_guard lock(reset_mutex_);
    if (reset_.process_kill_trial_cnt == 0) pending = kPendingResetPerSec;
  }
  if (pending == kPendingResetPerSec) {
    const std::lock_guard lock(mutex_);
    if (in_fpriv_list_ && opener_pidfd_) {
      log::Info("{}: Killing user process pid={}", node_, opener_);
      // ESRCH: it has ended by itself, and its descriptors are being closed.
      (void)::syscall(SYS_pidfd_send_signal, opener_pidfd_.get(), SIGKILL, nullptr, 0);
    }
  }
  WaitForProcesses(pending);
}

void HlDevice::WaitForProcesses(uint32_t pending) {
  if (!HasProcess()) return FinishHardReset();
  if (pending != 0) {
    (void)work_.Queue(seconds(1), [this, pending] { WaitForProcesses(pending - 1); });
    return;
  }
  {
    const std::lock_guard lock(reset_mutex_);
    if (reset_.process_kill_trial_cnt != kPendingResetMaxTrials) {
      ++reset_.process_kill_trial_cnt;
      log::Info("{}: Could not reset device. will try again in {} seconds", node_, kPendingResetPerSec);
      // device_hard_reset_pending() comes back, gives another second and waits one more.
      (void)work_.Queue(seconds(kPendingResetPerSec + 1), [this] { KillProcesses(); });
      return;
    }
  }
  FailHardReset("Failed to kill all open processes, stopping hard reset");
}

void HlDevice::FinishHardReset() {
  // hw_fini(): memory loses its content. No context is left that could have a part of it mapped.
  board_->ForgetHbm(0, board_->hbm_bytes());
  events_.ClearAtHardReset();
  bool consecutive = false;
  {
    const std::lock_guard lock(reset_mutex_);
    reset_.hard_reset_pending = false;
    consecutive = reset_.reset_trigger_repeated &&
                  (reset_.prev_reset_trigger == kResetFwFatalErr || reset_.prev_reset_trigger == kResetHeartbeat);
  }
  if (consecutive) return FailHardReset("Consecutive fatal errors, stopping hard reset");
  if (pci_link_down_) return FailHardReset("The device does not answer on PCI");
  board_->cpucp().Reboot();
  device_cpu_disabled_ = false;
  if (execution_ != nullptr) execution_->Reinit(/*hard=*/true);
  {
    const std::lock_guard lock(reset_mutex_);
    reset_.disabled = false;
    reset_.in_reset = false;
    reset_.in_compute_reset = false;
    reset_.needs_reset = false;
    ++reset_.hard_reset_cnt;
    UpdateStatusLocked();
  }
  log::Info("{}: Successfully finished resetting the {} device", node_, function().bdf().ToString());
}

void HlDevice::FailHardReset(const char* why) {
  log::Error("{}: {}", node_, why);
  log::Error("{}: Failed to reset! Device is NOT usable", node_);
  const std::lock_guard lock(reset_mutex_);
  reset_.disabled = true;
  reset_.in_compute_reset = false;
  reset_.in_reset = false;
  ++reset_.hard_reset_cnt;
  UpdateStatusLocked();
}

// Between two users of Gaudi2. Not counted, and device memory keeps its content.
void HlDevice::ComputeReset() {
  if (execution_ != nullptr) {
    execution_->HaltAndRollBack(/*hard=*/false);
    execution_->Reinit(/*hard=*/false);
  }
  uint32_t scheduled = 0;
  {
    const std::lock_guard lock(reset_mutex_);
    reset_.disabled = false;
    reset_.in_compute_reset = false;
    reset_.needs_reset = false;
    scheduled = std::exchange(reset_.hard_reset_schedule_flags, 0);
    if (scheduled == 0) {
      reset_.in_reset = false;
    } else {
      HandleResetTriggerLocked(scheduled);
      reset_.disabled = true;
    }
    UpdateStatusLocked();
  }
  if (scheduled != 0) {
    log::Info("{}: Performing hard reset scheduled during compute reset", node_);
    StartHardReset(scheduled);
  }
}

Status HlDevice::CondReset(uint32_t flags, uint64_t event_mask) {
  const auto reset_now = [&] {
    if (event_mask != 0) NotifyAll(event_mask);
    return Reset(flags | kResetHard);
  };
  if (properties_.flavour == Flavour::kMisc || (flags & kResetBypassReqToFw) != 0) return reset_now();
  if ((event_mask & uapi::kHlEventDeviceReset) == 0) {
    log::Error("{}: Resetting device without a reset indication to user", node_);
    return reset_now();
  }
  // The user's context, and whether its program asked to be told.
  bool user = false, registered = false;
  {
    const std::lock_guard lock(notifiers_mutex_);
    for (const auto& [notifier, control] : notifiers_) {
      if (control) continue;
      user = true;
      registered = registered || notifier->registered();
    }
  }
  if (!user) return reset_now();
  {
    const std::lock_guard lock(reset_mutex_);
    if (reset_.in_reset || (!registered && !reset_.watchdog_active)) {
      // Falls through to the reset, without the lock.
    } else {
      if (reset_.watchdog_active) {
        reset_.watchdog_flags |= flags;
      } else {
        reset_.watchdog_flags = flags;
        const uint32_t timeout = device_release_watchdog_timeout_sec_.load(std::memory_order_relaxed);
        log::Debug("{}: Device is going to be hard-reset in {} sec unless being released", node_, timeout);
        reset_.watchdog = work_.Queue(seconds(timeout), [this] {
          uint32_t watchdog_flags = 0;
          {
            const std::lock_guard watchdog_lock(reset_mutex_);
            if (!reset_.watchdog_active) return;  // a reset came first, and could not cancel us any more
            watchdog_flags = reset_.watchdog_flags;
          }
          log::Debug("{}: Device wasn't released in time. Initiate hard-reset.", node_);
          (void)Reset(watchdog_flags | kResetHard | kResetFromWatchdog);
        });
        reset_.watchdog_active = true;
      }
      user = false;
    }
  }
  if (user) return reset_now();
  NotifyAll(event_mask);
  if (execution_ != nullptr) execution_->AbortWaiters();
  return {};
}

bool HlDevice::release_watchdog_active() const {
  const std::lock_guard lock(reset_mutex_);
  return reset_.watchdog_active;
}

HlDevice::ResetCount HlDevice::reset_count() const {
  const std::lock_guard lock(reset_mutex_);
  return {.hard = reset_.hard_reset_cnt, .soft = reset_.compute_reset_cnt};
}

// Later kernels tell the compute node only; v6.1 the control nodes, too.
void HlDevice::NotifyAll(uint64_t event_mask) {
  if (event_mask == 0) return;
  const bool misc = properties_.flavour == Flavour::kMisc;
  const std::lock_guard lock(notifiers_mutex_);
  for (const auto& [notifier, control] : notifiers_) {
    if (!control || misc) notifier->Notify(event_mask);
  }
}

void HlDevice::AddNotifier(NotifierEvent& notifier, bool control) {
  const std::lock_guard lock(notifiers_mutex_);
  notifiers_.emplace_back(&notifier, control);
}

void HlDevice::RemoveNotifier(NotifierEvent& notifier) {
  const std::lock_guard lock(notifiers_mutex_);
  std::erase_if(notifiers_, [&](const auto& entry) { return entry.first == &notifier; });
}

}  // namespace causeway::habanalabs
