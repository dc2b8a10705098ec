// SPDX-License-Identifier: Apache-2.0
// Resources: fill_res_...() and res_get_common_...() of nldev.c.
//
// While a part is filled no file of the device begins to go (IbDevice::WithFiles()); a program may destroy objects
// meanwhile, so that of each only what never changes, or is atomic, or has its own lock, is looked at.
#include <linux/capability.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/infiniband/cm_ids.h"
#include "drivers/infiniband/cq.h"
#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/nldev.h"
#include "drivers/infiniband/qp.h"
#include "drivers/infiniband/srq.h"

namespace causeway::infiniband {

using namespace uapi;
using kernel::ExtAck;
using kernel::NlBuffer;

// One entry of a table: an object with the context it belongs to, or an id of rdma_cm.
struct Nldev::Resource {
  uint32_t id = 0;
  Ref<Uobject> object;
  uint32_t ctxn = 0;
  Tracked tracked;
  const CmIdInfo* cm_id = nullptr;
};

namespace {

using Filled = Nldev::Filled;

constexpr size_t kLeastEntry = 12;  // bytes: the entry's header and one number

bool Done(Filled filled) { return filled == Filled::kYes; }
Filled Fits(bool fits) { return fits ? Filled::kYes : Filled::kNoRoom; }

// fill_res_name_pid() of a program's: who made it, as long as that thread lives.
bool FillPid(NlBuffer& buffer, const Tracked& tracked) {
  if (::syscall(SYS_tgkill, tracked.pid, tracked.tid, 0) != 0 && errno == ESRCH) return true;
  return buffer.PutU32(RDMA_NLDEV_ATTR_RES_PID, static_cast<uint32_t>(tracked.tid));
}

// fill_res_qp_entry(), fill_res_qp_entry_query().
Filled FillQp(NlBuffer& buffer, const Qp& qp, const Tracked& tracked, uint32_t port) {
  const auto attr = qp.Query();
  if (!qp.alive()) return Filled::kSkip;
  if (port != 0 && port != attr.port_num) return Filled::kSkip;
  const bool connected = qp.type() == IB_UVERBS_QPT_RC || qp.type() == IB_UVERBS_QPT_UC;
  return Fits((attr.port_num == 0 || buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, attr.port_num)) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_LQPN, qp.qpn()) && buffer.PutU32(RDMA_NLDEV_ATTR_RES_PDN, qp.pdn()) &&
              FillPid(buffer, tracked) &&
              (!connected || (buffer.PutU32(RDMA_NLDEV_ATTR_RES_RQPN, attr.dest_qp_num) &&
                              buffer.PutU32(RDMA_NLDEV_ATTR_RES_RQ_PSN, attr.rq_psn))) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_SQ_PSN, attr.sq_psn) &&
              (!connected || buffer.PutU8(RDMA_NLDEV_ATTR_RES_PATH_MIG_STATE, attr.path_mig_state)) &&
              buffer.PutU8(RDMA_NLDEV_ATTR_RES_TYPE, static_cast<uint8_t>(qp.type())) &&
              buffer.PutU8(RDMA_NLDEV_ATTR_RES_STATE, attr.qp_state));
}

// fill_res_cq_entry().
Filled FillCq(NlBuffer& buffer, const Cq& cq, const Tracked& tracked, uint32_t ctxn) {
  const uint32_t cqe = cq.cqe();
  if (cqe == 0) return Filled::kSkip;  // gone
  return Fits(buffer.PutU32(RDMA_NLDEV_ATTR_RES_CQE, cqe) &&
              buffer.PutU64(RDMA_NLDEV_ATTR_RES_USECNT, cq.users.load(std::memory_order_relaxed)) &&
              buffer.PutU8(RDMA_NLDEV_ATTR_DEV_DIM, 0) && buffer.PutU32(RDMA_NLDEV_ATTR_RES_CQN, tracked.id) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_CTXN, ctxn) && FillPid(buffer, tracked));
}

