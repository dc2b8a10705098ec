// SPDX-License-Identifier: Apache-2.0
// The IB CM of connections (datagrams: cm_sidr.cc): linux v6.1 drivers/infiniband/core/cm.c. A message goes from
// Send...() of one id to Receive...() of the other in one call; what has no answer in its time is repeated as on a
// wire, which is what makes a request that found the backlog full try again, and an answer that never comes end as
// UNREACHABLE.
//
//   active   IDLE -REQ-> REQ_SENT -REP-> REP_RCVD(MRA_REP_SENT) -RTU-> ESTABLISHED -DREQ-> DREQ_SENT -DREP-> TIMEWAIT
//   passive        REQ-> REQ_RCVD(MRA_REQ_SENT) -REP-> REP_SENT -RTU-> ESTABLISHED -DREQ-> DREQ_RCVD -DREP-> TIMEWAIT
#include <endian.h>

#include <algorithm>

#include "drivers/rdma_cm/cm.h"

namespace causeway::rdma_cm {
namespace {

constexpr uint32_t kMaxRetries = 15;  // CMA_MAX_CM_RETRIES
constexpr uint8_t kMraSetting = 24;   // CMA_CM_MRA_SETTING

// cm_ack_timeout().
uint8_t AckTimeout(uint8_t ack_delay, uint8_t life_time) {
  int timeout = life_time + 1;
  if (timeout >= ack_delay) {
    timeout += ack_delay >= timeout - 1 ? 1 : 0;
  } else {
    timeout = ack_delay + (timeout >= ack_delay - 1 ? 1 : 0);
  }
  return static_cast<uint8_t>(std::min(31, timeout));
}

}  // namespace

struct Cm::RejMessage {
  uint32_t local_comm_id = 0, remote_comm_id = 0;  // the sender's; 0: it has none
  uint16_t reason = 0;
  bool of_req = false;   // the message rejected was a REQ
  uint64_t ca_guid = 0;  // with reason TIMEOUT
  std::array<uint8_t, kRejPrivateData> private_data = {};
};

Connection& Cm::NewConnection(Id& id) {
  Connection& cm = id.cm.emplace();
  cm.qp_type = id.qp_type;
  do {
    cm.local_id = next_comm_id_++;
  } while (cm.local_id == 0 || !connections_.emplace(cm.local_id, &id).second);
  return cm;
}

// cm_acquire_id(). `remote_id` empty: any.
Id* Cm::FindConnection(uint32_t local_id, std::optional<uint32_t> remote_id) const {
  const auto it = connections_.find(local_id);
  if (it == connections_.end()) return nullptr;
  return !remote_id || it->second->cm->remote_id == *remote_id ? it->second : nullptr;
}

// cm_init_av_by_path(), ib_init_ah_attr_from_path().
AddressVector Cm::VectorOf(size_t nic, const PathRecord& path) const {
  return {.dgid = path.dgid,
          .flow_label = path.flow_label,
          .sgid_index = nics_.GidIndex(nic, path.sgid).value_or(0),
          .hop_limit = path.hop_limit,
          .traffic_class = path.traffic_class,
          .sl = path.sl,
          .static_rate = path.rate,
          .port_num = 1};
}

// ---- retries

void Cm::CancelMessage(Id& id) {
  id.cm->timer = 0;
  id.cm->resend = nullptr;
}

void Cm::Await(Id& id, uint32_t timeout_ms, std::function<void()> resend) {
  id.cm->timeout_ms = timeout_ms;
  id.cm->retries_left = kMaxRetries;
  id.cm->resend = std::move(resend);
  ArmTimer(id);
}

void Cm::ArmTimer(Id& id) {
  const uint64_t timer = id.cm->timer = next_timer_++;
  timers_.After(std::chrono::milliseconds(id.cm->timeout_ms), [this, ref = Ref<Id>::Share(&id), timer] {
    const auto lock = Lock();
    if (ref->cm && ref->cm->timer == timer) MessageTimedOut(ref, timer);
  });
}

// mad.c timeout_sends(), cm.c cm_process_send_error().
void Cm::MessageTimedOut(const Ref<Id>& ref, uint64_t timer) {
  Id& id = *ref;
  if (id.cm->retries_left > 0) {
    --id.cm->retries_left;
    const auto resend = id.cm->resend;  // an answer to it may cancel it
    resend();
    if (id.cm && id.cm->timer == timer) ArmTimer(id);
    return;
  }
  CancelMessage(id);
  switch (id.cm->state) {
    case CmState::kReqSent:
    case CmState::kMraReqRcvd: ResetToIdle(id); return HandleCmEvent(id, CmEvent::kReqError);
    case CmState::kRepSent:
    case CmState::kMraRepRcvd: ResetToIdle(id); return HandleCmEvent(id, CmEvent::kRepError);
    case CmState::kDreqSent: EnterTimewait(id); return HandleCmEvent(id, CmEvent::kDreqError);
    case CmState::kSidrReqSent: id.cm->state = CmState::kIdle; return HandleCmEvent(id, CmEvent::kSidrReqError);
    default: return;
  }
}

// ---- timewait and the tables of who is at the other end

// cm_insert_remote_id(), cm_insert_remote_qpn(). False and *stale: another connection has this peer QP.
bool Cm::InsertRemoteQpn(Id& id, Id** stale) {
  Connection& cm = *id.cm;
  const auto [it, inserted] = remote_qps_.emplace(std::pair(cm.remote_ca_guid, cm.remote_qpn), &id);
  if (!inserted) {
    *stale = it->second;
    return false;
  }
  remote_ids_.emplace(std::pair(cm.remote_ca_guid, cm.remote_id), &id);
  cm.inserted = true;
  return true;
}

void Cm::RemoveRemote(Id& id) {
  Connection& cm = *id.cm;
  if (!std::exchange(cm.inserted, false)) return;
  remote_qps_.erase({cm.remote_ca_guid, cm.remote_qpn});
  remote_ids_.erase({cm.remote_ca_guid, cm.remote_id});
}

void Cm::EnterTimewait(Id& id) {
  CancelMessage(id);
  RemoveRemote(id);
  id.cm->state = CmState::kTimewait;
  const uint64_t timer = id.cm->timer = next_timer_++;
  timers_.After(std::chrono::milliseconds(ToMs(id.cm->timeout)), [this, ref = Ref<Id>::Share(&id), timer] {
    const auto lock = Lock();  // cm_timewait_handler()
    if (!ref->cm || ref->cm->timer != timer || ref->cm->state != CmState::kTimewait) return;
    ref->cm->state = CmState::kIdle;
    HandleCmEvent(*ref, CmEvent::kTimewaitExit);
  });
}

void Cm::ResetToIdle(Id& id) {
  CancelMessage(id);
  RemoveRemote(id);
  id.cm->state = CmState::kIdle;
}

// cm_destroy_id().
void Cm::DestroyConnection(Id& id, bool no_memory) {
  switch (id.cm->state) {
    case CmState::kReqSent:
    case CmState::kMraReqRcvd: (void)SendRej(id, kRejTimeout, {}); break;
    case CmState::kReqRcvd:
      if (no_memory) {
        ResetToIdle(id);  // not rejected: it may try again
      } else {
        (void)SendRej(id, kRejConsumerDefined, {});
      }
      break;
    case CmState::kRepSent:
    case CmState::kMraRepRcvd:
    case CmState::kMraReqSent:
    case CmState::kRepRcvd:
    case CmState::kMraRepSent: (void)SendRej(id, kRejConsumerDefined, {}); break;
    case CmState::kEstablished: (void)SendDreq(id); break;
    case CmState::kDreqRcvd: (void)SendDrep(id); break;
    case CmState::kSidrReqRcvd: (void)SendSidrRepMessage(id, {.status = kSidrReject}); break;
    case CmState::kIdle:
    case CmState::kListen:
    case CmState::kDreqSent:
    case CmState::kTimewait:
    case CmState::kSidrReqSent: break;
  }
  CancelMessage(id);
  RemoveRemote(id);
  connections_.erase(id.cm->local_id);
  id.cm.reset();
}

// ---- REQ

// ib_send_cm_req().
Status Cm::SendReq(const Ref<Id>& ref, ReqMessage req) {
  Id& id = *ref;
  Connection& cm = *id.cm;
  if (id.qp_type != kQptRc && id.qp_type != kQptUc) return Err(EINVAL);
  cm.service_id = req.service_id;
  cm.initiator_depth = req.initiator_depth;
  cm.responder_resources = req.responder_resources;
  cm.retry_count = req.retry_count;
  cm.path_mtu = req.path.mtu;
  cm.av = VectorOf(*id.nic, req.path);
  cm.timeout = static_cast<uint8_t>(req.path.packet_life_time + 1);
  cm.local_qpn = req.qpn;
  cm.rq_psn = req.starting_psn;
  req.local_comm_id = cm.local_id;
  req.local_ack_timeout = AckTimeout(kAckDelay, req.path.packet_life_time);
  cm.state = CmState::kReqSent;
  const size_t from = *id.nic;
  const auto send = [this, from, req] {
    if (const auto to = FindNicOf(from, req.path.dgid)) ReceiveReq(*to, req);
  };
  cm.response_ms = ToMs(req.path.packet_life_time) * 2 + ToMs(kResponseTimeout);
  Await(id, cm.response_ms, send);
  send();
  return {};
}

// cm_req_handler(), cm_match_req(), cm_dup_req_handler().
void Cm::ReceiveReq(size_t nic, const ReqMessage& req) {
  if (const auto it = remote_ids_.find({req.ca_guid, req.local_comm_id}); it != remote_ids_.end()) {
    const Connection& known = *it->second->cm;
    if (known.state == CmState::kMraReqSent) ReceiveMra(req.local_comm_id, CmState::kReqSent, CmState::kMraReqRcvd);
    return;
  }
  const auto conn = MakeRef<Id>();
  conn->qp_type = req.qp_type;
  Connection& cm = NewConnection(*conn);
  cm.remote_id = req.local_comm_id;
  cm.remote_ca_guid = req.ca_guid;
  cm.service_id = req.service_id;
  cm.response_ms = ToMs(kResponseTimeout);
  cm.remote_qpn = req.qpn;
  cm.initiator_depth = req.responder_resources;
  cm.responder_resources = req.initiator_depth;
  cm.path_mtu = req.path.mtu;
  cm.sq_psn = req.starting_psn;
  cm.retry_count = req.retry_count;
  cm.rnr_retry_count = req.rnr_retry_count;
  cm.state = CmState::kReqRcvd;

  const auto refuse = [&](uint16_t reason) {
    cm.state = CmState::kIdle;
    DestroyConnection(*conn, false);
    ReceiveRej({.remote_comm_id = req.local_comm_id, .reason = reason, .of_req = true});
  };
  Id* stale = nullptr;
  if (!InsertRemoteQpn(*conn, &stale)) {
    refuse(kRejStaleConn);
    if (stale->cm) (void)SendDreq(*stale);
    return;
  }
  // cm_find_listen()
  const BindList* const list =
      FindPort(static_cast<uint16_t>(req.service_id >> 16), static_cast<uint16_t>(req.service_id));
  const bool listened = list != nullptr && std::ranges::any_of(list->owners, [&](const Id* owner) {
                          return owner->state == State::kListen && (!owner->nic || *owner->nic == nic);
                        });
  if (!listened) return refuse(kRejInvalidServiceId);

  // cm_format_paths_from_req(): the path back.
  PathRecord path = req.path;
  std::swap(path.sgid, path.dgid);
  path.service_id = req.service_id;
  path.packet_life_time = static_cast<uint8_t>(req.local_ack_timeout - (req.local_ack_timeout > 0 ? 1 : 0));
  path.qos_class = 0;
  path.numb_path = path.preference = 0;
  path.reversible = 1;
  if (const auto sender = FindNicOf(nic, path.dgid)) path.dmac = nics_.Info(*sender).mac;
  cm.av = VectorOf(nic, path);
  cm.timeout = static_cast<uint8_t>(path.packet_life_time + 1);
  ReqMessage turned = req;
  turned.path = path;
  if (const int error = HandleReq(conn, nic, turned); error != 0 && conn->cm) {
    DestroyConnection(*conn, error == -ENOMEM);
  }
}

// cm_mra_handler(), for the sender of a message that has been seen before.
void Cm::ReceiveMra(uint32_t local_id, CmState state, CmState next) {
  Id* const id = FindConnection(local_id, std::nullopt);
  if (id == nullptr || id->cm->state != state) return;
  id->cm->state = next;
  id->cm->timeout_ms = ToMs(kMraSetting) + ToMs(id->cm->timeout);
}

// ib_send_cm_mra() with IB_CM_MRA_FLAG_DELAY: only a repeated message is answered.
void Cm::SendMra(Id& id) {
  if (id.cm->state == CmState::kReqRcvd) id.cm->state = CmState::kMraReqSent;
  if (id.cm->state == CmState::kRepRcvd) id.cm->state = CmState::kMraRepSent;
}

// ---- REP, RTU

// ib_send_cm_rep().
Status Cm::SendRep(Id& id, const ConnParam& param) {
  Connection& cm = *id.cm;
  if (param.private_data.size() > kRepPrivateData) return Err(EINVAL);
  if (cm.state != CmState::kReqRcvd && cm.state != CmState::kMraReqSent) return Err(EINVAL);
  RepMessage rep = {};
  rep.local_comm_id = cm.local_id;
  rep.remote_comm_id = cm.remote_id;
  rep.ca_guid = nics_.Info(*id.nic).node_guid;
  rep.qpn = id.qp_num;
  rep.starting_psn = id.seq_num;
  rep.responder_resources = param.responder_resources;
  rep.initiator_depth = param.initiator_depth;
  rep.flow_control = param.flow_control != 0 ? 1 : 0;
  rep.rnr_retry_count = std::min<uint8_t>(7, param.rnr_retry_count);
  rep.srq = id.srq ? 1 : 0;
  rep.target_ack_delay = kAckDelay;
  rep.ece = {.vendor_id = id.ece.vendor_id & 0xffffff, .attr_mod = id.ece.attr_mod};
  std::ranges::copy(param.private_data, rep.private_data.begin());
  cm.state = CmState::kRepSent;
  cm.initiator_depth = param.initiator_depth;
  cm.responder_resources = param.responder_resources;
  cm.rq_psn = id.seq_num;
  cm.local_qpn = id.qp_num;
  const auto send = [this, rep] { ReceiveRep(rep); };
  Await(id, cm.response_ms, send);
  send();
  return {};
}

// cm_rep_handler(), cm_dup_rep_handler().
void Cm::ReceiveRep(const RepMessage& rep) {
  Id* const id = FindConnection(rep.remote_comm_id, 0);
  if (id == nullptr) {
    Id* const known = FindConnection(rep.remote_comm_id, rep.local_comm_id);
    if (known == nullptr) return;
    if (known->cm->state == CmState::kEstablished) ReceiveRtu(rep.local_comm_id, rep.remote_comm_id);
    if (known->cm->state == CmState::kMraRepSent) {
      ReceiveMra(rep.local_comm_id, CmState::kRepSent, CmState::kMraRepRcvd);
    }
    return;
  }
  Connection& cm = *id->cm;
  if (cm.state != CmState::kReqSent && cm.state != CmState::kMraReqRcvd) return;
  cm.remote_ca_guid = rep.ca_guid;
  cm.remote_qpn = rep.qpn;
  cm.remote_id = rep.local_comm_id;
  Id* stale = nullptr;
  if (!InsertRemoteQpn(*id, &stale)) {
    cm.remote_id = 0;
    ReceiveRej({.local_comm_id = cm.local_id, .remote_comm_id = rep.local_comm_id, .reason = kRejStaleConn});
    if (stale->cm) (void)SendDreq(*stale);
    return;
  }
  cm.state = CmState::kRepRcvd;
  cm.initiator_depth = rep.responder_resources;
  cm.responder_resources = rep.initiator_depth;
  cm.sq_psn = rep.starting_psn;
  cm.rnr_retry_count = rep.rnr_retry_count;
  cm.timeout = AckTimeout(rep.target_ack_delay, static_cast<uint8_t>(cm.timeout - 1));
  CancelMessage(*id);

  Event event;  // cm_format_rep_event(), cma_set_rep_event_data()
  std::ranges::copy(rep.private_data, event.conn.private_data);
  event.conn.private_data_len = kRepPrivateData;
  event.conn.responder_resources = rep.initiator_depth;
  event.conn.initiator_depth = rep.responder_resources;
  event.conn.flow_control = rep.flow_control;
  event.conn.rnr_retry_count = rep.rnr_retry_count;
  event.conn.srq = rep.srq;
  event.conn.qp_num = rep.qpn;
  event.ece = rep.ece;
  HandleCmEvent(*id, CmEvent::kRepReceived, event);
}

// ib_send_cm_rtu().
Status Cm::SendRtu(Id& id) {
  Connection& cm = *id.cm;
  if (cm.state != CmState::kRepRcvd && cm.state != CmState::kMraRepSent) return Err(EINVAL);
  cm.state = CmState::kEstablished;
  ReceiveRtu(cm.remote_id, cm.local_id);
  return {};
}

// cm_rtu_handler().
void Cm::ReceiveRtu(uint32_t local_id, uint32_t remote_id) {
  Id* const id = FindConnection(local_id, remote_id);
  if (id == nullptr) return;
  if (id->cm->state != CmState::kRepSent && id->cm->state != CmState::kMraRepRcvd) return;
  id->cm->state = CmState::kEstablished;
  CancelMessage(*id);
  HandleCmEvent(*id, CmEvent::kRtuReceived);
}

// cm_establish(): a message of the peer came before its RTU.
Status Cm::Establish(Id& id) {
  switch (id.cm->state) {
    case CmState::kRepSent:
    case CmState::kMraRepRcvd: break;
    case CmState::kEstablished: return Err(EISCONN);
    default: return Err(EINVAL);
  }
  id.cm->state = CmState::kEstablished;
  CancelMessage(id);
  HandleCmEvent(id, CmEvent::kUserEstablished);
  return {};
}

// ---- DREQ, DREP

// cm_send_dreq_locked().
Status Cm::SendDreq(Id& id) {
  Connection& cm = *id.cm;
  if (cm.state != CmState::kEstablished) return Err(EINVAL);
  cm.state = CmState::kDreqSent;
  const auto send = [this, to = cm.remote_id, from = cm.local_id, qpn = cm.remote_qpn] { ReceiveDreq(to, from, qpn); };
  Await(id, cm.response_ms, send);
  send();
  return {};
}

// cm_dreq_handler(). `qpn`: what the sender takes for this end's QP.
void Cm::ReceiveDreq(uint32_t local_id, uint32_t remote_id, uint32_t qpn) {
  Id* const id = FindConnection(local_id, remote_id);
  if (id == nullptr) return ReceiveDrep(remote_id, local_id);  // cm_issue_drep()
  Connection& cm = *id->cm;
  if (cm.local_qpn != qpn) return;
  switch (cm.state) {
    case CmState::kRepSent:
    case CmState::kDreqSent:
    case CmState::kMraRepRcvd: CancelMessage(*id); break;
    case CmState::kEstablished: break;
    case CmState::kTimewait: return ReceiveDrep(remote_id, local_id);
    default: return;
  }
  cm.state = CmState::kDreqRcvd;
  HandleCmEvent(*id, CmEvent::kDreqReceived);
}

// cm_send_drep_locked().
Status Cm::SendDrep(Id& id) {
  if (id.cm->state != CmState::kDreqRcvd) return Err(EINVAL);
  const uint32_t to = id.cm->remote_id, from = id.cm->local_id;
  EnterTimewait(id);
  ReceiveDrep(to, from);
  return {};
}

// cm_drep_handler().
void Cm::ReceiveDrep(uint32_t local_id, uint32_t remote_id) {
  Id* const id = FindConnection(local_id, remote_id);
  if (id == nullptr) return;
  if (id->cm->state != CmState::kDreqSent && id->cm->state != CmState::kDreqRcvd) return;
  EnterTimewait(*id);
  HandleCmEvent(*id, CmEvent::kDrepReceived);
}

// ---- REJ

// cm_send_rej_locked().
Status Cm::SendRej(Id& id, uint16_t reason, std::span<const uint8_t> private_data) {
  Connection& cm = *id.cm;
  if (private_data.size() > kRejPrivateData) return Err(EINVAL);
  const CmState state = cm.state;
  RejMessage rej = {.local_comm_id = cm.local_id, .remote_comm_id = cm.remote_id, .reason = reason};
  if (id.nic) rej.ca_guid = nics_.Info(*id.nic).node_guid;
  std::ranges::copy(private_data, rej.private_data.begin());
  switch (state) {
    case CmState::kReqRcvd:
    case CmState::kMraReqSent: rej.of_req = true; [[fallthrough]];
    case CmState::kReqSent:
    case CmState::kMraReqRcvd:
    case CmState::kRepRcvd:
    case CmState::kMraRepSent: ResetToIdle(id); break;
    case CmState::kRepSent:
    case CmState::kMraRepRcvd: EnterTimewait(id); break;
    default: return Err(EINVAL);
  }
  ReceiveRej(rej);
  return {};
}

// cm_rej_handler(), cm_acquire_rejected_id().
void Cm::ReceiveRej(const RejMessage& rej) {
  Id* id = nullptr;
  if (rej.reason == kRejTimeout) {
    const auto it = remote_ids_.find({rej.ca_guid, rej.local_comm_id});
    if (it != remote_ids_.end()) id = it->second;
  } else {
    id = FindConnection(rej.remote_comm_id, rej.of_req ? 0 : rej.local_comm_id);
  }
  if (id == nullptr) return;
  switch (id->cm->state) {
    case CmState::kReqSent:
    case CmState::kMraReqRcvd:
    case CmState::kRepSent:
    case CmState::kMraRepRcvd:
    case CmState::kReqRcvd:
    case CmState::kMraReqSent:
      if (rej.reason == kRejStaleConn) {
        EnterTimewait(*id);
      } else {
        ResetToIdle(*id);
      }
      break;
    case CmState::kDreqSent:
    case CmState::kRepRcvd:
    case CmState::kMraRepSent:
    case CmState::kEstablished: EnterTimewait(*id); break;
    default: return;
  }
  Event event = {.status = rej.reason};
  std::ranges::copy(rej.private_data, event.conn.private_data);
  event.conn.private_data_len = kRejPrivateData;
  HandleCmEvent(*id, CmEvent::kRejReceived, event);
}

// ---- QP attributes

// ib_cm_init_qp_attr().
Status Cm::InitConnectionQpAttr(const Id& id, uint32_t qp_state, uapi::ib_uverbs_qp_attr* attr) const {
  const Connection& cm = *id.cm;
  switch (cm.state) {
    case CmState::kReqSent:
    case CmState::kMraReqRcvd:
      if (qp_state != uapi::IB_QPS_INIT) return Err(EINVAL);
      break;
    case CmState::kReqRcvd:
    case CmState::kMraReqSent:
    case CmState::kRepRcvd:
    case CmState::kMraRepSent:
    case CmState::kRepSent:
    case CmState::kMraRepRcvd:
    case CmState::kEstablished: break;
    default: return Err(EINVAL);
  }
  const bool rc = cm.qp_type == kQptRc;
  switch (qp_state) {
    case uapi::IB_QPS_INIT:
      attr->qp_attr_mask = uapi::IB_QP_STATE | uapi::IB_QP_ACCESS_FLAGS | uapi::IB_QP_PKEY_INDEX | uapi::IB_QP_PORT;
      attr->qp_access_flags = 2;                                        // IB_ACCESS_REMOTE_WRITE
      if (cm.responder_resources != 0) attr->qp_access_flags |= 4 | 8;  // REMOTE_READ, REMOTE_ATOMIC
      attr->port_num = 1;
      return {};
    case uapi::IB_QPS_RTR:
      attr->qp_attr_mask =
          uapi::IB_QP_STATE | uapi::IB_QP_AV | uapi::IB_QP_PATH_MTU | uapi::IB_QP_DEST_QPN | uapi::IB_QP_RQ_PSN;
      attr->ah_attr = cm.av.ToUser();
      attr->path_mtu = cm.path_mtu;
      attr->dest_qp_num = cm.remote_qpn;
      attr->rq_psn = cm.rq_psn;
      if (rc) {
        attr->qp_attr_mask |= uapi::IB_QP_MAX_DEST_RD_ATOMIC | uapi::IB_QP_MIN_RNR_TIMER;
        attr->max_dest_rd_atomic = cm.responder_resources;
      }
      return {};
    case uapi::IB_QPS_RTS:
      attr->qp_attr_mask = uapi::IB_QP_STATE | uapi::IB_QP_SQ_PSN;
      attr->sq_psn = cm.sq_psn;
      if (rc) {
        attr->qp_attr_mask |=
            uapi::IB_QP_RETRY_CNT | uapi::IB_QP_RNR_RETRY | uapi::IB_QP_MAX_QP_RD_ATOMIC | uapi::IB_QP_TIMEOUT;
        attr->retry_cnt = cm.retry_count;
        attr->rnr_retry = cm.rnr_retry_count;
        attr->max_rd_atomic = cm.initiator_depth;
        attr->timeout = cm.timeout;
      }
      return {};
    default: return Err(EINVAL);
  }
}

}  // namespace causeway::rdma_cm
