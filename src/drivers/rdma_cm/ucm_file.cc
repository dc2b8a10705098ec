// SPDX-License-Identifier: Apache-2.0
// The commands of /dev/infiniband/rdma_cm: linux v6.1 drivers/infiniband/core/ucma.c, in its order of checks. A request
// is read at its full size whatever the header says of it, as there.
#include "drivers/rdma_cm/ucm_file.h"

#include <endian.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <vector>

#include "base/checked.h"

namespace causeway::rdma_cm {
namespace {

using namespace uapi;  // NOLINT: the commands of this file are the uAPI's

constexpr size_t kMaxOption = 4 << 20;  // KMALLOC_MAX_SIZE

// One command on its way.
struct Call {
  UcmFile& file;
  kernel::Task& task;
  uint64_t in;  // address of the request
  uint16_t in_len;
  uint16_t out_len;

  Cm& cm() const { return file.cm(); }
  template <typename T>
  Result<T> Read() const {
    return task.memory().Read<T>(in);
  }
  bool may_use_low_ports() const { return task.Capable(CAP_NET_BIND_SERVICE); }
  // The first bytes of a response, as many as the program has room for.
  template <typename T>
  Status Respond(uint64_t to, const T& response) const {
    const auto bytes = std::as_bytes(std::span(&response, 1));
    return task.memory().CopyTo(to, bytes.first(std::min<size_t>(out_len, bytes.size())));
  }
};

// rdma_addr_size_in6(), rdma_addr_size_kss(): the size of an address of a known family that fits its field.
template <typename Bytes>
Result<Address> Parse(const Bytes& field) {
  const Address address(field.bytes);
  if (address.size() == 0 || address.size() > sizeof(field.bytes)) return Err(EINVAL);
  return address;
}

Status CreateId(const Call& call) {
  if (call.out_len < sizeof(rdma_ucm_create_id_resp)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_create_id>());
  uint8_t qp_type = kQptUd;
  switch (cmd.ps) {
    case RDMA_PS_TCP: qp_type = kQptRc; break;
    case RDMA_PS_UDP:
    case RDMA_PS_IPOIB: break;
    case RDMA_PS_IB: qp_type = cmd.qp_type; break;
    default: return Err(EINVAL);
  }
  Ref<Id> id;
  {
    const auto lock = call.cm().Lock();
    id = call.cm().CreateId(&call.file, cmd.uid, cmd.ps, qp_type);
    id->pid = call.task.pid();
    id->tid = call.task.tid();
  }
  const auto copied = call.task.memory().Write(cmd.response, rdma_ucm_create_id_resp{id->number});
  const auto lock = call.cm().Lock();
  if (!copied) {
    (void)call.cm().Destroy(id);
    return copied;
  }
  call.cm().Publish(id);
  return {};
}

Status DestroyId(const Call& call) {
  if (call.out_len < sizeof(rdma_ucm_destroy_id_resp)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_destroy_id>());
  rdma_ucm_destroy_id_resp resp = {};
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
    resp.events_reported = call.cm().Destroy(id);
  }
  return call.task.memory().Write(cmd.response, resp);
}

Status BindTo(const Call& call, uint32_t number, const Address& address) {
  const bool low_ports = call.may_use_low_ports();
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().Find(&call.file, number));
  return call.cm().BindAddr(*id, address, low_ports);
}

Status BindIp(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_bind_ip>());
  CW_TRY(const Address address, Parse(cmd.addr));
  return BindTo(call, cmd.id, address);
}

Status Bind(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_bind>());
  if (cmd.reserved != 0 || cmd.addr_size == 0) return Err(EINVAL);
  CW_TRY(const Address address, Parse(cmd.addr));
  if (cmd.addr_size != address.size()) return Err(EINVAL);
  return BindTo(call, cmd.id, address);
}

