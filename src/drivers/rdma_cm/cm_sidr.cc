// SPDX-License-Identifier: Apache-2.0
// The IB CM of datagrams: SIDR_REQ asks for the QPN and the Q_Key of a service, SIDR_REP answers (linux v6.1
// drivers/infiniband/core/cm.c). Messages go as in cm_messages.cc.
#include <algorithm>

#include "drivers/rdma_cm/cm.h"

namespace causeway::rdma_cm {

// ib_send_cm_sidr_req().
Status Cm::SendSidrReq(const Ref<Id>& ref, SidrReqMessage req) {
  Id& id = *ref;
  Connection& cm = *id.cm;
  cm.av = VectorOf(*id.nic, req.path);
  cm.timeout = static_cast<uint8_t>(req.path.packet_life_time + 1);
  cm.service_id = req.service_id;
  cm.state = CmState::kSidrReqSent;
  req.request_id = cm.local_id;
  const size_t from = *id.nic;
  const auto send = [this, from, req]() mutable {
    const auto to = FindNicOf(from, req.path.dgid);
    if (!to) return;
    req.to_nic = *to;
    ReceiveSidrReq(req);
  };
  Await(id, ToMs(kResponseTimeout), send);
  auto first = send;
  first();
  return {};
}

// cm_sidr_req_handler().
void Cm::ReceiveSidrReq(const SidrReqMessage& req) {
  // cm_insert_remote_sidr(): a repeated request is dropped while the first is thought about.
  const std::pair<uint64_t, uint32_t> key = {~uint64_t{0}, req.request_id};
  if (remote_ids_.contains(key)) return;
  const auto conn = MakeRef<Id>();
  conn->qp_type = kQptUd;
  Connection& cm = NewConnection(*conn);
  cm.remote_id = req.request_id;
  cm.remote_ca_guid = ~uint64_t{0};
  cm.service_id = req.service_id;
  cm.state = CmState::kSidrReqRcvd;
  const BindList* const list =
      FindPort(static_cast<uint16_t>(req.service_id >> 16), static_cast<uint16_t>(req.service_id));
  const bool listened = list != nullptr && std::ranges::any_of(list->owners, [&](const Id* owner) {
                          return owner->state == State::kListen && (!owner->nic || *owner->nic == req.to_nic);
                        });
  if (!listened) {
    (void)SendSidrRepMessage(*conn, {.status = kSidrUnsupported});
    return DestroyConnection(*conn, false);
  }
  remote_ids_.emplace(key, conn.get());

  const Ref<Id> listener = FindListener(req.to_nic, req.service_id, req.destination);
  if (!listener || (listener->qp_type != kQptUd && listener->qp_type != 0)) return DestroyConnection(*conn, false);
  if (listener->state != State::kListen) return DestroyConnection(*conn, false);
  FillConn(*conn, *listener, req.to_nic, nullptr, req.source, req.destination, req.service_id);
  conn->qp_type = kQptUd;
  Event event = {.event = uapi::RDMA_CM_EVENT_CONNECT_REQUEST};
  const size_t offset = listener->src.is_ib() ? 0 : kCmaHeader;
  std::copy(req.private_data.begin() + static_cast<ptrdiff_t>(offset), req.private_data.end(), event.ud.private_data);
  event.ud.private_data_len = static_cast<uint8_t>(kSidrReqPrivateData - offset);
  if (!QueueConnectRequest(*listener, conn, event)) {
    conn->state = State::kDestroying;
    DestroyConnection(*conn, false);
  }
}

// cm_send_sidr_rep_locked().
Status Cm::SendSidrRepMessage(Id& id, SidrRepMessage rep) {
  Connection& cm = *id.cm;
  if (cm.state != CmState::kSidrReqRcvd) return Err(EINVAL);
  cm.state = CmState::kIdle;
  remote_ids_.erase({cm.remote_ca_guid, cm.remote_id});
  rep.request_id = cm.remote_id;
  ReceiveSidrRep(rep);
  return {};
}

// cm_sidr_rep_handler(); the event as cma_sidr_rep_handler() makes it.
void Cm::ReceiveSidrRep(const SidrRepMessage& rep) {
  Id* const id = FindConnection(rep.request_id, 0);
  if (id == nullptr || id->cm->state != CmState::kSidrReqSent) return;
  id->cm->state = CmState::kIdle;
  CancelMessage(*id);
  Event event = {.status = static_cast<int32_t>(rep.status)};
  std::ranges::copy(rep.private_data, event.ud.private_data);
  event.ud.private_data_len = kSidrRepPrivateData;
  event.ud.qp_num = rep.qpn;
  event.ud.qkey = rep.qkey;
  HandleCmEvent(*id, CmEvent::kSidrRepReceived, event);
}

}  // namespace causeway::rdma_cm
