// SPDX-License-Identifier: Apache-2.0
//
// One program of the soak (soak.py): does random things with one accelerator and one NIC, and knows at any time what
// every byte must be. On the user API only, by include/causeway.
//
//   soak_worker SEED ACCELERATOR NIC
//   out {"running":true}             the accelerator is open; said again after each loss
//   out {"lost":"..","errno":N}      a reset took the device away; what is left is closed, the device opened again
//   out {"failed":"..."}             a check failed; exits 1
//   out {"rounds":N,"checks":N}      at the end of input; exits 0
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "causeway/accelerator.h"
#include "causeway/nic.h"

namespace {

using causeway::Accelerator;
using Clock = std::chrono::steady_clock;

constexpr size_t kPage = 4096;
constexpr size_t kMaxBytes = 256 * kPage;
constexpr std::chrono::seconds kPatience(30);

struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Pages of this program, given back at the end.
class Pages {
 public:
  explicit Pages(size_t bytes)
      : at_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), bytes_(bytes) {
    if (at_ == MAP_FAILED) throw std::bad_alloc();
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { ::munmap(at_, bytes_); }
  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(at_), bytes_}; }
  std::span<uint32_t> words() const { return {static_cast<uint32_t*>(at_), bytes_ / 4}; }

 private:
  void* at_;
  size_t bytes_;
};

// Device memory that holds word n = first + n * step, and what was made of it. Members are destroyed in the order last
// to first, but Drop() takes them in any.
struct Block {
  causeway::DeviceMemory memory;
  size_t words = 0;
  uint32_t first = 0, step = 0;
  causeway::DmaBuf shared;
  causeway::MemoryRegion region;  // of all of it
};

class Worker {
 public:
  Worker(uint64_t seed, unsigned number, const std::string& nic)
      : random_(seed), accelerator_(Accelerator::Open(number)), nic_(causeway::Nic::Open(nic)) {
    here_ = nic_.NewConnection();
    there_ = nic_.NewConnection();
    here_.Connect(there_.local());
    there_.Connect(here_.local());
  }

  void Round() {
    switch (random_() % 10) {
      case 0: return Allocate();
      case 1: return Forget();
      case 2: return FillByEngine();
      case 3: return FromHost();
      case 4: return Between();
      case 5: return Fence();
      case 6: return ByNic(true);
      case 7: return ByNic(false);
      case 8: return Reconnect();
      default: return Check(Any());
    }
  }
  void CheckAll() {
    for (Block& block : blocks_) Check(block);
  }
  // The device works: what was wrong before is wrong indeed. Throws causeway::Error when it does not.
  void Probe() {
    causeway::CommandBuffer nop = accelerator_.NewCommandBuffer();
    nop.Nop();
    accelerator_.Wait(accelerator_.Submit(causeway::kHostToDevice, nop));
  }
  uint64_t checks() const { return checks_; }

 private:
  size_t Below(size_t limit) { return random_() % limit; }
  Block& Any() {
    if (blocks_.empty()) Allocate();
    return blocks_[Below(blocks_.size())];
  }
  causeway::Stream AnyStream() { return {static_cast<uint32_t>(Below(8))}; }

