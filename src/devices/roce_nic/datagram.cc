// SPDX-License-Identifier: Apache-2.0
// UD: datagrams to a QP of any NIC of the machine, or to the members of a multicast group. Freestanding.
#include <cstring>

#include "devices/roce_nic/receive.h"
#include "devices/roce_nic/requester.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kGrhBytes = 40;
// Which header a receiver finds (IBTA annex A17.4.5.1 asks for a flag in the completion and names none). Deviation: rxe
// leaves 0; UCX takes the field for what Mellanox NICs put there (bit 3: UDP, 1: IPv6, 2: IPv4), and drops every
// datagram over IPv4 that does not say so.
constexpr uint8_t kSlIpv6 = 0x9, kSlIpv4 = 0xa;
constexpr uint32_t kDefaultPortMtu = 4096;
constexpr uint32_t kPrivilegedQkey = 0x80000000;  // IBTA 10.2.5: the QP's own Q_Key goes instead of the request's

struct Datagram {
  const AddressVector* av;
  uint32_t qkey;
  uint32_t immediate;
  bool has_immediate, solicited;
  Gather* payload;
  uint8_t header[kGrhBytes];
};

bool IsIpv4(const uint8_t gid[16]) {
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(gid, kMapped, sizeof(kMapped)) == 0;
}

void Put16(uint8_t* to, uint64_t value) {
  to[0] = static_cast<uint8_t>(value >> 8);
  to[1] = static_cast<uint8_t>(value);
}

// What a receiver finds before the payload: the packet's IP header (specs 8.6). IPv4's 20 bytes stand at the end.
void WriteHeader(const AddressVector& av, uint32_t psn, uint64_t payload, bool immediate, uint8_t* grh) {
  constexpr uint64_t kUdp = 8, kBth = 12, kDeth = 8, kImmediate = 4, kIcrc = 4;
  const uint64_t udp_bytes =
      kUdp + kBth + kDeth + (immediate ? kImmediate : 0) + ((payload + 3) & ~uint64_t{3}) + kIcrc;
  const uint8_t hop_limit = av.hop_limit != 0 ? av.hop_limit : 64;
  memset(grh, 0, kGrhBytes);
  if (IsIpv4(av.dgid)) {
    uint8_t* ip = grh + 20;
    ip[0] = 0x45;
    ip[1] = av.traffic_class;
    Put16(ip + 2, 20 + udp_bytes);
    Put16(ip + 4, (psn & 0xffff) != 0 ? psn & 0xffff : 1);  // identification: some number that increases
    Put16(ip + 6, 0x4000);                                  // DF
    ip[8] = hop_limit;
    ip[9] = 17;
    memcpy(ip + 12, av.sgid + 12, 4);
    memcpy(ip + 16, av.dgid + 12, 4);
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    Put16(ip + 10, ~sum & 0xffff);
    return;
  }
  const uint32_t first = 6u << 28 | uint32_t{av.traffic_class} << 20 | (av.flow_label & 0xfffff);
  Put16(grh, first >> 16);
  Put16(grh + 2, first & 0xffff);
  Put16(grh + 4, udp_bytes);
  grh[6] = 17;
  grh[7] = hop_limit;
  memcpy(grh + 8, av.sgid, 16);
  memcpy(grh + 24, av.dgid, 16);
}

// Whether an address of `owner` is one of `nic` as well.
bool HasAddress(const Engine& engine, uint32_t nic, uint32_t owner) {
  if (nic == owner) return true;
  const auto& links = engine.nic->port_link;
  const uint32_t link = links[owner].load(std::memory_order_relaxed);
  return link != 0 && links[nic].load(std::memory_order_relaxed) == link;
}

// A packet that came in and went nowhere; those that find a receive are counted with it.
Answer Dropped(const Engine& engine, const QpContext& qp) {
  engine.nic->counters[qp.nic].retired_received.fetch_add(1, std::memory_order_relaxed);
  return Answer::kAck;
}

