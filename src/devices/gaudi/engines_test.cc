// SPDX-License-Identifier: Apache-2.0
// Queue managers and DMA cores behind their registers, with command buffers in device memory and no driver.
#include "devices/gaudi/engines.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "devices/gaudi/fake_machine.h"
#include "devices/gaudi/gaudi.h"
#include "devices/gaudi/packets.h"

namespace causeway::gaudi {
namespace {

// Commands as a program writes them.
class Commands {
 public:
  Commands& Word(uint32_t value) {
    words_.push_back(value);
    return *this;
  }
  Commands& Quad(uint64_t value) { return Word(static_cast<uint32_t>(value)).Word(static_cast<uint32_t>(value >> 32)); }
  Commands& Packet(Opcode opcode, uint32_t word0, uint32_t ctl = 0) {
    return Word(word0).Word(ctl | static_cast<uint32_t>(opcode) << 24);
  }
  Commands& MsgLong(uint64_t address, uint32_t value, uint32_t predicate = 0) {
    return Packet(Opcode::kMsgLong, value, predicate).Quad(address);
  }
  Commands& Copy(uint64_t from, uint64_t to, uint32_t size, uint32_t ctl) {
    return Packet(Opcode::kLinDma, size, ctl).Quad(from).Quad(to);
  }
  Commands& Fence(uint32_t id, uint32_t target, uint32_t dec) {
    return Packet(Opcode::kFence, dec | target << 16 | id << 30);
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(words_)); }

 private:
  std::vector<uint32_t> words_;
};

// A host page for the MMU.
class FakePages : public HostRegion {
 public:
  explicit FakePages(size_t size) : bytes(size) {}
  bool Read(uint64_t offset, std::span<std::byte> to) override {
    if (on_read) on_read();
    std::memcpy(to.data(), bytes.data() + offset, to.size());
    return !gone;
  }
  bool Write(uint64_t offset, std::span<const std::byte> from) override {
    std::memcpy(bytes.data() + offset, from.data(), from.size());
    return !gone;
  }
  std::vector<std::byte> bytes;
  bool gone = false;
  std::function<void()> on_read;
};

class Device : public EngineClient {
 public:
  explicit Device(Asic which)
      : asic(which),
        board(*Board::Create({.asic = which}, which == Asic::kGaudi2 ? machine.gaudi2() : machine.gaudi(),
                             machine.bus(), machine.memories())),
        r(QmanRegistersOf(which)),
        user_dram(MapOf(which).dram_base + 0x40000000),
        sram(MapOf(which).sram_base + 0x1000) {
    engines().SetClient(this);
  }
  ~Device() override { engines().SetClient(nullptr); }

  Engines& engines() { return board->engines(); }
  uint32_t Qman(EngineKind kind, uint32_t n = 0) {
    const auto& specs = engines().qman_specs();
    for (uint32_t i = 0; i < specs.size(); ++i) {
      if (specs[i].kind == kind && n-- == 0) return i;
    }
    return 0;
  }
  uint64_t Cfg(uint32_t offset) const { return MapOf(asic).cfg_base + offset; }
  uint64_t FenceAddress(uint32_t qman, uint32_t fence, uint32_t cp) {
    return Cfg(engines().qman_specs()[qman].base + r.fence_rdata + fence * kFenceStride + cp * 4);
  }
  void Write(uint64_t address, std::span<const std::byte> bytes) { ASSERT_TRUE(engines().WriteMemory(address, bytes)); }
  uint64_t Read(uint64_t address) {
    uint64_t value = 0;
    EXPECT_TRUE(engines().ReadMemory(address, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  // Puts a buffer on a stream's ring, which it sets up first, and rings the doorbell.
  void Submit(uint32_t qman, uint32_t stream, const Commands& commands) {
    const uint64_t number = submitted_++;
    const uint64_t at = user_dram + 0x10000000 + number * 0x10000;
    Write(at, commands.bytes());
    SubmitAt(qman, stream, at, static_cast<uint32_t>(commands.bytes().size()));
  }
  void SubmitAt(uint32_t qman, uint32_t stream, uint64_t at, uint32_t size) {
    const uint32_t base = engines().qman_specs()[qman].base;
    const uint64_t ring = user_dram + 0x20000000 + (uint64_t{qman} * 4 + stream) * 0x1000;
    const uint32_t n = stream * 4;
    uint32_t& pi = pi_[qman * 4 + stream];
    struct {
      uint64_t ptr;
      uint32_t len, ctl;
    } entry = {at, size, 0};
    Write(ring + pi % 16 * 16, std::as_bytes(std::span(&entry, 1)));
    ++pi;
    const RegisterWrite writes[] = {{base + r.glbl_cfg0, 1},
                                    {base + r.pq_base_lo + n, static_cast<uint32_t>(ring)},
                                    {base + r.pq_base_hi + n, static_cast<uint32_t>(ring >> 32)},
                                    {base + r.pq_size + n, 4},
                                    {base + r.pq_pi + n, pi % 32}};
    if (!run_here) return engines().WriteRegisters(writes);
    engines().RingDoorbells(writes);
    engines().RunHere();
  }
  // The interrupt that a program's last packet raised.
  void WaitInterrupt(size_t count = 1) {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return interrupts.size() >= count; });
  }
  EngineEvent WaitEvent() {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return !events.empty(); });
    const EngineEvent event = events.front();
    events.erase(events.begin());
    return event;
  }
  Commands& Interrupt(Commands& commands, uint32_t vector = 7) {
    return commands.MsgLong(Cfg(asic == Asic::kGaudi ? kGaudiMsiRequest : kGaudi2MsixDoorbell), vector);
  }
  uint32_t CopyCtl() const { return asic == Asic::kGaudi ? kGaudiDmaLinear : 0; }

