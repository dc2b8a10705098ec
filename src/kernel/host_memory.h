// SPDX-License-Identifier: Apache-2.0
// What the kernel half asks of the keeper of the machine's host memory (ipc::kHostMemory; machine/host_memory.h).
// Any server thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "kernel/task.h"

namespace causeway::kernel {

// A range of a program's memory that a device holds.
class PinnedPages {
 public:
  virtual ~PinnedPages() = default;
  // Its byte at this address, where it lies in the host memory; nullptr where only a system call reaches it. *len,
  // which does not leave the range, is cut to what the answer is true for.
  virtual std::byte* Bytes(uint64_t address, uint64_t* len) = 0;
  // The process image is there: what is reached by system call is its memory, and not that of a program it became.
  virtual bool HasImage() const = 0;
};

class HostMemoryKeeper {
 public:
  virtual ~HostMemoryKeeper() = default;
  // Op::kShareHost.
  virtual Result<uint64_t> Share(AddressSpace mm, uint64_t address, uint64_t len) = 0;
  // Op::kHostUnmapped.
  virtual void Unmapped(AddressSpace mm, uint64_t address, uint64_t len) = 0;
  // What PinProcessRange() found of [address, + len). As long as the answer lives, pages in the host memory stay what
  // they are, whatever the program does to its mappings; the others are not moved there.
  virtual std::shared_ptr<PinnedPages> Pin(AddressSpace mm, uint64_t address, uint64_t len,
                                           const std::vector<SharedPages>& shared) = 0;
};

}  // namespace causeway::kernel
