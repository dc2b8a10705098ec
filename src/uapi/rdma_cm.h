// SPDX-License-Identifier: Apache-2.0
// The rdma_cm uAPI: commands written to /dev/infiniband/rdma_cm and the structs they carry. Names and layouts are those
// of linux include/uapi/rdma/rdma_user_cm.h and ib_user_sa.h; checked against the system's headers in
// rdma_cm_parity_test.cc.
//
//   write():  rdma_ucm_cmd_hdr | request; the response goes to the address in the request
#pragma once

#include <cstddef>
#include <cstdint>

#include "uapi/ib_verbs.h"

namespace causeway::uapi {

constexpr uint32_t kRdmaUserCmAbiVersion = 4;  // RDMA_USER_CM_ABI_VERSION
constexpr size_t kRdmaMaxPrivateData = 256;    // RDMA_MAX_PRIVATE_DATA
constexpr uint16_t kAfIb = 27;                 // AF_IB

enum rdma_ucm_cmds : uint32_t {
  RDMA_USER_CM_CMD_CREATE_ID,
  RDMA_USER_CM_CMD_DESTROY_ID,
  RDMA_USER_CM_CMD_BIND_IP,
  RDMA_USER_CM_CMD_RESOLVE_IP,
  RDMA_USER_CM_CMD_RESOLVE_ROUTE,
  RDMA_USER_CM_CMD_QUERY_ROUTE,
  RDMA_USER_CM_CMD_CONNECT,
  RDMA_USER_CM_CMD_LISTEN,
  RDMA_USER_CM_CMD_ACCEPT,
  RDMA_USER_CM_CMD_REJECT,
  RDMA_USER_CM_CMD_DISCONNECT,
  RDMA_USER_CM_CMD_INIT_QP_ATTR,
  RDMA_USER_CM_CMD_GET_EVENT,
  RDMA_USER_CM_CMD_GET_OPTION,
  RDMA_USER_CM_CMD_SET_OPTION,
  RDMA_USER_CM_CMD_NOTIFY,
  RDMA_USER_CM_CMD_JOIN_IP_MCAST,
  RDMA_USER_CM_CMD_LEAVE_MCAST,
  RDMA_USER_CM_CMD_MIGRATE_ID,
  RDMA_USER_CM_CMD_QUERY,
  RDMA_USER_CM_CMD_BIND,
  RDMA_USER_CM_CMD_RESOLVE_ADDR,
  RDMA_USER_CM_CMD_JOIN_MCAST,
};

enum rdma_ucm_port_space : uint16_t {
  RDMA_PS_IPOIB = 0x0002,
  RDMA_PS_IB = 0x013F,
  RDMA_PS_TCP = 0x0106,
  RDMA_PS_UDP = 0x0111,
};

// rdma/rdma_cma.h, enum rdma_cm_event_type: what rdma_ucm_event_resp::event says.
enum rdma_cm_event_type : uint32_t {
  RDMA_CM_EVENT_ADDR_RESOLVED,
  RDMA_CM_EVENT_ADDR_ERROR,
  RDMA_CM_EVENT_ROUTE_RESOLVED,
  RDMA_CM_EVENT_ROUTE_ERROR,
  RDMA_CM_EVENT_CONNECT_REQUEST,
  RDMA_CM_EVENT_CONNECT_RESPONSE,
  RDMA_CM_EVENT_CONNECT_ERROR,
  RDMA_CM_EVENT_UNREACHABLE,
  RDMA_CM_EVENT_REJECTED,
  RDMA_CM_EVENT_ESTABLISHED,
  RDMA_CM_EVENT_DISCONNECTED,
  RDMA_CM_EVENT_DEVICE_REMOVAL,
  RDMA_CM_EVENT_MULTICAST_JOIN,
  RDMA_CM_EVENT_MULTICAST_ERROR,
  RDMA_CM_EVENT_ADDR_CHANGE,
  RDMA_CM_EVENT_TIMEWAIT_EXIT,
};

struct rdma_ucm_cmd_hdr {
  uint32_t cmd;
  uint16_t in;
  uint16_t out;
};

// struct sockaddr_in6 and struct __kernel_sockaddr_storage as the uAPI carries them: bytes that a sockaddr of any
// family is copied from (drivers/rdma_cm/address.h).
struct sockaddr_in6_bytes {
  alignas(4) uint8_t bytes[28];
};
struct sockaddr_storage_bytes {
  alignas(8) uint8_t bytes[128];
};
struct sockaddr_ib {
  uint16_t sib_family;  // AF_IB
  uint16_t sib_pkey;    // big endian, as what follows
  uint32_t sib_flowinfo;
  uint8_t sib_addr[16];
  uint64_t sib_sid;
  uint64_t sib_sid_mask;
  uint64_t sib_scope_id;
};

struct rdma_ucm_create_id {
  uint64_t uid;
  uint64_t response;
  uint16_t ps;
  uint8_t qp_type;
  uint8_t reserved[5];
};
struct rdma_ucm_create_id_resp {
  uint32_t id;
};
struct rdma_ucm_destroy_id {
  uint64_t response;
  uint32_t id;
  uint32_t reserved;
};
struct rdma_ucm_destroy_id_resp {
  uint32_t events_reported;
};
struct rdma_ucm_bind_ip {
  uint64_t response;
  sockaddr_in6_bytes addr;
  uint32_t id;
};
struct rdma_ucm_bind {
  uint32_t id;
  uint16_t addr_size;
  uint16_t reserved;
  sockaddr_storage_bytes addr;
};
struct rdma_ucm_resolve_ip {
  sockaddr_in6_bytes src_addr;
  sockaddr_in6_bytes dst_addr;
  uint32_t id;
  uint32_t timeout_ms;
};
struct rdma_ucm_resolve_addr {
  uint32_t id;
  uint32_t timeout_ms;
  uint16_t src_size;
  uint16_t dst_size;
  uint32_t reserved;
  sockaddr_storage_bytes src_addr;
  sockaddr_storage_bytes dst_addr;
};
struct rdma_ucm_resolve_route {
  uint32_t id;
  uint32_t timeout_ms;
};
enum : uint32_t {
  RDMA_USER_CM_QUERY_ADDR,
  RDMA_USER_CM_QUERY_PATH,
  RDMA_USER_CM_QUERY_GID,
};
struct rdma_ucm_query {
  uint64_t response;
  uint32_t id;
  uint32_t option;
};

enum : uint32_t {
  IB_PATH_GMP = 1,
  IB_PATH_PRIMARY = 1 << 1,
  IB_PATH_ALTERNATE = 1 << 2,
  IB_PATH_OUTBOUND = 1 << 3,
  IB_PATH_INBOUND = 1 << 4,
  IB_PATH_INBOUND_REVERSE = 1 << 5,
  IB_PATH_BIDIRECTIONAL = IB_PATH_OUTBOUND | IB_PATH_INBOUND_REVERSE,
};
struct ib_path_rec_data {
  uint32_t flags;
  uint32_t reserved;
  uint32_t path_rec[16];
};
struct ib_user_path_rec {
  uint8_t dgid[16];
  uint8_t sgid[16];
  uint16_t dlid;  // big endian, as slid, flow_label and pkey
  uint16_t slid;
  uint32_t raw_traffic;
  uint32_t flow_label;
  uint32_t reversible;
  uint32_t mtu;
  uint16_t pkey;
  uint8_t hop_limit;
  uint8_t traffic_class;
  uint8_t numb_path;
  uint8_t sl;
  uint8_t mtu_selector;
  uint8_t rate_selector;
  uint8_t rate;
  uint8_t packet_life_time_selector;
  uint8_t packet_life_time;
  uint8_t preference;
};

struct rdma_ucm_query_route_resp {
  uint64_t node_guid;
  ib_user_path_rec ib_route[2];
  sockaddr_in6_bytes src_addr;
  sockaddr_in6_bytes dst_addr;
  uint32_t num_paths;
  uint8_t port_num;
  uint8_t reserved[3];
  uint32_t ibdev_index;
  uint32_t reserved1;
};
struct rdma_ucm_query_addr_resp {
  uint64_t node_guid;
  uint8_t port_num;
  uint8_t reserved;
  uint16_t pkey;
  uint16_t src_size;
  uint16_t dst_size;
  sockaddr_storage_bytes src_addr;
  sockaddr_storage_bytes dst_addr;
  uint32_t ibdev_index;
  uint32_t reserved1;
};
struct rdma_ucm_query_path_resp {  // ib_path_rec_data path_data[] follows
  uint32_t num_paths;
  uint32_t reserved;
};

struct rdma_ucm_conn_param {
  uint32_t qp_num;
  uint32_t qkey;
  uint8_t private_data[kRdmaMaxPrivateData];
  uint8_t private_data_len;
  uint8_t srq;
  uint8_t responder_resources;
  uint8_t initiator_depth;
  uint8_t flow_control;
  uint8_t retry_count;
  uint8_t rnr_retry_count;
  uint8_t valid;
};
struct rdma_ucm_ud_param {
  uint32_t qp_num;
  uint32_t qkey;
  ib_uverbs_ah_attr ah_attr;
  uint8_t private_data[kRdmaMaxPrivateData];
  uint8_t private_data_len;
  uint8_t reserved[7];
};
struct rdma_ucm_ece {
  uint32_t vendor_id;
  uint32_t attr_mod;
};
struct rdma_ucm_connect {
  rdma_ucm_conn_param conn_param;
  uint32_t id;
  uint32_t reserved;
  rdma_ucm_ece ece;  // left out by older clients
};
struct rdma_ucm_listen {
  uint32_t id;
  uint32_t backlog;
};
struct rdma_ucm_accept {
  uint64_t uid;
  rdma_ucm_conn_param conn_param;
  uint32_t id;
  uint32_t reserved;
  rdma_ucm_ece ece;
};
struct rdma_ucm_reject {
  uint32_t id;
  uint8_t private_data_len;
  uint8_t reason;
  uint8_t reserved[2];
  uint8_t private_data[kRdmaMaxPrivateData];
};
struct rdma_ucm_disconnect {
  uint32_t id;
};
struct rdma_ucm_init_qp_attr {
  uint64_t response;
  uint32_t id;
  uint32_t qp_state;
};
struct rdma_ucm_notify {
  uint32_t id;
  uint32_t event;
};
struct rdma_ucm_join_ip_mcast {
  uint64_t response;
  uint64_t uid;
  sockaddr_in6_bytes addr;
  uint32_t id;
};
enum : uint16_t {
  RDMA_MC_JOIN_FLAG_FULLMEMBER,
  RDMA_MC_JOIN_FLAG_SENDONLY_FULLMEMBER,
};
struct rdma_ucm_join_mcast {
  uint64_t response;
  uint64_t uid;
  uint32_t id;
  uint16_t addr_size;
  uint16_t join_flags;
  sockaddr_storage_bytes addr;
};
struct rdma_ucm_get_event {
  uint64_t response;
};
struct rdma_ucm_event_resp {
  uint64_t uid;
  uint32_t id;
  uint32_t event;
  uint32_t status;
  union {
    rdma_ucm_conn_param conn;
    rdma_ucm_ud_param ud;
  } param;
  uint32_t reserved;
  rdma_ucm_ece ece;
};

enum : uint32_t { RDMA_OPTION_ID = 0, RDMA_OPTION_IB = 1 };
enum : uint32_t {
  RDMA_OPTION_ID_TOS = 0,
  RDMA_OPTION_ID_REUSEADDR = 1,
  RDMA_OPTION_ID_AFONLY = 2,
  RDMA_OPTION_ID_ACK_TIMEOUT = 3,
};
enum : uint32_t { RDMA_OPTION_IB_PATH = 1 };
struct rdma_ucm_set_option {
  uint64_t optval;
  uint32_t id;
  uint32_t level;
  uint32_t optname;
  uint32_t optlen;
};
struct rdma_ucm_migrate_id {
  uint64_t response;
  uint32_t id;
  uint32_t fd;
};
struct rdma_ucm_migrate_resp {
  uint32_t events_reported;
};

// The answer to INIT_QP_ATTR (rdma/ib_user_verbs.h).
struct ib_uverbs_qp_attr {
  uint32_t qp_attr_mask;
  uint32_t qp_state;
  uint32_t cur_qp_state;
  uint32_t path_mtu;
  uint32_t path_mig_state;
  uint32_t qkey;
  uint32_t rq_psn;
  uint32_t sq_psn;
  uint32_t dest_qp_num;
  uint32_t qp_access_flags;
  ib_uverbs_ah_attr ah_attr;
  ib_uverbs_ah_attr alt_ah_attr;
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
  uint16_t pkey_index;
  uint16_t alt_pkey_index;
  uint8_t en_sqd_async_notify;
  uint8_t sq_draining;
  uint8_t max_rd_atomic;
  uint8_t max_dest_rd_atomic;
  uint8_t min_rnr_timer;
  uint8_t port_num;
  uint8_t timeout;
  uint8_t retry_cnt;
  uint8_t rnr_retry;
  uint8_t alt_port_num;
  uint8_t alt_timeout;
  uint8_t reserved[5];
};

}  // namespace causeway::uapi
