// SPDX-License-Identifier: Apache-2.0
// GIDs that follow an interface (specs: verbs 1.5, 7): messages of rtnetlink as bytes, what becomes of the table, the
// events and the files. With real interfaces: tests/conformance/test_gids.py.
#include "drivers/infiniband/net_monitor.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

Gid V4(uint8_t last) { return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last}; }
Gid V6(uint8_t last) { return {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}; }

class Message {
 public:
  template <typename Body>
  Message(uint16_t type, const Body& body) {
    nlmsghdr header = {};
    header.nlmsg_type = type;
    Append(header);
    Append(body);
  }
  Message& Attribute(uint16_t type, const void* data, size_t len) {
    const rtattr header = {static_cast<uint16_t>(sizeof(rtattr) + len), type};
    Append(header);
    const auto* bytes = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), bytes, bytes + len);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
    return *this;
  }
  std::vector<std::byte> Bytes() {
    const auto len = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &len, sizeof(len));
    return bytes_;
  }

 private:
  template <typename T>
  void Append(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }
  std::vector<std::byte> bytes_;
};

struct Seen {
  std::vector<std::string> lines;
  NetEvents Events() {
    return {.address =
                [this](uint32_t ifindex, const Gid& gid, bool present) {
                  lines.push_back((present ? "+" : "-") + std::to_string(ifindex) + " " + GidText(gid));
                },
            .link =
                [this](const NetEvents::Link& link) {
                  lines.push_back(link.name + " " + std::to_string(link.ifindex) + " " + std::to_string(link.mtu) +
                                  " " + std::to_string(static_cast<int>(link.state)) + (link.gone ? " gone" : ""));
                },
            .resync = [] {}};
  }
};

ifaddrmsg Address(uint8_t family, uint8_t flags = 0) {
  ifaddrmsg message = {};
  message.ifa_family = family;
  message.ifa_flags = flags;
  message.ifa_index = 7;
  return message;
}

TEST(Rtnetlink, Addresses) {
  const uint8_t v4[4] = {10, 0, 0, 1}, peer[4] = {10, 0, 0, 2};
  const Gid v6 = V6(1);
  const uint32_t tentative = IFA_F_TENTATIVE;
  std::vector<std::byte> bytes;
  for (auto& message : {
           Message(RTM_NEWADDR, Address(AF_INET)).Attribute(IFA_ADDRESS, peer, 4).Attribute(IFA_LOCAL, v4, 4),
           Message(RTM_NEWADDR, Address(AF_INET6)).Attribute(IFA_ADDRESS, &v6, 16),
           // Not yet, and not at all: somebody else may have it, or has.
           Message(RTM_NEWADDR, Address(AF_INET6)).Attribute(IFA_ADDRESS, &v6, 16).Attribute(IFA_FLAGS, &tentative, 4),
           Message(RTM_NEWADDR, Address(AF_INET6, IFA_F_DADFAILED)).Attribute(IFA_ADDRESS, &v6, 16),
           Message(RTM_DELADDR, Address(AF_INET6, IFA_F_TENTATIVE)).Attribute(IFA_ADDRESS, &v6, 16),
           Message(RTM_NEWADDR, Address(AF_INET)).Attribute(IFA_LOCAL, &v6, 16),  // no IPv4 address
           Message(RTM_NEWADDR, Address(AF_INET)),                                // none at all
       }) {
    const auto more = Message(message).Bytes();
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  Seen seen;
  ParseRtnetlink(bytes.data(), bytes.size(), seen.Events());
  EXPECT_EQ(seen.lines, (std::vector<std::string>{"+7 " + GidText(V4(1)), "+7 " + GidText(v6), "-7 " + GidText(v6)}));
}

TEST(Rtnetlink, Links) {
  ifinfomsg up = {}, down = {}, bridge = {};
  up.ifi_index = down.ifi_index = 3;
  up.ifi_flags = IFF_UP | IFF_RUNNING;
  down.ifi_flags = IFF_UP;
  bridge.ifi_family = AF_BRIDGE;
  const uint32_t mtu = 9000;
  Seen seen;
  for (auto& message : {Message(RTM_NEWLINK, up).Attribute(IFLA_IFNAME, "eth0", 5).Attribute(IFLA_MTU, &mtu, 4),
                        Message(RTM_NEWLINK, down).Attribute(IFLA_IFNAME, "eth0", 5), Message(RTM_NEWLINK, bridge),
                        Message(RTM_DELLINK, up).Attribute(IFLA_IFNAME, "eth0", 5)}) {
    const auto bytes = Message(message).Bytes();
    ParseRtnetlink(bytes.data(), bytes.size(), seen.Events());
  }
  EXPECT_EQ(seen.lines, (std::vector<std::string>{"eth0 3 9000 2", "eth0 3 0 1", "eth0 3 0 0 gone"}));
}

TEST(Rtnetlink, WhatIsCutShortIsLeftOut) {
  const Gid v6 = V6(1);
  const auto whole = Message(RTM_NEWADDR, Address(AF_INET6)).Attribute(IFA_ADDRESS, &v6, 16).Bytes();
  Seen seen;
  for (size_t len = 0; len < whole.size(); ++len) {
    const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(len));
    ParseRtnetlink(part.data(), part.size(), seen.Events());
    auto lying = whole;  // attributes longer than the message
    lying.resize(std::max<size_t>(len, 16));
    const auto claimed = static_cast<uint32_t>(lying.size());
    std::memcpy(lying.data(), &claimed, sizeof(claimed));
    ParseRtnetlink(lying.data(), lying.size(), seen.Events());
  }
  EXPECT_TRUE(seen.lines.empty());
}

