// SPDX-License-Identifier: Apache-2.0
#include "machine/rdma_nics.h"

#include <cstring>

namespace causeway::machine {

size_t RdmaNics::count() const { return core_.devices().size(); }

rdma_cm::NicInfo RdmaNics::Info(size_t nic) const {
  const infiniband::IbDevice& device = *core_.devices()[nic];
  rdma_cm::NicInfo info = {.ifindex = device.ifindex(), .mtu = device.net_mtu(), .mac = device.mac()};
  const auto guid = infiniband::Eui64(device.mac());
  std::memcpy(&info.node_guid, guid.data(), sizeof(info.node_guid));
  return info;
}

bool RdmaNics::Active(size_t nic) const { return core_.devices()[nic]->link() == infiniband::LinkState::kUp; }

std::optional<uint8_t> RdmaNics::GidIndex(size_t nic, const rdma_cm::Gid& gid) const {
  for (const auto& entry : core_.devices()[nic]->gids().filled()) {
    if (entry.gid == gid && entry.index <= 255) return static_cast<uint8_t>(entry.index);
  }
  return std::nullopt;
}

}  // namespace causeway::machine
