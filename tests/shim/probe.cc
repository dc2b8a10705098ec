// SPDX-License-Identifier: Apache-2.0
// An ordinary program, run with libcauseway.so preloaded by shim_machine_test.cc: uses libc as programs do and says
// what it saw. `probe CASE [ARG]`; exit status 0: as expected. Knows nothing of Causeway but the made-up device's
// ioctls.
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "probe.h"
#include "requests.h"

using namespace causeway::test;

namespace {

long OpenFiles(int fd) { return ioctl(fd, kOpenFiles, 0); }

// Every way a descriptor is made, copied and closed inside a process.
void Copies() {
  const int control = OpenDevice();
  const auto one = [&] { return OpenFiles(control) == 1; };  // only `control` is left
  std::vector<int> copies;
  const int fd = OpenDevice();
  copies.push_back(fd);
  copies.push_back(dup(fd));
  EXPECT(dup2(fd, 100) == 100);
  copies.push_back(100);
  EXPECT(dup3(fd, 101, O_CLOEXEC) == 101);
  copies.push_back(101);
  EXPECT_ERRNO(dup3(fd, fd, 0), EINVAL);
  EXPECT(dup2(fd, fd) == fd);
  copies.push_back(fcntl(fd, F_DUPFD, 110));
  copies.push_back(fcntl(fd, F_DUPFD_CLOEXEC, 120));
  copies.push_back(static_cast<int>(syscall(SYS_dup, fd)));
  copies.push_back(static_cast<int>(syscall(SYS_fcntl, fd, F_DUPFD, 130)));
  for (const int copy : copies) EXPECT(copy >= 0 && Works(copy));
  EXPECT(OpenFiles(control) == 2);
  // Closing all but one leaves the file open; the last close releases it at once.
  for (size_t i = 1; i < copies.size(); ++i) EXPECT(close(copies[i]) == 0);
  EXPECT(OpenFiles(control) == 2 && Works(fd));
  EXPECT(close(fd) == 0 && one());
  EXPECT_ERRNO(ioctl(fd, kEcho, 0), EBADF);

  // dup2 over a virtual file closes it; an ordinary descriptor is ordinary again.
  const int covered = OpenDevice();
  const int null = open("/dev/null", O_RDWR);
  EXPECT(dup2(null, covered) == covered && one());
  EXPECT(write(covered, "x", 1) == 1 && read(covered, &copies[0], 1) == 0);
  close(covered);

  OpenDevice();
  const int low = OpenDevice();
  EXPECT(dup2(low, 200) == 200);
  EXPECT(OpenFiles(control) == 3);
  EXPECT(close_range(100, 300, CLOSE_RANGE_CLOEXEC) == 0 && Works(200));
  EXPECT(close_range(static_cast<unsigned>(control) + 1, ~0u, 0) == 0 && one());
  EXPECT(OpenDevice() >= 0);
  closefrom(control + 1);
  EXPECT(one());

  // A stream over the device.
  FILE* file = fdopen(OpenDevice(), "w");
  EXPECT(file != nullptr && fputs("hello", file) >= 0 && fclose(file) == 0 && one());
  EXPECT(syscall(SYS_close, OpenDevice()) == 0 && one());
}

// The shim's own descriptors survive a program that closes everything it did not open.
void CloseAll() {
  const int fd = OpenDevice();
  EXPECT(fd == 3 && Works(fd));
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  const int end = limit.rlim_cur > 65536 ? 65536 : static_cast<int>(limit.rlim_cur);
  for (int other = 4; other < end; ++other) close(other);
  EXPECT(Works(fd));
  for (int other = end - 20; other < end; ++other) EXPECT(dup2(1, other) == other);
  EXPECT(Works(fd));
  std::thread([&] { EXPECT(Works(fd)); }).join();  // needs the control socket
  EXPECT(close_range(4, ~0u, 0) == 0);
  EXPECT(Works(fd));
  std::thread([&] { EXPECT(Works(fd)); }).join();
}

void SendFd(int socket, int fd) {
  char byte = 'x';
  struct iovec part = {&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof(space);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(int));
  EXPECT(sendmsg(socket, &message, 0) == 1);
}

int RecvFd(int socket, bool many) {
  char byte = 0;
  struct iovec part = {&byte, 1};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  struct mmsghdr list = {};
  list.msg_hdr.msg_iov = &part;
  list.msg_hdr.msg_iovlen = 1;
  list.msg_hdr.msg_control = space;
  list.msg_hdr.msg_controllen = sizeof(space);
  if (many) {
    EXPECT(recvmmsg(socket, &list, 1, 0, nullptr) == 1);
  } else {
    EXPECT(recvmsg(socket, &list.msg_hdr, 0) == 1);
  }
  int fd = -1;
  if (CMSG_FIRSTHDR(&list.msg_hdr) != nullptr) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&list.msg_hdr)), sizeof(int));
  return fd;
}

