// SPDX-License-Identifier: Apache-2.0
// Task of a real program thread: memory with the message or by process_vm_*, descriptors over the channel and the
// control socket. Runs on: the thread's server thread, during one call.
#pragma once

#include "kernel/call_memory.h"
#include "kernel/file_table.h"
#include "kernel/process.h"
#include "kernel/program.h"
#include "kernel/task.h"

namespace causeway::kernel {

class ProgramTask : public Task {
 public:
  // Both outlive the task.
  ProgramTask(ProgramThread& thread, FileTable& files, const ipc::Message& call)
      : thread_(thread),
        files_(files),
        call_(call),
        memory_(thread.program->pid, call, thread.channel.input(), thread.channel.output()) {}

  pid_t pid() const override { return thread_.program->pid; }
  pid_t tid() const override { return thread_.tid; }
  UserMemory& memory() override { return memory_; }
  AddressSpace mm() const override { return thread_.program->mm; }
  bool Killed() const override { return thread_.channel.closed(); }
  bool Capable(int capability) const override { return ProcessCapable(pid(), capability); }
  Result<int> InstallFile(Ref<File> file, uint32_t flags) override {
    return InstallOpened(std::move(file), flags, FileTable::kAnyAccess);
  }
  void TakeBack(int fd) override;
  Result<Ref<File>> GetFile(int fd) override;
  Result<UniqueFd> GetHostFd(int fd) override;
  Status CheckRange(uint64_t address, uint64_t len, bool write) override {
    return CheckProcessRange(thread_.program->maps(), address, len, write);
  }
  bool PagesAre(uint64_t address, uint64_t len, uint64_t page) override {
    return ProcessPagesAre(thread_.program->maps(), address, len, page);
  }
  Result<std::vector<SharedPages>> PinRange(uint64_t address, uint64_t len, bool write) override;
  Result<std::shared_ptr<PinnedMemory>> PinPages(uint64_t address, uint64_t len, bool write) override;
  Result<UniqueFd> Pidfd() override;

  void set_hint(uint64_t hint) override { hint_ = hint; }
  uint64_t hint() const { return hint_; }

  // InstallFile() of a file that an open() with access mode `access` made.
  Result<int> InstallOpened(Ref<File> file, uint32_t flags, uint32_t access);
  // Gives the program a descriptor that is no file of ours. `is_private`: kept out of the program's numbers.
  Result<int> InstallHostFd(UniqueFd descriptor, uint32_t flags, bool is_private);

  // What the answer carries of the call's stores: Message::output_bytes.
  uint32_t output_bytes() const { return memory_.output_bytes(); }

  Program& program() { return *thread_.program; }
  HostMemoryKeeper* keeper() { return thread_.program->keeper; }  // null: nothing is shared
  // The call is refused for now: this part of the program's memory should be shared first (ipc::kShareFirst). `len` 0:
  // no.
  struct Range {
    uint64_t address = 0, len = 0;
  };
  Range share_first() const { return share_first_; }
  // A descriptor was made and not kept: its file's release is due when the call has ended.
  bool install_failed() const { return install_failed_; }

 private:
  Result<int> Send(UniqueFd descriptor, ipc::FileKind kind, FileId id, uint32_t flags, bool is_private);

  ProgramThread& thread_;
  FileTable& files_;
  const ipc::Message& call_;
  CallMemory memory_;
  bool install_failed_ = false;
  Range share_first_;
  uint64_t hint_ = 0;
};

// Task of a program that has ended: it has no memory and no descriptors. For what must still be undone in its name.
class DeadTask : public Task {
 public:
  explicit DeadTask(const Program& program) : pid_(program.pid), mm_(program.mm) {}
  pid_t pid() const override { return pid_; }
  pid_t tid() const override { return pid_; }
  UserMemory& memory() override { return memory_; }
  AddressSpace mm() const override { return mm_; }
  bool Capable(int) const override { return false; }
  Result<int> InstallFile(Ref<File>, uint32_t) override { return Err(ESRCH); }
  void TakeBack(int) override {}
  Result<Ref<File>> GetFile(int) override { return Err(EBADF); }
  Result<UniqueFd> GetHostFd(int) override { return Err(EBADF); }
  Status CheckRange(uint64_t, uint64_t, bool) override { return Err(EFAULT); }

 private:
  class NoMemory : public UserMemory {
   public:
    Status CopyFrom(std::span<std::byte>, uint64_t) override { return Err(EFAULT); }
    Status CopyTo(uint64_t, std::span<const std::byte>) override { return Err(EFAULT); }
  };
  const pid_t pid_;
  const AddressSpace mm_;
  NoMemory memory_;
};

}  // namespace causeway::kernel
