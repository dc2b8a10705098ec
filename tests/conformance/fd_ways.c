// SPDX-License-Identifier: Apache-2.0
//
// Every way in which libc lets a descriptor be made, copied, passed, replaced and closed, tried on a device node. After
// each the copy must still be the device, and after the last close the device must be free again at once.
//
//   fd_ways NODE         all ways; one line per way, "ok NAME" or "FAIL NAME: reason"; status 0 if none failed
//   fd_ways --check FD N exits 0 if descriptor FD is the device with st_rdev N (what exec children run)
//
// For /dev/accel/accelN the device answers HW_IP_INFO, and its exclusive open (EBUSY) shows when the last close was
// seen (linux drivers/accel/habanalabs/common/habanalabs_drv.c hl_device_open(), device.c hl_device_release()). For any
// other node (/dev/null shows that this program is right about Linux) the numbers of fstat() must do.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hl_uapi.h"

extern char** environ;

static const char* g_node;
static char g_self[4096];  // this program; valgrind cannot exec /proc/self/exe
static dev_t g_rdev;
static bool g_is_accel;
static int g_failures;

static const char* Why(const char* what) {
  static char text[256];
  snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
  return text;
}

// NULL when `fd` is the device and answers, else the reason.
static const char* Check(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return Why("fstat");
  if (!S_ISCHR(status.st_mode)) return "fstat: not a character device";
  if (status.st_rdev != g_rdev) return "fstat: another device's numbers";
  if (!g_is_accel) return NULL;
  struct hl_info_hw_ip_info info;
  memset(&info, 0, sizeof(info));
  struct hl_info_args args = {
      .return_pointer = (uint64_t)(uintptr_t)&info, .return_size = sizeof(info), .op = HL_INFO_HW_IP_INFO};
  if (ioctl(fd, HL_IOCTL_INFO, &args) != 0) return Why("HL_IOCTL_INFO");
  return info.device_id != 0 ? NULL : "HL_IOCTL_INFO: nothing written";
}

static int Open(void) { return open(g_node, O_RDWR | O_CLOEXEC); }

// NULL when the device is free: it can be opened, and closed again.
static const char* CheckFree(void) {
  if (!g_is_accel) return NULL;
  const int fd = Open();
  if (fd < 0) return Why("the device is not free after the last close");
  close(fd);
  return NULL;
}

// NULL when somebody still has the device.
static const char* CheckBusy(void) {
  if (!g_is_accel) return NULL;
  const int fd = Open();
  if (fd >= 0) {
    close(fd);
    return "the device is free though a descriptor is left";
  }
  return errno == EBUSY ? NULL : Why("open of a busy device");
}

