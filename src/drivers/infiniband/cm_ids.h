// SPDX-License-Identifier: Apache-2.0
// What NETLINK_RDMA says of rdma_cm's ids, which are another driver's: the machine knows both.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

struct CmIdInfo {
  Tracked tracked;
  uint32_t port_num = 0;  // 0: none yet
  uint32_t qp_num = 0;    // 0: none yet
  uint8_t qp_type = 0;
  uint32_t ps = 0;                                // enum rdma_ucm_port_space
  uint8_t state = 0;                              // enum rdma_cm_state
  std::array<std::byte, 128> src = {}, dst = {};  // struct sockaddr_storage; family 0: none
};

class CmIds {
 public:
  virtual ~CmIds() = default;
  // Those of one device (its index), in any order.
  virtual std::vector<CmIdInfo> List(uint32_t device) const = 0;
};

}  // namespace causeway::infiniband
