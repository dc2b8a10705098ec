// SPDX-License-Identifier: Apache-2.0
#include "pci/bus.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "base/checked.h"
#include "pci/iova.h"

namespace causeway::pci {
namespace {

constexpr uint32_t kHbm0 = 7, kHbm1 = 8;  // memory objects

// pc0: rp0 - sw0 - { gaudi0, rxe0 }, rp1 - sw1 - { gaudi1, rxe1 }; pc1: rp2 - rxe2. As the default machine, and one
// more.
class BusTest : public ::testing::Test {
 protected:
  explicit BusTest(IommuMode iommu = IommuMode::kOff) {
    TopologySpec spec;
    spec.iommu = iommu;
    spec.host_bridges = {{.name = "pc0"}, {.name = "pc1"}};
    spec.root_ports = {{.name = "rp0", .on = "pc0", .acs = {}, .link = {}},
                       {.name = "rp1", .on = "pc0", .acs = {}, .link = {}},
                       {.name = "rp2", .on = "pc1", .acs = {}, .link = {}}};
    spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1"}, .acs = {}, .link = {}},
                     {.name = "sw1", .on = "rp1", .ports = {"sw1.0", "sw1.1"}, .acs = {}, .link = {}}};
    for (const auto& [name, at] :
         {std::pair("gaudi0", "sw0.0"), {"rxe0", "sw0.1"}, {"gaudi1", "sw1.0"}, {"rxe1", "sw1.1"}, {"rxe2", "rp2"}}) {
      FunctionSpec& function = spec.functions.emplace_back();
      function.name = name;
      function.at = at;
      function.bars[0] = {.size = 512, .prefetchable = true};
      function.bars[4] = {.size = name[0] == 'g' ? 128 * kGiB : 0, .prefetchable = true};
    }
    topology_ = std::move(*Topology::Build(spec));
    bus_ = std::make_unique<Bus>(*topology_, *map_);
  }
  const Function& F(const char* name) { return *topology_->FindFunction(name); }
  uint64_t Hbm(const char* name) { return F(name).bar(4).base; }

  std::string Way(RouteId route) {
    std::string text;
    for (const Hop& hop : bus_->HopsOf(route)) text += (text.empty() ? hop.from + " " : " ") + hop.to;
    return text;
  }
  uint64_t LinkBytesOf(const char* from, const char* to) {
    for (const LinkBytes& link : bus_->Links()) {
      if (link.from == from && link.to == to) return link.bytes;
    }
    ADD_FAILURE() << "no link " << from << " -> " << to;
    return 0;
  }
  // What an initiator reaches at an address: "memory+offset", or "abort".
  std::string Reach(const char* initiator, uint64_t address, uint64_t len) {
    const uint32_t index = FindWindow(*map_, F(initiator).index(), address, len, kMaxWindows);
    if (index == kMaxWindows) return "abort";
    const BusWindow& window = map_->windows[index];
    return std::to_string(window.memory) + "+" + std::to_string(window.memory_offset + (address - window.base));
  }

  std::unique_ptr<BusMap> map_ = std::make_unique<BusMap>();
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<Bus> bus_;
};

class TranslatedBusTest : public BusTest {
 protected:
  TranslatedBusTest() : BusTest(IommuMode::kOn) {}
};

TEST_F(BusTest, ABackedBarIsAWindowForEveryInitiator) {
  EXPECT_EQ(Reach("rxe0", Hbm("gaudi0"), 8), "abort");
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 0, 96 * kGiB, kHbm0, 0));
  ASSERT_TRUE(bus_->BackBar(F("gaudi1"), 4, kMiB, 96 * kGiB, kHbm1, 4096));
  EXPECT_EQ(Reach("rxe0", Hbm("gaudi0") + 4096, 8), "7+4096");
  EXPECT_EQ(Reach("rxe1", Hbm("gaudi0"), 96 * kGiB), "7+0");
  EXPECT_EQ(Reach("rxe1", Hbm("gaudi1") + kMiB + 1, 1), "8+4097");
  EXPECT_EQ(Reach("rxe1", Hbm("gaudi1"), 1), "abort") << "the BAR before its backing";
  EXPECT_EQ(Reach("rxe0", Hbm("gaudi0") + 96 * kGiB - 4, 8), "abort") << "past the backing";
  EXPECT_EQ(map_->windows[0].target, F("gaudi0").index());
}

