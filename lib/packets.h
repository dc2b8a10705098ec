// SPDX-License-Identifier: Apache-2.0
// Packets of the queue managers and the registers of the sync manager, as far as this library writes them. Source:
// linux drivers/accel/habanalabs/include/gaudi/gaudi_packets.h, gaudi2/gaudi2_packets.h, and the asic_reg headers
// beside them.
#pragma once

#include <cstdint>

namespace causeway::detail {

constexpr uint32_t kOpMsgLong = 0x3, kOpFence = 0x8, kOpLinDma = 0x9, kOpNop = 0xa;
constexpr uint32_t Control(uint32_t opcode) { return opcode << 24; }
constexpr uint32_t kEngineBarrier = 1U << 29;   // the engine is idle first
constexpr uint32_t kMessageBarrier = 1U << 31;  // earlier messages are done first
constexpr uint32_t kGaudiLinear = 1U << 3;
constexpr uint32_t kMemSet = 1U << 4;

struct NopPacket {
  uint32_t reserved, ctl;
};
struct MsgLongPacket {
  uint32_t value, ctl;
  uint64_t address;
};
struct FencePacket {
  uint32_t cfg, ctl;
};
struct LinDmaPacket {
  uint32_t tsize, ctl;
  uint64_t src, dst;  // memset: src is the pattern
};
static_assert(sizeof(NopPacket) == 8 && sizeof(MsgLongPacket) == 16 && sizeof(FencePacket) == 8 &&
              sizeof(LinDmaPacket) == 24);

// Waits until fence counter 0 is `target`, then takes `decrement` off it.
constexpr uint32_t FenceWait(uint32_t target, uint32_t decrement) { return decrement | target << 16; }

// Stored to a sync object: adds instead of setting.
constexpr uint32_t kSobAdd = 1U << 31;

// Gaudi: the west-south sync manager; Gaudi2: dcore 0's.
constexpr uint64_t kGaudiSob0 = 0x7FFC492000;
constexpr uint64_t kGaudi2Sob0 = 0x1000007FFC100000;
constexpr uint64_t SobAddress(bool gaudi2, uint32_t sob) { return (gaudi2 ? kGaudi2Sob0 : kGaudiSob0) + 4ULL * sob; }

struct MonitorRegisters {
  uint64_t pay_addr_low, pay_addr_high, pay_data, arm, config;  // config 0: the generation has none
};
constexpr MonitorRegisters Monitor(bool gaudi2, uint32_t monitor) {
  const uint64_t base = (gaudi2 ? kGaudi2Sob0 + 0x8000 : kGaudiSob0 + 0x2000) + 4ULL * monitor;
  const uint64_t step = gaudi2 ? 0x2000 : 0x800;
  return {base, base + step, base + 2 * step, base + 3 * step, gaudi2 ? base + 4 * step : 0};
}
// A monitor watches a group of 8 sync objects, minus those whose mask bit is set; >= is mode 0.
constexpr uint32_t ArmAtLeast(uint32_t sob, uint32_t value) {
  return (sob / 8 & 0xff) | (~(1U << sob % 8) & 0xff) << 8 | value << 17;
}
constexpr uint32_t MonitorGroupHigh(uint32_t sob) { return (sob / 8 >> 8 & 0xf) << 16; }

// CP_FENCE0_RDATA of a stream of a PCI DMA engine: queues 0..3 and 4..7.
constexpr uint64_t FenceAddress(bool gaudi2, uint32_t queue) {
  const uint64_t engine = queue / 4, stream = queue % 4;
  return gaudi2 ? 0x1000007FFCC8A000 + engine * 0x10000 + 0x290 + stream * 4
                : 0x7FFC508000 + engine * 0x20000 + 0x308 + stream * 4;
}

}  // namespace causeway::detail
