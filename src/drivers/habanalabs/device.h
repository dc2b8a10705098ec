// SPDX-License-Identifier: Apache-2.0
// One accelerator as the driver sees it: struct hl_device. Exclusive open, device memory, accounting.
//
//   HlFile (compute node) --holds--> HlCtx <--holds-- dma-bufs of E1      HlFile <--holds-- dma-bufs of E4
//
//   closed --OpenCompute()--> active --last reference on the file--> in release --last reference on the context-->
//   closed
//
// With rules E4 a live dma-buf keeps the file, so other opens get EBUSY; with E1 it keeps only the context, so they get
// EAGAIN (linux hl_device_open()). On Gaudi2 the release ends with a compute reset, within the close.
//
// Lock order: ctx_mutex_, HlCtx::mutex_, HlDevice::mutex_, reset_mutex_. None is held while user memory is copied, a
// descriptor is installed, pages go back to the system, or Execution is called. Runs on: any server thread; hard resets
// on the driver's work thread.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "devices/gaudi/gaudi.h"
#include "drivers/habanalabs/asic_properties.h"
#include "drivers/habanalabs/coherent_memory.h"
#include "drivers/habanalabs/dram_pool.h"
#include "drivers/habanalabs/error_capture.h"
#include "drivers/habanalabs/events.h"
#include "drivers/habanalabs/execution.h"
#include "drivers/habanalabs/reset.h"
#include "kernel/file.h"
#include "kernel/refusals.h"
#include "kernel/task.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

class HlCtx;
class HlFile;
class NotifierEvent;

// struct hl_cs_counters_atomic: command submissions that were dropped, and why. INFO CS_COUNTERS tells those of the
// device and of the asking context.
struct CsCounters {
  std::atomic<uint64_t> out_of_mem_drop_cnt{0}, parsing_drop_cnt{0}, queue_full_drop_cnt{0},
      device_in_reset_drop_cnt{0}, max_cs_in_flight_drop_cnt{0}, validation_drop_cnt{0};
};
class Submission;

// What a device virtual address leads to.
enum class MappingKind : uint8_t { kHost, kDevice };

// An allocation of device memory: struct hl_vm_phys_pg_pack.
struct PhysPgPack {
  uint32_t handle = 0;
  uint32_t asid = 0;
  uint32_t flags = 0;           // HL_MEM_...
  uint64_t total_size = 0;      // bytes, whole pages
  std::vector<uint64_t> pages;  // physical addresses, in the order of the allocation
  uint32_t mapping_cnt = 0;     // guarded by HlDevice::mutex_
};

struct DeviceReport {
  std::string name;  // of the function: "gaudi0"
  std::string bdf;
  std::string type;  // "GAUDI2"
  std::string node;  // "/dev/accel/accel0"
  std::string control_node;
  uint32_t status = 0;  // HlDeviceStatus
  pid_t opener = 0;     // 0: nobody has the compute node open
  bool in_release = false;
  uint64_t dram_used = 0, dram_size = 0;
  uint64_t hbm_resident = 0;  // bytes of host memory that back the HBM
  uint32_t dmabufs = 0;
  std::string status_name;
  std::vector<std::string> busy_engines;
  std::optional<uint64_t> power_mw, clock_mhz;  // nothing: the management processor does not answer
  std::optional<int64_t> temperature_mc;        // thousandths of a degree Celsius
  uint32_t active_cs = 0;
  uint64_t completed_cs = 0;
  uint32_t hard_resets = 0;
};

class HlDevice {
 public:
  HlDevice(std::unique_ptr<gaudi::Board> board, const AsicProperties& properties, pci::Bus& bus,
           kernel::RefusalLog& refusals, WorkQueue& work, ipc::MemoryTable& memories, uint32_t coherent,
           std::string node, std::string control_node);
  ~HlDevice();
  HlDevice(const HlDevice&) = delete;
  HlDevice& operator=(const HlDevice&) = delete;

  // Before the nodes appear. Outlives every file.
  void set_execution(Execution* execution) { execution_ = execution; }
  Execution* execution() const { return execution_; }
  EngineMask BusyEngines() const { return execution_ == nullptr ? EngineMask{} : execution_->BusyEngines(); }

  // hl_device_open(): errors EAGAIN, EPERM, EBUSY in the order of specs; see the table test.
  Result<Ref<kernel::File>> OpenCompute(kernel::Task& opener, uint32_t major, uint32_t minor);
  // hl_device_open_ctrl(). errors: EPERM.
  Result<Ref<kernel::File>> OpenControl(uint32_t major, uint32_t minor);

  uapi::HlDeviceStatus status() const { return status_.load(std::memory_order_acquire); }
  bool operational() const {
    const auto now = status();
    return now == uapi::kHlStatusOperational || now == uapi::kHlStatusInDeviceCreation;
  }
  // As if the device had come into this state by itself: creation, and tests.
  void set_status(uapi::HlDeviceStatus status);
  std::string_view StatusName() const;  // "operational", as sysfs and logs say it
  std::string TypeName() const;         // sysfs device_type