  void Interrupt(uint32_t vector) override {
    const std::lock_guard lock(mutex);
    interrupts.push_back(vector);
    interrupted = std::this_thread::get_id();
    wake.notify_all();
  }
  void Event(const EngineEvent& event) override {
    const std::lock_guard lock(mutex);
    events.push_back(event);
    wake.notify_all();
  }

  const Asic asic;
  FakeMachine machine;
  std::unique_ptr<Board> board;
  const QmanRegisters& r;
  const uint64_t user_dram, sram;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<uint32_t> interrupts;
  std::vector<EngineEvent> events;
  std::thread::id interrupted;  // who called Interrupt() last
  bool run_here = false;

 private:
  uint64_t submitted_ = 0;
  std::map<uint32_t, uint32_t> pi_;
};

constexpr Asic kBoth[] = {Asic::kGaudi, Asic::kGaudi2};

TEST(Engines, StoresCopiesAndFills) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint32_t dma = d.Qman(EngineKind::kPciDma);
    const uint64_t a = d.user_dram, b = d.user_dram + 0x100000;
    Commands c;
    c.MsgLong(d.sram, 0x12345678).MsgLong(d.sram + 4, 0x9abcdef0).Packet(Opcode::kNop, 0);
    c.Copy(d.sram, a, 8, d.CopyCtl());
    c.Copy(0x1122334455667788, b, 20, asic == Asic::kGaudi ? kGaudiDmaLinear | kGaudiDmaMemset : kGaudi2DmaMemset);
    d.Submit(dma, 2, d.Interrupt(c));
    d.WaitInterrupt();
    EXPECT_EQ(d.Read(a), 0x9abcdef012345678u);
    EXPECT_EQ(d.Read(b + 8), 0x1122334455667788u);
    EXPECT_EQ(d.Read(b + 16), 0x55667788u);
    EXPECT_TRUE(d.engines().Idle());
  }
}

// hl-thunk test_dma_all2all_dram2dram copies 3 GiB that nobody has written, 500 times by each of 8 engines: that takes
// neither time nor memory. What was written, and what was there, is moved and zeroed all the same.
TEST(Engines, UntouchedMemoryStaysUntouched) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint64_t from = d.user_dram + 0x40000000, to = d.user_dram + 0x80000000, mib = 0x100000;
    const uint64_t value = 0x1234, old = 0x77;
    d.Write(from + 5 * mib + 8, std::as_bytes(std::span(&value, 1)));
    d.Write(to + 5 * mib + 8, std::as_bytes(std::span(&old, 1)));
    d.Write(to + 9 * mib, std::as_bytes(std::span(&old, 1)));
    Commands c;
    for (int n = 0; n < 200; ++n) c.Copy(from, to, 0x30000000, d.CopyCtl());
    c.Copy(0, from + 64 * mib, 0x10000000, asic == Asic::kGaudi ? kGaudiDmaMemset | kGaudiDmaLinear : kGaudi2DmaMemset);
    d.Submit(d.Qman(EngineKind::kPciDma), 0, d.Interrupt(c));
    d.WaitInterrupt();
    EXPECT_EQ(d.Read(to + 5 * mib + 8), value);
    EXPECT_EQ(d.Read(to + 9 * mib), 0u);
    uint64_t resident = 0;
    for (uint32_t memory = 0; memory < d.machine.memories().count(); ++memory) {
      resident += d.machine.memories().resident_bytes(memory);
    }
    EXPECT_LT(resident, 64 * mib);
  }
}