// Takes one datagram in. kAck: it arrived, or was dropped, or ended the receiver; kLocalFault, kStalled as of
// Respond(). rxe_recv.c check_type_state(), check_keys(); rxe_resp.c for UD.
Answer Deliver(const Engine& engine, const Actor& actor, QpContext& from, const Datagram& datagram, QpContext& qp) {
  const OwnedLockGuard lock(actor, qp.rq_lock, ipc::kLockRq);
  if (qp.valid.load(std::memory_order_relaxed) == 0 || qp.type != kUd) return Dropped(engine, qp);
  const uint32_t state = qp.state.load(std::memory_order_relaxed);
  if (state != kRtr && state != kRts && state != kSqd && state != kSqe) return Dropped(engine, qp);
  if (qp.qkey != datagram.qkey) return Dropped(engine, qp);
  Receive receive;
  switch (TakeReceive(engine, actor, qp, &receive)) {
    case Take::kOk: break;
    case Take::kEmpty: return Dropped(engine, qp);
    case Take::kStalled: return Answer::kStalled;
    case Take::kMalformed: (void)FailMalformed(engine, actor, qp, receive); return Answer::kAck;
  }
  const uint64_t bytes = kGrhBytes + datagram.payload->length;
  if (bytes > receive.capacity) {
    (void)FailReceive(engine, actor, qp, receive, uapi::IB_WC_LOC_LEN_ERR, Answer::kNone);
    return Answer::kAck;
  }
  Gather header;
  header.inline_data = reinterpret_cast<const std::byte*>(datagram.header);
  header.length = kGrhBytes;
  ScatterFault fault;
  CopyResult result = Scatter(engine, from, qp, header, receive, 0, &fault);
  if (result == CopyResult::kOk) result = Scatter(engine, from, qp, *datagram.payload, receive, kGrhBytes, &fault);
  if (result != CopyResult::kOk) {
    if (fault.stalled) return Answer::kStalled;
    if (result == CopyResult::kTargetGone) return Answer::kAck;
    if (result != CopyResult::kTargetFault) return Answer::kLocalFault;
    (void)FailReceive(engine, actor, qp, receive, uapi::IB_WC_LOC_PROT_ERR, Answer::kNone);
    return Answer::kAck;
  }
  CompleteReceive(engine, actor, qp, receive,
                  {.byte_len = bytes,
                   .ex = datagram.has_immediate ? datagram.immediate : 0,
                   .flags = datagram.has_immediate ? uint32_t{uapi::IB_WC_WITH_IMM} : 0,
                   .source_qpn = from.qpn,
                   .sl = IsIpv4(datagram.av->dgid) ? kSlIpv4 : kSlIpv6,
                   .solicited = datagram.solicited});
  return Answer::kAck;
}

// To every member of the group, the sender too if it is one (rxe_recv.c rxe_rcv_mcast_pkt()). A member whose region is
// being moved misses it: the others have it already.
Answer DeliverToGroup(const Engine& engine, const Actor& actor, QpContext& from, const Datagram& datagram) {
  const uint8_t* gid = datagram.av->dgid;
  uint32_t at = engine.nic->multicast[MulticastBucket(gid)].load(std::memory_order_acquire);
  // A list is never longer than the table; who unlinks while we walk leaves `next` as it was until we are through.
  for (uint32_t steps = 0; at != 0 && steps < kMaxMulticastMembers; ++steps) {
    const MulticastMember& member = engine.nic->multicast_members[at % kMaxMulticastMembers];
    QpContext& qp = engine.nic->qps[member.qpn % kMaxQps];
    if (memcmp(member.gid, gid, 16) == 0 && qp.valid.load(std::memory_order_acquire) != 0 &&
        Deliver(engine, actor, from, datagram, qp) == Answer::kLocalFault) {
      return Answer::kLocalFault;
    }
    at = member.next.load(std::memory_order_acquire);
  }
  return Answer::kAck;
}

}  // namespace

