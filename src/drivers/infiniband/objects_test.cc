// SPDX-License-Identifier: Apache-2.0
// Address handles, shared receive queues, memory windows, multicast, changed regions: the errno of every command
// (specs: verbs 2.4) and what keeps what alive; and devices that lack some of it.
#include <fstream>

#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

constexpr uint8_t kMulticast[16] = {0xff, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

class ObjectCommands : public UverbsBench {
 protected:
  explicit ObjectCommands(const Capabilities& capabilities = {}) : UverbsBench(capabilities) { GetContext(); }
  ib_uverbs_create_ah AhRequest(uint32_t pd) {
    ib_uverbs_create_ah request = {.response = kOut, .user_handle = 0, .pd_handle = pd, .reserved = 0, .attr = {}};
    request.attr.is_global = 1;
    request.attr.port_num = 1;
    std::ranges::copy(*device().gids().Get(0), request.attr.grh.dgid);
    return request;
  }
  int CreateAh(const ib_uverbs_create_ah& request, size_t driver_out = 8) {
    return Plain(IB_USER_VERBS_CMD_CREATE_AH, request, 4 + driver_out);
  }
  uint32_t CreateQpOf(ib_uverbs_qp_type type, uint32_t pd, uint32_t cq) {
    auto request = QpRequest(pd, cq);
    request.qp_type = static_cast<uint8_t>(type);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), 0);
    return Response<ib_uverbs_create_qp_resp>().qp_handle;
  }
  int Mcast(uint32_t command, uint32_t qp, const uint8_t (&gid)[16], uint16_t mlid = 0) {
    ib_uverbs_attach_mcast request = {};
    std::ranges::copy(gid, request.gid);
    request.qp_handle = qp;
    request.mlid = mlid;
    return Plain(command, request, 0);
  }
  int Attach(uint32_t qp, const uint8_t (&gid)[16], uint16_t mlid = 0) {
    return Mcast(IB_USER_VERBS_CMD_ATTACH_MCAST, qp, gid, mlid);
  }
  int Detach(uint32_t qp, const uint8_t (&gid)[16], uint16_t mlid = 0) {
    return Mcast(IB_USER_VERBS_CMD_DETACH_MCAST, qp, gid, mlid);
  }
};

TEST_F(ObjectCommands, CreateAhErrnoTable) {
  const uint32_t pd = AllocPd();
  using R = ib_uverbs_create_ah;
  const struct {
    const char* name;
    void (*change)(R&);
    int want;
  } cases[] = {
      {"good", [](R&) {}, 0},
      {"port 0", [](R& r) { r.attr.port_num = 0; }, EINVAL},
      {"port 2", [](R& r) { r.attr.port_num = 2; }, EINVAL},
      {"the port comes before the PD",
       [](R& r) {
         r.attr.port_num = 2;
         r.pd_handle = 99;
       },
       EINVAL},
      {"no such PD", [](R& r) { r.pd_handle = 99; }, ENOENT},
      {"no GRH", [](R& r) { r.attr.is_global = 0; }, EINVAL},
      {"empty sgid index", [](R& r) { r.attr.grh.sgid_index = 200; }, ENODATA},
      {"unknown address", [](R& r) { r.attr.grh.dgid[15] ^= 0x55; }, ETIMEDOUT},
      {"IPv4 from an IPv6 source",
       [](R& r) {
         std::memset(r.attr.grh.dgid, 0, 10);
         r.attr.grh.dgid[10] = r.attr.grh.dgid[11] = 0xff;
         r.attr.grh.dgid[12] = 10;
       },
       EINVAL},
      {"multicast", [](R& r) { std::ranges::copy(kMulticast, r.attr.grh.dgid); }, 0},
      {"IPv4 multicast from an IPv6 source",
       [](R& r) {
         std::memset(r.attr.grh.dgid, 0, 10);
         r.attr.grh.dgid[10] = r.attr.grh.dgid[11] = 0xff;
         r.attr.grh.dgid[12] = 239;
       },
       0},
      {"response", [](R& r) { r.response = kUnmapped; }, EFAULT},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const size_t before = file_->objects().Count(UVERBS_OBJECT_AH);
    auto request = AhRequest(pd);
    c.change(request);
    EXPECT_EQ(CreateAh(request), c.want);
    EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_AH), before + (c.want == 0 ? 1 : 0));
  }
  EXPECT_EQ(DeallocPd(pd), EBUSY);
}

