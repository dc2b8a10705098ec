// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_DEBUG: debug mode and the coresight components. The components take their configuration and have nothing to
// tell: counters and write pointers read as zero.
#pragma once

#include "drivers/habanalabs/file.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

// hl_debug_ioctl(). errors: EBUSY not operational; EFAULT debug mode is off (or, for SET_MODE, already as asked), bad
// pointers; EINVAL unknown op, component or arguments; ENOMEM an output buffer beyond reason.
Status DebugIoctl(HlFile& file, kernel::Task& task, uapi::hl_debug_args& args);

}  // namespace causeway::habanalabs
