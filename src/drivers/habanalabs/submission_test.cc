// SPDX-License-Identifier: Apache-2.0
// Command buffers, submission and waiting through the ioctls, with the real device model behind them. Names of specs
// and of hl-thunk's tests (command_buffer, command_submission, dma, sync_manager) say what a test stands for.
#include "drivers/habanalabs/submission.h"

#include <gtest/gtest.h>

#include <cstring>

#include "devices/gaudi/packets.h"
#include "drivers/habanalabs/harness.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {
namespace {

using gaudi::Asic;
using gaudi::Opcode;

constexpr uint64_t kChunks = kUserArgs + 0x400;   // chunk arrays
constexpr uint64_t kCbVa = kUserHost + 0x200000;  // command buffers of Gaudi2: host memory
constexpr uint64_t kForever = INT64_MAX;

class Cs {
 public:
  explicit Cs(const HarnessSpec& spec) : h(spec), gaudi2(spec.asic == Asic::kGaudi2), file(*h.Open()) {
    EXPECT_EQ(h.MapHost(file, kUserHost, kUserHostSize, &host_va), 0);
  }
  explicit Cs(Asic asic) : Cs(HarnessSpec{.asic = asic}) {}

  int Cb(uapi::hl_cb_args& args) { return h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlCb), args); }
  int CreateCb(uint32_t size, uint64_t* handle, uint32_t flags = 0) {
    uapi::hl_cb_args args{};
    args.in = {.cb_handle = 0, .op = uapi::kHlCbOpCreate, .cb_size = size, .ctx_id = 0, .flags = flags};
    const int rc = Cb(args);
    *handle = args.out.cb_handle;
    return rc;
  }
  // The bytes that a program sees after mmap().
  std::byte* Bytes(uint64_t handle, uint64_t length, uint64_t* vma = nullptr) {
    const auto mapping = file->Mmap(h.task, {.length = length, .prot = 0, .flags = 0, .offset = handle});
    if (!mapping) return nullptr;
    if (vma != nullptr) *vma = mapping->vma;
    uint64_t len = length;
    return h.machine.memories().At(mapping->memory, mapping->offset, &len);
  }
  // A chunk with these commands: a CB of the driver on Gaudi's external queues, host memory on Gaudi2.
  uapi::hl_cs_chunk Chunk(uint32_t queue, const std::vector<uint32_t>& words) {
    const auto bytes = std::as_bytes(std::span(words));
    uapi::hl_cs_chunk chunk{};
    chunk.queue_index = queue;
    chunk.cb_size = static_cast<uint32_t>(bytes.size());
    if (gaudi2) {
      const uint64_t at = next_cb_;
      next_cb_ += AlignUp(bytes.size(), 64);
      EXPECT_TRUE(h.task.user.CopyTo(at, bytes).has_value());
      chunk.cb_handle = host_va + (at - kUserHost);
      chunk.cs_chunk_flags = uapi::kHlCsChunkFlagsUserAllocCb;
    } else {
      uint64_t handle = 0;
      EXPECT_EQ(CreateCb(chunk.cb_size, &handle), 0);
      std::memcpy(Bytes(handle, AlignUp(bytes.size(), kPageSize)), bytes.data(), bytes.size());
      chunk.cb_handle = handle;
    }
    return chunk;
  }
  int Submit(const std::vector<uapi::hl_cs_chunk>& chunks, uint64_t* seq, uint32_t flags = 0,
             uapi::hl_cs_args* reply = nullptr) {
    EXPECT_TRUE(h.task.user.CopyTo(kChunks, std::as_bytes(std::span(chunks))).has_value());
    uapi::hl_cs_args args{};
    args.in.chunks_execute = kChunks;
    args.in.num_chunks_execute = static_cast<uint32_t>(chunks.size());
    args.in.cs_flags = flags;
    const int rc = Submit(args);
    *seq = args.out.seq;
    if (reply != nullptr) *reply = args;
    return rc;
  }
  int Submit(uapi::hl_cs_args& args) { return h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlCs), args); }
  int Wait(uint64_t seq, uapi::hl_wait_cs_args* reply = nullptr, uint64_t timeout_us = kForever) {
    uapi::hl_wait_cs_args args{};
    args.in.cs.seq = seq;
    args.in.cs.timeout_us = timeout_us;
    const int rc = h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlWaitCs), args);
    if (reply != nullptr) *reply = args;
    return rc;
  }
  void SubmitAndWait(const std::vector<uapi::hl_cs_chunk>& chunks) {
    uint64_t seq = 0;
    ASSERT_EQ(Submit(chunks, &seq), 0);
    uapi::hl_wait_cs_args reply;
    ASSERT_EQ(Wait(seq, &reply), 0);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
  }
  std::vector<uint32_t> Copy(uint64_t from, uint64_t to, uint32_t size) const {
    const auto lo = [](uint64_t v) { return static_cast<uint32_t>(v); };
    const auto hi = [](uint64_t v) { return static_cast<uint32_t>(v >> 32); };
    const uint32_t ctl = static_cast<uint32_t>(Opcode::kLinDma) << 24 | (gaudi2 ? 0 : gaudi::kGaudiDmaLinear);
    return {size, ctl, lo(from), hi(from), lo(to), hi(to)};
  }
  static std::vector<uint32_t> MsgLong(uint64_t address, uint32_t value) {
    return {value, static_cast<uint32_t>(Opcode::kMsgLong) << 24, static_cast<uint32_t>(address),
            static_cast<uint32_t>(address >> 32)};
  }
  // A fence that nobody opens.
  static std::vector<uint32_t> Stuck() { return {1u | 1u << 16, static_cast<uint32_t>(Opcode::kFence) << 24}; }
  static std::vector<uint32_t> Nop() { return {0, static_cast<uint32_t>(Opcode::kNop) << 24}; }
  uint64_t Dram() {
    if (!gaudi2) return h.device().properties().dram_user_base_address;
    return h.Map(file, h.Alloc(file, kDramPage));
  }

  Harness h;
  const bool gaudi2;
  Ref<kernel::File> file;
  uint64_t host_va = 0;

 private:
  uint64_t next_cb_ = kCbVa;
};

