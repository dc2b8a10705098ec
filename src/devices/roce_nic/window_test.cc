// SPDX-License-Identifier: Apache-2.0
// Memory windows against specs/verbs.md 4.10 and rxe_mw.c.
#include <gtest/gtest.h>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kRemote = uapi::IB_ACCESS_REMOTE_WRITE | uapi::IB_ACCESS_REMOTE_READ | uapi::IB_ACCESS_REMOTE_ATOMIC;
constexpr uint64_t kStart = 4096, kLength = 4096;  // of the region; the window is in its middle
constexpr uint64_t kAt = kStart + 1024, kWindow = 512;

// The owner of the windows is b_, who binds; a_ writes through them.
class Windows : public Bench {
 protected:
  uint32_t MakeMw(MwType type, uint32_t pd = 0) { return *devices_->CreateMw(nic_, pd != 0 ? pd : pd_, type); }
  uint32_t KeyOf(uint32_t mw) { return __atomic_load_n(&devices_->mw(mw).rkey, __ATOMIC_RELAXED); }
  Send BindTo(uint32_t mw, uint32_t access = kRemote) {
    return {.opcode = uapi::IB_WR_BIND_MW,
            .lkey = region_,
            .remote = kAt,
            .rkey = KeyOf(mw),
            .window = kWindow,
            .new_key = KeyOf(mw) + 1,
            .access = access};
  }
  uint32_t Bind(End& end, uint32_t mw, uint32_t access = kRemote) {
    PostAndRing(end, BindTo(mw, access));
    const auto done = Wait(end);
    EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
    EXPECT_EQ(done.opcode, uapi::IB_WC_BIND_MW);
    EXPECT_EQ(done.byte_len, 0u);
    return KeyOf(mw);
  }
  uint32_t Status(End& end, uint64_t remote, uint32_t rkey, uint32_t length = 8,
                  uint32_t opcode = uapi::IB_WR_RDMA_WRITE) {
    PostAndRing(end, {.opcode = opcode,
                      .local = reinterpret_cast<uint64_t>(buffer_.data()),
                      .length = length,
                      .lkey = buffer_key_,
                      .remote = remote,
                      .rkey = rkey});
    return Wait(end).status;
  }
  // A write by a fresh pair, so that a failure ends no connection of the test's; with type 2, `owner` is the binder.
  uint32_t FreshStatus(uint64_t remote, uint32_t rkey, uint32_t length = 8, uint32_t opcode = uapi::IB_WR_RDMA_WRITE) {
    auto [a, b] = MakePair();
    return Status(a, remote, rkey, length, opcode);
  }

  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(8192, 0x77);
  uint32_t buffer_key_ = HostRegionOf(buffer_.data(), buffer_.size());
  uint32_t region_ = DeviceRegion(kStart, kLength, 1, uapi::IB_ACCESS_LOCAL_WRITE | uapi::IB_ACCESS_MW_BIND);
};

