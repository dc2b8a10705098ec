// SPDX-License-Identifier: Apache-2.0
// Packets that a queue manager's command processors execute. Little endian; word 0 depends on the packet, word 1 is
// `ctl`. Source: linux include/{gaudi,gaudi2}/{gaudi,gaudi2}_packets.h.
#pragma once

#include <cstdint>

#include "devices/gaudi/address_map.h"

namespace causeway::gaudi {

enum class Opcode : uint8_t {
  kWreg32 = 0x1,
  kWregBulk = 0x2,
  kMsgLong = 0x3,
  kMsgShort = 0x4,
  kCpDma = 0x5,
  kRepeat = 0x6,
  kMsgProt = 0x7,
  kFence = 0x8,
  kLinDma = 0x9,
  kNop = 0xA,
  kStop = 0xB,
  kArbPoint = 0xC,
  kWait = 0xD,
  kCbList = 0xE,  // Gaudi2
  kLoadAndExe = 0xF,
  kWriteArcStream = 0x10,  // Gaudi2, as the ones below
  kLastReadFromArc = 0x11,
  kWreg64Short = 0x12,
  kWreg64Long = 0x13,
};

// ctl
constexpr uint32_t PredicateOf(uint32_t ctl) { return ctl & 0x1f; }
constexpr uint8_t OpcodeOf(uint32_t ctl) { return static_cast<uint8_t>((ctl >> 24) & 0x1f); }
constexpr uint32_t kCtlEngineBarrier = 1u << 29;
constexpr uint32_t kCtlMessageBarrier = 1u << 31;

// Does this packet run? P[n] are the command processor's predicates. Two packets have other fields in those bits.
constexpr bool Predicated(uint32_t ctl, uint32_t predicates) {
  const auto opcode = static_cast<Opcode>(OpcodeOf(ctl));
  if (opcode == Opcode::kMsgShort || opcode == Opcode::kLinDma) return true;
  return (predicates >> PredicateOf(ctl) & 1) != 0;
}

// WREG_32, WREG_BULK: reg_offset.
constexpr uint32_t RegOffsetOf(uint32_t ctl) { return (ctl >> 8) & 0xffff; }
constexpr uint32_t kWregFromScalar = 1u << 5;  // Gaudi2: the value is that of scalar register value[1:0]
constexpr uint32_t BulkCountOf(uint32_t word0) { return word0 & 0xffff; }  // 64-bit words that follow

// MSG_LONG, MSG_PROT, MSG_SHORT.
constexpr uint32_t MsgOperationOf(uint32_t ctl) { return (ctl >> 20) & 3; }  // 0: store the value
constexpr uint32_t MsgShortOffsetOf(uint32_t ctl) { return ctl & 0xffff; }
constexpr uint32_t MsgShortBaseOf(uint32_t ctl) { return (ctl >> 22) & 3; }

// CP_DMA.
constexpr uint32_t kCpDmaUpper = 1u << 5;  // Gaudi2: run the commands on this command processor

// FENCE word 0.
constexpr uint32_t FenceDecOf(uint32_t word0) { return word0 & 0xf; }
constexpr uint32_t FenceTargetOf(uint32_t word0) { return (word0 >> 16) & 0xff; }
constexpr uint32_t FenceIdOf(uint32_t word0) { return (word0 >> 30) & 3; }

// WAIT word 0.
constexpr uint32_t WaitIncOf(uint32_t word0) { return (word0 >> 24) & 0xf; }
constexpr uint32_t WaitFenceOf(uint32_t word0) { return (word0 >> 28) & 3; }

// ARB_POINT word 0.
constexpr uint32_t ArbPriorityOf(Asic asic, uint32_t word0) { return word0 & (asic == Asic::kGaudi ? 0xff : 0xffffff); }
constexpr uint32_t kArbRelease = 1u << 31;

// LOAD_AND_EXE word 0.
constexpr uint32_t kLoadDstScalars = 1u << 0;     // else predicates
constexpr uint32_t kLoadPredicateBits = 1u << 1;  // Gaudi2 pmap: one bit each, else one 32-bit word each
constexpr uint32_t kLoadLoad = 1u << 8;
constexpr uint32_t kLoadExecute = 1u << 9;
constexpr uint32_t kLoadExecuteUpper = 1u << 10;  // etype: the packet is in R2, R3; else from R0

// LIN_DMA ctl.
constexpr uint32_t kGaudiDmaCompletion = 1u << 0, kGaudiDmaTranspose = 1u << 1, kGaudiDma32Bits = 1u << 2,
                   kGaudiDmaLinear = 1u << 3, kGaudiDmaMemset = 1u << 4;
constexpr uint32_t kGaudi2DmaCompletion = 1u << 0, kGaudi2DmaMemset = 1u << 4, kGaudi2DmaLinear = 1u << 31;
// DMA_CORE_CTX_CTRL of Gaudi2.
constexpr uint32_t kGaudi2CtrlTranspose = 1u << 0;
constexpr uint32_t Gaudi2CtrlElementOf(uint32_t ctrl) { return ctrl >> 4 & 3; }  // 0: 4 bits, 1, 2, 3: 1, 2, 4 bytes
constexpr uint32_t Gaudi2DmaEndianOf(uint32_t ctl) { return (ctl >> 1) & 3; }    // 0 none, 1: 16 bits, 2: 32, 3: 64
constexpr uint64_t kGaudiDmaAddressMask = 0x00ffffffffffffff;                    // bits 63:56 of dst are a context id

// WREG_64: pair of registers = base register + offset.
constexpr uint32_t Wreg64BaseOf(uint32_t ctl) { return (ctl >> 5) & 0xf; }
constexpr uint32_t kWreg64Relative = 1u << 9;
constexpr uint32_t Wreg64RegisterOf(uint32_t ctl) { return (ctl >> 10) & 0x3fff; }  // in 4-byte registers

// Does a packet with these first 8 bytes take next to no time? Not so what moves many bytes, or may (a store to a DMA
// core's registers).
constexpr bool IsShortPacket(Asic asic, uint32_t word0, uint32_t ctl) {
  constexpr uint32_t kShortTransfer = 4096;
  switch (static_cast<Opcode>(OpcodeOf(ctl))) {
    case Opcode::kMsgLong:
    case Opcode::kMsgShort:
    case Opcode::kMsgProt:
    case Opcode::kCpDma:
    case Opcode::kFence:
    case Opcode::kNop:
    case Opcode::kArbPoint:
    case Opcode::kWait: return true;
    case Opcode::kLinDma: {
      // Gaudi's others take their size and their dimensions from registers.
      const bool by_registers =
          asic == Asic::kGaudi && ((ctl & (kGaudiDmaLinear | kGaudiDmaMemset)) == 0 || (ctl & kGaudiDmaTranspose) != 0);
      return !by_registers && word0 < kShortTransfer;
    }
    default: return false;
  }
}

// Bytes of a packet whose first 8 bytes are these; 0: no such packet in this generation.
constexpr uint32_t PacketSize(Asic asic, uint32_t word0, uint32_t ctl) {
  const bool gaudi2 = asic == Asic::kGaudi2;
  switch (static_cast<Opcode>(OpcodeOf(ctl))) {
    case Opcode::kWreg32:
    case Opcode::kMsgShort:
    case Opcode::kRepeat:
    case Opcode::kFence:
    case Opcode::kNop:
    case Opcode::kStop:
    case Opcode::kArbPoint:
    case Opcode::kWait: return 8;
    case Opcode::kMsgLong:
    case Opcode::kCpDma:
    case Opcode::kMsgProt:
    case Opcode::kLoadAndExe: return 16;
    case Opcode::kLinDma: return 24;
    case Opcode::kWregBulk: return 8 + 8 * BulkCountOf(word0);
    case Opcode::kCbList: return gaudi2 ? 24 : 0;
    case Opcode::kWriteArcStream: return gaudi2 ? 8 + 8 * BulkCountOf(word0) : 0;
    case Opcode::kLastReadFromArc:
    case Opcode::kWreg64Short: return gaudi2 ? 8 : 0;
    case Opcode::kWreg64Long: return gaudi2 ? 16 : 0;
  }
  return 0;
}

}  // namespace causeway::gaudi