// fill_res_mr_entry().
Filled FillMr(NlBuffer& buffer, const Mr& mr, const Tracked& tracked, bool admin) {
  return Fits((!admin || (buffer.PutU32(RDMA_NLDEV_ATTR_RES_RKEY, mr.key()) &&
                          buffer.PutU32(RDMA_NLDEV_ATTR_RES_LKEY, mr.key()))) &&
              buffer.PutU64(RDMA_NLDEV_ATTR_RES_MRLEN, mr.length()) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_MRN, tracked.id) && buffer.PutU32(RDMA_NLDEV_ATTR_RES_PDN, mr.pdn()) &&
              FillPid(buffer, tracked));
}

// fill_res_pd_entry(): a program's PD has no local_dma_lkey.
Filled FillPd(NlBuffer& buffer, const Pd& pd, const Tracked& tracked, bool admin, uint32_t ctxn) {
  return Fits((!admin || buffer.PutU32(RDMA_NLDEV_ATTR_RES_LOCAL_DMA_LKEY, 0)) &&
              buffer.PutU64(RDMA_NLDEV_ATTR_RES_USECNT, pd.users.load(std::memory_order_relaxed)) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_PDN, tracked.id) && buffer.PutU32(RDMA_NLDEV_ATTR_RES_CTXN, ctxn) &&
              FillPid(buffer, tracked));
}

// fill_res_range_qp_entry().
bool FillRange(NlBuffer& buffer, uint32_t first, uint32_t last) {
  const auto nest = buffer.NestStart(RDMA_NLDEV_ATTR_RES_QP_ENTRY | NLA_F_NESTED);
  if (!nest) return false;
  const bool fits =
      first == last ? buffer.PutU32(RDMA_NLDEV_ATTR_RES_LQPN, first)
                    : buffer.PutU32(RDMA_NLDEV_ATTR_MIN_RANGE, first) && buffer.PutU32(RDMA_NLDEV_ATTR_MAX_RANGE, last);
  if (fits) buffer.NestEnd(*nest);
  return fits;
}

// fill_res_srq_entry(), fill_res_srq_qps(): numbers that follow each other are one range. `qpns` in order.
Filled FillSrq(NlBuffer& buffer, const Srq& srq, const Tracked& tracked, const std::vector<uint32_t>& qpns) {
  if (!buffer.PutU32(RDMA_NLDEV_ATTR_RES_SRQN, tracked.id) ||
      !buffer.PutU8(RDMA_NLDEV_ATTR_RES_TYPE, IB_UVERBS_SRQT_BASIC) ||
      !buffer.PutU32(RDMA_NLDEV_ATTR_RES_PDN, srq.pdn())) {
    return Filled::kNoRoom;
  }
  const auto nest = buffer.NestStart(RDMA_NLDEV_ATTR_RES_QP | NLA_F_NESTED);
  if (!nest) return Filled::kNoRoom;
  for (size_t first = 0; first < qpns.size();) {
    size_t last = first;
    while (last + 1 < qpns.size() && qpns[last + 1] == qpns[last] + 1) ++last;
    if (!FillRange(buffer, qpns[first], qpns[last])) return Filled::kNoRoom;
    first = last + 1;
  }
  buffer.NestEnd(*nest);
  return Fits(FillPid(buffer, tracked));
}

