// SPDX-License-Identifier: Apache-2.0
// UD against specs/verbs.md 4.4, 5.4, 8.6 and rxe_req.c, rxe_recv.c, rxe_resp.c.
#include <gtest/gtest.h>

#include <algorithm>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kQkey = 0x11111111;
constexpr uint8_t kV4Source[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
constexpr uint8_t kV4Target[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2};
constexpr uint8_t kGroup[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 1, 2, 3};

class Ud : public Bench {
 protected:
  End MakeUd(uint32_t srq = 0) {
    End end = MakeEnd(64, kUd, srq);
    Modify(end, {.state = kRts, .qkey = kQkey, .sq_psn = 100});
    return end;
  }
  uint32_t MakeAh(const uint8_t* dgid, uint32_t pd = 0, uint16_t nic = 0) {
    AddressVector av = {};
    memcpy(av.dgid, dgid, 16);
    memcpy(av.sgid, kV4Source, 16);
    av.hop_limit = 64;
    av.traffic_class = 0x20;
    av.dest_nic = nic;
    return *devices_->CreateAh(nic_, pd != 0 ? pd : pd_, av);
  }
  Send To(const End& end, uint32_t length = 100) {
    return {.opcode = uapi::IB_WR_SEND,
            .local = reinterpret_cast<uint64_t>(source_.data()),
            .length = length,
            .lkey = source_key_,
            .ah = ah_,
            .remote_qpn = end.qpn,
            .qkey = kQkey};
  }
  void PostFull(End& end, uint32_t length = 8192) { PostReceive(end, target_.data(), length, target_key_); }
  bool Nothing(End& end) {
    uapi::ib_uverbs_wc entry;
    return !Poll(end, &entry);
  }

  std::vector<uint8_t> source_ = std::vector<uint8_t>(8192, 0x5a);
  std::vector<uint8_t> target_ = std::vector<uint8_t>(8192);
  uint32_t source_key_ = HostRegionOf(source_.data(), source_.size(), 0);
  uint32_t target_key_ = HostRegionOf(target_.data(), target_.size());
  uint32_t ah_ = MakeAh(kV4Target);
  End c_ = MakeUd(), d_ = MakeUd();
};

TEST_F(Ud, ADatagramArrivesBehindItsIpv4Header) {  // 4.6, 8.6
  PostFull(d_);
  Send send = To(d_, 101);
  send.opcode = uapi::IB_WR_SEND_WITH_IMM;
  send.immediate = 0x04030201;
  PostAndRing(c_, send);
  const auto done = Wait(c_);
  EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(done.opcode, uapi::IB_WC_SEND);
  EXPECT_EQ(done.byte_len, 101u);
  const auto got = Wait(d_);
  EXPECT_EQ(got.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(got.opcode, uapi::IB_WC_RECV);
  EXPECT_EQ(got.byte_len, 141u);
  EXPECT_EQ(got.src_qp, c_.qpn);
  EXPECT_EQ(got.ex, 0x04030201u);
  EXPECT_EQ(got.wc_flags, uint32_t{uapi::IB_WC_GRH | uapi::IB_WC_WITH_IMM});
  EXPECT_EQ(got.pkey_index, 0u);
  EXPECT_EQ(got.port_num, 1u);
  // 20 + UDP 8 + BTH 12 + DETH 8 + ImmDt 4 + 101 and 3 of padding + ICRC 4
  const uint8_t header[20] = {0x45, 0x20, 0, 160, 0, 100, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
  uint8_t seen[20];
  memcpy(seen, target_.data() + 20, 20);
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<uint32_t>(seen[i] << 8 | seen[i + 1]);
  EXPECT_EQ((sum & 0xffff) + (sum >> 16), 0xffffu);
  seen[10] = seen[11] = 0;
  EXPECT_EQ(memcmp(seen, header, 20), 0);
  EXPECT_TRUE(std::all_of(target_.data(), target_.data() + 20, [](uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(memcmp(target_.data() + 40, source_.data(), 101), 0);
}

TEST_F(Ud, AnIpv6HeaderFillsAllFortyBytes) {
  uint8_t gid[16] = {0xfe, 0x80};
  gid[15] = 9;
  PostFull(d_);
  Send send = To(d_, 4);
  send.ah = MakeAh(gid);
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(d_).byte_len, 44u);
  EXPECT_EQ(target_[0], 0x62);  // version 6, traffic class 0x20
  EXPECT_EQ(target_[5], 8 + 12 + 8 + 4 + 4);
  EXPECT_EQ(target_[6], 17);
  EXPECT_EQ(target_[7], 64);
  EXPECT_EQ(memcmp(target_.data() + 8, kV4Source, 16), 0);
  EXPECT_EQ(memcmp(target_.data() + 24, gid, 16), 0);
}

TEST_F(Ud, AQpReachesItselfAndQpsOfOtherNics) {
  PostFull(c_);
  PostAndRing(c_, To(c_));
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(c_).byte_len, c_.qpn == 0 ? 0 : 100u);  // the send's; the receive came first
  const uint32_t first = nic_;
  nic_ = devices_->AddNic();
  End far = MakeUd();
  PostFull(far);
  nic_ = first;
  Send send = To(far);
  PostAndRing(c_, send);  // the address is the first NIC's: not there
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_TRUE(Nothing(far));
  devices_->SetPort(0, 4096, 5);  // two NICs on one net device have the same addresses
  devices_->SetPort(1, 4096, 5);
  PostFull(far);
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(far).src_qp, c_.qpn);
  send.ah = MakeAh(kV4Target, 0, 1);
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(far).src_qp, c_.qpn);
}

TEST_F(Ud, WhatCannotBeDeliveredIsASuccessAndVanishes) {  // 5.3, 5.4, 8.6
  End reset = MakeEnd(64, kUd);
  End rc = MakeEnd();
  const struct {
    const char* name;
    std::function<void(Send&)> spoil;
    bool post = true;
  } cases[] = {{"wrong Q_Key", [](Send& send) { send.qkey = 1; }},
               {"no receive posted", [](Send&) {}, false},
               {"unknown QP", [](Send& send) { send.remote_qpn = 0xfffffe; }},
               {"a QP in RESET", [&](Send& send) { send.remote_qpn = reset.qpn; }},
               {"a connected QP", [&](Send& send) { send.remote_qpn = rc.qpn; }},
               {"nobody's address", [&](Send& send) { send.ah = MakeAh(kV4Target, 0, kNoNic); }},
               {"longer than the port's MTU", [](Send& send) { send.length = 4097; }},
               {"longer than the MTU, and a bad address handle",
                [](Send& send) {
                  send.length = 4097;
                  send.ah = 777;
                }},
               {"a group without members", [&](Send& send) {
                  send.ah = MakeAh(kGroup);
                  send.remote_qpn = kMulticastQpn;
                }}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    if (c.post) PostFull(d_);
    Send send = To(d_);
    c.spoil(send);
    PostAndRing(c_, send);
    EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
    EXPECT_TRUE(Nothing(d_));
    if (c.post) {  // the receive is still there
      PostAndRing(c_, To(d_));
      EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
      EXPECT_EQ(Wait(d_).status, uapi::IB_WC_SUCCESS);
    }
  }
  EXPECT_EQ(devices_->qp(c_.qpn).state.load(), kRts);
  EXPECT_EQ(devices_->qp(d_.qpn).state.load(), kRts);
}

TEST_F(Ud, TheMtuIsThePorts) {
  devices_->SetPort(nic_, 1024, 0);
  PostFull(d_);
  PostAndRing(c_, To(d_, 1025));
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_TRUE(Nothing(d_));
  PostAndRing(c_, To(d_, 1024));
  EXPECT_EQ(Wait(d_).byte_len, 1064u);
}

TEST_F(Ud, ErrorsOfTheSender) {  // 5.3; the QP goes to ERR (v61), not to SQE
  const struct {
    const char* name;
    std::function<void(Send&)> spoil;
    uint32_t want;
  } cases[] = {
      {"no address handle", [](Send& send) { send.ah = 0; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"unknown address handle", [](Send& send) { send.ah = 777; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"address handle out of range", [](Send& send) { send.ah = ~0u; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"address handle of another PD", [this](Send& send) { send.ah = MakeAh(kV4Target, pd_ + 99); },
       uapi::IB_WC_LOC_QP_OP_ERR},
      {"write", [](Send& send) { send.opcode = uapi::IB_WR_RDMA_WRITE; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"read", [](Send& send) { send.opcode = uapi::IB_WR_RDMA_READ; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"send with invalidate", [](Send& send) { send.opcode = uapi::IB_WR_SEND_WITH_INV; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"bind", [](Send& send) { send.opcode = uapi::IB_WR_BIND_MW; }, uapi::IB_WC_LOC_QP_OP_ERR},
      {"bad lkey", [](Send& send) { send.lkey ^= 1; }, uapi::IB_WC_LOC_PROT_ERR},
      {"too many sges", [](Send& send) { send.num_sge = 5; }, uapi::IB_WC_LOC_QP_OP_ERR}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    End sender = MakeUd();
    Send send = To(d_);
    c.spoil(send);
    Post(sender, send);
    PostAndRing(sender, To(d_));
    EXPECT_EQ(Wait(sender).status, c.want);
    EXPECT_EQ(Wait(sender).status, uapi::IB_WC_WR_FLUSH_ERR);
    EXPECT_EQ(devices_->qp(sender.qpn).state.load(), kErr);
  }
  EXPECT_TRUE(Nothing(d_));
}

TEST_F(Ud, ErrorsOfTheReceiverAreItsOwn) {  // 5.4: the sender succeeds
  const uint32_t srq = MakeSrq();
  const struct {
    const char* name;
    uint32_t length, key, num_sge, want;
    bool shared;
  } cases[] = {{"no room for the header", 139, target_key_, 1, uapi::IB_WC_LOC_LEN_ERR, false},
               {"bad key", 4096, target_key_ ^ 1, 1, uapi::IB_WC_LOC_PROT_ERR, false},
               {"read-only", 4096, source_key_, 1, uapi::IB_WC_LOC_PROT_ERR, false},
               {"malformed", 4096, target_key_, 5, uapi::IB_WC_WR_FLUSH_ERR, false},
               {"short, of an SRQ", 139, target_key_, 1, uapi::IB_WC_LOC_LEN_ERR, true}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    End receiver = MakeUd(c.shared ? srq : 0);
    if (c.shared) {
      PostShared(srq, target_.data(), c.length, c.key, 3, c.num_sge);
    } else {
      PostReceive(receiver, target_.data(), c.length, c.key, 3, c.num_sge);
    }
    PostAndRing(c_, To(receiver));
    EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
    const auto got = Wait(receiver);
    EXPECT_EQ(got.status, c.want);
    EXPECT_EQ(got.wr_id, 3u);
    EXPECT_EQ(devices_->qp(receiver.qpn).state.load(), kErr);
  }
}

TEST_F(Ud, APrivilegedQkeyIsTheSendersOwn) {  // IBTA 10.2.5
  PostFull(d_);
  Send send = To(d_);
  send.qkey = 0x80000000;
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(d_).status, uapi::IB_WC_SUCCESS);
}

TEST_F(Ud, SharedReceiveQueue) {
  const uint32_t srq = MakeSrq();
  End receiver = MakeUd(srq);
  PostShared(srq, target_.data(), 4096, target_key_, 5);
  PostAndRing(c_, To(receiver));
  EXPECT_EQ(Wait(receiver).wr_id, 5u);
}

TEST_F(Ud, AGroupReachesEveryMemberOfEveryNic) {
  const uint32_t first = nic_;
  nic_ = devices_->AddNic();
  End far = MakeUd();
  nic_ = first;
  for (End* end : {&c_, &d_, &far}) {
    ASSERT_TRUE(devices_->AttachMulticast(end->qpn, kGroup));
    ASSERT_TRUE(devices_->AttachMulticast(end->qpn, kGroup));  // again: nothing happens
  }
  ASSERT_TRUE(devices_->AttachMulticast(d_.qpn, kV4Target));
  Send send = To(d_);
  send.ah = MakeAh(kGroup, 0, kNoNic);
  send.remote_qpn = kMulticastQpn;
  for (End* end : {&d_, &far}) PostFull(*end);
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(d_).byte_len, 140u);
  EXPECT_EQ(Wait(far).src_qp, c_.qpn);
  EXPECT_TRUE(Nothing(d_));

  EXPECT_TRUE(devices_->DetachMulticast(d_.qpn, kGroup));
  EXPECT_EQ(devices_->DetachMulticast(d_.qpn, kGroup).error().code(), EINVAL);
  devices_->DestroyQp(far.qpn);  // leaves by itself
  PostFull(d_);
  PostFull(c_);
  PostAndRing(c_, send);
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(c_).status, uapi::IB_WC_SUCCESS);  // its own
  EXPECT_TRUE(Nothing(d_));
}

TEST_F(Ud, AGroupHoldsAsManyQpsOfANicAsRxeHas) {  // RXE_MAX_QP_PER_MCAST_GRP
  std::vector<End> ends;
  for (int i = 0; i < 56; ++i) {
    ends.push_back(MakeEnd(4, kUd));
    ASSERT_TRUE(devices_->AttachMulticast(ends.back().qpn, kGroup));
  }
  EXPECT_EQ(devices_->AttachMulticast(d_.qpn, kGroup).error().code(), ENOMEM);
}

TEST_F(Ud, PacketsAreCounted) {  // rxe_hw_counters.c
  PostFull(d_);
  PostAndRing(c_, To(d_));
  PostAndRing(c_, To(d_));
  const NicCounters& counters = devices_->counters(nic_);
  EXPECT_EQ(counters.sent_pkts.load(), 2u);
  EXPECT_EQ(counters.rcvd_pkts.load(), 2u);  // one found no receive
  EXPECT_EQ(counters.rdma_sends.load(), 2u);
  EXPECT_EQ(counters.rdma_recvs.load(), 1u);
  devices_->DestroyQp(c_.qpn);
  devices_->DestroyQp(d_.qpn);
  EXPECT_EQ(devices_->counters(nic_).rdma_sends.load(), 2u);
  EXPECT_EQ(devices_->counters(nic_).rdma_recvs.load(), 1u);
}

}  // namespace
}  // namespace causeway::roce
