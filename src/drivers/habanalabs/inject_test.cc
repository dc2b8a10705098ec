// SPDX-License-Identifier: Apache-2.0
// What each injected fault does to the device, and what is refused.
#include "drivers/habanalabs/inject.h"

#include <gtest/gtest.h>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

using std::chrono::seconds;

TEST(HlInject, EveryKindDoesWhatItSays) {
  const struct {
    Fault fault;
    uapi::HlDeviceStatus at_once, in_a_while;
  } cases[] = {
      {{.name = "ecc"}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "ecc", .index = 3, .uncorrectable = true}, uapi::kHlStatusInReset, uapi::kHlStatusOperational},
      {{.name = "razwi", .address = 0x10, .write = true}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "undefined-opcode", .stream = 4}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "heartbeat"}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "thermal"}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "pcie-down"}, uapi::kHlStatusOperational, uapi::kHlStatusMalfunction},
      {{.name = "pcie-up"}, uapi::kHlStatusOperational, uapi::kHlStatusOperational},
      {{.name = "reset"}, uapi::kHlStatusInReset, uapi::kHlStatusOperational},
      {{.name = "event", .event = 33, .critical = true}, uapi::kHlStatusInReset, uapi::kHlStatusOperational},
  };
  for (const gaudi::Asic asic : kEveryAsic) {
    for (const auto& c : cases) {
      SCOPED_TRACE(c.fault.name);
      Harness harness({.asic = asic});
      ASSERT_TRUE(Inject(harness.device(), c.fault).has_value());
      EXPECT_EQ(harness.device().status(), c.at_once);
      harness.work.Advance(seconds(11));
      EXPECT_EQ(harness.device().status(), c.in_a_while);
    }
    Harness harness({.asic = asic});
    ASSERT_TRUE(Inject(harness.device(), {.name = "page-fault", .address = 0x1000}).has_value());
    EXPECT_EQ(harness.device().errors().page_fault()->addr, 0x1000u);
  }
}

TEST(HlInject, ErrnoTable) {
  Harness harness;
  const struct {
    Fault fault;
    int want;
  } cases[] = {
      {{.name = "nonsense"}, ENOENT},
      {{.name = "ecc", .index = 6}, EINVAL},
      {{.name = "page-fault"}, EINVAL},
      {{.name = "razwi"}, EINVAL},
      {{.name = "undefined-opcode", .stream = 5}, EINVAL},
      {{.name = "undefined-opcode", .engine = 75}, EINVAL},
      {{.name = "thermal", .celsius = 5000}, EINVAL},
      {{.name = "reset", .at = "later"}, EINVAL},
      {{.name = "reset", .at = "submit", .after = 0}, EINVAL},
      {{.name = "event"}, EINVAL},
      {{.name = "event", .event = 1329}, EINVAL},
      // Options of another fault.
      {{.name = "heartbeat", .address = 1}, EINVAL},
      {{.name = "ecc", .engine = 1}, EINVAL},
      {{.name = "razwi", .address = 1, .uncorrectable = true}, EINVAL},
      {{.name = "thermal", .write = true}, EINVAL},
      {{.name = "pcie-down", .at = "now"}, EINVAL},
      {{.name = "reset", .at = "now", .after = 1}, EINVAL},
  };
  for (const auto& c : cases) {
    const auto result = Inject(harness.device(), c.fault);
    EXPECT_EQ(result ? 0 : result.error().code(), c.want) << c.fault.name;
  }
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
}

TEST(HlInject, ResetAtThePointOfASubmission) {
  Harness harness;
  ASSERT_TRUE(Inject(harness.device(), {.name = "reset", .after = 3}).has_value());
  harness.device().CsSubmitted();
  harness.device().CsSubmitted();
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
  harness.device().CsSubmitted();
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusInReset);
  harness.work.Advance(seconds(1));
  harness.device().CsSubmitted();  // once only
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
}

}  // namespace
}  // namespace causeway::habanalabs