// fill_res_cm_id_entry().
Filled FillCmId(NlBuffer& buffer, const CmIdInfo& id, uint32_t port) {
  if (port != 0 && port != id.port_num) return Filled::kSkip;
  const auto address = [&](uint16_t attribute, const std::array<std::byte, 128>& name) {
    const bool has_family = name[0] != std::byte{0} || name[1] != std::byte{0};
    return !has_family || buffer.Put(attribute, name);
  };
  return Fits((id.port_num == 0 || buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, id.port_num)) &&
              (id.qp_num == 0 || (buffer.PutU32(RDMA_NLDEV_ATTR_RES_LQPN, id.qp_num) &&
                                  buffer.PutU8(RDMA_NLDEV_ATTR_RES_TYPE, id.qp_type))) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_PS, id.ps) && buffer.PutU8(RDMA_NLDEV_ATTR_RES_STATE, id.state) &&
              address(RDMA_NLDEV_ATTR_RES_SRC_ADDR, id.src) && address(RDMA_NLDEV_ATTR_RES_DST_ADDR, id.dst) &&
              buffer.PutU32(RDMA_NLDEV_ATTR_RES_CM_IDN, id.tracked.id) && FillPid(buffer, id.tracked));
}

// QPs of an SRQ, in order.
std::vector<uint32_t> QpsOf(std::span<UverbsFile* const> files, uint32_t srqn) {
  std::vector<uint32_t> qpns;
  for (UverbsFile* const file : files) {
    file->objects().ForEach(UVERBS_OBJECT_QP, [&](const Ref<Uobject>& object) {
      const Qp& qp = static_cast<const Qp&>(*object);
      if (qp.srqn() == srqn && qp.alive()) qpns.push_back(qp.qpn());
    });
  }
  std::ranges::sort(qpns);
  return qpns;
}

}  // namespace

// fill_entries[].
const Nldev::ResourceKind Nldev::kKinds[] = {
    {RDMA_NLDEV_CMD_RES_QP_GET, UVERBS_OBJECT_QP, RDMA_NLDEV_ATTR_RES_QP, RDMA_NLDEV_ATTR_RES_QP_ENTRY,
     RDMA_NLDEV_ATTR_RES_LQPN, false},
    {RDMA_NLDEV_CMD_RES_CM_ID_GET, kNoObject, RDMA_NLDEV_ATTR_RES_CM_ID, RDMA_NLDEV_ATTR_RES_CM_ID_ENTRY,
     RDMA_NLDEV_ATTR_RES_CM_IDN, false},
    {RDMA_NLDEV_CMD_RES_CQ_GET, UVERBS_OBJECT_CQ, RDMA_NLDEV_ATTR_RES_CQ, RDMA_NLDEV_ATTR_RES_CQ_ENTRY,
     RDMA_NLDEV_ATTR_RES_CQN, true},
    {RDMA_NLDEV_CMD_RES_MR_GET, UVERBS_OBJECT_MR, RDMA_NLDEV_ATTR_RES_MR, RDMA_NLDEV_ATTR_RES_MR_ENTRY,
     RDMA_NLDEV_ATTR_RES_MRN, true},
    {RDMA_NLDEV_CMD_RES_PD_GET, UVERBS_OBJECT_PD, RDMA_NLDEV_ATTR_RES_PD, RDMA_NLDEV_ATTR_RES_PD_ENTRY,
     RDMA_NLDEV_ATTR_RES_PDN, true},
    {RDMA_NLDEV_CMD_RES_CTX_GET, UVERBS_OBJECT_DEVICE, RDMA_NLDEV_ATTR_RES_CTX, RDMA_NLDEV_ATTR_RES_CTX_ENTRY,
     RDMA_NLDEV_ATTR_RES_CTXN, true},
    {RDMA_NLDEV_CMD_RES_SRQ_GET, UVERBS_OBJECT_SRQ, RDMA_NLDEV_ATTR_RES_SRQ, RDMA_NLDEV_ATTR_RES_SRQ_ENTRY,
     RDMA_NLDEV_ATTR_RES_SRQN, true},
    {RDMA_NLDEV_CMD_STAT_GET, UVERBS_OBJECT_MR, RDMA_NLDEV_ATTR_RES_MR, RDMA_NLDEV_ATTR_RES_MR_ENTRY,
     RDMA_NLDEV_ATTR_RES_MRN, true},  // statistics of regions
    // No device of ours has raw entries: each is EINVAL.
    {RDMA_NLDEV_CMD_RES_QP_GET_RAW, UVERBS_OBJECT_QP, RDMA_NLDEV_ATTR_RES_QP, RDMA_NLDEV_ATTR_RES_QP_ENTRY,
     RDMA_NLDEV_ATTR_RES_LQPN, false},
    {RDMA_NLDEV_CMD_RES_CQ_GET_RAW, UVERBS_OBJECT_CQ, RDMA_NLDEV_ATTR_RES_CQ, RDMA_NLDEV_ATTR_RES_CQ_ENTRY,
     RDMA_NLDEV_ATTR_RES_CQN, true},
    {RDMA_NLDEV_CMD_RES_MR_GET_RAW, UVERBS_OBJECT_MR, RDMA_NLDEV_ATTR_RES_MR, RDMA_NLDEV_ATTR_RES_MR_ENTRY,
     RDMA_NLDEV_ATTR_RES_MRN, true},
};

