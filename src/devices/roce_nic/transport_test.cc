// SPDX-License-Identifier: Apache-2.0
// UC, FLUSH, ATOMIC_WRITE, sequence numbers, draining, regions that stall: specs/verbs.md 4.3, 5.2 to 5.5, 8.4 and the
// functions of rxe that each test names.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

class Transport : public Bench {
 protected:
  Send Make(uint32_t opcode, uint32_t length = 8, uint64_t remote = 64) {
    return {.opcode = opcode,
            .local = reinterpret_cast<uint64_t>(buffer_.data()),
            .length = length,
            .lkey = buffer_key_,
            .remote = remote,
            .rkey = device_};
  }
  uint32_t StateOf(const End& end) { return devices_->qp(end.qpn).state.load(); }
  bool Nothing(End& end) {
    uapi::ib_uverbs_wc entry;
    return !Poll(end, &entry);
  }

  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(8192, 0x31);
  uint32_t buffer_key_ = HostRegionOf(buffer_.data(), buffer_.size());
  std::vector<uint8_t> target_ = std::vector<uint8_t>(8192);
  uint32_t target_key_ = HostRegionOf(target_.data(), target_.size());
  uint32_t device_ = DeviceRegion(0, 4096);
};

// rxe_opcode.c rxe_wr_opcode_info[], rxe_req.c next_opcode_uc(), next_opcode_rc().
TEST_F(Transport, OpcodesThatAQpTypeDoesNotHave) {
  const struct {
    uint32_t type, opcode;
  } cases[] = {{kUc, uapi::IB_WR_RDMA_READ},
               {kUc, uapi::IB_WR_ATOMIC_CMP_AND_SWP},
               {kUc, uapi::IB_WR_LOCAL_INV},
               {kUc, uapi::IB_WR_ATOMIC_FETCH_AND_ADD},
               {kUc, uapi::IB_WR_FLUSH},
               {kUc, uapi::IB_WR_ATOMIC_WRITE},
               {kUc, uapi::IB_WR_TSO},
               {kUc, uapi::IB_WR_SEND_WITH_INV},
               {kRc, uapi::IB_WR_TSO},
               {kRc, uapi::IB_WR_RDMA_READ_WITH_INV},
               {kRc, 12},
               {kRc, 13},
               {kRc, 16},
               {kRc, 32},
               {kRc, 33},
               {kRc, ~0u}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.opcode);
    auto [a, b] = MakePair(c.type);
    PostAndRing(a, Make(c.opcode));
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_LOC_QP_OP_ERR);
    EXPECT_EQ(StateOf(a), kErr);
    EXPECT_EQ(StateOf(b), kRts);
  }
}

// A NIC that was built without an opcode neither sends nor serves it; other requests are as ever.
TEST_F(Transport, OpcodesThatANicDoesNotHave) {
  const uint32_t whole = nic_;
  for (const uint32_t opcode : {uapi::IB_WR_ATOMIC_CMP_AND_SWP, uapi::IB_WR_ATOMIC_FETCH_AND_ADD,
                                uapi::IB_WR_ATOMIC_WRITE, uapi::IB_WR_FLUSH}) {
    SCOPED_TRACE(opcode);
    const uint32_t lacking = devices_->AddNic(1u << opcode);
    struct {
      uint32_t requester, responder, want;
    } const cases[] = {{lacking, whole, uapi::IB_WC_LOC_QP_OP_ERR}, {whole, lacking, uapi::IB_WC_REM_INV_REQ_ERR}};
    for (const auto& c : cases) {
      SCOPED_TRACE(c.want);
      const auto end_on = [this](uint32_t nic) {
        nic_ = nic;
        return MakeEnd();
      };
      End a = end_on(c.requester), b = end_on(c.responder);
      const uint32_t region = DeviceRegion(0, 4096);
      Connect(a, b);
      nic_ = c.requester;
      const uint32_t source = HostRegionOf(buffer_.data(), buffer_.size());
      Connect(b, a);
      Send send = Make(uapi::IB_WR_RDMA_WRITE, 8);
      send.rkey = region;
      send.lkey = source;
      PostAndRing(a, send);
      EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
      send.opcode = opcode;
      PostAndRing(a, send);
      EXPECT_EQ(Wait(a).status, c.want);
    }
  }
  nic_ = whole;
}