// Copies that are longer than the caches, at every kind of start and end within a line; what lies around stays.
TEST(Engines, LongCopies) {
  constexpr uint64_t kStreamed = 8 << 20;
  Device d(Asic::kGaudi2);
  const uint64_t from = d.user_dram + 0x40000000, to = d.user_dram + 0x80000000;
  std::vector<uint64_t> source((kStreamed + 4096) / 8), target(source.size());
  for (size_t i = 0; i < source.size(); ++i) source[i] = i * 0x9e3779b97f4a7c15;
  d.Write(from, std::as_bytes(std::span(source)));
  struct {
    uint64_t from, to, len;
  } const cases[] = {{0, 0, kStreamed},
                     {1, 64, kStreamed + 1},
                     {0, 3, kStreamed + 63},
                     {61, 7, kStreamed + 130},
                     {128, 127, kStreamed}};
  size_t done = 0;
  for (const auto& c : cases) {
    std::ranges::fill(target, 0x5555555555555555);
    d.Write(to, std::as_bytes(std::span(target)));
    Commands commands;
    commands.Copy(from + c.from, to + c.to, static_cast<uint32_t>(c.len), d.CopyCtl());
    d.Submit(d.Qman(EngineKind::kPciDma), 0, d.Interrupt(commands));
    d.WaitInterrupt(++done);
    std::memcpy(reinterpret_cast<std::byte*>(target.data()) + c.to,
                reinterpret_cast<const std::byte*>(source.data()) + c.from, c.len);
    std::vector<uint64_t> got(target.size());
    ASSERT_TRUE(d.engines().ReadMemory(to, std::as_writable_bytes(std::span(got))));
    EXPECT_TRUE(got == target) << c.from << " " << c.to << " " << c.len;
  }
}

TEST(Engines, EndianSwapIsWithinUnits) {
  Device d(Asic::kGaudi2);
  const uint64_t value = 0x0102030405060708;
  d.Write(d.user_dram, std::as_bytes(std::span(&value, 1)));
  Commands c;
  for (uint32_t swap = 1; swap <= 3; ++swap) c.Copy(d.user_dram, d.user_dram + swap * 64, 8, swap << 1);
  d.Submit(d.Qman(EngineKind::kDma), 0, d.Interrupt(c));
  d.WaitInterrupt();
  EXPECT_EQ(d.Read(d.user_dram + 64), 0x0201040306050807u);
  EXPECT_EQ(d.Read(d.user_dram + 128), 0x0403020108070605u);
  EXPECT_EQ(d.Read(d.user_dram + 192), 0x0807060504030201u);
}

// What the driver unmapped is not held by a cached translation: its pages can go.
TEST(Engines, UnmappedHostMemoryIsLetGo) {
  Device d(Asic::kGaudi2);
  const uint64_t va = 0xFFF0000200000000;
  auto pages = std::make_shared<FakePages>(0x1000);
  const std::weak_ptr<FakePages> held = pages;
  d.board->mmu().MapHost(va, 0x1000, std::move(pages), 0);
  EXPECT_EQ(d.Read(va), 0u);
  d.board->mmu().Unmap(va);
  d.engines().InvalidateMmuCache();
  EXPECT_TRUE(held.expired());
}

