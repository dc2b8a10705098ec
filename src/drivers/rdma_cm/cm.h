// SPDX-License-Identifier: Apache-2.0
// The connection manager of a machine: linux drivers/infiniband/core/cma.c (ids, addresses, port spaces) over cm.c (the
// IB CM's messages), without a wire: a message is handed to the id that it is for.
//
//   cma_address.cc     bind, resolve, listen, options, port spaces
//   cma_connect.cc     connect, accept, reject, disconnect; what the IB CM's events mean to an id
//   cm_messages.cc     REQ REP RTU REJ DREQ DREP SIDR: states, retries, timewait
//   multicast.cc       join and leave
//   ids.cc             numbers of ids, the queues of their events
//   ucm_file.h         the device's open file, which the commands come by
//
// Locking: one lock for all ids. Held while events are queued (kernel::Readiness is told under it), never while user
// memory is copied. Timers' work takes it by itself.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "base/result.h"
#include "drivers/rdma_cm/id.h"
#include "drivers/rdma_cm/timers.h"
#include "kernel/readiness.h"

namespace causeway::rdma_cm {

constexpr uint8_t kQptRc = 2, kQptUc = 3, kQptUd = 4;  // enum ib_qp_type
constexpr uint32_t kUdpQkey = 0x01234567;              // RDMA_UDP_QKEY
constexpr uint8_t kAckDelay = 15;                      // local_ca_ack_delay of rxe
constexpr uint8_t kResponseTimeout = 20;               // CMA_CM_RESPONSE_TIMEOUT
constexpr uint32_t kMaxBacklog = 1024;                 // net.rdma_ucm.max_backlog
constexpr int kEnotsupp = 524;                         // ENOTSUPP, which the kernel lets out of JOIN_MCAST

// enum ib_cm_rej_reason, ib_cm_sidr_status.
constexpr uint16_t kRejTimeout = 4, kRejInvalidServiceId = 8, kRejStaleConn = 10, kRejConsumerDefined = 28,
                   kRejVendorOptionNotSupported = 35;
constexpr uint32_t kSidrSuccess = 0, kSidrUnsupported = 1, kSidrReject = 2;

// Bytes of private data in messages.
constexpr size_t kCmaHeader = 36;  // struct cma_hdr, in front of the program's own in REQ and SIDR_REQ
constexpr size_t kReqPrivateData = 92, kRepPrivateData = 196, kRejPrivateData = 148, kSidrReqPrivateData = 216,
                 kSidrRepPrivateData = 136;

// cm_convert_to_ms().
constexpr uint32_t ToMs(uint8_t iba_time) { return 1u << (iba_time > 8 ? iba_time - 8 : 0); }

// struct rdma_bind_list: who has a port of a port space, newest first.
struct BindList {
  uint16_t ps = 0;
  uint16_t port = 0;
  std::list<Id*> owners;
};

// struct rdma_cm_event, in the form of the uAPI.
struct Event {
  uint32_t event = 0;
  int32_t status = 0;
  uapi::rdma_ucm_conn_param conn = {};  // RC, UC
  uapi::rdma_ucm_ud_param ud = {};      // UD
  Ece ece;
  Ref<Multicast> mc;
};

// struct rdma_conn_param.
struct ConnParam {
  std::span<const uint8_t> private_data;
  uint32_t qp_num = 0;
  uint32_t qkey = 0;
  uint8_t srq = 0;
  uint8_t responder_resources = 0;
  uint8_t initiator_depth = 0;
  uint8_t flow_control = 0;
  uint8_t retry_count = 0;
  uint8_t rnr_retry_count = 0;
};

// CM messages, as far as a receiver looks at them.
struct ReqMessage {
  uint32_t local_comm_id;
  uint64_t service_id;
  uint64_t ca_guid;
  uint32_t qpn;
  uint32_t starting_psn;
  uint8_t qp_type;
  uint8_t responder_resources, initiator_depth, flow_control, retry_count, rnr_retry_count, srq;
  PathRecord path;  // the sender's
  uint8_t local_ack_timeout;
  Address source, destination;  // of the CMA header
  Ece ece;
  std::array<uint8_t, kReqPrivateData> private_data;  // CMA header first
};
struct RepMessage {
  uint32_t local_comm_id, remote_comm_id;
  uint64_t ca_guid;
  uint32_t qpn;
  uint32_t starting_psn;
  uint8_t responder_resources, initiator_depth, flow_control, rnr_retry_count, srq;
  uint8_t target_ack_delay;
  Ece ece;
  std::array<uint8_t, kRepPrivateData> private_data;
};
struct SidrReqMessage {
  uint32_t request_id;
  uint64_t service_id;
  size_t to_nic;
  PathRecord path;
  Address source, destination;
  std::array<uint8_t, kSidrReqPrivateData> private_data;
};
struct SidrRepMessage {
  uint32_t request_id;
  uint32_t status;
  uint32_t qpn, qkey;
  std::array<uint8_t, kSidrRepPrivateData> private_data;
};

class Cm {
 public:
  // All outlive this; the timers' thread is stopped before this goes.
  Cm(Nics& nics, Network& network, Timers& timers, kernel::Readiness& readiness)
      : nics_(nics), network_(network), timers_(timers), readiness_(readiness) {}
  ~Cm();

