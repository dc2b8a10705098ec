// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/device.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "drivers/infiniband/net_monitor.h"
#include "drivers/infiniband/uverbs_file.h"

namespace causeway::infiniband {
namespace {

// Locally administered; distinct for each NIC of a machine.
Mac MadeUpMac(uint32_t number) {
  return {0x02, 0xca, 0x05, 0xe0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)};
}

// Only UD queue pairs can be in a multicast group.
NicConfig Consistent(NicConfig config) {
  if (!config.capabilities.ud) config.capabilities.multicast = false;
  return config;
}

uint32_t PossibleCpus() {
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  return cpus > 0 ? static_cast<uint32_t>(cpus) : 1;
}

}  // namespace

void EventRouter::AddCq(uint32_t cq, CqSinks sinks) {
  const std::lock_guard lock(mutex_);
  cqs_.insert_or_assign(cq, std::move(sinks));
}
void EventRouter::RemoveCq(uint32_t cq) {
  std::unique_lock lock(mutex_);
  const auto gone = cqs_.extract(cq);  // dropped without the lock: it may be the file's last reference
  lock.unlock();
}
void EventRouter::AddQp(uint32_t qpn, Sink sink) {
  const std::lock_guard lock(mutex_);
  qps_.insert_or_assign(qpn, std::move(sink));
}
void EventRouter::RemoveQp(uint32_t qpn) {
  std::unique_lock lock(mutex_);
  const auto gone = qps_.extract(qpn);
  lock.unlock();
}

void EventRouter::AddSrq(uint32_t srq, Sink sink) {
  const std::lock_guard lock(mutex_);
  srqs_.insert_or_assign(srq, std::move(sink));
}
void EventRouter::RemoveSrq(uint32_t srq) {
  std::unique_lock lock(mutex_);
  const auto gone = srqs_.extract(srq);
  lock.unlock();
}

// An object may be destroyed between the look-up and the push: its counter is dead then, and the push does nothing.
void EventRouter::Raise(const Sink& sink, uint32_t event_type) {
  if (sink.file) sink.file->Push(sink.user_handle, event_type, sink.counter);
}
void EventRouter::Completion(uint32_t cq) {
  std::unique_lock lock(mutex_);
  const auto it = cqs_.find(cq);
  const Sink sink = it == cqs_.end() ? Sink{} : it->second.completion;
  lock.unlock();
  Raise(sink, 0);
}
void EventRouter::CqError(uint32_t cq) {
  std::unique_lock lock(mutex_);
  const auto it = cqs_.find(cq);
  const Sink sink = it == cqs_.end() ? Sink{} : it->second.async;
  lock.unlock();
  Raise(sink, uapi::IB_EVENT_CQ_ERR);
}
void EventRouter::QpEvent(uint32_t qpn, roce::QpEvent event) {
  std::unique_lock lock(mutex_);
  const auto it = qps_.find(qpn);
  const Sink sink = it == qps_.end() ? Sink{} : it->second;
  lock.unlock();
  switch (event) {
    case roce::QpEvent::kSqDrained: return Raise(sink, uapi::IB_EVENT_SQ_DRAINED);
    case roce::QpEvent::kLastWqeReached: return Raise(sink, uapi::IB_EVENT_QP_LAST_WQE_REACHED);
  }
}

void EventRouter::SrqLimit(uint32_t srq) {
  std::unique_lock lock(mutex_);
  const auto it = srqs_.find(srq);
  const Sink sink = it == srqs_.end() ? Sink{} : it->second;
  lock.unlock();
  Raise(sink, uapi::IB_EVENT_SRQ_LIMIT_REACHED);
}

IbCore::IbCore(roce::NicDevices& nics, pci::Bus& bus, kernel::Readiness& readiness, const Config& config)
    : nics_(nics),
      bus_(bus),
      readiness_(readiness),
      enforce_memlock_(config.enforce_memlock),
      address_timeout_(config.address_timeout),
      num_comp_vectors_(PossibleCpus()) {}

