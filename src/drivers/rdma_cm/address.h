// SPDX-License-Identifier: Apache-2.0
// Socket addresses as rdma_cm carries them: AF_INET, AF_INET6 and AF_IB (linux drivers/infiniband/core/cma.c and
// addr.c, the small functions about struct sockaddr).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "uapi/rdma_cm.h"

namespace causeway::rdma_cm {

using Gid = std::array<uint8_t, 16>;

class Address {
 public:
  Address() = default;
  // The first bytes of a sockaddr_storage or sockaddr_in6 of the uAPI.
  explicit Address(std::span<const uint8_t> bytes) { std::memcpy(bytes_.data(), bytes.data(), bytes.size()); }
  static Address Any(uint16_t family);
  static Address Ip4(uint32_t address_be, uint16_t port);
  static Address Ip6(const Gid& address, uint16_t port);
  static Address Ib(const uapi::sockaddr_ib& address);

  uint16_t family() const;
  void set_family(uint16_t family);
  bool is_ib() const { return family() == uapi::kAfIb; }
  // rdma_addr_size(): bytes that a sockaddr of this family has; 0 for another family.
  size_t size() const;
  std::span<const uint8_t, 128> bytes() const { return bytes_; }
  // memcpy(to, from, rdma_addr_size(from)): what lies behind stays.
  void CopyFrom(const Address& from) { std::memcpy(bytes_.data(), from.bytes_.data(), from.size()); }

  uint16_t port() const;  // host order; of AF_IB the service id under its mask
  void set_port(uint16_t port);
  uint32_t scope_id() const;   // AF_INET6, else 0
  uint32_t flow_info() const;  // the 32 bits where sockaddr_in6 has sin6_flowinfo, host order, whatever the family
  uapi::sockaddr_ib ib() const;
  void set_ib(const uapi::sockaddr_ib& address);

  // rdma_ip2gid(): ::ffff:a.b.c.d for IPv4, the address for IPv6; of AF_IB its GID.
  Gid gid() const;
  // The other way, of the same family and port.
  void set_ip(const Gid& gid);

  bool IsZero() const;       // cma_zero_addr()
  bool IsLoopback() const;   // cma_loopback_addr(); IPv4: 127.0.0.0/8
  bool IsLinkLocal() const;  // IPv6 fe80::/10
  bool IsMulticast() const;

  // cma_addr_cmp() == 0.
  static bool SameHost(const Address& a, const Address& b);

 private:
  template <typename T>
  T Get(size_t offset) const {
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(value));
    return value;
  }
  template <typename T>
  void Set(size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof(value));
  }
  std::array<uint8_t, 128> bytes_ = {};
};

}  // namespace causeway::rdma_cm
