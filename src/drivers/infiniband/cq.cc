// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/cq.h"

#include <bit>

namespace causeway::infiniband {
namespace {

using namespace uapi;

// rxe_cq_chk_attr(): cqe is signed there.
Status CheckCqe(uint32_t cqe) {
  if (static_cast<int32_t>(cqe) <= 0 || cqe > kMaxCqe) return Err(EINVAL);
  return {};
}

// rxe_queue_init(): one slot stays empty.
uint32_t SlotsFor(uint32_t cqe) { return std::bit_ceil(cqe + 1); }

// The channel that a write command names by a signed number: negative is none.
Result<Ref<EventFile>> Channel(Command& command, int32_t comp_channel) {
  if (comp_channel < 0) return Ref<EventFile>();
  return command.file.GetEventFile(command.task, comp_channel, EventFile::Type::kCompletion);
}

}  // namespace

Result<Ref<Cq>> Cq::Create(UverbsFile& file, kernel::Task& task, CqCreate create, const Udata& driver) {
  if (driver.out_len < sizeof(rxe_create_cq_resp)) return Err(EINVAL);  // rxe_create_cq()
  if (create.flags != 0) return Err(EOPNOTSUPP);
  CW_CHECK(CheckCqe(create.cqe));
  CW_TRY(const uint32_t index, file.core().nics().CreateCq(file.device().nic(), SlotsFor(create.cqe)));
  auto cq = MakeRef<Cq>(file, std::move(create), index);
  cq->set_tracked(file.Track(IbDevice::Restrack::kCq, task));
  const rxe_create_cq_resp response = {.mi = file.device().rings().Add(file.serial(), cq->ring_)};
  cq->offset_ = response.mi.offset;
  CW_CHECK(task.memory().Write(driver.out, response));
  return cq;
}

Cq::Cq(UverbsFile& file, CqCreate create, uint32_t index)
    : Uobject(kType, create.user_handle),
      file_(file),
      index_(index),
      channel_(std::move(create.channel)),
      async_(std::move(create.async)),
      ring_(MakeRef<RingMemory>(file.core().nics(), file.core().nics().cq_ring(index))) {
  file_.core().events().AddCq(index_, {.completion = {channel_, completion_counter_, user_handle()},
                                       .async = {async_, async_counter_, user_handle()}});
}

Cq::~Cq() { Release(); }

Status Cq::Destroy() {
  if (users.load(std::memory_order_acquire) != 0) return Err(EBUSY);  // ib_destroy_cq_user()
  Release();
  return {};
}

// uverbs_free_cq(): the hardware object first, then ib_uverbs_release_ucq() takes undelivered events back. Before that
// the interrupt's way is closed, because the index may be another queue's as soon as the NIC has it back.
void Cq::Release() {
  if (!std::exchange(alive_, false)) return;
  file_.core().events().RemoveCq(index_);
  file_.core().nics().DestroyCq(index_);
  if (channel_) events_reported_.comp_events_reported = channel_->Forget(completion_counter_);
  if (async_) events_reported_.async_events_reported = async_->Forget(async_counter_);
  file_.device().rings().Withdraw(offset_);
  Ref<RingMemory> ring;  // goes without the lock
  const std::lock_guard lock(mutex_);
  ring = std::move(ring_);
}

uint32_t Cq::cqe() const {
  const std::lock_guard lock(mutex_);
  return ring_ ? ring_->ring().mask : 0;
}

Result<uint32_t> Cq::Resize(kernel::Task& task, uint32_t cqe, const Udata& driver) {
  if (driver.out_len < sizeof(rxe_resize_cq_resp)) return Err(EINVAL);
  CW_CHECK(CheckCqe(cqe));
  rxe_resize_cq_resp response = {};
  Ref<RingMemory> old;  // freed, when it is not mapped, without the lock
  uint32_t capacity = 0;
  {
    const std::lock_guard lock(mutex_);
    if (cqe < file_.core().nics().CqDepth(index_)) return Err(EINVAL);
    roce::Ring old_ring = {};
    CW_TRY(const roce::Ring ring, file_.core().nics().ResizeCq(index_, SlotsFor(cqe), &old_ring));
    old = std::exchange(ring_, MakeRef<RingMemory>(file_.core().nics(), ring));
    file_.device().rings().Withdraw(offset_);
    response.mi = file_.device().rings().Add(file_.serial(), ring_);
    offset_ = response.mi.offset;
    capacity = ring.mask;
  }
  CW_CHECK(task.memory().Write(driver.out, response));
  return capacity;
}

// ib_uverbs_create_cq(), create_cq().
Status CreateCqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_create_cq>());
  if (request.comp_vector >= command.file.core().num_comp_vectors()) return Err(EINVAL);
  auto slot = command.file.objects().Reserve();
  CW_TRY(auto channel, Channel(command, request.comp_channel));
  CW_TRY(auto cq, Cq::Create(command.file, command.task,
                             {.user_handle = request.user_handle,
                              .cqe = request.cqe,
                              .comp_vector = request.comp_vector,
                              .channel = std::move(channel),
                              .async = command.file.default_async()},
                             command.driver));
  CW_CHECK(command.Respond(ib_uverbs_create_cq_resp{.cq_handle = slot.handle(), .cqe = cq->cqe()}));
  slot.Commit(std::move(cq));
  return {};
}

// ib_uverbs_ex_create_cq(). A driver input tail is ignored.
Status ExCreateCqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_ex_create_cq>());
  if (request.comp_mask != 0 || request.reserved != 0) return Err(EINVAL);
  if (request.comp_vector >= command.file.core().num_comp_vectors()) return Err(EINVAL);
  auto slot = command.file.objects().Reserve();
  CW_TRY(auto channel, Channel(command, request.comp_channel));
  CW_TRY(auto cq, Cq::Create(command.file, command.task,
                             {.user_handle = request.user_handle,
                              .cqe = request.cqe,
                              .comp_vector = request.comp_vector,
                              .flags = request.flags,
                              .channel = std::move(channel),
                              .async = command.file.default_async()},
                             command.driver));
  ib_uverbs_ex_create_cq_resp response = {};
  response.base = {.cq_handle = slot.handle(), .cqe = cq->cqe()};
  response.response_length = sizeof(response);
  CW_CHECK(command.Respond(response));
  slot.Commit(std::move(cq));
  return {};
}

Status ResizeCqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_resize_cq>());
  CW_TRY(const auto cq, command.file.objects().Lookup<Cq>(request.cq_handle));
  CW_TRY(const uint32_t capacity, cq->Resize(command.task, request.cqe, command.driver));
  return command.Respond(ib_uverbs_resize_cq_resp{.cqe = capacity, .reserved = 0});
}

Status DestroyCqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_destroy_cq>());
  CW_TRY(const auto cq, command.file.objects().Destroy<Cq>(request.cq_handle));
  return command.Respond(cq->events_reported());
}

// ib_uverbs_req_notify_cq(): any value but 0 asks for solicited completions only.
Status ReqNotifyCqCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_req_notify_cq>());
  CW_TRY(const auto cq, command.file.objects().Lookup<Cq>(request.cq_handle));
  command.file.core().nics().RequestNotify(
      cq->index(), request.solicited_only != 0 ? roce::Notify::kSolicited : roce::Notify::kNext);
  return {};
}

}  // namespace causeway::infiniband
