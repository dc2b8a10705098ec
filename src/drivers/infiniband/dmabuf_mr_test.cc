// SPDX-License-Identifier: Apache-2.0
// Memory regions over dma-bufs: the errno of registration (specs: verbs 6.1), buffers that move under traffic, and
// buffers that are taken away (6.2).
#include <thread>

#include "dmabuf/fake_exporter.h"
#include "drivers/infiniband/cq.h"
#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class DmaBufMr : public UverbsBench {
 protected:
  explicit DmaBufMr(const Capabilities& capabilities = {})
      : UverbsBench(capabilities), state_(std::make_shared<dmabuf::FakeExporterState>()) {
    GetContext();
    state_->base = topology_->FindFunction("gaudi0")->bar(4).base;
    pd_ = AllocPd();
  }
  int Export(bool is_dynamic = false) {
    auto dmabuf = dmabuf::DmaBuf::Export({.exporter_name = "fake",
                                          .size = 4 * kPageSize,
                                          .ops = std::make_unique<dmabuf::FakeExporter>(state_, is_dynamic),
                                          .function = topology_->FindFunction("gaudi0")});
    return *task_.InstallFile(*dmabuf, 0);
  }
  int Register(int fd, uint64_t offset = 0, uint64_t length = 4 * kPageSize, uint64_t iova = 0,
               uint32_t access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE, uint32_t pd = 0) {
    const int result = Ioctl(
        UVERBS_OBJECT_MR, UVERBS_METHOD_REG_DMABUF_MR,
        {Attr(UVERBS_ATTR_REG_DMABUF_MR_HANDLE, 0, 0), Attr(UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, 0, pd),
         Attr(UVERBS_ATTR_REG_DMABUF_MR_OFFSET, 8, offset), Attr(UVERBS_ATTR_REG_DMABUF_MR_LENGTH, 8, length),
         Attr(UVERBS_ATTR_REG_DMABUF_MR_IOVA, 8, iova),
         Attr(UVERBS_ATTR_REG_DMABUF_MR_FD, 4, static_cast<uint32_t>(fd)),
         Attr(UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, 4, access), Attr(UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, 4, kOut),
         Attr(UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, 4, kOut + 4)});
    handle_ = static_cast<uint32_t>(AttrAfter(0).data);
    return result;
  }
  int Dereg() { return Plain(IB_USER_VERBS_CMD_DEREG_MR, ib_uverbs_dereg_mr{handle_}, 0); }
  // What an exporter does: tells, moves the bytes, and only then lets others map.
  void MoveTo(int fd, uint64_t base) {
    const auto dmabuf = DynamicRefCast<dmabuf::DmaBuf>(task_.files.at(fd));
    const uint64_t bar = topology_->FindFunction("gaudi0")->bar(4).base;
    const std::lock_guard lock(dmabuf->resv_mutex());
    dmabuf->MoveNotifyLocked();
    std::memmove(Device<std::byte>(base - bar), Device<std::byte>(state_->base - bar), dmabuf->size());
    state_->base = base;
  }
  template <typename T>
  T* Device(uint64_t offset) {
    uint64_t len = sizeof(T);
    return reinterpret_cast<T*>(memories_.At(hbm_, offset, &len));
  }
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  rxe_queue_buf* Queue(const roce::Ring& ring) { return reinterpret_cast<rxe_queue_buf*>(arena_ + ring.offset); }
  // An RDMA write, as the provider posts it, and the doorbell.
  void PostWrite(const ib_uverbs_create_qp_resp& qp, const rxe_sge& sge, uint64_t remote, uint32_t rkey) {
    const roce::Ring& ring = nics_->qp(qp.qpn).sq;
    auto* queue = Queue(ring);
    const uint32_t at = queue->producer_index.load();
    auto* wqe = reinterpret_cast<rxe_send_wqe*>(RxeSlot(queue, at, ring.log2_elem));
    *wqe = {};
    wqe->wr.opcode = IB_WR_RDMA_WRITE;
    wqe->wr.send_flags = IB_SEND_SIGNALED;
    wqe->wr.wr.rdma.remote_addr = remote;
    wqe->wr.wr.rdma.rkey = rkey;
    wqe->dma.length = sge.length;
    wqe->dma.num_sge = 1;
    *reinterpret_cast<rxe_sge*>(wqe + 1) = sge;
    queue->producer_index.store((at + 1) & ring.mask);
    ASSERT_EQ(
        Plain(IB_USER_VERBS_CMD_POST_SEND, ib_uverbs_post_send{kOut, qp.qp_handle, 0, 0, sizeof(ib_uverbs_send_wr)}, 4),
        0);
  }
  bool Poll(uint32_t cq, ib_uverbs_wc* wc) {
    const roce::Ring& ring = nics_->cq_ring((*file_->objects().Lookup<Cq>(cq))->index());
    auto* queue = Queue(ring);
    const uint32_t consumer = queue->consumer_index.load();
    if (queue->producer_index.load() == consumer) return false;
    std::memcpy(wc, RxeSlot(queue, consumer, ring.log2_elem), sizeof(*wc));
    queue->consumer_index.store((consumer + 1) & ring.mask);
    return true;
  }
  std::shared_ptr<dmabuf::FakeExporterState> state_;
  uint32_t pd_ = 0, handle_ = 0;
};

