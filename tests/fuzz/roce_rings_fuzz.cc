// SPDX-License-Identifier: Apache-2.0
// The NIC's data path over rings that a program writes: send and receive work requests, indices and queue headers,
// anything at any time, between doorbells and state changes. Whatever they say, no byte outside the regions that keys
// name may change (the bytes around them are canaries), and the NIC's own heap is poisoned but for the rings, so that
// an entry read or written beside a ring is an ASan report.
#include <vector>

#include "devices/roce_nic/test_bench.h"
#include "tests/fuzz/input.h"

#if defined(__SANITIZE_ADDRESS__)  // GCC
#define CAUSEWAY_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAUSEWAY_ASAN 1
#endif
#endif
#ifdef CAUSEWAY_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace causeway::fuzz {
namespace {

using namespace roce;  // NOLINT: as the bench does
using namespace uapi;  // NOLINT

void Poison([[maybe_unused]] std::byte* at, [[maybe_unused]] uint64_t len) {
#ifdef CAUSEWAY_ASAN
  ASAN_POISON_MEMORY_REGION(at, len);
#endif
}
void Unpoison([[maybe_unused]] std::byte* at, [[maybe_unused]] uint64_t len) {
#ifdef CAUSEWAY_ASAN
  ASAN_UNPOISON_MEMORY_REGION(at, len);
#endif
}

class RingsFuzz : public roce::Bench {
 public:
  RingsFuzz() : host_(3 * kRegion, kCanary) {
    host_key_ = HostRegionOf(host_.data() + kRegion, kRegion);
    device_key_ = DeviceRegion(kRegion, 2 * kRegion, 2);
    memset(Device(0), kCanary, kRegion);
    memset(Device(3 * kRegion), kCanary, kRegion);
    read_only_key_ = HostRegionOf(host_.data() + kRegion, kRegion, 0);
  }
  void TestBody() override {}

  void Run(Input& in) {
    const uint8_t kind = in.Byte();
    type_ = kind < 0x80 ? kRc : kind < 0xa0 ? kUc : kUd;
    ends_.assign(2, {});
    for (Peer& end : ends_) Make(end);
    for (size_t i = 0; i < 2; ++i) Connect(ends_[i].end, ends_[1 - i].end);
    for (Peer& end : ends_) {
      Modify(end.end, {.qkey = 0x11111111, .timeout = 1, .retry_count = 0, .rnr_retry = 0});
    }
    for (int steps = 0; steps < 64 && !in.empty(); ++steps) Step(in);
    for (Peer& peer : ends_) Modify(peer.end, {.state = kErr});
    for (Peer& peer : ends_) {
      CW_INVARIANT(devices_->qp(peer.end.qpn).state.load() == kErr);
      devices_->DestroyQp(peer.end.qpn);
      devices_->DestroyCq(peer.end.cq);
      for (const Ring& ring : {peer.sq, peer.rq, peer.cq}) devices_->FreeRing(ring);
      Poison(arena_ + peer.sq.offset, peer.sq.bytes);
      Poison(arena_ + peer.rq.offset, peer.rq.bytes);
      Poison(arena_ + peer.cq.offset, peer.cq.bytes);
    }
    for (uint64_t i = 0; i < kRegion; ++i) {
      CW_INVARIANT(host_[i] == kCanary && host_[2 * kRegion + i] == kCanary);
      CW_INVARIANT(Device(0)[i] == std::byte{kCanary} && Device(3 * kRegion)[i] == std::byte{kCanary});
    }
  }

 private:
  static constexpr uint64_t kRegion = 4096;
  static constexpr uint8_t kCanary = 0xee;