TEST_F(Transport, UcMovesDataWithoutAnswers) {
  auto [a, b] = MakePair(kUc);
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE, 3000));
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(memcmp(Device(64), buffer_.data(), 3000), 0);
  PostReceive(b, target_.data(), 4096, target_key_, 1);
  PostReceive(b, target_.data(), 4096, target_key_, 2);
  PostReceive(b, target_.data(), 4096, target_key_, 3);
  Send send = Make(uapi::IB_WR_SEND_WITH_IMM, 2000);
  send.immediate = 7;
  PostAndRing(a, send);
  EXPECT_EQ(Wait(a).wc_flags, uint32_t{uapi::IB_WC_WITH_IMM});
  EXPECT_EQ(Wait(b).byte_len, 2000u);
  PostAndRing(a, Make(uapi::IB_WR_SEND));
  EXPECT_EQ(Wait(b).wr_id, 2u);
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE_WITH_IMM));
  EXPECT_EQ(Wait(b).opcode, uapi::IB_WC_RECV_RDMA_WITH_IMM);
}

// 5.4: what fails at a UC responder is its own affair.
TEST_F(Transport, UcErrorsAreSilent) {
  constexpr uint32_t kNone = ~0u;
  const uint32_t srq = MakeSrq();
  const struct {
    const char* name;
    std::function<void(Send&, End&)> spoil;
    uint32_t opcode, receive_length, want_responder;
    bool responder_in_error;
    bool shared = false;
  } cases[] = {
      {"bad rkey", [](Send& s, End&) { s.rkey ^= 1; }, uapi::IB_WR_RDMA_WRITE, 0, kNone, false},
      {"QP without REMOTE_WRITE", [this](Send&, End& b) { Modify(b, {.access = 0}); }, uapi::IB_WR_RDMA_WRITE, 0, kNone,
       false},
      {"immediate, bad rkey", [](Send& s, End&) { s.rkey ^= 1; }, uapi::IB_WR_RDMA_WRITE_WITH_IMM, 64, kNone, false},
      {"immediate, bad rkey, SRQ", [](Send& s, End&) { s.rkey ^= 1; }, uapi::IB_WR_RDMA_WRITE_WITH_IMM, 64,
       uapi::IB_WC_REM_ACCESS_ERR, false, true},
      {"no receive", [](Send&, End&) {}, uapi::IB_WR_SEND, 0, kNone, false},
      {"immediate without receive", [](Send&, End&) {}, uapi::IB_WR_RDMA_WRITE_WITH_IMM, 0, kNone, false},
      {"short receive", [](Send&, End&) {}, uapi::IB_WR_SEND, 4, uapi::IB_WC_LOC_LEN_ERR, true},
      {"short receive of an SRQ", [](Send&, End&) {}, uapi::IB_WR_SEND, 4, uapi::IB_WC_LOC_LEN_ERR, true, true},
      {"peer in ERR", [this](Send&, End& b) { Modify(b, {.state = kErr}); }, uapi::IB_WR_SEND, 0, kNone, true},
      {"peer gone", [this](Send&, End& b) { devices_->DestroyQp(b.qpn); }, uapi::IB_WR_SEND, 0, kNone, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair(kUc, c.shared ? srq : 0);
    if (c.receive_length != 0) {
      if (c.shared) {
        PostShared(srq, target_.data(), c.receive_length, target_key_, 9);
      } else {
        PostReceive(b, target_.data(), c.receive_length, target_key_, 9);
      }
    }
    Send send = Make(c.opcode);
    c.spoil(send, b);
    PostAndRing(a, send);
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
    EXPECT_EQ(StateOf(a), kRts);
    EXPECT_EQ(StateOf(b) == kErr, c.responder_in_error);
    if (c.want_responder != kNone) {
      EXPECT_EQ(Wait(b).status, c.want_responder);
    }
    EXPECT_TRUE(Nothing(b));
  }
}

TEST_F(Transport, UcTakesTheStartOfAMessageWhereverItStands) {  // rxe_resp.c check_psn()
  auto [a, b] = MakePair(kUc);
  Modify(a, {.sq_psn = 4711});
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(memcmp(Device(64), buffer_.data(), 8), 0);
  EXPECT_EQ(devices_->qp(b.qpn).expected_psn, 4712u);
}

// rxe_resp.c check_psn(), duplicate_request(); rxe_comp.c AETH_NAK_PSN_SEQ_ERROR.
TEST_F(Transport, RequestsOutOfSequence) {
  const NicCounters& counters = devices_->counters(nic_);
  {
    auto [a, b] = MakePair();
    Modify(a, {.sq_psn = 5});  // two behind
    PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE));
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);  // acknowledged again, not written again
    EXPECT_EQ(counters.duplicate_request.load(), 1u);
    EXPECT_EQ(std::to_integer<int>(*Device(64)), 0);
    PostReceive(b, target_.data(), 64, target_key_);
    PostAndRing(a, Make(uapi::IB_WR_SEND));
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
    EXPECT_TRUE(Nothing(b));
    PostAndRing(a, Make(uapi::IB_WR_SEND));  // now they agree
    EXPECT_EQ(Wait(b).status, uapi::IB_WC_SUCCESS);
  }
  for (const uint32_t opcode : {uapi::IB_WR_RDMA_READ, uapi::IB_WR_ATOMIC_FETCH_AND_ADD}) {  // not remembered: dropped
    auto [a, b] = MakePair();
    Modify(a, {.sq_psn = 5});
    PostAndRing(a, Make(opcode));
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_RETRY_EXC_ERR);
  }
  auto [a, b] = MakePair();
  Modify(a, {.sq_psn = 9});  // ahead: one NAK, then silence
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_RETRY_EXC_ERR);
  EXPECT_EQ(counters.out_of_seq_request.load(), 1u);
  EXPECT_EQ(counters.rcvd_seq_err.load(), 1u);
  EXPECT_EQ(StateOf(b), kRts);
}

