// SPDX-License-Identifier: Apache-2.0
// Connections: linux v6.1 drivers/infiniband/core/cma.c and cm.c; verbs.md 9.2 to 9.4.
#include "drivers/rdma_cm/test_bench.h"

namespace causeway::rdma_cm {
namespace {

using namespace std::chrono_literals;

std::string Data(const rdma_ucm_conn_param& param) { return reinterpret_cast<const char*>(param.private_data); }

class Connect : public CmBench {};

// rping: the whole life of a connection, and what each event carries.
TEST_F(Connect, RcFromRequestToTimewait) {
  const Ready ready = Prepare();
  rdma_ucm_conn_param param = Program::Param(17, "hello");
  param.responder_resources = 4;
  param.initiator_depth = 2;
  param.retry_count = 9;  // three bits: 7
  param.rnr_retry_count = 5;
  param.flow_control = 1;
  ASSERT_EQ(client_.Connect(ready.client, param), 0);
  client_.ExpectNoEvent();

  const auto request = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST);
  EXPECT_EQ(request.uid, 500u);  // the listener's
  EXPECT_NE(request.id, ready.listener);
  EXPECT_EQ(request.param.conn.private_data_len, 56);
  EXPECT_EQ(Data(request.param.conn), "hello");
  EXPECT_EQ(request.param.conn.qp_num, 17u);
  EXPECT_EQ(request.param.conn.responder_resources, 2);  // seen from here
  EXPECT_EQ(request.param.conn.initiator_depth, 4);
  EXPECT_EQ(request.param.conn.retry_count, 7);
  EXPECT_EQ(request.param.conn.rnr_retry_count, 5);
  EXPECT_EQ(request.param.conn.flow_control, 1);

  rdma_ucm_conn_param answer = Program::Param(18, "there");
  answer.responder_resources = 2;
  answer.initiator_depth = 1;
  ASSERT_EQ(server_.Accept(request.id, answer, 700), 0);
  const auto response = client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
  EXPECT_EQ(response.uid, 600u);
  EXPECT_EQ(response.param.conn.private_data_len, 196);
  EXPECT_EQ(Data(response.param.conn), "there");
  EXPECT_EQ(response.param.conn.qp_num, 18u);
  EXPECT_EQ(response.param.conn.responder_resources, 1);
  EXPECT_EQ(response.param.conn.initiator_depth, 2);
  server_.ExpectNoEvent();

  ASSERT_EQ(client_.Accept(ready.client, {}), 0);  // RTU
  const auto established = server_.Expect(RDMA_CM_EVENT_ESTABLISHED);
  EXPECT_EQ(established.uid, 700u);
  EXPECT_EQ(established.id, request.id);
  client_.ExpectNoEvent();  // its library makes that event

