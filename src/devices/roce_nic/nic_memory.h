// SPDX-License-Identifier: Apache-2.0
// The NIC's context memory: queue pairs, completion queues, memory regions. It lies in the arena, shared by the machine
// and every program, because the data path runs in the thread that rings the doorbell (docs/architecture.md).
//
// One context memory serves all NICs of a machine: indices (QPN, MR index, CQ index) are machine-wide, every entry
// names the NIC it belongs to, and a PD number belongs to one NIC, so a PD check is also a NIC check.
//
// Who writes what:
//   control fields   the machine only (Nic, nic.h), before the entry becomes valid or with the entry's lock held
//   atomics          whoever the comment names
// An entry is reused only after a grace period: every ThreadSlot::epoch that was odd when it died has moved on.
//
// Ring layout (queue buffer header, WQE, CQE) is the rxe uAPI's own: uapi/rxe.h. Freestanding.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ipc/arena.h"

namespace causeway::roce {

constexpr uint32_t kMaxQps = 1u << 20;  // QPN = index; 0 and 1 are SMI and GSI, the first user QPN is 17
constexpr uint32_t kFirstQpn = 17;
constexpr uint32_t kMaxCqs = 1u << 17;
constexpr uint32_t kMaxMrs = 1u << 19;  // index 0 unused, 1 the kernel's own
constexpr uint32_t kMaxMws = 1u << 19;
constexpr uint32_t kMaxSrqs = 1u << 17;
constexpr uint32_t kMaxAhs = 1u << 15;               // 0 unused
constexpr uint32_t kMaxMulticastMembers = 1u << 16;  // 0 unused
constexpr uint32_t kMulticastBuckets = 1024;
constexpr uint32_t kMulticastQpn = 0xffffff;  // where a multicast datagram goes
constexpr uint32_t kMaxMms = 1u << 14;
constexpr uint32_t kMaxNics = 64;
constexpr uint32_t kMaxRoutes = 1u << 14;  // traffic of a route numbered higher is not counted
// The thread slot under which the machine's own threads use the data path, one at a time (Nic's lock).
constexpr uint32_t kMachineSlot = ipc::kMaxThreads - 1;

// A futex lock that names its owner, so that the machine can release what a killed thread held.
// 0 free; else owner's slot + 1, with kContended set when somebody sleeps on it.
struct OwnedLock {
  static constexpr uint32_t kContended = 0x80000000;
  std::atomic<uint32_t> word;
};

// rxe_queue_buf in the arena's heap. `offset` 0: none.
struct Ring {
  uint64_t offset;     // arena offset of the queue buffer
  uint32_t bytes;      // page aligned
  uint32_t mask;       // slots - 1
  uint32_t log2_elem;  // element size
  uint32_t index;      // the NIC's own index, never read back from shared pages: consumer of SQ/RQ, producer of CQ
};

// struct ib_global_route as the NIC needs it.
struct AddressVector {
  uint8_t dgid[16];
  uint8_t sgid[16];
  uint32_t flow_label;
  uint8_t sgid_index;
  uint8_t hop_limit;
  uint8_t traffic_class;
  uint8_t port;
  uint16_t dest_nic;  // NIC of this machine that owns dgid, or kNoNic
  uint16_t reserved;
};
constexpr uint16_t kNoNic = 0xffff;

// IB_QPS_*, IB_QPT_* values as in the uAPI.
enum QpState : uint32_t { kReset, kInit, kRtr, kRts, kSqd, kSqe, kErr };
enum QpType : uint32_t { kRc = 2, kUc = 3, kUd = 4 };

// Why the machine must look at a QP (bits of QpContext::attention).
enum Attention : uint32_t {
  kAttentionFlush = 1,     // entered ERR: flush what is queued
  kAttentionTimer = 2,     // wake at QpContext::deadline_ns and run the send queue again
  kAttentionDrained = 4,   // SQ_DRAINED event
  kAttentionRun = 8,       // run the send queue (its runner died)
  kAttentionLastWqe = 16,  // QP_LAST_WQE_REACHED event
};

// Bytes that a QP's requests moved over one route, not yet added to NicMemory::routes. A counter that both sides of a
// connection wrote would cost a cache line's trip between their cores per request; this one has one writer, the holder
// of the SQ lock, and readers that report.
struct QpTraffic {
  std::atomic<uint32_t> route;
  std::atomic<uint64_t> read, written;
};

// Ordered by cache line: what both ends read and nobody writes, the send side, its counters, the receive side, the
// connection. A request touches four lines of its own QP and three of the peer's.
struct alignas(64) QpContext {
  std::atomic<uint32_t> valid;  // 1 while the QP exists
  std::atomic<uint32_t>
      state;  // QpState. Written with both locks held, or to kErr by anyone holding rq_lock or sq_lock
  uint32_t qpn;
  uint32_t type;
  uint32_t nic;
  uint32_t pd;
  uint64_t owner_file;  // uverbs FileId and object handle: what a doorbell names
  uint32_t handle;
  uint32_t sq_sig_all;
  uint32_t send_cq, recv_cq;
  uint32_t max_send_sge, max_recv_sge, max_inline;
  uint32_t srq;  // 0 none

