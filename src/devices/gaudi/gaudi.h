// SPDX-License-Identifier: Apache-2.0
// The device model of a Gaudi or Gaudi2 board: its HBM behind BAR4, its engines (engines.h) with the MMU and the
// address space they work in, and what its management processor (CPU-CP) answers. It knows no kernel, no process and no
// ioctl.
//
//   bus address of BAR4 ---> HBM byte 0 of a sparse memory object (ipc/memory_table.h): what is never touched costs
//   nothing
//
// Runs on: any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "devices/gaudi/address_map.h"
#include "devices/gaudi/cpucp.h"
#include "devices/gaudi/engines.h"
#include "devices/gaudi/fabric.h"
#include "devices/gaudi/mmu.h"
#include "ipc/memory_table.h"
#include "pci/bus.h"
#include "pci/function.h"

namespace causeway::gaudi {

struct BoardSpec {
  Asic asic = Asic::kGaudi2;
  uint32_t hbm_stacks = 6;  // Gaudi2 only: 6, or 5 with one binned
  uint32_t module_id = 0;   // slot on the baseboard, 0..7
  std::string serial;
};

// What the firmware tells a driver that asks (struct cpucp_info and the boot-loader's version strings). Version texts
// are this model's own; their form is the one clients parse ("major.minor.sub-...").
struct FirmwareInfo {
  std::string uboot_version;
  std::string preboot_version;
  std::string cpucp_version;
  std::string kernel_version;
  std::string fw_os_version;
  std::string thermal_version;
  std::string fuse_version;
  std::string card_name;
  uint32_t cpld_version = 0;
  uint32_t cpld_timestamp = 0;
  uint32_t vrm_version = 0;  // Gaudi: infineon
  uint32_t module_id = 0;
  bool security_enabled = false;
  uint64_t dc_power_default = 0;   // mW, drawn when idle
  uint64_t max_power_default = 0;  // mW
};

class Board {
 public:
  // Makes the HBM and puts it behind BAR4, as much of it as the BAR can show.
  // errors: ENODEV not such a board (vendor, device id, sizes of BAR0 and BAR2); those of MemoryTable and Bus.
  static Result<std::unique_ptr<Board>> Create(const BoardSpec& spec, const pci::Function& function, pci::Bus& bus,
                                               ipc::MemoryTable& memories);

  Asic asic() const { return spec_.asic; }
  const AddressMap& map() const { return MapOf(spec_.asic); }
  const pci::Function& function() const { return function_; }
  const FirmwareInfo& firmware() const { return firmware_; }

  uint32_t hbm_memory() const { return hbm_; }
  uint64_t hbm_bytes() const { return hbm_bytes_; }
  uint64_t hbm_resident_bytes() const { return memories_.resident_bytes(hbm_); }
  // The content of [offset, offset + len) is undefined from now on: its pages go back to the system.
  void ForgetHbm(uint64_t offset, uint64_t len) { memories_.Discard(hbm_, offset, len); }

  CpuCp& cpucp() { return cpucp_; }
  Mmu& mmu() { return mmu_; }
  Fabric& fabric() { return fabric_; }
  Engines& engines() { return engines_; }
  // A store over PCI: a register of the engines, or one by which the management processor is reached.
  void WriteRegister(uint32_t offset, uint32_t value);

  // PSOC timestamp counter: ns since power-up.
  uint64_t timestamp() const;

 private:
  Board(const BoardSpec& spec, const pci::Function& function, ipc::MemoryTable& memories, uint32_t hbm,
        uint32_t sram_and_cfg);

  const BoardSpec spec_;
  const pci::Function& function_;
  ipc::MemoryTable& memories_;
  const uint32_t hbm_;
  const uint64_t hbm_bytes_;
  const FirmwareInfo firmware_;
  const uint64_t power_up_ns_;
  CpuCp cpucp_;
  Mmu mmu_;
  Fabric fabric_;
  Engines engines_;
};

}  // namespace causeway::gaudi
