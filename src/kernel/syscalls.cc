// SPDX-License-Identifier: Apache-2.0
#include "kernel/syscalls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <new>
#include <span>

#include "base/checked.h"
#include "base/log.h"

namespace causeway::kernel {
namespace {

bool MayRead(uint32_t access) { return access == FileTable::kAnyAccess || access != O_WRONLY; }
bool MayWrite(uint32_t access) { return access == FileTable::kAnyAccess || access != O_RDONLY; }

}  // namespace

ipc::Message Syscalls::Handle(ProgramTask& task, const ipc::Message& call) {
  ipc::Message answer = {};
  answer.op = static_cast<uint32_t>(ipc::Op::kDone);
  answer.file = call.file;
  FileId cleared = 0;
  Result<int64_t> result = Err(ENOMEM);
  try {
    const FileTable::CallScope scope;
    result = Dispatch(task, call, &answer);
    cleared = scope.cleared();
  } catch (const std::bad_alloc&) {
    // Out of memory while serving a request is ENOMEM.
  } catch (const std::exception& error) {
    log::Error("call {} of process {} failed: {}", call.op, task.pid(), error.what());
    result = Err(EIO);
  }
  answer.result = result ? *result : -static_cast<int64_t>(result.error().code());
  if (const auto range = task.share_first(); range.len != 0 && !result) {
    answer.result = ipc::kShareFirst;
    answer.value[0] = range.address;
    answer.value[1] = range.len;
  }
  if (cleared != 0 && static_cast<ipc::Op>(call.op) != ipc::Op::kStat) answer.value[3] = cleared;
  if (task.install_failed()) files_.Drain();
  log::Debug("pid {} tid {} op {} file {:#x} args {:#x} {:#x} {:#x} = {}", task.pid(), task.tid(), call.op, call.file,
             call.arg[0], call.arg[1], call.arg[2], answer.result);
  return answer;
}

Result<int64_t> Syscalls::Dispatch(ProgramTask& task, const ipc::Message& call, ipc::Message* answer) {
  switch (static_cast<ipc::Op>(call.op)) {
    case ipc::Op::kOpen: return Open(task, static_cast<uint32_t>(call.arg[0]), static_cast<uint32_t>(call.arg[1]));
    case ipc::Op::kIoctl: {
      CW_TRY(const auto opened, files_.Get(call.file));
      return opened.file->Ioctl(task, static_cast<uint32_t>(call.arg[0]), call.arg[1]);
    }
    case ipc::Op::kWrite: {
      const auto written = WriteFile(task, call, answer);
      answer->value[0] = task.hint();
      return written;
    }
    case ipc::Op::kRead: return ReadFile(task, call, answer);
    case ipc::Op::kMmap: return Mmap(task, call, answer);
    case ipc::Op::kMunmap: return Munmap(task, call.arg[0]);
    case ipc::Op::kStoreMapped: {
      const Program::Vma vma = task.program().FindVma(call.arg[0]);
      if (!vma.file) return Err(EINVAL);
      CW_CHECK(vma.file->StoreMapped(task, vma.vma, call.arg[1], call.arg[2], static_cast<uint32_t>(call.arg[3])));
      return 0;
    }
    case ipc::Op::kSeek: {
      CW_TRY(const auto opened, files_.Get(call.file));
      return opened.file->Seek(task, static_cast<int64_t>(call.arg[0]), static_cast<int>(call.arg[1]));
    }
    case ipc::Op::kStat: return Stat(call, answer);
    case ipc::Op::kSync: files_.Sync(call.file); return 0;
    case ipc::Op::kFdInfo: {
      CW_TRY(const auto opened, files_.Get(call.file));
      return Text(task, call, opened.file->FdInfo());
    }
    case ipc::Op::kName: {
      CW_TRY(const auto opened, files_.Get(call.file));
      return Text(task, call, opened.file->Name());
    }
    case ipc::Op::kMapMemory: return MapMemory(task, call.arg[0]);
    case ipc::Op::kAttribute:
      return Attribute(task, static_cast<uint32_t>(call.arg[0]), static_cast<uint32_t>(call.arg[1]));
    case ipc::Op::kShareHost: {
      if (task.keeper() == nullptr) return Err(EOPNOTSUPP);
      CW_TRY(answer->value[0], task.keeper()->Share(task.mm(), call.arg[0], call.arg[1]));
      return 0;
    }
    case ipc::Op::kHostUnmapped:
      if (task.keeper() != nullptr) task.keeper()->Unmapped(task.mm(), call.arg[0], call.arg[1]);
      return 0;
    case ipc::Op::kSocket:
      return Socket(task, static_cast<int>(call.arg[0]), static_cast<uint32_t>(call.arg[1]),
                    static_cast<int>(call.arg[2]));
    case ipc::Op::kBind:
    case ipc::Op::kConnect:
    case ipc::Op::kSocketName:
    case ipc::Op::kSetOption:
    case ipc::Op::kGetOption:
    case ipc::Op::kSendMessage:
    case ipc::Op::kBeforeReceive: {
      CW_TRY(const auto opened, files_.Get(call.file));
      return SocketCall(task, *opened.file, call);
    }
    case ipc::Op::kNone:
    case ipc::Op::kExit:  // the server loop's
    case ipc::Op::kDone:
    case ipc::Op::kInstallFd:
    case ipc::Op::kSendFd:
    case ipc::Op::kCloseFd: break;
  }
  return Err(ENOSYS);
}

Result<int64_t> Syscalls::Open(ProgramTask& task, uint32_t node_id, uint32_t flags) {
  // A device that a killed process held can be opened again at once, as after its exit on Linux.
  files_.Drain();
  auto opened = tree_.Open(task, node_id, flags);
  if (!opened && settle_ends_ && (opened.error() == Errno(EBUSY) || opened.error() == Errno(EAGAIN))) {
    // On Linux a process is waited for only after its files are released; here its end may still be on the way.
    settle_ends_();
    files_.Drain();
    opened = tree_.Open(task, node_id, flags);
  }
  CW_TRY(auto file, std::move(opened));
  CW_TRY(const int fd, task.InstallOpened(std::move(file), flags, flags & O_ACCMODE));
  return fd;
}

// __sys_socket(): SOCK_CLOEXEC and SOCK_NONBLOCK are O_CLOEXEC and O_NONBLOCK.
Result<int64_t> Syscalls::Socket(ProgramTask& task, int family, uint32_t type, int protocol) {
  constexpr uint32_t kTypeMask = 0xf;  // SOCK_TYPE_MASK
  const uint32_t flags = type & ~kTypeMask;
  if ((flags & ~uint32_t{SOCK_CLOEXEC | SOCK_NONBLOCK}) != 0) return Err(EINVAL);
  const auto it = sockets_.find({family, protocol});
  if (it == sockets_.end()) return Err(EPROTONOSUPPORT);
  CW_TRY(auto socket, it->second(task, static_cast<int>(type & kTypeMask)));
  CW_TRY(const int fd, task.InstallFile(std::move(socket), flags));
  return fd;
}

Result<int64_t> Syscalls::ReadFile(ProgramTask& task, const ipc::Message& call, ipc::Message* answer) {
  CW_TRY(const auto opened, files_.Get(call.file));
  if (!MayRead(opened.access)) return Err(EBADF);  // vfs_read()
  uint64_t generation = files_.Generation(call.file);
  bool drained = false;
  auto got = opened.file->ReadAt(task, call.arg[0], call.arg[1], static_cast<int64_t>(call.arg[2]), &drained);
  bool empty = got ? drained : got.error() == Errno(EAGAIN);
  // Something may have come between the two: a read of nothing tells, without taking it, whether it is still there.
  while (empty && !files_.TakeReadable(call.file, generation)) {
    const uint64_t now = files_.Generation(call.file);
    if (now == generation) return got;  // was not readable
    generation = now;
    bool ignored = false;
    const auto probe = opened.file->ReadAt(task, 0, 0, -1, &ignored);
    empty = !probe && probe.error() == Errno(EAGAIN);
  }
  if (empty) answer->value[0] = 1;
  return got;
}

Result<int64_t> Syscalls::WriteFile(ProgramTask& task, const ipc::Message& call, ipc::Message* answer) {
  CW_TRY(const auto opened, files_.Get(call.file));
  if (!MayWrite(opened.access)) return Err(EBADF);  // vfs_write()
  const bool takes_events = opened.file->kind() == ipc::kFileRdmaCm;
  const uint64_t generation = takes_events ? files_.Generation(call.file) : 0;
  const auto written = opened.file->WriteAt(task, call.arg[0], call.arg[1], static_cast<int64_t>(call.arg[2]));
  // Where something has come since, the descriptor stays readable, and who waits on it writes again.
  if (takes_events && !written && written.error() == Errno(EAGAIN) && files_.TakeReadable(call.file, generation)) {
    answer->value[1] = 1;
  }
  return written;
}

// The checks of mm/mmap.c do_mmap() that concern the file, in its order.
Result<int64_t> Syscalls::Mmap(ProgramTask& task, const ipc::Message& call, ipc::Message* answer) {
  CW_TRY(const auto opened, files_.Get(call.file));
  MmapRequest request;
  request.prot = static_cast<uint32_t>(call.arg[1]);
  request.flags = static_cast<uint32_t>(call.arg[2]);
  request.offset = call.arg[3];
  if (call.arg[0] == 0 || !IsAligned(request.offset, kPageSize)) return Err(EINVAL);
  if (call.arg[0] > (uint64_t{1} << 62)) return Err(ENOMEM);
  request.length = AlignUp(call.arg[0], kPageSize);
  const uint32_t type = request.flags & MAP_TYPE;
  if (type != MAP_SHARED && type != MAP_SHARED_VALIDATE && type != MAP_PRIVATE) return Err(EINVAL);
  if (type != MAP_PRIVATE && (request.prot & PROT_WRITE) != 0 && !MayWrite(opened.access)) return Err(EACCES);
  if (!MayRead(opened.access)) return Err(EACCES);
  CW_TRY(const Mapping mapping, opened.file->Mmap(task, request));
  answer->value[0] = mapping.memory;
  answer->value[1] = mapping.offset;
  if (mapping.trap_stores) answer->value[0] |= ipc::kMapTrapsStores;
  if (mapping.vma != 0) answer->value[2] = task.program().AddVma({opened.file, mapping.vma});
  return 0;
}

Result<int64_t> Syscalls::Munmap(ProgramTask& task, uint64_t id) {
  const Program::Vma vma = task.program().TakeVma(id);
  if (!vma.file) return Err(EINVAL);
  vma.file->Unmapped(task, vma.vma);
  return 0;
}

Result<int64_t> Syscalls::Stat(const ipc::Message& call, ipc::Message* answer) {
  CW_TRY(const auto opened, files_.Get(call.file));
  const FileStat stat = opened.file->Stat();
  answer->value[0] = stat.mode;
  answer->value[1] = uint64_t{stat.rdev_major} << 32 | stat.rdev_minor;
  answer->value[2] = stat.size;
  answer->value[3] = stat.inode;
  answer->file_kind = opened.file->kind();
  return 0;
}

Result<int64_t> Syscalls::Text(ProgramTask& task, const ipc::Message& call, const std::string& text) {
  const auto part = std::string_view(text).substr(0, call.arg[1]);
  CW_CHECK(task.memory().CopyTo(call.arg[0], std::as_bytes(std::span(part))));
  return static_cast<int64_t>(part.size());
}

Result<int64_t> Syscalls::MapMemory(ProgramTask& task, uint64_t memory) {
  if (memory >= memories_.count()) return Err(EINVAL);
  UniqueFd copy(::fcntl(memories_.fd(static_cast<uint32_t>(memory)), F_DUPFD_CLOEXEC, 0));
  if (!copy) return HostErr();
  CW_CHECK(task.InstallHostFd(std::move(copy), O_CLOEXEC, true));
  return static_cast<int64_t>(memories_.size(static_cast<uint32_t>(memory)));
}

Result<int64_t> Syscalls::Attribute(ProgramTask& task, uint32_t node_id, uint32_t flags) {
  CW_TRY(const std::string text, tree_.Show(node_id));
  UniqueFd memory(::memfd_create("attribute", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return HostErr();
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = ::write(memory.get(), rest.data(), rest.size());
    if (written < 0) return HostErr();
    rest.remove_prefix(static_cast<size_t>(written));
  }
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return HostErr();
  }
  if (::lseek(memory.get(), 0, SEEK_SET) < 0) return HostErr();
  CW_TRY(const int fd, task.InstallHostFd(std::move(memory), flags, false));
  return fd;
}

}  // namespace causeway::kernel
