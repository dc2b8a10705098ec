/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two or more MPI ranks: a ping-pong of growing messages and an allreduce, every value checked. Prints "ok RANKS" on
 * rank 0 and ends with 0 when all is as it must be.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kLargest = 1 << 20, kRounds = 8, kCount = 4096 };

static void Fill(uint32_t* words, int count, uint32_t seed) {
  for (int i = 0; i < count; ++i) words[i] = seed * 2654435761u + (uint32_t)i * 40503u;
}

static int Differs(const uint32_t* words, int count, uint32_t seed) {
  for (int i = 0; i < count; ++i) {
    if (words[i] != seed * 2654435761u + (uint32_t)i * 40503u) return 1;
  }
  return 0;
}

int main(int argc, char** argv) {
  int rank = 0, ranks = 0, wrong = 0, all_wrong = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  uint32_t* words = malloc(kLargest);
  if (words == NULL || ranks < 2) MPI_Abort(MPI_COMM_WORLD, 2);

  for (int bytes = 4; bytes <= kLargest; bytes *= 8) {
    const int count = bytes / 4;
    for (uint32_t round = 0; round < kRounds && rank < 2; ++round) {
      if (rank == 0) {
        Fill(words, count, round);
        MPI_Send(words, count, MPI_UINT32_T, 1, 7, MPI_COMM_WORLD);
        MPI_Recv(words, count, MPI_UINT32_T, 1, 8, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        wrong += Differs(words, count, round + 100);
      } else {
        MPI_Recv(words, count, MPI_UINT32_T, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        wrong += Differs(words, count, round);
        Fill(words, count, round + 100);
        MPI_Send(words, count, MPI_UINT32_T, 0, 8, MPI_COMM_WORLD);
      }
    }
  }

  double mine[kCount], sum[kCount];
  for (int i = 0; i < kCount; ++i) mine[i] = (rank + 1) * (double)i;
  MPI_Allreduce(mine, sum, kCount, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  for (int i = 0; i < kCount; ++i) wrong += sum[i] != ranks * (ranks + 1) / 2 * (double)i;

  MPI_Allreduce(&wrong, &all_wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) printf(all_wrong == 0 ? "ok %d ranks\n" : "FAIL in %d ranks\n", ranks);
  free(words);
  MPI_Finalize();
  return all_wrong != 0;
}
