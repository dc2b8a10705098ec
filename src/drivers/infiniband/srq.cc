// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/srq.h"

#include <algorithm>
#include <bit>

#include "drivers/infiniband/cq.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

constexpr uint32_t kSrqNumBase = 0x20000;  // RXE_MIN_SRQ_INDEX - 1: indices are 1..

// rxe_queue_init() with rcv_wqe_size(): one slot stays empty.
roce::RingSize RingFor(uint32_t max_wr, uint32_t max_sge) {
  const auto element = static_cast<uint32_t>(sizeof(rxe_recv_wqe) + max_sge * sizeof(rxe_sge));
  return {.slots = std::bit_ceil(max_wr + 1), .elem_bytes = std::bit_ceil(std::max(element, kRxeMinSlotBytes))};
}

}  // namespace

Result<Ref<Srq>> Srq::Create(UverbsFile& file, kernel::Task& task, SrqCreate* create, const Udata& driver) {
  if (driver.out_len < sizeof(rxe_create_srq_resp)) return Err(EINVAL);
  if (create->type != IB_UVERBS_SRQT_BASIC) return Err(EOPNOTSUPP);
  // rxe_srq_chk_init().
  if (create->max_wr > kMaxSrqWr || create->max_wr == 0) return Err(EINVAL);
  if (create->max_sge > kMaxSrqSge) return Err(EINVAL);
  create->max_sge = std::max(create->max_sge, 1u);
  CW_TRY(const uint32_t index, file.core().nics().CreateSrq({.nic = file.device().nic(),
                                                             .pd = create->pd->number(),
                                                             .max_sge = create->max_sge,
                                                             .limit = create->limit,
                                                             .ring = RingFor(create->max_wr, create->max_sge)}));
  auto srq = MakeRef<Srq>(file, *create, index);
  Tracked tracked = create->pd->tracked();  // rdma_restrack_parent_name()
  tracked.id = file.device().NextResId(IbDevice::Restrack::kSrq);
  srq->set_tracked(tracked);
  rxe_create_srq_resp response = {};
  response.mi = file.device().rings().Add(file.serial(), srq->ring_);
  srq->offset_ = response.mi.offset;
  response.srq_num = kSrqNumBase + index;
  // The reserved word behind srq_num is not written.
  CW_CHECK(task.memory().CopyTo(driver.out,
                                std::as_bytes(std::span(&response, 1)).first(offsetof(rxe_create_srq_resp, reserved))));
  return srq;
}

Srq::Srq(UverbsFile& file, const SrqCreate& create, uint32_t index)
    : Uobject(kType, create.user_handle),
      file_(file),
      pdn_(create.pd->tracked().id),
      pd_(create.pd),
      index_(index),
      max_sge_(create.max_sge),
      async_(create.async),
      ring_(MakeRef<RingMemory>(file.core().nics(), file.core().nics().srq_ring(index))) {
  file_.core().events().AddSrq(index_, {async_, counter_, user_handle()});
}

Srq::~Srq() { Release(); }

Status Srq::Destroy() {
  if (users.load(std::memory_order_acquire) != 0) return Err(EBUSY);  // ib_destroy_srq_user()
  Release();
  return {};
}

// As Cq::Release(): the interrupt's way is closed before the number is free.
void Srq::Release() {
  if (!std::exchange(alive_, false)) return;
  file_.core().events().RemoveSrq(index_);
  file_.core().nics().DestroySrq(index_);
  if (async_) events_reported_ = async_->Forget(counter_);
  file_.device().rings().Withdraw(offset_);
  ring_.Reset();
  pd_.Release();
}

Status Srq::Modify(kernel::Task& task, const ib_uverbs_modify_srq& request, const Udata& driver) {
  if (driver.in_len < sizeof(rxe_modify_srq_cmd)) return Err(EINVAL);
  CW_TRY(const auto more, task.memory().Read<rxe_modify_srq_cmd>(driver.in));
  roce::NicDevices& nics = file_.core().nics();
  Ref<RingMemory> old;  // freed, when it is not mapped, without the lock
  const std::lock_guard lock(mutex_);
  // rxe_srq_chk_attr().
  if ((request.attr_mask & IB_SRQ_MAX_WR) != 0) {
    if (request.max_wr > kMaxSrqWr || request.max_wr == 0) return Err(EINVAL);
    if (request.max_wr < nics.srq_limit(index_)) return Err(EINVAL);
  }
  if ((request.attr_mask & IB_SRQ_LIMIT) != 0) {
    if (request.srq_limit > kMaxSrqWr || request.srq_limit > ring_->ring().mask) return Err(EINVAL);
  }
  // rxe_srq_from_attr().
  if ((request.attr_mask & IB_SRQ_MAX_WR) != 0) {
    CW_CHECK(ResizeLocked(task, request.max_wr, more.mmap_info_addr, &old));
  }
  if ((request.attr_mask & IB_SRQ_LIMIT) != 0) nics.SetSrqLimit(index_, request.srq_limit);
  return {};
}

