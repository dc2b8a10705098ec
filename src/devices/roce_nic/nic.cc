// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/nic.h"

#include <bit>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "base/checked.h"
#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/engine.h"
#include "devices/roce_nic/heap.h"
#include "devices/roce_nic/responder.h"
#include "uapi/rxe.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kCqeElementBytes = 64;  // any power of two >= 48 suits the provider, which reads it from the header
constexpr int64_t kErrPollNs = 2'000'000;  // receives posted to a QP in ERR ring no doorbell: looked for this often
constexpr int64_t kIdleNs = 1'000'000'000;

// Cyclic index allocation, as the kernel's rxe_pool does: a freed number rests until the others have had their turn.
class IndexPool {
 public:
  IndexPool(uint32_t first, uint32_t limit) : first_(first), limit_(limit), next_(first) {}
  Result<uint32_t> Take() {
    const std::lock_guard lock(mutex_);
    if (used_.size() >= limit_ - first_) return Err(ENOMEM);
    while (!used_.insert(next_).second) Step();
    const uint32_t index = next_;
    Step();
    return index;
  }
  void Give(uint32_t index) {
    const std::lock_guard lock(mutex_);
    used_.erase(index);
  }
  std::vector<uint32_t> Used() const {
    const std::lock_guard lock(mutex_);
    return {used_.begin(), used_.end()};
  }

 private:
  void Step() { next_ = next_ + 1 == limit_ ? first_ : next_ + 1; }
  mutable std::mutex mutex_;
  const uint32_t first_, limit_;
  uint32_t next_;
  std::set<uint32_t> used_;
};

}  // namespace

struct NicDevices::Impl {
  Impl(std::byte* base, ipc::ArenaHeader& header_in, ipc::MemoryTable& memories_in, pci::Bus& bus_in)
      : arena(base),
        header(header_in),
        memories(memories_in),
        bus(bus_in),
        heap(memories_in, header_in.region_offset[ipc::kRegionNicHeap],
             header_in.arena_bytes - header_in.region_offset[ipc::kRegionNicHeap]),
        slots(reinterpret_cast<ipc::ThreadSlot*>(base + header_in.slots_offset)),
        random(std::random_device{}()) {
    InitEngine(engine, base, ~0u, &MapWindow, this);
    nic = engine.nic;
    slots[kMachineSlot].state.store(ipc::ThreadSlot::kConnected);
    actor = {arena, &slots[kMachineSlot], kMachineSlot};
  }

  static std::byte* MapWindow(void* context, uint32_t memory, uint32_t window) {
    auto& self = *static_cast<Impl*>(context);
    uint64_t len = 1;
    return self.memories.At(memory, uint64_t{window} << kWindowBits, &len);
  }

  // Waits until no thread uses what was valid before the call.
  void Grace() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (uint32_t i = 0; i < ipc::kMaxThreads; ++i) {
      ipc::ThreadSlot& slot = slots[i];
      if (i == kMachineSlot) continue;  // under `mutex`, which the caller has been through
      const uint64_t epoch = slot.epoch.load(std::memory_order_acquire);
      if ((epoch & 1) == 0) continue;
      while (slot.state.load(std::memory_order_acquire) == ipc::ThreadSlot::kConnected &&
             slot.epoch.load(std::memory_order_acquire) == epoch) {
        // The owner does not wake anybody on its way out (a system call per doorbell); look again in a moment.
        FutexWait(*reinterpret_cast<std::atomic<uint32_t>*>(&slot.epoch), static_cast<uint32_t>(epoch), 200'000);
      }
    }
  }

  Result<Ring> MakeRing(RingSize size) {
    Ring ring = {};
    if (size.slots == 0) return ring;
    const uint64_t bytes = AlignUp(sizeof(uapi::rxe_queue_buf) + uint64_t{size.slots} * size.elem_bytes, kPageSize);
    if (bytes > ~uint32_t{0}) return Err(ENOMEM);
    CW_TRY(ring.offset, heap.Allocate(bytes));
    ring.bytes = static_cast<uint32_t>(bytes);
    ring.mask = size.slots - 1;
    ring.log2_elem = static_cast<uint32_t>(std::countr_zero(size.elem_bytes));
    auto* queue = Queue(ring);
    queue->log2_elem_size = ring.log2_elem;
    queue->index_mask = ring.mask;
    return ring;
  }

