// SPDX-License-Identifier: Apache-2.0
#include "pci/p2p.h"

#include <fmt/core.h>

#include <algorithm>

namespace causeway::pci {
namespace {

// linux v6.1 drivers/pci/p2pdma.c pci_p2pdma_whitelist[]: root complexes known to forward between their ports.
constexpr struct {
  uint16_t vendor, device;
  HostBridgeSupport support;  // kSameHostBridgeOnly: REQ_SAME_HOST_BRIDGE
  std::string_view name;
} kWhitelist[] = {
    {0x8086, 0x3c00, HostBridgeSupport::kSameHostBridgeOnly, "Intel Xeon E5/Core i7"},
    {0x8086, 0x3c01, HostBridgeSupport::kSameHostBridgeOnly, "Intel Xeon E5/Core i7"},
    {0x8086, 0x2f00, HostBridgeSupport::kSameHostBridgeOnly, "Intel Xeon E7 v3/Xeon E5 v3/Core i7"},
    {0x8086, 0x2f01, HostBridgeSupport::kSameHostBridgeOnly, "Intel Xeon E7 v3/Xeon E5 v3/Core i7"},
    {0x8086, 0x2030, HostBridgeSupport::kAny, "Intel Sky Lake-E"},
    {0x8086, 0x2031, HostBridgeSupport::kAny, "Intel Sky Lake-E"},
    {0x8086, 0x2032, HostBridgeSupport::kAny, "Intel Sky Lake-E"},
    {0x8086, 0x2033, HostBridgeSupport::kAny, "Intel Sky Lake-E"},
    {0x8086, 0x2020, HostBridgeSupport::kAny, "Intel Sky Lake-E"},
    {0x8086, 0x09a2, HostBridgeSupport::kAny, "Intel Ice Lake and later"},
};

// A function and the ports above it, lowest first: the chain that pci_upstream_bridge() walks. Position 0 is the
// function itself, for which there is no Bridge.
std::vector<const Bridge*> PortsAbove(const Function& function) {
  std::vector<const Bridge*> ports;
  for (const Bridge* port = function.upstream(); port != nullptr; port = port->upstream()) ports.push_back(port);
  return ports;
}

// pci_bridge_has_acs_redir(). An upstream port has no ACS capability (PCIe 6.0 6.12.1.2: only for multi-function).
bool HasAcsRedirect(const Bridge& port) { return port.kind() != Bridge::Kind::kUpstream && port.acs().Redirects(); }

std::string PortList(const std::vector<const Bridge*>& ports) {
  std::string text;
  for (const Bridge* port : ports) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} ({}): {}", port->name(), port->bdf().ToString(), port->acs().ToString());
  }
  return text;
}

std::string HostId(const HostBridge& host) {
  return fmt::format("{} ({}) {:04x}:{:04x}", host.name(), host.bdf().ToString(), host.vendor(), host.device());
}

// host_bridge_whitelist(): the rule that lets through, or the one that refuses.
P2pRule JudgeHostBridges(const HostBridge& a, const HostBridge& b) {
  const HostBridgeSupport support_a = HostBridgeWhitelist(a.vendor(), a.device());
  const HostBridgeSupport support_b = HostBridgeWhitelist(b.vendor(), b.device());
  if (support_a == HostBridgeSupport::kUnknown || support_b == HostBridgeSupport::kUnknown) {
    return P2pRule::kNoWhitelistedBridge;
  }
  if (&a == &b) return P2pRule::kHostBridgeWhitelist;
  if (support_a == HostBridgeSupport::kSameHostBridgeOnly || support_b == HostBridgeSupport::kSameHostBridgeOnly) {
    return P2pRule::kNotSameHostBridge;
  }
  return P2pRule::kHostBridgeWhitelist;
}

