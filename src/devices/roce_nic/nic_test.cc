// SPDX-License-Identifier: Apache-2.0
// The NIC's data path and commands, against specs of IBTA and rxe (specs/verbs.md sections named per test).
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "devices/roce_nic/test_bench.h"

namespace causeway::roce {
namespace {

using uapi::ib_uverbs_wc;

std::vector<uint8_t> Pattern(size_t len, uint8_t seed) {
  std::vector<uint8_t> bytes(len);
  for (size_t i = 0; i < len; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + seed + i / 251);
  return bytes;
}

using Nic = Bench;

TEST_F(Nic, WriteMovesHostMemoryIntoDeviceMemoryAndCountsIt) {
  auto source = Pattern(300000, 3);
  const uint32_t lkey = HostRegionOf(source.data(), source.size());
  const uint32_t rkey = DeviceRegion(0x10000, 1 << 20, 4);
  PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(source.data()),
                   .length = 300000,
                   .lkey = lkey,
                   .remote = 0x10000 + 100,
                   .rkey = rkey,
                   .wr_id = 42});
  const ib_uverbs_wc done = Wait(a_);
  EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(done.wr_id, 42u);
  EXPECT_EQ(done.opcode, uapi::IB_WC_RDMA_WRITE);
  EXPECT_EQ(done.byte_len, 300000u);
  EXPECT_EQ(done.qp_num, a_.qpn);
  EXPECT_EQ(memcmp(Device(0x10000 + 100), source.data(), source.size()), 0);
  uint64_t written = 0;
  for (const auto& route : bus_->Routes()) {
    if (route.target == "gaudi0") written += route.bytes_written;
  }
  EXPECT_EQ(written, 300000u);
}

TEST_F(Nic, ReadAndWriteBetweenDeviceRegionsTouchNoHostMemory) {
  auto pattern = Pattern(1 << 20, 9);
  memcpy(Device(0), pattern.data(), pattern.size());
  const uint32_t from = DeviceRegion(0, 1 << 20);
  const uint32_t to = DeviceRegion(4 << 20, 1 << 20);
  PostAndRing(a_, {.local = 0, .length = 1 << 20, .lkey = from, .remote = 4 << 20, .rkey = to});
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(memcmp(Device(4 << 20), pattern.data(), pattern.size()), 0);
  const uint32_t back = DeviceRegion(8 << 20, 1 << 20);
  PostAndRing(a_, {.opcode = uapi::IB_WR_RDMA_READ,
                   .local = 8 << 20,
                   .length = 1 << 20,
                   .lkey = back,
                   .remote = 4 << 20,
                   .rkey = to});
  const ib_uverbs_wc done = Wait(a_);
  EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(done.opcode, uapi::IB_WC_RDMA_READ);
  EXPECT_EQ(memcmp(Device(8 << 20), pattern.data(), pattern.size()), 0);
  for (const auto& route : bus_->Routes()) {
    EXPECT_TRUE(!bus_->CrossesHostMemory(route.route) || route.bytes_read + route.bytes_written == 0);
  }
}

TEST_F(Nic, SendWithImmediateCompletesBothSides) {  // 4.6
  auto source = Pattern(1000, 1);
  std::vector<uint8_t> target(2000);
  const uint32_t lkey = HostRegionOf(source.data(), source.size());
  PostReceive(b_, target.data(), 2000, HostRegionOf(target.data(), target.size()), 77);
  PostAndRing(a_, {.opcode = uapi::IB_WR_SEND_WITH_IMM,
                   .local = reinterpret_cast<uint64_t>(source.data()),
                   .length = 1000,
                   .lkey = lkey,
                   .immediate = 0x11223344});
  EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_SEND);
  const ib_uverbs_wc got = Wait(b_);
  EXPECT_EQ(got.status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(got.opcode, uapi::IB_WC_RECV);
  EXPECT_EQ(got.wr_id, 77u);
  EXPECT_EQ(got.byte_len, 1000u);
  EXPECT_EQ(got.ex, 0x11223344u);
  EXPECT_EQ(got.wc_flags, uint32_t{uapi::IB_WC_GRH | uapi::IB_WC_WITH_IMM});
  EXPECT_EQ(got.port_num, 1);
  EXPECT_EQ(memcmp(target.data(), source.data(), 1000), 0);
}

