// SPDX-License-Identifier: Apache-2.0
// GIDs, MTU and rates (specs: verbs 1.4, 1.5, 4.12).
#include "drivers/infiniband/gid_table.h"

#include <gtest/gtest.h>

namespace causeway::infiniband {
namespace {

constexpr Mac kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

TEST(Gids, TheDefaultGidIsMadeFromTheMac) {
  EXPECT_EQ(GuidText(Eui64(kMac)), "5054:00ff:fe12:3456");
  EXPECT_EQ(GidText(DefaultGid(kMac)), "fe80:0000:0000:0000:5054:00ff:fe12:3456");
}

TEST(Gids, AddressesFollowTheDefaultAndItsDoubleIsLeftOut) {
  NetDevice netdev;
  Gid v4 = {};
  v4[10] = v4[11] = 0xff;
  v4[12] = 10;
  v4[15] = 2;
  netdev.addresses = {v4, DefaultGid(kMac)};
  const GidTable table(kMac, netdev);
  ASSERT_EQ(table.filled().size(), 2u);
  EXPECT_EQ(GidText(table.filled()[1].gid), "0000:0000:0000:0000:0000:ffff:0a00:0002");
  EXPECT_TRUE(table.Get(1));
  EXPECT_EQ(table.Get(2).error(), Errno(ENODATA));
  EXPECT_EQ(table.Get(1023).error(), Errno(ENODATA));
  EXPECT_EQ(table.Get(1024).error(), Errno(EINVAL));
  EXPECT_TRUE(IsV4Mapped(v4));
  EXPECT_FALSE(IsMulticast(v4));
  v4[12] = 224;
  EXPECT_TRUE(IsMulticast(v4));
  EXPECT_TRUE(IsMulticast(Gid{0xff, 0x0e}));
}

TEST(Gids, ActiveMtuStepsAtEachSizePlusHeaders) {
  constexpr struct {
    uint32_t net_mtu;
    uint8_t want;
  } kCases[] = {{65536, 5}, {4176, 5}, {4175, 4}, {2128, 4}, {2127, 3}, {1500, 3},
                {1104, 3},  {1103, 2}, {592, 2},  {591, 1},  {68, 1}};
  for (const auto& c : kCases) EXPECT_EQ(ActiveMtu(c.net_mtu), c.want) << c.net_mtu;
}

TEST(Gids, RateOfAnUnknownSpeedIsThatOfAGigabit) {
  EXPECT_STREQ(RateOf(0).text, "2.5 Gb/sec (1X SDR)");
  EXPECT_STREQ(RateOf(100000).text, "100 Gb/sec (4X EDR)");
  EXPECT_EQ(RateOf(100000).width, 2);
  EXPECT_EQ(RateOf(100000).speed, 32);
}

TEST(Gids, EveryHostHasALoopbackAndNoSuchInterface) {
  const auto lo = FindNetDevice("lo");
  ASSERT_TRUE(lo);
  EXPECT_NE(lo->ifindex, 0u);
  EXPECT_EQ(FindNetDevice("no-such-netdev").error(), Errno(ENODEV));
  const auto automatic = FindNetDevice("auto");
  ASSERT_TRUE(automatic);
  EXPECT_FALSE(automatic->name.empty());
}

}  // namespace
}  // namespace causeway::infiniband