Outcome ExecuteDatagram(const Engine& engine, const Actor& actor, QpContext& qp, const uapi::rxe_send_wqe& wqe,
                        uint32_t opcode, uint32_t flags) {
  if (opcode != uapi::IB_WR_SEND && opcode != uapi::IB_WR_SEND_WITH_IMM) return {false, uapi::IB_WC_LOC_QP_OP_ERR};
  const auto& ud = wqe.wr.wr.ud;
  const uint32_t port_mtu = engine.nic->port_mtu[qp.nic].load(std::memory_order_relaxed);
  const uint32_t psn = qp.sq_psn;
  // C10-93.1.1: longer than the MTU, so it is neither sent nor an error (rxe_req.c).
  if (__atomic_load_n(&wqe.dma.length, __ATOMIC_RELAXED) > (port_mtu != 0 ? port_mtu : kDefaultPortMtu)) {
    qp.sq_psn = (psn + 1) & 0xffffff;
    return {false, uapi::IB_WC_SUCCESS};
  }
  // rxe_av.c rxe_get_av(). No program of ours sends without an address handle: CREATE_AH names one always.
  const uint32_t ah_number = __atomic_load_n(&ud.ah_num, __ATOMIC_RELAXED);
  if (ah_number == 0 || ah_number >= kMaxAhs) return {false, uapi::IB_WC_LOC_QP_OP_ERR};
  const AhContext& ah = engine.nic->ahs[ah_number];
  if (ah.valid.load(std::memory_order_acquire) == 0 || ah.pd != qp.pd) return {false, uapi::IB_WC_LOC_QP_OP_ERR};

  Gather payload;
  const uapi::ib_wc_status status = GatherLocal(engine, qp, wqe, opcode, flags, &payload);
  if (status != uapi::IB_WC_SUCCESS) {
    return status == kRegionStalled ? AwaitRegion(engine, qp) : Outcome{false, status};
  }
  const uint32_t qkey = __atomic_load_n(&ud.remote_qkey, __ATOMIC_RELAXED);
  Datagram datagram;
  datagram.av = &ah.av;
  datagram.qkey = (qkey & kPrivilegedQkey) != 0 ? qp.qkey : qkey;
  datagram.has_immediate = opcode == uapi::IB_WR_SEND_WITH_IMM;
  datagram.immediate = wqe.wr.ex;
  datagram.solicited = (flags & uapi::IB_SEND_SOLICITED) != 0;
  datagram.payload = &payload;
  WriteHeader(ah.av, psn, payload.length, datagram.has_immediate, datagram.header);

  const uint32_t remote_qpn = __atomic_load_n(&ud.remote_qpn, __ATOMIC_RELAXED) & 0xffffff;
  Answer answer = Answer::kAck;
  if (remote_qpn == kMulticastQpn) {
    answer = DeliverToGroup(engine, actor, qp, datagram);
  } else if (ah.av.dest_nic != kNoNic && remote_qpn < kMaxQps) {
    QpContext& peer = engine.nic->qps[remote_qpn];
    if (peer.valid.load(std::memory_order_acquire) != 0 && HasAddress(engine, peer.nic, ah.av.dest_nic)) {
      answer = Deliver(engine, actor, qp, datagram, peer);
    }
  } else if (ah.av.dest_nic == kNoNic) {
    engine.nic->counters[qp.nic].send_err.fetch_add(1, std::memory_order_relaxed);
  }
  if (answer == Answer::kStalled) return AwaitRegion(engine, qp);
  if (answer == Answer::kLocalFault) return {false, uapi::IB_WC_LOC_PROT_ERR};
  qp.packets.store(qp.packets.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  qp.sq_psn = (psn + 1) & 0xffffff;
  return {false, uapi::IB_WC_SUCCESS};
}

}  // namespace causeway::roce