// Host memory through the MMU, counted for the links; an unmapped address stops the stream and is reported.
TEST(Engines, HostMemoryThroughTheMmu) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint64_t va = asic == Asic::kGaudi ? 0x0001000000400000 : 0xFFF0000200000000;
    const auto pages = std::make_shared<FakePages>(0x2000);
    pages->bytes[0x1800] = std::byte{0x5a};
    d.board->mmu().MapHost(va, 0x1000, pages, 0x1000);
    Commands c;
    c.Copy(va, d.user_dram, 0x1000, d.CopyCtl()).Copy(d.user_dram, va, 0x800, d.CopyCtl());
    d.Submit(d.Qman(EngineKind::kPciDma), 0, d.Interrupt(c));
    d.WaitInterrupt();
    EXPECT_EQ(d.Read(d.user_dram + 0x800) & 0xff, 0x5au);
    EXPECT_EQ(d.board->fabric().traffic().read.load(), 0x1000u);
    EXPECT_EQ(d.board->fabric().traffic().written.load(), 0x800u);
    bool routed = false;
    for (const auto& route : d.machine.bus().Routes()) routed = routed || route.bytes_read == 0x1000;
    EXPECT_TRUE(routed);

    Commands past;
    past.Copy(d.user_dram, va, 0x1008, d.CopyCtl());
    d.Submit(d.Qman(EngineKind::kPciDma), 1, past);
    const EngineEvent event = d.WaitEvent();
    EXPECT_EQ(event.kind, EngineEvent::Kind::kPageFault);
    EXPECT_EQ(event.address, va + 0x1000);
    EXPECT_TRUE(event.write);
    EXPECT_FALSE(d.engines().Idle());
    d.engines().Reset();
    EXPECT_TRUE(d.engines().Idle());
  }
}

// A stream waits at its fence until another's sync object has fired a monitor; the lower command processor runs CP_DMA.
TEST(Engines, FenceMonitorAndLowerCp) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint32_t first = d.Qman(EngineKind::kDma), second = d.Qman(EngineKind::kDma, 1);
    const SyncManagerRegisters& sm = SyncManagerRegistersOf(asic);
    const uint64_t block = d.Cfg(SyncManagerBase(asic, 1));
    Commands waits;
    const uint64_t fence = d.FenceAddress(first, 0, 0);
    waits.MsgLong(block + sm.pay_addr_lo, static_cast<uint32_t>(fence))
        .MsgLong(block + sm.pay_addr_hi, static_cast<uint32_t>(fence >> 32))
        .MsgLong(block + sm.pay_data, 1)
        .MsgLong(block + sm.arm, 0xfe00u | 1u << 17)
        .Fence(0, 1, 1)
        .MsgLong(d.sram, 2);
    d.Submit(first, 0, d.Interrupt(waits));
    // The lower CP of the other queue manager sets the object.
    Commands inner;
    inner.MsgLong(d.sram, 1).MsgLong(block, 1);
    const uint64_t inner_at = d.user_dram + 0x200000;
    d.Write(inner_at, inner.bytes());
    Commands outer;
    outer.Packet(Opcode::kCpDma, static_cast<uint32_t>(inner.bytes().size())).Quad(inner_at);
    d.Submit(second, 3, outer);
    d.WaitInterrupt();
    EXPECT_EQ(d.Read(d.sram) & 0xffffffff, 2u);
    EXPECT_EQ(d.engines().ReadRegister(static_cast<uint32_t>(fence - d.Cfg(0)) + (d.r.fence_cnt - d.r.fence_rdata)),
              0u);
  }
}

// Specs 12.3: predicates by words and by bits, P0 always; a packet in scalar registers.
TEST(Engines, LoadAndExecute) {
  Device d(Asic::kGaudi2);
  std::array<uint32_t, 32> words{};
  words[0] = 0;
  words[5] = 1;
  d.Write(d.user_dram, std::as_bytes(std::span(words)));
  Commands scalar;
  scalar.MsgLong(d.sram + 16, 4);
  d.Write(d.user_dram + 256, scalar.bytes());
  Commands c;
  c.Packet(Opcode::kLoadAndExe, kLoadLoad).Quad(d.user_dram);
  c.MsgLong(d.sram, 1, 5).MsgLong(d.sram + 4, 2, 6).MsgLong(d.sram + 8, 3, 0);
  // In two packets; the second names no destination.
  c.Packet(Opcode::kLoadAndExe, kLoadDstScalars | kLoadLoad).Quad(d.user_dram + 256);
  c.Packet(Opcode::kLoadAndExe, kLoadExecute).Quad(0);
  d.Submit(d.Qman(EngineKind::kDma), 0, d.Interrupt(c));
  d.WaitInterrupt();
  EXPECT_EQ(d.Read(d.sram), 1u);
  EXPECT_EQ(d.Read(d.sram + 8), 3u);
  EXPECT_EQ(d.Read(d.sram + 16), 4u);
}

