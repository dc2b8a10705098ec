// SPDX-License-Identifier: Apache-2.0
// The rdma_ucm device of a machine: /dev/infiniband/rdma_cm, a misc device, and what sysfs says of it.
//
// Life: nics, network and readiness outlive it; files are gone (the FileTable is cleared) before it is destroyed.
#pragma once

#include <memory>

#include "drivers/rdma_cm/cm.h"
#include "kernel/tree.h"

namespace causeway::rdma_cm {

class Driver {
 public:
  // errors: those of the tree.
  static Result<std::unique_ptr<Driver>> Create(kernel::Tree& tree, Nics& nics, Network& network,
                                                kernel::Readiness& readiness);
  ~Driver();
  Cm::Counts Count();
  Cm& cm() { return cm_; }

 private:
  Driver(Nics& nics, Network& network, kernel::Readiness& readiness) : cm_(nics, network, timers_, readiness) {}

  TimerThread timers_;
  Cm cm_;
};

}  // namespace causeway::rdma_cm
