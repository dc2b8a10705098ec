// SPDX-License-Identifier: Apache-2.0
// Rings are written by programs, so every byte of them is hostile: random work requests, receives and indices must end
// in completions, whatever they say, and never outside the regions they name. Seeded, so a failure repeats.
#include <gtest/gtest.h>

#include <random>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

class HostileRing : public Bench {
 protected:
  uint64_t Any() { return random_(); }
  uint32_t Any32() { return static_cast<uint32_t>(random_()); }
  // Often something that passes the next check, so that later ones are reached.
  uint64_t Near(std::initializer_list<uint64_t> likely) {
    if (random_() % 4 == 0) return random_();
    return likely.begin()[random_() % likely.size()];
  }
  std::mt19937_64 random_{20261122};
};

TEST_F(HostileRing, RandomEntriesNeverEscapeTheirRegions) {
  std::vector<uint8_t> host(3 * 4096, 0xee);
  uint8_t* inside = host.data() + 4096;  // the region; what lies around it is the canary
  const uint32_t host_key = HostRegionOf(inside, 4096);
  const uint32_t device = DeviceRegion(4096, 8192, 2);
  memset(Device(0), 0xdd, 4096);
  memset(Device(4096 + 8192), 0xdd, 4096);
  const auto host_at = reinterpret_cast<uint64_t>(inside);
  const uint32_t window1 = *devices_->CreateMw(nic_, pd_, MwType::k1);
  const uint32_t window2 = *devices_->CreateMw(nic_, pd_, MwType::k2);
  const uint32_t bindable = HostRegionOf(inside, 4096, kAllAccess | uapi::IB_ACCESS_MW_BIND);
  AddressVector av = {};
  av.dgid[15] = av.sgid[15] = 1;
  const uint32_t ah = *devices_->CreateAh(nic_, pd_, av);
  uint8_t group[16] = {0xff, 0x0e};
  memcpy(av.dgid, group, 16);
  const uint32_t group_ah = *devices_->CreateAh(nic_, pd_, av);
  constexpr uint32_t kTypes[] = {kRc, kRc, kUc, kUd};
  for (int round = 0; round < 6000; ++round) {
    const uint32_t type = kTypes[round % 4];
    const bool shared = (round & 4) != 0;
    const uint32_t srq = shared ? MakeSrq(4, 2) : 0;
    End a = MakeEnd(8, type);
    End b = MakeEnd(8, type, srq);
    Connect(a, b);
    Connect(b, a);
    Modify(a, {.timeout = 1, .retry_count = 0, .rnr_retry = 0});
    QpContext& qp = devices_->qp(a.qpn);
    QpContext& peer = devices_->qp(b.qpn);
    if (type == kUd) {
      ASSERT_TRUE(devices_->AttachMulticast(b.qpn, group));
    }
    const Ring receives = shared ? devices_->srq_ring(srq) : peer.rq;
    std::vector<Ring> rings;
    for (const End& end : {a, b}) {
      for (const Ring& ring : {devices_->qp(end.qpn).sq, devices_->qp(end.qpn).rq, devices_->cq_ring(end.cq)}) {
        rings.push_back(ring);
      }
    }
    for (int i = 0; i < 3; ++i) {
      auto* receive = uapi::RxeSlot(Queue(receives), static_cast<uint32_t>(i), receives.log2_elem);
      auto* wqe = reinterpret_cast<uapi::rxe_recv_wqe*>(receive);
      wqe->dma.num_sge = static_cast<uint32_t>(Near({0, 1, 2, 4, 5}));
      for (int s = 0; s < 4; ++s) {
        reinterpret_cast<uapi::rxe_sge*>(wqe + 1)[s] = {Near({host_at, host_at + 4000, 4096}),
                                                        static_cast<uint32_t>(Near({0, 8, 100, 4096})),
                                                        static_cast<uint32_t>(Near({host_key, device}))};
      }
      auto* send =
          reinterpret_cast<uapi::rxe_send_wqe*>(uapi::RxeSlot(Queue(qp.sq), static_cast<uint32_t>(i), qp.sq.log2_elem));
      auto* words = reinterpret_cast<uint32_t*>(send);
      for (size_t w = 0; w < 512 / 4; ++w) words[w] = Any32();
      send->wr.opcode = static_cast<uint32_t>(Near({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15}));
      send->wr.send_flags = Any32() % 32;
      const uint32_t windows[] = {devices_->mw(window1).rkey, devices_->mw(window2).rkey};
      send->wr.ex = static_cast<uint32_t>(Near({windows[0], windows[1], device, 0}));
      if (type == kUd) {
        send->wr.wr.ud.ah_num = static_cast<uint32_t>(Near({ah, group_ah}));
        send->wr.wr.ud.remote_qpn = static_cast<uint32_t>(Near({a.qpn, b.qpn, kMulticastQpn}));
        send->wr.wr.ud.remote_qkey = static_cast<uint32_t>(Near({0, 0x80000000}));
      } else if (send->wr.opcode == uapi::IB_WR_BIND_MW) {
        send->wr.wr.mw = {Near({host_at, host_at + 64, host_at + 4096}),
                          Near({0, 64, 4096, 4097}),
                          static_cast<uint32_t>(Near({bindable, bindable, host_key})),
                          static_cast<uint32_t>(Near({windows[0], windows[1]})),
                          Any32(),
                          Any32() % 64};
      } else if (send->wr.opcode == uapi::IB_WR_FLUSH) {
        send->wr.wr.flush.remote_addr = Near({4096, host_at});
        send->wr.wr.flush.rkey = static_cast<uint32_t>(Near({device, host_key, windows[0]}));
      } else if (send->wr.opcode == 5 || send->wr.opcode == 6) {
        send->wr.wr.atomic.remote_addr = Near({4096, 4104, host_at, 4096 + 8191});
        send->wr.wr.atomic.rkey = static_cast<uint32_t>(Near({device, host_key}));
      } else {
        send->wr.wr.rdma.remote_addr = Near({4096, 8000, host_at, host_at + 4095, 4096 + 8191});
        send->wr.wr.rdma.rkey = static_cast<uint32_t>(Near({device, host_key, windows[0], windows[1]}));
      }
      send->dma.length = static_cast<uint32_t>(Near({0, 1, 8, 64, 65, 4096, 8192}));
      send->dma.num_sge = static_cast<uint32_t>(Near({0, 1, 2, 4, 5, 33}));
      if ((send->wr.send_flags & uapi::IB_SEND_INLINE) == 0) {
        for (int s = 0; s < 4; ++s) {
          reinterpret_cast<uapi::rxe_sge*>(send + 1)[s] = {Near({host_at, host_at + 4000, 4096}),
                                                           static_cast<uint32_t>(Near({0, 8, 100, 4096})),
                                                           static_cast<uint32_t>(Near({host_key, device}))};
        }
      }
    }
    Queue(receives)->producer_index.store(static_cast<uint32_t>(Near({0, 1, 3})));
    Queue(qp.sq)->producer_index.store(static_cast<uint32_t>(Near({1, 2, 3})));
    Queue(devices_->cq_ring(a.cq))->consumer_index.store(static_cast<uint32_t>(Near({0, 0, 1, 2})));
    Ring_(a);
    for (uint64_t word : {Any(), Any()}) {  // the constants of a queue's header are the NIC's own to know
      *reinterpret_cast<uint64_t*>(Queue(qp.sq)) = word;
      *reinterpret_cast<uint64_t*>(Queue(receives)) = word;
    }
    Queue(receives)->consumer_index.store(Any32());
    Ring_(a);
    Modify(a, {.state = kErr});
    const uint32_t state = qp.state.load();
    EXPECT_EQ(state, kErr);
    for (const End& end : {a, b}) {
      devices_->DestroyQp(end.qpn);
      devices_->DestroyCq(end.cq);
    }
    for (const Ring& ring : rings) devices_->FreeRing(ring);
    if (shared) {
      const Ring ring = devices_->srq_ring(srq);
      devices_->DestroySrq(srq);
      devices_->FreeRing(ring);
    }
    for (int i = 0; i < 4096; ++i) {
      ASSERT_EQ(host[static_cast<size_t>(i)], 0xee) << "before the region, round " << round;
      ASSERT_EQ(host[static_cast<size_t>(i) + 8192], 0xee) << "behind the region, round " << round;
      ASSERT_EQ(std::to_integer<int>(Device(0)[i]), 0xdd) << round;
      ASSERT_EQ(std::to_integer<int>(Device(4096 + 8192)[i]), 0xdd) << round;
    }
  }
}

}  // namespace
}  // namespace causeway::roce
