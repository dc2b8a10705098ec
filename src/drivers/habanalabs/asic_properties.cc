// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/asic_properties.h"

#include "base/checked.h"

namespace causeway::habanalabs {
namespace {

AsicProperties Gaudi(Flavour flavour) {
  const gaudi::AddressMap& map = gaudi::kGaudiMap;
  constexpr uint64_t kVaStart = 0x0001000000000000;  // VA_HOST_SPACE_START
  constexpr uint64_t kVaEnd = 0x0003FF8000000000;
  constexpr uint64_t kVaMiddle = kVaStart + (kVaEnd - kVaStart) / 2;
  constexpr uint64_t kSramReserved = 0x80;  // GAUDI_DRIVER_SRAM_RESERVED_SIZE_FROM_START
  AsicProperties p{};
  p.asic = gaudi::Asic::kGaudi;
  p.dram_base_address = map.dram_base;
  p.dram_user_base_address = 0x20000000;  // DRAM_BASE_ADDR_USER: 512 MiB for page tables and the CPU image
  p.dram_end_address = map.dram_base + gaudi::HbmBytes(p.asic, 4);
  p.dram_page_size = 2 * kMiB;
  p.dram_supports_virtual_memory = false;
  p.sram_user_base_address = map.sram_base + kSramReserved;
  p.sram_user_size = static_cast<uint32_t>(map.sram_size - kSramReserved);
  p.host = {.start = kVaStart, .end = kVaMiddle, .page_size = kPageSize};
  p.dram = {.start = kVaMiddle, .end = kVaEnd, .page_size = p.dram_page_size};
  p.host_reserved_at_start = 2 * kMiB;  // HOST_SPACE_INTERNAL_CB_SZ
  p.num_of_events = 663;                // GAUDI_EVENT_SIZE
  p.first_available_interrupt_id = 0xffff;
  p.tpc_interrupt_id = 0xffff;
  p.server_type = 1;  // HL_SERVER_GAUDI_HLS1
  p.tpc_enabled_mask = 0xff;
  p.first_available_sob = 144;  // GAUDI_FIRST_AVAILABLE_W_S_SYNC_OBJECT
  p.first_available_mon = 72;   // GAUDI_FIRST_AVAILABLE_W_S_MONITOR
  p.first_available_cq = 0xffff;
  p.first_available_cq_other_dcores = 0xffff;
  p.pll_count = 10;  // HL_GAUDI_PLL_MAX
  p.reset_upon_device_release = false;
  p.supports_compute_reset = false;
  p.timeout_locked_sec = 600;  // GAUDI_DEFAULT_TDR
  p.flavour = flavour;
  return p;
}

AsicProperties Gaudi2(Flavour flavour, uint32_t hbm_stacks) {
  const gaudi::AddressMap& map = gaudi::kGaudi2Map;
  const bool misc = flavour == Flavour::kMisc;
  const uint64_t hbm = gaudi::HbmBytes(gaudi::Asic::kGaudi2, hbm_stacks);
  AsicProperties p{};
  p.asic = gaudi::Asic::kGaudi2;
  p.dram_base_address = map.dram_base;
  p.dram_page_size = hbm_stacks * 128 * kMiB;                   // 768 MiB; 640 MiB with a binned stack
  p.dram_user_base_address = map.dram_base + p.dram_page_size;  // the first page is the driver's
  p.dram_end_address = map.dram_base + hbm;
  p.dram_supports_virtual_memory = true;
  p.sram_user_base_address = map.sram_base;
  p.sram_user_size = static_cast<uint32_t>(map.sram_size);
  p.host = {.start = 0xFFF0000000000000,
            .end = 0xFFF0800000000000,
            .page_size = kPageSize,
            .hint_window_start = 0xFFF077FFFFFF0000,
            .hint_window_end = 0xFFF07FFFFFFFFFFF};
  p.host_huge = {.start = 0xFFF0800000000000,
                 .end = 0xFFF1000000000000,
                 .page_size = 2 * kMiB,
                 .hint_window_start = 0xFFF0F80000000000,
                 .hint_window_end = 0xFFF0FFFFFFFFFFFF};
  // The range is scaled: one DRAM page of addresses per GiB from its start to VA_HBM_SPACE_END.
  constexpr uint64_t kVaHbmSpaceEnd = 0x1002000000000000;
  const uint64_t start = map.dram_base + hbm;
  p.dram = {.start = start,
            .end = start + (kVaHbmSpaceEnd - start) / kGiB * p.dram_page_size,
            .page_size = p.dram_page_size,
            .hint_window_start = 0x1001500000000000,
            .hint_window_end = 0x10016FFFFFFFFFFF};
  // The CB pool's device addresses, then the internal CB pool (HOST_SPACE_INTERNAL_CB_SZ).
  p.host_reserved_at_start = 4 * kGiB + 2 * kMiB;
  p.msix_doorbell_va = 0xFFF077FFFFFF0000;  // RESERVED_VA_FOR_VIRTUAL_MSIX_DOORBELL_START
  p.num_of_events = misc ? 1320 : 1329;     // GAUDI2_EVENT_SIZE
  p.decoder_enabled_mask = 0x3ff;
  p.first_available_interrupt_id = misc ? 257 : 48;
  p.number_of_user_interrupts = misc ? 255 : 64;
  p.tpc_interrupt_id = 46;
  p.server_type = 5;  // HL_SERVER_GAUDI2_HLS2
  p.tpc_enabled_mask = 0x1ffffff;
  p.edma_enabled_mask = 0xff;
  p.rotator_enabled_mask = 3;
  p.mme_master_slave_mode = 1;
  p.engine_core_interrupt_reg_addr = map.cfg_base;
  p.first_available_sob = 413;  // 85 of the driver, 2 for each of 164 sync-stream queues
  p.first_available_mon = 289;  // 125 of the driver, 1 for each of 164
  p.first_available_cq = 2;
  p.first_available_cq_other_dcores = 0;
  p.pll_count = 12;  // HL_GAUDI2_PLL_MAX
  p.reset_upon_device_release = true;
  p.supports_compute_reset = true;
  p.timeout_locked_sec = 30;  // HL_DEFAULT_... of the module parameter timeout_locked
  p.flavour = flavour;
  return p;
}

}  // namespace

AsicProperties MakeAsicProperties(gaudi::Asic asic, Flavour flavour, uint32_t hbm_stacks) {
  AsicProperties properties = asic == gaudi::Asic::kGaudi ? Gaudi(flavour) : Gaudi2(flavour, hbm_stacks);
  // The vendor's accel driver has linux 6.6's checks (E3), which are E4's. Deviation: E3's scatterlist ignored the
  // offset and shared one size among exports of a mapping; here it is right for both, as in E4.
  properties.export_rules = flavour == Flavour::kMisc ? ExportRules::kE1 : ExportRules::kE4;
  return properties;
}

std::string_view ToString(Flavour flavour) {
  switch (flavour) {
    case Flavour::kAccel: return "accel";
    case Flavour::kMisc: return "misc";
    case Flavour::kDrm: return "drm";
  }
  return "?";
}

}  // namespace causeway::habanalabs
