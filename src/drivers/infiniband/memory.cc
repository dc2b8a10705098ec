// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/memory.h"

#include <linux/capability.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "base/checked.h"
#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

constexpr uint32_t kKnownAccess = 0xff | IB_ACCESS_OPTIONAL;  // IB_ACCESS_SUPPORTED, linux v6.1
constexpr uint32_t kDmaBufAccess = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
                                   IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_RELAXED_ORDERING;

// ib_verbs.h ib_check_mr_access(). No ODP here, so ON_DEMAND is refused.
Status CheckAccess(uint32_t access) {
  const bool remote_changes = (access & (IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_REMOTE_WRITE)) != 0;
  if (remote_changes && (access & IB_ACCESS_LOCAL_WRITE) == 0) return Err(EINVAL);
  if ((access & ~kKnownAccess) != 0) return Err(EINVAL);
  if ((access & IB_ACCESS_ON_DEMAND) != 0) return Err(EINVAL);
  return {};
}

// ib_access_writable().
bool Writable(uint32_t access) {
  return (access & (IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_MW_BIND)) != 0;
}

// RLIMIT_MEMLOCK of a process, in pages; no limit when it cannot be read.
uint64_t MemlockPages(pid_t pid) {
  constexpr std::string_view kName = "Max locked memory";
  std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with(kName)) continue;
    char* end = nullptr;
    const char* start = line.c_str() + kName.size();
    const uint64_t bytes = std::strtoull(start, &end, 10);
    return end == start ? ~uint64_t{0} : bytes / kPageSize;  // "unlimited" is no number
  }
  return ~uint64_t{0};
}

}  // namespace

Status Pd::Destroy() {
  if (users.load(std::memory_order_acquire) != 0) return Err(EBUSY);  // ib_dealloc_pd_user()
  return {};
}

Mr::~Mr() { Release(); }

Status Mr::Destroy() {
  Release();
  return {};
}

// Accesses stop first, then what they reached goes.
void Mr::Release() {
  if (index_ != 0) core_.nics().DestroyMr(std::exchange(index_, 0));
  mapping_.reset();
  attachment_.reset();
  if (pinned_pages_ != 0) core_.UnpinPages(pinned_by_, std::exchange(pinned_pages_, 0));
  pd_.Release();
}

Status Mr::Program(const roce::MrCreate& create) {
  CW_TRY(index_, core_.nics().CreateMr(create));
  key_ = core_.nics().mr(index_).key;
  iova_ = create.iova;
  length_ = create.length;
  return {};
}

Result<Ref<Mr>> Mr::RegisterHost(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, uint64_t start, uint64_t length,
                                 uint64_t iova, uint32_t access) {
  CW_CHECK(CheckAccess(access));
  // ib_umem_get().
  uint64_t end = 0;
  if (!CheckedAdd(start, length, &end) || end > ~uint64_t{0} - (kPageSize - 1)) return Err(EINVAL);
  if (length == 0) return Err(EINVAL);  // no pages
  const uint64_t pages = (AlignUp(end, kPageSize) - AlignDown(start, kPageSize)) / kPageSize;
  if (pages > ~uint32_t{0}) return Err(EINVAL);
  const uint32_t pd_number = pd->number();
  auto mr = MakeRef<Mr>(file, std::move(pd));
  if (file.core().enforce_memlock()) {
    const uint64_t limit = task.Capable(CAP_IPC_LOCK) ? ~uint64_t{0} : MemlockPages(task.pid());
    if (limit == 0) return Err(EPERM);  // can_do_mlock()
    CW_CHECK(file.core().PinPages(task.pid(), pages, limit));
    mr->pinned_by_ = task.pid();
    mr->pinned_pages_ = pages;
  }
  CW_CHECK(task.CheckRange(start, length, Writable(access)));
  const pci::Function& function = file.device().function();
  const roce::HostRegion host = {.mm = task.mm().index, .address = start};
  CW_CHECK(mr->Program({.nic = file.device().nic(),
                        .pd = pd_number,
                        .access = access & ~uint32_t{IB_ACCESS_OPTIONAL},
                        .iova = iova,
                        .length = length,
                        .host = &host,
                        .initiator = &function,
                        .route = file.core().bus().RouteTo(function, nullptr)}));
  return mr;
}

