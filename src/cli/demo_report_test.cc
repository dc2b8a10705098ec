// SPDX-License-Identifier: Apache-2.0
#include "cli/demo_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace causeway::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DemoReport Report(bool verified, uint64_t host_bytes) {
  DemoReport report{.machine = "m", .source = "pseudo-random data", .bytes = 1 << 20, .legs = {}, .stock = {}};
  Leg leg{.name = "HBM0->HBM1", .added = {}, .measured = {}};
  leg.measured = {{"leg", leg.name},          {"op", "RDMA_WRITE"}, {"bytes", 1 << 20},
                  {"bytes_moved", 6 << 20},   {"passes", 5},        {"gib_per_s", 11.9},
                  {"memcpy_gib_per_s", 11.4}, {"checksum", "00ff"}, {"verified", verified}};
  leg.added.links = {{"gaudi0", "sw0.0", 6 << 20}, {"sw0.0", "sw0.1", 6 << 20}};
  if (host_bytes != 0) leg.added.routes.push_back({"rxe0", kHostMemory, {"rxe0", kHostMemory}, host_bytes, 0, true});
  report.legs.push_back(leg);
  return report;
}

TEST(DemoReport, TheTableShowsSpeedPathAndCheck) {
  const std::string text = Report(true, 0).Text();
  EXPECT_THAT(text, HasSubstr("HBM0->HBM1  RDMA write  11.90   11.40  verified  00ff"));
  EXPECT_THAT(text, HasSubstr("HBM0->HBM1  6 MiB            0           2         6 MiB"));
}

TEST(DemoReport, WrongDataOrBytesThroughHostMemoryOnAPeerToPeerLegAreFaults) {
  EXPECT_THAT(Report(true, 0).Faults(), IsEmpty());
  EXPECT_THAT(Report(false, 0).Faults(), ElementsAre(HasSubstr("not the data that was sent")));
  EXPECT_THAT(Report(true, 9).Faults(), ElementsAre(HasSubstr("9 bytes went through host memory")));
  EXPECT_TRUE(Report(true, 0).Json()["good"]);
  EXPECT_FALSE(Report(true, 9).Json()["good"]);
}

TEST(DemoReport, AProgramThatIsNotInstalledIsNoFault) {
  DemoReport report = Report(true, 0);
  report.stock.push_back({.command = "ib_write_bw", .result = "not installed", .skipped = true});
  EXPECT_THAT(report.Faults(), IsEmpty());
  report.stock.push_back({.command = "ibv_devinfo", .result = "it lists no device"});
  EXPECT_THAT(report.Faults(), ElementsAre("ibv_devinfo: it lists no device"));
}

}  // namespace
}  // namespace causeway::cli
