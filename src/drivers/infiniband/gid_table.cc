// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/gid_table.h"

#include <fmt/core.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/unique_fd.h"

namespace causeway::infiniband {
namespace {

constexpr std::array<uint8_t, 12> kV4MappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<Gid> GidOf(const sockaddr* address) {
  Gid gid = {};
  if (address == nullptr) return std::nullopt;
  if (address->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof(v4));
    std::ranges::copy(kV4MappedPrefix, gid.begin());
    std::memcpy(gid.data() + 12, &v4.sin_addr, 4);
    return gid;
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, address, sizeof(v6));
    std::memcpy(gid.data(), &v6.sin6_addr, 16);
    return gid;
  }
  return std::nullopt;
}

// An ioctl about an interface (netdevice(7)).
bool AskInterface(const std::string& name, unsigned long request, ifreq* answer) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket || name.size() >= IFNAMSIZ) return false;
  *answer = {};
  std::memcpy(answer->ifr_name, name.data(), name.size());
  return ::ioctl(socket.get(), request, answer) == 0;
}

}  // namespace

bool IsV4Mapped(const Gid& gid) { return std::equal(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), gid.begin()); }

bool IsMulticast(const Gid& gid) { return gid[0] == 0xff || (IsV4Mapped(gid) && (gid[12] & 0xf0) == 0xe0); }

std::string GidText(const Gid& gid) {
  std::string text;
  for (size_t i = 0; i < gid.size(); i += 2) {
    text += fmt::format("{}{:02x}{:02x}", i == 0 ? "" : ":", gid[i], gid[i + 1]);
  }
  return text;
}

std::array<uint8_t, 8> Eui64(const Mac& mac) {
  return {static_cast<uint8_t>(mac[0] ^ 2), mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
}

std::string GuidText(const std::array<uint8_t, 8>& guid) {
  return fmt::format("{:02x}{:02x}:{:02x}{:02x}:{:02x}{:02x}:{:02x}{:02x}", guid[0], guid[1], guid[2], guid[3], guid[4],
                     guid[5], guid[6], guid[7]);
}

Gid DefaultGid(const Mac& mac) {
  Gid gid = {0xfe, 0x80};
  std::ranges::copy(Eui64(mac), gid.begin() + 8);
  return gid;
}

Result<NetDevice> FindNetDevice(const std::string& name) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return HostErr();
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);

  std::string chosen = name;
  if (name == "auto") {
    chosen = "lo";
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      const bool up = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_LOOPBACK) == 0;
      if (!up || !GidOf(entry->ifa_addr)) continue;
      chosen = entry->ifa_name;
      break;
    }
  }
  NetDevice device;
  device.name = chosen;
  device.ifindex = ::if_nametoindex(chosen.c_str());
  if (device.ifindex == 0) return Err(ENODEV);
  ifreq answer;
  if (AskInterface(chosen, SIOCGIFMTU, &answer) && answer.ifr_mtu > 0)
    device.mtu = static_cast<uint32_t>(answer.ifr_mtu);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (chosen != entry->ifa_name) continue;
    if (const auto gid = GidOf(entry->ifa_addr)) device.addresses.push_back(*gid);
  }
  return device;
}

LinkState QueryLink(const std::string& netdev) {
  ifreq answer;
  if (!AskInterface(netdev, SIOCGIFFLAGS, &answer) || (answer.ifr_flags & IFF_UP) == 0) return LinkState::kDown;
  return (answer.ifr_flags & IFF_RUNNING) != 0 ? LinkState::kUp : LinkState::kNoCarrier;
}

GidTable::GidTable(const Mac& mac, const NetDevice& netdev) {
  entries_.push_back(DefaultGid(mac));
  for (const Gid& gid : netdev.addresses) (void)Add(gid);  // one that is there twice has one entry
}

std::vector<GidTable::Entry> GidTable::filled() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> list;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i]) list.push_back({static_cast<uint32_t>(i), *entries_[i]});
  }
  return list;
}

Result<Gid> GidTable::Get(uint32_t index) const {
  if (index >= kLength) return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  if (index >= entries_.size() || !entries_[index]) return Err(ENODATA);
  return *entries_[index];
}

bool GidTable::Holds(const Gid& gid) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::find(entries_, gid) != entries_.end();
}

// cache.c ib_cache_gid_add(): find_gid() with the lowest empty entry.
std::optional<uint32_t> GidTable::Add(const Gid& gid) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(entries_, gid) != entries_.end()) return std::nullopt;
  auto free = std::ranges::find(entries_, std::optional<Gid>());
  if (free == entries_.end()) {
    if (entries_.size() == kLength) return std::nullopt;
    free = entries_.emplace(free);
  }
  *free = gid;
  return static_cast<uint32_t>(free - entries_.begin());
}

std::optional<uint32_t> GidTable::Remove(const Gid& gid) {
  const std::lock_guard lock(mutex_);
  const auto it = std::ranges::find(entries_, gid);
  if (it == entries_.end() || it == entries_.begin()) return std::nullopt;
  it->reset();
  return static_cast<uint32_t>(it - entries_.begin());
}

uint8_t ActiveMtu(uint32_t net_mtu) {
  constexpr uint32_t kHeaders = 80;  // RXE_MAX_HDR_LENGTH
  for (uint8_t mtu = 5; mtu > 1; --mtu) {
    if (net_mtu >= (128u << mtu) + kHeaders) return mtu;
  }
  return 1;
}

LinkRate RateOf(uint32_t megabits_per_second) {
  // widths: 1X 1, 4X 2, 2X 16; speeds: SDR 1, DDR 2, FDR10 8, EDR 32, HDR 64, NDR 128
  static constexpr struct {
    uint32_t up_to;
    LinkRate rate;
  } kRates[] = {
      {1000, {1, 1, "2.5 Gb/sec (1X SDR)"}},    {10000, {1, 8, "10 Gb/sec (1X FDR10)"}},
      {20000, {2, 2, "20 Gb/sec (4X DDR)"}},    {25000, {1, 32, "25 Gb/sec (1X EDR)"}},
      {40000, {2, 8, "40 Gb/sec (4X FDR10)"}},  {50000, {16, 32, "50 Gb/sec (2X EDR)"}},
      {100000, {2, 32, "100 Gb/sec (4X EDR)"}}, {200000, {2, 64, "200 Gb/sec (4X HDR)"}},
  };
  for (const auto& row : kRates) {
    if (megabits_per_second <= row.up_to) return row.rate;
  }
  return {2, 128, "400 Gb/sec (4X NDR)"};
}

}  // namespace causeway::infiniband
