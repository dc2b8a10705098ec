// SPDX-License-Identifier: Apache-2.0
// What the rxe provider of rdma-core and its kernel side share in memory: queue buffers, work queue entries, completion
// queue entries, and the numbers in them. Facts: linux include/uapi/rdma/rdma_user_rxe.h, ib_user_verbs.h and
// include/rdma/ib_verbs.h (names are Linux's); checked against the system's headers in ib_parity_test.cc.
//
//   rxe_queue_buf (384 bytes) | slot 0 | slot 1 | ... slot index_mask      each slot is 1 << log2_elem_size bytes
//
//   send queue slot     rxe_send_wqe (208 bytes), then rxe_sge[] or inline bytes
//   receive queue slot  rxe_recv_wqe (40 bytes), then rxe_sge[]
//   completion slot     ib_uverbs_wc (48 bytes); the slot itself is 128 bytes, as on a real kernel
//
// Indices are stored masked; empty: producer == consumer; full: (producer + 1) & mask == consumer.
// Freestanding: used in the preloaded library too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::uapi {

// ---- queue buffer
struct rxe_queue_buf {
  uint32_t log2_elem_size;  // kernel, constant
  uint32_t index_mask;      // kernel, constant: slots - 1
  uint32_t pad_1[30];
  std::atomic<uint32_t> producer_index;  // SQ, RQ, SRQ: the program; CQ: the kernel
  uint32_t pad_2[31];
  std::atomic<uint32_t> consumer_index;  // SQ, RQ, SRQ: the kernel; CQ: the program
  uint32_t pad_3[31];
  // slots follow
};
static_assert(sizeof(rxe_queue_buf) == 384);
static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4);

constexpr uint32_t kRxeCqeSlotBytes = 128;
constexpr uint32_t kRxeMinSlotBytes = 64;  // a cache line

inline std::byte* RxeSlot(rxe_queue_buf* queue, uint32_t index, uint32_t log2_elem_size) {
  return reinterpret_cast<std::byte*>(queue + 1) + (uint64_t{index} << log2_elem_size);
}

// ---- work queue entries
enum { RXE_NETWORK_TYPE_IPV4 = 1, RXE_NETWORK_TYPE_IPV6 = 2 };

struct rxe_global_route {
  uint8_t dgid[16];
  uint32_t flow_label;
  uint8_t sgid_index;
  uint8_t hop_limit;
  uint8_t traffic_class;
};

struct rxe_av {
  uint8_t port_num;
  uint8_t network_type;
  uint8_t dmac[6];
  rxe_global_route grh;
  uint8_t sgid_addr[28];  // sockaddr_in or sockaddr_in6
  uint8_t dgid_addr[28];
};
static_assert(sizeof(rxe_av) == 88);

struct rxe_send_wr {
  uint64_t wr_id;
  uint32_t reserved;
  uint32_t opcode;      // ib_wr_opcode
  uint32_t send_flags;  // ib_send_flags
  uint32_t ex;          // imm_data (big endian) or invalidate_rkey
  union {
    struct {
      uint64_t remote_addr;
      uint32_t rkey;
      uint32_t reserved;
    } rdma;
    struct {
      uint64_t remote_addr;
      uint64_t compare_add;
      uint64_t swap;
      uint32_t rkey;
      uint32_t reserved;
    } atomic;
    struct {
      uint32_t remote_qpn;
      uint32_t remote_qkey;
      uint16_t pkey_index;
      uint16_t reserved;
      uint32_t ah_num;
      uint32_t pad[4];
      rxe_av av;
    } ud;
    struct {
      uint64_t addr;
      uint64_t length;
      uint32_t mr_lkey;
      uint32_t mw_rkey;
      uint32_t rkey;
      uint32_t access;
    } mw;
    struct {
      uint64_t remote_addr;
      uint32_t length;
      uint32_t rkey;
      uint8_t type;   // ib_placement_type
      uint8_t level;  // ib_selectivity_level
    } flush;
  } wr;
};
static_assert(sizeof(rxe_send_wr) == 144 && offsetof(rxe_send_wr, wr) == 24);

