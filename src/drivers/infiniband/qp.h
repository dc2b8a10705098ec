// SPDX-License-Identifier: Apache-2.0
// Queue pairs: linux v6.1 drivers/infiniband/core/uverbs_cmd.c create_qp(), modify_qp(), core/verbs.c _ib_modify_qp(),
// sw/rxe/rxe_qp.c. The state machine itself is qp_state.h.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "drivers/infiniband/commands.h"
#include "drivers/infiniband/cq.h"
#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/srq.h"
#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

struct QpCreate {
  uint32_t handle = 0;  // its own, reserved
  uint64_t user_handle = 0;
  uapi::ib_uverbs_qp_type type = uapi::IB_UVERBS_QPT_RC;
  uapi::ib_uverbs_qp_cap cap = {};
  bool sq_sig_all = false;
  uint32_t create_flags = 0;  // those left for the driver
  Ref<Pd> pd;
  Ref<Cq> send_cq, recv_cq;  // may be empty, where core lets that through
  Ref<Srq> srq;              // may be empty
  Ref<EventFile> async;
};

class Qp final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_QP;

  // rxe_create_qp(): makes the QP and answers the driver's part (two mminfo). `create.cap` becomes what was granted.
  // errors: EINVAL short driver response, caps above the limits, no CQ, a driver request; EOPNOTSUPP create flags or a
  // type that the device does not have; ENOMEM; EFAULT.
  static Result<Ref<Qp>> Create(UverbsFile& file, kernel::Task& task, QpCreate* create, const Udata& driver);

  Qp(UverbsFile& file, const QpCreate& create, uint32_t qpn);
  ~Qp() override;
  Status Destroy() override;  // EBUSY: attached to multicast groups
  void Abandon() override;    // ib_uverbs_detach_umcast()

  // modify_qp() of uverbs_cmd.c, from the object's look-up on.
  Status Modify(kernel::Task& task, uapi::ib_uverbs_modify_qp request);
  uapi::ib_uverbs_query_qp_resp Query() const;

  // ib_uverbs_attach_mcast(), ib_uverbs_detach_mcast(): core keeps (GID, LID) pairs, the device GIDs alone.
  // errors: EINVAL not UD, no multicast GID, not attached; ENOMEM the group is full.
  Status Attach(const Gid& gid, uint16_t mlid);
  Status Detach(const Gid& gid, uint16_t mlid);

  uint32_t qpn() const { return qpn_; }
  uapi::ib_uverbs_qp_type type() const { return type_; }
  uint32_t pdn() const { return pdn_; }  // its PD's and SRQ's numbers of NETLINK_RDMA
  std::optional<uint32_t> srqn() const { return srqn_; }
  bool alive() const { return alive_.load(); }  // what Query() said before is true of it
  uapi::ib_qp_state state() const;
  uint32_t events_reported() const { return events_reported_; }  // after Destroy()

 private:
  void Release();
  Status CheckLocked(const uapi::ib_uverbs_modify_qp& request) const;                         // rxe_qp_chk_attr()
  void ApplyLocked(const uapi::ib_uverbs_modify_qp& request, const roce::AddressVector& av);  // rxe_qp_from_attr()

  UverbsFile& file_;  // whose objects are destroyed before it
  const uapi::ib_uverbs_qp_type type_;
  const bool sq_sig_all_;
  const uint32_t qpn_;
  const uint32_t pdn_;
  const std::optional<uint32_t> srqn_;
  UserOf<Pd> pd_;
  UserOf<Cq> send_cq_, recv_cq_;
  UserOf<Srq> srq_;
  const Ref<EventFile> async_;
  const Ref<EventCounter> counter_ = MakeRef<EventCounter>();
  Ref<RingMemory> sq_, rq_;  // rq_ is empty with an SRQ
  uint64_t sq_offset_ = 0, rq_offset_ = 0;
  std::atomic<bool> alive_{true};
  uint32_t events_reported_ = 0;
  mutable std::mutex mutex_;                 // serialises modifications; guards attr_
  uapi::ib_uverbs_query_qp_resp attr_ = {};  // what the program set, as QUERY_QP shows it
  struct Membership {
    Gid gid;
    uint16_t mlid;
    friend bool operator==(const Membership&, const Membership&) = default;
  };
  mutable std::mutex multicast_mutex_;  // mcast_lock; guards memberships_
  std::vector<Membership> memberships_;
};

}  // namespace causeway::infiniband