  ASSERT_EQ(client_.Disconnect(ready.client), 0);
  server_.Expect(RDMA_CM_EVENT_DISCONNECTED);
  client_.ExpectNoEvent();  // until the server answers
  EXPECT_EQ(client_.Disconnect(ready.client), 0);
  ASSERT_EQ(server_.Disconnect(request.id), 0);
  client_.Expect(RDMA_CM_EVENT_DISCONNECTED);
  timers_.Pass(2047ms);
  client_.ExpectNoEvent();
  timers_.Pass(1ms);  // 4.096 us << 19, as cm_convert_to_ms() counts
  client_.Expect(RDMA_CM_EVENT_TIMEWAIT_EXIT);
  server_.Expect(RDMA_CM_EVENT_TIMEWAIT_EXIT);
  EXPECT_EQ(client_.Destroy(ready.client), 5);
  EXPECT_EQ(server_.Destroy(request.id), 3);
  EXPECT_EQ(server_.Destroy(ready.listener), 1);
}

// ib_cm_init_qp_attr(): masks and values of verbs.md 9.4.
TEST_F(Connect, QpAttributes) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.InitQpAttr(ready.client, IB_QPS_INIT), 0);
  auto attr = client_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.qp_attr_mask, 0x39u);
  EXPECT_EQ(attr.qp_access_flags, 0u);
  EXPECT_EQ(attr.port_num, 1);
  ASSERT_EQ(client_.InitQpAttr(ready.client, IB_QPS_RTR), 0);  // no CM yet
  attr = client_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.qp_attr_mask, 0x39u);
  const uint32_t client_psn = attr.rq_psn;

  rdma_ucm_conn_param param = Program::Param(17);
  param.responder_resources = 4;
  param.initiator_depth = 2;
  param.retry_count = 6;
  param.rnr_retry_count = 3;
  ASSERT_EQ(client_.Connect(ready.client, param), 0);
  EXPECT_EQ(client_.InitQpAttr(ready.client, IB_QPS_RTR), EINVAL);  // no REP yet
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;

  ASSERT_EQ(server_.InitQpAttr(conn, IB_QPS_INIT), 0);
  attr = server_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.qp_attr_mask, 0x39u);
  EXPECT_EQ(attr.qp_access_flags, 2u | 4 | 8);
  ASSERT_EQ(server_.InitQpAttr(conn, IB_QPS_RTR), 0);
  attr = server_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.qp_attr_mask, 0x129181u);
  EXPECT_EQ(attr.dest_qp_num, 17u);
  EXPECT_EQ(attr.path_mtu, 3u);
  EXPECT_EQ(attr.max_dest_rd_atomic, 2);
  EXPECT_EQ(attr.min_rnr_timer, 0);
  EXPECT_EQ(attr.ah_attr.is_global, 1);
  EXPECT_EQ(attr.ah_attr.port_num, 1);
  EXPECT_EQ(attr.ah_attr.grh.sgid_index, 1);
  EXPECT_EQ(attr.ah_attr.grh.hop_limit, 64);
  EXPECT_TRUE(std::ranges::equal(attr.ah_attr.grh.dgid, At("10.7.0.2").gid()));
  const uint32_t server_psn = attr.rq_psn;
  ASSERT_EQ(server_.InitQpAttr(conn, IB_QPS_RTS), 0);
  attr = server_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.qp_attr_mask, 0x12e01u);
  EXPECT_EQ(attr.sq_psn, client_psn);  // the PSN that the peer expects
  EXPECT_EQ(attr.timeout, 19);
  EXPECT_EQ(attr.retry_cnt, 6);
  EXPECT_EQ(attr.rnr_retry, 3);
  EXPECT_EQ(attr.max_rd_atomic, 4);

  ASSERT_EQ(server_.Accept(conn, Program::Param(18), 700), 0);
  client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
  ASSERT_EQ(client_.InitQpAttr(ready.client, IB_QPS_RTR), 0);
  attr = client_.Out<ib_uverbs_qp_attr>();
  EXPECT_EQ(attr.dest_qp_num, 18u);
  EXPECT_EQ(attr.rq_psn, client_psn);
  ASSERT_EQ(client_.InitQpAttr(ready.client, IB_QPS_RTS), 0);
  EXPECT_EQ(client_.Out<ib_uverbs_qp_attr>().sq_psn, server_psn);
  EXPECT_EQ(client_.InitQpAttr(ready.client, IB_QPS_SQD), EINVAL);
  EXPECT_EQ(client_.InitQpAttr(ready.client, 7), EINVAL);
}

