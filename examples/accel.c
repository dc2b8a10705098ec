// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

// Signals and transient refusals: the driver leaves the argument as it was, so the call is simply repeated.
static int Ioctl(int fd, unsigned long request, void* argument) {
  int result;
  do {
    result = ioctl(fd, request, argument);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

static int Memory(struct accel* accel, union hl_mem_args* args) {
  return Ioctl(accel->fd, accel->drm_numbers ? DRM_IOCTL_HL_MEMORY : HL_IOCTL_MEMORY, args);
}

int AccelInfo(struct accel* accel) {
  struct hl_info_args args = {.return_pointer = (uint64_t)(uintptr_t)&accel->info,
                              .return_size = sizeof(accel->info),
                              .op = HL_INFO_HW_IP_INFO};
  int error = Ioctl(accel->fd, accel->drm_numbers ? DRM_IOCTL_HL_INFO : HL_IOCTL_INFO, &args);
  if (error == ENOTTY && !accel->drm_numbers) {
    error = Ioctl(accel->fd, DRM_IOCTL_HL_INFO, &args);
    accel->drm_numbers = error == 0;
  }
  return error;
}

int AccelTryOpen(struct accel* accel, unsigned index) {
  memset(accel, 0, sizeof(*accel));
  const bool accel_class = access("/dev/accel", F_OK) == 0;
  snprintf(accel->path, sizeof(accel->path), accel_class ? "/dev/accel/accel%u" : "/dev/hl%u", index);
  accel->fd = open(accel->path, O_RDWR | O_CLOEXEC);
  if (accel->fd < 0) return errno;
  const int error = AccelInfo(accel);
  if (error != 0) {
    close(accel->fd);
    accel->fd = -1;
  }
  return error;
}

void AccelOpen(struct accel* accel, unsigned index) {
  const int error = AccelTryOpen(accel, index);
  if (error == 0) return;
  const char* hint = NULL;
  if (error == ENOENT || error == ENXIO) {
    hint = "no such accelerator: load the habanalabs driver, or start this program with `causeway run --`";
  } else if (error == EBUSY) {
    hint = "one process at a time may use an accelerator: another one has it open, or holds a dma-buf of it";
  } else if (error == EACCES) {
    hint = "the device node is not yours to open: see its group with ls -l";
  }
  Fail("open / HL_INFO_HW_IP_INFO", accel->path, error, hint);
}

void AccelAlloc(struct accel* accel, uint64_t bytes) {
  if (bytes > accel->info.dram_size) {
    FailText("HL_MEM_OP_ALLOC", accel->path, "more bytes asked for than the device has memory", NULL);
  }
  if (accel->info.device_id == HL_DEVICE_ID_GAUDI || accel->info.device_id == HL_DEVICE_ID_GAUDI_SEC) {
    accel->address = accel->info.dram_base_address;
    return;
  }
  union hl_mem_args args;
  memset(&args, 0, sizeof(args));
  args.in.op = HL_MEM_OP_ALLOC;
  args.in.flags = HL_MEM_CONTIGUOUS;
  args.in.alloc.mem_size = bytes;
  int error = Memory(accel, &args);
  if (error != 0) Fail("HL_MEM_OP_ALLOC", accel->path, error, error == ENOMEM ? "device memory is used up" : NULL);
  accel->handle = args.out.handle;

  memset(&args, 0, sizeof(args));
  args.in.op = HL_MEM_OP_MAP;
  args.in.map_device.handle = accel->handle;
  error = Memory(accel, &args);
  if (error != 0) Fail("HL_MEM_OP_MAP", accel->path, error, NULL);
  accel->address = args.out.device_virt_addr;
}

int AccelExport(struct accel* accel, uint64_t offset, uint64_t bytes) {
  const bool flat = accel->handle == 0;  // Gaudi takes the address of the bytes themselves, and no offset
  union hl_mem_args args;
  memset(&args, 0, sizeof(args));
  args.in.op = HL_MEM_OP_EXPORT_DMABUF_FD;
  args.in.flags = O_RDWR | O_CLOEXEC;
  args.in.export_dmabuf_fd.addr = flat ? accel->address + offset : accel->address;
  args.in.export_dmabuf_fd.mem_size = bytes;
  args.in.export_dmabuf_fd.offset = flat ? 0 : offset;
  const int error = Memory(accel, &args);
  if (error != 0) {
    Fail("HL_MEM_OP_EXPORT_DMABUF_FD", accel->path, error,
         error == EOPNOTSUPP ? "this kernel's driver cannot export this device's memory (Gaudi2 needs Linux 6.3)"
                             : NULL);
  }
  return args.out.fd;
}

void AccelClose(struct accel* accel) {
  union hl_mem_args args;
  if (accel->handle != 0) {
    // Both may be refused while an exported dma-buf lives; closing the device gives everything back in any case.
    memset(&args, 0, sizeof(args));
    args.in.op = HL_MEM_OP_UNMAP;
    args.in.unmap.device_virt_addr = accel->address;
    if (Memory(accel, &args) == 0) {
      memset(&args, 0, sizeof(args));
      args.in.op = HL_MEM_OP_FREE;
      args.in.free.handle = accel->handle;
      (void)Memory(accel, &args);
    }
  }
  close(accel->fd);
  accel->fd = -1;
}
