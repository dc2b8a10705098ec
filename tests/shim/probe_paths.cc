// SPDX-License-Identifier: Apache-2.0
// Of the probe: device nodes, attributes, folders and links, as every function of libc that takes a path shows them.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>
#include <string>

#include "probe.h"

namespace causeway::test {

void Nodes() {
  struct stat st;
  EXPECT(stat(kDevice, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(500, 2) &&
         (st.st_mode & 0777) == 0660);
  EXPECT(lstat(kDevice, &st) == 0 && S_ISCHR(st.st_mode));
  EXPECT(fstatat(AT_FDCWD, "//dev/./hl0", &st, 0) == 0 && S_ISCHR(st.st_mode));
  struct statx stx;
  EXPECT(statx(AT_FDCWD, kDevice, 0, STATX_ALL, &stx) == 0 && S_ISCHR(stx.stx_mode) && stx.stx_rdev_major == 500 &&
         stx.stx_rdev_minor == 2);
  EXPECT(access(kDevice, R_OK | W_OK) == 0);
  EXPECT_ERRNO(access(kDevice, X_OK), EACCES);
  EXPECT(euidaccess(kDevice, R_OK) == 0 && faccessat(AT_FDCWD, kDevice, F_OK, 0) == 0);
  EXPECT_ERRNO(access("/dev/hl9", F_OK), ENOENT);
  EXPECT_ERRNO(open("/dev/hl9", O_RDONLY), ENOENT);
  EXPECT_ERRNO(open(kDevice, O_RDONLY | O_DIRECTORY), ENOTDIR);
  EXPECT_ERRNO(open(kDevice, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
  EXPECT(getxattr(kDevice, "user.x", nullptr, 0) == -1 && errno != ENOENT);

  const int fd = OpenDevice();
  EXPECT(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(500, 2));
  EXPECT(fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && S_ISCHR(st.st_mode));
  EXPECT(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &stx) == 0 && stx.stx_rdev_major == 500);
  EXPECT((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  EXPECT(Works(fd));
  EXPECT_ERRNO(ioctl(fd, 0x1234, 0), ENOTTY);
  EXPECT_ERRNO(ioctl(fd, kEcho, 8), EFAULT);
  EXPECT(write(fd, "abc", 3) == 3);
  const struct iovec parts[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("cde"), 3}};
  EXPECT(writev(fd, parts, 2) == 5);
  EXPECT_ERRNO(pwrite(fd, "a", 1, 0), ESPIPE);
  EXPECT_ERRNO(lseek(fd, 0, SEEK_SET), ESPIPE);
  EXPECT_ERRNO(send(fd, "x", 1, 0), ENOTSOCK);
  EXPECT_ERRNO(shutdown(fd, SHUT_RDWR), ENOTSOCK);
  int on = 1;
  EXPECT(ioctl(fd, FIONBIO, &on) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  errno = 77;
  EXPECT((errno = 77, Works(fd)) && errno == 77);  // untouched on success
  errno = 77;
  const int again = open(kDevice, O_RDWR);
  if (again < 0 || errno != 77) ++failures, fprintf(stderr, "probe: errno touched by open: %d\n", errno);
  close(again);
  const int path_only = open(kDevice, O_PATH);
  EXPECT(fstat(path_only, &st) == 0 && S_ISCHR(st.st_mode));
  close(path_only);
  close(fd);
}

void Attributes() {
  const std::string rxe = kRxe;
  EXPECT(SlurpPath(rxe + "/node_type") == "1: CA\n");
  EXPECT_ERRNO(open((rxe + "/node_type").c_str(), O_WRONLY), EACCES);
  struct stat st;
  EXPECT(stat((rxe + "/live").c_str(), &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0644 &&
         st.st_size == 4096);
  const int fd = open((rxe + "/live").c_str(), O_RDWR);
  EXPECT(Slurp(fd) == "value 0\n");
  EXPECT(Slurp(fd).empty());
  EXPECT(write(fd, "7", 1) == 1);
  EXPECT(lseek(fd, 0, SEEK_SET) == 0);
  EXPECT(Slurp(fd) == "value 7\n");
  char text[64];
  EXPECT(pread(fd, text, sizeof(text), 6) == 2 && text[0] == '7');
  EXPECT(syscall(SYS_pread64, fd, text, sizeof(text), 0L) == 8);
  close(fd);
  FILE* file = fopen((rxe + "/live").c_str(), "r");
  EXPECT(file != nullptr && fgets(text, sizeof(text), file) != nullptr && strcmp(text, "value 7\n") == 0);
  EXPECT(fileno(file) >= 0);
  if (file != nullptr) fclose(file);
  file = fopen((rxe + "/live").c_str(), "w");
  EXPECT(file != nullptr && fputs("9", file) >= 0 && fclose(file) == 0);
  EXPECT(SlurpPath(rxe + "/live") == "value 9\n");
  file = fopen((rxe + "/node_type").c_str(), "r");
  EXPECT(file != nullptr && fgets(text, sizeof(text), file) != nullptr && strcmp(text, "1: CA\n") == 0);
  if (file != nullptr) EXPECT(freopen((rxe + "/live").c_str(), "r", file) != nullptr);
  EXPECT(file != nullptr && fgets(text, sizeof(text), file) != nullptr && strcmp(text, "value 9\n") == 0);
  if (file != nullptr) fclose(file);
  EXPECT_ERRNO(static_cast<int>(read(open((rxe + "/bad").c_str(), O_RDONLY), text, 8)), EINVAL);
}

void Folders() {
  char path[PATH_MAX];
  struct stat st;
  EXPECT(List("/dev").contains("hl0") && List("/dev").contains("null") && List("/dev").contains("infiniband"));
  EXPECT(List("/dev/").contains("hl0"));
  EXPECT(List("/sys/class").contains("infiniband") && List("/sys/class").contains("net"));
  EXPECT(List("/sys/class/net").contains("cw0") && List("/sys/class/net").contains("lo"));
  EXPECT(List("/dev/infiniband").size() == 3);  // ".", "..", "uverbs0"
  EXPECT(List("/").contains("sys") && List("/").contains("usr"));

  // d_type of a node, and positions.
  DIR* dir = opendir("/dev");
  bool seen = false;
  long at = -1;
  std::string after;
  while (const dirent* entry = readdir(dir)) {
    if (at >= 0 && after.empty()) after = entry->d_name;
    if (strcmp(entry->d_name, "hl0") == 0) {
      seen = entry->d_type == DT_CHR;
      at = telldir(dir);
    }
  }
  EXPECT(seen);
  seekdir(dir, at);
  const dirent* next = readdir(dir);
  EXPECT(next != nullptr && after == next->d_name);
  rewinddir(dir);
  const dirent* const first = readdir(dir);
  EXPECT(first != nullptr);
  const std::string name = first->d_name;
  rewinddir(dir);  // what readdir() gave is there until it is called again
  const std::string filler(32 * sizeof(dirent) - 1, 'x');
  EXPECT(name == first->d_name && filler.size() != name.size());
  EXPECT(readdir(dir) != nullptr);
  // Relative to the stream's descriptor, in the tree and really.
  EXPECT(fstatat(dirfd(dir), "hl0", &st, 0) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == 500);
  EXPECT(fstatat(dirfd(dir), "null", &st, 0) == 0 && major(st.st_rdev) == 1);
  closedir(dir);

  const int sys = open("/sys", O_RDONLY | O_DIRECTORY);
  const int ib = openat(sys, "class/infiniband", O_RDONLY | O_DIRECTORY);
  EXPECT(ib >= 0);
  const int type = openat(ib, "rxe0/node_type", O_RDONLY);
  EXPECT(type >= 0 && Slurp(type) == "1: CA\n");
  const int live = openat(ib, "rxe0/live", O_RDONLY);
  EXPECT(live >= 0 && Slurp(live).rfind("value", 0) == 0);
  EXPECT(readlinkat(ib, "rxe0", path, sizeof(path)) > 0 && strncmp(path, "../../devices/cwtest", 20) == 0);
  EXPECT(faccessat(ib, "../net/lo", F_OK, 0) == 0);
  DIR* from_fd = fdopendir(ib);
  EXPECT(from_fd != nullptr && readdir(from_fd) != nullptr);
  closedir(from_fd);
  close(sys);
  const int dev = open("/dev", O_RDONLY | O_DIRECTORY);
  from_fd = fdopendir(dev);
  std::set<std::string> names;
  while (const dirent* entry = readdir(from_fd)) names.insert(entry->d_name);
  EXPECT(names.contains("hl0") && names.contains("null"));
  closedir(from_fd);

  // getdents64(), function and system call.
  const int listed = open("/dev", O_RDONLY | O_DIRECTORY);
  for (int round = 0; round < 2; ++round) {
    char buffer[4096];
    names.clear();
    for (;;) {
      const ssize_t size = round == 0 ? getdents64(listed, buffer, sizeof(buffer))
                                      : syscall(SYS_getdents64, listed, buffer, sizeof(buffer));
      EXPECT(size >= 0);
      if (size <= 0) break;
      for (ssize_t pos = 0; pos < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer + pos);
        EXPECT(names.insert(entry->d_name).second);
        if (strcmp(entry->d_name, "hl0") == 0) EXPECT(entry->d_type == DT_CHR);
        pos += entry->d_reclen;
      }
    }
    EXPECT(names.contains("hl0") && names.contains("null"));
    EXPECT(lseek(listed, 0, SEEK_SET) == 0);
  }
  close(listed);

  EXPECT(realpath(kRxe, path) == path && strcmp(path, "/sys/devices/cwtest/infiniband/rxe0") == 0);
  char* canonical = canonicalize_file_name("/sys/class/infiniband/rxe0/ports/../node_type");
  EXPECT(canonical != nullptr && strcmp(canonical, "/sys/devices/cwtest/infiniband/rxe0/node_type") == 0);
  free(canonical);
  // ".." of a link leads to where the link leads.
  EXPECT(SlurpPath("/sys/class/infiniband/rxe0/../../infiniband/rxe0/node_type") == "1: CA\n");
  EXPECT(stat("/sys/class/infiniband/../net/lo", &st) == 0);
  EXPECT(stat("/sys/class/infiniband/rxe0/../../../../etc/passwd", &st) == -1);
  EXPECT(lstat(kRxe, &st) == 0 && S_ISLNK(st.st_mode));
  EXPECT(lstat("/sys/class/infiniband/rxe0/", &st) == 0 && S_ISDIR(st.st_mode));
  struct statfs fs;
  EXPECT(statfs(kRxe, &fs) == 0 && fs.f_type == 0x62656572);

  // Working folders.
  EXPECT(chdir("/sys/class/infiniband") == 0);
  EXPECT(getcwd(path, sizeof(path)) != nullptr && strcmp(path, "/sys/class/infiniband") == 0);
  EXPECT(SlurpPath("rxe0/node_type") == "1: CA\n");
  EXPECT(SlurpPath("rxe0/live").rfind("value", 0) == 0);
  EXPECT(stat("../net/lo", &st) == 0);
  EXPECT(chdir("../net") == 0 && stat("lo", &st) == 0 && stat("cw0", &st) == 0);
  EXPECT(getcwd(path, sizeof(path)) != nullptr && strcmp(path, "/sys/class/net") == 0);
  EXPECT(chdir("/") == 0 && stat("dev/hl0", &st) == 0 && stat("etc/passwd", &st) == 0);
  EXPECT(chdir("/dev") == 0 && stat("hl0", &st) == 0 && S_ISCHR(st.st_mode) && stat("null", &st) == 0);
  EXPECT(List(".").contains("hl0") && List(".").contains("null"));
  EXPECT(chdir("/tmp") == 0 && stat("hl0", &st) == -1);

  glob_t found = {};
  EXPECT(glob("/dev/hl*", 0, nullptr, &found) == 0 && found.gl_pathc == 1 && strcmp(found.gl_pathv[0], kDevice) == 0);
  globfree(&found);
  EXPECT(glob("/sys/class/infiniband/*/node_*", 0, nullptr, &found) == 0 && found.gl_pathc == 1);
  globfree(&found);
  dirent** list = nullptr;
  const int count = scandir("/sys/class/net", &list, nullptr, alphasort);
  EXPECT(count >= 4);
  bool sorted = true;
  for (int i = 1; i < count; ++i) sorted = sorted && strcoll(list[i - 1]->d_name, list[i]->d_name) <= 0;
  EXPECT(sorted);
  for (int i = 0; i < count; ++i) free(list[i]);
  free(list);
  const int watch = inotify_init1(IN_NONBLOCK);
  EXPECT(inotify_add_watch(watch, "/dev/infiniband", IN_CREATE) >= 0);
}

void ProcLinks() {
  const int fd = OpenDevice();
  char link[64];
  char name[PATH_MAX];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t len = readlink(link, name, sizeof(name));
  EXPECT(len > 0 && std::string(name, static_cast<size_t>(len)) == kDevice);
  EXPECT(realpath(link, name) != nullptr && strcmp(name, kDevice) == 0);
  struct stat st;
  EXPECT(stat(link, &st) == 0 && S_ISCHR(st.st_mode));
  EXPECT(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
  const int again = open(link, O_RDWR);
  EXPECT(again >= 0 && Works(again));
  snprintf(link, sizeof(link), "/dev/fd/%d", fd);
  const int third = open(link, O_RDWR);
  EXPECT(third >= 0 && Works(third));
  const int buf = ioctl(fd, kExport, 0);
  snprintf(link, sizeof(link), "/proc/%d/fdinfo/%d", getpid(), buf);
  const std::string info = SlurpPath(link);
  EXPECT(info.rfind("pos:", 0) == 0 && info.find("exp_name:\tprobe\n") != std::string::npos);
  FILE* file = fopen(link, "r");
  EXPECT(file != nullptr && fgets(name, sizeof(name), file) != nullptr && strncmp(name, "pos:", 4) == 0);
  if (file != nullptr) fclose(file);
  const int type = open("/sys/class/infiniband/rxe0/node_type", O_RDONLY);
  snprintf(link, sizeof(link), "/proc/self/fd/%d", type);
  const ssize_t type_len = readlink(link, name, sizeof(name));
  EXPECT(type_len > 0 &&
         std::string(name, static_cast<size_t>(type_len)) == "/sys/devices/cwtest/infiniband/rxe0/node_type");
}

}  // namespace causeway::test
