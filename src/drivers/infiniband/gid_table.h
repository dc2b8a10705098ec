// SPDX-License-Identifier: Apache-2.0
// A RoCE port as its net device makes it: GIDs, MTU, link state (linux drivers/infiniband/core/roce_gid_mgmt.c,
// sw/rxe/rxe_verbs.c rxe_query_port()).
//
//   GID 0         fe80::/64 + EUI-64 of the NIC's MAC (the default GID)
//   GID 1, 2, ..  one for each address of the net device: ::ffff:a.b.c.d for IPv4, the address itself for IPv6
//
// Each address takes the lowest free index; one that goes leaves a hole. net_monitor.h tells when they come and go; the
// link state is read whenever it is asked for.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace causeway::infiniband {

using Gid = std::array<uint8_t, 16>;
using Mac = std::array<uint8_t, 6>;

bool IsV4Mapped(const Gid& gid);
bool IsMulticast(const Gid& gid);     // rdma_is_multicast_addr(): ff00::/8, and IPv4 multicast
std::string GidText(const Gid& gid);  // "fe80:0000:0000:0000:5054:00ff:fe12:3456"

std::array<uint8_t, 8> Eui64(const Mac& mac);
std::string GuidText(const std::array<uint8_t, 8>& guid);  // "5054:00ff:fe12:3456"
Gid DefaultGid(const Mac& mac);

struct NetDevice {
  std::string name;
  uint32_t ifindex = 0;
  uint32_t mtu = 1500;
  std::vector<Gid> addresses;  // in the order the system lists them
};

// The host's interface `name`; "auto": the first one that is up and has an address and is no loopback, else lo.
// errors: ENODEV no such interface.
Result<NetDevice> FindNetDevice(const std::string& name);

enum class LinkState { kDown, kNoCarrier, kUp };
LinkState QueryLink(const std::string& netdev);

class GidTable {
 public:
  static constexpr uint32_t kLength = 1024;  // gid_tbl_len of rxe

  GidTable(const Mac& mac, const NetDevice& netdev);
  struct Entry {
    uint32_t index;
    Gid gid;
  };
  std::vector<Entry> filled() const;  // in order of their indices
  // errors: EINVAL past the table, ENODATA empty.
  Result<Gid> Get(uint32_t index) const;
  bool Holds(const Gid& gid) const;

  // The index that changed; nullopt: the address was there already, or was not, or the table is full.
  std::optional<uint32_t> Add(const Gid& gid);
  std::optional<uint32_t> Remove(const Gid& gid);  // never index 0

 private:
  mutable std::mutex mutex_;
  std::vector<std::optional<Gid>> entries_;  // as far as they were ever filled
};

// enum ib_mtu (1: 256 .. 5: 4096) that fits a net device's MTU (rxe.h eth_mtu_int_to_enum(): 80 bytes of headers).
uint8_t ActiveMtu(uint32_t net_mtu);
// enum ib_port_width and ib_port_speed, and what sysfs calls them (core/verbs.c ib_get_eth_speed()).
struct LinkRate {
  uint8_t width;
  uint8_t speed;
  const char* text;  // "100 Gb/sec (4X EDR)"
};
LinkRate RateOf(uint32_t megabits_per_second);  // 0: unknown, counts as 1000

}  // namespace causeway::infiniband
