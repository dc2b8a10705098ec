// SPDX-License-Identifier: Apache-2.0
// ioctl() on uverbs: the attribute rules (specs: verbs 3.1; linux v6.1 uverbs_ioctl.c) and every method (3.2).
#include <linux/capability.h>

#include "drivers/infiniband/cq.h"
#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class IoctlRules : public UverbsBench {
 protected:
  static ib_uverbs_ioctl_hdr Header(uint16_t object, uint16_t method, size_t attrs) {
    return {static_cast<uint16_t>(24 + 16 * attrs), object, method, static_cast<uint16_t>(attrs), 0, kRdmaDriverRxe, 0};
  }
};

TEST_F(IoctlRules, HeaderErrnoTable) {
  const struct {
    const char* name;
    uint32_t request;
    void (*change)(ib_uverbs_ioctl_hdr&);
    int want;
  } cases[] = {
      {"good", kRdmaVerbsIoctl, [](auto&) {}, 0},
      {"another request", 0x1234, [](auto&) {}, ENOTTY},
      {"length", kRdmaVerbsIoctl, [](auto& h) { h.length = 25; }, EINVAL},
      {"length above a page", kRdmaVerbsIoctl,
       [](auto& h) {
         h.num_attrs = 255;
         h.length = 24 + 16 * 255;
       },
       EINVAL},
      {"reserved1", kRdmaVerbsIoctl, [](auto& h) { h.reserved1 = 1; }, EPROTONOSUPPORT},
      {"reserved2", kRdmaVerbsIoctl, [](auto& h) { h.reserved2 = 1; }, EPROTONOSUPPORT},
      {"driver", kRdmaVerbsIoctl, [](auto& h) { h.driver_id = 1; }, EINVAL},
      {"unknown object", kRdmaVerbsIoctl, [](auto& h) { h.object_id = 99; }, EPROTONOSUPPORT},
      {"unknown method", kRdmaVerbsIoctl, [](auto& h) { h.method_id = 99; }, EPROTONOSUPPORT},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Open();
    auto hdr = Header(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_GET_CONTEXT, 0);
    c.change(hdr);
    EXPECT_EQ(IoctlRaw(hdr, {}, c.request), c.want);
  }
  EXPECT_EQ(file_->Ioctl(task_, kRdmaVerbsIoctl, kUnmapped).error(), Errno(EFAULT));
}

// Objects that rxe does not offer: libibverbs falls back, or gives up in peace.
TEST_F(IoctlRules, MethodsThatNobodyServes) {
  const std::pair<uint16_t, uint16_t> missing[] = {
      {UVERBS_OBJECT_DEVICE, 7},      {UVERBS_OBJECT_COMP_CHANNEL, 0}, {UVERBS_OBJECT_MR, UVERBS_METHOD_DM_MR_REG},
      {UVERBS_OBJECT_MR, 5},          {UVERBS_OBJECT_FLOW, 0},         {UVERBS_OBJECT_XRCD, 0},
      {UVERBS_OBJECT_RWQ_IND_TBL, 0}, {UVERBS_OBJECT_WQ, 0},           {UVERBS_OBJECT_FLOW_ACTION, 0},
      {UVERBS_OBJECT_DM, 0},          {UVERBS_OBJECT_COUNTERS, 0},     {17, 0}};
  for (const auto& [object, method] : missing) {
    EXPECT_EQ(Ioctl(object, method, {}), EPROTONOSUPPORT) << object << "/" << method;
  }
}

