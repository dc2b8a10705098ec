// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/qp.h"

#include <linux/capability.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "drivers/infiniband/address.h"
#include "drivers/infiniband/qp_state.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

constexpr uint32_t kPsnMask = 0xffffff;
constexpr uint32_t kQkeyPrivileged = 0x80000000;  // IB_QP_SET_QKEY

// rxe_qp_chk_init(), rxe_qp_chk_cap(). A type that is switched off is refused as one that rxe lacks.
Status CheckInit(const IbDevice& device, const QpCreate& create) {
  switch (create.type) {
    case IB_UVERBS_QPT_RC: break;
    case IB_UVERBS_QPT_UC:
      if (!device.Has(&Capabilities::uc)) return Err(EOPNOTSUPP);
      break;
    case IB_UVERBS_QPT_UD:
      if (!device.Has(&Capabilities::ud)) return Err(EOPNOTSUPP);
      break;
    default: return Err(EOPNOTSUPP);
  }
  if (!create.send_cq || !create.recv_cq) return Err(EINVAL);
  const ib_uverbs_qp_cap& cap = create.cap;
  if (cap.max_send_wr > kMaxQpWr || cap.max_send_sge > kMaxSge) return Err(EINVAL);
  if (!create.srq && (cap.max_recv_wr > kMaxQpWr || cap.max_recv_sge > kMaxSge)) return Err(EINVAL);
  if (cap.max_inline_data > kMaxInlineData) return Err(EINVAL);
  return {};
}

// rxe_queue_init().
roce::RingSize RingFor(uint32_t entries, size_t element) {
  return {.slots = std::bit_ceil(entries + 1),
          .elem_bytes = std::bit_ceil(std::max(static_cast<uint32_t>(element), kRxeMinSlotBytes))};
}

// Above 128 the rounded value does not fit its field and becomes 0, as in the kernel.
uint8_t RoundUpRdAtomic(uint8_t value) {
  return value == 0 ? value : static_cast<uint8_t>(std::bit_ceil(unsigned{value}));
}

}  // namespace

Result<Ref<Qp>> Qp::Create(UverbsFile& file, kernel::Task& task, QpCreate* create, const Udata& driver) {
  if (driver.out_len < sizeof(rxe_create_qp_resp)) return Err(EINVAL);
  if (create->create_flags != 0) return Err(EOPNOTSUPP);
  CW_CHECK(CheckInit(file.device(), *create));
  if (driver.in_len != 0) return Err(EINVAL);

  // rxe_qp_init_req(): scatter entries and inline data share the slot.
  ib_uverbs_qp_cap& cap = create->cap;
  const uint32_t payload = std::max(cap.max_send_sge * uint32_t{sizeof(rxe_sge)}, cap.max_inline_data);
  cap.max_send_sge = payload / uint32_t{sizeof(rxe_sge)};
  cap.max_inline_data = payload;
  CW_TRY(
      const uint32_t qpn,
      file.core().nics().CreateQp(
          {.nic = file.device().nic(),
           .pd = create->pd->number(),
           .type = create->type,
           .send_cq = create->send_cq->index(),
           .recv_cq = create->recv_cq->index(),
           .srq = create->srq ? create->srq->index() : 0,
           .owner_file = file.id(),
           .handle = create->handle,
           .user_handle = create->user_handle,
           .sq_sig_all = create->sq_sig_all,
           .max_send_sge = cap.max_send_sge,
           .max_recv_sge = cap.max_recv_sge,
           .max_inline = cap.max_inline_data,
           .sq = RingFor(cap.max_send_wr, sizeof(rxe_send_wqe) + payload),
           .rq = create->srq ? roce::RingSize{}
                             : RingFor(cap.max_recv_wr, sizeof(rxe_recv_wqe) + cap.max_recv_sge * sizeof(rxe_sge))}));
  auto qp = MakeRef<Qp>(file, *create, qpn);
  qp->set_tracked({.id = qpn, .pid = task.pid(), .tid = task.tid()});
  rxe_create_qp_resp response = {};
  response.sq_mi = file.device().rings().Add(file.serial(), qp->sq_);
  qp->sq_offset_ = response.sq_mi.offset;
  if (qp->rq_) {
    response.rq_mi = file.device().rings().Add(file.serial(), qp->rq_);
    qp->rq_offset_ = response.rq_mi.offset;
  }
  CW_CHECK(task.memory().Write(driver.out, response));
  return qp;
}