IbCore::~IbCore() {
  const std::lock_guard lock(resolve_mutex_);
  stopping_ = true;
  resolve_done_.notify_all();
}

void IbCore::AddDevice(std::unique_ptr<IbDevice> device) { devices_.push_back(std::move(device)); }

Result<uint16_t> IbCore::ResolveAddress(const IbDevice& from, const Gid& sgid, const Gid& dgid, uint32_t dest_qpn) {
  if (IsMulticast(dgid)) return roce::kNoNic;
  if (IsV4Mapped(sgid) != IsV4Mapped(dgid)) return Err(EINVAL);  // addr.c rdma_resolve_ip()
  const IbDevice* found = nullptr;
  if (dest_qpn < roce::kMaxQps && nics_.qp(dest_qpn).valid.load(std::memory_order_acquire) != 0) {
    for (const auto& device : devices_) {
      if (device->nic() == nics_.qp(dest_qpn).nic && device->gids().Holds(dgid)) found = device.get();
    }
  }
  if (found == nullptr && from.gids().Holds(dgid)) found = &from;
  if (found == nullptr) {
    const auto it = std::ranges::find_if(devices_, [&](const auto& device) { return device->gids().Holds(dgid); });
    if (it != devices_.end()) found = it->get();
  }
  if (found != nullptr) return static_cast<uint16_t>(found->nic());
  std::unique_lock lock(resolve_mutex_);
  resolve_done_.wait_for(lock, address_timeout_, [&] { return stopping_; });
  return Err(ETIMEDOUT);
}

Status IbCore::PinPages(pid_t pid, uint64_t pages, uint64_t limit) {
  const std::lock_guard lock(pinned_mutex_);
  uint64_t& pinned = pinned_pages_[pid];
  if (pages > limit || pinned > limit - pages) return Err(ENOMEM);
  pinned += pages;
  return {};
}

void IbCore::UnpinPages(pid_t pid, uint64_t pages) {
  const std::lock_guard lock(pinned_mutex_);
  const auto it = pinned_pages_.find(pid);
  if (it == pinned_pages_.end()) return;
  it->second -= std::min(it->second, pages);
  if (it->second == 0) pinned_pages_.erase(it);
}

// Bits by ib_wr_opcode.
static uint32_t AbsentOpcodes(const Capabilities& has) {
  uint32_t absent = 0;
  if (!has.atomics) absent |= 1u << uapi::IB_WR_ATOMIC_CMP_AND_SWP | 1u << uapi::IB_WR_ATOMIC_FETCH_AND_ADD;
  if (!has.atomic_write) absent |= 1u << uapi::IB_WR_ATOMIC_WRITE;
  if (!has.flush) absent |= 1u << uapi::IB_WR_FLUSH;
  return absent;
}

IbDevice::IbDevice(IbCore& core, const NicConfig& config, uint32_t number, NetDevice netdev)
    : core_(core),
      config_(Consistent(config)),
      number_(number),
      nic_(core.nics().AddNic(AbsentOpcodes(config.capabilities))),
      mac_(config.mac.value_or(MadeUpMac(number))),
      netdev_(netdev.name),
      ifindex_(netdev.ifindex),
      net_mtu_(netdev.mtu),
      gids_(mac_, netdev),
      last_link_(QueryLink(netdev_)) {
  core.nics().SetPort(nic_, 128u << active_mtu(), netdev.ifindex);
}

std::optional<uint32_t> IbDevice::ChangeAddress(const Gid& address, bool present) {
  const auto index = present ? gids_.Add(address) : gids_.Remove(address);
  if (index) RaisePortEvent(uapi::IB_EVENT_GID_CHANGE);
  return index;
}

