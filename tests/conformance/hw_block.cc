// SPDX-License-Identifier: Apache-2.0
// A Gaudi2 program that maps register blocks and works with plain stores: MAP_BLOCK as hl-thunk's
// hlthunk_get_hw_block() and hltests_map_hw_block() use it. Streams, monitors, a completion queue; and everything
// around such a mapping: handlers of SIGSEGV, fork, munmap, close.
//   hw_block ACCELERATOR
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "causeway/accelerator.h"

extern "C" sighandler_t __sysv_signal(int signal, sighandler_t handler) noexcept;

namespace {

using causeway::Accelerator;
using causeway::CommandBuffer;

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      std::exit(1);                                                                          \
    }                                                                                        \
  } while (false)

constexpr uint64_t kDcore1Sobs = 0x1000007FFC300000, kDcore1Global = 0x1000007FFC31E000;
constexpr uint64_t kDcore2Sobs = 0x1000007FFC500000;
constexpr uint64_t kSchedulerDccm = 0x1000007FFCE90000, kSchedulerAcp = 0x1000007FFCE8F000;
constexpr uint64_t kPdma0Fence0 = 0x1000007FFCC8A290;
constexpr uint64_t kMonAddressLow = 0x8000, kMonAddressHigh = 0xA000, kMonData = 0xC000, kMonArm = 0xE000,
                   kMonConfig = 0x10000;
constexpr uint32_t kSobAdd = 0x80000000;

struct MapBlockArgs {
  uint64_t block_addr;
  uint32_t block_size;
  uint32_t pad[3];
  uint32_t op, flags, ctx_id, num_of_elements;
};
static_assert(sizeof(MapBlockArgs) == 40);
constexpr unsigned long kIoctlMemory = _IOWR('H', 0x05, MapBlockArgs);

struct Block {
  volatile uint32_t* words = nullptr;
  uint32_t bytes = 0;
  volatile uint32_t& at(uint64_t offset) const { return words[offset / 4]; }
};

int Handle(int fd, uint64_t address, uint64_t* handle, uint32_t* size) {
  MapBlockArgs args{};
  args.block_addr = address;
  args.op = 4;
  const int rc = ioctl(fd, kIoctlMemory, &args);
  *handle = args.block_addr;  // the result overlays it
  *size = args.block_size;
  return rc;
}

Block Map(int fd, uint64_t address) {
  uint64_t handle = 0;
  Block block;
  CHECK(Handle(fd, address, &handle, &block.bytes) == 0);
  void* const at = mmap(nullptr, block.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(handle));
  CHECK(at != MAP_FAILED);
  block.words = static_cast<volatile uint32_t*>(at);
  return block;
}
void Unmap(const Block& block) { CHECK(munmap(const_cast<uint32_t*>(block.words), block.bytes) == 0); }

void WaitFor(const char* what, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      std::fprintf(stderr, "not in time: %s\n", what);
      std::exit(1);
    }
    std::this_thread::yield();
  }
}

// Monitor `monitor` of `sobs`: when SOB `sob` is at least `value`, `data` goes to `address`.
void Arm(const Block& sobs, uint32_t monitor, uint32_t sob, uint32_t value, uint64_t address, uint32_t data,
         uint32_t config = 0) {
  const uint64_t at = uint64_t{monitor} * 4;
  sobs.at(kMonAddressLow + at) = static_cast<uint32_t>(address);
  sobs.at(kMonAddressHigh + at) = static_cast<uint32_t>(address >> 32);
  sobs.at(kMonData + at) = data;
  sobs.at(kMonConfig + at) = config | (sob / 8 >> 8 & 0xf) << 16;
  sobs.at(kMonArm + at) = (sob / 8 & 0xff) | (~(1U << sob % 8) & 0xff) << 8 | value << 17;
}

sigjmp_buf escape;
volatile sig_atomic_t escapes = 0;
void Escape(int) {
  escapes = escapes + 1;
  siglongjmp(escape, 1);
}
bool Faults(volatile uint32_t* address) {
  const int before = escapes;
  if (sigsetjmp(escape, 1) == 0) *address = 1;
  return escapes == before + 1;
}

