// SPDX-License-Identifier: Apache-2.0
// The RDMA devices as rdma_cm sees them: drivers do not know each other, the machine knows both.
#pragma once

#include "drivers/infiniband/driver.h"
#include "drivers/rdma_cm/nics.h"

namespace causeway::machine {

class RdmaNics : public rdma_cm::Nics {
 public:
  explicit RdmaNics(infiniband::Driver& driver) : core_(driver.core()) {}  // the driver outlives this

  size_t count() const override;
  rdma_cm::NicInfo Info(size_t nic) const override;
  bool Active(size_t nic) const override;
  std::optional<uint8_t> GidIndex(size_t nic, const rdma_cm::Gid& gid) const override;

 private:
  infiniband::IbCore& core_;
};

}  // namespace causeway::machine
