// SPDX-License-Identifier: Apache-2.0
#include "machine/arena_memory.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/checked.h"

namespace causeway::machine {
namespace {

constexpr uint64_t kHeapBytes = uint64_t{4} << 30;

struct Layout {
  uint64_t slots, region[ipc::kRegionCount], end;
};
constexpr Layout LayOut() {
  Layout layout = {};
  layout.slots = AlignUp(sizeof(ipc::ArenaHeader), kPageSize);
  layout.region[ipc::kRegionBusMap] = AlignUp(layout.slots + sizeof(ipc::ThreadSlot) * ipc::kMaxThreads, kPageSize);
  layout.region[ipc::kRegionNic] = AlignUp(layout.region[ipc::kRegionBusMap] + sizeof(pci::BusMap), kPageSize);
  layout.region[ipc::kRegionNicHeap] = AlignUp(layout.region[ipc::kRegionNic] + sizeof(roce::NicMemory), kPageSize);
  layout.end = layout.region[ipc::kRegionNicHeap] + kHeapBytes;
  return layout;
}
constexpr Layout kLayout = LayOut();

}  // namespace

Result<std::unique_ptr<ArenaMemory>> ArenaMemory::Create(const std::string& machine_id) {
  UniqueFd fd(::memfd_create("causeway-arena", MFD_CLOEXEC));
  if (!fd) return HostErr();
  if (::ftruncate(fd.get(), static_cast<off_t>(kLayout.end)) != 0) return HostErr();
  void* mapped = ::mmap(nullptr, kLayout.end, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (mapped == MAP_FAILED) return HostErr();
  (void)::madvise(mapped, kLayout.end, MADV_DONTDUMP);  // only a core file's size is at stake
  std::unique_ptr<ArenaMemory> arena(new ArenaMemory(std::move(fd), static_cast<std::byte*>(mapped)));

  ipc::ArenaHeader& header = arena->header();
  header.magic = ipc::kArenaMagic;
  header.version = ipc::kProtocolVersion;
  header.machine_pid = static_cast<uint32_t>(::getpid());
  header.arena_bytes = kLayout.end;
  CW_INVARIANT(machine_id.size() < sizeof(header.machine_id));
  std::memcpy(header.machine_id, machine_id.c_str(), machine_id.size() + 1);
  header.slots_offset = kLayout.slots;
  std::memcpy(header.region_offset, kLayout.region, sizeof(header.region_offset));

  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&header.life, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  return arena;
}

ArenaMemory::~ArenaMemory() {
  EndLife();
  (void)::munmap(base_, kLayout.end);
}

void ArenaMemory::BeginLife() {
  CW_INVARIANT(::pthread_mutex_lock(&header().life) == 0);
  alive_ = true;
}

void ArenaMemory::EndLife() {
  if (!alive_) return;
  alive_ = false;
  CW_INVARIANT(::pthread_mutex_unlock(&header().life) == 0);
}

}  // namespace causeway::machine
