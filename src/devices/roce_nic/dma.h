// SPDX-License-Identifier: Apache-2.0
// Keys, and moving bytes between memory regions. Freestanding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "devices/roce_nic/engine.h"

namespace causeway::roce {

// A stretch of a region: bytes [offset, offset + len) of mr.
struct Stretch {
  MrEntry* mr;
  uint64_t offset;
  uint64_t len;
};

// kStalled: the region is being moved or changed (MrState): try again. Who has found it usable in the same epoch may go
// on, *out is set.
enum class KeyCheck { kOk, kBadKey, kBadRange, kStalled };

// Finds the region of `key` for a QP's PD and checks access and range; kBadKey covers unknown, dead, other PD, access.
// The entry stays valid while the caller's epoch is odd.
KeyCheck FindRegion(const Engine& engine, uint32_t key, uint32_t pd, uint32_t access, uint64_t iova, uint64_t len,
                    Stretch* out);

// A fault: the process has no such memory. Gone: the process itself is ending or has ended (its QPs are about to).
enum class CopyResult { kOk, kSourceFault, kTargetFault, kSourceGone, kTargetGone };

// Copies from.len bytes; to.len is at least as much.
CopyResult Copy(const Engine& engine, const Stretch& to, const Stretch& from);
// The same from memory of this process that cannot fault (queue buffers, locals).
CopyResult CopyIn(const Engine& engine, const Stretch& to, const void* from, uint64_t len);

// Fetches the 8 bytes at `at` (aligned there), stores what `compare_swap` or fetch-and-add make of them. Real CPU
// atomics on device memory and on shared pages of host memory; under one lock where host memory is reached by system
// call, as rxe does (not atomic against the CPU).
struct AtomicOp {
  bool compare_swap;
  uint64_t compare_add;
  uint64_t swap;
};
CopyResult Atomic(const Engine& engine, const Actor& actor, const Stretch& at, const AtomicOp& op, uint64_t* original);

// Stores the 8 bytes at `at` (aligned there) at once, behind all that was stored before: ATOMIC_WRITE.
CopyResult StoreWord(const Engine& engine, const Stretch& at, uint64_t value);

// Adds traffic of a region on `route`. The caller holds the SQ lock of the QP that `traffic` belongs to.
void CountTraffic(const Engine& engine, QpTraffic& traffic, uint32_t route, uint64_t read, uint64_t written);
// Moves what `traffic` holds to NicMemory::routes.
void FlushTraffic(const Engine& engine, QpTraffic& traffic);

}  // namespace causeway::roce
