/* SPDX-License-Identifier: Apache-2.0 */
/* lookup_ways.c and the libraries it is built with. */
#ifndef CAUSEWAY_TESTS_LOOKUP_WAYS_H
#define CAUSEWAY_TESTS_LOOKUP_WAYS_H

#include <stddef.h>
#include <stdint.h>

int next_a_value(void); /* 10 + what the next library's function of this name says */

/* struct ibv_mr_init_attr (rdma-core 59, IBVERBS_1.15), which Debian 12's header does not have. */
enum { MR_IOVA = 1, MR_ADDR = 2, MR_FD = 4, MR_FD_OFFSET = 8 };
struct mr_init_attr {
  size_t length;
  int access;
  uint64_t comp_mask;
  uint64_t iova;
  void* addr;
  int fd;
  uint64_t fd_offset;
  void* dmah;
};

#endif