TEST_F(DmaBufMr, ErrnoTable) {  // 6.1, in its order
  const int fd = Export();
  const int channel = CreateChannel();
  constexpr uint32_t kAll = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
                            IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_RELAXED_ORDERING;
  const struct {
    const char* name;
    int fd;
    uint64_t offset, length, iova;
    uint32_t access, pd;
    int want;
  } cases[] = {
      {"good", fd, 0, 4 * kPageSize, 0, kAll, pd_, 0},
      {"part, at its own address", fd, kPageSize + 8, 100, 0x7008, kAll, pd_, 0},
      {"no such PD", fd, 0, kPageSize, 0, kAll, 99, ENOENT},
      {"low bits differ", fd, 8, 100, 0x7000, kAll, pd_, EINVAL},
      {"on demand", fd, 0, kPageSize, 0, IB_ACCESS_ON_DEMAND, pd_, EINVAL},
      {"memory windows", fd, 0, kPageSize, 0, kAll | IB_ACCESS_MW_BIND, pd_, EINVAL},
      {"zero based", fd, 0, kPageSize, 0, kAll | IB_ZERO_BASED, pd_, EINVAL},
      {"huge pages", fd, 0, kPageSize, 0, kAll | IB_ACCESS_HUGETLB, pd_, EINVAL},
      {"remote write alone", fd, 0, kPageSize, 0, IB_ACCESS_REMOTE_WRITE, pd_, EINVAL},
      {"flags before the descriptor", -1, 0, kPageSize, 0, IB_ACCESS_REMOTE_WRITE, pd_, EINVAL},
      {"wraps", fd, kPageSize, ~uint64_t{0}, 0, kAll, pd_, EINVAL},
      {"no such descriptor", 999, 0, kPageSize, 0, kAll, pd_, EBADF},
      {"UCX's probe", -1, 0, kPageSize, 0, kAll, pd_, EBADF},
      {"not a dma-buf", channel, 0, kPageSize, 0, kAll, pd_, EINVAL},
      {"past the end", fd, kPageSize, 4 * kPageSize, 0, kAll, pd_, EINVAL},
      {"no pages", fd, 0, 0, 0, kAll, pd_, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Register(c.fd, c.offset, c.length, c.iova, c.access, c.pd), c.want);
    if (c.want != 0) continue;
    EXPECT_EQ(Peek<uint32_t>(kOut), Peek<uint32_t>(kOut + 4));
    EXPECT_EQ(state_->attached, 1);
    EXPECT_EQ(state_->mapped, 1);
    EXPECT_EQ(Dereg(), 0);
    EXPECT_EQ(state_->attached, 0);
    EXPECT_EQ(state_->mapped, 0);
  }
  task_.host_files.emplace(50, UniqueFd(::dup(0)));
  EXPECT_EQ(Register(50), EINVAL);  // a file of the host
  EXPECT_EQ(state_->attached, 0);
}

TEST_F(DmaBufMr, TheExportersErrnoGoesOut) {
  state_->attach_errno = EPERM;
  EXPECT_EQ(Register(Export()), EPERM);
  state_->attach_errno = 0;
  state_->map_errno = EREMOTEIO;
  EXPECT_EQ(Register(Export()), EREMOTEIO);
  EXPECT_EQ(state_->attached, 0);
  EXPECT_EQ(state_->mapped, 0);
}

TEST_F(DmaBufMr, TheRegionKeepsTheBufferAfterItsDescriptorIsClosed) {
  const int fd = Export();
  ASSERT_EQ(Register(fd), 0);
  task_.Close(fd);
  EXPECT_TRUE(state_->alive);
  file_.Reset();
  EXPECT_FALSE(state_->alive);
}

TEST_F(DmaBufMr, TheNicGetsBusAddressesAndTheRoute) {
  ASSERT_EQ(Register(Export(), kPageSize, 2 * kPageSize, 0x5000), 0);
  const roce::MrEntry& entry = nics_->mr(Peek<uint32_t>(kOut) >> 8);
  EXPECT_EQ(entry.kind, roce::kMrBus);
  EXPECT_EQ(entry.iova, 0x5000u);
  EXPECT_EQ(entry.length, 2 * kPageSize);
  EXPECT_FALSE(bus_->CrossesHostMemory(entry.route));
  EXPECT_EQ(bus_->DescribeTarget(entry.route), "gaudi0");
}

// A NIC without on-demand paging cannot wait for pages.
class PinnedDmaBufMr : public DmaBufMr {
 protected:
  PinnedDmaBufMr() : DmaBufMr({.odp = false}) {}
};

TEST_F(PinnedDmaBufMr, ADynamicExporterIsPinnedUntilDereg) {
  state_->pin_errno = EBUSY;
  EXPECT_EQ(Register(Export(true)), EBUSY);
  EXPECT_EQ(state_->attached, 0);
  EXPECT_EQ(state_->mapped, 0);
  state_->pin_errno = 0;
  ASSERT_EQ(Register(Export(true)), 0);
  EXPECT_EQ(state_->pinned, 1);
  EXPECT_EQ(Dereg(), 0);
  EXPECT_EQ(state_->pinned, 0);
}

