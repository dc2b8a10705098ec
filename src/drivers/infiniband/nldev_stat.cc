// SPDX-License-Identifier: Apache-2.0
// Counters: nldev_stat_...() of nldev.c, and what core/counters.c answers for a device like rxe, whose port has
// counters and whose QPs have none of their own.
#include <algorithm>

#include "drivers/infiniband/hw_counters.h"
#include "drivers/infiniband/nldev.h"

namespace causeway::infiniband {

using namespace uapi;
using kernel::ExtAck;

namespace {

constexpr uint32_t kAutoModeMasks = RDMA_COUNTER_MASK_QP_TYPE | RDMA_COUNTER_MASK_PID;

// rdma_nl_stat_hwcounter_entry(), or with its index that of nldev_stat_get_counter_status_doit().
template <typename Put>
bool FillCounter(kernel::NlBuffer& buffer, const char* name, Put put) {
  const auto entry = buffer.NestStart(RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY | NLA_F_NESTED);
  if (!entry || !buffer.PutString(RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_NAME, name) || !put()) return false;
  buffer.NestEnd(*entry);
  return true;
}

}  // namespace

// nldev_stat_get_doit().
Status Nldev::GetStatistics(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  if (!attributes->Has(RDMA_NLDEV_ATTR_STAT_RES)) return GetPortCounters(request, *attributes);
  switch (attributes->U32(RDMA_NLDEV_ATTR_STAT_RES)) {
    case RDMA_NLDEV_ATTR_RES_QP: return GetCounterMode(request, *attributes);
    case RDMA_NLDEV_ATTR_RES_MR: return GetResourceOf(request, KindOf(RDMA_NLDEV_CMD_STAT_GET), *attributes);
    default: return Err(EINVAL);
  }
}

// nldev_stat_get_dumpit(): QPs have no counters.
int Nldev::DumpStatistics(const Request& request, Buffer& buffer, uint64_t* position) {
  const auto attributes = ParseStrict(request, nullptr);
  if (!attributes || !attributes->Has(RDMA_NLDEV_ATTR_STAT_RES)) return -EINVAL;
  switch (attributes->U32(RDMA_NLDEV_ATTR_STAT_RES)) {
    case RDMA_NLDEV_ATTR_RES_QP: {
      const bool has_port = attributes->Has(RDMA_NLDEV_ATTR_PORT_INDEX);
      if (!DeviceOf(*attributes) || (has_port && !PortOf(*attributes))) return -EINVAL;
      return 0;
    }
    case RDMA_NLDEV_ATTR_RES_MR:
      return DumpResourcesOf(request, KindOf(RDMA_NLDEV_CMD_STAT_GET), *attributes, buffer, position);
    default: return -EINVAL;
  }
}

// stat_get_doit_default_counter().
Status Nldev::GetPortCounters(const Request& request, const Attributes& attributes) {
  CW_TRY(const IbDevice* const device, PortOf(attributes));
  Answer answer(request, RDMA_NLDEV_CMD_STAT_GET);
  kernel::NlBuffer& buffer = answer.buffer();
  if (!FillHandle(buffer, *device) || !buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort)) return Err(EMSGSIZE);
  const auto table = buffer.NestStart(RDMA_NLDEV_ATTR_STAT_HWCOUNTERS | NLA_F_NESTED);
  if (!table) return Err(EMSGSIZE);
  const roce::NicCounters& counters = core_.nics().counters(device->nic());
  for (const auto& row : kHwCounters) {
    const uint64_t value = (counters.*row.counter).load(std::memory_order_relaxed);
    if (!FillCounter(buffer, row.name,
                     [&] { return buffer.PutU64(RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_VALUE, value); })) {
      return Err(EMSGSIZE);
    }
  }
  buffer.NestEnd(*table);
  return answer.Send(true);
}

// stat_get_doit_qp(), rdma_counter_get_mode().
Status Nldev::GetCounterMode(const Request& request, const Attributes& attributes) {
  if (attributes.Has(RDMA_NLDEV_ATTR_STAT_COUNTER_ID)) {  // nldev_res_get_counter_doit(): there are none
    CW_CHECK(PortOf(attributes));
    return Err(ENOENT);
  }
  if (!attributes.Has(RDMA_NLDEV_ATTR_STAT_MODE)) return Err(EINVAL);
  CW_TRY(const IbDevice* const device, PortOf(attributes));
  const IbDevice::CounterMode mode = device->counter_mode();
  Answer answer(request, RDMA_NLDEV_CMD_STAT_GET);
  kernel::NlBuffer& buffer = answer.buffer();
  return answer.Send(
      FillHandle(buffer, *device) && buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort) &&
      buffer.PutU32(RDMA_NLDEV_ATTR_STAT_MODE, mode.mode) &&
      (mode.mode != RDMA_COUNTER_MODE_AUTO || buffer.PutU32(RDMA_NLDEV_ATTR_STAT_AUTO_MODE_MASK, mode.mask)));
}