TEST_F(IoctlRules, AttributeErrnoTable) {
  const auto port = Attr(UVERBS_ATTR_QUERY_PORT_PORT_NUM, 8, 1);
  const auto out = Attr(UVERBS_ATTR_QUERY_PORT_RESP, 48, kOut);
  const auto with = [](ib_uverbs_attr attr, auto change) {
    change(attr);
    return attr;
  };
  const struct {
    const char* name;
    std::vector<ib_uverbs_attr> attrs;
    int want;
  } cases[] = {
      {"good", {port, out}, 0},
      {"any order", {out, port}, 0},
      {"unknown optional", {port, out, Attr(77, 0, 0, 0)}, 0},
      {"unknown mandatory", {port, out, Attr(77, 0, 0)}, EPROTONOSUPPORT},
      {"unknown flag bits", {with(port, [](auto& a) { a.flags = 0xfff1; }), out}, 0},
      {"duplicate", {port, out, port}, EINVAL},
      {"missing mandatory", {port}, EINVAL},
      {"reserved", {with(port, [](auto& a) { a.reserved = 1; }), out}, EINVAL},
      {"constant of 4 bytes", {with(port, [](auto& a) { a.len = 4; }), out}, EINVAL},
      {"constant of 1 byte", {with(port, [](auto& a) { a.len = 1; }), out}, EINVAL},
      {"constant does not fit", {with(port, [](auto& a) { a.data = 256; }), out}, EINVAL},
      {"port 2", {with(port, [](auto& a) { a.data = 2; }), out}, EINVAL},
      {"short output", {port, with(out, [](auto& a) { a.len = 40; })}, EINVAL},
      {"longer output", {port, with(out, [](auto& a) { a.len = 64; })}, 0},
      {"unmapped output", {port, with(out, [](auto& a) { a.data = kUnmapped; })}, EFAULT},
  };
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_PORT, {port, out}), EINVAL);  // no context
  GetContext();
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_PORT, c.attrs), c.want);
  }
  ASSERT_TRUE(task_.user.Write(kOut + 48, ~uint64_t{0}));
  ASSERT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_PORT, {port, Attr(UVERBS_ATTR_QUERY_PORT_RESP, 56, kOut)}),
            0);
  EXPECT_EQ(Peek<uint64_t>(kOut + 48), 0u);  // zero-filled
  EXPECT_EQ(AttrAfter(0).flags, UVERBS_ATTR_F_MANDATORY);
  EXPECT_EQ(AttrAfter(1).flags, UVERBS_ATTR_F_MANDATORY | UVERBS_ATTR_F_VALID_OUTPUT);
}

TEST_F(IoctlRules, GetContextMakesNoDescriptor) {
  const size_t files = task_.files.size();
  ASSERT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_GET_CONTEXT,
                  {Attr(UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, 4, kOut, 0),
                   Attr(UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, 8, kOut + 8, 0)}),
            0);
  EXPECT_EQ(Peek<uint32_t>(kOut), file_->core().num_comp_vectors());
  EXPECT_EQ(Peek<uint64_t>(kOut + 8), 1u);
  EXPECT_EQ(task_.files.size(), files);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_GET_CONTEXT, {}), EINVAL);  // twice
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kOut}, 8), EINVAL);

  const std::vector<ib_uverbs_attr> alloc = {Attr(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, 0, 0)};
  ASSERT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC, alloc), 0);
  const int first = static_cast<int>(AttrAfter(0).data);
  EXPECT_EQ(AttrAfter(0).flags, UVERBS_ATTR_F_MANDATORY);  // descriptors come back without VALID_OUTPUT
  EXPECT_EQ(Events(first)->type(), EventFile::Type::kAsync);
  ASSERT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC, alloc), 0);
  EXPECT_NE(static_cast<int>(AttrAfter(0).data), first);
  EXPECT_EQ(file_->default_async(), Events(first));  // the first stays the default
}

TEST_F(IoctlRules, AsyncEventAllocErrnoTable) {
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC,
                  {Attr(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, 0, 0)}),
            EINVAL);  // no context
  GetContext();
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC, {}), EINVAL);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC,
                  {Attr(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, 4, 0)}),
            EINVAL);
  task_.install_errno = EMFILE;
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC,
                  {Attr(UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, 0, 0)}),
            EMFILE);
}

class IoctlMethods : public IoctlRules {
 protected:
  IoctlMethods() { GetContext(); }
  int InvokeWrite(uint64_t command, std::vector<ib_uverbs_attr> more) {
    more.insert(more.begin(), Attr(UVERBS_ATTR_WRITE_CMD, 8, command));
    return Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE, more);
  }
};

