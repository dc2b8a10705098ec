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
    // Gaudi's handler says that a reset follows, and leaves it to the command submission's time-out.
    harness.device().Razwi(0x42, 9, uapi::kHlRazwiWrite);
    const uint64_t told = gaudi2 ? 0 : uint64_t{uapi::kHlEventDeviceReset};
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventRazwi | uapi::kHlEventUserEngineErr | told);
    uapi::hl_info_undefined_opcode_event opcode{};
    opcode.engine_id = gaudi2 ? 45 : 0;
    harness.device().UndefinedOpcode(opcode);
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventUndefinedOpcode | uapi::kHlEventUserEngineErr | told);
    harness.device().UndefinedOpcode(opcode);  // a second one is no news
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventUserEngineErr | told);
    EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);

    // Gaudi2's page faults reset the chip, Gaudi's do not.
    harness.device().PageFault(0x1234000, 5, /*pmmu=*/true);
    harness.device().PageFault(0x5678000, 6, /*pmmu=*/true);
    const uint64_t reset = gaudi2 ? uint64_t{uapi::kHlEventDeviceReset} : 0;
    EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventPageFault | uapi::kHlEventUserEngineErr | reset);
    EXPECT_EQ(harness.device().status(), gaudi2 ? uapi::kHlStatusInReset : uapi::kHlStatusOperational);
    uapi::hl_page_fault_info fault{};
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoPageFaultEvent, &fault), 0);
    EXPECT_EQ(fault.addr, 0x1234000u);
    EXPECT_EQ(fault.engine_id, 5u);
    uapi::hl_user_mapping mapping{};
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoUserMappings, &mapping, 15), ENOMEM);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoUserMappings, &mapping), 0);
    EXPECT_EQ(mapping.dev_va, va);
    EXPECT_EQ(mapping.size, 3 * kPageSize);
    uapi::hl_info_engine_err_event engine{};
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoUserEngineErrEvent, &engine), 0);
    if (gaudi2) {  // Gaudi's handler keeps no such record
      EXPECT_EQ(engine.engine_id, 9u);
    }

    file.Reset();
    harness.work.Advance(seconds(2));
    EXPECT_TRUE(harness.device().errors().page_fault().has_value());
    file = *harness.Open();
    EXPECT_FALSE(harness.device().errors().page_fault().has_value());
  }
}

// gaudi_handle_eqe(), gaudi2_handle_eqe().
TEST(HlErrors, EventTable) {
  const struct {
    gaudi::Asic asic;
    uint16_t event;
    bool critical, reset;
    uint64_t mask;
  } cases[] = {
      {gaudi::Asic::kGaudi, 38, false, false, uapi::kHlEventGeneralHwErr},                               // TPC0_SERR
      {gaudi::Asic::kGaudi, 46, false, true, uapi::kHlEventGeneralHwErr | uapi::kHlEventCriticalHwErr},  // TPC0_DERR
      {gaudi::Asic::kGaudi, 189, false, true, uapi::kHlEventGeneralHwErr | uapi::kHlEventCriticalHwErr},
      {gaudi::Asic::kGaudi, 645, false, true, uapi::kHlEventCriticalFwErr},  // FW_ALIVE_S
      {gaudi::Asic::kGaudi, 203, false, false,
       uapi::kHlEventUserEngineErr | uapi::kHlEventTpcAssert | uapi::kHlEventDeviceReset},
      {gaudi::Asic::kGaudi, 202, false, false, 0},  // no such event
      {gaudi::Asic::kGaudi, 658, false, false, 0},
      {gaudi::Asic::kGaudi, 660, false, false, uapi::kHlEventUserEngineErr},
      {gaudi::Asic::kGaudi2, 100, false, false, uapi::kHlEventGeneralHwErr},
      {gaudi::Asic::kGaudi2, 100, true, true, uapi::kHlEventGeneralHwErr | uapi::kHlEventCriticalHwErr},
      {gaudi::Asic::kGaudi2, 548, false, true, uapi::kHlEventGeneralHwErr | uapi::kHlEventCriticalHwErr},
      {gaudi::Asic::kGaudi2, 549, false, false, uapi::kHlEventGeneralHwErr},
      {gaudi::Asic::kGaudi2, 502, false, true, uapi::kHlEventCriticalFwErr},
      {gaudi::Asic::kGaudi2, 1328, false, false, 0},
      {gaudi::Asic::kGaudi2, 1329, false, false, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE("event " + std::to_string(c.event));
    Harness harness({.asic = c.asic});
    Ref<kernel::File> file = *harness.Open();
    harness.device().HandleEvent(c.event, {.critical = c.critical});
    EXPECT_EQ(TakeEvents(harness, file), c.mask | (c.reset ? uint64_t{uapi::kHlEventDeviceReset} : 0));
    EXPECT_EQ(harness.device().status(), c.reset ? uapi::kHlStatusInReset : uapi::kHlStatusOperational);
    const auto counts = harness.device().events().Get(false);
    if (c.event < counts.size()) {
      EXPECT_EQ(counts[c.event], 1u);
    }
    file.Reset();
    harness.work.Advance(seconds(2));
    const bool kept = !c.reset && c.event < counts.size();
    EXPECT_EQ(harness.device().events().Get(false) == counts, kept || c.event >= counts.size());
    EXPECT_EQ(harness.device().events().Get(true), counts);
    EXPECT_EQ(harness.device().errors().hw_err().has_value(), (c.mask & uapi::kHlEventCriticalHwErr) != 0);
    EXPECT_EQ(harness.device().errors().fw_err().has_value(), (c.mask & uapi::kHlEventCriticalFwErr) != 0);
  }
}

TEST(HlErrors, MiscKnowsSevenEventsAndOneRecordOfFaults) {
  Harness harness({.flavour = Flavour::kMisc});
  Ref<kernel::File> file = *harness.Open();
  Ref<kernel::File> control = *harness.OpenControl();
  harness.device().PageFault(0x77000, 3, true);
  EXPECT_EQ(TakeEvents(harness, file), uapi::kHlEventUserEngineErr | uapi::kHlEventDeviceReset);
  EXPECT_EQ(TakeEvents(harness, control), uapi::kHlEventUserEngineErr | uapi::kHlEventDeviceReset);
  uapi::hl_info_razwi_event_misc record{};
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoRazwiEvent, &record), 0);
  EXPECT_EQ(record.addr, 0x77000u);
  EXPECT_EQ(record.engine_id_1, 3u);
  EXPECT_EQ(record.error_type, uapi::kHlRazwiMiscPageFault);
}