static const char* WaitFor(pid_t child) {
  int status;
  if (waitpid(child, &status, 0) != child) return Why("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return NULL;
  static char text[64];
  snprintf(text, sizeof(text), "the child ended with %s %d", WIFEXITED(status) ? "status" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return text;
}

static char g_check_fd[16], g_check_rdev[32];

// Arguments for this program to check descriptor `fd` in a fresh image.
static char** CheckArguments(int fd) {
  static char* arguments[5];
  snprintf(g_check_fd, sizeof(g_check_fd), "%d", fd);
  snprintf(g_check_rdev, sizeof(g_check_rdev), "%llu", (unsigned long long)g_rdev);
  arguments[0] = (char*)"fd_ways";
  arguments[1] = (char*)"--check";
  arguments[2] = g_check_fd;
  arguments[3] = g_check_rdev;
  return arguments;
}

// A way gets an open descriptor that it must not close, and returns NULL or a reason. Its own copies it closes.
typedef const char* (*Way)(int fd);

static const char* CheckAndClose(int fd, const char* how) {
  if (fd < 0) return Why(how);
  const char* reason = Check(fd);
  close(fd);
  return reason;
}

static const char* WayNothing(int fd) { return Check(fd); }
static const char* WayDup(int fd) { return CheckAndClose(dup(fd), "dup"); }
static const char* WayDup2(int fd) { return CheckAndClose(dup2(fd, 200), "dup2"); }
static const char* WayDup2Same(int fd) { return dup2(fd, fd) == fd ? Check(fd) : Why("dup2"); }
static const char* WayDup3(int fd) {
  const int copy = dup3(fd, 201, O_CLOEXEC);
  if (copy < 0) return Why("dup3");
  if ((fcntl(copy, F_GETFD) & FD_CLOEXEC) == 0) return "no FD_CLOEXEC";
  return CheckAndClose(copy, "dup3");
}
static const char* WayFDupFd(int fd) {
  const int copy = fcntl(fd, F_DUPFD, 300);
  if (copy >= 0 && copy < 300) return "below the minimum";
  return CheckAndClose(copy, "F_DUPFD");
}
static const char* WayFDupFdCloexec(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy >= 0 && (fcntl(copy, F_GETFD) & FD_CLOEXEC) == 0) return "no FD_CLOEXEC";
  return CheckAndClose(copy, "F_DUPFD_CLOEXEC");
}
static const char* WaySyscallDup(int fd) { return CheckAndClose((int)syscall(SYS_dup, fd), "syscall(SYS_dup)"); }

// dup2 over an ordinary file, then an ordinary file over the copy: each is what was put there last.
static const char* WayReplace(int fd) {
  const int ordinary = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int target = dup(ordinary);
  char magic[4] = "";
  const char* reason = NULL;
  if (dup2(fd, target) != target) {
    reason = Why("dup2 over a file");
  } else if ((reason = Check(target)) == NULL) {
    if (dup2(ordinary, target) != target) {
      reason = Why("dup2 of a file");
    } else if (pread(target, magic, 4, 0) != 4 || memcmp(magic, "\177ELF", 4) != 0) {
      reason = "a file put in the descriptor's place is not read";
    }
  }
  close(target);
  close(ordinary);
  return reason != NULL ? reason : Check(fd);
}

// The number of a closed descriptor is given to an ordinary file next: nothing of the device may stick to it.
static const char* WayReuse(int fd) {
  const int copy = dup(fd);
  close(copy);
  const int ordinary = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat status;
  char magic[4] = "";
  const char* reason = NULL;
  if (ordinary != copy) {
    reason = "the lowest free number was not used";
  } else if (fstat(ordinary, &status) != 0 || !S_ISREG(status.st_mode)) {
    reason = "fstat of a file at a reused number";
  } else if (read(ordinary, magic, 4) != 4 || memcmp(magic, "\177ELF", 4) != 0) {
    reason = "read of a file at a reused number";
  }
  close(ordinary);
  return reason;
}

static const char* WayFork(int fd) {
  const pid_t child = fork();
  if (child == 0) _exit(Check(fd) == NULL ? 0 : 1);
  return WaitFor(child);
}

static const char* WayForkTwice(int fd) {
  const pid_t child = fork();
  if (child == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(Check(fd) == NULL ? 0 : 1);
    _exit(WaitFor(grandchild) == NULL && Check(fd) == NULL ? 0 : 1);
  }
  return WaitFor(child);
}

// Parent and child call at the same time: each has a channel of its own.
static const char* WayForkBoth(int fd) {
  const pid_t child = fork();
  for (int i = 0; i < 200; ++i) {
    const char* reason = Check(fd);
    if (reason != NULL) {
      if (child == 0) _exit(1);
      (void)WaitFor(child);
      return reason;
    }
  }
  if (child == 0) _exit(0);
  return WaitFor(child);
}

// The parent lets go while the child still has it.
static const char* WayLastCloseInChild(int fd) {
  int gate[2];
  if (pipe(gate) != 0) return Why("pipe");
  const int copy = dup(fd);
  const pid_t child = fork();
  if (child == 0) {
    close(gate[1]);
    char byte;
    (void)!read(gate[0], &byte, 1);
    _exit(Check(copy) == NULL ? 0 : 1);
  }
  close(gate[0]);
  close(copy);
  const char* reason = CheckBusy();
  close(gate[1]);
  const char* ended = WaitFor(child);
  return reason != NULL ? reason : ended;
}

static const char* WayExec(int fd) {
  const int copy = dup(fd);  // without close-on-exec
  char** arguments = CheckArguments(copy);
  const pid_t child = fork();
  if (child == 0) {
    execv(g_self, arguments);
    _exit(99);
  }
  close(copy);
  return WaitFor(child);
}

static const char* WayVforkExec(int fd) {
  const int copy = dup(fd);
  char** arguments = CheckArguments(copy);
  const pid_t child = vfork();
  if (child == 0) {
    execve(g_self, arguments, environ);
    _exit(99);
  }
  close(copy);
  return WaitFor(child);
}

// libc's own dup2 between clone and exec, which no interposed function sees.
static const char* WaySpawn(int fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fd, 77);
  pid_t child;
  const int error = posix_spawn(&child, g_self, &actions, NULL, CheckArguments(77), environ);
  posix_spawn_file_actions_destroy(&actions);
  errno = error;
  return error != 0 ? Why("posix_spawn") : WaitFor(child);
}

