// SPDX-License-Identifier: Apache-2.0
// What the interposed functions do when a path or a descriptor may be the machine's. exports.def says which libc name
// leads to which of these; each takes and returns what its libc function does. Calls that are not the machine's go to
// `real` (shim/real.h) unchanged.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "shim/real.h"

namespace causeway::shim {

// ---- open.cc
int OpenAt(int dir, const char* path, int flags, mode_t mode);
int OpenNode(uint32_t node_id, int flags, mode_t mode);
// A descriptor with the text of a live attribute, or of /proc/self/fdinfo/N.
int OpenAttributeText(uint32_t node_id, int flags);
int OpenFdInfo(int fd, int flags);
// open("/proc/self/fd/N"). Deviation: a new descriptor of the same open file, where Linux opens the device again.
int OpenFdLink(int fd, int flags);

// ---- stat.cc
int StatAt(int dir, const char* path, struct stat* out, int flags);
int Fstat(int fd, struct stat* out);
int OldStat(int version, int dir, const char* path, struct stat* out, int flags);
int OldFstat(int version, int fd, struct stat* out);
int Statx(int dir, const char* path, int flags, unsigned mask, struct statx* out);
int AccessAt(int dir, const char* path, int mode, int flags);
int EuidAccess(const char* path, int mode);
int Statfs(const char* path, struct statfs* out);
int Fstatfs(int fd, struct statfs* out);
int Statvfs(const char* path, struct statvfs* out);
ssize_t Getxattr(const char* path, const char* name, void* out, size_t size, bool follow);
ssize_t Listxattr(const char* path, char* out, size_t size, bool follow);
int InotifyAddWatch(int fd, const char* path, uint32_t mask);

// ---- links.cc
ssize_t ReadlinkAt(int dir, const char* path, char* out, size_t size);
char* Realpath(const char* path, char* out);
int Chdir(const char* path);
int Fchdir(int fd);
char* Getcwd(char* out, size_t size);
char* Getwd(char* out);
char* GetCurrentDirName();

// ---- dir.cc
DIR* Opendir(const char* path);
DIR* Fdopendir(int fd);
struct dirent* Readdir(DIR* stream);
int ReaddirR(DIR* stream, struct dirent* entry, struct dirent** result);
int Closedir(DIR* stream);
void Rewinddir(DIR* stream);
void Seekdir(DIR* stream, long position);
long Telldir(DIR* stream);
int ScandirAt(int dir, const char* path, struct dirent*** out, DirFilter filter, DirCompare compare);
int Glob(const char* pattern, int flags, GlobError on_error, glob_t* out);
ssize_t Getdents64(int fd, void* buffer, size_t size);
// A descriptor is closed, its position is set, or its number is needed: forgets where Getdents64() was.
void ForgetListing(int fd);
void ResetDirsInChild();

// ---- io.cc; an offset of -1 is the file's position
ssize_t Read(int fd, void* buffer, size_t size);
ssize_t Pread(int fd, void* buffer, size_t size, off_t offset);
ssize_t Readv(int fd, const struct iovec* list, int count);
ssize_t Preadv(int fd, const struct iovec* list, int count, off_t offset);
ssize_t Preadv2(int fd, const struct iovec* list, int count, off_t offset, int flags);
ssize_t Write(int fd, const void* buffer, size_t size);
ssize_t Pwrite(int fd, const void* buffer, size_t size, off_t offset);
ssize_t Writev(int fd, const struct iovec* list, int count);
ssize_t Pwritev(int fd, const struct iovec* list, int count, off_t offset);
ssize_t Pwritev2(int fd, const struct iovec* list, int count, off_t offset, int flags);
int Ioctl(int fd, unsigned long request, void* argument);
off_t Lseek(int fd, off_t offset, int whence);

// ---- fds.cc
int Dup(int fd);
int Dup2(int fd, int to);
int Dup3(int fd, int to, int flags);
int Fcntl(int fd, int command, void* argument);
int Close(int fd);
int CloseRange(unsigned first, unsigned last, int flags);
void CloseFrom(int first);

// ---- sockets.cc
int Socket(int family, int type, int protocol);
int PidfdGetfd(int pidfd, int fd, unsigned flags);
// On any descriptor; one that is not ordinary is asked for here.
int Bind(int fd, const struct sockaddr* name, socklen_t size);
int Connect(int fd, const struct sockaddr* name, socklen_t size);
ssize_t Send(int fd, const void* buffer, size_t size, int flags);
ssize_t Sendto(int fd, const void* buffer, size_t size, int flags, const struct sockaddr* to, socklen_t to_size);
ssize_t Sendmsg(int fd, const struct msghdr* message, int flags);
int Sendmmsg(int fd, struct mmsghdr* list, unsigned count, int flags);
ssize_t Recv(int fd, void* buffer, size_t size, int flags);
ssize_t Recvfrom(int fd, void* buffer, size_t size, int flags, struct sockaddr* from, socklen_t* from_size);
ssize_t Recvmsg(int fd, struct msghdr* message, int flags);
int Recvmmsg(int fd, struct mmsghdr* list, unsigned count, int flags, struct timespec* timeout);
int Shutdown(int fd, int how);
int Getsockopt(int fd, int level, int option, void* value, socklen_t* size);
int Setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int Getsockname(int fd, struct sockaddr* name, socklen_t* size);
int Getpeername(int fd, struct sockaddr* name, socklen_t* size);

// ---- netlink.cc: a netlink socket of the machine
ssize_t NetlinkSend(int fd, const struct msghdr* message, int flags);
ssize_t NetlinkReceive(int fd, struct msghdr* message, int flags);
ssize_t NetlinkRead(int fd, const struct iovec* list, int count);
ssize_t NetlinkWrite(int fd, const struct iovec* list, int count);
int NetlinkGetOption(int fd, int level, int option, void* value, socklen_t* size);
int NetlinkSetOption(int fd, int level, int option, const void* value, socklen_t size);

// ---- stdio.cc
FILE* Fopen(const char* path, const char* mode);
FILE* Freopen(const char* path, const char* mode, FILE* stream);
FILE* Fdopen(int fd, const char* mode);
int Fclose(FILE* stream);

// ---- syscall.cc
long Syscall(long number, long a, long b, long c, long d, long e, long f);

}  // namespace causeway::shim
