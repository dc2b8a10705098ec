// SPDX-License-Identifier: Apache-2.0
// The hwmon device of an accelerator: what the management processor's sensors are to libsensors.
//
//   /sys/devices/pci.../<bdf>/hwmon/hwmonN/{name,temp1_input,...}     /sys/class/hwmon/hwmonN -> it
//
// Source: linux v6.12 drivers/accel/habanalabs/common/hwmon.c, drivers/hwmon/hwmon.c (names and modes of attributes).
#pragma once

#include <cstdint>
#include <string>

#include "drivers/habanalabs/device.h"
#include "kernel/tree.h"

namespace causeway::habanalabs {

// The first number that no hwmon device of the host has: ours are listed beside the host's.
uint32_t FirstFreeHwmon(const std::string& host_class = "/sys/class/hwmon");

// hl_hwmon_init().
Status AddHwmon(kernel::Tree& tree, const std::string& function_folder, uint32_t number, HlDevice& device);

}  // namespace causeway::habanalabs