// ---- CB: specs section 5

TEST(CommandBuffers, CreateMapDestroy) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    uint64_t handle = 0;
    ASSERT_EQ(cs.CreateCb(5000, &handle), 0);
    EXPECT_EQ(handle, uint64_t{0x1000000000001000});
    EXPECT_EQ(cs.Bytes(handle, kPageSize), nullptr);  // not its length
    uint64_t vma = 0;
    std::byte* const bytes = cs.Bytes(handle, 2 * kPageSize, &vma);
    ASSERT_NE(bytes, nullptr);
    EXPECT_EQ(bytes[4999], std::byte{0});
    EXPECT_EQ(cs.Bytes(handle, 2 * kPageSize), nullptr);  // mapped already
    uapi::hl_cb_args args{};
    args.in = {.cb_handle = handle, .op = uapi::kHlCbOpDestroy, .cb_size = 0, .ctx_id = 0, .flags = 0};
    EXPECT_EQ(cs.Cb(args), 0);
    EXPECT_EQ(args.in.cb_handle, handle);
    bytes[0] = std::byte{1};  // lives as long as its mapping
    EXPECT_EQ(cs.Cb(args), EINVAL);
    cs.file->Unmapped(cs.h.task, vma);
    ASSERT_EQ(cs.CreateCb(0, &handle), 0);
    std::byte* const fresh = cs.Bytes(handle, kPageSize);
    ASSERT_NE(fresh, nullptr);
    EXPECT_EQ(fresh[0], std::byte{0});
  }
}

TEST(CommandBuffers, ErrnoTable) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    uint64_t handle = 0;
    EXPECT_EQ(cs.CreateCb(0x200000, &handle), EINVAL);
    EXPECT_EQ(cs.CreateCb(0x200000 - 32, &handle), 0);
    EXPECT_EQ(cs.CreateCb(32, &handle, uapi::kHlCbFlagsMap), cs.gaudi2 ? 0 : ENOMEM);
    uapi::hl_cb_args args{};
    args.in = {
        .cb_handle = handle, .op = uapi::kHlCbOpInfo, .cb_size = 0, .ctx_id = 0, .flags = uapi::kHlCbFlagsGetDeviceVa};
    EXPECT_EQ(cs.Cb(args), cs.gaudi2 ? 0 : EINVAL);
    if (cs.gaudi2) {
      EXPECT_EQ(args.out.device_va, cs.h.device().properties().host.start);
    }
    uint64_t plain = 0;
    ASSERT_EQ(cs.CreateCb(32, &plain), 0);
    args.in = {
        .cb_handle = plain, .op = uapi::kHlCbOpInfo, .cb_size = 0, .ctx_id = 0, .flags = uapi::kHlCbFlagsGetDeviceVa};
    EXPECT_EQ(cs.Cb(args), EINVAL);
    args.in = {.cb_handle = plain, .op = uapi::kHlCbOpInfo, .cb_size = 0, .ctx_id = 0, .flags = 0};
    EXPECT_EQ(cs.Cb(args), 0);
    EXPECT_EQ(args.out.info.usage_cnt, 0u);
    args.in = {.cb_handle = 0x99000, .op = uapi::kHlCbOpInfo, .cb_size = 0, .ctx_id = 0, .flags = 0};
    EXPECT_EQ(cs.Cb(args), EINVAL);
    args.in.op = 7;
    EXPECT_EQ(cs.Cb(args), EINVAL);
    cs.h.device().set_status(uapi::kHlStatusInReset);
    EXPECT_EQ(cs.CreateCb(32, &handle), EBUSY);
  }
}