// A four-dimensional copy by registers (hl-thunk gaudi_dma strided_dma): one block repeated with gaps.
TEST(Engines, StridedCopy) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint32_t dma = d.Qman(EngineKind::kDma);
    const DmaRegisters& r = DmaRegistersOf(asic);
    const uint32_t core = d.engines().qman_specs()[dma].base + d.r.core;
    const uint64_t value = 0xa5a5a5a512345678;
    d.Write(d.user_dram, std::as_bytes(std::span(&value, 1)));
    const uint64_t to = d.user_dram + 0x1000;
    std::vector<RegisterWrite> writes = {
        {core + r.src_base_lo, static_cast<uint32_t>(d.user_dram)},
        {core + r.src_base_hi, static_cast<uint32_t>(d.user_dram >> 32)},
        {core + r.dst_base_lo, static_cast<uint32_t>(to)},
        {core + r.dst_base_hi, static_cast<uint32_t>(to >> 32)},
        {core + r.src_tsize0, 8},
        {core + r.dst_tsize0, 8},
        {core + r.src_dims, 3},
        {core + r.src_dims + 4, 0},
        {core + r.dst_dims, 3},
        {core + r.dst_dims + 4, 32},
    };
    const uint64_t doorbell = d.Cfg(asic == Asic::kGaudi ? kGaudiMsiRequest : kGaudi2MsixDoorbell);
    writes.push_back({core + r.comp_addr_lo, static_cast<uint32_t>(doorbell)});
    writes.push_back({core + r.comp_addr_hi, static_cast<uint32_t>(doorbell >> 32)});
    writes.push_back({core + r.commit, 1});
    d.engines().WriteRegisters(writes);
    d.WaitInterrupt();
    for (uint64_t n = 0; n < 3; ++n) {
      EXPECT_EQ(d.Read(to + n * 32), value);
      EXPECT_EQ(d.Read(to + n * 32 + 8), 0u);
    }
  }
}

// The transpose engine as Habana's graph compiler programs it: a row-major matrix becomes column-major. TE_NUMROWS rows
// of up to 128 bytes; the target's dimensions are 128 bytes of a column, the columns, the next 128 bytes of each.
TEST(Engines, Transpose) {
  for (const Asic asic : kBoth) {
    for (const uint32_t element : {2u, 4u}) {
      for (const uint32_t rows : {128u, 20u}) {
        SCOPED_TRACE(std::to_string(element) + " bytes, rows " + std::to_string(rows));
        constexpr uint32_t kColumns = 13;
        Device d(asic);
        std::vector<std::byte> matrix(uint64_t{rows} * kColumns * element);
        for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::byte>(i * 31 >> 3);
        d.Write(d.user_dram, matrix);
        const uint32_t dma = d.Qman(EngineKind::kDma);
        const DmaRegisters& r = DmaRegistersOf(asic);
        const uint32_t core = d.engines().qman_specs()[dma].base + d.r.core;
        const uint64_t to = d.user_dram + 0x10000,
                       doorbell = d.Cfg(asic == Asic::kGaudi ? kGaudiMsiRequest : kGaudi2MsixDoorbell);
        const uint32_t column = rows * element, piece = std::min(column, 128u);
        std::vector<RegisterWrite> writes = {
            {core + r.src_base_lo, static_cast<uint32_t>(d.user_dram)},
            {core + r.src_base_hi, static_cast<uint32_t>(d.user_dram >> 32)},
            {core + r.dst_base_lo, static_cast<uint32_t>(to)},
            {core + r.dst_base_hi, static_cast<uint32_t>(to >> 32)},
            {core + r.src_tsize0, kColumns * element},
            {core + r.src_dims, rows},
            {core + r.src_dims + 4, kColumns * element},
            {core + r.dst_tsize0, piece},
            {core + r.dst_dims, kColumns},
            {core + r.dst_dims + 4, column},
            {core + r.dst_dims + 8, column / piece},
            {core + r.dst_dims + 12, piece},
            {core + r.te_numrows, rows},
            {core + r.comp_addr_lo, static_cast<uint32_t>(doorbell)},
            {core + r.comp_addr_hi, static_cast<uint32_t>(doorbell >> 32)},
        };
        if (asic == Asic::kGaudi) {
          writes.push_back({core + r.commit, 1u | kGaudiDmaTranspose | (element == 4 ? kGaudiDma32Bits : 0)});
        } else {
          writes.push_back({core + r.ctrl, kGaudi2CtrlTranspose | (element == 4 ? 3u : 2u) << 4});
          writes.push_back({core + r.commit, 1});
        }
        d.engines().WriteRegisters(writes);
        d.WaitInterrupt();
        std::vector<std::byte> got(matrix.size());
        ASSERT_TRUE(d.engines().ReadMemory(to, got));
        for (uint32_t row = 0; row < rows; ++row) {
          for (uint32_t c = 0; c < kColumns; ++c) {
            ASSERT_EQ(std::memcmp(got.data() + (c * rows + row) * element,
                                  matrix.data() + (row * kColumns + c) * element, element),
                      0)
                << row << ' ' << c;
          }
        }
      }
    }
  }
}

