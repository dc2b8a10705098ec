// SPDX-License-Identifier: Apache-2.0
// Command submission of one device: its queues, the submissions under way, their completion and time-out. Parts of
// struct hl_device (kernel_queues, completion_queue, cs_mirror_list), of common/hw_queue.c and
// common/command_submission.c.
//
//   CS ioctl: Allocate() -> jobs -> Schedule(): PQ entries, doorbells ... engines ... interrupt -> Interrupt()
//                                                                        -> jobs done -> Release(): fence, waiters
//                                               timer thread -> time-out (TDR)
//
// Gaudi: a submission is done when its jobs on external queues are; each ends with a completion entry and an MSI, which
// the driver appends to its copy of the command buffer. Gaudi2: every job bumps a SOB, a monitor counts to the number
// of jobs and appends an entry to the sync manager's queue 0, which raises an interrupt.
//
// Lock order: mutex_, then the engines' lock. No user memory is copied and no context is released with mutex_ held:
// what was released is kept in graveyard_ until Finish(). Runs on: server threads, the engines' thread (Interrupt,
// Event), the timer thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "devices/gaudi/engines.h"
#include "drivers/habanalabs/context.h"
#include "drivers/habanalabs/cs_context.h"
#include "drivers/habanalabs/execution.h"
#include "drivers/habanalabs/memory_manager.h"
#include "drivers/habanalabs/queue_table.h"
#include "drivers/habanalabs/user_interrupt.h"

namespace causeway::habanalabs {

// The completion queue of submissions: its entries (struct hl_cq_entry), its length, Gaudi2's interrupt.
constexpr uint32_t kCqReady = 1u << 31, kCqShadowValid = 1u << 15, kCqShadowMask = 0xfff;
constexpr uint32_t kCsCqEntries = 4096;             // HL_CQ_LENGTH
constexpr uint32_t kGaudi2CsCompletionVector = 21;  // GAUDI2_IRQ_NUM_COMPLETION

struct Job {
  uint32_t queue = 0;
  uint64_t address = 0;  // of the commands, as the PQ entry says it
  uint32_t size = 0;
  uint32_t user_size = 0;      // without what the driver appends
  Ref<CommandBuffer> user_cb;  // external queues
  CoherentMemory::Piece patched;
  std::optional<uint32_t> internal_slot;  // Gaudi2's SIGNAL and WAIT
  std::byte* bytes = nullptr;             // of a buffer that the driver makes
};

struct Cs {
  Ref<HlCtx> ctx;
  std::shared_ptr<Fence> fence;
  uint64_t sequence = 0;
  CsType type = CsType::kDefault;
  std::vector<Job> jobs;
  std::map<uint32_t, uint32_t> jobs_in_queue;  // by queue id
  uint32_t pending_jobs = 0;                   // that will report completion
  bool timestamp = false, skip_reset_on_timeout = false, encaps_signals = false;
  bool submitted = false, completed = false, timed_out = false, aborted = false;
  bool staged = false, staged_first = false, staged_last = false;
  uint64_t staged_sequence = 0;
  uint32_t encaps_handle_id = 0;
  uint64_t timeout_ns = 0;  // 0: none
  bool tdr_active = false;
  uint8_t stream_masters = 0;
  // WAIT.
  std::shared_ptr<Fence> signal_fence;
  std::shared_ptr<EncapsHandle> wait_handle;
  uint32_t encaps_wait_offset = 0;
  // Reported to the program.
  uint32_t sob_address_offset = 0;
  uint16_t initial_sob_count = 0;

  bool NeedsCompletion() const { return !staged || staged_last; }
  bool NeedsTimeout() const { return !staged || staged_first; }
};
using CsRef = std::shared_ptr<Cs>;

class Submission : public Execution, public gaudi::EngineClient {
 public:
  explicit Submission(HlDevice& device);
  ~Submission() override;

  HlDevice& device() { return device_; }
  uint32_t max_pending_cs() const { return max_pending_cs_; }
  const std::vector<QueueProperties>& queues() const { return queue_properties_; }
  bool is_gaudi2() const { return gaudi2_; }

  // allocate_cs(): takes the next sequence number. errors: EAGAIN too many in flight.
  Result<CsRef> Allocate(HlCtx& ctx, CsType type, uint32_t flags, uint64_t timeout_ns);
  // hl_hw_queue_schedule_cs(). errors: EPERM not operational; EAGAIN queue full; ENOMEM more than an internal queue
  // holds; EINVAL as the SIGNAL, WAIT or staged rules say.
  Status Schedule(const CsRef& cs);
  // After Schedule(), without locks: lets the engines begin.
  void Start() { engines_.RunHere(); }
  // cs_rollback() and the last put of a submission that was not scheduled.
  void Reject(const CsRef& cs);
  // Counts a submission that was dropped, for INFO CS_COUNTERS.
  void Count(HlCtx& ctx, std::atomic<uint64_t> CsCounters::*counter);

