// SPDX-License-Identifier: Apache-2.0
// Reading the file: TOML to a MachineConfig, with a place in the file for everything that is said about it.
#include "config/config.h"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#include <toml++/toml.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <system_error>
#include <utility>

#include "config/errors.h"

namespace causeway::config {
namespace {

constexpr uint64_t kMaxPorts = 32;  // device numbers on a switch's internal bus

Where At(const toml::source_region& source) { return {source.begin.line, source.begin.column}; }

bool IsName(std::string_view name, size_t max) {
  if (name.empty() || name.size() > max || std::isalnum(static_cast<unsigned char>(name[0])) == 0) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
}

// All of `text` as a number.
std::optional<uint64_t> Number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "128 GiB", "64MiB", "4096".
std::optional<uint64_t> Size(std::string_view text) {
  constexpr std::pair<std::string_view, unsigned> kUnits[] = {
      {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"B", 0}};
  unsigned shift = 0;
  for (const auto& [unit, bits] : kUnits) {
    if (!text.ends_with(unit)) continue;
    text.remove_suffix(unit.size());
    shift = bits;
    break;
  }
  while (text.ends_with(' ')) text.remove_suffix(1);
  const auto value = Number(text, 10);
  if (!value || *value > (~uint64_t{0} >> shift)) return std::nullopt;
  return *value << shift;
}

// "02:ca:05:00:00:01".
std::optional<uint64_t> Mac(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  uint64_t mac = 0;
  for (size_t i = 0; i < 6; ++i) {
    const auto byte = Number(text.substr(3 * i, 2), 16);
    if (!byte || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    mac = mac << 8 | *byte;
  }
  return mac;
}

// "gen4 x16".
std::optional<pci::Link> ParseLink(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || !text.starts_with("gen") || text.substr(space + 1, 1) != "x")
    return std::nullopt;
  const auto generation = Number(text.substr(3, space - 3), 10);
  const auto width = Number(text.substr(space + 2), 10);
  if (!generation || !width || *generation < 1 || *generation > 6) return std::nullopt;
  if (*width > 16 || !std::has_single_bit(*width)) return std::nullopt;
  return pci::Link{static_cast<uint8_t>(*generation), static_cast<uint8_t>(*width)};
}

// One table of the file. Every key that is asked for is thereby known; Finish() complains of all others.
class Table {
 public:
  Table(const toml::table& table, std::string what, Errors* errors)
      : table_(table), what_(std::move(what)), errors_(*errors) {}

  Where where() const { return At(table_.source()); }
  Where WhereOf(std::string_view key) const {
    const toml::node* node = table_.get(key);
    return node != nullptr ? At(node->source()) : where();
  }
  bool Has(std::string_view key) const { return table_.contains(key); }
  Errors& errors() { return errors_; }
  void set_what(std::string what) { what_ = std::move(what); }

  template <typename... Args>
  void Refuse(std::string_view key, fmt::format_string<Args...> format, Args&&... args) {
    errors_.Add(WhereOf(key), "{} of {} {}", key, what_, fmt::format(format, std::forward<Args>(args)...));
  }

