// SPDX-License-Identifier: Apache-2.0
// Every struct, offset and number of uapi/{ib_verbs,rdma_ioctl,rxe}.h against the system's kernel headers. Nearly all
// of it is checked when this file compiles.
#include <gtest/gtest.h>

#include "uapi/flex_array.h"
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <rdma/rdma_user_rxe.h>
#pragma GCC diagnostic pop

#include "uapi/ib_verbs.h"
#include "uapi/parity.h"
#include "uapi/rdma_ioctl.h"
#include "uapi/rxe.h"

namespace {

// ---- rdma_user_rxe.h
SIZE(rxe_queue_buf);
F4(rxe_queue_buf, log2_elem_size, index_mask, producer_index, consumer_index);
static_assert(offsetof(::rxe_queue_buf, data) == sizeof(cw::rxe_queue_buf));
SIZE(rxe_av);
F4(rxe_av, port_num, network_type, dmac, grh);
F2(rxe_av, sgid_addr, dgid_addr);
SIZE(rxe_global_route);
F5(rxe_global_route, dgid, flow_label, sgid_index, hop_limit, traffic_class);
SIZE(rxe_send_wr);
F5(rxe_send_wr, wr_id, reserved, opcode, send_flags, ex);
F6(rxe_send_wr, wr, wr.rdma.remote_addr, wr.rdma.rkey, wr.atomic.remote_addr, wr.atomic.compare_add, wr.atomic.swap);
F6(rxe_send_wr, wr.atomic.rkey, wr.ud.remote_qpn, wr.ud.remote_qkey, wr.ud.pkey_index, wr.ud.ah_num, wr.ud.av);
F6(rxe_send_wr, wr.mw.addr, wr.mw.length, wr.mw.mr_lkey, wr.mw.mw_rkey, wr.mw.rkey, wr.mw.access);
SIZE(rxe_sge);
F3(rxe_sge, addr, length, lkey);
SIZE(rxe_dma_info);
F6(rxe_dma_info, length, resid, cur_sge, num_sge, sge_offset, reserved);
static_assert(offsetof(::rxe_dma_info, sge) == sizeof(cw::rxe_dma_info));
SIZE(rxe_send_wqe);
F6(rxe_send_wqe, wr, status, state, iova, mask, first_psn);
F5(rxe_send_wqe, last_psn, ack_length, ssn, has_rd_atomic, dma);
SIZE(rxe_recv_wqe);
F4(rxe_recv_wqe, wr_id, reserved, padding, dma);
SIZE(mminfo);
F3(mminfo, offset, size, pad);
SIZE(rxe_create_ah_resp);
FIELD(rxe_create_ah_resp, ah_num);
SIZE(rxe_create_cq_resp);
SIZE(rxe_resize_cq_resp);
SIZE(rxe_create_qp_resp);
F2(rxe_create_qp_resp, rq_mi, sq_mi);
SIZE(rxe_create_srq_resp);
F2(rxe_create_srq_resp, mi, srq_num);
SIZE(rxe_modify_srq_cmd);
V2(RXE_NETWORK_TYPE_IPV4, RXE_NETWORK_TYPE_IPV6);

// ---- numbers of rxe.h that ib_user_*.h name otherwise
static_assert(cw::IB_WR_RDMA_WRITE == +::IB_UVERBS_WR_RDMA_WRITE);
static_assert(cw::IB_WR_RDMA_WRITE_WITH_IMM == +::IB_UVERBS_WR_RDMA_WRITE_WITH_IMM);
static_assert(cw::IB_WR_SEND == +::IB_UVERBS_WR_SEND);
static_assert(cw::IB_WR_SEND_WITH_IMM == +::IB_UVERBS_WR_SEND_WITH_IMM);
static_assert(cw::IB_WR_RDMA_READ == +::IB_UVERBS_WR_RDMA_READ);
static_assert(cw::IB_WR_ATOMIC_CMP_AND_SWP == +::IB_UVERBS_WR_ATOMIC_CMP_AND_SWP);
static_assert(cw::IB_WR_ATOMIC_FETCH_AND_ADD == +::IB_UVERBS_WR_ATOMIC_FETCH_AND_ADD);
static_assert(cw::IB_WR_LOCAL_INV == +::IB_UVERBS_WR_LOCAL_INV);
static_assert(cw::IB_WR_BIND_MW == +::IB_UVERBS_WR_BIND_MW);
static_assert(cw::IB_WR_SEND_WITH_INV == +::IB_UVERBS_WR_SEND_WITH_INV);
static_assert(cw::IB_WR_TSO == +::IB_UVERBS_WR_TSO);
static_assert(cw::IB_WR_RDMA_READ_WITH_INV == +::IB_UVERBS_WR_RDMA_READ_WITH_INV);
static_assert(cw::IB_WC_SEND == +::IB_UVERBS_WC_SEND);
static_assert(cw::IB_WC_RDMA_WRITE == +::IB_UVERBS_WC_RDMA_WRITE);
static_assert(cw::IB_WC_RDMA_READ == +::IB_UVERBS_WC_RDMA_READ);
static_assert(cw::IB_WC_COMP_SWAP == +::IB_UVERBS_WC_COMP_SWAP);
static_assert(cw::IB_WC_FETCH_ADD == +::IB_UVERBS_WC_FETCH_ADD);
static_assert(cw::IB_WC_BIND_MW == +::IB_UVERBS_WC_BIND_MW);
static_assert(cw::IB_WC_LOCAL_INV == +::IB_UVERBS_WC_LOCAL_INV);
static_assert(cw::IB_WC_TSO == +::IB_UVERBS_WC_TSO);
static_assert(cw::IB_ACCESS_LOCAL_WRITE == +::IB_UVERBS_ACCESS_LOCAL_WRITE);
static_assert(cw::IB_ACCESS_REMOTE_WRITE == +::IB_UVERBS_ACCESS_REMOTE_WRITE);
static_assert(cw::IB_ACCESS_REMOTE_READ == +::IB_UVERBS_ACCESS_REMOTE_READ);
static_assert(cw::IB_ACCESS_REMOTE_ATOMIC == +::IB_UVERBS_ACCESS_REMOTE_ATOMIC);
static_assert(cw::IB_ACCESS_MW_BIND == +::IB_UVERBS_ACCESS_MW_BIND);
static_assert(cw::IB_ZERO_BASED == +::IB_UVERBS_ACCESS_ZERO_BASED);
static_assert(cw::IB_ACCESS_ON_DEMAND == +::IB_UVERBS_ACCESS_ON_DEMAND);
static_assert(cw::IB_ACCESS_HUGETLB == +::IB_UVERBS_ACCESS_HUGETLB);
static_assert(cw::IB_ACCESS_RELAXED_ORDERING == +::IB_UVERBS_ACCESS_RELAXED_ORDERING);
static_assert(cw::IB_ACCESS_OPTIONAL == +::IB_UVERBS_ACCESS_OPTIONAL_RANGE);
SIZE(ib_uverbs_wc);
F6(ib_uverbs_wc, wr_id, status, opcode, vendor_err, byte_len, ex);
F6(ib_uverbs_wc, qp_num, src_qp, wc_flags, pkey_index, slid, sl);
F2(ib_uverbs_wc, dlid_path_bits, port_num);

// ---- ib_user_verbs.h: numbers
static_assert(cw::kIbUserVerbsAbiVersion == IB_USER_VERBS_ABI_VERSION);
static_assert(cw::kIbUserVerbsCmdThreshold == IB_USER_VERBS_CMD_THRESHOLD);
static_assert(cw::kIbUserVerbsCmdCommandMask == IB_USER_VERBS_CMD_COMMAND_MASK);
static_assert(cw::kIbUserVerbsCmdFlagExtended == IB_USER_VERBS_CMD_FLAG_EXTENDED);
V5(IB_USER_VERBS_CMD_GET_CONTEXT, IB_USER_VERBS_CMD_QUERY_DEVICE, IB_USER_VERBS_CMD_QUERY_PORT,
   IB_USER_VERBS_CMD_ALLOC_PD, IB_USER_VERBS_CMD_DEALLOC_PD);
V5(IB_USER_VERBS_CMD_CREATE_AH, IB_USER_VERBS_CMD_MODIFY_AH, IB_USER_VERBS_CMD_QUERY_AH, IB_USER_VERBS_CMD_DESTROY_AH,
   IB_USER_VERBS_CMD_REG_MR);
V5(IB_USER_VERBS_CMD_REG_SMR, IB_USER_VERBS_CMD_REREG_MR, IB_USER_VERBS_CMD_QUERY_MR, IB_USER_VERBS_CMD_DEREG_MR,
   IB_USER_VERBS_CMD_ALLOC_MW);
V5(IB_USER_VERBS_CMD_BIND_MW, IB_USER_VERBS_CMD_DEALLOC_MW, IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL,
   IB_USER_VERBS_CMD_CREATE_CQ, IB_USER_VERBS_CMD_RESIZE_CQ);
V5(IB_USER_VERBS_CMD_DESTROY_CQ, IB_USER_VERBS_CMD_POLL_CQ, IB_USER_VERBS_CMD_PEEK_CQ, IB_USER_VERBS_CMD_REQ_NOTIFY_CQ,
   IB_USER_VERBS_CMD_CREATE_QP);
V5(IB_USER_VERBS_CMD_QUERY_QP, IB_USER_VERBS_CMD_MODIFY_QP, IB_USER_VERBS_CMD_DESTROY_QP, IB_USER_VERBS_CMD_POST_SEND,
   IB_USER_VERBS_CMD_POST_RECV);
V5(IB_USER_VERBS_CMD_ATTACH_MCAST, IB_USER_VERBS_CMD_DETACH_MCAST, IB_USER_VERBS_CMD_CREATE_SRQ,
   IB_USER_VERBS_CMD_MODIFY_SRQ, IB_USER_VERBS_CMD_QUERY_SRQ);
V5(IB_USER_VERBS_CMD_DESTROY_SRQ, IB_USER_VERBS_CMD_POST_SRQ_RECV, IB_USER_VERBS_CMD_OPEN_XRCD,
   IB_USER_VERBS_CMD_CLOSE_XRCD, IB_USER_VERBS_CMD_CREATE_XSRQ);
V2(IB_USER_VERBS_CMD_OPEN_QP, IB_USER_VERBS_EX_CMD_QUERY_DEVICE);
V5(IB_USER_VERBS_EX_CMD_CREATE_CQ, IB_USER_VERBS_EX_CMD_CREATE_QP, IB_USER_VERBS_EX_CMD_MODIFY_QP,
   IB_USER_VERBS_EX_CMD_CREATE_FLOW, IB_USER_VERBS_EX_CMD_DESTROY_FLOW);
V3(IB_USER_VERBS_EX_CMD_CREATE_WQ, IB_USER_VERBS_EX_CMD_MODIFY_WQ, IB_USER_VERBS_EX_CMD_DESTROY_WQ);
V3(IB_USER_VERBS_EX_CMD_CREATE_RWQ_IND_TBL, IB_USER_VERBS_EX_CMD_DESTROY_RWQ_IND_TBL, IB_USER_VERBS_EX_CMD_MODIFY_CQ);
V3(IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION, IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN, IB_UVERBS_CREATE_QP_MASK_IND_TABLE);
V7(IB_UVERBS_QPT_RC, IB_UVERBS_QPT_UC, IB_UVERBS_QPT_UD, IB_UVERBS_QPT_RAW_PACKET, IB_UVERBS_QPT_XRC_INI,
   IB_UVERBS_QPT_XRC_TGT, IB_UVERBS_QPT_DRIVER);

// ---- ib_user_verbs.h: structs. Where the system's struct ends in driver_data[], sizeof() is that of the core part.
SIZE(ib_uverbs_cmd_hdr);
F3(ib_uverbs_cmd_hdr, command, in_words, out_words);
SIZE(ib_uverbs_ex_cmd_hdr);
F4(ib_uverbs_ex_cmd_hdr, response, provider_in_words, provider_out_words, cmd_hdr_reserved);
SIZE(ib_uverbs_async_event_desc);
F2(ib_uverbs_async_event_desc, element, event_type);
SIZE(ib_uverbs_comp_event_desc);
SIZE(ib_uverbs_get_context);
SIZE(ib_uverbs_get_context_resp);
F2(ib_uverbs_get_context_resp, async_fd, num_comp_vectors);
SIZE(ib_uverbs_query_device);
SIZE(ib_uverbs_query_device_resp);
F6(ib_uverbs_query_device_resp, fw_ver, node_guid, sys_image_guid, max_mr_size, page_size_cap, vendor_id);
F6(ib_uverbs_query_device_resp, vendor_part_id, hw_ver, max_qp, max_qp_wr, device_cap_flags, max_sge);
F6(ib_uverbs_query_device_resp, max_sge_rd, max_cq, max_cqe, max_mr, max_pd, max_qp_rd_atom);
F6(ib_uverbs_query_device_resp, max_ee_rd_atom, max_res_rd_atom, max_qp_init_rd_atom, max_ee_init_rd_atom, atomic_cap,
   max_ee);
F6(ib_uverbs_query_device_resp, max_rdd, max_mw, max_raw_ipv6_qp, max_raw_ethy_qp, max_mcast_grp, max_mcast_qp_attach);
F6(ib_uverbs_query_device_resp, max_total_mcast_qp_attach, max_ah, max_fmr, max_map_per_fmr, max_srq, max_srq_wr);
F4(ib_uverbs_query_device_resp, max_srq_sge, max_pkeys, local_ca_ack_delay, phys_port_cnt);
SIZE(ib_uverbs_ex_query_device);
SIZE(ib_uverbs_odp_caps);
SIZE(ib_uverbs_rss_caps);
SIZE(ib_uverbs_tm_caps);
SIZE(ib_uverbs_cq_moderation_caps);
SIZE(ib_uverbs_ex_query_device_resp);
F6(ib_uverbs_ex_query_device_resp, base, comp_mask, response_length, odp_caps, timestamp_mask, hca_core_clock);
F6(ib_uverbs_ex_query_device_resp, device_cap_flags_ex, rss_caps, max_wq_type_rq, raw_packet_caps, tm_caps,
   cq_moderation_caps);
F2(ib_uverbs_ex_query_device_resp, max_dm_size, xrc_odp_caps);
SIZE(ib_uverbs_query_port);
FIELD(ib_uverbs_query_port, port_num);
SIZE(ib_uverbs_query_port_resp);
F6(ib_uverbs_query_port_resp, port_cap_flags, max_msg_sz, gid_tbl_len, pkey_tbl_len, lid, sm_lid);
F6(ib_uverbs_query_port_resp, state, max_mtu, active_mtu, lmc, max_vl_num, sm_sl);
F6(ib_uverbs_query_port_resp, subnet_timeout, init_type_reply, active_width, active_speed, phys_state, link_layer);
FIELD(ib_uverbs_query_port_resp, flags);
SIZE(ib_uverbs_alloc_pd);
SIZE(ib_uverbs_alloc_pd_resp);
SIZE(ib_uverbs_dealloc_pd);
SIZE(ib_uverbs_reg_mr);
F6(ib_uverbs_reg_mr, response, start, length, hca_va, pd_handle, access_flags);
SIZE(ib_uverbs_reg_mr_resp);
F3(ib_uverbs_reg_mr_resp, mr_handle, lkey, rkey);
SIZE(ib_uverbs_rereg_mr);
F6(ib_uverbs_rereg_mr, mr_handle, flags, start, length, hca_va, pd_handle);
SIZE(ib_uverbs_rereg_mr_resp);
SIZE(ib_uverbs_dereg_mr);
SIZE(ib_uverbs_alloc_mw);
SIZE(ib_uverbs_alloc_mw_resp);
SIZE(ib_uverbs_dealloc_mw);
SIZE(ib_uverbs_create_comp_channel);
SIZE(ib_uverbs_create_comp_channel_resp);
SIZE(ib_uverbs_create_cq);
F5(ib_uverbs_create_cq, response, user_handle, cqe, comp_vector, comp_channel);
SIZE(ib_uverbs_create_cq_resp);
F2(ib_uverbs_create_cq_resp, cq_handle, cqe);
SIZE(ib_uverbs_ex_create_cq);
F6(ib_uverbs_ex_create_cq, user_handle, cqe, comp_vector, comp_channel, comp_mask, flags);
SIZE(ib_uverbs_ex_create_cq_resp);
F3(ib_uverbs_ex_create_cq_resp, base, comp_mask, response_length);
SIZE(ib_uverbs_resize_cq);
F3(ib_uverbs_resize_cq, response, cq_handle, cqe);
SIZE(ib_uverbs_resize_cq_resp);
SIZE(ib_uverbs_req_notify_cq);
F2(ib_uverbs_req_notify_cq, cq_handle, solicited_only);
SIZE(ib_uverbs_destroy_cq);
F3(ib_uverbs_destroy_cq, response, cq_handle, reserved);
SIZE(ib_uverbs_destroy_cq_resp);
F2(ib_uverbs_destroy_cq_resp, comp_events_reported, async_events_reported);
SIZE(ib_uverbs_global_route);
F5(ib_uverbs_global_route, dgid, flow_label, sgid_index, hop_limit, traffic_class);
SIZE(ib_uverbs_ah_attr);
F6(ib_uverbs_ah_attr, grh, dlid, sl, src_path_bits, static_rate, is_global);
FIELD(ib_uverbs_ah_attr, port_num);
SIZE(ib_uverbs_qp_dest);
F6(ib_uverbs_qp_dest, dgid, flow_label, dlid, sgid_index, hop_limit, traffic_class);
F5(ib_uverbs_qp_dest, sl, src_path_bits, static_rate, is_global, port_num);
SIZE(ib_uverbs_create_qp);
F6(ib_uverbs_create_qp, response, user_handle, pd_handle, send_cq_handle, recv_cq_handle, srq_handle);
F6(ib_uverbs_create_qp, max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data, sq_sig_all);
F2(ib_uverbs_create_qp, qp_type, is_srq);
SIZE(ib_uverbs_create_qp_resp);
F6(ib_uverbs_create_qp_resp, qp_handle, qpn, max_send_wr, max_recv_wr, max_send_sge, max_recv_sge);
FIELD(ib_uverbs_create_qp_resp, max_inline_data);
SIZE(ib_uverbs_ex_create_qp);
F6(ib_uverbs_ex_create_qp, user_handle, pd_handle, max_inline_data, comp_mask, create_flags, rwq_ind_tbl_handle);
FIELD(ib_uverbs_ex_create_qp, source_qpn);
SIZE(ib_uverbs_ex_create_qp_resp);
SIZE(ib_uverbs_query_qp);
F3(ib_uverbs_query_qp, response, qp_handle, attr_mask);
SIZE(ib_uverbs_query_qp_resp);
F6(ib_uverbs_query_qp_resp, dest, alt_dest, max_send_wr, max_recv_wr, max_send_sge, max_recv_sge);
F6(ib_uverbs_query_qp_resp, max_inline_data, qkey, rq_psn, sq_psn, dest_qp_num, qp_access_flags);
F6(ib_uverbs_query_qp_resp, pkey_index, qp_state, cur_qp_state, path_mtu, path_mig_state, sq_draining);
F6(ib_uverbs_query_qp_resp, max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout, retry_cnt);
F2(ib_uverbs_query_qp_resp, rnr_retry, sq_sig_all);
SIZE(ib_uverbs_modify_qp);
F6(ib_uverbs_modify_qp, dest, alt_dest, qp_handle, attr_mask, qkey, rq_psn);
F6(ib_uverbs_modify_qp, sq_psn, dest_qp_num, qp_access_flags, pkey_index, qp_state, cur_qp_state);
F6(ib_uverbs_modify_qp, path_mtu, path_mig_state, en_sqd_async_notify, max_rd_atomic, max_dest_rd_atomic,
   min_rnr_timer);
F6(ib_uverbs_modify_qp, port_num, timeout, retry_cnt, rnr_retry, alt_port_num, alt_timeout);
SIZE(ib_uverbs_ex_modify_qp);
SIZE(ib_uverbs_destroy_qp);
SIZE(ib_uverbs_destroy_qp_resp);
SIZE(ib_uverbs_send_wr);
F4(ib_uverbs_send_wr, wr_id, num_sge, opcode, wr);
SIZE(ib_uverbs_sge);
SIZE(ib_uverbs_post_send);
F5(ib_uverbs_post_send, response, qp_handle, wr_count, sge_count, wqe_size);
SIZE(ib_uverbs_post_send_resp);
SIZE(ib_uverbs_create_ah);
F4(ib_uverbs_create_ah, response, user_handle, pd_handle, attr);
SIZE(ib_uverbs_create_ah_resp);
SIZE(ib_uverbs_destroy_ah);
SIZE(ib_uverbs_attach_mcast);
F3(ib_uverbs_attach_mcast, gid, qp_handle, mlid);
SIZE(ib_uverbs_create_srq);
F6(ib_uverbs_create_srq, response, user_handle, pd_handle, max_wr, max_sge, srq_limit);
SIZE(ib_uverbs_create_xsrq);
SIZE(ib_uverbs_create_srq_resp);
SIZE(ib_uverbs_modify_srq);
SIZE(ib_uverbs_query_srq);
SIZE(ib_uverbs_query_srq_resp);
SIZE(ib_uverbs_destroy_srq);
SIZE(ib_uverbs_destroy_srq_resp);

// ---- ioctl
static_assert(cw::kRdmaVerbsIoctl == RDMA_VERBS_IOCTL);
static_assert(cw::kRdmaDriverRxe == RDMA_DRIVER_RXE);
SIZE(ib_uverbs_ioctl_hdr);
F6(ib_uverbs_ioctl_hdr, length, object_id, method_id, num_attrs, reserved1, driver_id);
SIZE(ib_uverbs_attr);
F4(ib_uverbs_attr, attr_id, len, flags, data);
FIELD_AS(ib_uverbs_attr, reserved, attr_data);
V2(UVERBS_ATTR_F_MANDATORY, UVERBS_ATTR_F_VALID_OUTPUT);
V2(UVERBS_ATTR_UHW_IN, UVERBS_ATTR_UHW_OUT);
V7(UVERBS_OBJECT_DEVICE, UVERBS_OBJECT_PD, UVERBS_OBJECT_COMP_CHANNEL, UVERBS_OBJECT_CQ, UVERBS_OBJECT_QP,
   UVERBS_OBJECT_SRQ, UVERBS_OBJECT_AH);
V7(UVERBS_OBJECT_MR, UVERBS_OBJECT_MW, UVERBS_OBJECT_FLOW, UVERBS_OBJECT_XRCD, UVERBS_OBJECT_RWQ_IND_TBL,
   UVERBS_OBJECT_WQ, UVERBS_OBJECT_FLOW_ACTION);
V3(UVERBS_OBJECT_DM, UVERBS_OBJECT_COUNTERS, UVERBS_OBJECT_ASYNC_EVENT);
V7(UVERBS_METHOD_INVOKE_WRITE, UVERBS_METHOD_INFO_HANDLES, UVERBS_METHOD_QUERY_PORT, UVERBS_METHOD_GET_CONTEXT,
   UVERBS_METHOD_QUERY_CONTEXT, UVERBS_METHOD_QUERY_GID_TABLE, UVERBS_METHOD_QUERY_GID_ENTRY);
V3(UVERBS_ATTR_CORE_IN, UVERBS_ATTR_CORE_OUT, UVERBS_ATTR_WRITE_CMD);
V3(UVERBS_ATTR_INFO_OBJECT_ID, UVERBS_ATTR_INFO_TOTAL_HANDLES, UVERBS_ATTR_INFO_HANDLES_LIST);
V2(UVERBS_ATTR_QUERY_PORT_PORT_NUM, UVERBS_ATTR_QUERY_PORT_RESP);
V2(UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT);
V2(UVERBS_ATTR_QUERY_CONTEXT_NUM_COMP_VECTORS, UVERBS_ATTR_QUERY_CONTEXT_CORE_SUPPORT);
V4(UVERBS_ATTR_QUERY_GID_TABLE_ENTRY_SIZE, UVERBS_ATTR_QUERY_GID_TABLE_FLAGS, UVERBS_ATTR_QUERY_GID_TABLE_RESP_ENTRIES,
   UVERBS_ATTR_QUERY_GID_TABLE_RESP_NUM_ENTRIES);
V4(UVERBS_ATTR_QUERY_GID_ENTRY_PORT, UVERBS_ATTR_QUERY_GID_ENTRY_GID_INDEX, UVERBS_ATTR_QUERY_GID_ENTRY_FLAGS,
   UVERBS_ATTR_QUERY_GID_ENTRY_RESP_ENTRY);
V2(UVERBS_METHOD_PD_DESTROY, UVERBS_ATTR_DESTROY_PD_HANDLE);
V2(UVERBS_METHOD_CQ_CREATE, UVERBS_METHOD_CQ_DESTROY);
V4(UVERBS_ATTR_CREATE_CQ_HANDLE, UVERBS_ATTR_CREATE_CQ_CQE, UVERBS_ATTR_CREATE_CQ_USER_HANDLE,
   UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL);
V4(UVERBS_ATTR_CREATE_CQ_COMP_VECTOR, UVERBS_ATTR_CREATE_CQ_FLAGS, UVERBS_ATTR_CREATE_CQ_RESP_CQE,
   UVERBS_ATTR_CREATE_CQ_EVENT_FD);
V2(UVERBS_ATTR_DESTROY_CQ_HANDLE, UVERBS_ATTR_DESTROY_CQ_RESP);
V2(UVERBS_METHOD_QP_CREATE, UVERBS_METHOD_QP_DESTROY);
V7(UVERBS_ATTR_CREATE_QP_HANDLE, UVERBS_ATTR_CREATE_QP_XRCD_HANDLE, UVERBS_ATTR_CREATE_QP_PD_HANDLE,
   UVERBS_ATTR_CREATE_QP_SRQ_HANDLE, UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE,
   UVERBS_ATTR_CREATE_QP_IND_TABLE_HANDLE);
V7(UVERBS_ATTR_CREATE_QP_USER_HANDLE, UVERBS_ATTR_CREATE_QP_CAP, UVERBS_ATTR_CREATE_QP_TYPE,
   UVERBS_ATTR_CREATE_QP_FLAGS, UVERBS_ATTR_CREATE_QP_SOURCE_QPN, UVERBS_ATTR_CREATE_QP_EVENT_FD,
   UVERBS_ATTR_CREATE_QP_RESP_CAP);
V3(UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, UVERBS_ATTR_DESTROY_QP_HANDLE, UVERBS_ATTR_DESTROY_QP_RESP);
V5(IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK, IB_UVERBS_QP_CREATE_SCATTER_FCS, IB_UVERBS_QP_CREATE_CVLAN_STRIPPING,
   IB_UVERBS_QP_CREATE_PCI_WRITE_END_PADDING, IB_UVERBS_QP_CREATE_SQ_SIG_ALL);
SIZE(ib_uverbs_qp_cap);
F5(ib_uverbs_qp_cap, max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data);
V2(UVERBS_METHOD_SRQ_CREATE, UVERBS_METHOD_SRQ_DESTROY);
V7(UVERBS_ATTR_CREATE_SRQ_HANDLE, UVERBS_ATTR_CREATE_SRQ_PD_HANDLE, UVERBS_ATTR_CREATE_SRQ_XRCD_HANDLE,
   UVERBS_ATTR_CREATE_SRQ_CQ_HANDLE, UVERBS_ATTR_CREATE_SRQ_USER_HANDLE, UVERBS_ATTR_CREATE_SRQ_MAX_WR,
   UVERBS_ATTR_CREATE_SRQ_MAX_SGE);
V7(UVERBS_ATTR_CREATE_SRQ_LIMIT, UVERBS_ATTR_CREATE_SRQ_MAX_NUM_TAGS, UVERBS_ATTR_CREATE_SRQ_TYPE,
   UVERBS_ATTR_CREATE_SRQ_EVENT_FD, UVERBS_ATTR_CREATE_SRQ_RESP_MAX_WR, UVERBS_ATTR_CREATE_SRQ_RESP_MAX_SGE,
   UVERBS_ATTR_CREATE_SRQ_RESP_SRQ_NUM);
V2(UVERBS_ATTR_DESTROY_SRQ_HANDLE, UVERBS_ATTR_DESTROY_SRQ_RESP);
V4(UVERBS_METHOD_AH_DESTROY, UVERBS_ATTR_DESTROY_AH_HANDLE, UVERBS_METHOD_MW_DESTROY, UVERBS_ATTR_DESTROY_MW_HANDLE);
V5(UVERBS_METHOD_DM_MR_REG, UVERBS_METHOD_MR_DESTROY, UVERBS_METHOD_ADVISE_MR, UVERBS_METHOD_QUERY_MR,
   UVERBS_METHOD_REG_DMABUF_MR);
V5(UVERBS_ATTR_DESTROY_MR_HANDLE, UVERBS_ATTR_ADVISE_MR_PD_HANDLE, UVERBS_ATTR_ADVISE_MR_ADVICE,
   UVERBS_ATTR_ADVISE_MR_FLAGS, UVERBS_ATTR_ADVISE_MR_SGE_LIST);
V4(IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
   IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT, IB_UVERBS_ADVISE_MR_FLAG_FLUSH);
V3(IB_UVERBS_SRQT_BASIC, IB_UVERBS_SRQT_XRC, IB_UVERBS_SRQT_TM);
V5(UVERBS_ATTR_QUERY_MR_HANDLE, UVERBS_ATTR_QUERY_MR_RESP_LKEY, UVERBS_ATTR_QUERY_MR_RESP_RKEY,
   UVERBS_ATTR_QUERY_MR_RESP_LENGTH, UVERBS_ATTR_QUERY_MR_RESP_IOVA);
V5(UVERBS_ATTR_REG_DMABUF_MR_HANDLE, UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, UVERBS_ATTR_REG_DMABUF_MR_OFFSET,
   UVERBS_ATTR_REG_DMABUF_MR_LENGTH, UVERBS_ATTR_REG_DMABUF_MR_IOVA);
V4(UVERBS_ATTR_REG_DMABUF_MR_FD, UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY,
   UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY);
V2(UVERBS_METHOD_ASYNC_EVENT_ALLOC, UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE);
SIZE(ib_uverbs_query_port_resp_ex);
F2(ib_uverbs_query_port_resp_ex, legacy_resp, port_cap_flags2);
V3(IB_UVERBS_GID_TYPE_IB, IB_UVERBS_GID_TYPE_ROCE_V1, IB_UVERBS_GID_TYPE_ROCE_V2);
SIZE(ib_uverbs_gid_entry);
F5(ib_uverbs_gid_entry, gid, gid_index, port_num, gid_type, netdev_ifindex);

// What no constant expression can say: where an element really lies.
TEST(IbParity, QueueSlotsFollowTheHeader) {
  alignas(64) static std::byte memory[sizeof(cw::rxe_queue_buf) + 4 * 64] = {};
  auto* ours = reinterpret_cast<cw::rxe_queue_buf*>(memory);
  auto* theirs = reinterpret_cast<::rxe_queue_buf*>(memory);
  EXPECT_EQ(cw::RxeSlot(ours, 2, 6), reinterpret_cast<std::byte*>(theirs->data) + 2 * 64);
  ours->producer_index.store(3);
  EXPECT_EQ(theirs->producer_index, 3u);
}

}  // namespace
