// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_INFO: linux v6.1 and v6.12 habanalabs_ioctl.c _hl_info_ioctl().
#include "drivers/habanalabs/info.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <set>

#include "drivers/habanalabs/engine_status.h"
#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

// specs/habanalabs 2.3, every column.
TEST(HlInfo, HwIpInfoOfBothAsics) {
  Harness harness2;
  Ref<kernel::File> file = *harness2.OpenControl();
  uapi::hl_info_hw_ip_info info{};
  ASSERT_EQ(harness2.Info(file, uapi::kHlInfoHwIpInfo, &info), 0);
  EXPECT_EQ(info.sram_base_address, 0x1000FFFFFD000000u);
  EXPECT_EQ(info.dram_base_address, 0x1001001800000000u);
  EXPECT_EQ(info.dram_size, 0x17D0000000u);
  EXPECT_EQ(info.sram_size, 0x3000000u);
  EXPECT_EQ(info.num_of_events, 1329u);
  EXPECT_EQ(info.device_id, 0x1020u);
  EXPECT_EQ(info.module_id, 3u);
  EXPECT_EQ(info.decoder_enabled_mask, 0x3ffu);
  EXPECT_EQ(info.first_available_interrupt_id, 48u);
  EXPECT_EQ(info.server_type, 5u);
  EXPECT_EQ(info.tpc_enabled_mask, 0xff);
  EXPECT_EQ(info.dram_enabled, 1);
  EXPECT_EQ(info.security_enabled, 0);
  EXPECT_EQ(info.mme_master_slave_mode, 1);
  EXPECT_STREQ(reinterpret_cast<const char*>(info.card_name), "HL225");
  EXPECT_EQ(info.tpc_enabled_mask_ext, 0x1ffffffu);
  EXPECT_EQ(info.dram_page_size, 0x30000000u);
  EXPECT_EQ(info.edma_enabled_mask, 0xffu);
  EXPECT_EQ(info.number_of_user_interrupts, 64u);
  EXPECT_EQ(info.device_mem_alloc_default_page_size, 0x30000000u);
  EXPECT_EQ(info.revision_id, 1);
  EXPECT_EQ(info.tpc_interrupt_id, 46u);
  EXPECT_EQ(info.rotator_enabled_mask, 3u);
  EXPECT_EQ(info.reserved_dram_size, 0x30000000u);

  Harness binned({.hbm_stacks = 5});
  ASSERT_EQ(binned.Info(*binned.OpenControl(), uapi::kHlInfoHwIpInfo, &info), 0);
  EXPECT_EQ(info.dram_base_address, 0x1001001400000000u);
  EXPECT_EQ(info.dram_size, 0x13D8000000u);
  EXPECT_EQ(info.dram_page_size, 0x28000000u);

  Harness harness1({.asic = gaudi::Asic::kGaudi});
  ASSERT_EQ(harness1.Info(*harness1.OpenControl(), uapi::kHlInfoHwIpInfo, &info), 0);
  EXPECT_EQ(info.sram_base_address, 0x7FF0000080u);
  EXPECT_EQ(info.sram_size, 0x13FFF80u);
  EXPECT_EQ(info.dram_base_address, 0x20000000u);
  EXPECT_EQ(info.dram_size, 0x7E0000000u);
  EXPECT_EQ(info.num_of_events, 663u);
  EXPECT_EQ(info.device_id, 0x1000u);
  EXPECT_EQ(info.first_available_interrupt_id, 0xffff);
  EXPECT_EQ(info.server_type, 1u);
  EXPECT_EQ(info.tpc_enabled_mask_ext, 0xffu);
  EXPECT_EQ(info.dram_page_size, 0x200000u);
  EXPECT_EQ(info.reserved_dram_size, 0x20000000u);
}

TEST(HlInfo, HwIpInfoOfTheMiscHeaderIsShorter) {
  Harness harness({.flavour = Flavour::kMisc});
  uapi::hl_info_hw_ip_info info;
  std::memset(&info, 0xaa, sizeof(info));
  ASSERT_TRUE(harness.task.user.Write(kUserOut, info).has_value());
  ASSERT_EQ(harness.Info(*harness.OpenControl(), uapi::kHlInfoHwIpInfo, &info), 0);
  EXPECT_EQ(info.num_of_events, 1320u);
  EXPECT_EQ(info.first_available_interrupt_id, 257u);
  EXPECT_EQ(info.number_of_user_interrupts, 255u);
  EXPECT_EQ(info.reserved_dram_size, 0xaaaaaaaaaaaaaaaau);  // not written
}

