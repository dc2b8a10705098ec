// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

enum { kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE, kReadsInFlight = 16 };

static int IsIpv4Mapped(const union ibv_gid* gid) {
  static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return memcmp(gid->raw, prefix, sizeof(prefix)) == 0;
}

// Which of a port's addresses to use: RoCE v2 before the rest; IPv4 before global IPv6 before link-local.
static int Rank(const struct ibv_gid_entry* entry) {
  int rank = 0;
  if (entry->gid_type == IBV_GID_TYPE_ROCE_V2) rank += 4;
  if (IsIpv4Mapped(&entry->gid)) {
    rank += 2;
  } else if (entry->gid.raw[0] != 0xfe) {
    rank += 1;
  }
  return rank;
}

static void ChooseGid(struct nic* nic) {
  static struct ibv_gid_entry table[1024];
  const ssize_t count = ibv_query_gid_table(nic->context, table, sizeof(table) / sizeof(table[0]), 0);
  if (count < 0) Fail("ibv_query_gid_table", nic->name, (int)-count, NULL);
  int best = -1;
  for (ssize_t i = 0; i < count; ++i) {
    if (table[i].port_num != kPort) continue;
    if (best < 0 || Rank(&table[i]) > Rank(&table[best])) best = (int)i;
  }
  if (best >= 0) {
    nic->gid = table[best];
  } else if (nic->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
    FailText("ibv_query_gid_table", nic->name, "the port has no GID", "give the NIC's network interface an address");
  }
}

void NicOpen(struct nic* nic, const char* name, unsigned index) {
  memset(nic, 0, sizeof(*nic));
  int count = 0;
  struct ibv_device** list = ibv_get_device_list(&count);
  if (list == NULL || count == 0) {
    Fail("ibv_get_device_list", name != NULL ? name : "any NIC", list == NULL ? errno : ENODEV,
         "no RDMA device here: load its driver, or start this program with `causeway run --`");
  }
  struct ibv_device* device = NULL;
  if (name == NULL) {
    // By name, so that "the second NIC" is the same one on every run.
    for (int i = 0; i < count; ++i) {
      for (int j = i + 1; j < count; ++j) {
        if (strcmp(ibv_get_device_name(list[i]), ibv_get_device_name(list[j])) > 0) {
          struct ibv_device* other = list[i];
          list[i] = list[j];
          list[j] = other;
        }
      }
    }
    device = list[index < (unsigned)count ? (int)index : count - 1];
  } else {
    for (int i = 0; i < count; ++i) {
      if (strcmp(ibv_get_device_name(list[i]), name) == 0) device = list[i];
    }
    if (device == NULL) Fail("ibv_get_device_list", name, ENODEV, "see ibv_devices for the names");
  }
  snprintf(nic->name, sizeof(nic->name), "%s", ibv_get_device_name(device));
  nic->context = ibv_open_device(device);
  if (nic->context == NULL) Fail("ibv_open_device", nic->name, errno, NULL);
  ibv_free_device_list(list);

  int error = ibv_query_port(nic->context, kPort, &nic->port);
  if (error != 0) Fail("ibv_query_port", nic->name, error, NULL);
  if (nic->port.state != IBV_PORT_ACTIVE) {
    FailText("ibv_query_port", nic->name, "port 1 is not active", "bring the NIC's network interface up");
  }
  ChooseGid(nic);
  nic->pd = ibv_alloc_pd(nic->context);
  if (nic->pd == NULL) Fail("ibv_alloc_pd", nic->name, errno, NULL);
  nic->cq = ibv_create_cq(nic->context, 4 * kMaxDepth, NULL, NULL, 0);
  if (nic->cq == NULL) Fail("ibv_create_cq", nic->name, errno, NULL);
}

void NicClose(struct nic* nic) {
  int error = ibv_destroy_cq(nic->cq);
  if (error != 0) Fail("ibv_destroy_cq", nic->name, error, NULL);
  error = ibv_dealloc_pd(nic->pd);
  if (error != 0) Fail("ibv_dealloc_pd", nic->name, error, NULL);
  if (ibv_close_device(nic->context) != 0) Fail("ibv_close_device", nic->name, errno, NULL);
}

struct ibv_qp* NicCreateQp(struct nic* nic, unsigned depth, unsigned receives) {
  struct ibv_qp_init_attr init = {.send_cq = nic->cq,
                                  .recv_cq = nic->cq,
                                  .cap = {.max_send_wr = depth,
                                          .max_recv_wr = receives,
                                          .max_send_sge = 1,
                                          .max_recv_sge = 1,
                                          .max_inline_data = 64},
                                  .qp_type = IBV_QPT_RC,
                                  .sq_sig_all = 1};
  struct ibv_qp* qp = ibv_create_qp(nic->pd, &init);
  if (qp == NULL) Fail("ibv_create_qp", nic->name, errno, NULL);
  return qp;
}

struct endpoint NicEndpoint(const struct nic* nic, const struct ibv_qp* qp) {
  struct endpoint endpoint;
  memset(&endpoint, 0, sizeof(endpoint));
  endpoint.gid = nic->gid.gid;
  endpoint.qpn = qp->qp_num;
  endpoint.psn = (qp->qp_num * 2654435761u) & 0xffffff;
  endpoint.lid = nic->port.lid;
  endpoint.active_mtu = (uint8_t)nic->port.active_mtu;
  return endpoint;
}

