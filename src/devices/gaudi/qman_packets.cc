// SPDX-License-Identifier: Apache-2.0
// What packets do. Sources: specs of {gaudi,gaudi2}_packets.h; semantics that hl-thunk's tests rely on.
#include <algorithm>
#include <cstring>

#include "devices/gaudi/engines.h"
#include "devices/gaudi/qman.h"

namespace causeway::gaudi {
namespace {

constexpr size_t kMaxNesting = 64;       // CB_LIST and CP_DMA on one CP
constexpr size_t kLowerQueueDepth = 16;  // CP_DMAs under way; a further one waits

uint32_t Word(const std::byte* packet, uint32_t n) {
  uint32_t word = 0;
  std::memcpy(&word, packet + n * 4, sizeof(word));
  return word;
}

uint64_t Quad(const std::byte* packet, uint32_t offset) {
  uint64_t quad = 0;
  std::memcpy(&quad, packet + offset, sizeof(quad));
  return quad;
}

}  // namespace

Qman::Next Qman::Execute(uint32_t number, uint32_t size, std::unique_lock<std::mutex>& lock) {
  CommandProcessor& cp = cps_[number];
  const std::byte* const packet = cp.ahead.data() + cp.ahead_at;
  cp.ahead_at += size;
  if (!Predicated(Word(packet, 1), cp.predicates)) return Next::kGo;
  const uint64_t epoch = engines_.epoch();
  const Next next = ExecuteBytes(number, packet, size, lock);
  if (epoch != engines_.epoch()) return Next::kStop;  // reset meanwhile: nothing of this CP is left, nor is it stopped
  if (next == Next::kStop) return Stop(number);
  // A CP_DMA that found no room is executed again.
  if (next == Next::kWait && cp.state == State::kLowerQueue) cp.ahead_at -= size;
  return next;
}

// Every transfer and store is done when its packet is, so the barrier bits (EB, RB, MB) hold by themselves.
Qman::Next Qman::ExecuteBytes(uint32_t number, const std::byte* packet, uint32_t size,
                              std::unique_lock<std::mutex>& lock) {
  CommandProcessor& cp = cps_[number];
  const uint32_t word0 = Word(packet, 0), ctl = Word(packet, 1);
  const uint32_t window = spec_.base - registers_.window;
  switch (static_cast<Opcode>(OpcodeOf(ctl))) {
    case Opcode::kMsgLong:
      if (MsgOperationOf(ctl) != 0) return Next::kGo;  // only "store the value" is defined
      return Message(number, Quad(packet, 8), word0, false);
    case Opcode::kMsgProt: return Message(number, Quad(packet, 8), word0, trusted_);
    case Opcode::kMsgShort:
      if (MsgOperationOf(ctl) != 0) return Next::kGo;
      return Message(number, cp.msg_base[MsgShortBaseOf(ctl)] + MsgShortOffsetOf(ctl), word0, false);
    case Opcode::kWreg32: {
      const bool scalar = asic_ == Asic::kGaudi2 && (ctl & kWregFromScalar) != 0;
      engines_.StoreRegister(window + RegOffsetOf(ctl), scalar ? cp.scalars[word0 & 3] : word0, Origin::kProgram);
      return engines_.RunCommits(lock) ? Next::kGo : Next::kStop;
    }
    case Opcode::kWregBulk: {
      // `packet` may be read ahead's memory, which nothing below changes.
      for (uint32_t at = 8; at + 4 <= size; at += 4) {
        engines_.StoreRegister(window + RegOffsetOf(ctl) + (at - 8), Word(packet, at / 4), Origin::kProgram);
      }
      return engines_.RunCommits(lock) ? Next::kGo : Next::kStop;
    }
    case Opcode::kFence:
      cp.fence_id = FenceIdOf(word0);
      cp.fence_target = FenceTargetOf(word0);
      cp.fence_dec = FenceDecOf(word0);
      if (FenceOpens(cp)) return Next::kGo;
      cp.state = State::kFence;
      return Next::kWait;
    case Opcode::kWait:
      // The delay in clock cycles passes at once.
      cp.fences[WaitFenceOf(word0)] = std::min(cp.fences[WaitFenceOf(word0)] + WaitIncOf(word0), 0xffu);
      return Next::kGo;
    case Opcode::kLinDma: return LinDma(number, packet, lock);
    case Opcode::kCpDma:
      return CpDma(number, Quad(packet, 8), word0, asic_ == Asic::kGaudi2 && (ctl & kCpDmaUpper) != 0);
    case Opcode::kArbPoint: return ArbPoint(number, word0);
    case Opcode::kLoadAndExe: return LoadAndExecute(number, packet, lock);
    case Opcode::kCbList: return CbList(number, Quad(packet, 8), Quad(packet, 16));
    case Opcode::kWreg64Short:
    case Opcode::kWreg64Long: {
      const bool is_long = static_cast<Opcode>(OpcodeOf(ctl)) == Opcode::kWreg64Long;
      const uint32_t base = window + Wreg64BaseOf(ctl) * 8;
      const uint32_t target = window + Wreg64RegisterOf(ctl) * 4;
      uint64_t value = is_long ? Quad(packet, 8) : word0;
      if (!is_long || (ctl & kWreg64Relative) != 0) {
        value += uint64_t{engines_.LoadRegister(base + 4)} << 32 | engines_.LoadRegister(base);
      }
      const uint32_t enable = is_long ? word0 & 3 : 3;
      if ((enable & 1) != 0) engines_.StoreRegister(target, static_cast<uint32_t>(value), Origin::kProgram);
      if ((enable & 2) != 0) engines_.StoreRegister(target + 4, static_cast<uint32_t>(value >> 32), Origin::kProgram);
      return engines_.RunCommits(lock) ? Next::kGo : Next::kStop;
    }
    case Opcode::kStop: return Stop(number);
    // No ARC is modelled that a stream could feed, and REPEAT is described by no source: both do nothing.
    case Opcode::kWriteArcStream:
    case Opcode::kLastReadFromArc:
    case Opcode::kRepeat:
    case Opcode::kNop: return Next::kGo;
  }
  return UndefinedOpcode(number, OpcodeOf(ctl));
}

Qman::Next Qman::Message(uint32_t number, uint64_t address, uint32_t value, bool is_trusted) {
  if (engines_.Store(address, value, is_trusted ? Origin::kDriver : Origin::kProgram)) return Next::kGo;
  return Fault(number, address, true);
}

Qman::Next Qman::LinDma(uint32_t number, const std::byte* packet, std::unique_lock<std::mutex>& lock) {
  if (!spec_.has_dma()) return UndefinedOpcode(number, static_cast<uint32_t>(Opcode::kLinDma));
  const uint32_t size = Word(packet, 0), ctl = Word(packet, 1);
  const uint64_t source = Quad(packet, 8);
  uint64_t target = Quad(packet, 16);
  bool fill = false, completion = false;
  DmaSwap swap = DmaSwap::kNone;
  if (asic_ == Asic::kGaudi) {
    target &= kGaudiDmaAddressMask;
    fill = (ctl & kGaudiDmaMemset) != 0;
    completion = (ctl & kGaudiDmaCompletion) != 0;
    const bool transpose = (ctl & kGaudiDmaTranspose) != 0;
    if (((ctl & kGaudiDmaLinear) == 0 && !fill) || transpose) {
      engines_.SetDmaBases(index_, source, target, size);
      return RunDescriptor(lock, ctl) ? Next::kGo : Next::kStop;
    }
  } else {
    fill = (ctl & kGaudi2DmaMemset) != 0;
    completion = (ctl & kGaudi2DmaCompletion) != 0;
    swap = static_cast<DmaSwap>(Gaudi2DmaEndianOf(ctl));
  }
  const DmaOutcome outcome =
      fill ? mover_.Fill(lock, target, size, source) : mover_.Copy(lock, source, target, size, swap);
  if (outcome.kind == DmaOutcome::Kind::kAborted) return Next::kStop;
  if (outcome.kind == DmaOutcome::Kind::kFault) return Fault(number, outcome.address, outcome.write);
  if (completion) engines_.SignalDmaCompletion(index_);
  return Next::kGo;
}

bool Qman::RunDescriptor(std::unique_lock<std::mutex>& lock, uint32_t commit) {
  if (!spec_.has_dma()) return true;
  DmaShape source, target;
  engines_.ReadDmaShapes(index_, &source, &target);
  const auto transposition = engines_.ReadTransposition(index_, commit);
  const bool linear = (commit & (asic_ == Asic::kGaudi ? kGaudiDmaLinear : kGaudi2DmaLinear)) != 0;
  const bool fill = (commit & (asic_ == Asic::kGaudi ? kGaudiDmaMemset : kGaudi2DmaMemset)) != 0;
  DmaOutcome outcome;
  if (transposition.wanted) {
    if (transposition.element == 0 || source.bytes > kTransposeBytes || source.bytes % transposition.element != 0) {
      engines_.Report({.kind = EngineEvent::Kind::kUndefinedOpcode,
                       .engine_id = spec_.engine_id,
                       .qman = index_,
                       .cp = 0,
                       .address = 0,
                       .write = false,
                       .cb_address = 0,
                       .cb_size = 0,
                       .value = static_cast<uint32_t>(Opcode::kLinDma)});
      return false;
    }
    outcome = mover_.Transpose(lock, source, target, transposition.rows, transposition.element);
  } else if (linear && fill) {
    outcome = mover_.Fill(lock, target.base, target.bytes, source.base);
  } else if (linear) {
    outcome = mover_.Copy(lock, source.base, target.base, target.bytes, DmaSwap::kNone);  // one size for both
  } else {
    outcome = mover_.CopyShapes(lock, source, target);
  }
  if (outcome.kind == DmaOutcome::Kind::kFault) {
    engines_.Report({.kind = EngineEvent::Kind::kPageFault,
                     .engine_id = spec_.engine_id,
                     .qman = index_,
                     .cp = 0,
                     .address = outcome.address,
                     .write = outcome.write,
                     .cb_address = 0,
                     .cb_size = 0,
                     .value = 0});
  }
  if (outcome.kind != DmaOutcome::Kind::kDone) return false;
  if ((commit & 1) != 0) engines_.SignalDmaCompletion(index_);
  return true;
}

Qman::Next Qman::CpDma(uint32_t number, uint64_t address, uint32_t size, bool upper) {
  CommandProcessor& cp = cps_[number];
  if (upper || number == kLowerCp) {
    if (!upper) return UndefinedOpcode(number, static_cast<uint32_t>(Opcode::kCpDma));
    if (cp.buffers.size() >= kMaxNesting) return UndefinedOpcode(number, static_cast<uint32_t>(Opcode::kCpDma));
    // What was read ahead of the outer buffer goes back to it.
    Buffer& outer = cp.buffers.back();
    const uint64_t unread = cp.ahead.size() - cp.ahead_at;
    outer.address -= unread;
    outer.left += unread;
    cp.ahead.clear();
    cp.ahead_at = 0;
    if (outer.left == 0) cp.buffers.pop_back();  // an endless chain of lists needs no endless stack
    cp.buffers.push_back({.address = address, .left = size});
    return Next::kGo;
  }
  if (lower_.size() >= kLowerQueueDepth) {
    cp.state = State::kLowerQueue;
    return Next::kWait;
  }
  lower_.push_back({.buffer = {.address = address, .left = size}, .stream = number});
  ++streams_[number].lower_left;
  Ready(kLowerCp);
  return Next::kGo;
}

// A CP_DMA packet out of a table, chosen by an index in memory.
Qman::Next Qman::CbList(uint32_t number, uint64_t index_address, uint64_t table_address) {
  uint32_t index = 0;
  Fabric& fabric = engines_.fabric();
  if (const auto fault = fabric.Read(index_address, std::as_writable_bytes(std::span(&index, 1)), false)) {
    return Fault(number, *fault, false);
  }
  std::array<std::byte, 16> entry;
  if (const auto fault = fabric.Read(table_address + uint64_t{index} * entry.size(), entry, false)) {
    return Fault(number, *fault, false);
  }
  const uint32_t ctl = Word(entry.data(), 1);
  if (static_cast<Opcode>(OpcodeOf(ctl)) != Opcode::kCpDma) return UndefinedOpcode(number, OpcodeOf(ctl));
  const Next next = CpDma(number, Quad(entry.data(), 8), Word(entry.data(), 0), (ctl & kCpDmaUpper) != 0);
  return next;
}

Qman::Next Qman::LoadAndExecute(uint32_t number, const std::byte* packet, std::unique_lock<std::mutex>& lock) {
  CommandProcessor& cp = cps_[number];
  const uint32_t word0 = Word(packet, 0);
  const uint64_t source = Quad(packet, 8);
  Fabric& fabric = engines_.fabric();
  // What is executed are the scalar registers, whichever kind this packet loads, if any.
  if ((word0 & (kLoadDstScalars | kLoadLoad)) == kLoadLoad) {
    std::array<std::byte, 128> bytes;
    if (const auto fault = fabric.Read(source, bytes, false)) return Fault(number, *fault, false);
    const bool bits = asic_ == Asic::kGaudi2 && (word0 & kLoadPredicateBits) != 0;
    uint32_t predicates = bits ? Word(bytes.data(), 0) : 0;
    for (uint32_t n = 0; !bits && n < 32; ++n) predicates |= (Word(bytes.data(), n) & 1) << n;
    cp.predicates = predicates | 1;
  } else if ((word0 & kLoadLoad) != 0) {
    if (const auto fault = fabric.Read(source, std::as_writable_bytes(std::span(cp.scalars)), false)) {
      return Fault(number, *fault, false);
    }
  }
  if ((word0 & kLoadExecute) == 0) return Next::kGo;
  const bool upper = (word0 & kLoadExecuteUpper) != 0;
  const uint32_t first = upper ? 2 : 0;
  const uint32_t room = (4 - first) * 4;
  std::array<std::byte, 16> copy;
  std::memcpy(copy.data(), cp.scalars.data() + first, room);
  const uint32_t size = PacketSize(asic_, Word(copy.data(), 0), Word(copy.data(), 1));
  const uint32_t opcode = OpcodeOf(Word(copy.data(), 1));
  const bool load_again = static_cast<Opcode>(opcode) == Opcode::kLoadAndExe;  // would not end
  if (size == 0 || size > room || load_again) return UndefinedOpcode(number, opcode);
  if (!Predicated(Word(copy.data(), 1), cp.predicates)) return Next::kGo;
  return ExecuteBytes(number, copy.data(), size, lock);
}

}  // namespace causeway::gaudi
