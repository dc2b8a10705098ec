// SPDX-License-Identifier: Apache-2.0
// The methods of uverbs' ioctl, their attributes and handlers: linux v6.1 drivers/infiniband/core/uverbs_std_types_*.c.
// A method that is not here answers EPROTONOSUPPORT, on which libibverbs falls back to write().
#include <linux/capability.h>

#include <array>
#include <cstring>

#include "drivers/infiniband/qp.h"
#include "drivers/infiniband/uverbs_ioctl.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

// ---- specifications, in the words of rdma/uverbs_ioctl.h
constexpr bool kMust = true, kMay = false;
constexpr uint16_t kAnyLength = 0xffff;

template <typename T>
constexpr AttrSpec In(uint16_t id, bool mandatory) {
  return {.id = id, .kind = AttrKind::kPtrIn, .mandatory = mandatory, .min_len = sizeof(T), .max_len = sizeof(T)};
}
template <typename T>
constexpr AttrSpec Out(uint16_t id, bool mandatory) {
  return {.id = id, .kind = AttrKind::kPtrOut, .mandatory = mandatory, .min_len = sizeof(T), .max_len = sizeof(T)};
}
// UVERBS_ATTR_STRUCT: may grow; `known` is the part that every program has.
template <typename T>
constexpr AttrSpec InStruct(uint16_t id, bool mandatory, uint16_t known = sizeof(T)) {
  return {.id = id,
          .kind = AttrKind::kPtrIn,
          .mandatory = mandatory,
          .min_len = known,
          .max_len = sizeof(T),
          .zero_trailing = true};
}
template <typename T>
constexpr AttrSpec OutStruct(uint16_t id, bool mandatory, uint16_t known = sizeof(T)) {
  return {.id = id,
          .kind = AttrKind::kPtrOut,
          .mandatory = mandatory,
          .min_len = known,
          .max_len = sizeof(T),
          .zero_trailing = true};
}
constexpr AttrSpec InBytes(uint16_t id, bool mandatory, uint16_t min) {
  return {.id = id, .kind = AttrKind::kPtrIn, .mandatory = mandatory, .min_len = min, .max_len = kAnyLength};
}
constexpr AttrSpec OutBytes(uint16_t id, bool mandatory, uint16_t min) {
  return {.id = id, .kind = AttrKind::kPtrOut, .mandatory = mandatory, .min_len = min, .max_len = kAnyLength};
}
constexpr AttrSpec Const(uint16_t id, bool mandatory) { return In<uint64_t>(id, mandatory); }
constexpr AttrSpec Flags(uint16_t id, bool mandatory) {
  return {.id = id, .kind = AttrKind::kPtrIn, .mandatory = mandatory, .min_len = 4, .max_len = 8};
}
constexpr AttrSpec Object(uint16_t id, AttrKind kind, ObjectType type, bool mandatory) {
  return {.id = id, .kind = kind, .mandatory = mandatory, .object = type};
}
constexpr AttrSpec kUhwIn = InBytes(UVERBS_ATTR_UHW_IN, kMay, 0);
constexpr AttrSpec kUhwOut = OutBytes(UVERBS_ATTR_UHW_OUT, kMay, 0);

// ---- DEVICE
constexpr std::array kInvokeWriteAttrs = {Const(UVERBS_ATTR_WRITE_CMD, kMust),
                                          InBytes(UVERBS_ATTR_CORE_IN, kMay, sizeof(uint32_t)),
                                          OutBytes(UVERBS_ATTR_CORE_OUT, kMay, 0), kUhwIn, kUhwOut};

