// SPDX-License-Identifier: Apache-2.0
// Queue pairs through the commands: grants, MODIFY_QP's order of checks, QUERY_QP (specs: verbs 2.4, 4.2, 5.1).
#include <linux/capability.h>

#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class QpCommands : public UverbsBench {
 protected:
  QpCommands() {
    GetContext();
    pd_ = AllocPd();
    cq_ = CreateCq().handle;
    qp_ = CreateQp(pd_, cq_);
    handle_ = qp_.core.qp_handle;
  }
  int ModifyWith(uint32_t mask, ib_qp_state state, auto change) {
    auto request = GoodAttributes(handle_, mask, state);
    change(request);
    return Modify(request);
  }
  void MoveTo(ib_qp_state state) {
    ASSERT_EQ(Modify(GoodAttributes(handle_, IB_QP_STATE, IB_QPS_RESET)), 0);
    const std::pair<ib_qp_state, uint32_t> steps[] = {
        {IB_QPS_INIT, kToInit}, {IB_QPS_RTR, kToRtr}, {IB_QPS_RTS, kToRts}, {IB_QPS_SQD, IB_QP_STATE}};
    if (state == IB_QPS_ERR) {
      ASSERT_EQ(Modify(GoodAttributes(handle_, kToInit, IB_QPS_INIT)), 0);
      ASSERT_EQ(Modify(GoodAttributes(handle_, IB_QP_STATE, IB_QPS_ERR)), 0);
      return;
    }
    for (const auto& [next, mask] : steps) {
      if (next > state) return;
      ASSERT_EQ(Modify(GoodAttributes(handle_, mask, next)), 0) << next;
    }
  }
  uint32_t pd_ = 0, cq_ = 0, handle_ = 0;
  QpMade qp_ = {};
};
using ModifyQpCmd = ib_uverbs_modify_qp;

TEST_F(QpCommands, GrantsAreWhatRxeGives) {  // 4.2
  EXPECT_EQ(nics_->qp(qp_.core.qpn).qpn, qp_.core.qpn);
  EXPECT_GE(qp_.core.qpn, roce::kFirstQpn);
  EXPECT_EQ(qp_.core.max_send_wr, 16u);
  EXPECT_EQ(qp_.core.max_send_sge, 4u);
  EXPECT_EQ(qp_.core.max_inline_data, 64u);
  auto request = QpRequest(pd_, cq_);
  request.max_send_sge = 1;
  request.max_inline_data = 100;
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 64), 0);
  EXPECT_EQ(Response<ib_uverbs_create_qp_resp>().max_send_sge, 6u);
  EXPECT_EQ(Response<ib_uverbs_create_qp_resp>().max_inline_data, 100u);
  const auto* sq = reinterpret_cast<const rxe_queue_buf*>(arena_ + nics_->qp(qp_.core.qpn).sq.offset);
  const auto* rq = reinterpret_cast<const rxe_queue_buf*>(arena_ + nics_->qp(qp_.core.qpn).rq.offset);
  EXPECT_EQ(sq->index_mask, 31u);
  EXPECT_EQ(1u << sq->log2_elem_size, 512u);
  EXPECT_EQ(rq->index_mask, 31u);
  EXPECT_EQ(1u << rq->log2_elem_size, 128u);
  const auto attr = QueryQp(handle_);
  EXPECT_EQ(attr.max_send_wr, 31u);
  EXPECT_EQ(attr.max_recv_wr, 31u);
  // A doorbell finds the QP by these.
  EXPECT_EQ(nics_->qp(qp_.core.qpn).owner_file, file_->id());
  EXPECT_EQ(nics_->qp(qp_.core.qpn).handle, handle_);
}

