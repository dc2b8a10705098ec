// SPDX-License-Identifier: Apache-2.0
// PROCMAP_QUERY, the ioctl of /proc/<pid>/maps that answers for one mapping (linux v6.11, include/uapi/linux/fs.h).
#pragma once

#include <cstdint>

namespace causeway::uapi {

struct procmap_query {
  uint64_t size;
  uint64_t query_flags;
  uint64_t query_addr;
  uint64_t vma_start;
  uint64_t vma_end;
  uint64_t vma_flags;
  uint64_t vma_page_size;
  uint64_t vma_offset;
  uint64_t inode;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint32_t vma_name_size;
  uint32_t build_id_size;
  uint64_t vma_name_addr;
  uint64_t build_id_addr;
};
static_assert(sizeof(procmap_query) == 104);

constexpr uint32_t PROCMAP_QUERY = 0xc0686611;  // _IOWR('f', 17, procmap_query)

enum : uint64_t {
  PROCMAP_QUERY_VMA_READABLE = 0x01,
  PROCMAP_QUERY_VMA_WRITABLE = 0x02,
  PROCMAP_QUERY_VMA_EXECUTABLE = 0x04,
  PROCMAP_QUERY_VMA_SHARED = 0x08,
  PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10,
};

}  // namespace causeway::uapi