TEST_F(Nic, InlineDataNeedsNoKey) {
  const uint64_t value = 0x0123456789abcdef;
  const uint32_t rkey = DeviceRegion(0, 4096);
  PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&value),
                   .length = 8,
                   .remote = 8,
                   .rkey = rkey,
                   .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE,
                   .num_sge = 0});
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(memcmp(Device(8), &value, 8), 0);
}

TEST_F(Nic, AtomicsReturnTheOriginalOnDeviceAndHostMemory) {  // 5.5
  uint64_t host_word = 0;
  uint64_t result = 0;
  const uint32_t lkey = HostRegionOf(&result, 8);
  const uint32_t device = DeviceRegion(0, 4096);
  const uint32_t host = HostRegionOf(&host_word, 8);
  const struct {
    uint64_t remote;
    uint32_t rkey;
    uint64_t* word;
  } targets[] = {{16, device, reinterpret_cast<uint64_t*>(Device(16))},
                 {reinterpret_cast<uint64_t>(&host_word), host, &host_word}};
  for (const auto& t : targets) {
    *t.word = 5;
    Send send = {.opcode = uapi::IB_WR_ATOMIC_FETCH_AND_ADD,
                 .local = reinterpret_cast<uint64_t>(&result),
                 .length = 8,
                 .lkey = lkey,
                 .remote = t.remote,
                 .rkey = t.rkey,
                 .compare_add = 37};
    PostAndRing(a_, send);
    ib_uverbs_wc done = Wait(a_);
    EXPECT_EQ(done.status, uapi::IB_WC_SUCCESS);
    EXPECT_EQ(done.opcode, uapi::IB_WC_FETCH_ADD);
    EXPECT_EQ(result, 5u);
    EXPECT_EQ(*t.word, 42u);
    send.opcode = uapi::IB_WR_ATOMIC_CMP_AND_SWP;
    send.compare_add = 42;
    send.swap = 99;
    PostAndRing(a_, send);
    EXPECT_EQ(Wait(a_).opcode, uapi::IB_WC_COMP_SWAP);
    EXPECT_EQ(result, 42u);
    EXPECT_EQ(*t.word, 99u);
    PostAndRing(a_, send);  // does not match any more
    EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
    EXPECT_EQ(result, 99u);
    EXPECT_EQ(*t.word, 99u);
  }
}

