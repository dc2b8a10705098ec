// SPDX-License-Identifier: Apache-2.0
// The machine's own arena (ipc/arena.h): makes the memfd, lays it out, holds the mutex that tells programs the machine
// lives.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "devices/roce_nic/nic_memory.h"
#include "ipc/arena.h"
#include "pci/bus_map.h"

namespace causeway::machine {

class ArenaMemory {
 public:
  // Sparse, zeroed, header filled but for what the tree writes. errors: those of memfd_create() and mmap().
  static Result<std::unique_ptr<ArenaMemory>> Create(const std::string& machine_id);
  ~ArenaMemory();
  ArenaMemory(const ArenaMemory&) = delete;
  ArenaMemory& operator=(const ArenaMemory&) = delete;

  // MachineAlive() is true from BeginLife() to EndLife(), or until the calling thread dies. Both on one thread, which
  // stays for the machine's whole life.
  void BeginLife();
  void EndLife();

  std::byte* base() const { return base_; }
  ipc::ArenaHeader& header() const { return *reinterpret_cast<ipc::ArenaHeader*>(base_); }
  pci::BusMap& bus_map() const { return *Region<pci::BusMap>(ipc::kRegionBusMap); }
  roce::NicMemory& nic() const { return *Region<roce::NicMemory>(ipc::kRegionNic); }
  int fd() const { return fd_.get(); }

 private:
  ArenaMemory(UniqueFd fd, std::byte* base) : fd_(std::move(fd)), base_(base) {}
  template <typename T>
  T* Region(ipc::Region region) const {
    return reinterpret_cast<T*>(base_ + header().region_offset[region]);
  }
  const UniqueFd fd_;
  std::byte* const base_;
  bool alive_ = false;
};

}  // namespace causeway::machine
