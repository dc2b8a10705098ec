// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_CS: linux v6.12 drivers/accel/habanalabs/common/command_submission.c hl_cs_ioctl() and what it calls, in its
// order of checks; v6.1 has the same order and errno, but for the padding and the two newest types.
#include "drivers/habanalabs/cs_ioctl.h"

#include <bit>
#include <cstring>

#include "drivers/habanalabs/cs_parser.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

constexpr uint32_t kTypeMask = uapi::kHlCsSignal | uapi::kHlCsWait | uapi::kHlCsCollectiveWait |
                               uapi::kHlCsReserveSignals | uapi::kHlCsUnreserveSignals | uapi::kHlCsEngineCoreCommand |
                               uapi::kHlCsEnginesCommand | uapi::kHlCsFlushPciHbwWrites;
constexpr uint32_t kMiscTypeMask = kTypeMask & ~(uapi::kHlCsEnginesCommand | uapi::kHlCsFlushPciHbwWrites);
constexpr uint32_t kEngineCores = 69;    // Gaudi2: ARCs
constexpr uint32_t kGaudi2Engines = 79;  // GAUDI2_ENGINE_ID_SIZE

CsType TypeOf(uint32_t flags, Flavour flavour) {
  flags &= flavour == Flavour::kMisc ? kMiscTypeMask : kTypeMask;
  if ((flags & uapi::kHlCsSignal) != 0) return CsType::kSignal;
  if ((flags & uapi::kHlCsWait) != 0) return CsType::kWait;
  if ((flags & uapi::kHlCsCollectiveWait) != 0) return CsType::kCollectiveWait;
  if ((flags & uapi::kHlCsReserveSignals) != 0) return CsType::kReserveSignals;
  if ((flags & uapi::kHlCsUnreserveSignals) != 0) return CsType::kUnreserveSignals;
  if ((flags & uapi::kHlCsEngineCoreCommand) != 0) return CsType::kEngineCores;
  if ((flags & uapi::kHlCsEnginesCommand) != 0) return CsType::kEngines;
  if ((flags & uapi::kHlCsFlushPciHbwWrites) != 0) return CsType::kFlushPciHbwWrites;
  return CsType::kDefault;
}

// What an ioctl reports beside its errno.
struct Answer {
  uint64_t seq = UINT64_MAX;
  uint32_t sob_address_offset = 0;
  uint16_t initial_sob_count = 0;
  Submission::Reservation reservation;
};

// Rejects a submission that is not scheduled by the end of the scope.
class Pending {
 public:
  Pending(Submission& submission, CsRef cs) : submission_(submission), cs_(std::move(cs)) {}
  ~Pending() {
    if (cs_) submission_.Reject(cs_);
  }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;
  Cs& operator*() { return *cs_; }
  Cs* operator->() { return cs_.get(); }
  // errors: as Schedule(), and the submission stays rejectable.
  Status Schedule() {
    CW_CHECK(submission_.Schedule(cs_));
    submission_.device().CsSubmitted();
    submission_.Start();
    scheduled_ = std::move(cs_);
    return {};
  }
  const Cs& scheduled() const { return *scheduled_; }

 private:
  Submission& submission_;
  CsRef cs_, scheduled_;
};

class CsCall {
 public:
  CsCall(HlFile& file, kernel::Task& task)
      : file_(file), task_(task), ctx_(file.ctx()), submission_(file.device().submission()) {}

  Status SanityChecks(const uapi::hl_cs_args& args);
  Status ContextSwitch(const uapi::hl_cs_args& args, uint64_t* seq);
  Status Default(uint64_t chunks, uint32_t count, uint32_t flags, uint64_t staged_seq, uint32_t encaps_handle,
                 uint64_t timeout_ns, Answer* answer);
  Status SignalWait(CsType type, uint64_t chunks, uint32_t count, uint32_t flags, uint64_t timeout_ns, Answer* answer);
  Status EngineCores(uint64_t cores, uint32_t count, uint32_t command);
  Status Engines(uint64_t engines, uint32_t count, uint32_t command);