const Nldev::ResourceKind& Nldev::KindOf(uint32_t op) { return *std::ranges::find(kKinds, op, &ResourceKind::op); }

// The `limit` first ones of a kind whose number is `from` or more, in order. A heap of them, its last on top: of the
// others no more is touched than their numbers.
std::vector<Nldev::Resource> Nldev::Resources(const ResourceKind& kind, std::span<UverbsFile* const> files,
                                              const std::vector<CmIdInfo>& cm_ids, uint64_t from, size_t limit) {
  std::vector<Resource> found;
  const auto wanted = [&](uint32_t id) { return id >= from && (found.size() < limit || id < found.front().id); };
  const auto add = [&](Resource resource) {
    if (found.size() == limit) {
      std::ranges::pop_heap(found, {}, &Resource::id);
      found.pop_back();
    }
    found.push_back(std::move(resource));
    std::ranges::push_heap(found, {}, &Resource::id);
  };
  for (const CmIdInfo& id : cm_ids) {
    if (wanted(id.tracked.id)) add({id.tracked.id, {}, 0, id.tracked, &id});
  }
  for (UverbsFile* const file : files) {
    if (kind.object == kNoObject || !file->has_context()) continue;
    const Tracked& context = file->tracked();
    if (kind.object == UVERBS_OBJECT_DEVICE) {
      if (wanted(context.id)) add({context.id, {}, context.id, context});
      continue;
    }
    file->objects().ForEach(static_cast<ObjectType>(kind.object), [&](const Ref<Uobject>& object) {
      const Tracked& tracked = object->tracked();
      if (wanted(tracked.id)) add({tracked.id, object, context.id, tracked});
    });
  }
  std::ranges::sort_heap(found, {}, &Resource::id);
  return found;
}

Filled Nldev::Fill(Buffer& buffer, const ResourceKind& kind, const Resource& resource,
                   std::span<UverbsFile* const> files, bool admin, uint32_t port) {
  const Tracked& tracked = resource.tracked;
  if (resource.cm_id != nullptr) return FillCmId(buffer, *resource.cm_id, port);
  switch (kind.op) {
    case RDMA_NLDEV_CMD_RES_QP_GET: return FillQp(buffer, static_cast<const Qp&>(*resource.object), tracked, port);
    case RDMA_NLDEV_CMD_RES_CQ_GET:
      return FillCq(buffer, static_cast<const Cq&>(*resource.object), tracked, resource.ctxn);
    case RDMA_NLDEV_CMD_RES_MR_GET: return FillMr(buffer, static_cast<const Mr&>(*resource.object), tracked, admin);
    case RDMA_NLDEV_CMD_STAT_GET:
      return Fits(buffer.PutU32(RDMA_NLDEV_ATTR_RES_MRN, tracked.id));  // fill_stat_mr_entry()
    case RDMA_NLDEV_CMD_RES_PD_GET:
      return FillPd(buffer, static_cast<const Pd&>(*resource.object), tracked, admin, resource.ctxn);
    case RDMA_NLDEV_CMD_RES_CTX_GET:
      return Fits(buffer.PutU32(RDMA_NLDEV_ATTR_RES_CTXN, tracked.id) && FillPid(buffer, tracked));
    case RDMA_NLDEV_CMD_RES_SRQ_GET:
      return FillSrq(buffer, static_cast<const Srq&>(*resource.object), tracked, QpsOf(files, tracked.id));
    case RDMA_NLDEV_CMD_RES_QP_GET_RAW: {
      const Qp& qp = static_cast<const Qp&>(*resource.object);
      return port != 0 && port != qp.Query().port_num ? Filled::kSkip : Filled::kUnknown;
    }
    default: return Filled::kUnknown;
  }
}

