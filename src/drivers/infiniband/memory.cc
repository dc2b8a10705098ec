// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/memory.h"

#include <linux/capability.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include "base/checked.h"
#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

constexpr uint32_t kFlushAccess = IB_ACCESS_FLUSH_GLOBAL | IB_ACCESS_FLUSH_PERSISTENT;
constexpr uint32_t kKnownAccess = 0xff | kFlushAccess | IB_ACCESS_OPTIONAL;  // IB_ACCESS_SUPPORTED, linux v6.12
constexpr uint32_t kDmaBufAccess = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
                                   IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_RELAXED_ORDERING;
// RXE_ACCESS_SUPPORTED_MR.
constexpr uint32_t kReregAccess = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE |
                                  IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_MW_BIND | IB_ACCESS_ON_DEMAND | kFlushAccess |
                                  IB_ACCESS_OPTIONAL;

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

Status CheckAccess(const IbDevice& device, uint32_t access) {
  const bool remote_changes = (access & (IB_ACCESS_REMOTE_ATOMIC | IB_ACCESS_REMOTE_WRITE)) != 0;
  if (remote_changes && (access & IB_ACCESS_LOCAL_WRITE) == 0) return Err(EINVAL);
  if ((access & ~kKnownAccess) != 0) return Err(EINVAL);
  if ((access & IB_ACCESS_ON_DEMAND) != 0 && !device.Has(&Capabilities::odp)) return Err(EINVAL);
  if ((access & kFlushAccess) != 0 && !device.Has(&Capabilities::flush)) return Err(EINVAL);
  return {};
}

Status Pd::Destroy() {
  if (users.load(std::memory_order_acquire) != 0) return Err(EBUSY);  // ib_dealloc_pd_user()
  return {};
}

Mr::~Mr() { Release(); }

Status Mr::Destroy() {
  if (index_ != 0 && core_.nics().WindowsOf(index_) != 0) return Err(EINVAL);
  Release();
  return {};
}

// Accesses stop first, then what they reached goes.
void Mr::Release() {
  const uint32_t index = std::exchange(index_, 0);
  if (import_) {
    import_->Close();
  } else if (index != 0) {
    core_.nics().DestroyMr(index);
  }
  if (pinned_pages_ != 0) core_.UnpinPages(pinned_by_, std::exchange(pinned_pages_, 0));
  pd_.Release();
}

Status Mr::Reregister(uint32_t flags, Ref<Pd> pd, uint32_t access) {
  if ((flags & ~(IB_MR_REREG_PD | IB_MR_REREG_ACCESS)) != 0 || import_) return Err(EOPNOTSUPP);
  std::optional<uint32_t> new_access, new_pd;
  if ((flags & IB_MR_REREG_ACCESS) != 0) {
    if ((access & ~kReregAccess) != 0) return Err(EOPNOTSUPP);
    new_access = access & ~uint32_t{IB_ACCESS_OPTIONAL};
  }
  const std::lock_guard lock(mutex_);
  if (pd) new_pd = pd->number();
  core_.nics().ChangeMr(index_, new_pd, new_access);
  if (pd) {
    pdn_.store(pd->tracked().id, std::memory_order_relaxed);
    pd_.Replace(std::move(pd));
  }
  return {};
}

Status Mr::Program(const roce::MrCreate& create) {
  if (index_ == 0) {
    CW_TRY(index_, core_.nics().CreateMr(create));
  }
  key_ = core_.nics().mr(index_).key;
  iova_ = create.iova;
  length_ = create.length;
  return {};
}

Result<Ref<Mr>> Mr::RegisterHost(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, uint64_t start, uint64_t length,
                                 uint64_t iova, uint32_t access) {
  CW_CHECK(CheckAccess(file.device(), access));
  const bool on_demand = (access & IB_ACCESS_ON_DEMAND) != 0;
  uint64_t end = 0;
  const bool wraps = !CheckedAdd(start, length, &end) || end > ~uint64_t{0} - (kPageSize - 1);
  if (on_demand) {
    // The whole address space: IB_ODP_SUPPORT_IMPLICIT, which rxe does not have.
    if (start == 0 && length == ~uint64_t{0}) return Err(EINVAL);
    if (wraps) return Err(EOVERFLOW);  // ib_init_umem_odp()
  }
  if (wraps || length == 0) return Err(EINVAL);  // ib_umem_get(): no pages
  const uint64_t pages = (AlignUp(end, kPageSize) - AlignDown(start, kPageSize)) / kPageSize;
  if (pages > ~uint32_t{0}) return Err(EINVAL);
  const uint32_t pd_number = pd->number();
  auto mr = MakeRef<Mr>(file, std::move(pd));
  if (file.core().enforce_memlock() && !on_demand) {
    const uint64_t limit = task.Capable(CAP_IPC_LOCK) ? ~uint64_t{0} : MemlockPages(task.pid());
    if (limit == 0) return Err(EPERM);  // can_do_mlock()
    CW_CHECK(file.core().PinPages(task.pid(), pages, limit));
    mr->pinned_by_ = task.pid();
    mr->pinned_pages_ = pages;
  }
  std::vector<roce::HostPiece> pieces;
  if (!on_demand) {
    CW_TRY(const auto shared, task.PinRange(start, length, Writable(access)));
    for (const kernel::SharedPages& part : shared) pieces.push_back({part.start, part.len, part.offset});
  }
  const pci::Function& function = file.device().function();
  const roce::HostRegion host = {.mm = task.mm().index, .address = start, .shared = pieces};
  CW_CHECK(mr->Program({.nic = file.device().nic(),
                        .pd = pd_number,
                        .access = access & ~uint32_t{IB_ACCESS_OPTIONAL},
                        .iova = iova,
                        .length = length,
                        .host = &host,
                        .initiator = &function,
                        .route = file.core().bus().RouteTo(function, nullptr)}));
  mr->set_tracked(file.Track(IbDevice::Restrack::kMr, task));
  return mr;
}

