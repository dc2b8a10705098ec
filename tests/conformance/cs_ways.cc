// SPDX-License-Identifier: Apache-2.0
// What hl-thunk's test programs check of command submission, on the uAPI alone, on a Gaudi or a Gaudi2:
//
//   cs_ways NODE CASE     exit 0, or 1 and what was not as it should be
//
// A case stands for the tests of hl-thunk that its comment names. Nothing is timed: where work must not have ended yet,
// a fence that this program opens later holds it up.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include "cs_device.h"

namespace causeway::conformance {
namespace {

// test_cs_nop_64PQE, test_cs_msg_long_2000, test_cs_cq_wrap_around: many buffers in one submission, more submissions
// than a queue has entries, packets in order.
void Many(Device& d) {
  d.Finish(d.Submit(std::vector<uapi::hl_cs_chunk>(64, d.Chunk(0, Packets().Nop()))));
  const auto nop = d.Chunk(0, Packets().Nop());
  uint64_t last = 0;
  for (int n = 0; n < 5000; ++n) {
    const uint64_t seq = d.Submit({nop});
    EXPECT(seq > last);
    last = seq;
  }
  d.Finish(last);
  Packets stores;
  for (uint32_t n = 0; n < 200; ++n) stores.Store(d.Scratch(), n);
  d.Run(0, stores);
  EXPECT(d.Load(d.Scratch()) == 199);
}

// test_cs_two_streams_with_fence: a stream waits until another's sync object fires a monitor.
void Fences(Device& d) {
  Packets waits, signals;
  d.Run(0, Packets().Store(d.Sob(0), 0).Store(d.Scratch(), 0));
  d.Watch(waits, 0, 0, 2, d.FenceOf(1)).Fence().Store(d.Scratch(), 7);
  const uint64_t waiting = d.Submit(1, waits);
  d.Run(0, signals.Store(d.Sob(0), 0x80000001));
  EXPECT(!d.Done(waiting));
  EXPECT(d.Load(d.Scratch()) == 0);
  d.Run(0, Packets().Store(d.Sob(0), 0x80000001));
  d.Finish(waiting);
  EXPECT(d.Load(d.Scratch()) == 7);
}

// test_cs_two_streams_with_{priority,wrr}_arb: streams that a fence lets go together are compared by priority.
void Arbiter(Device& d) {
  const uint64_t config = d.Cfg(d.Qman(0) + gaudi::QmanRegistersOf(d.asic).arb_cfg0);
  for (const uint32_t type : {0u, gaudi::kArbTypeWrr}) {
    for (const uint32_t first : {0u, 1u}) {
      d.Run(2, Packets().Store(config, type | kArbiter).Store(d.Scratch(), 0).Store(d.Scratch(1), 0));
      uint64_t seq[2];
      for (uint32_t stream = 0; stream < 2; ++stream) {
        const uint32_t priority = stream == first ? 2 : 1;
        Packets work;
        work.Fence().Take(priority).Release().Take(priority);
        work.Store(d.Scratch(), stream + 1).Store(d.Scratch(1 + stream), stream + 1).Release();
        seq[stream] = d.Submit(stream, work);
      }
      d.Run(2, Packets().Take(3).Release().Store(d.FenceOf(0), 1).Store(d.FenceOf(1), 1));
      d.Finish(seq[0]);
      d.Finish(seq[1]);
      EXPECT(d.Load(d.Scratch(1)) == 1 && d.Load(d.Scratch(2)) == 2);
      if (type == 0) EXPECT(d.Load(d.Scratch()) == 2 - first);  // the last is the one of lower priority
    }
  }
  d.Run(2, Packets().Store(config, 0));
}

// test_signal_wait, _parallel, _dma: the driver's own sync objects. The signal is held up by a fence before it.
void SignalWait(Device& d) {
  d.Run(4, Packets().Store(d.Scratch(), 0));
  uint32_t before = 0;
  for (int round = 0; round < 20; ++round) {
    const uint64_t held = d.Submit(0, Packets().Fence());
    uapi::hl_cs_chunk chunk = {};
    uapi::hl_cs_args args = {};
    EXPECT(d.TrySubmit({chunk}, uapi::kHlCsSignal, &args) == 0);
    uint64_t signal = args.out.seq;
    EXPECT(signal == held + 1);
    EXPECT(round == 0 || args.out.sob_count_before_submission == before + 1);
    before = args.out.sob_count_before_submission;
    chunk.queue_index = 4;
    chunk.signal_seq_arr = reinterpret_cast<uint64_t>(&signal);
    chunk.num_signal_seq_arr = 1;
    const uint64_t wait = d.Submit({chunk}, uapi::kHlCsWait);
    const uint64_t after = d.Submit(4, Packets().Store(d.Scratch(), 11));
    EXPECT(!d.Done(signal) && !d.Done(wait) && !d.Done(after));
    d.Run(1, Packets().Store(d.FenceOf(0), 1));
    d.Finish(after);
    d.Finish(wait);
    d.Finish(signal);
    EXPECT(d.Submit({chunk}, uapi::kHlCsWait) == UINT64_MAX);  // signalled already: nothing to wait for
    chunk.num_signal_seq_arr = 2;
    args = {};
    EXPECT(d.TrySubmit({chunk}, uapi::kHlCsWait, &args) == EINVAL);
    args = {};
    signal = after;
    chunk.num_signal_seq_arr = 1;
    EXPECT(d.TrySubmit({chunk}, uapi::kHlCsWait, &args) == EINVAL);  // no signal
  }
  EXPECT(d.Load(d.Scratch()) == 11);
  uapi::hl_cs_chunk chunk = {};
  uapi::hl_cs_args args = {};
  EXPECT(d.TrySubmit({chunk}, uapi::kHlCsCollectiveWait, &args) == EINVAL);  // there are no NIC ports
}

// test_encaps_signal_wait, _parallel: signals that a staged submission's own packets give.
void EncapsulatedSignals(Device& d) {
  const auto reserve = [&](uint32_t count, uapi::hl_cs_args* args) {
    *args = {};
    args->in.encaps_signals = {.count = count, .q_idx = 0};
    args->in.cs_flags = uapi::kHlCsReserveSignals;
    return d.Call(uapi::kHlCs, *args);
  };
  const auto unreserve = [&](uint32_t handle) {
    uapi::hl_cs_args args = {};
    args.in.encaps_sig_handle_id = handle;
    args.in.cs_flags = uapi::kHlCsUnreserveSignals;
    return d.Call(uapi::kHlCs, args);
  };
  uapi::hl_cs_args first, second;
  EXPECT(reserve(32768, &first) == EINVAL);
  EXPECT(reserve(4, &first) == 0);
  EXPECT(reserve(3, &second) == 0);
  EXPECT(second.out.reserved.count == first.out.reserved.count + 3);
  EXPECT(unreserve(first.out.reserved.handle_id) == EINVAL);  // not the latest
  EXPECT(unreserve(second.out.reserved.handle_id) == 0);
  if (d.gaudi2) {
    EXPECT(unreserve(first.out.reserved.handle_id) == 0);
    return;
  }
  d.Run(4, Packets().Store(d.Scratch(), 0));
  const uint64_t sob = d.Cfg(first.out.sob_base_addr_offset);
  uapi::hl_cs_args args = {};
  args.in.encaps_sig_handle_id = first.out.reserved.handle_id;
  Packets signals;
  signals.Fence();
  for (int n = 0; n < 4; ++n) signals.Store(sob, 0x80000001);
  const auto work = d.Chunk(0, signals);
  EXPECT(d.TrySubmit({work}, uapi::kHlCsStaged | uapi::kHlCsStagedFirst | uapi::kHlCsEncapSignals, &args) == 0);
  const uint64_t seq = args.out.seq;
  uapi::hl_cs_chunk wait = {};
  wait.queue_index = 4;
  wait.encaps_signal_seq = seq;
  wait.encaps_signal_offset = 5;
  args = {};
  EXPECT(d.TrySubmit({wait}, uapi::kHlCsWait | uapi::kHlCsEncapSignals, &args) == EINVAL);  // more than reserved
  wait.encaps_signal_offset = 4;
  const uint64_t waiting = d.Submit({wait}, uapi::kHlCsWait | uapi::kHlCsEncapSignals);
  EXPECT(waiting != UINT64_MAX);
  const uint64_t after = d.Submit(4, Packets().Store(d.Scratch(), 5));
  EXPECT(!d.Done(after));
  d.Run(1, Packets().Store(d.FenceOf(0), 1));
  d.Finish(after);
  d.Finish(waiting);
  const auto end = d.Chunk(0, Packets().Nop());
  args = {};
  args.in.seq = seq;
  EXPECT(d.TrySubmit({end}, uapi::kHlCsStaged | uapi::kHlCsStagedLast, &args) == 0);
  d.Finish(seq);
}

// test_staged_submission_256_threads: parts under one number, done when the last is; other threads' parts in between.
void Staged(Device& d) {
  const auto part = d.Chunk(0, Packets().Nop());
  uapi::hl_cs_args args = {};
  if (d.gaudi2) {
    EXPECT(d.TrySubmit({part}, uapi::kHlCsStaged | uapi::kHlCsStagedFirst, &args) == EPERM);
    return;
  }
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 16; ++thread) {
    threads.emplace_back([&] {
      const uint64_t first = d.Submit({part}, uapi::kHlCsStaged | uapi::kHlCsStagedFirst);
      const auto more = [&](uint32_t flags) {
        uapi::hl_cs_args stage = {};
        stage.in.seq = first;
        const int rc = d.TrySubmit({part}, uapi::kHlCsStaged | flags, &stage);
        EXPECT(rc != 0 || stage.out.seq == first);
        return rc;
      };
      for (int n = 0; n < 8; ++n) EXPECT(more(0) == 0);
      EXPECT(!d.Done(first));
      EXPECT(more(uapi::kHlCsStagedLast) == 0);
      d.Finish(first);
      EXPECT(more(0) == EINVAL);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// test_wait_for_cs_with_timestamp, _status_gone: times of completion, kept when the submission's record is gone.
void Timestamps(Device& d) {
  const auto nop = d.Chunk(0, Packets().Nop());
  const uint64_t plain = d.Submit({nop});
  const uint64_t first = d.Submit({nop}, uapi::kHlCsTimestamp);
  d.Finish(first);
  const uint64_t second = d.Submit({nop}, uapi::kHlCsTimestamp);
  const auto answer = d.Wait(second);
  EXPECT(answer.out.flags == uapi::kHlWaitFlagTimestamp);
  EXPECT(answer.out.timestamp_nsec > d.Wait(first).out.timestamp_nsec);
  EXPECT(d.Wait(plain).out.flags == 0);
  const int records = d.gaudi2 ? 64 : 16384;
  uint64_t last = 0;
  for (int n = 0; n < records; ++n) last = d.Submit({nop});
  d.Finish(last);
  EXPECT(d.Wait(plain).out.flags == uapi::kHlWaitFlagGone);
  EXPECT(d.Wait(second).out.timestamp_nsec == answer.out.timestamp_nsec);
  EXPECT(d.Wait(second).out.flags == uapi::kHlWaitFlagGone);  // reading it took it away
}

// test_wait_for_multi_cs_complete, _poll: which of several is done.
void MultiCs(Device& d) {
  const uint64_t seqs[] = {d.Submit(1, Packets().Fence()), d.Submit(4, Packets().Nop())};
  const auto wait = [&](size_t count, uint64_t timeout, uapi::hl_wait_cs_args* args) {
    *args = {};
    args->in.cs = {.seq = reinterpret_cast<uint64_t>(seqs), .timeout_us = timeout};
    args->in.flags = uapi::kHlWaitMultiCs;
    args->in.multi.seq_arr_len = static_cast<uint8_t>(count);
    return d.Call(uapi::kHlWaitCs, *args);
  };
  uapi::hl_wait_cs_args answer;
  if (d.gaudi2) {
    EXPECT(wait(2, kForever, &answer) == EPERM);
  } else {
    EXPECT(wait(2, kForever, &answer) == 0);
    EXPECT(answer.out.status == uapi::kHlWaitCompleted && answer.out.cs_completion_map == 2);
    EXPECT(wait(1, 0, &answer) == 0 && answer.out.status == uapi::kHlWaitBusy);
    EXPECT(wait(33, 0, &answer) == EINVAL);
    std::thread opener([&] { d.Run(0, Packets().Store(d.FenceOf(1), 1)); });
    EXPECT(wait(1, kForever, &answer) == 0);
    EXPECT(answer.out.status == uapi::kHlWaitCompleted && answer.out.cs_completion_map == 1);
    opener.join();
    return;
  }
  d.Run(0, Packets().Store(d.FenceOf(1), 1));
  d.Finish(seqs[0]);
}

// test_wait_for_interrupt, test_timestamp_registration: a completion queue of the sync manager counts in a mapped CB
// and raises an interrupt, for which a thread waits and which the driver dates.
void Interrupt(Device& d) {
  uapi::hl_wait_cs_args args = {};
  if (!d.gaudi2) {
    args.in.flags = uapi::kHlWaitInterrupt;
    EXPECT(d.Call(uapi::kHlWaitCs, args) == EPERM);
    return;
  }
  const uint32_t id = d.ip.first_available_interrupt_id + 3u;
  const uint64_t counters = d.CreateCb(0x1000, uapi::kHlCbFlagsMap);
  auto* const counter = reinterpret_cast<volatile uint64_t*>(d.MapCb(counters, 0x1000));
  uapi::hl_cb_args info = {};
  info.in.op = uapi::kHlCbOpInfo;
  info.in.cb_handle = counters;
  info.in.flags = uapi::kHlCbFlagsGetDeviceVa;
  EXPECT(d.Call(uapi::kHlCb, info) == 0);
  uapi::hl_mem_args times = {};
  times.in.op = uapi::kHlMemOpTsAlloc;
  times.in.num_of_elements = 4;
  EXPECT(d.Call(uapi::kHlMemory, times) == 0);
  auto* const stamps = reinterpret_cast<volatile uint64_t*>(d.MapCb(times.out.handle, 0x1000));

  const uint64_t global = d.Cfg(gaudi::SyncManagerGlobalBase(0)) + d.cq * 4;
  const uint64_t objects = d.Cfg(gaudi::SyncManagerBase(d.asic, 0));
  const gaudi::SyncManagerRegisters& r = gaudi::SyncManagerRegistersOf(d.asic);
  const uint32_t m = d.monitor * 4, group = d.sob / 8, mask = 0xffu & ~(1u << d.sob % 8);
  Packets setup;
  setup.Store(d.Sob(0), 0)
      .Store(global + gaudi::kSmCqBaseLo, static_cast<uint32_t>(info.out.device_va))
      .Store(global + gaudi::kSmCqBaseHi, static_cast<uint32_t>(info.out.device_va >> 32))
      .Store(global + gaudi::kSmCqSizeLog2, 3)
      .Store(global + gaudi::kSmCqIncMode, 1)
      .Store(global + gaudi::kSmCqLbwAddrLo, gaudi::kGaudi2MsixDoorbell)
      .Store(global + gaudi::kSmCqLbwAddrHi, 0)
      .Store(global + gaudi::kSmCqLbwData, id);
  d.Run(0, setup);
  const auto fire = [&] {  // a monitor that adds to the queue, armed and fired
    Packets packets;
    packets.Store(d.Sob(0), 0)
        .Store(objects + r.pay_addr_lo + m, d.cq)
        .Store(objects + r.pay_addr_hi + m, 0)
        .Store(objects + r.pay_data + m, 1)
        .Store(objects + r.config + m, 1u << 4 | 1u << 8 | (group >> 8) << 16)
        .Store(objects + r.arm + m, (group & 0xff) | mask << 8 | 1u << 16 | 1u << 17)
        .Store(d.Sob(0), 1);
    d.Run(0, packets);
  };
  const auto wait = [&](uint64_t target, uint64_t timeout, uint32_t flags, uint64_t slot) {
    args = {};
    args.in.interrupt = {.cq_counters_handle = counters, .target = target};
    args.in.flags = uapi::kHlWaitInterrupt | uapi::kHlWaitInterruptKernelCq | flags | id << 20;
    args.in.interrupt_timeout_us = timeout;
    args.in.timestamp_handle = times.out.handle;
    args.in.timestamp_offset = slot;
    EXPECT(d.Call(uapi::kHlWaitCs, args) == 0);
    return args.out.status;
  };
  EXPECT(wait(1, 0, 0, 0) == uapi::kHlWaitBusy);
  EXPECT(wait(2, 0, uapi::kHlWaitRegisterInterrupt, 1) == uapi::kHlWaitCompleted);
  fire();
  EXPECT(*counter == 1 && stamps[1] == 0);
  std::thread second(fire);
  EXPECT(wait(2, kForever, 0, 0) == uapi::kHlWaitCompleted);
  EXPECT((args.out.flags & uapi::kHlWaitFlagTimestamp) != 0);
  second.join();
  EXPECT(*counter == 2 && stamps[0] == 0 && stamps[1] != 0);
  EXPECT(wait(2, 0, uapi::kHlWaitRegisterInterrupt, 0) == uapi::kHlWaitCompleted);
  EXPECT(stamps[0] >= stamps[1]);
  args = {};
  args.in.flags = uapi::kHlWaitInterrupt | 11u << 20;  // no such interrupt
  EXPECT(d.Call(uapi::kHlWaitCs, args) == EINVAL);
}

// test_cs_load_pred_*, test_cs_load_scalars_exe_*, test_cs_cb_list, common_cb_unalign: what packets of the queues that
// the driver does not parse do: EDMA 0 with CP_DMA, LOAD_AND_EXE, CB_LIST.
void Packet(Device& d) {
  const uint32_t queue = d.gaudi2 ? 8 : 13;  // stream 0 of DCORE0's EDMA 0, of DMA3
  const auto run = [&](const Packets& packets) {
    if (d.gaudi2) return d.Run(queue, packets);
    // An internal queue's end is not told: a queue of the driver waits for its sync object.
    Packets all = packets, waits;
    all.Store(d.Sob(0), 1);
    d.Run(0, Packets().Store(d.Sob(0), 0));
    d.Watch(waits, 0, 0, 1, d.FenceOf(0)).Fence();
    d.Finish(d.Submit({d.Chunk(queue, all), d.Chunk(0, waits)}));
  };
  // Predicates: word n is P[n]; P[0] stays set.
  std::vector<uint32_t> predicates(32);
  predicates[5] = 1;
  Packets p;
  p.Store(d.Scratch(), 1).Store(d.Scratch(1), 1).Add(Opcode::kLoadAndExe, gaudi::kLoadLoad);
  p.Quad(d.Place(std::as_bytes(std::span(predicates)))).Store(d.Scratch(), 2, 5).Store(d.Scratch(1), 2, 6);
  predicates.assign(32, 1);
  p.Add(Opcode::kLoadAndExe, gaudi::kLoadLoad).Quad(d.Place(std::as_bytes(std::span(predicates))));
  run(p);
  EXPECT(d.Load(d.Scratch()) == 2 && d.Load(d.Scratch(1)) == 1);
  // Scalars are a packet: 16 bytes from R0 on, or 8 in R2 and R3.
  Packets scalar;
  scalar.Store(d.Scratch(), 3);
  Packets both;
  both.Add(Opcode::kLoadAndExe, gaudi::kLoadDstScalars | gaudi::kLoadLoad | gaudi::kLoadExecute)
      .Quad(d.Place(std::as_bytes(std::span(scalar.words()))));
  run(both);
  EXPECT(d.Load(d.Scratch()) == 3);
  // CP_DMA: the lower command processor, from an address that is a multiple of 8 only.
  Packets lower;
  lower.Nop().Store(d.Scratch(), 4);
  const uint64_t at = d.Place(std::as_bytes(std::span(lower.words())));
  Packets upper;
  upper.Add(Opcode::kCpDma, 16).Quad(at + 8);
  run(upper);
  EXPECT(d.Load(d.Scratch()) == 4);
  if (!d.gaudi2) return;
  // CB_LIST: entry `index` of a table of CP_DMA packets, run by the upper command processor.
  Packets last, table;
  last.Store(d.Scratch(), 5);
  table.Add(Opcode::kNop, 0).Quad(0).Add(Opcode::kCpDma, 16, gaudi::kCpDmaUpper);
  table.Quad(d.Place(std::as_bytes(std::span(last.words()))));
  const uint32_t index[2] = {1, 0};
  Packets list;
  list.Add(Opcode::kCbList, 0).Quad(d.Place(std::as_bytes(std::span(index))));
  list.Quad(d.Place(std::as_bytes(std::span(table.words()))));
  run(list);
  EXPECT(d.Load(d.Scratch()) == 5);
}

// test_dma_all2all_dram2dram: memory that nobody has written is moved, and neither time nor memory is spent on it. 50
// GiB.
void UntouchedMemory(Device& d) {
  uint64_t from = d.ip.dram_base_address;
  if (d.gaudi2) {
    uapi::hl_mem_args args = {};
    args.in.op = uapi::kHlMemOpAlloc;
    args.in.alloc.mem_size = 2 * d.ip.dram_page_size;
    EXPECT(d.Call(uapi::kHlMemory, args) == 0);
    const uint64_t handle = args.out.handle;
    args = {};
    args.in.op = uapi::kHlMemOpMap;
    args.in.map_device.handle = handle;
    EXPECT(d.Call(uapi::kHlMemory, args) == 0);
    from = args.out.device_virt_addr;
  }
  Packets copies;
  for (int n = 0; n < 100; ++n) {
    copies.Add(Opcode::kLinDma, 0x20000000, d.gaudi2 ? 0 : gaudi::kGaudiDmaLinear).Quad(from).Quad(from + 0x20000000);
  }
  d.Run(0, Packets().Store(from + 0x10000000, 9));
  d.Run(0, copies);
  EXPECT(d.Load(from + 0x30000000) == 9 && d.Load(from + 0x20000000) == 0);
}

// Ordinary memory, mapped for the device.
class HostBuffer {
 public:
  static constexpr size_t kBytes = size_t{1} << 16;
  explicit HostBuffer(Device& d) : d_(d) {
    void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    words = static_cast<uint32_t*>(memory);
    std::fill_n(words, kBytes / 4, 1);
    va = d.MapHost(words, kBytes);
  }
  void Unmap() {
    uapi::hl_mem_args args = {};
    args.in.op = uapi::kHlMemOpUnmap;
    args.in.unmap.device_virt_addr = va;
    EXPECT(d_.Call(uapi::kHlMemory, args) == 0);
  }
  uint32_t* words = nullptr;
  uint64_t va = 0;

 private:
  Device& d_;
};

// Program and device see each other's stores, in both ways in which a machine reaches host memory.
void HostMemory(Device& d) {
  HostBuffer buffer(d);
  buffer.words[5] = 17;
  EXPECT(d.Load(buffer.va + 20) == 17);
  Packets copy;
  copy.Add(Opcode::kLinDma, 0x2000, d.gaudi2 ? 0 : gaudi::kGaudiDmaLinear).Quad(buffer.va).Quad(buffer.va + 0x3004);
  d.Run(4, copy);
  EXPECT(buffer.words[0x3004 / 4 + 5] == 17 && buffer.words[0x3000 / 4] == 1);
  buffer.Unmap();
  EXPECT(munmap(buffer.words, HostBuffer::kBytes) == 0);
}

// hl_pin_host_memory(), pin_user_pages_fast(FOLL_LONGTERM): the device has the pages that were there when it got them,
// whatever the program does to its mappings.
void PinnedHostMemory(Device& d) {
  HostBuffer buffer(d);
  buffer.words[5] = 17;
  EXPECT(munmap(buffer.words, HostBuffer::kBytes) == 0);
  EXPECT(d.Load(buffer.va + 20) == 17);
  void* const other = mmap(buffer.words, HostBuffer::kBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  EXPECT(other == buffer.words);
  buffer.words[5] = 3;
  EXPECT(d.Load(buffer.va + 20) == 17);
  d.Run(4,
        Packets().Add(Opcode::kLinDma, 4, d.gaudi2 ? 0 : gaudi::kGaudiDmaLinear).Quad(buffer.va).Quad(buffer.va + 20));
  EXPECT(d.Load(buffer.va + 20) == 1 && buffer.words[5] == 3);
  buffer.Unmap();
}

// test_sm_sob_cleanup_on_ctx_switch: sync objects are zero for the next user.
void NextUser(Device& d) {
  d.Run(0, Packets().Store(d.Sob(0), 77));
  d.Close();
  Device next(d.node);
  Packets waits;
  next.Watch(waits, 0, 0, 0, next.FenceOf(0)).Fence();
  next.Run(0, waits);
}

struct Case {
  const char* name;
  void (*run)(Device&);
};
constexpr Case kCases[] = {
    {"many", Many},
    {"fences", Fences},
    {"arbiter", Arbiter},
    {"signal_wait", SignalWait},
    {"staged", Staged},
    {"timestamps", Timestamps},
    {"multi_cs", MultiCs},
    {"encapsulated_signals", EncapsulatedSignals},
    {"packets", Packet},
    {"interrupt", Interrupt},
    {"next_user", NextUser},
    {"untouched_memory", UntouchedMemory},
    {"host_memory", HostMemory},
    {"pinned_host_memory", PinnedHostMemory},
};

}  // namespace
}  // namespace causeway::conformance

int main(int argc, char** argv) {
  using namespace causeway::conformance;
  if (argc == 2 && std::string_view(argv[1]) == "--list") {
    for (const Case& each : kCases) std::puts(each.name);
    return 0;
  }
  if (argc != 3) {
    std::fprintf(stderr, "usage: cs_ways NODE CASE\n       cs_ways --list\n");
    return 2;
  }
  for (const Case& each : kCases) {
    if (each.name != std::string_view(argv[2])) continue;
    Device device(argv[1]);
    each.run(device);
    return 0;
  }
  return 2;
}
