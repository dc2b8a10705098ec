// SPDX-License-Identifier: Apache-2.0
//
// Many of one thing. `scale qps|cqs|mrs COUNT` makes COUNT of them on rxe0, says how long that took, waits for a line
// of input, destroys them, says how long, waits again, and exits. `scale processes COUNT` has COUNT processes, at most
// 32 at a time, open the device, make one of each and leave, every other one without cleaning up.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "rdma.h"

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void* Make(struct nic* nic, const char* kind, char* page) {
  if (strcmp(kind, "cqs") == 0) return ibv_create_cq(nic->context, 127, NULL, NULL, 0);
  if (strcmp(kind, "mrs") == 0)
    return ibv_reg_mr(nic->pd, page, 4096, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  struct ibv_qp_init_attr attr = {.send_cq = nic->cq, .recv_cq = nic->cq, .qp_type = IBV_QPT_RC};
  attr.cap.max_send_wr = attr.cap.max_recv_wr = 7;
  attr.cap.max_send_sge = attr.cap.max_recv_sge = 1;
  return ibv_create_qp(nic->pd, &attr);
}

static int Destroy(const char* kind, void* object) {
  if (strcmp(kind, "cqs") == 0) return ibv_destroy_cq(object);
  if (strcmp(kind, "mrs") == 0) return ibv_dereg_mr(object);
  return ibv_destroy_qp(object);
}

static void WaitForLine(void) {
  char line[16];
  if (fgets(line, sizeof(line), stdin) == NULL) exit(0);
}

static void Visit(int number) {
  struct nic nic;
  NicOpen(&nic, number % 2 == 0 ? "rxe0" : "rxe1", 0);
  static char memory[8192];
  struct ibv_mr* mr = ibv_reg_mr(nic.pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE);
  if (mr == NULL) Fail("ibv_reg_mr", nic.name, errno, NULL);
  struct ibv_qp* qp = NicCreateQp(&nic, 4, 4);
  const struct endpoint own = NicEndpoint(&nic, qp);
  NicConnect(&nic, qp, &own);  // to itself
  if (number % 4 < 2) _exit(0);
  if (ibv_destroy_qp(qp) != 0 || ibv_dereg_mr(mr) != 0) _exit(1);
  NicClose(&nic);
  _exit(0);
}

static int Processes(int count) {
  int running = 0, started = 0, failed = 0;
  while (started < count || running > 0) {
    if (started < count && running < 32) {
      const pid_t pid = fork();
      if (pid < 0) Fail("fork", "this process", errno, NULL);
      if (pid == 0) Visit(started);
      ++started;
      ++running;
      continue;
    }
    int status = 0;
    if (wait(&status) < 0) Fail("wait", "this process", errno, NULL);
    --running;
    if (status != 0) ++failed;
  }
  printf("%d failed\n", failed);
  return failed == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc != 3) {
    fprintf(stderr, "Usage: %s qps|cqs|mrs|processes COUNT\n", argv[0]);
    return 2;
  }
  const int count = atoi(argv[2]);
  if (strcmp(argv[1], "processes") == 0) return Processes(count);
  struct nic nic;
  NicOpen(&nic, "rxe0", 0);
  char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void** objects = calloc((size_t)count, sizeof(*objects));
  if (page == MAP_FAILED || objects == NULL) Fail("malloc", nic.name, errno, NULL);
  page[0] = 1;
  Destroy(argv[1], Make(&nic, argv[1], page));  // what the first one brings with it is not the objects'
  printf("ready\n");
  WaitForLine();
  double start = Now();
  for (int i = 0; i < count; ++i) {
    objects[i] = Make(&nic, argv[1], page);
    if (objects[i] == NULL) Fail("making one more", nic.name, errno, NULL);
  }
  printf("%.3f\n", Now() - start);
  WaitForLine();
  start = Now();
  for (int i = 0; i < count; ++i) {
    const int error = Destroy(argv[1], objects[i]);
    if (error != 0) Fail("destroying one", nic.name, error, NULL);
  }
  printf("%.3f\n", Now() - start);
  WaitForLine();
  return 0;
}