// rxe_create_ah(): ah_num when there is room for it and the reserved word, which stays as it was.
TEST_F(ObjectCommands, AhNumberIsTheDriversAnswer) {
  const uint32_t pd = AllocPd();
  ASSERT_TRUE(task_.user.Write(kOut + 4, uint64_t{0x7777777766666666}));
  ASSERT_EQ(CreateAh(AhRequest(pd), 4), 0);
  EXPECT_EQ(Peek<uint32_t>(kOut + 4), 0x66666666u);
  ASSERT_EQ(CreateAh(AhRequest(pd), 0), 0);
  ASSERT_EQ(CreateAh(AhRequest(pd), 8), 0);
  EXPECT_EQ(Peek<uint32_t>(kOut + 4), 3u);  // the third of the machine
  EXPECT_EQ(Peek<uint32_t>(kOut + 8), 0x77777777u);
  const uint32_t handle = Response<ib_uverbs_create_ah_resp>().ah_handle;
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DESTROY_AH, ib_uverbs_destroy_ah{handle}, 0), 0);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DESTROY_AH, ib_uverbs_destroy_ah{handle}, 0), ENOENT);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DESTROY_AH, ib_uverbs_destroy_ah{pd}, 0), EINVAL);
}

TEST_F(ObjectCommands, CreateSrqErrnoTable) {
  const uint32_t pd = AllocPd();
  const struct {
    const char* name;
    ib_uverbs_create_srq request;
    size_t out;
    int want;
    uint32_t max_sge;
  } cases[] = {
      {"good", {kOut, 1, pd, 10, 2, 0}, 40, 0, 2},
      {"no scatter entries are one", {kOut, 1, pd, 10, 0, 0}, 40, 0, 1},
      {"a limit above max_wr", {kOut, 1, pd, 10, 1, 999}, 40, 0, 1},
      {"most", {kOut, 1, pd, 1 << 10, 27, 0}, 40, 0, 27},
      {"no work requests", {kOut, 1, pd, 0, 1, 0}, 40, EINVAL, 0},
      {"too many work requests", {kOut, 1, pd, 1048577, 1, 0}, 40, EINVAL, 0},
      {"too many scatter entries", {kOut, 1, pd, 10, 28, 0}, 40, EINVAL, 0},
      {"driver response too short", {kOut, 1, pd, 10, 1, 0}, 36, EINVAL, 0},
      {"no such PD", {kOut, 1, 99, 10, 1, 0}, 40, ENOENT, 0},
      {"the PD comes before the limits", {kOut, 1, 99, 0, 1, 0}, 40, ENOENT, 0},
      {"response", {kUnmapped, 1, pd, 10, 1, 0}, 40, EFAULT, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const size_t before = file_->objects().Count(UVERBS_OBJECT_SRQ);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_SRQ, c.request, c.out), c.want);
    EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_SRQ), before + (c.want == 0 ? 1 : 0));
    if (c.want != 0) continue;
    const auto response = Response<ib_uverbs_create_srq_resp>();
    EXPECT_EQ(response.max_wr, c.request.max_wr);
    EXPECT_EQ(response.max_sge, c.max_sge);
    EXPECT_EQ(response.srqn, 0u);
  }
  EXPECT_EQ(DeallocPd(pd), EBUSY);
}

