// SPDX-License-Identifier: Apache-2.0
// Hostile command buffers: streams of packets, right, nearly right and arbitrary, on the queue managers of a Gaudi and
// of a Gaudi2, which run them on their own thread; and the check that the driver makes of a Gaudi's buffers. Whatever a
// program queues, a reset ends it, and the device is idle then.
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "base/checked.h"
#include "devices/gaudi/fake_machine.h"
#include "devices/gaudi/gaudi.h"
#include "devices/gaudi/packets.h"
#include "drivers/habanalabs/cs_parser.h"
#include "tests/fuzz/input.h"

namespace causeway::fuzz {
namespace {

using namespace gaudi;  // NOLINT: packets and registers are its words

// Host memory of exactly this size: an access beyond is seen by ASan.
class Pages : public HostRegion {
 public:
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    std::memcpy(to.data(), bytes_.data() + offset, to.size());
    return true;
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    std::memcpy(bytes_.data() + offset, from.data(), from.size());
    return true;
  }
  static constexpr uint64_t kBytes = 0x4000;

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBytes);
};

class PacketsFuzz : public EngineClient {
 public:
  explicit PacketsFuzz(Asic asic)
      : asic_(asic),
        board_(*Board::Create({.asic = asic}, asic == Asic::kGaudi2 ? machine_.gaudi2() : machine_.gaudi(),
                              machine_.bus(), machine_.memories())),
        r_(QmanRegistersOf(asic)),
        dram_(MapOf(asic).dram_base + 0x40000000),
        sram_(MapOf(asic).sram_base + 0x1000),
        host_(asic == Asic::kGaudi ? 0x0001000000400000 : 0xFFF0000200000000) {
    engines().SetClient(this);
    board_->mmu().MapHost(host_, Pages::kBytes, std::make_shared<Pages>(), 0);
  }
  ~PacketsFuzz() override { engines().SetClient(nullptr); }

  void Run(Input& in) {
    // A handful of queue managers, so that streams of one input meet.
    for (int buffers = 0; buffers < kMaxBuffers && !in.empty(); ++buffers) {
      const auto qman = static_cast<uint32_t>(in.Below(8) * engines().qman_specs().size() / 8);
      const auto stream = static_cast<uint32_t>(in.Below(kStreams));
      SetUp(in, qman, stream);
      std::vector<std::byte> commands;
      const size_t packets = in.Below(24);
      for (size_t n = 0; n < packets && !in.empty(); ++n) Packet(in, qman, &commands);
      (void)habanalabs::ValidateCommands(commands);
      Submit(in, qman, stream, commands);
    }
    // What is endless, and what waits for something that never comes, stays; the reset ends it. A look at the engines
    // lets them run for a while.
    for (int looks = 0; looks < kLooks && engines().Describe().find(": runs") != std::string::npos; ++looks) {
    }
    (void)engines().BusyMask();
    engines().Reset();
    CW_INVARIANT(engines().Idle() && engines().Describe().empty());
    board_->ForgetHbm(0, board_->hbm_bytes());
  }

  void Interrupt(uint32_t /*vector*/) override {}
  void Event(const EngineEvent& event) override {
    CW_INVARIANT(event.qman < engines().qman_specs().size() && event.cp < kCps);
  }

 private:
  static constexpr int kMaxBuffers = 12, kLooks = 64;
  static constexpr uint32_t kSizes[] = {8, 16, 64, 4096, 1, 24, 0x10000, 0};

  Engines& engines() { return board_->engines(); }
  uint64_t Cfg(uint32_t offset) const { return MapOf(asic_).cfg_base + offset; }
  uint64_t Buffer(uint64_t number) const { return dram_ + 0x10000000 + number * 0x10000; }

