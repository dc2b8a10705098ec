// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/gaudi/gaudi.c gaudi_is_device_idle(),
// gaudi2/gaudi2.c gaudi2_is_device_idle(); uAPI enums gaudi_engine_id and
// gaudi2_engine_id.
#include "drivers/habanalabs/engine_status.h"

#include <fmt/format.h>

namespace causeway::habanalabs {
namespace {

// What the status registers of an engine at rest hold; of one that works, 0.
constexpr uint32_t kQmGlblSts0Idle = 0x3fff, kQmGlblSts1Idle = 0xff, kQmCgmStsIdle = 0x100;
constexpr uint32_t kDmaCoreSts0Busy = 0x80000000;
constexpr uint32_t kTpcIdle = 0x3fe, kMmeArchIdle = 0x7f03f;  // TPC_IDLE_MASK, MME_ARCH_IDLE_MASK
constexpr uint32_t kDecoderIdle = 0x2;                        // VSI_CMD_SWREG15: idle

bool IsBusy(const EngineMask& busy, unsigned engine) { return (busy[engine / 64] >> (engine % 64) & 1) != 0; }

// One engine's row: the columns before "is_idle" as the table has them, then the registers.
class Table {
 public:
  Table(std::string& text, const EngineMask& busy) : text_(text), busy_(busy) {}

  void Head(std::string_view names, std::string_view rule) { Line(fmt::format("\n{}\n{}\n", names, rule)); }
  bool Idle(unsigned engine) const { return !IsBusy(busy_, engine); }
  const char* Yes(unsigned engine) const { return Idle(engine) ? "Y" : "N"; }
  uint32_t Sts0(unsigned engine) const { return Idle(engine) ? kQmGlblSts0Idle : 0; }
  uint32_t Cgm(unsigned engine) const { return Idle(engine) ? kQmCgmStsIdle : 0; }
  uint32_t Dma(unsigned engine) const { return Idle(engine) ? 0 : kDmaCoreSts0Busy; }
  uint32_t When(unsigned engine, uint32_t idle) const { return Idle(engine) ? idle : 0; }
  void Line(std::string_view line) {
    text_ += line;
    text_ += '\0';
  }

 private:
  std::string& text_;
  const EngineMask& busy_;
};

// C's %#x, which says nothing before a zero.
std::string Hex(uint32_t value, int width = 0) {
  return fmt::format("{:<{}}", value == 0 ? std::string("0") : fmt::format("{:#x}", value), width);
}

// Without a NIC driver no port is in use: the table of NICs has no row.
void GaudiTables(Table& t) {
  t.Head("DMA  is_idle  QM_GLBL_STS0  QM_CGM_STS  DMA_CORE_STS0",
         "---  -------  ------------  ----------  -------------");
  for (unsigned i = 0; i < 8; ++i) {
    t.Line(fmt::format("{:<5}{:<9}{}{}{}\n", i, t.Yes(i), Hex(t.Sts0(i), 14), Hex(t.Cgm(i), 12), Hex(t.Dma(i))));
  }
  t.Head("TPC  is_idle  QM_GLBL_STS0  QM_CGM_STS  CFG_STATUS", "---  -------  ------------  ----------  ----------");
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned engine = 12 + i;
    t.Line(fmt::format("{:<5}{:<9}{}{}{}\n", i, t.Yes(engine), Hex(t.Sts0(engine), 14), Hex(t.Cgm(engine), 12),
                       Hex(t.When(engine, kTpcIdle))));
  }
  t.Head("MME  is_idle  QM_GLBL_STS0  QM_CGM_STS  ARCH_STATUS", "---  -------  ------------  ----------  -----------");
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned engine = 8 + i;
    const bool slave = i % 2 == 1;  // has no queue manager of its own
    t.Line(fmt::format("{:<5}{:<9}{}{}{}\n", i, t.Yes(engine),
                       slave ? fmt::format("{:<14}", "-") : Hex(t.Sts0(engine), 14),
                       slave ? fmt::format("{:<12}", "-") : Hex(t.Cgm(engine), 12), Hex(t.When(engine, kMmeArchIdle))));
  }
  t.Head("NIC  is_idle  QM_GLBL_STS0  QM_CGM_STS", "---  -------  ------------  ----------");
}

