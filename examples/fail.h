/* SPDX-License-Identifier: Apache-2.0 */
/* An example that cannot go on says which call failed, on which device, why, and what to look at; then it ends. */
#ifndef CAUSEWAY_EXAMPLES_FAIL_H
#define CAUSEWAY_EXAMPLES_FAIL_H

/* Prints "program: call on device: text (ERRNO)" and the hint (may be NULL) for `error`, exits with status 1. */
__attribute__((noreturn)) void Fail(const char* call, const char* device, int error, const char* hint);

/* As Fail(), for failures that have no errno: `what` is the reason. */
__attribute__((noreturn)) void FailText(const char* call, const char* device, const char* what, const char* hint);

#endif