TEST_F(ObjectCommands, CreateXsrqErrnoTable) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  const auto create = [&](uint32_t type, uint32_t pd_handle, uint32_t cq_handle, size_t out = 40) {
    return Plain(IB_USER_VERBS_CMD_CREATE_XSRQ,
                 ib_uverbs_create_xsrq{kOut, 1, type, pd_handle, 10, 1, 0, 0, 0, cq_handle}, out);
  };
  EXPECT_EQ(create(IB_UVERBS_SRQT_BASIC, pd, 0), 0);
  EXPECT_EQ(create(IB_UVERBS_SRQT_XRC, 99, 99), EINVAL);  // its XRCD is looked for first
  EXPECT_EQ(create(IB_UVERBS_SRQT_TM, 99, 99), ENOENT);
  EXPECT_EQ(create(IB_UVERBS_SRQT_TM, 99, pd), EINVAL);  // a CQ that is none
  EXPECT_EQ(create(IB_UVERBS_SRQT_TM, pd, cq), EOPNOTSUPP);
  EXPECT_EQ(create(3, pd, 0), EOPNOTSUPP);
  EXPECT_EQ(create(3, pd, 0, 36), EINVAL);  // short driver response: first
}

TEST_F(ObjectCommands, ModifyAndQuerySrq) {
  const uint32_t pd = AllocPd();
  const auto srq = CreateSrq(pd, 10, 2);
  const uint32_t handle = srq.core.srq_handle;
  struct Request {
    ib_uverbs_modify_srq core;
    rxe_modify_srq_cmd driver;
  };
  const auto modify = [&](uint32_t mask, uint32_t max_wr, uint32_t limit, uint64_t info = kDriverOut) {
    return Plain(IB_USER_VERBS_CMD_MODIFY_SRQ, Request{{handle, mask, max_wr, limit}, {info}}, 0);
  };
  const auto query = [&] {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_SRQ, ib_uverbs_query_srq{kOut, handle, 0}, 16), 0);
    return Response<ib_uverbs_query_srq_resp>();
  };
  EXPECT_EQ(query().max_wr, 15u);
  EXPECT_EQ(query().max_sge, 2u);
  EXPECT_EQ(modify(IB_SRQ_LIMIT, 0, 15), 0);
  EXPECT_EQ(query().srq_limit, 15u);
  EXPECT_EQ(modify(IB_SRQ_LIMIT, 0, 16), EINVAL);
  EXPECT_EQ(modify(IB_SRQ_LIMIT, 0, 1048577), EINVAL);
  EXPECT_EQ(modify(IB_SRQ_MAX_WR, 14, 0), EINVAL);  // below the limit
  EXPECT_EQ(modify(IB_SRQ_MAX_WR, 0, 0), EINVAL);
  EXPECT_EQ(modify(IB_SRQ_MAX_WR, 1048577, 0), EINVAL);
  EXPECT_EQ(modify(IB_SRQ_MAX_WR, 40, 0, kUnmapped), EFAULT);
  EXPECT_EQ(query().max_wr, 15u);
  EXPECT_EQ(modify(0, 0, 99), 0);
  EXPECT_EQ(modify(0xf0, 0, 99), 0);
  // The new ring is told at the address, not in the response.
  EXPECT_EQ(modify(IB_SRQ_MAX_WR | IB_SRQ_LIMIT, 40, 9), 0);
  EXPECT_EQ(query().max_wr, 63u);
  EXPECT_EQ(query().srq_limit, 9u);
  const auto info = Peek<mminfo>(kDriverOut);
  EXPECT_GT(info.offset, srq.driver.mi.offset);
  EXPECT_TRUE(file_->Mmap(task_, {.length = info.size, .prot = 3, .flags = MAP_SHARED, .offset = info.offset}));
  EXPECT_FALSE(file_->Mmap(
      task_, {.length = srq.driver.mi.size, .prot = 3, .flags = MAP_SHARED, .offset = srq.driver.mi.offset}));
  // The driver's part is asked for even when it is not needed.
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_MODIFY_SRQ, ib_uverbs_modify_srq{handle, IB_SRQ_LIMIT, 0, 1}, 0), EINVAL);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_MODIFY_SRQ, Request{{99, 0, 0, 0}, {0}}, 0), ENOENT);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_MODIFY_SRQ, Request{{pd, 0, 0, 0}, {0}}, 0), EINVAL);
}

