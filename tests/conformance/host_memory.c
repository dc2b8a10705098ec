// SPDX-License-Identifier: Apache-2.0
//
// Ordinary memory as memory regions: what a program may do with its memory before, while and after it is registered,
// and what RDMA to and from it must leave and find there. Uses libibverbs alone and would pass on a real NIC, but for
// what `expect` asks: that the pages are shared with the machine (or are not).
//
//   host_memory CASE [shared|private]      prints "ok CASE"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "rdma.h"

enum { kPage = 4096 };
#define MIB (1u << 20)

static const char* expected;
static struct nic nic[2];
static struct ibv_qp* qp[2];

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) FailText("check", __func__, #condition, NULL); \
  } while (0)

// Is the page at `address` one of the machine's host memory?
static bool IsShared(const void* address) {
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[512];
  bool found = false;
  while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
    unsigned long start = 0, end = 0;
    if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start && (unsigned long)address < end) {
      found = strstr(line, "causeway-host") != NULL;
      break;
    }
  }
  if (maps != NULL) fclose(maps);
  return found;
}

static void Expect(const void* address) {
  if (expected == NULL) return;
  CHECK(IsShared(address) == (strcmp(expected, "shared") == 0));
}

static void Connect(void) {
  for (unsigned i = 0; i < 2; ++i) {
    NicOpen(&nic[i], NULL, i);
    qp[i] = NicCreateQp(&nic[i], 16, 1);
  }
  const struct endpoint end[2] = {NicEndpoint(&nic[0], qp[0]), NicEndpoint(&nic[1], qp[1])};
  NicConnect(&nic[0], qp[0], &end[1]);
  NicConnect(&nic[1], qp[1], &end[0]);
}

static void Disconnect(void) {
  for (unsigned i = 0; i < 2; ++i) {
    CHECK(ibv_destroy_qp(qp[i]) == 0);
    NicClose(&nic[i]);
  }
}

static enum ibv_wc_status Post(enum ibv_wr_opcode opcode, struct ibv_mr* local, void* at, size_t length,
                               struct ibv_mr* remote, void* to) {
  struct ibv_sge sge = {.addr = (uintptr_t)at, .length = (uint32_t)length, .lkey = local->lkey};
  struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = opcode, .send_flags = IBV_SEND_SIGNALED};
  wr.wr.rdma.remote_addr = (uintptr_t)to;
  wr.wr.rdma.rkey = remote->rkey;
  if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
    wr.wr.atomic.remote_addr = (uintptr_t)to;
    wr.wr.atomic.compare_add = 1;
    wr.wr.atomic.rkey = remote->rkey;
  }
  struct ibv_send_wr* bad = NULL;
  const int error = ibv_post_send(qp[0], &wr, &bad);
  if (error != 0) Fail("ibv_post_send", nic[0].name, error, NULL);
  struct ibv_wc wc;
  int got = 0;
  while (got == 0) got = ibv_poll_cq(nic[0].cq, 1, &wc);
  CHECK(got == 1);
  return wc.status;
}

static void Write(struct ibv_mr* local, void* from, size_t length, struct ibv_mr* remote, void* to) {
  CHECK(Post(IBV_WR_RDMA_WRITE, local, from, length, remote, to) == IBV_WC_SUCCESS);
}

static void Dereg(struct ibv_mr* mr) { CHECK(ibv_dereg_mr(mr) == 0); }

static char* Anonymous(size_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

static unsigned char Pattern(size_t i, unsigned seed) { return (unsigned char)(i * 7 + (i >> 8) * 13 + seed); }
static void Fill(void* at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; ++i) ((unsigned char*)at)[i] = Pattern(i, seed);
}
static bool Holds(const void* at, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes; ++i) {
    if (((const unsigned char*)at)[i] != Pattern(i, seed)) return false;
  }
  return true;
}

// --- cases -----------------------------------------------------------------------------------------------------------