// Table of 5.3 and 5.4: what goes wrong, the requester's status, the responder's (~0: no completion), and who is in
// ERR.
// A region of three kinds of pages: its process's own, shared ones (the bench's device memory has the host memory's
// number), its own again.
TEST_F(Nic, SharedPagesOfAHostRegionAreReachedInTheHostMemory) {
  std::vector<char> own(4 * 4096, 'o');
  std::vector<char> source(4 * 4096, 's');
  const auto address = reinterpret_cast<uint64_t>(own.data());
  const HostPiece pieces[] = {{4096, 4096, 8 * 4096}, {8192, 4096, 2 * 4096}};
  const HostRegion host = {mm_, address, pieces};
  MrCreate create = {};
  create.nic = nic_;
  create.pd = pd_;
  create.access = kAllAccess;
  create.iova = address;
  create.length = own.size();
  create.host = &host;
  create.initiator = nic_function_;
  ASSERT_EQ(hbm_, ipc::kHostMemory);
  const uint32_t index = *devices_->CreateMr(create);
  const uint32_t key = devices_->mr(index).key;
  EXPECT_EQ(devices_->HostRegions().at(0).shared_bytes, 2 * 4096u);
  EXPECT_TRUE(devices_->ReachedByCall(mm_, address, 4096));
  EXPECT_FALSE(devices_->ReachedByCall(mm_, address + 4096, 8192));
  const auto write = [&] {
    PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(source.data()),
                     .length = static_cast<uint32_t>(source.size() - 200),
                     .lkey = HostRegionOf(source.data(), source.size()),
                     .remote = address + 100,
                     .rkey = key});
    return Wait(a_).status;
  };
  ASSERT_EQ(write(), uapi::IB_WC_SUCCESS);
  const auto page_is = [](const void* at, char what) {
    const auto* bytes = static_cast<const char*>(at);
    return std::all_of(bytes, bytes + 4096, [what](char c) { return c == what; });
  };
  EXPECT_EQ(own[99], 'o');
  EXPECT_EQ(own[100], 's');
  EXPECT_TRUE(page_is(&own[4096], 'o') && page_is(&own[8192], 'o'));
  EXPECT_TRUE(page_is(Device(8 * 4096), 's') && page_is(Device(2 * 4096), 's'));
  EXPECT_EQ(own[4 * 4096 - 101], 's');
  EXPECT_EQ(own[4 * 4096 - 100], 'o');
  // One of the shared parts is unmapped: from then on the process is asked.
  devices_->HostUnmapped(mm_, address + 8192, 1);
  source.assign(source.size(), 't');
  ASSERT_EQ(write(), uapi::IB_WC_SUCCESS);
  EXPECT_TRUE(page_is(Device(8 * 4096), 't') && page_is(Device(2 * 4096), 's') && page_is(&own[8192], 't'));
  EXPECT_EQ(devices_->HostOffsets(mm_).size(), 1u);
  devices_->DestroyMr(index);
}

