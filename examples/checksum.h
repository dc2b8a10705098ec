/* SPDX-License-Identifier: Apache-2.0 */
/* Test data and its check: seeded pseudo-random bytes, and a 64-bit checksum that sees position and value. */
#ifndef CAUSEWAY_EXAMPLES_CHECKSUM_H
#define CAUSEWAY_EXAMPLES_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A bijective mix of 64 bits in which every input bit reaches every output bit. */
static inline uint64_t Mix64(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 32);
}

/* Four independent lanes over 32-byte blocks, then the tail, then the length. */
static inline uint64_t Checksum64(const void* data, size_t bytes) {
  static const uint64_t multiplier = 0x9e3779b97f4a7c15u;
  const unsigned char* at = data;
  uint64_t lane[4] = {1, 2, 3, 4};
  size_t left = bytes;
  for (; left >= 32; left -= 32, at += 32) {
    uint64_t word[4];
    memcpy(word, at, sizeof(word));
    for (int i = 0; i < 4; ++i) {
      const uint64_t x = (lane[i] ^ word[i]) * multiplier;
      lane[i] = (x << 29) | (x >> 35);
    }
  }
  uint64_t sum = Mix64(lane[0]) + 3 * Mix64(lane[1]) + 5 * Mix64(lane[2]) + 7 * Mix64(lane[3]);
  for (; left > 0; --left, ++at) sum = Mix64(sum ^ *at);
  return Mix64(sum ^ bytes);
}

static inline void FillRandom(void* data, size_t bytes, uint64_t seed) {
  unsigned char* at = data;
  uint64_t counter = seed * 0x9e3779b97f4a7c15u;
  while (bytes > 0) {
    const uint64_t word = Mix64(++counter);
    const size_t n = bytes < sizeof(word) ? bytes : sizeof(word);
    memcpy(at, &word, n);
    at += n;
    bytes -= n;
  }
}

#endif