TEST_F(IoctlMethods, InvokeWriteErrnoTable) {  // 3.2
  // libibverbs' probe, before and after there is a context.
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_QUERY_DEVICE, {}), ENOSPC);
  EXPECT_EQ(InvokeWrite(41, {}), EOPNOTSUPP);
  EXPECT_EQ(InvokeWrite(0x80000001, {Attr(UVERBS_ATTR_CORE_IN, 8, 0), Attr(UVERBS_ATTR_CORE_OUT, 304, kOut)}), 0);
  EXPECT_EQ(Response<ib_uverbs_ex_query_device_resp>().response_length, 304u);
  // ALLOC_PD: the request is only the response pointer, which INVOKE_WRITE ignores; 8 bytes are inline.
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_ALLOC_PD,
                        {Attr(UVERBS_ATTR_CORE_IN, 8, kUnmapped), Attr(UVERBS_ATTR_CORE_OUT, 4, kOut)}),
            0);
  EXPECT_EQ(Response<uint32_t>(), 0u);
  EXPECT_EQ(AttrAfter(2).flags, UVERBS_ATTR_F_MANDATORY | UVERBS_ATTR_F_VALID_OUTPUT);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_ALLOC_PD, {Attr(UVERBS_ATTR_CORE_IN, 8, 0)}), ENOSPC);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_DEALLOC_PD, {Attr(UVERBS_ATTR_CORE_IN, 4, 0)}), 0);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_DEALLOC_PD, {Attr(UVERBS_ATTR_CORE_IN, 4, 0)}), ENOENT);
  // A driver response by UHW.
  ASSERT_TRUE(task_.user.Write(kPage, ib_uverbs_create_cq{0, 7, 10, 0, -1, 0}));
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_CREATE_CQ,
                        {Attr(UVERBS_ATTR_CORE_IN, 32, kPage), Attr(UVERBS_ATTR_CORE_OUT, 8, kOut),
                         Attr(UVERBS_ATTR_UHW_OUT, 16, kDriverOut)}),
            0);
  EXPECT_EQ(Peek<mminfo>(kDriverOut).offset, kPageSize);
  EXPECT_EQ(AttrAfter(3).flags, UVERBS_ATTR_F_MANDATORY | UVERBS_ATTR_F_VALID_OUTPUT);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_CREATE_CQ,
                        {Attr(UVERBS_ATTR_CORE_IN, 32, kPage), Attr(UVERBS_ATTR_CORE_OUT, 8, kOut)}),
            EINVAL);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_CREATE_CQ,
                        {Attr(UVERBS_ATTR_CORE_IN, 32, kUnmapped), Attr(UVERBS_ATTR_CORE_OUT, 8, kOut)}),
            EFAULT);
  Open();
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_QUERY_DEVICE, {}), ENOSPC);
  EXPECT_EQ(InvokeWrite(IB_USER_VERBS_CMD_DEALLOC_PD, {Attr(UVERBS_ATTR_CORE_IN, 4, 0)}), EINVAL);
}

TEST_F(IoctlMethods, InfoHandles) {
  AllocPd();
  CreateCq();
  AllocPd();
  const auto ask = [&](uint64_t object, size_t len) {
    return Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INFO_HANDLES,
                 {Attr(UVERBS_ATTR_INFO_OBJECT_ID, 8, object), Attr(UVERBS_ATTR_INFO_TOTAL_HANDLES, 4, kOut + 64),
                  Attr(UVERBS_ATTR_INFO_HANDLES_LIST, len, kOut)});
  };
  ASSERT_EQ(ask(UVERBS_OBJECT_PD, 16), 0);
  EXPECT_EQ(Peek<uint32_t>(kOut + 64), 2u);
  EXPECT_EQ(Peek<uint32_t>(kOut), 2u);
  EXPECT_EQ(Peek<uint32_t>(kOut + 4), 0u);
  ASSERT_EQ(ask(UVERBS_OBJECT_PD, 4), 0);
  EXPECT_EQ(Peek<uint32_t>(kOut + 64), 1u);
  EXPECT_EQ(ask(UVERBS_OBJECT_PD, 6), EINVAL);
  EXPECT_EQ(ask(UVERBS_OBJECT_DM, 4), EINVAL);
}

