// SPDX-License-Identifier: Apache-2.0
// Queue pair commands of write(): linux v6.1 drivers/infiniband/core/uverbs_cmd.c.
#include <linux/capability.h>

#include <cstring>
#include <functional>

#include "drivers/infiniband/qp.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

// IB_QP_CREATE_* that create_qp() lets through to the driver: BLOCK_MULTICAST_LOOPBACK, CROSS_CHANNEL, MANAGED_SEND,
// MANAGED_RECV, SCATTER_FCS, CVLAN_STRIPPING, SOURCE_QPN, PCI_WRITE_END_PADDING.
constexpr uint32_t kCreateFlagSourceQpn = 1u << 10;
constexpr uint32_t kKnownCreateFlags =
    1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 9 | kCreateFlagSourceQpn | 1u << 11;

// create_qp(), with its order of checks.
Status CreateQp(Command& command, const ib_uverbs_ex_create_qp& request,
                const std::function<Status(const ib_uverbs_create_qp_resp&)>& respond) {
  switch (request.qp_type) {
    case IB_UVERBS_QPT_RAW_PACKET:
      if (!command.task.Capable(CAP_NET_RAW)) return Err(EPERM);
      break;
    case IB_UVERBS_QPT_RC:
    case IB_UVERBS_QPT_UC:
    case IB_UVERBS_QPT_UD:
    case IB_UVERBS_QPT_XRC_INI:
    case IB_UVERBS_QPT_DRIVER: break;
    default: return Err(EINVAL);  // XRC_TGT would need an XRCD, which the device does not have
  }
  UobjectTable& objects = command.file.objects();
  auto slot = objects.Reserve();
  // No receive work queue tables on this device: any handle is wrong.
  if ((request.comp_mask & IB_UVERBS_CREATE_QP_MASK_IND_TABLE) != 0) return Err(EINVAL);
  const bool has_recv = request.qp_type != IB_UVERBS_QPT_XRC_INI;
  Use<Srq> srq;
  if (has_recv && request.is_srq != 0) {
    CW_TRY(srq, objects.Lookup<Srq>(request.srq_handle));
  }
  Use<Cq> recv_cq, send_cq;
  if (has_recv && request.recv_cq_handle != request.send_cq_handle) {
    CW_TRY(recv_cq, objects.Lookup<Cq>(request.recv_cq_handle));
  }
  CW_TRY(send_cq, objects.Lookup<Cq>(request.send_cq_handle));
  CW_TRY(const auto pd, objects.Lookup<Pd>(request.pd_handle));
  if ((request.create_flags & ~kKnownCreateFlags) != 0) return Err(EINVAL);
  if ((request.create_flags & kCreateFlagSourceQpn) != 0 && !command.task.Capable(CAP_NET_RAW)) return Err(EPERM);

  QpCreate create = {.handle = slot.handle(),
                     .user_handle = request.user_handle,
                     .type = static_cast<ib_uverbs_qp_type>(request.qp_type),
                     .cap = {.max_send_wr = request.max_send_wr,
                             .max_recv_wr = request.max_recv_wr,
                             .max_send_sge = request.max_send_sge,
                             .max_recv_sge = request.max_recv_sge,
                             .max_inline_data = request.max_inline_data},
                     .sq_sig_all = request.sq_sig_all != 0,
                     .create_flags = request.create_flags,
                     .pd = pd.ref(),
                     .send_cq = send_cq.ref(),
                     .recv_cq = !has_recv ? Ref<Cq>()
                                : recv_cq ? recv_cq.ref()
                                          : send_cq.ref(),
                     .srq = srq.ref(),
                     .async = command.file.default_async()};
  CW_TRY(auto qp, Qp::Create(command.file, command.task, &create, command.driver));
  CW_CHECK(respond({.qp_handle = slot.handle(),
                    .qpn = qp->qpn(),
                    .max_send_wr = create.cap.max_send_wr,
                    .max_recv_wr = create.cap.max_recv_wr,
                    .max_send_sge = create.cap.max_send_sge,
                    .max_recv_sge = create.cap.max_recv_sge,
                    .max_inline_data = create.cap.max_inline_data,
                    .reserved = 0}));
  slot.Commit(std::move(qp));
  return {};
}

}  // namespace

Status CreateQpCommand(Command& command) {
  CW_TRY(const auto plain, command.Request<ib_uverbs_create_qp>());
  return CreateQp(command,
                  {.user_handle = plain.user_handle,
                   .pd_handle = plain.pd_handle,
                   .send_cq_handle = plain.send_cq_handle,
                   .recv_cq_handle = plain.recv_cq_handle,
                   .srq_handle = plain.srq_handle,
                   .max_send_wr = plain.max_send_wr,
                   .max_recv_wr = plain.max_recv_wr,
                   .max_send_sge = plain.max_send_sge,
                   .max_recv_sge = plain.max_recv_sge,
                   .max_inline_data = plain.max_inline_data,
                   .sq_sig_all = plain.sq_sig_all,
                   .qp_type = plain.qp_type,
                   .is_srq = plain.is_srq,
                   .reserved = 0,
                   .comp_mask = 0,
                   .create_flags = 0,
                   .rwq_ind_tbl_handle = 0,
                   .source_qpn = 0},
                  [&](const ib_uverbs_create_qp_resp& response) { return command.Respond(response); });
}

