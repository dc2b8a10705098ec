// SPDX-License-Identifier: Apache-2.0
//
// The RDMA figures of `./dev bench`, by libibverbs and the habanalabs user API alone. One JSON object per result.
//
//   rdma_bench hbm-bw   RDMA write from accelerator 0 to accelerator 1, and memcpy between two host buffers of the same
//                       footprint, turn by turn in one process
//   rdma_bench lat      8 bytes by RDMA write with immediate there and back, between dma-buf MRs of two processes that
//                       both poll their CQs; one way is half of it
//   rdma_bench host-bw  RDMA write between host MRs of two processes
//   rdma_bench memcpy   memcpy between two buffers of --size, again and again: what host-bw is held against
//   rdma_bench reg      ibv_reg_mr() and ibv_dereg_mr() of one buffer of --size: the first pair, and the median pair;
//                       --touched: the buffer holds data
//   rdma_bench objects  makes --count QPs (or CQs of 128 entries, or MRs of 4 KiB: --kind) and waits for a line on its
//                       standard input with all of them idle
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "fail.h"
#include "rdma.h"

enum { kPage = 4096, kMaxRounds = 1000, kReceives = 256, kSignalEvery = 32 };

struct options {
  uint64_t size, footprint, round_bytes;
  unsigned rounds, depth, iterations;
  bool pin, same_nic, touched;
  unsigned count;
  const char* kind;
};

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int CompareDouble(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

// Sorts.
static double Quantile(double* values, unsigned count, double q) {
  qsort(values, count, sizeof(*values), CompareDouble);
  return values[(unsigned)(q * (count - 1) + 0.5)];
}

static char* HostBuffer(uint64_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap", "host memory", errno, NULL);
  memset(memory, 1, bytes);
  return memory;
}

static void Pin(const struct options* options, unsigned process) {
  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  if (!options->pin || cpus < 2) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(process, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);  // where it is not allowed the figure is only less steady
}

// Everything in the order of a tidy program, so that the devices are free for the next one when this one has ended.
static void TakeDown(struct nic* nic, struct ibv_qp** qps, unsigned qp_count, struct ibv_mr** mrs, unsigned mr_count,
                     struct accel* accel) {
  for (unsigned i = 0; i < qp_count; ++i) {
    const int error = ibv_destroy_qp(qps[i]);
    if (error != 0) Fail("ibv_destroy_qp", nic->name, error, NULL);
  }
  for (unsigned i = 0; i < mr_count; ++i) {
    const int error = ibv_dereg_mr(mrs[i]);
    if (error != 0) Fail("ibv_dereg_mr", nic->name, error, NULL);
  }
  NicClose(nic);
  if (accel != NULL) AccelClose(accel);
}

// --- hbm-bw ---

static double CopyPass(char* to, const char* from, uint64_t footprint, uint64_t size, uint64_t passes) {
  const double start = Now();
  for (uint64_t pass = 0; pass < passes; ++pass) {
    for (uint64_t at = 0; at < footprint; at += size) {
      memcpy(to + at, from + at, size);
      __asm__ volatile("" : : "r"(to + at) : "memory");
    }
  }
  return Now() - start;
}

static double RdmaPass(struct rdma_copy* copy, uint64_t passes) {
  const double start = Now();
  for (uint64_t pass = 0; pass < passes; ++pass) RdmaCopy(copy);
  return Now() - start;
}

static void HbmBandwidth(const struct options* options) {
  const uint64_t footprint = options->footprint < options->size ? options->size : options->footprint;
  const uint64_t region = (footprint + kPage - 1) / kPage * kPage;
  struct accel accel[2];
  struct nic nic[2];
  struct ibv_mr* hbm[2];
  Pin(options, 0);
  for (unsigned i = 0; i < 2; ++i) {
    AccelOpen(&accel[i], i);
    AccelAlloc(&accel[i], region);
    const int dmabuf = AccelExport(&accel[i], 0, region);
    NicOpen(&nic[i], NULL, i);
    hbm[i] = NicRegisterDmabuf(&nic[i], dmabuf, 0, region);
    close(dmabuf);
  }
  struct ibv_qp* near = NicCreateQp(&nic[0], options->depth, 1);
  struct ibv_qp* far = NicCreateQp(&nic[1], options->depth, 1);
  const struct endpoint near_end = NicEndpoint(&nic[0], near), far_end = NicEndpoint(&nic[1], far);
  NicConnect(&nic[1], far, &near_end);
  NicConnect(&nic[0], near, &far_end);
  char* from = HostBuffer(region);
  char* to = HostBuffer(region);
  // The source holds data: pages that nobody wrote would all be the one zero page.
  struct ibv_mr* filler = NicRegister(&nic[0], from, region);
  struct ibv_qp* loop[2] = {NicCreateQp(&nic[0], 8, 1), NicCreateQp(&nic[0], 8, 1)};
  const struct endpoint loop_end[2] = {NicEndpoint(&nic[0], loop[0]), NicEndpoint(&nic[0], loop[1])};
  NicConnect(&nic[0], loop[0], &loop_end[1]);
  NicConnect(&nic[0], loop[1], &loop_end[0]);
  struct rdma_copy fill = {.nic = &nic[0],
                           .qp = loop[0],
                           .opcode = IBV_WR_RDMA_WRITE,
                           .local_address = (uint64_t)(uintptr_t)from,
                           .lkey = filler->lkey,
                           .rkey = hbm[0]->rkey,
                           .bytes = region,
                           .chunk = 1024 * 1024,
                           .depth = 8};
  RdmaCopy(&fill);

  struct rdma_copy copy = {.nic = &nic[0],
                           .qp = near,
                           .opcode = IBV_WR_RDMA_WRITE,
                           .lkey = hbm[0]->lkey,
                           .rkey = hbm[1]->rkey,
                           .bytes = footprint / options->size * options->size,
                           .chunk = options->size,
                           .depth = options->depth};
  const uint64_t passes = options->round_bytes > copy.bytes ? options->round_bytes / copy.bytes : 1;
  const double moved = (double)(copy.bytes * passes);
  (void)RdmaPass(&copy, passes);
  (void)CopyPass(to, from, copy.bytes, options->size, passes);
  double rdma[kMaxRounds], by_memcpy[kMaxRounds], ratio[kMaxRounds];
  for (unsigned round = 0; round < options->rounds; ++round) {
    double copy_seconds = 0, rdma_seconds = 0;
    if (round % 2 == 0) rdma_seconds = RdmaPass(&copy, passes);
    copy_seconds = CopyPass(to, from, copy.bytes, options->size, passes);
    if (round % 2 == 1) rdma_seconds = RdmaPass(&copy, passes);
    rdma[round] = moved / rdma_seconds;
    by_memcpy[round] = moved / copy_seconds;
    ratio[round] = copy_seconds / rdma_seconds;
  }
  const double gib = 1024.0 * 1024.0 * 1024.0;
  printf("{\"bench\":\"hbm-bw\",\"size\":%" PRIu64 ",\"footprint\":%" PRIu64
         ",\"rounds\":%u,\"rdma_gib_per_s\":%.3f,"
         "\"memcpy_gib_per_s\":%.3f,\"ratio\":%.4f}\n",
         options->size, copy.bytes, options->rounds, Quantile(rdma, options->rounds, 0.5) / gib,
         Quantile(by_memcpy, options->rounds, 0.5) / gib, Quantile(ratio, options->rounds, 0.5));
  struct ibv_qp* near_qps[] = {near, loop[0], loop[1]};
  struct ibv_mr* near_mrs[] = {hbm[0], filler};
  TakeDown(&nic[0], near_qps, 3, near_mrs, 2, &accel[0]);
  TakeDown(&nic[1], &far, 1, &hbm[1], 1, &accel[1]);
}

// --- two processes ---

struct peer {
  struct endpoint endpoint;
  uint64_t address;
  uint32_t rkey;
};

static void Exchange(int socket, const struct peer* own, struct peer* other) {
  if (send(socket, own, sizeof(*own), MSG_NOSIGNAL) != (ssize_t)sizeof(*own) ||
      recv(socket, other, sizeof(*other), MSG_WAITALL) != (ssize_t)sizeof(*other)) {
    FailText("send / recv", "the socket between the two processes", "the other process has ended", NULL);
  }
}

// Both sides are connected when both have said so.
static void Barrier(int socket) {
  struct peer own, other;
  memset(&own, 0, sizeof(own));
  Exchange(socket, &own, &other);
}

// Runs `body` in two processes joined by a socket; the child is process 1.
static void RunTwo(const struct options* options, void (*body)(const struct options*, unsigned, int)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) Fail("socketpair", "AF_UNIX", errno, NULL);
  const pid_t child = fork();
  if (child < 0) Fail("fork", "this program", errno, NULL);
  const unsigned process = child == 0;
  close(ends[1 - process]);
  Pin(options, process);
  body(options, process, ends[process]);
  if (process == 1) exit(0);
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    FailText("waitpid", "the second process", "it did not end well", NULL);
  }
}