// A shell's redirection, through /bin/sh -c.
static const char* WayShell(int fd) {
  char command[sizeof(g_self) + 64];
  const int copy = dup(fd);
  snprintf(command, sizeof(command), "'%s' --check 9 %llu 9<&%d", g_self, (unsigned long long)g_rdev, copy);
  const int status = copy < 10 ? system(command) : 0;  // dash takes one digit only
  close(copy);
  return status == 0 ? NULL : "the shell's child does not have it";
}

static const char* WayCloseOnExec(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 100);
  char** arguments = CheckArguments(copy);
  const pid_t child = fork();
  if (child == 0) {
    execv(g_self, arguments);
    _exit(99);
  }
  close(copy);
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1 ? NULL : "it survived exec";
}

union control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(2 * sizeof(int))];
};

static bool SendFd(int socket, int fd) {
  char byte = 'x';
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union control control;
  memset(&control, 0, sizeof(control));
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_SPACE(sizeof(int))};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return sendmsg(socket, &message, 0) == 1;
}

static int ReceiveFd(int socket, bool many) {
  char byte;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union control control;
  struct mmsghdr message = {
      .msg_hdr = {
          .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)}};
  if (many) {
    if (recvmmsg(socket, &message, 1, 0, NULL) != 1) return -1;
  } else if (recvmsg(socket, &message.msg_hdr, 0) != 1) {
    return -1;
  }
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message.msg_hdr);
  int fd = -1;
  if (header != NULL) memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

// Sent by a child that ends, received after it is gone: the message alone holds the descriptor in between.
static const char* PassFromChild(int fd, bool many) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return Why("socketpair");
  const pid_t child = fork();
  if (child == 0) _exit(SendFd(ends[1], fd) ? 0 : 1);
  const char* reason = WaitFor(child);
  const int got = reason == NULL ? ReceiveFd(ends[0], many) : -1;
  if (reason == NULL) reason = CheckAndClose(got, "recvmsg");
  close(ends[0]);
  close(ends[1]);
  return reason;
}
static const char* WayScmRights(int fd) { return PassFromChild(fd, false); }
static const char* WayScmRightsMany(int fd) { return PassFromChild(fd, true); }

// To a process that was started before the device was opened... and is another program by now.
static const char* WayPidfdGetfd(int fd) {
#ifdef SYS_pidfd_getfd
  int gate[2];
  if (pipe(gate) != 0) return Why("pipe");
  const int parked = dup(fd);
  const pid_t child = fork();
  if (child == 0) {
    close(gate[1]);
    char byte;
    (void)!read(gate[0], &byte, 1);
    _exit(0);
  }
  close(gate[0]);
  const int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
  const int got = (int)syscall(SYS_pidfd_getfd, pidfd, parked, 0);
  const char* reason = NULL;
  if (got < 0 && (errno == ENOSYS || errno == EPERM)) {
    reason = NULL;  // the kernel or a sandbox has not got it
  } else {
    reason = CheckAndClose(got, "pidfd_getfd");
  }
  close(pidfd);
  close(gate[1]);
  close(parked);
  (void)WaitFor(child);
  return reason;
#else
  (void)fd;
  return NULL;
#endif
}

static const char* WayProcSelfFd(int fd) {
  char path[64], target[256];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(path, target, sizeof(target) - 1);
  if (length < 0) return Why("readlink /proc/self/fd");
  target[length] = '\0';
  static char text[320];
  snprintf(text, sizeof(text), "/proc/self/fd leads to %s", target);
  return strcmp(target, g_node) == 0 ? NULL : text;
}

static const char* WayFdFlags(int fd) {
  const int copy = dup(fd);
  const int flags = fcntl(copy, F_GETFL);
  const char* reason = NULL;
  if ((flags & O_ACCMODE) != O_RDWR) {
    reason = "F_GETFL: not O_RDWR";
  } else if (fcntl(copy, F_SETFL, flags | O_NONBLOCK) != 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0) {
    reason = "F_SETFL O_NONBLOCK does not reach the other descriptor";
  } else if (fcntl(copy, F_SETFL, flags) != 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) {
    reason = "F_SETFL cannot clear O_NONBLOCK";
  } else if (fcntl(copy, F_SETFD, FD_CLOEXEC) != 0 || fcntl(copy, F_GETFD) != FD_CLOEXEC) {
    reason = "F_SETFD";
  }
  close(copy);
  return reason != NULL ? reason : Check(fd);
}

