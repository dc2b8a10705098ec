// SPDX-License-Identifier: Apache-2.0
// May one function reach another's memory, and how: the verdict of linux v6.1 drivers/pci/p2pdma.c
// calc_map_type_and_dist(), with its reasons kept so that a person can be told what to change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pci/topology.h"

namespace causeway::pci {

// enum pci_p2pdma_map_type: how a permitted transfer is addressed and where its TLPs turn.
enum class P2pMapType : uint8_t {
  kNotSupported,
  kBusAddr,         // below a common bridge: by bus address, whatever the IOMMU does
  kThruHostBridge,  // up to the root complex, as dma_map_resource() says (an IOVA where the IOMMU translates)
};

// Which line of the kernel decided.
enum class P2pRule : uint8_t {
  kSameFunction,         // provider and client are one function: distance 0
  kCommonBridge,         // they share an upstream bridge and no port on the way redirects
  kCpuSupports,          // cpu_supports_p2pdma(): an AMD Zen's root complex forwards
  kHostBridgeWhitelist,  // both root complexes are in pci_p2pdma_whitelist
  kNoWhitelistedBridge,  // refused: no common bridge, and a root complex is not in the table
  kNotSameHostBridge,    // refused: in the table, but only for pairs below one host bridge (REQ_SAME_HOST_BRIDGE)
  kAcsRedirect,          // refused: a common bridge, but ACS redirects upwards and the root complex is not in the table
};

struct P2pVerdict {
  bool allowed = false;
  P2pMapType map_type = P2pMapType::kNotSupported;
  int distance = -1;  // as pci_p2pdma_distance_many() returns; -1: refused
  P2pRule rule = P2pRule::kNoWhitelistedBridge;
  std::string rule_text;  // one sentence, the kernel's words where it has any
  std::string detail;     // which ports or root complexes made it so; "" when there is nothing to add
  std::string remedy;     // what to change, as kernel parameter and as key of the configuration; "" when allowed
  std::vector<const Bridge*> redirecting;  // ports whose ACS control redirects, in the order in which the kernel lists
};

// `provider` owns the memory, `client` does the DMA.
P2pVerdict P2pDistance(const Topology& topology, const Function& provider, const Function& client);

// What linux's whitelist says of a root complex's id.
enum class HostBridgeSupport : uint8_t { kUnknown, kSameHostBridgeOnly, kAny };
HostBridgeSupport HostBridgeWhitelist(uint16_t vendor, uint16_t device);
// The table's name for it ("Intel SKY-E"), or "" when it is not in the table.
std::string_view HostBridgeWhitelistName(uint16_t vendor, uint16_t device);

std::string_view ToString(P2pRule rule);

}  // namespace causeway::pci