std::vector<uint32_t> IbDevice::ResyncAddresses() {
  std::vector<uint32_t> changed;
  const auto note = [&](std::optional<uint32_t> index) {
    if (index) changed.push_back(*index);
  };
  const auto found = FindNetDevice(netdev_);
  const std::vector<Gid> now = found ? found->addresses : std::vector<Gid>();
  for (const GidTable::Entry& entry : gids_.filled()) {
    if (std::ranges::find(now, entry.gid) == now.end()) note(ChangeAddress(entry.gid, false));
  }
  for (const Gid& address : now) note(ChangeAddress(address, true));
  return changed;
}

std::vector<uint32_t> IbDevice::Resync() {
  auto changed = ResyncAddresses();
  const auto found = FindNetDevice(netdev_);
  ChangeLink(found ? found->ifindex : 0, found ? found->mtu : 0, QueryLink(netdev_));
  return changed;
}

std::vector<uint32_t> IbDevice::AwaitAddressesGone() {
  constexpr std::chrono::milliseconds kPatience(100);  // addresses may be kept (keep_addr_on_down)
  AwaitAddresses(kPatience, [this] {
    const auto found = FindNetDevice(netdev_);
    return !found || std::ranges::all_of(found->addresses, IsV4Mapped);
  });
  return ResyncAddresses();
}

void IbDevice::ChangeLink(uint32_t ifindex, uint32_t mtu, LinkState state) {
  ifindex_.store(ifindex, std::memory_order_relaxed);
  if (mtu != 0) net_mtu_.store(mtu, std::memory_order_relaxed);
  core_.nics().SetPort(nic_, 128u << active_mtu(), ifindex);
  const bool was_up = std::exchange(last_link_, state) == LinkState::kUp;
  if (const bool is_up = state == LinkState::kUp; is_up != was_up) {
    if (was_up) core_.nics().CountLinkDowned(nic_);
    RaisePortEvent(is_up ? uapi::IB_EVENT_PORT_ACTIVE : uapi::IB_EVENT_PORT_ERR);
  }
}

void IbDevice::RaisePortEvent(uint32_t event_type) {
  ForEachFile([&](UverbsFile& file) {
    if (const auto async = file.default_async()) async->Push(kPort, event_type, {});
  });
}

void IbDevice::AddFile(UverbsFile* file) {
  const std::lock_guard lock(files_mutex_);
  files_.push_back(file);
}
void IbDevice::RemoveFile(UverbsFile* file) {
  const std::lock_guard lock(files_mutex_);
  std::erase(files_, file);
}

// rxe_init_device_param() of linux v6.12: RXE_DEVICE_CAP_FLAGS.
uint64_t IbDevice::DeviceCapFlags() const {
  constexpr uint64_t kUdAvPortEnforce = 1u << 6, kSrqResize = 1u << 13, kMemWindow = 1u << 17;
  constexpr uint64_t kMemWindowType2b = 1u << 24;
  constexpr uint64_t kFlushGlobal = uint64_t{1} << 38, kFlushPersistent = uint64_t{1} << 39;
  constexpr uint64_t kAtomicWrite = uint64_t{1} << 40;
  uint64_t flags = 0x1c001223c76;
  if (!Has(&Capabilities::ud)) flags &= ~kUdAvPortEnforce;
  if (!Has(&Capabilities::srq)) flags &= ~kSrqResize;
  if (!Has(&Capabilities::mw)) flags &= ~(kMemWindow | kMemWindowType2b);
  if (!Has(&Capabilities::flush)) flags &= ~(kFlushGlobal | kFlushPersistent);
  if (!Has(&Capabilities::atomic_write)) flags &= ~kAtomicWrite;
  return flags;
}