TEST_F(BusTest, BackBarErrnos) {
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, kGiB, kGiB, kHbm0, 0));
  const struct {
    const char* name;
    const char* function;
    unsigned bar;
    uint64_t offset, len;
    int want_errno;
  } cases[] = {
      {"touching is not overlapping", "gaudi0", 4, 0, kGiB, 0},
      {"overlapping", "gaudi0", 4, 2 * kGiB - 1, kGiB, EINVAL},
      {"the same again", "gaudi0", 4, kGiB, kGiB, EINVAL},
      {"past the BAR", "gaudi0", 4, 127 * kGiB, 2 * kGiB, EINVAL},
      {"wraps", "gaudi0", 4, 4096, ~uint64_t{0}, EINVAL},
      {"empty", "gaudi0", 4, 0, 0, EINVAL},
      {"BAR not there", "rxe0", 4, 0, 4096, EINVAL},
      {"no such BAR", "rxe0", 6, 0, 4096, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Status got = bus_->BackBar(F(c.function), c.bar, c.offset, c.len, kHbm1, 0);
    EXPECT_EQ(got ? 0 : got.error().code(), c.want_errno);
  }
}

TEST_F(BusTest, BackBarFailsWhenTheTableIsFull) {
  for (uint32_t i = 0; i < kMaxWindows; ++i) ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, i * kMiB, kMiB, kHbm0, 0));
  EXPECT_EQ(bus_->BackBar(F("gaudi0"), 4, kMaxWindows * kMiB, kMiB, kHbm0, 0).error().code(), ENOMEM);
}

TEST_F(BusTest, WithoutTranslationADmaAddressIsTheBusAddress) {
  EXPECT_EQ(*bus_->MapResource(F("rxe0"), Hbm("gaudi0") + 12, 100), Hbm("gaudi0") + 12);
  EXPECT_EQ(map_->count.load(), 0U);
  bus_->UnmapResource(F("rxe0"), Hbm("gaudi0") + 12, 100);
  const struct {
    const char* name;
    uint64_t address, len;
  } cases[] = {{"empty", Hbm("gaudi0"), 0},
               {"memory", 0x1000, 4096},
               {"past the BAR", Hbm("gaudi0"), 129 * kGiB},
               {"wraps", Hbm("gaudi0") + 4096, ~uint64_t{0} - 4096}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(bus_->MapResource(F("rxe0"), c.address, c.len).error().code(), EINVAL);
  }
}

TEST_F(TranslatedBusTest, AMappingIsTheInitiatorsOwn) {
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 0, 96 * kGiB, kHbm0, 0));
  EXPECT_EQ(Reach("rxe0", Hbm("gaudi0"), 8), "abort") << "a bus address is no IOVA";
  const uint64_t address = *bus_->MapResource(F("rxe0"), Hbm("gaudi0") + kGiB + 12, 8192);
  EXPECT_NE(address, Hbm("gaudi0") + kGiB + 12);
  EXPECT_EQ(address % kPageSize, 12U);
  EXPECT_EQ(Reach("rxe0", address, 8192), "7+" + std::to_string(kGiB + 12));
  EXPECT_EQ(Reach("rxe1", address, 8192), "abort") << "another initiator's domain";
  // Whole pages are mapped, and no more.
  EXPECT_EQ(Reach("rxe0", address - 12, 12), "7+" + std::to_string(kGiB));
  EXPECT_EQ(Reach("rxe0", address - 12, 3 * kPageSize), "7+" + std::to_string(kGiB));
  EXPECT_EQ(Reach("rxe0", address - 12, 3 * kPageSize + 1), "abort");
  EXPECT_EQ(Reach("rxe0", address - 13, 1), "abort");

  const uint64_t again = *bus_->MapResource(F("rxe0"), Hbm("gaudi0") + kGiB + 12, 8192);
  EXPECT_NE(again, address);
  bus_->UnmapResource(F("rxe0"), address, 8192);
  EXPECT_EQ(Reach("rxe0", address, 8192), "abort");
  EXPECT_EQ(Reach("rxe0", again, 8192), "7+" + std::to_string(kGiB + 12));
  bus_->UnmapResource(F("rxe0"), again, 8192);
  EXPECT_EQ(map_->count.load(), 0U) << "nothing is left in the table";
}

TEST_F(TranslatedBusTest, AMappingMeetsBackingsMadeBeforeAndAfter) {
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 0, kMiB, kHbm0, 0));
  const uint64_t address = *bus_->MapResource(F("rxe0"), Hbm("gaudi0"), 4 * kMiB);
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 2 * kMiB, kMiB, kHbm1, 0));
  EXPECT_EQ(Reach("rxe0", address, kMiB), "7+0");
  EXPECT_EQ(Reach("rxe0", address + kMiB, 1), "abort") << "the hole";
  EXPECT_EQ(Reach("rxe0", address + 2 * kMiB + 5, 1), "8+5");
  bus_->UnmapResource(F("rxe0"), address, 4 * kMiB);
  EXPECT_EQ(map_->count.load(), 0U);
}

