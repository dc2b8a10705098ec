// SPDX-License-Identifier: Apache-2.0
// What a Gaudi or Gaudi2 board is, as PCI and its address decoders show it. Sources: linux v6.12
// drivers/accel/habanalabs/include/{gaudi,gaudi2}/*_reg_map.h, gaudi.h, gaudi2.h; gaudi_pci_bars_map().
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "pci/function.h"

namespace causeway::gaudi {

enum class Asic : uint8_t { kGaudi, kGaudi2 };

constexpr uint16_t kVendor = 0x1da3;  // PCI_VENDOR_ID_HABANALABS
constexpr uint16_t kDeviceGaudi = 0x1000;
constexpr uint16_t kDeviceGaudiSec = 0x1010;
constexpr uint16_t kDeviceGaudi2 = 0x1020;
constexpr uint32_t kClassCode = 0x120000;  // processing accelerator

// Device-side addresses.
struct AddressMap {
  uint64_t cfg_base, cfg_size;
  uint64_t sram_base, sram_size;
  uint64_t dram_base;             // physical
  uint64_t hbm_stack_bytes;       // of each HBM stack
  uint64_t bar0_size, bar2_size;  // BAR4 is the board's choice
};
constexpr AddressMap kGaudiMap = {
    .cfg_base = 0x7FFC000000,
    .cfg_size = 0x4000000,
    .sram_base = 0x7FF0000000,
    .sram_size = 20 * kMiB,
    .dram_base = 0,
    .hbm_stack_bytes = 8 * kGiB,
    .bar0_size = 64 * kMiB,   // SRAM
    .bar2_size = 128 * kMiB,  // CFG
};
constexpr AddressMap kGaudi2Map = {
    .cfg_base = 0x1000007FF8000000,
    .cfg_size = 0x8000000,
    .sram_base = 0x1000FFFFFD000000,
    .sram_size = 48 * kMiB,
    .dram_base = 0x1001000000000000,
    .hbm_stack_bytes = 16 * kGiB,
    .bar0_size = 256 * kMiB,  // CFG and SRAM
    .bar2_size = 16 * 1024,   // MSI-X table
};
constexpr const AddressMap& MapOf(Asic asic) { return asic == Asic::kGaudi ? kGaudiMap : kGaudi2Map; }

constexpr unsigned kSramBar = 0;
constexpr unsigned kCfgBar = 2;
constexpr unsigned kHbmBar = 4;

// Gaudi carries 4 stacks. Gaudi2 carries 6, one of which may be binned.
constexpr uint64_t HbmBytes(Asic asic, uint32_t stacks) {
  return asic == Asic::kGaudi ? 4 * kGaudiMap.hbm_stack_bytes : stacks * kGaudi2Map.hbm_stack_bytes;
}

}  // namespace causeway::gaudi
