// SPDX-License-Identifier: Apache-2.0
// What lives how long: rings and their mappings (specs: verbs 4.1), events and their counts (2.5, 7), everything at
// close (2.4).
#include <thread>

#include "drivers/infiniband/cq.h"
#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class Lifetime : public UverbsBench {
 protected:
  Lifetime() { GetContext(); }
  Result<kernel::Mapping> Mmap(uint64_t offset, uint64_t length) {
    return file_->Mmap(task_,
                       {.length = length, .prot = PROT_READ | PROT_WRITE, .flags = MAP_SHARED, .offset = offset});
  }
  int MmapErrno(uint64_t offset, uint64_t length) {
    const auto mapped = Mmap(offset, length);
    return mapped ? 0 : mapped.error().code();
  }
  uint32_t cq_index(uint32_t handle) { return (*file_->objects().Lookup<Cq>(handle))->index(); }
  // A freed ring's pages are given back and read as zero: a mark in an unused slot tells.
  void Mark(uint64_t ring) { arena_[ring + kMarkAt] = std::byte{1}; }
  bool IsFree(uint64_t ring) { return arena_[ring + kMarkAt] == std::byte{0}; }
  static constexpr uint64_t kMarkAt = sizeof(rxe_queue_buf) + 100;
};

TEST_F(Lifetime, MmapErrnoTable) {
  const auto cq = CreateCq();
  EXPECT_EQ(cq.mi.offset, kPageSize);  // the device's first
  EXPECT_EQ(MmapErrno(cq.mi.offset + kPageSize, cq.mi.size), EINVAL);
  EXPECT_EQ(MmapErrno(0, cq.mi.size), EINVAL);
  EXPECT_EQ(MmapErrno(cq.mi.offset, cq.mi.size + kPageSize), EINVAL);  // and it stays pending
  {
    const Ref<UverbsFile> mine = file_;
    Open();
    EXPECT_EQ(MmapErrno(cq.mi.offset, cq.mi.size), EINVAL);  // no context
    GetContext();
    EXPECT_EQ(MmapErrno(cq.mi.offset, cq.mi.size), EINVAL);  // another context
    file_ = mine;
  }
  EXPECT_EQ(MmapErrno(cq.mi.offset, cq.mi.size), 0);
  EXPECT_EQ(MmapErrno(cq.mi.offset, cq.mi.size), EINVAL);  // once
  const auto unmapped = CreateCq();
  EXPECT_EQ(unmapped.mi.offset, cq.mi.offset + cq.mi.size);
  EXPECT_EQ(DestroyCq(unmapped.handle), 0);
  EXPECT_EQ(MmapErrno(unmapped.mi.offset, unmapped.mi.size), EINVAL);  // gone with its queue
}

TEST_F(Lifetime, SendRingComesBeforeReceiveRing) {
  const auto qp = CreateQp(AllocPd(), CreateCq().handle);
  EXPECT_LT(qp.rings.sq_mi.offset, qp.rings.rq_mi.offset);
  EXPECT_EQ(MmapErrno(qp.rings.rq_mi.offset, qp.rings.rq_mi.size), 0);
  const auto sq = Mmap(qp.rings.sq_mi.offset, kPageSize);  // shorter is fine
  ASSERT_TRUE(sq);
  EXPECT_EQ(sq->memory, ipc::kArenaMemory);
  EXPECT_EQ(sq->offset, nics_->qp(qp.core.qpn).sq.offset);
}

TEST_F(Lifetime, ARingOutlivesItsQueueWhileMapped) {
  const auto cq = CreateCq(1000);
  const auto mapped = Mmap(cq.mi.offset, cq.mi.size);
  ASSERT_TRUE(mapped);
  Mark(mapped->offset);
  EXPECT_NE(mapped->vma, 0u);
  EXPECT_EQ(DestroyCq(cq.handle), 0);
  EXPECT_FALSE(IsFree(mapped->offset));
  file_->Unmapped(task_, mapped->vma + 1);  // some other
  EXPECT_FALSE(IsFree(mapped->offset));
  file_->Unmapped(task_, mapped->vma);
  EXPECT_TRUE(IsFree(mapped->offset));
}

TEST_F(Lifetime, ARingOutlivesItsMappingWhileTheQueueLives) {
  const auto cq = CreateCq(1000);
  const auto mapped = Mmap(cq.mi.offset, cq.mi.size);
  ASSERT_TRUE(mapped);
  Mark(mapped->offset);
  file_->Unmapped(task_, mapped->vma);
  EXPECT_FALSE(IsFree(mapped->offset));
  EXPECT_EQ(DestroyCq(cq.handle), 0);
  EXPECT_TRUE(IsFree(mapped->offset));
}

TEST_F(Lifetime, AResizedQueueKeepsItsOldRingUntilItIsUnmapped) {
  const auto cq = CreateCq(1000);
  const auto mapped = Mmap(cq.mi.offset, cq.mi.size);
  ASSERT_TRUE(mapped);
  Mark(mapped->offset);
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_RESIZE_CQ, ib_uverbs_resize_cq{kOut, cq.handle, 2000}, 24), 0);
  const auto mi = Peek<mminfo>(kOut + sizeof(ib_uverbs_resize_cq_resp));
  EXPECT_FALSE(IsFree(mapped->offset));
  EXPECT_EQ(MmapErrno(mi.offset, mi.size), 0);
  file_->Unmapped(task_, mapped->vma);
  EXPECT_TRUE(IsFree(mapped->offset));
}

