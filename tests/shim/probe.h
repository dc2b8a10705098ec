// SPDX-License-Identifier: Apache-2.0
// What the files of the probe share: how it says what it saw, and short ways to look.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <set>
#include <string>

#include "requests.h"

namespace causeway::test {

inline int failures = 0;

#define EXPECT(condition)                                                                                           \
  do {                                                                                                              \
    errno = 0;                                                                                                      \
    if (!(condition)) {                                                                                             \
      fprintf(stderr, "probe: %s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, errno, strerror(errno)); \
      ++failures;                                                                                                   \
    }                                                                                                               \
  } while (0)
#define EXPECT_ERRNO(call, code) EXPECT((call) == -1 && errno == (code))

inline constexpr const char* kDevice = "/dev/hl0";
inline constexpr const char* kRxe = "/sys/class/infiniband/rxe0";

inline int OpenDevice() {
  const int fd = open(kDevice, O_RDWR | O_CLOEXEC);
  EXPECT(fd >= 0);
  return fd;
}

inline bool Works(int fd) {
  uint64_t value = 41;
  return ioctl(fd, kEcho, &value) == 5 && value == 42;
}

inline std::set<std::string> List(const char* path) {
  std::set<std::string> names;
  DIR* dir = opendir(path);
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (!names.insert(entry->d_name).second) {
      fprintf(stderr, "probe: %s lists %s twice\n", path, entry->d_name);
      ++failures;
    }
  }
  closedir(dir);
  return names;
}

inline std::string Slurp(int fd) {
  char text[256];
  const ssize_t size = read(fd, text, sizeof(text));
  return size < 0 ? "error" : std::string(text, static_cast<size_t>(size));
}

inline std::string SlurpPath(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY);
  if (fd < 0) return "absent";
  const std::string text = Slurp(fd);
  close(fd);
  return text;
}

// ---- probe_paths.cc
void Nodes();
void Attributes();
void Folders();
void ProcLinks();

}  // namespace causeway::test
