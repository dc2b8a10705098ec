// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/nic.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/nic_impl.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kCqeElementBytes = 64;  // any power of two >= 48 suits the provider, which reads it from the header

std::byte* MapWindow(void* context, uint32_t memory, uint32_t window) {
  uint64_t len = 1;
  return static_cast<ipc::MemoryTable*>(context)->At(memory, uint64_t{window} << kWindowBits, &len);
}

// The context that a lock is part of; nullptr: of another table.
template <typename Entry, size_t kCount>
Entry* Containing(Entry (&table)[kCount], const OwnedLock* lock) {
  const auto* first = reinterpret_cast<const std::byte*>(&table[0]);
  const auto* at = reinterpret_cast<const std::byte*>(lock);
  if (at < first || at >= first + sizeof(table)) return nullptr;
  return &table[static_cast<uint64_t>(at - first) / sizeof(Entry)];
}

}  // namespace

NicDevices::Impl::Impl(std::byte* base, ipc::ArenaHeader& header_in, ipc::MemoryTable& memories_in, pci::Bus& bus_in)
    : arena(base),
      header(header_in),
      memories(memories_in),
      bus(bus_in),
      heap(memories_in, header_in.region_offset[ipc::kRegionNicHeap],
           header_in.arena_bytes - header_in.region_offset[ipc::kRegionNicHeap]),
      slots(reinterpret_cast<ipc::ThreadSlot*>(base + header_in.slots_offset)),
      random(std::random_device{}()) {
  InitEngine(engine, base, ~0u, &MapWindow, &memories);
  nic = engine.nic;
  const auto set_table = [&](IndexPool& pool, auto* table) {
    pool.SetTable(memories, static_cast<uint64_t>(reinterpret_cast<std::byte*>(table) - arena), sizeof(*table));
  };
  set_table(qpns, nic->qps);
  set_table(cqs, nic->cqs);
  set_table(mrs, nic->mrs);
  set_table(srqs, nic->srqs);
  set_table(ahs, nic->ahs);
  set_table(mws, nic->mws);
  host_regions = std::make_unique<roce::HostRegions>(base, *nic, heap, [this] {
    { const std::lock_guard lock(mutex); }  // a machine thread that is inside the data path leaves it
    Grace();
  });
  slots[kMachineSlot].state.store(ipc::ThreadSlot::kConnected);
  actor = {arena, &slots[kMachineSlot], kMachineSlot};
}

void NicDevices::Impl::Grace() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // The machine's own slot is the last one: under `mutex`, which the caller has been through. A thread whose slot is
  // used for the first time only now finds invalid what was made invalid before.
  const uint32_t used = std::min(header.slots_used.load(std::memory_order_seq_cst), kMachineSlot);
  for (uint32_t i = 0; i < used; ++i) {
    ipc::ThreadSlot& slot = slots[i];
    const uint64_t epoch = slot.epoch.load(std::memory_order_acquire);
    if ((epoch & 1) == 0) continue;
    while (slot.state.load(std::memory_order_acquire) == ipc::ThreadSlot::kConnected &&
           slot.epoch.load(std::memory_order_acquire) == epoch) {
      // The owner does not wake anybody on its way out (a system call per doorbell); look again in a moment.
      FutexWait(*reinterpret_cast<std::atomic<uint32_t>*>(&slot.epoch), static_cast<uint32_t>(epoch), 200'000);
    }
  }
}

void NicDevices::Impl::Retire(std::atomic<uint32_t>& valid) {
  {
    // Through `mutex`: a machine thread that is inside the data path leaves it before this returns.
    const std::lock_guard machine(mutex);
    valid.store(0, std::memory_order_seq_cst);
  }
  Grace();
}

Result<Ring> NicDevices::Impl::MakeRing(RingSize size) {
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

void NicDevices::Impl::EmptyRing(Ring& ring) {
  if (ring.offset == 0) return;
  ring.index = Queue(ring)->producer_index.load(std::memory_order_acquire) & ring.mask;
  Queue(ring)->consumer_index.store(ring.index, std::memory_order_release);
}

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

uint32_t NicDevices::AddNic(uint32_t absent) {
  const uint32_t nic = impl_->nic->nic_count++;
  impl_->nic->absent[nic].store(absent);
  return nic;
}
void NicDevices::SetPort(uint32_t nic, uint32_t mtu, uint32_t link) {
  impl_->nic->port_mtu[nic].store(mtu);
  impl_->nic->port_link[nic].store(link);
}
void NicDevices::CountLinkDowned(uint32_t nic) { impl_->nic->counters[nic].link_downed.fetch_add(1); }

const NicCounters& NicDevices::counters(uint32_t nic) const {
  NicCounters& counters = impl_->nic->counters[nic];
  uint64_t sent = counters.retired_sent.load();
  uint64_t received = counters.retired_received.load();
  uint64_t sends = counters.retired_sends.load();
  uint64_t receives = counters.retired_receives.load();
  for (const uint32_t qpn : impl_->qpns.Used()) {
    const QpContext& qp = impl_->nic->qps[qpn];
    if (qp.nic == nic) {
      sent += qp.packets.load();
      received += qp.replies.load();
      sends += qp.sends.load();
      receives += qp.receives.load();
      if (qp.type == kUd) received += qp.receives.load();
    }
    if (qp.av.dest_nic == nic) {
      received += qp.packets.load();
      sent += qp.replies.load();
    }
  }
  counters.sent_pkts.store(sent);
  counters.rcvd_pkts.store(received);
  counters.rdma_sends.store(sends);
  counters.rdma_recvs.store(receives);
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
  impl_->host_regions->EndAddressSpace(mm);
  { const std::lock_guard lock(impl_->mutex); }
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
  impl_->Retire(impl_->nic->cqs[index].valid);
  impl_->ClearPending(impl_->nic->pending_cqs, index);
  impl_->cqs.Give(index);
}

void NicDevices::FreeRing(const Ring& ring) {
  if (ring.offset != 0) impl_->heap.Free(ring.offset, ring.bytes);
}

void NicDevices::RecoverSlot(uint32_t index) {
  ipc::ThreadSlot& slot = impl_->slots[index];
  for (std::atomic<uint64_t>& written : slot.lock) {
    const uint64_t offset = written.exchange(0);
    if (offset == 0 || offset > impl_->header.arena_bytes - sizeof(OwnedLock)) continue;
    auto* lock = reinterpret_cast<OwnedLock*>(impl_->arena + offset);
    uint32_t value = lock->word.load();
    if ((value & ~OwnedLock::kContended) != index + 1) continue;  // it was still waiting, or had let go
    if (MwEntry* mw = Containing(impl_->nic->mws, lock); mw != nullptr && mw->changing != 0) {
      mw->mr = 0;  // half bound is not bound
      mw->changing = 0;
    }
    lock->word.store(0, std::memory_order_release);
    FutexWake(lock->word, 1 << 30);
    // Whoever else rang this QP counted on the dead thread to look again.
    if (QpContext* qp = Containing(impl_->nic->qps, lock); qp != nullptr && qp->valid.load() != 0) {
      RaiseAttention(impl_->engine, *qp, kAttentionRun | kAttentionTimer);  // it may have parked without a timer
    }
  }
  if ((slot.epoch.load() & 1) != 0) slot.epoch.fetch_add(1);
}

}  // namespace causeway::roce