// Any write command in the clothes of an ioctl. Answers before GET_CONTEXT too, so that libibverbs' probe gets its
// ENOSPC.
Status InvokeWrite(MethodCall& call) {
  CW_TRY(const uint64_t number, call.Const(UVERBS_ATTR_WRITE_CMD));
  CW_TRY(const WriteCommand* const method, FindWriteCommand(call.file.device(), static_cast<uint32_t>(number)));
  const size_t in_len = call.LengthOf(UVERBS_ATTR_CORE_IN), out_len = call.LengthOf(UVERBS_ATTR_CORE_OUT);
  if (in_len < method->request_size || out_len < method->response_size) return Err(ENOSPC);
  std::vector<std::byte> in(in_len);
  CW_CHECK(call.CopyIn(UVERBS_ATTR_CORE_IN, in));
  if (method->needs_context && !call.file.has_context()) return Err(EINVAL);
  Command command{.file = call.file,
                  .task = call.task,
                  .in = in,
                  .out = call.Has(UVERBS_ATTR_CORE_OUT) ? call.DataOf(UVERBS_ATTR_CORE_OUT) : 0,
                  .out_len = out_len,
                  .driver = call.driver(),
                  .strict = true,
                  .zero_rest = true};
  CW_CHECK(method->handler(command));
  return method->response_size != 0 ? call.SetValid(UVERBS_ATTR_CORE_OUT) : Status();
}

constexpr std::array kInfoHandlesAttrs = {Const(UVERBS_ATTR_INFO_OBJECT_ID, kMust),
                                          Out<uint32_t>(UVERBS_ATTR_INFO_TOTAL_HANDLES, kMay),
                                          OutBytes(UVERBS_ATTR_INFO_HANDLES_LIST, kMay, sizeof(uint32_t))};

Status InfoHandles(MethodCall& call) {
  const size_t room = call.LengthOf(UVERBS_ATTR_INFO_HANDLES_LIST);
  if (room == 0 || room % sizeof(uint32_t) != 0) return Err(EINVAL);
  CW_TRY(const uint64_t object, call.Const(UVERBS_ATTR_INFO_OBJECT_ID, 0xffff));
  if (std::ranges::none_of(Methods(), [&](const MethodSpec& method) { return method.object == object; }) &&
      object != UVERBS_OBJECT_COMP_CHANNEL) {
    return Err(EINVAL);
  }
  std::vector<uint32_t> handles = call.file.objects().Handles(static_cast<ObjectType>(object));
  if (handles.size() > room / sizeof(uint32_t)) handles.resize(room / sizeof(uint32_t));
  CW_CHECK(call.OutBytes(UVERBS_ATTR_INFO_HANDLES_LIST, std::as_bytes(std::span(handles))));
  return call.Out(UVERBS_ATTR_INFO_TOTAL_HANDLES, static_cast<uint32_t>(handles.size()));
}

constexpr std::array kQueryPortAttrs = {Const(UVERBS_ATTR_QUERY_PORT_PORT_NUM, kMust),
                                        OutStruct<ib_uverbs_query_port_resp_ex>(UVERBS_ATTR_QUERY_PORT_RESP, kMust)};

Status QueryPort(MethodCall& call) {
  if (!call.file.has_context()) return Err(EINVAL);
  CW_TRY(const uint64_t port, call.Const(UVERBS_ATTR_QUERY_PORT_PORT_NUM, UINT8_MAX));
  if (port != 1) return Err(EINVAL);
  return call.Out(UVERBS_ATTR_QUERY_PORT_RESP,
                  ib_uverbs_query_port_resp_ex{
                      .legacy_resp = call.file.device().QueryPort(), .port_cap_flags2 = 0, .reserved = {}});
}

constexpr std::array kGetContextAttrs = {Out<uint32_t>(UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, kMay),
                                         Out<uint64_t>(UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, kMay), kUhwIn, kUhwOut};

// Makes no event descriptor: libibverbs asks for it by ASYNC_EVENT_ALLOC.
Status GetContext(MethodCall& call) {
  CW_CHECK(call.Out(UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, call.file.core().num_comp_vectors()));
  CW_CHECK(call.Out(UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, kIbUverbsCoreSupportOptionalMrAccess));
  return call.file.MakeContext(call.task);
}

constexpr std::array kQueryContextAttrs = {Out<uint32_t>(UVERBS_ATTR_QUERY_CONTEXT_NUM_COMP_VECTORS, kMay),
                                           Out<uint64_t>(UVERBS_ATTR_QUERY_CONTEXT_CORE_SUPPORT, kMay)};

