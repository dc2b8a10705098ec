// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/gaudi.h"

#include <gtest/gtest.h>

#include "devices/gaudi/fake_machine.h"

namespace causeway::gaudi {
namespace {

TEST(GaudiBoard, HbmIsSparseAndBehindBar4) {
  FakeMachine machine;
  auto board = Board::Create({.asic = Asic::kGaudi2}, machine.gaudi2(), machine.bus(), machine.memories());
  ASSERT_TRUE(board.has_value());
  EXPECT_EQ((*board)->hbm_bytes(), 96 * kGiB);
  EXPECT_EQ(machine.memories().size((*board)->hbm_memory()), 96 * kGiB);
  EXPECT_EQ((*board)->hbm_resident_bytes(), 0u);

  uint64_t len = 1;
  std::byte* last = machine.memories().At((*board)->hbm_memory(), 96 * kGiB - 1, &len);
  ASSERT_NE(last, nullptr);
  *last = std::byte{1};
  EXPECT_LE((*board)->hbm_resident_bytes(), 2 * kMiB);  // one page, huge where the host uses such for shared memory

  // The bus decodes the BAR to that memory.
  const uint64_t address = machine.gaudi2().bar(kHbmBar).base + 96 * kGiB - 1;
  const uint32_t window = pci::FindWindow(machine.bus_map(), machine.nic().index(), address, 1, 0);
  ASSERT_LT(window, pci::kMaxWindows);
  EXPECT_EQ(machine.bus_map().windows[window].memory, (*board)->hbm_memory());

  (*board)->ForgetHbm(96 * kGiB - 2 * kMiB, 2 * kMiB);
  EXPECT_EQ((*board)->hbm_resident_bytes(), 0u);
}

TEST(GaudiBoard, RefusesOtherDevices) {
  FakeMachine machine;
  // A Gaudi driver's probe on a Gaudi2 function, and the reverse: gaudi_early_init().
  EXPECT_EQ(Board::Create({.asic = Asic::kGaudi}, machine.gaudi2(), machine.bus(), machine.memories()).error(),
            Errno(ENODEV));
  EXPECT_EQ(Board::Create({.asic = Asic::kGaudi2}, machine.nic(), machine.bus(), machine.memories()).error(),
            Errno(ENODEV));
}

TEST(GaudiBoard, FirmwareVersionsBeginWithNumbersClientsParse) {
  FakeMachine machine;
  auto board =
      Board::Create({.asic = Asic::kGaudi, .serial = "SN1"}, machine.gaudi(), machine.bus(), machine.memories());
  ASSERT_TRUE(board.has_value());
  EXPECT_TRUE((*board)->firmware().preboot_version.starts_with("1.11.0"));
  EXPECT_EQ((*board)->firmware().card_name, "HL205");
  EXPECT_EQ((*board)->hbm_bytes(), 32 * kGiB);
  const uint64_t before = (*board)->timestamp();
  EXPECT_GE((*board)->timestamp(), before);
}

}  // namespace
}  // namespace causeway::gaudi