TEST_F(TranslatedBusTest, AFullTableIsEnomemAndLeavesNothingBehind) {
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 0, kMiB, kHbm0, 0));
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, kMiB, kMiB, kHbm0, kMiB));
  std::vector<uint64_t> mapped;
  for (uint32_t i = 0; i + 1 < kMaxWindows; ++i) mapped.push_back(*bus_->MapResource(F("rxe0"), Hbm("gaudi0"), 4096));
  // Two windows are needed and one is free.
  EXPECT_EQ(bus_->MapResource(F("rxe0"), Hbm("gaudi0"), 2 * kMiB).error().code(), ENOMEM);
  EXPECT_TRUE(bus_->MapResource(F("rxe1"), Hbm("gaudi0"), 4096)) << "the one is free again";
  for (const uint64_t address : mapped) bus_->UnmapResource(F("rxe0"), address, 4096);
}

TEST_F(TranslatedBusTest, UnmappingWhatIsNotMappedIsIgnored) {
  bus_->UnmapResource(F("rxe0"), 0x1000, 4096);
  EXPECT_TRUE(bus_->Translates(F("rxe0")));
}

TEST(IovaSpace, TopDownBelowFourGibThenAbove) {
  IovaSpace space;
  const uint64_t first = *space.Allocate(kPageSize);
  EXPECT_EQ(first, 0xfee0'0000 - kPageSize) << "below the MSI window";
  const uint64_t big = *space.Allocate(768 * kMiB);
  EXPECT_EQ(big % kGiB, 0U) << "aligned to its size, rounded up";
  EXPECT_LT(big, 4 * kGiB);
  EXPECT_EQ(*space.Allocate(kPageSize), first - kPageSize);
  EXPECT_GE(*space.Allocate(96 * kGiB), 4 * kGiB);
  EXPECT_TRUE(space.Free(first));
  EXPECT_FALSE(space.Free(first));
  EXPECT_EQ(*space.Allocate(kPageSize), first) << "highest gap first";
  EXPECT_EQ(space.Allocate(uint64_t{1} << 48).error().code(), ENOMEM);
  EXPECT_TRUE(space.Allocate(uint64_t{1} << 45));
  EXPECT_EQ(space.Allocate(uint64_t{1} << 46).error().code(), ENOMEM) << "no gap of that alignment";
}

TEST_F(BusTest, RouteTable) {
  const struct {
    const char* name;
    const char* initiator;
    const char* target;  // nullptr: host memory
    const char* way;
  } cases[] = {
      {"one switch", "rxe0", "gaudi0", "rxe0 sw0.1 sw0 sw0.0 gaudi0"},
      {"two root ports", "rxe0", "gaudi1", "rxe0 sw0.1 sw0 rp0 pc0 rp1 sw1 sw1.0 gaudi1"},
      {"two root complexes", "rxe2", "gaudi1", "rxe2 rp2 pc1 pc0 rp1 sw1 sw1.0 gaudi1"},
      {"host memory", "rxe0", nullptr, "rxe0 sw0.1 sw0 rp0 pc0 host memory"},
      {"itself", "gaudi0", "gaudi0", ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Function* target = c.target != nullptr ? &F(c.target) : nullptr;
    const RouteId route = bus_->RouteTo(F(c.initiator), target);
    EXPECT_EQ(Way(route), c.way);
    EXPECT_EQ(bus_->RouteTo(F(c.initiator), target), route) << "asked twice, the same";
    EXPECT_EQ(bus_->CrossesHostMemory(route), target == nullptr);
    EXPECT_EQ(bus_->DescribeTarget(route), target != nullptr ? c.target : "host memory");
  }
}

TEST_F(BusTest, AcsRedirectSendsNewRoutesThroughTheRootComplex) {
  const RouteId direct = bus_->RouteTo(F("rxe0"), &F("gaudi0"));
  topology_->FindBridge("sw0.1")->set_acs(AcsControl::LinuxDefault());
  const RouteId redirected = bus_->RouteTo(F("rxe0"), &F("gaudi0"));
  EXPECT_EQ(Way(redirected), "rxe0 sw0.1 sw0 rp0 pc0 rp0 sw0 sw0.0 gaudi0");
  EXPECT_NE(redirected, direct);
  EXPECT_EQ(Way(direct), "rxe0 sw0.1 sw0 sw0.0 gaudi0") << "what was accounted stays";
  topology_->FindBridge("sw0.1")->set_acs({});
  EXPECT_EQ(bus_->RouteTo(F("rxe0"), &F("gaudi0")), direct);
}

TEST_F(TranslatedBusTest, AnIovaGoesUpToTheIommu) {
  EXPECT_EQ(Way(bus_->RouteTo(F("rxe0"), &F("gaudi0"))), "rxe0 sw0.1 sw0 rp0 pc0 rp0 sw0 sw0.0 gaudi0");
}

TEST_F(BusTest, BytesAreCountedPerDirectedLink) {
  const RouteId p2p = bus_->RouteTo(F("rxe0"), &F("gaudi0"));
  const RouteId host = bus_->RouteTo(F("rxe0"), nullptr);
  bus_->Account(p2p, 0, 1000);
  EXPECT_EQ(LinkBytesOf("rxe0", "sw0.1"), 1000U);
  EXPECT_EQ(LinkBytesOf("sw0.0", "gaudi0"), 1000U);
  EXPECT_EQ(LinkBytesOf("gaudi0", "sw0.0"), 0U);
  EXPECT_EQ(LinkBytesOf("sw0", "rp0"), 0U) << "stayed below the switch";
  EXPECT_EQ(LinkBytesOf("pc0", "host memory"), 0U);
  bus_->Account(p2p, 30, 0);  // a read flows the other way
  bus_->Account(host, 5, 7);
  EXPECT_EQ(LinkBytesOf("gaudi0", "sw0.0"), 30U);
  EXPECT_EQ(LinkBytesOf("sw0.1", "rxe0"), 35U);
  EXPECT_EQ(LinkBytesOf("rxe0", "sw0.1"), 1007U);
  EXPECT_EQ(LinkBytesOf("pc0", "host memory"), 7U);
  EXPECT_EQ(LinkBytesOf("host memory", "pc0"), 5U);

  const auto routes = bus_->Routes();
  ASSERT_EQ(routes.size(), 2U);
  EXPECT_EQ(routes[0].initiator, "rxe0");
  EXPECT_EQ(routes[0].target, "gaudi0");
  EXPECT_EQ(routes[0].bytes_read, 30U);
  EXPECT_EQ(routes[0].bytes_written, 1000U);
  EXPECT_EQ(routes[1].target, "host memory");
}

TEST_F(BusTest, ARedirectedWriteCrossesTheLinkAboveTheSwitchTwice) {
  topology_->FindBridge("sw0.0")->set_acs({.request_redirect = true});
  bus_->Account(bus_->RouteTo(F("rxe0"), &F("gaudi0")), 0, 10);
  EXPECT_EQ(LinkBytesOf("sw0", "rp0"), 10U);
  EXPECT_EQ(LinkBytesOf("rp0", "sw0"), 10U);
}

TEST_F(BusTest, LinksAreInTreeOrderAndSayWhatTheyAre) {
  std::string down;
  for (const LinkBytes& link : bus_->Links()) {
    if (!link.internal) down += link.from + ">" + link.to + " ";
  }
  EXPECT_EQ(down,
            "rp0>sw0 sw0>rp0 sw0.0>gaudi0 gaudi0>sw0.0 sw0.1>rxe0 rxe0>sw0.1 rp1>sw1 sw1>rp1 sw1.0>gaudi1 gaudi1>sw1.0 "
            "sw1.1>rxe1 rxe1>sw1.1 rp2>rxe2 rxe2>rp2 ");
}

TEST_F(BusTest, LiveTrafficIsAddedWithoutTheBusesLock) {
  bus_->AddLiveTraffic([this](const auto& add) {
    add(bus_->RouteTo(F("rxe1"), &F("gaudi1")), 3, 40);  // would deadlock under the lock
    add(12345, 1, 1);                                    // a route that never was is left out
  });
  bus_->Account(bus_->RouteTo(F("rxe1"), &F("gaudi1")), 1, 2);
  EXPECT_EQ(bus_->Routes().at(0).bytes_written, 42U);
  EXPECT_EQ(LinkBytesOf("gaudi1", "sw1.0"), 4U);
}

// For the thread sanitizer: searches go on while other initiators' windows come and go.
TEST_F(TranslatedBusTest, SearchesRunBesideMapping) {
  ASSERT_TRUE(bus_->BackBar(F("gaudi0"), 4, 0, kGiB, kHbm0, 0));
  const uint64_t mine = *bus_->MapResource(F("rxe0"), Hbm("gaudi0"), 4096);
  std::atomic<bool> stop{false};
  std::thread mapper([&] {
    for (int i = 0; i < 2000; ++i) {
      const uint64_t address = *bus_->MapResource(F("rxe1"), Hbm("gaudi0") + static_cast<uint64_t>(i) * 4096, 4096);
      bus_->Account(bus_->RouteTo(F("rxe1"), &F("gaudi0")), 1, 1);
      bus_->UnmapResource(F("rxe1"), address, 4096);
    }
    stop.store(true);
  });
  while (!stop.load()) EXPECT_EQ(Reach("rxe0", mine, 4096), "7+0");
  mapper.join();
  EXPECT_EQ(bus_->Routes().at(0).bytes_read, 2000U);
}

}  // namespace
}  // namespace causeway::pci
