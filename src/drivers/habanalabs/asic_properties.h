// SPDX-License-Identifier: Apache-2.0
// What the driver knows of an ASIC at compile time: struct asic_fixed_properties as gaudi_set_fixed_properties() and
// gaudi2_set_fixed_properties() fill it, per flavour of the uAPI where the kernels differ. Sources: linux v6.1
// drivers/misc/habanalabs/{gaudi,gaudi2}/, v6.12 drivers/accel/habanalabs/{gaudi,gaudi2}/.
#pragma once

#include <cstdint>
#include <string_view>

#include "devices/gaudi/address_map.h"
#include "drivers/habanalabs/va_range.h"

namespace causeway::habanalabs {

// Which of the three uAPIs a device offers.
enum class Flavour : uint8_t {
  kAccel,  // /dev/accel/accelN with type 'H' numbers, minors 2N and 2N+1: what hl-thunk is written for
  kMisc,   // /dev/hlN: linux <= 6.2
  kDrm,    // /dev/accel/accelN with DRM numbers: linux >= 6.7
};

// Rules of EXPORT_DMABUF_FD (names of docs/fidelity.md).
enum class ExportRules : uint8_t {
  kE1,  // linux <= 6.2: Gaudi only, an address, no offset; the compute file is not held
  kE4,  // linux >= 6.7: Gaudi2 by mapped address and offset; the compute file is held
};

struct AsicProperties {
  gaudi::Asic asic;
  Flavour flavour;
  ExportRules export_rules;

  // Device memory, physical.
  uint64_t dram_base_address;
  uint64_t dram_user_base_address;
  uint64_t dram_end_address;
  uint64_t dram_page_size;
  bool dram_supports_virtual_memory;

  uint64_t sram_user_base_address;
  uint32_t sram_user_size;

  VaRangeProperties host;
  VaRangeProperties host_huge;      // Gaudi2; end 0: huge pages share `host`
  VaRangeProperties dram;           // unused without dram_supports_virtual_memory
  uint64_t host_reserved_at_start;  // bytes at the start of the host range that the driver takes at context creation
  uint64_t msix_doorbell_va;        // one page of the host range, 0: none

  // INFO.
  uint32_t num_of_events;
  uint32_t decoder_enabled_mask;
  uint16_t first_available_interrupt_id;
  uint16_t number_of_user_interrupts;
  uint16_t tpc_interrupt_id;
  uint16_t server_type;
  uint64_t tpc_enabled_mask;
  uint32_t edma_enabled_mask;
  uint32_t rotator_enabled_mask;
  uint8_t mme_master_slave_mode;
  uint64_t engine_core_interrupt_reg_addr;
  uint32_t first_available_sob, first_available_mon, first_available_cq;  // of dcore 0
  uint32_t first_available_cq_other_dcores;
  uint32_t pll_count;

  // Resets. hdev->reset_upon_device_release: a compute reset whenever a user's context ends.
  bool reset_upon_device_release;
  bool supports_compute_reset;
  uint32_t timeout_locked_sec;  // default of the module parameter: until a command submission times out

  // What INFO calls the DRAM: the virtual range where there is one.
  uint64_t user_dram_base() const { return dram_supports_virtual_memory ? dram.start : dram_user_base_address; }
  uint64_t user_dram_size() const { return dram_end_address - dram_user_base_address; }
  uint64_t reserved_dram_size() const { return dram_user_base_address - dram_base_address; }
};

AsicProperties MakeAsicProperties(gaudi::Asic asic, Flavour flavour, uint32_t hbm_stacks);

std::string_view ToString(Flavour flavour);

}  // namespace causeway::habanalabs
