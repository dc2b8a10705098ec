// SPDX-License-Identifier: Apache-2.0
#include "causeway/nic.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace causeway {

namespace detail {

struct NicState {
  std::string name;
  ibv_context* context = nullptr;
  ibv_pd* pd = nullptr;
  ibv_port_attr port = {};
  ibv_gid_entry gid = {};

  ~NicState() {
    if (pd != nullptr) (void)ibv_dealloc_pd(pd);
    if (context != nullptr) (void)ibv_close_device(context);
  }
};

}  // namespace detail

namespace {

constexpr uint8_t kPort = 1;
constexpr unsigned kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of one work request; the verbs' own limit is 2 GiB
constexpr uint8_t kReadsInFlight = 16;

// Which of a port's addresses to use: RoCE v2 before the rest; IPv4 before global IPv6 before link-local.
int Rank(const ibv_gid_entry& entry) {
  constexpr std::array<uint8_t, 12> kIpv4Mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  int rank = entry.gid_type == IBV_GID_TYPE_ROCE_V2 ? 4 : 0;
  if (memcmp(entry.gid.raw, kIpv4Mapped.data(), kIpv4Mapped.size()) == 0) {
    rank += 2;
  } else if (entry.gid.raw[0] != 0xfe) {
    rank += 1;
  }
  return rank;
}

void ChooseGid(detail::NicState& nic) {
  std::vector<ibv_gid_entry> table(static_cast<size_t>(std::max(nic.port.gid_tbl_len, 1)));
  const ssize_t count = ibv_query_gid_table(nic.context, table.data(), table.size(), 0);
  if (count < 0) throw Error(static_cast<int>(-count), "ibv_query_gid_table", nic.name);
  table.resize(static_cast<size_t>(count));
  std::erase_if(table, [](const ibv_gid_entry& entry) { return entry.port_num != kPort; });
  if (!table.empty()) {
    nic.gid =
        *std::max_element(table.begin(), table.end(), [](const auto& a, const auto& b) { return Rank(a) < Rank(b); });
  } else if (nic.port.link_layer == IBV_LINK_LAYER_ETHERNET) {
    throw Error(EADDRNOTAVAIL, "ibv_query_gid_table", nic.name, "give the NIC's network interface an address");
  }
}

struct FreeList {
  void operator()(ibv_device** list) const { ibv_free_device_list(list); }
};

}  // namespace

Nic Nic::Open(const std::string& name) {
  int count = 0;
  const std::unique_ptr<ibv_device*[], FreeList> list(ibv_get_device_list(&count));
  const std::string asked = name.empty() ? "any RDMA device" : name;
  if (!list || count == 0) {
    throw Error(list ? ENODEV : errno, "ibv_get_device_list", asked,
                "load the NIC's driver, or start this program with `causeway run --`");
  }
  ibv_device* device = nullptr;
  for (ibv_device* candidate : std::span(list.get(), static_cast<size_t>(count))) {
    const std::string_view own = ibv_get_device_name(candidate);
    if (name.empty() ? device == nullptr || own < ibv_get_device_name(device) : own == name) device = candidate;
  }
  if (device == nullptr) throw Error(ENODEV, "ibv_get_device_list", asked, "see ibv_devices for the names");

  auto state = std::make_shared<detail::NicState>();
  state->name = ibv_get_device_name(device);
  state->context = ibv_open_device(device);
  if (state->context == nullptr) throw Error(errno, "ibv_open_device", state->name);
  if (const int error = ibv_query_port(state->context, kPort, &state->port); error != 0) {
    throw Error(error, "ibv_query_port", state->name);
  }
  if (state->port.state != IBV_PORT_ACTIVE) {
    throw Error(ENETDOWN, "ibv_query_port", state->name, "bring the NIC's network interface up");
  }
  ChooseGid(*state);
  state->pd = ibv_alloc_pd(state->context);
  if (state->pd == nullptr) throw Error(errno, "ibv_alloc_pd", state->name);
  return Nic(std::move(state));
}

