// SPDX-License-Identifier: Apache-2.0
// A host process as the kernel half needs it: its memory, its mappings, its rights. Everything here is asked from the
// host kernel each time; nothing is cached, a process changes behind our back.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "kernel/task.h"
#include "kernel/user_memory.h"

namespace causeway::kernel {

// By process_vm_readv()/process_vm_writev(). A process that is gone, or that the host does not let us touch, has no
// memory: EFAULT.
class ProcessMemory : public UserMemory {
 public:
  explicit ProcessMemory(pid_t pid) : pid_(pid) {}
  Status CopyFrom(std::span<std::byte> to, uint64_t user_address) override;
  Status CopyTo(uint64_t user_address, std::span<const std::byte> from) override;

 private:
  const pid_t pid_;
};

// /proc/<pid>/maps, of the image that the process runs now. Opening it costs several times what a look at it does. Any
// thread. Without it (the process is gone, no descriptor is left) nothing is mapped.
class ProcessMaps {
 public:
  ProcessMaps() = default;
  explicit ProcessMaps(pid_t pid);
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};
// Is every page of [address, address + len) mapped with the access that get_user_pages() asks for (mm/gup.c
// check_vma_flags(): VM_WRITE to write, else VM_READ)? errors: EFAULT.
Status CheckProcessRange(const ProcessMaps& maps, uint64_t address, uint64_t len, bool write);
struct HostFile {
  uint64_t device = 0, inode = 0;  // st_dev, st_ino; inode 0: none
};
struct ProcessRange {
  std::vector<SharedPages> shared;  // which pages map the host's file, shared
  bool has_private = false;         // some are private memory (uapi::IsPrivateMemory()) and not in `stack`'s mapping
};
// CheckProcessRange(), and what the pages are. `stack`: an address on the calling thread's stack, 0: not known.
Result<ProcessRange> PinProcessRange(const ProcessMaps& maps, uint64_t address, uint64_t len, bool write, HostFile file,
                                     uint64_t stack);
// Offsets in `file` that the process maps anywhere, [start, end), in order of address. errors: the host's.
Result<std::vector<std::pair<uint64_t, uint64_t>>> MappedOffsets(pid_t pid, HostFile file);
// Are all of these pages at least `page` bytes each (hugetlbfs)? No, where the host's kernel does not tell.
bool ProcessPagesAre(const ProcessMaps& maps, uint64_t address, uint64_t len, uint64_t page);
// The same over the text of /proc/<pid>/maps.
Status CheckRangeInMaps(std::string_view maps, uint64_t address, uint64_t len, bool write);

// CAP_* in the effective set, read from /proc/<pid>/status.
bool ProcessCapable(pid_t pid, int capability);

// /proc/<pid>/comm without the newline; "?" when the process is gone.
std::string ProcessName(pid_t pid);

}  // namespace causeway::kernel