TEST_F(PinnedDmaBufMr, WhatTheExporterTakesAwayIsGone) {
  const int fd = Export(true);
  ASSERT_EQ(Register(fd), 0);
  const roce::MrEntry& entry = nics_->mr(Peek<uint32_t>(kOut) >> 8);
  MoveTo(fd, state_->base);
  EXPECT_EQ(entry.valid.load(), uint32_t{roce::kMrDead});
  EXPECT_EQ(state_->mapped, 0);
  EXPECT_EQ(DeallocPd(pd_), EBUSY);  // the region itself stays
  EXPECT_EQ(Dereg(), 0);
  EXPECT_EQ(state_->attached, 0);
  EXPECT_EQ(state_->pinned, 0);
}

TEST_F(DmaBufMr, AMovedBufferIsMappedAgain) {
  nics_->Start();
  const int fd = Export(true);
  ASSERT_EQ(Register(fd), 0);
  EXPECT_EQ(state_->pinned, 0);
  const roce::MrEntry& entry = nics_->mr(Peek<uint32_t>(kOut) >> 8);
  for (uint64_t place = 1; place <= 3; ++place) {
    const uint64_t base = topology_->FindFunction("gaudi0")->bar(4).base + (place << 20);
    MoveTo(fd, base);
    ASSERT_TRUE(Eventually([&] { return entry.valid.load() == roce::kMrUsable; }));
    EXPECT_EQ(entry.segment.address, base);
  }
  EXPECT_EQ(Dereg(), 0);
  EXPECT_EQ(state_->mapped, 0);
  EXPECT_EQ(state_->attached, 0);
}

// Revoked: the exporter has no mapping for the importer any more. The keys are dead, the region lives until dereg.
TEST_F(DmaBufMr, ARevokedBufferKillsTheKeys) {
  nics_->Start();
  const int fd = Export(true);
  ASSERT_EQ(Register(fd), 0);
  const roce::MrEntry& entry = nics_->mr(Peek<uint32_t>(kOut) >> 8);
  state_->map_errno = ENODEV;
  MoveTo(fd, state_->base);
  ASSERT_TRUE(Eventually([&] { return entry.valid.load() == roce::kMrDead; }));
  EXPECT_EQ(state_->mapped, 0);
  EXPECT_EQ(DeallocPd(pd_), EBUSY);
  EXPECT_EQ(Dereg(), 0);
  EXPECT_EQ(DeallocPd(pd_), 0);
}

TEST_F(DmaBufMr, MovingAndDeregisteringMeet) {
  nics_->Start();
  for (int round = 0; round < 50; ++round) {
    const int fd = Export(true);
    ASSERT_EQ(Register(fd), 0);
    std::thread mover([&] { MoveTo(fd, state_->base); });
    EXPECT_EQ(Dereg(), 0);
    mover.join();
    EXPECT_EQ(state_->mapped, 0);
    EXPECT_EQ(state_->attached, 0);
    task_.Close(fd);
  }
}

// Writes into a buffer that is moved all the time: none fails, and each arrives where the buffer is then (6.2).
TEST_F(DmaBufMr, TrafficGoesOnWhileTheBufferMoves) {
  nics_->Start();
  const uint64_t bar = topology_->FindFunction("gaudi0")->bar(4).base;
  ASSERT_EQ(Register(Export(false), 0, kPageSize), 0);
  const uint32_t source_key = Peek<uint32_t>(kOut);
  state_ = std::make_shared<dmabuf::FakeExporterState>();
  state_->base = bar + (1 << 20);
  const int moving = Export(true);
  ASSERT_EQ(Register(moving, 0, kPageSize), 0);
  const uint32_t target_key = Peek<uint32_t>(kOut);
  const auto cq = CreateCq(64);
  const auto qp = CreateQp(pd_, cq.handle);
  ToRts(qp.core.qp_handle, qp.core.qpn);  // to itself

  std::jthread mover([&](const std::stop_token& stop) {
    for (uint64_t place = 2; !stop.stop_requested(); place = place == 2 ? 1 : 2) MoveTo(moving, bar + (place << 20));
  });
  constexpr uint64_t kWrites = 2000;
  for (uint64_t value = 1; value <= kWrites; ++value) {
    *Device<uint64_t>(0) = value;
    PostWrite(qp.core, {.addr = 0, .length = 8, .lkey = source_key}, 8 * (value % 16), target_key);
    ib_uverbs_wc wc = {};
    ASSERT_TRUE(Eventually([&] { return Poll(cq.handle, &wc); })) << value;
    ASSERT_EQ(wc.status, uint32_t{IB_WC_SUCCESS}) << value;
  }
  mover.request_stop();
  mover.join();
  for (uint64_t value = kWrites - 15; value <= kWrites; ++value) {
    EXPECT_EQ(*Device<uint64_t>(state_->base - bar + 8 * (value % 16)), value);
  }
}

}  // namespace
}  // namespace causeway::infiniband