const std::string& Nic::name() const noexcept { return state_->name; }
ibv_context* Nic::context() const noexcept { return state_->context; }

MemoryRegion Nic::Register(std::span<std::byte> host) {
  MemoryRegion region;
  region.mr_ = ibv_reg_mr(state_->pd, host.data(), host.size(), static_cast<int>(kAccess));
  if (region.mr_ == nullptr) {
    throw Error(errno, "ibv_reg_mr", state_->name, errno == ENOMEM ? "raise the limit: ulimit -l" : "");
  }
  region.nic_ = state_;
  region.address_ = reinterpret_cast<uint64_t>(host.data());
  region.bytes_ = host.size();
  return region;
}

MemoryRegion Nic::Register(const DmaBuf& memory) { return Register(memory, 0, memory.bytes()); }

MemoryRegion Nic::Register(const DmaBuf& memory, uint64_t offset, uint64_t bytes) {
  MemoryRegion region;
  // iova: its offset in a page must be the buffer's.
  region.address_ = offset % 4096;
  region.mr_ = ibv_reg_dmabuf_mr(state_->pd, offset, bytes, region.address_, memory.fd(), static_cast<int>(kAccess));
  if (region.mr_ == nullptr) {
    const bool unreachable = errno == EOPNOTSUPP || errno == EPERM || errno == EREMOTEIO || errno == ENXIO;
    throw Error(errno, "ibv_reg_dmabuf_mr", state_->name,
                unreachable ? "this NIC cannot import dma-bufs, or PCIe does not let it reach the exporter "
                              "(`causeway explain` says why)"
                            : "");
  }
  region.nic_ = state_;
  region.bytes_ = bytes;
  return region;
}

MemoryRegion::MemoryRegion(MemoryRegion&& other) noexcept
    : nic_(std::move(other.nic_)),
      mr_(std::exchange(other.mr_, nullptr)),
      address_(other.address_),
      bytes_(other.bytes_) {}
