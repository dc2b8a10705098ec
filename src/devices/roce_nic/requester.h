// SPDX-License-Identifier: Apache-2.0
// What the requesting sides of connected QPs and of datagrams share. With the SQ lock held. Freestanding.
#pragma once

#include "devices/roce_nic/engine.h"
#include "devices/roce_nic/responder.h"
#include "uapi/rxe.h"

namespace causeway::roce {

// What became of the WQE at the head of the send queue. Parked: it stays there and is tried again.
struct Outcome {
  bool parked;
  uapi::ib_wc_status status;
};

// Not a status: a region of the WQE is being moved or changed.
constexpr auto kRegionStalled = static_cast<uapi::ib_wc_status>(~0u);

// Checks the WQE's local buffer. SUCCESS, or the status the WQE fails with, or kRegionStalled.
uapi::ib_wc_status GatherLocal(const Engine& engine, const QpContext& qp, const uapi::rxe_send_wqe& wqe,
                               uint32_t opcode, uint32_t flags, Gather* out);

// Waits for a region to come back, without using up retries.
Outcome AwaitRegion(const Engine& engine, QpContext& qp);

// The outcome of a WQE of a UD QP (datagram.cc).
Outcome ExecuteDatagram(const Engine& engine, const Actor& actor, QpContext& qp, const uapi::rxe_send_wqe& wqe,
                        uint32_t opcode, uint32_t flags);

}  // namespace causeway::roce
