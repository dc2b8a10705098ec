// SPDX-License-Identifier: Apache-2.0
// Sources: linux v6.12 drivers/accel/habanalabs/common/{device.c,habanalabs_drv.c,memory.c}.
#include "drivers/habanalabs/device.h"

#include <algorithm>

#include "base/log.h"
#include "drivers/habanalabs/context.h"
#include "drivers/habanalabs/engine_status.h"
#include "drivers/habanalabs/file.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

uint64_t PoolEnd(const AsicProperties& properties) {
  return properties.dram_supports_virtual_memory ? properties.dram_end_address : properties.dram_user_base_address;
}

}  // namespace

HlDevice::HlDevice(std::unique_ptr<gaudi::Board> board, const AsicProperties& properties, pci::Bus& bus,
                   kernel::RefusalLog& refusals, WorkQueue& work, ipc::MemoryTable& memories, uint32_t coherent,
                   std::string node, std::string control_node)
    : board_(std::move(board)),
      properties_(properties),
      coherent_(memories, coherent),
      bus_(bus),
      refusals_(refusals),
      work_(work),
      node_(std::move(node)),
      control_node_(std::move(control_node)),
      timeout_locked_sec_(properties.timeout_locked_sec),
      events_(properties.num_of_events),
      pool_(properties.dram_user_base_address, PoolEnd(properties), properties.dram_page_size) {
  board_->fabric().SetCoherent(coherent, CoherentMemory::kDmaBase, CoherentMemory::kBytes);
  submission_ = std::make_unique<Submission>(*this);
  execution_ = submission_.get();
}

HlDevice::~HlDevice() {
  // Submissions still under way hold their context, whose end needs the device; and the submission side's threads
  // report to what is declared after it.
  submission_->HaltAndRollBack(/*hard=*/true);
  submission_.reset();
}

// hl_device_open() of v6.1, v6.12 and the vendor's driver: the same order in all three.
Result<Ref<kernel::File>> HlDevice::OpenCompute(kernel::Task& opener, uint32_t major, uint32_t minor) {
  auto pidfd = opener.Pidfd();  // get_task_pid(); talks to the host, so before the lock
  Ref<HlCtx> ctx;
  {
    const std::lock_guard lock(mutex_);
    switch (status()) {
      case uapi::kHlStatusOperational:
      case uapi::kHlStatusInDeviceCreation: break;
      case uapi::kHlStatusInReset:
      case uapi::kHlStatusInResetAfterDeviceRelease: return Err(EAGAIN);
      default: return Err(EPERM);
    }
    if (compute_ctx_in_release_) return Err(EAGAIN);
    if (is_compute_ctx_active_) return Err(EBUSY);

    ctx = MakeRef<HlCtx>(*this);
    AddNotifier(ctx->notifier, /*control=*/false);
    is_compute_ctx_active_ = true;
    in_fpriv_list_ = true;
    opener_ = opener.pid();
    opener_pidfd_ = pidfd ? std::move(*pidfd) : UniqueFd();
    errors_.Arm();
    ++open_counter_;
    last_open_ktime_ns_ = KtimeNs();
  }
  {
    const std::lock_guard lock(ctx_mutex_);
    ctx_ = ctx.get();
  }
  return Ref<kernel::File>(MakeRef<HlFile>(*this, std::move(ctx), major, minor));
}

Result<Ref<kernel::File>> HlDevice::OpenControl(uint32_t major, uint32_t minor) {
  // v6.1 asks for an operational device, later ones only for one that is not disabled.
  const bool refused = properties_.flavour == Flavour::kMisc ? !operational() : status() == uapi::kHlStatusMalfunction;
  if (refused) return Err(EPERM);
  return Ref<kernel::File>(MakeRef<HlControlFile>(*this, major, minor));
}

void HlDevice::Released() {
  const std::lock_guard lock(mutex_);
  compute_ctx_in_release_ = true;
  last_open_period_ms_ = static_cast<uint64_t>(KtimeNs() - last_open_ktime_ns_) / 1'000'000;
}