// ---- CS: specs section 6

TEST(CommandSubmission, NopsInSequence) {
  for (const Asic asic : kEveryAsic) {
    for (const Flavour flavour : kEveryFlavour) {
      Cs cs({.asic = asic, .flavour = flavour});
      const auto chunk = cs.Chunk(0, Cs::Nop());
      for (uint64_t n = 1; n <= 300; ++n) {
        uint64_t seq = 0;
        ASSERT_EQ(cs.Submit({chunk}, &seq), 0);
        EXPECT_EQ(seq, n);
        uapi::hl_wait_cs_args reply;
        ASSERT_EQ(cs.Wait(seq, &reply), 0);
        EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
        EXPECT_EQ(reply.out.flags, 0u);
      }
      EXPECT_EQ(cs.h.device().submission().ActiveCs(), 0u);
      EXPECT_TRUE(cs.h.device().board().engines().Idle());
    }
  }
}

TEST(CommandSubmission, DataDownAndUp) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    const uint64_t dram = cs.Dram();
    std::vector<std::byte> data(0x10000);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + i / 256);
    ASSERT_TRUE(cs.h.task.user.CopyTo(kUserHost, data).has_value());
    cs.SubmitAndWait({cs.Chunk(0, cs.Copy(cs.host_va, dram, 0x10000))});
    cs.SubmitAndWait({cs.Chunk(4, cs.Copy(dram, cs.host_va + 0x20000, 0x10000))});
    std::vector<std::byte> back(data.size());
    ASSERT_TRUE(cs.h.task.user.CopyFrom(back, kUserHost + 0x20000).has_value());
    EXPECT_EQ(back, data);
  }
}