  const AsicProperties& properties() const { return properties_; }
  gaudi::Board& board() { return *board_; }
  CoherentMemory& coherent() { return coherent_; }
  Submission& submission() { return *submission_; }
  const pci::Function& function() const { return board_->function(); }
  pci::Bus& bus() { return bus_; }
  kernel::RefusalLog& refusals() { return refusals_; }
  const std::string& node() const { return node_; }
  const std::string& control_node() const { return control_node_; }

  // alloc_device_memory() and free_device_memory() of an ASIC with virtual device memory.
  Result<uint32_t> AllocateMemory(HlCtx& ctx, uint64_t size, uint32_t flags);
  Status FreeMemory(HlCtx& ctx, uint32_t handle);
  // Takes one mapping count, so that the memory cannot be freed. errors: EINVAL unknown; EPERM another's and not
  // shared.
  Result<std::shared_ptr<PhysPgPack>> MapMemory(const HlCtx& ctx, uint32_t handle);
  void UnmapMemory(PhysPgPack& pack);

  // Accounting of Gaudi, whose programs manage device memory themselves: counts what they say, wrapping as they make
  // it.
  void AddDramUsed(HlCtx& ctx, uint64_t bytes);
  uint64_t dram_used() const { return dram_used_.load(std::memory_order_relaxed); }

  std::atomic<uint32_t>& dmabuf_export_cnt() { return dmabuf_export_cnt_; }

  // hl_fw_send_cpu_message(). errors: ETIMEDOUT no answer; EIO it refuses, or did not answer before.
  Result<uint64_t> SendCpuMessage(const gaudi::CpucpPacket& packet);
  // What the PCIe core counts: KB/s since the last look, and replays.
  uapi::hl_info_pci_counters PciCounters();

  CsCounters& cs_counters() { return cs_counters_; }
  ErrorCapture& errors() { return errors_; }

  // hl_get_compute_ctx().
  bool HasComputeCtx();
  // The same and a look at its mappings: what all of [va, + bytes) is mapped to, by one of them.
  std::optional<MappingKind> MappingAt(uint64_t va, uint64_t bytes);

  // ---- Life of the device: reset.cc
  // hl_device_reset(). A hard reset runs on the work thread: this returns when it has been decided, with the status
  // "in reset"; a compute reset has ended when this returns. One reset at a time: another asked for meanwhile is
  // dropped (a hard one asked for in a compute reset follows it). errors: EINVAL.
  Status Reset(uint32_t flags);
  // hl_device_cond_reset(): a user who registered an eventfd gets device_release_watchdog_timeout_sec to close, if
  // events say so. v6.1 resets at once.
  Status CondReset(uint32_t flags, uint64_t event_mask);
  // hl_notifier_event_send_all().
  void NotifyAll(uint64_t event_mask);
  void AddNotifier(NotifierEvent& notifier, bool control);
  void RemoveNotifier(NotifierEvent& notifier);
  // The release watchdog runs: waits of a context answer EBUSY (later kernels).
  bool release_watchdog_active() const;
  // A hard reset when the `count`th command submission from now on is in the queues and its ioctl has not returned:
  // fault injection. CsSubmitted() is the submission side's, which holds no lock.
  void ArmReset(uint64_t count) { armed_reset_ = count; }
  void CsSubmitted() {
    uint64_t left = armed_reset_.load(std::memory_order_relaxed);
    while (left != 0 && !armed_reset_.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 1) (void)Reset(kResetHard);
  }
  // Counted: releases are not. `soft`: compute resets other than those after a release.
  struct ResetCount {
    uint32_t hard, soft;
  };
  ResetCount reset_count() const;
  std::atomic<uint32_t>& device_release_watchdog_timeout_sec() { return device_release_watchdog_timeout_sec_; }
  // Module parameter timeout_locked and debugfs timeout_locked: seconds until a CS times out, 0 never.
  std::atomic<uint32_t>& timeout_locked_sec() { return timeout_locked_sec_; }
  // Module parameter reset_on_lockup.
  std::atomic<bool>& reset_on_lockup() { return reset_on_lockup_; }

  // ---- What the submission side and the engines report: records, events, resets, as the driver decides: errors.cc
  // cs_timedout(). The caller has marked the fence (ETIMEDOUT).
  void CsTimedOut(uint64_t seq, bool skip_reset_on_timeout);
  // An access of an engine to an address that is not mapped. `pmmu`: a host address.
  void PageFault(uint64_t va, uint16_t engine_id, bool pmmu);
  // An access to a place that does not exist or is protected. `flags`: kHlRazwi...
  void Razwi(uint64_t address, uint16_t engine_id, uint8_t flags);
  // A queue manager met an opcode that it does not know. The record's timestamp is filled in.
  void UndefinedOpcode(const uapi::hl_info_undefined_opcode_event& event);