Status QueryContext(MethodCall& call) {
  if (!call.file.has_context()) return Err(EINVAL);
  return Err(EOPNOTSUPP);  // rxe has no query_ucontext
}

constexpr std::array kQueryGidTableAttrs = {Const(UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE, kMust),
                                            Flags(UVERBS_ATTR_QUERY_GID_TABLE_FLAGS, kMay),
                                            OutBytes(UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES, kMust, 0),
                                            Out<uint64_t>(UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES, kMust)};

ib_uverbs_gid_entry EntryOf(const IbDevice& device, const GidTable::Entry& from) {
  ib_uverbs_gid_entry entry = {};
  std::ranges::copy(from.gid, entry.gid);
  entry.gid_index = from.index;
  entry.port_num = 1;
  entry.gid_type = IB_UVERBS_GID_TYPE_ROCE_V2;
  entry.netdev_ifindex = device.ifindex();
  return entry;
}

Status QueryGidTable(MethodCall& call) {
  CW_TRY(const uint64_t entry_size, call.Const(UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE));
  CW_CHECK(call.Flags(UVERBS_ATTR_QUERY_GID_TABLE_FLAGS, 0));
  if (entry_size == 0) return Err(EINVAL);
  const size_t room = call.LengthOf(UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES);
  if (room == 0 || room % entry_size != 0) return Err(EINVAL);
  if (!call.file.has_context()) return Err(EINVAL);
  const IbDevice& device = call.file.device();
  const auto filled = device.gids().filled();
  if (filled.size() > room / entry_size) return Err(EINVAL);
  // Shorter entries are cut, longer ones zero-filled.
  std::vector<std::byte> bytes(filled.size() * entry_size);
  for (size_t i = 0; i < filled.size(); ++i) {
    const ib_uverbs_gid_entry entry = EntryOf(device, filled[i]);
    std::memcpy(bytes.data() + i * entry_size, &entry, std::min<size_t>(entry_size, sizeof(entry)));
  }
  CW_CHECK(call.OutBytes(UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES, bytes));
  return call.Out(UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES, uint64_t{filled.size()});
}

constexpr std::array kQueryGidEntryAttrs = {
    Const(UVERBS_ATTR_QUERY_GID_ENTRY_PORT, kMust), Const(UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, kMust),
    Flags(UVERBS_ATTR_QUERY_GID_ENTRY_FLAGS, kMay),
    OutStruct<ib_uverbs_gid_entry>(UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, kMust)};

Status QueryGidEntry(MethodCall& call) {
  CW_CHECK(call.Flags(UVERBS_ATTR_QUERY_GID_ENTRY_FLAGS, 0));
  CW_TRY(const uint64_t index, call.Const(UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX));
  CW_TRY(const uint64_t port, call.Const(UVERBS_ATTR_QUERY_GID_ENTRY_PORT));
  if (!call.file.has_context() || port != 1) return Err(EINVAL);
  const auto number = static_cast<uint32_t>(index);
  CW_TRY(const Gid gid, call.file.device().gids().Get(number));
  return call.Out(UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, EntryOf(call.file.device(), {number, gid}));
}

// ---- PD
constexpr std::array kPdDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_PD_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_PD, kMust)};
Status Nothing(MethodCall&) { return {}; }  // the parser has destroyed the object

// ---- CQ
constexpr std::array kCqCreateAttrs = {
    Object(UVERBS_ATTR_CREATE_CQ_HANDLE, AttrKind::kNew, UVERBS_OBJECT_CQ, kMust),
    In<uint32_t>(UVERBS_ATTR_CREATE_CQ_CQE, kMust),
    In<uint64_t>(UVERBS_ATTR_CREATE_CQ_USER_HANDLE, kMust),
    Object(UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL, AttrKind::kFd, UVERBS_OBJECT_COMP_CHANNEL, kMay),
    In<uint32_t>(UVERBS_ATTR_CREATE_CQ_COMP_VECTOR, kMust),
    Flags(UVERBS_ATTR_CREATE_CQ_FLAGS, kMay),
    Out<uint32_t>(UVERBS_ATTR_CREATE_CQ_RESP_CQE, kMust),
    Object(UVERBS_ATTR_CREATE_CQ_EVENT_FD, AttrKind::kFd, UVERBS_OBJECT_ASYNC_EVENT, kMay),
    kUhwIn,
    kUhwOut};