  // The value, if it is there; of another type, it is an error as well.
  std::optional<std::string> String(std::string_view key) {
    const toml::node* node = Get(key);
    if (node == nullptr) return std::nullopt;
    if (const auto* text = node->as_string()) return text->get();
    return WrongType(key, *node, "a text in quotes");
  }
  std::optional<bool> Bool(std::string_view key) {
    const toml::node* node = Get(key);
    if (node == nullptr) return std::nullopt;
    if (const auto* value = node->as_boolean()) return value->get();
    return WrongType(key, *node, "true or false");
  }
  std::optional<int64_t> Integer(std::string_view key, int64_t low, int64_t high) {
    const toml::node* node = Get(key);
    if (node == nullptr) return std::nullopt;
    const auto* value = node->as_integer();
    if (value == nullptr) return WrongType(key, *node, "a whole number");
    if (value->get() >= low && value->get() <= high) return value->get();
    Refuse(key, "is {}; it can be {} to {}", value->get(), low, high);
    return std::nullopt;
  }
  template <typename T, size_t kCount>
  std::optional<T> Choice(std::string_view key, const std::pair<std::string_view, T> (&choices)[kCount]) {
    const auto text = String(key);
    if (!text) return std::nullopt;
    std::vector<std::string> words;
    for (const auto& [word, value] : choices) {
      if (*text == word) return value;
      words.emplace_back(word);
    }
    std::string list;
    for (const std::string& word : words) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word);
    Refuse(key, "is \"{}\"; it can be {}{}", *text, list, DidYouMean(*text, words));
    return std::nullopt;
  }
  // A list of texts; nullopt when it is absent or anything else (an error).
  std::optional<std::vector<std::string>> Strings(std::string_view key) {
    const toml::node* node = Get(key);
    if (node == nullptr) return std::nullopt;
    const toml::array* array = node->as_array();
    if (array == nullptr) return WrongType(key, *node, "a list of texts");
    std::vector<std::string> list;
    for (const toml::node& item : *array) {
      const auto* text = item.as_string();
      if (text == nullptr) {
        errors_.Add(At(item.source()), "{} of {} has an item that is no text in quotes", key, what_);
        return std::nullopt;
      }
      list.push_back(text->get());
    }
    return list;
  }
  const toml::node* Get(std::string_view key) {
    known_.emplace_back(key);
    return table_.get(key);
  }
  std::nullopt_t WrongType(std::string_view key, const toml::node& node, std::string_view wanted) {
    std::string_view kind = "a date or time";
    if (node.is_string()) kind = "a text";
    if (node.is_integer()) kind = "a whole number";
    if (node.is_floating_point()) kind = "a number with a fraction";
    if (node.is_boolean()) kind = "true or false";
    if (node.is_array()) kind = "a list";
    if (node.is_table()) kind = "a table";
    Refuse(key, "is {}; it must be {}", kind, wanted);
    return std::nullopt;
  }

  void Finish() {
    for (const auto& [key, node] : table_) {
      if (std::find(known_.begin(), known_.end(), key.str()) != known_.end()) continue;
      std::string hint = DidYouMean(key.str(), known_);
      if (hint.empty()) {
        hint = "; known are: ";
        for (const std::string& word : known_) hint += (&word == &known_.front() ? "" : ", ") + word;
      }
      errors_.Add(At(key.source()), "{} has no key \"{}\"{}", what_, key.str(), hint);
    }
  }

 private:
  const toml::table& table_;
  std::string what_;  // "the switch \"sw0\"", for messages
  Errors& errors_;
  std::vector<std::string> known_;
};

class Parser {
 public:
  Parser(MachineConfig* config, Errors* errors) : config_(*config), errors_(*errors) {}

  // False when the file names no hardware.
  bool Run(const toml::table& root) {
    Table top(root, "the file", &errors_);
    if (const toml::node* node = top.Get("machine")) {
      if (const toml::table* table = node->as_table()) {
        Machine(*table);
      } else {
        errors_.Add(At(node->source()), "\"machine\" must be one table; write [machine]");
      }
    }
    const bool hardware = Each(&top, "host_bridge", &Parser::ReadHostBridge) |
                          Each(&top, "root_port", &Parser::ReadRootPort) | Each(&top, "switch", &Parser::ReadSwitch) |
                          Each(&top, "accelerator", &Parser::ReadAccelerator) | Each(&top, "nic", &Parser::ReadNic) |
                          Each(&top, "gpu", &Parser::ReadGpu);
    top.Finish();
    return hardware;
  }

 private:
  bool Each(Table* top, std::string_view key, void (Parser::*read)(Table*)) {
    const toml::node* node = top->Get(key);
    if (node == nullptr) return false;
    const toml::array* array = node->as_array();
    if (array == nullptr) {
      errors_.Add(At(node->source()), "there can be several of \"{0}\"; write [[{0}]]", key);
      return true;
    }
    for (const toml::node& item : *array) {
      const toml::table* row = item.as_table();
      if (row == nullptr) {
        errors_.Add(At(item.source()), "\"{0}\" has an item that is no table; write [[{0}]]", key);
        continue;
      }
      Table table(*row, fmt::format("this {}", key), &errors_);
      (this->*read)(&table);
      table.Finish();
    }
    return true;
  }

  void Machine(const toml::table& row) {
    Table table(row, "[machine]", &errors_);
    if (const auto name = table.String("name")) {
      config_.name = *name;
      if (!IsMachineName(*name)) {
        table.Refuse("name", "is \"{}\"; it can have 1 to 63 letters, digits and . _ -, and does not begin with . or -",
                     *name);
      }
    }
    constexpr std::pair<std::string_view, pci::IommuMode> kIommu[] = {
        {"off", pci::IommuMode::kOff}, {"passthrough", pci::IommuMode::kPassthrough}, {"on", pci::IommuMode::kOn}};
    constexpr std::pair<std::string_view, bool> kCpu[] = {{"intel", false}, {"amd-zen", true}};
    constexpr std::pair<std::string_view, Memlock> kMemlock[] = {{"ignore", Memlock::kIgnore},
                                                                 {"enforce", Memlock::kEnforce}};
    config_.iommu = table.Choice("iommu", kIommu).value_or(config_.iommu);
    config_.amd_zen = table.Choice("cpu", kCpu).value_or(config_.amd_zen);
    config_.memlock = table.Choice("memlock", kMemlock).value_or(config_.memlock);
    table.Finish();
  }

