// SPDX-License-Identifier: Apache-2.0
// The write() half of the uverbs uAPI: command numbers and the structs they carry. Names and layouts are those of linux
// include/uapi/rdma/ib_user_verbs.h; checked against the system's header in ib_parity_test.cc.
//
//   plain command     ib_uverbs_cmd_hdr | core request (starts with `response` where there is one) | driver tail
//   extended command  ib_uverbs_cmd_hdr | ib_uverbs_ex_cmd_hdr | core request | driver tail
//
// Flexible driver_data[] members are left out: what follows a core struct belongs to the driver (rxe.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::uapi {

constexpr uint32_t kIbUserVerbsAbiVersion = 6;                // IB_USER_VERBS_ABI_VERSION
constexpr uint32_t kIbUserVerbsCmdThreshold = 50;             // IB_USER_VERBS_CMD_THRESHOLD
constexpr uint32_t kIbUserVerbsCmdCommandMask = 0xff;         // IB_USER_VERBS_CMD_COMMAND_MASK
constexpr uint32_t kIbUserVerbsCmdFlagExtended = 0x80000000;  // IB_USER_VERBS_CMD_FLAG_EXTENDED
constexpr uint32_t kRxeUverbsAbiVersion = 2;                  // RXE_UVERBS_ABI_VERSION

enum ib_uverbs_write_cmds : uint32_t {
  IB_USER_VERBS_CMD_GET_CONTEXT,
  IB_USER_VERBS_CMD_QUERY_DEVICE,
  IB_USER_VERBS_CMD_QUERY_PORT,
  IB_USER_VERBS_CMD_ALLOC_PD,
  IB_USER_VERBS_CMD_DEALLOC_PD,
  IB_USER_VERBS_CMD_CREATE_AH,
  IB_USER_VERBS_CMD_MODIFY_AH,
  IB_USER_VERBS_CMD_QUERY_AH,
  IB_USER_VERBS_CMD_DESTROY_AH,
  IB_USER_VERBS_CMD_REG_MR,
  IB_USER_VERBS_CMD_REG_SMR,
  IB_USER_VERBS_CMD_REREG_MR,
  IB_USER_VERBS_CMD_QUERY_MR,
  IB_USER_VERBS_CMD_DEREG_MR,
  IB_USER_VERBS_CMD_ALLOC_MW,
  IB_USER_VERBS_CMD_BIND_MW,
  IB_USER_VERBS_CMD_DEALLOC_MW,
  IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL,
  IB_USER_VERBS_CMD_CREATE_CQ,
  IB_USER_VERBS_CMD_RESIZE_CQ,
  IB_USER_VERBS_CMD_DESTROY_CQ,
  IB_USER_VERBS_CMD_POLL_CQ,
  IB_USER_VERBS_CMD_PEEK_CQ,
  IB_USER_VERBS_CMD_REQ_NOTIFY_CQ,
  IB_USER_VERBS_CMD_CREATE_QP,
  IB_USER_VERBS_CMD_QUERY_QP,
  IB_USER_VERBS_CMD_MODIFY_QP,
  IB_USER_VERBS_CMD_DESTROY_QP,
  IB_USER_VERBS_CMD_POST_SEND,
  IB_USER_VERBS_CMD_POST_RECV,
  IB_USER_VERBS_CMD_ATTACH_MCAST,
  IB_USER_VERBS_CMD_DETACH_MCAST,
  IB_USER_VERBS_CMD_CREATE_SRQ,
  IB_USER_VERBS_CMD_MODIFY_SRQ,
  IB_USER_VERBS_CMD_QUERY_SRQ,
  IB_USER_VERBS_CMD_DESTROY_SRQ,
  IB_USER_VERBS_CMD_POST_SRQ_RECV,
  IB_USER_VERBS_CMD_OPEN_XRCD,
  IB_USER_VERBS_CMD_CLOSE_XRCD,
  IB_USER_VERBS_CMD_CREATE_XSRQ,
  IB_USER_VERBS_CMD_OPEN_QP,
};