TEST(GidIndices, TheLowestFreeOneIsTaken) {
  GidTable table({2, 0, 0, 0, 0, 1}, NetDevice{.name = "eth0", .addresses = {V4(1), V4(2)}});
  EXPECT_EQ(table.Add(V4(3)), 3u);
  EXPECT_EQ(table.Add(V4(3)), std::nullopt);
  EXPECT_EQ(table.Remove(V4(1)), 1u);
  EXPECT_EQ(table.Remove(V4(1)), std::nullopt);
  EXPECT_EQ(table.Get(1).error(), Errno(ENODATA));
  EXPECT_EQ(table.filled().size(), 3u);
  EXPECT_EQ(table.filled()[1].index, 2u);
  EXPECT_EQ(table.Add(V6(1)), 1u);
  EXPECT_EQ(table.Add(V6(2)), 4u);
  EXPECT_EQ(table.Remove(DefaultGid({2, 0, 0, 0, 0, 1})), std::nullopt);  // index 0 stays
}

TEST(GidIndices, ATableThatIsFull) {
  GidTable table({2, 0, 0, 0, 0, 1}, NetDevice{});
  for (uint32_t i = 1; i < GidTable::kLength; ++i) {
    EXPECT_EQ(table.Add({1, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}), i);
  }
  EXPECT_EQ(table.Add(V4(1)), std::nullopt);
}

class PortEvents : public UverbsBench {
 protected:
  PortEvents() { GetContext(); }
  std::vector<uint32_t> Read() {
    std::vector<uint32_t> types;
    bool drained = false;
    while (Events(async_fd_)->Read(task_, kOut, 16, &drained)) {
      EXPECT_EQ(Peek<uint64_t>(kOut), 1u);  // the port
      types.push_back(Peek<uint32_t>(kOut + 8));
    }
    return types;
  }
};

TEST_F(PortEvents, EachChangeIsOneEventForEveryContext) {
  const uint32_t ifindex = device().ifindex();
  EXPECT_TRUE(device().ChangeAddress(V4(9), true));
  EXPECT_FALSE(device().ChangeAddress(V4(9), true));
  EXPECT_TRUE(device().ChangeAddress(V4(9), false));
  EXPECT_EQ(Read(), (std::vector<uint32_t>{IB_EVENT_GID_CHANGE, IB_EVENT_GID_CHANGE}));
  device().ChangeLink(ifindex, 1500, LinkState::kNoCarrier);
  device().ChangeLink(ifindex, 1500, LinkState::kDown);  // no port it was
  device().ChangeLink(ifindex, 9000, LinkState::kUp);
  device().ChangeLink(ifindex, 1500, LinkState::kUp);  // the MTU alone
  EXPECT_EQ(Read(), (std::vector<uint32_t>{IB_EVENT_PORT_ERR, IB_EVENT_PORT_ACTIVE}));
  EXPECT_EQ(device().active_mtu(), 3);
}

}  // namespace
}  // namespace causeway::infiniband