  // Every thing's first key. Gives messages a name to speak of.
  void ReadName(Table* table, std::string_view word, std::string* name, Where* where) {
    *where = table->WhereOf("name");
    const bool there = table->Has("name");
    if (const auto text = table->String("name")) {
      *name = *text;
      table->set_what(fmt::format("the {} \"{}\"", word, *text));
      if (!IsName(*text, 32)) {
        errors_.Add(*where, "the name \"{}\" cannot be; 1 to 32 letters, digits and . _ -, a letter or digit first",
                    *text);
      }
    } else if (!there) {
      errors_.Add(*where, "this {} has no name; say name = \"...\"", word);
    }
    // Nameless things stay apart, so that each is reported once.
    if (name->empty()) *name = fmt::format("({} at line {})", word, where->line);
  }

  // `on` or `at`. When it is missing or of a wrong type, that is checked and said here or in Check().
  void ReadPlace(Table* table, std::string_view key, std::string* place, Where* where) {
    *where = table->WhereOf(key);
    *place = table->String(key).value_or("");
  }

  void ReadLink(Table* table, pci::Link* link) {
    const auto text = table->String("link");
    if (!text) return;
    const auto parsed = ParseLink(*text);
    if (parsed) {
      *link = *parsed;
    } else {
      table->Refuse("link", "is \"{}\"; it is written \"gen4 x16\": generation 1 to 6, width 1, 2, 4, 8 or 16", *text);
    }
  }

  void ReadAcs(Table* table, pci::AcsControl* acs) {
    const toml::node* node = table->Get("acs");
    if (node == nullptr) return;
    if (node->is_string()) {
      const std::pair<std::string_view, uint16_t> words[] = {{"none", uint16_t{0}},
                                                             {"linux", pci::AcsControl::LinuxDefault().Register()}};
      *acs = pci::AcsControl::FromRegister(table->Choice("acs", words).value_or(uint16_t{0}));
      return;
    }
    uint16_t value = 0;
    for (const std::string& word : table->Strings("acs").value_or(std::vector<std::string>())) {
      uint16_t bit = 1;
      while (bit <= 0x40 && pci::AcsControl::FromRegister(bit).ToString() != word)
        bit = static_cast<uint16_t>(bit << 1);
      if (bit > 0x40) table->Refuse("acs", "has \"{}\"; the bits are SV, TB, RR, CR, UF, EC, DT", word);
      value = static_cast<uint16_t>(value | bit);
    }
    *acs = pci::AcsControl::FromRegister(value);
  }

  void ReadHostBridge(Table* table) {
    HostBridge& row = config_.host_bridges.emplace_back();
    ReadName(table, "host bridge", &row.name, &row.where);
    if (const auto id = table->String("id")) {
      const auto vendor = Number(std::string_view(*id).substr(0, 4), 16);
      const auto device = Number(id->size() == 9 ? std::string_view(*id).substr(5) : "", 16);
      if (vendor && device && (*id)[4] == ':') {
        row.vendor = static_cast<uint16_t>(*vendor);
        row.device = static_cast<uint16_t>(*device);
      } else {
        table->Refuse("id", "is \"{}\"; it is written \"8086:2020\": vendor and device, four hexadecimal digits each",
                      *id);
      }
    }
    row.numa_node = static_cast<int>(table->Integer("numa", -1, 1023).value_or(0));
  }

  void ReadRootPort(Table* table) {
    RootPort& row = config_.root_ports.emplace_back();
    ReadName(table, "root port", &row.name, &row.where);
    ReadPlace(table, "on", &row.on, &row.where_on);
    ReadAcs(table, &row.acs);
    ReadLink(table, &row.link);
  }

  void ReadSwitch(Table* table) {
    Switch& row = config_.switches.emplace_back();
    ReadName(table, "switch", &row.name, &row.where);
    ReadPlace(table, "on", &row.on, &row.where_on);
    ReadPorts(table, &row);
    ReadAcs(table, &row.acs);
    ReadLink(table, &row.link);
  }

