// SPDX-License-Identifier: Apache-2.0
// The functions behind the interposed ones: what dlsym(RTLD_NEXT) finds, so that a sanitizer's or another library's
// interceptor in between stays in the chain. Resolved once, at the first call of any of them; until then each pointer
// leads to a small function that resolves all.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>

namespace causeway::shim {

using DirFilter = int (*)(const struct dirent*);
using DirCompare = int (*)(const struct dirent**, const struct dirent**);
using GlobError = int (*)(const char*, int);

struct Real {
#define CW_REAL(result, name, params, args, fallback) result(*name) params;
#include "shim/real.def"
#undef CW_REAL
};
extern Real real;

// Finds all of them. Idempotent; also called by the library's constructor.
void ResolveReal();

}  // namespace causeway::shim
