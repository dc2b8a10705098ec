// SPDX-License-Identifier: Apache-2.0
// What rdma_cm has to know of the machine's RDMA devices and of the network they are part of. Implemented over the
// infiniband driver and the host's network by the machine; made up in tests.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/result.h"
#include "drivers/rdma_cm/address.h"

namespace causeway::rdma_cm {

struct NicInfo {
  uint64_t node_guid = 0;  // big endian, as queries give it
  uint32_t ifindex = 0;    // of its net device
  uint32_t mtu = 1500;     // of its net device
  std::array<uint8_t, 6> mac = {};
};

// Thread safe; never calls back.
class Nics {
 public:
  virtual ~Nics() = default;
  virtual size_t count() const = 0;  // fixed
  virtual NicInfo Info(size_t nic) const = 0;
  virtual bool Active(size_t nic) const = 0;  // port state ACTIVE
  // rdma_find_gid_by_port(): the index of a GID in the NIC's table.
  virtual std::optional<uint8_t> GidIndex(size_t nic, const Gid& gid) const = 0;
};

// The host's addresses and routes.
class Network {
 public:
  virtual ~Network() = default;
  // rdma_find_ndev_for_src_ip_rcu(): the net device that has this address. errors: EADDRNOTAVAIL nobody has.
  virtual Result<uint32_t> DeviceOf(const Address& address) const = 0;
  struct Route {
    Gid source;            // the given one, or the one that the route prefers
    uint32_t ifindex = 0;  // of the device that packets leave by; for a local destination: the one that has it
    uint8_t hop_limit = 64;
  };
  // ip_route_output_key(), ip6_dst_lookup_flow(). `source` may be zero; oif 0: any device.
  // errors: ENETUNREACH, EHOSTUNREACH, EINVAL, as the system's.
  virtual Result<Route> FindRoute(const Address& source, const Address& destination, uint32_t oif) const = 0;
  // net.ipv4.ip_local_port_range
  virtual std::pair<uint16_t, uint16_t> PortRange() const = 0;
  virtual bool BindV6Only() const = 0;  // net.ipv6.bindv6only
};

}  // namespace causeway::rdma_cm
