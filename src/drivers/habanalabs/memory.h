// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_MEMORY.
#pragma once

#include "drivers/habanalabs/file.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

// hl_mem_ioctl(). `args` is what is copied back, on failure too.
Status MemoryIoctl(HlFile& file, kernel::Task& task, uapi::hl_mem_args& args);

}  // namespace causeway::habanalabs
