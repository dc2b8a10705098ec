// SPDX-License-Identifier: Apache-2.0
// The RoCE NIC's command interface, as its driver uses it: make and destroy contexts, apply attributes, take
// interrupts. It checks nothing about programs (the driver has) and knows no errno of the uAPI beyond ENOMEM.
//
// Nics of one machine share one context memory, owned by NicDevices. Runs on: any machine thread; interrupts are
// delivered on the NIC thread, without locks of this room held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "devices/roce_nic/nic_memory.h"
#include "ipc/arena.h"
#include "ipc/memory_table.h"
#include "pci/bus.h"

namespace causeway::roce {

// Modes of CompletionQueue::RequestNotify.
enum class Notify { kSolicited, kNext };

enum class QpEvent { kSqDrained, kLastWqeReached };

struct Interrupts {
  std::function<void(uint32_t cq)> completion;  // an armed CQ got its completion
  std::function<void(uint32_t cq)> cq_error;    // overflow
  std::function<void(uint32_t qpn, QpEvent event)> qp;
  std::function<void(uint32_t srq)> srq_limit;  // SRQ_LIMIT_REACHED
};

struct RingSize {
  uint32_t slots;       // power of two; capacity is slots - 1
  uint32_t elem_bytes;  // power of two
};

struct SrqCreate {
  uint32_t nic, pd;
  uint32_t max_sge;
  uint32_t limit;  // 0: not armed
  RingSize ring;
};

enum class MwType : uint8_t { k1 = 1, k2 = 2 };  // IB_MW_TYPE_1, IB_MW_TYPE_2

struct QpCreate {
  uint32_t nic, pd, type, send_cq, recv_cq;
  uint32_t srq;  // index of a shared receive queue, 0 none
  uint64_t owner_file;
  uint32_t handle;
  uint64_t user_handle;
  bool sq_sig_all;
  uint32_t max_send_sge, max_recv_sge, max_inline;
  RingSize sq, rq;  // rq.slots 0: none (SRQ)
};

// What ModifyQp applies; std::nullopt leaves as is. Values are checked and in NIC form.
struct QpAttributes {
  std::optional<QpState> state;
  std::optional<AddressVector> av;
  std::optional<uint32_t> dest_qpn, path_mtu_bytes, access, qkey, rq_psn, sq_psn;
  std::optional<uint8_t> timeout, retry_count, rnr_retry, min_rnr_timer, max_rd_atomic, max_dest_rd_atomic;
};

struct HostPiece {
  uint64_t start, len;  // bytes of the region
  uint64_t offset;      // of the first in ipc::kHostMemory
};
struct HostRegion {
  uint32_t mm;
  uint64_t address;                   // user address
  std::span<const HostPiece> shared;  // in order; the rest is reached by system call
};
struct HostRegionReport {
  uint32_t pid, nic, key;
  uint64_t address, length;  // user address, bytes
  uint64_t shared_bytes;     // of them reached without system call
};
struct BusSegment {
  uint64_t dma_address;
  uint64_t len;
};

struct MrCreate {
  uint32_t nic, pd, access;
  uint64_t iova, length;
  const HostRegion* host = nullptr;  // exactly one of host and bus
  std::span<const BusSegment> bus;   // entries cover [bus_offset, bus_offset + length) and maybe more
  uint64_t bus_offset = 0;           // where in the entries the region begins
  const pci::Function* initiator = nullptr;
  pci::RouteId route = 0;
};

class NicDevices {
 public:
  // `arena` is mapped at `base`; `heap` is the part of the arena for rings and segment lists.
  NicDevices(std::byte* base, ipc::ArenaHeader& header, ipc::MemoryTable& memories, pci::Bus& bus);
  ~NicDevices();  // stops the NIC thread

  void SetInterrupts(Interrupts interrupts);  // before Start
  void Start();                               // the NIC thread

  // Index of a new NIC. It answers requests of the `absent` opcodes (bits by ib_wr_opcode: atomics, ATOMIC_WRITE,
  // FLUSH) as a NIC that does not know them.
  uint32_t AddNic(uint32_t absent = 0);
  // The port's active MTU in bytes, which bounds datagrams (unset: 4096), and its link: NICs of one link (not 0) have
  // each other's addresses, so that a datagram to one of them is for the QP of its number, whichever NIC that is on.
  void SetPort(uint32_t nic, uint32_t mtu, uint32_t link);
  void CountLinkDowned(uint32_t nic);               // hw_counters link_downed
  const NicCounters& counters(uint32_t nic) const;  // as of now

  uint32_t AllocPd();  // machine-wide number, never reused