TEST_F(Transport, AtomicWriteStoresEightBytes) {  // rxe_resp.c atomic_write_reply()
  const auto host = HostRegionOf(target_.data(), target_.size());
  const auto host_at = reinterpret_cast<uint64_t>(target_.data());
  const uint32_t read_only = DeviceRegion(0, 4096, 1, uapi::IB_ACCESS_REMOTE_READ);
  const struct {
    const char* name;
    uint64_t remote;
    uint32_t rkey, length, access, rd_atomic, want;
  } cases[] = {
      {"device memory", 16, device_, 8, kAllAccess, 1, uapi::IB_WC_SUCCESS},
      {"host memory", host_at + 8, host, 8, kAllAccess, 1, uapi::IB_WC_SUCCESS},
      {"misaligned", 20, device_, 8, kAllAccess, 1, uapi::IB_WC_REM_INV_REQ_ERR},
      {"outside", 4096, device_, 8, kAllAccess, 1, uapi::IB_WC_REM_ACCESS_ERR},
      {"bad rkey", 16, device_ ^ 1, 8, kAllAccess, 1, uapi::IB_WC_REM_ACCESS_ERR},
      {"no remote write", 16, read_only, 8, kAllAccess, 1, uapi::IB_WC_REM_ACCESS_ERR},
      {"QP without remote write", 16, device_, 8, uapi::IB_ACCESS_REMOTE_ATOMIC, 1, uapi::IB_WC_REM_INV_REQ_ERR},
      {"max_dest_rd_atomic 0", 16, device_, 8, kAllAccess, 0, uapi::IB_WC_REM_INV_REQ_ERR},
      {"not eight bytes", 16, device_, 4, kAllAccess, 1, uapi::IB_WC_REM_INV_REQ_ERR}};
  uint64_t value = 0x1000;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair();
    Modify(b, {.access = c.access, .max_dest_rd_atomic = static_cast<uint8_t>(c.rd_atomic)});
    Send send = Make(uapi::IB_WR_ATOMIC_WRITE, c.length, c.remote);
    send.rkey = c.rkey;
    send.swap = ++value;
    PostAndRing(a, send);
    const auto done = Wait(a);
    EXPECT_EQ(done.status, c.want);
    if (c.want != uapi::IB_WC_SUCCESS) {
      EXPECT_EQ(StateOf(b), kErr);
      continue;
    }
    EXPECT_EQ(done.opcode, uapi::IB_WC_ATOMIC_WRITE);
    EXPECT_EQ(done.byte_len, 8u);
    uint64_t seen;
    memcpy(&seen, c.rkey == host ? target_.data() + 8 : reinterpret_cast<uint8_t*>(Device(16)), 8);
    EXPECT_EQ(seen, value);
  }
}

