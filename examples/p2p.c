// SPDX-License-Identifier: Apache-2.0
//
// Moves data straight between the memories of two accelerators, through dma-buf and RDMA, and checks every byte.
// Nothing here but libibverbs and the habanalabs user API: it runs on real devices as it does on virtual ones.
//
//   leg            work request                        source              target
//   host->HBM0     NIC 0, RDMA write, own loop         data (host)         accelerator 0, first half
//   HBM0->HBM1     NIC 0 to NIC 1, RDMA write          accelerator 0       accelerator 1
//   HBM1->HBM0     NIC 0 from NIC 1, RDMA read         accelerator 1       accelerator 0, second half
//   HBM1->host     NIC 1, RDMA write, own loop         accelerator 1       result (host)
//
// Every target is filled with other bytes first. Each leg has its own target, so all of them are verified after the
// last leg, and nothing but the leg itself moves between "ready" and "moved" (see README.md, --step).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "checksum.h"
#include "fail.h"
#include "holder.h"
#include "rdma.h"

enum { kPage = 4096, kLegs = 4, kMaxPasses = 100 };
static const uint64_t kMiB = 1024 * 1024;

struct options {
  uint64_t bytes;
  uint64_t seed;
  uint64_t chunk;
  unsigned depth;
  unsigned passes;
  unsigned warmup;
  const char* file;
  const char* output;
  const char* nic[2];
  unsigned accel[2];
  bool json, step, memcpy_too, split;
};

struct leg {
  const char* name;
  struct rdma_copy copy;
  double seconds;         // median of the timed passes
  double memcpy_seconds;  // the same passes by memcpy, 0 if not asked for
  uint64_t bytes_moved;   // all passes, warm-up included
  uint64_t checksum;
  bool verified;
};

struct progress {
  const char* leg;
  unsigned pass, passes;
  uint64_t total;
  double last;
};

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t RoundToPage(uint64_t bytes) { return bytes == 0 ? kPage : (bytes + kPage - 1) / kPage * kPage; }

static void* Allocate(uint64_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("mmap", "host memory", errno, "use --bytes for less");
  return memory;
}

static void ReportProgress(void* context, uint64_t done) {
  struct progress* progress = context;
  const double now = Now();
  if (now - progress->last < 0.1) return;
  progress->last = now;
  printf("{\"progress\":{\"leg\":\"%s\",\"pass\":%u,\"passes\":%u,\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}}\n",
         progress->leg, progress->pass, progress->passes, done, progress->total);
}

