// SPDX-License-Identifier: Apache-2.0
#include "pci/topology.h"

#include <gtest/gtest.h>

#include <set>

#include "base/checked.h"

namespace causeway::pci {
namespace {

FunctionSpec Device(const std::string& name, const std::string& at, uint64_t bar4 = 0) {
  FunctionSpec function;
  function.name = name;
  function.at = at;
  function.identity = {.vendor = 0x1da3, .device = 0x1020, .revision = 1, .class_code = 0x120000};
  function.bars[0] = {.size = 16 * 1024, .prefetchable = true};
  function.bars[4] = {.size = bar4, .prefetchable = true};
  return function;
}

// pc0 - rp0 - sw0 - { gaudi0, rxe0 }, rp1 - sw1 - { sw2 - { gaudi1, - }, rxe1 }, and an endpoint on the root bus.
TopologySpec Spec() {
  TopologySpec spec;
  spec.host_bridges = {{.name = "pc0"}};
  spec.root_ports = {{.name = "rp0", .on = "pc0", .acs = {}, .link = {}},
                     {.name = "rp1", .on = "pc0", .acs = {}, .link = {}}};
  spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"sw0.0", "sw0.1"}, .acs = {}, .link = {}},
                   {.name = "sw2", .on = "sw1.0", .ports = {"sw2.0", "sw2.1"}, .acs = {}, .link = {}},
                   {.name = "sw1", .on = "rp1", .ports = {"sw1.0", "sw1.1"}, .acs = {}, .link = {}}};
  spec.functions = {Device("gaudi0", "sw0.0", 128 * kGiB), Device("rxe0", "sw0.1"),
                    Device("gaudi1", "sw2.0", 32 * kGiB), Device("rxe1", "sw1.1"), Device("rciep", "pc0", 64 * kMiB)};
  return spec;
}

std::unique_ptr<Topology> Built(const TopologySpec& spec) {
  std::string reason;
  auto topology = Topology::Build(spec, &reason);
  EXPECT_TRUE(topology) << reason;
  return topology ? std::move(*topology) : nullptr;
}

TEST(Bdf, TextAndBack) {
  const Bdf bdf{.domain = 0, .bus = 0x33, .device = 0x1f, .function = 7};
  EXPECT_EQ(bdf.ToString(), "0000:33:1f.7");
  EXPECT_EQ(Bdf::Parse("0000:33:1f.7"), bdf);
  EXPECT_EQ(Bdf::Parse("33:1f.7"), bdf);
  for (const char* text :
       {"", "33:1f", "33:20.0", "33:1f.8", "0000:33:1f.7 ", "0000-33:1f.7", "x3:1f.7", "33.1f:7", "+3:1f.7"}) {
    EXPECT_FALSE(Bdf::Parse(text)) << text;
  }
}

TEST(AcsControl, RegisterBitsAreThoseOfPciRegsH) {
  // include/uapi/linux/pci_regs.h PCI_ACS_SV .. PCI_ACS_DT.
  EXPECT_EQ((AcsControl{.source_validation = true}.Register()), 0x01);
  EXPECT_EQ((AcsControl{.translation_blocking = true}.Register()), 0x02);
  EXPECT_EQ((AcsControl{.request_redirect = true}.Register()), 0x04);
  EXPECT_EQ((AcsControl{.completion_redirect = true}.Register()), 0x08);
  EXPECT_EQ((AcsControl{.upstream_forwarding = true}.Register()), 0x10);
  EXPECT_EQ((AcsControl{.egress_control = true}.Register()), 0x20);
  EXPECT_EQ((AcsControl{.direct_translated = true}.Register()), 0x40);
  EXPECT_EQ(AcsControl::FromRegister(0x7f).Register(), 0x7f);
  EXPECT_EQ(AcsControl::LinuxDefault().ToString(), "SV RR CR UF");
  EXPECT_EQ(AcsControl{}.ToString(), "none");
}