Result<Ref<Mr>> Mr::RegisterDmaBuf(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, const DmaBufRequest& request) {
  if (!file.device().config().dmabuf) return Err(EOPNOTSUPP);
  if ((request.offset & (kPageSize - 1)) != (request.iova & (kPageSize - 1))) return Err(EINVAL);
  if ((request.access & ~kDmaBufAccess) != 0) return Err(EINVAL);
  CW_CHECK(CheckAccess(request.access));
  uint64_t end = 0;
  if (!CheckedAdd(request.offset, request.length, &end)) return Err(EINVAL);
  // dma_buf_get().
  CW_TRY(const auto descriptor, task.GetFile(request.fd));
  auto dmabuf = DynamicRefCast<dmabuf::DmaBuf>(descriptor);
  if (!dmabuf) return Err(EINVAL);
  if (dmabuf->size() < end) return Err(EINVAL);
  if (request.length == 0) return Err(EINVAL);  // no pages
  const pci::Function& function = file.device().function();
  const pci::Function* const target = dmabuf->function();

  const uint32_t pd_number = pd->number();
  auto mr = MakeRef<Mr>(file, std::move(pd));
  mr->is_dmabuf_ = true;
  // A pinned importer: no move_notify, so a dynamic exporter pins at attach.
  CW_TRY(mr->attachment_,
         dmabuf::DmaBufAttachment::Create(std::move(dmabuf), function, {.allow_peer2peer = true, .move_notify = {}}));
  CW_TRY(mr->mapping_, mr->attachment_->Map(dmabuf::Direction::kBidirectional));
  std::vector<roce::BusSegment> segments;
  for (const dmabuf::SgEntry& entry : mr->mapping_->table()) segments.push_back({entry.dma_address, entry.len});
  CW_CHECK(mr->Program({.nic = file.device().nic(),
                        .pd = pd_number,
                        .access = request.access & ~uint32_t{IB_ACCESS_OPTIONAL},
                        .iova = request.iova,
                        .length = request.length,
                        .bus = segments,
                        .bus_offset = request.offset,
                        .initiator = &function,
                        .route = file.core().bus().RouteTo(function, target)}));
  return mr;
}

// ib_uverbs_alloc_pd().
Status AllocPdCommand(Command& command) {
  auto slot = command.file.objects().Reserve();
  auto pd = MakeRef<Pd>(command.file.core().nics().AllocPd());
  CW_CHECK(command.Respond(ib_uverbs_alloc_pd_resp{.pd_handle = slot.handle()}));
  slot.Commit(std::move(pd));
  return {};
}

Status DeallocPdCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_dealloc_pd>());
  CW_CHECK(command.file.objects().Destroy<Pd>(request.pd_handle));
  return {};
}

// ib_uverbs_reg_mr().
Status RegMrCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_reg_mr>());
  if ((request.start & (kPageSize - 1)) != (request.hca_va & (kPageSize - 1))) return Err(EINVAL);
  CW_CHECK(CheckAccess(request.access_flags));
  auto slot = command.file.objects().Reserve();
  CW_TRY(const auto pd, command.file.objects().Lookup<Pd>(request.pd_handle));
  CW_TRY(auto mr, Mr::RegisterHost(command.file, command.task, pd.ref(), request.start, request.length, request.hca_va,
                                   request.access_flags));
  CW_CHECK(command.Respond(ib_uverbs_reg_mr_resp{.mr_handle = slot.handle(), .lkey = mr->key(), .rkey = mr->key()}));
  slot.Commit(std::move(mr));
  return {};
}

Status DeregMrCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_dereg_mr>());
  CW_CHECK(command.file.objects().Destroy<Mr>(request.mr_handle));
  return {};
}

}  // namespace causeway::infiniband
