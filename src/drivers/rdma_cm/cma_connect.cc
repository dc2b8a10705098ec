// SPDX-License-Identifier: Apache-2.0
// Connections of ids: linux v6.1 drivers/infiniband/core/cma.c over the IB CM (cm_messages.cc). The kernel has no QP
// here: the program moves its own, so that a REP is reported (CONNECT_RESPONSE) and the program's ACCEPT sends the RTU.
#include <endian.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>

#include "drivers/rdma_cm/cm.h"

namespace causeway::rdma_cm {
namespace {

// cma_format_hdr().
void FormatHeader(const Address& source, const Address& destination, std::span<uint8_t> header) {
  if (source.is_ib()) return;
  header[1] = source.family() == AF_INET ? 0x40 : 0x60;
  const uint16_t port = htobe16(source.port());
  std::memcpy(&header[2], &port, sizeof(port));
  const auto ip = [&](const Address& address, size_t at) {
    const Gid gid = address.gid();
    const size_t skip = address.family() == AF_INET ? 12 : 0;
    std::copy(gid.begin() + static_cast<ptrdiff_t>(skip), gid.end(),
              header.begin() + static_cast<ptrdiff_t>(at + skip));
  };
  ip(source, 4);
  ip(destination, 20);
}

uint32_t RandomPsn() {
  uint32_t psn = 0;
  (void)!::getrandom(&psn, sizeof(psn), 0);
  return psn & 0xffffff;
}

}  // namespace

// rdma_connect_ece(), cma_connect_ib(), cma_resolve_ib_udp().
Status Cm::Connect(const Ref<Id>& ref, const ConnParam& param, const Ece& ece) {
  Id& id = *ref;
  id.ece = ece;
  CW_CHECK(CompExch(id, State::kRouteResolved, State::kConnect));
  id.qp_num = param.qp_num;
  id.srq = param.srq != 0;
  const bool ud = id.qp_type == kQptUd;
  const size_t offset = id.src.is_ib() ? 0 : kCmaHeader;
  const size_t room = ud ? kSidrReqPrivateData : kReqPrivateData;
  const auto fail = [&] {
    if (id.cm) DestroyConnection(id, false);
    id.state = State::kRouteResolved;
    return Err(EINVAL);
  };
  if (offset + param.private_data.size() > room) return fail();
  NewConnection(id);
  const auto put_private_data = [&](std::span<uint8_t> to) {
    FormatHeader(id.src, id.dst, to);
    std::ranges::copy(param.private_data, to.begin() + static_cast<ptrdiff_t>(offset));
  };
  if (ud) {
    SidrReqMessage req = {};
    req.service_id = ServiceId(id, id.dst);
    req.path = *id.path;
    req.source = id.src;
    req.destination = id.dst;
    put_private_data(req.private_data);
    return SendSidrReq(ref, req) ? Status() : fail();
  }
  ReqMessage req = {};
  req.service_id = ServiceId(id, id.dst);
  req.ca_guid = nics_.Info(*id.nic).node_guid;
  req.qpn = id.qp_num;
  req.starting_psn = id.seq_num;
  req.qp_type = id.qp_type;
  req.responder_resources = param.responder_resources;
  req.initiator_depth = param.initiator_depth;
  req.flow_control = param.flow_control != 0 ? 1 : 0;
  req.retry_count = std::min<uint8_t>(7, param.retry_count);
  req.rnr_retry_count = std::min<uint8_t>(7, param.rnr_retry_count);
  req.srq = id.srq ? 1 : 0;
  req.path = *id.path;
  req.source = id.src;
  req.destination = id.dst;
  req.ece = {.vendor_id = ece.vendor_id & 0xffffff, .attr_mod = ece.attr_mod};
  put_private_data(req.private_data);
  return SendReq(ref, req) ? Status() : fail();
}

// rdma_accept_ece(). `param` empty: answers a CONNECT_RESPONSE.
Status Cm::Accept(Id& id, const ConnParam* param, const Ece& ece) {
  id.ece = ece;
  if (id.state != State::kConnect || !id.cm) return Err(EINVAL);
  if (param != nullptr) {
    id.qp_num = param->qp_num;
    id.srq = param->srq != 0;
  }
  Status done;
  if (id.qp_type == kQptUd) {
    done = param != nullptr ? SendSidrRep(id, kSidrSuccess, param->qkey, param->private_data)
                            : SendSidrRep(id, kSidrSuccess, 0, {});
  } else if (param != nullptr) {
    done = SendRep(id, *param);
  } else {
    done = SendRtu(id);
  }
  if (!done) (void)Reject(id, {}, kRejConsumerDefined);
  return done;
}

// rdma_reject().
Status Cm::Reject(Id& id, std::span<const uint8_t> private_data, uint16_t reason) {
  if (!id.cm) return Err(EINVAL);
  if (id.qp_type == kQptUd) return SendSidrRep(id, kSidrReject, 0, private_data);
  return SendRej(id, reason, private_data);
}

// rdma_disconnect(): begins a disconnect, or answers one; 0 too when there is nothing to do.
Status Cm::Disconnect(Id& id) {
  if (!id.cm) return Err(EINVAL);
  if (!SendDreq(id)) (void)SendDrep(id);
  return {};
}

// rdma_notify(), ib_cm_notify().
Status Cm::Notify(Id& id, uint32_t event) {
  if (!id.cm) return Err(EINVAL);
  if (event == uapi::IB_EVENT_COMM_EST) return Establish(id);
  if (event == uapi::IB_EVENT_PATH_MIG && id.cm->state == CmState::kEstablished) return {};
  return Err(EINVAL);
}

// cma_send_sidr_rep().
Status Cm::SendSidrRep(Id& id, uint32_t status, uint32_t qkey, std::span<const uint8_t> private_data) {
  SidrRepMessage rep = {};
  rep.status = status;
  if (status == kSidrSuccess) {
    if (qkey != 0) {
      CW_CHECK(SetQkey(id, qkey));
    } else {
      id.qkey = kUdpQkey;
    }
    rep.qpn = id.qp_num;
    rep.qkey = id.qkey;
  }
  if (private_data.size() > kSidrRepPrivateData) return Err(EINVAL);
  std::ranges::copy(private_data, rep.private_data.begin());
  return SendSidrRepMessage(id, rep);
}

// cma_set_qkey().
Status Cm::SetQkey(Id& id, uint32_t qkey) {
  if (qkey == 0 || (id.qkey != 0 && id.qkey != qkey)) return Err(EINVAL);
  id.qkey = qkey;
  return {};
}

// rdma_init_qp_attr(), cma_ib_init_qp_attr().
Status Cm::InitQpAttr(Id& id, uint32_t qp_state, uapi::ib_uverbs_qp_attr* attr) {
  *attr = {};
  attr->qp_state = qp_state;
  if (id.cm && id.qp_type != kQptUd) {
    CW_CHECK(InitConnectionQpAttr(id, qp_state, attr));
  } else {
    attr->port_num = id.port_num;
    attr->qp_attr_mask = uapi::IB_QP_STATE | uapi::IB_QP_PKEY_INDEX | uapi::IB_QP_PORT;
    if (id.qp_type == kQptUd) {
      if (id.ps == uapi::RDMA_PS_IPOIB) return Err(ENODEV);  // no subnet administrator on RoCE
      if (id.ps != uapi::RDMA_PS_TCP) id.qkey = kUdpQkey;
      attr->qkey = id.qkey;
      attr->qp_attr_mask |= uapi::IB_QP_QKEY;
    } else {
      attr->qp_attr_mask |= uapi::IB_QP_ACCESS_FLAGS;
    }
  }
  if (qp_state == uapi::IB_QPS_RTR) attr->rq_psn = id.seq_num;
  if ((attr->qp_attr_mask & uapi::IB_QP_TIMEOUT) != 0 && id.ack_timeout) attr->timeout = *id.ack_timeout;
  return {};
}

// ---- what the IB CM reports

// cma_ib_handler(), cma_sidr_rep_handler().
void Cm::HandleCmEvent(Id& id, CmEvent what, Event event) {
  if (id.state != (what == CmEvent::kTimewaitExit ? State::kDisconnect : State::kConnect)) return;
  switch (what) {
    case CmEvent::kReqError:
    case CmEvent::kRepError:
    case CmEvent::kSidrReqError:
      event.event = uapi::RDMA_CM_EVENT_UNREACHABLE;
      event.status = -ETIMEDOUT;
      break;
    case CmEvent::kRepReceived:
      SendMra(id);
      event.event = uapi::RDMA_CM_EVENT_CONNECT_RESPONSE;
      break;
    case CmEvent::kRtuReceived:
    case CmEvent::kUserEstablished: event.event = uapi::RDMA_CM_EVENT_ESTABLISHED; break;
    case CmEvent::kDreqError: event.status = -ETIMEDOUT; [[fallthrough]];
    case CmEvent::kDreqReceived:
    case CmEvent::kDrepReceived:
      id.state = State::kDisconnect;
      event.event = uapi::RDMA_CM_EVENT_DISCONNECTED;
      break;
    case CmEvent::kTimewaitExit: event.event = uapi::RDMA_CM_EVENT_TIMEWAIT_EXIT; break;
    case CmEvent::kRejReceived: event.event = uapi::RDMA_CM_EVENT_REJECTED; break;
    case CmEvent::kSidrRepReceived: {
      const uint32_t qpn = std::exchange(event.ud.qp_num, 0), qkey = std::exchange(event.ud.qkey, 0);
      if (event.status != 0) {
        event.event = uapi::RDMA_CM_EVENT_UNREACHABLE;
      } else if (!SetQkey(id, qkey)) {
        event.event = uapi::RDMA_CM_EVENT_ADDR_ERROR;
        event.status = -EINVAL;
      } else {
        event.event = uapi::RDMA_CM_EVENT_ESTABLISHED;
        event.ud.ah_attr = VectorOf(*id.nic, *id.path).ToUser();
        event.ud.qp_num = qpn;
        event.ud.qkey = qkey;
      }
      break;
    }
  }
  QueueEvent(Ref<Id>::Share(&id), std::move(event));
}

// cma_match_private_data().
bool Cm::MatchAddress(const Id& id, const Address& destination) const {
  const bool any = IsAny(id.src);
  if (any && !id.afonly) return true;
  if (id.src.is_ib()) return true;
  return id.src.family() == destination.family() && (any || id.src.gid() == destination.gid());
}

// cma_match_net_dev(): a link-local address means one net device.
bool Cm::MatchDevice(const Id& id, size_t nic, const Address& destination) const {
  if (!id.nic) return id.state == State::kListen;
  if (*id.nic != nic) return false;
  return !destination.IsLinkLocal() || id.bound_if == 0 || id.bound_if == nics_.Info(nic).ifindex;
}

// cma_find_listener(). The id found may be one that does not listen: it has the port.
Ref<Id> Cm::FindListener(size_t nic, uint64_t service_id, const Address& destination) const {
  const BindList* const list = FindPort(static_cast<uint16_t>(service_id >> 16), static_cast<uint16_t>(service_id));
  if (list == nullptr) return {};
  const auto it = std::ranges::find_if(list->owners, [&](const Id* owner) {
    return MatchAddress(*owner, destination) && MatchDevice(*owner, nic, destination);
  });
  return it == list->owners.end() ? Ref<Id>() : Ref<Id>::Share(*it);
}

// cma_ib_new_conn_id(), cma_ib_new_udp_id(), cma_ib_acquire_dev().
void Cm::FillConn(Id& conn, Id& listener, size_t nic, const PathRecord* path, const Address& source,
                  const Address& destination, uint64_t service_id) {
  conn.ps = listener.ps;
  conn.seq_num = RandomPsn();
  if (listener.src.is_ib()) {  // cma_save_ib_info()
    const uapi::sockaddr_ib listening = listener.src.ib();
    uapi::sockaddr_ib here = {}, there = {};
    here.sib_family = there.sib_family = uapi::kAfIb;
    if (path != nullptr) {
      here.sib_pkey = there.sib_pkey = htobe16(path->pkey);
      here.sib_flowinfo = there.sib_flowinfo = htobe32(path->flow_label);
      std::ranges::copy(path->sgid, here.sib_addr);
      std::ranges::copy(path->dgid, there.sib_addr);
      here.sib_sid = htobe64(path->service_id);
    } else {
      here = listening;
    }
    here.sib_sid_mask = ~uint64_t{0};
    conn.src = Address::Ib(here);
    conn.dst = Address::Ib(there);
  } else {
    conn.src = Address::Any(destination.family());
    conn.src.set_ip(destination.gid());
    conn.src.set_port(static_cast<uint16_t>(service_id));
    conn.dst = Address::Any(source.family());
    conn.dst.set_ip(source.gid());
    conn.dst.set_port(source.port());
  }
  AttachDevice(conn, nic);
  conn.pid = listener.pid;  // rdma_restrack_parent_name()
  conn.tid = listener.tid;
  conn.bound_if = nics_.Info(nic).ifindex;
  if (path != nullptr) conn.path = *path;
  conn.state = State::kConnect;
}

// cma_ib_req_handler() for a REQ.
int Cm::HandleReq(const Ref<Id>& conn, size_t nic, const ReqMessage& req) {
  const Ref<Id> listener = FindListener(nic, req.service_id, req.destination);
  if (!listener) return -EINVAL;
  if (listener->qp_type != req.qp_type && listener->qp_type != 0) return -EINVAL;
  if (listener->state != State::kListen) return -ECONNABORTED;
  FillConn(*conn, *listener, nic, &req.path, req.source, req.destination, req.service_id);

  Event event = {.event = uapi::RDMA_CM_EVENT_CONNECT_REQUEST};  // cma_set_req_event_data(), cm_format_req_event()
  const size_t offset = listener->src.is_ib() ? 0 : kCmaHeader;
  std::copy(req.private_data.begin() + static_cast<ptrdiff_t>(offset), req.private_data.end(), event.conn.private_data);
  event.conn.private_data_len = static_cast<uint8_t>(kReqPrivateData - offset);
  event.conn.responder_resources = req.initiator_depth;
  event.conn.initiator_depth = req.responder_resources;
  event.conn.flow_control = req.flow_control;
  event.conn.retry_count = req.retry_count;
  event.conn.rnr_retry_count = req.rnr_retry_count;
  event.conn.srq = req.srq;
  event.conn.qp_num = req.qpn;
  event.ece = req.ece;
  if (!QueueConnectRequest(*listener, conn, event)) {
    conn->state = State::kDestroying;
    return -ENOMEM;
  }
  SendMra(*conn);
  return 0;
}

}  // namespace causeway::rdma_cm