TEST(Topology, NumbersBusesDepthFirst) {
  const auto topology = Built(Spec());
  const struct {
    const char* name;
    const char* bdf;
  } bridges[] = {{"rp0", "0000:00:01.0"},   {"sw0", "0000:01:00.0"},  {"sw0.0", "0000:02:00.0"},
                 {"sw0.1", "0000:02:01.0"}, {"rp1", "0000:00:02.0"},  {"sw1", "0000:05:00.0"},
                 {"sw1.0", "0000:06:00.0"}, {"sw2", "0000:07:00.0"},  {"sw2.0", "0000:08:00.0"},
                 {"sw2.1", "0000:08:01.0"}, {"sw1.1", "0000:06:01.0"}};
  ASSERT_EQ(topology->bridges().size(), std::size(bridges));
  for (size_t i = 0; i < std::size(bridges); ++i) {
    EXPECT_EQ(topology->bridges()[i]->name(), bridges[i].name);
    EXPECT_EQ(topology->bridges()[i]->bdf().ToString(), bridges[i].bdf);
  }
  const struct {
    const char* name;
    const char* bdf;
  } functions[] = {{"gaudi0", "0000:03:00.0"},
                   {"rxe0", "0000:04:00.0"},
                   {"gaudi1", "0000:09:00.0"},
                   {"rxe1", "0000:0b:00.0"},
                   {"rciep", "0000:00:03.0"}};
  ASSERT_EQ(topology->functions().size(), std::size(functions));
  for (uint16_t i = 0; i < std::size(functions); ++i) {
    EXPECT_EQ(topology->function(i).name(), functions[i].name);
    EXPECT_EQ(topology->function(i).index(), i);
    EXPECT_EQ(topology->function(i).bdf().ToString(), functions[i].bdf);
    EXPECT_EQ(topology->FindFunction(functions[i].name), &topology->function(i));
    EXPECT_EQ(topology->FindFunction(*Bdf::Parse(functions[i].bdf)), &topology->function(i));
  }
  EXPECT_EQ(topology->FindFunction("gaudi9"), nullptr);
  EXPECT_EQ(topology->FindFunction("rciep")->upstream(), nullptr);
  EXPECT_EQ(topology->FindBridge("rp1")->secondary(), 5);
  EXPECT_EQ(topology->FindBridge("rp1")->subordinate(), 11);
  EXPECT_EQ(topology->FindBridge("sw2")->subordinate(), 10);
}

TEST(Topology, RootBusesAreSpreadOrPacked) {
  TopologySpec spec;
  spec.host_bridges = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
  auto topology = Built(spec);
  EXPECT_EQ(topology->host_bridges()[1]->bus(), 64);
  EXPECT_EQ(topology->host_bridges()[2]->bus(), 128);

  // 3 root ports with switches of 32 ports below "a" need more than 64 buses: everything moves together.
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i);
    spec.root_ports.push_back({.name = "rp" + n, .on = "a", .acs = {}, .link = {}});
    SwitchSpec& row = spec.switches.emplace_back();
    row.name = "sw" + n;
    row.on = "rp" + n;
    for (int port = 0; port < 32; ++port) row.ports.push_back(row.name + "." + std::to_string(port));
  }
  topology = Built(spec);
  EXPECT_EQ(topology->host_bridges()[1]->bus(), 1 + 3 * 34);
  EXPECT_EQ(topology->host_bridges()[2]->bus(), 2 + 3 * 34);
}

// PCI-to-PCI bridge specification: what a bridge forwards downstream is exactly its window.
TEST(Topology, BarsAreAlignedDisjointAndInsideEveryWindowAbove) {
  const auto topology = Built(Spec());
  struct Range {
    uint64_t begin, end;
  };
  std::vector<Range> ranges;
  for (const Function* function : topology->functions()) {
    for (unsigned n = 0; n < 6; ++n) {
      const Bar& bar = function->bar(n);
      if (bar.size == 0) continue;
      EXPECT_EQ(bar.base % bar.size, 0U);
      EXPECT_GE(bar.base, 4 * kGiB);
      for (const Bridge* port = function->upstream(); port != nullptr; port = port->upstream()) {
        EXPECT_GE(bar.base, port->window_base()) << function->name() << " in " << port->name();
        EXPECT_LE(bar.base + bar.size, port->window_base() + port->window_size());
      }
      const HostBridge& host = topology->HostBridgeOf(*function);
      EXPECT_GE(bar.base, host.window_base());
      EXPECT_LE(bar.base + bar.size, host.window_base() + host.window_size());
      for (const Range& other : ranges) EXPECT_TRUE(bar.base + bar.size <= other.begin || bar.base >= other.end);
      ranges.push_back({bar.base, bar.base + bar.size});
    }
  }
  for (const Bridge* bridge : topology->bridges()) {
    EXPECT_EQ(bridge->window_base() % kMiB, 0U);
    EXPECT_EQ(bridge->window_size() % kMiB, 0U);
    for (const Bridge* other : topology->bridges()) {  // siblings are disjoint
      if (bridge == other || bridge->upstream() != other->upstream() || bridge->window_size() == 0) continue;
      EXPECT_TRUE(bridge->window_base() + bridge->window_size() <= other->window_base() ||
                  other->window_base() + other->window_size() <= bridge->window_base());
    }
  }
  EXPECT_EQ(topology->FindBridge("sw2.1")->window_size(), 0U) << "nothing below: closed";
}

TEST(Topology, DecodesByBar) {
  const auto topology = Built(Spec());
  const Function* gaudi1 = topology->FindFunction("gaudi1");
  const Bar& bar = gaudi1->bar(4);
  unsigned n = 0;
  uint64_t offset = 0;
  EXPECT_EQ(topology->Decode(bar.base + 4096, 4096, &n, &offset), gaudi1);
  EXPECT_EQ(n, 4U);
  EXPECT_EQ(offset, 4096U);
  EXPECT_EQ(topology->Decode(bar.base + bar.size - 1, 1, &n, &offset), gaudi1);
  EXPECT_EQ(topology->Decode(bar.base + bar.size - 1, 2, &n, &offset), nullptr) << "past the end";
  EXPECT_EQ(topology->Decode(bar.base, ~uint64_t{0}, &n, &offset), nullptr) << "wraps";
  EXPECT_EQ(topology->Decode(0x1000, 1, &n, &offset), nullptr) << "memory, no BAR";
}