  uapi::rxe_queue_buf* Queue(const Ring& ring) { return reinterpret_cast<uapi::rxe_queue_buf*>(arena + ring.offset); }

  void ClearPending(auto& set, uint32_t index) { set.leaf[index / 64].fetch_and(~(uint64_t{1} << (index % 64))); }

  // Calls visit(index) for every pending bit, clearing it first.
  void Drain(auto& set, auto&& visit) {
    for (uint32_t s = 0; s < std::size(set.summary); ++s) {
      uint64_t words = set.summary[s].load(std::memory_order_relaxed) == 0 ? 0 : set.summary[s].exchange(0);
      for (; words != 0; words &= words - 1) {
        const uint32_t leaf = s * 64 + static_cast<uint32_t>(std::countr_zero(words));
        uint64_t bits = set.leaf[leaf].exchange(0, std::memory_order_acquire);
        for (; bits != 0; bits &= bits - 1) visit(leaf * 64 + static_cast<uint32_t>(std::countr_zero(bits)));
      }
    }
  }

  void RunFromMachine(QpContext& qp, RunReason reason) {
    const std::lock_guard lock(mutex);
    const EpochGuard epoch(actor);
    for (;;) {
      OwnedLockGuard sq(actor, qp.sq_lock, ipc::kLockSq);
      const uint32_t seen = qp.doorbells.load(std::memory_order_acquire);
      RunSendQueueLocked(engine, actor, qp, reason);
      sq.Release();
      if (qp.doorbells.load(std::memory_order_seq_cst) == seen) return;
    }
  }

  // Applies RESET's emptying of a queue (rxe_qp.c rxe_qp_reset()): entries vanish, completions stay.
  void EmptyRing(Ring& ring) {
    if (ring.offset == 0) return;
    ring.index = Queue(ring)->producer_index.load(std::memory_order_acquire) & ring.mask;
    Queue(ring)->consumer_index.store(ring.index, std::memory_order_release);
  }

  void HandleQp(uint32_t qpn) {
    QpContext& qp = nic->qps[qpn];
    const uint32_t attention = qp.attention.exchange(0, std::memory_order_acq_rel);
    if (qp.valid.load(std::memory_order_acquire) == 0) return;
    if ((attention & kAttentionFlush) != 0) {
      RunFromMachine(qp, RunReason::kDoorbell);
      const std::lock_guard lock(mutex);
      in_error.insert(qpn);
    }
    if ((attention & kAttentionRun) != 0) RunFromMachine(qp, RunReason::kDoorbell);
    if ((attention & kAttentionTimer) != 0) {
      const uint64_t deadline = qp.deadline_ns.load(std::memory_order_relaxed);
      if (deadline != 0) timers.emplace(deadline, qpn);
    }
    if ((attention & kAttentionDrained) != 0 && interrupts.qp) interrupts.qp(qpn, QpEvent::kSqDrained);
    if ((attention & kAttentionLastWqe) != 0 && interrupts.qp) interrupts.qp(qpn, QpEvent::kLastWqeReached);
  }

  void HandleCq(uint32_t index) {
    CqContext& cq = nic->cqs[index];
    if (cq.valid.load(std::memory_order_acquire) == 0) return;
    for (uint32_t n = cq.overflows_pending.exchange(0); n > 0; --n) {
      if (interrupts.cq_error) interrupts.cq_error(index);
    }
    for (uint32_t n = cq.completions_pending.exchange(0); n > 0; --n) {
      if (interrupts.completion) interrupts.completion(index);
    }
  }