// Specs 6.2, 6.3, 11.4: each refusal, and that a refused submission leaves seq all-ones and the rc in status.
TEST(CommandSubmission, ErrnoTable) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    const bool g2 = cs.gaudi2;
    const auto good = cs.Chunk(0, Cs::Nop());
    const auto with = [&](auto change) {
      uapi::hl_cs_chunk chunk = good;
      change(chunk);
      return chunk;
    };
    uint64_t seq = 0;
    uapi::hl_cs_args reply;
    const auto expect = [&](const char* what, const uapi::hl_cs_chunk& chunk, int want, uint32_t flags = 0) {
      SCOPED_TRACE(what);
      EXPECT_EQ(cs.Submit({chunk}, &seq, flags, &reply), want);
      if (want == 0) return;
      EXPECT_EQ(reply.out.seq, UINT64_MAX);
      EXPECT_EQ(static_cast<int32_t>(reply.out.status), -want);
    };
    expect("queue out of range", with([&](auto& c) { c.queue_index = 500; }), EINVAL);
    expect("the driver's queue", with([&](auto& c) { c.queue_index = g2 ? 260 : 8; }), EINVAL);
    expect("a NIC queue", with([&](auto& c) { c.queue_index = g2 ? 156 : 73; }), EINVAL);
    if (g2) {
      expect("no USER_ALLOC_CB", with([&](auto& c) { c.cs_chunk_flags = 0; }), EINVAL);
      expect("address outside every range", with([&](auto& c) { c.cb_handle = 0x1234; }), EFAULT);
      expect("staged", good, EPERM, uapi::kHlCsStaged | uapi::kHlCsStagedFirst);
      expect("all PDMA streams are served", with([&](auto& c) { c.queue_index = 7; }), 0);
    } else {
      expect("unknown handle", with([&](auto& c) { c.cb_handle = 0x77000; }), EINVAL);
      expect("too short", with([&](auto& c) { c.cb_size = 4; }), EINVAL);
      expect("longer than the buffer", with([&](auto& c) { c.cb_size = 8192; }), EINVAL);
      expect("internal queues only", with([&](auto& c) {
               c.queue_index = 9;
               c.cb_handle = cs.Dram();
             }),
             EINVAL);
      expect("internal queue, bad address", with([&](auto& c) {
               c.queue_index = 9;
               c.cb_handle = 0x10;
             }),
             EFAULT);
      for (const auto& [opcode, want] : {std::pair(Opcode::kMsgProt, EPERM),
                                         {Opcode::kCpDma, EPERM},
                                         {Opcode::kStop, EPERM},
                                         {Opcode::kWregBulk, EPERM},
                                         {Opcode::kWait, EINVAL},
                                         {Opcode::kCbList, EINVAL}}) {
        expect("packet", cs.Chunk(0, {0, static_cast<uint32_t>(opcode) << 24, 0, 0}), want);
      }
      expect("cut short", cs.Chunk(0, {0, static_cast<uint32_t>(Opcode::kLinDma) << 24}), EINVAL);
    }
    uapi::hl_cs_args args{};
    EXPECT_EQ(cs.Submit(args), EINVAL);  // no chunks
    args = {};
    args.in.num_chunks_execute = 1;
    args.in.chunks_execute = kUserNothing;
    EXPECT_EQ(cs.Submit(args), EFAULT);
    args = {};
    args.in.num_chunks_execute = 513;
    args.in.chunks_execute = kChunks;
    EXPECT_EQ(cs.Submit(args), EINVAL);
    expect("two types", good, EINVAL, uapi::kHlCsSignal | uapi::kHlCsWait);
    expect("collective wait without NIC ports", good, EINVAL, uapi::kHlCsCollectiveWait);
    args = {};
    args.in.num_chunks_execute = 1;
    args.in.pad = 1;
    EXPECT_EQ(cs.Submit(args), EINVAL);
    for (const uint32_t flag : {uapi::kHlCsEngineCoreCommand, uapi::kHlCsEnginesCommand}) {
      args = {};
      args.in.engine_cores = kChunks;
      args.in.engine = {.count = 1, .command = uapi::kHlEngineCoreRun};
      args.in.cs_flags = flag;
      EXPECT_EQ(cs.Submit(args), g2 ? 0 : EPERM);
    }
    args = {};
    args.in.cs_flags = uapi::kHlCsFlushPciHbwWrites;
    EXPECT_EQ(cs.Submit(args), g2 ? 0 : EOPNOTSUPP);

    cs.h.device().set_status(uapi::kHlStatusInReset);
    expect("in reset", good, EBUSY);
    EXPECT_EQ(cs.Wait(1), EBUSY);
  }
}

// The last number of submissions that may be under way, and the argument that EAGAIN leaves alone.
TEST(CommandSubmission, InFlightLimitOfGaudi2) {
  Cs cs(Asic::kGaudi2);
  const auto stuck = cs.Chunk(0, Cs::Stuck());
  uint64_t seq = 0;
  for (int n = 0; n < 64; ++n) ASSERT_EQ(cs.Submit({stuck}, &seq), 0);
  uapi::hl_cs_args args{};
  args.in.chunks_execute = kChunks;
  args.in.num_chunks_execute = 1;
  const uapi::hl_cs_args sent = args;
  EXPECT_EQ(cs.Submit(args), EAGAIN);
  EXPECT_EQ(std::memcmp(&args, &sent, sizeof(args)), 0);
  EXPECT_GT(cs.h.device().cs_counters().max_cs_in_flight_drop_cnt.load(), 0u);
}

TEST(CommandSubmission, WaitTable) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    uapi::hl_wait_cs_args reply;
    EXPECT_EQ(cs.Wait(1, &reply), EINVAL);  // never issued
    uint64_t seq = 0;
    ASSERT_EQ(cs.Submit({cs.Chunk(0, Cs::Stuck())}, &seq), 0);
    EXPECT_EQ(cs.Wait(seq, &reply, 0), 0);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
    EXPECT_EQ(cs.Wait(seq, &reply, 100), 0);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
    EXPECT_EQ(cs.Wait(seq, &reply, uint64_t{1} << 32), 0);  // its low 32 bits: a poll
    EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
    // A reset ends it.
    EXPECT_TRUE(cs.h.device().Reset(kResetHard).has_value());
    cs.h.work.Advance(std::chrono::seconds(0));
    cs.h.device().set_status(uapi::kHlStatusOperational);
    EXPECT_EQ(cs.Wait(seq, &reply), EIO);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitAborted);
  }
}