TEST_F(Connect, AckTimeoutOptionIsTheQpsTimeout) {
  const Ready ready = Prepare();
  const uint32_t id = client_.Create();
  ASSERT_TRUE(client_.task.user.Write(Program::kOut, uint8_t{14}));
  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION,
                       rdma_ucm_set_option{Program::kOut, id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, 1}),
            0);
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2", kPort)), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  ASSERT_EQ(client_.Route(id), 0);
  client_.Expect(RDMA_CM_EVENT_ROUTE_RESOLVED);
  ASSERT_EQ(client_.Connect(id, Program::Param(17)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  ASSERT_EQ(server_.Accept(conn, Program::Param(18), 700), 0);
  client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
  ASSERT_EQ(client_.InitQpAttr(id, IB_QPS_RTS), 0);
  EXPECT_EQ(client_.Out<ib_uverbs_qp_attr>().timeout, 14);
  (void)ready;
}

TEST_F(Connect, RejectCarriesReasonAndPrivateData) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  EXPECT_EQ(server_.Reject(conn, "no", 27), EINVAL);
  ASSERT_EQ(server_.Reject(conn, "no"), 0);
  const auto rejected = client_.Expect(RDMA_CM_EVENT_REJECTED, 28);
  EXPECT_EQ(rejected.param.conn.private_data_len, 148);
  EXPECT_EQ(Data(rejected.param.conn), "no");
  EXPECT_EQ(server_.Reject(conn), EINVAL);                         // once
  EXPECT_EQ(server_.Accept(conn, Program::Param(18), 7), EINVAL);  // it is over
  EXPECT_EQ(client_.Connect(ready.client, Program::Param(17)), EINVAL);
}

TEST_F(Connect, NobodyListens) {
  const uint32_t id = Routed();
  ASSERT_EQ(client_.Connect(id, Program::Param(17)), 0);
  client_.Expect(RDMA_CM_EVENT_REJECTED, 8);
}

// cma_find_listener(): somebody has the port, but not for this address or type.
TEST_F(Connect, ListenerForAnotherAddress) {
  const uint32_t listener = server_.Create();
  ASSERT_EQ(server_.Bind(listener, At("fd00::2", kPort)), 0);
  ASSERT_EQ(server_.Listen(listener), 0);
  const uint32_t id = Routed();
  ASSERT_EQ(client_.Connect(id, Program::Param(17)), 0);
  client_.Expect(RDMA_CM_EVENT_REJECTED, 28);
}

TEST_F(Connect, ListenerOfOneNicIsNotReachedThroughTheOther) {
  const Ready ready = Prepare(RDMA_PS_TCP, "10.7.0.2", "10.7.1.2");
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  client_.Expect(RDMA_CM_EVENT_REJECTED, 8);
  server_.ExpectNoEvent();
}

TEST_F(Connect, V6ToWildcard) {
  const Ready ready = Prepare(RDMA_PS_TCP, "::", "fd00::2");
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST);
}

// A wildcard of IPv6 takes IPv4 too unless told otherwise; one of IPv4 never takes IPv6 (rdma_bind_addr_dst(): afonly).
TEST_F(Connect, WildcardFamilies) {
  const Ready v4 = Prepare(RDMA_PS_TCP, "::", "10.7.0.2");
  ASSERT_EQ(client_.Connect(v4.client, Program::Param(17)), 0);
  server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST);
  server_.Destroy(v4.listener);
  const Ready v6 = Prepare(RDMA_PS_TCP, "0.0.0.0", "fd00::2");
  ASSERT_EQ(client_.Connect(v6.client, Program::Param(19)), 0);
  client_.Expect(RDMA_CM_EVENT_REJECTED, 28);
}

// ucma_connect_event_handler(): a request that finds the backlog full is not answered; it is repeated, and heard when
// there is room, or ends as unreachable.
TEST_F(Connect, BacklogFull) {
  const uint32_t listener = server_.Create(RDMA_PS_TCP, 500);
  ASSERT_EQ(server_.Bind(listener, At("0.0.0.0", kPort)), 0);
  ASSERT_EQ(server_.Listen(listener, 1), 0);
  const uint32_t first = Routed(), second = Routed();
  ASSERT_EQ(client_.Connect(first, Program::Param(17)), 0);
  ASSERT_EQ(client_.Connect(second, Program::Param(18)), 0);
  EXPECT_EQ(server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).param.conn.qp_num, 17u);
  server_.ExpectNoEvent();
  client_.ExpectNoEvent();
  timers_.Pass(6144ms);  // 2 * (4.096 us << 18) + (4.096 us << 20), as cm_convert_to_ms() counts
  EXPECT_EQ(server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).param.conn.qp_num, 18u);

  const uint32_t third = Routed(), fourth = Routed();
  ASSERT_EQ(client_.Connect(third, Program::Param(19)), 0);
  ASSERT_EQ(client_.Connect(fourth, Program::Param(20)), 0);
  timers_.Pass(16 * 6144ms - 1ms);
  client_.ExpectNoEvent();
  timers_.Pass(1ms);
  EXPECT_EQ(client_.Expect(RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT).id, fourth);
}