TEST_F(Transport, FlushChecksTypeLevelAndRange) {  // rxe_resp.c check_op_valid(), check_rkey(), process_flush()
  constexpr uint32_t kBoth = uapi::IB_ACCESS_FLUSH_GLOBAL | uapi::IB_ACCESS_FLUSH_PERSISTENT;
  const uint32_t both = DeviceRegion(0, 4096, 1, kAllAccess | kBoth);
  const uint32_t global = DeviceRegion(0, 4096, 1, kAllAccess | uapi::IB_ACCESS_FLUSH_GLOBAL);
  constexpr uint8_t kGlobal = uapi::IB_FLUSH_GLOBAL, kPersistent = uapi::IB_FLUSH_PERSISTENT;
  const struct {
    const char* name;
    uint64_t remote;
    uint32_t length, rkey;
    uint8_t type, level;
    uint32_t qp_access, want;
  } cases[] = {
      {"global range", 0, 4096, both, kGlobal, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_SUCCESS},
      {"persistent range", 8, 8, both, kPersistent, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_SUCCESS},
      {"both", 8, 8, both, 3, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_SUCCESS},
      {"length 0", 8, 0, both, kGlobal, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_SUCCESS},
      {"whole region", 1 << 30, 77, both, kGlobal, uapi::IB_FLUSH_MR, kBoth, uapi::IB_WC_SUCCESS},
      {"out of range", 8, 4096, both, kGlobal, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_REM_ACCESS_ERR},
      {"type violation", 8, 8, global, kPersistent, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_REM_ACCESS_ERR},
      {"whole region, type violation", 8, 8, global, 3, uapi::IB_FLUSH_MR, kBoth, uapi::IB_WC_REM_ACCESS_ERR},
      {"bad key", 8, 8, both ^ 1, kGlobal, uapi::IB_FLUSH_RANGE, kBoth, uapi::IB_WC_REM_ACCESS_ERR},
      {"whole region, bad key", 8, 8, both ^ 1, kGlobal, uapi::IB_FLUSH_MR, kBoth, uapi::IB_WC_REM_ACCESS_ERR},
      {"QP without the right", 8, 8, both, kPersistent, uapi::IB_FLUSH_RANGE, uapi::IB_ACCESS_FLUSH_GLOBAL,
       uapi::IB_WC_REM_INV_REQ_ERR},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair();
    Modify(b, {.access = c.qp_access});
    Send send = Make(uapi::IB_WR_FLUSH, c.length, c.remote);
    send.rkey = c.rkey;
    send.type = c.type;
    send.level = c.level;
    PostAndRing(a, send);
    const auto done = Wait(a);
    EXPECT_EQ(done.status, c.want);
    EXPECT_EQ(StateOf(b) == kErr, c.want != uapi::IB_WC_SUCCESS);
    if (c.want == uapi::IB_WC_SUCCESS) {
      EXPECT_EQ(done.opcode, uapi::IB_WC_FLUSH);
      EXPECT_EQ(done.byte_len, c.length);
    }
  }
}

// 5.5: every request is through before the next begins, so a fence never has to wait, and one read is outstanding at
// most. With max_rd_atomic 0 none begins (rxe_req.c check_init_depth()).
TEST_F(Transport, FencesHoldAndWithoutReadDepthNoReadBegins) {
  Send read = Make(uapi::IB_WR_RDMA_READ);
  read.local = reinterpret_cast<uint64_t>(target_.data());
  read.lkey = target_key_;
  memset(Device(64), 0x42, 8);
  Post(a_, read);
  Send write = Make(uapi::IB_WR_RDMA_WRITE);
  write.local = read.local;  // what the read brought
  write.lkey = target_key_;
  write.remote = 256;
  write.flags |= uapi::IB_SEND_FENCE;
  PostAndRing(a_, write);
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_RDMA_READ);
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_RDMA_WRITE);
  EXPECT_EQ(std::to_integer<int>(*Device(256)), 0x42);
  for (const uint32_t opcode : {uapi::IB_WR_RDMA_READ, uapi::IB_WR_ATOMIC_FETCH_AND_ADD, uapi::IB_WR_ATOMIC_WRITE}) {
    auto [a, b] = MakePair();
    Modify(a, {.max_rd_atomic = 0});
    PostAndRing(a, Make(opcode));
    EXPECT_TRUE(Nothing(a));
    EXPECT_EQ(StateOf(a), kRts);
    Modify(a, {.state = kErr});
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_WR_FLUSH_ERR);
  }
}