static const char* WayFdopen(int fd) {
  FILE* stream = fdopen(dup(fd), "r+");
  if (stream == NULL) return Why("fdopen");
  const char* reason = Check(fileno(stream));
  return fclose(stream) == 0 ? reason : Why("fclose");
}

static void* CheckInThread(void* argument) {
  const char* reason = NULL;
  for (int i = 0; i < 200 && reason == NULL; ++i) {
    const int copy = dup(*(int*)argument);
    reason = CheckAndClose(copy, "dup");
  }
  return (void*)reason;
}

static const char* WayThreads(int fd) {
  pthread_t threads[8];
  for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, CheckInThread, &fd);
  const char* reason = NULL;
  for (int i = 0; i < 8; ++i) {
    void* result;
    pthread_join(threads[i], &result);
    if (result != NULL) reason = result;
  }
  return reason;
}

static const char* WayForkInThreads(int fd) {
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, CheckInThread, &fd);
  const char* reason = NULL;
  for (int i = 0; i < 20 && reason == NULL; ++i) reason = WayFork(fd);
  for (int i = 0; i < 4; ++i) {
    void* result;
    pthread_join(threads[i], &result);
    if (reason == NULL) reason = result;
  }
  return reason;
}

static const char* WayCloseRange(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 400);
  if (close_range(400, 500, 0) != 0) return errno == ENOSYS ? NULL : Why("close_range");
  return fcntl(copy, F_GETFD) < 0 && errno == EBADF ? Check(fd) : "close_range left it open";
}

static const char* WayCloseFrom(int fd) {
  const pid_t child = fork();
  if (child == 0) {
    const int copy = dup2(fd, 50);
    closefrom(51);
    if (Check(copy) != NULL) _exit(1);
    closefrom(3);
    _exit(fcntl(copy, F_GETFD) < 0 ? 0 : 2);
  }
  return WaitFor(child);
}

// A daemon closes every number there is.
static const char* WayCloseAll(int fd) {
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 3; i < 1024; ++i) close(i);
    const int again = open("/proc/self/exe", O_RDONLY);
    char magic[4];
    _exit(again == 3 && read(again, magic, 4) == 4 ? 0 : 1);
  }
  const char* reason = WaitFor(child);
  return reason != NULL ? reason : Check(fd);
}

static const char* WayOpenat(int fd) {
  (void)fd;
  char folder[128], *name;
  snprintf(folder, sizeof(folder), "%s", g_node);
  name = strrchr(folder, '/');
  *name++ = '\0';
  const int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) return Why("open of the folder");
  struct stat status;
  const char* reason = NULL;
  if (fstatat(at, name, &status, 0) != 0) {
    reason = Why("fstatat");
  } else if (status.st_rdev != g_rdev) {
    reason = "fstatat: another device's numbers";
  } else if (faccessat(at, name, R_OK | W_OK, 0) != 0) {
    reason = Why("faccessat");
  } else {
    const int again = openat(at, name, O_RDWR | O_CLOEXEC);
    if (g_is_accel) {
      if (again >= 0 || errno != EBUSY) reason = "openat of a busy device: not EBUSY";
    } else {
      reason = CheckAndClose(again, "openat");
    }
  }
  close(at);
  return reason;
}

static const char* WayRelativePath(int fd) {
  (void)fd;
  const int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat status;
  const char* reason = NULL;
  if (chdir("/dev") != 0) {
    reason = Why("chdir");
  } else if (stat(g_node + strlen("/dev/"), &status) != 0 || status.st_rdev != g_rdev) {
    reason = Why("stat of a path relative to /dev");
  }
  if (fchdir(here) != 0) reason = Why("fchdir");
  close(here);
  return reason;
}

static const char* WayPath(int fd) {
  (void)fd;
  const int path = open(g_node, O_PATH | O_CLOEXEC);
  if (path < 0) return Why("open O_PATH");
  struct stat status;
  const char* reason = fstat(path, &status) == 0 && status.st_rdev == g_rdev ? NULL : "fstat of O_PATH";
  close(path);
  return reason;
}

static const char* WayStatx(int fd) {
  struct statx status;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) != 0) return Why("statx of the descriptor");
  if (makedev(status.stx_rdev_major, status.stx_rdev_minor) != g_rdev) return "statx: another device's numbers";
  if (statx(AT_FDCWD, g_node, 0, STATX_BASIC_STATS, &status) != 0) return Why("statx of the path");
  return makedev(status.stx_rdev_major, status.stx_rdev_minor) == g_rdev ? NULL : "statx of the path: other numbers";
}