 private:
  using Counter = std::atomic<uint64_t> CsCounters::*;
  std::unexpected<Errno> Drop(Counter counter, std::unexpected<Errno> error) {
    submission_.Count(ctx_, counter);
    return error;
  }
  Result<std::vector<uapi::hl_cs_chunk>> CopyChunks(uint64_t address, uint32_t count);
  Status ValidateQueue(const uapi::hl_cs_chunk& chunk) const;
  Status ParseExternal(Job& job, const uapi::hl_cs_chunk& chunk);
  Status CheckAddress(QueueType type, uint64_t address, uint32_t size) const;
  Status ReadIds(uint64_t address, uint32_t count);
  Flavour flavour() const { return file_.device().properties().flavour; }

  HlFile& file_;
  kernel::Task& task_;
  HlCtx& ctx_;
  Submission& submission_;
};

// hl_cs_sanity_checks().
Status CsCall::SanityChecks(const uapi::hl_cs_args& args) {
  if (flavour() != Flavour::kMisc && args.in.pad != 0) return Err(EINVAL);
  if (!file_.device().operational()) return Err(EBUSY);
  const uint32_t flags = args.in.cs_flags;
  if ((flags & uapi::kHlCsStaged) != 0 && submission_.is_gaudi2()) return Err(EPERM);
  const uint32_t types = flags & (flavour() == Flavour::kMisc ? kMiscTypeMask : kTypeMask);
  if (types != 0 && !std::has_single_bit(types)) return Err(EINVAL);
  const CsType type = TypeOf(flags, flavour());
  if (type == CsType::kDefault) {
    if (args.in.num_chunks_execute == 0) return Err(EINVAL);
  } else if ((type == CsType::kSignal || type == CsType::kWait || type == CsType::kCollectiveWait) &&
             args.in.num_chunks_execute != 1) {
    return Err(EINVAL);
  }
  return {};
}

// hl_cs_ctx_switch(): the restore phase is a submission of its own, which is waited for.
Status CsCall::ContextSwitch(const uapi::hl_cs_args& args, uint64_t* seq) {
  if ((args.in.cs_flags & uapi::kHlCsForceRestore) == 0 || args.in.num_chunks_restore == 0) return {};
  Answer answer;
  {
    const std::lock_guard lock(file_.restore_phase_mutex());
    CW_CHECK(Default(args.in.chunks_restore, args.in.num_chunks_restore, 0, UINT64_MAX, 0, submission_.timeout_ns(),
                     &answer));
  }
  *seq = answer.seq;
  const uint64_t timeout = submission_.timeout_ns();
  if (!submission_.Wait(task_, ctx_, answer.seq, timeout == 0 ? UINT64_MAX : timeout)) return Err(ENOEXEC);
  return {};
}

// hl_cs_copy_chunk_array().
Result<std::vector<uapi::hl_cs_chunk>> CsCall::CopyChunks(uint64_t address, uint32_t count) {
  if (count > uapi::kHlMaxJobsPerCs) return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));
  std::vector<uapi::hl_cs_chunk> chunks(count);
  if (!task_.memory().CopyFrom(std::as_writable_bytes(std::span(chunks)), address)) {
    return Drop(&CsCounters::validation_drop_cnt, Err(EFAULT));
  }
  return chunks;
}

// validate_queue_index().
Status CsCall::ValidateQueue(const uapi::hl_cs_chunk& chunk) const {
  const auto& queues = submission_.queues();
  if (chunk.queue_index >= queues.size()) return Err(EINVAL);
  const QueueProperties& queue = queues[chunk.queue_index];
  if (queue.type == QueueType::kNone || queue.driver_only) return Err(EINVAL);
  if (queue.type == QueueType::kHardware && (chunk.cs_chunk_flags & uapi::kHlCsChunkFlagsUserAllocCb) == 0) {
    return Err(EINVAL);
  }
  return {};
}

