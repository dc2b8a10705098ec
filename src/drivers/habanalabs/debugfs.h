// SPDX-License-Identifier: Apache-2.0
// Files below /sys/kernel/debug: what programs that test or debug a device use (hl-thunk's root fixture and its error
// injection). One folder per device, under every name by which programs look for it:
//
//   habanalabs/hlN      kernels up to 6.6, and hl-thunk's tests on any
//   accel/N             hl-thunk's library
//   accel/0000:03:00.0  kernels from 6.7 on, after the DRM device's parent
#pragma once

#include <string>

#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/sysfs.h"
#include "kernel/tree.h"

namespace causeway::habanalabs {

Status AddDebugfs(kernel::Tree& tree, const NodeNames& names, uint32_t index, HlDevice& device);

// hl_access_mem(): 4 or 8 bytes at a device address: a virtual one of the open context, or of registers, SRAM, DRAM.
// errors: EINVAL.
Result<uint64_t> DebugRead(HlDevice& device, uint64_t address, uint32_t bytes);
Status DebugWrite(HlDevice& device, uint64_t address, uint64_t value, uint32_t bytes);

}  // namespace causeway::habanalabs