TEST_F(QpCommands, ModifyErrnoTable) {
  const uint32_t av = IB_QP_AV;
  const struct {
    const char* name;
    ib_qp_state from;
    uint32_t mask;
    ib_qp_state to;
    void (*change)(ModifyQpCmd&);
    int want;
  } cases[] = {
      {"unknown mask bit", IB_QPS_RESET, kToInit | 1u << 21, IB_QPS_INIT, [](ModifyQpCmd&) {}, EOPNOTSUPP},
      {"no such QP", IB_QPS_RESET, kToInit, IB_QPS_INIT, [](ModifyQpCmd& r) { r.qp_handle = 99; }, ENOENT},
      {"port 0", IB_QPS_RESET, kToInit, IB_QPS_INIT, [](ModifyQpCmd& r) { r.port_num = 0; }, EINVAL},
      {"port 2", IB_QPS_RESET, kToInit, IB_QPS_INIT, [](ModifyQpCmd& r) { r.port_num = 2; }, EINVAL},
      {"state beyond ERR", IB_QPS_RESET, IB_QP_STATE, IB_QPS_ERR, [](ModifyQpCmd& r) { r.qp_state = 7; }, EINVAL},
      {"any pkey index", IB_QPS_RESET, kToInit, IB_QPS_INIT, [](ModifyQpCmd& r) { r.pkey_index = 500; }, 0},
      {"any access flag", IB_QPS_RESET, kToInit, IB_QPS_INIT, [](ModifyQpCmd& r) { r.qp_access_flags = ~0u; }, 0},
      {"illegal transition", IB_QPS_RESET, kToRts, IB_QPS_RTS, [](ModifyQpCmd&) {}, EINVAL},
      {"RESET to ERR", IB_QPS_RESET, IB_QP_STATE, IB_QPS_ERR, [](ModifyQpCmd&) {}, EINVAL},
      {"QKEY with bit 31", IB_QPS_INIT, IB_QP_QKEY, IB_QPS_INIT, [](ModifyQpCmd& r) { r.qkey = 0x80000000; }, EPERM},
      {"QKEY is not RC's", IB_QPS_INIT, IB_QP_QKEY, IB_QPS_INIT, [](ModifyQpCmd&) {}, EINVAL},
      {"to RTR", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd&) {}, 0},
      {"no GRH", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.dest.is_global = 0; }, EINVAL},
      {"AV port", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.dest.port_num = 2; }, EINVAL},
      {"empty sgid index", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.dest.sgid_index = 200; }, ENODATA},
      {"unknown address", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.dest.dgid[15] ^= 0x55; }, ETIMEDOUT},
      {"address is looked for before the mask", IB_QPS_INIT, kToRtr & ~uint32_t{IB_QP_PATH_MTU}, IB_QPS_RTR,
       [](ModifyQpCmd& r) { r.dest.dgid[15] ^= 0x55; }, ETIMEDOUT},
      {"IPv4 from an IPv6 source", IB_QPS_INIT, kToRtr, IB_QPS_RTR,
       [](ModifyQpCmd& r) {
         std::memset(r.dest.dgid, 0, 10);
         r.dest.dgid[10] = r.dest.dgid[11] = 0xff;
         r.dest.dgid[12] = 10;
       },
       EINVAL},
      {"multicast", IB_QPS_INIT, kToRtr, IB_QPS_RTR,
       [](ModifyQpCmd& r) {
         r.dest.dgid[0] = 0xff;
         r.dest.dgid[1] = 0x0e;
       },
       0},
      {"path MTU 0", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.path_mtu = 0; }, 0},
      {"path MTU 6", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.path_mtu = 6; }, EINVAL},
      {"max_dest_rd_atomic", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.max_dest_rd_atomic = 200; }, 0},
      {"min_rnr_timer", IB_QPS_INIT, kToRtr, IB_QPS_RTR, [](ModifyQpCmd& r) { r.min_rnr_timer = 77; }, 0},
      {"alternate path", IB_QPS_INIT, kToRtr | IB_QP_ALT_PATH, IB_QPS_RTR,
       [](ModifyQpCmd& r) {
         r.alt_dest = r.dest;
         r.alt_port_num = 1;
       },
       EINVAL},
      {"missing attribute", IB_QPS_INIT, kToRtr & ~uint32_t{IB_QP_DEST_QPN}, IB_QPS_RTR, [](ModifyQpCmd&) {}, EINVAL},
      {"to RTS", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd&) {}, 0},
      {"timeout 31", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd& r) { r.timeout = 31; }, 0},
      {"timeout 32", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd& r) { r.timeout = 32; }, EINVAL},
      {"max_rd_atomic 128", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd& r) { r.max_rd_atomic = 128; }, 0},
      {"max_rd_atomic 129", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd& r) { r.max_rd_atomic = 129; }, EINVAL},
      {"retry counts", IB_QPS_RTR, kToRts, IB_QPS_RTS, [](ModifyQpCmd& r) { r.retry_cnt = r.rnr_retry = 99; }, 0},
      {"RTR to RTR", IB_QPS_RTR, IB_QP_STATE, IB_QPS_RTR, [](ModifyQpCmd&) {}, EINVAL},
      {"wrong current state", IB_QPS_RTR, kToRts | IB_QP_CUR_STATE, IB_QPS_RTS,
       [](ModifyQpCmd& r) { r.cur_qp_state = IB_QPS_INIT; }, EINVAL},
      {"current state beyond ERR", IB_QPS_RTR, kToRts | IB_QP_CUR_STATE, IB_QPS_RTS,
       [](ModifyQpCmd& r) { r.cur_qp_state = 7; }, EINVAL},
      {"right current state", IB_QPS_RTR, kToRts | IB_QP_CUR_STATE, IB_QPS_RTS,
       [](ModifyQpCmd& r) { r.cur_qp_state = IB_QPS_RTR; }, 0},
      {"empty mask in RTS", IB_QPS_RTS, 0, IB_QPS_RESET, [](ModifyQpCmd&) {}, 0},
      {"AV in RTS", IB_QPS_RTS, av, IB_QPS_RTS, [](ModifyQpCmd&) {}, EINVAL},
      {"AV in SQD", IB_QPS_SQD, av, IB_QPS_SQD, [](ModifyQpCmd&) {}, 0},
      {"AV and another port in SQD", IB_QPS_SQD, av | IB_QP_PORT, IB_QPS_SQD, [](ModifyQpCmd& r) { r.port_num = 2; },
       EINVAL},
      {"back from SQD", IB_QPS_SQD, IB_QP_STATE, IB_QPS_RTS, [](ModifyQpCmd&) {}, 0},
      {"capacity", IB_QPS_RTS, IB_QP_CAP, IB_QPS_RTS, [](ModifyQpCmd&) {}, EINVAL},
      {"ERR to INIT", IB_QPS_ERR, kToInit, IB_QPS_INIT, [](ModifyQpCmd&) {}, EINVAL},
      {"ERR to ERR", IB_QPS_ERR, IB_QP_STATE, IB_QPS_ERR, [](ModifyQpCmd&) {}, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    MoveTo(c.from);
    EXPECT_EQ(ModifyWith(c.mask, c.to, c.change), c.want);
    const bool moves = c.want == 0 && (c.mask & IB_QP_STATE) != 0;
    EXPECT_EQ(QueryQp(handle_).qp_state, moves ? c.to : c.from);
  }
  task_.capabilities.insert(CAP_NET_RAW);
  MoveTo(IB_QPS_INIT);
  EXPECT_EQ(ModifyWith(IB_QP_QKEY, IB_QPS_INIT, [](ModifyQpCmd& r) { r.qkey = 0x80000000; }),
            EINVAL);  // then only not RC's
}

