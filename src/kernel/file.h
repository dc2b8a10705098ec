// SPDX-License-Identifier: Apache-2.0
// struct file and its operations. A File is an open file description of the machine: programs hold it through
// descriptors (dup, fork, SCM_RIGHTS all share it), the kernel half through Ref<File>. Its destructor is release():
// it runs when the last descriptor and the last Ref are gone, whichever comes last.
//
//   program descriptors --- one socket pair --- FileTable entry (holds one Ref) ---> File <--- other Refs (fget)
//
// Runs on: any server thread; concurrent calls on one file are possible and each file guards its own state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/ref.h"
#include "base/result.h"
#include "ipc/channel.h"

namespace causeway::kernel {

class Task;

using FileId = uint64_t;

// What mmap() of a file maps: bytes of a memory object (ipc/memory_table.h).
struct Mapping {
  uint32_t memory = 0;
  uint64_t offset = 0;
  uint64_t vma = 0;  // not 0: the program reports munmap() of the whole range with it (File::Unmapped)
  // Stores are the device's to carry out (File::StoreMapped); loads see the memory. Needs a vma.
  bool trap_stores = false;
};

struct MmapRequest {
  uint64_t length = 0;
  uint32_t prot = 0;
  uint32_t flags = 0;
  uint64_t offset = 0;  // bytes
};

struct FileStat {
  uint32_t mode = 0;
  uint32_t rdev_major = 0, rdev_minor = 0;
  uint64_t size = 0;
  uint64_t inode = 0;
};

class File : public RefCounted {
 public:
  explicit File(ipc::FileKind kind) : kind_(kind) {}

  ipc::FileKind kind() const { return kind_; }

  // Each returns what the system call returns; the default is what Linux does where file_operations has no such entry.
  virtual Result<int64_t> Ioctl(Task&, uint32_t /*request*/, uint64_t /*arg*/) { return Err(ENOTTY); }
  virtual Result<int64_t> Write(Task&, uint64_t /*buffer*/, uint64_t /*len*/) { return Err(EINVAL); }
  // Never blocks: EAGAIN when nothing is there (the program side waits on its descriptor). *drained is set when this
  // read took the last thing there was, so that the descriptor stops being readable.
  virtual Result<int64_t> Read(Task&, uint64_t /*buffer*/, uint64_t /*len*/, bool* /*drained*/) { return Err(EINVAL); }
  // read() and write() (offset -1: at the file position) and pread() and pwrite(). Overridden only by files that have
  // a position; on others an offset is ESPIPE (ksys_pread64(): no FMODE_PREAD).
  virtual Result<int64_t> ReadAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset, bool* drained) {
    if (offset != -1) return Err(ESPIPE);
    return Read(task, buffer, len, drained);
  }
  virtual Result<int64_t> WriteAt(Task& task, uint64_t buffer, uint64_t len, int64_t offset) {
    if (offset != -1) return Err(ESPIPE);
    return Write(task, buffer, len);
  }
  virtual Result<Mapping> Mmap(Task&, const MmapRequest&) { return Err(ENODEV); }
  virtual void Unmapped(Task&, uint64_t /*vma*/) {}
  // A program's store of at most 8 bytes, `offset` bytes into a mapping with trap_stores.
  virtual Status StoreMapped(Task&, uint64_t /*vma*/, uint64_t /*offset*/, uint64_t /*value*/, uint32_t /*bytes*/) {
    return Err(EINVAL);
  }
  virtual Result<int64_t> Seek(Task&, int64_t /*offset*/, int /*whence*/) { return Err(ESPIPE); }
  virtual FileStat Stat() const = 0;
  // What readlink("/proc/self/fd/N") gives: "/dev/infiniband/uverbs0", "/dmabuf:", "anon_inode:[infinibandevent]".
  virtual std::string Name() const = 0;
  virtual std::string FdInfo() const { return {}; }

  // Set once, when the file gets its place in the FileTable; 0 before.
  FileId id() const { return id_; }
  void set_id(FileId id) { id_ = id; }

 private:
  const ipc::FileKind kind_;
  FileId id_ = 0;
};

}  // namespace causeway::kernel