// Specs 6.5: the oldest submission's timer; its waiters get ETIMEDOUT and the device is reset.
TEST(CommandSubmission, TimeOut) {
  Cs cs({.asic = Asic::kGaudi2, .flavour = Flavour::kMisc});
  const auto stuck = cs.Chunk(0, Cs::Stuck());
  uapi::hl_cs_args args{};
  ASSERT_TRUE(cs.h.task.user.Write(kChunks, stuck).has_value());
  args.in.chunks_execute = kChunks;
  args.in.num_chunks_execute = 1;
  args.in.cs_flags = uapi::kHlCsCustomTimeout;
  args.in.timeout = 1;
  ASSERT_EQ(cs.Submit(args), 0);
  const uint64_t seq = args.out.seq;
  while (cs.h.device().status() == uapi::kHlStatusOperational) {
  }
  // The timer's thread queues the reset after it has changed the status.
  uapi::hl_wait_cs_args reply;
  int rc = 0;
  do {
    cs.h.work.Advance(std::chrono::seconds(0));
    cs.h.device().set_status(uapi::kHlStatusOperational);
    rc = cs.Wait(seq, &reply, 0);
  } while (rc == 0 && reply.out.status == uapi::kHlWaitBusy);
  EXPECT_EQ(rc, ETIMEDOUT);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitTimedOut);
}

// hl-thunk timestamp_status_gone, in small: the record is overwritten, the outcome is kept once.
TEST(CommandSubmission, TimestampsAndGone) {
  Cs cs(Asic::kGaudi2);
  const auto chunk = cs.Chunk(0, Cs::Nop());
  uint64_t stamped = 0, plain = 0, seq = 0;
  ASSERT_EQ(cs.Submit({chunk}, &stamped, uapi::kHlCsTimestamp), 0);
  ASSERT_EQ(cs.Submit({chunk}, &plain), 0);
  uapi::hl_wait_cs_args reply;
  ASSERT_EQ(cs.Wait(stamped, &reply), 0);
  EXPECT_EQ(reply.out.flags, uapi::kHlWaitFlagTimestamp);
  const int64_t time = reply.out.timestamp_nsec;
  EXPECT_GT(time, 0);
  for (int n = 0; n < 70; ++n) {
    ASSERT_EQ(cs.Submit({chunk}, &seq), 0);
    ASSERT_EQ(cs.Wait(seq), 0);
  }
  ASSERT_EQ(cs.Wait(stamped, &reply), 0);
  EXPECT_EQ(reply.out.flags, uapi::kHlWaitFlagTimestamp);
  EXPECT_EQ(reply.out.timestamp_nsec, time);
  ASSERT_EQ(cs.Wait(stamped, &reply), 0);
  EXPECT_EQ(reply.out.flags, uapi::kHlWaitFlagGone);
  ASSERT_EQ(cs.Wait(plain, &reply), 0);
  EXPECT_EQ(reply.out.flags, uapi::kHlWaitFlagGone);
}

