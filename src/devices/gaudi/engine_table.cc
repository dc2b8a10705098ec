// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/engine_table.h"

namespace causeway::gaudi {
namespace {

std::vector<QmanSpec> GaudiQmans() {
  std::vector<QmanSpec> qmans;
  const auto add = [&](uint32_t base, uint32_t engine, EngineKind kind, uint32_t queue) {
    qmans.push_back({.base = base,
                     .engine_id = static_cast<uint16_t>(engine),
                     .kind = kind,
                     .first_queue = static_cast<uint16_t>(queue)});
  };
  for (uint32_t dma = 0; dma < 8; ++dma) {
    // Queue 8 is the management processor's.
    add(0x508000 + dma * 0x20000, dma, dma < 2 ? EngineKind::kPciDma : EngineKind::kDma, dma * 4 + (dma < 2 ? 0 : 1));
  }
  add(0x068000 + 2 * 0x80000, 8 + 2, EngineKind::kMme, 33);  // MME_0 of the uAPI is MME2's
  add(0x068000, 8, EngineKind::kMme, 37);
  for (uint32_t tpc = 0; tpc < 8; ++tpc) add(0xE08000 + tpc * 0x40000, 12 + tpc, EngineKind::kTpc, 41 + tpc * 4);
  for (uint32_t nic = 0; nic < 10; ++nic) {
    add(0xCE0000 + nic / 2 * 0x40000 + nic % 2 * 0x2000, 20 + nic, EngineKind::kNic, 73 + nic * 4);
  }
  return qmans;
}

std::vector<QmanSpec> Gaudi2Qmans() {
  std::vector<QmanSpec> qmans;
  uint32_t queue = 0;
  const auto add = [&](uint32_t base, uint32_t engine, EngineKind kind) {
    qmans.push_back({.base = base,
                     .engine_id = static_cast<uint16_t>(engine),
                     .kind = kind,
                     .first_queue = static_cast<uint16_t>(queue)});
    queue += 4;
  };
  add(0x4C8A000, 45, EngineKind::kPciDma);
  add(0x4C9A000, 46, EngineKind::kPciDma);
  for (uint32_t dcore = 0; dcore < 4; ++dcore) {
    const uint32_t base = dcore * 0x200000;
    const uint32_t engine = dcore * 11;
    add(base + 0x41CA000, engine, EngineKind::kDma);
    add(base + 0x41DA000, engine + 1, EngineKind::kDma);
    add(base + 0x40CA000, engine + 2, EngineKind::kMme);
    const uint32_t tpcs = dcore == 0 ? 7 : 6;  // DCORE0 TPC6 replaces a faulty one
    for (uint32_t tpc = 0; tpc < tpcs; ++tpc) {
      add(base + 0x400A000 + tpc * 0x10000, tpc == 6 ? 44 : engine + 3 + tpc, EngineKind::kTpc);
    }
  }
  for (uint32_t nic = 0; nic < 24; ++nic) {
    add(0x541A000 + nic / 2 * 0x80000 + nic % 2 * 0x20000, 51 + nic, EngineKind::kNic);
  }
  add(0x4E0A000, 47, EngineKind::kRotator);
  add(0x4E1A000, 48, EngineKind::kRotator);
  return qmans;
}

}  // namespace

std::vector<QmanSpec> QmansOf(Asic asic) { return asic == Asic::kGaudi ? GaudiQmans() : Gaudi2Qmans(); }

}  // namespace causeway::gaudi
