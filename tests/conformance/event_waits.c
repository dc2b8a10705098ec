// SPDX-License-Identifier: Apache-2.0
//
// Threads that wait for an event of RDMA, and what ends their wait other than an event: pthread_cancel() (read() and
// write() are cancellation points; rping, ibv_asyncwatch and UCX's async thread end their threads so), a signal
// handler, and nothing at all when another thread closes the descriptor: who waits in ucma_get_event() (linux
// drivers/infiniband/core/ucma.c) or uverbs_read() holds the file.
//
//   event_waits     all cases; one line per case, "ok NAME" or "FAIL NAME: reason"; status 0 if none failed
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct rdma_event_channel* g_cm;
static struct ibv_context* g_verbs;
static struct ibv_comp_channel* g_completions;
static int g_failures;

static volatile pid_t g_thread_id;
static volatile int g_cleaned;
static volatile int g_errno;

static void Clean(void* unused) {
  (void)unused;
  g_cleaned = 1;
}

typedef int (*Wait)(void);

static int WaitForCm(void) {
  struct rdma_cm_event* event;
  return rdma_get_cm_event(g_cm, &event);
}
static int WaitForCompletion(void) {
  struct ibv_cq* cq;
  void* context;
  return ibv_get_cq_event(g_completions, &cq, &context);
}
static int WaitForAsync(void) {
  struct ibv_async_event event;
  return ibv_get_async_event(g_verbs, &event);
}

static void* WaitInThread(void* argument) {
  const Wait wait = *(Wait*)argument;
  pthread_cleanup_push(Clean, NULL);
  g_thread_id = gettid();
  const int result = wait();
  g_errno = result == 0 ? 0 : errno;
  pthread_cleanup_pop(0);
  return NULL;
}

static void Pause(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

// True when the thread was asleep in each of 20 looks, a millisecond apart; false after 10 seconds.
static bool Sleeps(void) {
  int asleep = 0;
  for (int look = 0; look < 10000 && asleep < 20; ++look) {
    char path[64], line[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)g_thread_id);
    FILE* stat = g_thread_id != 0 ? fopen(path, "r") : NULL;
    const char* state = stat != NULL && fgets(line, sizeof(line), stat) != NULL ? strrchr(line, ')') : NULL;
    asleep = state != NULL && state[2] == 'S' ? asleep + 1 : 0;
    if (stat != NULL) fclose(stat);
    Pause();
  }
  return asleep == 20;
}

static const char* Start(pthread_t* thread, Wait* wait) {
  g_thread_id = 0;
  g_cleaned = 0;
  g_errno = -1;
  if (pthread_create(thread, NULL, WaitInThread, wait) != 0) return "pthread_create";
  return Sleeps() ? NULL : "the thread does not wait";
}

// Joins within 10 seconds.
static const char* Join(pthread_t thread, void** result) {
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += 10;
  return pthread_timedjoin_np(thread, result, &end) == 0 ? NULL : "the thread does not end";
}

static const char* Cancel(Wait wait) {
  pthread_t thread;
  void* result = NULL;
  const char* reason = Start(&thread, &wait);
  if (reason != NULL) return reason;
  pthread_cancel(thread);
  if ((reason = Join(thread, &result)) != NULL) return reason;
  if (result != PTHREAD_CANCELED) return "the wait returned instead";
  return g_cleaned ? NULL : "the clean-up handler was not called";
}

// Asynchronous events that came before are not waited for (a port that just became active).
static void DrainAsync(void) {
  const int flags = fcntl(g_verbs->async_fd, F_GETFL);
  struct ibv_async_event event;
  fcntl(g_verbs->async_fd, F_SETFL, flags | O_NONBLOCK);
  while (ibv_get_async_event(g_verbs, &event) == 0) ibv_ack_async_event(&event);
  fcntl(g_verbs->async_fd, F_SETFL, flags);
}

static const char* CancelCm(void) { return Cancel(WaitForCm); }
static const char* CancelCompletion(void) { return Cancel(WaitForCompletion); }
static const char* CancelAsync(void) {
  DrainAsync();
  return Cancel(WaitForAsync);
}

static void OnSignal(int number) { (void)number; }

static const char* Interrupt(Wait wait) {
  const struct sigaction action = {.sa_handler = OnSignal};  // without SA_RESTART
  sigaction(SIGUSR1, &action, NULL);
  pthread_t thread;
  const char* reason = Start(&thread, &wait);
  if (reason != NULL) return reason;
  pthread_kill(thread, SIGUSR1);
  if ((reason = Join(thread, NULL)) != NULL) return reason;
  return g_errno == EINTR ? NULL : strerror(g_errno);
}

static const char* InterruptCm(void) { return Interrupt(WaitForCm); }
static const char* InterruptCompletion(void) { return Interrupt(WaitForCompletion); }

// The descriptor is closed under the wait, which goes on; then the thread is cancelled.
static const char* CloseUnderWait(Wait wait, int fd) {
  pthread_t thread;
  void* result = NULL;
  const char* reason = Start(&thread, &wait);
  if (reason != NULL) return reason;
  close(fd);
  if (!Sleeps()) return "the wait ended with the close";
  pthread_cancel(thread);
  if ((reason = Join(thread, &result)) != NULL) return reason;
  return result == PTHREAD_CANCELED ? NULL : "the wait returned instead";
}

static const char* CloseCm(void) { return CloseUnderWait(WaitForCm, g_cm->fd); }
static const char* CloseCompletion(void) { return CloseUnderWait(WaitForCompletion, g_completions->fd); }

static void Report(const char* name, const char* reason) {
  if (reason == NULL) {
    printf("ok %s\n", name);
  } else {
    printf("FAIL %s: %s\n", name, reason);
    ++g_failures;
  }
}

int main(void) {
  struct ibv_device** devices = ibv_get_device_list(NULL);
  g_verbs = devices != NULL && devices[0] != NULL ? ibv_open_device(devices[0]) : NULL;
  g_completions = g_verbs != NULL ? ibv_create_comp_channel(g_verbs) : NULL;
  g_cm = rdma_create_event_channel();
  if (g_completions == NULL || g_cm == NULL) {
    perror("event_waits: no RDMA device");
    return 2;
  }
  Report("rdma_get_cm_event: cancelled", CancelCm());
  Report("ibv_get_cq_event: cancelled", CancelCompletion());
  Report("ibv_get_async_event: cancelled", CancelAsync());
  Report("rdma_get_cm_event: a signal handler", InterruptCm());
  Report("ibv_get_cq_event: a signal handler", InterruptCompletion());
  Report("rdma_get_cm_event: closed by another thread", CloseCm());
  Report("ibv_get_cq_event: closed by another thread", CloseCompletion());
  return g_failures == 0 ? 0 : 1;
}