TEST(HlInfo, ShortBufferGetsAPrefix) {
  Harness harness;
  uapi::hl_info_hw_ip_info info;
  std::memset(&info, 0xaa, sizeof(info));
  ASSERT_TRUE(harness.task.user.Write(kUserOut, info).has_value());
  ASSERT_EQ(harness.Info(*harness.OpenControl(), uapi::kHlInfoHwIpInfo, &info, 16), 0);
  EXPECT_EQ(info.dram_base_address, 0x1001001800000000u);
  EXPECT_EQ(info.dram_size, 0xaaaaaaaaaaaaaaaau);
}

// What comes before any opcode's body.
TEST(HlInfo, CommonErrnoTable) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.Open();
    for (const InfoRow& row : InfoRows()) {
      SCOPED_TRACE(std::string(row.name) + " " + std::string(ToString(flavour)));
      const bool absent = row.accel_only && flavour == Flavour::kMisc;
      const auto ask = [&](uint64_t pointer, uint32_t size, uint32_t pad) {
        uapi::hl_info_args args{
            .return_pointer = pointer, .return_size = size, .op = row.op, .dcore_id = 0, .pad = pad};
        return harness.Ioctl(*file, uapi::HlIoctlH(uapi::kHlInfo), args);
      };
      EXPECT_EQ(ask(kUserOut, 64, 1), EINVAL);  // pad
      const bool eventfd = row.op == uapi::kHlInfoRegisterEventfd || row.op == uapi::kHlInfoUnregisterEventfd;
      // FW_GENERIC_REQ leaves a bad pointer to the copy, and an empty buffer to the allocator.
      const bool blob = row.op == uapi::kHlInfoFwGenericReq && !absent;
      if (blob) {
        EXPECT_EQ(ask(0, 64, 0), EFAULT);
        EXPECT_EQ(ask(kUserOut, 0, 0), ENOMEM);
      } else if (!eventfd) {
        EXPECT_EQ(ask(0, 64, 0), EINVAL);
        // USER_MAPPINGS looks at the pointer only.
        if (row.op != uapi::kHlInfoUserMappings || absent) {
          EXPECT_EQ(ask(kUserOut, 0, 0), EINVAL);
        }
      }
      harness.device().set_status(uapi::kHlStatusInReset);
      const bool live = row.when == InfoWhen::kLive || (row.when == InfoWhen::kMiscLive && flavour == Flavour::kMisc);
      EXPECT_EQ(ask(kUserOut, 4096, 0) == EBUSY, live || absent);
      harness.device().set_status(uapi::kHlStatusOperational);
      if (absent) {
        EXPECT_EQ(ask(kUserOut, 4096, 0), EINVAL);
      }
    }
    uint64_t out = 0;
    for (const uint32_t op : {5u, 19u, 20u, 99u, 0xffffffffu}) EXPECT_EQ(harness.Info(file, op, &out), EINVAL) << op;
    harness.device().set_status(uapi::kHlStatusInReset);
    EXPECT_EQ(harness.Info(file, 99, &out), EBUSY);  // the device is looked at before the unknown opcode
  }
}

TEST(HlInfo, EveryOpcodeHasOneRow) {
  std::set<uint32_t> seen;
  for (const InfoRow& row : InfoRows()) EXPECT_TRUE(seen.insert(row.op).second) << row.name;
}

TEST(HlInfo, DriverState) {
  Harness harness;
  Ref<kernel::File> control = *harness.OpenControl();
  uapi::hl_open_stats_info stats{};
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoOpenStats, &stats), 0);
  EXPECT_EQ(stats.open_counter, 0u);
  EXPECT_EQ(stats.is_compute_ctx_active, 0);
  Ref<kernel::File> file = *harness.Open();
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoOpenStats, &stats), 0);
  EXPECT_EQ(stats.open_counter, 1u);
  EXPECT_EQ(stats.is_compute_ctx_active, 1);

  uapi::hl_info_device_status status{};
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoDeviceStatus, &status), 0);
  EXPECT_EQ(status.status, uapi::kHlStatusOperational);
  harness.device().set_status(uapi::kHlStatusNeedsReset);
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoDeviceStatus, &status), 0);
  EXPECT_EQ(status.status, uapi::kHlStatusNeedsReset);
  harness.device().set_status(uapi::kHlStatusOperational);

  uapi::hl_info_hw_idle idle{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoHwIdle, &idle), 0);
  EXPECT_EQ(idle.is_idle, 1u);
  uapi::hl_info_clk_rate clock{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoClkRate, &clock), 0);
  EXPECT_EQ(clock.max_clk_rate_mhz, 1650u);

  (void)harness.Alloc(file, kDramPage + 1);
  uapi::hl_info_dram_usage usage{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoDramUsage, &usage), 0);
  EXPECT_EQ(usage.dram_free_mem, 125 * kDramPage);
  EXPECT_EQ(usage.ctx_dram_mem, 2 * kDramPage);
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoDramUsage, &usage), 0);
  EXPECT_EQ(usage.dram_free_mem, 125 * kDramPage);
  EXPECT_EQ(usage.ctx_dram_mem, 0u);

  uapi::hl_info_time_sync a{}, b{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoTimeSync, &a), 0);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoTimeSync, &b), 0);
  EXPECT_GE(b.device_time, a.device_time);
  EXPECT_GE(b.host_time, a.host_time);

  uapi::hl_info_last_err_open_dev_time opened{};
  EXPECT_EQ(harness.Info(control, uapi::kHlInfoLastErrOpenDevTime, &opened), 0);
  EXPECT_GT(opened.timestamp, 0);
}