// SIGNAL and WAIT on two queues, across the change to the other SOB.
TEST(CommandSubmission, SignalAndWait) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    for (int n = 0; n < 100; ++n) {
      uapi::hl_cs_chunk chunk{};
      chunk.queue_index = 0;
      uint64_t signal = 0, wait = 0;
      uapi::hl_cs_args reply;
      ASSERT_EQ(cs.Submit({chunk}, &signal, uapi::kHlCsSignal, &reply), 0);
      EXPECT_EQ(reply.out.sob_count_before_submission, n + 1);  // read after the count went on
      EXPECT_EQ(reply.out.sob_base_addr_offset, cs.gaudi2 ? 0u : 0x492000u + 128 * 4);
      ASSERT_TRUE(cs.h.task.user.Write(kUserOut, signal).has_value());
      chunk = {};
      chunk.queue_index = 4;
      chunk.signal_seq_arr = kUserOut;
      chunk.num_signal_seq_arr = 1;
      ASSERT_EQ(cs.Submit({chunk}, &wait, uapi::kHlCsWait), 0);
      if (wait != UINT64_MAX) {
        EXPECT_EQ(cs.Wait(wait), 0);
      }
      EXPECT_EQ(cs.Wait(signal), 0);
    }
    // What is no signal, and what is no array.
    uint64_t nop = 0, seq = 0;
    ASSERT_EQ(cs.Submit({cs.Chunk(0, Cs::Nop())}, &nop), 0);
    ASSERT_TRUE(cs.h.task.user.Write(kUserOut, nop).has_value());
    uapi::hl_cs_chunk chunk{};
    chunk.queue_index = 4;
    chunk.signal_seq_arr = kUserOut;
    chunk.num_signal_seq_arr = 1;
    EXPECT_EQ(cs.Submit({chunk}, &seq, uapi::kHlCsWait), EINVAL);
    chunk.num_signal_seq_arr = 2;
    EXPECT_EQ(cs.Submit({chunk}, &seq, uapi::kHlCsWait), EINVAL);
    chunk.num_signal_seq_arr = 1;
    chunk.signal_seq_arr = kUserNothing;
    EXPECT_EQ(cs.Submit({chunk}, &seq, uapi::kHlCsWait), EFAULT);
  }
}

TEST(CommandSubmission, EncapsulatedSignals) {
  Cs cs(Asic::kGaudi);
  const auto reserve = [&](uint32_t count, uapi::hl_cs_args* reply) {
    *reply = {};
    reply->in.encaps_signals = {.count = count, .q_idx = 0};
    reply->in.cs_flags = uapi::kHlCsReserveSignals;
    return cs.Submit(*reply);
  };
  const auto unreserve = [&](uint32_t handle) {
    uapi::hl_cs_args args{};
    args.in.encaps_sig_handle_id = handle;
    args.in.cs_flags = uapi::kHlCsUnreserveSignals;
    return cs.Submit(args);
  };
  uapi::hl_cs_args first, second;
  EXPECT_EQ(reserve(32768, &first), EINVAL);
  ASSERT_EQ(reserve(10, &first), 0);
  EXPECT_EQ(first.out.reserved.handle_id, 1u);
  EXPECT_EQ(first.out.reserved.count, 11u);
  ASSERT_EQ(reserve(10, &second), 0);
  EXPECT_EQ(unreserve(1), EINVAL);  // not the latest
  EXPECT_EQ(unreserve(9), EINVAL);
  EXPECT_EQ(unreserve(2), 0);
  EXPECT_EQ(unreserve(1), 0);
}

// Gaudi: parts under one number; done when the last part is.
TEST(CommandSubmission, Staged) {
  Cs cs(Asic::kGaudi);
  uint64_t first = 0, seq = 0;
  const auto chunk = cs.Chunk(0, Cs::Nop());
  ASSERT_EQ(cs.Submit({chunk}, &first, uapi::kHlCsStaged | uapi::kHlCsStagedFirst), 0);
  uapi::hl_wait_cs_args reply;
  ASSERT_EQ(cs.Wait(first, &reply, 1000), 0);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
  const auto more = [&](uint64_t of, uint32_t flags) {
    EXPECT_TRUE(cs.h.task.user.Write(kChunks, chunk).has_value());
    uapi::hl_cs_args args{};
    args.in.chunks_execute = kChunks;
    args.in.num_chunks_execute = 1;
    args.in.seq = of;
    args.in.cs_flags = uapi::kHlCsStaged | flags;
    const int rc = cs.Submit(args);
    seq = args.out.seq;
    return rc;
  };
  EXPECT_EQ(more(999, 0), EINVAL);
  EXPECT_EQ(more(first, 0), 0);
  EXPECT_EQ(seq, first);
  EXPECT_EQ(more(first, uapi::kHlCsStagedLast), 0);
  ASSERT_EQ(cs.Wait(first, &reply), 0);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
  EXPECT_EQ(more(first, 0), EINVAL);  // finished
}

