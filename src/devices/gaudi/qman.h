// SPDX-License-Identifier: Apache-2.0
// One queue manager: four streams, each a ring of buffer descriptors (PQ) and a command processor (CP) that executes
// the packets in the buffers, and a lower CP that the streams feed by CP_DMA.
//
//   PQ (16-byte entries in memory) --PI--> stream 0..3: upper CP --CP_DMA--> queue --> lower CP (4)
//                                             | packets                                 | packets
//                                             v                                         v
//                                   DMA core, registers, sync manager, fences of CP n, arbiter among streams
//
// State of a CP: idle (nothing to do), running, waiting (a fence, the arbiter, the lower CP's queue), stopped (an error
// or STOP; until reset). Everything read from memory is a program's and is checked before use. Runs on: the engines'
// thread, or with its lock.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "devices/gaudi/dma.h"
#include "devices/gaudi/engine_table.h"
#include "devices/gaudi/packets.h"
#include "devices/gaudi/registers.h"

namespace causeway::gaudi {

class Engines;

constexpr uint32_t kArbiterTurn = kCps;  // beside the numbers of CPs, for Run()

enum class Origin : uint8_t { kDriver, kProgram };  // who stores to a register

class Qman {
 public:
  Qman(Asic asic, const QmanSpec& spec, uint32_t index, Engines& engines);

  const QmanSpec& spec() const { return spec_; }

  // Register stores and loads, by offset from the QMAN's base.
  void WriteRegister(uint32_t offset, uint32_t value, Origin origin);
  uint32_t ReadRegister(uint32_t offset) const;

  // Executes up to `budget` packets of a CP, or lets the arbiter choose. True: there is more that can run now.
  bool Run(uint32_t cp, uint32_t budget, std::unique_lock<std::mutex>& lock);
  bool Busy() const;
  // One line of INFO ENGINE_STATUS: what each CP does.
  const char* StateName(uint32_t cp) const;
  void Reset();

  // The DMA core's COMMIT: carries out what its registers describe. False: it failed or was aborted.
  bool RunDescriptor(std::unique_lock<std::mutex>& lock, uint32_t commit);

 private:
  enum class State : uint8_t { kReady, kFence, kArbiter, kLowerQueue, kStopped };
  struct Buffer {
    uint64_t address = 0;
    uint64_t left = 0;
  };
  struct CommandProcessor {
    State state = State::kReady;
    uint32_t fence_id = 0, fence_target = 0, fence_dec = 0;
    std::array<uint32_t, kFences> fences{};
    std::array<uint64_t, kMsgBases> msg_base{};
    uint32_t predicates = 1;  // bit n: P[n]; P[0] is always set
    std::array<uint32_t, 4> scalars{};
    std::vector<Buffer> buffers;  // innermost last: CP_DMA to the same CP and CB_LIST nest
    // Commands of the innermost buffer, read ahead.
    std::vector<std::byte> ahead;
    size_t ahead_at = 0;
  };
  struct Stream {
    uint64_t pq_base = 0;
    uint32_t pq_size_log2 = 0, pi = 0, ci = 0;
    bool in_entry = false;
    uint32_t entry_ctl = 0;
    uint64_t entry_address = 0;
    uint32_t entry_len = 0;
    uint32_t lower_left = 0;  // buffers of this stream that the lower CP has not finished
    // Arbiter.
    uint32_t priority = 0, weight = 1, credit = 1;
    uint64_t asked = 0;  // order of asking
    uint32_t pqc_wdata = 0;
  };
  struct LowerBuffer {
    Buffer buffer;
    uint32_t stream = 0;
  };
  enum class Next : uint8_t { kGo, kWait, kStop };  // of one packet

  bool FetchEntry(uint32_t stream);
  void FinishEntry(uint32_t stream);
  bool NextBuffer(uint32_t cp);
  bool ReadAhead(uint32_t cp, size_t bytes);
  Next Execute(uint32_t cp, uint32_t size, std::unique_lock<std::mutex>& lock);
  Next ExecuteBytes(uint32_t cp, const std::byte* packet, uint32_t size, std::unique_lock<std::mutex>& lock);
  Next LinDma(uint32_t cp, const std::byte* packet, std::unique_lock<std::mutex>& lock);
  Next LoadAndExecute(uint32_t cp, const std::byte* packet, std::unique_lock<std::mutex>& lock);
  Next CpDma(uint32_t cp, uint64_t address, uint32_t size, bool upper);
  Next CbList(uint32_t cp, uint64_t index_address, uint64_t table_address);
  Next ArbPoint(uint32_t cp, uint32_t word0);
  void GrantArbiter();
  Next Message(uint32_t cp, uint64_t address, uint32_t value, bool trusted);
  bool FenceOpens(CommandProcessor& cp);
  Next Fault(uint32_t cp, uint64_t address, bool write);
  Next Stop(uint32_t cp);
  Next UndefinedOpcode(uint32_t cp, uint32_t opcode);
  bool trusted() const { return trusted_; }
  void Ready(uint32_t cp);

  const Asic asic_;
  const QmanSpec spec_;
  const QmanRegisters& registers_;
  const uint32_t index_;
  Engines& engines_;
  DmaMover mover_;

  uint32_t cfg0_ = 0;
  bool trusted_ = false;  // GLBL_PROT: its fetches and MSG_PROT are the driver's
  std::array<CommandProcessor, kCps> cps_;
  std::array<Stream, kStreams> streams_;
  std::deque<LowerBuffer> lower_;
  uint64_t pqc_base_ = 0;
  uint32_t pqc_cfg_ = 0;
  uint32_t arb_cfg_ = 0;
  int arb_owner_ = -1;
  uint32_t arb_last_ = 0;
  uint64_t arb_clock_ = 0;
};

}  // namespace causeway::gaudi
