// SPDX-License-Identifier: Apache-2.0
// Resets: linux hl_device_reset(), hl_device_cond_reset(), cs_timedout(), hpriv_release(); specs/habanalabs 9.3.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

using std::chrono::seconds;

// Engines that say what the test wants and count what they are told.
class FakeExecution : public Execution {
 public:
  EngineMask BusyEngines() const override { return {busy, 0, 0, 0}; }
  void HaltAndRollBack(bool hard) override {
    log += hard ? "halt-hard " : "halt-compute ";
    busy = 0;
  }
  void AbortWaiters() override { log += "abort "; }
  void Reinit(bool hard) override { log += hard ? "init-hard " : "init-compute "; }
  uint32_t ActiveCs() const override { return 0; }
  uint64_t CompletedCs() const override { return 0; }

  uint64_t busy = 0;
  std::string log;
};

uint64_t TakeEvents(Harness& harness, const Ref<kernel::File>& file) {
  uint64_t events = 0;
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoGetEvents, &events), 0);
  return events;
}

TEST(HlReset, HardResetOfAnUnusedDevice) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    FakeExecution engines;
    harness.device().set_execution(&engines);
    EXPECT_TRUE(harness.device().Reset(kResetHard).has_value());
    EXPECT_EQ(harness.device().status(), uapi::kHlStatusInReset);
    EXPECT_EQ(harness.OpenErrno(), EAGAIN);
    EXPECT_TRUE(harness.device().Reset(kResetHard).has_value());  // one at a time: dropped
    harness.work.Advance(seconds(0));
    EXPECT_EQ(engines.log, "halt-hard init-hard ");
    EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
    EXPECT_EQ(harness.device().reset_count().hard, 1u);
    EXPECT_EQ(harness.device().reset_count().soft, 0u);
    EXPECT_EQ(harness.OpenErrno(), 0);
  }
}

// What a program sees while it has the node open: EBUSY, and a second to close before it is killed.
TEST(HlReset, HardResetWaitsForTheUser) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  (void)harness.Map(file, harness.Alloc(file, kDramPage));
  EXPECT_TRUE(harness.device().Reset(kResetHard).has_value());
  uapi::hl_info_hw_idle idle{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoHwIdle, &idle), EBUSY);
  EXPECT_EQ(harness.Free(file, 1), EBUSY);
  uapi::hl_info_device_status status{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoDeviceStatus, &status), 0);
  EXPECT_EQ(status.status, uapi::kHlStatusInReset);
  harness.work.Advance(seconds(3));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusInReset);
  file.Reset();
  EXPECT_EQ(harness.OpenErrno(), EAGAIN);
  harness.work.Advance(seconds(1));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
  EXPECT_EQ(harness.device().reset_count().hard, 1u);
  EXPECT_EQ(harness.device().dram_used(), 0u);
  EXPECT_EQ(harness.OpenErrno(), 0);
}

// device_kill_open_processes(): 60 tries, then the device is lost.
TEST(HlReset, AUserThatNeverGoesLosesTheDevice) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  EXPECT_TRUE(harness.device().Reset(kResetHard).has_value());
  harness.work.Advance(seconds(60 * 12));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusInReset);
  harness.work.Advance(seconds(60));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusMalfunction);
  EXPECT_EQ(harness.device().reset_count().hard, 1u);
  EXPECT_EQ(harness.OpenErrno(), EPERM);
}

TEST(HlReset, ReleaseResetsGaudi2AndABusyGaudi) {
  for (const gaudi::Asic asic : kEveryAsic) {
    for (const bool busy : {false, true}) {
      Harness harness({.asic = asic});
      FakeExecution engines;
      harness.device().set_execution(&engines);
      Ref<kernel::File> file = *harness.Open();
      engines.busy = busy ? 1 : 0;
      file.Reset();
      const bool gaudi2 = asic == gaudi::Asic::kGaudi2;
      EXPECT_EQ(engines.log, gaudi2 ? "halt-compute init-compute " : "");
      EXPECT_EQ(harness.OpenErrno(), gaudi2 || !busy ? 0 : EAGAIN);
      harness.work.Advance(seconds(0));
      EXPECT_EQ(harness.OpenErrno(), 0);
      EXPECT_EQ(harness.device().reset_count().hard, gaudi2 || !busy ? 0u : 1u);
    }
  }
}