  std::unique_lock<std::mutex> Lock() { return std::unique_lock(mutex_); }
  Nics& nics() { return nics_; }
  kernel::Readiness& readiness() { return readiness_; }

  // Everything below: with the lock held.

  // ---- ids (ucma.c)
  Ref<Id> CreateId(UcmFile* file, uint64_t uid, uint16_t ps, uint8_t qp_type);  // not public yet
  void Publish(const Ref<Id>& id);                                              // ucma_finish_ctx()
  // errors: ENOENT no such id; EINVAL of another file.
  Result<Ref<Id>> Find(UcmFile* file, uint32_t number) const;
  // ucma_get_ctx_dev(): EINVAL too when it has no device.
  Result<Ref<Id>> FindBound(UcmFile* file, uint32_t number) const;
  // ucma_destroy_private_ctx(): events that it has not been given are dropped, connection requests among them rejected.
  // Returns how many it was given.
  uint32_t Destroy(const Ref<Id>& id);
  void Migrate(const Ref<Id>& id, UcmFile* to);

  // ---- addresses (cma.c rdma_...())
  Status BindAddr(Id& id, const Address& address, bool may_use_low_ports);
  Status ResolveAddr(const Ref<Id>& id, const Address& src, const Address& dst, uint32_t timeout_ms,
                     bool may_use_low_ports);
  Status ResolveRoute(Id& id, uint32_t timeout_ms);
  Status Listen(Id& id, bool may_use_low_ports);
  Status SetReuseAddr(Id& id, bool on);
  Status SetAfOnly(Id& id, bool on);
  Status SetAckTimeout(Id& id, uint8_t timeout);
  Status SetIbPath(Id& id, const PathRecord& path);
  uint64_t ServiceId(const Id& id, const Address& address) const;  // rdma_get_service_id()
  // ---- connections
  Status Connect(const Ref<Id>& id, const ConnParam& param, const Ece& ece);
  Status Accept(Id& id, const ConnParam* param, const Ece& ece);
  Status Reject(Id& id, std::span<const uint8_t> private_data, uint16_t reason);
  Status Disconnect(Id& id);
  Status Notify(Id& id, uint32_t event);
  Status InitQpAttr(Id& id, uint32_t qp_state, uapi::ib_uverbs_qp_attr* attr);
  // ---- multicast
  Result<Ref<Multicast>> JoinMulticast(const Ref<Id>& id, const Address& address, bool send_only, uint64_t uid);
  Result<Ref<Multicast>> FindMulticast(UcmFile* file, uint32_t number) const;
  uint32_t LeaveMulticast(const Ref<Multicast>& mc);  // returns the events it was given

  struct Counts {
    size_t ids = 0, listening = 0, connected = 0, groups = 0;
  };
  Counts Count() const;
  // NETLINK_RDMA's resources: the ids of one NIC. A listener without one is on each, as Linux's listeners per device.
  struct IdReport {
    Ref<Id> id;
    uint32_t res_id;
    bool of_all;  // listens on all NICs
  };
  std::vector<IdReport> Report(size_t nic) const;

 private:
  // ---- cma_address.cc
  bool IsAny(const Address& address) const;
  Status BindAddrDst(Id& id, Address address, const Address* dst, bool may_use_low_ports);
  Status AcquireDevice(Id& id);
  void AttachDevice(Id& id, size_t nic);
  uint32_t NextResId(size_t nic);
  void ReleaseDevice(Id& id);
  Status BindLoopback(Id& id);
  bool FindNeighbour(Id& id) const;
  void AddressResolved(Id& id, int status, const Address& source);
  Status GetPort(Id& id, bool may_use_low_ports);
  Status AllocPort(uint16_t ps, Id& id, uint16_t port);
  Status AllocAnyPort(uint16_t ps, Id& id);
  Status CheckPort(const BindList& list, const Id& id, bool reuseaddr) const;
  bool PortIsUnique(const BindList& list, const Id& id) const;
  void BindPort(BindList& list, Id& id);
  void ReleasePort(Id& id);
  BindList* FindPort(uint16_t ps, uint16_t port) const;
  static Status CompExch(Id& id, State from, State to);
  std::optional<size_t> FindNicOf(size_t from, const Gid& gid) const;

