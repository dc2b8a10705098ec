// SPDX-License-Identifier: Apache-2.0
// An open sysfs attribute: fs/kernfs/file.c over fs/sysfs/file.c. show() runs when a read starts at offset 0 and what
// it said is then read piecewise; a write hands store() at most one page, whatever the position.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "kernel/file.h"

namespace causeway::kernel {

class AttributeFile : public File {
 public:
  struct Attribute {
    std::string path;
    uint32_t mode;
    uint64_t inode;
    std::function<Result<std::string>()> show;
    std::function<Status(std::string_view)> store;
  };
  static constexpr uint64_t kSize = 4096;  // st_size of every attribute: sysfs_add_file_mode_ns(), PAGE_SIZE

  explicit AttributeFile(Attribute attribute) : File(ipc::kFileAttribute), attribute_(std::move(attribute)) {}

  Result<int64_t> ReadAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset, bool* drained) override;
  Result<int64_t> WriteAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset) override;
  Result<int64_t> Seek(Task& task, int64_t offset, int whence) override;
  FileStat Stat() const override;
  std::string Name() const override { return attribute_.path; }

 private:
  const Attribute attribute_;
  std::mutex mutex_;  // of->mutex: one read, write or seek at a time
  int64_t position_ = 0;
  bool shown_ = false;
  std::string text_;
};

}  // namespace causeway::kernel
