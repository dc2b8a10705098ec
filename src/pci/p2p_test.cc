// SPDX-License-Identifier: Apache-2.0
// Each row is a rule of linux v6.1 drivers/pci/p2pdma.c; the distances are those that pci_p2pdma_distance_many() gave
// on a running kernel where the comment says "measured".
#include "pci/p2p.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::pci {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr AcsControl kRr = {.request_redirect = true};
constexpr AcsControl kCr = {.completion_redirect = true};
constexpr AcsControl kEc = {.egress_control = true};
constexpr AcsControl kHarmless = {
    .source_validation = true, .translation_blocking = true, .upstream_forwarding = true, .direct_translated = true};

struct Tree {
  uint16_t host_a = 0x29c0, host_b = 0x29c0;  // q35: not in the table
  bool amd_zen = false;
  // Set on the named port.
  const char* port = "";
  AcsControl acs = {};
};

// pc0: rp0 - sw0 - { a, b, sw1 - { c, d } }, rp1 - e, rp2 - { m.0, m.1 }; r on pc0's root bus. pc1: rp3 - f.
std::unique_ptr<Topology> Build(const Tree& tree) {
  TopologySpec spec;
  spec.amd_zen = tree.amd_zen;
  spec.host_bridges = {{.name = "pc0", .vendor = 0x8086, .device = tree.host_a},
                       {.name = "pc1", .vendor = 0x8086, .device = tree.host_b}};
  for (const auto& [name, on] : {std::pair("rp0", "pc0"), {"rp1", "pc0"}, {"rp2", "pc0"}, {"rp3", "pc1"}}) {
    spec.root_ports.push_back({.name = name, .on = on, .acs = {}, .link = {}});
  }
  spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1", "sw0.2"}, .acs = {}, .link = {}},
                   {.name = "sw1", .on = "sw0.2", .ports = {"sw1.0", "sw1.1"}, .acs = {}, .link = {}}};
  for (const auto& [name, at] : {std::pair("a", "sw0.0"),
                                 {"b", "sw0.1"},
                                 {"c", "sw1.0"},
                                 {"d", "sw1.1"},
                                 {"e", "rp1"},
                                 {"m.0", "rp2"},
                                 {"m.1", "rp2"},
                                 {"f", "rp3"},
                                 {"r", "pc0"}}) {
    FunctionSpec& function = spec.functions.emplace_back();
    function.name = name;
    function.at = at;
  }
  auto topology = std::move(*Topology::Build(spec));
  if (Bridge* port = topology->FindBridge(tree.port)) port->set_acs(tree.acs);
  return topology;
}