TEST_F(QpCommands, QueryShowsWhatWasSetRounded) {
  ToRts(handle_, 4711);
  auto request = GoodAttributes(handle_, IB_QP_STATE, IB_QPS_RESET);
  ASSERT_EQ(Modify(request), 0);
  ASSERT_EQ(ModifyWith(kToInit, IB_QPS_INIT, [](ModifyQpCmd&) {}), 0);
  ASSERT_EQ(ModifyWith(kToRtr, IB_QPS_RTR,
                       [](ModifyQpCmd& r) {
                         r.max_dest_rd_atomic = 5;
                         r.rq_psn = 0xff123456;
                       }),
            0);
  ASSERT_EQ(ModifyWith(kToRts | IB_QP_CUR_STATE, IB_QPS_RTS,
                       [](ModifyQpCmd& r) {
                         r.max_rd_atomic = 3;
                         r.cur_qp_state = IB_QPS_RTR;
                       }),
            0);
  const auto attr = QueryQp(handle_);
  EXPECT_EQ(attr.qp_state, IB_QPS_RTS);
  EXPECT_EQ(attr.cur_qp_state, IB_QPS_RTS);  // the target of the call that carried CUR_STATE
  EXPECT_EQ(attr.max_rd_atomic, 4);
  EXPECT_EQ(attr.max_dest_rd_atomic, 8);
  EXPECT_EQ(attr.rq_psn, 0x123456u);
  EXPECT_EQ(attr.sq_psn, 0x654321u);
  EXPECT_EQ(attr.path_mtu, 3);
  EXPECT_EQ(attr.timeout, 14);
  EXPECT_EQ(attr.dest_qp_num, 17u);
  EXPECT_EQ(attr.port_num, 1);
  EXPECT_EQ(attr.dest.hop_limit, 64);
  EXPECT_EQ(attr.dest.is_global, 1);
  EXPECT_EQ(std::memcmp(attr.dest.dgid, device().gids().filled()[0].gid.data(), 16), 0);
  const roce::QpContext& context = nics_->qp(qp_.core.qpn);
  EXPECT_EQ(context.path_mtu_bytes, 1024u);
  EXPECT_EQ(context.dest_qpn, 17u);
  EXPECT_EQ(context.retry_count, 7);
  EXPECT_EQ(context.av.dest_nic, device().nic());
}