// Regions that begin and end inside pages, in memory of malloc, of mmap and in .bss; what shares their pages stays.
static char in_bss[5 * kPage];
static void Partial(void) {
  char* heap[3];
  for (int i = 0; i < 3; ++i) {
    heap[i] = malloc(10000);
    Fill(heap[i], 10000, (unsigned)i);
  }
  char* mapped = Anonymous(8 * kPage);
  Fill(mapped, 8 * kPage, 9);
  Fill(in_bss, sizeof(in_bss), 10);
  struct ibv_mr* source = NicRegister(&nic[0], heap[1] + 3, 9000);
  struct ibv_mr* target = NicRegister(&nic[1], mapped + 100, 5 * kPage);
  struct ibv_mr* bss = NicRegister(&nic[1], in_bss + 4000, 9000);
  Expect(mapped + 100);
  Expect(heap[1] + 3);
  CHECK(Holds(heap[0], 10000, 0) && Holds(heap[1], 10000, 1) && Holds(heap[2], 10000, 2));
  CHECK(Holds(mapped, 8 * kPage, 9) && Holds(in_bss, sizeof(in_bss), 10));
  Write(source, heap[1] + 3, 9000, target, mapped + 5000);
  CHECK(memcmp(mapped + 5000, heap[1] + 3, 9000) == 0 && Holds(mapped, 5000, 9));
  CHECK((unsigned char)mapped[14000] == Pattern(14000, 9));
  Write(source, heap[1] + 3, 9000, bss, in_bss + 4000);
  CHECK(memcmp(in_bss + 4000, heap[1] + 3, 9000) == 0 && Holds(in_bss, 4000, 10));
  // Read back, and again in a region of the same pages.
  struct ibv_mr* again = NicRegister(&nic[1], mapped, 8 * kPage);
  Expect(mapped + 7 * kPage);
  CHECK(Post(IBV_WR_RDMA_READ, source, heap[1] + 3, 4000, again, mapped) == IBV_WC_SUCCESS);
  CHECK(memcmp(mapped, heap[1] + 3, 4000) == 0);
  Dereg(again);
  Dereg(bss);
  Dereg(target);
  Dereg(source);
  for (int i = 0; i < 3; ++i) free(heap[i]);
  CHECK(munmap(mapped, 8 * kPage) == 0);
}