enum ib_uverbs_ex_cmds : uint32_t {
  IB_USER_VERBS_EX_CMD_QUERY_DEVICE = IB_USER_VERBS_CMD_QUERY_DEVICE,
  IB_USER_VERBS_EX_CMD_CREATE_CQ = IB_USER_VERBS_CMD_CREATE_CQ,
  IB_USER_VERBS_EX_CMD_CREATE_QP = IB_USER_VERBS_CMD_CREATE_QP,
  IB_USER_VERBS_EX_CMD_MODIFY_QP = IB_USER_VERBS_CMD_MODIFY_QP,
  IB_USER_VERBS_EX_CMD_CREATE_FLOW = kIbUserVerbsCmdThreshold,
  IB_USER_VERBS_EX_CMD_DESTROY_FLOW,
  IB_USER_VERBS_EX_CMD_CREATE_WQ,
  IB_USER_VERBS_EX_CMD_MODIFY_WQ,
  IB_USER_VERBS_EX_CMD_DESTROY_WQ,
  IB_USER_VERBS_EX_CMD_CREATE_RWQ_IND_TBL,
  IB_USER_VERBS_EX_CMD_DESTROY_RWQ_IND_TBL,
  IB_USER_VERBS_EX_CMD_MODIFY_CQ,
};

struct ib_uverbs_cmd_hdr {
  uint32_t command;
  uint16_t in_words;
  uint16_t out_words;
};
struct ib_uverbs_ex_cmd_hdr {
  uint64_t response;
  uint16_t provider_in_words;
  uint16_t provider_out_words;
  uint32_t cmd_hdr_reserved;
};

// ---- events
struct ib_uverbs_async_event_desc {
  uint64_t element;
  uint32_t event_type;  // ib_event_type
  uint32_t reserved;
};
struct ib_uverbs_comp_event_desc {
  uint64_t cq_handle;
};
enum ib_event_type : uint32_t {
  IB_EVENT_CQ_ERR,
  IB_EVENT_QP_FATAL,
  IB_EVENT_QP_REQ_ERR,
  IB_EVENT_QP_ACCESS_ERR,
  IB_EVENT_COMM_EST,
  IB_EVENT_SQ_DRAINED,
  IB_EVENT_PATH_MIG,
  IB_EVENT_PATH_MIG_ERR,
  IB_EVENT_DEVICE_FATAL,
  IB_EVENT_PORT_ACTIVE,
  IB_EVENT_PORT_ERR,
  IB_EVENT_LID_CHANGE,
  IB_EVENT_PKEY_CHANGE,
  IB_EVENT_SM_CHANGE,
  IB_EVENT_SRQ_ERR,
  IB_EVENT_SRQ_LIMIT_REACHED,
  IB_EVENT_QP_LAST_WQE_REACHED,
  IB_EVENT_CLIENT_REREGISTER,
  IB_EVENT_GID_CHANGE,
};

// ---- context, device, port
struct ib_uverbs_get_context {
  uint64_t response;
};
struct ib_uverbs_get_context_resp {
  uint32_t async_fd;
  uint32_t num_comp_vectors;
};
struct ib_uverbs_query_device {
  uint64_t response;
};
struct ib_uverbs_query_device_resp {
  uint64_t fw_ver;
  uint64_t node_guid;       // big endian
  uint64_t sys_image_guid;  // big endian
  uint64_t max_mr_size;
  uint64_t page_size_cap;
  uint32_t vendor_id;
  uint32_t vendor_part_id;
  uint32_t hw_ver;
  uint32_t max_qp;
  uint32_t max_qp_wr;
  uint32_t device_cap_flags;
  uint32_t max_sge;
  uint32_t max_sge_rd;
  uint32_t max_cq;
  uint32_t max_cqe;
  uint32_t max_mr;
  uint32_t max_pd;
  uint32_t max_qp_rd_atom;
  uint32_t max_ee_rd_atom;
  uint32_t max_res_rd_atom;
  uint32_t max_qp_init_rd_atom;
  uint32_t max_ee_init_rd_atom;
  uint32_t atomic_cap;
  uint32_t max_ee;
  uint32_t max_rdd;
  uint32_t max_mw;
  uint32_t max_raw_ipv6_qp;
  uint32_t max_raw_ethy_qp;
  uint32_t max_mcast_grp;
  uint32_t max_mcast_qp_attach;
  uint32_t max_total_mcast_qp_attach;
  uint32_t max_ah;
  uint32_t max_fmr;
  uint32_t max_map_per_fmr;
  uint32_t max_srq;
  uint32_t max_srq_wr;
  uint32_t max_srq_sge;
  uint16_t max_pkeys;
  uint8_t local_ca_ack_delay;
  uint8_t phys_port_cnt;
  uint8_t reserved[4];
};
static_assert(sizeof(ib_uverbs_query_device_resp) == 176);

