// SPDX-License-Identifier: Apache-2.0
// Every queue manager of a device: where its registers are, which engine it feeds, and which queue ids of the uAPI are
// its four streams. Sources: linux include/uapi/drm/habanalabs_accel.h (queue and engine ids), {gaudi,gaudi2}_blocks.h.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/gaudi/address_map.h"

namespace causeway::gaudi {

enum class EngineKind : uint8_t { kPciDma, kDma, kMme, kTpc, kNic, kRotator };

struct QmanSpec {
  uint32_t base = 0;       // of the QMAN's registers, from CFG_BASE
  uint16_t engine_id = 0;  // bit of INFO HW_IDLE's mask
  EngineKind kind = EngineKind::kDma;
  uint16_t first_queue = 0;  // queue id of stream 0
  bool has_dma() const { return kind == EngineKind::kPciDma || kind == EngineKind::kDma; }
};

std::vector<QmanSpec> QmansOf(Asic asic);

}  // namespace causeway::gaudi
