// SPDX-License-Identifier: Apache-2.0
// What the demo found, as a table for people and as one JSON document.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/counters.h"

namespace causeway::cli {

struct Leg {
  std::string name;
  Counters added;           // while it ran
  nlohmann::json measured;  // what causeway-p2p says of it (examples/README.md)
  bool PeerToPeer() const { return name.find("host") == std::string::npos; }
  bool verified() const { return measured.value("verified", false); }
};

// A stock program that was run on the same machine.
struct StockRun {
  std::string command;  // as a person would type it
  std::string result;   // one line
  bool skipped = false;
  bool good = false;
  nlohmann::json details = nlohmann::json::object();
};

struct DemoReport {
  std::string machine;  // "gaudi0, gaudi1 (gaudi2); rxe0, rxe1"
  std::string source;   // "pseudo-random data", or the file
  uint64_t bytes = 0;
  std::vector<Leg> legs;
  std::vector<StockRun> stock;

  // Why the demo failed; empty when all is well.
  std::vector<std::string> Faults() const;
  std::string Text() const;
  nlohmann::ordered_json Json() const;
};

}  // namespace causeway::cli