TEST_F(IoctlMethods, QueryContextIsNotRxes) {
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_CONTEXT, {}), EOPNOTSUPP);
}

TEST_F(IoctlMethods, QueryGidTable) {
  const size_t filled = device().gids().filled().size();
  const auto ask = [&](uint64_t entry, size_t len, uint64_t flags = 0) {
    return Ioctl(
        UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_GID_TABLE,
        {Attr(UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE, 8, entry), Attr(UVERBS_ATTR_QUERY_GID_TABLE_FLAGS, 4, flags),
         Attr(UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES, len, kOut),
         Attr(UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES, 8, kDriverOut)});
  };
  ASSERT_EQ(ask(32, 32 * 16), 0);
  EXPECT_EQ(Peek<uint64_t>(kDriverOut), filled);
  const auto entry = Response<ib_uverbs_gid_entry>();
  EXPECT_EQ(std::memcmp(entry.gid, device().gids().filled()[0].gid.data(), 16), 0);
  EXPECT_EQ(entry.gid_type, IB_UVERBS_GID_TYPE_ROCE_V2);
  EXPECT_EQ(entry.port_num, 1u);
  EXPECT_EQ(entry.netdev_ifindex, device().ifindex());
  EXPECT_EQ(ask(24, 24 * 16), 0);                 // shorter entries are cut
  EXPECT_EQ(Peek<uint32_t>(kOut + 24 + 16), 1u);  // gid_index of the second
  EXPECT_EQ(ask(40, 40 * 16), 0);
  EXPECT_EQ(Peek<uint64_t>(kOut + 32), 0u);  // longer ones zero-filled
  EXPECT_EQ(ask(32, 0), EINVAL);
  EXPECT_EQ(ask(0, 32), EINVAL);
  EXPECT_EQ(ask(32, 40), EINVAL);
  EXPECT_EQ(ask(32, 32 * (filled - 1)), EINVAL);
  EXPECT_EQ(ask(32, 32 * 16, 1), EINVAL);
}

TEST_F(IoctlMethods, QueryGidEntry) {
  const auto ask = [&](uint64_t port, uint64_t index, size_t len = 32, uint64_t flags = 0) {
    return Ioctl(
        UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_GID_ENTRY,
        {Attr(UVERBS_ATTR_QUERY_GID_ENTRY_PORT, 8, port), Attr(UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, 8, index),
         Attr(UVERBS_ATTR_QUERY_GID_ENTRY_FLAGS, 4, flags), Attr(UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY, len, kOut)});
  };
  EXPECT_EQ(ask(1, 0), 0);
  EXPECT_EQ(ask(1, device().gids().filled().size()), ENODATA);
  EXPECT_EQ(ask(1, 1023), ENODATA);
  EXPECT_EQ(ask(1, 1024), EINVAL);
  EXPECT_EQ(ask(2, 0), EINVAL);
  EXPECT_EQ(ask(1, 0, 16), EINVAL);
  EXPECT_EQ(ask(1, 0, 32, 1), EINVAL);
}

