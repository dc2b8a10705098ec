// SPDX-License-Identifier: Apache-2.0
// The "RAM" of the machine's programs: one sparse memory object (ipc::kHostMemory) into which a program moves pages of
// its ordinary memory when it registers them, so that its peers reach them without a system call
// (docs/architecture.md, "Host memory").
//
// Offsets are leased to a process image for its life; within it each is given out once, so a mapping that the program
// moved or forgot never shows somebody else's bytes. Pages that no mapping of the image, no region and no device's pin
// refers to are given back to the system: a look at /proc/<pid>/maps tells, because nobody sees all unmapping (libc's
// own is not). An image's leases end with its last pin: a device may hold pages longer than the program lives.
//
// Runs on: server threads; EndAddressSpace() on the reaper.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "devices/roce_nic/nic.h"
#include "ipc/memory_table.h"
#include "kernel/host_memory.h"
#include "kernel/process.h"

namespace causeway::machine {

class HostMemory : public kernel::HostMemoryKeeper {
 public:
  // Makes memory object ipc::kHostMemory: `memories` has only the arena yet. `enabled` false: nothing is ever shared.
  // errors: those of memfd_create().
  static Result<std::unique_ptr<HostMemory>> Create(ipc::MemoryTable& memories, bool enabled);

  // Before the first program. Outlives this.
  void set_nics(roce::NicDevices& nics) { nics_ = &nics; }
  kernel::HostFile file() const { return file_; }

  // errors: EOPNOTSUPP switched off; EINVAL not pages; EBUSY a region or a device reaches some of them by system call,
  // and what is written there during the move would be lost; ENOSPC no offsets are left.
  Result<uint64_t> Share(kernel::AddressSpace mm, uint64_t address, uint64_t len) override;
  void Unmapped(kernel::AddressSpace mm, uint64_t address, uint64_t len) override;
  std::shared_ptr<kernel::PinnedPages> Pin(kernel::AddressSpace mm, uint64_t address, uint64_t len,
                                           const std::vector<kernel::SharedPages>& shared) override;
  // The image is gone, and the NIC has been told.
  void EndAddressSpace(uint32_t mm);

 private:
  using Ranges = std::map<uint64_t, uint64_t>;  // start -> end, disjoint

  class Pages;
  struct Image {
    explicit Image(pid_t process) : pid(process) {}
    const pid_t pid;
    std::mutex mutex;            // one call of an image at a time: the program sees to it, but programs may err
    Ranges leased;               // whole leases
    uint64_t next = 0, end = 0;  // of the lease in use
    Ranges live;                 // given out, and not given back to the system yet
    uint64_t live_bytes = 0, bytes_since_sweep = 0;
    std::atomic<bool> ended{false};  // the program is gone; changed with the lock
    size_t pins = 0;
    std::multimap<uint64_t, uint64_t> pinned;   // offsets that pins hold, start -> end
    std::multimap<uint64_t, uint64_t> by_call;  // addresses that pins reach by system call, start -> end
    uint64_t longest_by_call = 0;               // of any there was
  };

  HostMemory(ipc::MemoryTable& memories, bool enabled) : memories_(memories), enabled_(enabled) {}
  std::shared_ptr<Image> Find(kernel::AddressSpace mm, bool make);
  Result<uint64_t> Lease(Image& image, uint64_t bytes);
  // Gives pages back that nothing refers to. The image moves no pages meanwhile: it is inside a call.
  void Sweep(Image& image, kernel::AddressSpace mm);
  void EndImage(Image& image);
  // Nothing refers to the image any more. With its lock.
  void End(Image& image);

  ipc::MemoryTable& memories_;
  const bool enabled_;
  roce::NicDevices* nics_ = nullptr;
  kernel::HostFile file_;
  std::mutex mutex_;
  Ranges free_;                                        // guarded by mutex_
  std::map<uint32_t, std::shared_ptr<Image>> images_;  // by mm; guarded by mutex_
};

}  // namespace causeway::machine
