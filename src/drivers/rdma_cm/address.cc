// SPDX-License-Identifier: Apache-2.0
#include "drivers/rdma_cm/address.h"

#include <endian.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

namespace causeway::rdma_cm {
namespace {

constexpr size_t kPort = offsetof(sockaddr_in, sin_port);
static_assert(kPort == offsetof(sockaddr_in6, sin6_port));
constexpr size_t kIp4 = offsetof(sockaddr_in, sin_addr);
constexpr size_t kIp6 = offsetof(sockaddr_in6, sin6_addr);
constexpr size_t kFlowInfo = offsetof(sockaddr_in6, sin6_flowinfo);
constexpr size_t kScope = offsetof(sockaddr_in6, sin6_scope_id);
constexpr Gid kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

}  // namespace

Address Address::Any(uint16_t family) {
  Address address;
  address.set_family(family);
  return address;
}

Address Address::Ip4(uint32_t address_be, uint16_t port) {
  Address address = Any(AF_INET);
  address.Set(kIp4, address_be);
  address.set_port(port);
  return address;
}

Address Address::Ip6(const Gid& ip, uint16_t port) {
  Address address = Any(AF_INET6);
  address.Set(kIp6, ip);
  address.set_port(port);
  return address;
}

Address Address::Ib(const uapi::sockaddr_ib& ib) {
  Address address;
  address.set_ib(ib);
  return address;
}

uint16_t Address::family() const { return Get<uint16_t>(0); }
void Address::set_family(uint16_t family) { Set(0, family); }

size_t Address::size() const {
  switch (family()) {
    case AF_INET: return sizeof(sockaddr_in);
    case AF_INET6: return sizeof(sockaddr_in6);
    case uapi::kAfIb: return sizeof(uapi::sockaddr_ib);
    default: return 0;
  }
}

uapi::sockaddr_ib Address::ib() const { return Get<uapi::sockaddr_ib>(0); }
void Address::set_ib(const uapi::sockaddr_ib& address) { Set(0, address); }

uint16_t Address::port() const {
  switch (family()) {
    case AF_INET:
    case AF_INET6: return be16toh(Get<uint16_t>(kPort));
    case uapi::kAfIb: return static_cast<uint16_t>(be64toh(ib().sib_sid) & be64toh(ib().sib_sid_mask));
    default: return 0;
  }
}

// cma_bind_port().
void Address::set_port(uint16_t port) {
  if (!is_ib()) return Set(kPort, htobe16(port));
  uapi::sockaddr_ib address = ib();
  address.sib_sid = htobe64((be64toh(address.sib_sid) & be64toh(address.sib_sid_mask)) | port);
  address.sib_sid_mask = ~uint64_t{0};
  set_ib(address);
}

uint32_t Address::scope_id() const { return family() == AF_INET6 ? Get<uint32_t>(kScope) : 0; }
uint32_t Address::flow_info() const { return be32toh(Get<uint32_t>(kFlowInfo)); }

Gid Address::gid() const {
  switch (family()) {
    case AF_INET: {
      Gid gid = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
      std::copy_n(bytes_.begin() + kIp4, 4, gid.begin() + 12);
      return gid;
    }
    case AF_INET6: return Get<Gid>(kIp6);
    case uapi::kAfIb: return Get<Gid>(offsetof(uapi::sockaddr_ib, sib_addr));
    default: return {};
  }
}

void Address::set_ip(const Gid& gid) {
  if (family() == AF_INET6) return Set(kIp6, gid);
  std::copy_n(gid.begin() + 12, 4, bytes_.begin() + kIp4);
}

bool Address::IsZero() const {
  if (family() == AF_INET) return Get<uint32_t>(kIp4) == 0;  // ipv4_is_zeronet() since Linux 5.3
  return size() != 0 && gid() == Gid{};
}

bool Address::IsLoopback() const {
  if (family() == AF_INET) return bytes_[kIp4] == 127;
  return size() != 0 && gid() == kLoopback6;
}

bool Address::IsLinkLocal() const {
  return family() == AF_INET6 && bytes_[kIp6] == 0xfe && (bytes_[kIp6 + 1] & 0xc0) == 0x80;
}

bool Address::IsMulticast() const {
  if (family() == AF_INET) return (bytes_[kIp4] & 0xf0) == 0xe0;
  return family() == AF_INET6 && bytes_[kIp6] == 0xff;
}

bool Address::SameHost(const Address& a, const Address& b) {
  if (a.family() != b.family() || a.gid() != b.gid()) return false;
  return !b.IsLinkLocal() || a.scope_id() == b.scope_id();
}

}  // namespace causeway::rdma_cm