// ib_uverbs_get_async_event().
Ref<EventFile> AsyncOf(MethodCall& call, uint16_t id) {
  return call.Has(id) ? call.Events(id) : call.file.default_async();
}

Status CqCreateMethod(MethodCall& call) {
  CqCreate create;
  CW_TRY(create.comp_vector, call.In<uint32_t>(UVERBS_ATTR_CREATE_CQ_COMP_VECTOR));
  CW_TRY(create.cqe, call.In<uint32_t>(UVERBS_ATTR_CREATE_CQ_CQE));
  CW_TRY(create.user_handle, call.In<uint64_t>(UVERBS_ATTR_CREATE_CQ_USER_HANDLE));
  CW_TRY(create.flags, call.Flags(UVERBS_ATTR_CREATE_CQ_FLAGS,
                                  IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION | IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN));
  create.channel = call.Events(UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL);
  if (create.comp_vector >= call.file.core().num_comp_vectors()) return Err(EINVAL);
  create.async = AsyncOf(call, UVERBS_ATTR_CREATE_CQ_EVENT_FD);
  CW_TRY(auto cq, Cq::Create(call.file, call.task, std::move(create), call.driver()));
  CW_CHECK(call.Out(UVERBS_ATTR_CREATE_CQ_RESP_CQE, cq->cqe()));
  call.Commit(UVERBS_ATTR_CREATE_CQ_HANDLE, std::move(cq));
  return {};
}

constexpr std::array kCqDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_CQ_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_CQ, kMust),
    OutStruct<ib_uverbs_destroy_cq_resp>(UVERBS_ATTR_DESTROY_CQ_RESP, kMust)};

Status CqDestroyMethod(MethodCall& call) {
  return call.Out(UVERBS_ATTR_DESTROY_CQ_RESP, call.Destroyed<Cq>(UVERBS_ATTR_DESTROY_CQ_HANDLE)->events_reported());
}

// ---- QP. Attributes of objects that the device does not have (XRCD, IND_TABLE) do not exist.
constexpr std::array kQpCreateAttrs = {
    Object(UVERBS_ATTR_CREATE_QP_HANDLE, AttrKind::kNew, UVERBS_OBJECT_QP, kMust),
    Object(UVERBS_ATTR_CREATE_QP_PD_HANDLE, AttrKind::kObject, UVERBS_OBJECT_PD, kMay),
    Object(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, AttrKind::kObject, UVERBS_OBJECT_SRQ, kMay),
    Object(UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, AttrKind::kObject, UVERBS_OBJECT_CQ, kMay),
    Object(UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, AttrKind::kObject, UVERBS_OBJECT_CQ, kMay),
    In<uint64_t>(UVERBS_ATTR_CREATE_QP_USER_HANDLE, kMust),
    InStruct<ib_uverbs_qp_cap>(UVERBS_ATTR_CREATE_QP_CAP, kMust),
    Const(UVERBS_ATTR_CREATE_QP_TYPE, kMust),
    Flags(UVERBS_ATTR_CREATE_QP_FLAGS, kMay),
    In<uint32_t>(UVERBS_ATTR_CREATE_QP_SOURCE_QPN, kMay),
    Object(UVERBS_ATTR_CREATE_QP_EVENT_FD, AttrKind::kFd, UVERBS_OBJECT_ASYNC_EVENT, kMay),
    OutStruct<ib_uverbs_qp_cap>(UVERBS_ATTR_CREATE_QP_RESP_CAP, kMust),
    Out<uint32_t>(UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, kMust),
    kUhwIn,
    kUhwOut};