Qp::Qp(UverbsFile& file, const QpCreate& create, uint32_t qpn)
    : Uobject(kType, create.user_handle),
      file_(file),
      type_(create.type),
      sq_sig_all_(create.sq_sig_all),
      qpn_(qpn),
      pdn_(create.pd->tracked().id),
      srqn_(create.srq ? std::optional(create.srq->tracked().id) : std::nullopt),
      pd_(create.pd),
      send_cq_(create.send_cq),
      recv_cq_(create.recv_cq),
      srq_(create.srq),
      async_(create.async) {
  roce::NicDevices& nics = file_.core().nics();
  const roce::QpContext& context = nics.qp(qpn_);
  sq_ = MakeRef<RingMemory>(nics, context.sq);
  attr_.max_send_wr = context.sq.mask;
  attr_.max_send_sge = create.cap.max_send_sge;
  if (!create.srq) {
    rq_ = MakeRef<RingMemory>(nics, context.rq);
    attr_.max_recv_wr = context.rq.mask;
    attr_.max_recv_sge = create.cap.max_recv_sge;
  }
  attr_.max_inline_data = create.cap.max_inline_data;
  attr_.path_mtu = 1;                                   // rxe_qp_init_misc()
  attr_.dest.is_global = attr_.alt_dest.is_global = 1;  // rxe_av_to_attr()
  attr_.sq_sig_all = sq_sig_all_ ? 1 : 0;
  file_.core().events().AddQp(qpn_, {async_, counter_, user_handle()});
}

Qp::~Qp() { Release(); }

Status Qp::Destroy() {
  {
    const std::lock_guard lock(multicast_mutex_);
    if (!memberships_.empty()) return Err(EBUSY);  // uverbs_free_qp()
  }
  Release();
  return {};
}

// uverbs_free_qp(). As in Cq::Release(), the interrupt's way is closed before the number is free.
void Qp::Release() {
  if (!alive_.exchange(false)) return;
  file_.core().events().RemoveQp(qpn_);
  file_.core().nics().DestroyQp(qpn_);
  if (async_) events_reported_ = async_->Forget(counter_);
  file_.device().rings().Withdraw(sq_offset_);
  file_.device().rings().Withdraw(rq_offset_);
  sq_.Reset();
  rq_.Reset();
  send_cq_.Release();
  recv_cq_.Release();
  srq_.Release();
  pd_.Release();
}

Status Qp::Attach(const Gid& gid, uint16_t mlid) {
  const std::lock_guard lock(multicast_mutex_);
  if (std::ranges::find(memberships_, Membership{gid, mlid}) != memberships_.end()) return {};
  if (!IsMulticast(gid) || type_ != IB_UVERBS_QPT_UD) return Err(EINVAL);  // ib_attach_mcast()
  CW_CHECK(file_.core().nics().AttachMulticast(qpn_, gid.data()));
  memberships_.push_back({gid, mlid});
  return {};
}

// The pair is forgotten whatever the device says: of two pairs with one GID, the second finds the device detached.
Status Qp::Detach(const Gid& gid, uint16_t mlid) {
  const std::lock_guard lock(multicast_mutex_);
  const auto it = std::ranges::find(memberships_, Membership{gid, mlid});
  if (it == memberships_.end()) return Err(EINVAL);
  memberships_.erase(it);
  return file_.core().nics().DetachMulticast(qpn_, gid.data());
}

void Qp::Abandon() {
  const std::lock_guard lock(multicast_mutex_);
  for (const Membership& membership : memberships_) {
    (void)file_.core().nics().DetachMulticast(qpn_, membership.gid.data());  // EINVAL: a second pair with this GID
  }
  memberships_.clear();
}