  // Signals: cs_ioctl_reserve_signals() and its reverse.
  struct Reservation {
    uint32_t handle_id = 0, sob_address_offset = 0, count = 0;
  };
  Result<Reservation> ReserveSignals(HlCtx& ctx, uint32_t queue, uint32_t count);
  Status UnreserveSignals(HlCtx& ctx, uint32_t handle_id);
  // The first half of cs_ioctl_signal_wait() for a WAIT: what it waits for. *finished: nothing is to be submitted.
  struct WaitTarget {
    std::shared_ptr<Fence> fence;
    std::shared_ptr<EncapsHandle> handle;
    bool finished = false;
  };
  Result<WaitTarget> FindWaitTarget(HlCtx& ctx, uint64_t seq, bool encaps, uint32_t encaps_offset);
  void PutHandle(HlCtx& ctx, const std::shared_ptr<EncapsHandle>& handle);

  // hl_wait_for_fence(). `timeout_ns` 0 polls, UINT64_MAX never ends. errors: EINVAL never issued; ETIMEDOUT, EIO as
  // the submission ended; EINTR.
  struct WaitResult {
    bool completed = false, gone = false;
    int64_t timestamp = 0;
  };
  Result<WaitResult> Wait(kernel::Task& task, HlCtx& ctx, uint64_t seq, uint64_t timeout_ns);
  // hl_multi_cs_wait_ioctl() from the array on. errors: as Wait(), and ENOMEM too many waiters.
  struct MultiResult {
    uint32_t map = 0;
    int64_t timestamp = 0;
  };
  Result<MultiResult> WaitMulti(kernel::Task& task, HlCtx& ctx, const std::vector<uint64_t>& seqs, uint64_t timeout_ns);

  UserInterrupts& user_interrupts() { return user_interrupts_; }

  // Default TDR, ns; 0: none.
  uint64_t timeout_ns() const;
  // The context is gone: what its programs left in the sync managers goes (gaudi_restore_user_registers()).
  void ContextReleased();

  // Execution
  EngineMask BusyEngines() const override;
  void HaltAndRollBack(bool hard) override;
  void AbortWaiters() override;
  void Reinit(bool hard) override;
  uint32_t ActiveCs() const override;
  uint64_t CompletedCs() const override { return completed_cs_.load(std::memory_order_relaxed); }

  // EngineClient
  void Interrupt(uint32_t vector) override;
  void Event(const gaudi::EngineEvent& event) override;

 private:
  struct Queue {
    CoherentMemory::Piece ring;
    uint32_t pi = 0, ci = 0;  // free running
    // External queues.
    CoherentMemory::Piece cq;
    uint32_t cq_pi = 0, cq_ci = 0;
    std::vector<CsRef> shadow;
    // Sync stream.
    uint32_t base_mon = 0, next_sob_val = 1, curr_sob = 0;
    std::array<HwSob, 2> sobs{};
  };
  struct MultiWaiter {
    bool used = false;
    uint8_t stream_masters = 0;
    bool fired = false;
    int64_t timestamp = 0;
    std::condition_variable wake;
  };

  void CreateQueues();
  void InitDeviceLocked();
  uint32_t FreeSlots(uint32_t queue) const;
  Status CheckQueuesLocked(const Cs& cs);
  Status InitSignalLocked(Cs& cs);
  Status InitWaitLocked(Cs& cs);
  Status SwitchSobLocked(uint32_t queue, HwSob** sob, uint32_t count, bool encaps);
  void PutSobLocked(HwSob& sob);
  void PutHandleLocked(HlCtx& ctx, const std::shared_ptr<EncapsHandle>& handle);
  void GenerateSignal(Job& job, const HwSob& sob);
  void GenerateWait(Job& job, const HwSob& sob, uint32_t value);
  void SubmitJobsLocked(const CsRef& cs);
  void CompleteJobLocked(const CsRef& cs);
  void ReleaseLocked(const CsRef& cs);  // what then is in graveyard_ goes to Finish()
  void Finish(const std::vector<CsRef>& gone);
  void FinishJobsLocked(Cs& cs);
  void HandleCompletionQueuesLocked();
  void HandleCsCompletionsLocked();
  void CompleteMultiLocked(const Cs& cs);
  void ForceMultiLocked();
  void ArmTdrLocked(const CsRef& cs);
  void Timer();
  void TimedOut(const CsRef& cs);
  std::vector<CsRef> TakeGraveyardLocked() { return std::exchange(graveyard_, {}); }

  HlDevice& device_;
  gaudi::Engines& engines_;
  const bool gaudi2_;
  const uint32_t max_pending_cs_;
  const std::vector<QueueProperties> queue_properties_;
  UserInterrupts user_interrupts_;
  std::atomic<uint64_t> completed_cs_{0};

  mutable std::mutex mutex_;  // guards what follows, and every CsContext, Fence and Cs
  std::vector<Queue> queues_;
  CoherentMemory::Piece cs_cq_;  // Gaudi2: completion queue 0 of DCORE0's sync manager
  uint32_t cs_cq_ci_ = 0;
  std::list<CsRef> mirror_;       // scheduled and not done, oldest first
  std::vector<CsRef> shadow_cs_;  // by sequence modulo max_pending_cs_
  std::vector<CsRef> graveyard_;
  std::array<MultiWaiter, 2> multi_;          // MULTI_CS_MAX_USER_CTX
  std::multimap<uint64_t, CsRef> deadlines_;  // CLOCK_MONOTONIC ns; of submissions in mirror_
  bool stop_ = false;
  uint64_t timer_until_ = UINT64_MAX;  // what the timer thread sleeps for; UINT64_MAX: to be woken
  std::condition_variable timer_wake_;
  std::thread timer_;
};

int64_t KtimeGetNs();

}  // namespace causeway::habanalabs