// A request that the program thinks about is kept alive by MRAs: 68 seconds a time.
TEST_F(Connect, SlowServerIsWaitedFor) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  timers_.Pass(600s);
  client_.ExpectNoEvent();
  server_.ExpectNoEvent();
  ASSERT_EQ(server_.Accept(conn, Program::Param(18), 700), 0);
  client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
}

// cm_process_send_error(): a DREQ whose receiver never answers.
TEST_F(Connect, DisconnectWithoutAnswer) {
  const Connected connected = Establish();
  ASSERT_EQ(client_.Disconnect(connected.client), 0);
  server_.Expect(RDMA_CM_EVENT_DISCONNECTED);
  timers_.Pass(16 * 6144ms - 1ms);
  client_.ExpectNoEvent();
  timers_.Pass(1ms);
  client_.Expect(RDMA_CM_EVENT_DISCONNECTED, -ETIMEDOUT);
}

TEST_F(Connect, BothDisconnectAtOnce) {
  const Connected connected = Establish();
  ASSERT_EQ(client_.Disconnect(connected.client), 0);
  ASSERT_EQ(server_.Disconnect(connected.server), 0);
  server_.Expect(RDMA_CM_EVENT_DISCONNECTED);
  client_.Expect(RDMA_CM_EVENT_DISCONNECTED);
}

// NOTIFY: COMM_EST came before the RTU.
TEST_F(Connect, CommEst) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  const auto notify = [&](uint32_t event) { return server_.Do(RDMA_USER_CM_CMD_NOTIFY, rdma_ucm_notify{conn, event}); };
  EXPECT_EQ(notify(IB_EVENT_COMM_EST), EINVAL);
  ASSERT_EQ(server_.Accept(conn, Program::Param(18), 700), 0);
  EXPECT_EQ(notify(IB_EVENT_SQ_DRAINED), EINVAL);
  ASSERT_EQ(notify(IB_EVENT_COMM_EST), 0);
  server_.Expect(RDMA_CM_EVENT_ESTABLISHED);
  EXPECT_EQ(notify(IB_EVENT_COMM_EST), EISCONN);
  client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
  ASSERT_EQ(client_.Accept(ready.client, {}), 0);
  server_.ExpectNoEvent();  // the RTU says nothing new
}

// cm_match_req(): a QP that the peer has in a connection already.
TEST_F(Connect, StaleConnection) {
  const Connected connected = Establish();
  const uint32_t again = Routed();
  ASSERT_EQ(client_.Connect(again, Program::Param(17)), 0);
  // The server's end of the old connection is told to go, and so is ours.
  EXPECT_EQ(client_.Expect(RDMA_CM_EVENT_REJECTED, 10).id, again);
  EXPECT_EQ(client_.Expect(RDMA_CM_EVENT_DISCONNECTED).id, connected.client);
}

// ---- a program that ends

TEST_F(Connect, ServerEndsWhileEstablished) {
  Establish();
  server_.task.files.clear();
  server_.file.Reset();
  client_.Expect(RDMA_CM_EVENT_DISCONNECTED);
}

TEST_F(Connect, ServerEndsWithRequestUnread) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  server_.task.files.clear();
  server_.file.Reset();
  client_.Expect(RDMA_CM_EVENT_REJECTED, 28);
  EXPECT_EQ(cm_.Count().ids, 1u);
}

