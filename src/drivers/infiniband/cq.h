// SPDX-License-Identifier: Apache-2.0
// Completion queues: linux drivers/infiniband/core/uverbs_cmd.c create_cq(), sw/rxe/rxe_cq.c.
#pragma once

#include <cstdint>
#include <mutex>

#include "drivers/infiniband/commands.h"
#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

struct CqCreate {
  uint64_t user_handle = 0;
  uint32_t cqe = 0;
  uint32_t comp_vector = 0;
  uint32_t flags = 0;
  Ref<EventFile> channel;  // may be empty
  Ref<EventFile> async;
};

class Cq final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_CQ;

  // Makes the queue and answers the driver's part (mminfo). errors: EINVAL comp_vector, cqe or a short driver response;
  // EOPNOTSUPP any flag; ENOMEM; EFAULT.
  static Result<Ref<Cq>> Create(UverbsFile& file, kernel::Task& task, CqCreate create, const Udata& driver);

  Cq(UverbsFile& file, CqCreate create, uint32_t index);
  ~Cq() override;
  Status Destroy() override;  // EBUSY: a QP uses it

  // rxe_resize_cq(). Returns the new capacity. errors: EINVAL cqe out of range or below the fill level, or a short
  // driver response; ENOMEM; EFAULT.
  Result<uint32_t> Resize(kernel::Task& task, uint32_t cqe, const Udata& driver);

  uint32_t index() const { return index_; }
  uint32_t cqe() const;  // capacity; 0 after Destroy()
  // After Destroy().
  uapi::ib_uverbs_destroy_cq_resp events_reported() const { return events_reported_; }

 private:
  void Release();

  UverbsFile& file_;  // whose objects are destroyed before it
  const uint32_t index_;
  const Ref<EventFile> channel_, async_;
  const Ref<EventCounter> completion_counter_ = MakeRef<EventCounter>(), async_counter_ = MakeRef<EventCounter>();
  bool alive_ = true;
  uapi::ib_uverbs_destroy_cq_resp events_reported_ = {};
  mutable std::mutex mutex_;  // guards what follows; held while the NIC moves entries
  Ref<RingMemory> ring_;
  uint64_t offset_ = 0;  // where the ring is offered for mmap
};

}  // namespace causeway::infiniband