Status QpCreateMethod(MethodCall& call) {
  QpCreate create = {.handle = call.NewHandle(UVERBS_ATTR_CREATE_QP_HANDLE)};
  CW_TRY(create.cap, call.In<ib_uverbs_qp_cap>(UVERBS_ATTR_CREATE_QP_CAP));
  CW_TRY(create.user_handle, call.In<uint64_t>(UVERBS_ATTR_CREATE_QP_USER_HANDLE));
  CW_TRY(const uint64_t type, call.Const(UVERBS_ATTR_CREATE_QP_TYPE));
  create.type = static_cast<ib_uverbs_qp_type>(type);
  switch (type) {
    case IB_UVERBS_QPT_RAW_PACKET:
      if (!call.task.Capable(CAP_NET_RAW)) return Err(EPERM);
      break;
    case IB_UVERBS_QPT_RC:
    case IB_UVERBS_QPT_UC:
    case IB_UVERBS_QPT_UD:
    case IB_UVERBS_QPT_DRIVER: break;
    case IB_UVERBS_QPT_XRC_INI:
      if (call.Has(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE)) return Err(EINVAL);
      break;
    default: return Err(EINVAL);
  }
  // uverbs_attr_get_obj(): ENOENT when the attribute is absent.
  if (!call.Has(UVERBS_ATTR_CREATE_QP_PD_HANDLE)) return Err(ENOENT);
  create.pd = call.Object<Pd>(UVERBS_ATTR_CREATE_QP_PD_HANDLE);
  if (!call.Has(UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE)) return Err(ENOENT);
  create.send_cq = call.Object<Cq>(UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE);
  if (type != IB_UVERBS_QPT_XRC_INI) {
    if (!call.Has(UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE)) return Err(ENOENT);
    create.recv_cq = call.Object<Cq>(UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE);
    if (call.Has(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE)) create.srq = call.Object<Srq>(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE);
  }
  CW_TRY(uint32_t flags, call.Flags(UVERBS_ATTR_CREATE_QP_FLAGS,
                                    IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK | IB_UVERBS_QP_CREATE_SCATTER_FCS |
                                        IB_UVERBS_QP_CREATE_CVLAN_STRIPPING |
                                        IB_UVERBS_QP_CREATE_PCI_WRITE_END_PADDING | IB_UVERBS_QP_CREATE_SQ_SIG_ALL));
  create.sq_sig_all = (flags & IB_UVERBS_QP_CREATE_SQ_SIG_ALL) != 0;
  flags &= ~uint32_t{IB_UVERBS_QP_CREATE_SQ_SIG_ALL};
  // check_creation_flags().
  if (flags != 0 && type != IB_UVERBS_QPT_DRIVER) {
    if (type != IB_UVERBS_QPT_RAW_PACKET && type != IB_UVERBS_QPT_UD) return Err(EINVAL);
    const bool raw_only = (flags & (IB_UVERBS_QP_CREATE_SCATTER_FCS | IB_UVERBS_QP_CREATE_CVLAN_STRIPPING)) != 0;
    if (raw_only && type != IB_UVERBS_QPT_RAW_PACKET) return Err(EINVAL);
  }
  create.create_flags = flags | (call.Has(UVERBS_ATTR_CREATE_QP_SOURCE_QPN) ? 1u << 10 : 0);
  create.async = AsyncOf(call, UVERBS_ATTR_CREATE_QP_EVENT_FD);
  CW_TRY(auto qp, Qp::Create(call.file, call.task, &create, call.driver()));
  CW_CHECK(call.Out(UVERBS_ATTR_CREATE_QP_RESP_CAP, create.cap));
  CW_CHECK(call.Out(UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, qp->qpn()));
  call.Commit(UVERBS_ATTR_CREATE_QP_HANDLE, std::move(qp));
  return {};
}

constexpr std::array kQpDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_QP_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_QP, kMust),
    Out<ib_uverbs_destroy_qp_resp>(UVERBS_ATTR_DESTROY_QP_RESP, kMust)};

Status QpDestroyMethod(MethodCall& call) {
  return call.Out(UVERBS_ATTR_DESTROY_QP_RESP,
                  ib_uverbs_destroy_qp_resp{.events_reported =
                                                call.Destroyed<Qp>(UVERBS_ATTR_DESTROY_QP_HANDLE)->events_reported()});
}

