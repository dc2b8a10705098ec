// SPDX-License-Identifier: Apache-2.0
// Shared receive queues: linux v6.1 drivers/infiniband/core/uverbs_cmd.c __uverbs_create_xsrq(), sw/rxe/rxe_srq.c.
#pragma once

#include <cstdint>
#include <mutex>

#include "drivers/infiniband/commands.h"
#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

struct SrqCreate {
  uint64_t user_handle = 0;
  uint32_t type = uapi::IB_UVERBS_SRQT_BASIC;
  uint32_t max_wr = 0, max_sge = 0, limit = 0;
  Ref<Pd> pd;
  Ref<EventFile> async;
};

class Srq final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_SRQ;

  // rxe_create_srq(): makes the queue and answers the driver's part (mminfo, srq_num). `create` becomes what was
  // granted. errors: EINVAL short driver response, max_wr or max_sge out of range; EOPNOTSUPP type; ENOMEM; EFAULT.
  static Result<Ref<Srq>> Create(UverbsFile& file, kernel::Task& task, SrqCreate* create, const Udata& driver);

  Srq(UverbsFile& file, const SrqCreate& create, uint32_t index);
  ~Srq() override;
  Status Destroy() override;  // EBUSY: a QP uses it

  // rxe_modify_srq(). Bits of `mask` that mean nothing are ignored. errors: EINVAL short driver request, a limit above
  // the ring's capacity, max_wr out of range, below the limit or below the fill level; EFAULT where the new ring's
  // mminfo is to be written; ENOMEM.
  Status Modify(kernel::Task& task, const uapi::ib_uverbs_modify_srq& request, const Udata& driver);
  uapi::ib_uverbs_query_srq_resp Query() const;

  uint32_t index() const { return index_; }
  uint32_t pdn() const { return pdn_; }                          // its PD's number of NETLINK_RDMA
  uint32_t events_reported() const { return events_reported_; }  // after Destroy()

 private:
  void Release();
  Status ResizeLocked(kernel::Task& task, uint32_t max_wr, uint64_t mmap_info_addr, Ref<RingMemory>* old);

  UverbsFile& file_;  // whose objects are destroyed before it
  const uint32_t pdn_;
  UserOf<Pd> pd_;
  const uint32_t index_;
  const uint32_t max_sge_;
  const Ref<EventFile> async_;
  const Ref<EventCounter> counter_ = MakeRef<EventCounter>();
  bool alive_ = true;
  uint32_t events_reported_ = 0;
  mutable std::mutex mutex_;  // guards what follows; held while the NIC moves entries
  Ref<RingMemory> ring_;
  uint64_t offset_ = 0;  // where the ring is offered for mmap
};

}  // namespace causeway::infiniband
