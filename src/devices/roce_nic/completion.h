// SPDX-License-Identifier: Apache-2.0
// Putting completions into completion queues. Freestanding.
#pragma once

#include "devices/roce_nic/engine.h"
#include "uapi/rxe.h"

namespace causeway::roce {

// Appends an entry and raises the completion interrupt if the CQ is armed for it. False: the queue is full; the entry
// is lost and the CQ's error interrupt is raised. `solicited`: fires a solicited-only arm too (an error always does).
// Takes the CQ's lock: the caller holds no other CQ's.
bool PostCompletion(const Engine& engine, const Actor& actor, uint32_t cq, const uapi::ib_uverbs_wc& entry,
                    bool solicited);

// An error completion: wr_id, status and qp_num, the rest zero.
bool PostError(const Engine& engine, const Actor& actor, uint32_t cq, uint32_t qpn, uint64_t wr_id,
               uapi::ib_wc_status status);

void RaiseCq(const Engine& engine, uint32_t cq);
void RaiseSrq(const Engine& engine, uint32_t srq);

}  // namespace causeway::roce