// res_get_common_doit().
Status Nldev::GetResourceOf(const Request& request, const ResourceKind& kind, const Attributes& attributes) {
  if (!attributes.Has(kind.id_attribute)) return Err(EINVAL);
  CW_TRY(IbDevice* const device, DeviceOf(attributes));
  uint32_t port = 0;
  if (attributes.Has(RDMA_NLDEV_ATTR_PORT_INDEX)) {
    port = attributes.U32(RDMA_NLDEV_ATTR_PORT_INDEX);
    if (port != kPort) return Err(EINVAL);
  }
  if ((port != 0) == kind.per_device) return Err(EINVAL);
  const uint32_t id = attributes.U32(kind.id_attribute);
  const bool admin = request.Capable(CAP_NET_ADMIN);
  const std::vector<CmIdInfo> cm_ids = CmIdsOf(kind, *device);
  Answer answer(request, static_cast<uint16_t>(RdmaNlOp(request.header.nlmsg_type)));
  if (!FillHandle(answer.buffer(), *device)) return Err(EMSGSIZE);
  std::vector<Resource> found;  // goes without the lock
  const Filled filled = device->WithFiles([&](std::span<UverbsFile* const> files) {
    found = Resources(kind, files, cm_ids, id, 1);
    if (found.empty() || found.front().id != id) return Filled::kGone;
    return Fill(answer.buffer(), kind, found.front(), files, admin, port);
  });
  switch (filled) {
    case Filled::kYes: return answer.Send(true);
    case Filled::kNoRoom: return Err(EMSGSIZE);
    case Filled::kSkip: return Err(EAGAIN);
    case Filled::kGone: return Err(ENOENT);
    case Filled::kUnknown: break;
  }
  return Err(EINVAL);
}

// res_get_common_dumpit(): one message with a table, as much as fits. `position` is the number to go on with.
int Nldev::DumpResourcesOf(const Request& request, const ResourceKind& kind, const Attributes& attributes,
                           Buffer& buffer, uint64_t* position) {
  const auto device = DeviceOf(attributes);
  if (!device) return -EINVAL;
  uint32_t port = 0;
  if (attributes.Has(RDMA_NLDEV_ATTR_PORT_INDEX)) {
    port = attributes.U32(RDMA_NLDEV_ATTR_PORT_INDEX);
    if (port != kPort) return -EINVAL;
  }
  const auto message = buffer.Begin(request.portid(), request.header.nlmsg_seq, request.header.nlmsg_type, NLM_F_MULTI);
  if (!message || !FillHandle(buffer, **device)) return -EMSGSIZE;
  const auto table = buffer.NestStart(kind.table_attribute);
  if (!table) return -EMSGSIZE;
  const bool admin = request.Capable(CAP_NET_ADMIN);
  const std::vector<CmIdInfo> cm_ids = CmIdsOf(kind, **device);
  std::vector<std::vector<Resource>> found;  // goes without the lock
  const Filled filled = (*device)->WithFiles([&](std::span<UverbsFile* const> files) {
    for (;;) {
      found.push_back(Resources(kind, files, cm_ids, *position, buffer.room() / kLeastEntry + 1));
      if (found.back().empty()) return found.size() == 1 ? Filled::kGone : Filled::kYes;
      for (const Resource& resource : found.back()) {
        *position = resource.id;
        const auto entry = buffer.NestStart(kind.entry_attribute);
        if (!entry) return Filled::kNoRoom;
        const Filled one = Fill(buffer, kind, resource, files, admin, port);
        if (Done(one)) {
          buffer.NestEnd(*entry);
        } else {
          buffer.Cancel(*entry);
          if (one != Filled::kSkip) return one;
        }
        ++*position;
      }
    }
  });
  if (filled == Filled::kUnknown || filled == Filled::kGone) {
    buffer.Cancel(*message);
    return filled == Filled::kGone ? 0 : -EINVAL;
  }
  buffer.NestEnd(*table);
  buffer.End(*message);
  return static_cast<int>(buffer.size());
}