void Errors(int fd) {
  uint64_t handle = 0;
  uint32_t size = 0;
  for (const uint64_t bad : {kDcore1Sobs + 4, uint64_t{0x1000007FFC100000}, uint64_t{0x1000007FFCC8A000}}) {
    errno = 0;
    CHECK(Handle(fd, bad, &handle, &size) == -1 && errno == EINVAL && handle == 0 && size == 0);
  }
  CHECK(Handle(fd, kDcore1Sobs, &handle, &size) == 0 && size == 0x14000 && handle >> 59 == 0x04);
  errno = 0;
  CHECK(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(handle)) == MAP_FAILED && errno == EINVAL);
  errno = 0;
  CHECK(mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(handle + (1000 << 12))) == MAP_FAILED &&
        errno == EINVAL);
}

// Memory of the schedulers' ARCs and their arbiter's registers: plain memory, also for the engines.
void MemoryBlocks(Accelerator& accelerator) {
  const Block dccm = Map(accelerator.fd(), kSchedulerDccm), acp = Map(accelerator.fd(), kSchedulerAcp);
  CHECK(dccm.bytes == 0x10000 && acp.bytes == 0x1000);
  std::vector<uint32_t> pattern(dccm.bytes / 4);
  for (uint32_t i = 0; i < pattern.size(); ++i) pattern[i] = i * 2654435761U;
  std::memcpy(const_cast<uint32_t*>(dccm.words), pattern.data(), dccm.bytes);
  CHECK(std::memcmp(const_cast<uint32_t*>(dccm.words), pattern.data(), dccm.bytes) == 0);
  acp.at(0) = 5;  // ACP_PI_REG_0

  CommandBuffer commands = accelerator.NewCommandBuffer();
  commands.Store(kSchedulerDccm + 0x40, 0xfeed);
  accelerator.Wait(accelerator.Submit(causeway::kHostToDevice, commands));
  CHECK(dccm.at(0x40) == 0xfeed && dccm.at(0x44) == pattern[0x44 / 4] && acp.at(0) == 5);
  Unmap(dccm);
  Unmap(acp);
}

// Sync objects as counters: every store is an operation, none is lost, whichever instruction it is.
void Counters(const Block& sobs) {
  sobs.at(0) = 0;
  for (int i = 0; i < 1000; ++i) sobs.at(0) = kSobAdd | 1;
  CHECK(sobs.at(0) == 1000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&sobs] {
      for (int i = 0; i < 250; ++i) sobs.at(4) = kSobAdd | 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sobs.at(4) == 1000);
  // By atomics, eight bytes at once, a block by memcpy() and memset().
  auto* const word = reinterpret_cast<std::atomic<uint32_t>*>(const_cast<uint32_t*>(&sobs.words[2]));
  word->store(7);
  word->store(8, std::memory_order_relaxed);
  CHECK(sobs.at(8) == 8);
  *reinterpret_cast<volatile uint64_t*>(const_cast<uint32_t*>(&sobs.words[4])) = 0x0000000300000002;
  CHECK(sobs.at(16) == 2 && sobs.at(20) == 3);
  volatile size_t size = 64;  // so that it is a call
  uint32_t from[16];
  for (uint32_t i = 0; i < 16; ++i) from[i] = i + 1;
  std::memcpy(const_cast<uint32_t*>(&sobs.words[64]), from, size);
  for (uint32_t i = 0; i < 16; ++i) CHECK(sobs.words[64 + i] == i + 1);
  std::memset(const_cast<uint32_t*>(&sobs.words[64]), 0, size);
  for (uint32_t i = 0; i < 16; ++i) CHECK(sobs.words[64 + i] == 0);
}