Status Resolve(const Call& call, uint32_t number, const Address& src, const Address& dst, uint32_t timeout_ms) {
  const bool low_ports = call.may_use_low_ports();
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().Find(&call.file, number));
  return call.cm().ResolveAddr(id, src, dst, timeout_ms, low_ports);
}

Status ResolveIp(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_resolve_ip>());
  Address src(cmd.src_addr.bytes);
  if (src.family() != 0) {
    CW_TRY(src, Parse(cmd.src_addr));
  }
  CW_TRY(const Address dst, Parse(cmd.dst_addr));
  return Resolve(call, cmd.id, src, dst, cmd.timeout_ms);
}

Status ResolveAddr(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_resolve_addr>());
  if (cmd.reserved != 0) return Err(EINVAL);
  const Address src(cmd.src_addr.bytes);
  if (cmd.src_size != 0 && cmd.src_size != src.size()) return Err(EINVAL);
  if (cmd.dst_size == 0) return Err(EINVAL);
  CW_TRY(const Address dst, Parse(cmd.dst_addr));
  if (cmd.dst_size != dst.size()) return Err(EINVAL);
  return Resolve(call, cmd.id, src, dst, cmd.timeout_ms);
}

Status ResolveRoute(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_resolve_route>());
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  return call.cm().ResolveRoute(*id, cmd.timeout_ms);
}

template <typename Bytes>
void PutAddress(const Address& from, size_t size, Bytes* to) {
  std::copy_n(from.bytes().begin(), size, to->bytes);
}

Status QueryRoute(const Call& call) {
  if (call.out_len < offsetof(rdma_ucm_query_route_resp, ibdev_index)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_query>());
  rdma_ucm_query_route_resp resp = {};
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
    const auto size = [](const Address& address) { return address.family() == AF_INET ? size_t{16} : size_t{28}; };
    PutAddress(id->src, size(id->src), &resp.src_addr);
    PutAddress(id->dst, size(id->dst), &resp.dst_addr);
    if (id->nic) {
      resp.node_guid = call.cm().nics().Info(*id->nic).node_guid;
      resp.ibdev_index = static_cast<uint32_t>(*id->nic);
      resp.port_num = id->port_num;
      if (id->path) {
        resp.num_paths = 1;
        resp.ib_route[0] = id->path->ToUser();
      } else {
        std::ranges::copy(id->dst.gid(), resp.ib_route[0].dgid);
        std::ranges::copy(id->src.gid(), resp.ib_route[0].sgid);
        resp.ib_route[0].pkey = 0xffff;
      }
    }
  }
  return call.Respond(cmd.response, resp);
}

// ucma_query_device_addr(). ib_addr_get_pkey() reads where the broadcast address of an InfiniBand net device has the
// P_Key: zeros behind an Ethernet one. An id without a net device (loopback) was given the port's P_Key there.
void FillDevice(const Call& call, const Id& id, rdma_ucm_query_addr_resp* resp) {
  if (!id.nic) return;
  resp->node_guid = call.cm().nics().Info(*id.nic).node_guid;
  resp->ibdev_index = static_cast<uint32_t>(*id.nic);
  resp->port_num = id.port_num;
  resp->pkey = id.bound_if == 0 ? 0xffff : 0;
}

Status QueryAddr(const Call& call, const rdma_ucm_query& cmd, std::unique_lock<std::mutex> lock, const Id& id) {
  if (call.out_len < offsetof(rdma_ucm_query_addr_resp, ibdev_index)) return Err(ENOSPC);
  rdma_ucm_query_addr_resp resp = {};
  resp.src_size = static_cast<uint16_t>(id.src.size());
  PutAddress(id.src, resp.src_size, &resp.src_addr);
  resp.dst_size = static_cast<uint16_t>(id.dst.size());
  PutAddress(id.dst, resp.dst_size, &resp.dst_addr);
  FillDevice(call, id, &resp);
  lock.unlock();
  return call.Respond(cmd.response, resp);
}