  void FlushLateReceives() {
    const std::lock_guard lock(mutex);
    const EpochGuard epoch(actor);
    for (auto it = in_error.begin(); it != in_error.end();) {
      QpContext& qp = nic->qps[*it];
      if (qp.valid.load(std::memory_order_acquire) == 0 || qp.state.load(std::memory_order_acquire) != kErr) {
        it = in_error.erase(it);
        continue;
      }
      if (qp.rq.offset != 0 &&
          (Queue(qp.rq)->producer_index.load(std::memory_order_acquire) & qp.rq.mask) != qp.rq.index) {
        const OwnedLockGuard rq(actor, qp.rq_lock, ipc::kLockRq);
        FlushReceiveQueueLocked(engine, actor, qp);
      }
      ++it;
    }
  }

  // Keeps what a QP's requests moved when the QP goes, or its peer changes. With the SQ lock held.
  void RetireCounts(QpContext& qp) {
    FlushTraffic(engine, qp.local);
    FlushTraffic(engine, qp.remote);
    const uint64_t packets = qp.packets.exchange(0);
    nic->counters[qp.nic].retired_sent.fetch_add(packets);
    if (qp.av.dest_nic != kNoNic) nic->counters[qp.av.dest_nic].retired_received.fetch_add(packets);
  }

  // Writes the part of the driver's list that is the region. EINVAL: the list is shorter than the region.
  Status PlaceSegments(const MrCreate& create, MrEntry& entry) {
    std::vector<BusSegment> parts;
    uint64_t skip = create.bus_offset;
    uint64_t start = 0;
    for (const BusSegment& from : create.bus) {
      if (skip >= from.len) {
        skip -= from.len;
        continue;
      }
      if (start >= create.length) break;
      parts.push_back({from.dma_address + skip, std::min(from.len - skip, create.length - start)});
      start += parts.back().len;
      skip = 0;
    }
    if (start < create.length || parts.empty()) return Err(EINVAL);
    Segment* table = &entry.segment;
    if (parts.size() > 1) {
      entry.segment_bytes = static_cast<uint32_t>(AlignUp(parts.size() * sizeof(Segment), kPageSize));
      CW_TRY(entry.segments, heap.Allocate(entry.segment_bytes));
      table = reinterpret_cast<Segment*>(arena + entry.segments);
    }
    start = 0;
    for (const BusSegment& part : parts) {
      Segment& segment = table[entry.segment_count++];
      segment.start = start;
      segment.address = part.dma_address;
      segment.len = part.len;
      segment.window.store(pci::kMaxWindows);
      start += part.len;
    }
    return {};
  }

  // The NIC thread: interrupts, retry timers.
  void Run() {
    while (!stop.load(std::memory_order_acquire)) {
      const uint32_t seen = nic->interrupt.load(std::memory_order_seq_cst);
      Drain(nic->pending_qps, [&](uint32_t qpn) { HandleQp(qpn); });
      Drain(nic->pending_cqs, [&](uint32_t cq) { HandleCq(cq); });
      uint64_t now = MonotonicNs();
      while (!timers.empty() && timers.begin()->first <= now) {
        const uint32_t qpn = timers.begin()->second;
        timers.erase(timers.begin());
        RunFromMachine(nic->qps[qpn], RunReason::kTimer);
        now = MonotonicNs();
      }
      int64_t wait = kIdleNs;
      if (!timers.empty()) wait = static_cast<int64_t>(timers.begin()->first - now);
      bool any_in_error;
      {
        const std::lock_guard lock(mutex);
        any_in_error = !in_error.empty();
      }
      if (any_in_error) {
        FlushLateReceives();
        wait = std::min(wait, kErrPollNs);
      }
      nic->sleeping.store(1, std::memory_order_seq_cst);
      if (nic->interrupt.load(std::memory_order_seq_cst) == seen) FutexWait(nic->interrupt, seen, wait);
      nic->sleeping.store(0, std::memory_order_relaxed);
    }
  }