TEST_F(IoctlMethods, CqCreateAndDestroy) {
  const auto attrs = [&](uint32_t cqe, uint32_t vector, std::vector<ib_uverbs_attr> more = {}) {
    std::vector<ib_uverbs_attr> all = {
        Attr(UVERBS_ATTR_CREATE_CQ_HANDLE, 0, 0),      Attr(UVERBS_ATTR_CREATE_CQ_CQE, 4, cqe),
        Attr(UVERBS_ATTR_CREATE_CQ_USER_HANDLE, 8, 5), Attr(UVERBS_ATTR_CREATE_CQ_COMP_VECTOR, 4, vector),
        Attr(UVERBS_ATTR_CREATE_CQ_RESP_CQE, 4, kOut), Attr(UVERBS_ATTR_UHW_OUT, 16, kDriverOut)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto create = [&](const std::vector<ib_uverbs_attr>& all) {
    return Ioctl(UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_CREATE, all);
  };
  const int channel = CreateChannel();
  EXPECT_EQ(create(attrs(10, 0)), 0);
  const uint64_t handle = AttrAfter(0).data;
  EXPECT_EQ(handle, 0u);
  EXPECT_EQ(AttrAfter(0).flags, UVERBS_ATTR_F_MANDATORY);  // handles come back without VALID_OUTPUT
  EXPECT_EQ(Response<uint32_t>(), 15u);
  EXPECT_EQ(create(attrs(10, 0,
                         {Attr(UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL, 0, static_cast<uint64_t>(channel)),
                          Attr(UVERBS_ATTR_CREATE_CQ_EVENT_FD, 0, static_cast<uint64_t>(async_fd_))})),
            0);
  EXPECT_EQ(create(attrs(0, 0)), EINVAL);
  EXPECT_EQ(create(attrs(40000, 0)), EINVAL);
  EXPECT_EQ(create(attrs(10, 9999)), EINVAL);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_FLAGS, 4, 1)})), EOPNOTSUPP);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_FLAGS, 8, 2)})), EOPNOTSUPP);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_FLAGS, 4, 4)})), EINVAL);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_FLAGS, 6, 1)})), EINVAL);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_EVENT_FD, 0, static_cast<uint64_t>(channel))})), EBADF);
  EXPECT_EQ(create(attrs(10, 0, {Attr(UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL, 0, static_cast<uint64_t>(async_fd_))})),
            EBADF);
  auto no_driver_part = attrs(10, 0);
  no_driver_part.pop_back();
  EXPECT_EQ(create(no_driver_part), EINVAL);
  EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_CQ), 2u);

  const auto destroy = [&](uint64_t which, size_t len = 8, uint64_t out = kOut) {
    return Ioctl(UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_DESTROY,
                 {Attr(UVERBS_ATTR_DESTROY_CQ_HANDLE, 0, which), Attr(UVERBS_ATTR_DESTROY_CQ_RESP, len, out)});
  };
  EXPECT_EQ(destroy(99), ENOENT);
  EXPECT_EQ(destroy(uint64_t{1} << 32), ENOENT);
  EXPECT_EQ(destroy(~uint64_t{0}), EINVAL);
  EXPECT_EQ(destroy(handle, 4), EINVAL);  // before anything is destroyed
  EXPECT_EQ(destroy(handle), 0);
  EXPECT_EQ(destroy(handle), ENOENT);
  EXPECT_EQ(destroy(1, 8, kUnmapped), EFAULT);  // destroyed all the same
  EXPECT_EQ(destroy(1), ENOENT);
}