Status QueryPath(const Call& call, const rdma_ucm_query& cmd, std::unique_lock<std::mutex> lock, const Id& id) {
  struct {
    rdma_ucm_query_path_resp head;
    ib_path_rec_data path;
  } resp = {};
  if (call.out_len < sizeof(resp.head)) return Err(ENOSPC);
  resp.head.num_paths = id.path ? 1 : 0;
  const bool with_path = id.path && call.out_len >= sizeof(resp);
  if (with_path) {
    resp.path.flags = IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL;
    id.path->Pack(resp.path.path_rec);
  }
  lock.unlock();
  const auto bytes = std::as_bytes(std::span(&resp, 1));
  return call.task.memory().CopyTo(cmd.response, bytes.first(with_path ? bytes.size() : sizeof(resp.head)));
}

Status QueryGid(const Call& call, const rdma_ucm_query& cmd, std::unique_lock<std::mutex> lock, const Id& id) {
  if (call.out_len < offsetof(rdma_ucm_query_addr_resp, ibdev_index)) return Err(ENOSPC);
  rdma_ucm_query_addr_resp resp = {};
  FillDevice(call, id, &resp);
  resp.src_size = resp.dst_size = sizeof(sockaddr_ib);
  const auto put = [&](const Address& address, sockaddr_storage_bytes* to) {
    sockaddr_ib ib = {};
    if (address.is_ib()) {
      ib = address.ib();
    } else {
      ib.sib_family = kAfIb;
      ib.sib_pkey = resp.pkey;
      if (id.nic) std::ranges::copy(address.gid(), ib.sib_addr);  // rdma_read_gids()
      ib.sib_sid = htobe64(call.cm().ServiceId(id, address));
    }
    PutAddress(Address::Ib(ib), sizeof(ib), to);
  };
  put(id.src, &resp.src_addr);
  put(id.dst, &resp.dst_addr);
  lock.unlock();
  return call.Respond(cmd.response, resp);
}

Status Query(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_query>());
  auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
  switch (cmd.option) {
    case RDMA_USER_CM_QUERY_ADDR: return QueryAddr(call, cmd, std::move(lock), *id);
    case RDMA_USER_CM_QUERY_PATH: return QueryPath(call, cmd, std::move(lock), *id);
    case RDMA_USER_CM_QUERY_GID: return QueryGid(call, cmd, std::move(lock), *id);
    default: return Err(ENOSYS);
  }
}

// ucma_copy_conn_param(). Valid as long as `from`.
ConnParam ToConnParam(const Id& id, const rdma_ucm_conn_param& from) {
  return {.private_data = std::span(from.private_data).first(from.private_data_len),
          .qp_num = from.qp_num & 0xffffff,
          .qkey = id.src.is_ib() ? from.qkey : 0,
          .srq = from.srq,
          .responder_resources = from.responder_resources,
          .initiator_depth = from.initiator_depth,
          .flow_control = from.flow_control,
          .retry_count = from.retry_count,
          .rnr_retry_count = from.rnr_retry_count};
}

// CONNECT and ACCEPT: requests whose ECE may be left out.
template <typename T>
Result<T> ReadWithEce(const Call& call) {
  constexpr size_t kWithoutEce = offsetof(T, ece);
  if (call.in_len < kWithoutEce) return Err(EINVAL);
  T cmd = {};
  CW_CHECK(call.task.memory().CopyFrom(
      std::as_writable_bytes(std::span(&cmd, 1)).first(std::min<size_t>(call.in_len, sizeof(cmd))), call.in));
  if (call.in_len < kWithoutEce + sizeof(cmd.ece)) cmd.ece = {};
  return cmd;
}

Status Connect(const Call& call) {
  CW_TRY(const auto cmd, ReadWithEce<rdma_ucm_connect>(call));
  if (cmd.conn_param.valid == 0) return Err(EINVAL);
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  return call.cm().Connect(id, ToConnParam(*id, cmd.conn_param), {cmd.ece.vendor_id, cmd.ece.attr_mod});
}