  std::byte* const arena;
  ipc::ArenaHeader& header;
  ipc::MemoryTable& memories;
  pci::Bus& bus;
  Heap heap;
  ipc::ThreadSlot* const slots;
  Engine engine = {};
  NicMemory* nic;
  Actor actor;
  // The machine's threads use the data path one at a time, under this lock. Outermost: before any OwnedLock.
  std::mutex mutex;
  std::set<uint32_t> in_error;               // guarded by mutex
  std::multimap<uint64_t, uint32_t> timers;  // the NIC thread's own
  Interrupts interrupts;
  std::thread thread;
  std::atomic<bool> stop{false};
  std::mt19937 random;
  std::mutex random_mutex;
  std::atomic<uint32_t> next_pd{1};
  std::atomic<uint64_t> next_generation{1};
  IndexPool qpns{kFirstQpn, kMaxQps};
  IndexPool cqs{1, kMaxCqs};
  IndexPool mrs{2, kMaxMrs};  // 1 is the kernel's own, as on rxe
  IndexPool mms{1, kMaxMms};
};

NicDevices::NicDevices(std::byte* base, ipc::ArenaHeader& header, ipc::MemoryTable& memories, pci::Bus& bus)
    : impl_(std::make_unique<Impl>(base, header, memories, bus)) {
  bus.AddLiveTraffic([impl = impl_.get()](const auto& report) {
    for (uint32_t route = 0; route < kMaxRoutes; ++route) {
      const RouteTraffic& total = impl->nic->routes[route];
      if (const uint64_t read = total.read.load(), written = total.written.load(); (read | written) != 0) {
        report(route, read, written);
      }
    }
    for (const uint32_t qpn : impl->qpns.Used()) {
      for (const QpTraffic* traffic : {&impl->nic->qps[qpn].local, &impl->nic->qps[qpn].remote}) {
        const uint64_t read = traffic->read.load();
        const uint64_t written = traffic->written.load();
        if ((read | written) != 0) report(traffic->route.load(), read, written);
      }
    }
  });
}

NicDevices::~NicDevices() {
  impl_->stop.store(true);
  impl_->nic->interrupt.fetch_add(1);
  FutexWake(impl_->nic->interrupt, 1);
  if (impl_->thread.joinable()) impl_->thread.join();
}

void NicDevices::SetInterrupts(Interrupts interrupts) { impl_->interrupts = std::move(interrupts); }
void NicDevices::Start() {
  impl_->thread = std::thread([this] { impl_->Run(); });
}

uint32_t NicDevices::AddNic() { return impl_->nic->nic_count++; }
const NicCounters& NicDevices::counters(uint32_t nic) const {
  NicCounters& counters = impl_->nic->counters[nic];
  uint64_t sent = counters.retired_sent.load();
  uint64_t received = counters.retired_received.load();
  for (const uint32_t qpn : impl_->qpns.Used()) {
    const QpContext& qp = impl_->nic->qps[qpn];
    if (qp.nic == nic) sent += qp.packets.load();
    if (qp.av.dest_nic == nic) received += qp.packets.load();
  }
  counters.sent_pkts.store(sent);
  counters.rcvd_pkts.store(received);
  return counters;
}

uint32_t NicDevices::AllocPd() { return impl_->next_pd.fetch_add(1); }

Result<uint32_t> NicDevices::AddAddressSpace(uint32_t pid) {
  CW_TRY(const uint32_t index, impl_->mms.Take());
  MmEntry& mm = impl_->nic->mms[index];
  mm.pid = pid;
  mm.generation.store(impl_->next_generation.fetch_add(1), std::memory_order_release);
  return index;
}

void NicDevices::EndAddressSpace(uint32_t mm) {
  // Regions of this address space may outlive it (a descriptor kept across exec); their generation never comes again.
  impl_->nic->mms[mm].generation.store(0, std::memory_order_seq_cst);
  impl_->Grace();
  impl_->mms.Give(mm);
}

// ---- completion queues