MemoryRegion& MemoryRegion::operator=(MemoryRegion&& other) noexcept {
  std::swap(nic_, other.nic_);
  std::swap(mr_, other.mr_);
  std::swap(address_, other.address_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
MemoryRegion::~MemoryRegion() { Deregister(); }
void MemoryRegion::Deregister() noexcept {
  if (mr_ != nullptr) (void)ibv_dereg_mr(std::exchange(mr_, nullptr));
}

Connection Nic::NewConnection() {
  Connection connection;
  connection.nic_ = state_;
  connection.cq_ = ibv_create_cq(state_->context, 1, nullptr, nullptr, 0);
  if (connection.cq_ == nullptr) throw Error(errno, "ibv_create_cq", state_->name);
  ibv_qp_init_attr init = {};
  init.send_cq = init.recv_cq = connection.cq_;
  init.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = 0};
  init.qp_type = IBV_QPT_RC;
  init.sq_sig_all = 1;
  connection.qp_ = ibv_create_qp(state_->pd, &init);
  if (connection.qp_ == nullptr) throw Error(errno, "ibv_create_qp", state_->name);
  return connection;
}

Connection::Connection(Connection&& other) noexcept
    : nic_(std::move(other.nic_)), cq_(std::exchange(other.cq_, nullptr)), qp_(std::exchange(other.qp_, nullptr)) {}
Connection& Connection::operator=(Connection&& other) noexcept {
  std::swap(nic_, other.nic_);
  std::swap(cq_, other.cq_);
  std::swap(qp_, other.qp_);
  return *this;
}
Connection::~Connection() { Destroy(); }
void Connection::Destroy() noexcept {
  if (qp_ != nullptr) (void)ibv_destroy_qp(std::exchange(qp_, nullptr));
  if (cq_ != nullptr) (void)ibv_destroy_cq(std::exchange(cq_, nullptr));
}

Endpoint Connection::local() const noexcept {
  // Any PSN will do, as long as a new connection is not mistaken for an old one's.
  return {nic_->gid.gid, qp_->qp_num, (qp_->qp_num * 2654435761U) & 0xffffff,
          static_cast<uint32_t>(nic_->port.active_mtu)};
}

void Connection::Connect(const Endpoint& peer) {
  const auto modify = [&](ibv_qp_attr attr, int mask, const char* call, const char* hint) {
    if (const int error = ibv_modify_qp(qp_, &attr, mask); error != 0) throw Error(error, call, nic_->name, hint);
  };
  ibv_qp_attr attr = {};
  attr.qp_state = IBV_QPS_INIT;
  attr.port_num = kPort;
  attr.qp_access_flags = kAccess;
  modify(attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, "ibv_modify_qp(INIT)", "");

  attr = {};
  attr.qp_state = IBV_QPS_RTR;
  attr.path_mtu = static_cast<ibv_mtu>(std::min(peer.mtu, static_cast<uint32_t>(nic_->port.active_mtu)));
  attr.dest_qp_num = peer.qpn;
  attr.rq_psn = peer.psn;
  attr.max_dest_rd_atomic = kReadsInFlight;
  attr.min_rnr_timer = 12;
  attr.ah_attr.port_num = kPort;
  attr.ah_attr.is_global = 1;
  attr.ah_attr.grh.dgid = peer.gid;
  attr.ah_attr.grh.sgid_index = static_cast<uint8_t>(nic_->gid.gid_index);
  attr.ah_attr.grh.hop_limit = 64;
  modify(attr,
         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
             IBV_QP_MIN_RNR_TIMER,
         "ibv_modify_qp(RTR)", "the peer's address must be reachable from this NIC's");

  attr = {};
  attr.qp_state = IBV_QPS_RTS;
  attr.timeout = 14;
  attr.retry_cnt = 7;
  attr.rnr_retry = 7;
  attr.sq_psn = local().psn;
  attr.max_rd_atomic = kReadsInFlight;
  modify(attr,
         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
         "ibv_modify_qp(RTS)", "");
}

void Connection::Write(const MemoryRegion& from, uint64_t from_offset, const RemoteRegion& to, uint64_t to_offset,
                       uint64_t bytes) {
  Run(IBV_WR_RDMA_WRITE, from, from_offset, to, to_offset, bytes);
}
void Connection::Read(const MemoryRegion& to, uint64_t to_offset, const RemoteRegion& from, uint64_t from_offset,
                      uint64_t bytes) {
  Run(IBV_WR_RDMA_READ, to, to_offset, from, from_offset, bytes);
}

void Connection::Run(ibv_wr_opcode opcode, const MemoryRegion& local, uint64_t local_offset, const RemoteRegion& remote,
                     uint64_t remote_offset, uint64_t bytes) {
  const char* call = opcode == IBV_WR_RDMA_READ ? "RDMA read" : "RDMA write";
  for (uint64_t done = 0; done < bytes;) {
    const uint64_t now = std::min(bytes - done, kMostBytes);
    ibv_sge sge = {local.address_ + local_offset + done, static_cast<uint32_t>(now), local.mr_->lkey};
    ibv_send_wr request = {};
    request.sg_list = &sge;
    request.num_sge = 1;
    request.opcode = opcode;
    request.wr.rdma.remote_addr = remote.address + remote_offset + done;
    request.wr.rdma.rkey = remote.rkey;
    ibv_send_wr* bad = nullptr;
    if (const int error = ibv_post_send(qp_, &request, &bad); error != 0) {
      throw Error(error, "ibv_post_send", nic_->name, "the connection is not up");
    }
    ibv_wc completion = {};
    int count;
    do {
      count = ibv_poll_cq(cq_, 1, &completion);
    } while (count == 0);
    if (count < 0) throw Error(EIO, "ibv_poll_cq", nic_->name);
    if (completion.status != IBV_WC_SUCCESS) {
      throw Error(EREMOTEIO, call, nic_->name, ibv_wc_status_str(completion.status));
    }
    done += now;
  }
}

}  // namespace causeway