// Two dcores chained by monitors, and a stream whose fence opens when the program stores.
void MonitorsAndFences(Accelerator& accelerator, const Block& sobs) {
  const Block other = Map(accelerator.fd(), kDcore2Sobs);
  Arm(sobs, 10, 100, 2, kDcore2Sobs + 200 * 4, kSobAdd | 5);
  sobs.at(100 * 4) = kSobAdd | 1;
  CHECK(other.at(200 * 4) == 0);
  sobs.at(100 * 4) = kSobAdd | 1;
  WaitFor("the payload in DCORE2", [&] { return other.at(200 * 4) == 5; });

  // FENCE 0, target 1, decrement 1, on stream 0 of PDMA0; then a store that the program sees. The stream's commands are
  // written by hand: the library's Wait() uses DCORE0's sync manager.
  CommandBuffer after = accelerator.NewCommandBuffer();
  after.Store(kDcore2Sobs + 204 * 4, 1);
  std::vector<uint32_t> packets = {1u | 1u << 16, 8u << 24};
  const uint32_t message[] = {77, 3u << 24 | 1u << 31, static_cast<uint32_t>(kDcore2Sobs + 208 * 4),
                              static_cast<uint32_t>((kDcore2Sobs + 208 * 4) >> 32)};
  packets.insert(packets.end(), std::begin(message), std::end(message));
  alignas(4096) static std::byte page[4096];
  std::memcpy(page, packets.data(), packets.size() * 4);
  const auto mapping = accelerator.Map(page);
  struct Chunk {
    uint64_t cb_handle;
    uint32_t queue_index, cb_size, flags, rest[11];
  };
  static_assert(sizeof(Chunk) == 64);
  Chunk chunk = {mapping.address(), 0, static_cast<uint32_t>(packets.size() * 4), 1, {}};
  struct CsArgs {
    uint64_t restore, execute, seq;
    uint32_t num_restore, num_execute, timeout, flags, ctx_id, pad;
  };
  static_assert(sizeof(CsArgs) == 48);
  CsArgs cs = {0, reinterpret_cast<uint64_t>(&chunk), 0, 0, 1, 0, 0, 0, 0};
  CHECK(ioctl(accelerator.fd(), _IOWR('H', 0x03, CsArgs), &cs) == 0);
  const causeway::Submission stuck{cs.restore};  // the result overlays it
  CHECK(!accelerator.Wait(stuck, std::chrono::milliseconds(2)));
  CHECK(other.at(208 * 4) == 0);
  Arm(sobs, 11, 104, 1, kPdma0Fence0, 1);
  sobs.at(104 * 4) = 1;  // the doorbell
  CHECK(accelerator.Wait(stuck, std::chrono::seconds(20)));
  CHECK(other.at(208 * 4) == 77);
  Unmap(other);
}

// A completion queue of the program's own: set up, rung and read without a system call.
void CompletionQueue(Accelerator& accelerator, const Block& sobs) {
  const Block global = Map(accelerator.fd(), kDcore1Global);
  alignas(4096) static std::byte ring[4096];
  const auto mapping = accelerator.Map(ring);
  constexpr uint32_t kCq = 5;
  global.at(0x50 + kCq * 4) = static_cast<uint32_t>(mapping.address());
  global.at(0x150 + kCq * 4) = static_cast<uint32_t>(mapping.address() >> 32);
  global.at(0x250 + kCq * 4) = 12;  // log2 of bytes
  global.at(0x350 + kCq * 4) = 0;
  auto* const entries = reinterpret_cast<volatile uint32_t*>(ring);
  for (uint32_t i = 0; i < 100; ++i) {
    sobs.at(300 * 4) = 0;
    Arm(sobs, 20, 300, 1, kCq, 1000 + i, 1U << 4);
    sobs.at(300 * 4) = 1;
    WaitFor("a completion", [&] { return entries[i] == 1000 + i; });
  }
  CHECK(global.at(0x350 + kCq * 4) == 100);
  Unmap(global);
}

