// SPDX-License-Identifier: Apache-2.0
#include "shim/fd_table.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "shim/raw.h"

namespace causeway::shim {

std::atomic<uint8_t> fd_kinds[kMaxFds];
std::atomic<uint64_t> fd_files[kMaxFds];

namespace {
std::atomic<int> table_end{0};
}

bool SetFd(int fd, uint8_t kind, uint64_t file) {
  if (static_cast<unsigned>(fd) >= static_cast<unsigned>(kMaxFds)) return false;
  fd_files[fd].store(file, std::memory_order_relaxed);
  fd_kinds[fd].store(kind, std::memory_order_release);
  int end = table_end.load(std::memory_order_relaxed);
  while (end <= fd && !table_end.compare_exchange_weak(end, fd + 1, std::memory_order_relaxed)) {
  }
  return true;
}

int FdTableEnd() { return table_end.load(std::memory_order_relaxed); }

int FindFd(uint64_t file) {
  for (int fd = 0; fd < FdTableEnd(); ++fd) {
    if (IsVirtual(fd) && FileOf(fd) == file) return fd;
  }
  return -1;
}

void SettleFd(uint64_t file, uint8_t kind) {
  for (int fd = 0; fd < FdTableEnd(); ++fd) {
    if (KindOf(fd) == kFdUnasked && FileOf(fd) == file) fd_kinds[fd].store(kind, std::memory_order_relaxed);
  }
}

// kernel/file_table.h: the machine's end is bound to "\0causeway/<machine id>/<file id in hex>".
bool PeerFile(int fd, const char* machine_id, uint64_t* file) {
  struct sockaddr_un name;
  socklen_t size = sizeof(name);
  if (Raw(SYS_getpeername, fd, &name, &size) != 0 || name.sun_family != AF_UNIX || size > sizeof(name)) return false;
  constexpr char kPrefix[] = "causeway/";
  constexpr size_t kPrefixLen = sizeof(kPrefix) - 1;
  const size_t header = offsetof(struct sockaddr_un, sun_path);
  if (size <= header + 1 + kPrefixLen || name.sun_path[0] != '\0') return false;
  const char* at = name.sun_path + 1;
  const char* const end = name.sun_path + (size - header);
  if (std::memcmp(at, kPrefix, kPrefixLen) != 0) return false;
  at += kPrefixLen;
  const char* const id = at;
  while (at < end && *at != '/') ++at;
  if (at == end) return false;
  const auto id_len = static_cast<size_t>(at - id);
  if (machine_id[0] != '\0' && (std::strlen(machine_id) != id_len || std::memcmp(id, machine_id, id_len) != 0)) {
    return false;
  }
  uint64_t value = 0;
  int digits = 0;
  for (++at; at < end && *at != '\0'; ++at, ++digits) {
    const char c = *at;
    uint64_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint64_t>(c - 'a') + 10;
    } else {
      return false;
    }
    value = value << 4 | digit;
  }
  if (digits == 0 || digits > 16 || value == 0) return false;
  *file = value;
  return true;
}

void RecogniseFd(int fd) {
  uint64_t file = 0;
  if (PeerFile(fd, "", &file)) {
    (void)SetFd(fd, kFdUnasked, file);
  } else {
    ClearFd(fd);
  }
}

void RecogniseInherited() {
  const long folder = Raw(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder < 0) return;
  alignas(struct dirent64) char buffer[2048];
  for (;;) {
    const long bytes = Raw(SYS_getdents64, folder, buffer, sizeof(buffer));
    if (bytes <= 0) break;
    for (long at = 0; at < bytes;) {
      const auto* entry = reinterpret_cast<const struct dirent64*>(buffer + at);
      at += entry->d_reclen;
      int fd = 0;
      const char* digit = entry->d_name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) fd = fd * 10 + (*digit - '0');
      uint64_t file = 0;
      if (*digit == '\0' && fd != folder && PeerFile(fd, "", &file)) (void)SetFd(fd, kFdUnasked, file);
    }
  }
  (void)Raw(SYS_close, folder);
}

}  // namespace causeway::shim