// rxe_queue_resize(). Where the new ring can be mapped is written before the old one is touched, so that a bad address
// changes nothing.
Status Srq::ResizeLocked(kernel::Task& task, uint32_t max_wr, uint64_t mmap_info_addr, Ref<RingMemory>* old) {
  roce::Ring old_ring = {};
  CW_CHECK(task.memory().Write(mmap_info_addr, mminfo{}));
  CW_TRY(const roce::Ring ring, file_.core().nics().ResizeSrq(index_, RingFor(max_wr, max_sge_), &old_ring));
  *old = std::exchange(ring_, MakeRef<RingMemory>(file_.core().nics(), ring));
  file_.device().rings().Withdraw(offset_);
  const mminfo info = file_.device().rings().Add(file_.serial(), ring_);
  offset_ = info.offset;
  return task.memory().Write(mmap_info_addr, info);
}

// rxe_query_srq().
ib_uverbs_query_srq_resp Srq::Query() const {
  const std::lock_guard lock(mutex_);
  return {.max_wr = ring_->ring().mask,
          .max_sge = max_sge_,
          .srq_limit = file_.core().nics().srq_limit(index_),
          .reserved = 0};
}

namespace {

// __uverbs_create_xsrq(), with its order of checks.
Status CreateSrq(Command& command, const ib_uverbs_create_xsrq& request) {
  UobjectTable& objects = command.file.objects();
  auto slot = objects.Reserve();
  if (request.srq_type == IB_UVERBS_SRQT_XRC) return Err(EINVAL);  // its XRCD cannot exist
  Use<Cq> cq;
  if (request.srq_type == IB_UVERBS_SRQT_TM) {
    CW_TRY(cq, objects.Lookup<Cq>(request.cq_handle));
  }
  CW_TRY(const auto pd, objects.Lookup<Pd>(request.pd_handle));
  SrqCreate create = {.user_handle = request.user_handle,
                      .type = request.srq_type,
                      .max_wr = request.max_wr,
                      .max_sge = request.max_sge,
                      .limit = request.srq_limit,
                      .pd = pd.ref(),
                      .async = command.file.default_async()};
  CW_TRY(auto srq, Srq::Create(command.file, command.task, &create, command.driver));
  CW_CHECK(command.Respond(ib_uverbs_create_srq_resp{
      .srq_handle = slot.handle(), .max_wr = create.max_wr, .max_sge = create.max_sge, .srqn = 0}));
  slot.Commit(std::move(srq));
  return {};
}

}  // namespace

Status CreateSrqCommand(Command& command) {
  CW_TRY(const auto plain, command.Request<ib_uverbs_create_srq>());
  return CreateSrq(command, {.response = plain.response,
                             .user_handle = plain.user_handle,
                             .srq_type = IB_UVERBS_SRQT_BASIC,
                             .pd_handle = plain.pd_handle,
                             .max_wr = plain.max_wr,
                             .max_sge = plain.max_sge,
                             .srq_limit = plain.srq_limit,
                             .max_num_tags = 0,
                             .xrcd_handle = 0,
                             .cq_handle = 0});
}

Status CreateXsrqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_create_xsrq>());
  return CreateSrq(command, request);
}

Status ModifySrqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_modify_srq>());
  CW_TRY(const auto srq, command.file.objects().Lookup<Srq>(request.srq_handle));
  return srq->Modify(command.task, request, command.driver);
}

Status QuerySrqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_query_srq>());
  CW_TRY(const auto srq, command.file.objects().Lookup<Srq>(request.srq_handle));
  return command.Respond(srq->Query());
}

Status DestroySrqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_destroy_srq>());
  CW_TRY(const auto srq, command.file.objects().Destroy<Srq>(request.srq_handle));
  return command.Respond(ib_uverbs_destroy_srq_resp{.events_reported = srq->events_reported()});
}

}  // namespace causeway::infiniband
