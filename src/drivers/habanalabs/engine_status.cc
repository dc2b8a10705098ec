// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/gaudi/gaudi.c gaudi_is_device_idle(); uAPI enums gaudi_engine_id and
// gaudi2_engine_id.
#include "drivers/habanalabs/engine_status.h"

#include <fmt/format.h>

namespace causeway::habanalabs {
namespace {

// What the status registers of an engine at rest hold: QM_IDLE_MASK, CGM_IDLE_MASK.
constexpr uint32_t kQmGlblSts0Idle = 0x3fff, kQmCgmStsIdle = 0x100;

bool IsBusy(const EngineMask& busy, unsigned engine) { return (busy[engine / 64] >> (engine % 64) & 1) != 0; }

void Line(std::string& text, std::string_view line) {
  text += line;
  text += '\0';
}

void Row(std::string& text, std::string_view name, bool busy) {
  Line(text, fmt::format("{:<13}{:<9}{:<#14x}{:#x}\n", name, busy ? "N" : "Y", busy ? 0u : kQmGlblSts0Idle,
                         busy ? 0u : kQmCgmStsIdle));
}

}  // namespace

std::string EngineName(gaudi::Asic asic, unsigned engine) {
  if (engine >= EngineCount(asic)) return {};
  if (asic == gaudi::Asic::kGaudi) {
    if (engine < 8) return fmt::format("DMA{}", engine);
    if (engine < 12) return fmt::format("MME{}", engine - 8);
    if (engine < 20) return fmt::format("TPC{}", engine - 12);
    return fmt::format("NIC{}", engine - 20);
  }
  if (engine < 44) {
    const unsigned dcore = engine / 11, at = engine % 11;
    if (at < 2) return fmt::format("DCORE{}_EDMA{}", dcore, at);
    if (at == 2) return fmt::format("DCORE{}_MME", dcore);
    if (at < 9) return fmt::format("DCORE{}_TPC{}", dcore, at - 3);
    return fmt::format("DCORE{}_DEC{}", dcore, at - 9);
  }
  if (engine == 44) return "DCORE0_TPC6";
  if (engine < 47) return fmt::format("PDMA{}", engine - 45);
  if (engine < 49) return fmt::format("ROT{}", engine - 47);
  if (engine < 51) return fmt::format("PCIE_DEC{}", engine - 49);
  return fmt::format("NIC{}", engine - 51);
}

std::string EngineStatusText(gaudi::Asic asic, const EngineMask& busy) {
  std::string text;
  Line(text,
       "\nengine       is_idle  QM_GLBL_STS0  QM_CGM_STS\n"
       "-----------  -------  ------------  ----------\n");
  for (unsigned engine = 0; engine < EngineCount(asic); ++engine) {
    Row(text, EngineName(asic, engine), IsBusy(busy, engine));
  }
  return text;
}

}  // namespace causeway::habanalabs
