// SPDX-License-Identifier: Apache-2.0
// Multicast groups of UD ids on RoCE v2: linux v6.1 drivers/infiniband/core/cma.c rdma_join_multicast(),
// cma_iboe_join_multicast(). Joining tells the program the group's address; the program attaches its QP by itself.
// The group is not joined on the host's net device (cma_igmp_send()): no packet of it comes from there.
#include <sys/socket.h>

#include <algorithm>

#include "drivers/rdma_cm/cm.h"
#include "drivers/rdma_cm/ucm_file.h"

namespace causeway::rdma_cm {

Result<Ref<Multicast>> Cm::JoinMulticast(const Ref<Id>& ref, const Address& address, bool send_only, uint64_t uid) {
  Id& id = *ref;
  if (!id.nic || (id.state != State::kAddrBound && id.state != State::kAddrResolved)) return Err(EINVAL);
  if (id.qp_type != kQptUd) return Err(EINVAL);
  if (address.IsZero()) return Err(EINVAL);
  if (id.bound_if == 0) return Err(ENODEV);
  if (address.family() != AF_INET) return Err(kEnotsupp);
  if (id.qkey == 0) id.qkey = kUdpQkey;

  const auto mc = MakeRef<Multicast>();
  mc->owner = ref.get();
  mc->uid = uid;
  mc->send_only = send_only;
  mc->address = address;
  while (multicasts_.contains(mc->id)) ++mc->id;  // the lowest free number, as xa_alloc() gives it
  multicasts_.emplace(mc->id, mc);
  id.multicasts.push_back(mc);

  // cma_make_mc_event(), ib_init_ah_from_mcmember()
  Event event = {.mc = mc};
  const auto sgid_index = nics_.GidIndex(*id.nic, id.src.gid());
  if (sgid_index) {
    event.event = uapi::RDMA_CM_EVENT_MULTICAST_JOIN;
    event.ud.ah_attr = AddressVector{.dgid = IsAny(address) ? Gid{} : address.gid(),
                                     .sgid_index = *sgid_index,
                                     .hop_limit = 64,  // IPV6_DEFAULT_HOPLIMIT
                                     .port_num = id.port_num}
                           .ToUser();
    event.ud.qp_num = 0xffffff;
    event.ud.qkey = id.qkey;
  } else {
    event.event = uapi::RDMA_CM_EVENT_MULTICAST_ERROR;
  }
  QueueEvent(ref, std::move(event));
  return mc;
}

// The look-up of ucma_leave_multicast().
Result<Ref<Multicast>> Cm::FindMulticast(UcmFile* file, uint32_t number) const {
  const auto it = multicasts_.find(number);
  if (it == multicasts_.end()) return Err(ENOENT);
  if (it->second->owner->file != file) return Err(EINVAL);
  return it->second;
}

uint32_t Cm::LeaveMulticast(const Ref<Multicast>& mc) {
  Id& id = *mc->owner;
  multicasts_.erase(mc->id);
  id.multicasts.remove(mc);
  id.file->DropEvents(readiness_, [&](const UcmFile::Queued& queued) { return queued.mc == mc; });
  return mc->events_reported;
}

}  // namespace causeway::rdma_cm