  // An entry of the event queue: counted, then treated as FindEvent() says.
  struct EventDetails {
    uint64_t event_mask = 0;      // HL_NOTIFIER_EVENT_... beside those of the event's class
    uint16_t engine_id = 0xffff;  // whom INFO USER_ENGINE_ERR_EVENT names
    uint16_t error_count = 1;
    bool critical = false;  // the firmware's word on an ECC error
  };
  void HandleEvent(uint16_t event_id, const EventDetails& details);
  void HandleEvent(uint16_t event_id) { HandleEvent(event_id, EventDetails{}); }
  void HeartbeatLost();
  // The driver's heartbeat: every 10 s from now on. hl_device_heartbeat().
  void StartHeartbeat();
  // The PCIe link is gone, until the next hard reset at least: the management processor cannot be reached.
  void SetPciLink(bool up);
  // debugfs device, "disable" and "enable". A reset that runs goes on, and then enables the device.
  void SetDisabled(bool disabled);
  // debugfs device, "cpu_timeout": as if the management processor had not answered.
  void DisableCpu() { device_cpu_disabled_ = true; }
  const EventStats& events() const { return events_; }
  const ClkThrottling& clk_throttling() const { return clk_throttling_; }

  // hl_device_set_debug_mode(). errors: EFAULT it is so already.
  Status SetDebugMode(bool enable);
  bool in_debug() const { return in_debug_.load(std::memory_order_acquire); }

  struct OpenStats {
    uint64_t open_counter = 0, last_open_period_ms = 0;
    bool active = false, in_release = false;
    int64_t last_open_ktime_ns = 0;
  };
  OpenStats open_stats() const;
  DeviceReport Report() const;

 private:
  friend class HlFile;
  friend class HlCtx;
  void Released();               // hl_device_release() began
  void CtxEnding();              // the context's end began: nobody finds it any more
  void CtxReleased(HlCtx& ctx);  // hl_ctx_do_release() and hpriv_release(): the node can be opened again
  void StillInUse();             // hl_device_release() of a context that others still hold
  void FreePack(PhysPgPack& pack);
  bool IsIdle() const;
  void Heartbeat();

  // reset.cc; Locked: reset_mutex_ is held.
  void UpdateStatusLocked();
  void HandleResetTriggerLocked(uint32_t flags);
  void StartHardReset(uint32_t flags);
  void HardReset(uint32_t flags);
  void KillProcesses();
  void WaitForProcesses(uint32_t pending);
  void FinishHardReset();
  void FailHardReset(const char* why);
  void ComputeReset();
  bool HasProcess() const;

  const std::unique_ptr<gaudi::Board> board_;
  const AsicProperties properties_;
  CoherentMemory coherent_;
  std::unique_ptr<Submission> submission_;  // set once, by the constructor
  pci::Bus& bus_;
  kernel::RefusalLog& refusals_;
  WorkQueue& work_;
  const std::string node_, control_node_;
  Execution* execution_ = nullptr;
  std::atomic<uapi::HlDeviceStatus> status_{uapi::kHlStatusInDeviceCreation};
  std::atomic<uint64_t> dram_used_{0};
  std::atomic<uint32_t> dmabuf_export_cnt_{0};
  std::atomic<bool> in_debug_{false};
  std::atomic<bool> reset_on_lockup_{true};
  std::atomic<uint32_t> timeout_locked_sec_;
  std::atomic<uint32_t> device_release_watchdog_timeout_sec_{30};  // HL_DEVICE_RELEASE_WATCHDOG_TIMEOUT_SEC
  std::atomic<uint64_t> armed_reset_{0};
  std::atomic<bool> pci_link_down_{false};
  std::atomic<bool> device_cpu_disabled_{false};  // it did not answer once: not asked again before a hard reset
  CsCounters cs_counters_;
  ErrorCapture errors_;
  EventStats events_;
  ClkThrottling clk_throttling_;

  mutable std::mutex mutex_;  // guards what follows
  DramPool pool_;
  std::map<uint32_t, std::shared_ptr<PhysPgPack>> handles_;
  bool is_compute_ctx_active_ = false;
  bool compute_ctx_in_release_ = false;
  bool in_fpriv_list_ = false;  // the user's struct hl_fpriv is in the list that a hard reset empties
  pid_t opener_ = 0;
  UniqueFd opener_pidfd_;
  uint64_t open_counter_ = 0;
  uint64_t last_open_period_ms_ = 0;
  int64_t last_open_ktime_ns_ = 0;

  std::mutex ctx_mutex_;  // guards what follows
  HlCtx* ctx_ = nullptr;  // the user's, until its end begins

  mutable std::mutex notifiers_mutex_;                      // innermost; guards what follows
  std::vector<std::pair<NotifierEvent*, bool>> notifiers_;  // true: of a control node

  std::mutex pci_counters_mutex_;  // guards what follows
  uint64_t pci_rx_bytes_ = 0, pci_tx_bytes_ = 0;
  int64_t pci_counters_ns_ = 0;

  mutable std::mutex reset_mutex_;  // guards what follows
  ResetInfo reset_;
};

}  // namespace causeway::habanalabs