// One region of mappings of different kinds: what cannot be shared is reached all the same.
static void Mixed(void) {
  char* area = Anonymous(6 * kPage);
  const int file = memfd_create("own", MFD_CLOEXEC);
  CHECK(file >= 0 && ftruncate(file, 2 * kPage) == 0);
  CHECK(mmap(area + kPage, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == area + kPage);
  CHECK(mmap(area + 3 * kPage, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, kPage) ==
        area + 3 * kPage);
  Fill(area, 6 * kPage, 3);
  char* other = malloc(6 * kPage);
  memset(other, 0, 6 * kPage);
  char on_stack[3000];
  struct ibv_mr* mixed = NicRegister(&nic[0], area, 6 * kPage);
  struct ibv_mr* plain = NicRegister(&nic[1], other, 6 * kPage);
  struct ibv_mr* stack = NicRegister(&nic[1], on_stack, sizeof(on_stack));
  Write(mixed, area + 10, 6 * kPage - 20, plain, other + 10);
  CHECK(memcmp(area + 10, other + 10, 6 * kPage - 20) == 0);
  Fill(other, 6 * kPage, 77);
  CHECK(Post(IBV_WR_RDMA_READ, mixed, area, 6 * kPage, plain, other) == IBV_WC_SUCCESS);
  CHECK(Holds(area, 6 * kPage, 77));
  unsigned char byte = 0;
  CHECK(pread(file, &byte, 1, 5) == 1 && byte == Pattern(kPage + 5, 77));  // the shared file mapping saw it
  Write(mixed, area, sizeof(on_stack), stack, on_stack);
  CHECK(Holds(on_stack, sizeof(on_stack), 77));
  Dereg(stack);
  Dereg(plain);
  Dereg(mixed);
  close(file);
  free(other);
}

// Threads write to the pages, by themselves and by system calls, while they are registered again and again.
enum { kThreads = 4, kArea = 64 * kPage, kRounds = 10 };
static struct {
  _Atomic(char*) area;
  atomic_bool stop;
  atomic_uint inside;
} load;
struct writer {
  pthread_t thread;
  unsigned index;
  uint64_t done[kRounds];
};
static atomic_uint load_round;

static void* CountUp(void* argument) {
  struct writer* writer = argument;
  while (!atomic_load(&load.stop)) {
    atomic_fetch_add(&load.inside, 1);
    char* area = atomic_load(&load.area);
    const unsigned round = atomic_load(&load_round);
    if (area != NULL) {
      for (size_t page = 0; page < kArea / kPage; ++page) {
        volatile uint64_t* word = (volatile uint64_t*)(area + page * kPage + 64 * (writer->index + 1));
        *word = *word + 1;
      }
      ++writer->done[round];
    }
    atomic_fetch_sub(&load.inside, 1);
  }
  return NULL;
}

static void* ByCalls(void* argument) {
  struct writer* writer = argument;
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  while (!atomic_load(&load.stop)) {
    atomic_fetch_add(&load.inside, 1);
    char* area = atomic_load(&load.area);
    const unsigned round = atomic_load(&load_round);
    if (area != NULL) {
      for (size_t page = 0; page < kArea / kPage; page += 8) {
        char* at = area + page * kPage + 2048;
        uint64_t value = 0;
        // Out of the memory and back into it, raised by one. EFAULT here would be the registration's doing.
        CHECK(write(ends[1], at, sizeof(value)) == sizeof(value));
        CHECK(read(ends[0], &value, sizeof(value)) == sizeof(value));
        ++value;
        CHECK(write(ends[1], &value, sizeof(value)) == sizeof(value));
        CHECK(read(ends[0], at, sizeof(value)) == sizeof(value));
      }
      ++writer->done[round];
    }
    atomic_fetch_sub(&load.inside, 1);
  }
  close(ends[0]);
  close(ends[1]);
  return NULL;
}

static void Threads(void) {
  static struct writer writers[kThreads + 1];
  for (unsigned i = 0; i <= kThreads; ++i) {
    writers[i].index = i;
    CHECK(pthread_create(&writers[i].thread, NULL, i < kThreads ? CountUp : ByCalls, &writers[i]) == 0);
  }
  for (unsigned round = 0; round < kRounds; ++round) {
    char* area = Anonymous(kArea);
    atomic_store(&load_round, round);
    atomic_store(&load.area, area);
    for (unsigned i = 0; i <= kThreads; ++i) {
      while (__atomic_load_n(&writers[i].done[round], __ATOMIC_RELAXED) == 0) sched_yield();
    }
    for (int turn = 0; turn < 3; ++turn) {
      struct ibv_mr* mr = NicRegister(&nic[0], area + 100, kArea - 300);
      Expect(area + 8 * kPage);
      Dereg(mr);
    }
    atomic_store(&load.area, NULL);
    while (atomic_load(&load.inside) != 0) {  // nobody holds the old pointer
      sched_yield();
      bool idle = true;
      for (int look = 0; look < 100 && idle; ++look) idle = atomic_load(&load.inside) == 0;
      if (idle) break;
    }
    usleep(2000);  // a thread between its load of `area` and of `load_round`
    for (size_t page = 0; page < kArea / kPage; ++page) {
      for (unsigned i = 0; i < kThreads; ++i) {
        CHECK(*(uint64_t*)(area + page * kPage + 64 * (i + 1)) == writers[i].done[round]);
      }
      if (page % 8 == 0) CHECK(*(uint64_t*)(area + page * kPage + 2048) == writers[kThreads].done[round]);
    }
    CHECK(munmap(area, kArea) == 0);
  }
  atomic_store(&load.stop, true);
  for (unsigned i = 0; i <= kThreads; ++i) pthread_join(writers[i].thread, NULL);
}

// No userfaultfd, as where a container forbids it: pages of a process with several threads are left where they are.
static void Forbidden(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_userfaultfd, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xaa00 /* USERFAULTFD_IOC_NEW */, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  Threads();
}

// A child of fork() has memory of its own, as it was at the fork.
static void Fork(void) {
  char* buffer = Anonymous(16 * kPage);
  char* no_child = Anonymous(2 * kPage);
  CHECK(madvise(no_child, 2 * kPage, MADV_DONTFORK) == 0);
  Fill(buffer, 8 * kPage, 1);
  struct ibv_mr* mr = NicRegister(&nic[1], buffer, 16 * kPage);
  struct ibv_mr* kept = NicRegister(&nic[0], no_child, 2 * kPage);
  char* source = malloc(kPage);
  Fill(source, kPage, 5);
  struct ibv_mr* from = NicRegister(&nic[0], source, kPage);
  Expect(buffer);
  Expect(no_child);
  int to_child[2], to_parent[2];
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char byte = 0;
    unsigned char there = 0;
    if (mincore(no_child, 2 * kPage, &there) == 0 || errno != ENOMEM) _exit(2);  // DONTFORK: not here at all
    buffer[0] = 99;                                                              // not the parent's
    buffer[12 * kPage] = 98;
    if (write(to_parent[1], "x", 1) != 1 || read(to_child[0], &byte, 1) != 1) _exit(3);
    if (buffer[0] != 99 || !Holds(buffer + kPage, kPage, 1 + kPage * 7 + (kPage >> 8) * 13)) _exit(4);
    _exit(IsShared(buffer) || IsShared(source) ? 5 : 0);
  }
  close(to_parent[1]);
  close(to_child[0]);
  char byte = 0;
  if (read(to_parent[0], &byte, 1) != 1) fprintf(stderr, "the child ended early\n");
  CHECK(Holds(buffer, 8 * kPage, 1) && buffer[12 * kPage] == 0);
  Write(from, source, kPage, mr, buffer + kPage);
  CHECK(Holds(buffer + kPage, kPage, 5));
  signal(SIGPIPE, SIG_IGN);
  (void)!write(to_child[1], "x", 1);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "the child ended with %#x\n", (unsigned)status);
    exit(1);
  }
  CHECK(system("true") == 0);  // posix_spawn() and exec
  CHECK(Holds(buffer + kPage, kPage, 5));
  Dereg(from);
  Dereg(kept);
  Dereg(mr);
}

