// SPDX-License-Identifier: Apache-2.0
#include "cli/counters.h"

#include <gtest/gtest.h>

namespace causeway::cli {
namespace {

Counters Machine(uint64_t carried) {
  return {.links = {{"gaudi0", "sw0.0", carried}, {"sw0.0", "gaudi0", 7}},
          .routes = {{"rxe0", "gaudi0", {"rxe0", "sw0.1", "sw0.0", "gaudi0"}, carried, 0},
                     {"rxe0", kHostMemory, {"rxe0", "sw0.1", "rp0", "pc0", kHostMemory}, 5, 3, true},
                     {"rxe1", "gaudi1", {"rxe1", "sw1.1", "sw1.0", "gaudi1"}, 0, carried}}};
}

TEST(Counters, OnlyWhatWasAddedBetweenTwoLooksCounts) {
  const Counters added = Added(Machine(100), Machine(164));
  ASSERT_EQ(added.links.size(), 1u);
  EXPECT_EQ(added.links[0].bytes, 64u);
  ASSERT_EQ(added.routes.size(), 2u);
  EXPECT_EQ(HostMemoryBytes(added), 0u);
  EXPECT_EQ(HostMemoryBytes(Added({}, Machine(1))), 8u);
}

TEST(Counters, ARouteThatDidNotExistBeforeCountsWhole) { EXPECT_EQ(Added({}, Machine(9)).routes.size(), 3u); }

TEST(Counters, TheWayGoesFromTheMemoryReadToTheMemoryWritten) {
  EXPECT_EQ(DescribeWay(Added(Machine(0), Machine(64))),
            "gaudi0 > sw0.0 > sw0.1 > rxe0 ~ rxe1 > sw1.1 > sw1.0 > gaudi1");
}

TEST(Counters, ANicThatReadsAndWritesIsNamedOnce) {
  const Counters loop = {.links = {},
                         .routes = {{"rxe0", kHostMemory, {"rxe0", "pc0", kHostMemory}, 64, 0, true},
                                    {"rxe0", "gaudi0", {"rxe0", "sw0.0", "gaudi0"}, 0, 64}}};
  EXPECT_EQ(DescribeWay(loop), "host memory > pc0 > rxe0 > sw0.0 > gaudi0");
}

}  // namespace
}  // namespace causeway::cli
