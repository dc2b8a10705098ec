/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RDMA NIC through libibverbs: device, protection domain, completion queue; reliable connected queue pairs;
 * memory regions of host memory and of dma-bufs; a copy as chunked work requests with several outstanding.
 */
#ifndef CAUSEWAY_EXAMPLES_RDMA_H
#define CAUSEWAY_EXAMPLES_RDMA_H

#include <infiniband/verbs.h>
#include <stddef.h>
#include <stdint.h>

enum { kPort = 1, kMaxDepth = 64 };

struct nic {
  struct ibv_context* context;
  struct ibv_pd* pd;
  struct ibv_cq* cq;
  struct ibv_port_attr port;
  struct ibv_gid_entry gid; /* the address this NIC is reached at */
  char name[64];
};

/* What one side of a connection tells the other. Plain bytes: may be sent through a socket on one machine. */
struct endpoint {
  union ibv_gid gid;
  uint32_t qpn;
  uint32_t psn;
  uint16_t lid;
  uint8_t active_mtu;
};

/* Opens the device named `name`, or the `index`-th of the list (the last if there are fewer) when name is NULL. */
void NicOpen(struct nic* nic, const char* name, unsigned index);
void NicClose(struct nic* nic);

/* An RC QP in state RESET whose completions, all signaled, go to nic->cq. `receives` may be 0. */
struct ibv_qp* NicCreateQp(struct nic* nic, unsigned depth, unsigned receives);
struct endpoint NicEndpoint(const struct nic* nic, const struct ibv_qp* qp);

/* RESET -> INIT -> RTR -> RTS towards `peer`. */
void NicConnect(struct nic* nic, struct ibv_qp* qp, const struct endpoint* peer);

/* Registrations with every access a copy needs. A dma-buf's addresses start at 0. */
struct ibv_mr* NicRegister(struct nic* nic, void* start, size_t bytes);
struct ibv_mr* NicRegisterDmabuf(struct nic* nic, int dmabuf, uint64_t offset, size_t bytes);

/* Waits, by polling, for one completion and ends the program if its status is not success. */
void NicWait(struct nic* nic, const char* call, struct ibv_wc* wc);

struct rdma_copy {
  struct nic* nic;
  struct ibv_qp* qp;
  enum ibv_wr_opcode opcode; /* IBV_WR_RDMA_WRITE: local to remote; IBV_WR_RDMA_READ: remote to local */
  uint64_t local_address;
  uint32_t lkey;
  uint64_t remote_address;
  uint32_t rkey;
  uint64_t bytes;       /* 0 is one work request without data */
  uint64_t source_wrap; /* not 0: the local offset is taken modulo this (a small source fills a large target) */
  uint64_t chunk;
  unsigned depth;
  void (*progress)(void* context, uint64_t done); /* may be NULL */
  void* context;
};

/* Posts the copy in chunks, at most `depth` outstanding, and returns when all have completed. */
void RdmaCopy(const struct rdma_copy* copy);

#endif
