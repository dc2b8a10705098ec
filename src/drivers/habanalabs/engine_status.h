// SPDX-License-Identifier: Apache-2.0
// The text of INFO ENGINE_STATUS and of debugfs `engines`: is_device_idle() with a struct engines_data.
#pragma once

#include <string>
#include <string_view>

#include "devices/gaudi/address_map.h"
#include "drivers/habanalabs/execution.h"

namespace causeway::habanalabs {

// Each line ends with "\n\0", as hl_engine_data_sprintf() leaves it.
std::string EngineStatusText(gaudi::Asic asic, const EngineMask& busy);

// "DMA0", "DCORE1_TPC3"; "" for a number that no engine has.
std::string EngineName(gaudi::Asic asic, unsigned engine_id);
constexpr unsigned EngineCount(gaudi::Asic asic) { return asic == gaudi::Asic::kGaudi ? 30 : 75; }

}  // namespace causeway::habanalabs
