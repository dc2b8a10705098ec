// SPDX-License-Identifier: Apache-2.0
// Files of debugfs as hl-thunk's library and tests use them: linux drivers/accel/habanalabs/common/debugfs.c. Writers
// send the terminating NUL; readers pread() at offset 0.
#include "drivers/habanalabs/debugfs.h"

#include <gtest/gtest.h>

#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

using gaudi::Asic;

class Debugfs {
 public:
  explicit Debugfs(const HarnessSpec& spec) : h(spec) {
    folder = spec.flavour == Flavour::kMisc ? "/sys/kernel/debug/habanalabs/hl0/" : "/sys/kernel/debug/accel/0/";
  }
  // write(2): 0 or the errno.
  int Write(const std::string& name, const std::string& text, bool terminator = true) {
    const auto file = h.OpenPath(folder + name, O_WRONLY);
    if (!file) return file.error().code();
    const uint64_t len = text.size() + (terminator ? 1 : 0);
    EXPECT_TRUE(h.task.user.CopyTo(kUserArgs, std::as_bytes(std::span(text.c_str(), len))).has_value());
    const auto written = (*file)->WriteAt(h.task, kUserArgs, len, -1);
    if (!written) return written.error().code();
    EXPECT_EQ(*written, static_cast<int64_t>(len));
    return 0;
  }
  // pread(2) at 0: the text, or "errno N".
  std::string Read(const std::string& name) {
    const auto file = h.OpenPath(folder + name, O_RDONLY);
    if (!file) return "errno " + std::to_string(file.error().code());
    bool drained = false;
    const auto got = (*file)->ReadAt(h.task, kUserOut, 4 * kPageSize, 0, &drained);
    if (!got) return "errno " + std::to_string(got.error().code());
    std::string text(static_cast<size_t>(*got), '\0');
    EXPECT_TRUE(h.task.user.CopyFrom(std::as_writable_bytes(std::span(text)), kUserOut).has_value());
    return text;
  }
  std::string At(uint64_t address, const char* data = "data32") {
    EXPECT_EQ(Write("addr", Hex(address)), 0);
    return Read(data);
  }
  int Store(uint64_t address, const std::string& value, const char* data = "data32") {
    EXPECT_EQ(Write("addr", Hex(address)), 0);
    return Write(data, value);
  }
  static std::string Hex(uint64_t value) {
    char text[32];
    std::snprintf(text, sizeof(text), "0x%lx", value);
    return text;
  }

  Harness h;
  std::string folder;
};

TEST(HlDebugfs, EveryNameOfEveryFlavour) {
  for (const Flavour flavour : kEveryFlavour) {
    SCOPED_TRACE(ToString(flavour));
    Harness h({.flavour = flavour});
    EXPECT_TRUE(h.Exists("/sys/kernel/debug/habanalabs/hl0/data32"));
    const std::string bdf = h.machine.gaudi2().bdf().ToString();
    EXPECT_EQ(h.Exists("/sys/kernel/debug/accel/0/data32"), flavour != Flavour::kMisc);
    EXPECT_EQ(h.Exists("/sys/kernel/debug/accel/" + bdf + "/data64"), flavour != Flavour::kMisc);
  }
}

TEST(HlDebugfs, AddressAndTextForms) {
  Debugfs d({});
  EXPECT_EQ(d.Read("addr"), "0x0000000000000000\n");
  EXPECT_EQ(d.Write("addr", "0x1000007ffcc8a000"), 0);
  EXPECT_EQ(d.Read("addr"), "0x1000007ffcc8a000\n");
  EXPECT_EQ(d.Write("addr", "4096\n", false), 0);  // kstrtoull(, 0, )
  EXPECT_EQ(d.Read("addr"), "0x0000000000001000\n");
  EXPECT_EQ(d.Write("addr", "no number"), EINVAL);
  EXPECT_EQ(d.Read("addr"), "0x0000000000001000\n");
  EXPECT_EQ(d.Read("clk_gate"), "");
  EXPECT_EQ(d.Write("clk_gate", "0"), 0);
  EXPECT_EQ(d.Write("clk_gate", ""), 0);
}

