// SPDX-License-Identifier: Apache-2.0
#include "kernel/program_task.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

namespace causeway::kernel {
namespace {

// Pages of a process: those in the host memory by the machine's own mapping, the others by process_vm_*.
class PinnedProcessMemory : public PinnedMemory {
 public:
  PinnedProcessMemory(pid_t pid, std::shared_ptr<PinnedPages> pages) : memory_(pid), pages_(std::move(pages)) {}
  Status CopyFrom(std::span<std::byte> to, uint64_t address) override {
    while (!to.empty()) {
      uint64_t len = to.size();
      if (const std::byte* const bytes = Bytes(address, &len); bytes != nullptr) {
        std::memcpy(to.data(), bytes, len);
      } else {
        if (!HasImage()) return Err(EFAULT);
        CW_CHECK(memory_.CopyFrom(to.first(len), address));
      }
      to = to.subspan(len);
      address += len;
    }
    return {};
  }
  Status CopyTo(uint64_t address, std::span<const std::byte> from) override {
    while (!from.empty()) {
      uint64_t len = from.size();
      if (std::byte* const bytes = Bytes(address, &len); bytes != nullptr) {
        std::memcpy(bytes, from.data(), len);
      } else {
        if (!HasImage()) return Err(EFAULT);
        CW_CHECK(memory_.CopyTo(address, from.first(len)));
      }
      from = from.subspan(len);
      address += len;
    }
    return {};
  }
  std::byte* Bytes(uint64_t address, uint64_t* len) override { return pages_ ? pages_->Bytes(address, len) : nullptr; }

 private:
  bool HasImage() const { return !pages_ || pages_->HasImage(); }

  ProcessMemory memory_;
  const std::shared_ptr<PinnedPages> pages_;  // null: the machine keeps no host memory
};

}  // namespace

Result<int> ProgramTask::Send(UniqueFd descriptor, ipc::FileKind kind, FileId id, uint32_t flags, bool is_private) {
  {
    const std::lock_guard lock(thread_.mutex);
    thread_.outgoing = std::move(descriptor);
  }
  ipc::Message request = {};
  request.op = static_cast<uint32_t>(ipc::Op::kInstallFd);
  request.file = id;
  request.file_kind = kind;
  request.value[0] = flags & (O_CLOEXEC | O_NONBLOCK);
  request.value[1] = is_private ? 1 : 0;
  const auto answer = thread_.channel.Ask(request);
  {
    const std::lock_guard lock(thread_.mutex);
    thread_.outgoing.Reset();  // not fetched: nobody will
  }
  if (!answer) return Err(answer.error());
  if (answer->result < 0) return Err(Errno::FromHost(static_cast<int>(-std::max<int64_t>(answer->result, -4095))));
  if (answer->result > INT_MAX) return Err(EPROTO);
  return static_cast<int>(answer->result);
}

Result<int> ProgramTask::InstallOpened(Ref<File> file, uint32_t flags, uint32_t access) {
  const ipc::FileKind kind = file->kind();
  CW_TRY(auto installed, files_.Install(std::move(file), flags, access, pid()));
  // A file without a poll operation is always ready (vfs_poll(), DEFAULT_POLLMASK), and so is a dma-buf without fences.
  const bool polls = kind == ipc::kFileEvent || kind == ipc::kFileRdmaCm || kind == ipc::kFileNetlink;
  if (!polls) files_.SetReadable(installed.id);
  auto fd = Send(std::move(installed.end), kind, installed.id, flags, false);
  // No descriptor is left then, so the table sees the hangup; its release must not run here, under the driver's locks.
  if (!fd) install_failed_ = true;
  return fd;
}

Result<int> ProgramTask::InstallHostFd(UniqueFd descriptor, uint32_t flags, bool is_private) {
  return Send(std::move(descriptor), ipc::kFileNone, 0, flags, is_private);
}

void ProgramTask::TakeBack(int fd) {
  ipc::Message request = {};
  request.op = static_cast<uint32_t>(ipc::Op::kCloseFd);
  request.value[0] = static_cast<uint64_t>(fd);
  (void)thread_.channel.Ask(request);  // a dead program has closed it already
  install_failed_ = true;
}

Result<UniqueFd> ProgramTask::GetHostFd(int fd) {
  if (fd < 0) return Err(EBADF);
  ipc::Message request = {};
  request.op = static_cast<uint32_t>(ipc::Op::kSendFd);
  request.value[0] = static_cast<uint64_t>(fd);
  CW_TRY(const ipc::Message answer, thread_.channel.Ask(request));
  const std::lock_guard lock(thread_.mutex);
  UniqueFd descriptor = std::move(thread_.incoming);
  if (answer.result < 0 || !descriptor) return Err(EBADF);
  return descriptor;
}

Result<std::vector<SharedPages>> ProgramTask::PinRange(uint64_t address, uint64_t len, bool write) {
  CW_TRY(auto range,
         PinProcessRange(thread_.program->maps(), address, len, write, thread_.program->host_memory, call_.stack_low));
  const auto op = static_cast<ipc::Op>(call_.op);
  if (range.has_private && (op == ipc::Op::kIoctl || op == ipc::Op::kWrite) && call_.arg[3] == 1) {
    share_first_ = {address, len};
    memory_.DropStores();
    return Err(ERESTART);
  }
  return std::move(range.shared);
}

Result<std::shared_ptr<PinnedMemory>> ProgramTask::PinPages(uint64_t address, uint64_t len, bool write) {
  CW_TRY(const auto shared, PinRange(address, len, write));
  std::shared_ptr<PinnedPages> pages;
  if (keeper() != nullptr) pages = keeper()->Pin(mm(), address, len, shared);
  return std::make_shared<PinnedProcessMemory>(pid(), std::move(pages));
}

Result<UniqueFd> ProgramTask::Pidfd() {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid(), 0)));
  if (!pidfd) return HostErr();
  return pidfd;
}

Result<Ref<File>> ProgramTask::GetFile(int fd) {
  CW_TRY(const UniqueFd descriptor, GetHostFd(fd));
  return files_.Identify(descriptor.get());
}

}  // namespace causeway::kernel