  struct Peer {
    End end;
    Ring sq, rq, cq;
  };
  void Make(Peer& peer) {
    // Freed rings were poisoned: what the heap hands out is to be written.
    const uint64_t heap = header_->region_offset[ipc::kRegionNicHeap];
    Unpoison(arena_ + heap, kUsedHeap);
    peer.end.cq = *devices_->CreateCq(nic_, 8);
    QpCreate create = {};
    create.nic = nic_;
    create.pd = pd_;
    create.type = type_;
    create.send_cq = create.recv_cq = peer.end.cq;
    create.max_send_sge = create.max_recv_sge = 4;
    create.max_inline = 64;
    create.sq = {8, 512};
    create.rq = {8, 128};
    peer.end.qpn = *devices_->CreateQp(create);
    peer.sq = devices_->qp(peer.end.qpn).sq;
    peer.rq = devices_->qp(peer.end.qpn).rq;
    peer.cq = devices_->cq_ring(peer.end.cq);
    if (&peer != &ends_.back()) return;
    // All are made: now only rings may be touched.
    Poison(arena_ + heap, kUsedHeap);
    for (const Peer& made : ends_) {
      for (const Ring& ring : {made.sq, made.rq, made.cq}) {
        Unpoison(arena_ + ring.offset, sizeof(rxe_queue_buf) + (uint64_t{ring.mask + 1} << ring.log2_elem));
      }
    }
    for (const uint32_t key : {host_key_, device_key_, read_only_key_}) {
      const MrEntry& region = devices_->mr(key >> 8);
      if (region.segments != 0) Unpoison(arena_ + region.segments, region.segment_bytes);
    }
    for (const End& old : {a_, b_}) {  // the bench's own pair
      for (const Ring& ring : {devices_->qp(old.qpn).sq, devices_->qp(old.qpn).rq, devices_->cq_ring(old.cq)}) {
        Unpoison(arena_ + ring.offset, ring.bytes);
      }
    }
  }