TEST_F(ObjectCommands, AnSrqUnderAQp) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  const auto srq = CreateSrq(pd);
  EXPECT_EQ(srq.driver.srq_num, 0x20001u);
  auto request = QpRequest(pd, cq);
  request.is_srq = 1;
  request.srq_handle = 99;
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), ENOENT);
  request.srq_handle = srq.core.srq_handle;
  request.max_recv_wr = 0xffffffff;  // not looked at
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), 0);
  const auto qp = Response<ib_uverbs_create_qp_resp>();
  EXPECT_EQ(qp.max_recv_wr, 0xffffffffu);  // echoed
  EXPECT_EQ(Peek<rxe_create_qp_resp>(kOut + 32).rq_mi.size, 0u);
  EXPECT_NE(Peek<rxe_create_qp_resp>(kOut + 32).sq_mi.size, 0u);
  EXPECT_EQ(nics_->qp(qp.qpn).srq, 1u);
  EXPECT_EQ(QueryQp(qp.qp_handle).max_recv_wr, 0u);
  EXPECT_EQ(DestroySrq(srq.core.srq_handle), EBUSY);
  EXPECT_EQ(DestroyQp(qp.qp_handle), 0);
  EXPECT_EQ(DestroySrq(srq.core.srq_handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_srq_resp>().events_reported, 0u);
  EXPECT_EQ(DestroySrq(srq.core.srq_handle), ENOENT);
}

// 2.5: what was read is counted, what was not is taken back.
TEST_F(ObjectCommands, SrqEventsGoToTheFileOfTheirTime) {
  const uint32_t pd = AllocPd();
  const auto first = CreateSrq(pd), second = CreateSrq(pd);
  EventRouter& events = driver_->core().events();
  events.SrqLimit(1);
  events.SrqLimit(2);
  const auto async = Events(async_fd_);
  EXPECT_EQ(async->queued(), 2u);
  bool drained = false;
  ASSERT_TRUE(async->Read(task_, kDriverOut, 16, &drained));
  EXPECT_EQ(Peek<uint64_t>(kDriverOut), 0x54u);
  EXPECT_EQ(Peek<uint32_t>(kDriverOut + 8), uint32_t{IB_EVENT_SRQ_LIMIT_REACHED});
  EXPECT_EQ(DestroySrq(first.core.srq_handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_srq_resp>().events_reported, 1u);
  EXPECT_EQ(DestroySrq(second.core.srq_handle), 0);
  EXPECT_EQ(Response<ib_uverbs_destroy_srq_resp>().events_reported, 0u);
  EXPECT_EQ(async->queued(), 0u);
  events.SrqLimit(1);  // nobody's any more
  EXPECT_EQ(async->queued(), 0u);
}

TEST_F(ObjectCommands, AllocMwErrnoTable) {
  const uint32_t pd = AllocPd();
  const auto alloc = [&](uint32_t pd_handle, uint8_t type, uint64_t response = kOut) {
    return Plain(IB_USER_VERBS_CMD_ALLOC_MW, ib_uverbs_alloc_mw{response, pd_handle, type, {}}, 8);
  };
  EXPECT_EQ(alloc(99, 7), ENOENT);
  EXPECT_EQ(alloc(pd, 0), EINVAL);
  EXPECT_EQ(alloc(pd, 3), EINVAL);
  EXPECT_EQ(alloc(pd, IB_MW_TYPE_1, kUnmapped), EFAULT);
  for (const uint8_t type : {IB_MW_TYPE_1, IB_MW_TYPE_2}) {
    ASSERT_EQ(alloc(pd, type), 0);
    const auto mw = Response<ib_uverbs_alloc_mw_resp>();
    EXPECT_GT(mw.rkey >> 8, roce::kMaxMrs);  // the range tells a window from a region
    EXPECT_EQ(DeallocPd(pd), EBUSY);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DEALLOC_MW, ib_uverbs_dealloc_mw{mw.mw_handle}, 0), 0);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DEALLOC_MW, ib_uverbs_dealloc_mw{mw.mw_handle}, 0), ENOENT);
  }
  EXPECT_EQ(DeallocPd(pd), 0);
}

