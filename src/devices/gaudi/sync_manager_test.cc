// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/sync_manager.h"

#include <gtest/gtest.h>

namespace causeway::gaudi {
namespace {

constexpr uint32_t kAdd = 0x80000000, kLong = 1u << 24;

uint32_t ArmValue(uint32_t sob, uint32_t value, bool equal) {
  return ((sob / 8) & 0xff) | (0xffu & ~(1u << sob % 8)) << 8 | (equal ? 1u << 16 : 0) | value << 17;
}

class Fixture {
 public:
  explicit Fixture(Asic asic) : r(SyncManagerRegistersOf(asic)), sm(asic, asic == Asic::kGaudi2 ? 2 : 0) {}
  void Monitor(uint32_t mon, uint64_t address, uint32_t data, uint32_t config = 0) {
    sm.Write(r.pay_addr_lo + mon * 4, static_cast<uint32_t>(address));
    sm.Write(r.pay_addr_hi + mon * 4, static_cast<uint32_t>(address >> 32));
    sm.Write(r.pay_data + mon * 4, data);
    if (r.config != 0) sm.Write(r.config + mon * 4, config);
  }
  void Arm(uint32_t mon, uint32_t value) { sm.Write(r.arm + mon * 4, value); }
  std::vector<SmStore> Stores() {
    std::vector<SmStore> stores;
    SmStore store;
    while (sm.TakeStore(&store)) stores.push_back(store);
    return stores;
  }
  const SyncManagerRegisters& r;
  SyncManager sm;
};

// Specs 7.5: set, add, 15 bits.
TEST(SyncManager, StoresToAnObject) {
  for (const Asic asic : {Asic::kGaudi, Asic::kGaudi2}) {
    Fixture f(asic);
    f.sm.Write(7 * 4, 5);
    EXPECT_EQ(f.sm.Read(7 * 4), 5u);
    f.sm.Write(7 * 4, kAdd | 1);
    EXPECT_EQ(f.sm.Read(7 * 4), 6u);
    f.sm.Write(7 * 4, kAdd | 0x7fff);  // -1
    EXPECT_EQ(f.sm.Read(7 * 4), 5u);
    f.sm.Write(7 * 4, 0x7fff);
    f.sm.Write(7 * 4, kAdd | 1);
    EXPECT_EQ(f.sm.Read(7 * 4), 0u);
  }
}

// A monitor fires once, when its object satisfies it, also at once; EQUAL is missed by a value that jumps past.
TEST(SyncManager, MonitorFiresOnce) {
  for (const Asic asic : {Asic::kGaudi, Asic::kGaudi2}) {
    Fixture f(asic);
    f.Monitor(3, 0x123456789a, 77);
    f.Arm(3, ArmValue(20, 2, true));
    EXPECT_EQ(f.sm.Read(f.r.status + 12) & 1, 1u);
    f.sm.Write(20 * 4, kAdd | 1);
    EXPECT_TRUE(f.Stores().empty());
    f.sm.Write(20 * 4, kAdd | 2);  // 3: past it
    EXPECT_TRUE(f.Stores().empty());
    f.sm.Write(20 * 4, 2);
    const auto stores = f.Stores();
    ASSERT_EQ(stores.size(), 1u);
    EXPECT_EQ(stores[0].address, 0x123456789au);
    EXPECT_EQ(stores[0].value, 77u);
    EXPECT_EQ(f.sm.Read(f.r.status + 12) & 1, 0u);
    f.sm.Write(20 * 4, 2);
    EXPECT_TRUE(f.Stores().empty());
    f.Arm(3, ArmValue(20, 1, false));  // 2 >= 1
    EXPECT_EQ(f.Stores().size(), 1u);
  }
}

// A monitor whose four payloads arm it again, each: four times the stores at every step, which no program may fill the
// machine's memory with.
TEST(SyncManager, MonitorsThatMultiplyAreBounded) {
  Fixture f(Asic::kGaudi2);
  const uint32_t arm = ArmValue(0, 0, false);
  for (uint32_t mon = 0; mon < 4; ++mon) f.Monitor(mon, f.r.arm, arm, 3u << 5);  // CONFIG: four writes
  f.Arm(0, arm);
  EXPECT_FALSE(f.sm.IsBehind());
  SmStore store;
  for (int n = 0; n < 100000 && f.sm.TakeStore(&store); ++n) {
    ASSERT_EQ(store.address, f.r.arm);
    f.sm.Write(static_cast<uint32_t>(store.address), static_cast<uint32_t>(store.value));
  }
  EXPECT_TRUE(f.sm.IsBehind());
  EXPECT_EQ(f.Stores().size(), SyncManager::kMaxStores);
}

TEST(SyncManager, AllWatchedObjectsOfAGroupMustSatisfy) {
  Fixture f(Asic::kGaudi2);
  f.Monitor(0, 0x1000, 1);
  f.Arm(0, 1 | 0xfcu << 8 | 4u << 17);  // objects 8 and 9 >= 4
  f.sm.Write(8 * 4, 4);
  EXPECT_TRUE(f.Stores().empty());
  f.sm.Write(9 * 4, 9);
  EXPECT_EQ(f.Stores().size(), 1u);
}

// The upper bits of the group are in CONFIG; several payloads come from the monitors that follow.
TEST(SyncManager, Gaudi2GroupsAndPayloadChains) {
  Fixture f(Asic::kGaudi2);
  constexpr uint32_t kSob = 8184;  // group 1023
  f.Monitor(10, 0x1000, 1, (kSob / 8 >> 8) << 16 | 1u << 5);
  f.Monitor(11, 0x2000, 2);
  f.Arm(10, ArmValue(kSob, 1, true));
  f.sm.Write(kSob * 4, 1);
  const auto stores = f.Stores();
  ASSERT_EQ(stores.size(), 2u);
  EXPECT_EQ(stores[1].address, 0x2000u);
  EXPECT_EQ(stores[1].value, 2u);
}

// 60 bits over four objects; the armed words of the three monitors that follow are the upper bits.
TEST(SyncManager, LongMode) {
  Fixture f(Asic::kGaudi2);
  f.Monitor(20, 0x1000, 1, 1);
  for (uint32_t part = 3; part > 0; --part) f.Arm(20 + part, ArmValue(0, part == 1 ? 1 : 0, true));
  f.Arm(20, ArmValue(16, 0, true));  // 1 << 15
  EXPECT_TRUE(f.Stores().empty());
  f.sm.Write(17 * 4, 9);
  f.sm.Write(16 * 4, 0x7fff | kLong);  // sets the first and zeroes the others
  EXPECT_EQ(f.sm.Read(17 * 4), 0u);
  EXPECT_TRUE(f.Stores().empty());
  f.sm.Write(16 * 4, kAdd | kLong | 1);  // carries
  EXPECT_EQ(f.sm.Read(16 * 4), 0u);
  EXPECT_EQ(f.sm.Read(17 * 4), 1u);
  EXPECT_EQ(f.Stores().size(), 1u);
}

// CQ: a ring of 32-bit entries, or a counter; the message only with LBW_EN.
TEST(SyncManager, CompletionQueues) {
  Fixture f(Asic::kGaudi2);
  f.sm.WriteGlobal(kSmCqBaseLo + 5 * 4, 0x1000);
  f.sm.WriteGlobal(kSmCqBaseHi + 5 * 4, 1);
  f.sm.WriteGlobal(kSmCqSizeLog2 + 5 * 4, 3);
  f.sm.WriteGlobal(kSmCqLbwAddrLo + 5 * 4, 0x04C17000);
  f.sm.WriteGlobal(kSmCqLbwData + 5 * 4, 99);
  const auto fire = [&](uint32_t config) {
    f.Monitor(1, 5, 42, config);
    f.Arm(1, ArmValue(0, 0, true));
    return f.Stores();
  };
  auto stores = fire(1u << 4 | 1u << 8);
  ASSERT_EQ(stores.size(), 2u);
  EXPECT_EQ(stores[0].address, 0x100001000u);
  EXPECT_TRUE(stores[0].completion_queue);
  EXPECT_FALSE(stores[0].driver_queue);
  EXPECT_EQ(stores[1].address, 0x04C17000u);
  EXPECT_EQ(stores[1].value, 99u);
  stores = fire(1u << 4);
  ASSERT_EQ(stores.size(), 1u);
  EXPECT_EQ(stores[0].address, 0x100001004u);
  EXPECT_EQ(fire(1u << 4)[0].address, 0x100001000u);  // around
  f.sm.WriteGlobal(kSmCqIncMode + 5 * 4, 1);
  EXPECT_EQ(fire(1u << 4)[0].value, 42u);
  stores = fire(1u << 4);
  EXPECT_EQ(stores[0].value, 84u);
  EXPECT_EQ(stores[0].bytes, 8);
}

// Any value in any register: what a hostile program may do.
TEST(SyncManager, EveryRegisterTakesEveryValue) {
  for (const Asic asic : {Asic::kGaudi, Asic::kGaudi2}) {
    Fixture f(asic);
    uint64_t random = 1;
    for (int i = 0; i < 200'000; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      f.sm.Write(static_cast<uint32_t>(random >> 40) % f.r.size & ~3u, static_cast<uint32_t>(random));
      if (asic == Asic::kGaudi2)
        f.sm.WriteGlobal(static_cast<uint32_t>(random >> 33) % 0x1000 & ~3u, static_cast<uint32_t>(random));
      SmStore store;
      while (f.sm.TakeStore(&store)) {
      }
    }
    f.sm.Reset(0, 0, 0);
    EXPECT_EQ(f.sm.Read(0), 0u);
  }
}

}  // namespace
}  // namespace causeway::gaudi