// A device node is no folder, no regular file and no terminal.
static const char* WayRefusals(int fd) {
  if (isatty(fd)) return "isatty";
  if (fdopendir(fd) != NULL || errno != ENOTDIR) return "fdopendir: not ENOTDIR";
  if (open(g_node, O_RDWR | O_DIRECTORY) >= 0 || errno != ENOTDIR) return "O_DIRECTORY: not ENOTDIR";
  if (open(g_node, O_RDWR | O_CREAT | O_EXCL, 0600) >= 0 || errno != EEXIST) return "O_EXCL: not EEXIST";
  return Check(fd);
}

static const char* WayPoll(int fd) {
  struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT};
  if (poll(&entry, 1, 0) < 0) return Why("poll");
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  struct timeval now = {0, 0};
  if (select(fd + 1, &set, NULL, NULL, &now) < 0) return Why("select");
  return Check(fd);
}

static const struct {
  const char* name;
  Way way;
} kWays[] = {
    {"open", WayNothing},
    {"dup", WayDup},
    {"dup2", WayDup2},
    {"dup2 onto itself", WayDup2Same},
    {"dup3 O_CLOEXEC", WayDup3},
    {"fcntl F_DUPFD", WayFDupFd},
    {"fcntl F_DUPFD_CLOEXEC", WayFDupFdCloexec},
    {"syscall(SYS_dup)", WaySyscallDup},
    {"dup2 over a file and back", WayReplace},
    {"number reused by a file", WayReuse},
    {"fork", WayFork},
    {"fork twice", WayForkTwice},
    {"parent and child at once", WayForkBoth},
    {"last close in the child", WayLastCloseInChild},
    {"exec", WayExec},
    {"vfork and exec", WayVforkExec},
    {"posix_spawn with dup2", WaySpawn},
    {"shell redirection", WayShell},
    {"close-on-exec", WayCloseOnExec},
    {"SCM_RIGHTS, recvmsg", WayScmRights},
    {"SCM_RIGHTS, recvmmsg", WayScmRightsMany},
    {"pidfd_getfd", WayPidfdGetfd},
    {"readlink /proc/self/fd", WayProcSelfFd},
    {"descriptor and status flags", WayFdFlags},
    {"fdopen", WayFdopen},
    {"eight threads", WayThreads},
    {"fork while threads call", WayForkInThreads},
    {"close_range", WayCloseRange},
    {"closefrom", WayCloseFrom},
    {"close of every number", WayCloseAll},
    {"openat, fstatat, faccessat", WayOpenat},
    {"path relative to the folder", WayRelativePath},
    {"O_PATH", WayPath},
    {"statx", WayStatx},
    {"not a folder, not a terminal", WayRefusals},
    {"poll and select", WayPoll},
};

static void Report(const char* name, const char* reason) {
  if (reason == NULL) {
    printf("ok %s\n", name);
  } else {
    printf("FAIL %s: %s\n", name, reason);
    ++g_failures;
  }
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "--check") == 0) {
    g_rdev = (dev_t)strtoull(argv[3], NULL, 10);
    g_is_accel = getenv("FD_WAYS_ACCEL") != NULL;
    return Check(atoi(argv[2])) == NULL ? 0 : 1;
  }
  struct stat status;
  if (argc != 2 || stat(argv[1], &status) != 0) {
    fprintf(stderr, "Usage: %s NODE\n", argv[0]);
    return 2;
  }
  if (readlink("/proc/self/exe", g_self, sizeof(g_self) - 1) < 0) {
    perror("readlink /proc/self/exe");
    return 2;
  }
  g_node = argv[1];
  g_rdev = status.st_rdev;
  g_is_accel = strstr(g_node, "/accel/accel") != NULL && strstr(g_node, "control") == NULL;
  if (g_is_accel) setenv("FD_WAYS_ACCEL", "1", 1);
  for (size_t i = 0; i < sizeof(kWays) / sizeof(kWays[0]); ++i) {
    const int fd = Open();
    if (fd < 0) {
      Report(kWays[i].name, Why("open"));
      continue;
    }
    const char* reason = kWays[i].way(fd);
    if (reason == NULL) reason = Check(fd);
    close(fd);
    if (reason == NULL) reason = CheckFree();
    Report(kWays[i].name, reason);
  }
  return g_failures == 0 ? 0 : 1;
}
