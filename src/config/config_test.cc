// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pci/p2p.h"

namespace causeway::config {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The smallest machine with everything in it. Line numbers in the tables below count from here.
constexpr std::string_view kSmall = R"([machine]
name = "m"
[[host_bridge]]
name = "pc0"
[[root_port]]
name = "rp0"
on = "pc0"
[[switch]]
name = "sw0"
on = "rp0"
ports = 3
[[accelerator]]
name = "gaudi0"
at = "sw0.0"
[[nic]]
name = "rxe0"
at = "sw0.1"
)";  // 17 lines

MachineConfig Parse(const std::string& text) {
  ParseOutcome outcome = ParseConfig(text, "test.toml");
  for (const ConfigError& error : outcome.errors) ADD_FAILURE() << error.ToString();
  return outcome.config ? std::move(*outcome.config) : MachineConfig();
}

std::string Replace(std::string_view from, std::string_view to) {
  std::string text(kSmall);
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Config, TheDefaultIsTwoPairsBelowOneRootComplex) {
  const MachineConfig config = Parse(std::string(DefaultConfigText()));
  EXPECT_EQ(config.name, "default");
  EXPECT_EQ(config.iommu, pci::IommuMode::kOff);
  EXPECT_EQ(config.memlock, Memlock::kIgnore);
  ASSERT_EQ(config.accelerators.size(), 2U);
  ASSERT_EQ(config.nics.size(), 2U);
  EXPECT_EQ(HbmBytes(config.accelerators[0]), uint64_t{96} << 30);
  EXPECT_EQ(config.accelerators[1].bar_size, uint64_t{128} << 30);
  EXPECT_EQ(config.accelerators[1].module_id, 1U);
  EXPECT_EQ(config.accelerators[1].flavour, Flavour::kAccel);
  EXPECT_NE(NicMac(config, config.nics[0]), NicMac(config, config.nics[1]));

  const auto topology = BuildTopology(config);
  const auto distance = [&topology](const char* a, const char* b) {
    return pci::P2pDistance(*topology, *topology->FindFunction(a), *topology->FindFunction(b)).distance;
  };
  EXPECT_EQ(distance("gaudi0", "rxe0"), 4);
  EXPECT_EQ(distance("gaudi1", "rxe1"), 4);
  EXPECT_EQ(distance("gaudi0", "rxe1"), 8) << "through the whitelisted root complex";
  const pci::Function& gaudi = *topology->FindFunction("gaudi0");
  EXPECT_EQ(gaudi.identity().vendor, 0x1da3);
  EXPECT_EQ(gaudi.identity().device, 0x1020);
  EXPECT_EQ(gaudi.identity().revision, 1);
  EXPECT_EQ(gaudi.bar(0).size, uint64_t{256} << 20);
  EXPECT_EQ(gaudi.bar(2).size, uint64_t{16} << 10);
  EXPECT_EQ(gaudi.bar(4).size, uint64_t{128} << 30);
}

TEST(Config, WhatTheDefaultTextSaysIsWhatTheDefaultsAre) {
  const MachineConfig documented = Parse(std::string(DefaultConfigText()));
  // gaudi0 and rxe0 spell out every key; gaudi1 and rxe1 leave them to the defaults.
  EXPECT_EQ(documented.accelerators[0].type, documented.accelerators[1].type);
  EXPECT_EQ(documented.accelerators[0].hbm_stacks, documented.accelerators[1].hbm_stacks);
  EXPECT_EQ(documented.accelerators[0].bar_size, documented.accelerators[1].bar_size);
  EXPECT_EQ(documented.nics[0].netdev, documented.nics[1].netdev);
  for (const NicCapabilityName& known : NicCapabilityNames()) {
    SCOPED_TRACE(known.name);
    EXPECT_EQ(documented.nics[0].capabilities.*known.member, documented.nics[1].capabilities.*known.member);
    EXPECT_TRUE(documented.nics[0].capabilities.*known.member);
    // The page names it, with a word about what it is.
    EXPECT_NE(DefaultConfigText().find(std::string(known.name)), std::string_view::npos);
  }
  EXPECT_EQ(documented.root_ports[0].acs, documented.root_ports[1].acs);
  EXPECT_EQ(documented.root_ports[0].link.generation, documented.root_ports[1].link.generation);
}