Result<uint32_t> NicDevices::CreateCq(uint32_t nic, uint32_t slots) {
  CW_TRY(const uint32_t index, impl_->cqs.Take());
  auto ring = impl_->MakeRing({slots, kCqeElementBytes});
  if (!ring) {
    impl_->cqs.Give(index);
    return Err(ring.error());
  }
  CqContext& cq = impl_->nic->cqs[index];
  cq.nic = nic;
  cq.notify = kNotArmed;
  cq.completions_pending = 0;
  cq.overflows_pending = 0;
  cq.consumer_seen = 0;
  cq.ring = *ring;
  cq.valid.store(1, std::memory_order_release);
  return index;
}

const Ring& NicDevices::cq_ring(uint32_t cq) const { return impl_->nic->cqs[cq].ring; }

uint32_t NicDevices::CqDepth(uint32_t index) {
  const CqContext& cq = impl_->nic->cqs[index];
  return (cq.ring.index - impl_->Queue(cq.ring)->consumer_index.load(std::memory_order_acquire)) & cq.ring.mask;
}

Result<Ring> NicDevices::ResizeCq(uint32_t index, uint32_t slots, Ring* old_ring) {
  CW_TRY(Ring ring, impl_->MakeRing({slots, kCqeElementBytes}));
  const std::lock_guard machine(impl_->mutex);
  CqContext& cq = impl_->nic->cqs[index];
  OwnedLockGuard lock(impl_->actor, cq.lock, ipc::kLockCq);
  auto* from = impl_->Queue(cq.ring);
  auto* to = impl_->Queue(ring);
  uint32_t at = from->consumer_index.load(std::memory_order_acquire) & cq.ring.mask;
  const uint32_t count = (cq.ring.index - at) & cq.ring.mask;
  if (count > ring.mask) {
    lock.Release();
    impl_->heap.Free(ring.offset, ring.bytes);
    return Err(EINVAL);
  }
  for (uint32_t i = 0; i < count; ++i, at = (at + 1) & cq.ring.mask) {
    std::memcpy(uapi::RxeSlot(to, i, ring.log2_elem), uapi::RxeSlot(from, at, cq.ring.log2_elem),
                sizeof(uapi::ib_uverbs_wc));
  }
  ring.index = count;
  to->producer_index.store(count, std::memory_order_release);
  from->consumer_index.store(cq.ring.index, std::memory_order_release);
  *old_ring = cq.ring;
  cq.ring = ring;
  cq.consumer_seen = 0;
  return ring;
}

void NicDevices::RequestNotify(uint32_t index, Notify mode) {
  CqContext& cq = impl_->nic->cqs[index];
  const uint32_t wanted = mode == Notify::kNext ? kArmedNext : kArmedSolicited;
  // rxe_verbs.c rxe_req_notify_cq(): an arm for any completion is not narrowed by a later one for solicited ones.
  uint32_t now = cq.notify.load();
  while (now < wanted && !cq.notify.compare_exchange_weak(now, wanted)) {
  }
}

void NicDevices::DestroyCq(uint32_t index) {
  CqContext& cq = impl_->nic->cqs[index];
  {
    const std::lock_guard machine(impl_->mutex);
    OwnedLockGuard lock(impl_->actor, cq.lock, ipc::kLockCq);
    cq.valid.store(0, std::memory_order_seq_cst);
  }
  impl_->Grace();
  impl_->ClearPending(impl_->nic->pending_cqs, index);
  impl_->cqs.Give(index);
}

void NicDevices::FreeRing(const Ring& ring) {
  if (ring.offset != 0) impl_->heap.Free(ring.offset, ring.bytes);
}

// ---- queue pairs