// COMMIT of a linear transfer: one size for both sides; with memset the source is the pattern.
TEST(Engines, LinearCommits) {
  for (const Asic asic : kBoth) {
    for (const bool fill : {false, true}) {
      Device d(asic);
      const std::array<uint64_t, 4> words = {1, 2, 3, 4};
      d.Write(d.user_dram, std::as_bytes(std::span(words)));
      const uint32_t dma = d.Qman(EngineKind::kDma);
      const DmaRegisters& r = DmaRegistersOf(asic);
      const uint32_t core = d.engines().qman_specs()[dma].base + d.r.core;
      const uint64_t to = d.user_dram + 0x1000, source = fill ? 0x55aa55aa55aa55aa : d.user_dram;
      const uint64_t doorbell = d.Cfg(asic == Asic::kGaudi ? kGaudiMsiRequest : kGaudi2MsixDoorbell);
      const uint32_t linear = asic == Asic::kGaudi ? kGaudiDmaLinear : kGaudi2DmaLinear;
      const uint32_t memset_bit = asic == Asic::kGaudi ? kGaudiDmaMemset : kGaudi2DmaMemset;
      const RegisterWrite writes[] = {
          {core + r.src_base_lo, static_cast<uint32_t>(source)},
          {core + r.src_base_hi, static_cast<uint32_t>(source >> 32)},
          {core + r.dst_base_lo, static_cast<uint32_t>(to)},
          {core + r.dst_base_hi, static_cast<uint32_t>(to >> 32)},
          {core + r.dst_tsize0, 24},
          {core + r.comp_addr_lo, static_cast<uint32_t>(doorbell)},
          {core + r.comp_addr_hi, static_cast<uint32_t>(doorbell >> 32)},
          {core + r.commit, 1u | linear | (fill ? memset_bit : 0)},
      };
      d.engines().WriteRegisters(writes);
      d.WaitInterrupt();
      for (uint64_t n = 0; n < 3; ++n) EXPECT_EQ(d.Read(to + n * 8), fill ? source : n + 1);
      EXPECT_EQ(d.Read(to + 24), 0u);
    }
  }
}

// Streams that take the arbiter in turn; the one that has it lets the others in.
TEST(Engines, ArbiterLetsEveryStreamIn) {
  for (const uint32_t type : {0u, kArbTypeWrr}) {
    Device d(Asic::kGaudi2);
    const uint32_t dma = d.Qman(EngineKind::kPciDma);
    d.engines().WriteRegister(d.engines().qman_specs()[dma].base + d.r.arb_cfg0, type | 1u << 4 | kArbEnable);
    for (uint32_t stream = 0; stream < kStreams; ++stream) {
      Commands c;
      c.Packet(Opcode::kArbPoint, stream)
          .MsgLong(d.sram + stream * 8, stream + 1)
          .Packet(Opcode::kArbPoint, kArbRelease);
      d.Submit(dma, stream, d.Interrupt(c));
    }
    d.WaitInterrupt(kStreams);
    for (uint64_t stream = 0; stream < kStreams; ++stream) EXPECT_EQ(d.Read(d.sram + stream * 8), stream + 1);
  }
}

// hl-thunk test_cs_two_streams_with_priority_arb: streams that a fence lets go together take the arbiter by priority,
// not in the order of their fences. Each asks, lets go and asks again before it works.
TEST(Engines, ArbiterComparesStreamsThatBecomeReadyTogether) {
  for (const Asic asic : kBoth) {
    for (const uint32_t first : {0u, 1u}) {
      Device d(asic);
      const uint32_t dma = d.Qman(EngineKind::kPciDma);
      d.engines().WriteRegister(d.engines().qman_specs()[dma].base + d.r.arb_cfg0, 1u << 4 | kArbEnable);
      for (uint32_t stream = 0; stream < 2; ++stream) {
        const uint32_t priority = stream == first ? 2 : 1;
        Commands c;
        c.Fence(0, 1, 1).Packet(Opcode::kArbPoint, priority).Packet(Opcode::kArbPoint, kArbRelease);
        c.Packet(Opcode::kArbPoint, priority).MsgLong(d.sram, stream + 1).Packet(Opcode::kArbPoint, kArbRelease);
        d.Submit(dma, stream, d.Interrupt(c));
      }
      Commands go;
      go.Packet(Opcode::kArbPoint, 3).Packet(Opcode::kArbPoint, kArbRelease);
      go.MsgLong(d.FenceAddress(dma, 0, 0), 1).MsgLong(d.FenceAddress(dma, 0, 1), 1);
      d.Submit(dma, 2, go);
      d.WaitInterrupt(2);
      EXPECT_EQ(d.Read(d.sram) & 0xffffffff, first == 0 ? 2u : 1u) << "who works last";
    }
  }
}