static struct ibv_qp* QuietQp(struct nic* nic) {
  struct ibv_qp_init_attr init = {
      .send_cq = nic->cq,
      .recv_cq = nic->cq,
      .qp_type = IBV_QPT_RC,
      .cap = {.max_send_wr = 2 * kSignalEvery, .max_recv_wr = kReceives, .max_send_sge = 1, .max_recv_sge = 1}};
  struct ibv_qp* qp = ibv_create_qp(nic->pd, &init);
  if (qp == NULL) Fail("ibv_create_qp", nic->name, errno, NULL);
  return qp;
}

static void PostReceive(struct ibv_qp* qp) {
  struct ibv_recv_wr wr = {.num_sge = 0};
  struct ibv_recv_wr* bad = NULL;
  const int error = ibv_post_recv(qp, &wr, &bad);
  if (error != 0) Fail("ibv_post_recv", "the QP", error, NULL);
}

static void LatencySide(const struct options* options, unsigned process, int socket) {
  struct accel accel;
  AccelOpen(&accel, process);
  AccelAlloc(&accel, 2 * kPage);
  const int dmabuf = AccelExport(&accel, 0, 2 * kPage);
  struct nic nic;
  NicOpen(&nic, NULL, options->same_nic ? 0 : process);
  struct ibv_mr* mr = NicRegisterDmabuf(&nic, dmabuf, 0, 2 * kPage);
  close(dmabuf);
  struct ibv_qp* qp = QuietQp(&nic);
  const struct peer own = {.endpoint = NicEndpoint(&nic, qp), .address = kPage, .rkey = mr->rkey};
  struct peer other;
  Exchange(socket, &own, &other);
  NicConnect(&nic, qp, &other.endpoint);
  for (int i = 0; i < kReceives / 2; ++i) PostReceive(qp);
  Barrier(socket);

  struct ibv_sge sge = {.addr = 0, .length = 8, .lkey = mr->lkey};
  struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE_WITH_IMM};
  wr.wr.rdma.remote_addr = other.address;
  wr.wr.rdma.rkey = other.rkey;
  const unsigned batch = 1000;
  double one_way_us[kMaxRounds];
  unsigned batches = 0;
  double start = Now();
  const unsigned warmup = options->iterations / 10 / batch * batch;
  bool receive_owed = false;  // posted again after the answer, off the message's way
  for (unsigned i = 0; i < warmup + options->iterations; ++i) {
    for (int turn = 0; turn < 2; ++turn) {
      if ((unsigned)turn == process) {
        wr.send_flags = i % kSignalEvery == 0 ? IBV_SEND_SIGNALED : 0;
        wr.imm_data = i;
        struct ibv_send_wr* bad = NULL;
        const int error = ibv_post_send(qp, &wr, &bad);
        if (error != 0) Fail("ibv_post_send", nic.name, error, NULL);
        if (receive_owed) PostReceive(qp);
        receive_owed = false;
      } else {
        struct ibv_wc wc;
        do {
          NicWait(&nic, "RDMA write with immediate", &wc);  // its own sends' completions come by too
        } while (wc.opcode != IBV_WC_RECV_RDMA_WITH_IMM);
        receive_owed = true;
      }
    }
    if ((i + 1) % batch == 0) {
      const double now = Now();
      if (i >= warmup && batches < kMaxRounds) one_way_us[batches++] = (now - start) / batch / 2 * 1e6;
      start = now;
    }
  }
  Barrier(socket);
  if (process == 0) {
    const double median = Quantile(one_way_us, batches, 0.5);  // sorts: the least is the first from here on
    printf("{\"bench\":\"lat\",\"size\":8,\"iterations\":%u,\"one_way_us\":%.4f,\"min_us\":%.4f,\"p99_us\":%.4f}\n",
           options->iterations, median, one_way_us[0], Quantile(one_way_us, batches, 0.99));
  }
  TakeDown(&nic, &qp, 1, &mr, 1, &accel);
}

