// SPDX-License-Identifier: Apache-2.0
// A NIC on a bench, for tests: an arena, a bus with one function whose BAR is backed by memory, two QPs connected to
// each other, driven as the provider drives them (rings written by hand, doorbells by RingDoorbell()).
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <thread>

#include "devices/roce_nic/engine.h"
#include "devices/roce_nic/nic.h"
#include "devices/roce_nic/owned_lock.h"
#include "uapi/rxe.h"

namespace causeway::roce {

constexpr uint32_t kAllAccess = uapi::IB_ACCESS_LOCAL_WRITE | uapi::IB_ACCESS_REMOTE_WRITE |
                                uapi::IB_ACCESS_REMOTE_READ | uapi::IB_ACCESS_REMOTE_ATOMIC;

class Bench : public ::testing::Test {
 protected:
  static constexpr uint64_t kHeapBytes = 64 << 20;
  static constexpr uint64_t kHbmBytes = 16 << 20;
  static constexpr uint32_t kSlot = 1;

  Bench() {
    pci::TopologySpec spec;
    spec.host_bridges = {{.name = "pc0"}};
    spec.root_ports = {{.name = "rp0", .on = "pc0"}};
    spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"a", "b"}}};
    pci::FunctionSpec accelerator = {.name = "gaudi0", .at = "a"};
    accelerator.bars[4] = {.size = kHbmBytes, .prefetchable = true};
    spec.functions = {accelerator, {.name = "rxe0", .at = "b"}};
    std::string reason;
    auto built = pci::Topology::Build(spec, &reason);
    CW_INVARIANT(built);
    topology_ = std::move(*built);

    const auto align = [](uint64_t value) { return (value + 4095) & ~uint64_t{4095}; };
    const uint64_t slots = align(sizeof(ipc::ArenaHeader));
    const uint64_t bus_map = align(slots + sizeof(ipc::ThreadSlot) * ipc::kMaxThreads);
    const uint64_t nic = align(bus_map + sizeof(pci::BusMap));
    const uint64_t heap = align(nic + sizeof(NicMemory));
    const uint64_t bytes = heap + kHeapBytes;
    const int fd = memfd_create("arena", MFD_CLOEXEC);
    CW_INVARIANT(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
    arena_ = static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0));
    arena_bytes_ = bytes;
    header_ = new (arena_) ipc::ArenaHeader;
    header_->arena_bytes = bytes;
    header_->slots_offset = slots;
    header_->slots_used = ipc::kMaxThreads;
    header_->region_offset[ipc::kRegionBusMap] = bus_map;
    header_->region_offset[ipc::kRegionNic] = nic;
    header_->region_offset[ipc::kRegionNicHeap] = heap;
    memories_ = std::make_unique<ipc::MemoryTable>();
    CW_INVARIANT(*memories_->Adopt("arena", UniqueFd(fd), bytes) == ipc::kArenaMemory);
    bus_ = std::make_unique<pci::Bus>(*topology_, *reinterpret_cast<pci::BusMap*>(arena_ + bus_map));
    hbm_ = *memories_->Create("hbm", kHbmBytes);
    accelerator_ = topology_->FindFunction("gaudi0");
    nic_function_ = topology_->FindFunction("rxe0");
    CW_INVARIANT(bus_->BackBar(*accelerator_, 4, 0, kHbmBytes, hbm_, 0));

    devices_ = std::make_unique<NicDevices>(arena_, *header_, *memories_, *bus_);
    devices_->SetInterrupts(
        {.completion = [this](uint32_t) { completions_.fetch_add(1); },
         .cq_error = [this](uint32_t) { cq_errors_.fetch_add(1); },
         .qp = [this](uint32_t,
                      QpEvent event) { (event == QpEvent::kLastWqeReached ? last_wqes_ : qp_events_).fetch_add(1); },
         .srq_limit = [this](uint32_t) { srq_limits_.fetch_add(1); }});
    devices_->Start();
    nic_ = devices_->AddNic();
    mm_ = *devices_->AddAddressSpace(static_cast<uint32_t>(getpid()));
    pd_ = devices_->AllocPd();
    auto* thread_slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + slots);
    thread_slots[kSlot].state.store(ipc::ThreadSlot::kConnected);
    InitEngine(
        engine_, arena_, mm_,
        [](void* context, uint32_t memory, uint32_t window) {
          uint64_t len = 1;
          return static_cast<ipc::MemoryTable*>(context)->At(memory, uint64_t{window} << kWindowBits, &len);
        },
        memories_.get());
    a_ = MakeEnd();
    b_ = MakeEnd();
    Connect(a_, b_);
    Connect(b_, a_);
  }
  ~Bench() override {
    devices_.reset();
    munmap(arena_, arena_bytes_);
  }

  struct End {
    uint32_t cq, qpn;
    uint32_t polled = 0;
  };

  End MakeEnd(uint32_t cq_slots = 64, uint32_t type = kRc, uint32_t srq = 0) {
    End end = {};
    end.cq = *devices_->CreateCq(nic_, cq_slots);
    QpCreate create = {};
    create.nic = nic_;
    create.pd = pd_;
    create.type = type;
    create.srq = srq;
    create.send_cq = create.recv_cq = end.cq;
    create.max_send_sge = create.max_recv_sge = 4;
    create.max_inline = 64;
    create.sq = {32, 512};
    if (srq == 0) create.rq = {32, 128};
    end.qpn = *devices_->CreateQp(create);
    return end;
  }

  static void GidOf(uint8_t* gid) {
    memset(gid, 0, 16);
    gid[15] = 1;
  }

  void Connect(End& end, const End& peer) {
    AddressVector av = {};
    GidOf(av.dgid);
    GidOf(av.sgid);
    av.dest_nic = static_cast<uint16_t>(nic_);
    QpAttributes attributes = {};
    attributes.state = kRts;
    attributes.av = av;
    attributes.dest_qpn = peer.qpn;
    attributes.path_mtu_bytes = 1024;
    attributes.access = kAllAccess;
    attributes.rq_psn = 7;
    attributes.sq_psn = 7;
    attributes.timeout = 8;  // 1 ms
    attributes.retry_count = 2;
    attributes.rnr_retry = 3;
    attributes.min_rnr_timer = 1;  // 10 us
    attributes.max_rd_atomic = attributes.max_dest_rd_atomic = 1;
    devices_->ModifyQp(end.qpn, attributes);
  }

  // Two ends of type `type`, connected to each other; `srq` is the second one's.
  std::pair<End, End> MakePair(uint32_t type = kRc, uint32_t srq = 0) {
    std::pair<End, End> pair = {MakeEnd(64, type), MakeEnd(64, type, srq)};
    Connect(pair.first, pair.second);
    Connect(pair.second, pair.first);
    return pair;
  }

  void Modify(End& end, QpAttributes attributes) { devices_->ModifyQp(end.qpn, attributes); }

  uint32_t HostRegionOf(void* address, uint64_t len, uint32_t access = kAllAccess, uint32_t pd = 0) {
    const HostRegion host = {mm_, reinterpret_cast<uint64_t>(address)};
    MrCreate create = {};
    create.nic = nic_;
    create.pd = pd != 0 ? pd : pd_;
    create.access = access;
    create.iova = reinterpret_cast<uint64_t>(address);
    create.length = len;
    create.host = &host;
    create.initiator = nic_function_;
    create.route = bus_->RouteTo(*nic_function_, nullptr);
    return devices_->mr(*devices_->CreateMr(create)).key;
  }

  // Device memory [offset, + len) at iova `offset`, in `pieces` scatterlist entries.
  uint32_t DeviceRegion(uint64_t offset, uint64_t len, uint32_t pieces = 1, uint32_t access = kAllAccess) {
    std::vector<BusSegment> segments;
    for (uint32_t i = 0; i < pieces; ++i) {
      segments.push_back({accelerator_->bar(4).base + offset + len / pieces * i, len / pieces});
    }
    MrCreate create = {};
    create.nic = nic_;
    create.pd = pd_;
    create.access = access;
    create.iova = offset;
    create.length = len;
    create.bus = segments;
    create.initiator = nic_function_;
    create.route = bus_->RouteTo(*nic_function_, accelerator_);
    return devices_->mr(*devices_->CreateMr(create)).key;
  }

  std::byte* Device(uint64_t offset) {
    uint64_t len = 1;
    return memories_->At(hbm_, offset, &len);
  }

  uapi::rxe_queue_buf* Queue(const Ring& ring) { return reinterpret_cast<uapi::rxe_queue_buf*>(arena_ + ring.offset); }

  struct Send {
    uint32_t opcode = uapi::IB_WR_RDMA_WRITE;
    uint64_t local = 0;
    uint32_t length = 0;
    uint32_t lkey = 0;
    uint64_t remote = 0;
    uint32_t rkey = 0;
    uint32_t immediate = 0;
    uint32_t flags = uapi::IB_SEND_SIGNALED;
    uint64_t compare_add = 0, swap = 0;
    uint64_t wr_id = 1;
    uint32_t num_sge = 1;
    // UD
    uint32_t ah = 0, remote_qpn = 0, qkey = 0;
    // BIND_MW: addr and length of the window are `remote` and `window`, `lkey` the region's, `rkey` the window's
    uint64_t window = 0;
    uint32_t new_key = 0, access = 0;
    // FLUSH
    uint8_t type = 0, level = 0;
  };

  void Post(End& end, const Send& send) {
    QpContext& qp = devices_->qp(end.qpn);
    auto* queue = Queue(qp.sq);
    const uint32_t at = queue->producer_index.load() & qp.sq.mask;
    auto* wqe = reinterpret_cast<uapi::rxe_send_wqe*>(uapi::RxeSlot(queue, at, qp.sq.log2_elem));
    memset(static_cast<void*>(wqe), 0xa5, sizeof(*wqe));  // scratch of a former user: must not matter
    wqe->wr.wr_id = send.wr_id;
    wqe->wr.opcode = send.opcode;
    wqe->wr.send_flags = send.flags;
    wqe->wr.ex = send.immediate;
    if (send.opcode == uapi::IB_WR_ATOMIC_CMP_AND_SWP || send.opcode == uapi::IB_WR_ATOMIC_FETCH_AND_ADD) {
      wqe->wr.wr.atomic.remote_addr = send.remote;
      wqe->wr.wr.atomic.rkey = send.rkey;
      wqe->wr.wr.atomic.compare_add = send.compare_add;
      wqe->wr.wr.atomic.swap = send.swap;
    } else if (qp.type == kUd) {
      wqe->wr.wr.ud.ah_num = send.ah;
      wqe->wr.wr.ud.remote_qpn = send.remote_qpn;
      wqe->wr.wr.ud.remote_qkey = send.qkey;
    } else if (send.opcode == uapi::IB_WR_BIND_MW) {
      wqe->wr.wr.mw = {send.remote, send.window, send.lkey, send.rkey, send.new_key, send.access};
    } else if (send.opcode == uapi::IB_WR_FLUSH) {
      wqe->wr.wr.flush = {send.remote, send.length, send.rkey, send.type, send.level};
    } else {
      wqe->wr.wr.rdma.remote_addr = send.remote;
      wqe->wr.wr.rdma.rkey = send.rkey;
    }
    wqe->dma.length = send.length;
    wqe->dma.num_sge = send.num_sge;
    auto* sge = reinterpret_cast<uapi::rxe_sge*>(wqe + 1);
    if (send.opcode == uapi::IB_WR_ATOMIC_WRITE) {
      memcpy(static_cast<void*>(sge), &send.swap, 8);
    } else if ((send.flags & uapi::IB_SEND_INLINE) != 0) {
      memcpy(static_cast<void*>(sge), reinterpret_cast<const void*>(send.local), send.length);
    } else {
      *sge = {send.local, send.length, send.lkey};
    }
    queue->producer_index.store((at + 1) & qp.sq.mask);
  }
  void Ring_(End& end) { RingDoorbell(engine_, kSlot, end.qpn); }
  void PostAndRing(End& end, const Send& send) {
    Post(end, send);
    Ring_(end);
  }

  void PostReceiveTo(const Ring& ring, void* to, uint32_t length, uint32_t lkey, uint64_t wr_id, uint32_t num_sge) {
    auto* queue = Queue(ring);
    const uint32_t at = queue->producer_index.load() & ring.mask;
    auto* wqe = reinterpret_cast<uapi::rxe_recv_wqe*>(uapi::RxeSlot(queue, at, ring.log2_elem));
    wqe->wr_id = wr_id;
    wqe->dma.num_sge = num_sge;
    *reinterpret_cast<uapi::rxe_sge*>(wqe + 1) = {reinterpret_cast<uint64_t>(to), length, lkey};
    queue->producer_index.store((at + 1) & ring.mask);
  }
  void PostReceive(End& end, void* to, uint32_t length, uint32_t lkey, uint64_t wr_id = 100, uint32_t num_sge = 1) {
    PostReceiveTo(devices_->qp(end.qpn).rq, to, length, lkey, wr_id, num_sge);
  }
  void PostShared(uint32_t srq, void* to, uint32_t length, uint32_t lkey, uint64_t wr_id = 100, uint32_t num_sge = 1) {
    PostReceiveTo(devices_->srq_ring(srq), to, length, lkey, wr_id, num_sge);
  }
  uint32_t MakeSrq(uint32_t slots = 32, uint32_t limit = 0) {
    return *devices_->CreateSrq({.nic = nic_, .pd = pd_, .max_sge = 4, .limit = limit, .ring = {slots, 128}});
  }

  bool Poll(End& end, uapi::ib_uverbs_wc* out) {
    const Ring& ring = devices_->cq_ring(end.cq);
    auto* queue = Queue(ring);
    const uint32_t consumer = queue->consumer_index.load();
    if (queue->producer_index.load() == consumer) return false;
    memcpy(out, uapi::RxeSlot(queue, consumer, ring.log2_elem), sizeof(*out));
    queue->consumer_index.store((consumer + 1) & ring.mask);
    return true;
  }
  // Polls until an entry comes; a test that waits in vain fails after five seconds.
  uapi::ib_uverbs_wc Wait(End& end) {
    uapi::ib_uverbs_wc entry = {};
    const uint64_t deadline = MonotonicNs() + 5'000'000'000;
    while (!Poll(end, &entry)) {
      if (MonotonicNs() > deadline) {
        ADD_FAILURE() << "no completion came";
        entry.status = ~0u;
        return entry;
      }
    }
    return entry;
  }
  // Waits until `condition`, at most five seconds.
  template <typename Condition>
  bool Eventually(Condition condition) {
    const uint64_t deadline = MonotonicNs() + 5'000'000'000;
    while (!condition()) {
      if (MonotonicNs() > deadline) return false;
    }
    return true;
  }

  // A thread that holds `lock` is killed while `work`, in another thread, waits for it. Returns when `work` is through.
  template <typename Work>
  void KillWhileHolding(OwnedLock& lock, ipc::LockLevel level, Work work) {
    auto* slots = reinterpret_cast<ipc::ThreadSlot*>(arena_ + header_->slots_offset);
    constexpr uint32_t kDeadSlot = 9;
    slots[kDeadSlot].state.store(ipc::ThreadSlot::kConnected);
    slots[kDeadSlot].epoch.store(1);
    slots[kDeadSlot].lock[level].store(static_cast<uint64_t>(reinterpret_cast<std::byte*>(&lock) - arena_));
    lock.word.store(kDeadSlot + 1);
    std::thread waiter(work);
    EXPECT_TRUE(Eventually([&] { return (lock.word.load() & OwnedLock::kContended) != 0; }));
    slots[kDeadSlot].state.store(ipc::ThreadSlot::kDead);
    devices_->RecoverSlot(kDeadSlot);
    waiter.join();
    EXPECT_EQ(slots[kDeadSlot].epoch.load() & 1, 0u);
  }

  std::unique_ptr<pci::Topology> topology_;
  std::byte* arena_;
  uint64_t arena_bytes_;
  ipc::ArenaHeader* header_;
  std::unique_ptr<ipc::MemoryTable> memories_;
  std::unique_ptr<pci::Bus> bus_;
  std::unique_ptr<NicDevices> devices_;
  const pci::Function* accelerator_;
  const pci::Function* nic_function_;
  uint32_t hbm_, nic_, mm_, pd_;
  Engine engine_ = {};
  End a_, b_;
  std::atomic<int> completions_{0}, cq_errors_{0}, qp_events_{0}, last_wqes_{0}, srq_limits_{0};
};

}  // namespace causeway::roce
