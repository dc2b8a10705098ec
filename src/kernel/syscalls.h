// SPDX-License-Identifier: Apache-2.0
// Carries out one call of a program (ipc/channel.h, Op): finds the file, makes the checks that the VFS makes before a
// driver sees the call, and turns the outcome into the answer. Runs on: server threads.
#pragma once

#include <functional>

#include "ipc/channel.h"
#include "ipc/memory_table.h"
#include "kernel/file_table.h"
#include "kernel/host_memory.h"
#include "kernel/program_task.h"
#include "kernel/socket.h"
#include "kernel/tree.h"

namespace causeway::kernel {

class Syscalls {
 public:
  // All outlive this.
  Syscalls(Tree& tree, FileTable& files, ipc::MemoryTable& memories)
      : tree_(tree), files_(files), memories_(memories) {}

  // Returns when every program that has ended is undone (Server::SettleEnds()). Set before the first call.
  void set_settle_ends(std::function<void()> settle) { settle_ends_ = std::move(settle); }

  // Sockets of this family and protocol are the machine's. Set before the first call.
  void AddSocketFamily(int family, int protocol, SocketFn make) { sockets_[{family, protocol}] = std::move(make); }

  // Never throws. The answer is a kDone.
  ipc::Message Handle(ProgramTask& task, const ipc::Message& call);

 private:
  Result<int64_t> Dispatch(ProgramTask& task, const ipc::Message& call, ipc::Message* answer);
  Result<int64_t> Open(ProgramTask& task, uint32_t node_id, uint32_t flags);
  Result<int64_t> ReadFile(ProgramTask& task, const ipc::Message& call, ipc::Message* answer);
  Result<int64_t> WriteFile(ProgramTask& task, const ipc::Message& call, ipc::Message* answer);
  Result<int64_t> Mmap(ProgramTask& task, const ipc::Message& call, ipc::Message* answer);
  Result<int64_t> Munmap(ProgramTask& task, uint64_t id);
  Result<int64_t> Stat(const ipc::Message& call, ipc::Message* answer);
  Result<int64_t> Text(ProgramTask& task, const ipc::Message& call, const std::string& text);
  Result<int64_t> MapMemory(ProgramTask& task, uint64_t memory);
  Result<int64_t> Attribute(ProgramTask& task, uint32_t node_id, uint32_t flags);
  Result<int64_t> Socket(ProgramTask& task, int family, uint32_t type, int protocol);

  Tree& tree_;
  FileTable& files_;
  ipc::MemoryTable& memories_;
  std::function<void()> settle_ends_;
  SocketFamilies sockets_;
};

}  // namespace causeway::kernel