  uint32_t SomeRegister(Input& in, uint32_t qman) {
    const auto& specs = engines().qman_specs();
    const auto& sm = SyncManagerRegistersOf(asic_);
    const DmaRegisters& dma = DmaRegistersOf(asic_);
    const uint32_t base = specs[in.Byte() < 0x80 ? qman : in.Below(specs.size())].base;
    const uint32_t block = SyncManagerBase(asic_, static_cast<uint32_t>(in.Below(kSyncManagers)));
    const uint32_t n = static_cast<uint32_t>(in.Below(8)) * 4;
    switch (in.Below(16)) {
      case 0: return base + r_.fence_rdata + n % 4 * kFenceStride + n;
      case 1: return base + r_.arb_cfg0;
      case 2: return base + r_.arb_wrr_weight + n;
      case 3: return base + in.Raw<uint16_t>() % kQmanBlockSize;
      case 4: return base + r_.core + dma.commit;
      case 5: return base + r_.core + dma.src_tsize0;
      case 6: return base + r_.core + dma.src_dims + n;
      case 7: return base + r_.core + dma.dst_dims + n;
      case 8: return base + r_.core + in.Raw<uint16_t>() % dma.size;
      case 9: return block + n;  // sync objects
      case 10: return block + sm.pay_addr_lo + n;
      case 11: return block + sm.pay_addr_hi + n;
      case 12: return block + sm.pay_data + n;
      case 13: return block + sm.arm + n;
      case 14: return asic_ == Asic::kGaudi ? kGaudiMsiRequest : kGaudi2MsixDoorbell;
      default: return block + in.Raw<uint16_t>() % sm.size;
    }
  }
  uint64_t SomeAddress(Input& in, uint32_t qman) {
    const uint32_t offset = in.Near<uint32_t>({0, 8, 4096, 0x3ff8, 0x10000}) & 0xfffff;
    switch (in.Below(8)) {
      case 0: return sram_ + offset;
      case 1: return host_ + offset;
      case 2: return dram_ + offset;
      case 3: return Buffer(in.Below(kMaxBuffers)) + offset % 0x10000;
      case 4: return Cfg(SomeRegister(in, qman));
      case 5: return SomeRegister(in, qman);
      case 6: return in.Near<uint64_t>({0, ~uint64_t{7}, MapOf(asic_).dram_base, host_ + Pages::kBytes - 4});
      default: return in.Raw<uint64_t>();
    }
  }
  // Sizes that a run of the target can wait for.
  static uint32_t SomeSize(Input& in) { return in.Near<uint32_t>(kSizes) & 0x1fffff; }
  static uint32_t SomeValue(Input& in) {
    return in.Near<uint32_t>({0, 1, 2, 0x80000001, 0x00010001, 0xfe00, 0x20000 | 0xfe00}) & ~0x7fe00000u;
  }

  void Packet(Input& in, uint32_t qman, std::vector<std::byte>* commands) {
    const auto word = [&](uint32_t value) {
      const auto* raw = reinterpret_cast<const std::byte*>(&value);
      commands->insert(commands->end(), raw, raw + sizeof(value));
    };
    const auto quad = [&](uint64_t value) {
      word(static_cast<uint32_t>(value));
      word(static_cast<uint32_t>(value >> 32));
    };
    const auto opcode =
        static_cast<Opcode>(in.Near<uint8_t>({0x1, 0x2, 0x3, 0x4, 0x5,  0x6,  0x7,  0x8,  0x9, 0xA, 0xB,
                                              0xC, 0xD, 0xE, 0xF, 0x10, 0x11, 0x12, 0x13, 3,   9,   5}) &
                            0x1f);
    const uint32_t predicate = in.Near<uint8_t>({0, 0, 0, 1, 5}) & 0x1f;
    const auto head = [&](uint32_t word0, uint32_t ctl) {
      word(word0);
      word(ctl | static_cast<uint32_t>(opcode) << 24);
    };
    switch (opcode) {
      case Opcode::kMsgLong:
      case Opcode::kMsgProt: head(SomeValue(in), predicate); return quad(SomeAddress(in, qman));
      case Opcode::kMsgShort: return head(SomeValue(in), in.Raw<uint32_t>() & 0xc0ffff);
      case Opcode::kWreg32:
        return head(SomeValue(in), predicate | (in.Byte() & kWregFromScalar) | (SomeRegister(in, qman) & 0xffff) << 8);
      case Opcode::kWregBulk:
      case Opcode::kWriteArcStream: {
        const uint32_t count = in.Near<uint16_t>({1, 2, 4, 16, 0});
        head(count, predicate | (SomeRegister(in, qman) & 0xffff) << 8);
        for (uint32_t n = 0; n < std::min(count, 32u); ++n) quad(SomeValue(in));
        return;
      }
      case Opcode::kFence: return head(in.Near<uint32_t>({0, 0x10001, 0x40010001, 0xc00f000f}), predicate);
      case Opcode::kWait: return head(in.Near<uint32_t>({0x01000000, 0x11000000}), predicate);
      case Opcode::kArbPoint: return head(in.Near<uint32_t>({0, 1, 5, kArbRelease, kArbRelease}), predicate);
      case Opcode::kCpDma:
        head(SomeSize(in), predicate | (in.Byte() & kCpDmaUpper));
        return quad(SomeAddress(in, qman));
      case Opcode::kLinDma:
        head(SomeSize(in), in.Near<uint8_t>({kGaudiDmaLinear, 0, 1, 9, 0x10, 0x18, 2, 4, 6}));
        quad(SomeAddress(in, qman));
        return quad(SomeAddress(in, qman));
      case Opcode::kLoadAndExe:
        head(in.Near<uint32_t>({0x300, 0x301, 0x100, 0x101, 0x102, 0x201, 0x601, 0x701}), predicate);
        return quad(SomeAddress(in, qman));
      case Opcode::kCbList:
        head(0, predicate);
        quad(SomeAddress(in, qman));
        return quad(SomeAddress(in, qman));
      case Opcode::kWreg64Short:
      case Opcode::kWreg64Long:
        head(SomeValue(in), predicate | (in.Raw<uint32_t>() & 0xffffe0));
        if (opcode == Opcode::kWreg64Long) quad(SomeAddress(in, qman));
        return;
      default: return head(in.Raw<uint32_t>(), in.Raw<uint32_t>() & 0xffffff);
    }
  }