// MADV_DONTNEED gives zeroes, and a region goes on working.
static void DontNeed(void) {
  char* buffer = Anonymous(16 * kPage);
  Fill(buffer, 16 * kPage, 1);
  char* source = malloc(kPage);
  Fill(source, kPage, 5);
  struct ibv_mr* from = NicRegister(&nic[0], source, kPage);
  struct ibv_mr* mr = NicRegister(&nic[1], buffer, 16 * kPage);
  Expect(buffer);
  Dereg(mr);
  CHECK(madvise(buffer + 4 * kPage, 8 * kPage, MADV_DONTNEED) == 0);
  for (size_t i = 4 * kPage; i < 12 * kPage; ++i) CHECK(buffer[i] == 0);
  CHECK(Holds(buffer, 4 * kPage, 1));
  mr = NicRegister(&nic[1], buffer, 16 * kPage);
  Write(from, source, kPage, mr, buffer + 5 * kPage);
  CHECK(Holds(buffer + 5 * kPage, kPage, 5));
  Dereg(mr);
  errno = 0;
  CHECK(madvise(buffer, 16 * kPage, MADV_REMOVE) == -1 && errno == EINVAL);  // private memory has nothing to remove
  CHECK(madvise(buffer, 16 * kPage, MADV_FREE) == 0);
  Dereg(from);
}

// Blocks that grow and move after they were registered.
static void Move(void) {
  char* block = malloc(MIB);
  char* other = malloc(MIB);
  Fill(block, MIB, 1);
  Fill(other, MIB, 2);
  struct ibv_mr* mr = NicRegister(&nic[0], block, MIB);
  struct ibv_mr* second = NicRegister(&nic[0], other, MIB);
  Expect(block + MIB / 2);
  Dereg(mr);
  for (size_t size = 2 * MIB; size <= 32 * MIB; size *= 2) {
    block = realloc(block, size);
    CHECK(block != NULL && Holds(block, MIB, 1));
    memset(block + MIB, 0x55, size - MIB);
    CHECK(Holds(other, MIB, 2));
    mr = NicRegister(&nic[0], block, size);
    Dereg(mr);
  }
  block = realloc(block, MIB / 2);
  CHECK(Holds(block, MIB / 2, 1));
  free(block);
  Dereg(second);
  free(other);

  char* area = Anonymous(4 * kPage);
  char* next = Anonymous(4 * kPage);
  Fill(area, 4 * kPage, 3);
  Fill(next, 4 * kPage, 4);
  mr = NicRegister(&nic[0], area + kPage, 2 * kPage);  // pages of two kinds
  second = NicRegister(&nic[0], next, 4 * kPage);
  Dereg(mr);
  area = mremap(area, 4 * kPage, 64 * kPage, MREMAP_MAYMOVE);
  CHECK(area != MAP_FAILED && Holds(area, 4 * kPage, 3));
  for (size_t i = 4 * kPage; i < 64 * kPage; ++i) CHECK(area[i] == 0);
  memset(area + 4 * kPage, 1, 60 * kPage);
  CHECK(Holds(next, 4 * kPage, 4));
  mr = NicRegister(&nic[1], area, 64 * kPage);
  Expect(area + 20 * kPage);
  Write(second, next, 4 * kPage, mr, area + 30 * kPage);
  CHECK(Holds(area + 30 * kPage, 4 * kPage, 4));
  Dereg(mr);
  Dereg(second);
}