// rdma_counter_get_qp(): a QP of the device that is at this port, or at none yet. errors: ENOENT, EINVAL.
Status Nldev::CheckCounterQp(const IbDevice& device, uint32_t qpn) const {
  if (qpn >= roce::kMaxQps) return Err(ENOENT);
  const roce::QpContext& context = core_.nics().qp(qpn);
  if (context.valid.load(std::memory_order_acquire) == 0 || context.nic != device.nic()) return Err(ENOENT);
  return {};
}

// nldev_stat_set_doit(), rdma_counter_set_auto_mode(), rdma_counter_bind_qpn() and _alloc(): rxe has no counters to
// bind.
Status Nldev::SetStatistics(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(IbDevice* const device, PortOf(*attributes));
  const bool dynamic = attributes->Has(RDMA_NLDEV_ATTR_STAT_HWCOUNTERS);
  if (!attributes->Has(RDMA_NLDEV_ATTR_STAT_MODE) && !dynamic) return Err(EINVAL);
  Answer answer(request, RDMA_NLDEV_CMD_STAT_SET);
  kernel::NlBuffer& buffer = answer.buffer();
  if (!FillHandle(buffer, *device) || !buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort)) return Err(EMSGSIZE);
  if (attributes->Has(RDMA_NLDEV_ATTR_STAT_MODE)) {
    if (!attributes->Has(RDMA_NLDEV_ATTR_STAT_RES) ||
        attributes->U32(RDMA_NLDEV_ATTR_STAT_RES) != RDMA_NLDEV_ATTR_RES_QP) {
      return Err(EINVAL);
    }
    if (attributes->U32(RDMA_NLDEV_ATTR_STAT_MODE) == RDMA_COUNTER_MODE_AUTO) {
      const bool has_mask = attributes->Has(RDMA_NLDEV_ATTR_STAT_AUTO_MODE_MASK);
      const uint32_t mask = has_mask ? attributes->U32(RDMA_NLDEV_ATTR_STAT_AUTO_MODE_MASK) : 0;
      if ((mask & ~kAutoModeMasks) != 0) return Err(EINVAL);
      device->set_counter_mode({mask != 0 ? RDMA_COUNTER_MODE_AUTO : RDMA_COUNTER_MODE_NONE, mask});
    } else {
      if (!attributes->Has(RDMA_NLDEV_ATTR_RES_LQPN)) return Err(EINVAL);
      if (device->counter_mode().mode == RDMA_COUNTER_MODE_AUTO) return Err(EINVAL);
      CW_CHECK(CheckCounterQp(*device, attributes->U32(RDMA_NLDEV_ATTR_RES_LQPN)));
      if (attributes->Has(RDMA_NLDEV_ATTR_STAT_COUNTER_ID)) return Err(ENOENT);
      return Err(ENOMEM);  // alloc_and_bind()
    }
  }
  // nldev_stat_set_counter_dynamic_doit(): an index names no counter that can be switched.
  if (dynamic && !attributes->Get(RDMA_NLDEV_ATTR_STAT_HWCOUNTERS).empty()) return Err(EINVAL);
  return answer.Send(true);
}

// nldev_stat_del_doit(), rdma_counter_unbind_qpn().
Status Nldev::DeleteStatistics(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes || !attributes->Has(RDMA_NLDEV_ATTR_STAT_RES) || !attributes->Has(RDMA_NLDEV_ATTR_STAT_COUNTER_ID) ||
      !attributes->Has(RDMA_NLDEV_ATTR_RES_LQPN) ||
      attributes->U32(RDMA_NLDEV_ATTR_STAT_RES) != RDMA_NLDEV_ATTR_RES_QP) {
    return Err(EINVAL);
  }
  CW_TRY(const IbDevice* const device, PortOf(*attributes));
  CW_CHECK(CheckCounterQp(*device, attributes->U32(RDMA_NLDEV_ATTR_RES_LQPN)));
  return Err(EINVAL);
}

// nldev_stat_get_counter_status_doit().
Status Nldev::GetCounterStatus(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(const IbDevice* const device, PortOf(*attributes));
  Answer answer(request, RDMA_NLDEV_CMD_STAT_GET_STATUS);
  kernel::NlBuffer& buffer = answer.buffer();
  if (!FillHandle(buffer, *device) || !buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort)) return Err(EMSGSIZE);
  const auto table = buffer.NestStart(RDMA_NLDEV_ATTR_STAT_HWCOUNTERS | NLA_F_NESTED);
  if (!table) return Err(EMSGSIZE);
  uint32_t index = 0;
  for (const auto& row : kHwCounters) {
    if (!FillCounter(buffer, row.name, [&] { return buffer.PutU32(RDMA_NLDEV_ATTR_STAT_HWCOUNTER_INDEX, index); })) {
      return Err(EMSGSIZE);
    }
    ++index;
  }
  buffer.NestEnd(*table);
  return answer.Send(true);
}

}  // namespace causeway::infiniband
