// SPDX-License-Identifier: Apache-2.0
#include "drivers/rdma_cm/host_network.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <memory>
#include <string>

#include "base/unique_fd.h"

namespace causeway::rdma_cm {
namespace {

const sockaddr* Raw(const Address& address) { return reinterpret_cast<const sockaddr*>(address.bytes().data()); }

template <typename T>
T ReadSetting(const char* path, T value) {
  std::ifstream file(path);
  T read = value;
  return file >> read ? read : value;
}

}  // namespace

Result<uint32_t> HostNetwork::DeviceOf(const Address& address) const {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return HostErr();
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != address.family()) continue;
    const size_t size = address.family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    const Address own({reinterpret_cast<const uint8_t*>(entry->ifa_addr), size});
    if (own.gid() == address.gid()) return ::if_nametoindex(entry->ifa_name);
  }
  return Err(EADDRNOTAVAIL);
}

Result<Network::Route> HostNetwork::FindRoute(const Address& source, const Address& destination, uint32_t oif) const {
  const UniqueFd socket(::socket(destination.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return HostErr();
  const int on = 1;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
  char name[IF_NAMESIZE] = {};
  if (oif != 0 && ::if_indextoname(oif, name) != nullptr) {
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_BINDTODEVICE, name, sizeof(name));
  }
  if (!source.IsZero()) {
    Address from = source;
    from.set_port(0);
    // A source that the host does not have: fib lookups fail so (net/ipv4/route.c ip_route_output_key_hash_rcu()).
    if (::bind(socket.get(), Raw(from), static_cast<socklen_t>(from.size())) != 0) return Err(EINVAL);
  }
  Address to = destination;
  to.set_port(9);  // connect() wants one
  if (::connect(socket.get(), Raw(to), static_cast<socklen_t>(to.size())) != 0) return HostErr();
  std::array<uint8_t, sizeof(sockaddr_storage)> local = {};
  socklen_t size = local.size();
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(local.data()), &size) != 0) return HostErr();
  const Address chosen({local.data(), sizeof(sockaddr_in6)});

  Route route = {.source = chosen.gid()};
  // For a local destination the device that has it (rdma_set_src_addr_rcu()); else the one of the source address.
  auto device = DeviceOf(destination);
  if (!device) device = DeviceOf(chosen);
  if (!device) return Err(ENODEV);
  route.ifindex = *device;
  int hops = 0;
  socklen_t hops_size = sizeof(hops);
  const bool v4 = destination.family() == AF_INET;
  if (::getsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, &hops, &hops_size) ==
          0 &&
      hops > 0 && hops < 256) {
    route.hop_limit = static_cast<uint8_t>(hops);
  }
  return route;
}

std::pair<uint16_t, uint16_t> HostNetwork::PortRange() const {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  uint16_t low = 0, high = 0;
  if (file >> low >> high && low != 0 && low <= high) return {low, high};
  return {32768, 60999};
}

bool HostNetwork::BindV6Only() const { return ReadSetting("/proc/sys/net/ipv6/bindv6only", 0) != 0; }

}  // namespace causeway::rdma_cm