static void HostSide(const struct options* options, unsigned process, int socket) {
  struct nic nic;
  NicOpen(&nic, NULL, options->same_nic ? 0 : process);
  char* buffer = HostBuffer(options->size);
  struct ibv_mr* mr = NicRegister(&nic, buffer, options->size);
  struct ibv_qp* qp = NicCreateQp(&nic, options->depth, 1);
  const struct peer own = {.endpoint = NicEndpoint(&nic, qp), .address = (uint64_t)(uintptr_t)buffer, .rkey = mr->rkey};
  struct peer other;
  Exchange(socket, &own, &other);
  NicConnect(&nic, qp, &other.endpoint);
  Barrier(socket);
  if (process == 0) {
    struct rdma_copy copy = {.nic = &nic,
                             .qp = qp,
                             .opcode = IBV_WR_RDMA_WRITE,
                             .local_address = (uint64_t)(uintptr_t)buffer,
                             .lkey = mr->lkey,
                             .remote_address = other.address,
                             .rkey = other.rkey,
                             .bytes = options->size,
                             .chunk = options->size,
                             .depth = options->depth};
    // `depth` messages of one buffer at a time: source_wrap keeps the local side in it, the remote side as well.
    const uint64_t messages = options->round_bytes / options->size + 1;
    double rate[kMaxRounds];
    for (unsigned round = 0; round < options->rounds + 1; ++round) {
      const double start = Now();
      uint64_t posted = 0;
      for (uint64_t completed = 0; completed < messages; ++completed) {
        for (; posted < messages && posted - completed < options->depth; ++posted) {
          struct ibv_sge sge = {.addr = copy.local_address, .length = (uint32_t)options->size, .lkey = copy.lkey};
          struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
          wr.wr.rdma.remote_addr = copy.remote_address;
          wr.wr.rdma.rkey = copy.rkey;
          struct ibv_send_wr* bad = NULL;
          const int error = ibv_post_send(qp, &wr, &bad);
          if (error != 0) Fail("ibv_post_send", nic.name, error, NULL);
        }
        struct ibv_wc wc;
        NicWait(&nic, "RDMA write", &wc);
      }
      if (round > 0) rate[round - 1] = (double)(messages * options->size) / (Now() - start);
    }
    printf("{\"bench\":\"host-bw\",\"size\":%" PRIu64 ",\"rounds\":%u,\"gib_per_s\":%.3f}\n", options->size,
           options->rounds, Quantile(rate, options->rounds, 0.5) / (1024.0 * 1024.0 * 1024.0));
  }
  Barrier(socket);
  TakeDown(&nic, &qp, 1, &mr, 1, NULL);
}

