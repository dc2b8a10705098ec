/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One accelerator through the habanalabs user API: open it, take device memory, share that memory as a dma-buf.
 *
 *   AccelOpen -> AccelAlloc (ALLOC + MAP) -> AccelExport (EXPORT_DMABUF_FD) -> ... -> AccelClose
 *
 * Gaudi has no ALLOC of its own (its ALLOC only counts): a program manages DRAM from dram_base_address, and
 * AccelAlloc() does just that. Gaudi2 hands out pages of 768 MiB, mapped at a device address.
 */
#ifndef CAUSEWAY_EXAMPLES_ACCEL_H
#define CAUSEWAY_EXAMPLES_ACCEL_H

#include <stdbool.h>
#include <stdint.h>

#include "hl_uapi.h"

struct accel {
  int fd;
  char path[64];
  bool drm_numbers; /* the node answers DRM ioctl numbers only (Linux >= 6.7) */
  struct hl_info_hw_ip_info info;
  uint64_t handle;  /* 0: nothing to free */
  uint64_t address; /* device address of the memory, 0 before AccelAlloc() */
};

/* Opens accelerator `index` (/dev/accel/accelN, or /dev/hlN where /dev/accel is absent) and reads HW_IP_INFO. */
void AccelOpen(struct accel* accel, unsigned index);

/* As AccelOpen(), but returns 0 or a positive errno instead of ending the program. */
int AccelTryOpen(struct accel* accel, unsigned index);

/* HW_IP_INFO again: 0 or a positive errno. The cheapest sign that the device still answers. */
int AccelInfo(struct accel* accel);

/* Takes `bytes` of device memory; sets handle and address. */
void AccelAlloc(struct accel* accel, uint64_t bytes);

/* A dma-buf descriptor for [offset, offset + bytes) of the memory; multiples of 4096. Close-on-exec. */
int AccelExport(struct accel* accel, uint64_t offset, uint64_t bytes);

/* Gives memory and device back. The descriptors exported before keep both busy until they are closed. */
void AccelClose(struct accel* accel);

#endif