struct rxe_sge {
  uint64_t addr;
  uint32_t length;
  uint32_t lkey;
};
static_assert(sizeof(rxe_sge) == 16);

struct rxe_dma_info {
  uint32_t length;
  uint32_t resid;
  uint32_t cur_sge;
  uint32_t num_sge;
  uint32_t sge_offset;
  uint32_t reserved;
  // rxe_sge[] or inline bytes follow
};
static_assert(sizeof(rxe_dma_info) == 24);

// Fields from status to has_rd_atomic are the kernel's scratch: what is in them at pick-up is a former user's garbage.
struct rxe_send_wqe {
  rxe_send_wr wr;
  uint32_t status;
  uint32_t state;
  uint64_t iova;
  uint32_t mask;
  uint32_t first_psn;
  uint32_t last_psn;
  uint32_t ack_length;
  uint32_t ssn;
  uint32_t has_rd_atomic;
  rxe_dma_info dma;
};
static_assert(sizeof(rxe_send_wqe) == 208 && offsetof(rxe_send_wqe, dma) == 184);

struct rxe_recv_wqe {
  uint64_t wr_id;
  uint32_t reserved;
  uint32_t padding;
  rxe_dma_info dma;
};
static_assert(sizeof(rxe_recv_wqe) == 40 && offsetof(rxe_recv_wqe, dma) == 16);

inline const rxe_sge* RxeSges(const rxe_send_wqe* wqe) { return reinterpret_cast<const rxe_sge*>(wqe + 1); }
inline const rxe_sge* RxeSges(const rxe_recv_wqe* wqe) { return reinterpret_cast<const rxe_sge*>(wqe + 1); }
inline const std::byte* RxeInlineData(const rxe_send_wqe* wqe) { return reinterpret_cast<const std::byte*>(wqe + 1); }

enum ib_wr_opcode : uint32_t {
  IB_WR_RDMA_WRITE = 0,
  IB_WR_RDMA_WRITE_WITH_IMM = 1,
  IB_WR_SEND = 2,
  IB_WR_SEND_WITH_IMM = 3,
  IB_WR_RDMA_READ = 4,
  IB_WR_ATOMIC_CMP_AND_SWP = 5,
  IB_WR_ATOMIC_FETCH_AND_ADD = 6,
  IB_WR_LOCAL_INV = 7,
  IB_WR_BIND_MW = 8,
  IB_WR_SEND_WITH_INV = 9,
  IB_WR_TSO = 10,
  IB_WR_RDMA_READ_WITH_INV = 11,
  IB_WR_FLUSH = 14,
  IB_WR_ATOMIC_WRITE = 15,
};

enum ib_send_flags : uint32_t {
  IB_SEND_FENCE = 1,
  IB_SEND_SIGNALED = 2,
  IB_SEND_SOLICITED = 4,
  IB_SEND_INLINE = 8,
  IB_SEND_IP_CSUM = 16,
};

enum ib_placement_type : uint32_t { IB_FLUSH_GLOBAL = 1, IB_FLUSH_PERSISTENT = 2 };
enum ib_selectivity_level : uint32_t { IB_FLUSH_RANGE = 0, IB_FLUSH_MR = 1 };

// ---- completions
struct ib_uverbs_wc {
  uint64_t wr_id;
  uint32_t status;  // ib_wc_status
  uint32_t opcode;  // ib_wc_opcode
  uint32_t vendor_err;
  uint32_t byte_len;
  uint32_t ex;  // imm_data (big endian) or invalidate_rkey
  uint32_t qp_num;
  uint32_t src_qp;
  uint32_t wc_flags;  // ib_wc_flags
  uint16_t pkey_index;
  uint16_t slid;
  uint8_t sl;
  uint8_t dlid_path_bits;
  uint8_t port_num;
  uint8_t reserved;
};
static_assert(sizeof(ib_uverbs_wc) == 48 && offsetof(ib_uverbs_wc, wc_flags) == 36);

