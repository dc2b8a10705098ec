// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_CB, HL_IOCTL_CS and HL_IOCTL_WAIT_CS. `args` is what is copied back, on failure too.
#pragma once

#include "drivers/habanalabs/file.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {

Status CbIoctl(HlFile& file, kernel::Task& task, uapi::hl_cb_args& args);
Status CsIoctl(HlFile& file, kernel::Task& task, uapi::hl_cs_args& args);
Status WaitIoctl(HlFile& file, kernel::Task& task, uapi::hl_wait_cs_args& args);

// HL_MEM_OP_TS_ALLOC: the handle. errors: EINVAL too many elements; ENOMEM.
Result<uint64_t> AllocateTimestamps(HlFile& file, uint32_t elements);

}  // namespace causeway::habanalabs
