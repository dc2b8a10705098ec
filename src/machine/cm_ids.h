// SPDX-License-Identifier: Apache-2.0
// rdma_cm's ids as NETLINK_RDMA lists them: drivers do not know each other, the machine knows both.
#pragma once

#include "drivers/infiniband/cm_ids.h"
#include "drivers/rdma_cm/driver.h"

namespace causeway::machine {

class CmIds final : public infiniband::CmIds {
 public:
  explicit CmIds(rdma_cm::Driver& driver) : cm_(driver.cm()) {}  // the driver outlives this

  std::vector<infiniband::CmIdInfo> List(uint32_t device) const override;

 private:
  rdma_cm::Cm& cm_;
};

}  // namespace causeway::machine