TEST(Config, EachCapabilityCanBeSwitchedOffAlone) {
  for (const NicCapabilityName& off : NicCapabilityNames()) {
    const MachineConfig config =
        Parse(std::string(kSmall) + "capabilities = { " + std::string(off.name) + " = false }\n");
    for (const NicCapabilityName& known : NicCapabilityNames()) {
      EXPECT_EQ(config.nics[0].capabilities.*known.member, known.name != off.name) << off.name << " " << known.name;
    }
  }
}

TEST(Config, AFileWithoutHardwareHasTheDefaultHardware) {
  for (const char* text : {"", "[machine]\nname = \"other\"\niommu = \"on\"\n"}) {
    const MachineConfig config = Parse(text);
    EXPECT_EQ(config.accelerators.size(), 2U);
    EXPECT_EQ(config.switches.size(), 2U);
  }
  EXPECT_EQ(Parse("[machine]\nname = \"other\"\niommu = \"on\"\n").iommu, pci::IommuMode::kOn);
}

TEST(Config, ReadsEveryKey) {
  const MachineConfig config = Parse(R"(
[machine]
name = "big-1"
iommu = "passthrough"
cpu = "amd-zen"
memlock = "enforce"
[[host_bridge]]
name = "pc0"
id = "1022:1450"
numa = 1
[[root_port]]
name = "rp0"
on = "pc0"
acs = "linux"
link = "gen5 x8"
[[root_port]]
name = "rp1"
on = "pc0"
[[switch]]
name = "sw0"
on = "rp0"
ports = ["left", "right"]
acs = ["SV", "EC", "DT"]
link = "gen3 x4"
[[switch]]
name = "sw1"
on = "left"
ports = 1
[[accelerator]]
name = "old"
type = "gaudi"
at = "sw1.0"
flavour = "misc"
bar_size = 67108864
module_id = 0
link = "gen3 x16"
[[accelerator]]
name = "new"
at = "rp1"
flavour = "drm"
hbm = 5
bar_size = "1TiB"
[[nic]]
name = "rxe0"
at = "right"
netdev = "eth0"
mac = "02:CA:05:00:00:7f"
capabilities = { dmabuf = false, atomics = false }
)");
  EXPECT_EQ(config.name, "big-1");
  EXPECT_EQ(config.iommu, pci::IommuMode::kPassthrough);
  EXPECT_TRUE(config.amd_zen);
  EXPECT_EQ(config.memlock, Memlock::kEnforce);
  EXPECT_EQ(config.host_bridges[0].vendor, 0x1022);
  EXPECT_EQ(config.host_bridges[0].device, 0x1450);
  EXPECT_EQ(config.host_bridges[0].numa_node, 1);
  EXPECT_EQ(config.root_ports[0].acs.ToString(), "SV RR CR UF");
  EXPECT_EQ(config.root_ports[0].link.generation, 5);
  EXPECT_EQ(config.root_ports[0].link.width, 8);
  EXPECT_EQ(config.switches[0].acs.ToString(), "SV EC DT");
  EXPECT_THAT(config.switches[0].ports, testing::ElementsAre("left", "right"));
  EXPECT_THAT(config.switches[1].ports, testing::ElementsAre("sw1.0"));
  EXPECT_EQ(config.accelerators[0].type, AcceleratorType::kGaudi);
  EXPECT_EQ(config.accelerators[0].flavour, Flavour::kMisc);
  EXPECT_EQ(HbmBytes(config.accelerators[0]), uint64_t{32} << 30);
  EXPECT_EQ(config.accelerators[0].bar_size, uint64_t{64} << 20);
  EXPECT_EQ(HbmBytes(config.accelerators[1]), uint64_t{80} << 30);
  EXPECT_EQ(config.accelerators[1].bar_size, uint64_t{1} << 40);
  EXPECT_EQ(config.accelerators[1].module_id, 1U) << "the next free";
  EXPECT_EQ(config.nics[0].netdev, "eth0");
  EXPECT_EQ(NicMac(config, config.nics[0]), 0x02ca0500007fU);
  EXPECT_FALSE(config.nics[0].capabilities.dmabuf);
  EXPECT_FALSE(config.nics[0].capabilities.atomics);
  const auto topology = BuildTopology(config);
  EXPECT_EQ(topology->FindFunction("old")->identity().device, 0x1000);
  EXPECT_EQ(topology->FindFunction("old")->bar(2).size, uint64_t{128} << 20);
  EXPECT_EQ(topology->FindFunction("rxe0")->identity().class_code, 0x020000U);
}