Result<uint32_t> NicDevices::CreateQp(const QpCreate& create) {
  CW_TRY(const uint32_t qpn, impl_->qpns.Take());
  auto sq = impl_->MakeRing(create.sq);
  if (!sq) {
    impl_->qpns.Give(qpn);
    return Err(sq.error());
  }
  auto rq = impl_->MakeRing(create.rq);
  if (!rq) {
    FreeRing(*sq);
    impl_->qpns.Give(qpn);
    return Err(rq.error());
  }
  QpContext& qp = impl_->nic->qps[qpn];
  std::memset(static_cast<void*>(&qp), 0, sizeof(qp));  // nobody has it: it was given back after a grace period
  qp.state.store(kReset);
  qp.qpn = qpn;
  qp.type = create.type;
  qp.nic = create.nic;
  qp.pd = create.pd;
  qp.owner_file = create.owner_file;
  qp.handle = create.handle;
  qp.user_handle = create.user_handle;
  qp.sq_sig_all = create.sq_sig_all ? 1 : 0;
  qp.send_cq = create.send_cq;
  qp.recv_cq = create.recv_cq;
  qp.srq = create.srq;
  qp.max_send_sge = create.max_send_sge;
  qp.max_recv_sge = create.max_recv_sge;
  qp.max_inline = create.max_inline;
  qp.av.dest_nic = kNoNic;
  qp.sq = *sq;
  qp.rq = *rq;
  qp.valid.store(1, std::memory_order_release);
  return qpn;
}

QpContext& NicDevices::qp(uint32_t qpn) { return impl_->nic->qps[qpn]; }

void NicDevices::ModifyQp(uint32_t qpn, const QpAttributes& attributes) {
  const std::lock_guard machine(impl_->mutex);
  const EpochGuard epoch(impl_->actor);
  QpContext& qp = impl_->nic->qps[qpn];
  const OwnedLockGuard sq(impl_->actor, qp.sq_lock, ipc::kLockSq);
  bool flush = false;
  {
    const OwnedLockGuard rq(impl_->actor, qp.rq_lock, ipc::kLockRq);
    const auto apply = [](const auto& from, auto& to) {
      if (from) to = *from;
    };
    if (attributes.av) impl_->RetireCounts(qp);
    apply(attributes.av, qp.av);
    apply(attributes.dest_qpn, qp.dest_qpn);
    apply(attributes.path_mtu_bytes, qp.path_mtu_bytes);
    apply(attributes.access, qp.access);
    apply(attributes.qkey, qp.qkey);
    apply(attributes.rq_psn, qp.expected_psn);
    apply(attributes.sq_psn, qp.sq_psn);
    apply(attributes.timeout, qp.timeout);
    apply(attributes.retry_count, qp.retry_count);
    apply(attributes.rnr_retry, qp.rnr_retry);
    apply(attributes.min_rnr_timer, qp.min_rnr_timer);
    apply(attributes.max_rd_atomic, qp.max_rd_atomic);
    apply(attributes.max_dest_rd_atomic, qp.max_dest_rd_atomic);
    if (attributes.retry_count || attributes.state == kRts) qp.retries_left = qp.retry_count;
    if (attributes.rnr_retry || attributes.state == kRts) qp.rnr_left = qp.rnr_retry;
    if (attributes.state) {
      const uint32_t before = qp.state.load(std::memory_order_relaxed);
      qp.state.store(*attributes.state, std::memory_order_release);
      switch (*attributes.state) {
        case kReset:
          impl_->EmptyRing(qp.sq);
          impl_->EmptyRing(qp.rq);
          qp.parked = 0;
          qp.deadline_ns.store(0);
          qp.msn = 0;
          qp.sq_draining = 0;
          break;
        case kErr: flush = true; break;
        case kSqd:
          if (before == kRts) {
            if (qp.parked != 0) {
              qp.sq_draining = 1;
            } else {
              RaiseAttention(impl_->engine, qp, kAttentionDrained);
            }
          }
          break;
        default: break;
      }
    }
  }
  if (flush) {
    FlushLocked(impl_->engine, impl_->actor, qp);
    impl_->in_error.insert(qpn);
    RaiseAttention(impl_->engine, qp, kAttentionFlush);  // wakes the NIC thread to its polling of late receives
  }
}

void NicDevices::DestroyQp(uint32_t qpn) {
  QpContext& qp = impl_->nic->qps[qpn];
  {
    const std::lock_guard machine(impl_->mutex);
    const EpochGuard epoch(impl_->actor);
    const OwnedLockGuard sq(impl_->actor, qp.sq_lock, ipc::kLockSq);
    const OwnedLockGuard rq(impl_->actor, qp.rq_lock, ipc::kLockRq);
    qp.valid.store(0, std::memory_order_seq_cst);
    impl_->in_error.erase(qpn);
    impl_->RetireCounts(qp);
  }
  impl_->Grace();
  impl_->ClearPending(impl_->nic->pending_qps, qpn);
  impl_->qpns.Give(qpn);
}

