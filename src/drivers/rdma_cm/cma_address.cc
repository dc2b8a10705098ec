// SPDX-License-Identifier: Apache-2.0
// Addresses, ports and options of ids: linux v6.1 drivers/infiniband/core/cma.c and addr.c, function by function.
#include <endian.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>

#include "drivers/rdma_cm/cm.h"

namespace causeway::rdma_cm {
namespace {

constexpr uint16_t kProtSock = 1024;                         // PROT_SOCK
constexpr uint8_t kPacketLifeTime = 18;                      // CMA_IBOE_PACKET_LIFETIME
constexpr uint32_t kFlowLabelMask = 0xfffff;                 // IB_GRH_FLOWLABEL_MASK
constexpr uint64_t kIbIpPsMask = 0xFFFFFFFFFFFF0000;         // RDMA_IB_IP_PS_MASK
constexpr uint64_t kIbIpPsTcp = 0x0000000001060000;          // RDMA_IB_IP_PS_TCP
constexpr uint64_t kIbIpPsUdp = 0x0000000001110000;          // RDMA_IB_IP_PS_UDP
constexpr uint64_t kIbIpPsIb = 0x00000000013F0000;           // RDMA_IB_IP_PS_IB
constexpr uint32_t kIboeHeaders = 40 + 8 + 12 + 4 + 28 + 4;  // iboe_get_mtu()

uint32_t Random(uint32_t below) {
  uint32_t value = 0;
  (void)!::getrandom(&value, sizeof(value), 0);
  return value % below;
}

// iboe_get_mtu(): enum ib_mtu, 0 when not even 256 bytes fit.
uint8_t IboeMtu(uint32_t mtu) {
  if (mtu < kIboeHeaders) return 0;
  for (uint8_t value = 5; value >= 1; --value) {
    if (mtu - kIboeHeaders >= (128u << value)) return value;
  }
  return 0;
}

// cma_select_ib_ps(). 0: none fits.
uint16_t SelectIbPs(Id& id) {
  uapi::sockaddr_ib sib = id.src.ib();
  const uint64_t mask = be64toh(sib.sib_sid_mask) & kIbIpPsMask;
  const uint64_t sid = be64toh(sib.sib_sid) & mask;
  uint64_t sid_ps = 0;
  uint16_t ps = 0;
  if (id.ps == uapi::RDMA_PS_IB && sid == (kIbIpPsIb & mask)) {
    sid_ps = kIbIpPsIb;
    ps = uapi::RDMA_PS_IB;
  } else if ((id.ps == uapi::RDMA_PS_IB || id.ps == uapi::RDMA_PS_TCP) && sid == (kIbIpPsTcp & mask)) {
    sid_ps = kIbIpPsTcp;
    ps = uapi::RDMA_PS_TCP;
  } else if ((id.ps == uapi::RDMA_PS_IB || id.ps == uapi::RDMA_PS_UDP) && sid == (kIbIpPsUdp & mask)) {
    sid_ps = kIbIpPsUdp;
    ps = uapi::RDMA_PS_UDP;
  }
  if (ps != 0) {
    sib.sib_sid = htobe64(sid_ps | id.src.port());
    sib.sib_sid_mask = htobe64(kIbIpPsMask | be64toh(sib.sib_sid_mask));
    id.src.set_ib(sib);
  }
  return ps;
}

}  // namespace

// cma_comp_exch(), as a Status: EINVAL in another state.
Status Cm::CompExch(Id& id, State from, State to) {
  if (id.state != from) return Err(EINVAL);
  id.state = to;
  return {};
}

// cma_any_addr(): loopback addresses count as wildcards there, because no RDMA device has them. Where a NIC sits on the
// loopback interface, which Linux does not do, it has them, and they are addresses like others.
bool Cm::IsAny(const Address& address) const {
  if (address.IsZero()) return true;
  if (!address.IsLoopback()) return false;
  for (size_t nic = 0; nic < nics_.count(); ++nic) {
    if (nics_.GidIndex(nic, address.gid())) return false;
  }
  return true;
}

// Which NIC takes what `from` sends to a GID: itself when it has it, else the first that has.
std::optional<size_t> Cm::FindNicOf(size_t from, const Gid& gid) const {
  if (from < nics_.count() && nics_.GidIndex(from, gid)) return from;
  for (size_t nic = 0; nic < nics_.count(); ++nic) {
    if (nics_.GidIndex(nic, gid)) return nic;
  }
  return std::nullopt;
}

// cma_acquire_dev_by_src_ip().
Status Cm::AcquireDevice(Id& id) {
  if (id.ps == uapi::RDMA_PS_IPOIB) return Err(EINVAL);
  if (id.src.is_ib()) return Err(ENODEV);  // ARPHRD_INFINIBAND, which no RoCE port is
  for (size_t nic = 0; nic < nics_.count(); ++nic) {
    if (nics_.Info(nic).ifindex != id.bound_if || !nics_.GidIndex(nic, id.src.gid())) continue;
    AttachDevice(id, nic);
    return {};
  }
  return Err(ENODEV);
}

// cma_attach_to_dev(), rdma_restrack_add().
void Cm::AttachDevice(Id& id, size_t nic) {
  id.nic = nic;
  id.port_num = 1;
  id.res_id = NextResId(nic);
}

uint32_t Cm::NextResId(size_t nic) {
  if (next_res_ids_.size() <= nic) next_res_ids_.resize(nics_.count());
  return next_res_ids_[nic]++;
}

void Cm::ReleaseDevice(Id& id) { id.nic.reset(); }

Status Cm::BindAddr(Id& id, const Address& address, bool may_use_low_ports) {
  return BindAddrDst(id, address, nullptr, may_use_low_ports);
}

// rdma_bind_addr_dst(). `dst` empty: the id's own.
Status Cm::BindAddrDst(Id& id, Address address, const Address* dst, bool may_use_low_ports) {
  if (address.size() == 0) return Err(EAFNOSUPPORT);
  CW_CHECK(CompExch(id, State::kIdle, State::kAddrBound));
  const auto fail = [&](Errno error) {
    id.state = State::kIdle;
    return Err(error);
  };
  if (address.IsLinkLocal()) {  // cma_check_linklocal()
    if (address.scope_id() == 0) return fail(Errno(EINVAL));
    id.bound_if = address.scope_id();
  }
  id.src.CopyFrom(address);
  if (!IsAny(address)) {
    if (id.bound_if == 0 && !address.is_ib()) {  // rdma_translate_ip()
      const auto device = network_.DeviceOf(address);
      if (!device) return fail(device.error());
      id.bound_if = *device;
    }
    if (const auto acquired = AcquireDevice(id); !acquired) return fail(acquired.error());
  }
  if (!id.afonly_set) {
    if (address.family() == AF_INET) id.afonly = true;
    if (address.family() == AF_INET6) id.afonly = network_.BindV6Only();
  }
  if (dst != nullptr) {
    Address copy = *dst;
    copy.set_family(address.family());  // as many bytes as the source has
    id.dst.CopyFrom(copy);
  }
  id.dst.set_family(address.family());
  if (const auto port = GetPort(id, may_use_low_ports); !port) {
    ReleaseDevice(id);
    return fail(port.error());
  }
  return {};
}

// rdma_resolve_addr() with resolve_prepare_src() and cma_bind_addr().
Status Cm::ResolveAddr(const Ref<Id>& ref, const Address& src, const Address& dst, uint32_t timeout_ms,
                       bool may_use_low_ports) {
  Id& id = *ref;
  if (!CompExch(id, State::kAddrBound, State::kAddrQuery)) {
    Address source = src;
    if (src.family() == 0) {
      source = Address::Any(dst.family());
      if (dst.family() == AF_INET6) {
        // The scope goes into the source as well.
        Address scoped = dst;
        scoped.set_ip(Gid{});
        scoped.set_port(0);
        source.CopyFrom(scoped);
        if (dst.IsLinkLocal()) id.bound_if = dst.scope_id();
      } else if (dst.is_ib()) {
        uapi::sockaddr_ib any = {};
        any.sib_family = uapi::kAfIb;
        any.sib_pkey = dst.ib().sib_pkey;
        source.set_ib(any);
      }
    }
    CW_CHECK(BindAddrDst(id, source, &dst, may_use_low_ports));
    CW_CHECK(CompExch(id, State::kAddrBound, State::kAddrQuery));
  } else {
    id.dst.CopyFrom(dst);
  }
  const auto fail = [&](Errno error) {
    id.state = State::kAddrBound;
    return Err(error);
  };
  if (id.src.family() != dst.family()) return fail(Errno(EINVAL));

  if (IsAny(dst)) {  // cma_resolve_loopback()
    if (!id.nic) {
      if (const auto bound = BindLoopback(id); !bound) return fail(bound.error());
    }
    id.state = State::kAddrResolved;
    QueueEvent(ref, {.event = uapi::RDMA_CM_EVENT_ADDR_RESOLVED});
    return {};
  }
  if (dst.is_ib()) {  // cma_resolve_ib_addr()
    if (!id.nic) {
      for (size_t nic = 0; nic < nics_.count() && !id.nic; ++nic) {
        if (be16toh(dst.ib().sib_pkey) == 0xffff && nics_.GidIndex(nic, dst.gid())) AttachDevice(id, nic);
      }
      if (!id.nic) return fail(Errno(ENODEV));
      id.src.set_ib([&] {
        uapi::sockaddr_ib own = id.src.ib();
        std::ranges::copy(dst.gid(), own.sib_addr);
        return own;
      }());
    }
    id.state = State::kAddrResolved;
    QueueEvent(ref, {.event = uapi::RDMA_CM_EVENT_ADDR_RESOLVED});
    return {};
  }

  const auto route = network_.FindRoute(id.src, dst, id.bound_if);
  if (!route) return fail(route.error());
  if (id.bound_if == 0) id.bound_if = route->ifindex;
  id.hop_limit = route->hop_limit;
  Address source = id.src;
  source.set_ip(route->source);
  if (FindNeighbour(id)) {
    AddressResolved(id, 0, source);
    return {};
  }
  // Nobody answers: there is no wire yet, so nobody will, unless a NIC gets this address in the meantime.
  const uint64_t timer = id.resolve_timer = next_timer_++;
  timers_.After(std::chrono::milliseconds(timeout_ms), [this, ref, timer, source] {
    const auto lock = Lock();
    if (ref->resolve_timer != timer || ref->state != State::kAddrQuery) return;
    AddressResolved(*ref, FindNeighbour(*ref) ? 0 : -ETIMEDOUT, source);
  });
  return {};
}

// addr_resolve_neigh(): the link-layer address of the destination. False: nobody has it.
bool Cm::FindNeighbour(Id& id) const {
  const Gid gid = id.dst.gid();
  if (id.dst.IsMulticast()) {  // ip_eth_mc_map(), ipv6_eth_mc_map()
    if (id.dst.family() == AF_INET) {
      id.dst_mac = {0x01, 0x00, 0x5e, static_cast<uint8_t>(gid[13] & 0x7f), gid[14], gid[15]};
    } else {
      id.dst_mac = {0x33, 0x33, gid[12], gid[13], gid[14], gid[15]};
    }
    return true;
  }
  const auto nic = FindNicOf(id.nic.value_or(0), gid);
  if (nic) id.dst_mac = nics_.Info(*nic).mac;
  return nic.has_value();
}

// addr_handler().
void Cm::AddressResolved(Id& id, int status, const Address& source) {
  if (!CompExch(id, State::kAddrQuery, State::kAddrResolved)) return;
  const Address before = id.src;
  id.src.CopyFrom(source);
  if (status == 0 && !id.nic) {
    if (const auto acquired = AcquireDevice(id); !acquired) status = -acquired.error().code();
  }
  const auto ref = Ref<Id>::Share(&id);
  if (status == 0) return QueueEvent(ref, {.event = uapi::RDMA_CM_EVENT_ADDR_RESOLVED});
  id.src.CopyFrom(before);
  id.state = State::kAddrBound;
  QueueEvent(ref, {.event = uapi::RDMA_CM_EVENT_ADDR_ERROR, .status = status});
}

// cma_bind_loopback(): the first NIC whose port is active, else the first. No net device is bound, so that a route over
// it cannot be resolved on RoCE.
Status Cm::BindLoopback(Id& id) {
  if (nics_.count() == 0) return Err(ENODEV);
  size_t chosen = 0;
  for (size_t nic = 0; nic < nics_.count(); ++nic) {
    if (!nics_.Active(nic)) continue;
    chosen = nic;
    break;
  }
  AttachDevice(id, chosen);
  Gid loopback = {};
  loopback[15] = 1;
  if (id.src.family() == AF_INET) loopback[12] = 127;
  if (id.src.is_ib()) {
    uapi::sockaddr_ib sib = id.src.ib();
    std::ranges::copy(loopback, sib.sib_addr);
    id.src.set_ib(sib);
  } else {
    id.src.set_ip(loopback);
  }
  return {};
}

// rdma_resolve_route(), cma_resolve_iboe_route().
Status Cm::ResolveRoute(Id& id, uint32_t timeout_ms) {
  if (timeout_ms == 0) return Err(EINVAL);
  CW_CHECK(CompExch(id, State::kAddrResolved, State::kRouteQuery));
  const auto fail = [&](Errno error) {
    id.state = State::kAddrResolved;
    return Err(error);
  };
  if (id.bound_if == 0) return fail(Errno(ENODEV));
  PathRecord path;
  path.dmac = id.dst_mac;  // cma_iboe_set_path_rec_l2_fields()
  path.sgid = id.src.gid();
  path.dgid = id.dst.gid();
  path.hop_limit = id.hop_limit;
  path.traffic_class = id.tos.value_or(0);
  path.mtu = IboeMtu(nics_.Info(*id.nic).mtu);
  if (path.mtu == 0) return fail(Errno(EINVAL));
  path.packet_life_time = id.ack_timeout.value_or(0) != 0 ? static_cast<uint8_t>(*id.ack_timeout - 1) : kPacketLifeTime;
  // cma_get_roce_udp_flow_label()
  path.flow_label = id.src.flow_info() & kFlowLabelMask;
  if (id.src.family() != AF_INET6 || path.flow_label == 0) {
    path.flow_label = (uint32_t{id.src.port()} * 31 + id.dst.port()) & kFlowLabelMask;
  }
  id.path = path;
  id.state = State::kRouteResolved;
  QueueEvent(Ref<Id>::Share(&id), {.event = uapi::RDMA_CM_EVENT_ROUTE_RESOLVED});
  return {};
}

// ucma_set_ib_path(), rdma_set_ib_path().
Status Cm::SetIbPath(Id& id, const PathRecord& path) {
  CW_CHECK(CompExch(id, State::kAddrResolved, State::kRouteResolved));
  if (id.bound_if == 0) {
    id.state = State::kAddrResolved;
    return Err(ENODEV);
  }
  id.path = path;
  id.path->dmac = id.dst_mac;
  QueueEvent(Ref<Id>::Share(&id), {.event = uapi::RDMA_CM_EVENT_ROUTE_RESOLVED});
  return {};
}

uint64_t Cm::ServiceId(const Id& id, const Address& address) const {
  if (address.is_ib()) return be64toh(address.ib().sib_sid);
  return (uint64_t{id.ps} << 16) + address.port();
}

// rdma_listen().
Status Cm::Listen(Id& id, bool may_use_low_ports) {
  if (!CompExch(id, State::kAddrBound, State::kListen)) {
    CW_CHECK(BindAddr(id, Address::Any(AF_INET), may_use_low_ports));
    CW_CHECK(CompExch(id, State::kAddrBound, State::kListen));
  }
  if (id.reuseaddr) {
    if (const auto checked = CheckPort(*id.bind_list, id, false); !checked) {
      id.state = State::kAddrBound;
      return Err(checked.error());
    }
    id.reuseaddr = false;
  }
  // Without a device it listens on all of them (cma_listen_on_all()): FindListener() sees it by its state.
  if (id.nic) {
    NewConnection(id).state = CmState::kListen;
  } else {
    for (size_t nic = 0; nic < nics_.count(); ++nic) id.listen_res_ids.push_back(NextResId(nic));
  }
  return {};
}

Status Cm::SetReuseAddr(Id& id, bool on) {
  if ((!on || id.state == State::kListen) && id.state != State::kIdle) return Err(EINVAL);
  id.reuseaddr = on;
  return {};
}

Status Cm::SetAfOnly(Id& id, bool on) {
  if (id.state != State::kIdle && id.state != State::kAddrBound) return Err(EINVAL);
  id.afonly_set = true;
  id.afonly = on;
  return {};
}

Status Cm::SetAckTimeout(Id& id, uint8_t timeout) {
  if (id.qp_type != kQptRc && id.qp_type != 9 /* IB_QPT_XRC_INI */) return Err(EINVAL);
  id.ack_timeout = timeout;
  return {};
}

// ---- ports

BindList* Cm::FindPort(uint16_t ps, uint16_t port) const {
  const auto it = ports_.find({ps, port});
  return it == ports_.end() ? nullptr : it->second.get();
}

void Cm::BindPort(BindList& list, Id& id) {
  id.src.set_port(list.port);
  id.bind_list = &list;
  list.owners.push_front(&id);
}

Status Cm::AllocPort(uint16_t ps, Id& id, uint16_t port) {
  auto& list = ports_[{ps, port}];
  list = std::make_unique<BindList>(BindList{.ps = ps, .port = port, .owners = {}});
  BindPort(*list, id);
  return {};
}

void Cm::ReleasePort(Id& id) {
  BindList* const list = std::exchange(id.bind_list, nullptr);
  if (list == nullptr) return;
  list->owners.remove(&id);
  if (list->owners.empty()) ports_.erase({list->ps, list->port});
}

// cma_port_is_unique().
bool Cm::PortIsUnique(const BindList& list, const Id& id) const {
  return std::ranges::none_of(list.owners, [&](const Id* other) {
    if (other == &id) return false;
    if (id.dst.port() != 0 && other->dst.port() != 0 && id.dst.port() != other->dst.port()) return false;
    const auto different = [this](const Address& a, const Address& b) {
      return !IsAny(a) && !IsAny(b) && !Address::SameHost(a, b);
    };
    return !different(id.src, other->src) && !different(id.dst, other->dst);
  });
}

// cma_check_port().
Status Cm::CheckPort(const BindList& list, const Id& id, bool reuseaddr) const {
  for (const Id* other : list.owners) {
    if (other == &id) continue;
    if (reuseaddr && other->reuseaddr) continue;
    if (id.afonly && other->afonly && id.src.family() != other->src.family()) continue;
    if (IsAny(id.src) || IsAny(other->src)) return Err(EADDRNOTAVAIL);
    if (Address::SameHost(id.src, other->src)) return Err(EADDRINUSE);
  }
  return {};
}

// cma_alloc_any_port().
Status Cm::AllocAnyPort(uint16_t ps, Id& id) {
  const auto [low, high] = network_.PortRange();
  uint32_t remaining = uint32_t{high} - low + 1;
  uint32_t rover = low + Random(remaining);
  for (; remaining > 0; --remaining) {
    const auto port = static_cast<uint16_t>(rover);
    if (port != last_used_port_) {
      BindList* const list = FindPort(ps, port);
      if (list == nullptr || PortIsUnique(*list, id)) {
        last_used_port_ = port;
        if (list == nullptr) return AllocPort(ps, id, port);
        BindPort(*list, id);
        return {};
      }
    }
    if (++rover > high) rover = low;
  }
  return Err(EADDRNOTAVAIL);
}

// cma_get_port(), cma_use_port().
Status Cm::GetPort(Id& id, bool may_use_low_ports) {
  const uint16_t ps = id.src.is_ib() ? SelectIbPs(id) : id.ps;
  if (ps == 0) return Err(EPROTONOSUPPORT);
  const uint16_t port = id.src.port();
  if (port == 0) return AllocAnyPort(ps, id);
  if (port < kProtSock && !may_use_low_ports) return Err(EACCES);
  BindList* const list = FindPort(ps, port);
  if (list == nullptr) return AllocPort(ps, id, port);
  CW_CHECK(CheckPort(*list, id, id.reuseaddr));
  BindPort(*list, id);
  return {};
}

}  // namespace causeway::rdma_cm
