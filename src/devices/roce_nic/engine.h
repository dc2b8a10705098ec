// SPDX-License-Identifier: Apache-2.0
// The NIC's data path: takes work requests from send queues and carries them out. It runs in the thread that rings the
// doorbell, in whichever process that is, on context memory that all share (nic_memory.h); the machine's NIC thread
// runs the same code for what must be tried again later.
//
//   doorbell -> send queue (requester) -> peer's QP, keys, receive queue (responder) -> bytes -> completions on both
//   sides
//
// Both ends are on this machine, so a request and its answer are one function call under the requester's SQ lock and
// the responder's RQ lock; PSNs are counted as if packets had crossed a wire, so that a connection set up with wrong
// PSNs fails here as it does there. Freestanding: linked into the preloaded library.
#pragma once

#include <cstddef>
#include <cstdint>

#include "devices/roce_nic/nic_memory.h"
#include "devices/roce_nic/owned_lock.h"
#include "ipc/arena.h"
#include "pci/bus_map.h"

namespace causeway::roce {

constexpr uint32_t kWindowBits = 30;  // ipc::kMemoryWindow
constexpr uint32_t kMemories = 256;

// One per process: how this process reaches what the NIC reaches.
struct Engine {
  std::byte* arena;
  ipc::ArenaHeader* header;
  NicMemory* nic;
  const pci::BusMap* bus;
  uint32_t mm;  // this process's address space
  // Start of a window of a memory object in this process; nullptr when it cannot be had. Called when `windows` lacks
  // it. It stores the pointer in `windows` itself.
  std::byte* (*map_window)(void* context, uint32_t memory, uint32_t window);
  void* context;
  std::atomic<std::byte*>* windows[kMemories];  // [ipc::MaxWindows(memory)] each, filled by map_window on demand
};

// Prepares an engine for an arena mapped at `arena`.
void InitEngine(Engine& engine, std::byte* arena, uint32_t mm, std::byte* (*map_window)(void*, uint32_t, uint32_t),
                void* context);

// Rings QP `qpn` for the thread that owns slot `slot`. The QP's send queue is run by this thread, or by another that is
// at it already. Precondition: state >= RTS was seen; a QP that vanished meanwhile is left alone.
void RingDoorbell(const Engine& engine, uint32_t slot, uint32_t qpn);

// ---- for the machine (nic.cc), with the SQ lock of `qp` held unless said otherwise
void RunSendQueueLocked(const Engine& engine, const Actor& actor, QpContext& qp);
// Completes everything queued with WR_FLUSH_ERR. Takes the RQ lock for the receive queue.
void FlushLocked(const Engine& engine, const Actor& actor, QpContext& qp);
// Tells the machine's NIC thread to look at the QP.
void RaiseAttention(const Engine& engine, QpContext& qp, uint32_t attention);

uint64_t MonotonicNs();

}  // namespace causeway::roce
