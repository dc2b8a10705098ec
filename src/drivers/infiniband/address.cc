// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/address.h"

#include <algorithm>

#include "drivers/infiniband/device.h"

namespace causeway::infiniband {
namespace {

constexpr uint8_t kRouteHopLimit = 64;  // the system's default TTL: core overwrites what the client gave

}  // namespace

AddressAttr AddressOf(const uapi::ib_uverbs_qp_dest& dest) {
  AddressAttr attr = {.flow_label = dest.flow_label,
                      .sgid_index = dest.sgid_index,
                      .hop_limit = dest.hop_limit,
                      .traffic_class = dest.traffic_class,
                      .port_num = dest.port_num,
                      .is_global = dest.is_global != 0};
  std::ranges::copy(dest.dgid, attr.dgid.begin());
  return attr;
}

AddressAttr AddressOf(const uapi::ib_uverbs_ah_attr& ah) {
  AddressAttr attr = {.flow_label = ah.grh.flow_label,
                      .sgid_index = ah.grh.sgid_index,
                      .hop_limit = ah.grh.hop_limit,
                      .traffic_class = ah.grh.traffic_class,
                      .port_num = ah.port_num,
                      .is_global = ah.is_global != 0};
  std::ranges::copy(ah.grh.dgid, attr.dgid.begin());
  return attr;
}

// rdma_check_ah_attr(): RoCE needs a GRH.
Result<Gid> SourceGid(const IbDevice& device, const AddressAttr& attr) {
  if (attr.port_num != kPort || !attr.is_global) return Err(EINVAL);
  return device.gids().Get(attr.sgid_index);
}

Result<roce::AddressVector> Resolve(const IbDevice& device, const AddressAttr& attr, uint32_t dest_qpn) {
  CW_TRY(const Gid sgid, SourceGid(device, attr));
  roce::AddressVector av = {};
  CW_TRY(av.dest_nic, device.core().ResolveAddress(device, sgid, attr.dgid, dest_qpn));
  std::ranges::copy(attr.dgid, av.dgid);
  std::ranges::copy(sgid, av.sgid);
  av.flow_label = attr.flow_label;
  av.sgid_index = attr.sgid_index;
  av.hop_limit = IsMulticast(attr.dgid) ? attr.hop_limit : kRouteHopLimit;  // nothing is looked up for multicast
  av.traffic_class = attr.traffic_class;
  av.port = attr.port_num;
  return av;
}

}  // namespace causeway::infiniband
