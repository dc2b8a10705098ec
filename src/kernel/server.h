// SPDX-License-Identifier: Apache-2.0
// Programs of the machine: their control sockets (ipc/channel.h), thread slots and server threads; and their ends.
//
//   main loop     accepts, answers control sockets, sees deaths (pidfd, hangup). Never waits for anything else: program
//                 threads inside the data path may be waiting for it.
//   server threads  one per program thread: carry out its calls
//   reaper        undoes ended programs: address space, mappings, server threads, slots
//
// An image ends by exit, by SIGKILL or by exec (a Hello from a pid that has a Program, or the hangup of its socket).
// All its threads are gone then, so what they held in the data path is released at once (recover_slot).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ipc/arena.h"
#include "ipc/channel.h"
#include "kernel/file_table.h"
#include "kernel/program.h"
#include "kernel/syscalls.h"

namespace causeway::kernel {

// What the NIC, which this room does not know, has to be told of programs.
struct ServerHooks {
  std::function<Result<uint32_t>(uint32_t pid)> add_address_space;  // main loop: must not wait
  std::function<void(uint32_t mm)> end_address_space;               // reaper
  std::function<void(uint32_t slot)> recover_slot;                  // main loop: must not wait
};

struct ServerOptions {
  std::string socket_path;
  ipc::ArenaHeader* header = nullptr;  // mapped; outlives the server
  int arena_fd = -1;
  uint32_t slot_count = ipc::kMaxThreads;  // slots 0 .. slot_count - 1 are for programs
  ServerHooks hooks;
  HostFile host_memory;                // the file of ipc::kHostMemory
  HostMemoryKeeper* keeper = nullptr;  // outlives the server; without one nothing is shared
};

class Server {
 public:
  // Listens. `syscalls` and `files` outlive the server.
  static Result<std::unique_ptr<Server>> Start(ServerOptions options, Syscalls& syscalls, FileTable& files);
  ~Server();

  // Readable when Process() has something to do (an epoll descriptor). Both are the main loop's.
  int fd() const { return epoll_.get(); }
  void Process();
  // Ends all programs' channels: their calls answer ENODEV. Returns when no server thread is left. Process() is not
  // called any more.
  void Stop();

  struct ProgramInfo {
    pid_t pid;
    std::string comm;
    uint32_t threads;
    uint32_t mm;
  };
  std::vector<ProgramInfo> Programs() const;  // by pid
  // Waits until programs whose process has ended are undone: address space, mappings. Not on the main loop.
  void SettleEnds();
  uint32_t free_slots() const;

 private:
  struct Connection {
    UniqueFd socket;
    pid_t pid = 0;
    std::shared_ptr<Program> program;  // after its Hello
  };
  struct ThreadStart;

  Server(ServerOptions options, Syscalls& syscalls, FileTable& files);
  Status Listen();
  void Watch(int fd);
  void Accept();
  void Receive(Connection& connection);
  void Handle(Connection& connection, const ipc::ControlMessage& message, UniqueFd descriptor);
  Result<std::shared_ptr<ProgramThread>> Hello(Connection& connection, const ipc::ControlMessage& message);
  bool SlotsComeBackLocked() const;  // threads have ended, and still hold slots
  Result<std::shared_ptr<ProgramThread>> AddThread(const std::shared_ptr<Program>& program, uint32_t tid);
  std::shared_ptr<ProgramThread> FindThread(const Connection& connection, uint32_t slot_number);
  void EndProgram(const std::shared_ptr<Program>& program, bool recover);
  void Disconnect(int socket);
  void Serve(ProgramThread& thread);
  void Reap();
  ipc::ThreadSlot& slot(uint32_t index);

  const ServerOptions options_;
  Syscalls& syscalls_;
  FileTable& files_;
  UniqueFd epoll_, listener_;
  UniqueFd spare_;  // given up to refuse a program when descriptors run out

  // Main loop only: by descriptor of the socket.
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::unordered_map<int, std::shared_ptr<Program>> by_pidfd_;

  mutable std::mutex mutex_;  // guards what follows, and Program::threads
  std::condition_variable reaper_wake_;
  std::condition_variable settled_;
  uint32_t ending_ = 0;  // taken out of programs_, not yet undone
  std::unordered_map<pid_t, std::shared_ptr<Program>> programs_;
  std::vector<uint32_t> free_slots_;
  uint32_t threads_alive_ = 0;  // server threads not yet joined
  std::deque<std::shared_ptr<Program>> ended_;
  std::deque<std::shared_ptr<ProgramThread>> finished_;
  bool stopping_ = false;
  std::thread reaper_;
};

}  // namespace causeway::kernel
