// SPDX-License-Identifier: Apache-2.0
// Figures of an accelerator (Gaudi2), taken by a program on the public library: each subcommand prints one line of
// JSON.
//   gaudi_bench copy|nop|rate|packets|chain|map|all [--rounds N] [--bytes N] [--devices N]
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "causeway/accelerator.h"

namespace {

using causeway::Accelerator;
using causeway::CommandBuffer;
using causeway::Submission;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kMiB = 1 << 20;
constexpr double kGiB = 1 << 30;

struct Options {
  unsigned rounds = 11;
  uint64_t bytes = 64 * kMiB;
  unsigned devices = 8;
};

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }
double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Memory whose pages are there, at a multiple of 2 MiB.
std::span<std::byte> Touched(uint64_t bytes) {
  void* const raw = mmap(nullptr, bytes + 2 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) std::exit(1);
  const uintptr_t start = (reinterpret_cast<uintptr_t>(raw) + 2 * kMiB - 1) & ~uintptr_t{2 * kMiB - 1};
  auto* const at = reinterpret_cast<std::byte*>(start);
  (void)madvise(at, bytes, MADV_HUGEPAGE);  // as far as the host has them; memcpy() gets the same pages
  std::memset(at, 1, bytes);
  return {at, bytes};
}

// Packets by hand: Gaudi2's layouts (linux gaudi2_packets.h).
class Packets {
 public:
  void MsgLong(uint64_t address, uint32_t value) {
    Push(value, 3u << 24);
    Push(static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32));
  }
  void Fence() { Push(1u | 1u << 16, 8u << 24); }  // counter 0: wait for 1, take 1
  uint32_t bytes() const { return static_cast<uint32_t>(words_.size() * 4); }
  const uint32_t* words() const { return words_.data(); }

 private:
  void Push(uint32_t a, uint32_t b) {
    words_.push_back(a);
    words_.push_back(b);
  }
  std::vector<uint32_t> words_;
};

struct Chunk {
  uint64_t cb_handle;
  uint32_t queue_index, cb_size, flags, rest[11];
};
struct CsArgs {
  uint64_t restore, execute, seq;
  uint32_t num_restore, num_execute, timeout, flags, ctx_id, pad;
};
static_assert(sizeof(Chunk) == 64 && sizeof(CsArgs) == 48);

Submission Submit(Accelerator& accelerator, std::vector<Chunk>& chunks) {
  CsArgs cs = {};
  cs.execute = reinterpret_cast<uint64_t>(chunks.data());
  cs.num_execute = static_cast<uint32_t>(chunks.size());
  if (ioctl(accelerator.fd(), _IOWR('H', 0x03, CsArgs), &cs) != 0) {
    std::perror("HL_IOCTL_CS");
    std::exit(1);
  }
  return {cs.restore};  // the result overlays it
}

// ---- subcommands

void Copy(const Options& o) {
  Accelerator accelerator = Accelerator::Open(0);
  const auto host = Touched(o.bytes), other = Touched(o.bytes);
  const auto mapping = accelerator.Map(host);
  const auto memory = accelerator.Allocate(2 * o.bytes);
  const struct {
    const char* name;
    uint64_t to, from;
  } ways[] = {
      {"host_to_hbm", memory.address(), mapping.address()},
      {"hbm_to_host", mapping.address(), memory.address()},
      {"hbm_to_hbm", memory.address() + o.bytes, memory.address()},
  };
  std::printf("{\"bytes\": %lu", o.bytes);
  for (const auto& way : ways) {
    std::vector<double> own, peer, ratios;
    for (unsigned round = 0; round <= o.rounds; ++round) {
      auto start = Clock::now();
      accelerator.Copy(way.to, way.from, o.bytes);
      const double ours = Seconds(start);
      start = Clock::now();
      std::memcpy(other.data(), host.data(), o.bytes);
      const double theirs = Seconds(start);
      if (round == 0) continue;  // pages of the device's memory come with their first use
      const double bytes = static_cast<double>(o.bytes);
      own.push_back(bytes / kGiB / ours);
      peer.push_back(bytes / kGiB / theirs);
      ratios.push_back(theirs / ours);
    }
    std::printf(", \"%s\": {\"gib_per_s\": %.3f, \"memcpy_gib_per_s\": %.3f, \"ratio\": %.3f}", way.name, Median(own),
                Median(peer), Median(ratios));
  }
  std::puts("}");
}

