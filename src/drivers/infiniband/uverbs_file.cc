// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/uverbs_file.h"

#include <sys/stat.h>

#include <climits>

#include "drivers/infiniband/commands.h"
#include "ipc/memory_table.h"

namespace causeway::infiniband {

UverbsFile::UverbsFile(IbDevice& device, pid_t opener)
    : File(ipc::kFileUverbs), device_(device), opener_(opener), serial_(device.core().NextSerial()) {
  device_.AddFile(this);
}

// rdma_core.c uverbs_destroy_ufile_hw(), RDMA_REMOVE_CLOSE.
UverbsFile::~UverbsFile() {
  device_.RemoveFile(this);
  objects_.DestroyAll();
  for (const auto& file : event_files_) file->Close();
}

Result<int64_t> UverbsFile::Ioctl(kernel::Task& task, uint32_t request, uint64_t arg) {
  return UverbsIoctl(*this, task, request, arg);
}

Result<int64_t> UverbsFile::Write(kernel::Task& task, uint64_t buffer, uint64_t len) {
  return UverbsWrite(*this, task, buffer, len);
}

// ib_uverbs_mmap(), rxe_mmap().
Result<kernel::Mapping> UverbsFile::Mmap(kernel::Task&, const kernel::MmapRequest& request) {
  if (!has_context()) return Err(EINVAL);
  CW_TRY(auto ring, device_.rings().Take(serial_, request.offset, request.length));
  const uint64_t offset = ring->ring().offset;
  const std::lock_guard lock(mutex_);
  const uint64_t vma = next_vma_++;
  mapped_.emplace(vma, Mapped{std::move(ring)});
  return kernel::Mapping{.memory = ipc::kArenaMemory, .offset = offset, .vma = vma};
}

void UverbsFile::Unmapped(kernel::Task&, uint64_t vma) {
  std::unique_lock lock(mutex_);
  const auto gone = mapped_.extract(vma);  // memory is given back without the lock
  lock.unlock();
}

kernel::FileStat UverbsFile::Stat() const {
  return {.mode = S_IFCHR | 0666, .rdev_major = kUverbsMajor, .rdev_minor = kUverbsMinor + device_.number()};
}

std::string UverbsFile::Name() const { return "/dev/infiniband/uverbs" + std::to_string(device_.number()); }

Status UverbsFile::MakeContext(const kernel::Task& task) {
  if (making_context_.exchange(true)) return Err(EINVAL);
  tracked_ = Track(IbDevice::Restrack::kCtx, task);
  has_context_.store(true, std::memory_order_release);
  return {};
}

Ref<EventFile> UverbsFile::NewEventFile(EventFile::Type type) {
  auto file = MakeRef<EventFile>(type, serial_, core().readiness());
  std::vector<Ref<EventFile>> gone;  // dropped without the lock
  const std::lock_guard lock(mutex_);
  for (auto& known : event_files_) {
    if (known->ref_count_for_report() == 1) gone.push_back(std::move(known));
  }
  std::erase_if(event_files_, [](const Ref<EventFile>& known) { return !known; });
  event_files_.push_back(file);
  return file;
}

void UverbsFile::OfferDefaultAsync(const Ref<EventFile>& file) {
  const std::lock_guard lock(mutex_);
  if (!default_async_) default_async_ = file;
}

Ref<EventFile> UverbsFile::default_async() const {
  const std::lock_guard lock(mutex_);
  return default_async_;
}

Result<Ref<EventFile>> UverbsFile::GetEventFile(kernel::Task& task, int64_t fd, EventFile::Type type) {
  if (fd < 0 || fd > INT_MAX) return Err(EBADF);
  CW_TRY(const auto file, task.GetFile(static_cast<int>(fd)));
  auto events = DynamicRefCast<EventFile>(file);
  if (!events || events->type() != type || events->context() != serial_) return Err(EBADF);
  return events;
}

}  // namespace causeway::infiniband