// hl_device_heartbeat(): every 10 s; a processor that does not answer costs a hard reset, after which it does.
TEST(HlHeartbeat, LossIsSeenAtTheNextBeat) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> control = *harness.OpenControl();
    harness.work.Advance(seconds(25));
    EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
    harness.device().board().cpucp().Kill();
    uapi::hl_power_info power{};
    EXPECT_EQ(harness.Info(control, uapi::kHlInfoPower, &power), ETIMEDOUT);
    EXPECT_EQ(harness.Info(control, uapi::kHlInfoPower, &power), EIO);
    harness.work.Advance(seconds(5));
    EXPECT_EQ(harness.device().reset_count().hard, 1u);
    EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
    EXPECT_EQ(harness.Info(control, uapi::kHlInfoPower, &power), 0);
    uapi::hl_info_fw_err_event record{};
    record.timestamp = -1;
    EXPECT_EQ(harness.Info(control, uapi::kHlInfoFwErrEvent, &record), flavour == Flavour::kMisc ? EINVAL : 0);
    if (flavour != Flavour::kMisc) {
      EXPECT_EQ(record.err_type, uapi::kHlFwErrHeartbeat);
      EXPECT_GT(record.timestamp, 0);
    }
  }
}

TEST(HlHeartbeat, APciLinkThatStaysDownCostsTheDevice) {
  Harness harness;
  harness.device().SetPciLink(false);
  harness.work.Advance(seconds(10));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusMalfunction);
  EXPECT_EQ(harness.OpenErrno(), EPERM);
  // It comes back, and an administrator resets it.
  harness.device().SetPciLink(true);
  EXPECT_TRUE(harness.device().Reset(kResetHard).has_value());
  harness.work.Advance(seconds(1));
  EXPECT_EQ(harness.device().status(), uapi::kHlStatusOperational);
}

// cpucp / test_cpucp_eq_stress of hl-thunk: a limit below the power drawn throttles, and both ends are events.
TEST(HlFirmware, PowerLimitThrottles) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    HlDevice& device = harness.device();
    const EventIds& ids = EventIdsOf(asic);
    const auto set = [&](int64_t value) {
      EXPECT_TRUE(device.SendCpuMessage({.opcode = gaudi::CpucpOpcode::kMaxPowerSet, .value = value}).has_value());
    };
    for (int i = 0; i < 3; ++i) {
      set(1'000);
      EXPECT_EQ(device.clk_throttling().Info().clk_throttling_reason, uapi::kHlClkThrottlePower);
      set(350'000);
      EXPECT_EQ(device.clk_throttling().Info().clk_throttling_reason, 0u);
    }
    EXPECT_EQ(device.events().Get(true)[ids.power_start], 3u);
    EXPECT_EQ(device.events().Get(true)[ids.power_end], 3u);
    EXPECT_GT(device.clk_throttling().Info().clk_throttling_timestamp_us[0], 0u);
  }
}

TEST(HlFirmware, PowerAndTemperatureFollowTheLoad) {
  Harness harness;
  FakeExecution engines;
  harness.device().set_execution(&engines);
  const auto ask = [&](gaudi::CpucpOpcode opcode) { return *harness.device().SendCpuMessage({.opcode = opcode}); };
  const uint64_t idle_power = ask(gaudi::CpucpOpcode::kPowerGet);
  const uint64_t idle_heat = ask(gaudi::CpucpOpcode::kTemperatureGet);
  EXPECT_EQ(idle_power, 60'000u);
  engines.busy = 0xff;
  EXPECT_EQ(ask(gaudi::CpucpOpcode::kPowerGet), 600'000u);
  EXPECT_GT(ask(gaudi::CpucpOpcode::kTemperatureGet), idle_heat);
  uapi::hl_info_device_utilization utilization{};
  EXPECT_EQ(harness.Info(*harness.OpenControl(), uapi::kHlInfoDeviceUtilization, &utilization), 0);
  EXPECT_EQ(utilization.utilization, 100u);
  harness.device().board().cpucp().Heat(60'000);
  EXPECT_EQ(harness.device().clk_throttling().Info().clk_throttling_reason, uapi::kHlClkThrottleThermal);
  harness.device().set_execution(nullptr);
}

}  // namespace
}  // namespace causeway::habanalabs
