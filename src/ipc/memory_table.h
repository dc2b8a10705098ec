// SPDX-License-Identifier: Apache-2.0
// Memory objects: sparse memfds whose bytes the machine and its programs can map, named by a small number. The arena is
// number 0; every device memory behind a BAR (HBM) is one.
//
// A memory is mapped window by window (1 GiB of address space each), on first touch, so that a 96 GiB device costs what
// is used and a program with a limit on its address space can still reach it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/memory_window.h"

namespace causeway::ipc {

class MemoryTable {
 public:
  MemoryTable();
  ~MemoryTable();

  // A new sparse memory of `bytes`. errors: ENOMEM/EMFILE of the host, ENOSPC table full, EINVAL larger than the
  // windows of any memory but the second, which is kHostMemory and may have as many as it has.
  Result<uint32_t> Create(const std::string& name, uint64_t bytes);
  // Takes a memfd made elsewhere (the arena).
  Result<uint32_t> Adopt(const std::string& name, UniqueFd fd, uint64_t bytes);

  // The machine's own mapping of [offset, offset + *len); *len is cut at a window's end. nullptr when out of range.
  std::byte* At(uint32_t memory, uint64_t offset, uint64_t* len);
  // Returns pages to the system: they read as zero afterwards.
  void Discard(uint32_t memory, uint64_t offset, uint64_t len);

  // How many of `len` bytes from `offset` on are alike, at least 1: *untouched, they have no pages and read zero; or
  // not known to be so. Somebody may touch them at any time.
  uint64_t Extent(uint32_t memory, uint64_t offset, uint64_t len, bool* untouched) const;

  int fd(uint32_t memory) const;
  uint64_t size(uint32_t memory) const;
  uint64_t resident_bytes(uint32_t memory) const;  // what is touched
  const std::string& name(uint32_t memory) const;
  uint32_t count() const;

 private:
  struct Entry {
    std::string name;
    UniqueFd fd;
    uint64_t bytes = 0;
    std::unique_ptr<std::atomic<std::byte*>[]> windows;  // [WindowCount(bytes)]
  };
  mutable std::mutex mutex_;  // creation and first mapping of a window
  std::atomic<uint32_t> count_{0};
  std::unique_ptr<Entry> entries_[kMaxMemories];
};

}  // namespace causeway::ipc