Status ExCreateQpCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_ex_create_qp>());
  if ((request.comp_mask & ~uint32_t{IB_UVERBS_CREATE_QP_MASK_IND_TABLE}) != 0) return Err(EINVAL);
  if (request.reserved != 0) return Err(EINVAL);
  return CreateQp(command, request, [&](const ib_uverbs_create_qp_resp& base) {
    return command.Respond(ib_uverbs_ex_create_qp_resp{
        .base = base, .comp_mask = 0, .response_length = sizeof(ib_uverbs_ex_create_qp_resp)});
  });
}

Status QueryQpCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_query_qp>());
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.qp_handle));
  return command.Respond(qp->Query());
}

Status ModifyQpCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_modify_qp>());
  if ((request.attr_mask & ~kIbQpAttrStandardBits) != 0) return Err(EOPNOTSUPP);
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.qp_handle));
  return qp->Modify(command.task, request);
}

// ib_uverbs_ex_modify_qp(). The only bit it adds is RATE_LIMIT, which rxe refuses.
Status ExModifyQpCommand(Command& command) {
  constexpr uint32_t kRateLimit = 1u << 25;
  CW_TRY(const auto request, command.Request<ib_uverbs_ex_modify_qp>());
  if ((request.base.attr_mask & ~(kIbQpAttrStandardBits | kRateLimit)) != 0) return Err(EOPNOTSUPP);
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.base.qp_handle));
  if ((request.base.attr_mask & kRateLimit) != 0) return Err(EOPNOTSUPP);
  CW_CHECK(qp->Modify(command.task, request.base));
  if (command.out_len == 0) return {};
  struct {
    uint32_t comp_mask = 0;
    uint32_t response_length = 8;
  } const response;
  return command.Respond(response);
}

Status DestroyQpCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_destroy_qp>());
  CW_TRY(const auto qp, command.file.objects().Destroy<Qp>(request.qp_handle));
  return command.Respond(ib_uverbs_destroy_qp_resp{.events_reported = qp->events_reported()});
}

namespace {

Gid GidOf(const ib_uverbs_attach_mcast& request) {
  Gid gid;
  std::memcpy(gid.data(), request.gid, gid.size());
  return gid;
}

}  // namespace

Status AttachMcastCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_attach_mcast>());
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.qp_handle));
  return qp->Attach(GidOf(request), request.mlid);
}

Status DetachMcastCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_attach_mcast>());
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.qp_handle));
  return qp->Detach(GidOf(request), request.mlid);
}

// ib_uverbs_post_send(), and rxe_post_send() for a QP whose work requests are in the shared ring: the message only
// rings the doorbell, and what it carries is checked for size and then ignored. The shim sees the hint and rings the
// next ones itself.
Status PostSendCommand(Command& command) {
  command.strict = false;  // what follows the core request belongs to it
  CW_TRY(const auto request, command.Request<ib_uverbs_post_send>());
  const size_t room = command.in.size() - sizeof(request);
  const uint64_t wr_bytes = uint64_t{request.wqe_size} * request.wr_count;
  const uint64_t sge_bytes = uint64_t{request.sge_count} * sizeof(ib_uverbs_sge);
  if (wr_bytes > room || sge_bytes > room - wr_bytes) return Err(ENOSPC);
  if (request.wqe_size < sizeof(ib_uverbs_send_wr)) return Err(EINVAL);
  CW_TRY(const auto qp, command.file.objects().Lookup<Qp>(request.qp_handle));
  command.task.set_hint(qp->qpn());
  uint64_t sges = 0;
  for (uint32_t i = 0; i < request.wr_count; ++i) {
    ib_uverbs_send_wr wr;
    std::memcpy(&wr, command.in.data() + sizeof(request) + uint64_t{i} * request.wqe_size, sizeof(wr));
    sges += wr.num_sge;
    if (sges > request.sge_count) return Err(EINVAL);
  }
  ib_uverbs_post_send_resp response = {};
  Status rung;
  if (qp->state() < IB_QPS_RTS) {
    rung = Err(EINVAL);
    response.bad_wr = request.wr_count != 0 ? 1 : 0;
  } else {
    command.file.core().nics().RingDoorbell(qp->qpn());
  }
  CW_CHECK(command.Respond(response));  // written also when the state refused it
  return rung;
}

}  // namespace causeway::infiniband