TEST_F(IoctlMethods, QpCreateAndDestroy) {
  const uint32_t pd = AllocPd();
  const uint32_t cq = CreateCq().handle;
  ASSERT_TRUE(task_.user.Write(kPage, ib_uverbs_qp_cap{16, 16, 4, 4, 0}));
  const auto attrs = [&](uint64_t type, std::vector<ib_uverbs_attr> more = {}) {
    std::vector<ib_uverbs_attr> all = {Attr(UVERBS_ATTR_CREATE_QP_HANDLE, 0, 0),
                                       Attr(UVERBS_ATTR_CREATE_QP_PD_HANDLE, 0, pd),
                                       Attr(UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, 0, cq),
                                       Attr(UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, 0, cq),
                                       Attr(UVERBS_ATTR_CREATE_QP_USER_HANDLE, 8, 0x77),
                                       Attr(UVERBS_ATTR_CREATE_QP_CAP, 20, kPage),
                                       Attr(UVERBS_ATTR_CREATE_QP_TYPE, 8, type),
                                       Attr(UVERBS_ATTR_CREATE_QP_RESP_CAP, 20, kOut),
                                       Attr(UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, 4, kOut + 32),
                                       Attr(UVERBS_ATTR_UHW_OUT, 32, kDriverOut)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto create = [&](const std::vector<ib_uverbs_attr>& all) {
    return Ioctl(UVERBS_OBJECT_QP, UVERBS_METHOD_QP_CREATE, all);
  };
  ASSERT_EQ(create(attrs(IB_UVERBS_QPT_RC)), 0);
  const uint64_t handle = AttrAfter(0).data;
  EXPECT_EQ(Response<ib_uverbs_qp_cap>().max_inline_data, 64u);
  EXPECT_EQ(nics_->qp(Peek<uint32_t>(kOut + 32)).handle, handle);
  EXPECT_NE(Peek<rxe_create_qp_resp>(kDriverOut).rq_mi.offset, 0u);

  const auto flags = [&](uint64_t bits) { return Attr(UVERBS_ATTR_CREATE_QP_FLAGS, 4, bits); };
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {flags(IB_UVERBS_QP_CREATE_SQ_SIG_ALL)})), 0);
  EXPECT_EQ(QueryQp(static_cast<uint32_t>(AttrAfter(0).data)).sq_sig_all, 1);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {flags(IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK)})), EINVAL);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {flags(1)})), EINVAL);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_UC)), 0);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_UD)), 0);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_UD, {flags(IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK)})), EOPNOTSUPP);
  const auto srq = CreateSrq(pd);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {Attr(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, 0, srq.core.srq_handle)})), 0);
  EXPECT_EQ(Peek<rxe_create_qp_resp>(kDriverOut).rq_mi.size, 0u);
  EXPECT_EQ(DestroySrq(srq.core.srq_handle), EBUSY);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {Attr(UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, 0, cq)})), EINVAL);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_DRIVER)), EOPNOTSUPP);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RAW_PACKET)), EPERM);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_XRC_TGT)), EINVAL);
  EXPECT_EQ(create(attrs(77)), EINVAL);
  EXPECT_EQ(create(attrs(IB_UVERBS_QPT_RC, {Attr(UVERBS_ATTR_CREATE_QP_XRCD_HANDLE, 0, 0)})), EPROTONOSUPPORT);
  auto without_pd = attrs(IB_UVERBS_QPT_RC);
  without_pd.erase(without_pd.begin() + 1);
  EXPECT_EQ(create(without_pd), ENOENT);
  auto wrong_cq = attrs(IB_UVERBS_QPT_RC);
  wrong_cq[2].data = pd;
  EXPECT_EQ(create(wrong_cq), EINVAL);
  auto short_cap = attrs(IB_UVERBS_QPT_RC);
  short_cap[5].len = 16;
  EXPECT_EQ(create(short_cap), EINVAL);
  // A longer request is fine while the rest is zero.
  auto long_cap = attrs(IB_UVERBS_QPT_RC);
  long_cap[5].len = 24;
  EXPECT_EQ(create(long_cap), 0);
  ASSERT_TRUE(task_.user.Write(kPage + 20, uint32_t{1}));
  EXPECT_EQ(create(long_cap), EOPNOTSUPP);

  const auto destroy = [&](uint64_t which) {
    return Ioctl(UVERBS_OBJECT_QP, UVERBS_METHOD_QP_DESTROY,
                 {Attr(UVERBS_ATTR_DESTROY_QP_HANDLE, 0, which), Attr(UVERBS_ATTR_DESTROY_QP_RESP, 4, kOut)});
  };
  EXPECT_EQ(destroy(99), ENOENT);
  EXPECT_EQ(destroy(pd), EINVAL);
  EXPECT_EQ(destroy(handle), 0);
}