void Rights() {
  int sockets[2];
  EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
  const int fd = OpenDevice();
  const int buf = ioctl(fd, kExport, 0);
  const pid_t child = fork();
  if (child == 0) {
    // Of the inherited descriptors nothing is left: what works came by the socket.
    close(fd);
    close(buf);
    const int got = RecvFd(sockets[1], false);
    EXPECT(got >= 0 && Works(got));
    const int got_buf = RecvFd(sockets[1], true);
    EXPECT(lseek(got_buf, 0, SEEK_END) == static_cast<off_t>(kDmaBufBytes));
    EXPECT(ioctl(got, kForeign, got_buf) == 1);
    EXPECT(ioctl(got, kForeign, 1) == 0);
    EXPECT_ERRNO(ioctl(got, kForeign, 999), EBADF);
    void* map = mmap(nullptr, kDmaBufBytes, PROT_READ | PROT_WRITE, MAP_SHARED, got_buf, 0);
    EXPECT(map != MAP_FAILED && static_cast<char*>(map)[100] == 'p');
    _exit(failures != 0);
  }
  char* map = static_cast<char*>(mmap(nullptr, kDmaBufBytes, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0));
  EXPECT(map != MAP_FAILED);
  map[100] = 'p';
  SendFd(sockets[0], fd);
  SendFd(sockets[0], buf);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT(status == 0);
  EXPECT(Works(fd));
}

void Events() {
  const int fd = OpenDevice();
  const int events = ioctl(fd, kEventFile, 0);
  EXPECT(events >= 0);
  char buffer[8];
  struct pollfd poll_fd = {events, POLLIN, 0};
  EXPECT(poll(&poll_fd, 1, 0) == 0);
  EXPECT(ioctl(fd, kRaise, 2) == 0);
  EXPECT(poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN) != 0);
  EXPECT(read(events, buffer, sizeof(buffer)) == 8);
  EXPECT(poll(&poll_fd, 1, 0) == 1);
  EXPECT(read(events, buffer, sizeof(buffer)) == 8);
  EXPECT(poll(&poll_fd, 1, 0) == 0);
  // Blocking: another thread raises.
  std::thread raiser([&] {
    struct pollfd nothing = {-1, 0, 0};
    poll(&nothing, 1, 20);
    ioctl(fd, kRaise, 1);
  });
  EXPECT(read(events, buffer, sizeof(buffer)) == 8);
  raiser.join();
  EXPECT(poll(&poll_fd, 1, 0) == 0);
  EXPECT(fcntl(events, F_SETFL, O_NONBLOCK) == 0);
  EXPECT_ERRNO(static_cast<int>(read(events, buffer, sizeof(buffer))), EAGAIN);
  // A signal handler without SA_RESTART ends a blocking read.
  EXPECT(fcntl(events, F_SETFL, 0) == 0);
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  const struct itimerval soon = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &soon, nullptr);
  EXPECT_ERRNO(static_cast<int>(read(events, buffer, sizeof(buffer))), EINTR);
}

