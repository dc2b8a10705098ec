// SPDX-License-Identifier: Apache-2.0
// A made-up calling thread and readiness sink, for unit tests of drivers: no channel, no machine.
//
//   FakeTask task;                       // pid 1000, memory empty
//   task.user.Map(0x10000, 4096);        // give it memory
//   file->Ioctl(task, request, 0x10000);
//   task.files.at(3)                     // what InstallFile() stored, by descriptor number
#pragma once

#include <fcntl.h>

#include <atomic>
#include <map>
#include <set>

#include "kernel/readiness.h"
#include "kernel/task.h"

namespace causeway::kernel {

class FakeTask : public Task {
 public:
  explicit FakeTask(pid_t pid = 1000) : pid_value(pid), tid_value(pid) { space.pid = pid; }

  pid_t pid() const override { return pid_value; }
  pid_t tid() const override { return tid_value; }
  UserMemory& memory() override { return user; }
  AddressSpace mm() const override { return space; }
  bool Capable(int capability) const override { return capabilities.contains(capability); }

  Result<int> InstallFile(Ref<File> file, uint32_t flags) override {
    if (install_errno != 0) return Err(Errno::FromHost(install_errno));
    int fd = 3;
    while (files.contains(fd) || host_files.contains(fd)) ++fd;
    if (file->id() == 0) file->set_id(next_file_id++);
    files[fd] = std::move(file);
    install_flags[fd] = flags;
    return fd;
  }
  void TakeBack(int fd) override { files.erase(fd); }
  Result<Ref<File>> GetFile(int fd) override {
    if (const auto it = files.find(fd); it != files.end()) return it->second;
    if (host_files.contains(fd)) return Ref<File>();
    return Err(EBADF);
  }
  Result<UniqueFd> GetHostFd(int fd) override {
    const auto it = host_files.find(fd);
    if (it == host_files.end()) return Err(EBADF);
    UniqueFd copy(::fcntl(it->second.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy) return HostErr();
    return copy;
  }
  Status CheckRange(uint64_t address, uint64_t len, bool write) override {
    if (!user.Contains(address, len, write)) return Err(EFAULT);
    return {};
  }

  Result<std::shared_ptr<PinnedMemory>> PinPages(uint64_t address, uint64_t len, bool write) override {
    CW_CHECK(CheckRange(address, len, write));
    return std::shared_ptr<PinnedMemory>(std::shared_ptr<void>(), &user);
  }
  bool PagesAre(uint64_t, uint64_t, uint64_t page) override { return page <= page_size; }

  // The last descriptor goes: what close() does.
  void Close(int fd) { files.erase(fd); }

  pid_t pid_value, tid_value;
  FakeUserMemory user;
  AddressSpace space;
  std::set<int> capabilities;
  std::map<int, Ref<File>> files;
  std::map<int, uint32_t> install_flags;
  std::map<int, UniqueFd> host_files;  // descriptors that are no files of the machine
  uint64_t page_size = 4096;
  int install_errno = 0;  // not 0: InstallFile() fails with it
  inline static std::atomic<FileId> next_file_id{1};
};

// Remembers which files are readable.
class FakeReadiness : public Readiness {
 public:
  void SetReadable(FileId file) override { readable.insert(file); }
  void ClearReadable(FileId file) override { readable.erase(file); }
  std::set<FileId> readable;
};

}  // namespace causeway::kernel