void Explain(const Topology& topology, const Function& provider, const Function& client, P2pVerdict* verdict) {
  const HostBridge& host_a = topology.HostBridgeOf(provider);
  const HostBridge& host_b = topology.HostBridgeOf(client);
  const std::string hosts = &host_a == &host_b ? HostId(host_a) : HostId(host_a) + " and " + HostId(host_b);
  // The kernel's own warnings, after "DEVICE: cannot be used for peer-to-peer DMA as " where they have it.
  const std::string not_shared =
      fmt::format("the client ({}) and provider ({}) do not share an upstream bridge or whitelisted host bridge",
                  client.bdf().ToString(), provider.bdf().ToString());
  constexpr std::string_view kMove =
      "put both devices below one switch (\"at\" in the configuration), or choose a whitelisted root complex "
      "(id = \"8086:2020\" under [[host_bridge]]), or an AMD Zen processor (cpu = \"amd-zen\" under [machine])";
  switch (verdict->rule) {
    case P2pRule::kSameFunction: verdict->rule_text = "provider and client are the same function"; break;
    case P2pRule::kCommonBridge:
      verdict->rule_text = "the client and provider share an upstream bridge and no port between them redirects";
      break;
    case P2pRule::kCpuSupports: verdict->rule_text = "any AMD CPU whose family is Zen or newer supports p2pdma"; break;
    case P2pRule::kHostBridgeWhitelist:
      verdict->rule_text = "the root complex is in pci_p2pdma_whitelist";
      verdict->detail = fmt::format("{}: {}", hosts, HostBridgeWhitelistName(host_a.vendor(), host_a.device()));
      break;
    case P2pRule::kNoWhitelistedBridge:
      verdict->rule_text = not_shared;
      verdict->detail = fmt::format("Host bridge not in P2PDMA whitelist: {}", hosts);
      verdict->remedy = kMove;
      break;
    case P2pRule::kNotSameHostBridge:
      verdict->rule_text = not_shared;
      verdict->detail =
          fmt::format("whitelisted only for devices below one host bridge (REQ_SAME_HOST_BRIDGE): {}", hosts);
      verdict->remedy = "put both devices below one host bridge, or choose 8086:2020 for both root complexes";
      break;
    case P2pRule::kAcsRedirect: verdict->rule_text = not_shared; break;
  }
  if (verdict->redirecting.empty()) return;
  std::string addresses;
  for (const Bridge* port : verdict->redirecting) {
    if (!addresses.empty()) addresses += ';';
    addresses += port->bdf().ToString();
  }
  const std::string redirect =
      fmt::format("ACS redirect is set between the client and provider: {}", PortList(verdict->redirecting));
  if (verdict->rule == P2pRule::kAcsRedirect) {
    verdict->detail = redirect;
    verdict->remedy = fmt::format(
        "to disable ACS redirect for this path, add the kernel parameter: pci=disable_acs_redir={} (here: leave RR, CR "
        "and EC out of \"acs\" of the ports named)",
        addresses);
  } else {
    verdict->detail += (verdict->detail.empty() ? "" : "; ") + redirect;
  }
}

}  // namespace

HostBridgeSupport HostBridgeWhitelist(uint16_t vendor, uint16_t device) {
  for (const auto& row : kWhitelist) {
    if (row.vendor == vendor && row.device == device) return row.support;
  }
  return HostBridgeSupport::kUnknown;
}

std::string_view HostBridgeWhitelistName(uint16_t vendor, uint16_t device) {
  for (const auto& row : kWhitelist) {
    if (row.vendor == vendor && row.device == device) return row.name;
  }
  return "";
}

std::string_view ToString(P2pRule rule) {
  switch (rule) {
    case P2pRule::kSameFunction: return "same function";
    case P2pRule::kCommonBridge: return "common upstream bridge";
    case P2pRule::kCpuSupports: return "CPU supports p2pdma";
    case P2pRule::kHostBridgeWhitelist: return "host bridge whitelisted";
    case P2pRule::kNoWhitelistedBridge: return "host bridge not whitelisted";
    case P2pRule::kNotSameHostBridge: return "not the same host bridge";
    case P2pRule::kAcsRedirect: return "ACS redirect";
  }
  return "?";
}

P2pVerdict P2pDistance(const Topology& topology, const Function& provider, const Function& client) {
  P2pVerdict verdict;
  // calc_map_type_and_dist(): climb from the provider until a bridge that is also above the client.
  const std::vector<const Bridge*> above_a = PortsAbove(provider);
  const std::vector<const Bridge*> above_b = PortsAbove(client);
  int distance = 0;
  bool common = false;
  if (&provider == &client) {
    common = true;
  } else {
    size_t meet_a = 0, meet_b = above_b.size();
    for (; meet_a < above_a.size(); ++meet_a) {
      // The port where they meet is asked too, before it is known to be the common one.
      if (HasAcsRedirect(*above_a[meet_a])) verdict.redirecting.push_back(above_a[meet_a]);
      const auto found = std::find(above_b.begin(), above_b.end(), above_a[meet_a]);
      if (found == above_b.end()) continue;
      meet_b = static_cast<size_t>(found - above_b.begin());
      common = true;
      break;
    }
    // Steps to the common bridge, or off the top of the tree where there is none: each function counts one.
    distance = static_cast<int>(meet_a + 1 + meet_b + 1);
    if (common) {
      for (size_t i = 0; i < meet_b; ++i) {
        if (HasAcsRedirect(*above_b[i])) verdict.redirecting.push_back(above_b[i]);
      }
    } else {
      // The kernel forgets its list here: without a common bridge everything goes up anyway.
      verdict.redirecting.clear();
    }
  }

  if (common && verdict.redirecting.empty()) {
    verdict.rule = &provider == &client ? P2pRule::kSameFunction : P2pRule::kCommonBridge;
    verdict.map_type = P2pMapType::kBusAddr;
  } else if (topology.amd_zen()) {
    verdict.rule = P2pRule::kCpuSupports;
    verdict.map_type = P2pMapType::kThruHostBridge;
  } else {
    verdict.rule = JudgeHostBridges(topology.HostBridgeOf(provider), topology.HostBridgeOf(client));
    if (verdict.rule == P2pRule::kHostBridgeWhitelist) {
      verdict.map_type = P2pMapType::kThruHostBridge;
    } else if (common) {
      verdict.rule = P2pRule::kAcsRedirect;
    }
  }
  verdict.allowed = verdict.map_type != P2pMapType::kNotSupported;
  verdict.distance = verdict.allowed ? distance : -1;
  Explain(topology, provider, client, &verdict);
  return verdict;
}

}  // namespace causeway::pci
