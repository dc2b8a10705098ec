/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every way a program comes by ibv_reg_dmabuf_mr and ibv_reg_mr_ex when it links no libibverbs: dlopen() with dlsym()
 * and dlvsym() (as NCCL does), RTLD_DEFAULT, dlopen(NULL). Each function found registers a dma-buf of accelerator 0.
 * And that look-ups that have nothing to do with it mean what they meant: RTLD_NEXT of a library between the program
 * and another one (next_a, next_b).
 *
 *   lookup_ways TWIN     TWIN: a library named libibverbs.so.* that has ibv_reg_mr_ex (as rdma-core 59 and newer do)
 *
 * Prints "ok WAY" or "FAIL WAY: why" per way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "accel.h"
#include "lookup_ways.h"

enum { kBytes = 65536 };

static int failures = 0;

static void Say(const char* way, bool good, const char* why) {
  if (good) {
    printf("ok %s\n", way);
  } else {
    printf("FAIL %s: %s\n", way, why);
    ++failures;
  }
}

typedef struct ibv_mr* (*reg_dmabuf_mr_fn)(struct ibv_pd*, uint64_t, size_t, uint64_t, int, int);
typedef struct ibv_mr* (*reg_mr_ex_fn)(struct ibv_pd*, struct mr_init_attr*);

static struct ibv_pd* pd;
static int (*dereg_mr)(struct ibv_mr*);
static int dmabuf;

static const int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;

static void Registers(const char* way, void* function) {
  char why[128] = "not found";
  bool good = false;
  if (function != NULL) {
    struct ibv_mr* mr = ((reg_dmabuf_mr_fn)function)(pd, 4096, 8192, 0x10000, dmabuf, kAccess);
    good = mr != NULL && mr->length == 8192 && mr->addr == (void*)4096 && mr->pd == pd;
    snprintf(why, sizeof(why), "%s", mr == NULL ? strerror(errno) : "wrong fields");
    if (mr != NULL && dereg_mr(mr) != 0) good = false;
  }
  Say(way, good, why);
}

/* The function of the twin answers EXDEV to everything: who gets that has reached it. */
static void RegistersEx(const char* way, void* function) {
  char why[128] = "not found";
  bool good = false;
  if (function != NULL) {
    struct mr_init_attr attr = {.length = 8192, .access = kAccess, .comp_mask = MR_IOVA | MR_FD | MR_FD_OFFSET};
    attr.iova = 0x10000;
    attr.fd = dmabuf;
    attr.fd_offset = 4096;
    struct ibv_mr* mr = ((reg_mr_ex_fn)function)(pd, &attr);
    good = mr != NULL && mr->length == 8192 && mr->addr == (void*)4096;
    snprintf(why, sizeof(why), "%s", mr == NULL ? strerror(errno) : "wrong fields");
    if (mr != NULL && dereg_mr(mr) != 0) good = false;
    attr.comp_mask = MR_ADDR;
    errno = 0;
    if (good && (((reg_mr_ex_fn)function)(pd, &attr) != NULL || errno != EXDEV)) {
      good = false;
      snprintf(why, sizeof(why), "host memory did not reach libibverbs: %s", strerror(errno));
    }
  }
  Say(way, good, why);
}

static void Absent(const char* way, void* function) {
  const char* said = dlerror();
  Say(way, function == NULL && said != NULL, function != NULL ? "found" : "dlerror() says nothing");
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Say("RTLD_NEXT of a library", next_a_value() == 12, "not the next library's");
  Say("RTLD_DEFAULT", dlsym(RTLD_DEFAULT, "next_a_value") == (void*)next_a_value, "another function");
  Say("dlvsym of libc", dlvsym(RTLD_DEFAULT, "getpid", "GLIBC_2.2.5") == dlsym(RTLD_DEFAULT, "getpid"), "another");
  Absent("ibv_reg_dmabuf_mr before libibverbs is there", dlsym(RTLD_DEFAULT, "ibv_reg_dmabuf_mr"));
  Absent("ibv_reg_mr_ex before libibverbs is there", dlsym(RTLD_DEFAULT, "ibv_reg_mr_ex"));
  Absent("a name that nobody has", dlsym(RTLD_DEFAULT, "ibv_reg_nothing"));

  void* verbs = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
  if (verbs == NULL) {
    printf("no libibverbs: %s\n", dlerror());
    return 77;
  }
  struct ibv_device** (*get_device_list)(int*) = (struct ibv_device * *(*)(int*)) dlsym(verbs, "ibv_get_device_list");
  struct ibv_context* (*open_device)(struct ibv_device*) =
      (struct ibv_context * (*)(struct ibv_device*)) dlvsym(verbs, "ibv_open_device", "IBVERBS_1.1");
  struct ibv_pd* (*alloc_pd)(struct ibv_context*) =
      (struct ibv_pd * (*)(struct ibv_context*)) dlvsym(verbs, "ibv_alloc_pd", "IBVERBS_1.1");
  dereg_mr = (int (*)(struct ibv_mr*))dlvsym(verbs, "ibv_dereg_mr", "IBVERBS_1.1");
  struct ibv_device** devices = get_device_list(NULL);
  if (devices == NULL || devices[0] == NULL) {
    printf("FAIL no device\n");
    return 1;
  }
  struct ibv_context* context = open_device(devices[0]);
  pd = context != NULL ? alloc_pd(context) : NULL;
  if (pd == NULL) {
    printf("FAIL no protection domain\n");
    return 1;
  }
  struct accel accel;
  AccelOpen(&accel, 0);
  AccelAlloc(&accel, kBytes);
  dmabuf = AccelExport(&accel, 0, kBytes);

  Registers("dlsym", dlsym(verbs, "ibv_reg_dmabuf_mr"));
  Registers("dlvsym IBVERBS_1.12", dlvsym(verbs, "ibv_reg_dmabuf_mr", "IBVERBS_1.12"));
  Registers("dlsym RTLD_DEFAULT", dlsym(RTLD_DEFAULT, "ibv_reg_dmabuf_mr"));
  Registers("dlsym of dlopen(NULL)", dlsym(dlopen(NULL, RTLD_NOW), "ibv_reg_dmabuf_mr"));
  Absent("dlvsym of a version that libibverbs does not have", dlvsym(verbs, "ibv_reg_dmabuf_mr", "IBVERBS_9.9"));

  if (dlvsym(verbs, "ibv_reg_mr_ex", "IBVERBS_1.15") == NULL) {
    (void)dlerror();
    Absent("ibv_reg_mr_ex of a libibverbs that has none", dlsym(verbs, "ibv_reg_mr_ex"));
    Absent("the same by RTLD_DEFAULT", dlsym(RTLD_DEFAULT, "ibv_reg_mr_ex"));
    Absent("the same by dlopen(NULL)", dlsym(dlopen(NULL, RTLD_NOW), "ibv_reg_mr_ex"));
  }
  void* twin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (twin == NULL) {
    printf("FAIL %s\n", dlerror());
    return 1;
  }
  RegistersEx("ibv_reg_mr_ex by dlsym", dlsym(twin, "ibv_reg_mr_ex"));
  RegistersEx("ibv_reg_mr_ex by dlvsym", dlvsym(twin, "ibv_reg_mr_ex", "IBVERBS_1.15"));
  close(dmabuf);
  AccelClose(&accel);
  return failures != 0;
}