// gaudi_parse_cb_mmu(): the driver runs a copy, which the program cannot change any more.
Status CsCall::ParseExternal(Job& job, const uapi::hl_cs_chunk& chunk) {
  const uint32_t size = PatchedSize(chunk.cb_size);
  auto patched = file_.device().coherent().AllocateRecycled(size);
  if (!patched) return Err(ENOMEM);
  job.patched = std::move(*patched);
  std::memcpy(job.patched.bytes(), job.user_cb->piece().bytes(), chunk.cb_size);
  CW_CHECK(ValidateCommands(std::span(job.patched.bytes(), chunk.cb_size)));
  job.bytes = job.patched.bytes();
  job.address = gaudi::kGaudiHostBase + job.patched.dma_address();
  job.size = size;
  job.user_size = chunk.cb_size;
  return {};
}

// gaudi_parse_cb_no_ext_queue(), gaudi2_validate_cb_address(). errors: EFAULT outside every range that a program has.
Status CsCall::CheckAddress(QueueType type, uint64_t address, uint32_t size) const {
  const AsicProperties& p = file_.device().properties();
  const auto inside = [&](uint64_t start, uint64_t end) {  // hl_mem_area_inside_range()
    uint64_t last = 0;
    return CheckedAdd(address, size, &last) && address >= start && last <= end && last > address;
  };
  if (inside(p.sram_user_base_address, p.sram_user_base_address + p.sram_user_size)) return {};
  if (inside(p.dram_user_base_address, p.dram_end_address)) return {};
  if (type == QueueType::kHardware && inside(p.dram.start, p.dram.end)) return {};
  if (inside(p.host.start, p.host.end)) return {};
  if (p.host_huge.end != 0 && inside(p.host_huge.start, p.host_huge.end)) return {};
  return Err(EFAULT);
}

// cs_ioctl_default().
Status CsCall::Default(uint64_t chunks_address, uint32_t count, uint32_t flags, uint64_t staged_seq,
                       uint32_t encaps_handle, uint64_t timeout_ns, Answer* answer) {
  answer->seq = UINT64_MAX;
  CW_TRY(const auto chunks, CopyChunks(chunks_address, count));
  CW_TRY(CsRef allocated, submission_.Allocate(ctx_, CsType::kDefault, flags, timeout_ns));
  Pending cs(submission_, std::move(allocated));
  uint64_t seq = cs->sequence;
  if ((flags & uapi::kHlCsStaged) != 0) {  // cs_staged_submission()
    cs->staged = true;
    cs->staged_last = (flags & uapi::kHlCsStagedLast) != 0;
    cs->staged_first = (flags & uapi::kHlCsStagedFirst) != 0;
    cs->staged_sequence = cs->staged_first ? cs->sequence : staged_seq;
    if (cs->staged_first && cs->encaps_signals) cs->encaps_handle_id = encaps_handle;
    seq = cs->staged_sequence;
  }
  bool internal_only = true;
  cs->jobs.reserve(chunks.size());
  for (const uapi::hl_cs_chunk& chunk : chunks) {
    if (const Status valid = ValidateQueue(chunk); !valid)
      return Drop(&CsCounters::validation_drop_cnt, Err(valid.error()));
    const QueueProperties& queue = submission_.queues()[chunk.queue_index];
    Job job;
    job.queue = chunk.queue_index;
    if (queue.type == QueueType::kExternal) {  // get_cb_from_cs_chunk()
      job.user_cb = file_.memory_manager().Get<CommandBuffer>(chunk.cb_handle);
      if (!job.user_cb || chunk.cb_size < 8 || chunk.cb_size > job.user_cb->size()) {
        return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));
      }
      job.user_cb->cs_cnt.fetch_add(1);
    }
    if (queue.type != QueueType::kInternal) {
      internal_only = false;
      // stream_master_qid_arr of Gaudi: the streams of the external queues.
      if (queue.type == QueueType::kExternal) cs->stream_masters |= static_cast<uint8_t>(1u << chunk.queue_index);
    }
    ++cs->jobs_in_queue[chunk.queue_index];
    cs->jobs.push_back(std::move(job));
    Job& added = cs->jobs.back();
    Status parsed;
    if (queue.type == QueueType::kExternal) {
      parsed = ParseExternal(added, chunk);
    } else {
      parsed = CheckAddress(queue.type, chunk.cb_handle, chunk.cb_size);
      added.address = chunk.cb_handle;
      added.size = added.user_size = chunk.cb_size;
    }
    if (!parsed) return Drop(&CsCounters::parsing_drop_cnt, Err(parsed.error()));
  }
  if (internal_only && cs->NeedsCompletion()) return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));
  CW_CHECK(cs.Schedule());
  answer->seq = seq;
  return {};
}