TEST(P2p, VerdictTable) {
  constexpr P2pMapType kNo = P2pMapType::kNotSupported, kBus = P2pMapType::kBusAddr,
                       kHost = P2pMapType::kThruHostBridge;
  const struct {
    const char* name;
    Tree tree;
    const char* provider;
    const char* client;
    int distance;
    P2pMapType map_type;
    P2pRule rule;
  } cases[] = {
      {"itself (measured: 0)", {}, "a", "a", 0, kBus, P2pRule::kSameFunction},
      {"two functions of a device", {}, "m.0", "m.1", 2, kBus, P2pRule::kCommonBridge},
      {"two ports of one switch (measured: 4)", {}, "a", "b", 4, kBus, P2pRule::kCommonBridge},
      {"switch below a switch", {}, "a", "c", 6, kBus, P2pRule::kCommonBridge},
      {"the same, other way round", {}, "c", "a", 6, kBus, P2pRule::kCommonBridge},
      {"inner switch", {}, "c", "d", 4, kBus, P2pRule::kCommonBridge},
      {"two root ports of q35 (measured: -1)", {}, "a", "e", -1, kNo, P2pRule::kNoWhitelistedBridge},
      {"root complex endpoint on q35", {}, "a", "r", -1, kNo, P2pRule::kNoWhitelistedBridge},

      {"whitelisted", {.host_a = 0x2020}, "a", "e", 6, kHost, P2pRule::kHostBridgeWhitelist},
      {"whitelisted, off the top of both", {.host_a = 0x2020}, "c", "e", 8, kHost, P2pRule::kHostBridgeWhitelist},
      {"whitelisted, root complex endpoint", {.host_a = 0x2020}, "e", "r", 3, kHost, P2pRule::kHostBridgeWhitelist},
      {"REQ_SAME_HOST_BRIDGE, same", {.host_a = 0x3c00}, "a", "e", 6, kHost, P2pRule::kHostBridgeWhitelist},
      {"REQ_SAME_HOST_BRIDGE, other",
       {.host_a = 0x2f00, .host_b = 0x2f01},
       "a",
       "f",
       -1,
       kNo,
       P2pRule::kNotSameHostBridge},
      {"REQ_SAME_HOST_BRIDGE on one side",
       {.host_a = 0x2f00, .host_b = 0x2020},
       "a",
       "f",
       -1,
       kNo,
       P2pRule::kNotSameHostBridge},
      {"two whitelisted", {.host_a = 0x2030, .host_b = 0x09a2}, "a", "f", 6, kHost, P2pRule::kHostBridgeWhitelist},
      {"second not whitelisted", {.host_a = 0x2030}, "a", "f", -1, kNo, P2pRule::kNoWhitelistedBridge},
      {"first not whitelisted", {.host_b = 0x2030}, "a", "f", -1, kNo, P2pRule::kNoWhitelistedBridge},
      {"cpu_supports_p2pdma()", {.amd_zen = true}, "a", "f", 6, kHost, P2pRule::kCpuSupports},

      {"RR at the provider", {.port = "sw0.0", .acs = kRr}, "a", "b", -1, kNo, P2pRule::kAcsRedirect},
      {"RR at the client", {.port = "sw0.1", .acs = kRr}, "a", "b", -1, kNo, P2pRule::kAcsRedirect},
      {"CR", {.port = "sw0.0", .acs = kCr}, "a", "b", -1, kNo, P2pRule::kAcsRedirect},
      {"EC", {.port = "sw0.0", .acs = kEc}, "a", "b", -1, kNo, P2pRule::kAcsRedirect},
      {"SV TB UF DT do not redirect", {.port = "sw0.0", .acs = kHarmless}, "a", "b", 4, kBus, P2pRule::kCommonBridge},
      {"redirect at a port between", {.port = "sw0.2", .acs = kRr}, "a", "c", -1, kNo, P2pRule::kAcsRedirect},
      {"redirect above the common bridge", {.port = "sw0.2", .acs = kRr}, "c", "d", 4, kBus, P2pRule::kCommonBridge},
      {"redirect at the common port", {.port = "rp2", .acs = kRr}, "m.0", "m.1", -1, kNo, P2pRule::kAcsRedirect},
      {"upstream ports have no ACS", {.port = "sw0", .acs = kRr}, "a", "b", 4, kBus, P2pRule::kCommonBridge},
      {"redirect, whitelisted",
       {.host_a = 0x2020, .port = "sw0.0", .acs = kRr},
       "a",
       "b",
       4,
       kHost,
       P2pRule::kHostBridgeWhitelist},
      {"redirect, AMD Zen", {.amd_zen = true, .port = "sw0.0", .acs = kRr}, "a", "b", 4, kHost, P2pRule::kCpuSupports},
      {"redirect to itself", {.port = "sw0.0", .acs = kRr}, "a", "a", 0, kBus, P2pRule::kSameFunction},
      {"redirect without common bridge",
       {.port = "sw0.0", .acs = kRr},
       "a",
       "e",
       -1,
       kNo,
       P2pRule::kNoWhitelistedBridge},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto topology = Build(c.tree);
    const P2pVerdict got =
        P2pDistance(*topology, *topology->FindFunction(c.provider), *topology->FindFunction(c.client));
    EXPECT_EQ(got.distance, c.distance);
    EXPECT_EQ(got.map_type, c.map_type);
    EXPECT_EQ(got.rule, c.rule) << ToString(got.rule);
    EXPECT_EQ(got.allowed, c.distance >= 0);
    EXPECT_FALSE(got.rule_text.empty());
    EXPECT_EQ(got.remedy.empty(), got.allowed);
  }
}

TEST(P2p, AcsRefusalNamesThePortsInTheKernelsOrder) {
  const auto topology = Build({});
  for (const char* port : {"sw0.0", "sw0.2", "sw1.0"}) topology->FindBridge(port)->set_acs(AcsControl::LinuxDefault());
  const P2pVerdict got = P2pDistance(*topology, *topology->FindFunction("c"), *topology->FindFunction("a"));
  // seq_buf_print_bus_devfn(): from the provider up, then from the client up.
  EXPECT_THAT(got.remedy, HasSubstr("pci=disable_acs_redir=0000:06:00.0;0000:02:02.0;0000:02:00.0 "));
  EXPECT_THAT(got.rule_text, HasSubstr("do not share an upstream bridge or whitelisted host bridge"));
  EXPECT_THAT(got.detail, HasSubstr("sw1.0 (0000:06:00.0): SV RR CR UF"));
}

TEST(P2p, HostBridgeRefusalNamesTheRootComplexes) {
  const auto topology = Build({});
  const P2pVerdict got = P2pDistance(*topology, *topology->FindFunction("a"), *topology->FindFunction("f"));
  EXPECT_THAT(got.detail, HasSubstr("Host bridge not in P2PDMA whitelist: pc0 (0000:00:00.0) 8086:29c0"));
  EXPECT_THAT(got.detail, HasSubstr("pc1 (0000:80:00.0) 8086:29c0"));
  EXPECT_THAT(got.redirecting, IsEmpty());
}

TEST(P2p, WhitelistIsByVendorAndDevice) {
  EXPECT_EQ(HostBridgeWhitelist(0x8086, 0x2020), HostBridgeSupport::kAny);
  EXPECT_EQ(HostBridgeWhitelist(0x8086, 0x3c01), HostBridgeSupport::kSameHostBridgeOnly);
  EXPECT_EQ(HostBridgeWhitelist(0x1022, 0x2020), HostBridgeSupport::kUnknown);
  EXPECT_EQ(HostBridgeWhitelistName(0x1234, 0x2020), "");
}

}  // namespace
}  // namespace causeway::pci
