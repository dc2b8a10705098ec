// SPDX-License-Identifier: Apache-2.0
// The receive side that SENDs and datagrams share: taking entries from a receive queue or a shared one, completing
// them, and what an error does to the QP. With the RQ lock of the QP held. Freestanding.
#pragma once

#include <cstring>

#include "devices/roce_nic/completion.h"
#include "devices/roce_nic/responder.h"

namespace causeway::roce {

inline uapi::rxe_queue_buf* QueueOf(const Engine& engine, const Ring& ring) {
  return reinterpret_cast<uapi::rxe_queue_buf*>(engine.arena + ring.offset);
}

// A receive WQE, copied out of the program's ring once: what is checked is what is used.
struct Receive {
  uint64_t wr_id;
  uint32_t num_sge;
  uint64_t capacity;
  uapi::rxe_sge sge[Gather::kMaxSge];
};

// kStalled: a shared entry names a region that is being moved; it stays in the queue.
enum class Take { kOk, kEmpty, kMalformed, kStalled };

// Copies the entry at `index` of `ring`. False: malformed; *out has its wr_id only.
inline bool CopyReceive(const Engine& engine, const Ring& ring, uint32_t max_sge, Receive* out) {
  const auto* wqe =
      reinterpret_cast<const uapi::rxe_recv_wqe*>(uapi::RxeSlot(QueueOf(engine, ring), ring.index, ring.log2_elem));
  out->wr_id = wqe->wr_id;
  out->num_sge = __atomic_load_n(&wqe->dma.num_sge, __ATOMIC_RELAXED);
  if (out->num_sge > max_sge || out->num_sge > Gather::kMaxSge) return false;
  out->capacity = 0;
  memcpy(out->sge, uapi::RxeSges(wqe), out->num_sge * sizeof(uapi::rxe_sge));
  for (uint32_t i = 0; i < out->num_sge; ++i) out->capacity += out->sge[i].length;
  return true;
}

// Takes the oldest entry of the QP's SRQ: it is consumed, whatever becomes of the message (rxe_resp.c get_srq_wqe()).
// Raises the limit event. A malformed entry stays.
Take TakeShared(const Engine& engine, const Actor& actor, const QpContext& qp, Receive* out);

// The entry that the next message goes into. It stays in the QP's own queue until ConsumeReceive().
inline Take TakeReceive(const Engine& engine, const Actor& actor, const QpContext& qp, Receive* out) {
  if (qp.rq.offset == 0) return TakeShared(engine, actor, qp, out);
  const uint32_t producer = QueueOf(engine, qp.rq)->producer_index.load(std::memory_order_acquire) & qp.rq.mask;
  if (producer == qp.rq.index) return Take::kEmpty;
  return CopyReceive(engine, qp.rq, qp.max_recv_sge, out) ? Take::kOk : Take::kMalformed;
}

inline void ConsumeReceive(const Engine& engine, QpContext& qp) {
  if (qp.rq.offset == 0) return;  // of an SRQ: TakeShared() has
  qp.rq.index = (qp.rq.index + 1) & qp.rq.mask;
  QueueOf(engine, qp.rq)->consumer_index.store(qp.rq.index, std::memory_order_release);
}

// Completes `receive` with `status`, consumes it, and moves the QP to ERR.
Answer FailReceive(const Engine& engine, const Actor& actor, QpContext& qp, const Receive& receive,
                   uapi::ib_wc_status status, Answer answer);
// The same for an entry that is malformed: a shared one stays where it is and completes nothing (specs 5.4).
Answer FailMalformed(const Engine& engine, const Actor& actor, QpContext& qp, const Receive& receive);
// Moves the QP to ERR, for a request that held no receive.
Answer Fail(const Engine& engine, QpContext& qp, Answer answer);

// Scatters the requester's bytes into the receive, behind its first `skip` bytes. kTargetFault with *key_error, or
// *stalled: a receive key did not hold.
struct ScatterFault {
  bool key_error = false;
  bool stalled = false;
};
CopyResult Scatter(const Engine& engine, QpContext& requester, const QpContext& qp, const Gather& from,
                   const Receive& receive, uint64_t skip, ScatterFault* fault);

// The requester's bytes [offset, offset + len) into `to`.
inline CopyResult CopyGather(const Engine& engine, QpContext& requester, const Stretch& to, const Gather& from,
                             uint64_t offset, uint64_t len) {
  if (from.inline_data != nullptr) {
    CountTraffic(engine, requester.remote, to.mr->route, 0, len);
    return CopyIn(engine, to, from.inline_data + offset, len);
  }
  uint64_t done = 0;
  for (uint32_t i = 0; i < from.count && done < len; ++i) {
    const Stretch& part = from.parts[i];
    if (offset >= part.len) {
      offset -= part.len;
      continue;
    }
    uint64_t now = part.len - offset;
    if (now > len - done) now = len - done;
    const CopyResult result = Copy(engine, {to.mr, to.offset + done, now}, {part.mr, part.offset + offset, now});
    if (result != CopyResult::kOk) return result;
    CountTraffic(engine, requester.local, part.mr->route, now, 0);
    CountTraffic(engine, requester.remote, to.mr->route, 0, now);
    done += now;
    offset = 0;
  }
  return CopyResult::kOk;
}

struct Arrival {
  uint32_t opcode = uapi::IB_WC_RECV;
  uint64_t byte_len;
  uint32_t ex = 0;     // immediate or invalidated key
  uint32_t flags = 0;  // IB_WC_WITH_*
  uint32_t source_qpn = 0;
  uint8_t sl = 0;
  bool solicited;
};

inline void CompleteReceive(const Engine& engine, const Actor& actor, QpContext& qp, const Receive& receive,
                            const Arrival& arrival) {
  uapi::ib_uverbs_wc entry = {};
  entry.wr_id = receive.wr_id;
  entry.opcode = arrival.opcode;
  entry.byte_len = static_cast<uint32_t>(arrival.byte_len);
  entry.ex = arrival.ex;
  entry.qp_num = qp.qpn;
  entry.src_qp = arrival.source_qpn;
  entry.wc_flags = uapi::IB_WC_GRH | arrival.flags;  // rxe sets GRH on RC as well
  entry.sl = arrival.sl;
  entry.port_num = 1;
  qp.receives.store(qp.receives.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  // First the place in the queue, then the completion, as rxe_resp.c do_complete(): who sees this one may post another.
  ConsumeReceive(engine, qp);
  if (!PostCompletion(engine, actor, qp.recv_cq, entry, arrival.solicited)) EnterError(engine, qp);
}

}  // namespace causeway::roce
