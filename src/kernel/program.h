// SPDX-License-Identifier: Apache-2.0
// A program's process image and its threads, as the machine keeps them. An exec makes a new Program of the same pid.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/ref.h"
#include "base/unique_fd.h"
#include "ipc/arena.h"
#include "kernel/file.h"
#include "kernel/host_memory.h"
#include "kernel/process.h"
#include "kernel/server_channel.h"
#include "kernel/task.h"

namespace causeway::kernel {

struct ProgramThread;

struct Program {
  Program(pid_t process, AddressSpace space, HostFile host, HostMemoryKeeper* keeps)
      : pid(process), mm(space), host_memory(host), keeper(keeps) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Mappings that the program reports the end of. Like a vm_area_struct, each holds its file: release() comes after the
  // last munmap().
  struct Vma {
    Ref<File> file;
    uint64_t vma = 0;  // the file's own number for it
  };
  uint64_t AddVma(Vma vma) {
    const std::lock_guard lock(vma_mutex);
    vmas.emplace(++last_vma, std::move(vma));
    return last_vma;
  }
  Vma FindVma(uint64_t id) {  // an empty file: no such mapping
    const std::lock_guard lock(vma_mutex);
    const auto it = vmas.find(id);
    return it == vmas.end() ? Vma{} : it->second;
  }
  Vma TakeVma(uint64_t id) {  // an empty file: no such mapping
    const std::lock_guard lock(vma_mutex);
    const auto node = vmas.extract(id);
    return node ? std::move(node.mapped()) : Vma{};
  }
  std::vector<Vma> TakeAllVmas() {
    const std::lock_guard lock(vma_mutex);
    std::vector<Vma> all;
    for (auto& [id, vma] : vmas) all.push_back(std::move(vma));
    vmas.clear();
    return all;
  }

  // Opened when it is first asked for: few programs register memory.
  const ProcessMaps& maps() {
    static const ProcessMaps none;
    const std::lock_guard lock(maps_mutex);
    if (!process_maps) {
      ProcessMaps opened(pid);
      if (opened.fd() < 0) return none;
      process_maps.emplace(std::move(opened));
    }
    return *process_maps;
  }

  const pid_t pid;
  const AddressSpace mm;
  const HostFile host_memory;
  HostMemoryKeeper* const keeper;  // null: nothing is shared
  UniqueFd pidfd;
  int connection = -1;                                  // key of its control socket; owned by the server
  std::vector<std::shared_ptr<ProgramThread>> threads;  // main loop's; guarded by the server's mutex

  std::mutex maps_mutex;
  std::optional<ProcessMaps> process_maps;

  std::mutex vma_mutex;
  uint64_t last_vma = 0;
  std::map<uint64_t, Vma> vmas;
};

// One connected thread: its slot in the arena, its server thread, and the descriptors under way.
struct ProgramThread {
  ProgramThread(std::shared_ptr<Program> of, uint32_t slot_index, ipc::ThreadSlot& slot, pid_t thread_id)
      : program(std::move(of)), slot_number(slot_index), tid(thread_id), channel(slot) {}

  const std::shared_ptr<Program> program;
  const uint32_t slot_number;
  const pid_t tid;
  ServerChannel channel;
  pthread_t server = {};

  std::mutex mutex;   // the fields below: set by one of server thread and main loop, taken by the other
  UniqueFd outgoing;  // waits for kFetchFd
  UniqueFd incoming;  // came with kPutFd
};

}  // namespace causeway::kernel
