// SPDX-License-Identifier: Apache-2.0
#include "cli/top_view.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace causeway::cli {
namespace {

using Json = nlohmann::ordered_json;

Json Sample(double time, uint64_t submissions, uint64_t bytes) {
  return {
      {"time", time},
      {"programs", 2},
      {"files", 3},
      {"resident_bytes", 1 << 20},
      {"accelerators",
       {{{"name", "gaudi0"},
         {"status", "operational"},
         {"opened_by", 4711},
         {"used_bytes", uint64_t{3} << 28},
         {"memory_bytes", uint64_t{1} << 36},
         {"busy_engines", {"PDMA0", "DCORE0_EDMA1"}},
         {"power_mw", 195000},
         {"temperature_mc", nullptr},
         {"active_submissions", 5},
         {"submissions", submissions}}}},
      {"nics", {{{"name", "rxe0"}, {"contexts", 1}, {"qps", 2}, {"mrs", 3}, {"sent_pkts", bytes}}}},
      {"links",
       {{{"from", "gaudi0"}, {"to", "sw0.0"}, {"bytes", bytes}}, {{"from", "rxe0"}, {"to", "sw0.1"}, {"bytes", 0}}}}};
}

TEST(Top, RatesAreWhatWasAddedPerSecond) {
  const Json rates = WithRates(Sample(10, 100, 1000), Sample(12, 50'100, 5000));
  EXPECT_EQ(rates["seconds"], 2.0);
  EXPECT_EQ(rates["accelerators"][0]["submissions_per_second"], 25'000.0);
  EXPECT_EQ(rates["nics"][0]["sent_per_second"], 2000.0);
  EXPECT_EQ(rates["links"][0]["bytes_per_second"], 2000.0);
  EXPECT_EQ(rates["links"][1]["bytes_per_second"], 0.0);
  // A machine that began anew counts less; what was not there before has no rate yet.
  EXPECT_EQ(WithRates(Sample(10, 100, 0), Sample(12, 50, 0))["accelerators"][0]["submissions_per_second"], 0.0);
  EXPECT_EQ(WithRates(Json::object(), Sample(12, 50, 9))["links"][0]["bytes_per_second"], 0.0);
}

TEST(Top, FitsTheTerminal) {
  const Json sample = WithRates(Sample(10, 100, 1000), Sample(12, 50'100, 5000));
  const std::string whole = RenderTop("lab", sample, {.columns = 200, .rows = 0});
  for (const char* part : {"machine 'lab'", "gaudi0", "4711", "25.0k", "195 W", "PDMA0 DCORE0_EDMA1", "rxe0",
                           "gaudi0 > sw0.0", "1.95 KiB/s"}) {
    EXPECT_NE(whole.find(part), std::string::npos) << part << "\n" << whole;
  }
  EXPECT_EQ(whole.find("rxe0 > sw0.1"), std::string::npos);  // idle
  for (const auto& [columns, rows] : {std::pair<size_t, size_t>(80, 24), {40, 6}, {10, 2}, {1, 1}}) {
    const std::string text = RenderTop("lab", sample, {.columns = columns, .rows = rows});
    EXPECT_LE(static_cast<size_t>(std::ranges::count(text, '\n')), rows);
    size_t start = 0;
    for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1) {
      EXPECT_LE(end - start, columns);
    }
  }
  EXPECT_NE(RenderTop("lab", sample, {.columns = 80, .rows = 6}).find("more lines"), std::string::npos);
  EXPECT_NE(RenderTop("x", Json::object(), {}).find("no link carries anything"), std::string::npos);
}

}  // namespace
}  // namespace causeway::cli