// hl_device_cond_reset(): who registered an eventfd has 30 s; who did not, and v6.1, none.
TEST(HlReset, CsTimeoutTable) {
  for (const Flavour flavour : kEveryFlavour) {
    for (const bool registered : {false, true}) {
      SCOPED_TRACE(std::string(ToString(flavour)) + (registered ? " registered" : ""));
      Harness harness({.flavour = flavour});
      FakeExecution engines;
      harness.device().set_execution(&engines);
      Ref<kernel::File> file = *harness.Open();
      uint64_t ignored = 0;
      harness.task.host_files.emplace(50, UniqueFd(::eventfd(0, EFD_NONBLOCK)));
      if (registered) {
        EXPECT_EQ(harness.Info(file, uapi::kHlInfoRegisterEventfd, &ignored, 0, 50), 0);
      }
      harness.device().CsTimedOut(7, /*skip_reset_on_timeout=*/false);
      EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventCsTimeout | uapi::kHlEventDeviceReset);
      uapi::hl_info_cs_timeout_event record{};
      EXPECT_EQ(harness.Info(file, uapi::kHlInfoCsTimeoutEvent, &record), 0);
      EXPECT_EQ(record.seq, 7u);
      EXPECT_GT(record.timestamp, 0);
      const bool postponed = registered && flavour != Flavour::kMisc;
      EXPECT_EQ(harness.device().status(), postponed ? uapi::kHlStatusOperational : uapi::kHlStatusInReset);
      EXPECT_EQ(harness.device().release_watchdog_active(), postponed);
      if (!postponed) continue;
      EXPECT_EQ(engines.log, "abort ");
      harness.work.Advance(seconds(29));
      EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
      harness.work.Advance(seconds(1));
      EXPECT_EQ(harness.device().status(), uapi::kHlStatusInReset);
    }
  }
}

TEST(HlReset, ClosingInTimeAvoidsTheWatchdog) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  uint64_t ignored = 0;
  harness.task.host_files.emplace(50, UniqueFd(::eventfd(0, EFD_NONBLOCK)));
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoRegisterEventfd, &ignored, 0, 50), 0);
  harness.device().CsTimedOut(1, false);
  harness.device().CsTimedOut(2, false);
  EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventCsTimeout | uapi::kHlEventDeviceReset);
  file.Reset();
  EXPECT_EQ(harness.OpenErrno(), 0);
  EXPECT_FALSE(harness.device().release_watchdog_active());
  harness.work.Advance(seconds(60));
  EXPECT_EQ(harness.device().reset_count().hard, 0u);
  // The record survives the close: a monitor reads it through the control node.
  uapi::hl_info_cs_timeout_event record{};
  EXPECT_EQ(harness.Info(*harness.OpenControl(), uapi::kHlInfoCsTimeoutEvent, &record), 0);
}

TEST(HlReset, SkipResetAndResetOnLockup) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  harness.device().CsTimedOut(3, /*skip_reset_on_timeout=*/true);
  EXPECT_EQ(TakeEvents(harness, file), uint64_t{uapi::kHlEventCsTimeout});
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
  harness.device().CsTimedOut(4, true);
  EXPECT_EQ(TakeEvents(harness, file), 0u);  // only the first is told
  harness.device().reset_on_lockup() = false;
  harness.device().CsTimedOut(5, false);
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusNeedsReset);
  file.Reset();
}

// Two resets for the same fatal reason without a user in between: handle_reset_trigger().
TEST(HlReset, ConsecutiveFatalErrorsDisableTheDevice) {
  Harness harness;
  EXPECT_TRUE(harness.device().Reset(kResetHard | kResetFwFatalErr).has_value());
  harness.work.Advance(seconds(0));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
  EXPECT_TRUE(harness.device().Reset(kResetHard | kResetFwFatalErr).has_value());
  harness.work.Advance(seconds(0));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusMalfunction);
  EXPECT_EQ(harness.device().reset_count().hard, 2u);
}

TEST(HlErrors, FirstOfEachKindIsKeptUntilTheNextOpen) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    const bool gaudi2 = asic == gaudi::Asic::kGaudi2;
    Ref<kernel::File> file = *harness.Open();
    uint64_t va = 0;
    EXPECT_EQ(harness.MapHost(file, kUserHost, 3 * kPageSize, &va), 0);
    harness.device().PageFault(0x1234000, 5, /*pmmu=*/true);
    harness.device().PageFault(0x5678000, 6, /*pmmu=*/true);
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventPageFault | uapi::kHlEventUserEngineErr);
    harness.device().Razwi(0x42, 9, uapi::kHlRazwiWrite);
    const uint64_t reset = gaudi2 ? 0 : uint64_t{uapi::kHlEventDeviceReset};
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventRazwi | uapi::kHlEventUserEngineErr | reset);
    const auto& fault = harness.device().errors().page_fault();
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->addr, 0x1234000u);
    EXPECT_EQ(fault->engine_id, 5u);
    ASSERT_EQ(harness.device().errors().user_mappings().size(), 1u);
    EXPECT_EQ(harness.device().errors().user_mappings()[0].dev_va, va);
    EXPECT_EQ(harness.device().errors().user_mappings()[0].size, 3 * kPageSize);
    EXPECT_EQ(harness.device().errors().user_engine_err().has_value(), gaudi2);
    file.Reset();
    EXPECT_TRUE(harness.device().errors().page_fault().has_value());
    file = *harness.Open();
    EXPECT_FALSE(harness.device().errors().page_fault().has_value());
  }
}

}  // namespace
}  // namespace causeway::habanalabs
