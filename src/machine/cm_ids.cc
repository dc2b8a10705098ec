// SPDX-License-Identifier: Apache-2.0
#include "machine/cm_ids.h"

#include <algorithm>

namespace causeway::machine {
namespace {

// enum rdma_cm_state has RDMA_CM_DEVICE_REMOVAL before its last.
uint8_t StateNumber(rdma_cm::State state) {
  constexpr auto kDeviceRemoval = static_cast<uint8_t>(rdma_cm::State::kDestroying);
  const auto number = static_cast<uint8_t>(state);
  return number < kDeviceRemoval ? number : static_cast<uint8_t>(number + 1);
}

void CopyAddress(const rdma_cm::Address& from, std::array<std::byte, 128>& to) {
  std::ranges::copy(std::as_bytes(from.bytes()), to.begin());
}

}  // namespace

std::vector<infiniband::CmIdInfo> CmIds::List(uint32_t device) const {
  std::vector<infiniband::CmIdInfo> list;
  const auto lock = cm_.Lock();
  for (const auto& report : cm_.Report(device)) {
    const rdma_cm::Id& id = *report.id;
    infiniband::CmIdInfo info = {.tracked = {.id = report.res_id, .pid = id.pid, .tid = id.tid},
                                 .port_num = report.of_all ? 0u : id.port_num,
                                 .qp_num = id.qp_num,
                                 .qp_type = id.qp_type,
                                 .ps = id.ps,
                                 .state = StateNumber(id.state)};
    CopyAddress(id.src, info.src);
    if (!report.of_all) CopyAddress(id.dst, info.dst);
    list.push_back(info);
  }
  return list;
}

}  // namespace causeway::machine