TEST_F(IoctlMethods, DestroyMethodsErrnoTable) {
  const uint32_t pd = AllocPd();
  ASSERT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
  const uint32_t mr = Response<ib_uverbs_reg_mr_resp>().mr_handle;
  const struct {
    uint16_t object, method;
    uint64_t handle;
    int want;
  } cases[] = {
      {UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY, pd, EBUSY},  // the MR counts
      {UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY, mr, EINVAL}, {UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY, mr, 0},
      {UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY, mr, ENOENT}, {UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY, pd, 0},
      {UVERBS_OBJECT_AH, UVERBS_METHOD_AH_DESTROY, 0, ENOENT},  {UVERBS_OBJECT_MW, UVERBS_METHOD_MW_DESTROY, 0, ENOENT},
  };
  for (const auto& c : cases) EXPECT_EQ(Ioctl(c.object, c.method, {Attr(0, 0, c.handle)}), c.want) << c.object;
}

TEST_F(IoctlMethods, QueryAndAdviseMr) {
  const uint32_t pd = AllocPd();
  ASSERT_EQ(RegMr(pd, kPage + 3, 77, IB_ACCESS_LOCAL_WRITE, 0x4003), 0);
  const auto mr = Response<ib_uverbs_reg_mr_resp>();
  const auto query = [&](uint64_t handle) {
    return Ioctl(
        UVERBS_OBJECT_MR, UVERBS_METHOD_QUERY_MR,
        {Attr(UVERBS_ATTR_QUERY_MR_HANDLE, 0, handle), Attr(UVERBS_ATTR_QUERY_MR_RESP_LKEY, 4, kOut),
         Attr(UVERBS_ATTR_QUERY_MR_RESP_RKEY, 4, kOut + 4), Attr(UVERBS_ATTR_QUERY_MR_RESP_LENGTH, 8, kOut + 8),
         Attr(UVERBS_ATTR_QUERY_MR_RESP_IOVA, 8, kOut + 16)});
  };
  ASSERT_EQ(query(mr.mr_handle), 0);
  EXPECT_EQ(Peek<uint32_t>(kOut), mr.lkey);
  EXPECT_EQ(Peek<uint32_t>(kOut + 4), mr.lkey);
  EXPECT_EQ(Peek<uint64_t>(kOut + 8), 77u);
  EXPECT_EQ(Peek<uint64_t>(kOut + 16), 0x4003u);
  EXPECT_EQ(query(99), ENOENT);
  EXPECT_EQ(query(pd), EINVAL);
}