// cs_ioctl_signal_wait().
Status CsCall::SignalWait(CsType type, uint64_t chunks_address, uint32_t count, uint32_t flags, uint64_t timeout_ns,
                          Answer* answer) {
  answer->seq = UINT64_MAX;
  CW_TRY(const auto chunks, CopyChunks(chunks_address, count));
  const uapi::hl_cs_chunk& chunk = chunks.front();
  const auto& queues = submission_.queues();
  if (chunk.queue_index >= queues.size() || !queues[chunk.queue_index].sync_stream) {
    return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));
  }
  const QueueProperties& queue = queues[chunk.queue_index];
  // A collective wait needs NIC ports, and there are none without the NIC driver.
  if (type == CsType::kCollectiveWait) return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));

  Submission::WaitTarget target;
  if (type == CsType::kWait) {
    const bool encaps = (flags & uapi::kHlCsEncapSignals) != 0;
    uint64_t seq = chunk.encaps_signal_seq;
    if (!encaps) {  // cs_ioctl_extract_signal_seq()
      if (chunk.num_signal_seq_arr != 1) return Drop(&CsCounters::validation_drop_cnt, Err(EINVAL));
      const auto read = task_.memory().Read<uint64_t>(chunk.signal_seq_arr);
      if (!read) return Drop(&CsCounters::validation_drop_cnt, Err(EFAULT));
      seq = *read;
    }
    CW_TRY(target, submission_.FindWaitTarget(ctx_, seq, encaps, chunk.encaps_signal_offset));
    if (target.finished) return {};
  }
  auto allocated = submission_.Allocate(ctx_, type, flags, timeout_ns);
  if (!allocated) {
    if (target.handle) submission_.PutHandle(ctx_, target.handle);
    return Err(allocated.error());
  }
  Pending cs(submission_, std::move(*allocated));
  cs->signal_fence = std::move(target.fence);
  cs->wait_handle = std::move(target.handle);
  if (cs->wait_handle) cs->encaps_wait_offset = chunk.encaps_signal_offset;
  const uint64_t seq = cs->sequence;

  // cs_ioctl_signal_wait_create_jobs().
  Job job;
  job.queue = chunk.queue_index;
  if (queue.type == QueueType::kHardware) {
    const auto cb = ctx_.TakeInternalCb();
    if (!cb) return Drop(&CsCounters::out_of_mem_drop_cnt, Err(EFAULT));
    job.internal_slot = cb->slot;
    job.bytes = cb->bytes;
    job.address = cb->va;
  } else {
    auto cb = file_.device().coherent().AllocateRecycled(HlCtx::kInternalCbSlot);
    if (!cb) return Drop(&CsCounters::out_of_mem_drop_cnt, Err(EFAULT));
    job.patched = std::move(*cb);
    job.bytes = job.patched.bytes();
    job.address = gaudi::kGaudiHostBase + job.patched.dma_address();
  }
  ++cs->jobs_in_queue[job.queue];
  cs->jobs.push_back(std::move(job));
  if (const Status scheduled = cs.Schedule(); !scheduled) {
    // A WAIT that could not be queued counts as one whose signal has come.
    if (type == CsType::kWait) return {};
    return scheduled;
  }
  answer->seq = seq;
  answer->sob_address_offset = cs.scheduled().sob_address_offset;
  answer->initial_sob_count = cs.scheduled().initial_sob_count;
  return {};
}

Status CsCall::ReadIds(uint64_t address, uint32_t count) {
  std::vector<uint32_t> ids(count);
  return task_.memory().CopyFrom(std::as_writable_bytes(std::span(ids)), address);
}

