// SPDX-License-Identifier: Apache-2.0
// The responding side of a request: what the peer's QP answers. Freestanding.
#pragma once

#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/engine.h"
#include "uapi/rxe.h"

namespace causeway::roce {

// The answer, in the terms of the wire (AETH syndrome).
enum class Answer {
  kAck,
  kRnrNak,        // no receive posted: try again after the responder's min_rnr_timer
  kNone,          // nothing comes back: QP gone, wrong state, not our peer, wrong PSN
  kNakInvalid,    // 0x61
  kNakAccess,     // 0x62
  kNakOperation,  // 0x63
  kLocalFault,    // not an answer: the requester's own memory failed
  kNakSequence,   // 0x60
  kDuplicate,     // an ACK for something that the responder believes to have had already: nothing was done
  kStalled,       // not an answer: a region is being moved or changed; try again
};

// A local buffer of the requester: checked stretches, or inline bytes.
struct Gather {
  static constexpr uint32_t kMaxSge = 32;
  const std::byte* inline_data = nullptr;  // not null: `length` bytes here, `count` unused
  Stretch parts[kMaxSge];
  uint32_t count = 0;
  uint64_t length = 0;
};

struct Request {
  uapi::ib_wr_opcode opcode;
  bool solicited;
  uint32_t immediate;  // big endian, as posted
  uint64_t remote_addr;
  uint32_t rkey;
  uint32_t packets;  // PSNs it takes
  uint32_t psn;
  uint32_t invalidate;   // SEND_WITH_INV: key
  uint32_t flush_type;   // FLUSH: IB_FLUSH_* (placement)
  uint32_t flush_level;  // FLUSH: IB_FLUSH_RANGE, IB_FLUSH_MR
  AtomicOp atomic;       // ATOMIC_WRITE: `swap` is the value
  Gather* local;         // source of SEND and WRITE; target of READ and atomics; FLUSH: length only
};

// Carries `request` of `from` out on its peer. With the requester's SQ lock held; takes the peer's RQ lock. A request
// that fails in the responder's eyes moves the peer to ERR. RC and UC; a UC responder answers nothing, so whatever this
// returns but kLocalFault and kStalled is a success to its requester.
Answer Respond(const Engine& engine, const Actor& actor, QpContext& from, const Request& request, uint32_t* rnr_timer);

// The QP goes to ERR. With its RQ or its SQ lock held.
void EnterError(const Engine& engine, QpContext& qp);

// Completes the receive queue with WR_FLUSH_ERR. With the RQ lock held.
void FlushReceiveQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp);

}  // namespace causeway::roce
