// SPDX-License-Identifier: Apache-2.0
// A host process as the kernel half needs it: its memory, its mappings, its rights. Everything here is asked from the
// host kernel each time; nothing is cached, a process changes behind our back.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.h"
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

// Is every page of [address, address + len) mapped with the access that get_user_pages() asks for (mm/gup.c
// check_vma_flags(): VM_WRITE to write, else VM_READ)? errors: EFAULT.
Status CheckProcessRange(pid_t pid, uint64_t address, uint64_t len, bool write);
// The same over the text of /proc/<pid>/maps.
Status CheckRangeInMaps(std::string_view maps, uint64_t address, uint64_t len, bool write);

// CAP_* in the effective set, read from /proc/<pid>/status.
bool ProcessCapable(pid_t pid, int capability);

// /proc/<pid>/comm without the newline; "?" when the process is gone.
std::string ProcessName(pid_t pid);

}  // namespace causeway::kernel
