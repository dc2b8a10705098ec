// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <gtest/gtest.h>

#include "cli/quote.h"

namespace causeway::cli {
namespace {

TEST(Table, ColumnsAreAsWideAsTheirWidestCellAndLinesEndWithoutBlanks) {
  Table table({{"leg"}, {"GiB/s", Align::kRight}, {"data"}});
  table.Add({"HBM0->HBM1", "11.90", "verified"});
  table.Add({"short", "9.00"});
  EXPECT_EQ(table.Render("  "),
            "  leg         GiB/s  data\n"
            "  HBM0->HBM1  11.90  verified\n"
            "  short        9.00\n");
}

TEST(FormatBytes, ExactMultiplesHaveNoFractionOthersThreeDigits) {
  constexpr struct {
    uint64_t bytes;
    const char* want;
  } kCases[] = {{0, "0"},
                {1, "1 B"},
                {1023, "1023 B"},
                {1024, "1 KiB"},
                {1536, "1.50 KiB"},
                {uint64_t{96} << 30, "96 GiB"},
                {(uint64_t{3} << 29), "1.50 GiB"},
                {12'345'678, "11.8 MiB"},
                {uint64_t{1} << 60, "1 EiB"}};
  for (const auto& c : kCases) EXPECT_EQ(FormatBytes(c.bytes), c.want);
}

TEST(Printable, ControlCharactersOfOtherPeoplesTextDoNotReachTheTerminal) {
  EXPECT_EQ(Printable("a\033[2Jb\n"), "a?[2Jb?");
}

TEST(Quote, AnyWordIsOneWordForTheShell) {
  EXPECT_EQ(ShellQuote("it's a $HOME"), "'it'\\''s a $HOME'");
  EXPECT_EQ(FishQuote("it's a \\"), "'it\\'s a \\\\'");
}

}  // namespace
}  // namespace causeway::cli
