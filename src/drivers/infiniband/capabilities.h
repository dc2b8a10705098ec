// SPDX-License-Identifier: Apache-2.0
// What a NIC of this machine has. Each can be switched off in the machine's configuration, so that a program's other
// ways can be tried; then the answers are those of a device that never had it: no such command (UAPI_DEF_*_NEEDS_FN of
// linux drivers/infiniband/core), limits of 0, capability bits clear.
#pragma once

namespace causeway::infiniband {

struct Capabilities {
  bool uc = true;            // unreliable connections
  bool ud = true;            // datagrams, and address handles
  bool multicast = true;     // attaching UD queue pairs to groups
  bool srq = true;           // shared receive queues
  bool mw = true;            // memory windows
  bool rereg_mr = true;      // changing a region's PD and access
  bool resize_cq = true;     // resizing completion queues
  bool atomics = true;       // IB_ATOMIC_HCA, else IB_ATOMIC_NONE
  bool atomic_write = true;  // IB_DEVICE_ATOMIC_WRITE
  bool flush = true;         // IB_DEVICE_FLUSH_GLOBAL, IB_DEVICE_FLUSH_PERSISTENT
  bool odp = true;           // on-demand registration and advice
  bool dmabuf = true;        // ibv_reg_dmabuf_mr()
};
using Capability = bool Capabilities::*;

}  // namespace causeway::infiniband