// ---- SRQ
constexpr std::array kSrqCreateAttrs = {
    Object(UVERBS_ATTR_CREATE_SRQ_HANDLE, AttrKind::kNew, UVERBS_OBJECT_SRQ, kMust),
    Object(UVERBS_ATTR_CREATE_SRQ_PD_HANDLE, AttrKind::kObject, UVERBS_OBJECT_PD, kMust),
    Object(UVERBS_ATTR_CREATE_SRQ_CQ_HANDLE, AttrKind::kObject, UVERBS_OBJECT_CQ, kMay),
    In<uint64_t>(UVERBS_ATTR_CREATE_SRQ_USER_HANDLE, kMust),
    In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_MAX_WR, kMust),
    In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_MAX_SGE, kMust),
    In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_LIMIT, kMust),
    In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_MAX_NUM_TAGS, kMay),
    Const(UVERBS_ATTR_CREATE_SRQ_TYPE, kMust),
    Object(UVERBS_ATTR_CREATE_SRQ_EVENT_FD, AttrKind::kFd, UVERBS_OBJECT_ASYNC_EVENT, kMay),
    Out<uint32_t>(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, kMust),
    Out<uint32_t>(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE, kMust),
    Out<uint32_t>(UVERBS_ATTR_CREATE_SRQ_RESP_SRQ_NUM, kMay),
    kUhwIn,
    kUhwOut};
// An XRCD attribute does not exist here, and uverbs_attr_get_obj() of what is absent is ENOENT.
Status SrqCreateMethod(MethodCall& call) {
  SrqCreate create = {.pd = call.Object<Pd>(UVERBS_ATTR_CREATE_SRQ_PD_HANDLE)};
  CW_TRY(create.max_sge, call.In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_MAX_SGE));
  CW_TRY(create.max_wr, call.In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_MAX_WR));
  CW_TRY(create.limit, call.In<uint32_t>(UVERBS_ATTR_CREATE_SRQ_LIMIT));
  CW_TRY(create.user_handle, call.In<uint64_t>(UVERBS_ATTR_CREATE_SRQ_USER_HANDLE));
  CW_TRY(const uint64_t type, call.Const(UVERBS_ATTR_CREATE_SRQ_TYPE));
  create.type = static_cast<uint32_t>(type);
  const bool has_cq = type == IB_UVERBS_SRQT_XRC || type == IB_UVERBS_SRQT_TM;
  if (has_cq && !call.Has(UVERBS_ATTR_CREATE_SRQ_CQ_HANDLE)) return Err(ENOENT);
  switch (type) {
    case IB_UVERBS_SRQT_BASIC: break;
    case IB_UVERBS_SRQT_XRC: return Err(ENOENT);
    case IB_UVERBS_SRQT_TM:
      if (!call.Has(UVERBS_ATTR_CREATE_SRQ_MAX_NUM_TAGS)) return Err(ENOENT);
      break;
    default: return Err(EINVAL);
  }
  create.async = AsyncOf(call, UVERBS_ATTR_CREATE_SRQ_EVENT_FD);
  CW_TRY(auto srq, Srq::Create(call.file, call.task, &create, call.driver()));
  CW_CHECK(call.Out(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, create.max_wr));
  CW_CHECK(call.Out(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE, create.max_sge));
  call.Commit(UVERBS_ATTR_CREATE_SRQ_HANDLE, std::move(srq));
  return {};
}

constexpr std::array kSrqDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_SRQ_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_SRQ, kMust),
    Out<ib_uverbs_destroy_srq_resp>(UVERBS_ATTR_DESTROY_SRQ_RESP, kMust)};

Status SrqDestroyMethod(MethodCall& call) {
  const uint32_t events = call.Destroyed<Srq>(UVERBS_ATTR_DESTROY_SRQ_HANDLE)->events_reported();
  return call.Out(UVERBS_ATTR_DESTROY_SRQ_RESP, ib_uverbs_destroy_srq_resp{.events_reported = events});
}

// ---- AH, MW
constexpr std::array kAhDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_AH_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_AH, kMust)};
constexpr std::array kMwDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_MW_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_MW, kMust)};

// ---- MR
constexpr std::array kMrDestroyAttrs = {
    Object(UVERBS_ATTR_DESTROY_MR_HANDLE, AttrKind::kDestroy, UVERBS_OBJECT_MR, kMust)};