void Gaudi2Tables(Table& t) {
  const auto at = [](unsigned dcore, unsigned engine) { return dcore * 11 + engine; };
  t.Head("CORE  EDMA  is_idle  QM_GLBL_STS0  DMA_CORE_STS0  DMA_CORE_STS1",
         "----  ----  -------  ------------  -------------  -------------");
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned engine = at(i / 2, i % 2);
    t.Line(fmt::format("{:<6}{:<6}{:<9}{}{}{}\n", i / 2, i % 2, t.Yes(engine), Hex(t.Sts0(engine), 14),
                       Hex(t.Dma(engine), 15), Hex(0)));
  }
  t.Head("PDMA  is_idle  QM_GLBL_STS0  DMA_CORE_STS0  DMA_CORE_STS1",
         "----  -------  ------------  -------------  -------------");
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned engine = 45 + i;
    t.Line(
        fmt::format("{:<6}{:<9}{}{}{}\n", i, t.Yes(engine), Hex(t.Sts0(engine), 14), Hex(t.Dma(engine), 15), Hex(0)));
  }
  t.Head("MME  Stub  is_idle  QM_GLBL_STS0  MME_ARCH_STATUS", "---  ----  -------  ------------  ---------------");
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned engine = at(i, 2);
    t.Line(fmt::format("{:<5}{:<6}{:<9}{}{}\n", i, "N", t.Yes(engine), Hex(t.Sts0(engine), 14),
                       Hex(t.When(engine, kMmeArchIdle))));
  }
  t.Head("CORE  TPC  is_idle  QM_GLBL_STS0  QM_CGM_STS  STATUS",
         "----  ---  -------  ------------  ----------  ------");
  for (unsigned dcore = 0; dcore < 4; ++dcore) {
    for (unsigned tpc = 0; tpc < (dcore == 0 ? 7u : 6u); ++tpc) {
      const unsigned engine = tpc == 6 ? 44 : at(dcore, 3 + tpc);
      t.Line(fmt::format("{:<6}{:<5}{:<9}{}{}{}\n", dcore, tpc, t.Yes(engine), Hex(t.Sts0(engine), 14),
                         Hex(t.Cgm(engine), 12), Hex(t.When(engine, kTpcIdle))));
    }
  }
  t.Head("CORE  DEC  is_idle  VSI_CMD_SWREG15", "----  ---  -------  ---------------");
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned engine = at(i / 2, 9 + i % 2);
    t.Line(fmt::format("{:<6}{:<5}{:<9}{}\n", i / 2, i % 2, t.Yes(engine), Hex(t.When(engine, kDecoderIdle))));
  }
  t.Head("PCIe DEC  is_idle  VSI_CMD_SWREG15", "--------  -------  ---------------");
  for (unsigned i = 0; i < 2; ++i) {
    t.Line(fmt::format("{:<10}{:<9}{}\n", i, t.Yes(49 + i), Hex(t.When(49 + i, kDecoderIdle))));
  }
  t.Head("CORE  ROT  is_idle  QM_GLBL_STS0  QM_GLBL_STS1  QM_CGM_STS",
         "----  ---  -------  ------------  ------------  ----------");
  for (unsigned i = 0; i < 2; ++i) {
    const unsigned engine = 47 + i;
    t.Line(fmt::format("{:<6}{:<5}{:<9}{}{}{}\n", i, 0, t.Yes(engine), Hex(t.Sts0(engine), 14),
                       Hex(t.When(engine, kQmGlblSts1Idle), 14), Hex(t.Cgm(engine))));
  }
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
  Table table(text, busy);
  if (asic == gaudi::Asic::kGaudi) {
    GaudiTables(table);
  } else {
    Gaudi2Tables(table);
  }
  return text;
}

}  // namespace causeway::habanalabs