static void Memcpy(const struct options* options) {
  char* from = HostBuffer(options->size);
  char* to = HostBuffer(options->size);
  const uint64_t passes = options->round_bytes / options->size + 1;
  double rate[kMaxRounds];
  (void)CopyPass(to, from, options->size, options->size, passes);
  for (unsigned round = 0; round < options->rounds; ++round) {
    rate[round] = (double)(passes * options->size) / CopyPass(to, from, options->size, options->size, passes);
  }
  printf("{\"bench\":\"memcpy\",\"size\":%" PRIu64 ",\"gib_per_s\":%.3f}\n", options->size,
         Quantile(rate, options->rounds, 0.5) / (1024.0 * 1024.0 * 1024.0));
}

static void Registration(const struct options* options) {
  struct nic nic;
  NicOpen(&nic, NULL, 0);
  char* buffer = mmap(NULL, options->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) Fail("mmap", "host memory", errno, NULL);
  if (options->touched) memset(buffer, 1, options->size);
  double us[kMaxRounds];
  double first = 0;
  for (unsigned round = 0; round < options->rounds + 1; ++round) {
    const double start = Now();
    struct ibv_mr* mr = NicRegister(&nic, buffer, options->size);
    const int error = ibv_dereg_mr(mr);
    if (error != 0) Fail("ibv_dereg_mr", nic.name, error, NULL);
    const double taken = (Now() - start) * 1e6;
    if (round == 0) {
      first = taken;
    } else {
      us[round - 1] = taken;
    }
  }
  printf("{\"bench\":\"reg\",\"size\":%" PRIu64 ",\"first_us\":%.2f,\"median_us\":%.2f}\n", options->size, first,
         Quantile(us, options->rounds, 0.5));
  NicClose(&nic);
}

