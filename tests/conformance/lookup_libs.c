/* SPDX-License-Identifier: Apache-2.0 */
/* The libraries of lookup_ways.c, chosen by the macro they are built with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>

#include "lookup_ways.h"

#if defined(NEXT_A) /* a wrapper, as interposing libraries are */
int next_a_value(void) {
  int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, "next_a_value");
  return 10 + (next != NULL && next != next_a_value ? next() : 100);
}
#elif defined(NEXT_B)
int next_a_value(void) { return 2; }
#elif defined(VERBS_TWIN) /* ibv_reg_mr_ex, and that it was reached */
void* ibv_reg_mr_ex(void* pd, struct mr_init_attr* attr);
void* ibv_reg_mr_ex(void* pd, struct mr_init_attr* attr) {
  (void)pd, (void)attr;
  errno = EXDEV;
  return NULL;
}
#endif