void HlDevice::CtxReleased(HlCtx& ctx) {
  submission_->ContextReleased();
  // hl_vm_ctx_fini(): handles of this asid are freed silently, shared ones too.
  std::vector<std::shared_ptr<PhysPgPack>> owned;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = handles_.begin(); it != handles_.end();) {
      if (it->second->asid == ctx.asid()) {
        owned.push_back(std::move(it->second));
        it = handles_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (const auto& pack : owned) {
    dram_used_.fetch_sub(pack->total_size, std::memory_order_relaxed);
    FreePack(*pack);
  }
  if (!properties_.dram_supports_virtual_memory) {
    // Nobody holds device memory any more: exports would have held the context.
    dram_used_.store(0, std::memory_order_relaxed);
    board_->ForgetHbm(properties_.dram_user_base_address - properties_.dram_base_address, properties_.user_dram_size());
  }
  if (in_debug()) (void)SetDebugMode(false);  // hl_ctx_fini()

  // hpriv_release(). A reset that runs sees to everything itself; one that waits for the release begins now.
  bool reset = false;
  {
    const std::lock_guard lock(reset_mutex_);
    reset = !reset_.in_reset && (properties_.reset_upon_device_release || reset_.watchdog_active);
  }
  if (!reset && status() != uapi::kHlStatusInReset && !IsIdle()) {
    log::Error("{}: device is not idle after user context is closed", node_);
    reset = true;
  }
  RemoveNotifier(ctx.notifier);
  {
    const std::lock_guard lock(mutex_);
    in_fpriv_list_ = false;
  }
  if (reset) (void)Reset(kResetDevRelease);
  const std::lock_guard lock(mutex_);
  is_compute_ctx_active_ = false;
  compute_ctx_in_release_ = false;
  opener_ = 0;
  opener_pidfd_.Reset();
}

void HlDevice::CtxEnding() {
  const std::lock_guard lock(ctx_mutex_);
  ctx_ = nullptr;
}

bool HlDevice::HasComputeCtx() {
  const std::lock_guard lock(ctx_mutex_);
  return ctx_ != nullptr;
}

std::optional<MappingKind> HlDevice::MappingAt(uint64_t va, uint64_t bytes) {
  const std::lock_guard lock(ctx_mutex_);
  return ctx_ == nullptr ? std::nullopt : ctx_->MappingAt(va, bytes);
}

// The rest of hl_device_release(). What still holds the context is work that was submitted: later kernels end it.
void HlDevice::StillInUse() {
  log::Info("{}: user process closed FD but device still in use", node_);
  if (properties_.flavour != Flavour::kMisc) (void)Reset(kResetHard);
}

bool HlDevice::IsIdle() const {
  if (execution_ == nullptr) return true;
  const EngineMask busy = execution_->BusyEngines();
  return std::ranges::all_of(busy, [](uint64_t word) { return word == 0; });
}

Result<uint32_t> HlDevice::AllocateMemory(HlCtx& ctx, uint64_t size, uint32_t flags) {
  const uint64_t page_size = properties_.dram_page_size;
  // DIV_ROUND_UP_ULL() on u64: a size within a page of 2^64 wraps to no pages.
  const uint64_t count = (size + page_size - 1) / page_size;
  if (count == 0) return Err(EINVAL);

  auto pack = std::make_shared<PhysPgPack>();
  const std::lock_guard lock(mutex_);
  if (count > pool_.free_pages()) return Err(ENOMEM);
  if ((flags & uapi::kHlMemContiguous) != 0) {
    const auto first = pool_.Allocate(count);
    if (!first) return Err(ENOMEM);
    for (uint64_t page = 0; page < count; ++page) pack->pages.push_back(*first + page * page_size);
  } else {
    for (uint64_t page = 0; page < count; ++page) pack->pages.push_back(*pool_.Allocate(1));
  }
  // idr_alloc(1, 0): the lowest free number.
  uint32_t handle = 1;
  for (const auto& [used, unused] : handles_) {
    if (used != handle) break;
    ++handle;
  }
  pack->handle = handle;
  pack->asid = ctx.asid();
  pack->flags = flags;
  pack->total_size = count * page_size;
  ctx.dram_phys_mem.fetch_add(pack->total_size, std::memory_order_relaxed);
  dram_used_.fetch_add(pack->total_size, std::memory_order_relaxed);
  handles_.emplace(handle, std::move(pack));
  return handle;
}

Status HlDevice::FreeMemory(HlCtx& ctx, uint32_t handle) {
  std::shared_ptr<PhysPgPack> pack;
  {
    const std::lock_guard lock(mutex_);
    const auto it = handles_.find(handle);
    if (it == handles_.end() || it->second->mapping_cnt != 0) return Err(EINVAL);
    pack = std::move(it->second);
    handles_.erase(it);
  }
  ctx.dram_phys_mem.fetch_sub(pack->total_size, std::memory_order_relaxed);
  dram_used_.fetch_sub(pack->total_size, std::memory_order_relaxed);
  FreePack(*pack);
  return {};
}

// free_phys_pg_pack(). The pages' content goes back to the system before the pages can be given out again.
void HlDevice::FreePack(PhysPgPack& pack) {
  for (const uint64_t page : pack.pages) {
    board_->ForgetHbm(page - properties_.dram_base_address, properties_.dram_page_size);
  }
  const std::lock_guard lock(mutex_);
  for (const uint64_t page : pack.pages) pool_.Free(page, 1);
}

Result<std::shared_ptr<PhysPgPack>> HlDevice::MapMemory(const HlCtx& ctx, uint32_t handle) {
  const std::lock_guard lock(mutex_);
  const auto it = handles_.find(handle);
  if (it == handles_.end()) return Err(EINVAL);
  PhysPgPack& pack = *it->second;
  if ((pack.flags & uapi::kHlMemShared) == 0 && pack.asid != ctx.asid()) return Err(EPERM);
  ++pack.mapping_cnt;
  return it->second;
}

void HlDevice::UnmapMemory(PhysPgPack& pack) {
  const std::lock_guard lock(mutex_);
  CW_INVARIANT(pack.mapping_cnt != 0);
  --pack.mapping_cnt;
}

void HlDevice::AddDramUsed(HlCtx& ctx, uint64_t bytes) {
  ctx.dram_phys_mem.fetch_add(bytes, std::memory_order_relaxed);
  dram_used_.fetch_add(bytes, std::memory_order_relaxed);
}

std::string_view HlDevice::StatusName() const {
  switch (status()) {
    case uapi::kHlStatusOperational: return "operational";
    case uapi::kHlStatusInReset: return "in reset";
    case uapi::kHlStatusMalfunction: return "disabled";
    case uapi::kHlStatusNeedsReset: return "needs reset";
    case uapi::kHlStatusInDeviceCreation: return "in device creation";
    case uapi::kHlStatusInResetAfterDeviceRelease: return "in reset after device release";
  }
  return "unknown";
}

// device_type_show().
std::string HlDevice::TypeName() const {
  const pci::Identity& identity = function().identity();
  if (properties_.asic == gaudi::Asic::kGaudi) {
    return identity.device == gaudi::kDeviceGaudiSec ? "GAUDI SEC" : "GAUDI";
  }
  if (properties_.flavour == Flavour::kMisc) return "GAUDI2";
  switch (identity.revision) {
    case 2: return "GAUDI2B";
    case 3: return "GAUDI2C";
    case 4: return "GAUDI2D";
    default: return "GAUDI2";
  }
}

HlDevice::OpenStats HlDevice::open_stats() const {
  const std::lock_guard lock(mutex_);
  return {.open_counter = open_counter_,
          .last_open_period_ms = last_open_period_ms_,
          .active = is_compute_ctx_active_,
          .in_release = compute_ctx_in_release_,
          .last_open_ktime_ns = last_open_ktime_ns_};
}

DeviceReport HlDevice::Report() const {
  DeviceReport report;
  report.name = function().name();
  report.bdf = function().bdf().ToString();
  report.type = TypeName();
  report.node = node_;
  report.control_node = control_node_;
  report.status = status();
  report.dram_used = dram_used();
  report.dram_size = properties_.user_dram_size();
  report.hbm_resident = board_->hbm_resident_bytes();
  report.dmabufs = dmabuf_export_cnt_.load(std::memory_order_relaxed);
  report.status_name = StatusName();
  const EngineMask busy = BusyEngines();
  for (unsigned engine = 0; engine < EngineCount(properties_.asic); ++engine) {
    if ((busy[engine / 64] >> (engine % 64) & 1) != 0) {
      report.busy_engines.push_back(EngineName(properties_.asic, engine));
    }
  }
  const auto ask = [this](gaudi::CpucpOpcode opcode) -> std::optional<int64_t> {
    const auto reply = pci_link_down_ ? std::nullopt : board_->cpucp().Send({.opcode = opcode});
    if (!reply || reply->rc != gaudi::CpucpRc::kSuccess) return {};
    return reply->value;
  };
  if (const auto value = ask(gaudi::CpucpOpcode::kPowerGet)) report.power_mw = static_cast<uint64_t>(*value);
  if (const auto value = ask(gaudi::CpucpOpcode::kFrequencyCurrGet)) report.clock_mhz = static_cast<uint64_t>(*value);
  report.temperature_mc = ask(gaudi::CpucpOpcode::kTemperatureGet);
  if (execution_ != nullptr) {
    report.active_cs = execution_->ActiveCs();
    report.completed_cs = execution_->CompletedCs();
  }
  report.hard_resets = reset_count().hard;
  const std::lock_guard lock(mutex_);
  report.opener = opener_;
  report.in_release = compute_ctx_in_release_;
  return report;
}

}  // namespace causeway::habanalabs
