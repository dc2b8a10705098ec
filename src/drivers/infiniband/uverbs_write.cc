// SPDX-License-Identifier: Apache-2.0
// write() on a uverbs file: linux v6.1 drivers/infiniband/core/uverbs_main.c ib_uverbs_write(), verify_hdr(). The order
// of the checks is behaviour.
#include <array>
#include <vector>

#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

struct None {};
template <typename T>
constexpr uint16_t kSizeOf = sizeof(T);
template <>
constexpr uint16_t kSizeOf<None> = 0;

template <typename Request>
constexpr bool StartsWithResponse() {
  if constexpr (requires { &Request::response; }) return offsetof(Request, response) == 0;
  return false;
}

enum class Tail { kNone, kDriver };
template <typename Request, typename Response>
constexpr WriteCommand Plain(uint32_t number, std::string_view name, Tail tail, Status (*handler)(Command&),
                             Capability capability = nullptr) {
  return {number,
          name,
          kSizeOf<Request>,
          kSizeOf<Response>,
          StartsWithResponse<Request>(),
          tail == Tail::kDriver,
          number != IB_USER_VERBS_CMD_GET_CONTEXT,
          handler,
          capability};
}
constexpr WriteCommand Extended(uint32_t number, std::string_view name, uint16_t request, uint16_t response,
                                Status (*handler)(Command&)) {
  return {number | kIbUserVerbsCmdFlagExtended, name, request, response, true, true, true, handler};
}
#define PLAIN(cmd, request, response, tail, ...) \
  Plain<request, response>(IB_USER_VERBS_CMD_##cmd, #cmd, Tail::tail, __VA_ARGS__)
#define EXTENDED(cmd, request, response, handler) \
  Extended(IB_USER_VERBS_EX_CMD_##cmd, "EX_" #cmd, request, response, handler)

using Has = Capabilities;

// The device's mask: core's defaults, POST_SEND and REQ_NOTIFY_CQ (rxe_register_device()). Numbers that are not here,
// rxe does not have either: MODIFY_AH, QUERY_AH, REG_SMR, QUERY_MR, BIND_MW, POLL_CQ, PEEK_CQ, POST_RECV,
// POST_SRQ_RECV, OPEN_XRCD, CLOSE_XRCD, OPEN_QP, and the extended ones for flows, work queues and MODIFY_CQ.
constexpr std::array kWriteCommands = {
    PLAIN(GET_CONTEXT, ib_uverbs_get_context, ib_uverbs_get_context_resp, kDriver, GetContextCommand),
    PLAIN(QUERY_DEVICE, ib_uverbs_query_device, ib_uverbs_query_device_resp, kNone, QueryDeviceCommand),
    PLAIN(QUERY_PORT, ib_uverbs_query_port, ib_uverbs_query_port_resp, kNone, QueryPortCommand),
    PLAIN(ALLOC_PD, ib_uverbs_alloc_pd, ib_uverbs_alloc_pd_resp, kDriver, AllocPdCommand),
    PLAIN(DEALLOC_PD, ib_uverbs_dealloc_pd, None, kNone, DeallocPdCommand),
    PLAIN(CREATE_AH, ib_uverbs_create_ah, ib_uverbs_create_ah_resp, kDriver, CreateAhCommand, &Has::ud),
    PLAIN(DESTROY_AH, ib_uverbs_destroy_ah, None, kNone, DestroyAhCommand, &Has::ud),
    PLAIN(REG_MR, ib_uverbs_reg_mr, ib_uverbs_reg_mr_resp, kDriver, RegMrCommand),
    PLAIN(REREG_MR, ib_uverbs_rereg_mr, ib_uverbs_rereg_mr_resp, kDriver, ReregMrCommand, &Has::rereg_mr),
    PLAIN(DEREG_MR, ib_uverbs_dereg_mr, None, kNone, DeregMrCommand),
    PLAIN(ALLOC_MW, ib_uverbs_alloc_mw, ib_uverbs_alloc_mw_resp, kDriver, AllocMwCommand, &Has::mw),
    PLAIN(DEALLOC_MW, ib_uverbs_dealloc_mw, None, kNone, DeallocMwCommand, &Has::mw),
    PLAIN(CREATE_COMP_CHANNEL, ib_uverbs_create_comp_channel, ib_uverbs_create_comp_channel_resp, kNone,
          CreateCompChannelCommand),
    PLAIN(CREATE_CQ, ib_uverbs_create_cq, ib_uverbs_create_cq_resp, kDriver, CreateCqCommand),
    PLAIN(RESIZE_CQ, ib_uverbs_resize_cq, ib_uverbs_resize_cq_resp, kDriver, ResizeCqCommand, &Has::resize_cq),
    PLAIN(DESTROY_CQ, ib_uverbs_destroy_cq, ib_uverbs_destroy_cq_resp, kNone, DestroyCqCommand),
    PLAIN(REQ_NOTIFY_CQ, ib_uverbs_req_notify_cq, None, kNone, ReqNotifyCqCommand),
    PLAIN(CREATE_QP, ib_uverbs_create_qp, ib_uverbs_create_qp_resp, kDriver, CreateQpCommand),
    PLAIN(QUERY_QP, ib_uverbs_query_qp, ib_uverbs_query_qp_resp, kNone, QueryQpCommand),
    PLAIN(MODIFY_QP, ib_uverbs_modify_qp, None, kNone, ModifyQpCommand),
    PLAIN(DESTROY_QP, ib_uverbs_destroy_qp, ib_uverbs_destroy_qp_resp, kNone, DestroyQpCommand),
    PLAIN(POST_SEND, ib_uverbs_post_send, ib_uverbs_post_send_resp, kNone, PostSendCommand),
    PLAIN(ATTACH_MCAST, ib_uverbs_attach_mcast, None, kNone, AttachMcastCommand, &Has::multicast),
    PLAIN(DETACH_MCAST, ib_uverbs_attach_mcast, None, kNone, DetachMcastCommand, &Has::multicast),
    PLAIN(CREATE_SRQ, ib_uverbs_create_srq, ib_uverbs_create_srq_resp, kDriver, CreateSrqCommand, &Has::srq),
    PLAIN(MODIFY_SRQ, ib_uverbs_modify_srq, None, kDriver, ModifySrqCommand, &Has::srq),
    PLAIN(QUERY_SRQ, ib_uverbs_query_srq, ib_uverbs_query_srq_resp, kNone, QuerySrqCommand, &Has::srq),
    PLAIN(DESTROY_SRQ, ib_uverbs_destroy_srq, ib_uverbs_destroy_srq_resp, kNone, DestroySrqCommand, &Has::srq),
    PLAIN(CREATE_XSRQ, ib_uverbs_create_xsrq, ib_uverbs_create_srq_resp, kDriver, CreateXsrqCommand, &Has::srq),
    // A short core request or response of QUERY_DEVICE is taken and truncated.
    EXTENDED(QUERY_DEVICE, 0, 0, ExQueryDeviceCommand),
    EXTENDED(CREATE_CQ, sizeof(ib_uverbs_ex_create_cq), sizeof(ib_uverbs_ex_create_cq_resp), ExCreateCqCommand),
    EXTENDED(CREATE_QP, offsetof(ib_uverbs_ex_create_qp, create_flags), sizeof(ib_uverbs_ex_create_qp_resp),
             ExCreateQpCommand),
    EXTENDED(MODIFY_QP, offsetof(ib_uverbs_ex_modify_qp, rate_limit), 0, ExModifyQpCommand),
};

// rdma-core 18 and 19 write DESTROY_CQ with 16 bytes, although they have filled all 24; verify_hdr() lets them, and
// what lies behind the 16 is read.
constexpr uint64_t kShortDestroyCq = 16;

Status VerifyPlain(const WriteCommand& method, const ib_uverbs_cmd_hdr& hdr, uint64_t count) {
  if (uint64_t{hdr.in_words} * 4 != count) return Err(EINVAL);
  if (count < method.request_size + sizeof(hdr)) {
    if (method.number == IB_USER_VERBS_CMD_DESTROY_CQ && count == kShortDestroyCq) return {};
    return Err(ENOSPC);
  }
  if (hdr.out_words * size_t{4} < method.response_size) return Err(ENOSPC);
  return {};
}

Status VerifyExtended(const WriteCommand& method, const ib_uverbs_cmd_hdr& hdr, const ib_uverbs_ex_cmd_hdr& ex_hdr,
                      uint64_t count) {
  const uint64_t body = count - sizeof(hdr) - sizeof(ex_hdr);
  if ((uint64_t{hdr.in_words} + ex_hdr.provider_in_words) * 8 != body) return Err(EINVAL);
  if (hdr.in_words * size_t{8} < method.request_size) return Err(ENOSPC);
  if (ex_hdr.cmd_hdr_reserved != 0) return Err(EINVAL);
  if (ex_hdr.response != 0) {
    if (hdr.out_words == 0 && ex_hdr.provider_out_words == 0) return Err(EINVAL);
    if (hdr.out_words * size_t{8} < method.response_size) return Err(ENOSPC);
  } else if (hdr.out_words != 0 || ex_hdr.provider_out_words != 0) {
    return Err(EINVAL);
  }
  return {};
}

}  // namespace

std::span<const WriteCommand> WriteCommands() { return kWriteCommands; }

Result<const WriteCommand*> FindWriteCommand(const IbDevice& device, uint32_t command) {
  if ((command & ~(kIbUserVerbsCmdFlagExtended | kIbUserVerbsCmdCommandMask)) != 0) return Err(EINVAL);
  const auto it = std::ranges::find(kWriteCommands, command, &WriteCommand::number);
  if (it == kWriteCommands.end() || !device.Has(it->capability)) return Err(EOPNOTSUPP);
  return &*it;
}

Status Command::RespondBytes(std::span<const std::byte> bytes) {
  const size_t len = std::min(out_len, bytes.size());
  CW_CHECK(task.memory().CopyTo(out, bytes.first(len)));
  if (zero_rest && out_len > len) CW_CHECK(task.memory().CopyTo(out + len, std::vector<std::byte>(out_len - len)));
  return {};
}

Result<int64_t> UverbsWrite(UverbsFile& file, kernel::Task& task, uint64_t buffer, uint64_t count) {
  ib_uverbs_cmd_hdr hdr;
  if (count < sizeof(hdr)) return Err(EINVAL);
  CW_TRY(hdr, task.memory().Read<ib_uverbs_cmd_hdr>(buffer));
  CW_TRY(const WriteCommand* const method, FindWriteCommand(file.device(), hdr.command));
  const bool extended = (hdr.command & kIbUserVerbsCmdFlagExtended) != 0;
  ib_uverbs_ex_cmd_hdr ex_hdr = {};
  if (extended) {
    if (count < sizeof(hdr) + sizeof(ex_hdr)) return Err(EINVAL);
    CW_TRY(ex_hdr, task.memory().Read<ib_uverbs_ex_cmd_hdr>(buffer + sizeof(hdr)));
    CW_CHECK(VerifyExtended(*method, hdr, ex_hdr, count));
  } else {
    CW_CHECK(VerifyPlain(*method, hdr, count));
  }

  const uint64_t body = buffer + sizeof(hdr) + (extended ? sizeof(ex_hdr) : 0);
  const size_t body_len = std::max<size_t>(count - (body - buffer), extended ? 0 : method->request_size);
  Command command{.file = file, .task = task, .in = {}, .driver = {}, .strict = extended, .zero_rest = extended};
  size_t in_len = body_len;
  if (extended) {
    in_len = hdr.in_words * size_t{8};
    command.out = ex_hdr.response;
    command.out_len = hdr.out_words * size_t{8};
    command.driver = {body + in_len, ex_hdr.provider_in_words * size_t{8}, command.out + command.out_len,
                      ex_hdr.provider_out_words * size_t{8}};
  } else {
    command.out_len = hdr.out_words * size_t{4};
    if (method->has_udata) {
      in_len = method->request_size;
      command.driver.in = body + in_len;
      command.driver.in_len = body_len - in_len;
    }
  }
  // The core request; nearly all are small.
  std::array<std::byte, 256> small;
  std::vector<std::byte> large;
  std::span<std::byte> in = std::span(small).first(std::min(in_len, small.size()));
  if (in_len > small.size()) {
    large.resize(in_len);
    in = large;
  }
  CW_CHECK(task.memory().CopyFrom(in, body));
  command.in = in;
  if (!extended && method->has_response) {
    std::memcpy(&command.out, in.data(), sizeof(command.out));
    if (method->has_udata) {
      command.driver.out = command.out + method->response_size;
      command.driver.out_len = command.out_len - method->response_size;
      command.out_len = method->response_size;
    }
  }
  if (method->needs_context && !file.has_context()) return Err(EINVAL);
  CW_CHECK(method->handler(command));
  return static_cast<int64_t>(count);
}

}  // namespace causeway::infiniband