constexpr std::array kAdviseMrAttrs = {
    Object(UVERBS_ATTR_ADVISE_MR_PD_HANDLE, AttrKind::kObject, UVERBS_OBJECT_PD, kMust),
    Const(UVERBS_ATTR_ADVISE_MR_ADVICE, kMust), Flags(UVERBS_ATTR_ADVISE_MR_FLAGS, kMust),
    InBytes(UVERBS_ATTR_ADVISE_MR_SGE_LIST, kMust, sizeof(ib_uverbs_sge))};

// The driver's op is looked for before the arguments are read.
Status AdviseMrMethod(MethodCall& call) {
  if (!call.file.device().Has(&Capabilities::odp)) return Err(EOPNOTSUPP);
  CW_TRY(const uint64_t advice, call.Const(UVERBS_ATTR_ADVISE_MR_ADVICE));
  CW_TRY(const uint32_t flags, call.Flags(UVERBS_ATTR_ADVISE_MR_FLAGS, IB_UVERBS_ADVISE_MR_FLAG_FLUSH));
  // uverbs_attr_ptr_get_array_size().
  const size_t bytes = call.LengthOf(UVERBS_ATTR_ADVISE_MR_SGE_LIST);
  if (bytes % sizeof(ib_uverbs_sge) != 0) return Err(EINVAL);
  std::vector<ib_uverbs_sge> list(bytes / sizeof(ib_uverbs_sge));
  CW_CHECK(call.CopyIn(UVERBS_ATTR_ADVISE_MR_SGE_LIST, std::as_writable_bytes(std::span(list))));
  return AdviseMr(call.file, call.task, *call.Object<Pd>(UVERBS_ATTR_ADVISE_MR_PD_HANDLE),
                  static_cast<uint32_t>(advice), flags, list);
}

constexpr std::array kQueryMrAttrs = {
    Object(UVERBS_ATTR_QUERY_MR_HANDLE, AttrKind::kObject, UVERBS_OBJECT_MR, kMust),
    Out<uint32_t>(UVERBS_ATTR_QUERY_MR_RESP_LKEY, kMust), Out<uint32_t>(UVERBS_ATTR_QUERY_MR_RESP_RKEY, kMust),
    Out<uint64_t>(UVERBS_ATTR_QUERY_MR_RESP_LENGTH, kMust), Out<uint64_t>(UVERBS_ATTR_QUERY_MR_RESP_IOVA, kMay)};

Status QueryMrMethod(MethodCall& call) {
  const auto mr = call.Object<Mr>(UVERBS_ATTR_QUERY_MR_HANDLE);
  CW_CHECK(call.Out(UVERBS_ATTR_QUERY_MR_RESP_LKEY, mr->key()));
  CW_CHECK(call.Out(UVERBS_ATTR_QUERY_MR_RESP_RKEY, mr->key()));
  CW_CHECK(call.Out(UVERBS_ATTR_QUERY_MR_RESP_LENGTH, mr->length()));
  return call.Out(UVERBS_ATTR_QUERY_MR_RESP_IOVA, mr->iova());
}

constexpr std::array kRegDmaBufMrAttrs = {
    Object(UVERBS_ATTR_REG_DMABUF_MR_HANDLE, AttrKind::kNew, UVERBS_OBJECT_MR, kMust),
    Object(UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, AttrKind::kObject, UVERBS_OBJECT_PD, kMust),
    In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_OFFSET, kMust),
    In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_LENGTH, kMust),
    In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_IOVA, kMust),
    AttrSpec{.id = UVERBS_ATTR_REG_DMABUF_MR_FD, .kind = AttrKind::kRawFd, .mandatory = kMust},
    Flags(UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, kMay),
    Out<uint32_t>(UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, kMust),
    Out<uint32_t>(UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, kMust)};