// rxe_ib_advise_mr() of kernels later than 6.12 (specs: verbs 4.10).
TEST_F(IoctlMethods, AdviseMrErrnoTable) {
  const uint32_t pd = AllocPd(), other_pd = AllocPd();
  const auto reg = [&](uint64_t start, uint64_t length, uint32_t access) {
    EXPECT_EQ(RegMr(pd, start, length, access, start), 0);
    return Response<ib_uverbs_reg_mr_resp>().lkey;
  };
  const uint32_t key = reg(kPage, 2 * kPageSize, IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE);
  const uint32_t read_only = reg(kPage, kPageSize, IB_ACCESS_ON_DEMAND);
  const uint32_t pinned = reg(kPage, kPageSize, IB_ACCESS_LOCAL_WRITE);
  const uint32_t absent = reg(kUnmapped, kPageSize, IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE);
  constexpr uint64_t kRead = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH, kWrite = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE;
  constexpr uint64_t kNoFault = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, kFlush = 1;
  const struct {
    const char* name;
    uint64_t pd, advice, flags;
    ib_uverbs_sge sge;
    int want;
  } cases[] = {
      {"read", pd, kRead, 0, {kPage, 100, key}, 0},
      {"write, at once", pd, kWrite, kFlush, {kPage, 2 * kPageSize, key}, 0},
      {"no fault", pd, kNoFault, kFlush, {kUnmapped, 100, absent}, 0},
      {"no such PD", 99, kRead, 0, {kPage, 100, key}, ENOENT},
      {"unknown advice", pd, 3, 0, {kPage, 100, key}, EOPNOTSUPP},
      {"unknown flag", pd, kRead, 2, {kPage, 100, key}, EINVAL},
      {"unknown key", pd, kRead, kFlush, {kPage, 100, key ^ 1}, EINVAL},
      {"key beyond the table", pd, kRead, kFlush, {kPage, 100, ~0u}, EINVAL},
      {"another PD", other_pd, kRead, kFlush, {kPage, 100, key}, EINVAL},
      {"not on demand", pd, kRead, kFlush, {kPage, 100, pinned}, EINVAL},
      {"writing what is read-only", pd, kWrite, 0, {kPage, 100, read_only}, EPERM},
      {"beyond the region", pd, kRead, kFlush, {kPage, 2 * kPageSize + 1, key}, EFAULT},
      {"memory that is not there", pd, kRead, kFlush, {kUnmapped, 100, absent}, EFAULT},
      {"memory that is not there, in its own time", pd, kRead, 0, {kUnmapped, 100, absent}, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    ASSERT_TRUE(task_.user.Write(kDriverOut, c.sge));
    EXPECT_EQ(Ioctl(UVERBS_OBJECT_MR, UVERBS_METHOD_ADVISE_MR,
                    {Attr(UVERBS_ATTR_ADVISE_MR_PD_HANDLE, 0, c.pd), Attr(UVERBS_ATTR_ADVISE_MR_ADVICE, 8, c.advice),
                     Attr(UVERBS_ATTR_ADVISE_MR_FLAGS, 4, c.flags),
                     Attr(UVERBS_ATTR_ADVISE_MR_SGE_LIST, sizeof(c.sge), kDriverOut)}),
              c.want);
  }
}

TEST_F(IoctlMethods, SrqCreateErrnoTable) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  const auto create = [&](uint32_t max_wr, uint32_t max_sge, uint64_t type, size_t driver_out,
                          std::vector<ib_uverbs_attr> more = {}) {
    std::vector<ib_uverbs_attr> all = {Attr(UVERBS_ATTR_CREATE_SRQ_HANDLE, 0, 0),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_PD_HANDLE, 0, pd),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_USER_HANDLE, 8, 0x88),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_MAX_WR, 4, max_wr),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_MAX_SGE, 4, max_sge),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_LIMIT, 4, 0),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_TYPE, 8, type),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, 4, kOut),
                                       Attr(UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE, 4, kOut + 4),
                                       Attr(UVERBS_ATTR_UHW_OUT, driver_out, kDriverOut)};
    all.insert(all.end(), more.begin(), more.end());
    return Ioctl(UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_CREATE, all);
  };
  const auto with_cq = Attr(UVERBS_ATTR_CREATE_SRQ_CQ_HANDLE, 0, cq);
  const auto tags = Attr(UVERBS_ATTR_CREATE_SRQ_MAX_NUM_TAGS, 4, 1);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_BASIC, 16), EINVAL);
  EXPECT_EQ(create(0, 1, IB_UVERBS_SRQT_BASIC, 24), EINVAL);
  EXPECT_EQ(create(10, 28, IB_UVERBS_SRQT_BASIC, 24), EINVAL);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_XRC, 24), ENOENT);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_XRC, 24, {with_cq}), ENOENT);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_TM, 24), ENOENT);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_TM, 24, {with_cq}), ENOENT);
  EXPECT_EQ(create(10, 1, IB_UVERBS_SRQT_TM, 24, {with_cq, tags}), EOPNOTSUPP);
  EXPECT_EQ(create(10, 1, 3, 24), EINVAL);
  EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_SRQ), 0u);
  ASSERT_EQ(create(10, 0, IB_UVERBS_SRQT_BASIC, 24), 0);
  const uint64_t handle = AttrAfter(0).data;
  EXPECT_EQ(Peek<uint32_t>(kOut), 10u);
  EXPECT_EQ(Peek<uint32_t>(kOut + 4), 1u);
  EXPECT_EQ(Peek<rxe_create_srq_resp>(kDriverOut).srq_num, 0x20001u);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_DESTROY,
                  {Attr(UVERBS_ATTR_DESTROY_SRQ_HANDLE, 0, handle), Attr(UVERBS_ATTR_DESTROY_SRQ_RESP, 4, kOut)}),
            0);
}

}  // namespace
}  // namespace causeway::infiniband
