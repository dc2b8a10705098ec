// SPDX-License-Identifier: Apache-2.0
//
// What a program's own system calls cost: a loop of open, fstat, read, write, stat, close on ordinary files in the
// folder given. Prints nanoseconds per call of each kind and per turn of the whole loop, as one JSON object. `./dev
// bench` runs it with and without the preloaded library, turn by turn.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

__attribute__((noreturn)) static void Die(const char* what) {
  perror(what);
  exit(1);
}

int main(int argc, char** argv) {
  const int turns = argc > 2 ? atoi(argv[2]) : 100000;
  if (argc < 2 || turns < 1) {
    fprintf(stderr, "Usage: %s FOLDER [TURNS]\n", argv[0]);
    return 2;
  }
  char path[4096];
  snprintf(path, sizeof(path), "%s/syscalls.tmp", argv[1]);
  char buffer[4096];
  memset(buffer, 'x', sizeof(buffer));
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, buffer, sizeof(buffer)) != (ssize_t)sizeof(buffer)) Die(path);
  close(fd);

  struct stat status;
  const double start = Now();
  for (int i = 0; i < turns; ++i) {
    fd = open(path, O_RDWR);
    if (fd < 0 || fstat(fd, &status) != 0 || read(fd, buffer, sizeof(buffer)) < 0 || lseek(fd, 0, SEEK_SET) != 0 ||
        write(fd, buffer, sizeof(buffer)) < 0 || close(fd) != 0 || stat(path, &status) != 0) {
      Die(path);
    }
  }
  const double loop = (Now() - start) / turns;

  // Each kind alone, at its cheapest: 64 bytes that the kernel need not store.
  const int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
  double at = Now(), reading, writing, statting, opening;
  for (int i = 0; i < turns; ++i) {
    if (read(zero, buffer, 64) != 64) Die("read");
  }
  reading = (Now() - at) / turns;
  at = Now();
  for (int i = 0; i < turns; ++i) {
    if (write(null, buffer, 64) != 64) Die("write");
  }
  writing = (Now() - at) / turns;
  at = Now();
  for (int i = 0; i < turns; ++i) {
    if (stat(path, &status) != 0) Die("stat");
  }
  statting = (Now() - at) / turns;
  at = Now();
  for (int i = 0; i < turns; ++i) {
    fd = open(path, O_RDONLY);
    if (fd < 0 || close(fd) != 0) Die("open");
  }
  opening = (Now() - at) / turns;
  unlink(path);
  printf(
      "{\"bench\":\"syscalls\",\"turns\":%d,\"loop_ns\":%.1f,\"read_ns\":%.1f,\"write_ns\":%.1f,\"stat_ns\":%.1f,"
      "\"open_close_ns\":%.1f}\n",
      turns, loop, reading, writing, statting, opening);
  return 0;
}