Status RegDmaBufMrMethod(MethodCall& call) {
  Mr::DmaBufRequest request = {};
  CW_TRY(request.offset, call.In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_OFFSET));
  CW_TRY(request.length, call.In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_LENGTH));
  CW_TRY(request.iova, call.In<uint64_t>(UVERBS_ATTR_REG_DMABUF_MR_IOVA));
  CW_TRY(request.fd, call.RawFd(UVERBS_ATTR_REG_DMABUF_MR_FD));
  CW_TRY(request.access, call.Flags(UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, UINT32_MAX));
  CW_TRY(auto mr,
         Mr::RegisterDmaBuf(call.file, call.task, call.Object<Pd>(UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE), request));
  CW_CHECK(call.Out(UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, mr->key()));
  CW_CHECK(call.Out(UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, mr->key()));
  call.Commit(UVERBS_ATTR_REG_DMABUF_MR_HANDLE, std::move(mr));
  return {};
}

// ---- ASYNC_EVENT
constexpr std::array kAsyncEventAllocAttrs = {
    Object(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, AttrKind::kNewFd, UVERBS_OBJECT_ASYNC_EVENT, kMust)};

Status AsyncEventAlloc(MethodCall& call) {
  auto events = call.file.NewEventFile(EventFile::Type::kAsync);
  CW_CHECK(call.CommitFd(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, events));
  call.file.OfferDefaultAsync(events);
  return {};
}

#define METHOD(object, method, attrs, handler) \
  MethodSpec { UVERBS_OBJECT_##object, UVERBS_METHOD_##method, #object "/" #method, attrs, handler, nullptr }
#define METHOD_IF(capability, object, method, attrs, handler) \
  MethodSpec { UVERBS_OBJECT_##object, UVERBS_METHOD_##method, #object "/" #method, attrs, handler, &Has::capability }
using Has = Capabilities;
constexpr std::array kMethods = {
    METHOD(DEVICE, INVOKE_WRITE, kInvokeWriteAttrs, InvokeWrite),
    METHOD(DEVICE, INFO_HANDLES, kInfoHandlesAttrs, InfoHandles),
    METHOD(DEVICE, QUERY_PORT, kQueryPortAttrs, QueryPort),
    METHOD(DEVICE, GET_CONTEXT, kGetContextAttrs, GetContext),
    METHOD(DEVICE, QUERY_CONTEXT, kQueryContextAttrs, QueryContext),
    METHOD(DEVICE, QUERY_GID_TABLE, kQueryGidTableAttrs, QueryGidTable),
    METHOD(DEVICE, QUERY_GID_ENTRY, kQueryGidEntryAttrs, QueryGidEntry),
    METHOD(PD, PD_DESTROY, kPdDestroyAttrs, Nothing),
    METHOD(CQ, CQ_CREATE, kCqCreateAttrs, CqCreateMethod),
    METHOD(CQ, CQ_DESTROY, kCqDestroyAttrs, CqDestroyMethod),
    METHOD(QP, QP_CREATE, kQpCreateAttrs, QpCreateMethod),
    METHOD(QP, QP_DESTROY, kQpDestroyAttrs, QpDestroyMethod),
    METHOD_IF(srq, SRQ, SRQ_CREATE, kSrqCreateAttrs, SrqCreateMethod),
    METHOD_IF(srq, SRQ, SRQ_DESTROY, kSrqDestroyAttrs, SrqDestroyMethod),
    METHOD_IF(ud, AH, AH_DESTROY, kAhDestroyAttrs, Nothing),
    METHOD(MR, MR_DESTROY, kMrDestroyAttrs, Nothing),
    METHOD(MR, ADVISE_MR, kAdviseMrAttrs, AdviseMrMethod),
    METHOD(MR, QUERY_MR, kQueryMrAttrs, QueryMrMethod),
    METHOD(MR, REG_DMABUF_MR, kRegDmaBufMrAttrs, RegDmaBufMrMethod),
    METHOD_IF(mw, MW, MW_DESTROY, kMwDestroyAttrs, Nothing),
    METHOD(ASYNC_EVENT, ASYNC_EVENT_ALLOC, kAsyncEventAllocAttrs, AsyncEventAlloc),
};
#undef METHOD_IF
#undef METHOD

}  // namespace

std::span<const MethodSpec> Methods() { return kMethods; }

}  // namespace causeway::infiniband