// specs/habanalabs 2.4.
TEST(HlInfo, SyncManager) {
  for (const auto& [asic, sob, mon, cq, other_cq] : {std::tuple(gaudi::Asic::kGaudi, 144u, 72u, 0xffffu, 0xffffu),
                                                     std::tuple(gaudi::Asic::kGaudi2, 413u, 289u, 2u, 0u)}) {
    Harness harness({.asic = asic});
    Ref<kernel::File> file = *harness.OpenControl();
    uapi::hl_info_sync_manager info{};
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoSyncManager, &info), 0);
    EXPECT_EQ(info.first_available_sync_object, sob);
    EXPECT_EQ(info.first_available_monitor, mon);
    EXPECT_EQ(info.first_available_cq, cq);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoSyncManager, &info, sizeof(info), 7), 0);
    EXPECT_EQ(info.first_available_sync_object, 0u);
    EXPECT_EQ(info.first_available_cq, other_cq);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoSyncManager, &info, sizeof(info), 8), EINVAL);
  }
}

TEST(HlInfo, FirmwareAnswers) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  uapi::hl_pll_frequency_info pll{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoPllFrequency, &pll, sizeof(pll), 7), 0);
  EXPECT_EQ(pll.output[0], 1650u);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoPllFrequency, &pll, sizeof(pll), 12), EINVAL);
  uapi::hl_power_info power{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoPower, &power), 0);
  EXPECT_EQ(power.power, 60'000u);
  uapi::hl_info_device_utilization utilization{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoDeviceUtilization, &utilization), 0);
  EXPECT_EQ(utilization.utilization, 0u);
  uint64_t out = 0;
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoSecuredAttestation, &out), EIO);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoTotalEnergy, &out), 0);
  uapi::hl_info_pci_counters counters{};
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoPciCounters, &counters), 0);
  EXPECT_EQ(counters.replay_cnt, 0u);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoFwGenericReq, &out, 8, 0), 0);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoFwGenericReq, &out, 8, 1), EINVAL);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoFwGenericReq, &out, (1 << 20) + 1, 0), EINVAL);
}

TEST(HlInfo, RecordsOfErrorsThatNeverHappened) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.OpenControl();
    const bool misc = flavour == Flavour::kMisc;
    const auto ask = [&](uint32_t op, uint32_t size, uint64_t* first) {
      EXPECT_TRUE(harness.task.user.Write<uint64_t>(kUserOut, 0x55).has_value());
      return harness.Info(file, op, first, size);
    };
    uint64_t first = 1;
    EXPECT_EQ(ask(uapi::kHlInfoCsTimeoutEvent, 16, &first), 0);
    EXPECT_EQ(first, 0u);
    EXPECT_EQ(ask(uapi::kHlInfoRazwiEvent, 280, &first), 0);
    EXPECT_EQ(first, misc ? 0u : 0x55u);  // later kernels leave the buffer as it was
    EXPECT_EQ(ask(uapi::kHlInfoPageFaultEvent, 24, &first), misc ? EINVAL : 0);
    EXPECT_EQ(ask(uapi::kHlInfoHwErrEvent, 15, &first), misc ? EINVAL : ENOMEM);
    EXPECT_EQ(ask(uapi::kHlInfoHwErrEvent, 16, &first), misc ? EINVAL : 0);
    EXPECT_EQ(first, 0x55u);
  }
}

// engine_status_info().
TEST(HlInfo, EngineStatus) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    Ref<kernel::File> file = *harness.OpenControl();
    std::array<char, 8192> text{};
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoEngineStatus, &text, 1023), EINVAL);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoEngineStatus, &text, (1 << 20) + 1), EINVAL);
    uapi::hl_info_args args{
        .return_pointer = kUserOut, .return_size = 8192, .op = uapi::kHlInfoEngineStatus, .dcore_id = 0, .pad = 0};
    EXPECT_EQ(harness.Ioctl(*file, uapi::HlIoctlH(uapi::kHlInfo), args), 0);
    EXPECT_GT(args.user_buffer_actual_size, 1024u);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoEngineStatus, &text, 1024), ENOMEM);
  }
}