void Nop(const Options& o) {
  Accelerator accelerator = Accelerator::Open(0);
  CommandBuffer commands = accelerator.NewCommandBuffer();
  commands.Nop();
  std::vector<double> us;
  for (unsigned i = 0; i < o.rounds * 1000 + 100; ++i) {
    const auto start = Clock::now();
    accelerator.Wait(accelerator.Submit(causeway::kHostToDevice, commands));
    if (i >= 100) us.push_back(Seconds(start) * 1e6);
  }
  std::sort(us.begin(), us.end());
  std::printf("{\"p50_us\": %.2f, \"p99_us\": %.2f, \"least_us\": %.2f}\n", us[us.size() / 2], us[us.size() * 99 / 100],
              us.front());
}

// Up to 64 submissions under way: the 64th before this one is waited for.
void Rate(const Options& o) {
  Accelerator accelerator = Accelerator::Open(0);
  CommandBuffer commands = accelerator.NewCommandBuffer();
  commands.Nop();
  std::vector<double> rates;
  for (unsigned round = 0; round < o.rounds; ++round) {
    constexpr uint64_t kWindow = 64, kCount = 20000;
    std::vector<Submission> sent(kWindow);
    const auto start = Clock::now();
    for (uint64_t i = 0; i < kCount; ++i) {
      if (i >= kWindow) accelerator.Wait(sent[i % kWindow]);
      sent[i % kWindow] = accelerator.Submit(causeway::kHostToDevice, commands);
    }
    for (uint64_t i = 0; i < kWindow; ++i) accelerator.Wait(sent[(kCount + i) % kWindow]);
    rates.push_back(kCount / Seconds(start));
  }
  std::printf("{\"per_s\": %.0f}\n", Median(rates));
}

void PacketsPerSecond(const Options& o) {
  Accelerator accelerator = Accelerator::Open(0);
  constexpr uint32_t kPackets = 100'000, kTimes = 20;
  CommandBuffer commands = accelerator.NewCommandBuffer(kPackets * 16);
  for (uint32_t i = 0; i < kPackets; ++i) commands.Store(accelerator.info().sram_base + 0x1000 + i % 64 * 4, i);
  std::vector<double> rates;
  for (unsigned round = 0; round <= o.rounds; ++round) {
    const auto start = Clock::now();
    Submission last{};
    for (uint32_t i = 0; i < kTimes; ++i) last = accelerator.Submit(causeway::kHostToDevice, commands);
    accelerator.Wait(last);
    if (round != 0) rates.push_back(double{kPackets} * kTimes / Seconds(start));
  }
  std::printf("{\"packets_per_s\": %.0f}\n", Median(rates));
}

// Link k: stream k % 4 of PDMA0 waits at its fence, then adds to SOB k; monitor k opens the fence of the next stream.
void Chain(const Options& o) {
  constexpr uint32_t kLinks = 1000, kFirstSob = 416, kFirstMonitor = 289;
  constexpr uint64_t kSobs = 0x1000007FFC100000, kFences = 0x1000007FFCC8A290;
  Accelerator accelerator = Accelerator::Open(0);
  Packets arm, links[4], go;
  for (uint32_t k = 0; k < kLinks; ++k) {
    const uint32_t sob = kFirstSob + k;
    const uint64_t monitor = kSobs + uint64_t{kFirstMonitor + k} * 4;
    const uint64_t fence = kFences + (k + 1) % 4 * 4;
    arm.MsgLong(kSobs + uint64_t{sob} * 4, 0);
    arm.MsgLong(monitor + 0x8000, static_cast<uint32_t>(fence));
    arm.MsgLong(monitor + 0xA000, static_cast<uint32_t>(fence >> 32));
    arm.MsgLong(monitor + 0xC000, k + 1 < kLinks ? 1 : 0);  // the last one opens nothing
    arm.MsgLong(monitor + 0x10000, (sob / 8 >> 8 & 0xf) << 16);
    arm.MsgLong(monitor + 0xE000, (sob / 8 & 0xff) | (~(1U << sob % 8) & 0xff) << 8 | 1u << 17);
    links[k % 4].Fence();
    links[k % 4].MsgLong(kSobs + uint64_t{sob} * 4, 1);
  }
  go.MsgLong(kFences, 1);
  const auto host = Touched(2 * kMiB);
  const auto mapping = accelerator.Map(host);
  uint64_t used = 0;
  const auto chunk = [&](uint32_t queue, const Packets& packets) {
    std::memcpy(host.data() + used, packets.words(), packets.bytes());
    const Chunk made = {mapping.address() + used, queue, packets.bytes(), 1, {}};
    used += (packets.bytes() + 127) / 128 * 128;
    return made;
  };
  std::vector<Chunk> arming = {chunk(4, arm)}, start = {chunk(4, go)}, streams;
  for (uint32_t queue = 0; queue < 4; ++queue) streams.push_back(chunk(queue, links[queue]));
  std::vector<double> us;
  for (unsigned round = 0; round <= o.rounds; ++round) {
    accelerator.Wait(Submit(accelerator, arming));
    const Submission chain = Submit(accelerator, streams);
    const auto begin = Clock::now();
    (void)Submit(accelerator, start);
    accelerator.Wait(chain);
    if (round != 0) us.push_back(Seconds(begin) * 1e6);
  }
  std::printf("{\"links\": %u, \"queues\": 4, \"us\": %.1f}\n", kLinks, Median(us));
}