// cs_ioctl_engine_cores(). No ARC is modelled: nothing changes.
Status CsCall::EngineCores(uint64_t cores, uint32_t count, uint32_t command) {
  if (!submission_.is_gaudi2()) return Err(EPERM);
  if (count == 0 || count > kEngineCores) return Err(EINVAL);
  if (command != uapi::kHlEngineCoreRun && command != uapi::kHlEngineCoreHalt) return Err(EINVAL);
  return ReadIds(cores, count);
}

// cs_ioctl_engines().
Status CsCall::Engines(uint64_t engines, uint32_t count, uint32_t command) {
  if (!submission_.is_gaudi2()) return Err(EPERM);
  if (command >= uapi::kHlEngineCommandMax) return Err(EINVAL);
  const bool cores = command == uapi::kHlEngineCoreRun || command == uapi::kHlEngineCoreHalt;
  if (count == 0 || count > (cores ? kEngineCores : kGaudi2Engines)) return Err(EINVAL);
  return ReadIds(engines, count);
}

}  // namespace

Status CsIoctl(HlFile& file, kernel::Task& task, uapi::hl_cs_args& args) {
  CsCall call(file, task);
  Submission& submission = file.device().submission();
  const auto in = args.in;
  CsType type = CsType::kDefault;
  Answer answer;
  const Status status = [&]() -> Status {
    CW_CHECK(call.SanityChecks(args));
    CW_CHECK(call.ContextSwitch(args, &answer.seq));
    type = TypeOf(in.cs_flags, file.device().properties().flavour);
    const uint64_t timeout_ns =
        (in.cs_flags & uapi::kHlCsCustomTimeout) != 0 ? uint64_t{in.timeout} * 1'000'000'000 : submission.timeout_ns();
    const bool staged_more = (in.cs_flags & uapi::kHlCsStaged) != 0 && (in.cs_flags & uapi::kHlCsStagedFirst) == 0;
    switch (type) {
      case CsType::kSignal:
      case CsType::kWait:
      case CsType::kCollectiveWait:
        return call.SignalWait(type, in.chunks_execute, in.num_chunks_execute, in.cs_flags, timeout_ns, &answer);
      case CsType::kReserveSignals: {
        CW_TRY(answer.reservation,
               submission.ReserveSignals(file.ctx(), in.encaps_signals.q_idx, in.encaps_signals.count));
        return {};
      }
      case CsType::kUnreserveSignals: return submission.UnreserveSignals(file.ctx(), in.encaps_sig_handle_id);
      case CsType::kEngineCores: return call.EngineCores(in.engine_cores, in.engine.count, in.engine.command);
      case CsType::kEngines: return call.Engines(in.engines, in.engine.count, in.engine.command);
      case CsType::kFlushPciHbwWrites:
        if (!submission.is_gaudi2()) return Err(EOPNOTSUPP);
        return {};  // stores of the engines are visible when they are done
      case CsType::kDefault: break;
    }
    return call.Default(in.chunks_execute, in.num_chunks_execute, in.cs_flags, staged_more ? in.seq : UINT64_MAX,
                        in.encaps_sig_handle_id, timeout_ns, &answer);
  }();
  // Who is told to try again finds the argument as it was.
  if (!status && status.error() == Errno(EAGAIN)) return status;
  args = {};
  args.out.status = status ? 0 : static_cast<uint32_t>(-status.error().code());
  if (type == CsType::kReserveSignals) {
    args.out.reserved.handle_id = answer.reservation.handle_id;
    args.out.reserved.count = answer.reservation.count;
    args.out.sob_base_addr_offset = answer.reservation.sob_address_offset;
    return status;
  }
  args.out.seq = answer.seq;
  if (type == CsType::kSignal) args.out.sob_base_addr_offset = answer.sob_address_offset;
  if (type == CsType::kSignal || type == CsType::kDefault) {
    args.out.sob_count_before_submission = answer.initial_sob_count;
  }
  return status;
}

}  // namespace causeway::habanalabs
