// SPDX-License-Identifier: Apache-2.0
// Every struct, offset and number of uapi/rdma_cm.h against the system's kernel headers. Nearly all of it is checked
// when this file compiles.
#include <gtest/gtest.h>
#include <linux/types.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "uapi/flex_array.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <rdma/rdma_user_cm.h>
#pragma GCC diagnostic pop

#include "uapi/parity.h"
#include "uapi/rdma_cm.h"

namespace {

static_assert(cw::kRdmaUserCmAbiVersion == RDMA_USER_CM_ABI_VERSION);
static_assert(cw::kRdmaMaxPrivateData == RDMA_MAX_PRIVATE_DATA);
static_assert(cw::kAfIb == AF_IB);
static_assert(sizeof(cw::sockaddr_in6_bytes) == sizeof(struct sockaddr_in6));
static_assert(sizeof(cw::sockaddr_storage_bytes) == sizeof(struct __kernel_sockaddr_storage));
static_assert(sizeof(cw::sockaddr_ib) == 48);  // rdma/ib.h, a kernel header

VALUE(RDMA_USER_CM_CMD_CREATE_ID);
VALUE(RDMA_USER_CM_CMD_CONNECT);
VALUE(RDMA_USER_CM_CMD_INIT_QP_ATTR);
VALUE(RDMA_USER_CM_CMD_GET_EVENT);
VALUE(RDMA_USER_CM_CMD_SET_OPTION);
VALUE(RDMA_USER_CM_CMD_MIGRATE_ID);
VALUE(RDMA_USER_CM_CMD_JOIN_MCAST);
VALUE(RDMA_PS_IPOIB);
VALUE(RDMA_PS_IB);
VALUE(RDMA_PS_TCP);
VALUE(RDMA_PS_UDP);
VALUE(RDMA_USER_CM_QUERY_ADDR);
VALUE(RDMA_USER_CM_QUERY_PATH);
VALUE(RDMA_USER_CM_QUERY_GID);
VALUE(IB_PATH_GMP);
VALUE(IB_PATH_PRIMARY);
VALUE(IB_PATH_BIDIRECTIONAL);
VALUE(RDMA_MC_JOIN_FLAG_FULLMEMBER);
VALUE(RDMA_MC_JOIN_FLAG_SENDONLY_FULLMEMBER);
VALUE(RDMA_OPTION_ID);
VALUE(RDMA_OPTION_IB);
VALUE(RDMA_OPTION_ID_TOS);
VALUE(RDMA_OPTION_ID_REUSEADDR);
VALUE(RDMA_OPTION_ID_AFONLY);
VALUE(RDMA_OPTION_ID_ACK_TIMEOUT);
VALUE(RDMA_OPTION_IB_PATH);

SIZE(rdma_ucm_cmd_hdr);
F3(rdma_ucm_cmd_hdr, cmd, in, out);
SIZE(rdma_ucm_create_id);
F4(rdma_ucm_create_id, uid, response, ps, qp_type);
SIZE(rdma_ucm_create_id_resp);
SIZE(rdma_ucm_destroy_id);
F2(rdma_ucm_destroy_id, response, id);
SIZE(rdma_ucm_bind_ip);
F3(rdma_ucm_bind_ip, response, addr, id);
SIZE(rdma_ucm_bind);
F4(rdma_ucm_bind, id, addr_size, reserved, addr);
SIZE(rdma_ucm_resolve_ip);
F4(rdma_ucm_resolve_ip, src_addr, dst_addr, id, timeout_ms);
SIZE(rdma_ucm_resolve_addr);
F6(rdma_ucm_resolve_addr, id, timeout_ms, src_size, dst_size, src_addr, dst_addr);
SIZE(rdma_ucm_resolve_route);
SIZE(rdma_ucm_query);
F3(rdma_ucm_query, response, id, option);
SIZE(ib_path_rec_data);
F2(ib_path_rec_data, flags, path_rec);
SIZE(ib_user_path_rec);
F8(ib_user_path_rec, dgid, sgid, dlid, slid, raw_traffic, flow_label, reversible, mtu);
F8(ib_user_path_rec, pkey, hop_limit, traffic_class, numb_path, sl, mtu_selector, rate_selector, rate);
F3(ib_user_path_rec, packet_life_time_selector, packet_life_time, preference);
SIZE(rdma_ucm_query_route_resp);
F6(rdma_ucm_query_route_resp, node_guid, ib_route, src_addr, dst_addr, num_paths, port_num);
FIELD(rdma_ucm_query_route_resp, ibdev_index);
SIZE(rdma_ucm_query_addr_resp);
F8(rdma_ucm_query_addr_resp, node_guid, port_num, pkey, src_size, dst_size, src_addr, dst_addr, ibdev_index);
static_assert(sizeof(cw::rdma_ucm_query_path_resp) == offsetof(struct ::rdma_ucm_query_path_resp, path_data));
SIZE(rdma_ucm_conn_param);
F8(rdma_ucm_conn_param, qp_num, qkey, private_data, private_data_len, srq, responder_resources, initiator_depth,
   flow_control);
F3(rdma_ucm_conn_param, retry_count, rnr_retry_count, valid);
SIZE(rdma_ucm_ud_param);
F4(rdma_ucm_ud_param, qp_num, qkey, ah_attr, private_data);
FIELD(rdma_ucm_ud_param, private_data_len);
SIZE(rdma_ucm_ece);
SIZE(rdma_ucm_connect);
F3(rdma_ucm_connect, conn_param, id, ece);
SIZE(rdma_ucm_listen);
SIZE(rdma_ucm_accept);
F4(rdma_ucm_accept, uid, conn_param, id, ece);
SIZE(rdma_ucm_reject);
F4(rdma_ucm_reject, id, private_data_len, reason, private_data);
SIZE(rdma_ucm_disconnect);
SIZE(rdma_ucm_init_qp_attr);
F3(rdma_ucm_init_qp_attr, response, id, qp_state);
SIZE(rdma_ucm_notify);
SIZE(rdma_ucm_join_ip_mcast);
F4(rdma_ucm_join_ip_mcast, response, uid, addr, id);
SIZE(rdma_ucm_join_mcast);
F6(rdma_ucm_join_mcast, response, uid, id, addr_size, join_flags, addr);
SIZE(rdma_ucm_get_event);
SIZE(rdma_ucm_event_resp);
F6(rdma_ucm_event_resp, uid, id, event, status, param, ece);
SIZE(rdma_ucm_set_option);
F4(rdma_ucm_set_option, optval, id, level, optname);
SIZE(rdma_ucm_migrate_id);
F3(rdma_ucm_migrate_id, response, id, fd);
SIZE(rdma_ucm_migrate_resp);
SIZE(ib_uverbs_qp_attr);
F8(ib_uverbs_qp_attr, qp_attr_mask, qp_state, cur_qp_state, path_mtu, path_mig_state, qkey, rq_psn, sq_psn);
F8(ib_uverbs_qp_attr, dest_qp_num, qp_access_flags, ah_attr, alt_ah_attr, max_send_wr, max_inline_data, pkey_index,
   alt_pkey_index);
F8(ib_uverbs_qp_attr, en_sqd_async_notify, max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout,
   retry_cnt, rnr_retry);

// verbs.md 9: sizes that clients send.
TEST(RdmaCmParity, Sizes) {
  EXPECT_EQ(sizeof(cw::rdma_ucm_event_resp), 336u);
  EXPECT_EQ(sizeof(cw::rdma_ucm_query_addr_resp), 288u - 8);
  EXPECT_EQ(sizeof(cw::rdma_ucm_query_route_resp), 208u);
  EXPECT_EQ(sizeof(cw::ib_uverbs_qp_attr), 144u);
}

}  // namespace