  alignas(64) OwnedLock sq_lock;
  std::atomic<uint32_t> doorbells;  // rung since the runner last looked
  Ring sq;
  std::atomic<uint64_t> deadline_ns;  // CLOCK_MONOTONIC; 0 none
  uint32_t sq_psn;                    // next to send
  std::atomic<uint32_t> attention;
  uint8_t parked;  // the WQE at the head was started and waits: for the deadline, or (deadline 0) for a doorbell
  uint8_t sq_draining;
  uint8_t retries_left, rnr_left;
  std::atomic<uint64_t> sends;  // SENDs completed with success: rdma_sends

  alignas(64) QpTraffic local;    // of the regions of this NIC
  QpTraffic remote;               // of the peer's
  std::atomic<uint64_t> packets;  // delivered to the peer
  std::atomic<uint64_t> replies;  // that came back for them

  alignas(64) OwnedLock rq_lock;
  uint32_t expected_psn;
  Ring rq;
  uint32_t msn;
  uint32_t psn_nak_sent;           // a request ahead of its turn was told so; the next is dropped
  std::atomic<uint64_t> receives;  // completed with success: rdma_recvs

  alignas(64) AddressVector av;
  uint32_t dest_qpn;
  uint32_t path_mtu_bytes;
  uint32_t access;  // IB_ACCESS_* of remote operations
  uint32_t qkey;
  uint8_t timeout, retry_count, rnr_retry, min_rnr_timer;
  uint8_t max_rd_atomic, max_dest_rd_atomic;
  uint64_t user_handle;
};
static_assert(offsetof(QpContext, sq_lock) == 64 && offsetof(QpContext, local) == 128 &&
              offsetof(QpContext, rq_lock) == 192 && offsetof(QpContext, max_rd_atomic) == 320);

enum NotifyState : uint32_t { kNotArmed = 0, kArmedSolicited = 1, kArmedNext = 2 };

struct alignas(64) CqContext {
  std::atomic<uint32_t> valid;
  uint32_t nic;
  OwnedLock lock;
  std::atomic<uint32_t> notify;               // NotifyState
  std::atomic<uint32_t> completions_pending;  // completion events for the machine to deliver
  std::atomic<uint32_t> overflows_pending;    // CQ_ERR events for the machine to deliver
  uint32_t consumer_seen;  // program's consumer index at the last post: tells an index that ran past the producer
  Ring ring;
};

// An address space that memory regions lie in. Entries are used again: a region names the generation it was made in.
struct MmEntry {
  std::atomic<uint64_t> generation;  // 0: gone (exit, exec)
  uint32_t pid;
};

// A stretch of a memory region. On the bus: a scatterlist entry. Host memory: pages that its process shares, or
// (kByCall) pages of its own that are reached by process_vm_readv() and process_vm_writev().
constexpr uint64_t kByCall = ~uint64_t{0};
struct Segment {
  uint64_t start;    // bytes into the region
  uint64_t address;  // DMA address as the importer puts it on the bus; host: offset in ipc::kHostMemory, or kByCall
  uint64_t len;
  std::atomic<uint32_t> window;  // hint for pci::FindWindow
  uint32_t reserved;
};

enum MrKind : uint32_t { kMrHost = 1, kMrBus = 2 };

// kMrStalled: exists, but its bytes are being moved or its rights changed; accesses wait.
enum MrState : uint32_t { kMrDead = 0, kMrUsable = 1, kMrStalled = 2 };

// Two cache lines: what every access reads, then where the bytes are. A scatterlist of one entry needs no table.
struct alignas(64) MrEntry {
  std::atomic<uint32_t> valid;  // MrState. kMrDead stops new accesses; the entry is freed after a grace period
  uint32_t key;                 // lkey == rkey == index << 8 | random byte
  uint32_t pd;
  uint32_t access;  // IB_ACCESS_*
  uint64_t iova;    // first address a WQE may name
  uint64_t length;  // bytes
  uint32_t kind;
  uint32_t function;  // initiator index on the bus
  uint32_t route;     // pci::RouteId
  uint32_t segment_count;
  uint32_t nic;
  uint32_t segment_bytes;  // allocated for the table
  uint64_t segments;       // arena offset of Segment[segment_count]; 0: `segment` is the only one