  uint64_t Host() const { return reinterpret_cast<uint64_t>(host_.data()) + kRegion; }
  uint64_t Address(Input& in) {
    return in.Near<uint64_t>({Host(), kRegion, Host() + kRegion - 8, 2 * kRegion - 4, 3 * kRegion - 1, Host() + 1, 0});
  }
  uint32_t Key(Input& in) { return in.Near<uint32_t>({host_key_, device_key_, read_only_key_, host_key_ + 1}); }
  uint32_t Length(Input& in) { return in.Near<uint32_t>({8, 0, 1, 64, 65, 4096, 8192, 4097, 1025, 0x80000000}); }
  void Sges(Input& in, rxe_sge* sges) {
    const size_t filled = in.Byte() % 5;
    for (size_t i = 0; i < filled; ++i) {
      const uint64_t address = Address(in);
      const uint32_t length = Length(in);
      sges[i] = {address, length, Key(in)};
    }
  }
  void WriteSend(Input& in, Peer& peer) {
    const auto slot = static_cast<uint32_t>(in.Below(8));
    auto* wqe = reinterpret_cast<rxe_send_wqe*>(RxeSlot(Queue(peer.sq), slot, peer.sq.log2_elem));
    wqe->wr.opcode = in.Near<uint32_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 15});
    wqe->wr.send_flags = in.Near<uint32_t>({2, 0, 1, 3, 4, 6, 8, 10, 31});
    wqe->wr.ex = Key(in);
    switch (wqe->wr.opcode) {
      case IB_WR_ATOMIC_CMP_AND_SWP:
      case IB_WR_ATOMIC_FETCH_AND_ADD:
        wqe->wr.wr.atomic.remote_addr = Address(in);
        wqe->wr.wr.atomic.rkey = Key(in);
        break;
      case IB_WR_BIND_MW:
        wqe->wr.wr.mw.addr = Address(in);
        wqe->wr.wr.mw.length = Length(in);
        wqe->wr.wr.mw.mr_lkey = Key(in);
        wqe->wr.wr.mw.mw_rkey = Key(in);
        wqe->wr.wr.mw.rkey = Key(in);
        wqe->wr.wr.mw.access = in.Near<uint32_t>({15, 0, 0x1f});
        break;
      default:
        if (type_ == kUd) {
          wqe->wr.wr.ud.remote_qpn = in.Near<uint32_t>({ends_[0].end.qpn, ends_[1].end.qpn, 0xffffff});
          wqe->wr.wr.ud.remote_qkey = in.Near<uint32_t>({0x11111111, 0x80000000});
          wqe->wr.wr.ud.ah_num = in.Near<uint32_t>({0, 1, 32767});
          uint8_t* gid = wqe->wr.wr.ud.av.grh.dgid;
          GidOf(gid);
          if (in.Byte() >= 0xe0) gid[0] = in.Byte();
          wqe->wr.wr.ud.av.network_type = in.Near<uint8_t>({RXE_NETWORK_TYPE_IPV4, RXE_NETWORK_TYPE_IPV6});
        } else {
          wqe->wr.wr.rdma.remote_addr = Address(in);
          wqe->wr.wr.rdma.rkey = Key(in);
        }
    }
    wqe->dma.length = Length(in);
    wqe->dma.num_sge = in.Near<uint32_t>({1, 0, 2, 3, 4, 5, 33});
    if ((wqe->wr.send_flags & IB_SEND_INLINE) == 0) Sges(in, reinterpret_cast<rxe_sge*>(wqe + 1));
  }
  void WriteReceive(Input& in, Peer& peer) {
    const auto slot = static_cast<uint32_t>(in.Below(8));
    auto* wqe = reinterpret_cast<rxe_recv_wqe*>(RxeSlot(Queue(peer.rq), slot, peer.rq.log2_elem));
    wqe->dma.num_sge = in.Near<uint32_t>({1, 0, 2, 4, 5});
    Sges(in, reinterpret_cast<rxe_sge*>(wqe + 1));
  }

  void Step(Input& in) {
    const uint8_t step = in.Byte();
    Peer& peer = ends_[step >> 7];
    switch (step & 0xf) {
      case 0:
      case 1:
      case 2: WriteSend(in, peer); break;
      case 3:
      case 4: WriteReceive(in, peer); break;
      case 5:
      case 6: Queue(peer.sq)->producer_index.store(in.Near<uint32_t>({1, 2, 3, 4, 5, 6, 7, 0})); break;
      case 7: Queue(peer.rq)->producer_index.store(in.Near<uint32_t>({1, 2, 3, 4, 5, 6, 7, 0})); break;
      case 8: Queue(peer.cq)->consumer_index.store(in.Near<uint32_t>({0, 1, 2, 3, 4, 5, 6, 7})); break;
      case 9: {  // a header's constants, which are the NIC's own to know
        const Ring& ring = (step & 0x10) != 0 ? peer.sq : (step & 0x20) != 0 ? peer.rq : peer.cq;
        in.Copy(Queue(ring), 8);
        break;
      }
      case 10: {
        const uint8_t slot = in.Byte() % 8;
        const uint8_t at = in.Byte();
        const size_t len = in.Byte();
        if (at + len <= 512) in.Copy(RxeSlot(Queue(peer.sq), slot, peer.sq.log2_elem) + at, len);
        break;
      }
      case 11:
        Modify(peer.end,
               {.state = static_cast<QpState>(in.Near<uint8_t>({kRts, kReset, kErr, kSqd, kRtr, kInit}) % 7)});
        break;
      case 12: devices_->RequestNotify(peer.end.cq, in.Byte() % 2 == 0 ? Notify::kNext : Notify::kSolicited); break;
      case 13: devices_->RingDoorbell(peer.end.qpn); break;
      default: Ring_(peer.end); break;
    }
  }

  static constexpr uint64_t kUsedHeap = 4 << 20;
  std::vector<uint8_t> host_;
  uint32_t host_key_ = 0, device_key_ = 0, read_only_key_ = 0;
  uint32_t type_ = kRc;
  std::vector<Peer> ends_;
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const bench = new causeway::fuzz::RingsFuzz;
  causeway::fuzz::Input in(data, size);
  bench->Run(in);
  return 0;
}
