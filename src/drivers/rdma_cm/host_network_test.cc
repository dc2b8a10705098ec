// SPDX-License-Identifier: Apache-2.0
// The host's addresses and routes, as far as every host has them, and the thread that runs what is due later.
#include "drivers/rdma_cm/host_network.h"

#include <net/if.h>

#include <future>

#include "drivers/rdma_cm/test_bench.h"

namespace causeway::rdma_cm {
namespace {

TEST(HostNetwork, Loopback) {
  const HostNetwork network;
  const uint32_t lo = ::if_nametoindex("lo");
  EXPECT_EQ(*network.DeviceOf(At("127.0.0.1")), lo);
  const auto route = network.FindRoute(Address::Any(AF_INET), At("127.0.0.1", 7471), 0);
  ASSERT_TRUE(route.has_value());
  EXPECT_EQ(route->source, At("127.0.0.1").gid());
  EXPECT_EQ(route->ifindex, lo);
  EXPECT_GT(route->hop_limit, 0);
}

// 203.0.113.0/24 is TEST-NET-3: nobody's.
TEST(HostNetwork, AddressOfNobody) {
  const HostNetwork network;
  EXPECT_EQ(network.DeviceOf(At("203.0.113.77")).error(), Errno(EADDRNOTAVAIL));
  EXPECT_EQ(network.FindRoute(At("203.0.113.77"), At("127.0.0.1"), 0).error(), Errno(EINVAL));
}

TEST(HostNetwork, Settings) {
  const auto [low, high] = HostNetwork().PortRange();
  EXPECT_GT(low, 0);
  EXPECT_LE(low, high);
}

TEST(TimerThread, RunsInOrderOfTime) {
  TimerThread timers;
  std::string order;
  std::promise<void> done;
  timers.After(std::chrono::milliseconds(20), [&] {
    order += "b";
    done.set_value();
  });
  timers.After(std::chrono::milliseconds(0), [&] { order += "a"; });
  done.get_future().wait();
  EXPECT_EQ(order, "ab");
}

TEST(TimerThread, StopDropsWhatIsLeft) {
  auto object = std::make_shared<int>();
  {
    TimerThread timers;
    timers.After(std::chrono::hours(1), [object] { FAIL(); });
    timers.Stop();
    timers.After(std::chrono::milliseconds(0), [object] { FAIL(); });
  }
  EXPECT_EQ(object.use_count(), 1);
}

}  // namespace
}  // namespace causeway::rdma_cm
