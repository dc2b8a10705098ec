// SPDX-License-Identifier: Apache-2.0
#include "shim/host_memory.h"

#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "ipc/memory_window.h"
#include "shim/host_maps.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/memcheck.h"
#include "shim/real.h"

namespace causeway::shim {

HostBounds host_bounds;

namespace {

constexpr uint64_t kChunk = uint64_t{2} << 20;
// What registration copies at most: a large buffer that was written already stays as it is.
constexpr uint64_t kMostCopied = uint64_t{64} << 20;

// Held while pages are moved, and across fork(). Before connect_lock and control_lock (machine.cc).
Lock host_lock;
enum State : uint8_t { kUntried, kOn, kOff };
std::atomic<uint8_t> state{kUntried};  // written under host_lock
std::atomic<uint64_t> file_inode{0};   // of the host memory
uint64_t file_device;                  // before file_inode

// ---- what must be known of the process

struct ProcessFacts {
  uint64_t threads = 0;
  bool locked = true;  // mlock()ed, or pinned by io_uring or a device: such pages must stay
};

// The number after `key` in the text of /proc/self/status; 0 when there is none.
uint64_t StatusNumber(const char* text, const char* key) {
  const char* at = strstr(text, key);
  if (at == nullptr) return 0;
  for (at += strlen(key); *at == ' ' || *at == '\t'; ++at) {
  }
  uint64_t value = 0;
  for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + static_cast<uint64_t>(*at - '0');
  return value;
}

ProcessFacts ReadFacts() {
  ProcessFacts facts;
  const long fd = Raw(SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return facts;
  char text[4096];
  size_t length = 0;
  for (long got = 1; got > 0 && length < sizeof(text) - 1; length += static_cast<size_t>(got)) {
    got = Raw(SYS_read, fd, text + length, sizeof(text) - 1 - length);
    if (got < 0) break;
  }
  (void)Raw(SYS_close, fd);
  text[length] = '\0';
  facts.threads = StatusNumber(text, "\nThreads:");
  facts.locked = StatusNumber(text, "\nVmLck:") != 0 || StatusNumber(text, "\nVmPin:") != 0;
  return facts;
}

thread_local bool is_vfork;  // HostVfork()

// Where this thread lives while it moves pages: its stack, the thread-local memory that this library uses (64: all of
// it), what the C library keeps at the thread pointer (which the kernel writes to, too: rseq), the main stack.
bool IsThreadsOwn(const uapi::Vma& vma, uint64_t start, uint64_t end) {
  const auto here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  const auto tls = reinterpret_cast<uint64_t>(__builtin_thread_pointer());
  const auto local = reinterpret_cast<uint64_t>(&is_vfork);
  const uint64_t main_stack = getauxval(AT_RANDOM);
  const auto holds = [&](uint64_t address) { return vma.start <= address && address < vma.end; };
  return holds(here) || holds(main_stack) || (start < tls + 8192 && end > tls) ||
         (start < local + 64 && end > local - 64);
}

bool CanMove(const uapi::Vma& vma, uint64_t start, uint64_t end) {
  return uapi::IsPrivateMemory(vma) && !IsThreadsOwn(vma, start, end);
}

// VM_DONTCOPY of the mapping that begins at `start`: "VmFlags: ... dc" of /proc/self/smaps. *known is false when it
// cannot be told.
bool IsDontFork(uint64_t start, bool* known) {
  *known = false;
  const long fd = Raw(SYS_openat, AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  char buffer[4096];
  char line[256];
  size_t length = 0;
  bool here = false;
  bool result = false;
  for (long got = 0; !*known && (got = Raw(SYS_read, fd, buffer, sizeof(buffer))) > 0;) {
    for (long i = 0; i < got && !*known; ++i) {
      if (buffer[i] != '\n') {
        if (length < sizeof(line) - 1) line[length++] = buffer[i];
        continue;
      }
      line[length] = '\0';
      uapi::Vma vma;
      if (uapi::ParseMapsLine(line, line + length, &vma)) {
        here = vma.start == start;
      } else if (here && strncmp(line, "VmFlags:", 8) == 0) {
        *known = true;
        result = strstr(line, " dc") != nullptr;
      }
      length = 0;
    }
  }
  (void)Raw(SYS_close, fd);
  return result;
}

// ---- userfaultfd

// One that holds up system calls of other threads, too: UFFD_USER_MODE_ONLY would make them fail with EFAULT.
int OpenUserfaultfd() {
  long fd = Raw(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const long device = Raw(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
    if (device < 0) return -1;
    fd = Raw(SYS_ioctl, device, _IO(0xAA, 0) /* USERFAULTFD_IOC_NEW, linux v6.1 */, O_CLOEXEC | O_NONBLOCK);
    (void)Raw(SYS_close, device);
    if (fd < 0) return -1;
  }
  struct uffdio_api api = {};
  api.api = UFFD_API;
  if (Raw(SYS_ioctl, fd, UFFDIO_API, &api) < 0) {
    (void)Raw(SYS_close, fd);
    return -1;
  }
  return static_cast<int>(fd);
}

// ---- moving pages

struct Files {
  int memory = -1;   // the host memory
  int pagemap = -1;  // /proc/self/pagemap
  int uffd = -1;     // -1: this is the only thread
};

struct Place {
  uint64_t start, end;
  uint64_t offset;  // of start, in the host memory
  uint64_t vma;     // start of the mapping they are in
  int prot;
};

// Which pages of a chunk have content: mapped, or swapped out (Documentation/admin-guide/mm/pagemap.rst).
class Presence {
 public:
  bool Read(int pagemap, uint64_t start, uint64_t length) {
    count_ = length / kPage;
    const long want = static_cast<long>(count_ * sizeof(uint64_t));
    return Raw(SYS_pread64, pagemap, entries_, want, start / kPage * sizeof(uint64_t)) == want;
  }
  uint64_t Bytes() const {
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < count_; ++i) bytes += Has(i) ? kPage : 0;
    return bytes;
  }
  // visit(offset, length) of each run; stops when it returns false.
  template <typename Visit>
  bool Runs(Visit visit) const {
    for (uint64_t i = 0; i < count_;) {
      if (!Has(i)) {
        ++i;
        continue;
      }
      const uint64_t first = i;
      while (i < count_ && Has(i)) ++i;
      if (!visit(first * kPage, (i - first) * kPage)) return false;
    }
    return true;
  }

 private:
  bool Has(uint64_t page) const { return entries_[page] >> 62 != 0; }
  uint64_t count_ = 0;
  uint64_t entries_[kChunk / kPage];
};

bool CopyRuns(const Presence& presence, const Files& files, uint64_t from, uint64_t offset) {
  return presence.Runs([&](uint64_t at, uint64_t length) {
    for (uint64_t done = 0; done < length;) {
      const long written = Raw(SYS_pwrite64, files.memory, from + at + done, length - done, offset + at + done);
      if (written <= 0) return false;
      done += static_cast<uint64_t>(written);
    }
    return true;
  });
}

bool MapShared(const Presence& presence, const Files& files, uint64_t start, uint64_t length, uint64_t offset,
               int prot) {
  if (Raw(SYS_mmap, start, length, prot, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, files.memory, offset) < 0) {
    return false;
  }
  // What was there without a fault is there without a fault. Failing is harmless.
  (void)presence.Runs([&](uint64_t at, uint64_t run) {
    (void)Raw(SYS_madvise, start + at, run, 22 /* MADV_POPULATE_READ, linux v5.14 */);
    return true;
  });
  return true;
}

// Nobody else is there: signals are held off, no region is reached by system call (Op::kShareHost said so).
bool MoveAlone(const Files& files, uint64_t start, uint64_t length, uint64_t offset, int prot) {
  Presence presence;
  return presence.Read(files.pagemap, start, length) && CopyRuns(presence, files, start, offset) &&
         MapShared(presence, files, start, length, offset, prot);
}

// Other threads that touch the pages wait from the mremap() to the wake, in user code and in system calls.
bool MoveAmongThreads(const Files& files, uint64_t start, uint64_t length, uint64_t offset, int prot) {
  struct uffdio_register registration = {};
  registration.range = {start, length};
  registration.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (Raw(SYS_ioctl, files.uffd, UFFDIO_REGISTER, &registration) < 0) return false;
  struct uffdio_range range = {start, length};
  const long aside = Raw(SYS_mremap, start, length, length, MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, 0);
  if (aside < 0) {
    (void)Raw(SYS_ioctl, files.uffd, UFFDIO_UNREGISTER, &range);
    return false;
  }
  const auto from = static_cast<uint64_t>(aside);
  Presence presence;
  const bool moved = presence.Read(files.pagemap, from, length) && CopyRuns(presence, files, from, offset) &&
                     MapShared(presence, files, start, length, offset, prot);
  if (moved) {
    (void)Raw(SYS_munmap, from, length);
  } else {
    (void)Raw(SYS_mremap, from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start);
  }
  (void)Raw(SYS_ioctl, files.uffd, UFFDIO_WAKE, &range);
  return moved;
}

void Move(const Files& files, const Place& place) {
  bool dontfork = false;
  if (any_dontfork.load(std::memory_order_relaxed)) {
    bool known = false;
    dontfork = IsDontFork(place.vma, &known);
    if (!known) return;
  }
  WidenHostBounds(place.start, place.end);
  for (uint64_t at = place.start; at < place.end;) {
    const uint64_t chunk_end = (at & ~(kChunk - 1)) + kChunk;
    const uint64_t length = (chunk_end < place.end ? chunk_end : place.end) - at;
    const uint64_t offset = place.offset + (at - place.start);
    const bool moved = files.uffd < 0 ? MoveAlone(files, at, length, offset, place.prot)
                                      : MoveAmongThreads(files, at, length, offset, place.prot);
    if (!moved) return;  // the rest stays private
    if (dontfork) (void)Raw(SYS_madvise, at, length, MADV_DONTFORK);
    at += length;
  }
}

// ---- a registration

void TurnOff() { state.store(kOff, std::memory_order_relaxed); }

// With host_lock held. The host memory's descriptor, or -1.
int FetchMemory() {
  const int64_t size = PlainCall(ipc::Op::kMapMemory, 0, {.a0 = ipc::kHostMemory});
  return size < 0 ? -1 : InstalledFd();
}

bool TurnOn(int memory) {
  if (state.load(std::memory_order_relaxed) == kOn) return true;
  const char* wish = getenv("CAUSEWAY_HOST_MEMORY");
  struct rlimit size = {};
  struct stat status;
  // Memcheck knows which bytes of a page may be used, and forgets it when the page is mapped anew. A limit on the size
  // of files would hold for the copying.
  if ((wish != nullptr && strcmp(wish, "process_vm") == 0) || RunsOnValgrind() ||
      Raw(SYS_prlimit64, 0, RLIMIT_FSIZE, nullptr, &size) != 0 || size.rlim_cur != RLIM_INFINITY ||
      Raw(SYS_fstat, memory, &status) != 0) {
    TurnOff();
    return false;
  }
  file_device = status.st_dev;
  file_inode.store(status.st_ino, std::memory_order_release);
  state.store(kOn, std::memory_order_relaxed);
  return true;
}

// The next stretch of [at, end) that can be moved; *at is set behind it. False: there is none.
bool NextMovable(OwnMaps& maps, uint64_t* at, uint64_t end, Place* out) {
  uapi::Vma vma;
  while (*at < end && maps.Next(*at, &vma)) {
    const uint64_t from = vma.start > *at ? vma.start : *at;
    const uint64_t stop = vma.end < end ? vma.end : end;
    *at = vma.end;
    if (from < stop && CanMove(vma, from, stop)) {
      *out = {from, stop, 0, vma.start, ProtOf(vma)};
      return true;
    }
  }
  return false;
}

uint64_t TouchedBytes(int pagemap, const Place& place, uint64_t limit) {
  uint64_t bytes = 0;
  Presence presence;
  for (uint64_t at = place.start; at < place.end && bytes <= limit; at += kChunk) {
    if (!presence.Read(pagemap, at, place.end - at < kChunk ? place.end - at : kChunk)) return ~uint64_t{0};
    bytes += presence.Bytes();
  }
  return bytes;
}

void ShareLocked(uint64_t start, uint64_t end) {
  {
    OwnMaps maps;
    Place place;
    uint64_t at = start;
    if (!NextMovable(maps, &at, end, &place)) return;
  }
  const ProcessFacts facts = ReadFacts();
  if (facts.locked || facts.threads == 0) return;
  Files files;
  files.memory = FetchMemory();
  files.pagemap = static_cast<int>(Raw(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0));
  if (files.memory >= 0 && files.pagemap >= 0 && TurnOn(files.memory)) {
    if (facts.threads > 1) files.uffd = OpenUserfaultfd();
    if (facts.threads == 1 || files.uffd >= 0) {
      uint64_t budget = kMostCopied;
      Place place;
      for (uint64_t at = start; at < end;) {
        OwnMaps maps;  // anew: what was moved has changed the list
        if (!NextMovable(maps, &at, end, &place)) break;
        const uint64_t touched = TouchedBytes(files.pagemap, place, budget);
        if (touched > budget) continue;
        budget -= touched;
        ipc::Message reply;
        const int64_t answer =
            PlainCall(ipc::Op::kShareHost, 0, {.a0 = place.start, .a1 = place.end - place.start}, &reply);
        if (answer == -EOPNOTSUPP) TurnOff();
        if (answer == -EOPNOTSUPP || answer == -ENODEV) break;
        if (answer < 0) continue;
        place.offset = reply.value[0];
        Move(files, place);
      }
    }
  }
  for (const int fd : {files.memory, files.pagemap, files.uffd}) {
    if (fd >= 0) (void)Raw(SYS_close, fd);
  }
}

}  // namespace

void WidenHostBounds(uintptr_t start, uintptr_t end) {
  uintptr_t low = host_bounds.low.load(std::memory_order_relaxed);
  while (start < low && !host_bounds.low.compare_exchange_weak(low, start, std::memory_order_relaxed)) {
  }
  uintptr_t high = host_bounds.high.load(std::memory_order_relaxed);
  while (end > high && !host_bounds.high.compare_exchange_weak(high, end, std::memory_order_relaxed)) {
  }
}

bool IsHostVma(const uapi::Vma& vma) {
  const uint64_t inode = file_inode.load(std::memory_order_acquire);
  if (inode == 0 || !vma.shared || vma.inode != inode || gnu_dev_makedev(vma.dev_major, vma.dev_minor) != file_device) {
    return false;
  }
  // The data path's windows are mappings of the same file, and stay what they are in the child of a fork.
  const uint64_t window = vma.offset / ipc::kMemoryWindow;
  const std::byte* const start = window < ipc::kHostMemoryWindows
                                     ? WindowTable(ipc::kHostMemory)[window].load(std::memory_order_acquire)
                                     : nullptr;
  return start == nullptr || reinterpret_cast<uintptr_t>(start) + vma.offset % ipc::kMemoryWindow != vma.start;
}

bool MayShareHost() { return state.load(std::memory_order_relaxed) != kOff; }

void ShareHost(uint64_t address, uint64_t length) {
  if (length == 0 || address + length < address || address + length > PageDown(~uint64_t{0})) return;
  const ErrnoKeeper keeper;
  {
    const LockGuard lock(host_lock);
    ShareLocked(PageDown(address), PageUp(address + length));
  }
  keeper.Restore();
}

bool IsHostShared(uintptr_t address, size_t length) {
  if (!MayBeHostShared(address, length)) return false;
  const uint64_t end = length > UINTPTR_MAX - address ? UINTPTR_MAX : address + length;
  OwnMaps maps;
  uapi::Vma vma;
  for (uint64_t at = address; at < end && maps.Next(at, &vma) && vma.start < end; at = vma.end) {
    if (IsHostVma(vma)) return true;
  }
  return false;
}

void HostUnmapped(uintptr_t address, size_t length) {
  const ErrnoKeeper keeper;
  {
    const LockGuard lock(host_lock);
    (void)PlainCall(ipc::Op::kHostUnmapped, 0, {.a0 = PageDown(address), .a1 = PageUp(length)});
  }
  keeper.Restore();
}

// ---- fork()

namespace {

uint64_t fork_signals;        // host_lock
int fork_memory = -1;         // the host memory, for the child to read from
int fork_pipe[2] = {-1, -1};  // closed by the child when it has its pages

// A copy of [vma.start, vma.end) in private memory, in its place.
void MakePrivate(const uapi::Vma& vma) {
  const uint64_t length = vma.end - vma.start;
  const long copy =
      Raw(SYS_mmap, nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (copy < 0) {
    // Copy on write at least: the parent's pages are safe from the child.
    (void)Raw(SYS_mmap, vma.start, length, ProtOf(vma), MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fork_memory,
              vma.offset);
    return;
  }
  const uint64_t end = vma.offset + length;
  for (uint64_t at = vma.offset; at < end;) {
    const long data = Raw(SYS_lseek, fork_memory, at, 3 /* SEEK_DATA */);
    if (data < 0 || static_cast<uint64_t>(data) >= end) break;
    at = static_cast<uint64_t>(data);
    const long hole = Raw(SYS_lseek, fork_memory, at, 4 /* SEEK_HOLE */);
    const uint64_t stop = hole < 0 || static_cast<uint64_t>(hole) > end ? end : static_cast<uint64_t>(hole);
    while (at < stop) {
      const long got = Raw(SYS_pread64, fork_memory, copy + static_cast<long>(at - vma.offset), stop - at, at);
      if (got <= 0) break;
      at += static_cast<uint64_t>(got);
    }
    if (at < stop) break;
  }
  if (ProtOf(vma) != (PROT_READ | PROT_WRITE)) (void)Raw(SYS_mprotect, copy, length, ProtOf(vma));
  (void)Raw(SYS_mremap, copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, vma.start);
}

}  // namespace

pid_t HostVfork() {
  is_vfork = true;
  const pid_t pid = real.fork();
  is_vfork = false;
  return pid;
}

void HostBeforeFork() {
  uint64_t signals = 0;
  host_lock.Acquire(&signals);
  fork_signals = signals;
  if (!AnyHostShared() || is_vfork) return;
  const ErrnoKeeper keeper;
  fork_memory = FetchMemory();
  if (Raw(SYS_pipe2, fork_pipe, O_CLOEXEC) < 0) fork_pipe[0] = fork_pipe[1] = -1;
  keeper.Restore();
}

namespace {
void EndFork() {
  for (int* fd : {&fork_memory, &fork_pipe[0], &fork_pipe[1]}) {
    if (*fd >= 0) (void)Raw(SYS_close, *fd);
    *fd = -1;
  }
  const uint64_t signals = fork_signals;
  host_lock.ReleaseTo(&signals);
}
}  // namespace

void HostAfterForkInParent() {
  if (fork_pipe[1] >= 0) {
    (void)Raw(SYS_close, fork_pipe[1]);
    fork_pipe[1] = -1;
    char byte;
    (void)Raw(SYS_read, fork_pipe[0], &byte, 1);  // the child's byte, or its end; at once when there is no child
  }
  EndFork();
}

void HostAfterForkInChild() {
  if (fork_memory >= 0) {
    uapi::Vma vma;
    for (uint64_t at = host_bounds.low.load(std::memory_order_relaxed);;) {
      OwnMaps maps;  // anew: each turn changes it
      do {
        if (!maps.Next(at, &vma) || vma.start >= host_bounds.high.load(std::memory_order_relaxed)) {
          at = 0;
          break;
        }
        at = vma.end;
      } while (!IsHostVma(vma));
      if (at == 0) break;
      MakePrivate(vma);
    }
    host_bounds.low.store(UINTPTR_MAX, std::memory_order_relaxed);
    host_bounds.high.store(0, std::memory_order_relaxed);
    if (fork_pipe[1] >= 0) (void)Raw(SYS_write, fork_pipe[1], "", 1);
  }
  EndFork();
}

}  // namespace causeway::shim