// RunHere(): short packets and their interrupt are the doorbell's own thread's, transfers are not.
TEST(Engines, ShortWorkIsDoneByTheDoorbellsThread) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    d.run_here = true;
    const uint32_t dma = d.Qman(EngineKind::kPciDma);
    Commands c;
    c.MsgLong(d.sram, 0x11).Copy(d.sram, d.user_dram, 8, d.CopyCtl());
    d.Submit(dma, 0, d.Interrupt(c));
    ASSERT_EQ(d.interrupts.size(), 1u);  // without a wait
    EXPECT_EQ(d.interrupted, std::this_thread::get_id());
    EXPECT_EQ(d.Read(d.user_dram), 0x11u);

    Commands longer;
    longer.MsgLong(d.sram, 0x22).Copy(d.sram, d.user_dram, 0x10000, d.CopyCtl());
    d.Submit(dma, 1, d.Interrupt(longer));
    EXPECT_EQ(d.Read(d.sram) & 0xff, 0x22u);
    d.WaitInterrupt(2);
    EXPECT_NE(d.interrupted, std::this_thread::get_id());
    EXPECT_EQ(d.Read(d.user_dram) & 0xff, 0x22u);

    Commands endless;  // a few hundred packets here, the others there
    for (int n = 0; n < 3000; ++n) endless.MsgLong(d.sram, static_cast<uint32_t>(n));
    d.Submit(dma, 2, d.Interrupt(endless));
    d.WaitInterrupt(3);
    EXPECT_EQ(d.Read(d.sram) & 0xffffffff, 2999u);

    Commands wrong;  // what may reset the device is told by the engines' thread
    wrong.Word(0).Word(0x1fu << 24);
    d.Submit(dma, 3, wrong);
    EXPECT_EQ(d.WaitEvent().kind, EngineEvent::Kind::kUndefinedOpcode);
  }
}

// What Gaudi's transposing and strided LIN_DMAs move is in registers, whatever size the packet says.
TEST(Engines, TransfersByRegistersAreNotShort) {
  constexpr uint32_t kLinDma = static_cast<uint32_t>(Opcode::kLinDma) << 24;
  for (const auto& [asic, ctl, is_short] : {std::tuple(Asic::kGaudi, kGaudiDmaLinear, true),
                                            {Asic::kGaudi, kGaudiDmaMemset, true},
                                            {Asic::kGaudi, 0u, false},
                                            {Asic::kGaudi, kGaudiDmaTranspose, false},
                                            {Asic::kGaudi, kGaudiDmaLinear | kGaudiDmaTranspose, false},
                                            {Asic::kGaudi, kGaudiDmaMemset | kGaudiDmaTranspose, false},
                                            {Asic::kGaudi2, 0u, true}}) {
    EXPECT_EQ(IsShortPacket(asic, 64, kLinDma | ctl), is_short) << ctl;
    EXPECT_FALSE(IsShortPacket(asic, 1 << 20, kLinDma | ctl)) << ctl;
  }
}