static int CompareDouble(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static double Median(double* values, unsigned count) {
  if (count == 0) return 0;
  qsort(values, count, sizeof(*values), CompareDouble);
  return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

// The same bytes in the same chunks from one host buffer to another.
static double MemcpyPass(char* to, const char* from, uint64_t bytes, uint64_t chunk) {
  const double start = Now();
  for (uint64_t at = 0; at < bytes; at += chunk) {
    memcpy(to + at, from + at, bytes - at < chunk ? bytes - at : chunk);
    __asm__ volatile("" : : "r"(to + at) : "memory");  // each chunk is really written
  }
  return Now() - start;
}

// Says what comes next and lets the caller look at the machine first. The end of the input lets everything run.
static void WaitForNewline(const char* what, const char* name) {
  printf("{\"%s\":\"%s\"}\n", what, name);
  for (int c = getchar(); c != '\n' && c != EOF; c = getchar()) {
  }
}

static void RunLeg(struct leg* leg, const struct options* options, const char* data, char* memcpy_target) {
  struct progress progress = {.leg = leg->name, .passes = options->warmup + options->passes, .total = options->bytes};
  if (options->step) {
    WaitForNewline("ready", leg->name);
    leg->copy.progress = ReportProgress;
    leg->copy.context = &progress;
    progress.last = Now();
  }
  double rdma[kMaxPasses], copied[kMaxPasses];
  for (unsigned pass = 0; pass < options->warmup + options->passes; ++pass) {
    progress.pass = pass + 1;
    const double start = Now();
    RdmaCopy(&leg->copy);
    const double seconds = Now() - start;
    leg->bytes_moved += options->bytes;
    const double by_memcpy =
        memcpy_target != NULL ? MemcpyPass(memcpy_target, data, options->bytes, options->chunk) : 0;
    if (pass >= options->warmup) {
      rdma[pass - options->warmup] = seconds;
      copied[pass - options->warmup] = by_memcpy;
    }
  }
  leg->seconds = Median(rdma, options->passes);
  leg->memcpy_seconds = memcpy_target != NULL ? Median(copied, options->passes) : 0;
  if (options->step) printf("{\"moved\":\"%s\",\"bytes_moved\":%" PRIu64 "}\n", leg->name, leg->bytes_moved);
}

static void Verify(struct leg* leg, const char* got, const char* want, uint64_t bytes, uint64_t want_checksum) {
  leg->checksum = Checksum64(got, bytes);
  leg->verified = leg->checksum == want_checksum && memcmp(got, want, bytes) == 0;
  if (leg->verified) return;
  uint64_t at = 0;
  while (at < bytes && got[at] == want[at]) ++at;
  fprintf(stderr, "%s: leg %s: wrong data, first at byte %" PRIu64 " of %" PRIu64 "\n", program_invocation_short_name,
          leg->name, at, bytes);
}

static double GibPerSecond(uint64_t bytes, double seconds) {
  return seconds > 0 ? (double)bytes / seconds / (1024.0 * 1024.0 * 1024.0) : 0;
}

static void PrintLegJson(const struct leg* leg, const struct options* options, const struct nic* nic) {
  const bool between = strcmp(leg->name, "HBM0->HBM1") == 0 || strcmp(leg->name, "HBM1->HBM0") == 0;
  const bool loop1 = strcmp(leg->name, "HBM1->host") == 0;
  printf("{\"leg\":\"%s\",\"op\":\"%s\",\"nics\":[\"%s\",\"%s\"],\"bytes\":%" PRIu64 ",\"bytes_moved\":%" PRIu64
         ",\"passes\":%u,\"seconds\":%.9f,\"gib_per_s\":%.3f",
         leg->name, leg->copy.opcode == IBV_WR_RDMA_READ ? "RDMA_READ" : "RDMA_WRITE", nic[loop1 ? 1 : 0].name,
         nic[between || loop1 ? 1 : 0].name, options->bytes, leg->bytes_moved, options->passes, leg->seconds,
         GibPerSecond(options->bytes, leg->seconds));
  if (options->memcpy_too) {
    printf(",\"memcpy_seconds\":%.9f,\"memcpy_gib_per_s\":%.3f", leg->memcpy_seconds,
           GibPerSecond(options->bytes, leg->memcpy_seconds));
  }
  printf(",\"checksum\":\"%016" PRIx64 "\",\"verified\":%s}\n", leg->checksum, leg->verified ? "true" : "false");
}

static void PrintLegText(const struct leg* leg, const struct options* options) {
  printf("%-12s %-10s %12" PRIu64 "  %9.3f", leg->name,
         leg->copy.opcode == IBV_WR_RDMA_READ ? "RDMA read" : "RDMA write", options->bytes,
         GibPerSecond(options->bytes, leg->seconds));
  if (options->memcpy_too) printf("  %9.3f", GibPerSecond(options->bytes, leg->memcpy_seconds));
  printf("  %016" PRIx64 "  %s\n", leg->checksum, leg->verified ? "verified" : "WRONG");
}

static char* LoadFile(const char* path, uint64_t* bytes) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("open", path, errno, NULL);
  struct stat status;
  if (fstat(fd, &status) != 0) Fail("fstat", path, errno, NULL);
  if (!S_ISREG(status.st_mode)) FailText("open", path, "not a regular file", NULL);
  *bytes = (uint64_t)status.st_size;
  char* data = Allocate(RoundToPage(*bytes));
  for (uint64_t at = 0; at < *bytes;) {
    const ssize_t n = read(fd, data + at, *bytes - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail("read", path, errno, NULL);
    if (n == 0) FailText("read", path, "the file became shorter", NULL);
    at += (uint64_t)n;
  }
  close(fd);
  return data;
}

static void StoreFile(const char* path, const char* data, uint64_t bytes) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) Fail("open", path, errno, NULL);
  for (uint64_t at = 0; at < bytes;) {
    const ssize_t n = write(fd, data + at, bytes - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail("write", path, errno, NULL);
    at += (uint64_t)n;
  }
  if (close(fd) != 0) Fail("close", path, errno, NULL);
}

static const char kUsage[] =
    "Usage: causeway-p2p [OPTIONS]\n"
    "Moves data host -> HBM0 -> HBM1 -> HBM0 and HBM1 -> host by RDMA over dma-buf and verifies every byte.\n\n"
    "  --bytes N        size of the pseudo-random data; suffixes K, M, G (default 256M)\n"
    "  --seed N         seed of the data (default 1)\n"
    "  --file F         move the bytes of this file instead (any size)\n"
    "  --output G       write what came back from HBM1 to this file\n"
    "  --chunk N        bytes per work request (default 8M)\n"
    "  --depth N        work requests outstanding, 1 to 64 (default 8)\n"
    "  --passes N       timed passes per leg, the median counts, 1 to 100 (default 5)\n"
    "  --warmup N       passes before them, 0 to 100 (default 1)\n"
    "  --memcpy         after each pass, the same copy between host buffers by memcpy\n"
    "  --split          accelerator 1 belongs to a second process, which passes its dma-buf over a socket\n"
    "  --accel0 N, --accel1 N, --nic0 NAME, --nic1 NAME\n"
    "                   which devices (default: accelerators 0 and 1, first and second NIC by name)\n"
    "  --json           one JSON object per leg\n"
    "  --step           wait for a newline on the input before each leg, and report progress, as JSON lines\n"
    "  --help\n\n"
    "Examples:\n"
    "  causeway run -- causeway-p2p --memcpy\n"
    "  causeway run -- causeway-p2p --split --file picture.png --output copy.png\n";

__attribute__((noreturn)) static void UsageError(const char* option, const char* value) {
  fprintf(stderr, "%s: --%s: bad value '%s' (see --help)\n", program_invocation_short_name, option, value);
  exit(2);
}

static uint64_t Number(const char* option, const char* text, uint64_t minimum, uint64_t maximum) {
  char* end = NULL;
  errno = 0;
  uint64_t value = strtoull(text, &end, 0);
  if (end == text || errno != 0 || text[0] == '-') UsageError(option, text);
  const char* const units = "KMG";
  const char* unit = *end != '\0' ? strchr(units, *end) : NULL;
  if (unit != NULL) {
    const unsigned shift = 10 * (unsigned)(unit - units + 1);
    if (value > (UINT64_MAX >> shift)) UsageError(option, text);
    value <<= shift;
    ++end;
  }
  if (*end != '\0' || value < minimum || value > maximum) UsageError(option, text);
  return value;
}

static void ParseOptions(struct options* options, int argc, char** argv) {
  enum {
    kBytes = 256,
    kSeed,
    kFile,
    kOutput,
    kChunk,
    kDepth,
    kPasses,
    kWarmup,
    kMemcpy,
    kSplit,
    kAccel0,
    kAccel1,
    kNic0,
    kNic1,
    kJson,
    kStep,
    kHelp,
    kHold
  };
  static const struct option names[] = {{"bytes", 1, NULL, kBytes},
                                        {"seed", 1, NULL, kSeed},
                                        {"file", 1, NULL, kFile},
                                        {"output", 1, NULL, kOutput},
                                        {"chunk", 1, NULL, kChunk},
                                        {"depth", 1, NULL, kDepth},
                                        {"passes", 1, NULL, kPasses},
                                        {"warmup", 1, NULL, kWarmup},
                                        {"memcpy", 0, NULL, kMemcpy},
                                        {"split", 0, NULL, kSplit},
                                        {"accel0", 1, NULL, kAccel0},
                                        {"accel1", 1, NULL, kAccel1},
                                        {"nic0", 1, NULL, kNic0},
                                        {"nic1", 1, NULL, kNic1},
                                        {"json", 0, NULL, kJson},
                                        {"step", 0, NULL, kStep},
                                        {"help", 0, NULL, kHelp},
                                        {"hold", 1, NULL, kHold},
                                        {NULL, 0, NULL, 0}};
  int index = 0;
  for (int c; (c = getopt_long(argc, argv, "", names, &index)) != -1;) {
    const char* name = c == '?' ? "" : names[index].name;
    switch (c) {
      case kBytes: options->bytes = Number(name, optarg, 0, UINT64_C(1) << 40); break;
      case kSeed: options->seed = Number(name, optarg, 0, UINT64_MAX); break;
      case kFile: options->file = optarg; break;
      case kOutput: options->output = optarg; break;
      case kChunk: options->chunk = Number(name, optarg, 1, UINT64_C(1) << 30); break;
      case kDepth: options->depth = (unsigned)Number(name, optarg, 1, kMaxDepth); break;
      case kPasses: options->passes = (unsigned)Number(name, optarg, 1, kMaxPasses); break;
      case kWarmup: options->warmup = (unsigned)Number(name, optarg, 0, kMaxPasses); break;
      case kMemcpy: options->memcpy_too = true; break;
      case kSplit: options->split = true; break;
      case kAccel0: options->accel[0] = (unsigned)Number(name, optarg, 0, 255); break;
      case kAccel1: options->accel[1] = (unsigned)Number(name, optarg, 0, 255); break;
      case kNic0: options->nic[0] = optarg; break;
      case kNic1: options->nic[1] = optarg; break;
      case kJson: options->json = true; break;
      case kStep: options->step = true; break;
      case kHold: exit(HoldAccelerator(optarg));  // what StartHolder() starts; not for people
      case kHelp: fputs(kUsage, stdout); exit(0);
      default: exit(2);  // getopt has said why
    }
  }
  if (optind < argc) {
    fprintf(stderr, "%s: unexpected argument '%s' (see --help)\n", program_invocation_short_name, argv[optind]);
    exit(2);
  }
}

static struct ibv_qp* Connected(struct nic* from, struct nic* to, unsigned depth, struct ibv_qp** other) {
  struct ibv_qp* qp = NicCreateQp(from, depth, 1);
  *other = NicCreateQp(to, depth, 1);
  const struct endpoint near = NicEndpoint(from, qp), far = NicEndpoint(to, *other);
  NicConnect(to, *other, &near);
  NicConnect(from, qp, &far);
  return qp;
}

static void Destroy(struct ibv_qp** qps, unsigned qp_count, struct ibv_mr** mrs, unsigned mr_count) {
  for (unsigned i = 0; i < qp_count; ++i) {
    const int error = ibv_destroy_qp(qps[i]);
    if (error != 0) Fail("ibv_destroy_qp", "a NIC", error, NULL);
  }
  for (unsigned i = 0; i < mr_count; ++i) {
    const int error = ibv_dereg_mr(mrs[i]);
    if (error != 0) Fail("ibv_dereg_mr", "a NIC", error, NULL);
  }
}

int main(int argc, char** argv) {
  struct options options = {
      .bytes = 256 * kMiB, .seed = 1, .chunk = 8 * kMiB, .depth = 8, .passes = 5, .warmup = 1, .accel = {0, 1}};
  ParseOptions(&options, argc, argv);
  setvbuf(stdout, NULL, _IOLBF, 0);

  char* data;
  if (options.file != NULL) {
    data = LoadFile(options.file, &options.bytes);
  } else {
    data = Allocate(RoundToPage(options.bytes));
    FillRandom(data, options.bytes, options.seed);
  }
  const uint64_t bytes = options.bytes, region = RoundToPage(bytes);
  const uint64_t want = Checksum64(data, bytes);
  char* result = Allocate(region);
  char* memcpy_target = options.memcpy_too ? Allocate(region) : NULL;
  const uint64_t poison_bytes = region < 8 * kMiB ? region : 8 * kMiB;
  char* poison = Allocate(poison_bytes);
  FillRandom(poison, poison_bytes, ~options.seed);

  // Memory of both accelerators as dma-bufs. Accelerator 0 has a half for each of the two legs that end there.
  struct accel accel[2];
  struct holder holder;
  int dmabuf[2] = {-1, -1};
  if (options.split) {
    StartHolder(&holder, options.accel[1], region);
    dmabuf[1] = holder.dmabuf;
  }
  AccelOpen(&accel[0], options.accel[0]);
  AccelAlloc(&accel[0], 2 * region);
  dmabuf[0] = AccelExport(&accel[0], 0, 2 * region);
  if (!options.split) {
    AccelOpen(&accel[1], options.accel[1]);
    AccelAlloc(&accel[1], region);
    dmabuf[1] = AccelExport(&accel[1], 0, region);
  }

  struct nic nic[2];
  NicOpen(&nic[0], options.nic[0], 0);
  NicOpen(&nic[1], options.nic[1], 1);
  for (int i = 0; i < 2; ++i) {
    if (options.chunk > nic[i].port.max_msg_sz) options.chunk = nic[i].port.max_msg_sz;
  }
  struct ibv_mr* hbm0 = NicRegisterDmabuf(&nic[0], dmabuf[0], 0, 2 * region);
  struct ibv_mr* hbm1 = NicRegisterDmabuf(&nic[1], dmabuf[1], 0, region);
  close(dmabuf[0]);  // the memory regions keep the buffers
  close(dmabuf[1]);
  struct ibv_mr* data0 = NicRegister(&nic[0], data, region);
  struct ibv_mr* result0 = NicRegister(&nic[0], result, region);
  struct ibv_mr* result1 = NicRegister(&nic[1], result, region);
  struct ibv_mr* poison0 = NicRegister(&nic[0], poison, poison_bytes);
  struct ibv_mr* poison1 = NicRegister(&nic[1], poison, poison_bytes);

  struct ibv_qp* qps[6];
  qps[0] = Connected(&nic[0], &nic[1], options.depth, &qps[1]);  // the link between the two NICs
  qps[2] = Connected(&nic[0], &nic[0], options.depth, &qps[3]);  // NIC 0 and the memory beside it
  qps[4] = Connected(&nic[1], &nic[1], options.depth, &qps[5]);  // NIC 1 likewise

  struct rdma_copy base = {.opcode = IBV_WR_RDMA_WRITE, .bytes = bytes, .chunk = options.chunk, .depth = options.depth};
  struct rdma_copy loop0 = base, link01 = base, loop1 = base;
  loop0.nic = link01.nic = &nic[0];
  loop1.nic = &nic[1];
  loop0.qp = qps[2];
  link01.qp = qps[0];
  loop1.qp = qps[4];

  // Other bytes into every target.
  struct rdma_copy fill = loop0;
  fill.local_address = (uint64_t)(uintptr_t)poison;
  fill.lkey = poison0->lkey;
  fill.rkey = hbm0->rkey;
  fill.bytes = 2 * region;
  fill.chunk = fill.source_wrap = options.chunk < poison_bytes ? options.chunk : poison_bytes;
  RdmaCopy(&fill);
  fill.nic = &nic[1];
  fill.qp = qps[4];
  fill.lkey = poison1->lkey;
  fill.rkey = hbm1->rkey;
  fill.bytes = region;
  RdmaCopy(&fill);
  memset(result, 0x5a, region);

  struct leg legs[kLegs] = {{.name = "host->HBM0", .copy = loop0},
                            {.name = "HBM0->HBM1", .copy = link01},
                            {.name = "HBM1->HBM0", .copy = link01},
                            {.name = "HBM1->host", .copy = loop1}};
  legs[0].copy.local_address = (uint64_t)(uintptr_t)data;
  legs[0].copy.lkey = data0->lkey;
  legs[0].copy.rkey = hbm0->rkey;
  legs[1].copy.lkey = hbm0->lkey;
  legs[1].copy.rkey = hbm1->rkey;
  legs[2].copy.opcode = IBV_WR_RDMA_READ;
  legs[2].copy.local_address = region;
  legs[2].copy.lkey = hbm0->lkey;
  legs[2].copy.rkey = hbm1->rkey;
  legs[3].copy.lkey = hbm1->lkey;
  legs[3].copy.remote_address = (uint64_t)(uintptr_t)result;
  legs[3].copy.rkey = result1->rkey;
  for (int i = 0; i < kLegs; ++i) RunLeg(&legs[i], &options, data, memcpy_target);

  if (options.step) WaitForNewline("ready", "verify");
  // What each leg left behind, the last leg's first: its target is the host buffer that the others are read back into.
  Verify(&legs[3], result, data, bytes, want);
  if (options.output != NULL) StoreFile(options.output, result, bytes);
  struct rdma_copy back[3] = {loop0, loop1, loop0};
  for (int i = 0; i < 3; ++i) {
    memset(result, 0x5a, region);
    back[i].opcode = IBV_WR_RDMA_READ;
    back[i].local_address = (uint64_t)(uintptr_t)result;
    back[i].lkey = i == 1 ? result1->lkey : result0->lkey;
    back[i].remote_address = i == 2 ? region : 0;
    back[i].rkey = i == 1 ? hbm1->rkey : hbm0->rkey;
    RdmaCopy(&back[i]);
    Verify(&legs[i], result, data, bytes, want);
  }

  bool good = true;
  if (!options.json && !options.step) {
    printf("%-12s %-10s %12s  %9s%s  %-16s  data\n", "leg", "by", "bytes", "GiB/s",
           options.memcpy_too ? "     memcpy" : "", "checksum");
  }
  for (int i = 0; i < kLegs; ++i) {
    good = good && legs[i].verified;
    if (options.json || options.step) {
      PrintLegJson(&legs[i], &options, nic);
    } else {
      PrintLegText(&legs[i], &options);
    }
  }

  struct ibv_mr* mrs[] = {hbm0, hbm1, data0, result0, result1, poison0, poison1};
  Destroy(qps, 6, mrs, sizeof(mrs) / sizeof(mrs[0]));
  NicClose(&nic[0]);
  NicClose(&nic[1]);
  AccelClose(&accel[0]);
  if (options.split) {
    StopHolder(&holder);
  } else {
    AccelClose(&accel[1]);
  }
  return good ? 0 : 1;
}
