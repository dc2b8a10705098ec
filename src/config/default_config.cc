// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

namespace causeway::config {

std::string_view DefaultConfigText() {
  return R"(# Causeway: a machine. This is the built-in one; change a copy and start it with `causeway up --config FILE`.
# A file that names no hardware (no table but [machine]) has the hardware below.
# Sizes are a number of bytes or a text: "64 MiB", "128 GiB". Names are letters, digits and . _ -, all different.

[machine]
name = "default"         # `causeway run --name NAME`; several machines may be up
iommu = "off"            # "off": a DMA address is a bus address. "passthrough": the same, behind an identity IOMMU.
                         # "on": DMA addresses are IOVAs, and all traffic goes up to the root complex to be translated
cpu = "intel"            # "amd-zen": the kernel lets any two devices talk peer to peer through the root complex
memlock = "ignore"       # "enforce": RLIMIT_MEMLOCK limits registered host memory, as the kernel does
host_memory = "shared"   # registered ordinary memory is shared with the peers, where that is safe; "process_vm": it is
                         # reached by process_vm_readv and process_vm_writev, as with CAUSEWAY_HOST_MEMORY=process_vm

# A root complex. Its id decides whether the kernel lets devices below different root ports talk peer to peer:
# drivers/pci/p2pdma.c has a list, in which 8086:2020 (Sky Lake-E) is and for example 8086:29c0 (q35) is not.
[[host_bridge]]
name = "pc0"
id = "8086:2020"
numa = 0                 # NUMA node of everything below; -1: none

# A root port has one thing below it: a switch or a device.
[[root_port]]
name = "rp0"
on = "pc0"
acs = []                 # access control bits that are set: "SV", "TB", "RR", "CR", "UF", "EC", "DT"; or acs = "linux",
                         # which is what Linux sets while an IOMMU is in use: SV RR CR UF. RR, CR or EC redirect
                         # peer-to-peer traffic up to the root complex
link = "gen4 x16"        # only told to programs; nothing here takes time by it

[[root_port]]
name = "rp1"
on = "pc0"

# A switch. Its ports are called NAME.0, NAME.1, ...; or give their names: ports = ["left", "right"].
[[switch]]
name = "sw0"
on = "rp0"               # a root port, or a port of another switch
ports = 2
acs = []                 # of every port

[[switch]]
name = "sw1"
on = "rp1"
ports = 2

[[accelerator]]
name = "gaudi0"
type = "gaudi2"          # "gaudi2" or "gaudi"
at = "sw0.0"             # a root port or a switch's port, one device each
flavour = "accel"        # the uAPI: "accel" (/dev/accel/accelN), "misc" (/dev/hlN), "drm" (/dev/accel/accelN, DRM numbers)
hbm = 6                  # stacks of device memory. Gaudi2: 6 (96 GiB) or 5 (80 GiB). Gaudi: 4 (32 GiB)
bar_size = "128 GiB"     # of the BAR in front of it. What it does not cover cannot be exported
module_id = 0            # place on the board; by default the next free number

[[accelerator]]
name = "gaudi1"
type = "gaudi2"
at = "sw1.0"

# A RoCE NIC; its name is the RDMA device's.
[[nic]]
name = "rxe0"
at = "sw0.1"
netdev = "auto"          # whose addresses it takes: the first interface that is up, else lo; or a name: "eth0"
# mac = "02:ca:05:00:00:01"  # by default made from the names
# What it has; what is false, it answers as a NIC that never had it. All are true unless the file says otherwise:
#   uc, ud         unreliable connections; datagrams and address handles
#   multicast      UD queue pairs in multicast groups (needs ud)
#   srq            shared receive queues
#   mw             memory windows
#   rereg_mr       changing a region's protection domain and access
#   resize_cq      resizing completion queues
#   atomics        compare and swap, fetch and add
#   atomic_write   writes of 8 bytes that are atomic
#   flush          RDMA FLUSH
#   odp            on-demand registration (IBV_ACCESS_ON_DEMAND) and advice
#   dmabuf         registering dma-bufs
capabilities = { dmabuf = true, atomics = true, srq = true }

[[nic]]
name = "rxe1"
at = "sw1.1"

# A GPU, of which only the render node is there (/dev/dri/renderD128, driver amdgpu): device memory to take, map and
# share as dma-bufs. The built-in machine has none, so that programs that look for a GPU do not find one they cannot
# use. It needs a port: ports = 3 above.
# [[gpu]]
# name = "gpu0"
# at = "sw0.2"
# vram = "256 MiB"       # a power of two
)";
}

}  // namespace causeway::config