ib_qp_state Qp::state() const {
  return static_cast<ib_qp_state>(file_.core().nics().qp(qpn_).state.load(std::memory_order_acquire));
}

Status Qp::Modify(kernel::Task& task, ib_uverbs_modify_qp request) {
  uint32_t& mask = request.attr_mask;
  if ((mask & IB_QP_PORT) != 0 && request.port_num != kPort) return Err(EINVAL);
  if ((mask & IB_QP_AV) != 0) {
    if (request.dest.port_num != kPort) return Err(EINVAL);
    if ((mask & IB_QP_STATE) != 0 && request.qp_state == IB_QPS_RTR) {
      const std::lock_guard lock(mutex_);
      if (request.dest.port_num != attr_.port_num) return Err(EINVAL);
    } else if ((mask & IB_QP_PORT) == 0) {
      // In SQD an address vector moves the port with it; anywhere else the table refuses it.
      mask |= IB_QP_PORT;
      request.port_num = request.dest.port_num;
    } else if (request.port_num != request.dest.port_num) {
      return Err(EINVAL);
    }
  }
  if ((mask & IB_QP_ALT_PATH) != 0 && (request.alt_port_num != kPort || request.alt_dest.port_num != kPort)) {
    return Err(EINVAL);
  }
  if ((mask & IB_QP_CUR_STATE) != 0 && request.cur_qp_state > IB_QPS_ERR) return Err(EINVAL);
  if ((mask & IB_QP_STATE) != 0 && request.qp_state > IB_QPS_ERR) return Err(EINVAL);
  if ((mask & IB_QP_QKEY) != 0 && (request.qkey & kQkeyPrivileged) != 0 && !file_.core().privileged_qkey() &&
      !task.Capable(CAP_NET_RAW)) {
    return Err(EPERM);  // rdma_nl_get_privileged_qkey()
  }

  // _ib_modify_qp(): the address is resolved before the driver looks at the transition.
  roce::AddressVector av = {};
  if ((mask & IB_QP_AV) != 0) {
    const AddressAttr address = AddressOf(request.dest);
    if (type_ == IB_UVERBS_QPT_UD) {
      CW_CHECK(SourceGid(file_.device(), address));  // is_qp_type_connected(): nothing to look up
    } else {
      const uint32_t dest_qpn = (mask & IB_QP_DEST_QPN) != 0 ? request.dest_qp_num : Query().dest_qp_num;
      CW_TRY(av, Resolve(file_.device(), address, dest_qpn));
    }
  }
  if ((mask & IB_QP_ALT_PATH) != 0) {
    // rdma_fill_sgid_attr() of the alternate path; then: no automatic path migration on RoCE.
    CW_CHECK(SourceGid(file_.device(), AddressOf(request.alt_dest)));
    return Err(EINVAL);
  }
  if ((mask & IB_QP_RQ_PSN) != 0) request.rq_psn &= kPsnMask;
  if ((mask & IB_QP_SQ_PSN) != 0) request.sq_psn &= kPsnMask;

  const std::lock_guard lock(mutex_);
  CW_CHECK(CheckLocked(request));
  ApplyLocked(request, av);
  return {};
}

Status Qp::CheckLocked(const ib_uverbs_modify_qp& request) const {
  const uint32_t mask = request.attr_mask;
  const ib_qp_state current = (mask & IB_QP_CUR_STATE) != 0 ? static_cast<ib_qp_state>(request.cur_qp_state) : state();
  const ib_qp_state next = (mask & IB_QP_STATE) != 0 ? static_cast<ib_qp_state>(request.qp_state) : current;
  if (!ModifyQpIsOk(current, next, type_, mask)) return Err(EINVAL);
  if ((mask & IB_QP_STATE) != 0 && current == IB_QPS_SQD && next != IB_QPS_ERR &&
      file_.core().nics().qp(qpn_).sq_draining != 0) {
    return Err(EINVAL);
  }
  if ((mask & IB_QP_PATH_MTU) != 0 && request.path_mtu > kMaxMtu) return Err(EINVAL);
  if ((mask & IB_QP_MAX_QP_RD_ATOMIC) != 0 && request.max_rd_atomic > kMaxQpRdAtom) return Err(EINVAL);
  if ((mask & IB_QP_TIMEOUT) != 0 && request.timeout > 31) return Err(EINVAL);
  return {};
}