Status Listen(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_listen>());
  const bool low_ports = call.may_use_low_ports();
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
  id->backlog = cmd.backlog == 0 || cmd.backlog > kMaxBacklog ? kMaxBacklog : cmd.backlog;
  return call.cm().Listen(*id, low_ports);
}

Status Accept(const Call& call) {
  CW_TRY(const auto cmd, ReadWithEce<rdma_ucm_accept>(call));
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  const Ece ece = {cmd.ece.vendor_id, cmd.ece.attr_mod};
  if (cmd.conn_param.valid == 0) return call.cm().Accept(*id, nullptr, ece);
  // The uid is set in one step with the accept: what the peer answers at once is told already.
  const uint64_t before = std::exchange(id->uid, cmd.uid);
  const ConnParam param = ToConnParam(*id, cmd.conn_param);
  const auto accepted = call.cm().Accept(*id, &param, ece);
  if (!accepted) id->uid = before;
  return accepted;
}

Status Reject(const Call& call) {
  CW_TRY(auto cmd, call.Read<rdma_ucm_reject>());
  if (cmd.reason == 0) cmd.reason = kRejConsumerDefined;
  if (cmd.reason != kRejConsumerDefined && cmd.reason != kRejVendorOptionNotSupported) return Err(EINVAL);
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  return call.cm().Reject(*id, std::span(cmd.private_data).first(cmd.private_data_len), cmd.reason);
}

Status Disconnect(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_disconnect>());
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  return call.cm().Disconnect(*id);
}

Status InitQpAttr(const Call& call) {
  ib_uverbs_qp_attr resp = {};
  if (call.out_len < sizeof(resp)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_init_qp_attr>());
  if (cmd.qp_state > IB_QPS_ERR) return Err(EINVAL);
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
    CW_CHECK(call.cm().InitQpAttr(*id, cmd.qp_state, &resp));
  }
  return call.task.memory().Write(cmd.response, resp);
}

Status GetEvent(const Call& call) {
  if (call.out_len < offsetof(rdma_ucm_event_resp, reserved)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_get_event>());
  std::list<UcmFile::Queued> taken;
  {
    const auto lock = call.cm().Lock();
    if (call.file.events.empty()) return Err(EAGAIN);
    taken.splice(taken.end(), call.file.events, call.file.events.begin());
    const UcmFile::Queued& event = taken.front();
    ++event.id->events_reported;
    if (event.mc) ++event.mc->events_reported;
    if (event.resp.event == RDMA_CM_EVENT_CONNECT_REQUEST) ++event.id->backlog;
    if (call.file.events.empty()) call.cm().readiness().ClearReadable(call.file.id());
  }
  const auto copied = call.Respond(cmd.response, taken.front().resp);
  if (copied) return {};
  // It stays the first, unless its id has gone meanwhile.
  const auto lock = call.cm().Lock();
  const UcmFile::Queued& event = taken.front();
  if (!event.id->is_public || event.id->file != &call.file) return copied;
  --event.id->events_reported;
  if (event.mc) --event.mc->events_reported;
  if (event.resp.event == RDMA_CM_EVENT_CONNECT_REQUEST) --event.id->backlog;
  call.file.events.splice(call.file.events.begin(), taken);
  call.cm().readiness().SetReadable(call.file.id());
  return copied;
}

Status SetOptionId(Cm& cm, Id& id, uint32_t name, std::span<const std::byte> value) {
  const auto number = [&] {
    int32_t flag = 0;
    std::memcpy(&flag, value.data(), sizeof(flag));
    return flag;
  };
  switch (name) {
    case RDMA_OPTION_ID_TOS:
      if (value.size() != 1) return Err(EINVAL);
      id.tos = std::to_integer<uint8_t>(value[0]);
      return {};
    case RDMA_OPTION_ID_REUSEADDR:
      if (value.size() != sizeof(int32_t)) return Err(EINVAL);
      return cm.SetReuseAddr(id, number() != 0);
    case RDMA_OPTION_ID_AFONLY:
      if (value.size() != sizeof(int32_t)) return Err(EINVAL);
      return cm.SetAfOnly(id, number() != 0);
    case RDMA_OPTION_ID_ACK_TIMEOUT:
      if (value.size() != 1) return Err(EINVAL);
      return cm.SetAckTimeout(id, std::to_integer<uint8_t>(value[0]));
    default: return Err(ENOSYS);
  }
}