  Segment segment;
  uint64_t address;        // host: user address of the byte at iova
  uint64_t mm_generation;  // host: in which generation of
  uint32_t mm;             //   whose memory
};
static_assert(sizeof(MrEntry) == 128);

// A memory window, as the last bind left it. Binds and look-ups hold `lock`.
struct alignas(64) MwEntry {
  std::atomic<uint32_t> valid;  // 1 while the window exists
  uint32_t rkey;                // (kMaxMrs + 1 + index) << 8 | the low byte that the last bind gave it
  uint32_t nic, pd;
  uint32_t type;    // IB_MW_TYPE_*
  uint32_t mr;      // region it is bound to, 0 none
  uint32_t access;  // IB_ACCESS_* of remote operations
  uint32_t qpn;     // type 2: the only QP that may use it
  uint64_t addr, length;
  OwnedLock lock;
  std::atomic<uint32_t> changing;  // the lock's holder is half way through a bind: if it is killed, the window is void
};
static_assert(sizeof(MwEntry) == 64);

// A shared receive queue. The lock guards the taking of entries; it nests in the RQ lock of the QP that takes one.
struct alignas(64) SrqContext {
  std::atomic<uint32_t> valid;
  uint32_t nic, pd;
  uint32_t max_sge;
  OwnedLock lock;
  std::atomic<uint32_t> limit;           // 0 not armed. Changed with the lock held
  std::atomic<uint32_t> limits_pending;  // SRQ_LIMIT_REACHED events for the machine to deliver
  Ring ring;
};

// An address handle. Control fields, written before it becomes valid.
struct alignas(64) AhContext {
  std::atomic<uint32_t> valid;
  uint32_t nic, pd;
  AddressVector av;
};

// One QP in one multicast group: lists by hash of the GID, which the data path walks within its epoch while the machine
// changes them (insertion at the head, freeing after a grace period).
struct MulticastMember {
  std::atomic<uint32_t> next;  // index, 0 the end
  uint32_t qpn;
  uint8_t gid[16];
};
inline uint32_t MulticastBucket(const uint8_t gid[16]) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (int i = 0; i < 16; ++i) hash = (hash ^ gid[i]) * 16777619u;
  return hash % kMulticastBuckets;
}

// Counters of a port's hw_counters folder, and of its traffic.
struct alignas(64) NicCounters {
  std::atomic<uint64_t> sent_pkts, rcvd_pkts, duplicate_request, out_of_seq_request, rcvd_rnr_err, send_rnr_err,
      rcvd_seq_err, ack_deferred, retry_exceeded_err, retry_rnr_exceeded_err, completer_retry_err, send_err,
      link_downed, rdma_sends, rdma_recvs;
  // Of QPs that are gone, and packets that no QP counts; sent_pkts, rcvd_pkts, rdma_sends and rdma_recvs are these and
  // the living QPs', added up when asked for.
  std::atomic<uint64_t> retired_sent, retired_received, retired_sends, retired_receives;
};

struct RouteTraffic {
  std::atomic<uint64_t> read, written;  // bytes
};

// Two-level bitmap of things the machine's NIC thread must look at: idempotent, never full, and a producer killed
// between the two stores loses nothing that the periodic scan does not find.
template <uint32_t kBits>
struct PendingSet {
  std::atomic<uint64_t> summary[(kBits / 64 + 63) / 64];
  std::atomic<uint64_t> leaf[kBits / 64];
};

struct alignas(64) NicMemory {
  std::atomic<uint32_t> interrupt;  // futex word: bumped when something is pending
  std::atomic<uint32_t> sleeping;   // 1 while the NIC thread waits on it
  OwnedLock atomic_lock;            // serialises atomics on host memory, as rxe's device-wide lock does
  uint32_t nic_count;
  uint64_t heap_bytes;
  NicCounters counters[kMaxNics];
  RouteTraffic routes[kMaxRoutes];  // without what QpTraffic still holds
  PendingSet<kMaxQps> pending_qps;
  PendingSet<kMaxCqs> pending_cqs;
  PendingSet<kMaxSrqs> pending_srqs;
  std::atomic<uint32_t> absent[kMaxNics];              // bits by ib_wr_opcode: see NicDevices::AddNic()
  std::atomic<uint32_t> port_mtu[kMaxNics];            // bytes of payload that a datagram may have
  std::atomic<uint32_t> port_link[kMaxNics];           // NICs with the same number, not 0, share their addresses
  std::atomic<uint32_t> multicast[kMulticastBuckets];  // first MulticastMember, 0 none
  MulticastMember multicast_members[kMaxMulticastMembers];
  MmEntry mms[kMaxMms];
  MrEntry mrs[kMaxMrs];
  CqContext cqs[kMaxCqs];
  QpContext qps[kMaxQps];
  SrqContext srqs[kMaxSrqs];
  AhContext ahs[kMaxAhs];
  MwEntry mws[kMaxMws];
};

inline bool Lacks(const NicMemory& memory, uint32_t nic, uint32_t opcode) {
  return (memory.absent[nic].load(std::memory_order_relaxed) >> opcode & 1) != 0;
}

}  // namespace causeway::roce