TEST(Topology, FunctionsAtOnePortAreOneDevice) {
  TopologySpec spec = Spec();
  spec.functions.push_back(Device("second", "sw0.0"));
  const auto topology = Built(spec);
  EXPECT_EQ(topology->FindFunction("second")->bdf().ToString(), "0000:03:00.1");
}

TEST(Topology, RefusesWhatCannotBe) {
  const struct {
    const char* name;
    void (*change)(TopologySpec*);
    int want_errno;
    const char* reason;
  } cases[] = {
      {"name twice", [](TopologySpec* s) { s->functions[1].name = "gaudi0"; }, EINVAL, "used twice"},
      {"no name", [](TopologySpec* s) { s->functions[1].name = ""; }, EINVAL, "no name"},
      {"port name twice",
       [](TopologySpec* s) {
         s->switches[0].ports = {"x", "x"};
       },
       EINVAL, "used twice"},
      {"unknown place", [](TopologySpec* s) { s->functions[1].at = "sw9.0"; }, EINVAL, "sw9.0"},
      {"on a switch itself", [](TopologySpec* s) { s->functions[1].at = "sw0"; }, EINVAL, "no port"},
      {"root port on a root port", [](TopologySpec* s) { s->root_ports[1].on = "rp0"; }, EINVAL, "no host bridge"},
      {"switch on a host bridge", [](TopologySpec* s) { s->switches[0].on = "pc0"; }, EINVAL, "needs a root port"},
      {"device beside a switch", [](TopologySpec* s) { s->functions[1].at = "rp0"; }, EINVAL, "a switch already"},
      {"two switches on a port", [](TopologySpec* s) { s->switches[1].on = "rp1"; }, EINVAL, "a switch already"},
      {"circle of one", [](TopologySpec* s) { s->switches[1].on = "sw2.1"; }, EINVAL, "below itself"},
      {"circle of two", [](TopologySpec* s) { s->switches[2].on = "sw2.1"; }, EINVAL, "below itself"},
      {"no ports", [](TopologySpec* s) { s->switches[0].ports.clear(); }, EINVAL, "0 ports"},
      {"BAR not a power of two", [](TopologySpec* s) { s->functions[0].bars[4].size = 96 * kGiB; }, EINVAL, "BAR4"},
      {"BAR too large", [](TopologySpec* s) { s->functions[0].bars[4].size = uint64_t{1} << 45; }, EINVAL, "BAR4"},
      {"64-bit BAR at an odd place", [](TopologySpec* s) { s->functions[0].bars[1].size = 4096; }, EINVAL, "BAR1"},
      {"nine functions on a port",
       [](TopologySpec* s) {
         for (int i = 0; i < 8; ++i) s->functions.push_back(Device("f" + std::to_string(i), "sw0.0"));
       },
       ENOSPC, "more than 8"},
      {"root bus full",
       [](TopologySpec* s) {
         for (int i = 0; i < 29; ++i) s->functions.push_back(Device("f" + std::to_string(i), "pc0"));
       },
       ENOSPC, "room for 31"},
      {"out of buses",
       [](TopologySpec* s) {
         for (int i = 0; i < 8; ++i) {
           const std::string n = std::to_string(i);
           s->root_ports.push_back({.name = "r" + n, .on = "pc0", .acs = {}, .link = {}});
           SwitchSpec& row = s->switches.emplace_back();
           row.name = "s" + n;
           row.on = "r" + n;
           for (int port = 0; port < 32; ++port) row.ports.push_back(row.name + "." + std::to_string(port));
         }
       },
       ENOSPC, "bus numbers"},
      {"out of addresses",
       [](TopologySpec* s) {
         s->functions[0].bars[4].size = s->functions[1].bars[4].size = uint64_t{1} << 44;
         s->functions[2].bars[4].size = uint64_t{1} << 44;
       },
       ENOSPC, "bus addresses"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    TopologySpec spec = Spec();
    c.change(&spec);
    std::string reason;
    const auto built = Topology::Build(spec, &reason);
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code(), c.want_errno);
    EXPECT_NE(reason.find(c.reason), std::string::npos) << reason;
  }
}

TEST(Link, RateAfterLineCoding) {
  EXPECT_NEAR((Link{.generation = 1, .width = 1}.BytesPerSecond()), 250e6, 1);
  EXPECT_NEAR((Link{.generation = 4, .width = 16}.BytesPerSecond()), 31.5e9, 0.1e9);
  EXPECT_EQ((Link{.generation = 9, .width = 16}.BytesPerSecond()), 0);
}

}  // namespace
}  // namespace causeway::pci