// rxe_init_device_param() of kernels later than 6.12, without IB_ODP_SUPPORT_IMPLICIT.
uapi::ib_uverbs_odp_caps IbDevice::OdpCaps() const {
  using namespace uapi;
  ib_uverbs_odp_caps caps = {};
  if (!Has(&Capabilities::odp)) return caps;
  caps.general_caps = IB_ODP_SUPPORT;
  caps.rc_odp_caps = IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV | IB_ODP_SUPPORT_WRITE | IB_ODP_SUPPORT_READ;
  if (Has(&Capabilities::atomics)) caps.rc_odp_caps |= IB_ODP_SUPPORT_ATOMIC;
  if (Has(&Capabilities::flush)) caps.rc_odp_caps |= IB_ODP_SUPPORT_FLUSH;
  if (Has(&Capabilities::atomic_write)) caps.rc_odp_caps |= IB_ODP_SUPPORT_ATOMIC_WRITE;
  if (Has(&Capabilities::ud)) caps.ud_odp_caps = IB_ODP_SUPPORT_SEND | IB_ODP_SUPPORT_RECV;
  if (Has(&Capabilities::srq)) {
    caps.rc_odp_caps |= IB_ODP_SUPPORT_SRQ_RECV;
    if (caps.ud_odp_caps != 0) caps.ud_odp_caps |= IB_ODP_SUPPORT_SRQ_RECV;
  }
  return caps;
}

// rxe.c rxe_init_device_param(), linux v6.1.
uapi::ib_uverbs_query_device_resp IbDevice::QueryDevice() const {
  uapi::ib_uverbs_query_device_resp attr = {};
  const auto guid = Eui64(mac_);
  std::memcpy(&attr.node_guid, guid.data(), sizeof(attr.node_guid));
  std::memcpy(&attr.sys_image_guid, guid.data(), sizeof(attr.sys_image_guid));
  attr.max_mr_size = ~uint64_t{0};
  attr.page_size_cap = 0xfffff000;
  attr.vendor_id = 0xffffff;
  attr.max_qp = 1048560;
  attr.max_qp_wr = kMaxQpWr;
  attr.device_cap_flags = static_cast<uint32_t>(DeviceCapFlags());
  attr.max_sge = kMaxSge;
  attr.max_sge_rd = kMaxSge;
  attr.max_cq = 1048576;
  attr.max_cqe = kMaxCqe;
  attr.max_mr = 524287;
  attr.max_pd = 1048576;
  attr.max_qp_rd_atom = kMaxQpRdAtom;
  attr.max_res_rd_atom = 258048;
  attr.max_qp_init_rd_atom = kMaxQpRdAtom;
  attr.atomic_cap = Has(&Capabilities::atomics) ? 1 : 0;
  if (Has(&Capabilities::mw)) attr.max_mw = 524287;
  if (Has(&Capabilities::multicast)) {
    attr.max_mcast_grp = 8192;
    attr.max_mcast_qp_attach = 56;
    attr.max_total_mcast_qp_attach = 458752;
  }
  if (Has(&Capabilities::ud)) attr.max_ah = 32767;
  if (Has(&Capabilities::srq)) {
    attr.max_srq = 917503;
    attr.max_srq_wr = kMaxSrqWr;
    attr.max_srq_sge = kMaxSrqSge;
  }
  attr.max_pkeys = 64;
  attr.local_ca_ack_delay = 15;
  attr.phys_port_cnt = 1;
  return attr;
}

uapi::ib_uverbs_query_port_resp IbDevice::QueryPort() const {
  uapi::ib_uverbs_query_port_resp port = {};
  const LinkState state = link();
  const LinkRate speed = rate();
  port.port_cap_flags = 0x00010000;  // IB_UVERBS_PCF_CM_SUP
  port.max_msg_sz = 0x80000000;
  port.gid_tbl_len = GidTable::kLength;
  port.pkey_tbl_len = 1;
  port.state = state == LinkState::kUp ? 4 : 1;  // ACTIVE, DOWN
  port.max_mtu = kMaxMtu;
  port.active_mtu = active_mtu();
  port.max_vl_num = 1;
  port.active_width = speed.width;
  port.active_speed = speed.speed;
  port.phys_state = state == LinkState::kUp ? 5 : state == LinkState::kNoCarrier ? 2 : 3;  // LinkUp, Polling, Disabled
  port.link_layer = 2;                                                                     // Ethernet
  port.flags = 1;                                                                          // IB_UVERBS_QPF_GRH_REQUIRED
  return port;
}

}  // namespace causeway::infiniband
