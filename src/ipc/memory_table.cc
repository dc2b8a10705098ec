// SPDX-License-Identifier: Apache-2.0
#include "ipc/memory_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/checked.h"

namespace causeway::ipc {
namespace {

uint64_t WindowBytes(uint64_t bytes, uint64_t window) {
  return std::min(kMemoryWindow, bytes - window * kMemoryWindow);
}

uint64_t WindowCount(uint64_t bytes) { return (bytes + kMemoryWindow - 1) / kMemoryWindow; }

}  // namespace

MemoryTable::MemoryTable() = default;

MemoryTable::~MemoryTable() {
  for (uint32_t memory = 0; memory < count(); ++memory) {
    Entry& entry = *entries_[memory];
    for (uint64_t window = 0; window < WindowCount(entry.bytes); ++window) {
      std::byte* mapped = entry.windows[window].load(std::memory_order_relaxed);
      if (mapped != nullptr) (void)::munmap(mapped, WindowBytes(entry.bytes, window));
    }
  }
}

Result<uint32_t> MemoryTable::Create(const std::string& name, uint64_t bytes) {
  if (bytes == 0 || bytes > kMemoryWindow * MaxWindows(count())) return Err(EINVAL);
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!fd) return HostErr();
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return HostErr();
  return Adopt(name, std::move(fd), bytes);
}

Result<uint32_t> MemoryTable::Adopt(const std::string& name, UniqueFd fd, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint32_t memory = count_.load(std::memory_order_relaxed);
  if (memory == kMaxMemories) return Err(ENOSPC);
  if (bytes == 0 || bytes > kMemoryWindow * MaxWindows(memory)) return Err(EINVAL);
  auto entry = std::make_unique<Entry>();
  entry->name = name;
  entry->fd = std::move(fd);
  entry->bytes = bytes;
  entry->windows = std::make_unique<std::atomic<std::byte*>[]>(WindowCount(bytes));
  entries_[memory] = std::move(entry);
  count_.store(memory + 1, std::memory_order_release);  // pairs with the acquire in count()
  return memory;
}

std::byte* MemoryTable::At(uint32_t memory, uint64_t offset, uint64_t* len) {
  if (memory >= count()) return nullptr;
  Entry& entry = *entries_[memory];
  if (!InRange(offset, *len, entry.bytes) || offset == entry.bytes) return nullptr;
  const uint64_t window = offset / kMemoryWindow;
  const uint64_t in_window = offset % kMemoryWindow;
  const uint64_t window_bytes = WindowBytes(entry.bytes, window);
  std::byte* mapped = entry.windows[window].load(std::memory_order_acquire);  // pairs with the release below
  if (mapped == nullptr) {
    const std::lock_guard lock(mutex_);
    mapped = entry.windows[window].load(std::memory_order_relaxed);
    if (mapped == nullptr) {
      void* address = ::mmap(nullptr, window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, entry.fd.get(),
                             static_cast<off_t>(window * kMemoryWindow));
      if (address == MAP_FAILED) return nullptr;
      (void)::madvise(address, window_bytes, MADV_DONTDUMP);  // a core file of 96 GiB helps nobody; failing is harmless
      // Device memory in huge pages, where the host allows it.
      if (memory > kHostMemory) (void)::madvise(address, window_bytes, MADV_HUGEPAGE);
      mapped = static_cast<std::byte*>(address);
      entry.windows[window].store(mapped, std::memory_order_release);
    }
  }
  *len = std::min(*len, window_bytes - in_window);
  return mapped + in_window;
}

void MemoryTable::Discard(uint32_t memory, uint64_t offset, uint64_t len) {
  if (memory >= count() || len == 0) return;
  const Entry& entry = *entries_[memory];
  if (!InRange(offset, len, entry.bytes)) return;
  // Whole pages go back to the system and partial ones are zeroed (man 2 fallocate). Failing leaves old bytes in place,
  // which is allowed for freed device memory.
  (void)::fallocate(entry.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(len));
}

uint64_t MemoryTable::Extent(uint32_t memory, uint64_t offset, uint64_t len, bool* untouched) const {
  *untouched = false;
  if (memory >= count()) return len;
  // SEEK_HOLE would look at every page of a memory that is in use; this looks at the first one only.
  constexpr uint64_t kStep = uint64_t{2} << 20;
  const off_t data = ::lseek(entries_[memory]->fd.get(), static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0 && errno != ENXIO) return len;
  const uint64_t hole = data < 0 ? len : static_cast<uint64_t>(data) - offset;
  *untouched = hole != 0;
  return std::min(len, *untouched ? hole : kStep - offset % kStep);
}

int MemoryTable::fd(uint32_t memory) const { return memory < count() ? entries_[memory]->fd.get() : -1; }

uint64_t MemoryTable::size(uint32_t memory) const { return memory < count() ? entries_[memory]->bytes : 0; }

uint64_t MemoryTable::resident_bytes(uint32_t memory) const {
  struct stat status;
  if (memory >= count() || ::fstat(entries_[memory]->fd.get(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_blocks) * 512;  // st_blocks counts 512-byte units whatever the file system
}

const std::string& MemoryTable::name(uint32_t memory) const {
  static const std::string none;
  return memory < count() ? entries_[memory]->name : none;
}

uint32_t MemoryTable::count() const { return count_.load(std::memory_order_acquire); }

}  // namespace causeway::ipc