TEST(HlDebugfs, RegistersSramAndDram) {
  for (const Asic asic : kEveryAsic) {
    Debugfs d({.asic = asic});
    const gaudi::AddressMap& map = d.h.device().board().map();
    const uint64_t sob = map.cfg_base + gaudi::SyncManagerBase(asic, 1) + 100 * 4;
    EXPECT_EQ(d.Store(sob, "0x7b"), 0);
    EXPECT_EQ(d.At(sob), "0x0000007b\n");
    EXPECT_EQ(d.h.device().board().engines().ReadRegister(static_cast<uint32_t>(sob - map.cfg_base)), 0x7bu);
    EXPECT_EQ(d.Store(sob, "80000001"), 0);  // base 16 without 0x; an addition, as the register has it
    EXPECT_EQ(d.At(sob), "0x0000007c\n");
    EXPECT_EQ(d.At(sob, "data64"), "0x000000000000007c\n");
    for (const uint64_t memory : {map.sram_base + 0x1000, map.dram_base + kGiB}) {
      EXPECT_EQ(d.Store(memory, "0x1122334455667788", "data64"), 0);
      EXPECT_EQ(d.At(memory), "0x55667788\n");
      EXPECT_EQ(d.At(memory + 4), "0x11223344\n");
      EXPECT_EQ(d.At(memory, "data64"), "0x1122334455667788\n");
    }
    // The last words of a region.
    EXPECT_EQ(d.At(map.sram_base + map.sram_size - 4), "0x00000000\n");
    EXPECT_EQ(d.At(map.sram_base + map.sram_size - 4, "data64"), "errno 22");
    EXPECT_EQ(d.At(map.cfg_base + map.cfg_size - 4), "0x00000000\n");
  }
}

TEST(HlDebugfs, VirtualAddressesOfTheOpenContext) {
  Debugfs d({});
  const uint64_t first_va = d.h.device().properties().user_dram_base();
  EXPECT_EQ(d.At(first_va), "errno 22");  // no context
  const Ref<kernel::File> file = *d.h.Open();
  EXPECT_EQ(d.At(first_va), "errno 22");  // not mapped
  EXPECT_EQ(d.Store(first_va, "1"), EINVAL);
  const uint64_t va = d.h.Map(file, d.h.Alloc(file, 1));
  EXPECT_EQ(d.Store(va + kDramPage - 4, "0xabcd"), 0);
  EXPECT_EQ(d.At(va + kDramPage - 4), "0x0000abcd\n");
  EXPECT_EQ(d.At(va + kDramPage - 4, "data64"), "errno 22");  // leaves the mapping
  uint64_t host = 0;
  ASSERT_EQ(d.h.MapHost(file, kUserHost + 16, 4096, &host), 0);
  EXPECT_EQ(d.Store(host, "0x1020304050607080", "data64"), 0);
  EXPECT_EQ(*d.h.task.user.Read<uint64_t>(kUserHost + 16), 0x1020304050607080u);
  EXPECT_EQ(d.At(host + 4), "0x10203040\n");
}

// hl_access_mem(): host memory behind an IOMMU is not the host's at that address.
TEST(HlDebugfs, HostMemoryIsRefusedBehindAnIommu) {
  for (const auto mode : {pci::IommuMode::kPassthrough, pci::IommuMode::kOff}) {
    Debugfs d({.iommu = mode});
    const Ref<kernel::File> file = *d.h.Open();
    uint64_t host = 0;
    ASSERT_EQ(d.h.MapHost(file, kUserHost, 4096, &host), 0);
    EXPECT_EQ(d.At(host), mode == pci::IommuMode::kOff ? "0x00000000\n" : "errno 22");
  }
}

