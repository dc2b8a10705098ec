// SPDX-License-Identifier: Apache-2.0
// Encodings that hardware reads: compared with values worked out by hand from the register and packet tables.
#include "packets.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "causeway/error.h"

namespace causeway::detail {
namespace {

// gaudi_packets.h GAUDI_PKT_CTL_OPCODE_SHIFT 24, EB 29, MB 31.
TEST(Packets, Control) {
  EXPECT_EQ(Control(kOpNop), 0x0a000000U);
  EXPECT_EQ(Control(kOpMsgLong) | kEngineBarrier | kMessageBarrier, 0xa3000000U);
  EXPECT_EQ(Control(kOpLinDma) | kGaudiLinear | kMemSet, 0x09000018U);
}

// FENCE: dec_val[3:0], target_val[23:16], id[31:30].
TEST(Packets, FenceWait) { EXPECT_EQ(FenceWait(1, 1), 0x00010001U); }

// MON_ARM: group [7:0], mask [15:8] with 0 for what is watched, mode bit 16 (0: >=), value [31:17].
TEST(Packets, ArmAtLeastWatchesOneSyncObject) {
  EXPECT_EQ(ArmAtLeast(144, 1), 0x0002fe12U);  // Gaudi's first for programs: group 18, bit 0
  EXPECT_EQ(ArmAtLeast(149, 3), 0x0006df12U);  // bit 5
  EXPECT_EQ(ArmAtLeast(413, 1), 0x0002df33U);  // Gaudi2's first: group 51, bit 5
  EXPECT_EQ(ArmAtLeast(8191, 1) & 0xff, 0xffU);
  EXPECT_EQ(MonitorGroupHigh(8191), 0x30000U);  // MON_CONFIG: the group's high bits at 19:16
}

// asic_reg headers: MON_PAY_ADDRL_0 and what follows it.
TEST(Packets, RegistersOfTheSyncManager) {
  EXPECT_EQ(SobAddress(false, 144), 0x7FFC492240U);
  EXPECT_EQ(SobAddress(true, 413), 0x1000007FFC100674U);
  const MonitorRegisters gaudi = Monitor(false, 72);
  EXPECT_EQ(gaudi.pay_addr_low, 0x7FFC494120U);
  EXPECT_EQ(gaudi.arm, 0x7FFC495920U);
  EXPECT_EQ(gaudi.config, 0U);
  const MonitorRegisters gaudi2 = Monitor(true, 289);
  EXPECT_EQ(gaudi2.pay_addr_low, 0x1000007FFC108484U);
  EXPECT_EQ(gaudi2.arm, 0x1000007FFC10E484U);
  EXPECT_EQ(gaudi2.config, 0x1000007FFC110484U);
}

// CP_FENCE0_RDATA of DMA0/DMA1 (Gaudi) and PDMA0/PDMA1 (Gaudi2).
TEST(Packets, FenceAddressOfAStream) {
  EXPECT_EQ(FenceAddress(false, 0), 0x7FFC508308U);
  EXPECT_EQ(FenceAddress(false, 6), 0x7FFC528310U);
  EXPECT_EQ(FenceAddress(true, 0), 0x1000007FFCC8A290U);
  EXPECT_EQ(FenceAddress(true, 4), 0x1000007FFCC9A290U);
}

TEST(ErrorText, NamesCallDeviceErrnoAndWhatToDo) {
  const Error error(ENOMEM, "HL_MEM_OP_ALLOC", "/dev/accel/accel0", "device memory is used up");
  EXPECT_STREQ(error.what(), "HL_MEM_OP_ALLOC on /dev/accel/accel0: Cannot allocate memory; device memory is used up");
  EXPECT_EQ(error.code(), std::errc::not_enough_memory);
  EXPECT_STREQ(Error(EIO, "open", "rxe0").what(), "open on rxe0: Input/output error");
}

}  // namespace
}  // namespace causeway::detail