void Mappings() {
  const int fd = OpenDevice();
  const long before = ioctl(fd, kUnmapped, 0);
  const auto ended = [&] { return ioctl(fd, kUnmapped, 0) - before; };
  char* map = static_cast<char*>(mmap(nullptr, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096));
  EXPECT(map != MAP_FAILED);
  map[0] = 'm';
  char* twin = static_cast<char*>(mmap64(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096));
  EXPECT(twin != MAP_FAILED && twin[0] == 'm');
  EXPECT(munmap(map, 4096) == 0 && ended() == 0);
  EXPECT(munmap(map + 8192, 4096) == 0 && ended() == 0);
  EXPECT(munmap(map, 16384) == 0 && ended() == 1);
  void* over = mmap(twin, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  EXPECT(over == twin && ended() == 2);
  map = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  void* moved = mremap(map, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, over);
  EXPECT(moved == over && ended() == 2);
  EXPECT(munmap(map, 8192) == 0 && ended() == 2);
  EXPECT(munmap(moved, 8192) == 0 && ended() == 3);
  EXPECT(mmap(nullptr, 64, PROT_READ, MAP_SHARED, fd, 12345) == MAP_FAILED && errno == EINVAL);
  EXPECT(mmap(nullptr, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
}

void Netlink() {
  EXPECT_ERRNO(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 20), EPROTONOSUPPORT);
  EXPECT(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0);
}

// fork(2): the child has its parent's signal mask, which here is one signal.
bool HasMaskOf(int signal) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  for (int i = 1; i < NSIG; ++i) {
    if (sigismember(&mask, i) != (i == signal ? 1 : 0)) return false;
  }
  return true;
}

void Forks() {
  const int fd = OpenDevice();
  EXPECT(Works(fd));
  sigset_t mask, before;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  sigprocmask(SIG_SETMASK, &mask, &before);
  for (int round = 0; round < 3; ++round) {
    const pid_t child = fork();
    EXPECT(HasMaskOf(SIGUSR2));
    if (child == 0) {
      const int mine = OpenDevice();
      EXPECT(Works(fd) && Works(mine));
      std::thread([&] { EXPECT(Works(fd)); }).join();
      _exit(failures != 0);
    }
    EXPECT(Works(fd));
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT(status == 0);
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  // The vfork child's closes are its own.
  const pid_t child = vfork();
  if (child == 0) {
    close(fd);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT(status == 0 && Works(fd));
  EXPECT(OpenFiles(fd) == 1);
}

void Exec(const char* self) {
  const int fd = open(kDevice, O_RDWR);
  EXPECT(Works(fd));
  char number[16];
  snprintf(number, sizeof(number), "%d", fd);
  execl(self, self, "after-exec", number, nullptr);
  EXPECT(!"exec failed");
}

void AfterExec(int fd) {
  struct stat st;
  EXPECT(Works(fd));
  EXPECT(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode));
  EXPECT(OpenFiles(fd) == 1);
}

void Threads() {
  const int fd = OpenDevice();
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        const int mine = open(kDevice, O_RDWR | O_CLOEXEC);
        if (mine >= 0 && Works(mine) && Works(fd) && close(mine) == 0) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(good == 6 * 200);
  EXPECT(OpenFiles(fd) == 1);
  // More threads than slots one after another: each gives its slot back.
  for (int i = 0; i < 300; ++i) std::thread([&] { good += Works(fd) ? 1 : 0; }).join();
  EXPECT(good == 6 * 200 + 300);
}

int signal_fd = -1;
std::atomic<int> signal_good{0};
std::atomic<int> signal_count{0};

// Calls from a signal handler, while the same thread is in a call.
void Signals() {
  signal_fd = OpenDevice();
  struct sigaction action = {};
  action.sa_handler = [](int) {
    const int saved = errno;
    ++signal_count;
    if (Works(signal_fd)) ++signal_good;
    errno = saved;
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  const struct itimerval often = {{0, 500}, {0, 500}};
  setitimer(ITIMER_REAL, &often, nullptr);
  int good = 0;
  int rounds = 0;
  for (; signal_count < 100; ++rounds) {
    const int mine = open(kDevice, O_RDWR);
    if (mine >= 0 && Works(mine)) ++good;
    close(mine);
  }
  const struct itimerval never = {};
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT(good == rounds);
  EXPECT(signal_good == signal_count);
}

// POST_SEND as the rxe provider writes it.
ssize_t Ring(int fd, uint32_t handle, uint32_t* response) {
  uint32_t words[8] = {28, 8 | 1 << 16, 0, 0, handle, 0, 0, 128};
  const auto address = reinterpret_cast<uintptr_t>(response);
  memcpy(&words[2], &address, sizeof(address));
  return write(fd, words, sizeof(words));
}

void Doorbell() {
  const int fd = open("/dev/infiniband/uverbs0", O_RDWR);
  uint32_t bad_wr = 7;
  EXPECT(Ring(fd, 5, &bad_wr) == 32 && bad_wr == 0);
  EXPECT(ioctl(fd, kSlowDoorbells, 0) == 1);
  for (int round = 0; round < 10; ++round) {
    bad_wr = 7;
    EXPECT(Ring(fd, 5, &bad_wr) == 32 && bad_wr == 0);
  }
  EXPECT(ioctl(fd, kSlowDoorbells, 0) == 1);  // the machine saw the first only
  EXPECT(ioctl(fd, kRungDoorbells, 0) == 10);
  EXPECT(ioctl(fd, kSetQpState, 2) == 0);  // RTR
  bad_wr = 7;
  EXPECT(Ring(fd, 5, &bad_wr) == -1 && errno == EINVAL && bad_wr == 0);
  EXPECT(ioctl(fd, kSetQpState, 3) == 0);
  // Another handle, a response that is not on the stack: the machine's.
  EXPECT_ERRNO(static_cast<int>(Ring(fd, 6, &bad_wr)), ENOENT);
  EXPECT_ERRNO(static_cast<int>(Ring(fd, 5, reinterpret_cast<uint32_t*>(8))), EFAULT);
  static uint32_t elsewhere = 7;
  EXPECT(Ring(fd, 5, &elsewhere) == 32 && elsewhere == 0 && ioctl(fd, kSlowDoorbells, 0) == 4);
  // Another thread and a forked child ring for themselves; a copy of the descriptor is the same file.
  std::thread([&] { EXPECT(Ring(dup(fd), 5, &bad_wr) == 32); }).join();
  EXPECT(ioctl(fd, kSlowDoorbells, 0) == 5);  // `bad_wr` is on the other thread's stack
  const pid_t child = fork();
  if (child == 0) {
    uint32_t mine = 7;
    EXPECT(Ring(fd, 5, &mine) == 32 && mine == 0);
    EXPECT(ioctl(fd, kSlowDoorbells, 0) == 5);
    _exit(failures != 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT(status == 0 && ioctl(fd, kRungDoorbells, 0) == 11);
}

template <unsigned kBytes>
bool Raises(int fd, Sized<kBytes>* argument) {
  memset(argument, 7, sizeof(*argument));
  if (ioctl(fd, SizedRequest(kBytes), argument) != 0) return false;
  for (const unsigned char byte : argument->bytes) {
    if (byte != 8) return false;
  }
  return true;
}

template <unsigned kBytes>
void RaisesEverywhere(int fd) {
  Sized<kBytes> local;
  EXPECT(Raises(fd, &local));
  static Sized<kBytes> global;
  EXPECT(Raises(fd, &global));
  const std::unique_ptr<Sized<kBytes>> heap(new Sized<kBytes>);
  EXPECT(Raises(fd, heap.get()));
  // At the end of what is mapped.
  char* const pages =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(pages + 4096, 4096, PROT_NONE);
  EXPECT(Raises(fd, reinterpret_cast<Sized<kBytes>*>(pages + 4096 - kBytes)));
  EXPECT_ERRNO(ioctl(fd, SizedRequest(kBytes), pages + 4096 - kBytes + 1), EFAULT);
  munmap(pages, 8192);
}

// write() of a header, which says where the answer goes, and what is copied there.
ssize_t CopyTo(int fd, void* answer, unsigned char byte, size_t size) {
  unsigned char command[1024];
  memcpy(command, &answer, sizeof(answer));
  memset(command + sizeof(answer), byte, size);
  return write(fd, command, sizeof(answer) + size);
}

// Arguments of calls, wherever they lie: what lies on the stack crosses with the call, everything else is copied.
// Memory that is not there is EFAULT (copy_from_user(), copy_to_user()), and no fault of this process.
void Arguments() {
  const int fd = OpenDevice();
  RaisesEverywhere<1>(fd);
  RaisesEverywhere<24>(fd);
  RaisesEverywhere<512>(fd);
  RaisesEverywhere<513>(fd);
  RaisesEverywhere<4000>(fd);
  EXPECT_ERRNO(ioctl(fd, SizedRequest(24), nullptr), EFAULT);
  EXPECT_ERRNO(ioctl(fd, SizedRequest(24), -8l), EFAULT);
  // Readable, and not to be written: what is read is read, the answer fails.
  static const Sized<24> constant = {{1}};
  EXPECT_ERRNO(ioctl(fd, SizedRequest(24), &constant), EFAULT);

  // An answer elsewhere on the stack, or not; what the call wrote is what it reads.
  unsigned long local = 0;
  static unsigned long global = 0;
  Chain chain = {5, reinterpret_cast<unsigned long>(&local), 0};
  EXPECT(ioctl(fd, kChain, &chain) == 0 && local == 5 && chain.back == 5 && chain.value == 5);
  chain = {6, reinterpret_cast<unsigned long>(&global), 0};
  EXPECT(ioctl(fd, kChain, &chain) == 0 && global == 6 && chain.back == 6);
  chain = {7, reinterpret_cast<unsigned long>(&chain.value), 0};
  EXPECT(ioctl(fd, kChain, &chain) == 0 && chain.value == 7 && chain.back == 7);
  chain = {8, 16, 0};
  EXPECT_ERRNO(ioctl(fd, kChain, &chain), EFAULT);
  chain = {8, reinterpret_cast<unsigned long>(&constant), 0};
  EXPECT_ERRNO(ioctl(fd, kChain, &chain), EFAULT);

  unsigned char answer[600];
  for (const size_t size : {0, 1, 40, 480, 504, 505, 600}) {
    memset(answer, 1, sizeof(answer));
    EXPECT(CopyTo(fd, answer, 9, size) == static_cast<ssize_t>(size + 8));
    EXPECT(size == 0 || (answer[0] == 9 && answer[size - 1] == 9));
    EXPECT(size == sizeof(answer) || answer[size] == 1);
  }
  EXPECT_ERRNO(static_cast<int>(CopyTo(fd, reinterpret_cast<void*>(16), 9, 8)), EFAULT);
  const void* volatile nowhere = reinterpret_cast<const void*>(16);
  EXPECT_ERRNO(static_cast<int>(write(fd, nowhere, 40)), EFAULT);

  // Another thread changes the argument while the call looks at it.
  volatile Watched watched = {1, 0, 0};
  std::thread changer([&] {
    while (watched.seen == 0) sched_yield();
    watched.value = 2;
  });
  EXPECT(ioctl(fd, kWatch, &watched) == 0);
  changer.join();
  EXPECT(watched.after == 2);
  // And while calls are made: whatever they read, it is all of one piece or of two.
  std::atomic<bool> stop{false};
  Sized<64> torn = {};
  std::thread writer([&] {
    for (unsigned char value = 0; !stop; ++value) memset(const_cast<unsigned char*>(torn.bytes), value, 64);
  });
  int good = 0;
  for (int round = 0; round < 500; ++round) good += ioctl(fd, SizedRequest(64), &torn) == 0 ? 1 : 0;
  stop = true;
  writer.join();
  EXPECT(good == 500);

  // Deep frames and shallow ones, other stacks, a child.
  for (int round = 0; round < 3; ++round) {
    char deep[40000];
    deep[0] = static_cast<char>(round);
    EXPECT(Works(fd) && deep[0] == round);
    Sized<24> shallow;
    EXPECT(Raises(fd, &shallow));
    std::thread([&] {
      Sized<24> mine;
      EXPECT(Raises(fd, &mine) && Raises(fd, &shallow));
    }).join();
  }
  const pid_t child = fork();
  if (child == 0) {
    Sized<24> mine;
    EXPECT(Raises(fd, &mine));
    _exit(failures != 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT(status == 0);
}

// The machine is killed while this call waits.
void Death() {
  const int fd = OpenDevice();
  const int events = ioctl(fd, kEventFile, 0);
  std::thread reader([&] {
    char buffer[8];
    const ssize_t got = read(events, buffer, sizeof(buffer));
    if (got != -1 || errno != ENODEV) ++failures, fprintf(stderr, "probe: read gave %zd, errno %d\n", got, errno);
  });
  printf("ready\n");
  fflush(stdout);
  EXPECT_ERRNO(ioctl(fd, kHang, 0), ENODEV);
  reader.join();
  uint64_t value = 0;
  EXPECT_ERRNO(ioctl(fd, kEcho, &value), ENODEV);
  EXPECT(open(kDevice, O_RDWR) == -1);
  EXPECT(close(fd) == 0);
  EXPECT(open("/dev/null", O_RDWR) >= 0);
}

// Nothing in /sys, /dev or virtual was touched: no connection is made.
void Idle() {
  FILE* file = fopen("/etc/passwd", "r");
  EXPECT(file != nullptr);
  if (file != nullptr) fclose(file);
  struct stat st;
  EXPECT(stat("/proc/self/status", &st) == 0);
}

// Without a machine.
void Absent() {
  EXPECT_ERRNO(open(kDevice, O_RDWR), ENOENT);
  EXPECT_ERRNO(access(kRxe, F_OK), ENOENT);
  EXPECT(!List("/dev").contains("hl0") && List("/dev").contains("null"));
  EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string name = argv[1];
  if (name == "nodes")
    Nodes();
  else if (name == "attributes")
    Attributes();
  else if (name == "folders")
    Folders();
  else if (name == "proc-links")
    ProcLinks();
  else if (name == "copies")
    Copies();
  else if (name == "close-all")
    CloseAll();
  else if (name == "rights")
    Rights();
  else if (name == "events")
    Events();
  else if (name == "mappings")
    Mappings();
  else if (name == "netlink")
    Netlink();
  else if (name == "forks")
    Forks();
  else if (name == "exec")
    Exec(argv[0]);
  else if (name == "after-exec" && argc > 2)
    AfterExec(atoi(argv[2]));
  else if (name == "threads")
    Threads();
  else if (name == "signals")
    Signals();
  else if (name == "doorbell")
    Doorbell();
  else if (name == "arguments")
    Arguments();
  else if (name == "death")
    Death();
  else if (name == "idle")
    Idle();
  else if (name == "absent")
    Absent();
  else
    return 2;
  return failures == 0 ? 0 : 1;
}