TEST_F(ObjectCommands, MulticastErrnoTable) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  const uint32_t rc = CreateQpOf(IB_UVERBS_QPT_RC, pd, cq), uc = CreateQpOf(IB_UVERBS_QPT_UC, pd, cq);
  const uint32_t ud = CreateQpOf(IB_UVERBS_QPT_UD, pd, cq);  // in RESET: no matter
  const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 9};
  const uint8_t unicast[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9};
  EXPECT_EQ(Attach(99, kMulticast), ENOENT);
  EXPECT_EQ(Attach(pd, kMulticast), EINVAL);
  EXPECT_EQ(Attach(rc, kMulticast), EINVAL);
  EXPECT_EQ(Attach(uc, kMulticast), EINVAL);
  EXPECT_EQ(Attach(ud, unicast), EINVAL);
  EXPECT_EQ(Attach(ud, v4), 0);
  EXPECT_EQ(Attach(ud, v4), 0);  // again
  EXPECT_EQ(Attach(ud, kMulticast), 0);
  EXPECT_EQ(Detach(ud, kMulticast, 1), EINVAL);
  EXPECT_EQ(Detach(ud, kMulticast), 0);
  EXPECT_EQ(Detach(ud, kMulticast), EINVAL);
  EXPECT_EQ(DestroyQp(ud), EBUSY);
  EXPECT_EQ(Detach(ud, v4), 0);
  EXPECT_EQ(DestroyQp(ud), 0);
}

// Core keeps pairs, the device GIDs: the second pair of a GID blocks the QP until it is detached as well.
TEST_F(ObjectCommands, OneGroupWithTwoLids) {
  const uint32_t ud = CreateQpOf(IB_UVERBS_QPT_UD, AllocPd(), CreateCq().handle);
  EXPECT_EQ(Attach(ud, kMulticast, 1), 0);
  EXPECT_EQ(Attach(ud, kMulticast, 2), 0);
  EXPECT_EQ(Detach(ud, kMulticast, 1), 0);
  EXPECT_EQ(DestroyQp(ud), EBUSY);
  EXPECT_EQ(Detach(ud, kMulticast, 2), EINVAL);
  EXPECT_EQ(DestroyQp(ud), 0);
}

TEST_F(ObjectCommands, CloseTakesAwayWhatWasForgotten) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  const auto srq = CreateSrq(pd);
  auto request = QpRequest(pd, cq);
  request.qp_type = IB_UVERBS_QPT_UD;
  request.is_srq = 1;
  request.srq_handle = srq.core.srq_handle;
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), 0);
  const auto qp = Response<ib_uverbs_create_qp_resp>();
  EXPECT_EQ(Attach(qp.qp_handle, kMulticast), 0);
  ASSERT_EQ(CreateAh(AhRequest(pd)), 0);
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_ALLOC_MW, ib_uverbs_alloc_mw{kOut, pd, IB_MW_TYPE_2, {}}, 8), 0);
  file_.Reset();
  EXPECT_EQ(nics_->qp(qp.qpn).valid.load(), 0u);
  EXPECT_EQ(device().rings().size(), 0u);
}