TEST_F(Transport, DrainingEndsWithTheRequestThatWasBegun) {  // 5.2 SQD
  Modify(a_, {.rnr_retry = 7});
  PostAndRing(a_, Make(uapi::IB_WR_SEND));  // waits for a receive
  Post(a_, Make(uapi::IB_WR_RDMA_WRITE));
  Modify(a_, {.state = kSqd});
  EXPECT_EQ(devices_->qp(a_.qpn).sq_draining, 1);
  EXPECT_EQ(qp_events_.load(), 0);
  PostReceive(b_, target_.data(), 64, target_key_);
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_SEND);
  EXPECT_TRUE(Eventually([&] { return qp_events_.load() == 1; }));
  EXPECT_EQ(devices_->qp(a_.qpn).sq_draining, 0);
  Ring_(a_);
  EXPECT_TRUE(Nothing(a_));  // the second one was not begun
  Modify(a_, {.state = kRts});
  Ring_(a_);
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_RDMA_WRITE);
  Modify(a_, {.state = kSqd});  // idle: at once
  EXPECT_TRUE(Eventually([&] { return qp_events_.load() == 2; }));
}

TEST_F(Transport, CountersOfAConnection) {  // rxe_hw_counters.c, with acknowledgements as one per request
  PostReceive(b_, target_.data(), 4096, target_key_);
  PostAndRing(a_, Make(uapi::IB_WR_SEND));
  PostAndRing(a_, Make(uapi::IB_WR_RDMA_WRITE, 2049));  // three packets of 1024
  Send read = Make(uapi::IB_WR_RDMA_READ, 2048);        // one request, two responses
  PostAndRing(a_, read);
  const NicCounters& counters = devices_->counters(nic_);  // both ends are here
  EXPECT_EQ(counters.rdma_sends.load(), 1u);
  EXPECT_EQ(counters.rdma_recvs.load(), 1u);
  EXPECT_EQ(counters.sent_pkts.load(), 5u + 4u);
  EXPECT_EQ(counters.rcvd_pkts.load(), 5u + 4u);
  devices_->DestroyQp(a_.qpn);
  devices_->DestroyQp(b_.qpn);
  EXPECT_EQ(devices_->counters(nic_).sent_pkts.load(), 9u);
  EXPECT_EQ(devices_->counters(nic_).rcvd_pkts.load(), 9u);
}

TEST_F(Transport, TrafficWaitsForARegionThatMovesAndUsesUpNoRetries) {  // dma-buf move_notify
  const uint32_t host = HostRegionOf(buffer_.data(), 64);
  const uint32_t moving = DeviceRegion(0, 4096);
  const uint32_t srq = MakeSrq();
  const struct {
    const char* name;
    uint32_t opcode, stalled;
    bool shared = false;
  } cases[] = {{"target of a write", uapi::IB_WR_RDMA_WRITE, moving},
               {"source of a write", uapi::IB_WR_RDMA_WRITE, host},
               {"source of a read", uapi::IB_WR_RDMA_READ, moving},
               {"atomic", uapi::IB_WR_ATOMIC_FETCH_AND_ADD, moving},
               {"atomic write", uapi::IB_WR_ATOMIC_WRITE, moving},
               {"write with immediate", uapi::IB_WR_RDMA_WRITE_WITH_IMM, moving},
               {"receive", uapi::IB_WR_SEND, target_key_},
               {"shared receive", uapi::IB_WR_SEND, target_key_, true}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair(kRc, c.shared ? srq : 0);
    Modify(a, {.retry_count = 0, .rnr_retry = 0});
    if (c.shared) {
      PostShared(srq, target_.data(), 64, target_key_);
    } else {
      PostReceive(b, target_.data(), 64, target_key_);
    }
    devices_->StallMr(c.stalled >> 8);
    Send send = Make(c.opcode);
    send.lkey = host;
    send.rkey = moving;
    PostAndRing(a, send);
    EXPECT_TRUE(Nothing(a));
    for (int i = 0; i < 20; ++i) devices_->RingDoorbell(a.qpn);
    EXPECT_TRUE(Nothing(a));
    if (c.stalled == moving) {
      const BusSegment there = {accelerator_->bar(4).base + (8 << 20), 4096};
      ASSERT_TRUE(devices_->ResumeMr(c.stalled >> 8, {&there, 1}, 0));
    } else {
      devices_->ChangeMr(c.stalled >> 8, std::nullopt, std::nullopt);
      EXPECT_TRUE(Nothing(a));                                                    // a change does not end the stall
      const_cast<MrEntry&>(devices_->mr(c.stalled >> 8)).valid.store(kMrUsable);  // host regions are never moved
    }
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_SUCCESS);
  }
  EXPECT_EQ(memcmp(Device(8 << 20) + 64, Device(64), 8) != 0, true);  // it went to the new place
}

