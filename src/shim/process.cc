// SPDX-License-Identifier: Apache-2.0
#include "shim/process.h"

#include <pthread.h>

#include "shim/calls.h"
#include "shim/host_memory.h"
#include "shim/leak_check.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/real.h"
#include "shim/store_trap.h"

namespace causeway::shim {

namespace {

void BeforeFork() {
  HostBeforeFork();  // may call the machine
  LockForFork();
}

void AfterForkInParent() {
  UnlockInParent();
  HostAfterForkInParent();
}

// The locks are let go in the opposite order of BeforeFork(), as each gives back the signal mask that it found.
void AfterForkInChild() {
  ResetInChild();
  ResetMappingsInChild();
  ResetDirsInChild();
  ResetStoreTrapsInChild();
  HostAfterForkInChild();
}

}  // namespace

pid_t ForkPlain() {
  BeforeFork();
  const pid_t pid = real._Fork();
  if (pid == 0) {
    AfterForkInChild();
  } else {
    AfterForkInParent();
  }
  return pid;
}

void StartProcess() {
  ResolveReal();
  if (!IsActive()) return;
  WatchExit();
  (void)pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
}

}  // namespace causeway::shim