void Qp::ApplyLocked(const ib_uverbs_modify_qp& request, const roce::AddressVector& av) {
  const uint32_t mask = request.attr_mask;
  roce::QpAttributes change;
  // Each attribute: what QUERY_QP will show, and what the NIC gets.
  if ((mask & IB_QP_CUR_STATE) != 0) attr_.cur_qp_state = request.qp_state;  // as rxe has it: the target
  if ((mask & IB_QP_ACCESS_FLAGS) != 0) change.access = attr_.qp_access_flags = request.qp_access_flags;
  if ((mask & IB_QP_PKEY_INDEX) != 0) attr_.pkey_index = request.pkey_index;
  if ((mask & IB_QP_PORT) != 0) attr_.port_num = request.port_num;
  if ((mask & IB_QP_QKEY) != 0) change.qkey = attr_.qkey = request.qkey;
  if ((mask & IB_QP_AV) != 0) {
    change.av = av;
    attr_.dest = request.dest;
    attr_.dest.hop_limit = av.hop_limit;
    attr_.dest.dlid = 0;
    attr_.dest.src_path_bits = 0;
    attr_.dest.reserved = 0;
    attr_.dest.sl = attr_.dest.static_rate = 0;
    attr_.dest.is_global = 1;
  }
  if ((mask & IB_QP_PATH_MTU) != 0) {
    attr_.path_mtu = request.path_mtu;
    change.path_mtu_bytes = 128u << std::max<uint32_t>(request.path_mtu, 1);  // enum ib_mtu; 0 counts as 256
  }
  if ((mask & IB_QP_TIMEOUT) != 0) change.timeout = attr_.timeout = request.timeout;
  if ((mask & IB_QP_RETRY_CNT) != 0) change.retry_count = attr_.retry_cnt = request.retry_cnt;
  if ((mask & IB_QP_RNR_RETRY) != 0) change.rnr_retry = attr_.rnr_retry = request.rnr_retry;
  if ((mask & IB_QP_MIN_RNR_TIMER) != 0) change.min_rnr_timer = attr_.min_rnr_timer = request.min_rnr_timer;
  if ((mask & IB_QP_RQ_PSN) != 0) change.rq_psn = request.rq_psn;
  if ((mask & IB_QP_SQ_PSN) != 0) change.sq_psn = request.sq_psn;
  if ((mask & IB_QP_PATH_MIG_STATE) != 0) attr_.path_mig_state = request.path_mig_state;
  if ((mask & IB_QP_DEST_QPN) != 0) change.dest_qpn = attr_.dest_qp_num = request.dest_qp_num;
  if ((mask & IB_QP_MAX_QP_RD_ATOMIC) != 0) {
    change.max_rd_atomic = attr_.max_rd_atomic = RoundUpRdAtomic(request.max_rd_atomic);
  }
  if ((mask & IB_QP_MAX_DEST_RD_ATOMIC) != 0) {
    change.max_dest_rd_atomic = attr_.max_dest_rd_atomic = RoundUpRdAtomic(request.max_dest_rd_atomic);
  }
  if ((mask & IB_QP_STATE) != 0) change.state = static_cast<roce::QpState>(request.qp_state);
  file_.core().nics().ModifyQp(qpn_, change);
}

// rxe_qp_to_attr(): everything, whatever the mask asked for.
ib_uverbs_query_qp_resp Qp::Query() const {
  const roce::QpContext& context = file_.core().nics().qp(qpn_);
  const std::lock_guard lock(mutex_);
  ib_uverbs_query_qp_resp attr = attr_;
  attr.qp_state = static_cast<uint8_t>(state());
  attr.rq_psn = context.expected_psn;
  attr.sq_psn = context.sq_psn;
  attr.sq_draining = context.sq_draining != 0 ? 1 : 0;
  return attr;
}

}  // namespace causeway::infiniband