// Libraries that watch memory (UCX, libfabric) write a jump into libc's own functions, to functions of theirs that end
// in syscall().
static volatile int hook_depth, hook_calls;  // mremap() is declared a leaf: the compiler sees no call back
static long Hooked(long number, void* address, size_t length, long a, long b, void* to, long c) {
  CHECK(++hook_depth < 8);
  ++hook_calls;
  const long result = syscall(number, address, length, a, b, to, c);
  --hook_depth;
  return result;
}
static void* HookedRemap(void* address, size_t length, size_t new_length, int flags, void* to) {
  return (void*)Hooked(SYS_mremap, address, length, (long)new_length, flags, to, 0);
}
static void* HookedMap(void* address, size_t length, int prot, int flags, int fd, off_t offset) {
  return (void*)Hooked(SYS_mmap, address, length, prot, flags, (void*)(long)fd, offset);
}
static int HookedUnmap(void* address, size_t length) { return (int)Hooked(SYS_munmap, address, length, 0, 0, NULL, 0); }
static int HookedAdvise(void* address, size_t length, int advice) {
  return (int)Hooked(SYS_madvise, address, length, advice, 0, NULL, 0);
}
static void WriteJump(const char* name, const void* to) {
  unsigned char jump[13] = {0x49, 0xbb, [10] = 0x41, [11] = 0xff, [12] = 0xe3};  // mov r11, to; jmp *r11
  memcpy(jump + 2, &to, sizeof(to));
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  CHECK(libc != NULL);
  char* at = dlsym(libc, name);
  CHECK(at != NULL);
  char* page = (char*)((unsigned long)at & ~(kPage - 1ul));
  CHECK(mprotect(page, 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
  memcpy(at, jump, sizeof(jump));
  dlclose(libc);
}
static void HookLibc(void) {
  WriteJump("mremap", (const void*)HookedRemap);
  WriteJump("mmap", (const void*)HookedMap);
  WriteJump("munmap", (const void*)HookedUnmap);
  WriteJump("madvise", (const void*)HookedAdvise);
  Move();
  DontNeed();
  char* area = Anonymous(8 * kPage);
  Fill(area, 8 * kPage, 5);
  Dereg(NicRegister(&nic[0], area, 8 * kPage));
  Expect(area);
  const int before = hook_calls;
  CHECK(mremap(area, 8 * kPage, 2 * kPage, 0) == area && Holds(area, 2 * kPage, 5));
  CHECK(hook_calls > before);  // who watches is told
  CHECK(munmap(area, 2 * kPage) == 0);
}

// Memory comes and goes; the machine's copies of it go, too (the caller looks).
static void Churn(void) {
  char* source = malloc(kPage);
  Fill(source, kPage, 5);
  struct ibv_mr* from = NicRegister(&nic[0], source, kPage);
  for (int turn = 0; turn < 60; ++turn) {
    char* buffer = malloc(8 * MIB);  // libc maps and unmaps it
    memset(buffer, turn, 8 * MIB);
    struct ibv_mr* mr = NicRegister(&nic[1], buffer, 8 * MIB);
    Expect(buffer + MIB);
    Write(from, source, kPage, mr, buffer + MIB);
    CHECK(Holds(buffer + MIB, kPage, 5) && buffer[8 * MIB - 1] == (char)turn && buffer[0] == (char)turn);
    Dereg(mr);
    free(buffer);
  }
  for (int turn = 0; turn < 60; ++turn) {
    char* buffer = Anonymous(8 * MIB);
    buffer[5] = 1;
    struct ibv_mr* mr = NicRegister(&nic[1], buffer, 8 * MIB);
    CHECK(buffer[5] == 1 && buffer[MIB] == 0);
    Write(from, source, kPage, mr, buffer + MIB);
    CHECK(Holds(buffer + MIB, kPage, 5) && buffer[3 * MIB] == 0);
    Dereg(mr);
    CHECK(munmap(buffer, 8 * MIB) == 0);
  }
  Dereg(from);
  printf("waiting\n");
  fflush(stdout);
  (void)!read(0, source, 1);
}

// Two regions, as long as the caller wants to look at them.
static void Hold(void) {
  char* buffer = malloc(20000);
  memset(buffer, 1, 20000);
  struct ibv_mr* mr[2] = {NicRegister(&nic[0], buffer, 10000), NicRegister(&nic[1], buffer + 10000, 10000)};
  printf("waiting\n");
  fflush(stdout);
  (void)!read(0, buffer, 1);
  Dereg(mr[0]);
  Dereg(mr[1]);
}

// A region whose memory is gone: its accesses fail, nothing else does.
static void Unmap(void) {
  char* buffer = Anonymous(8 * kPage);
  char* source = malloc(kPage);
  Fill(source, kPage, 5);
  memset(buffer, 1, 8 * kPage);
  struct ibv_mr* from = NicRegister(&nic[0], source, kPage);
  struct ibv_mr* mr = NicRegister(&nic[1], buffer, 8 * kPage);
  Write(from, source, kPage, mr, buffer);
  CHECK(munmap(buffer, 8 * kPage) == 0);
  CHECK(Post(IBV_WR_RDMA_WRITE, from, source, kPage, mr, buffer) == IBV_WC_REM_ACCESS_ERR);
  Dereg(mr);
  Dereg(from);
}

// Counted by the NIC and by the CPU at once: atomic against each other only where the pages are shared.
static void* AddByCpu(void* argument) {
  _Atomic uint64_t* word = argument;
  for (int i = 0; i < 200000; ++i) atomic_fetch_add(word, 1);
  return NULL;
}
static void Atomics(void) {
  _Atomic uint64_t* word = (void*)Anonymous(kPage);
  uint64_t* result = malloc(8);
  const int access =
      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
  struct ibv_mr* mr = ibv_reg_mr(nic[1].pd, word, kPage, access);
  struct ibv_mr* local = NicRegister(&nic[0], result, 8);
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .qp_access_flags = access};
  CHECK(mr != NULL && ibv_modify_qp(qp[1], &attr, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS) == 0);
  Expect(word);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, AddByCpu, word) == 0);
  for (int i = 0; i < 20000; ++i) {
    CHECK(Post(IBV_WR_ATOMIC_FETCH_AND_ADD, local, result, 8, mr, word) == IBV_WC_SUCCESS);
  }
  pthread_join(thread, NULL);
  if (expected != NULL && strcmp(expected, "shared") == 0) CHECK(atomic_load(word) == 220000);
  Dereg(local);
  Dereg(mr);
}