  // ---- address spaces: entered by the machine when a process image connects
  Result<uint32_t> AddAddressSpace(uint32_t pid);
  void EndAddressSpace(uint32_t mm);  // its memory regions fail from now on
  // What HostRegions (host_regions.h) says of them.
  void HostUnmapped(uint32_t mm, uint64_t address, uint64_t len);
  bool ReachedByCall(uint32_t mm, uint64_t address, uint64_t len) const;
  std::vector<std::pair<uint64_t, uint64_t>> HostOffsets(uint32_t mm) const;
  std::vector<HostRegionReport> HostRegions() const;

  // ---- completion queues. slots as RingSize; ring of 128-byte elements (rxe's)
  Result<uint32_t> CreateCq(uint32_t nic, uint32_t slots);
  const Ring& cq_ring(uint32_t cq) const;
  uint32_t CqDepth(uint32_t cq);  // entries not yet polled
  // New ring, live entries moved to index 0.. . errors: EINVAL more entries than slots - 1; ENOMEM.
  // `old_ring` is what the caller must Free once it is unmapped.
  Result<Ring> ResizeCq(uint32_t cq, uint32_t slots, Ring* old_ring);
  void RequestNotify(uint32_t cq, Notify mode);
  void DestroyCq(uint32_t cq);  // the context; the ring is the caller's to free (FreeRing)

  // ---- queue pairs
  Result<uint32_t> CreateQp(const QpCreate& create);  // QPN
  QpContext& qp(uint32_t qpn);                        // fields to report; state is an atomic
  void ModifyQp(uint32_t qpn, const QpAttributes& attributes);
  void DestroyQp(uint32_t qpn);  // returns after no thread uses it; rings are the caller's to free
  // The slow way to ring: from the machine (a doorbell whose QP the program did not know yet).
  void RingDoorbell(uint32_t qpn);

  // ---- shared receive queues. The index is 1..; srq_num is the driver's affair (0x20000 + index).
  Result<uint32_t> CreateSrq(const SrqCreate& create);
  const Ring& srq_ring(uint32_t srq) const;
  uint32_t srq_limit(uint32_t srq) const;  // 0 once it has fired
  void SetSrqLimit(uint32_t srq, uint32_t limit);
  // As ResizeCq(). errors: EINVAL more entries queued than slots - 1; ENOMEM.
  Result<Ring> ResizeSrq(uint32_t srq, RingSize size, Ring* old_ring);
  void DestroySrq(uint32_t srq);  // no QP uses it; the ring is the caller's to free

  // ---- address handles of UD
  Result<uint32_t> CreateAh(uint32_t nic, uint32_t pd, const AddressVector& av);  // ah_num, 1..32767
  void DestroyAh(uint32_t ah);

  // ---- multicast. A group's packets go to every attached UD QP of the same GID on every NIC of the machine.
  Status AttachMulticast(uint32_t qpn, const uint8_t gid[16]);  // errors: ENOMEM; attached already: nothing happens
  Status DetachMulticast(uint32_t qpn, const uint8_t gid[16]);  // errors: EINVAL not attached

  // ---- memory windows
  Result<uint32_t> CreateMw(uint32_t nic, uint32_t pd, MwType type);  // index; key in mw(index).rkey
  const MwEntry& mw(uint32_t index) const;
  void DestroyMw(uint32_t index);   // in any state
  uint32_t WindowsOf(uint32_t mr);  // windows bound to a region: it cannot go

  // ---- memory regions
  Result<uint32_t> CreateMr(const MrCreate& create);  // index; key in mr(index).key
  const MrEntry& mr(uint32_t index) const;
  // IB_MR_REREG_PD, IB_MR_REREG_ACCESS: keys stay; no access under the old rules is in progress when this returns.
  void ChangeMr(uint32_t index, std::optional<uint32_t> pd, std::optional<uint32_t> access);
  // The exporter moves the buffer (dma-buf move_notify): accesses stall from StallMr() on, and go on in the new place
  // after ResumeMr(). None is in progress when StallMr() returns.
  void StallMr(uint32_t index);
  Status ResumeMr(uint32_t index, std::span<const BusSegment> bus, uint64_t bus_offset);  // errors: ENOMEM
  void InvalidateMr(uint32_t index);  // accesses fail from now on, none is in progress when this returns
  void DestroyMr(uint32_t index);

  // Gives a ring's pages back; the program has unmapped it, or is gone.
  void FreeRing(const Ring& ring);

  // A thread slot's owner was killed: releases what it held and ends its epoch.
  void RecoverSlot(uint32_t slot);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace causeway::roce
