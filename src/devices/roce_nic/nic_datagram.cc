// SPDX-License-Identifier: Apache-2.0
// Commands on what datagrams need: address handles and multicast groups.
#include <algorithm>
#include <cstring>

#include "devices/roce_nic/nic_impl.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kMaxQpsPerGroup = 56;  // rxe_param.h RXE_MAX_QP_PER_MCAST_GRP, per NIC

}  // namespace

Result<uint32_t> NicDevices::CreateAh(uint32_t nic, uint32_t pd, const AddressVector& av) {
  CW_TRY(const uint32_t index, impl_->ahs.Take());
  AhContext& ah = impl_->nic->ahs[index];
  ah.nic = nic;
  ah.pd = pd;
  ah.av = av;
  ah.valid.store(1, std::memory_order_release);
  return index;
}

void NicDevices::DestroyAh(uint32_t index) {
  impl_->Retire(impl_->nic->ahs[index].valid);
  impl_->ahs.Give(index);
}

Status NicDevices::AttachMulticast(uint32_t qpn, const uint8_t gid[16]) {
  const std::lock_guard machine(impl_->mutex);
  NicMemory& nic = *impl_->nic;
  std::atomic<uint32_t>& head = nic.multicast[MulticastBucket(gid)];
  uint32_t members = 0;
  for (uint32_t at = head.load(); at != 0; at = nic.multicast_members[at].next.load()) {
    const MulticastMember& member = nic.multicast_members[at];
    if (std::memcmp(member.gid, gid, 16) != 0) continue;
    if (member.qpn == qpn) return {};
    if (nic.qps[member.qpn].nic == nic.qps[qpn].nic) ++members;
  }
  if (members >= kMaxQpsPerGroup) return Err(ENOMEM);
  CW_TRY(const uint32_t index, impl_->members.Take());
  MulticastMember& member = nic.multicast_members[index];
  member.qpn = qpn;
  std::memcpy(member.gid, gid, 16);
  member.next.store(head.load());
  head.store(index, std::memory_order_release);
  impl_->groups_of[qpn].push_back(index);
  return {};
}

void NicDevices::Impl::UnlinkMember(uint32_t index) {
  std::atomic<uint32_t>* link = &nic->multicast[MulticastBucket(nic->multicast_members[index].gid)];
  while (link->load() != index) link = &nic->multicast_members[link->load()].next;
  link->store(nic->multicast_members[index].next.load(), std::memory_order_release);
}

std::vector<uint32_t> NicDevices::Impl::LeaveGroups(uint32_t qpn) {
  const auto found = groups_of.find(qpn);
  if (found == groups_of.end()) return {};
  std::vector<uint32_t> left = std::move(found->second);
  groups_of.erase(found);
  for (const uint32_t member : left) UnlinkMember(member);
  return left;
}

Status NicDevices::DetachMulticast(uint32_t qpn, const uint8_t gid[16]) {
  uint32_t member = 0;
  {
    const std::lock_guard machine(impl_->mutex);
    const auto found = impl_->groups_of.find(qpn);
    if (found == impl_->groups_of.end()) return Err(EINVAL);
    auto& members = found->second;
    const auto at = std::find_if(members.begin(), members.end(), [&](uint32_t index) {
      return std::memcmp(impl_->nic->multicast_members[index].gid, gid, 16) == 0;
    });
    if (at == members.end()) return Err(EINVAL);
    member = *at;
    members.erase(at);
    if (members.empty()) impl_->groups_of.erase(found);
    impl_->UnlinkMember(member);
  }
  impl_->Grace();
  impl_->members.Give(member);
  return {};
}

}  // namespace causeway::roce
