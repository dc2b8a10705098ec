// SPDX-License-Identifier: Apache-2.0
#include "shim/leak_check.h"

#include "ipc/arena.h"
#include "ipc/memory_window.h"
#include "shim/host_maps.h"
#include "shim/machine.h"
#include "shim/mapping.h"
#include "shim/memcheck.h"
#include "shim/raw.h"

extern "C" int __cxa_atexit(void (*function)(void*), void* argument, void* library);

namespace causeway::shim {
namespace {

void HideMappingAt(OwnMaps& maps, const void* start) {
  const auto address = reinterpret_cast<uintptr_t>(start);
  uapi::Vma vma;
  if (address == 0 || !maps.Next(address, &vma) || vma.start > address) return;
  HideMemory(start, vma.end - address);
}

void HideMachineMemory(void*) {
  const ipc::ArenaHeader* const header = MachineIfConnected();
  if (header == nullptr || !RunsOnValgrind()) return;
  OwnMaps maps;
  for (uint32_t memory = 0; memory < ipc::kMaxMemories; ++memory) {
    for (uint64_t window = 0; window < ipc::MaxWindows(memory); ++window) {
      HideMappingAt(maps, WindowTable(memory)[window].load(std::memory_order_acquire));
    }
  }
  HideMappingAt(maps, header);
}

}  // namespace

// Of no library, and registered before libc registers the destructors of all: it runs after them
// (__run_exit_handlers()).
void WatchExit() {
  if (RunsOnValgrind()) (void)__cxa_atexit(HideMachineMemory, nullptr, nullptr);
}

void ExitAtOnce(int status) {
  HideMachineMemory(nullptr);
  for (;;) (void)Raw(SYS_exit_group, status);
}

}  // namespace causeway::shim