  void Allocate() {
    if (blocks_.size() >= 12) return Forget();
    Block block;
    const size_t bytes = kPage * (1 + Below(kMaxBytes / kPage));
    block.memory = accelerator_.Allocate(bytes);
    block.words = bytes / 4;
    Fill(block);
    blocks_.push_back(std::move(block));
  }
  // The memory goes last: FREE of what is exported is refused (specs of HL_MEM_OP_FREE), and would be for good.
  void Forget() {
    if (blocks_.empty()) return;
    const size_t at = Below(blocks_.size());
    Block block = std::move(blocks_[at]);
    blocks_.erase(blocks_.begin() + static_cast<ptrdiff_t>(at));
    if (block.region.mr() != nullptr && random_() % 2 == 0) {
      block.shared = {};
      ReadByNic(block);  // the region keeps the dma-buf
    }
    if (random_() % 2 == 0) block.shared = {};
    block.region = {};
    block.shared = {};
  }
  void Fill(Block& block) {
    block.first = static_cast<uint32_t>(random_());
    block.step = 0;
    causeway::CommandBuffer fill = accelerator_.NewCommandBuffer();
    fill.Fill(block.memory.address(), block.first, block.words * 4);
    accelerator_.Wait(accelerator_.Submit(AnyStream(), fill));
  }
  void FillByEngine() {
    Block& block = Any();
    Fill(block);
    Check(block);
  }
  void Count(Block& block, std::span<uint32_t> words) {
    block.first = static_cast<uint32_t>(random_());
    block.step = static_cast<uint32_t>(random_()) | 1;
    for (size_t n = 0; n < words.size(); ++n) words[n] = block.first + static_cast<uint32_t>(n) * block.step;
  }
  void Compare(const Block& block, std::span<const uint32_t> words, const char* way) {
    ++checks_;
    for (size_t n = 0; n < block.words; ++n) {
      const uint32_t want = block.first + static_cast<uint32_t>(n) * block.step;
      if (words[n] != want) {
        throw CheckFailed(std::string(way) + ": word " + std::to_string(n) + " of " + std::to_string(block.words) +
                          " is " + std::to_string(words[n]) + ", not " + std::to_string(want));
      }
    }
  }
  void FromHost() {
    Block& block = Any();
    const Pages pages(block.words * 4);
    Count(block, pages.words());
    const causeway::HostMapping mapping = accelerator_.Map(pages.bytes());
    accelerator_.Copy(block.memory.address(), mapping.address(), block.words * 4);
    Check(block);
  }
  void Check(const Block& block) {
    const Pages pages(block.words * 4);
    const causeway::HostMapping mapping = accelerator_.Map(pages.bytes());
    accelerator_.Copy(mapping.address(), block.memory.address(), block.words * 4);
    Compare(block, pages.words(), "read by DMA");
  }
  // Several submissions at once, then device to device.
  void Between() {
    Block& from = Any();
    Block& to = Any();
    if (&from == &to || to.words > from.words) return;
    causeway::CommandBuffer copy = accelerator_.NewCommandBuffer();
    copy.Copy(to.memory.address(), from.memory.address(), to.words * 4);
    std::deque<causeway::Submission> submissions;
    const causeway::Stream stream = AnyStream();
    for (size_t n = 1 + Below(16); n != 0; --n) submissions.push_back(accelerator_.Submit(stream, copy));
    for (; !submissions.empty(); submissions.pop_front()) accelerator_.Wait(submissions.front());
    to.first = from.first;
    to.step = from.step;
    Check(to);
  }
  // One stream fills, another waits for it and fetches.
  void Fence() {
    Block& block = Any();
    const Pages pages(block.words * 4);
    const causeway::HostMapping mapping = accelerator_.Map(pages.bytes());
    const causeway::Semaphore filled = accelerator_.NewSemaphore();
    causeway::CommandBuffer clear = accelerator_.NewCommandBuffer();
    clear.Clear(filled);
    accelerator_.Wait(accelerator_.Submit(causeway::kHostToDevice, clear));
    causeway::CommandBuffer fill = accelerator_.NewCommandBuffer(), fetch = accelerator_.NewCommandBuffer();
    block.first = static_cast<uint32_t>(random_());
    block.step = 0;
    fill.Fill(block.memory.address(), block.first, block.words * 4);
    fill.Signal(filled);
    const causeway::Stream waits{causeway::kDeviceToHost.queue + static_cast<uint32_t>(Below(4))};
    fetch.Wait(filled, 1, waits);
    fetch.Copy(mapping.address(), block.memory.address(), block.words * 4);
    const std::array<causeway::Job, 2> jobs = {causeway::Job{waits, &fetch},
                                               causeway::Job{causeway::kHostToDevice, &fill}};
    accelerator_.Wait(accelerator_.Submit(jobs));
    Compare(block, pages.words(), "fetched after a fence");
  }
  void Share(Block& block) {
    if (block.region.mr() != nullptr && random_() % 4 != 0) return;
    block.region = {};
    if (block.shared.fd() < 0 || random_() % 4 == 0) block.shared = block.memory.Export();
    block.region = nic_.Register(block.shared, 0, block.words * 4);
    if (random_() % 2 == 0) block.shared = {};
  }
  void ReadByNic(const Block& block) {
    const Pages pages(block.words * 4);
    const causeway::MemoryRegion host = nic_.Register(pages.bytes());
    here_.Read(host, 0, block.region.remote(), 0, block.words * 4);
    Compare(block, pages.words(), "read by the NIC");
  }
  void ByNic(bool write) {
    Block& block = Any();
    Share(block);
    if (!write) return ReadByNic(block);
    const Pages pages(block.words * 4);
    Count(block, pages.words());
    const causeway::MemoryRegion host = nic_.Register(pages.bytes());
    there_.Write(host, 0, block.region.remote(), 0, block.words * 4);
    Check(block);
  }
  void Reconnect() {
    here_ = nic_.NewConnection();
    there_ = nic_.NewConnection();
    here_.Connect(there_.local());
    there_.Connect(here_.local());
  }

  std::mt19937_64 random_;
  Accelerator accelerator_;
  causeway::Nic nic_;
  causeway::Connection here_, there_;
  std::vector<Block> blocks_;
  uint64_t checks_ = 0;
};

std::string Quoted(const char* text) {
  std::string quoted;
  for (; *text != 0; ++text) quoted += *text == '"' || *text == '\\' ? '\'' : *text;
  return quoted;
}

// A device in reset, or one that its last program's files still hold, is opened when it can be.
std::unique_ptr<Worker> Open(uint64_t seed, unsigned number, const std::string& nic) {
  const auto end = Clock::now() + kPatience;
  for (;;) {
    try {
      return std::make_unique<Worker>(seed, number, nic);
    } catch (const causeway::Error& error) {
      if (Clock::now() > end) throw CheckFailed(std::string("the device does not come back: ") + error.what());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

bool InputEnded() {
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, 0) > 0;
}

}  // namespace

int main(int argc, char** argv) {
  ::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc != 4) {
    std::fprintf(stderr, "Usage: %s SEED ACCELERATOR NIC\n", argv[0]);
    return 2;
  }
  uint64_t seed = std::strtoull(argv[1], nullptr, 10), rounds = 0, checks = 0;
  const auto number = static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10));
  try {
    while (!InputEnded()) {
      std::unique_ptr<Worker> worker = Open(seed++, number, argv[3]);
      std::printf("{\"running\":true}\n");
      try {
        for (; !InputEnded(); ++rounds) {
          try {
            worker->Round();
          } catch (const CheckFailed&) {
            worker->Probe();  // a reset takes the bytes away; then this throws as well
            throw;
          }
        }
        worker->CheckAll();
      } catch (const causeway::Error& error) {
        std::printf("{\"lost\":\"%s\",\"errno\":%d}\n", Quoted(error.what()).c_str(), error.code().value());
      }
      checks += worker->checks();
    }
  } catch (const std::exception& error) {
    std::printf("{\"failed\":\"%s\"}\n", Quoted(error.what()).c_str());
    return 1;
  }
  std::printf("{\"rounds\":%llu,\"checks\":%llu}\n", static_cast<unsigned long long>(rounds),
              static_cast<unsigned long long>(checks));
  return 0;
}