enum ib_wc_status : uint32_t {
  IB_WC_SUCCESS,
  IB_WC_LOC_LEN_ERR,
  IB_WC_LOC_QP_OP_ERR,
  IB_WC_LOC_EEC_OP_ERR,
  IB_WC_LOC_PROT_ERR,
  IB_WC_WR_FLUSH_ERR,
  IB_WC_MW_BIND_ERR,
  IB_WC_BAD_RESP_ERR,
  IB_WC_LOC_ACCESS_ERR,
  IB_WC_REM_INV_REQ_ERR,
  IB_WC_REM_ACCESS_ERR,
  IB_WC_REM_OP_ERR,
  IB_WC_RETRY_EXC_ERR,
  IB_WC_RNR_RETRY_EXC_ERR,
  IB_WC_LOC_RDD_VIOL_ERR,
  IB_WC_REM_INV_RD_REQ_ERR,
  IB_WC_REM_ABORT_ERR,
  IB_WC_INV_EECN_ERR,
  IB_WC_INV_EEC_STATE_ERR,
  IB_WC_FATAL_ERR,
  IB_WC_RESP_TIMEOUT_ERR,
  IB_WC_GENERAL_ERR,
};

enum ib_wc_opcode : uint32_t {
  IB_WC_SEND = 0,
  IB_WC_RDMA_WRITE = 1,
  IB_WC_RDMA_READ = 2,
  IB_WC_COMP_SWAP = 3,
  IB_WC_FETCH_ADD = 4,
  IB_WC_BIND_MW = 5,
  IB_WC_LOCAL_INV = 6,
  IB_WC_TSO = 7,
  IB_WC_FLUSH = 8,
  IB_WC_ATOMIC_WRITE = 9,
  IB_WC_RECV = 128,
  IB_WC_RECV_RDMA_WITH_IMM = 129,
};

// As programs read them (enum ibv_wc_flags). Deviation: the kernel's IB_WC_WITH_INVALIDATE is 4 and real rxe stores
// that unchanged, so its users see IP_CSUM_OK; we store what libibverbs means.
enum ib_wc_flags : uint32_t {
  IB_WC_GRH = 1,
  IB_WC_WITH_IMM = 2,
  IB_WC_IP_CSUM_OK = 4,
  IB_WC_WITH_INVALIDATE = 8,
};

// ---- access of memory regions and queue pairs
enum ib_access_flags : uint32_t {
  IB_ACCESS_LOCAL_WRITE = 1u << 0,
  IB_ACCESS_REMOTE_WRITE = 1u << 1,
  IB_ACCESS_REMOTE_READ = 1u << 2,
  IB_ACCESS_REMOTE_ATOMIC = 1u << 3,
  IB_ACCESS_MW_BIND = 1u << 4,
  IB_ZERO_BASED = 1u << 5,
  IB_ACCESS_ON_DEMAND = 1u << 6,
  IB_ACCESS_HUGETLB = 1u << 7,
  IB_ACCESS_FLUSH_GLOBAL = 1u << 8,
  IB_ACCESS_FLUSH_PERSISTENT = 1u << 9,
  IB_ACCESS_RELAXED_ORDERING = 1u << 20,
  IB_ACCESS_OPTIONAL = 0x3ff00000,  // bits 20 to 29: may be ignored
};

// ---- driver tails of uverbs commands
// A ring to be mapped: mmap(cmd_fd, size, offset).
struct mminfo {
  uint64_t offset;
  uint32_t size;
  uint32_t pad;
};
struct rxe_create_ah_resp {
  uint32_t ah_num;
  uint32_t reserved;
};
struct rxe_create_cq_resp {
  mminfo mi;
};
struct rxe_resize_cq_resp {
  mminfo mi;
};
struct rxe_create_qp_resp {
  mminfo rq_mi;
  mminfo sq_mi;
};
struct rxe_create_srq_resp {
  mminfo mi;
  uint32_t srq_num;
  uint32_t reserved;
};
struct rxe_modify_srq_cmd {
  uint64_t mmap_info_addr;
};
static_assert(sizeof(mminfo) == 16 && sizeof(rxe_create_qp_resp) == 32 && sizeof(rxe_create_srq_resp) == 24);

}  // namespace causeway::uapi
