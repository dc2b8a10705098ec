// SPDX-License-Identifier: Apache-2.0
// Completion queues: overflow, arming, indices, resizing (specs/verbs.md sections named per test).
#include <gtest/gtest.h>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

using uapi::ib_uverbs_wc;
using CompletionQueues = Bench;

TEST_F(CompletionQueues, OverflowLosesTheEntryAndRaisesCqError) {  // 4.8
  End a = MakeEnd(4);
  End b = MakeEnd();
  Connect(a, b);
  Connect(b, a);
  const uint32_t device = DeviceRegion(0, 4096);
  const uint64_t word = 1;
  for (int i = 0; i < 5; ++i) {
    PostAndRing(a, {.local = reinterpret_cast<uint64_t>(&word),
                    .length = 8,
                    .remote = 0,
                    .rkey = device,
                    .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE});
  }
  EXPECT_TRUE(Eventually([&] { return cq_errors_.load() == 2; }));
  ib_uverbs_wc entry;
  int seen = 0;
  for (; Poll(a, &entry); ++seen) EXPECT_EQ(entry.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(seen, 3);
}

TEST_F(CompletionQueues, ArmedQueuesFireOnceAndSolicitedOnesOnlyForSolicited) {  // 4.8
  std::vector<uint8_t> buffer(64);
  const uint32_t key = HostRegionOf(buffer.data(), 64);
  const auto send = [&](uint32_t flags) {
    PostReceive(b_, buffer.data(), 64, key);
    PostAndRing(a_, {.opcode = uapi::IB_WR_SEND,
                     .local = reinterpret_cast<uint64_t>(buffer.data()),
                     .length = 8,
                     .lkey = key,
                     .flags = flags});
  };
  devices_->RequestNotify(b_.cq, Notify::kSolicited);
  send(0);
  send(0);
  EXPECT_EQ(completions_.load(), 0);
  send(uapi::IB_SEND_SOLICITED);
  EXPECT_TRUE(Eventually([&] { return completions_.load() == 1; }));
  send(uapi::IB_SEND_SOLICITED);  // one shot
  devices_->RequestNotify(b_.cq, Notify::kNext);
  send(0);
  EXPECT_TRUE(Eventually([&] { return completions_.load() == 2; }));
}

TEST_F(CompletionQueues, AConsumerIndexOnePastTheProducerIsMet) {  // trap 4: rdma-core 44 cq_ex
  const uint32_t device = DeviceRegion(0, 4096);
  const uint64_t word = 1;
  const Ring& ring = devices_->cq_ring(a_.cq);
  Queue(ring)->consumer_index.store(1);
  PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&word),
                   .length = 8,
                   .remote = 0,
                   .rkey = device,
                   .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE,
                   .wr_id = 5});
  ib_uverbs_wc entry;
  ASSERT_TRUE(Poll(a_, &entry));
  EXPECT_EQ(entry.wr_id, 5u);
}

TEST_F(CompletionQueues, ResizeKeepsLiveEntriesFromIndexZero) {  // 4.8
  const uint32_t device = DeviceRegion(0, 4096);
  const uint64_t word = 1;
  for (uint64_t id = 1; id <= 3; ++id) {
    PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&word),
                     .length = 8,
                     .remote = 0,
                     .rkey = device,
                     .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE,
                     .wr_id = id});
  }
  ib_uverbs_wc entry;
  ASSERT_TRUE(Poll(a_, &entry));
  Ring old = {};
  EXPECT_EQ(devices_->ResizeCq(a_.cq, 2, &old).error().code(), EINVAL);
  ASSERT_TRUE(devices_->ResizeCq(a_.cq, 4, &old));
  devices_->FreeRing(old);
  ASSERT_TRUE(Poll(a_, &entry));
  EXPECT_EQ(entry.wr_id, 2u);
  ASSERT_TRUE(Poll(a_, &entry));
  EXPECT_EQ(entry.wr_id, 3u);
  EXPECT_FALSE(Poll(a_, &entry));
}

}  // namespace
}  // namespace causeway::roce
