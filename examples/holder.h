/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second process that owns an accelerator and lends its memory: it opens the device, allocates, exports a dma-buf and
 * passes the descriptor over a Unix socket (SCM_RIGHTS). It keeps the device until the socket is closed.
 */
#ifndef CAUSEWAY_EXAMPLES_HOLDER_H
#define CAUSEWAY_EXAMPLES_HOLDER_H

#include <stdint.h>
#include <sys/types.h>

struct holder {
  pid_t pid;
  int socket;
  int dmabuf;
};

/* Starts this very program again (fork, exec with --hold) as the owner of accelerator `index`; waits for the dma-buf.
 */
void StartHolder(struct holder* holder, unsigned index, uint64_t bytes);

/* Lets the owner end, and ends the program if the owner did not end well. */
void StopHolder(struct holder* holder);

/* The owner's side: `text` is "SOCKET,INDEX,BYTES". Returns the exit status. */
int HoldAccelerator(const char* text);

#endif