// A reset in the middle of a transfer that a store to COMMIT began ends the transfer; the command processor that made
// the store is the next user's, and works.
TEST(Engines, AResetDuringACommitStopsNoStream) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    const uint32_t dma = d.Qman(EngineKind::kDma), base = d.engines().qman_specs()[dma].base;
    const DmaRegisters& r = DmaRegistersOf(asic);
    const uint64_t va = asic == Asic::kGaudi ? 0x0001000000400000 : 0xFFF0000200000000;
    const auto pages = std::make_shared<FakePages>(0x2000);
    bool was_reset = false;  // d.mutex
    pages->on_read = [&] {
      d.engines().Reset();
      const std::lock_guard lock(d.mutex);
      was_reset = true;
      d.wake.notify_all();
    };
    d.board->mmu().MapHost(va, 0x2000, pages, 0);
    const RegisterWrite writes[] = {{base + d.r.core + r.src_base_lo, static_cast<uint32_t>(va)},
                                    {base + d.r.core + r.src_base_hi, static_cast<uint32_t>(va >> 32)},
                                    {base + d.r.core + r.dst_base_lo, static_cast<uint32_t>(d.user_dram)},
                                    {base + d.r.core + r.dst_base_hi, static_cast<uint32_t>(d.user_dram >> 32)},
                                    {base + d.r.core + r.dst_tsize0, 0x2000}};
    d.engines().WriteRegisters(writes);
    Commands c;
    c.Packet(Opcode::kWreg32, asic == Asic::kGaudi ? kGaudiDmaLinear : kGaudi2DmaLinear,
             (d.r.window + d.r.core + r.commit) << 8);
    d.Submit(dma, 1, c);
    std::unique_lock lock(d.mutex);
    const auto soon = std::chrono::seconds(20);
    ASSERT_TRUE(d.wake.wait_for(lock, soon, [&] { return was_reset; }));
    lock.unlock();
    d.engines().WriteRegister(base + d.r.pq_ci + 4, 1);  // the ring begins where it stands
    Commands next;
    d.Submit(dma, 1, d.Interrupt(next));
    lock.lock();
    EXPECT_TRUE(d.wake.wait_for(lock, soon, [&] { return !d.interrupts.empty(); }));
    EXPECT_TRUE(d.events.empty());
  }
}

TEST(Engines, UndefinedOpcodeStopsTheStream) {
  for (const Asic asic : kBoth) {
    Device d(asic);
    Commands c;
    c.Word(0).Word(0x1fu << 24).MsgLong(d.sram, 1);
    d.Submit(d.Qman(EngineKind::kDma), 2, c);
    const EngineEvent event = d.WaitEvent();
    EXPECT_EQ(event.kind, EngineEvent::Kind::kUndefinedOpcode);
    EXPECT_EQ(event.cp, 2u);
    EXPECT_EQ(event.value, 0x1fu);
    EXPECT_EQ(event.cb_size, c.bytes().size());
    EXPECT_EQ(d.Read(d.sram), 0u);
  }
}

// What is the driver's: its sync objects and the queues' rings.
TEST(Engines, ProgramsCannotStoreToTheDriversRegisters) {
  Device d(Asic::kGaudi2);
  const uint32_t dma = d.Qman(EngineKind::kDma);
  Commands c;
  c.MsgLong(d.Cfg(SyncManagerBase(Asic::kGaudi2, 0)), 9)
      .MsgLong(d.Cfg(d.engines().qman_specs()[dma].base + d.r.pq_pi), 5);
  d.Submit(dma, 0, d.Interrupt(c));
  d.WaitInterrupt();
  EXPECT_EQ(d.WaitEvent().kind, EngineEvent::Kind::kRefusedStore);
  EXPECT_EQ(d.WaitEvent().kind, EngineEvent::Kind::kRefusedStore);
  EXPECT_EQ(d.engines().ReadRegister(SyncManagerBase(Asic::kGaudi2, 0)), 0u);
}

// Random packets on random queues: the device may stop streams, this process must not.
TEST(Engines, HostilePacketsHarmNobody) {
  for (const Asic asic : kBoth) {
    std::mt19937_64 random(42);
    for (int round = 0; round < 40; ++round) {
      Device d(asic);
      for (int n = 0; n < 12; ++n) {
        Commands c;
        for (int packet = 0; packet < 40; ++packet) {
          const auto opcode = static_cast<Opcode>(random() % 0x14);
          const auto word0 = static_cast<uint32_t>(random() & (opcode == Opcode::kLinDma ? 0xffff : 0x8f0f0107));
          c.Packet(opcode, word0, static_cast<uint32_t>(random() & 0xe0fffffe));
          const uint64_t places[] = {d.user_dram, d.sram, d.Cfg(static_cast<uint32_t>(random() % 0x8000000)), random()};
          if (random() % 2 == 0) c.Quad(places[random() % 4]).Quad(places[random() % 4]);
        }
        d.Submit(static_cast<uint32_t>(random() % d.engines().qman_specs().size()), static_cast<uint32_t>(random() % 4),
                 c);
      }
      d.engines().Reset();
      EXPECT_TRUE(d.engines().Idle());
    }
  }
}

}  // namespace
}  // namespace causeway::gaudi