  void ReadPorts(Table* table, Switch* row) {
    const toml::node* node = table->Get("ports");
    if (node == nullptr) {
      errors_.Add(table->where(), "the switch \"{}\" has no ports; say ports = and how many, or their names",
                  row->name);
    } else if (node->is_array()) {
      row->ports = table->Strings("ports").value_or(std::vector<std::string>());
      if (row->ports.empty() || row->ports.size() > kMaxPorts) {
        table->Refuse("ports", "has {} names; a switch has 1 to {} ports", row->ports.size(), kMaxPorts);
      }
      for (const std::string& port : row->ports) {
        if (!IsName(port, 32)) table->Refuse("ports", "has the name \"{}\"; 1 to 32 letters, digits and . _ -", port);
      }
    } else if (node->is_integer()) {
      const int64_t count = table->Integer("ports", 1, kMaxPorts).value_or(0);
      for (int64_t i = 0; i < count; ++i) row->ports.push_back(fmt::format("{}.{}", row->name, i));
    } else {
      table->WrongType("ports", *node, "a number, or a list of names");
    }
  }

  void ReadAccelerator(Table* table) {
    constexpr std::pair<std::string_view, AcceleratorType> kTypes[] = {{"gaudi2", AcceleratorType::kGaudi2},
                                                                       {"gaudi", AcceleratorType::kGaudi}};
    constexpr std::pair<std::string_view, Flavour> kFlavours[] = {
        {"accel", Flavour::kAccel}, {"misc", Flavour::kMisc}, {"drm", Flavour::kDrm}};
    Accelerator& row = config_.accelerators.emplace_back();
    ReadName(table, "accelerator", &row.name, &row.where);
    ReadPlace(table, "at", &row.at, &row.where_on);
    row.type = table->Choice("type", kTypes).value_or(row.type);
    row.flavour = table->Choice("flavour", kFlavours).value_or(row.flavour);
    const bool gaudi2 = row.type == AcceleratorType::kGaudi2;
    row.hbm_stacks =
        static_cast<uint32_t>(table->Integer("hbm", gaudi2 ? 5 : 4, gaudi2 ? 6 : 4).value_or(gaudi2 ? 6 : 4));
    row.bar_size = ReadBarSize(table, "bar_size", gaudi2 ? uint64_t{128} << 30 : uint64_t{32} << 30);
    row.module_id =
        static_cast<uint32_t>(table->Integer("module_id", 0, int64_t{kMaxAccelerators} - 1).value_or(kNoModuleId));
    ReadLink(table, &row.link);
  }

  // All of its memory lies behind the BAR, so it has a BAR's size.
  void ReadGpu(Table* table) {
    Gpu& row = config_.gpus.emplace_back();
    ReadName(table, "GPU", &row.name, &row.where);
    ReadPlace(table, "at", &row.at, &row.where_on);
    row.vram = ReadBarSize(table, "vram", row.vram);
    ReadLink(table, &row.link);
  }

  uint64_t ReadBarSize(Table* table, std::string_view key, uint64_t otherwise) {
    constexpr uint64_t kSmallest = uint64_t{1} << 26;
    constexpr uint64_t kLargest = uint64_t{1} << 40;
    const toml::node* node = table->Get(key);
    if (node == nullptr) return otherwise;
    std::optional<uint64_t> size;
    if (const auto* number = node->as_integer()) {
      size = number->get() > 0 ? static_cast<uint64_t>(number->get()) : 0;
    } else if (const auto* text = node->as_string()) {
      size = Size(text->get());
      if (!size) table->Refuse(key, "is \"{}\"; it is written \"128 GiB\" or as a number of bytes", text->get());
    } else {
      table->WrongType(key, *node, "a size: \"128 GiB\", or a number of bytes");
    }
    if (!size) return otherwise;
    if (std::has_single_bit(*size) && *size >= kSmallest && *size <= kLargest) return *size;
    table->Refuse(key, "is {} bytes; a BAR has a power of two, here \"64 MiB\" to \"1 TiB\"", *size);
    return otherwise;
  }