void NicDevices::RingDoorbell(uint32_t qpn) {
  QpContext& qp = impl_->nic->qps[qpn];
  qp.doorbells.fetch_add(1, std::memory_order_seq_cst);
  impl_->RunFromMachine(qp, RunReason::kDoorbell);
}

// ---- memory regions

Result<uint32_t> NicDevices::CreateMr(const MrCreate& create) {
  CW_TRY(const uint32_t index, impl_->mrs.Take());
  MrEntry& entry = impl_->nic->mrs[index];
  {
    const std::lock_guard lock(impl_->random_mutex);
    entry.key = index << 8 | (impl_->random() & 0xff);
  }
  entry.pd = create.pd;
  entry.access = create.access;
  entry.iova = create.iova;
  entry.length = create.length;
  entry.nic = create.nic;
  entry.route = create.route;
  entry.segments = 0;
  entry.segment_count = 0;
  entry.function = create.initiator != nullptr ? create.initiator->index() : pci::kAnyInitiator;
  if (create.host != nullptr) {
    entry.kind = kMrHost;
    entry.mm = create.host->mm;
    entry.mm_generation = impl_->nic->mms[entry.mm].generation.load(std::memory_order_acquire);
    entry.address = create.host->address;
  } else {
    entry.kind = kMrBus;
    if (const Status placed = impl_->PlaceSegments(create, entry); !placed) {
      entry.length = 0;
      impl_->mrs.Give(index);
      return Err(placed.error());
    }
  }
  entry.valid.store(1, std::memory_order_release);
  return index;
}

const MrEntry& NicDevices::mr(uint32_t index) const { return impl_->nic->mrs[index]; }

void NicDevices::InvalidateMr(uint32_t index) {
  {
    // Through `mutex`: a machine thread that is inside the data path leaves it before this returns.
    const std::lock_guard machine(impl_->mutex);
    impl_->nic->mrs[index].valid.store(0, std::memory_order_seq_cst);
  }
  impl_->Grace();
}

void NicDevices::DestroyMr(uint32_t index) {
  InvalidateMr(index);
  MrEntry& entry = impl_->nic->mrs[index];
  if (entry.segments != 0) impl_->heap.Free(entry.segments, entry.segment_bytes);
  entry.length = 0;
  impl_->mrs.Give(index);
}

void NicDevices::RecoverSlot(uint32_t index) {
  ipc::ThreadSlot& slot = impl_->slots[index];
  for (std::atomic<uint64_t>& written : slot.lock) {
    const uint64_t offset = written.exchange(0);
    if (offset == 0 || offset > impl_->header.arena_bytes - sizeof(OwnedLock)) continue;
    auto* lock = reinterpret_cast<OwnedLock*>(impl_->arena + offset);
    uint32_t value = lock->word.load();
    if ((value & ~OwnedLock::kContended) != index + 1) continue;  // it was still waiting, or had let go
    lock->word.store(0, std::memory_order_release);
    FutexWake(lock->word, 1 << 30);
    // Whoever else rang this QP counted on the dead thread to look again.
    const auto* first = reinterpret_cast<std::byte*>(&impl_->nic->qps[0]);
    const auto* at = reinterpret_cast<std::byte*>(lock);
    if (at >= first && at < first + sizeof(impl_->nic->qps)) {
      QpContext& qp = impl_->nic->qps[static_cast<uint64_t>(at - first) / sizeof(QpContext)];
      if (qp.valid.load() != 0) RaiseAttention(impl_->engine, qp, kAttentionRun);
    }
  }
  if ((slot.epoch.load() & 1) != 0) slot.epoch.fetch_add(1);
}

}  // namespace causeway::roce
