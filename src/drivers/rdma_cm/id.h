// SPDX-License-Identifier: Apache-2.0
// One rdma_cm id: what Linux keeps as struct ucma_context (the program's handle), struct rdma_id_private (addresses,
// state) and struct cm_id_private (the IB CM's end of a connection). All fields are guarded by Cm's lock.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "base/ref.h"
#include "drivers/rdma_cm/address.h"
#include "drivers/rdma_cm/nics.h"

namespace causeway::rdma_cm {

class UcmFile;
class Id;

// enum rdma_cm_state (cma_priv.h).
enum class State {
  kIdle,
  kAddrQuery,
  kAddrResolved,
  kRouteQuery,
  kRouteResolved,
  kConnect,
  kDisconnect,
  kAddrBound,
  kListen,
  kDestroying,
};

// enum ib_cm_state (rdma/ib_cm.h). The two MRA_..._SENT states say that an answer to a repeated REQ or REP is an MRA:
// the program has been told and thinks.
enum class CmState {
  kIdle,
  kListen,
  kReqSent,
  kReqRcvd,
  kMraReqSent,
  kMraReqRcvd,
  kRepSent,
  kRepRcvd,
  kMraRepSent,
  kMraRepRcvd,
  kEstablished,
  kDreqSent,
  kDreqRcvd,
  kTimewait,
  kSidrReqSent,
  kSidrReqRcvd,
};

// struct sa_path_rec of a RoCE v2 path. Numbers in host order.
struct PathRecord {
  uint64_t service_id = 0;
  Gid dgid = {}, sgid = {};
  uint32_t flow_label = 0;
  uint16_t pkey = 0xffff;
  uint8_t hop_limit = 0;
  uint8_t traffic_class = 0;
  uint8_t reversible = 1;
  uint8_t numb_path = 0;
  uint16_t qos_class = 0;
  uint8_t sl = 0;
  uint8_t mtu_selector = 2;  // IB_SA_EQ
  uint8_t mtu = 0;           // enum ib_mtu
  uint8_t rate_selector = 2;
  uint8_t rate = 0;  // IB_RATE_PORT_CURRENT
  uint8_t packet_life_time_selector = 2;
  uint8_t packet_life_time = 0;
  uint8_t preference = 0;
  std::array<uint8_t, 6> dmac = {};

  // ib_sa_pack_path(), ib_sa_unpack_path(): the 64 bytes of an SA PathRecord. As in the kernel the words of the LIDs
  // hold what the RoCE record keeps there: one byte 1 (resolved), then the destination's MAC.
  void Pack(uint32_t (&to)[16]) const;
  static PathRecord Unpack(const uint32_t (&from)[16]);
  uapi::ib_user_path_rec ToUser() const;  // ib_copy_path_rec_to_user()
};

// struct rdma_ah_attr of a RoCE destination.
struct AddressVector {
  Gid dgid = {};
  uint32_t flow_label = 0;
  uint8_t sgid_index = 0;
  uint8_t hop_limit = 0;
  uint8_t traffic_class = 0;
  uint8_t sl = 0;
  uint8_t static_rate = 0;
  uint8_t port_num = 0;  // 0: unset

  uapi::ib_uverbs_ah_attr ToUser() const;  // ib_copy_ah_attr_to_user()
};

struct Ece {
  uint32_t vendor_id = 0;
  uint32_t attr_mod = 0;
};

// struct cm_id_private.
struct Connection {
  CmState state = CmState::kIdle;
  uint32_t local_id = 0;
  uint32_t remote_id = 0;
  uint64_t service_id = 0;
  uint64_t remote_ca_guid = 0;
  uint32_t local_qpn = 0;
  uint32_t remote_qpn = 0;
  uint32_t rq_psn = 0;
  uint32_t sq_psn = 0;
  uint8_t qp_type = 0;
  uint8_t initiator_depth = 0;
  uint8_t responder_resources = 0;
  uint8_t retry_count = 0;
  uint8_t rnr_retry_count = 0;
  uint8_t path_mtu = 0;
  AddressVector av;
  uint8_t timeout = 0;    // av.timeout: local ACK timeout
  bool inserted = false;  // in Cm's tables of remote ids and QPs

  uint32_t response_ms = 0;  // cm_id_priv->timeout_ms: how long an answer may take

  // The message that waits for its answer (cm_id_priv->msg).
  uint32_t timeout_ms = 0;
  uint32_t retries_left = 0;
  uint64_t timer = 0;            // which timer counts; 0: none
  std::function<void()> resend;  // empty: nothing waits
};

struct Multicast : RefCounted {
  uint32_t id = 0;
  Id* owner = nullptr;
  uint64_t uid = 0;
  uint32_t events_reported = 0;
  bool send_only = false;
  Address address;
};

struct BindList;

class Id : public RefCounted {
 public:
  // ---- struct ucma_context
  uint32_t number = 0;
  UcmFile* file = nullptr;
  uint64_t uid = 0;
  uint32_t events_reported = 0;
  uint32_t backlog = 0;  // connection requests that may still be queued
  std::list<Ref<Multicast>> multicasts;
  bool is_public = false;  // a program can name it
  pid_t pid = 0, tid = 0;  // the thread that made it; of a connection request: that made the listener

  // ---- struct rdma_id_private
  State state = State::kIdle;
  uint16_t ps = 0;
  uint8_t qp_type = 0;
  Address src, dst;
  std::optional<size_t> nic;  // cma_dev
  // Its number among the resources of `nic`; of a listener without one: on each NIC (struct rdma_restrack_entry).
  uint32_t res_id = 0;
  std::vector<uint32_t> listen_res_ids;
  uint8_t port_num = 0;
  uint32_t bound_if = 0;
  uint8_t hop_limit = 0;
  std::array<uint8_t, 6> dst_mac = {};
  std::optional<PathRecord> path;
  uint32_t seq_num = 0;
  uint32_t qp_num = 0;
  uint32_t qkey = 0;
  bool srq = false;
  std::optional<uint8_t> tos;
  std::optional<uint8_t> ack_timeout;
  Ece ece;
  bool reuseaddr = false;
  bool afonly = false;
  bool afonly_set = false;  // options & CMA_OPTION_AFONLY
  BindList* bind_list = nullptr;
  uint64_t resolve_timer = 0;  // the address look-up that counts
  // cm_id.ib; a listener's is in state kListen.
  std::optional<Connection> cm;
};

}  // namespace causeway::rdma_cm