TEST_F(Nic, ErrorsCompleteAsTheTablesSay) {
  std::vector<uint8_t> buffer(8192);
  std::vector<uint8_t> small(8192);
  const auto address = reinterpret_cast<uint64_t>(buffer.data());
  const uint32_t good = HostRegionOf(buffer.data(), buffer.size());
  const uint32_t read_only = HostRegionOf(buffer.data(), buffer.size(), 0);
  const uint32_t other_pd = HostRegionOf(buffer.data(), buffer.size(), kAllAccess, pd_ + 1000);
  const uint32_t device = DeviceRegion(0, 4096);
  void* gone = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const uint32_t unmapped = HostRegionOf(gone, 8192);
  munmap(gone, 8192);
  const auto gone_at = reinterpret_cast<uint64_t>(gone);
  constexpr uint32_t kNone = ~0u;
  struct Case {
    const char* name;
    Send send;
    uint32_t receive_length;  // 0: none posted
    uint32_t receive_key;
    uint32_t want;
    uint32_t want_responder;
    bool responder_in_error;
  };
  const Case cases[] = {
      {"bad rkey",
       {.local = address, .length = 8, .lkey = good, .remote = 0, .rkey = device ^ 1},
       0,
       0,
       uapi::IB_WC_REM_ACCESS_ERR,
       kNone,
       true},
      {"rkey range",
       {.local = address, .length = 8, .lkey = good, .remote = 4090, .rkey = device},
       0,
       0,
       uapi::IB_WC_REM_ACCESS_ERR,
       kNone,
       true},
      {"rkey of another PD",
       {.local = address, .length = 8, .lkey = good, .remote = address, .rkey = other_pd},
       0,
       0,
       uapi::IB_WC_REM_ACCESS_ERR,
       kNone,
       true},
      {"write to a region without REMOTE_WRITE",
       {.local = address, .length = 8, .lkey = good, .remote = address, .rkey = read_only},
       0,
       0,
       uapi::IB_WC_REM_ACCESS_ERR,
       kNone,
       true},
      {"target unmapped under us",
       {.local = address, .length = 8, .lkey = good, .remote = gone_at, .rkey = unmapped},
       0,
       0,
       uapi::IB_WC_REM_ACCESS_ERR,
       kNone,
       true},
      {"source unmapped under us",
       {.local = gone_at, .length = 8, .lkey = unmapped, .remote = address, .rkey = good},
       0,
       0,
       uapi::IB_WC_LOC_PROT_ERR,
       kNone,
       false},
      {"bad lkey",
       {.local = address, .length = 8, .lkey = good ^ 1, .remote = 0, .rkey = device},
       0,
       0,
       uapi::IB_WC_LOC_PROT_ERR,
       kNone,
       false},
      {"read into a region without LOCAL_WRITE",
       {.opcode = uapi::IB_WR_RDMA_READ, .local = address, .length = 8, .lkey = read_only, .remote = 0, .rkey = device},
       0,
       0,
       uapi::IB_WC_LOC_PROT_ERR,
       kNone,
       false},
      {"sge list shorter than the message",
       {.local = address, .length = 8, .lkey = good, .remote = 0, .rkey = device, .num_sge = 0},
       0,
       0,
       uapi::IB_WC_LOC_QP_OP_ERR,
       kNone,
       false},
      {"too many sges",
       {.local = address, .length = 8, .lkey = good, .remote = 0, .rkey = device, .num_sge = 5},
       0,
       0,
       uapi::IB_WC_LOC_QP_OP_ERR,
       kNone,
       false},
      {"unknown opcode",
       {.opcode = 32, .local = address, .length = 8, .lkey = good},
       0,
       0,
       uapi::IB_WC_LOC_QP_OP_ERR,
       kNone,
       false},
      {"local invalidate of a user region",
       {.opcode = uapi::IB_WR_LOCAL_INV, .immediate = good},
       0,
       0,
       uapi::IB_WC_LOC_QP_OP_ERR,
       kNone,
       false},
      {"misaligned atomic",
       {.opcode = uapi::IB_WR_ATOMIC_FETCH_AND_ADD,
        .local = address,
        .length = 8,
        .lkey = good,
        .remote = 4,
        .rkey = device},
       0,
       0,
       uapi::IB_WC_REM_INV_REQ_ERR,
       kNone,
       true},
      {"send longer than the receive",
       {.opcode = uapi::IB_WR_SEND, .local = address, .length = 100, .lkey = good},
       50,
       good,
       uapi::IB_WC_REM_INV_REQ_ERR,
       uapi::IB_WC_LOC_LEN_ERR,
       true},
      {"receive with a bad key",
       {.opcode = uapi::IB_WR_SEND, .local = address, .length = 100, .lkey = good},
       200,
       good ^ 1,
       uapi::IB_WC_REM_OP_ERR,
       uapi::IB_WC_LOC_PROT_ERR,
       true},
      {"receive into read-only memory",
       {.opcode = uapi::IB_WR_SEND, .local = address, .length = 100, .lkey = good},
       200,
       read_only,
       uapi::IB_WC_REM_OP_ERR,
       uapi::IB_WC_LOC_PROT_ERR,
       true},
      {"invalidate of a key that is no window",
       {.opcode = uapi::IB_WR_SEND_WITH_INV, .local = address, .length = 10, .lkey = good},
       200,
       good,
       uapi::IB_WC_SUCCESS,
       uapi::IB_WC_REM_INV_REQ_ERR,
       true},
      {"immediate write with a bad key",
       {.opcode = uapi::IB_WR_RDMA_WRITE_WITH_IMM,
        .local = address,
        .length = 8,
        .lkey = good,
        .remote = 0,
        .rkey = device ^ 1},
       200,
       good,
       uapi::IB_WC_REM_ACCESS_ERR,
       uapi::IB_WC_REM_ACCESS_ERR,
       true},
      {"no receive posted, RNR retries used up",
       {.opcode = uapi::IB_WR_SEND, .local = address, .length = 8, .lkey = good},
       0,
       0,
       uapi::IB_WC_RNR_RETRY_EXC_ERR,
       kNone,
       false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    End a = MakeEnd();
    End b = MakeEnd();
    Connect(a, b);
    Connect(b, a);
    if (c.receive_length != 0) PostReceive(b, buffer.data(), c.receive_length, c.receive_key, 55);
    Post(a, c.send);
    Send follower = c.send;
    follower.wr_id = 2;
    if (c.want != uapi::IB_WC_SUCCESS) Post(a, follower);
    Ring_(a);
    const ib_uverbs_wc done = Wait(a);
    EXPECT_EQ(done.status, c.want);
    EXPECT_EQ(done.wr_id, 1u);
    if (c.want != uapi::IB_WC_SUCCESS) {
      const ib_uverbs_wc flushed = Wait(a);
      EXPECT_EQ(flushed.status, uapi::IB_WC_WR_FLUSH_ERR);
      EXPECT_EQ(flushed.wr_id, 2u);
      EXPECT_EQ(devices_->qp(a.qpn).state.load(), kErr);
    }
    if (c.want_responder != kNone) {
      const ib_uverbs_wc theirs = Wait(b);
      EXPECT_EQ(theirs.status, c.want_responder);
      EXPECT_EQ(theirs.wr_id, 55u);
    }
    EXPECT_EQ(devices_->qp(b.qpn).state.load() == kErr, c.responder_in_error);
  }
}

TEST_F(Nic, AQpAccessFlagThatIsMissingIsAnInvalidRequest) {  // 5.4
  const uint32_t device = DeviceRegion(0, 4096);
  uint64_t word = 0;
  const uint32_t lkey = HostRegionOf(&word, 8);
  for (const uint32_t opcode : {uapi::IB_WR_RDMA_WRITE, uapi::IB_WR_RDMA_READ, uapi::IB_WR_ATOMIC_FETCH_AND_ADD}) {
    End a = MakeEnd();
    End b = MakeEnd();
    Connect(a, b);
    Connect(b, a);
    Modify(b, {.access = 0});
    PostAndRing(a, {.opcode = opcode,
                    .local = reinterpret_cast<uint64_t>(&word),
                    .length = 8,
                    .lkey = lkey,
                    .remote = 0,
                    .rkey = device});
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_REM_INV_REQ_ERR);
  }
}