struct ib_uverbs_ex_query_device {
  uint32_t comp_mask;
  uint32_t reserved;
};
struct ib_uverbs_odp_caps {
  uint64_t general_caps;
  uint32_t rc_odp_caps;
  uint32_t uc_odp_caps;
  uint32_t ud_odp_caps;
  uint32_t reserved;
};
// ib_verbs.h of the kernel and of libibverbs (IBV_ODP_*).
enum ib_odp_general_cap_bits : uint64_t { IB_ODP_SUPPORT = 1 << 0, IB_ODP_SUPPORT_IMPLICIT = 1 << 1 };
enum ib_odp_transport_cap_bits : uint32_t {
  IB_ODP_SUPPORT_SEND = 1u << 0,
  IB_ODP_SUPPORT_RECV = 1u << 1,
  IB_ODP_SUPPORT_WRITE = 1u << 2,
  IB_ODP_SUPPORT_READ = 1u << 3,
  IB_ODP_SUPPORT_ATOMIC = 1u << 4,
  IB_ODP_SUPPORT_SRQ_RECV = 1u << 5,
  IB_ODP_SUPPORT_FLUSH = 1u << 6,
  IB_ODP_SUPPORT_ATOMIC_WRITE = 1u << 7,
};
struct ib_uverbs_rss_caps {
  uint32_t supported_qpts;
  uint32_t max_rwq_indirection_tables;
  uint32_t max_rwq_indirection_table_size;
  uint32_t reserved;
};
struct ib_uverbs_tm_caps {
  uint32_t max_rndv_hdr_size;
  uint32_t max_num_tags;
  uint32_t flags;
  uint32_t max_ops;
  uint32_t max_sge;
  uint32_t reserved;
};
struct ib_uverbs_cq_moderation_caps {
  uint16_t max_cq_moderation_count;
  uint16_t max_cq_moderation_period;
  uint32_t reserved;
};
struct ib_uverbs_ex_query_device_resp {
  ib_uverbs_query_device_resp base;
  uint32_t comp_mask;
  uint32_t response_length;
  ib_uverbs_odp_caps odp_caps;
  uint64_t timestamp_mask;
  uint64_t hca_core_clock;
  uint64_t device_cap_flags_ex;
  ib_uverbs_rss_caps rss_caps;
  uint32_t max_wq_type_rq;
  uint32_t raw_packet_caps;
  ib_uverbs_tm_caps tm_caps;
  ib_uverbs_cq_moderation_caps cq_moderation_caps;
  uint64_t max_dm_size;
  uint32_t xrc_odp_caps;
  uint32_t reserved;
};
static_assert(sizeof(ib_uverbs_ex_query_device_resp) == 304);

struct ib_uverbs_query_port {
  uint64_t response;
  uint8_t port_num;
  uint8_t reserved[7];
};
struct ib_uverbs_query_port_resp {
  uint32_t port_cap_flags;
  uint32_t max_msg_sz;
  uint32_t bad_pkey_cntr;
  uint32_t qkey_viol_cntr;
  uint32_t gid_tbl_len;
  uint16_t pkey_tbl_len;
  uint16_t lid;
  uint16_t sm_lid;
  uint8_t state;
  uint8_t max_mtu;
  uint8_t active_mtu;
  uint8_t lmc;
  uint8_t max_vl_num;
  uint8_t sm_sl;
  uint8_t subnet_timeout;
  uint8_t init_type_reply;
  uint8_t active_width;
  uint8_t active_speed;
  uint8_t phys_state;
  uint8_t link_layer;
  uint8_t flags;
  uint8_t reserved;
};
static_assert(sizeof(ib_uverbs_query_port_resp) == 40);