TEST_F(Connect, ClientEndsWhileConnecting) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  client_.task.files.clear();
  client_.file.Reset();
  // The new id has no uid yet: only the request is told, and answering it fails.
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  server_.ExpectNoEvent();
  EXPECT_EQ(server_.Accept(conn, Program::Param(18), 700), EINVAL);
}

TEST_F(Connect, ClientEndsBeforeItsRtu) {
  const Ready ready = Prepare();
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  ASSERT_EQ(server_.Accept(conn, Program::Param(18), 700), 0);
  client_.task.files.clear();
  client_.file.Reset();
  server_.Expect(RDMA_CM_EVENT_REJECTED, 28);
}

TEST_F(Connect, ListenerGoesConnectionsStay) {
  const Connected connected = Establish();
  EXPECT_EQ(server_.Destroy(connected.listener), 1);
  server_.ExpectNoEvent();
  ASSERT_EQ(client_.Disconnect(connected.client), 0);
  server_.Expect(RDMA_CM_EVENT_DISCONNECTED);
}

// ---- UD

TEST_F(Connect, Sidr) {
  const Ready ready = Prepare(RDMA_PS_UDP);
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(0, "who")), 0);
  const auto request = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST);
  EXPECT_EQ(request.param.ud.private_data_len, 180);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(request.param.ud.private_data)), "who");
  ASSERT_EQ(server_.InitQpAttr(request.id, IB_QPS_INIT), 0);
  EXPECT_EQ(server_.Out<ib_uverbs_qp_attr>().qp_attr_mask, 0x71u);
  EXPECT_EQ(server_.Out<ib_uverbs_qp_attr>().qkey, 0x01234567u);
  ASSERT_EQ(server_.Accept(request.id, Program::Param(33, "me"), 700), 0);
  server_.ExpectNoEvent();
  const auto established = client_.Expect(RDMA_CM_EVENT_ESTABLISHED);
  EXPECT_EQ(established.param.ud.qp_num, 33u);
  EXPECT_EQ(established.param.ud.qkey, 0x01234567u);
  EXPECT_EQ(established.param.ud.private_data_len, 136);
  EXPECT_EQ(established.param.ud.ah_attr.is_global, 1);
  EXPECT_EQ(established.param.ud.ah_attr.grh.sgid_index, 1);
  EXPECT_EQ(server_.Accept(request.id, Program::Param(33), 700), EINVAL);
}

TEST_F(Connect, SidrRefusals) {
  const Ready ready = Prepare(RDMA_PS_UDP);
  ASSERT_EQ(client_.Connect(ready.client, Program::Param(0)), 0);
  const uint32_t conn = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
  ASSERT_EQ(server_.Reject(conn, "no"), 0);
  client_.Expect(RDMA_CM_EVENT_UNREACHABLE, 2);
  server_.Destroy(ready.listener);
  const uint32_t id = Routed(RDMA_PS_UDP);
  ASSERT_EQ(client_.Connect(id, Program::Param(0)), 0);
  client_.Expect(RDMA_CM_EVENT_UNREACHABLE, 1);
}

TEST_F(Connect, PrivateDataLengths) {
  const struct {
    uint16_t ps;
    size_t size;
    int error;
  } rows[] = {{RDMA_PS_TCP, 56, 0},
              {RDMA_PS_TCP, 57, EINVAL},
              {RDMA_PS_TCP, 255, EINVAL},
              {RDMA_PS_UDP, 180, 0},
              {RDMA_PS_UDP, 181, EINVAL}};
  for (const auto& row : rows) {
    const uint32_t id = Routed(row.ps);
    EXPECT_EQ(client_.Connect(id, Program::Param(17, std::string(row.size, 'x'))), row.error) << row.size;
    if (row.error != 0) {
      EXPECT_EQ(client_.Connect(id, Program::Param(17)), 0);  // its state is as before
    }
    (void)client_.NextEvent();
  }
}

}  // namespace
}  // namespace causeway::rdma_cm
