// SPDX-License-Identifier: Apache-2.0
// The habanalabs uAPI: command buffers, command submission, waiting. The same in every flavour but where said. Our own
// definition of public facts: linux v6.1 include/uapi/misc/habanalabs.h, v6.12 include/uapi/drm/habanalabs_accel.h.
// habanalabs_parity_test.cc compares with the system's header. Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::uapi {

// --- mmap() offsets and handles -----------------------------------------------------------------------------------

constexpr uint64_t kHlMmapTypeShift = 59;
constexpr uint64_t kHlMmapTypeBlock = 0x04, kHlMmapTypeCb = 0x02, kHlMmapTypeTsBuff = 0x10;
constexpr unsigned kHlHandleShift = 12;  // PAGE_SHIFT
constexpr uint64_t HlHandle(uint64_t type, uint32_t id) {
  return type << kHlMmapTypeShift | uint64_t{id} << kHlHandleShift;
}
constexpr uint32_t HlHandleId(uint64_t handle) { return static_cast<uint32_t>(handle >> kHlHandleShift); }

// --- CB -----------------------------------------------------------------------------------------------------------

union hl_cb_args {
  struct {
    uint64_t cb_handle;
    uint32_t op;
    uint32_t cb_size;
    uint32_t ctx_id;
    uint32_t flags;
  } in;
  struct {
    union {
      uint64_t cb_handle;
      uint64_t device_va;
      struct {
        uint32_t usage_cnt;
        uint32_t pad;
      } info;
    };
  } out;
};
static_assert(sizeof(hl_cb_args) == 24 && offsetof(hl_cb_args, in.flags) == 20);
enum HlCbOp : uint32_t { kHlCbOpCreate = 0, kHlCbOpDestroy = 1, kHlCbOpInfo = 2 };
constexpr uint32_t kHlCbFlagsMap = 0x1;          // CREATE
constexpr uint32_t kHlCbFlagsGetDeviceVa = 0x2;  // INFO
constexpr uint32_t kHlMaxCbSize = 0x200000 - 32;

// --- CS -----------------------------------------------------------------------------------------------------------

struct hl_cs_chunk {
  union {
    uint64_t cb_handle;
    uint64_t signal_seq_arr;
    uint64_t encaps_signal_seq;
  };
  uint32_t queue_index;
  union {
    uint32_t cb_size;
    uint32_t num_signal_seq_arr;
    uint32_t encaps_signal_offset;
  };
  uint32_t cs_chunk_flags;
  uint32_t collective_engine_id;
  uint32_t pad[10];
};
static_assert(sizeof(hl_cs_chunk) == 64 && offsetof(hl_cs_chunk, collective_engine_id) == 20);
constexpr uint32_t kHlCsChunkFlagsUserAllocCb = 0x1;

union hl_cs_args {
  struct {
    union {
      uint64_t chunks_restore;
      uint64_t engine_cores;
      uint64_t engines;
    };
    union {
      uint64_t chunks_execute;
      struct {
        uint32_t count;
        uint32_t command;
      } engine;
    };
    union {
      uint64_t seq;
      uint32_t encaps_sig_handle_id;
      struct {
        uint32_t count;
        uint32_t q_idx;
      } encaps_signals;
    };
    uint32_t num_chunks_restore;
    uint32_t num_chunks_execute;
    uint32_t timeout;  // seconds
    uint32_t cs_flags;
    uint32_t ctx_id;
    uint32_t pad;
  } in;
  struct {
    union {
      uint64_t seq;
      struct {
        uint32_t handle_id;
        uint32_t count;
      } reserved;
    };
    uint32_t status;
    uint32_t sob_base_addr_offset;
    uint16_t sob_count_before_submission;
    uint16_t pad[3];
  } out;
};
static_assert(sizeof(hl_cs_args) == 48 && offsetof(hl_cs_args, in.cs_flags) == 36);
static_assert(offsetof(hl_cs_args, out.sob_count_before_submission) == 16);

constexpr uint32_t kHlCsForceRestore = 0x1, kHlCsSignal = 0x2, kHlCsWait = 0x4, kHlCsCollectiveWait = 0x8,
                   kHlCsTimestamp = 0x20, kHlCsStaged = 0x40, kHlCsStagedFirst = 0x80, kHlCsStagedLast = 0x100,
                   kHlCsCustomTimeout = 0x200, kHlCsSkipResetOnTimeout = 0x400, kHlCsEncapSignals = 0x800,
                   kHlCsReserveSignals = 0x1000, kHlCsUnreserveSignals = 0x2000, kHlCsEngineCoreCommand = 0x4000,
                   kHlCsFlushPciHbwWrites = 0x8000, kHlCsEnginesCommand = 0x10000;
constexpr uint32_t kHlMaxJobsPerCs = 512;
enum HlEngineCommand : uint32_t {
  kHlEngineCoreHalt = 1,
  kHlEngineCoreRun = 2,
  kHlEngineStall = 3,
  kHlEngineResume = 4
};
constexpr uint32_t kHlEngineCommandMax = 5;

// --- WAIT_CS ------------------------------------------------------------------------------------------------------

union hl_wait_cs_args {
  struct {
    union {
      struct {
        uint64_t seq;  // multi-CS: address of an array
        uint64_t timeout_us;
      } cs;
      struct {
        union {
          uint64_t addr;
          uint64_t cq_counters_handle;
        };
        uint64_t target;
      } interrupt;
    };
    uint32_t ctx_id;
    uint32_t flags;
    union {
      struct {
        uint8_t seq_arr_len;
        uint8_t pad[7];
      } multi;
      uint64_t interrupt_timeout_us;
    };
    uint64_t cq_counters_offset;
    uint64_t timestamp_handle;
    uint64_t timestamp_offset;
  } in;
  struct {
    uint32_t status;
    uint32_t flags;
    int64_t timestamp_nsec;
    uint32_t cs_completion_map;
    uint32_t pad;
  } out;
};
static_assert(sizeof(hl_wait_cs_args) == 56 && offsetof(hl_wait_cs_args, in.flags) == 20);
static_assert(offsetof(hl_wait_cs_args, in.timestamp_offset) == 48);

constexpr uint32_t kHlWaitInterrupt = 0x2, kHlWaitMultiCs = 0x4, kHlWaitInterruptKernelCq = 0x10,
                   kHlWaitRegisterInterrupt = 0x20;
constexpr uint32_t HlWaitInterruptId(uint32_t flags) { return flags >> 20; }
constexpr uint32_t kHlAnyCqInterrupt = 0xfff, kHlAnyDecoderInterrupt = 0xffe;
enum HlWaitStatus : uint32_t { kHlWaitCompleted = 0, kHlWaitBusy = 1, kHlWaitTimedOut = 2, kHlWaitAborted = 3 };
constexpr uint32_t kHlWaitFlagGone = 0x1, kHlWaitFlagTimestamp = 0x2;
constexpr uint8_t kHlWaitMultiCsMax = 32;

}  // namespace causeway::uapi
