// SPDX-License-Identifier: Apache-2.0
// This process's own mappings, and the host memory's file among them. Internal to host_*.cc.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "shim/raw.h"
#include "uapi/vma_walker.h"

namespace causeway::shim {

struct RawSystem {
  static long Ioctl(int fd, unsigned long request, void* argument) { return Raw(SYS_ioctl, fd, request, argument); }
  static long Pread(int fd, void* buffer, size_t size, uint64_t offset) {
    return Raw(SYS_pread64, fd, buffer, size, offset);
  }
};

// /proc/self/maps from the first mapping on. Without /proc there are none.
class OwnMaps {
 public:
  OwnMaps()
      : fd_(static_cast<int>(Raw(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0))), walker_(fd_) {}
  ~OwnMaps() {
    if (fd_ >= 0) (void)Raw(SYS_close, fd_);
  }
  OwnMaps(const OwnMaps&) = delete;
  OwnMaps& operator=(const OwnMaps&) = delete;
  bool Next(uint64_t address, uapi::Vma* out) { return fd_ >= 0 && walker_.Next(address, out); }

 private:
  const int fd_;
  uapi::VmaWalker<RawSystem> walker_;
};

constexpr uint64_t kPage = 4096;
inline uint64_t PageDown(uint64_t value) { return value & ~(kPage - 1); }
inline uint64_t PageUp(uint64_t value) { return (value + kPage - 1) & ~(kPage - 1); }

// Is the mapping one of shared pages of the host memory?
bool IsHostVma(const uapi::Vma& vma);

inline int ProtOf(const uapi::Vma& vma) { return (vma.read ? 1 : 0) | (vma.write ? 2 : 0) | (vma.exec ? 4 : 0); }

}  // namespace causeway::shim