TEST(Config, ErrorsSayWhereAndWhatToDo) {
  const struct {
    const char* name;
    std::string text;
    const char* place;  // "line:column"
    const char* message;
  } cases[] = {
      {"no TOML", "[machine\n", "1:9", "expected ']'"},
      {"unknown table", std::string(kSmall) + "[[fpga]]\n", "18:3",
       "the file has no key \"fpga\"; known are: machine, host_bridge"},
      {"a bracket too many", "[[[machine]]]\n", "1:3", "expected bare key"},
      {"a letter beyond ASCII", "\u00e9 = 1\n", "1:1", "expected keys"},
      {"a control character", std::string("[\0,", 3), "1:2", "expected bare key"},
      {"unknown table, a slip", std::string(kSmall) + "[[nics]]\n", "18:3", "did you mean \"nic\"?"},
      {"unknown key", Replace("ports = 3", "ports = 3\nprots = 3"), "12:1",
       "the switch \"sw0\" has no key \"prots\"; did you mean \"ports\"?"},
      {"unknown key in [machine]", Replace("name = \"m\"", "colour = 1"), "2:1",
       "[machine] has no key \"colour\"; known are: name, iommu"},
      {"unknown capability", std::string(kSmall) + "capabilities = { dmabuff = true }\n", "18:18",
       "did you mean \"dmabuf\"?"},
      {"one table for many", Replace("[[nic]]", "[nic]"), "15:1", "write [[nic]]"},
      {"many for one table", Replace("[machine]", "[[machine]]"), "1:1", "write [machine]"},
      {"list of no tables", "nic = [1]\n", "1:8", "write [[nic]]"},

      {"text for a number", Replace("ports = 3", "ports = \"3\""), "11:9",
       "ports of the switch \"sw0\" is a text; it must be a number"},
      {"number for a text", Replace("on = \"pc0\"", "on = 5"), "7:6", "on of the root port \"rp0\" is a whole number"},
      {"text for true", std::string(kSmall) + "capabilities = { atomics = \"no\" }\n", "18:28",
       "must be true or false"},
      {"fraction", Replace("ports = 3", "ports = 1.5"), "11:9", "a number with a fraction"},

      {"choice", Replace("name = \"m\"", "iommu = \"onn\""), "2:9",
       "\"off\", \"passthrough\", \"on\"; did you mean \"on\"?"},
      {"machine name", Replace("name = \"m\"", "name = \"a/b\""), "2:8", "[machine] is \"a/b\""},
      {"thing's name", Replace("name = \"gaudi0\"", "name = \"gau di\""), "13:8", "the name \"gau di\" cannot be"},
      {"no name", Replace("name = \"gaudi0\"\n", ""), "12:1", "this accelerator has no name"},
      {"too many ports", Replace("ports = 3", "ports = 33"), "11:9", "is 33; it can be 1 to 32"},
      {"no ports", Replace("ports = 3\n", ""), "8:1", "has no ports; say ports ="},
      {"empty list of ports", Replace("ports = 3", "ports = []"), "11:9", "has 0 names"},
      {"host bridge id", Replace("name = \"pc0\"", "name = \"pc0\"\nid = \"8086-2020\""), "5:6",
       "it is written \"8086:2020\""},
      {"short host bridge id", Replace("name = \"pc0\"", "name = \"pc0\"\nid = \"80\""), "5:6",
       "it is written \"8086:2020\""},
      {"ACS bit", Replace("on = \"rp0\"", "on = \"rp0\"\nacs = [\"SV\", \"XX\"]"), "11:7",
       "has \"XX\"; the bits are SV"},
      {"ACS word", Replace("on = \"rp0\"", "on = \"rp0\"\nacs = \"all\""), "11:7", "it can be \"none\", \"linux\""},
      {"ACS item", Replace("on = \"rp0\"", "on = \"rp0\"\nacs = [4]"), "11:8", "no text in quotes"},
      {"link", Replace("on = \"rp0\"", "on = \"rp0\"\nlink = \"gen4 x3\""), "11:8", "it is written \"gen4 x16\""},
      {"HBM stacks of a Gaudi2", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\nhbm = 4"), "15:7",
       "is 4; it can be 5 to 6"},
      {"HBM stacks of a Gaudi", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\ntype = \"gaudi\"\nhbm = 6"), "16:7",
       "it can be 4 to 4"},
      {"BAR size", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\nbar_size = \"96 GiB\""), "15:12",
       "a BAR has a power of two"},
      {"BAR size's unit", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\nbar_size = \"1 TB\""), "15:12",
       "it is written \"128 GiB\""},
      {"BAR size negative", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\nbar_size = -1"), "15:12",
       "a BAR has a power of two"},
      {"BAR size overflows", Replace("at = \"sw0.0\"", "at = \"sw0.0\"\nbar_size = \"99999999999 GiB\""), "15:12",
       "it is written"},
      {"netdev", std::string(kSmall) + "netdev = \"an-interface-name\"\n", "18:10", "\"auto\" or the name"},
      {"MAC", std::string(kSmall) + "mac = \"02:ca:05:00:00\"\n", "18:7", "it is written \"02:ca:05:00:00:01\""},
      {"multicast MAC", std::string(kSmall) + "mac = \"03:00:00:00:00:01\"\n", "18:7", "first byte is even"},

      {"name twice", Replace("name = \"rxe0\"", "name = \"gaudi0\""), "16:8",
       "used twice, before for the accelerator at line 13"},
      {"name of a port", Replace("name = \"rxe0\"", "name = \"sw0.2\""), "16:8", "for the switch port at line 9"},
      {"dangling at", Replace("at = \"sw0.0\"", "at = \"sw7.5\""), "14:6",
       "names \"sw7.5\", which does not exist; free: sw0.0, sw0.2"},
      {"dangling at, a slip", Replace("at = \"sw0.0\"", "at = \"sw0.9\""), "14:6", "did you mean \"sw0.0\"?"},
      {"at a switch", Replace("at = \"sw0.0\"", "at = \"sw0\""), "14:6", "name one of its ports: sw0.0, sw0.1, sw0.2"},
      {"at a host bridge", Replace("at = \"sw0.0\"", "at = \"pc0\""), "14:6", "put a [[root_port]] on it"},
      {"at a NIC", Replace("at = \"sw0.0\"", "at = \"rxe0\""), "14:6",
       "names the NIC \"rxe0\", which is no port; free:"},
      {"no at", Replace("at = \"sw0.0\"\n", ""), "12:1", "the accelerator \"gaudi0\" is nowhere; say at ="},
      {"root port on a switch", Replace("on = \"pc0\"", "on = \"sw0.2\""), "7:6", "which is no host bridge; free: pc0"},
      {"two devices on a port", Replace("at = \"sw0.1\"", "at = \"sw0.0\""), "17:6",
       "\"rxe0\" and \"gaudi0\" are both on the port \"sw0.0\""},
      {"device beside a switch", Replace("at = \"sw0.1\"", "at = \"rp0\""), "17:6", "put a [[switch]] there"},
      {"switch below itself", Replace("on = \"rp0\"", "on = \"sw0.2\""), "10:6", "the switch \"sw0\" is below itself"},
      {"module id twice",
       std::string(kSmall) +
           "[[accelerator]]\nname = \"b\"\nat = \"sw0.2\"\nmodule_id = 3\n[[root_port]]\nname = \"rp1\"\non = "
           "\"pc0\"\n[[accelerator]]\nname = \"c\"\nat = \"rp1\"\nmodule_id = 3\n",
       "26:8", "both have module_id 3"},
      {"same MAC",
       std::string(kSmall) +
           "mac = \"02:00:00:00:00:01\"\n[[nic]]\nname = \"rxe1\"\nat = \"sw0.2\"\nmac = \"02:00:00:00:00:01\"\n",
       "20:8", "the same MAC address"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const ParseOutcome outcome = ParseConfig(c.text, "f.toml");
    EXPECT_FALSE(outcome.config);
    ASSERT_FALSE(outcome.errors.empty());
    EXPECT_THAT(outcome.errors[0].ToString(), StartsWith(std::string("f.toml:") + c.place + ": "));
    EXPECT_THAT(outcome.errors[0].message, HasSubstr(c.message));
  }
}

