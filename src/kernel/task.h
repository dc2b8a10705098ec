// SPDX-License-Identifier: Apache-2.0
// The calling thread of a system call, as drivers see it: its memory, its descriptors, its identity. The machine's
// implementation talks to the program over the channel; tests use FakeTask.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/file.h"
#include "kernel/user_memory.h"

namespace causeway::kernel {

// The address space of one process image. An exec or an exit ends it: memory registered from it is gone.
// `index` names it in memory that the NIC shares with programs.
struct AddressSpace {
  uint32_t index = 0;
  pid_t pid = 0;
};

// Pages of a range that lie in the machine's host memory (ipc::kHostMemory).
struct SharedPages {
  uint64_t start;   // bytes from the range's first
  uint64_t len;     // bytes
  uint64_t offset;  // of the byte at `start` in the host memory
};

class Task {
 public:
  virtual ~Task() = default;

  virtual pid_t pid() const = 0;
  virtual pid_t tid() const = 0;
  virtual UserMemory& memory() = 0;
  virtual AddressSpace mm() const = 0;
  // The program is dead or its thread was told to go: whoever waits in a call gives up (fatal_signal_pending()).
  virtual bool Killed() const { return false; }
  // capable(CAP_...) of the calling process (linux/capability.h).
  virtual bool Capable(int capability) const = 0;

  // get_unused_fd_flags() + fd_install(): the lowest free number of the program. `flags`: O_CLOEXEC, O_NONBLOCK.
  // errors: EMFILE, ENFILE, as the program's kernel answers.
  virtual Result<int> InstallFile(Ref<File> file, uint32_t flags) = 0;
  // Takes a descriptor that InstallFile made back, because a later step of the call failed.
  virtual void TakeBack(int fd) = 0;
  // fget(): EBADF when fd is not open; an empty Ref when it is open but not a file of this machine.
  virtual Result<Ref<File>> GetFile(int fd) = 0;
  // The host's own file behind a descriptor (an eventfd, say): EBADF when fd is not open.
  virtual Result<UniqueFd> GetHostFd(int fd) = 0;

  // Is [address, address + len) mapped in the program with at least read (and write, if asked) access?
  // errors: EFAULT (get_user_pages() would fail there).
  virtual Status CheckRange(uint64_t address, uint64_t len, bool write) = 0;
  // Is all of it in pages of at least `page` bytes, each contiguous for a device?
  virtual bool PagesAre(uint64_t /*address*/, uint64_t /*len*/, uint64_t /*page*/) { return false; }
  // CheckRange(), and which parts the machine's processes share, in order. errors: EFAULT.
  virtual Result<std::vector<SharedPages>> PinRange(uint64_t address, uint64_t len, bool write) {
    CW_CHECK(CheckRange(address, len, write));
    return std::vector<SharedPages>();
  }
  // CheckRange(), and the pages for use after the call: what a driver keeps that pins them for a device
  // (get_user_pages(FOLL_LONGTERM)). errors: EFAULT.
  virtual Result<std::shared_ptr<PinnedMemory>> PinPages(uint64_t /*address*/, uint64_t /*len*/, bool /*write*/) {
    return Err(EFAULT);
  }

  // get_task_pid(): a pidfd of the process, good for a signal whenever that may be.
  // errors: ESRCH the process has ended, or nobody stands behind this task; EMFILE, ENFILE.
  virtual Result<UniqueFd> Pidfd() { return Err(ESRCH); }

  // What the answer of a write() tells the shim beside the result (Message::value[0]): uverbs says which queue pair a
  // doorbell named, so that the next one rings in the program.
  virtual void set_hint(uint64_t) {}
};

}  // namespace causeway::kernel