TEST_F(Nic, AReceivePostedLateIsFoundByTheRetry) {  // 8.4 RNR, rnr_retry 7 is endless
  Modify(a_, {.rnr_retry = 7});
  auto source = Pattern(64, 1);
  std::vector<uint8_t> target(64);
  const uint32_t lkey = HostRegionOf(source.data(), 64);
  const uint32_t target_key = HostRegionOf(target.data(), 64);
  PostAndRing(
      a_, {.opcode = uapi::IB_WR_SEND, .local = reinterpret_cast<uint64_t>(source.data()), .length = 64, .lkey = lkey});
  ib_uverbs_wc entry;
  EXPECT_FALSE(Poll(a_, &entry));
  const auto& counters = devices_->counters(nic_);
  EXPECT_TRUE(Eventually([&] { return counters.rcvd_rnr_err.load() > 5; }));
  PostReceive(b_, target.data(), 64, target_key);
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(Wait(b_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(target, source);
}

TEST_F(Nic, APeerThatIsGoneOrMisconnectedExhaustsTheRetries) {  // 5.3
  const uint32_t device = DeviceRegion(0, 4096);
  uint64_t word = 0;
  const uint32_t lkey = HostRegionOf(&word, 8);
  const Send send = {
      .local = reinterpret_cast<uint64_t>(&word), .length = 8, .lkey = lkey, .remote = 0, .rkey = device};
  const auto expect_retry_exceeded = [&](const char* why, auto spoil) {
    SCOPED_TRACE(why);
    End a = MakeEnd();
    End b = MakeEnd();
    Connect(a, b);
    Connect(b, a);
    spoil(a, b);
    PostAndRing(a, send);
    EXPECT_EQ(Wait(a).status, uapi::IB_WC_RETRY_EXC_ERR);
    EXPECT_EQ(devices_->qp(a.qpn).state.load(), kErr);
  };
  expect_retry_exceeded("destroyed", [&](End&, End& b) { devices_->DestroyQp(b.qpn); });
  expect_retry_exceeded("reset", [&](End&, End& b) { Modify(b, {.state = kReset}); });
  expect_retry_exceeded("in error", [&](End&, End& b) { Modify(b, {.state = kErr}); });
  expect_retry_exceeded("wrong PSN", [&](End& a, End&) { Modify(a, {.sq_psn = 8}); });
  expect_retry_exceeded("connected to another", [&](End&, End& b) { Modify(b, {.dest_qpn = 3}); });
}

TEST_F(Nic, ErrFlushesBothQueuesAndReceivesPostedLater) {  // 5.2
  std::vector<uint8_t> buffer(64);
  const uint32_t key = HostRegionOf(buffer.data(), 64);
  PostReceive(a_, buffer.data(), 64, key, 1);
  PostReceive(a_, buffer.data(), 64, key, 2);
  Modify(a_, {.state = kErr});
  for (uint64_t id : {1, 2}) {
    const ib_uverbs_wc flushed = Wait(a_);
    EXPECT_EQ(flushed.status, uapi::IB_WC_WR_FLUSH_ERR);
    EXPECT_EQ(flushed.wr_id, id);
    EXPECT_EQ(flushed.opcode, 0u);
  }
  PostReceive(a_, buffer.data(), 64, key, 3);
  EXPECT_EQ(Wait(a_).wr_id, 3u);
  PostAndRing(a_, {.wr_id = 4});
  EXPECT_EQ(Wait(a_).wr_id, 4u);
}

TEST_F(Nic, AKilledThreadsLocksAndEpochAreUndone) {
  auto* slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + header_->slots_offset);
  QpContext& qp = devices_->qp(b_.qpn);
  constexpr uint32_t kDeadSlot = 9;
  slots[kDeadSlot].state.store(ipc::ThreadSlot::kConnected);
  slots[kDeadSlot].epoch.store(1);
  slots[kDeadSlot].lock[ipc::kLockRq].store(static_cast<uint64_t>(reinterpret_cast<std::byte*>(&qp.rq_lock) - arena_));
  qp.rq_lock.word.store(kDeadSlot + 1);
  std::thread waiter([&] {
    const uint64_t word = 1;
    PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&word),
                     .length = 8,
                     .remote = 0,
                     .rkey = DeviceRegion(0, 4096),
                     .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE});
  });
  EXPECT_TRUE(Eventually([&] { return (qp.rq_lock.word.load() & OwnedLock::kContended) != 0; }));
  slots[kDeadSlot].state.store(ipc::ThreadSlot::kDead);
  devices_->RecoverSlot(kDeadSlot);
  waiter.join();
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_SUCCESS);
  EXPECT_EQ(slots[kDeadSlot].epoch.load() & 1, 0u);
  devices_->DestroyQp(b_.qpn);  // waits for every odd epoch: would hang if the dead one still counted
}