TEST(Config, ACircleOfSwitchesIsFoundFromEach) {
  const ParseOutcome outcome = ParseConfig(R"([[switch]]
name = "a"
on = "b.0"
ports = 1
[[switch]]
name = "b"
on = "a.0"
ports = 1
)",
                                           "f");
  ASSERT_EQ(outcome.errors.size(), 2U);
  EXPECT_EQ(outcome.errors[0].ToString(),
            "f:3:6: the switch \"a\" is below itself; follow \"on\" from it: it must end at a root port");
  EXPECT_EQ(outcome.errors[1].line, 7U);
}

TEST(Config, EveryErrorIsFoundInFileOrder) {
  const ParseOutcome outcome = ParseConfig("[machine]\niommu = 3\ncpu = \"z80\"\n[[nic]]\nat = \"x\"\n", "f");
  std::string places;
  for (const ConfigError& error : outcome.errors) places += std::to_string(error.line) + " ";
  EXPECT_EQ(places, "2 3 4 5 ");
}

TEST(Config, SixtyFourNicsAndNoMore) {
  const auto machine = [](int nics) {
    std::string text = "[[host_bridge]]\nname = \"pc0\"\n";
    for (int i = 0; i < 3; ++i) {
      const std::string n = std::to_string(i);
      text += "[[root_port]]\nname = \"rp" + n + "\"\non = \"pc0\"\n[[switch]]\nname = \"sw" + n + "\"\non = \"rp" + n +
              "\"\nports = 32\n";
    }
    for (int i = 0; i < nics; ++i) {
      text += "[[nic]]\nname = \"rxe" + std::to_string(i) + "\"\nat = \"sw" + std::to_string(i / 32) + "." +
              std::to_string(i % 32) + "\"\n";
    }
    return text;
  };
  EXPECT_EQ(Parse(machine(64)).nics.size(), 64U);
  const ParseOutcome outcome = ParseConfig(machine(65), "f");
  ASSERT_EQ(outcome.errors.size(), 1U);
  EXPECT_THAT(outcome.errors[0].message, HasSubstr("65 NICs; a machine has at most 64"));
}

