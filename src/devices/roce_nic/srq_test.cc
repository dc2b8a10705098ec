// SPDX-License-Identifier: Apache-2.0
// Shared receive queues against specs/verbs.md 4.9 and rxe_resp.c get_srq_wqe().
#include <gtest/gtest.h>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

class Srq : public Bench {
 protected:
  Send Small(uint32_t opcode = uapi::IB_WR_SEND) {
    return {.opcode = opcode,
            .local = reinterpret_cast<uint64_t>(&word_),
            .length = 8,
            .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE};
  }
  uint64_t word_ = 0x1122334455667788;
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(4096);
  uint32_t key_ = HostRegionOf(buffer_.data(), buffer_.size());
};

TEST_F(Srq, ManyQpsTakeFromOneQueueInOrder) {
  const uint32_t srq = MakeSrq();
  auto [a, b] = MakePair(kRc, srq);
  auto [c, d] = MakePair(kRc, srq);
  for (uint64_t id = 1; id <= 4; ++id) PostShared(srq, buffer_.data() + id * 64, 64, key_, id);
  PostAndRing(a, Small());
  PostAndRing(c, Small());
  PostAndRing(a, Small(uapi::IB_WR_SEND_WITH_IMM));
  uapi::ib_uverbs_wc got = Wait(b);
  EXPECT_EQ(got.wr_id, 1u);
  EXPECT_EQ(got.qp_num, b.qpn);
  EXPECT_EQ(memcmp(buffer_.data() + 64, &word_, 8), 0);
  EXPECT_EQ(Wait(d).wr_id, 2u);
  got = Wait(b);
  EXPECT_EQ(got.wr_id, 3u);
  EXPECT_EQ(got.wc_flags, uint32_t{uapi::IB_WC_GRH | uapi::IB_WC_WITH_IMM});
  EXPECT_EQ(Queue(devices_->srq_ring(srq))->consumer_index.load(), 3u);
}

TEST_F(Srq, AnEmptyQueueIsReceiverNotReady) {
  const uint32_t srq = MakeSrq();
  auto [a, b] = MakePair(kRc, srq);
  PostAndRing(a, Small());
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_RNR_RETRY_EXC_ERR);
  EXPECT_EQ(devices_->qp(b.qpn).state.load(), kRts);
}

TEST_F(Srq, TheLimitFiresOnceWhenFewerAreLeft) {  // v61: limit 8 with 10 queued fires after the third message
  const uint32_t srq = MakeSrq(32, 8);
  auto [a, b] = MakePair(kRc, srq);
  for (uint64_t id = 1; id <= 10; ++id) PostShared(srq, buffer_.data(), 64, key_, id);
  PostAndRing(a, Small());
  PostAndRing(a, Small());
  EXPECT_EQ(devices_->srq_limit(srq), 8u);
  PostAndRing(a, Small());
  EXPECT_EQ(devices_->srq_limit(srq), 0u);
  EXPECT_TRUE(Eventually([&] { return srq_limits_.load() == 1; }));
  PostAndRing(a, Small());
  devices_->SetSrqLimit(srq, 12);  // does not fire at once, though fewer are queued
  EXPECT_EQ(srq_limits_.load(), 1);
  PostAndRing(a, Small());
  EXPECT_TRUE(Eventually([&] { return srq_limits_.load() == 2; }));
}

TEST_F(Srq, AMalformedEntryStaysAndEndsTheQpWithoutACompletion) {  // 4.9, 5.4
  const uint32_t srq = MakeSrq();
  auto [a, b] = MakePair(kRc, srq);
  PostShared(srq, buffer_.data(), 64, key_, 1, 5);
  PostAndRing(a, Small());
  EXPECT_EQ(Wait(a).status, uapi::IB_WC_REM_OP_ERR);
  uapi::ib_uverbs_wc entry;
  EXPECT_TRUE(Eventually([&] { return last_wqes_.load() == 1; }));
  EXPECT_FALSE(Poll(b, &entry));
  EXPECT_EQ(devices_->qp(b.qpn).state.load(), kErr);
  EXPECT_EQ(Queue(devices_->srq_ring(srq))->consumer_index.load(), 0u);
}

