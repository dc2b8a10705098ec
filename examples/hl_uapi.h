/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few parts of the habanalabs user API that a peer-to-peer program needs, as any program may define them for
 * itself: INFO (HW_IP_INFO) and MEMORY (ALLOC, FREE, MAP, UNMAP, EXPORT_DMABUF_FD).
 * Facts: linux include/uapi/drm/habanalabs_accel.h. The ioctl type is 'H' (numbers 1..6) up to the vendor's accel
 * nodes and 'd' (0x40..0x45) from Linux 6.7 on; the structs are the same.
 */
#ifndef CAUSEWAY_EXAMPLES_HL_UAPI_H
#define CAUSEWAY_EXAMPLES_HL_UAPI_H

#include <stdint.h>
#include <sys/ioctl.h>

enum { HL_INFO_HW_IP_INFO = 0 };

struct hl_info_args {
  uint64_t return_pointer;
  uint32_t return_size;
  uint32_t op;
  uint32_t arg;
  uint32_t pad;
};

/* The kernel copies min(return_size, its own size): a prefix may be asked for. */
struct hl_info_hw_ip_info {
  uint64_t sram_base_address;
  uint64_t dram_base_address;
  uint64_t dram_size;
  uint32_t sram_size;
  uint32_t num_of_events;
  uint32_t device_id;
  uint32_t module_id;
  uint8_t skipped0[160];
  char card_name[16];
  uint64_t tpc_enabled_mask_ext;
  uint64_t dram_page_size;
};
_Static_assert(sizeof(struct hl_info_hw_ip_info) == 232, "prefix of hl_info_hw_ip_info");

enum { HL_DEVICE_ID_GAUDI = 0x1000, HL_DEVICE_ID_GAUDI_SEC = 0x1010, HL_DEVICE_ID_GAUDI2 = 0x1020 };

enum {
  HL_MEM_OP_ALLOC = 0,
  HL_MEM_OP_FREE = 1,
  HL_MEM_OP_MAP = 2,
  HL_MEM_OP_UNMAP = 3,
  HL_MEM_OP_EXPORT_DMABUF_FD = 5
};
enum { HL_MEM_CONTIGUOUS = 0x1 };

/* In: what the first three words mean depends on op. Out: overlays the first words. */
union hl_mem_args {
  struct {
    union {
      struct {
        uint64_t mem_size, page_size;
      } alloc;
      struct {
        uint64_t handle;
      } free;
      struct {
        uint64_t hint_addr, handle;
      } map_device;
      struct {
        uint64_t device_virt_addr;
      } unmap;
      struct {
        uint64_t addr, mem_size, offset;
      } export_dmabuf_fd;
    };
    uint32_t op;
    uint32_t flags;
    uint32_t ctx_id;
    uint32_t num_of_elements;
  } in;
  union {
    uint64_t handle;
    uint64_t device_virt_addr;
    int32_t fd;
  } out;
};
_Static_assert(sizeof(union hl_mem_args) == 40, "hl_mem_args");

#define HL_IOCTL_INFO _IOWR('H', 0x01, struct hl_info_args)
#define HL_IOCTL_MEMORY _IOWR('H', 0x05, union hl_mem_args)
#define DRM_IOCTL_HL_INFO _IOWR('d', 0x40, struct hl_info_args)
#define DRM_IOCTL_HL_MEMORY _IOWR('d', 0x44, union hl_mem_args)

#endif