TEST_F(Nic, DeregWaitsForEveryThreadThatIsInside) {
  constexpr uint32_t kUsed = 12;
  header_->slots_used = kUsed;
  auto* slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + header_->slots_offset);
  for (const uint32_t inside : {kUsed - 1, kUsed}) {  // of the latter no thread was ever told
    slots[inside].state.store(ipc::ThreadSlot::kConnected);
    slots[inside].epoch.store(1);
  }
  auto* nic = reinterpret_cast<NicMemory*>(arena_ + header_->region_offset[ipc::kRegionNic]);
  const uint32_t device = DeviceRegion(0, 4096);
  std::atomic<bool> done{false};
  std::thread dereg([&] {
    devices_->DestroyMr(device >> 8);
    done = true;
  });
  EXPECT_TRUE(Eventually([&] { return nic->mrs[device >> 8].valid.load() == 0; }));
  for (int look = 0; look < 1000; ++look) std::this_thread::yield();
  EXPECT_FALSE(done);
  slots[kUsed - 1].epoch.store(2);
  dereg.join();
  slots[kUsed].epoch.store(0);
}

TEST_F(Nic, DeregWaitsForNobodyWhoIsOutsideAndKillsTheKey) {
  const uint32_t device = DeviceRegion(0, 4096);
  devices_->DestroyMr(device >> 8);
  const uint64_t word = 1;
  PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&word),
                   .length = 8,
                   .remote = 0,
                   .rkey = device,
                   .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE});
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_REM_ACCESS_ERR);
}

