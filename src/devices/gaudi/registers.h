// SPDX-License-Identifier: Apache-2.0
// Where registers are. Offsets from CFG_BASE, as asic_reg headers write them (mmDMA0_QM_...); a driver adds
// AddressMap::cfg_base. Facts of linux drivers/accel/habanalabs/include/{gaudi,gaudi2}/asic_reg.
#pragma once

#include <cstdint>

#include "devices/gaudi/address_map.h"

namespace causeway::gaudi {

constexpr uint32_t kStreams = 4;  // upper command processors of a queue manager
constexpr uint32_t kLowerCp = 4;  // index of the lower one, which CP_DMA feeds
constexpr uint32_t kCps = 5;
constexpr uint32_t kFences = 4;  // counters per command processor
constexpr uint32_t kMsgBases = 4;

// Registers of one queue manager, from its block's base. _n arrays have a 4-byte stride, one per stream (or CP).
struct QmanRegisters {
  uint32_t glbl_cfg0, glbl_prot, glbl_sts0;
  uint32_t pq_base_lo, pq_base_hi, pq_size, pq_pi, pq_ci;
  uint32_t msg_base_lo[kMsgBases], msg_base_hi[kMsgBases];
  uint32_t fence_rdata, fence_cnt;  // + fence * 0x14 + cp * 4
  uint32_t cp_sts;
  uint32_t pqc_lbw_wdata, pqc_lbw_base_lo, pqc_lbw_base_hi, pqc_cfg;  // Gaudi2: message at the end of a PQ entry
  uint32_t arb_cfg0, arb_wrr_weight;
  uint32_t window;  // WREG_32 offsets count from the QMAN's base minus this
  uint32_t core;    // signed in effect: base of the DMA core's registers minus the QMAN's base
};
constexpr uint32_t kFenceStride = 0x14;
constexpr QmanRegisters kGaudiQman = {
    .glbl_cfg0 = 0x0,
    .glbl_prot = 0x8,
    .glbl_sts0 = 0x38,
    .pq_base_lo = 0x70,
    .pq_base_hi = 0x80,
    .pq_size = 0x90,
    .pq_pi = 0xA0,
    .pq_ci = 0xB0,
    .msg_base_lo = {0x228, 0x250, 0x278, 0x2A0},
    .msg_base_hi = {0x23C, 0x264, 0x28C, 0x2B4},
    .fence_rdata = 0x308,
    .fence_cnt = 0x358,
    .cp_sts = 0x3A8,
    .pqc_lbw_wdata = 0,
    .pqc_lbw_base_lo = 0,
    .pqc_lbw_base_hi = 0,
    .pqc_cfg = 0,
    .arb_cfg0 = 0xA00,
    .arb_wrr_weight = 0xA08,
    .window = 0x8000,
    .core = static_cast<uint32_t>(-0x8000),
};
constexpr QmanRegisters kGaudi2Qman = {
    .glbl_cfg0 = 0x0,
    .glbl_prot = 0x4C,
    .glbl_sts0 = 0x1C,
    .pq_base_lo = 0x50,
    .pq_base_hi = 0x60,
    .pq_size = 0x70,
    .pq_pi = 0x80,
    .pq_ci = 0x90,
    .msg_base_lo = {0x1F0, 0x218, 0x240, 0x268},
    .msg_base_hi = {0x204, 0x22C, 0x254, 0x27C},
    .fence_rdata = 0x290,
    .fence_cnt = 0x2E0,
    .cp_sts = 0x368,
    .pqc_lbw_wdata = 0x45C,
    .pqc_lbw_base_lo = 0x46C,
    .pqc_lbw_base_hi = 0x47C,
    .pqc_cfg = 0x48C,
    .arb_cfg0 = 0x4A4,
    .arb_wrr_weight = 0x4AC,
    .window = 0xA000,
    .core = 0x1000,
};
constexpr const QmanRegisters& QmanRegistersOf(Asic asic) { return asic == Asic::kGaudi ? kGaudiQman : kGaudi2Qman; }
constexpr uint32_t kQmanBlockSize = 0x1000;

constexpr uint32_t kArbTypeWrr = 1u << 0;
constexpr uint32_t kArbEnable = 1u << 8;

// Registers of a DMA core that describe a transfer: 5 dimensions on each side, dimension 0 in bytes.
struct DmaRegisters {
  uint32_t src_base_lo, src_base_hi, dst_base_lo, dst_base_hi;
  uint32_t src_tsize0, src_dims, dst_tsize0, dst_dims;  // dims: TSIZE_1, STRIDE_1, TSIZE_2, ... of 4 dimensions
  uint32_t commit, comp_wdata, comp_addr_lo, comp_addr_hi;
  uint32_t te_numrows, ctrl;  // ctrl 0: COMMIT says what transposition there is
  uint32_t size;              // of the block that these lie in
};
constexpr DmaRegisters kGaudiDma = {
    .src_base_lo = 0x14,
    .src_base_hi = 0x18,
    .dst_base_lo = 0x1C,
    .dst_base_hi = 0x20,
    .src_tsize0 = 0x4C,
    .src_dims = 0x2C,
    .dst_tsize0 = 0x74,
    .dst_dims = 0x54,
    .commit = 0x78,
    .comp_wdata = 0x7C,
    .comp_addr_lo = 0x80,
    .comp_addr_hi = 0x84,
    .te_numrows = 0x94,
    .ctrl = 0,
    .size = 0x1000,
};
constexpr DmaRegisters kGaudi2Dma = {
    .src_base_lo = 0x8D8,
    .src_base_hi = 0x8DC,
    .dst_base_lo = 0x8E0,
    .dst_base_hi = 0x8E4,
    .src_tsize0 = 0x878,
    .src_dims = 0x87C,
    .dst_tsize0 = 0x8E8,
    .dst_dims = 0x89C,
    .commit = 0x8EC,
    .comp_wdata = 0x8C4,
    .comp_addr_lo = 0x8C0,
    .comp_addr_hi = 0x8BC,
    .te_numrows = 0x868,
    .ctrl = 0x874,
    .size = 0x1000,
};
constexpr const DmaRegisters& DmaRegistersOf(Asic asic) { return asic == Asic::kGaudi ? kGaudiDma : kGaudi2Dma; }

// A sync manager block. Offsets from its first SOB register.
struct SyncManagerRegisters {
  uint32_t sobs, monitors;
  uint32_t pay_addr_lo, pay_addr_hi, pay_data, arm, config, status;  // config 0: this generation has none
  uint32_t size;
};
constexpr SyncManagerRegisters kGaudiSm = {.sobs = 2048,
                                           .monitors = 512,
                                           .pay_addr_lo = 0x2000,
                                           .pay_addr_hi = 0x2800,
                                           .pay_data = 0x3000,
                                           .arm = 0x3800,
                                           .config = 0,
                                           .status = 0x4000,
                                           .size = 0x5000};
constexpr SyncManagerRegisters kGaudi2Sm = {.sobs = 8192,
                                            .monitors = 2048,
                                            .pay_addr_lo = 0x8000,
                                            .pay_addr_hi = 0xA000,
                                            .pay_data = 0xC000,
                                            .arm = 0xE000,
                                            .config = 0x10000,
                                            .status = 0x12000,
                                            .size = 0x14000};
constexpr const SyncManagerRegisters& SyncManagerRegistersOf(Asic asic) {
  return asic == Asic::kGaudi ? kGaudiSm : kGaudi2Sm;
}
constexpr uint32_t kSyncManagers = 4;
// Gaudi: W_S, W_N, E_N, E_S as dcores 0..3 (INFO SYNC_MANAGER). Gaudi2: DCORE0..3.
constexpr uint32_t kGaudiSmBase[kSyncManagers] = {0x492000, 0x4D2000, 0x4F2000, 0x4B2000};
constexpr uint32_t kGaudiSmEastNorth = 2;
constexpr uint32_t SyncManagerBase(Asic asic, uint32_t dcore) {
  return asic == Asic::kGaudi ? kGaudiSmBase[dcore] : 0x4100000 + dcore * 0x200000;
}
// Gaudi2 SYNC_MNGR_GLBL: the completion queues of a sync manager. 64 of each, 4-byte stride.
constexpr uint32_t SyncManagerGlobalBase(uint32_t dcore) { return 0x411E000 + dcore * 0x200000; }
constexpr uint32_t kSmCqs = 64;
constexpr uint32_t kSmCqBaseLo = 0x50, kSmCqBaseHi = 0x150, kSmCqSizeLog2 = 0x250, kSmCqPi = 0x350;
constexpr uint32_t kSmCqLbwAddrLo = 0x550, kSmCqLbwAddrHi = 0x650, kSmCqLbwData = 0x750, kSmCqIncMode = 0x850;

// Gaudi2, DCORE0: what the driver keeps for itself; stores of a program's queues to these are refused.
constexpr uint32_t kGaudi2DriverSobs = 85, kGaudi2DriverMonitors = 125, kGaudi2DriverCqs = 2;

// Doorbells that raise an interrupt.
constexpr uint32_t kGaudiMsiRequest = 0xC13000;                 // PCIE_MSI_INTR_0; one MSI is used
constexpr uint32_t kGaudi2MsixDoorbell = 0x4C17000;             // PCIE_MSIX: data = vector
constexpr uint32_t kGaudi2DbiMsixDoorbell = 0x4C02948;          // PCIE_DBI MSIX_DOORBELL_OFF
constexpr uint64_t kGaudi2MsixDoorbellVa = 0xFFF077FFFFFF0000;  // page of the host range that means the doorbell

// The management processor of Gaudi: interrupts that its firmware puts on the event queue under their number
// (GIC_DISTRIBUTOR__5_GICD_SETSPI_NSR), and the reset of its cores (CPU_CA53_CFG_ARM_RST_CONTROL, 0: held in it).
constexpr uint32_t kGaudiGicSetSpi = 0x800040, kGaudiArmResetControl = 0x441124;

// Host memory as engines address it when no MMU translates: DMA address + this.
constexpr uint64_t kGaudiHostBase = 0x8000000000;

}  // namespace causeway::gaudi
