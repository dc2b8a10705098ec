// SPDX-License-Identifier: Apache-2.0
// Where packets go: the address of a connected QP (MODIFY_QP) and of an address handle (CREATE_AH) is one thing, a
// struct rdma_ah_attr (linux drivers/infiniband/core/verbs.c).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "devices/roce_nic/nic.h"
#include "drivers/infiniband/gid_table.h"
#include "uapi/ib_verbs.h"

namespace causeway::infiniband {

class IbDevice;

struct AddressAttr {
  Gid dgid = {};
  uint32_t flow_label = 0;
  uint8_t sgid_index = 0;
  uint8_t hop_limit = 0;
  uint8_t traffic_class = 0;
  uint8_t port_num = 0;
  bool is_global = false;
};
AddressAttr AddressOf(const uapi::ib_uverbs_qp_dest& dest);
AddressAttr AddressOf(const uapi::ib_uverbs_ah_attr& attr);

// rdma_fill_sgid_attr(): the source address. errors: EINVAL no GRH, port, or index past the table; ENODATA empty entry.
Result<Gid> SourceGid(const IbDevice& device, const AddressAttr& attr);

// rdma_fill_sgid_attr(), then ib_resolve_eth_dmac(). `dest_qpn`: see IbCore::ResolveAddress(). No locks held: an
// unknown address takes a second. errors: as SourceGid() and IbCore::ResolveAddress().
Result<roce::AddressVector> Resolve(const IbDevice& device, const AddressAttr& attr, uint32_t dest_qpn);

}  // namespace causeway::infiniband
