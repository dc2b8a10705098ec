// SPDX-License-Identifier: Apache-2.0
#include "shim/process.h"

#include <pthread.h>

#include "shim/calls.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/real.h"

namespace causeway::shim {

void AfterForkInChild() {
  ResetInChild();
  ResetMappingsInChild();
  ResetDirsInChild();
}

void StartProcess() {
  ResolveReal();
  if (!IsActive()) return;
  (void)pthread_atfork(LockForFork, UnlockInParent, AfterForkInChild);
}

}  // namespace causeway::shim