// ---- protection domains, memory
struct ib_uverbs_alloc_pd {
  uint64_t response;
};
struct ib_uverbs_alloc_pd_resp {
  uint32_t pd_handle;
};
struct ib_uverbs_dealloc_pd {
  uint32_t pd_handle;
};
struct ib_uverbs_reg_mr {
  uint64_t response;
  uint64_t start;
  uint64_t length;
  uint64_t hca_va;
  uint32_t pd_handle;
  uint32_t access_flags;
};
struct ib_uverbs_reg_mr_resp {
  uint32_t mr_handle;
  uint32_t lkey;
  uint32_t rkey;
};
struct ib_uverbs_rereg_mr {
  uint64_t response;
  uint32_t mr_handle;
  uint32_t flags;
  uint64_t start;
  uint64_t length;
  uint64_t hca_va;
  uint32_t pd_handle;
  uint32_t access_flags;
};
struct ib_uverbs_rereg_mr_resp {
  uint32_t lkey;
  uint32_t rkey;
};
enum ib_mr_rereg_flags : uint32_t {
  IB_MR_REREG_TRANS = 1u << 0,
  IB_MR_REREG_PD = 1u << 1,
  IB_MR_REREG_ACCESS = 1u << 2,
};
enum ib_mw_type : uint8_t { IB_MW_TYPE_1 = 1, IB_MW_TYPE_2 = 2 };
struct ib_uverbs_dereg_mr {
  uint32_t mr_handle;
};
struct ib_uverbs_alloc_mw {
  uint64_t response;
  uint32_t pd_handle;
  uint8_t mw_type;
  uint8_t reserved[3];
};
struct ib_uverbs_alloc_mw_resp {
  uint32_t mw_handle;
  uint32_t rkey;
};
struct ib_uverbs_dealloc_mw {
  uint32_t mw_handle;
};

// ---- completion queues
struct ib_uverbs_create_comp_channel {
  uint64_t response;
};
struct ib_uverbs_create_comp_channel_resp {
  uint32_t fd;
};
struct ib_uverbs_create_cq {
  uint64_t response;
  uint64_t user_handle;
  uint32_t cqe;
  uint32_t comp_vector;
  int32_t comp_channel;
  uint32_t reserved;
};
struct ib_uverbs_create_cq_resp {
  uint32_t cq_handle;
  uint32_t cqe;
};
enum ib_uverbs_ex_create_cq_flags : uint32_t {
  IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION = 1 << 0,
  IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN = 1 << 1,
};
struct ib_uverbs_ex_create_cq {
  uint64_t user_handle;
  uint32_t cqe;
  uint32_t comp_vector;
  int32_t comp_channel;
  uint32_t comp_mask;
  uint32_t flags;
  uint32_t reserved;
};
struct ib_uverbs_ex_create_cq_resp {
  ib_uverbs_create_cq_resp base;
  uint32_t comp_mask;
  uint32_t response_length;
};
struct ib_uverbs_resize_cq {
  uint64_t response;
  uint32_t cq_handle;
  uint32_t cqe;
};
struct ib_uverbs_resize_cq_resp {
  uint32_t cqe;
  uint32_t reserved;
};
struct ib_uverbs_req_notify_cq {
  uint32_t cq_handle;
  uint32_t solicited_only;
};
struct ib_uverbs_destroy_cq {
  uint64_t response;
  uint32_t cq_handle;
  uint32_t reserved;
};
struct ib_uverbs_destroy_cq_resp {
  uint32_t comp_events_reported;
  uint32_t async_events_reported;
};

// ---- queue pairs
enum ib_uverbs_qp_type : uint32_t {
  IB_UVERBS_QPT_RC = 2,
  IB_UVERBS_QPT_UC,
  IB_UVERBS_QPT_UD,
  IB_UVERBS_QPT_RAW_PACKET = 8,
  IB_UVERBS_QPT_XRC_INI,
  IB_UVERBS_QPT_XRC_TGT,
  IB_UVERBS_QPT_DRIVER = 0xff,
};
enum ib_qp_attr_mask : uint32_t {
  IB_QP_STATE = 1u << 0,
  IB_QP_CUR_STATE = 1u << 1,
  IB_QP_EN_SQD_ASYNC_NOTIFY = 1u << 2,
  IB_QP_ACCESS_FLAGS = 1u << 3,
  IB_QP_PKEY_INDEX = 1u << 4,
  IB_QP_PORT = 1u << 5,
  IB_QP_QKEY = 1u << 6,
  IB_QP_AV = 1u << 7,
  IB_QP_PATH_MTU = 1u << 8,
  IB_QP_TIMEOUT = 1u << 9,
  IB_QP_RETRY_CNT = 1u << 10,
  IB_QP_RNR_RETRY = 1u << 11,
  IB_QP_RQ_PSN = 1u << 12,
  IB_QP_MAX_QP_RD_ATOMIC = 1u << 13,
  IB_QP_ALT_PATH = 1u << 14,
  IB_QP_MIN_RNR_TIMER = 1u << 15,
  IB_QP_SQ_PSN = 1u << 16,
  IB_QP_MAX_DEST_RD_ATOMIC = 1u << 17,
  IB_QP_PATH_MIG_STATE = 1u << 18,
  IB_QP_CAP = 1u << 19,
  IB_QP_DEST_QPN = 1u << 20,
};
constexpr uint32_t kIbQpAttrStandardBits = (1u << 21) - 1;  // IB_QP_ATTR_STANDARD_BITS
enum ib_qp_state : uint32_t {
  IB_QPS_RESET,
  IB_QPS_INIT,
  IB_QPS_RTR,
  IB_QPS_RTS,
  IB_QPS_SQD,
  IB_QPS_SQE,
  IB_QPS_ERR,
};