TEST_F(Transport, ARegionRevokedWhileItWasStalledFails) {
  devices_->StallMr(device_ >> 8);
  PostAndRing(a_, Make(uapi::IB_WR_RDMA_WRITE));
  devices_->InvalidateMr(device_ >> 8);
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_REM_ACCESS_ERR);
  ASSERT_TRUE(devices_->ResumeMr(device_ >> 8, {}, 0));
  auto [a, b] = MakePair();
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_REM_ACCESS_ERR);
}

TEST_F(Transport, ChangedRightsAndPdsHoldAtOnce) {  // rereg_mr
  PostAndRing(a_, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  devices_->ChangeMr(device_ >> 8, std::nullopt, uapi::IB_ACCESS_REMOTE_READ);
  PostAndRing(a_, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_REM_ACCESS_ERR);
  devices_->ChangeMr(device_ >> 8, pd_ + 50, kAllAccess);
  auto [a, b] = MakePair();
  PostAndRing(a, Make(uapi::IB_WR_RDMA_WRITE));
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_REM_ACCESS_ERR);
}

// rxe_resp.c do_complete(), rxe_comp.c do_complete(): queue_advance_consumer(), then rxe_cq_post(). perftest's exchange
// by rdma_cm posts its next receive into a queue of one when it sees the completion of the last.
TEST_F(Transport, WhoSeesACompletionFindsItsPlaceInTheQueueFree) {
  constexpr uint64_t kMessages = 5000;
  const QpContext& sender = devices_->qp(a_.qpn);
  const QpContext& receiver = devices_->qp(b_.qpn);
  const auto left = [&](const Ring& ring) {
    return Queue(ring)->producer_index.load() != Queue(ring)->consumer_index.load();
  };
  std::atomic<uint64_t> seen{0};
  std::atomic<uint64_t> late{0};
  std::thread poller([&] {
    for (uint64_t message = 0; message < kMessages; ++message) {
      const bool received = Wait(b_).status == uapi::IB_WC_SUCCESS;
      late += received && !left(receiver.rq) ? 0 : 1;
      const bool sent = Wait(a_).status == uapi::IB_WC_SUCCESS;
      late += sent && !left(sender.sq) ? 0 : 1;
      ++seen;
    }
  });
  for (uint64_t message = 0; message < kMessages; ++message) {
    PostReceive(b_, target_.data(), 64, target_key_);
    PostAndRing(a_, Make(uapi::IB_WR_SEND));
    if (!Eventually([&] { return seen > message; })) break;
  }
  poller.join();
  EXPECT_EQ(late, 0u);
}

TEST_F(Transport, EveryLockIsUndoneWhenItsHolderIsKilled) {
  auto* nic = reinterpret_cast<NicMemory*>(arena_ + header_->region_offset[ipc::kRegionNic]);
  QpContext& peer = devices_->qp(b_.qpn);
  const auto write = [&] { PostAndRing(a_, Make(uapi::IB_WR_RDMA_WRITE)); };
  KillWhileHolding(peer.rq_lock, ipc::kLockRq, write);
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  KillWhileHolding(nic->cqs[a_.cq].lock, ipc::kLockCq, write);
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  // The send queue: a doorbell finds it taken and leaves; the machine runs it for the dead.
  auto* slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + header_->slots_offset);
  QpContext& own = devices_->qp(a_.qpn);
  slots[9].state.store(ipc::ThreadSlot::kConnected);
  slots[9].lock[ipc::kLockSq].store(static_cast<uint64_t>(reinterpret_cast<std::byte*>(&own.sq_lock) - arena_));
  own.sq_lock.word.store(10);
  write();
  EXPECT_TRUE(Nothing(a_));
  slots[9].state.store(ipc::ThreadSlot::kDead);
  devices_->RecoverSlot(9);
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
}

}  // namespace
}  // namespace causeway::roce