// rxe_rereg_user_mr() of linux v6.12: ib_uverbs_rereg_mr()'s order of checks.
TEST_F(ObjectCommands, ReregMrErrnoTable) {
  const uint32_t pd = AllocPd(), other = AllocPd();
  ASSERT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
  const auto mr = Response<ib_uverbs_reg_mr_resp>();
  constexpr uint32_t kTrans = IB_MR_REREG_TRANS, kPd = IB_MR_REREG_PD, kAccess = IB_MR_REREG_ACCESS;
  const struct {
    const char* name;
    ib_uverbs_rereg_mr request;
    int want;
  } cases[] = {
      {"nothing", {kOut, mr.mr_handle, 0, 0, 0, 0, pd, 0}, EINVAL},
      {"unknown flag", {kOut, mr.mr_handle, 8, 0, 0, 0, pd, 0}, EOPNOTSUPP},
      {"low bits differ", {kOut, 99, kTrans, kPage, 4096, kPage + 1, pd, 0}, EINVAL},
      {"no such region", {kOut, 99, kPd, 0, 0, 0, pd, 0}, ENOENT},
      {"not a region", {kOut, pd, kPd, 0, 0, 0, pd, 0}, EINVAL},
      {"access", {kOut, mr.mr_handle, kAccess | kPd, 0, 0, 0, 99, IB_ACCESS_REMOTE_WRITE}, EINVAL},
      {"no such PD", {kOut, mr.mr_handle, kPd, 0, 0, 0, 99, 0}, ENOENT},
      {"translation", {kOut, mr.mr_handle, kTrans, kPage, 4096, kPage, pd, 0}, EOPNOTSUPP},
      {"access that rxe does not have", {kOut, mr.mr_handle, kAccess, 0, 0, 0, pd, IB_ACCESS_HUGETLB}, EOPNOTSUPP},
      {"PD", {kOut, mr.mr_handle, kPd, 0, 0, 0, other, 0}, 0},
      {"access, good", {kOut, mr.mr_handle, kAccess, 0, 0, 0, 0, IB_ACCESS_REMOTE_READ}, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_REREG_MR, c.request, 8), c.want);
  }
  EXPECT_EQ(Response<ib_uverbs_rereg_mr_resp>().rkey, mr.rkey);
  EXPECT_EQ(nics_->mr(mr.lkey >> 8).access, uint32_t{IB_ACCESS_REMOTE_READ});
  EXPECT_EQ(DeallocPd(other), EBUSY);  // it counts there now
  EXPECT_EQ(DeallocPd(pd), 0);
}

// rxe_odp_mr_init_user(): what is not there yet can be registered.
TEST_F(ObjectCommands, RegistrationOnDemand) {
  const uint32_t pd = AllocPd();
  constexpr uint32_t kAccess = IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE;
  EXPECT_EQ(RegMr(pd, kUnmapped, 4096, IB_ACCESS_LOCAL_WRITE, kUnmapped), EFAULT);
  EXPECT_EQ(RegMr(pd, kUnmapped, 4096, kAccess, kUnmapped), 0);
  EXPECT_EQ(RegMr(pd, 0, ~uint64_t{0}, kAccess, 0), EINVAL);  // IB_ODP_SUPPORT_IMPLICIT
  EXPECT_EQ(RegMr(pd, 0, ~uint64_t{0}, kAccess, 4096), EINVAL);
  EXPECT_EQ(RegMr(pd, ~uint64_t{0} - 4095, 8192, kAccess, 0), EOVERFLOW);
  EXPECT_EQ(RegMr(pd, kPage, 0, kAccess, kPage), EINVAL);
}

// ---- devices that lack something

class Without : public ObjectCommands {
 protected:
  Without()
      : ObjectCommands({.uc = false,
                        .ud = false,
                        .srq = false,
                        .mw = false,
                        .rereg_mr = false,
                        .resize_cq = false,
                        .atomics = false,
                        .atomic_write = false,
                        .flush = false,
                        .odp = false,
                        .dmabuf = false}) {}
};