TEST_F(Srq, ErrorsOfATakenEntryCompleteIt) {  // 5.4
  const uint32_t srq = MakeSrq();
  const uint32_t read_only = HostRegionOf(buffer_.data(), buffer_.size(), 0);
  const struct {
    const char* name;
    uint32_t length, key;
    uint32_t want, responder;
  } cases[] = {{"short", 4, key_, uapi::IB_WC_REM_INV_REQ_ERR, uapi::IB_WC_LOC_LEN_ERR},
               {"read-only", 64, read_only, uapi::IB_WC_REM_OP_ERR, uapi::IB_WC_LOC_PROT_ERR},
               {"bad key", 64, key_ ^ 1, uapi::IB_WC_REM_OP_ERR, uapi::IB_WC_LOC_PROT_ERR}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto [a, b] = MakePair(kRc, srq);
    PostShared(srq, buffer_.data(), c.length, c.key, 7);
    PostAndRing(a, Small());
    EXPECT_EQ(Wait(a).status, c.want);
    const auto theirs = Wait(b);
    EXPECT_EQ(theirs.status, c.responder);
    EXPECT_EQ(theirs.wr_id, 7u);
  }
  EXPECT_TRUE(Eventually([&] { return last_wqes_.load() == 3; }));
}

// IBTA 11.6.3.3, and what UCX waits for: raised once, whoever moves the QP to ERR; its entries stay in the queue.
TEST_F(Srq, LastWqeReachedOncePerEntryIntoErr) {
  const uint32_t srq = MakeSrq();
  auto [a, b] = MakePair(kRc, srq);
  PostShared(srq, buffer_.data(), 64, key_);
  Modify(b, {.state = kErr});
  EXPECT_TRUE(Eventually([&] { return last_wqes_.load() == 1; }));
  Modify(b, {.state = kErr});
  Modify(a, {.state = kErr});  // has no SRQ
  PostAndRing(b, Small());
  EXPECT_EQ(Wait(b).status, uapi::IB_WC_WR_FLUSH_ERR);
  EXPECT_EQ(last_wqes_.load(), 1);
  EXPECT_EQ(Queue(devices_->srq_ring(srq))->consumer_index.load(), 0u);
}

TEST_F(Srq, ResizeKeepsWhatIsQueuedFromIndexZero) {
  const uint32_t srq = MakeSrq(8);
  auto [a, b] = MakePair(kRc, srq);
  for (uint64_t id = 1; id <= 5; ++id) PostShared(srq, buffer_.data(), 64, key_, id);
  PostAndRing(a, Small());
  EXPECT_EQ(Wait(b).wr_id, 1u);
  Ring old = {};
  EXPECT_EQ(devices_->ResizeSrq(srq, {4, 128}, &old).error().code(), EINVAL);
  const auto resized = devices_->ResizeSrq(srq, {16, 128}, &old);
  ASSERT_TRUE(resized);
  EXPECT_EQ(Queue(*resized)->producer_index.load(), 4u);
  EXPECT_EQ(Queue(*resized)->consumer_index.load(), 0u);
  devices_->FreeRing(old);
  PostShared(srq, buffer_.data(), 64, key_, 6);
  for (uint64_t id = 2; id <= 6; ++id) {
    PostAndRing(a, Small());
    EXPECT_EQ(Wait(b).wr_id, id);
  }
}

TEST_F(Srq, AKilledThreadsLockOnTheQueueIsUndone) {
  const uint32_t srq = MakeSrq();
  auto [a, b] = MakePair(kRc, srq);
  PostShared(srq, buffer_.data(), 64, key_);
  auto& context = reinterpret_cast<NicMemory*>(arena_ + header_->region_offset[ipc::kRegionNic])->srqs[srq];
  KillWhileHolding(context.lock, ipc::kLockShared, [&] { PostAndRing(a, Small()); });
  EXPECT_EQ(Wait(b).status, uapi::IB_WC_SUCCESS);
}

}  // namespace
}  // namespace causeway::roce