TEST(CommandSubmission, MultiCs) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    uint64_t stuck = 0, quick = 0;
    ASSERT_EQ(cs.Submit({cs.Chunk(1, Cs::Stuck())}, &stuck), 0);
    ASSERT_EQ(cs.Submit({cs.Chunk(4, Cs::Nop())}, &quick), 0);
    const uint64_t seqs[2] = {stuck, quick};
    ASSERT_TRUE(cs.h.task.user.CopyTo(kUserOut, std::as_bytes(std::span(seqs))).has_value());
    const auto wait = [&](uint64_t array, uint8_t count, uint64_t timeout, uapi::hl_wait_cs_args* reply) {
      *reply = {};
      reply->in.cs = {.seq = array, .timeout_us = timeout};
      reply->in.flags = uapi::kHlWaitMultiCs;
      reply->in.multi.seq_arr_len = count;
      return cs.h.Ioctl(*cs.file, uapi::HlIoctlH(uapi::kHlWaitCs), *reply);
    };
    uapi::hl_wait_cs_args reply;
    if (cs.gaudi2) {
      EXPECT_EQ(wait(kUserOut, 2, kForever, &reply), EPERM);
      continue;
    }
    ASSERT_EQ(wait(kUserOut, 2, kForever, &reply), 0);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
    EXPECT_EQ(reply.out.cs_completion_map, 2u);
    ASSERT_EQ(wait(kUserOut, 1, 1000, &reply), 0);
    EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
    EXPECT_EQ(wait(kUserOut, 33, 0, &reply), EINVAL);
    EXPECT_EQ(wait(kUserNothing, 2, 0, &reply), EFAULT);
    const uint64_t unknown = 99;
    ASSERT_TRUE(cs.h.task.user.Write(kUserOut, unknown).has_value());
    EXPECT_EQ(wait(kUserOut, 1, 0, &reply), EINVAL);
  }
}

// Gaudi2: a completion queue's counter in a CB, an interrupt, and times that the driver writes.
TEST(CommandSubmission, UserInterrupts) {
  Cs cs(Asic::kGaudi2);
  const uint32_t id = cs.h.device().properties().first_available_interrupt_id + 3u;
  uint64_t cb = 0;
  ASSERT_EQ(cs.CreateCb(8, &cb, uapi::kHlCbFlagsMap), 0);
  std::byte* const counter = cs.Bytes(cb, kPageSize);
  uapi::hl_mem_args mem{};
  mem.in.op = uapi::kHlMemOpTsAlloc;
  mem.in.num_of_elements = 10;
  ASSERT_EQ(cs.h.Memory(*cs.file, mem), 0);
  const uint64_t times = mem.out.handle;
  std::byte* const slots = cs.Bytes(times, kPageSize);
  ASSERT_NE(slots, nullptr);
  const auto wait = [&](uint32_t which, uint64_t offset, uint64_t target, uint64_t timeout, uint32_t flags,
                        uapi::hl_wait_cs_args* reply) {
    *reply = {};
    reply->in.interrupt.cq_counters_handle = cb;
    reply->in.interrupt.target = target;
    reply->in.flags = uapi::kHlWaitInterrupt | uapi::kHlWaitInterruptKernelCq | flags | which << 20;
    reply->in.interrupt_timeout_us = timeout;
    reply->in.cq_counters_offset = offset;
    reply->in.timestamp_handle = times;
    reply->in.timestamp_offset = 2;
    return cs.h.Ioctl(*cs.file, uapi::HlIoctlH(uapi::kHlWaitCs), *reply);
  };
  uapi::hl_wait_cs_args reply;
  EXPECT_EQ(wait(5000 & 0xfff, 0, 1, 0, 0, &reply), EINVAL);
  EXPECT_EQ(wait(id, 512, 1, 0, 0, &reply), EINVAL);
  EXPECT_EQ(wait(id, 0, 1, 0, 0, &reply), 0);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitBusy);
  EXPECT_EQ(wait(id, 0, 100, 0, uapi::kHlWaitRegisterInterrupt, &reply), 0);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
  uint64_t time = 0;
  std::memcpy(&time, slots + 16, sizeof(time));
  EXPECT_EQ(time, 0u);
  // The counter and the doorbell, from a queue.
  uapi::hl_cb_args info{};
  info.in = {.cb_handle = cb, .op = uapi::kHlCbOpInfo, .cb_size = 0, .ctx_id = 0, .flags = uapi::kHlCbFlagsGetDeviceVa};
  ASSERT_EQ(cs.Cb(info), 0);
  auto commands = Cs::MsgLong(info.out.device_va, 101);
  const auto ring = Cs::MsgLong(gaudi::kGaudi2Map.cfg_base + gaudi::kGaudi2MsixDoorbell, id);
  commands.insert(commands.end(), ring.begin(), ring.end());
  uint64_t seq = 0;
  ASSERT_EQ(cs.Submit({cs.Chunk(0, commands)}, &seq), 0);
  EXPECT_EQ(wait(0xfff, 0, 100, UINT64_MAX, 0, &reply), 0);
  EXPECT_EQ(reply.out.status, uapi::kHlWaitCompleted);
  EXPECT_EQ(reply.out.flags, uapi::kHlWaitFlagTimestamp);
  ASSERT_EQ(cs.Wait(seq), 0);
  uint64_t value = 0;
  std::memcpy(&value, counter, sizeof(value));
  EXPECT_EQ(value, 101u);
  std::memcpy(&time, slots + 16, sizeof(time));
  EXPECT_GT(time, 0u);

  Cs gaudi(Asic::kGaudi);
  reply = {};
  reply.in.flags = uapi::kHlWaitInterrupt | 1u << 20;
  EXPECT_EQ(gaudi.h.Ioctl(*gaudi.file, uapi::HlIoctlH(uapi::kHlWaitCs), reply), EPERM);
}