static void Modify(struct nic* nic, struct ibv_qp* qp, struct ibv_qp_attr* attr, int mask, const char* to,
                   const char* hint) {
  const int error = ibv_modify_qp(qp, attr, mask);
  if (error == 0) return;
  char call[48];
  snprintf(call, sizeof(call), "ibv_modify_qp(%s)", to);
  Fail(call, nic->name, error, hint);
}

void NicConnect(struct nic* nic, struct ibv_qp* qp, const struct endpoint* peer) {
  struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = kPort, .qp_access_flags = kAccess};
  Modify(nic, qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, "INIT", NULL);

  memset(&attr, 0, sizeof(attr));
  const uint8_t own_mtu = (uint8_t)nic->port.active_mtu;
  attr.qp_state = IBV_QPS_RTR;
  attr.path_mtu = (enum ibv_mtu)(own_mtu < peer->active_mtu ? own_mtu : peer->active_mtu);
  attr.dest_qp_num = peer->qpn;
  attr.rq_psn = peer->psn;
  attr.max_dest_rd_atomic = kReadsInFlight;
  attr.min_rnr_timer = 12;
  attr.ah_attr.port_num = kPort;
  attr.ah_attr.dlid = peer->lid;
  attr.ah_attr.is_global = 1;
  attr.ah_attr.grh.dgid = peer->gid;
  attr.ah_attr.grh.sgid_index = (uint8_t)nic->gid.gid_index;
  attr.ah_attr.grh.hop_limit = 64;
  Modify(nic, qp, &attr,
         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
             IBV_QP_MIN_RNR_TIMER,
         "RTR", "the peer's GID must be reachable from this NIC's address");

  memset(&attr, 0, sizeof(attr));
  attr.qp_state = IBV_QPS_RTS;
  attr.timeout = 14;
  attr.retry_cnt = 7;
  attr.rnr_retry = 7;
  attr.sq_psn = NicEndpoint(nic, qp).psn;
  attr.max_rd_atomic = kReadsInFlight;
  Modify(nic, qp, &attr,
         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
         "RTS", NULL);
}

struct ibv_mr* NicRegister(struct nic* nic, void* start, size_t bytes) {
  struct ibv_mr* mr = ibv_reg_mr(nic->pd, start, bytes, kAccess);
  if (mr == NULL) Fail("ibv_reg_mr", nic->name, errno, errno == ENOMEM ? "raise the limit: ulimit -l" : NULL);
  return mr;
}

struct ibv_mr* NicRegisterDmabuf(struct nic* nic, int dmabuf, uint64_t offset, size_t bytes) {
  struct ibv_mr* mr = ibv_reg_dmabuf_mr(nic->pd, offset, bytes, 0, dmabuf, kAccess);
  if (mr != NULL) return mr;
  const char* hint = NULL;
  if (errno == EOPNOTSUPP || errno == EPERM || errno == EREMOTEIO || errno == ENXIO) {
    hint =
        "this NIC cannot import dma-bufs, or PCIe does not let it reach the accelerator (`causeway explain` says why)";
  }
  Fail("ibv_reg_dmabuf_mr", nic->name, errno, hint);
}

void NicWait(struct nic* nic, const char* call, struct ibv_wc* wc) {
  int count;
  do {
    count = ibv_poll_cq(nic->cq, 1, wc);
  } while (count == 0);
  if (count < 0) Fail("ibv_poll_cq", nic->name, errno, NULL);
  if (wc->status != IBV_WC_SUCCESS) FailText(call, nic->name, ibv_wc_status_str(wc->status), NULL);
}

static void Post(const struct rdma_copy* copy, uint64_t offset) {
  const uint64_t left = copy->bytes - offset;
  const uint64_t length = left < copy->chunk ? left : copy->chunk;
  struct ibv_sge sge = {.addr = copy->local_address + (copy->source_wrap != 0 ? offset % copy->source_wrap : offset),
                        .length = (uint32_t)length,
                        .lkey = copy->lkey};
  struct ibv_send_wr wr = {.wr_id = length, .sg_list = &sge, .num_sge = length != 0, .opcode = copy->opcode};
  wr.wr.rdma.remote_addr = copy->remote_address + offset;
  wr.wr.rdma.rkey = copy->rkey;
  struct ibv_send_wr* bad = NULL;
  const int error = ibv_post_send(copy->qp, &wr, &bad);
  if (error != 0) Fail("ibv_post_send", copy->nic->name, error, NULL);
}

void RdmaCopy(const struct rdma_copy* copy) {
  const char* call = copy->opcode == IBV_WR_RDMA_READ ? "RDMA read" : "RDMA write";
  const uint64_t total = copy->bytes == 0 ? 1 : (copy->bytes + copy->chunk - 1) / copy->chunk;
  uint64_t posted = 0, completed = 0, done_bytes = 0;
  while (completed < total) {
    for (; posted < total && posted - completed < copy->depth; ++posted) Post(copy, posted * copy->chunk);
    struct ibv_wc wc;
    NicWait(copy->nic, call, &wc);
    ++completed;
    done_bytes += wc.wr_id;
    if (copy->progress != NULL) copy->progress(copy->context, done_bytes);
  }
}