  void ReadNic(Table* table) {
    Nic& row = config_.nics.emplace_back();
    ReadName(table, "NIC", &row.name, &row.where);
    ReadPlace(table, "at", &row.at, &row.where_on);
    if (const auto netdev = table->String("netdev")) {
      row.netdev = *netdev;
      // dev_valid_name(): shorter than IFNAMSIZ, no '/', ':' or space.
      if (netdev->empty() || netdev->size() > 15 || netdev->find_first_of("/: \t\n") != std::string::npos) {
        table->Refuse("netdev", "is \"{}\"; it is \"auto\" or the name of a network interface", *netdev);
      }
    }
    if (const auto text = table->String("mac")) {
      row.mac = Mac(*text);
      if (!row.mac) {
        table->Refuse("mac", "is \"{}\"; it is written \"02:ca:05:00:00:01\"", *text);
      } else if (*row.mac == 0 || (*row.mac >> 40 & 1) != 0) {
        table->Refuse("mac", "is \"{}\", which no interface can have; the first byte is even, and not all are zero",
                      *text);
      }
    }
    if (const toml::node* node = table->Get("capabilities")) {
      if (const toml::table* inner = node->as_table()) {
        Table capabilities(*inner, fmt::format("capabilities of the NIC \"{}\"", row.name), &errors_);
        for (const NicCapabilityName& known : NicCapabilityNames()) {
          row.capabilities.*known.member = capabilities.Bool(known.name).value_or(true);
        }
        capabilities.Finish();
      } else {
        table->WrongType("capabilities", *node, "a table: { dmabuf = true, srq = false }");
      }
    }
    ReadLink(table, &row.link);
  }

  MachineConfig& config_;
  Errors& errors_;
};

}  // namespace

std::string ConfigError::ToString() const { return fmt::format("{}:{}:{}: {}", file, line, column, message); }

bool IsMachineName(std::string_view name) {
  if (name.empty() || name.size() > 63 || name[0] == '.' || name[0] == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
}

std::span<const NicCapabilityName> NicCapabilityNames() {
  using Has = NicCapabilities;
  static constexpr NicCapabilityName kNames[] = {
      {"uc", &Has::uc},
      {"ud", &Has::ud},
      {"multicast", &Has::multicast},
      {"srq", &Has::srq},
      {"mw", &Has::mw},
      {"rereg_mr", &Has::rereg_mr},
      {"resize_cq", &Has::resize_cq},
      {"atomics", &Has::atomics},
      {"atomic_write", &Has::atomic_write},
      {"flush", &Has::flush},
      {"odp", &Has::odp},
      {"dmabuf", &Has::dmabuf},
  };
  return kNames;
}

std::string_view ToString(Memlock memlock) { return memlock == Memlock::kEnforce ? "enforce" : "ignore"; }

std::string_view ToString(AcceleratorType type) { return type == AcceleratorType::kGaudi2 ? "gaudi2" : "gaudi"; }

std::string_view ToString(Flavour flavour) {
  switch (flavour) {
    case Flavour::kAccel: return "accel";
    case Flavour::kMisc: return "misc";
    case Flavour::kDrm: return "drm";
  }
  return "?";
}

ParseOutcome ParseConfig(std::string_view text, std::string_view file) {
  ParseOutcome outcome;
  const toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    const Where where = At(parsed.error().source());
    outcome.errors.push_back({std::string(file), where.line, where.column, std::string(parsed.error().description())});
    return outcome;
  }
  Errors errors(file);
  MachineConfig config;
  if (!Parser(&config, &errors).Run(parsed.table())) {
    MachineConfig hardware = std::move(*ParseConfig(DefaultConfigText(), "built-in").config);
    config.host_bridges = std::move(hardware.host_bridges);
    config.root_ports = std::move(hardware.root_ports);
    config.switches = std::move(hardware.switches);
    config.accelerators = std::move(hardware.accelerators);
    config.nics = std::move(hardware.nics);
    config.gpus = std::move(hardware.gpus);
  }
  Check(&config, &errors);
  if (errors.empty()) {
    outcome.config = std::move(config);
  } else {
    outcome.errors = errors.TakeSorted();
  }
  return outcome;
}

ParseOutcome LoadConfig(const std::string& path) {
  ParseOutcome outcome;
  std::string text;
  std::FILE* file = std::fopen(path.c_str(), "re");
  int why = file == nullptr ? errno : 0;
  char buffer[4096];
  for (size_t got = 1; file != nullptr && got != 0;) {
    got = std::fread(buffer, 1, sizeof(buffer), file);
    text.append(buffer, got);
    if (std::ferror(file) != 0) why = errno;
  }
  if (file != nullptr) (void)std::fclose(file);  // read only: nothing can be lost
  if (why != 0) {
    outcome.errors.push_back({path, 0, 0, fmt::format("cannot be read: {}", std::generic_category().message(why))});
    return outcome;
  }
  return ParseConfig(text, path);
}

}  // namespace causeway::config
