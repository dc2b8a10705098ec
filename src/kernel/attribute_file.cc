// SPDX-License-Identifier: Apache-2.0
#include "kernel/attribute_file.h"

#include <unistd.h>

#include <algorithm>
#include <span>

#include "base/checked.h"
#include "kernel/task.h"

namespace causeway::kernel {

Result<int64_t> AttributeFile::ReadAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset, bool* /*drained*/) {
  if (offset < -1) return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  const int64_t at = offset == -1 ? position_ : offset;
  if (at == 0 || !shown_) {
    CW_TRY(text_, attribute_.show());
    shown_ = true;
  }
  if (static_cast<uint64_t>(at) >= text_.size()) return 0;
  const auto part = std::string_view(text_).substr(static_cast<size_t>(at), len);
  CW_CHECK(task.memory().CopyTo(buffer, std::as_bytes(std::span(part))));
  if (offset == -1) position_ = at + static_cast<int64_t>(part.size());
  return static_cast<int64_t>(part.size());
}

Result<int64_t> AttributeFile::WriteAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset) {
  if (offset < -1) return Err(EINVAL);
  const std::lock_guard lock(mutex_);
  std::string text(std::min(len, kPageSize), '\0');  // kernfs_fop_write_iter()
  CW_CHECK(task.memory().CopyFrom(std::as_writable_bytes(std::span(text)), buffer));
  if (text.empty()) return 0;  // sysfs_kf_write()
  CW_CHECK(attribute_.store(text));
  if (offset == -1) position_ += static_cast<int64_t>(text.size());
  return static_cast<int64_t>(text.size());
}

// generic_file_llseek() over i_size.
Result<int64_t> AttributeFile::Seek(Task& /*task*/, int64_t offset, int whence) {
  const std::lock_guard lock(mutex_);
  int64_t base = 0;
  switch (whence) {
    case SEEK_SET: break;
    case SEEK_CUR: base = position_; break;
    case SEEK_END: base = static_cast<int64_t>(kSize); break;
    default: return Err(EINVAL);
  }
  int64_t to = 0;
  if (__builtin_add_overflow(base, offset, &to) || to < 0) return Err(EINVAL);
  position_ = to;
  return to;
}

FileStat AttributeFile::Stat() const {
  FileStat stat;
  stat.mode = attribute_.mode;
  stat.size = kSize;
  stat.inode = attribute_.inode;
  return stat;
}

}  // namespace causeway::kernel