// A gibibyte: untouched it is shared at no cost; touched it is left where it is.
static void Large(void) {
  const size_t bytes = (size_t)1 << 30;
  char* sparse = Anonymous(bytes);
  sparse[0] = 1;
  sparse[bytes - 1] = 2;
  char* full = Anonymous(bytes / 4);
  memset(full, 3, bytes / 4);
  char* source = malloc(kPage);
  Fill(source, kPage, 5);
  struct ibv_mr* from = NicRegister(&nic[0], source, kPage);
  struct ibv_mr* mr = NicRegister(&nic[1], sparse, bytes);
  struct ibv_mr* other = NicRegister(&nic[1], full, bytes / 4);
  Expect(sparse + bytes / 2);
  CHECK(sparse[0] == 1 && sparse[bytes - 1] == 2 && sparse[bytes / 2] == 0);
  Write(from, source, kPage, mr, sparse + bytes / 2);
  Write(from, source, kPage, other, full + bytes / 8);
  CHECK(Holds(sparse + bytes / 2, kPage, 5) && Holds(full + bytes / 8, kPage, 5) && full[0] == 3);
  Dereg(other);
  Dereg(mr);
  Dereg(from);
}

// A new image begins anew, with nothing of the old one's.
static void Exec(char** argv) {
  char* buffer = malloc(64 * kPage);
  Fill(buffer, 64 * kPage, 1);
  struct ibv_mr* mr = NicRegister(&nic[0], buffer, 64 * kPage);
  CHECK(mr != NULL);
  Expect(buffer + kPage);
  char* next[] = {argv[0], "partial", argv[2], NULL};
  execv("/proc/self/exe", next);
  Fail("execv", argv[0], errno, NULL);
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"partial", Partial},   {"mixed", Mixed}, {"threads", Threads}, {"fork", Fork},
               {"dontneed", DontNeed}, {"move", Move},   {"churn", Churn},     {"unmap", Unmap},
               {"atomics", Atomics},   {"large", Large}, {"hold", Hold},       {"forbidden", Forbidden},
               {"hooked", HookLibc}};
  expected = argc > 2 ? argv[2] : NULL;
  Connect();
  if (argc > 1 && strcmp(argv[1], "exec") == 0) Exec(argv);
  for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); ++i) {
    if (strcmp(argv[1], cases[i].name) != 0) continue;
    cases[i].run();
    Disconnect();
    printf("ok %s\n", argv[1]);
    return 0;
  }
  fprintf(stderr, "usage: host_memory CASE [shared|private]\n");
  return 2;
}