TEST_F(Windows, Type1GivesEveryQpOfThePdItsBoundsAndRights) {
  const uint32_t mw = MakeMw(MwType::k1);
  EXPECT_EQ(KeyOf(mw) >> 8, 0x80001u + mw);
  const uint32_t before = KeyOf(mw);
  EXPECT_EQ(FreshStatus(kAt, before), uapi::IB_WC_REM_ACCESS_ERR);  // not bound yet
  const uint32_t key = Bind(b_, mw);
  EXPECT_EQ(key, (before & ~0xffu) | ((before + 1) & 0xff));
  EXPECT_EQ(devices_->WindowsOf(region_ >> 8), 1u);
  EXPECT_EQ(FreshStatus(kAt, key), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(std::to_integer<int>(*Device(kAt)), 0x77);
  EXPECT_EQ(FreshStatus(kAt + kWindow - 8, key), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(FreshStatus(kAt, key, 8, uapi::IB_WR_RDMA_READ), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(FreshStatus(kAt, key, 8, uapi::IB_WR_ATOMIC_FETCH_AND_ADD), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(FreshStatus(kAt - 1, key), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(FreshStatus(kAt + kWindow - 7, key), uapi::IB_WC_REM_ACCESS_ERR);  // rxe of 6.1 lets it pass
  EXPECT_EQ(FreshStatus(~uint64_t{0} - 3, key), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(FreshStatus(kAt, before), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(FreshStatus(kAt, region_), uapi::IB_WC_REM_ACCESS_ERR);  // the region itself gives no remote rights

  const uint32_t reader = Bind(b_, mw, uapi::IB_ACCESS_REMOTE_READ);  // bound again, the old key is dead
  EXPECT_EQ(FreshStatus(kAt, key), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(FreshStatus(kAt, reader), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(FreshStatus(kAt, reader, 8, uapi::IB_WR_RDMA_READ), uapi::IB_WC_SUCCESS);

  Send unbind = BindTo(mw);
  unbind.window = 0;  // length 0 unbinds
  PostAndRing(b_, unbind);
  EXPECT_EQ(Wait(b_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(devices_->WindowsOf(region_ >> 8), 0u);
  EXPECT_EQ(FreshStatus(kAt, KeyOf(mw), 8, uapi::IB_WR_RDMA_READ), uapi::IB_WC_REM_ACCESS_ERR);
  Bind(b_, mw);
  devices_->DestroyMw(mw);
  EXPECT_EQ(FreshStatus(kAt, KeyOf(mw)), uapi::IB_WC_REM_ACCESS_ERR);
  EXPECT_EQ(devices_->WindowsOf(region_ >> 8), 0u);
}

TEST_F(Windows, Type2IsTheBindingQpsOwn) {
  const uint32_t mw = MakeMw(MwType::k2);
  const uint32_t key = Bind(b_, mw);
  EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(FreshStatus(kAt, key), uapi::IB_WC_REM_ACCESS_ERR);
  PostAndRing(b_, {.opcode = uapi::IB_WR_LOCAL_INV, .immediate = key});
  const auto done = Wait(b_);
  EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(done.opcode, uapi::IB_WC_LOCAL_INV);
  EXPECT_EQ(done.byte_len, 0u);
  Bind(b_, mw);                                                 // free again
  EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_REM_ACCESS_ERR);  // under its former key
}

TEST_F(Windows, AZeroBasedWindowCountsFromItsStart) {
  const uint32_t mw = MakeMw(MwType::k2);
  const uint32_t key = Bind(b_, mw, kRemote | uapi::IB_ZERO_BASED);
  memset(Device(kAt + 16), 0, 8);
  EXPECT_EQ(Status(a_, 16, key), uapi::IB_WC_SUCCESS);
  EXPECT_EQ(std::to_integer<int>(*Device(kAt + 16)), 0x77);
  EXPECT_EQ(Status(a_, kWindow - 7, key), uapi::IB_WC_REM_ACCESS_ERR);
}

TEST_F(Windows, SendWithInvalidateFreesTheWindowAndTellsTheReceiver) {
  const uint32_t mw = MakeMw(MwType::k2);
  const uint32_t key = Bind(b_, mw);
  PostReceive(b_, buffer_.data(), 64, buffer_key_);
  PostAndRing(a_, {.opcode = uapi::IB_WR_SEND_WITH_INV,
                   .local = reinterpret_cast<uint64_t>(buffer_.data()),
                   .length = 8,
                   .lkey = buffer_key_,
                   .immediate = key});
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_SEND);
  const auto got = Wait(b_);
  EXPECT_EQ(got.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(got.wc_flags, uint32_t{uapi::IB_WC_GRH | uapi::IB_WC_WITH_INVALIDATE});
  EXPECT_EQ(got.ex, key);
  EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_REM_ACCESS_ERR);
}

TEST_F(Windows, WhatCannotBeBoundIsABindError) {  // rxe_check_bind_mw()
  const uint32_t no_bind = DeviceRegion(kStart, kLength, 1, uapi::IB_ACCESS_LOCAL_WRITE);
  const uint32_t read_only = DeviceRegion(kStart, kLength, 1, uapi::IB_ACCESS_MW_BIND);
  const uint32_t zero_based =
      DeviceRegion(kStart, kLength, 1, uapi::IB_ACCESS_LOCAL_WRITE | uapi::IB_ACCESS_MW_BIND | uapi::IB_ZERO_BASED);
  const uint32_t other_pd = HostRegionOf(buffer_.data(), 4096, uapi::IB_ACCESS_MW_BIND | kAllAccess, pd_ + 100);
  const uint32_t foreign = MakeMw(MwType::k1, pd_ + 100);
  const struct {
    const char* name;
    MwType type;
    std::function<void(Send&)> spoil;
    bool binds = false;
  } cases[] = {
      {"as it should be", MwType::k1, [](Send&) {}, true},
      {"stale window key", MwType::k1, [](Send& s) { s.rkey ^= 1; }},
      {"no such window", MwType::k1, [](Send& s) { s.rkey = 0xfffff << 8; }},
      {"a region's key for the window's", MwType::k1, [&](Send& s) { s.rkey = region_; }},
      {"a window of another PD", MwType::k1, [&](Send& s) { s.rkey = KeyOf(foreign); }},
      {"unknown region", MwType::k1, [](Send& s) { s.lkey ^= 1; }},
      {"region 0", MwType::k1, [](Send& s) { s.lkey = 0; }},
      {"a window's key for the region's", MwType::k1, [](Send& s) { s.lkey = s.rkey; }},
      {"region without MW_BIND", MwType::k1, [&](Send& s) { s.lkey = no_bind; }},
      {"region of another PD", MwType::k1,
       [&](Send& s) {
         s.lkey = other_pd;
         s.remote = reinterpret_cast<uint64_t>(buffer_.data());
       }},
      {"zero-based region", MwType::k1, [&](Send& s) { s.lkey = zero_based; }},
      {"remote write without LOCAL_WRITE", MwType::k1, [&](Send& s) { s.lkey = read_only; }},
      {"remote read without LOCAL_WRITE", MwType::k1,
       [&](Send& s) {
         s.lkey = read_only;
         s.access = uapi::IB_ACCESS_REMOTE_READ;
       },
       true},
      {"type 1, zero-based", MwType::k1, [](Send& s) { s.access |= uapi::IB_ZERO_BASED; }},
      {"before the region", MwType::k1, [](Send& s) { s.remote = kStart - 1; }},
      {"past the region", MwType::k1, [](Send& s) { s.remote = kStart + kLength - kWindow + 1; }},
      {"longer than memory", MwType::k1, [](Send& s) { s.window = ~uint64_t{0}; }},
      {"type 2", MwType::k2, [](Send&) {}, true},
      {"type 2, length 0", MwType::k2, [](Send& s) { s.window = 0; }},
      {"type 2, zero-based and too long", MwType::k2,
       [](Send& s) {
         s.access |= uapi::IB_ZERO_BASED;
         s.window = kLength + 1;
       }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair();
    const uint32_t mw = MakeMw(c.type);
    const uint32_t before = KeyOf(mw);
    Send bind = BindTo(mw);
    c.spoil(bind);
    PostAndRing(b, bind);
    EXPECT_EQ(Wait(b).status, c.binds ? uapi::IB_WC_SUCCESS : uapi::IB_WC_MW_BIND_ERR);
    EXPECT_EQ(devices_->qp(b.qpn).state.load(), c.binds ? kRts : kErr);
    if (!c.binds) {
      EXPECT_EQ(KeyOf(mw), before);
    }
  }
  auto [a, b] = MakePair();
  const uint32_t mw = MakeMw(MwType::k2);
  Bind(b, mw);
  PostAndRing(b, BindTo(mw));  // type 2, bound already
  EXPECT_EQ(Wait(b).status, uapi::IB_WC_MW_BIND_ERR);
}

TEST_F(Windows, WhatCannotBeInvalidated) {  // rxe_invalidate_mw(): LOC_QP_OP_ERR, and REM_INV_REQ_ERR at a receiver
  const uint32_t type1 = MakeMw(MwType::k1);
  Bind(b_, type1);
  const uint32_t bound = MakeMw(MwType::k2);
  Bind(b_, bound);
  const struct {
    const char* name;
    uint32_t key;
  } cases[] = {{"type 1", KeyOf(type1)},        {"a free window", KeyOf(MakeMw(MwType::k2))},
               {"stale key", KeyOf(bound) ^ 1}, {"another PD's", KeyOf(MakeMw(MwType::k2, pd_ + 100))},
               {"a region", region_},           {"nothing", 0},
               {"beyond all windows", ~0u}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair();
    PostAndRing(a, {.opcode = uapi::IB_WR_LOCAL_INV, .immediate = c.key});
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_LOC_QP_OP_ERR);
    auto [c2, d2] = MakePair();
    PostReceive(d2, buffer_.data(), 64, buffer_key_);
    PostAndRing(c2, {.opcode = uapi::IB_WR_SEND_WITH_INV,
                     .local = reinterpret_cast<uint64_t>(buffer_.data()),
                     .length = 8,
                     .lkey = buffer_key_,
                     .immediate = c.key});
    EXPECT_EQ(Wait(c2).status, uapi::IB_WC_SUCCESS);
    EXPECT_EQ(Wait(d2).status, uapi::IB_WC_REM_INV_REQ_ERR);
  }
  EXPECT_EQ(Status(a_, kAt, KeyOf(bound)), uapi::IB_WC_SUCCESS);
}

TEST_F(Windows, ADestroyedQpFreesItsWindowsAndADeadRegionEndsThem) {
  const uint32_t mw = MakeMw(MwType::k2);
  auto [a, b] = MakePair();
  Bind(b, mw);
  EXPECT_EQ(devices_->WindowsOf(region_ >> 8), 1u);
  devices_->DestroyQp(b.qpn);
  EXPECT_EQ(devices_->WindowsOf(region_ >> 8), 0u);
  const uint32_t key = Bind(b_, mw);
  devices_->DestroyMr(region_ >> 8);
  EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_REM_ACCESS_ERR);
}

TEST_F(Windows, AThreadKilledHalfWayThroughABindLeavesAWindowThatIsBoundToNothing) {
  auto* nic = reinterpret_cast<NicMemory*>(arena_ + header_->region_offset[ipc::kRegionNic]);
  const uint32_t mw = MakeMw(MwType::k2);
  const uint32_t key = Bind(b_, mw);
  KillWhileHolding(nic->mws[mw].lock, ipc::kLockShared, [&] { EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_SUCCESS); });
  nic->mws[mw].changing.store(1);
  KillWhileHolding(nic->mws[mw].lock, ipc::kLockShared,
                   [&] { EXPECT_EQ(Status(a_, kAt, key), uapi::IB_WC_REM_ACCESS_ERR); });
  auto [a, b] = MakePair();
  EXPECT_EQ(Status(a, kAt, Bind(b, mw)), uapi::IB_WC_SUCCESS);
}

// Binds, invalidations and writes at once: every write ends well or in an access error, and every byte that a window
// does not cover stays.
TEST_F(Windows, BindsRaceWithResponders) {
  auto* slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + header_->slots_offset);
  slots[2].state.store(ipc::ThreadSlot::kConnected);
  memset(Device(kStart), 0, kLength);
  const uint32_t mw = MakeMw(MwType::k1);
  Bind(b_, mw);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop.load()) {
      auto [a, b] = MakePair();
      Post(a, {.local = reinterpret_cast<uint64_t>(buffer_.data()),
               .length = 512,
               .lkey = buffer_key_,
               .remote = kAt,
               .rkey = KeyOf(mw)});
      RingDoorbell(engine_, 2, a.qpn);
      const uint32_t status = Wait(a).status;
      EXPECT_TRUE(status == uapi::IB_WC_SUCCESS || status == uapi::IB_WC_REM_ACCESS_ERR) << status;
      for (const End& end : {a, b}) {
        const Ring rings[] = {devices_->qp(end.qpn).sq, devices_->qp(end.qpn).rq, devices_->cq_ring(end.cq)};
        devices_->DestroyQp(end.qpn);
        devices_->DestroyCq(end.cq);
        for (const Ring& ring : rings) devices_->FreeRing(ring);
      }
    }
  });
  for (int i = 0; i < 2000; ++i) Bind(b_, mw, i % 2 == 0 ? uapi::IB_ACCESS_REMOTE_READ : kRemote);
  stop.store(true);
  writer.join();
  for (uint64_t at = kStart; at < kStart + kLength; ++at) {
    if (at >= kAt && at < kAt + kWindow) continue;
    ASSERT_EQ(std::to_integer<int>(*Device(at)), 0) << at;
  }
}

}  // namespace
}  // namespace causeway::roce