Result<Ref<Mr>> Mr::RegisterDmaBuf(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, const DmaBufRequest& request) {
  if (!file.device().Has(&Capabilities::dmabuf)) return Err(EOPNOTSUPP);
  if ((request.offset & (kPageSize - 1)) != (request.iova & (kPageSize - 1))) return Err(EINVAL);
  if ((request.access & ~kDmaBufAccess) != 0) return Err(EINVAL);
  CW_CHECK(CheckAccess(file.device(), request.access));
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
  roce::MrCreate create = {.nic = file.device().nic(),
                           .pd = pd_number,
                           .access = request.access & ~uint32_t{IB_ACCESS_OPTIONAL},
                           .iova = request.iova,
                           .length = request.length,
                           .bus = {},
                           .bus_offset = request.offset,
                           .initiator = &function,
                           .route = file.core().bus().RouteTo(function, target)};
  // A NIC that can wait for pages follows a buffer that moves; one that cannot pins it.
  CW_TRY(mr->import_, DmaBufImport::Create(file.core().nics(), file.core().remap(), std::move(dmabuf), function,
                                           file.device().Has(&Capabilities::odp), create));
  mr->index_ = mr->import_->index();
  CW_CHECK(mr->Program(create));
  mr->set_tracked(file.Track(IbDevice::Restrack::kMr, task));
  return mr;
}

Status AdviseMr(UverbsFile& file, kernel::Task& task, const Pd& pd, uint32_t advice, uint32_t flags,
                std::span<const ib_uverbs_sge> list) {
  if (advice > IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT) return Err(EOPNOTSUPP);
  const bool write = advice == IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE;
  for (const ib_uverbs_sge& sge : list) {
    const uint32_t index = sge.lkey >> 8;
    if (index >= roce::kMaxMrs) return Err(EINVAL);
    const roce::MrEntry& mr = file.core().nics().mr(index);
    const bool usable = mr.valid.load(std::memory_order_acquire) != 0 && mr.key == sge.lkey && mr.pd == pd.number();
    if (!usable || mr.kind != roce::kMrHost || (mr.access & IB_ACCESS_ON_DEMAND) == 0) return Err(EINVAL);
    if (write && !Writable(mr.access)) return Err(EPERM);
    const bool inside = sge.addr >= mr.iova && InRange(sge.addr - mr.iova, sge.length, mr.length);
    Status there;
    if (!inside) {
      there = Err(EFAULT);
    } else if (sge.length != 0 && advice != IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT) {
      there = task.CheckRange(mr.address + (sge.addr - mr.iova), sge.length, write);
    }
    if (!there && (flags & IB_UVERBS_ADVISE_MR_FLAG_FLUSH) != 0) return there;
  }
  return {};
}

// ib_uverbs_alloc_pd().
Status AllocPdCommand(Command& command) {
  auto slot = command.file.objects().Reserve();
  auto pd = MakeRef<Pd>(command.file.core().nics().AllocPd());
  pd->set_tracked(command.file.Track(IbDevice::Restrack::kPd, command.task));
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
  CW_CHECK(CheckAccess(command.file.device(), request.access_flags));
  auto slot = command.file.objects().Reserve();
  CW_TRY(const auto pd, command.file.objects().Lookup<Pd>(request.pd_handle));
  CW_TRY(auto mr, Mr::RegisterHost(command.file, command.task, pd.ref(), request.start, request.length, request.hca_va,
                                   request.access_flags));
  CW_CHECK(command.Respond(ib_uverbs_reg_mr_resp{.mr_handle = slot.handle(), .lkey = mr->key(), .rkey = mr->key()}));
  slot.Commit(std::move(mr));
  return {};
}

// ib_uverbs_rereg_mr().
Status ReregMrCommand(Command& command) {
  constexpr uint32_t kSupported = IB_MR_REREG_TRANS | IB_MR_REREG_PD | IB_MR_REREG_ACCESS;
  CW_TRY(const auto request, command.Request<ib_uverbs_rereg_mr>());
  if (request.flags == 0) return Err(EINVAL);
  if ((request.flags & ~kSupported) != 0) return Err(EOPNOTSUPP);
  if ((request.flags & IB_MR_REREG_TRANS) != 0 && request.start % kPageSize != request.hca_va % kPageSize) {
    return Err(EINVAL);
  }
  CW_TRY(const auto mr, command.file.objects().Lookup<Mr>(request.mr_handle));
  if ((request.flags & IB_MR_REREG_ACCESS) != 0) CW_CHECK(CheckAccess(command.file.device(), request.access_flags));
  Use<Pd> pd;
  if ((request.flags & IB_MR_REREG_PD) != 0) {
    CW_TRY(pd, command.file.objects().Lookup<Pd>(request.pd_handle));
  }
  CW_CHECK(mr->Reregister(request.flags, pd.ref(), request.access_flags));
  return command.Respond(ib_uverbs_rereg_mr_resp{.lkey = mr->key(), .rkey = mr->key()});
}

Status DeregMrCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_dereg_mr>());
  CW_CHECK(command.file.objects().Destroy<Mr>(request.mr_handle));
  return {};
}

}  // namespace causeway::infiniband