struct ib_uverbs_global_route {
  uint8_t dgid[16];
  uint32_t flow_label;
  uint8_t sgid_index;
  uint8_t hop_limit;
  uint8_t traffic_class;
  uint8_t reserved;
};
struct ib_uverbs_ah_attr {
  ib_uverbs_global_route grh;
  uint16_t dlid;
  uint8_t sl;
  uint8_t src_path_bits;
  uint8_t static_rate;
  uint8_t is_global;
  uint8_t port_num;
  uint8_t reserved;
};
struct ib_uverbs_qp_dest {
  uint8_t dgid[16];
  uint32_t flow_label;
  uint16_t dlid;
  uint16_t reserved;
  uint8_t sgid_index;
  uint8_t hop_limit;
  uint8_t traffic_class;
  uint8_t sl;
  uint8_t src_path_bits;
  uint8_t static_rate;
  uint8_t is_global;
  uint8_t port_num;
};
struct ib_uverbs_create_qp {
  uint64_t response;
  uint64_t user_handle;
  uint32_t pd_handle;
  uint32_t send_cq_handle;
  uint32_t recv_cq_handle;
  uint32_t srq_handle;
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
  uint8_t sq_sig_all;
  uint8_t qp_type;
  uint8_t is_srq;
  uint8_t reserved;
};
struct ib_uverbs_create_qp_resp {
  uint32_t qp_handle;
  uint32_t qpn;
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
  uint32_t reserved;
};
enum ib_uverbs_create_qp_mask : uint32_t { IB_UVERBS_CREATE_QP_MASK_IND_TABLE = 1u << 0 };
struct ib_uverbs_ex_create_qp {
  uint64_t user_handle;
  uint32_t pd_handle;
  uint32_t send_cq_handle;
  uint32_t recv_cq_handle;
  uint32_t srq_handle;
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
  uint8_t sq_sig_all;
  uint8_t qp_type;
  uint8_t is_srq;
  uint8_t reserved;
  uint32_t comp_mask;
  uint32_t create_flags;
  uint32_t rwq_ind_tbl_handle;
  uint32_t source_qpn;
};
struct ib_uverbs_ex_create_qp_resp {
  ib_uverbs_create_qp_resp base;
  uint32_t comp_mask;
  uint32_t response_length;
};
struct ib_uverbs_query_qp {
  uint64_t response;
  uint32_t qp_handle;
  uint32_t attr_mask;
};
struct ib_uverbs_query_qp_resp {
  ib_uverbs_qp_dest dest;
  ib_uverbs_qp_dest alt_dest;
  uint32_t max_send_wr;
  uint32_t max_recv_wr;
  uint32_t max_send_sge;
  uint32_t max_recv_sge;
  uint32_t max_inline_data;
  uint32_t qkey;
  uint32_t rq_psn;
  uint32_t sq_psn;
  uint32_t dest_qp_num;
  uint32_t qp_access_flags;
  uint16_t pkey_index;
  uint16_t alt_pkey_index;
  uint8_t qp_state;
  uint8_t cur_qp_state;
  uint8_t path_mtu;
  uint8_t path_mig_state;
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
  uint8_t sq_sig_all;
  uint8_t reserved[5];
};
static_assert(sizeof(ib_uverbs_query_qp_resp) == 128);
struct ib_uverbs_modify_qp {
  ib_uverbs_qp_dest dest;
  ib_uverbs_qp_dest alt_dest;
  uint32_t qp_handle;
  uint32_t attr_mask;
  uint32_t qkey;
  uint32_t rq_psn;
  uint32_t sq_psn;
  uint32_t dest_qp_num;
  uint32_t qp_access_flags;
  uint16_t pkey_index;
  uint16_t alt_pkey_index;
  uint8_t qp_state;
  uint8_t cur_qp_state;
  uint8_t path_mtu;
  uint8_t path_mig_state;
  uint8_t en_sqd_async_notify;
  uint8_t max_rd_atomic;
  uint8_t max_dest_rd_atomic;
  uint8_t min_rnr_timer;
  uint8_t port_num;
  uint8_t timeout;
  uint8_t retry_cnt;
  uint8_t rnr_retry;
  uint8_t alt_port_num;
  uint8_t alt_timeout;
  uint8_t reserved[2];
};
static_assert(sizeof(ib_uverbs_modify_qp) == 112);
struct ib_uverbs_ex_modify_qp {
  ib_uverbs_modify_qp base;
  uint32_t rate_limit;
  uint32_t reserved;
};
struct ib_uverbs_destroy_qp {
  uint64_t response;
  uint32_t qp_handle;
  uint32_t reserved;
};
struct ib_uverbs_destroy_qp_resp {
  uint32_t events_reported;
};
struct ib_uverbs_send_wr {
  uint64_t wr_id;
  uint32_t num_sge;
  uint32_t opcode;
  uint32_t send_flags;
  uint32_t ex;
  uint64_t wr[4];  // a union of which the kernel side of a user QP reads nothing
};
static_assert(sizeof(ib_uverbs_send_wr) == 56);
struct ib_uverbs_sge {
  uint64_t addr;
  uint32_t length;
  uint32_t lkey;
};
struct ib_uverbs_post_send {
  uint64_t response;
  uint32_t qp_handle;
  uint32_t wr_count;
  uint32_t sge_count;
  uint32_t wqe_size;
};
struct ib_uverbs_post_send_resp {
  uint32_t bad_wr;
};

