// SPDX-License-Identifier: Apache-2.0
// HL_MEM_OP_EXPORT_DMABUF_FD: device memory as a dma-buf.
//
//   Gaudi   addr is a physical address in the DRAM that programs manage themselves
//   Gaudi2  addr is what MAP returned; offset and size choose whole host pages of that mapping
#pragma once

#include <cstdint>

#include "drivers/habanalabs/file.h"

namespace causeway::habanalabs {

// export_dmabuf_from_addr(): checks in the kernel's order, then a new descriptor of the program.
//   flags   O_CLOEXEC acts on the descriptor, O_NONBLOCK on the file; other bits are ignored
//   errors  EOPNOTSUPP (E1 on Gaudi2), EINVAL, EMFILE, ENFILE
Result<int> ExportDmaBuf(HlFile& file, kernel::Task& task, uint64_t addr, uint64_t size, uint64_t offset,
                         uint32_t flags);

}  // namespace causeway::habanalabs