TEST(HlDebugfs, ErrnoTable) {
  Debugfs gaudi1({.asic = Asic::kGaudi}), gaudi2({.asic = Asic::kGaudi2});
  const uint64_t sram1 = gaudi1.h.device().board().map().sram_base, sram2 = gaudi2.h.device().board().map().sram_base;
  const struct {
    const char* what;
    Debugfs& d;
    uint64_t address;
    const char *file, *text;
    int want;
  } cases[] = {
      {"nowhere", gaudi1, 0x123456789000000, "data32", "1", EINVAL},
      {"between the regions", gaudi1, sram1 + 20 * kMiB, "data32", "1", EINVAL},
      {"the end of everything", gaudi2, ~uint64_t{0} - 3, "data64", "1", EINVAL},
      {"33 bits", gaudi1, sram1, "data32", "0x100000000", ERANGE},
      {"65 bits", gaudi1, sram1, "data64", "0x10000000000000000", ERANGE},
      {"no number", gaudi1, sram1, "data32", "xyz", EINVAL},
      {"nothing but a prefix", gaudi1, sram1, "data32", "0x", EINVAL},
      {"text after the number", gaudi1, sram1, "data32", "1 2", EINVAL},
      {"DMA of nothing", gaudi1, sram1, "dma_size", "0", EINVAL},
      {"DMA of more than 128 MiB", gaudi1, 0x20000000, "dma_size", "0x8000001", EINVAL},
      {"DMA of registers", gaudi1, 0x7FFC000000, "dma_size", "4", EINVAL},
      {"DMA over the end of SRAM", gaudi1, sram1 + 20 * kMiB - 4, "dma_size", "8", EINVAL},
      {"DMA", gaudi1, sram1, "dma_size", "8", 0},
      {"Gaudi2's DMA without a context", gaudi2, sram2, "dma_size", "8", EIO},
      {"stop_on_err is not configurable", gaudi2, 0, "stop_on_err", "1", EOPNOTSUPP},
      {"an unknown word", gaudi2, 0, "device", "explode", EINVAL},
      {"timeout_locked takes seconds", gaudi2, 0, "timeout_locked", "0x10", EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    EXPECT_EQ(c.d.Write("addr", Debugfs::Hex(c.address)), 0);
    EXPECT_EQ(c.d.Write(c.file, c.text), c.want);
  }
  EXPECT_EQ(gaudi1.Read("data_dma"), std::string(8, '\0'));
  EXPECT_EQ(gaudi2.Read("stop_on_err"), "errno " + std::to_string(EOPNOTSUPP));
  EXPECT_EQ(gaudi1.Read("dma_size"), "errno " + std::to_string(EACCES));
}

// gaudi2_debugfs_read_dma(): by the mappings of the open context.
TEST(HlDebugfs, DmaOfGaudi2) {
  Debugfs d({});
  const Ref<kernel::File> file = *d.h.Open();
  const uint64_t va = d.h.Map(file, d.h.Alloc(file, 1)), sram = d.h.device().board().map().sram_base;
  EXPECT_EQ(d.Store(va + 8, "0x1122334455667788", "data64"), 0);
  EXPECT_EQ(d.Store(sram, "0x64636261"), 0);
  const auto dma = [&](uint64_t address, const char* size) {
    EXPECT_EQ(d.Write("addr", Debugfs::Hex(address)), 0);
    return d.Write("dma_size", size);
  };
  EXPECT_EQ(dma(va + 8, "0x8"), 0);
  EXPECT_EQ(d.Read("data_dma"), "\x88\x77\x66\x55\x44\x33\x22\x11");
  EXPECT_EQ(dma(sram, "4"), 0);
  EXPECT_EQ(d.Read("data_dma"), "abcd");
  EXPECT_EQ(dma(va + kDramPage - 4, "8"), EIO);  // leaves the mapping
  EXPECT_EQ(d.Read("data_dma"), "");
}

TEST(HlDebugfs, DuringAResetNothingIsReadOrStored) {
  Debugfs d({});
  const uint64_t sram = d.h.device().board().map().sram_base;
  EXPECT_EQ(d.Store(sram, "5"), 0);
  d.h.device().set_status(uapi::kHlStatusInReset);
  EXPECT_EQ(d.Read("data32"), "");
  EXPECT_EQ(d.Read("data64"), "");
  EXPECT_EQ(d.Read("engines"), "");
  EXPECT_EQ(d.Write("data32", "6"), 0);
  d.h.device().set_status(uapi::kHlStatusOperational);
  EXPECT_EQ(d.Read("data32"), "0x00000005\n");
}

TEST(HlDebugfs, DeviceTimeoutsAndEngines) {
  Debugfs d({});
  EXPECT_EQ(d.Write("device", "disable"), 0);
  EXPECT_EQ(d.h.OpenErrno(), EPERM);
  EXPECT_EQ(d.Write("device", "enable"), 0);
  EXPECT_EQ(d.h.OpenErrno(), 0);
  EXPECT_EQ(d.Write("timeout_locked", "5"), 0);
  EXPECT_EQ(d.h.device().timeout_locked_sec(), 5u);
  EXPECT_EQ(d.Read("timeout_locked"), std::string("5\n\0", 3));
  EXPECT_EQ(d.Read("device_release_watchdog_timeout"), "30\n");
  EXPECT_EQ(d.Write("device_release_watchdog_timeout", "7"), 0);
  EXPECT_EQ(d.h.device().device_release_watchdog_timeout_sec(), 7u);
  EXPECT_NE(d.Read("engines").find("PDMA  is_idle"), std::string::npos);
}

// hl_device_write() sets hdev->disabled and no more: hl_device_status() looks at resets first.
TEST(HlDebugfs, EnablingEndsNoReset) {
  Debugfs d({});
  ASSERT_TRUE(d.h.device().Reset(kResetHard).has_value());
  EXPECT_EQ(d.Write("device", "enable"), 0);
  EXPECT_EQ(d.h.device().status(), uapi::kHlStatusInReset);
  EXPECT_EQ(d.Write("device", "disable"), 0);
  EXPECT_EQ(d.h.device().status(), uapi::kHlStatusInReset);
  EXPECT_EQ(d.h.OpenErrno(), EAGAIN);
  d.h.work.Advance(std::chrono::seconds(1));
  EXPECT_EQ(d.h.device().status(), uapi::kHlStatusOperational);
  d.h.device().set_status(uapi::kHlStatusNeedsReset);
  EXPECT_EQ(d.Write("device", "enable"), 0);
  EXPECT_EQ(d.h.device().status(), uapi::kHlStatusNeedsReset);
}

// hl-thunk's error injection on Gaudi: GIC_DISTRIBUTOR__5_GICD_SETSPI_NSR raises an event; CPU_CA53_CFG_ARM_RST_CONTROL
// stops the management processor.
TEST(HlDebugfs, ErrorInjectionOfHlThunk) {
  constexpr uint32_t kTpc0Serr = 38;
  Debugfs d({.asic = Asic::kGaudi});
  const uint64_t cfg = d.h.device().board().map().cfg_base;
  EXPECT_EQ(d.Store(cfg + 0x800040, "0x26"), 0);
  std::array<uint32_t, 663> counts{};
  const Ref<kernel::File> file = *d.h.Open();
  EXPECT_EQ(d.h.Info(file, uapi::kHlInfoHwEventsAggregate, &counts), 0);
  EXPECT_EQ(counts[kTpc0Serr], 1u);
  EXPECT_EQ(d.h.device().status(), uapi::kHlStatusOperational);
  EXPECT_EQ(d.Store(cfg + 0xC4B304, "0x1"), 0);
  EXPECT_TRUE(d.h.device().board().cpucp().alive());
  EXPECT_EQ(d.Store(cfg + 0x441124, "0x0"), 0);
  EXPECT_FALSE(d.h.device().board().cpucp().alive());
}

}  // namespace
}  // namespace causeway::habanalabs
