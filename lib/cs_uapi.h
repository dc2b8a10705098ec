// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
namespace causeway::uapi {
struct hl_cb_in {
  uint64_t cb_handle;
  uint32_t op, cb_size, ctx_id, flags;
};
struct hl_cb_out {
  union {
    uint64_t cb_handle;
    uint64_t device_va;
    uint32_t usage_cnt;
  };
};
union hl_cb_args {
  hl_cb_in in;
  hl_cb_out out;
};
constexpr uint32_t kHlCbOpCreate = 0, kHlCbOpDestroy = 1, kHlCbOpInfo = 2, kHlCbFlagsMap = 1, kHlCbFlagsGetDeviceVa = 2;
struct hl_cs_chunk {
  uint64_t cb_handle;
  uint32_t queue_index, cb_size, cs_chunk_flags, collective_engine_id, pad[10];
};
static_assert(sizeof(hl_cs_chunk) == 64);
constexpr uint32_t kHlCsChunkUserAllocCb = 1;
struct hl_cs_in {
  uint64_t chunks_restore, chunks_execute, seq;
  uint32_t num_chunks_restore, num_chunks_execute, timeout, cs_flags, ctx_id, pad;
};
struct hl_cs_out {
  uint64_t seq;
  uint32_t status, sob_base_addr_offset;
  uint16_t sob_count_before_submission, pad[3];
};
union hl_cs_args {
  hl_cs_in in;
  hl_cs_out out;
};
static_assert(sizeof(hl_cs_args) == 48);
struct hl_wait_cs_in {
  uint64_t seq, timeout_us;
  uint32_t ctx_id, flags;
  uint64_t rest[4];
};
struct hl_wait_cs_out {
  uint32_t status, flags;
  int64_t timestamp_nsec;
  uint32_t cs_completion_map, pad;
};
union hl_wait_cs_args {
  hl_wait_cs_in in;
  hl_wait_cs_out out;
};
static_assert(sizeof(hl_wait_cs_args) == 56);
constexpr uint32_t kHlWaitCsCompleted = 0;
}  // namespace causeway::uapi