// ucma_set_ib_path(): the first record that is the primary path both ways.
Status SetOptionIbPath(Cm& cm, Id& id, std::span<const std::byte> value) {
  if (value.size() % sizeof(ib_path_rec_data) != 0) return Err(EINVAL);
  for (; !value.empty(); value = value.subspan(sizeof(ib_path_rec_data))) {
    ib_path_rec_data record;
    std::memcpy(&record, value.data(), sizeof(record));
    if (record.flags != (IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL)) continue;
    if (!id.nic) return Err(EINVAL);
    return cm.SetIbPath(id, PathRecord::Unpack(record.path_rec));
  }
  return Err(EINVAL);
}

Status SetOption(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_set_option>());
  if (cmd.optlen > kMaxOption) return Err(EINVAL);
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
  }
  std::vector<std::byte> value(cmd.optlen);
  CW_CHECK(call.task.memory().CopyFrom(value, cmd.optval));
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().Find(&call.file, cmd.id));
  switch (cmd.level) {
    case RDMA_OPTION_ID: return SetOptionId(call.cm(), *id, cmd.optname, value);
    case RDMA_OPTION_IB:
      if (cmd.optname != RDMA_OPTION_IB_PATH) return Err(ENOSYS);
      return SetOptionIbPath(call.cm(), *id, value);
    default: return Err(ENOSYS);
  }
}

Status Notify(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_notify>());
  const auto lock = call.cm().Lock();
  CW_TRY(const auto id, call.cm().FindBound(&call.file, cmd.id));
  return call.cm().Notify(*id, cmd.event);
}

Status ProcessJoin(const Call& call, const rdma_ucm_join_mcast& cmd) {
  if (call.out_len < sizeof(rdma_ucm_create_id_resp)) return Err(ENOSPC);
  const Address address(cmd.addr.bytes);
  if (cmd.addr_size != address.size()) return Err(EINVAL);
  if (cmd.join_flags != RDMA_MC_JOIN_FLAG_FULLMEMBER && cmd.join_flags != RDMA_MC_JOIN_FLAG_SENDONLY_FULLMEMBER) {
    return Err(EINVAL);
  }
  Ref<Multicast> mc;
  Ref<Id> owner;  // keeps mc->owner alive
  {
    const auto lock = call.cm().Lock();
    CW_TRY(owner, call.cm().FindBound(&call.file, cmd.id));
    const bool send_only = cmd.join_flags == RDMA_MC_JOIN_FLAG_SENDONLY_FULLMEMBER;
    CW_TRY(mc, call.cm().JoinMulticast(owner, address, send_only, cmd.uid));
  }
  const auto copied = call.task.memory().Write(cmd.response, rdma_ucm_create_id_resp{mc->id});
  if (!copied) {
    const auto lock = call.cm().Lock();
    if (owner->is_public) (void)call.cm().LeaveMulticast(mc);
  }
  return copied;
}

Status JoinIpMulticast(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_join_ip_mcast>());
  CW_TRY(const Address address, Parse(cmd.addr));
  rdma_ucm_join_mcast join = {.response = cmd.response,
                              .uid = cmd.uid,
                              .id = cmd.id,
                              .addr_size = static_cast<uint16_t>(address.size()),
                              .join_flags = RDMA_MC_JOIN_FLAG_FULLMEMBER,
                              .addr = {}};
  std::ranges::copy(cmd.addr.bytes, join.addr.bytes);
  return ProcessJoin(call, join);
}