TEST(Config, ATreeWithoutRoomIsRefusedWithTheReason) {
  std::string text = "[[host_bridge]]\nname = \"pc0\"\n";
  for (int i = 0; i < 32; ++i) text += "[[root_port]]\nname = \"rp" + std::to_string(i) + "\"\non = \"pc0\"\n";
  const ParseOutcome outcome = ParseConfig(text, "f");
  ASSERT_EQ(outcome.errors.size(), 1U);
  EXPECT_THAT(outcome.errors[0].message, HasSubstr("its root bus has room for 31"));
}

TEST(Config, AFileThatCannotBeReadIsAnError) {
  const ParseOutcome outcome = LoadConfig("/nonexistent/causeway.toml");
  ASSERT_EQ(outcome.errors.size(), 1U);
  EXPECT_EQ(outcome.errors[0].ToString(), "/nonexistent/causeway.toml: cannot be read: No such file or directory");
  EXPECT_THAT(LoadConfig("/").errors.at(0).message, HasSubstr("Is a directory"));
}

TEST(Config, MachineNamesMayStandInPaths) {
  for (const char* name : {"default", "a", "A.b_c-9"}) EXPECT_TRUE(IsMachineName(name)) << name;
  for (const char* name : {"", ".", "..", "-x", "a/b", "a b", "a\n"}) EXPECT_FALSE(IsMachineName(name)) << name;
  EXPECT_FALSE(IsMachineName(std::string(64, 'a')));
}

}  // namespace
}  // namespace causeway::config