std::vector<CmIdInfo> Nldev::CmIdsOf(const ResourceKind& kind, const IbDevice& device) const {
  if (kind.object != kNoObject || cm_ids_ == nullptr) return {};
  return cm_ids_->List(device.number());
}

Status Nldev::GetResource(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  return GetResourceOf(request, KindOf(RdmaNlOp(request.header.nlmsg_type)), *attributes);
}

int Nldev::DumpResources(const Request& request, Buffer& buffer, uint64_t* position) {
  const auto attributes = ParseLiberal(request, nullptr);
  if (!attributes) return -EINVAL;
  return DumpResourcesOf(request, KindOf(RdmaNlOp(request.header.nlmsg_type)), *attributes, buffer, position);
}

// fill_res_info().
bool Nldev::FillSummary(Buffer& buffer, const IbDevice& device) const {
  const struct {
    const char* name;
    uint32_t op;
  } kinds[] = {{"pd", RDMA_NLDEV_CMD_RES_PD_GET},  {"cq", RDMA_NLDEV_CMD_RES_CQ_GET},
               {"qp", RDMA_NLDEV_CMD_RES_QP_GET},  {"cm_id", RDMA_NLDEV_CMD_RES_CM_ID_GET},
               {"mr", RDMA_NLDEV_CMD_RES_MR_GET},  {"ctx", RDMA_NLDEV_CMD_RES_CTX_GET},
               {"srq", RDMA_NLDEV_CMD_RES_SRQ_GET}};
  if (!FillHandle(buffer, device)) return false;
  const auto table = buffer.NestStart(RDMA_NLDEV_ATTR_RES_SUMMARY);
  if (!table) return false;
  for (const auto& row : kinds) {
    const ResourceKind& kind = KindOf(row.op);
    uint64_t count = CmIdsOf(kind, device).size();
    device.ForEachFile([&](UverbsFile& file) {
      if (kind.object == kNoObject || !file.has_context()) return;
      count += kind.object == UVERBS_OBJECT_DEVICE ? 1 : file.objects().Count(static_cast<ObjectType>(kind.object));
    });
    const auto entry = buffer.NestStart(RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY);
    if (!entry || !buffer.PutString(RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY_NAME, row.name) ||
        !buffer.PutU64(RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY_CURR, count)) {
      return false;
    }
    buffer.NestEnd(*entry);
  }
  buffer.NestEnd(*table);
  return true;
}

// nldev_res_get_doit().
Status Nldev::GetSummary(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(const IbDevice* const device, DeviceOf(*attributes));
  Answer answer(request, RDMA_NLDEV_CMD_RES_GET);
  return answer.Send(FillSummary(answer.buffer(), *device));
}

// nldev_res_get_dumpit().
int Nldev::DumpSummaries(const Request& request, Buffer& buffer, uint64_t* position) {
  return DumpEach(request, buffer, position, RDMA_NLDEV_CMD_RES_GET, &Nldev::FillSummary);
}

}  // namespace causeway::infiniband
