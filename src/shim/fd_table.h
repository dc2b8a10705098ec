// SPDX-License-Identifier: Apache-2.0
// What each descriptor number of this process is to the shim: one byte per number, and the file id of virtual files. A
// call on an ordinary descriptor costs one load here and nothing else.
//
//   kFdOrdinary   not ours
//   file kinds    a virtual file (ipc::FileKind), or kFdUnasked: virtual, but it came by exec or SCM_RIGHTS and the
//                 machine has not been asked yet what it is (Files::Settle())
//   kFdOverlay    a folder that virtual entries show in (or an O_PATH descriptor of a node): relative paths from it are
//                 resolved again
//   kFdPrivate    the shim's own: the program can neither use nor close it
#pragma once

#include <atomic>
#include <cstdint>

#include "ipc/channel.h"

namespace causeway::shim {

constexpr int kMaxFds = 1 << 20;

enum FdKind : uint8_t {
  kFdOrdinary = 0,
  kFdUverbs = ipc::kFileUverbs,
  kFdDevice = ipc::kFileDevice,
  kFdEvent = ipc::kFileEvent,
  kFdDmaBuf = ipc::kFileDmaBuf,
  kFdAttribute = ipc::kFileAttribute,
  kFdRdmaCm = ipc::kFileRdmaCm,
  kFdNetlink = ipc::kFileNetlink,
  kFdUnasked = 15,
  kFdOverlay = 32,
  kFdPrivate = 33,
};

extern std::atomic<uint8_t> fd_kinds[kMaxFds];
extern std::atomic<uint64_t> fd_files[kMaxFds];

inline uint8_t KindOf(int fd) {
  return static_cast<unsigned>(fd) < static_cast<unsigned>(kMaxFds) ? fd_kinds[fd].load(std::memory_order_relaxed)
                                                                    : uint8_t{kFdOrdinary};
}
inline uint64_t FileOf(int fd) { return fd_files[fd].load(std::memory_order_relaxed); }
constexpr bool IsFileKind(uint8_t kind) { return kind != kFdOrdinary && kind < kFdOverlay; }
inline bool IsVirtual(int fd) { return IsFileKind(KindOf(fd)); }

// Numbers beyond the table stay ordinary: false then.
bool SetFd(int fd, uint8_t kind, uint64_t file);
inline void ClearFd(int fd) {
  if (KindOf(fd) != kFdOrdinary) fd_kinds[fd].store(kFdOrdinary, std::memory_order_relaxed);
}
// After dup and its kin: `to` is what `from` is. Cheap when both are ordinary.
inline void CopyFd(int from, int to) {
  const uint8_t kind = KindOf(from);
  if (kind == kFdOrdinary) {
    ClearFd(to);
  } else {
    (void)SetFd(to, kind, FileOf(from));
  }
}
// One more than the highest number that was ever not ordinary.
int FdTableEnd();
// A number of this process that is `file`, or -1.
int FindFd(uint64_t file);
// The kind is known only now (kFdUnasked before).
void SettleFd(uint64_t file, uint8_t kind);

// Is the descriptor a virtual file of machine `machine_id` (empty: of any)? The name of its peer says so.
bool PeerFile(int fd, const char* machine_id, uint64_t* file);
// Looks at a descriptor that came from elsewhere (SCM_RIGHTS, pidfd_getfd) and notes what it is.
void RecogniseFd(int fd);
// The same for every descriptor that is open: a fresh exec image inherits them.
void RecogniseInherited();

}  // namespace causeway::shim