TEST(CommandSubmission, TimestampBufferErrnos) {
  Cs cs(Asic::kGaudi2);
  for (const auto& [count, want] : {std::pair(0u, ENOMEM), {1u, 0}, {1u << 20, 0}, {(1u << 20) + 1, EINVAL}}) {
    uapi::hl_mem_args mem{};
    mem.in.op = uapi::kHlMemOpTsAlloc;
    mem.in.num_of_elements = count;
    EXPECT_EQ(cs.h.Memory(*cs.file, mem), want) << count;
  }
}

// FORCE_RESTORE: the restore chunks run first, as a submission of their own.
TEST(CommandSubmission, RestorePhase) {
  Cs cs(Asic::kGaudi);
  const uint64_t sram = cs.h.device().properties().sram_user_base_address;
  const uapi::hl_cs_chunk chunks[2] = {cs.Chunk(0, Cs::MsgLong(sram, 1)), cs.Chunk(0, Cs::MsgLong(sram, 2))};
  ASSERT_TRUE(cs.h.task.user.CopyTo(kChunks, std::as_bytes(std::span(chunks))).has_value());
  uapi::hl_cs_args args{};
  args.in.chunks_restore = kChunks;
  args.in.num_chunks_restore = 1;
  args.in.chunks_execute = kChunks + sizeof(chunks[0]);
  args.in.num_chunks_execute = 1;
  args.in.cs_flags = uapi::kHlCsForceRestore;
  ASSERT_EQ(cs.Submit(args), 0);
  EXPECT_EQ(args.out.seq, 2u);
  ASSERT_EQ(cs.Wait(2), 0);
  uint32_t value = 0;
  EXPECT_TRUE(cs.h.device().board().engines().ReadMemory(sram, std::as_writable_bytes(std::span(&value, 1))));
  EXPECT_EQ(value, 2u);
}

// Close with work under way: later kernels reset the device and the next open works when that is over.
TEST(CommandSubmission, CloseWithWorkUnderWay) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    uint64_t seq = 0;
    ASSERT_EQ(cs.Submit({cs.Chunk(0, Cs::Stuck())}, &seq), 0);
    cs.file.Reset();
    EXPECT_EQ(cs.h.OpenErrno(), EAGAIN);
    cs.h.work.Advance(std::chrono::seconds(5));
    EXPECT_EQ(cs.h.OpenErrno(), 0);
  }
}

// hl-thunk sob_cleanup: what a program left in the sync manager is gone for the next.
TEST(CommandSubmission, SyncObjectsAreZeroForTheNextUser) {
  for (const Asic asic : kEveryAsic) {
    Cs cs(asic);
    const uint32_t sob = gaudi::SyncManagerBase(asic, cs.gaudi2 ? 0 : gaudi::kGaudiSmEastNorth) + 500 * 4;
    cs.SubmitAndWait({cs.Chunk(0, Cs::MsgLong(gaudi::MapOf(asic).cfg_base + sob, 5))});
    EXPECT_EQ(cs.h.device().board().engines().ReadRegister(sob), 5u);
    cs.file.Reset();
    EXPECT_EQ(cs.h.device().board().engines().ReadRegister(sob), 0u);
    cs.file = *cs.h.Open();
  }
}

}  // namespace
}  // namespace causeway::habanalabs
