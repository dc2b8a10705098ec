// SPDX-License-Identifier: Apache-2.0
// Our structs and numbers of submission against the system's <misc/habanalabs.h> (linux-libc-dev): size, offset, value.
#include <gtest/gtest.h>

#include "uapi/habanalabs.h"
#include "uapi/habanalabs_submission.h"

#if __has_include(<misc/habanalabs.h>)
#include <misc/habanalabs.h>

#include "uapi/parity.h"

namespace {

static_assert(sizeof(cw::hl_cb_args) == sizeof(union ::hl_cb_args));
static_assert(sizeof(cw::hl_cs_args) == sizeof(union ::hl_cs_args));
static_assert(sizeof(cw::hl_wait_cs_args) == sizeof(union ::hl_wait_cs_args));
static_assert(sizeof(cw::hl_cs_chunk) == sizeof(struct ::hl_cs_chunk));

// A field of ours, and of the system's struct that begins the same union.
#define AT(args, ours, type, theirs) static_assert(offsetof(cw::args, ours) == offsetof(struct ::type, theirs), #ours)

AT(hl_cb_args, in.cb_handle, hl_cb_in, cb_handle);
AT(hl_cb_args, in.op, hl_cb_in, op);
AT(hl_cb_args, in.cb_size, hl_cb_in, cb_size);
AT(hl_cb_args, in.ctx_id, hl_cb_in, ctx_id);
AT(hl_cb_args, in.flags, hl_cb_in, flags);
AT(hl_cb_args, out.cb_handle, hl_cb_out, cb_handle);
AT(hl_cb_args, out.device_va, hl_cb_out, device_va);
AT(hl_cb_args, out.info.usage_cnt, hl_cb_out, usage_cnt);

AT(hl_cs_chunk, cb_handle, hl_cs_chunk, cb_handle);
AT(hl_cs_chunk, signal_seq_arr, hl_cs_chunk, signal_seq_arr);
AT(hl_cs_chunk, encaps_signal_seq, hl_cs_chunk, encaps_signal_seq);
AT(hl_cs_chunk, queue_index, hl_cs_chunk, queue_index);
AT(hl_cs_chunk, cb_size, hl_cs_chunk, cb_size);
AT(hl_cs_chunk, num_signal_seq_arr, hl_cs_chunk, num_signal_seq_arr);
AT(hl_cs_chunk, encaps_signal_offset, hl_cs_chunk, encaps_signal_offset);
AT(hl_cs_chunk, cs_chunk_flags, hl_cs_chunk, cs_chunk_flags);
AT(hl_cs_chunk, collective_engine_id, hl_cs_chunk, collective_engine_id);
AT(hl_cs_chunk, pad, hl_cs_chunk, pad);

AT(hl_cs_args, in.chunks_restore, hl_cs_in, chunks_restore);
AT(hl_cs_args, in.chunks_execute, hl_cs_in, chunks_execute);
AT(hl_cs_args, in.engine_cores, hl_cs_in, engine_cores);
AT(hl_cs_args, in.engine.count, hl_cs_in, num_engine_cores);
AT(hl_cs_args, in.engine.command, hl_cs_in, core_command);
AT(hl_cs_args, in.seq, hl_cs_in, seq);
AT(hl_cs_args, in.encaps_sig_handle_id, hl_cs_in, encaps_sig_handle_id);
AT(hl_cs_args, in.encaps_signals.count, hl_cs_in, encaps_signals_count);
AT(hl_cs_args, in.encaps_signals.q_idx, hl_cs_in, encaps_signals_q_idx);
AT(hl_cs_args, in.num_chunks_restore, hl_cs_in, num_chunks_restore);
AT(hl_cs_args, in.num_chunks_execute, hl_cs_in, num_chunks_execute);
AT(hl_cs_args, in.timeout, hl_cs_in, timeout);
AT(hl_cs_args, in.cs_flags, hl_cs_in, cs_flags);
AT(hl_cs_args, in.ctx_id, hl_cs_in, ctx_id);
AT(hl_cs_args, in.pad, hl_cs_in, pad);
AT(hl_cs_args, out.seq, hl_cs_out, seq);
AT(hl_cs_args, out.reserved.handle_id, hl_cs_out, handle_id);
AT(hl_cs_args, out.reserved.count, hl_cs_out, count);
AT(hl_cs_args, out.status, hl_cs_out, status);
AT(hl_cs_args, out.sob_base_addr_offset, hl_cs_out, sob_base_addr_offset);
AT(hl_cs_args, out.sob_count_before_submission, hl_cs_out, sob_count_before_submission);

AT(hl_wait_cs_args, in.cs.seq, hl_wait_cs_in, seq);
AT(hl_wait_cs_args, in.cs.timeout_us, hl_wait_cs_in, timeout_us);
AT(hl_wait_cs_args, in.interrupt.addr, hl_wait_cs_in, addr);
AT(hl_wait_cs_args, in.interrupt.cq_counters_handle, hl_wait_cs_in, cq_counters_handle);
AT(hl_wait_cs_args, in.interrupt.target, hl_wait_cs_in, target);
AT(hl_wait_cs_args, in.ctx_id, hl_wait_cs_in, ctx_id);
AT(hl_wait_cs_args, in.flags, hl_wait_cs_in, flags);
AT(hl_wait_cs_args, in.multi.seq_arr_len, hl_wait_cs_in, seq_arr_len);
AT(hl_wait_cs_args, in.multi.pad, hl_wait_cs_in, pad);
AT(hl_wait_cs_args, in.interrupt_timeout_us, hl_wait_cs_in, interrupt_timeout_us);
AT(hl_wait_cs_args, in.cq_counters_offset, hl_wait_cs_in, cq_counters_offset);
AT(hl_wait_cs_args, in.timestamp_handle, hl_wait_cs_in, timestamp_handle);
AT(hl_wait_cs_args, in.timestamp_offset, hl_wait_cs_in, timestamp_offset);
AT(hl_wait_cs_args, out.status, hl_wait_cs_out, status);
AT(hl_wait_cs_args, out.flags, hl_wait_cs_out, flags);
AT(hl_wait_cs_args, out.timestamp_nsec, hl_wait_cs_out, timestamp_nsec);
AT(hl_wait_cs_args, out.cs_completion_map, hl_wait_cs_out, cs_completion_map);

TEST(HabanalabsSubmissionParity, NumbersOfTheHeader) {
  const struct {
    uint64_t ours, theirs;
  } numbers[] = {
      {cw::kHlCbOpCreate, HL_CB_OP_CREATE},
      {cw::kHlCbOpDestroy, HL_CB_OP_DESTROY},
      {cw::kHlCbOpInfo, HL_CB_OP_INFO},
      {cw::kHlCbFlagsMap, HL_CB_FLAGS_MAP},
      {cw::kHlCbFlagsGetDeviceVa, HL_CB_FLAGS_GET_DEVICE_VA},
      {cw::kHlMaxCbSize, HL_MAX_CB_SIZE},
      {cw::kHlCsChunkFlagsUserAllocCb, HL_CS_CHUNK_FLAGS_USER_ALLOC_CB},
      {cw::kHlCsForceRestore, HL_CS_FLAGS_FORCE_RESTORE},
      {cw::kHlCsSignal, HL_CS_FLAGS_SIGNAL},
      {cw::kHlCsWait, HL_CS_FLAGS_WAIT},
      {cw::kHlCsCollectiveWait, HL_CS_FLAGS_COLLECTIVE_WAIT},
      {cw::kHlCsTimestamp, HL_CS_FLAGS_TIMESTAMP},
      {cw::kHlCsStaged, HL_CS_FLAGS_STAGED_SUBMISSION},
      {cw::kHlCsStagedFirst, HL_CS_FLAGS_STAGED_SUBMISSION_FIRST},
      {cw::kHlCsStagedLast, HL_CS_FLAGS_STAGED_SUBMISSION_LAST},
      {cw::kHlCsCustomTimeout, HL_CS_FLAGS_CUSTOM_TIMEOUT},
      {cw::kHlCsSkipResetOnTimeout, HL_CS_FLAGS_SKIP_RESET_ON_TIMEOUT},
      {cw::kHlCsEncapSignals, HL_CS_FLAGS_ENCAP_SIGNALS},
      {cw::kHlCsReserveSignals, HL_CS_FLAGS_RESERVE_SIGNALS_ONLY},
      {cw::kHlCsUnreserveSignals, HL_CS_FLAGS_UNRESERVE_SIGNALS_ONLY},
      {cw::kHlCsEngineCoreCommand, HL_CS_FLAGS_ENGINE_CORE_COMMAND},
      {cw::kHlMaxJobsPerCs, HL_MAX_JOBS_PER_CS},
      {cw::kHlEngineCoreHalt, HL_ENGINE_CORE_HALT},
      {cw::kHlEngineCoreRun, HL_ENGINE_CORE_RUN},
      {cw::kHlWaitInterrupt, HL_WAIT_CS_FLAGS_INTERRUPT},
      {cw::kHlWaitMultiCs, HL_WAIT_CS_FLAGS_MULTI_CS},
      {cw::kHlWaitInterruptKernelCq, HL_WAIT_CS_FLAGS_INTERRUPT_KERNEL_CQ},
      {cw::kHlWaitRegisterInterrupt, HL_WAIT_CS_FLAGS_REGISTER_INTERRUPT},
      {cw::kHlAnyCqInterrupt, cw::HlWaitInterruptId(HL_WAIT_CS_FLAGS_ANY_CQ_INTERRUPT)},
      {cw::kHlAnyDecoderInterrupt, cw::HlWaitInterruptId(HL_WAIT_CS_FLAGS_ANY_DEC_INTERRUPT)},
      {cw::kHlWaitCompleted, HL_WAIT_CS_STATUS_COMPLETED},
      {cw::kHlWaitBusy, HL_WAIT_CS_STATUS_BUSY},
      {cw::kHlWaitTimedOut, HL_WAIT_CS_STATUS_TIMEDOUT},
      {cw::kHlWaitAborted, HL_WAIT_CS_STATUS_ABORTED},
      {cw::kHlWaitFlagGone, HL_WAIT_CS_STATUS_FLAG_GONE},
      {cw::kHlWaitFlagTimestamp, HL_WAIT_CS_STATUS_FLAG_TIMESTAMP_VLD},
      {cw::kHlWaitMultiCsMax, HL_WAIT_MULTI_CS_LIST_MAX_LEN},
  };
  for (const auto& number : numbers) EXPECT_EQ(number.ours, number.theirs) << &number - numbers;
}

}  // namespace
#else
TEST(HabanalabsSubmissionParity, NumbersOfTheHeader) { GTEST_SKIP() << "the system has no <misc/habanalabs.h>"; }
#endif
