// SPDX-License-Identifier: Apache-2.0
// Network over the host's own addresses and routes. A route is asked for as any program may: by connecting a UDP
// socket, which sends nothing and makes the kernel look the route up.
#pragma once

#include "drivers/rdma_cm/nics.h"

namespace causeway::rdma_cm {

class HostNetwork : public Network {
 public:
  Result<uint32_t> DeviceOf(const Address& address) const override;
  Result<Route> FindRoute(const Address& source, const Address& destination, uint32_t oif) const override;
  std::pair<uint16_t, uint16_t> PortRange() const override;
  bool BindV6Only() const override;
};

}  // namespace causeway::rdma_cm
