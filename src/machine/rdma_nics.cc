// SPDX-License-Identifier: Apache-2.0
#include "machine/rdma_nics.h"

#include <algorithm>
#include <cstring>

namespace causeway::machine {

size_t RdmaNics::count() const { return core_.devices().size(); }

rdma_cm::NicInfo RdmaNics::Info(size_t nic) const {
  const infiniband::IbDevice& device = *core_.devices()[nic];
  rdma_cm::NicInfo info = {.ifindex = device.netdev().ifindex, .mtu = device.netdev().mtu, .mac = device.mac()};
  const auto guid = infiniband::Eui64(device.mac());
  std::memcpy(&info.node_guid, guid.data(), sizeof(info.node_guid));
  return info;
}

bool RdmaNics::Active(size_t nic) const { return core_.devices()[nic]->link() == infiniband::LinkState::kUp; }

std::optional<uint8_t> RdmaNics::GidIndex(size_t nic, const rdma_cm::Gid& gid) const {
  const auto& filled = core_.devices()[nic]->gids().filled();
  const auto it = std::ranges::find(filled, gid);
  if (it == filled.end() || it - filled.begin() > 255) return std::nullopt;
  return static_cast<uint8_t>(it - filled.begin());
}

}  // namespace causeway::machine