// The program's own handlers, a fork, the end.
void Surroundings(Accelerator& accelerator, const Block& sobs) {
  // One set before the first such mapping (main) is in force for other faults, and is what sigaction() tells.
  struct sigaction now = {};
  CHECK(sigaction(SIGSEGV, nullptr, &now) == 0 && now.sa_handler == Escape);
  volatile uint32_t* const nowhere = nullptr;
  CHECK(Faults(nowhere));
  sobs.at(12) = 1;
  CHECK(sobs.at(12) == 1);
  // Another one set since.
  CHECK(signal(SIGSEGV, SIG_DFL) == Escape && signal(SIGSEGV, Escape) == SIG_DFL);
  sobs.at(12) = 2;
  CHECK(sobs.at(12) == 2 && Faults(nowhere));
  // signal() of programs in strict ISO C: once only.
  CHECK(__sysv_signal(SIGSEGV, Escape) == Escape);
  sobs.at(12) = 3;
  CHECK(sobs.at(12) == 3 && Faults(nowhere));
  CHECK(signal(SIGSEGV, Escape) == SIG_DFL);
  // A signal that is sent, and not raised by a fault, can be ignored.
  CHECK(signal(SIGSEGV, SIG_IGN) == Escape && kill(getpid(), SIGSEGV) == 0 && raise(SIGSEGV) == 0);
  CHECK(signal(SIGSEGV, Escape) == SIG_IGN);
  const int before = escapes;
  if (sigsetjmp(escape, 1) == 0) (void)raise(SIGSEGV);
  CHECK(escapes == before + 1);
  // sigaction() reads its argument in the program: a bad one is a fault, which finds the handler.
  if (sigsetjmp(escape, 1) == 0) {
    (void)sigaction(SIGSEGV, reinterpret_cast<const struct sigaction*>(uintptr_t{16}), nullptr);
  }
  CHECK(escapes == before + 2);
  sobs.at(12) = 2;
  CHECK(sobs.at(12) == 2);
  // Registers mapped for reading only cannot be stored to.
  uint64_t handle = 0;
  uint32_t size = 0;
  CHECK(Handle(accelerator.fd(), kDcore1Sobs, &handle, &size) == 0);
  void* const read_only = mmap(nullptr, size, PROT_READ, MAP_SHARED, accelerator.fd(), static_cast<off_t>(handle));
  CHECK(read_only != MAP_FAILED);
  CHECK(static_cast<volatile uint32_t*>(read_only)[3] == 2 && Faults(static_cast<volatile uint32_t*>(read_only) + 3));
  CHECK(munmap(read_only, size) == 0);
  // VM_DONTCOPY: a child has no such mapping.
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    sobs.at(12) = 3;
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  CHECK(sobs.at(12) == 2);
  // After munmap() of its first page the rest still works, and then none of it.
  CHECK(munmap(const_cast<uint32_t*>(sobs.words), 4096) == 0);
  CHECK(Faults(&sobs.words[3]));
  sobs.at(4096) = 4;
  CHECK(sobs.at(4096) == 4);
  CHECK(munmap(const_cast<uint32_t*>(sobs.words), sobs.bytes) == 0);
  CHECK(Faults(&sobs.words[1024]));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const unsigned number = static_cast<unsigned>(std::atoi(argv[1]));
  struct sigaction action = {};
  action.sa_handler = Escape;
  CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
  {
    Accelerator accelerator = Accelerator::Open(number);
    CHECK(accelerator.info().generation == causeway::Generation::kGaudi2);
    Errors(accelerator.fd());
    MemoryBlocks(accelerator);
    const Block sobs = Map(accelerator.fd(), kDcore1Sobs);
    CHECK(sobs.bytes == 0x14000);
    Counters(sobs);
    MonitorsAndFences(accelerator, sobs);
    CompletionQueue(accelerator, sobs);
    Surroundings(accelerator, sobs);
  }
  // A mapping keeps the node open after close(), until its end.
  Block left;
  {
    Accelerator accelerator = Accelerator::Open(number);
    left = Map(accelerator.fd(), kDcore1Sobs);
    CHECK(left.at(12) == 0);  // the next user's registers are zero
  }
  left.at(12) = 6;
  CHECK(left.at(12) == 6);
  bool busy = false;
  try {
    (void)Accelerator::Open(number);
  } catch (const causeway::Error& error) {
    busy = error.code().value() == EBUSY;
  }
  CHECK(busy);
  Unmap(left);
  (void)Accelerator::Open(number);
  std::puts("ok");
  return 0;
}