TEST_F(Without, TheAttributesSayIt) {
  ASSERT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, ib_uverbs_ex_query_device{0, 0}, 304), 0);
  const auto attr = Response<ib_uverbs_ex_query_device_resp>();
  EXPECT_EQ(attr.base.atomic_cap, 0u);
  EXPECT_EQ(attr.base.max_srq, 0u);
  EXPECT_EQ(attr.base.max_srq_wr, 0u);
  EXPECT_EQ(attr.base.max_srq_sge, 0u);
  EXPECT_EQ(attr.base.max_mw, 0u);
  EXPECT_EQ(attr.base.max_ah, 0u);
  EXPECT_EQ(attr.base.max_mcast_grp, 0u);  // without ud there is none
  EXPECT_EQ(attr.device_cap_flags_ex, 0x00201c36u);
  EXPECT_EQ(attr.base.device_cap_flags, 0x00201c36u);
  EXPECT_EQ(attr.odp_caps.general_caps, 0u);
  EXPECT_EQ(attr.odp_caps.rc_odp_caps, 0u);
}

// By write() EOPNOTSUPP before anything is looked at; by ioctl EPROTONOSUPPORT, on which libibverbs turns to write().
TEST_F(Without, TheCommandsAreNotThere) {
  for (const uint32_t number :
       {IB_USER_VERBS_CMD_CREATE_AH, IB_USER_VERBS_CMD_DESTROY_AH, IB_USER_VERBS_CMD_REREG_MR,
        IB_USER_VERBS_CMD_ALLOC_MW, IB_USER_VERBS_CMD_DEALLOC_MW, IB_USER_VERBS_CMD_ATTACH_MCAST,
        IB_USER_VERBS_CMD_DETACH_MCAST, IB_USER_VERBS_CMD_CREATE_SRQ, IB_USER_VERBS_CMD_MODIFY_SRQ,
        IB_USER_VERBS_CMD_QUERY_SRQ, IB_USER_VERBS_CMD_DESTROY_SRQ, IB_USER_VERBS_CMD_CREATE_XSRQ,
        IB_USER_VERBS_CMD_RESIZE_CQ}) {
    EXPECT_EQ(Plain(number, uint32_t{0}, 0), EOPNOTSUPP) << number;
  }
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_CREATE, {}), EPROTONOSUPPORT);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_SRQ, UVERBS_METHOD_SRQ_DESTROY, {}), EPROTONOSUPPORT);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_AH, UVERBS_METHOD_AH_DESTROY, {}), EPROTONOSUPPORT);
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_MW, UVERBS_METHOD_MW_DESTROY, {}), EPROTONOSUPPORT);
}

TEST_F(Without, TypesAndFlagsAreRefused) {
  const uint32_t pd = AllocPd(), cq = CreateCq().handle;
  for (const auto type : {IB_UVERBS_QPT_UC, IB_UVERBS_QPT_UD}) {
    auto request = QpRequest(pd, cq);
    request.qp_type = static_cast<uint8_t>(type);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), EOPNOTSUPP);
  }
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, QpRequest(pd, cq), 64), 0);
  EXPECT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_ON_DEMAND, kPage), EINVAL);
  EXPECT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_FLUSH_GLOBAL, kPage), EINVAL);
  const ib_uverbs_sge sge = {kPage, 1, 0};
  ASSERT_TRUE(task_.user.Write(kDriverOut, sge));
  EXPECT_EQ(Ioctl(UVERBS_OBJECT_MR, UVERBS_METHOD_ADVISE_MR,
                  {Attr(UVERBS_ATTR_ADVISE_MR_PD_HANDLE, 0, pd), Attr(UVERBS_ATTR_ADVISE_MR_ADVICE, 8, 77),
                   Attr(UVERBS_ATTR_ADVISE_MR_FLAGS, 4, 0), Attr(UVERBS_ATTR_ADVISE_MR_SGE_LIST, 16, kDriverOut)}),
            EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::infiniband