  // What a driver sets before a program's work: trust, arbiter, message bases, completion messages.
  void SetUp(Input& in, uint32_t qman, uint32_t stream) {
    const uint8_t how = in.Byte();
    const uint32_t base = engines().qman_specs()[qman].base, n = stream * 4;
    if ((how & 1) != 0) engines().WriteRegister(base + r_.glbl_prot, how >> 7);
    if ((how & 2) != 0) engines().WriteRegister(base + r_.arb_cfg0, in.Raw<uint32_t>());
    if ((how & 4) != 0) {
      const uint64_t at = SomeAddress(in, qman);
      const size_t which = in.Below(kMsgBases);
      engines().WriteRegisters({{base + r_.msg_base_lo[which] + n, static_cast<uint32_t>(at)},
                                {base + r_.msg_base_hi[which] + n, static_cast<uint32_t>(at >> 32)}});
    }
    if ((how & 8) != 0 && r_.pqc_cfg != 0) {
      const uint64_t at = SomeAddress(in, qman);
      engines().WriteRegisters({{base + r_.pqc_lbw_base_lo, static_cast<uint32_t>(at)},
                                {base + r_.pqc_lbw_base_hi, static_cast<uint32_t>(at >> 32)},
                                {base + r_.pqc_lbw_wdata + n, in.Raw<uint32_t>()},
                                {base + r_.pqc_cfg, 1}});
    }
    if ((how & 16) != 0) engines().WriteRegister(SomeRegister(in, qman), SomeValue(in));
  }

  void Submit(Input& in, uint32_t qman, uint32_t stream, const std::vector<std::byte>& commands) {
    const uint32_t base = engines().qman_specs()[qman].base, n = stream * 4;
    const uint64_t ring = dram_ + 0x20000000 + (uint64_t{qman} * kStreams + stream) * 0x1000;
    const uint64_t at = Buffer(in.Below(kMaxBuffers));
    CW_INVARIANT(engines().WriteMemory(at, commands));
    struct {
      uint64_t address;
      uint32_t len, ctl;
    } const entry = {in.Byte() < 0xf0 ? at : SomeAddress(in, qman),
                     in.Byte() < 0xf0 ? static_cast<uint32_t>(commands.size()) : SomeSize(in), in.Raw<uint32_t>()};
    // Every entry of the ring is this one: the doorbell says how many of them.
    std::array<decltype(entry), 4> entries = {entry, entry, entry, entry};
    CW_INVARIANT(engines().WriteMemory(ring, std::as_bytes(std::span(entries))));
    engines().WriteRegisters({{base + r_.glbl_cfg0, 1},
                              {base + r_.pq_base_lo + n, static_cast<uint32_t>(ring)},
                              {base + r_.pq_base_hi + n, static_cast<uint32_t>(ring >> 32)},
                              {base + r_.pq_size + n, 2},
                              {base + r_.pq_pi + n, in.Near<uint32_t>({1, 2, 1, 5}) % 8}});
  }

  const Asic asic_;
  FakeMachine machine_;
  std::unique_ptr<Board> board_;
  const QmanRegisters& r_;
  const uint64_t dram_, sram_, host_;
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using causeway::fuzz::PacketsFuzz;
  static std::array<PacketsFuzz*, 2> devices = {new PacketsFuzz(causeway::gaudi::Asic::kGaudi2),
                                                new PacketsFuzz(causeway::gaudi::Asic::kGaudi)};
  causeway::fuzz::Input in(data, size);
  devices[in.Below(devices.size())]->Run(in);
  return 0;
}
