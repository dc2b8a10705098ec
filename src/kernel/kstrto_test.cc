// SPDX-License-Identifier: Apache-2.0
// linux lib/kstrtox.c, with what lib/test-kstrtox.c tries.
#include "kernel/kstrto.h"

#include <gtest/gtest.h>

namespace causeway::kernel {
namespace {

using namespace std::string_view_literals;

TEST(Kstrto, Unsigned) {
  const struct {
    std::string_view text;
    int base;
    uint64_t max, want;
    int error;
  } cases[] = {
      {"0", 0, UINT64_MAX, 0, 0},
      {"+1\n", 0, UINT64_MAX, 1, 0},
      {"0x1fF", 0, UINT64_MAX, 0x1ff, 0},
      {"017", 0, UINT64_MAX, 15, 0},
      {"17\0", 10, UINT64_MAX, 17, 0},
      {"17\0 more"sv, 10, UINT64_MAX, 17, 0},
      {"0x1f", 16, UINT64_MAX, 0x1f, 0},
      {"1f", 16, UINT64_MAX, 0x1f, 0},
      {"18446744073709551615", 10, UINT64_MAX, UINT64_MAX, 0},
      {"18446744073709551616", 10, UINT64_MAX, 0, ERANGE},
      {"4294967296", 10, UINT32_MAX, 0, ERANGE},
      {"", 0, UINT64_MAX, 0, EINVAL},
      {"\n", 0, UINT64_MAX, 0, EINVAL},
      {"+", 0, UINT64_MAX, 0, EINVAL},
      {"++1", 0, UINT64_MAX, 0, EINVAL},
      {"+-1", 0, UINT64_MAX, 0, EINVAL},
      {"-1", 0, UINT64_MAX, 0, EINVAL},
      {"0x", 16, UINT64_MAX, 0, EINVAL},
      {"0x", 0, UINT64_MAX, 0, EINVAL},
      {"0x10", 10, UINT64_MAX, 0, EINVAL},
      {"1\n\n", 0, UINT64_MAX, 0, EINVAL},
      {" 1", 0, UINT64_MAX, 0, EINVAL},
      {"1 ", 0, UINT64_MAX, 0, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const auto got = Kstrtoull(c.text, c.base, c.max);
    EXPECT_EQ(got ? 0 : got.error().code(), c.error);
    if (got) {
      EXPECT_EQ(*got, c.want);
    }
  }
}

TEST(Kstrto, Signed) {
  const struct {
    std::string_view text;
    int64_t want;
    int error;
  } cases[] = {
      {"-1\n", -1, 0},
      {"+1", 1, 0},
      {"9223372036854775807", INT64_MAX, 0},
      {"9223372036854775808", 0, ERANGE},
      {"-9223372036854775808", INT64_MIN, 0},
      {"-9223372036854775809", 0, ERANGE},
      {"-", 0, EINVAL},
      {"--1", 0, EINVAL},
      {"-+1", 0, EINVAL},
      {"+-1", 0, EINVAL},
      {"1.5", 0, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const auto got = Kstrtoll(c.text, 10);
    EXPECT_EQ(got ? 0 : got.error().code(), c.error);
    if (got) {
      EXPECT_EQ(*got, c.want);
    }
  }
}

}  // namespace
}  // namespace causeway::kernel