Status JoinMulticast(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_join_mcast>());
  CW_CHECK(Parse(cmd.addr));
  return ProcessJoin(call, cmd);
}

Status LeaveMulticast(const Call& call) {
  if (call.out_len < sizeof(rdma_ucm_destroy_id_resp)) return Err(ENOSPC);
  CW_TRY(const auto cmd, call.Read<rdma_ucm_destroy_id>());
  rdma_ucm_destroy_id_resp resp = {};
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto mc, call.cm().FindMulticast(&call.file, cmd.id));
    resp.events_reported = call.cm().LeaveMulticast(mc);
  }
  return call.task.memory().Write(cmd.response, resp);
}

// Written to the new file; `fd` is the id's file now.
Status MigrateId(const Call& call) {
  CW_TRY(const auto cmd, call.Read<rdma_ucm_migrate_id>());
  if (cmd.fd > INT_MAX) return Err(ENOENT);
  const auto got = call.task.GetFile(static_cast<int>(cmd.fd));
  if (!got) return Err(ENOENT);
  const auto from = DynamicRefCast<UcmFile>(*got);
  if (!from) return Err(EINVAL);
  rdma_ucm_migrate_resp resp = {};
  {
    const auto lock = call.cm().Lock();
    CW_TRY(const auto id, call.cm().Find(from.get(), cmd.id));
    resp.events_reported = id->events_reported;
    call.cm().Migrate(id, &call.file);
  }
  return call.task.memory().Write(cmd.response, resp);
}

using Handler = Status (*)(const Call&);
constexpr Handler kCommands[] = {
    CreateId,         // CREATE_ID
    DestroyId,        // DESTROY_ID
    BindIp,           // BIND_IP
    ResolveIp,        // RESOLVE_IP
    ResolveRoute,     // RESOLVE_ROUTE
    QueryRoute,       // QUERY_ROUTE
    Connect,          // CONNECT
    Listen,           // LISTEN
    Accept,           // ACCEPT
    Reject,           // REJECT
    Disconnect,       // DISCONNECT
    InitQpAttr,       // INIT_QP_ATTR
    GetEvent,         // GET_EVENT
    nullptr,          // GET_OPTION
    SetOption,        // SET_OPTION
    Notify,           // NOTIFY
    JoinIpMulticast,  // JOIN_IP_MCAST
    LeaveMulticast,   // LEAVE_MCAST
    MigrateId,        // MIGRATE_ID
    Query,            // QUERY
    Bind,             // BIND
    ResolveAddr,      // RESOLVE_ADDR
    JoinMulticast,    // JOIN_MCAST
};
static_assert(std::size(kCommands) == RDMA_USER_CM_CMD_JOIN_MCAST + 1);

}  // namespace

UcmFile::~UcmFile() {
  const auto lock = cm_.Lock();
  while (!ids.empty()) (void)cm_.Destroy(Ref<Id>(ids.front()));
}

// ucma_write().
Result<int64_t> UcmFile::Write(kernel::Task& task, uint64_t buffer, uint64_t len) {
  if (len < sizeof(rdma_ucm_cmd_hdr)) return Err(EINVAL);
  CW_TRY(const auto header, task.memory().Read<rdma_ucm_cmd_hdr>(buffer));
  if (header.cmd >= std::size(kCommands)) return Err(EINVAL);
  if (header.in + sizeof(header) > len) return Err(EINVAL);
  const Handler handler = kCommands[header.cmd];
  if (handler == nullptr) return Err(ENOSYS);
  const Call call = {
      .file = *this, .task = task, .in = buffer + sizeof(header), .in_len = header.in, .out_len = header.out};
  CW_CHECK(handler(call));
  return static_cast<int64_t>(len);
}

kernel::FileStat UcmFile::Stat() const { return {.mode = S_IFCHR | 0666, .rdev_major = kMajor, .rdev_minor = kMinor}; }

}  // namespace causeway::rdma_cm