// ---- address handles, shared receive queues, multicast
struct ib_uverbs_create_ah {
  uint64_t response;
  uint64_t user_handle;
  uint32_t pd_handle;
  uint32_t reserved;
  ib_uverbs_ah_attr attr;
};
struct ib_uverbs_create_ah_resp {
  uint32_t ah_handle;
};
struct ib_uverbs_destroy_ah {
  uint32_t ah_handle;
};
struct ib_uverbs_attach_mcast {
  uint8_t gid[16];
  uint32_t qp_handle;
  uint16_t mlid;
  uint16_t reserved;
};
enum ib_uverbs_srq_type : uint32_t { IB_UVERBS_SRQT_BASIC, IB_UVERBS_SRQT_XRC, IB_UVERBS_SRQT_TM };
enum ib_srq_attr_mask : uint32_t { IB_SRQ_MAX_WR = 1u << 0, IB_SRQ_LIMIT = 1u << 1 };
struct ib_uverbs_create_srq {
  uint64_t response;
  uint64_t user_handle;
  uint32_t pd_handle;
  uint32_t max_wr;
  uint32_t max_sge;
  uint32_t srq_limit;
};
struct ib_uverbs_create_xsrq {
  uint64_t response;
  uint64_t user_handle;
  uint32_t srq_type;
  uint32_t pd_handle;
  uint32_t max_wr;
  uint32_t max_sge;
  uint32_t srq_limit;
  uint32_t max_num_tags;
  uint32_t xrcd_handle;
  uint32_t cq_handle;
};
struct ib_uverbs_create_srq_resp {
  uint32_t srq_handle;
  uint32_t max_wr;
  uint32_t max_sge;
  uint32_t srqn;
};
struct ib_uverbs_modify_srq {
  uint32_t srq_handle;
  uint32_t attr_mask;
  uint32_t max_wr;
  uint32_t srq_limit;
};
struct ib_uverbs_query_srq {
  uint64_t response;
  uint32_t srq_handle;
  uint32_t reserved;
};
struct ib_uverbs_query_srq_resp {
  uint32_t max_wr;
  uint32_t max_sge;
  uint32_t srq_limit;
  uint32_t reserved;
};
struct ib_uverbs_destroy_srq {
  uint64_t response;
  uint32_t srq_handle;
  uint32_t reserved;
};
struct ib_uverbs_destroy_srq_resp {
  uint32_t events_reported;
};

}  // namespace causeway::uapi