TEST_F(Lifetime, CloseReleasesEverything) {
  const uint32_t pd = AllocPd();
  const auto cq = CreateCq(10, CreateChannel());
  const auto qp = CreateQp(pd, cq.handle);
  ASSERT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
  const uint32_t key = Response<ib_uverbs_reg_mr_resp>().lkey;
  ASSERT_EQ(MmapErrno(cq.mi.offset, cq.mi.size), 0);
  ASSERT_EQ(driver_->Contexts().size(), 1u);
  EXPECT_EQ(driver_->Contexts()[0].qps, 1u);
  EXPECT_EQ(driver_->Contexts()[0].mrs, 1u);
  EXPECT_EQ(driver_->Contexts()[0].pid, task_.pid());
  auto async = Events(async_fd_);
  file_.Reset();
  EXPECT_EQ(nics_->qp(qp.core.qpn).valid.load(), 0u);
  EXPECT_EQ(nics_->mr(key >> 8).valid.load(), 0u);
  EXPECT_TRUE(driver_->Contexts().empty());
  EXPECT_EQ(device().rings().size(), 0u);
  bool drained = false;
  EXPECT_EQ(async->Read(task_, kOut, 16, &drained).error(), Errno(EIO));
}

// ---- events

TEST_F(Lifetime, CompletionEventsGoToTheChannelWithTheUserHandle) {
  const int fd = CreateChannel();
  const auto cq = CreateCq(10, fd, 0x1234567812345678);
  const uint32_t index = cq_index(cq.handle);
  auto& events = driver_->core().events();
  events.Completion(index);
  events.Completion(index);
  bool drained = false;
  ASSERT_TRUE(Events(fd)->Read(task_, kOut, 8, &drained));
  EXPECT_EQ(Peek<uint64_t>(kOut), 0x1234567812345678u);
  ASSERT_EQ(DestroyCq(cq.handle), 0);
  const auto reported = Response<ib_uverbs_destroy_cq_resp>();
  EXPECT_EQ(reported.comp_events_reported, 1u);
  EXPECT_EQ(reported.async_events_reported, 0u);
  EXPECT_EQ(Events(fd)->queued(), 0u);  // the other one vanished
  events.Completion(index);             // too late
  EXPECT_EQ(Events(fd)->queued(), 0u);
}

TEST_F(Lifetime, QueueErrorsCountAsAsynchronousEvents) {
  const auto cq = CreateCq();
  driver_->core().events().CqError(cq_index(cq.handle));
  bool drained = false;
  ASSERT_TRUE(Events(async_fd_)->Read(task_, kOut, 16, &drained));
  EXPECT_EQ(Peek<ib_uverbs_async_event_desc>(kOut).event_type, IB_EVENT_CQ_ERR);
  ASSERT_EQ(DestroyCq(cq.handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_cq_resp>().async_events_reported, 1u);
}

TEST_F(Lifetime, DrainingAnIdleSendQueueIsAnEventOfItsQp) {  // 5.2
  nics_->Start();
  const uint32_t pd = AllocPd();
  const auto qp = CreateQp(pd, CreateCq().handle);
  ToRts(qp.core.qp_handle, qp.core.qpn);
  ASSERT_EQ(Modify(GoodAttributes(qp.core.qp_handle, IB_QP_STATE, IB_QPS_SQD)), 0);
  const auto events = Events(async_fd_);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (events->queued() == 0 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  bool drained = false;
  ASSERT_TRUE(events->Read(task_, kOut, 16, &drained));
  EXPECT_EQ(Peek<ib_uverbs_async_event_desc>(kOut).event_type, IB_EVENT_SQ_DRAINED);
  EXPECT_EQ(Peek<ib_uverbs_async_event_desc>(kOut).element, 0x9bu);
  ASSERT_EQ(DestroyQp(qp.core.qp_handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_qp_resp>().events_reported, 1u);
}

TEST_F(Lifetime, UnreadEventsOfAQpAreNotReported) {
  const auto qp = CreateQp(AllocPd(), CreateCq().handle);
  driver_->core().events().QpEvent(qp.core.qpn, roce::QpEvent::kLastWqeReached);
  EXPECT_EQ(Events(async_fd_)->queued(), 1u);
  ASSERT_EQ(DestroyQp(qp.core.qp_handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_qp_resp>().events_reported, 0u);
  EXPECT_EQ(Events(async_fd_)->queued(), 0u);
}

// ---- RLIMIT_MEMLOCK

TEST_F(Lifetime, LockedMemoryIsAccountedPerProcess) {
  IbCore& core = driver_->core();
  EXPECT_TRUE(core.PinPages(1, 6, 10));
  EXPECT_EQ(core.PinPages(1, 5, 10).error(), Errno(ENOMEM));
  EXPECT_TRUE(core.PinPages(2, 5, 10));
  core.UnpinPages(1, 6);
  EXPECT_TRUE(core.PinPages(1, 10, 10));
  EXPECT_EQ(core.PinPages(1, ~uint64_t{0}, ~uint64_t{0} - 1).error(), Errno(ENOMEM));
}

}  // namespace
}  // namespace causeway::infiniband