  // ---- ids
  void AllocNumber(Id& id);
  void DestroyCmaId(Id& id);
  void QueueEvent(const Ref<Id>& id, Event event);
  bool QueueConnectRequest(Id& listener, const Ref<Id>& conn, Event event);

  // ---- cma_connect.cc
  enum class CmEvent {
    kReqError,
    kRepError,
    kRepReceived,
    kRtuReceived,
    kUserEstablished,
    kDreqError,
    kDreqReceived,
    kDrepReceived,
    kTimewaitExit,
    kRejReceived,
    kSidrReqError,
    kSidrRepReceived,
  };
  void HandleCmEvent(Id& id, CmEvent what, Event event = {});
  // cma_ib_req_handler(): 0, or the errno it fails with.
  int HandleReq(const Ref<Id>& conn, size_t nic, const ReqMessage& req);
  Ref<Id> FindListener(size_t nic, uint64_t service_id, const Address& destination) const;
  void FillConn(Id& conn, Id& listener, size_t nic, const PathRecord* path, const Address& source,
                const Address& destination, uint64_t service_id);
  bool MatchAddress(const Id& id, const Address& destination) const;
  bool MatchDevice(const Id& id, size_t nic, const Address& destination) const;
  Status SetQkey(Id& id, uint32_t qkey);
  Status SendSidrRep(Id& id, uint32_t status, uint32_t qkey, std::span<const uint8_t> private_data);

  // ---- cm_messages.cc
  Connection& NewConnection(Id& id);
  Id* FindConnection(uint32_t local_id, std::optional<uint32_t> remote_id) const;
  AddressVector VectorOf(size_t nic, const PathRecord& path) const;
  Status SendReq(const Ref<Id>& id, ReqMessage req);
  Status SendRep(Id& id, const ConnParam& param);
  Status SendRtu(Id& id);
  Status SendRej(Id& id, uint16_t reason, std::span<const uint8_t> private_data);
  Status SendDreq(Id& id);
  Status SendDrep(Id& id);
  Status SendSidrReq(const Ref<Id>& id, SidrReqMessage req);
  Status SendSidrRepMessage(Id& id, SidrRepMessage rep);
  void SendMra(Id& id);
  void ReceiveReq(size_t nic, const ReqMessage& req);
  void ReceiveRep(const RepMessage& rep);
  void ReceiveRtu(uint32_t local_id, uint32_t remote_id);
  void ReceiveDreq(uint32_t local_id, uint32_t remote_id, uint32_t qpn);
  void ReceiveDrep(uint32_t local_id, uint32_t remote_id);
  void ReceiveMra(uint32_t local_id, CmState state, CmState next);
  struct RejMessage;
  void ReceiveRej(const RejMessage& rej);
  void ReceiveSidrReq(const SidrReqMessage& req);
  void ReceiveSidrRep(const SidrRepMessage& rep);
  Status Establish(Id& id);
  void Await(Id& id, uint32_t timeout_ms, std::function<void()> resend);
  void ArmTimer(Id& id);
  static void CancelMessage(Id& id);
  void MessageTimedOut(const Ref<Id>& id, uint64_t timer);
  bool InsertRemoteQpn(Id& id, Id** stale);
  void RemoveRemote(Id& id);
  void EnterTimewait(Id& id);
  void ResetToIdle(Id& id);
  void DestroyConnection(Id& id, bool no_memory);
  Status InitConnectionQpAttr(const Id& id, uint32_t qp_state, uapi::ib_uverbs_qp_attr* attr) const;

  Nics& nics_;
  Network& network_;
  Timers& timers_;
  kernel::Readiness& readiness_;

  std::mutex mutex_;  // guards what follows, all ids and all files' queues
  std::map<uint32_t, Ref<Id>> ids_;
  std::map<uint32_t, Ref<Multicast>> multicasts_;
  std::set<uint32_t> free_ids_;  // numbers below next_id_ that are free
  uint32_t next_id_ = 0;
  std::map<std::pair<uint16_t, uint16_t>, std::unique_ptr<BindList>> ports_;  // by port space and port
  uint16_t last_used_port_ = 0;
  std::map<uint32_t, Id*> connections_;                      // cm.local_id_table
  std::map<std::pair<uint64_t, uint32_t>, Id*> remote_ids_;  // by CA GUID and comm id
  std::map<std::pair<uint64_t, uint32_t>, Id*> remote_qps_;  // by CA GUID and QPN
  uint32_t next_comm_id_ = 1;
  uint64_t next_timer_ = 1;
  std::vector<uint32_t> next_res_ids_;  // by NIC
};

}  // namespace causeway::rdma_cm