void Map(const Options& o) {
  Accelerator accelerator = Accelerator::Open(0);
  const auto host = Touched(1024 * kMiB);
  std::vector<double> map_ms, unmap_ms;
  for (unsigned round = 0; round < o.rounds; ++round) {
    auto start = Clock::now();
    auto mapping = std::make_unique<causeway::HostMapping>(accelerator.Map(host));
    map_ms.push_back(Seconds(start) * 1e3);
    start = Clock::now();
    mapping.reset();
    unmap_ms.push_back(Seconds(start) * 1e3);
  }
  std::printf("{\"map_ms\": %.3f, \"unmap_ms\": %.3f}\n", Median(map_ms), Median(unmap_ms));
}

// Every device copies inside its memory; then memcpy() on every processor, turn by turn.
void All(const Options& o) {
  std::vector<Accelerator> devices;
  std::vector<causeway::DeviceMemory> memories;
  for (unsigned i = 0; i < o.devices; ++i) {
    devices.push_back(Accelerator::Open(i));
    memories.push_back(devices.back().Allocate(2 * o.bytes));
    CommandBuffer fill = devices.back().NewCommandBuffer();  // memory that was never written is not copied
    fill.Fill(memories.back().address(), 0x5a5a5a5a, 2 * o.bytes);
    devices.back().Wait(devices.back().Submit(causeway::kHostToDevice, fill));
  }
  const unsigned processors = std::max(std::thread::hardware_concurrency(), 1u);
  std::vector<std::span<std::byte>> from, to;
  for (unsigned i = 0; i < processors; ++i) {
    from.push_back(Touched(o.bytes));
    to.push_back(Touched(o.bytes));
  }
  constexpr unsigned kEach = 4;
  const auto together = [](unsigned count, auto work) {
    const auto start = Clock::now();
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count; ++i)
      threads.emplace_back([&work, i] {
        for (unsigned n = 0; n < kEach; ++n) work(i);
      });
    for (std::thread& thread : threads) thread.join();
    return Seconds(start);
  };
  std::vector<double> own, peer, ratios;
  for (unsigned round = 0; round < o.rounds; ++round) {
    const double ours = together(o.devices, [&](unsigned i) {
      devices[i].Copy(memories[i].address() + o.bytes, memories[i].address(), o.bytes);
    });
    const double theirs = together(processors, [&](unsigned i) { std::memcpy(to[i].data(), from[i].data(), o.bytes); });
    const double bytes = static_cast<double>(o.bytes) * kEach;
    own.push_back(bytes * o.devices / kGiB / ours);
    peer.push_back(bytes * processors / kGiB / theirs);
    ratios.push_back(own.back() / peer.back());
  }
  std::printf(
      "{\"devices\": %u, \"processors\": %u, \"gib_per_s\": %.3f, \"memcpy_gib_per_s\": %.3f, \"ratio\": %.3f}\n",
      o.devices, processors, Median(own), Median(peer), Median(ratios));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const std::string what = argc > 1 ? argv[1] : "";
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 0);
    if (name == "--rounds") options.rounds = static_cast<unsigned>(value);
    if (name == "--bytes") options.bytes = value;
    if (name == "--devices") options.devices = static_cast<unsigned>(value);
  }
  const struct {
    const char* name;
    void (*run)(const Options&);
  } figures[] = {{"copy", Copy},   {"nop", Nop}, {"rate", Rate}, {"packets", PacketsPerSecond},
                 {"chain", Chain}, {"map", Map}, {"all", All}};
  for (const auto& figure : figures) {
    if (what != figure.name) continue;
    try {
      figure.run(options);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      return 1;
    }
    return 0;
  }
  std::fprintf(stderr,
               "usage: gaudi_bench copy|nop|rate|packets|chain|map|all [--rounds N] [--bytes N] [--devices N]\n");
  return 2;
}