// Both NICs stand on one net device, so its addresses are GIDs of both: the destination QPN says which is meant.
TEST_F(QpCommands, AnAddressThatTwoNicsShareIsResolvedByTheDestinationQp) {
  ASSERT_GE(device(0).gids().filled().size(), 2u);
  const Gid shared = device(0).gids().filled()[1].gid;
  ASSERT_TRUE(device(1).gids().Holds(shared));
  const Ref<UverbsFile> first = file_;
  Open(1);
  GetContext();
  const auto peer = CreateQp(AllocPd(), CreateCq().handle);
  const Ref<UverbsFile> second = std::exchange(file_, first);
  const auto to_shared = [&](uint32_t qpn) {
    EXPECT_EQ(Modify(GoodAttributes(handle_, IB_QP_STATE, IB_QPS_RESET)), 0);
    EXPECT_EQ(Modify(GoodAttributes(handle_, kToInit, IB_QPS_INIT)), 0);
    EXPECT_EQ(ModifyWith(kToRtr, IB_QPS_RTR,
                         [&](ModifyQpCmd& r) {
                           std::ranges::copy(shared, r.dest.dgid);
                           r.dest.sgid_index = 1;
                           r.dest_qp_num = qpn;
                         }),
              0);
    return nics_->qp(qp_.core.qpn).av.dest_nic;
  };
  EXPECT_EQ(to_shared(peer.core.qpn), device(1).nic());
  EXPECT_EQ(to_shared(qp_.core.qpn), device(0).nic());
  EXPECT_EQ(to_shared(0xfffff), device(0).nic());  // nobody: itself
}

TEST_F(QpCommands, EveryPairOfStatesThroughTheCommand) {  // the matrix of 5.1, RC, with minimal masks
  constexpr ib_qp_state kAll[] = {IB_QPS_RESET, IB_QPS_INIT, IB_QPS_RTR, IB_QPS_RTS,
                                  IB_QPS_SQD,   IB_QPS_SQE,  IB_QPS_ERR};
  const uint32_t masks[7] = {IB_QP_STATE, kToInit, kToRtr, kToRts, IB_QP_STATE, IB_QP_STATE, IB_QP_STATE};
  for (const ib_qp_state from : {IB_QPS_RESET, IB_QPS_INIT, IB_QPS_RTR, IB_QPS_RTS, IB_QPS_SQD, IB_QPS_ERR}) {
    for (const ib_qp_state to : kAll) {
      SCOPED_TRACE(std::to_string(from) + " -> " + std::to_string(to));
      MoveTo(from);
      uint32_t mask = masks[to];
      if (from == to && to != IB_QPS_RTR) mask = IB_QP_STATE;  // X -> X needs nothing where it is allowed
      if (from == IB_QPS_SQD && to == IB_QPS_RTS) mask = IB_QP_STATE;
      const bool want = to == IB_QPS_RESET || (to == IB_QPS_ERR && from != IB_QPS_RESET) ||
                        (to == IB_QPS_INIT && from <= IB_QPS_INIT) || (to == IB_QPS_RTR && from == IB_QPS_INIT) ||
                        (to == IB_QPS_RTS && from >= IB_QPS_RTR && from <= IB_QPS_SQD) ||
                        (to == IB_QPS_SQD && (from == IB_QPS_RTS || from == IB_QPS_SQD));
      EXPECT_EQ(Modify(GoodAttributes(handle_, mask, to)), want ? 0 : EINVAL);
    }
  }
}

}  // namespace
}  // namespace causeway::infiniband
