// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void FailText(const char* call, const char* device, const char* what, const char* hint) {
  fflush(stdout);
  fprintf(stderr, "%s: %s on %s: %s\n", program_invocation_short_name, call, device, what);
  if (hint != NULL) fprintf(stderr, "  hint: %s\n", hint);
  exit(1);
}

void Fail(const char* call, const char* device, int error, const char* hint) {
  char what[160];
  const char* name = strerrorname_np(error);
  snprintf(what, sizeof(what), "%s (%s)", strerrordesc_np(error) != NULL ? strerrordesc_np(error) : "unknown error",
           name != NULL ? name : "?");
  FailText(call, device, what, hint);
}