// gaudi_is_device_idle(), gaudi2_is_device_idle(): a table per kind of engine.
TEST(HlInfo, EngineStatusTables) {
  EngineMask busy{};
  busy[0] = uint64_t{1} << 1 | uint64_t{1} << 45;
  const std::string gaudi1 = EngineStatusText(gaudi::Asic::kGaudi, busy);
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(
      gaudi1.starts_with("\nDMA  is_idle  QM_GLBL_STS0  QM_CGM_STS  DMA_CORE_STS0\n"
                         "---  -------  ------------  ----------  -------------\n"));
  EXPECT_TRUE(has(gaudi1, "0    Y        0x3fff        0x100       0\n"));
  EXPECT_TRUE(has(gaudi1, "1    N        0             0           0x80000000\n"));
  EXPECT_TRUE(has(gaudi1, "1    Y        -             -           0x7f03f\n"));
  EXPECT_TRUE(has(gaudi1, "\nNIC  is_idle  QM_GLBL_STS0  QM_CGM_STS\n"));
  const std::string gaudi2 = EngineStatusText(gaudi::Asic::kGaudi2, busy);
  EXPECT_TRUE(has(gaudi2, "0     1     N        0             0x80000000     0\n"));  // DCORE0 EDMA1
  EXPECT_TRUE(has(gaudi2, "\nPDMA  is_idle  QM_GLBL_STS0  DMA_CORE_STS0  DMA_CORE_STS1\n"));
  EXPECT_TRUE(has(gaudi2, "3     5    Y        0x3fff        0x100       0x3fe\n"));  // DCORE3 TPC5
  EXPECT_TRUE(has(gaudi2, "0     6    Y        0x3fff        0x100       0x3fe\n"));  // DCORE0 TPC6
  EXPECT_EQ(gaudi2.back(), '\0');
}

TEST(HlInfo, HwEventsAreAsManyAsTheBufferHolds) {
  Harness harness({.asic = gaudi::Asic::kGaudi});
  Ref<kernel::File> file = *harness.OpenControl();
  ASSERT_TRUE(harness.task.user.Write<uint32_t>(kUserOut + 663 * 4, 0x77).has_value());
  uint32_t first = 1;
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoHwEvents, &first, 4096), 0);
  EXPECT_EQ(first, 0u);
  EXPECT_EQ(*harness.task.user.Read<uint32_t>(kUserOut + 663 * 4), 0x77u);
}

// hl_register_eventfd() and its neighbours: eventfd_register(), eventfd_unregister(), events_info().
TEST(HlEvents, ErrnoTable) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  harness.task.host_files.emplace(50, UniqueFd(::eventfd(0, EFD_NONBLOCK)));
  harness.task.host_files.emplace(51, UniqueFd(::dup(0)));
  harness.task.files.emplace(60, file);
  uint64_t mask = 1;
  const auto reg = [&](uint32_t fd) { return harness.Info(file, uapi::kHlInfoRegisterEventfd, &mask, 0, fd); };
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoUnregisterEventfd, &mask, 0), EINVAL);
  EXPECT_EQ(reg(99), EBADF);
  EXPECT_EQ(reg(51), EINVAL);  // no eventfd
  EXPECT_EQ(reg(60), EINVAL);  // a file of ours
  EXPECT_EQ(reg(50), 0);
  EXPECT_EQ(reg(50), EINVAL);  // one is registered

  auto& hl_file = dynamic_cast<HlFile&>(*file);
  hl_file.notifier().Notify(4);
  hl_file.notifier().Notify(8);
  uint64_t count = 0;
  EXPECT_EQ(::read(harness.task.host_files.at(50).get(), &count, sizeof(count)), 8);
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoGetEvents, &mask, 7), EINVAL);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoGetEvents, &mask), 0);
  EXPECT_EQ(mask, 12u);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoGetEvents, &mask), 0);
  EXPECT_EQ(mask, 0u);  // reading clears
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoUnregisterEventfd, &mask, 0), 0);
  EXPECT_EQ(harness.Info(file, uapi::kHlInfoUnregisterEventfd, &mask, 0), EINVAL);
}

TEST(HlEvents, ControlNodePerFlavour) {
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.OpenControl();
    harness.task.host_files.emplace(50, UniqueFd(::eventfd(0, EFD_NONBLOCK)));
    uint64_t mask = 0;
    const int want = flavour == Flavour::kMisc ? 0 : EOPNOTSUPP;
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoRegisterEventfd, &mask, 0, 50), want);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoGetEvents, &mask), want);
    EXPECT_EQ(harness.Info(file, uapi::kHlInfoUnregisterEventfd, &mask, 0), want);
  }
}

}  // namespace
}  // namespace causeway::habanalabs
