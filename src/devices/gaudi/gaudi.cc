// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/gaudi.h"

#include <time.h>

#include <algorithm>

#include "base/checked.h"

namespace causeway::gaudi {
namespace {

uint64_t MonotonicNs() {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC_RAW, &now);  // cannot fail: the clock exists and the pointer is good
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

FirmwareInfo MakeFirmware(const BoardSpec& spec, bool secured) {
  const bool gaudi2 = spec.asic == Asic::kGaudi2;
  const std::string version = "1.11.0-fw-42.0.0-causeway";
  const std::string chip = gaudi2 ? "gaudi2" : "gaudi";
  FirmwareInfo info;
  info.uboot_version = "U-Boot 2021.04-hl-" + chip + "-" + version;
  info.preboot_version = "1.11.0-hl-" + chip + "-fw-42.0.0-causeway";
  info.cpucp_version = "hl-" + chip + "-" + version;
  info.kernel_version = "Linux " + chip + " 5.10.18-hl-" + chip + "-" + version + "\n";
  info.fw_os_version = "hl-" + chip + "-" + version + "\n";
  info.thermal_version = "1.0.0-causeway\n";
  info.fuse_version = (gaudi2 ? "01P0-HL2080A0-" : "01P1-HL2000A1-") + spec.serial;
  info.card_name = gaudi2 ? "HL225" : "HL205";
  info.cpld_version = 0x10;
  info.vrm_version = 0x64;
  info.module_id = spec.module_id;
  info.security_enabled = secured;
  info.dc_power_default = secured ? 97'000 : 60'000;
  info.max_power_default = gaudi2 ? 600'000 : 350'000;
  return info;
}

}  // namespace

Board::Board(const BoardSpec& spec, const pci::Function& function, ipc::MemoryTable& memories, uint32_t hbm,
             uint32_t sram_and_cfg)
    : spec_(spec),
      function_(function),
      memories_(memories),
      hbm_(hbm),
      hbm_bytes_(HbmBytes(spec.asic, spec.hbm_stacks)),
      firmware_(MakeFirmware(spec, function.identity().device == kDeviceGaudiSec)),
      power_up_ns_(MonotonicNs()),
      cpucp_({.idle_power_mw = firmware_.dc_power_default,
              .max_power_mw = firmware_.max_power_default,
              .max_clock_mhz = spec.asic == Asic::kGaudi2 ? 1650u : 1575u,
              .hbm_stacks = spec.hbm_stacks}),
      fabric_(spec.asic, {.hbm = hbm, .hbm_bytes = hbm_bytes_, .sram = sram_and_cfg}, memories, mmu_),
      engines_(spec.asic, fabric_, memories, sram_and_cfg, AlignUp(MapOf(spec.asic).sram_size, kMiB)) {}

Result<std::unique_ptr<Board>> Board::Create(const BoardSpec& spec, const pci::Function& function, pci::Bus& bus,
                                             ipc::MemoryTable& memories) {
  const pci::Identity& identity = function.identity();
  const bool known = spec.asic == Asic::kGaudi2 ? identity.device == kDeviceGaudi2
                                                : identity.device == kDeviceGaudi || identity.device == kDeviceGaudiSec;
  if (identity.vendor != kVendor || !known) return Err(ENODEV);
  if (spec.asic == Asic::kGaudi2 && spec.hbm_stacks != 5 && spec.hbm_stacks != 6) return Err(ENODEV);
  // gaudi_early_init(), gaudi2_early_init(): the fixed BARs have the size the driver was built for.
  const AddressMap& map = MapOf(spec.asic);
  if (function.bar(kSramBar).size != map.bar0_size || function.bar(kCfgBar).size != map.bar2_size) return Err(ENODEV);
  if (function.bar(kHbmBar).size == 0) return Err(ENODEV);

  const uint64_t bytes = HbmBytes(spec.asic, spec.hbm_stacks);
  CW_TRY(const uint32_t hbm, memories.Create(function.name() + "-hbm", bytes));
  CW_CHECK(bus.BackBar(function, kHbmBar, 0, std::min(bytes, function.bar(kHbmBar).size), hbm, 0));
  // SRAM, then the registers that only store.
  CW_TRY(const uint32_t sram_and_cfg,
         memories.Create(function.name() + "-sram", AlignUp(map.sram_size, kMiB) + map.cfg_size));
  std::unique_ptr<Board> board(new Board(spec, function, memories, hbm, sram_and_cfg));
  // The engines' bytes from and to host memory, for the links; the bus outlives the device.
  bus.AddLiveTraffic([traffic = board->fabric_.shared_traffic(), &bus,
                      &function](const std::function<void(pci::RouteId, uint64_t, uint64_t)>& add) {
    const uint64_t read = traffic->read.load(std::memory_order_relaxed);
    const uint64_t written = traffic->written.load(std::memory_order_relaxed);
    if (read != 0 || written != 0) add(bus.RouteTo(function, nullptr), read, written);
  });
  return board;
}

void Board::WriteRegister(uint32_t offset, uint32_t value) {
  if (spec_.asic == Asic::kGaudi && offset == kGaudiGicSetSpi) return cpucp_.Interrupt(value);
  if (spec_.asic == Asic::kGaudi && offset == kGaudiArmResetControl && value == 0) cpucp_.Kill();
  engines_.WriteRegister(offset, value);
}

uint64_t Board::timestamp() const { return MonotonicNs() - power_up_ns_; }

}  // namespace causeway::gaudi
