/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dma-bufs for pyverbs from a render node. Debian builds pyverbs without the DRM headers, so its allocator is a stub
 * that answers EOPNOTSUPP, and the suite's dma-buf tests skip whatever the machine has. These are the stub's five
 * functions again, preloaded over it, doing what pyverbs does where it is built with the headers: open
 * /dev/dri/renderD(128 + gpu), see that the driver is amdgpu, create a buffer, share it, and ask where it can be
 * mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <libdrm/amdgpu_drm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct dmabuf {
  int node;
  int fd;
  uint32_t handle;
  uint64_t map_offset;
};

struct dmabuf* dmabuf_alloc(uint64_t size, int gpu, int gtt);
void dmabuf_free(struct dmabuf* dmabuf);
int dmabuf_get_drm_fd(struct dmabuf* dmabuf);
int dmabuf_get_fd(struct dmabuf* dmabuf);
uint64_t dmabuf_get_offset(struct dmabuf* dmabuf);

static int OpenNode(int gpu) {
  char path[32], name[16] = "";
  snprintf(path, sizeof(path), "/dev/dri/renderD%d", 128 + gpu);
  const int node = open(path, O_RDWR);
  if (node < 0) return -1;
  struct drm_version version = {.name = name, .name_len = sizeof(name) - 1};
  if (ioctl(node, DRM_IOCTL_VERSION, &version) == 0 && strcmp(name, "amdgpu") == 0) return node;
  close(node);
  errno = EOPNOTSUPP;
  return -1;
}

struct dmabuf* dmabuf_alloc(uint64_t size, int gpu, int gtt) {
  struct dmabuf* made = calloc(1, sizeof(*made));
  if (made == NULL) return NULL;
  made->fd = -1;
  made->node = OpenNode(gpu);
  union drm_amdgpu_gem_create create = {.in = {.bo_size = size}};
  create.in.domains = gtt ? AMDGPU_GEM_DOMAIN_GTT : AMDGPU_GEM_DOMAIN_VRAM;
  create.in.domain_flags = gtt ? AMDGPU_GEM_CREATE_CPU_GTT_USWC : AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED;
  if (made->node >= 0 && ioctl(made->node, DRM_IOCTL_AMDGPU_GEM_CREATE, &create) == 0) {
    made->handle = create.out.handle;
    struct drm_prime_handle prime = {.handle = made->handle, .flags = O_RDWR};
    union drm_amdgpu_gem_mmap place = {.in = {.handle = made->handle}};
    if (ioctl(made->node, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) == 0) made->fd = prime.fd;
    if (made->fd >= 0 && ioctl(made->node, DRM_IOCTL_AMDGPU_GEM_MMAP, &place) == 0) {
      made->map_offset = place.out.addr_ptr;
      return made;
    }
  }
  const int why = errno;
  if (made->fd >= 0) close(made->fd);
  if (made->node >= 0) close(made->node); /* its handles go with it */
  free(made);
  errno = why;
  return NULL;
}

void dmabuf_free(struct dmabuf* dmabuf) {
  if (dmabuf == NULL) return;
  struct drm_gem_close last = {.handle = dmabuf->handle};
  close(dmabuf->fd);
  (void)ioctl(dmabuf->node, DRM_IOCTL_GEM_CLOSE, &last);
  close(dmabuf->node);
  free(dmabuf);
}

int dmabuf_get_drm_fd(struct dmabuf* dmabuf) { return dmabuf == NULL ? -1 : dmabuf->node; }
int dmabuf_get_fd(struct dmabuf* dmabuf) { return dmabuf == NULL ? -1 : dmabuf->fd; }
uint64_t dmabuf_get_offset(struct dmabuf* dmabuf) { return dmabuf == NULL ? UINT64_MAX : dmabuf->map_offset; }