static void Objects(const struct options* options) {
  struct nic nic;
  NicOpen(&nic, NULL, 0);
  char* buffer = HostBuffer(kPage);
  struct ibv_qp_init_attr init = {.send_cq = nic.cq,
                                  .recv_cq = nic.cq,
                                  .qp_type = IBV_QPT_RC,
                                  .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1}};
  printf("before\n");
  fflush(stdout);
  if (getchar() == EOF) return;
  for (unsigned i = 0; i < options->count; ++i) {
    const void* made = strcmp(options->kind, "qp") == 0   ? (void*)ibv_create_qp(nic.pd, &init)
                       : strcmp(options->kind, "cq") == 0 ? (void*)ibv_create_cq(nic.context, 127, NULL, NULL, 0)
                                                          : (void*)NicRegister(&nic, buffer, kPage);
    if (made == NULL) Fail("create", options->kind, errno, NULL);
  }
  printf("after\n");
  fflush(stdout);
  (void)getchar();
}

static uint64_t Number(const char* text, uint64_t minimum, uint64_t maximum) {
  char* end = NULL;
  const uint64_t value = strtoull(text, &end, 0);
  if (end == text || *end != '\0' || value < minimum || value > maximum) {
    fprintf(stderr, "%s: bad number '%s'\n", program_invocation_short_name, text);
    exit(2);
  }
  return value;
}

int main(int argc, char** argv) {
  static const char kUsage[] =
      "Usage: rdma_bench hbm-bw|lat|host-bw|memcpy|reg|objects [--size N] [--footprint N] [--round-bytes N]\n"
      "                  [--rounds N] [--depth N] [--iterations N] [--count N] [--kind qp|cq|mr] [--pin] [--same-nic]\n"
      "                  [--touched]\n";
  struct options options = {.size = 1024 * 1024,
                            .footprint = 64 * 1024 * 1024,
                            .round_bytes = 256 * 1024 * 1024,
                            .rounds = 9,
                            .depth = 16,
                            .iterations = 100000,
                            .count = 1000,
                            .kind = "qp"};
  static const struct option names[] = {
      {"size", 1, NULL, 's'},  {"footprint", 1, NULL, 'f'},  {"round-bytes", 1, NULL, 'b'}, {"rounds", 1, NULL, 'r'},
      {"depth", 1, NULL, 'd'}, {"iterations", 1, NULL, 'i'}, {"pin", 0, NULL, 'p'},         {"same-nic", 0, NULL, 'n'},
      {"count", 1, NULL, 'c'}, {"kind", 1, NULL, 'k'},       {"touched", 0, NULL, 't'},     {NULL, 0, NULL, 0}};
  for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
    switch (c) {
      case 's': options.size = Number(optarg, 1, UINT64_C(1) << 30); break;
      case 'f': options.footprint = Number(optarg, 1, UINT64_C(1) << 34); break;
      case 'b': options.round_bytes = Number(optarg, 1, UINT64_C(1) << 40); break;
      case 'r': options.rounds = (unsigned)Number(optarg, 1, kMaxRounds); break;
      case 'd': options.depth = (unsigned)Number(optarg, 1, kMaxDepth); break;
      case 'i': options.iterations = (unsigned)Number(optarg, 1000, kMaxRounds * 1000); break;
      case 'p': options.pin = true; break;
      case 'n': options.same_nic = true; break;
      case 'c': options.count = (unsigned)Number(optarg, 1, 1000000); break;
      case 'k': options.kind = optarg; break;
      case 't': options.touched = true; break;
      default: fputs(kUsage, stderr); return 2;
    }
  }
  const char* what = optind + 1 == argc ? argv[optind] : "";
  if (strcmp(what, "hbm-bw") == 0) {
    HbmBandwidth(&options);
  } else if (strcmp(what, "lat") == 0) {
    RunTwo(&options, LatencySide);
  } else if (strcmp(what, "host-bw") == 0) {
    RunTwo(&options, HostSide);
  } else if (strcmp(what, "memcpy") == 0) {
    Memcpy(&options);
  } else if (strcmp(what, "reg") == 0) {
    Registration(&options);
  } else if (strcmp(what, "objects") == 0) {
    Objects(&options);
  } else {
    fputs(kUsage, stderr);
    return 2;
  }
  return 0;
}