// A responder that was killed answers nothing, although its QP is there for a moment longer: not "bad key".
TEST_F(Nic, AnEndedAddressSpaceAnswersNothing) {
  uint64_t word = 0;
  const uint32_t key = HostRegionOf(&word, 8);
  devices_->EndAddressSpace(mm_);
  const uint64_t value = 1;
  PostAndRing(a_, {.local = reinterpret_cast<uint64_t>(&value),
                   .length = 8,
                   .remote = reinterpret_cast<uint64_t>(&word),
                   .rkey = key,
                   .flags = uapi::IB_SEND_SIGNALED | uapi::IB_SEND_INLINE});
  EXPECT_EQ(Wait(a_).status, uapi::IB_WC_RETRY_EXC_ERR);
  EXPECT_EQ(devices_->qp(b_.qpn).state.load(), kRts);
  EXPECT_EQ(word, 0u);
}

// 200 rings of up to 2 MiB fit into 64 MiB only if what is freed is used again, and used pages only if they are
// cleared.
TEST_F(Nic, HeapFreesMergeAndReadAsZero) {
  Ring old = {};
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(devices_->ResizeCq(a_.cq, i % 2 == 0 ? 32768 : 64, &old));
    devices_->FreeRing(old);
    const Ring& ring = devices_->cq_ring(a_.cq);
    auto* slot = reinterpret_cast<uint64_t*>(uapi::RxeSlot(Queue(ring), 10, ring.log2_elem));
    ASSERT_EQ(*slot, 0u) << "ring " << i;
    *slot = ~uint64_t{0};
  }
}

// Indices go round, so that an object is never where the last one was: what they leave behind must not stay in memory
// (found by the soak: 70 MiB in half an hour). Entries in use, in pages that others leave, stay as they are.
TEST_F(Nic, TablesGiveBackThePagesThatIndicesLeave) {
  uint64_t host = 0;
  const uint32_t kept = HostRegionOf(&host, sizeof(host)) >> 8;
  const auto make_all = [&](int times) {
    for (int i = 0; i < times; ++i) {
      const uint32_t mr = HostRegionOf(&host, sizeof(host)) >> 8;
      const uint32_t mw = *devices_->CreateMw(nic_, pd_, MwType::k2);
      const End end = MakeEnd();
      const Ring rings[] = {devices_->qp(end.qpn).sq, devices_->qp(end.qpn).rq, devices_->cq_ring(end.cq)};
      devices_->DestroyMw(mw);
      devices_->DestroyQp(end.qpn);
      devices_->DestroyCq(end.cq);
      devices_->DestroyMr(mr);
      for (const Ring& ring : rings) devices_->FreeRing(ring);
      EXPECT_EQ(devices_->qp(end.qpn).valid.load(), 0u);  // a guess of an index reads the entry of a QP that is gone
    }
  };
  make_all(1000);
  const uint64_t before = memories_->resident_bytes(ipc::kArenaMemory);
  make_all(3000);
  EXPECT_LE(memories_->resident_bytes(ipc::kArenaMemory), before + 16 * 4096);
  EXPECT_EQ(devices_->mr(kept).valid.load(), uint32_t{kMrUsable});
  EXPECT_EQ(devices_->mr(kept).length, sizeof(host));
  EXPECT_EQ(devices_->qp(a_.qpn).valid.load(), 1u);
}

}  // namespace
}  // namespace causeway::roce
