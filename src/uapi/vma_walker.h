// SPDX-License-Identifier: Apache-2.0
// The mappings of a process, from /proc/<pid>/maps: one PROCMAP_QUERY each where the host's kernel has it (v6.11), else
// the text. Freestanding: the preloaded library and the machine read the same. `Sys` gives the system calls:
//   static long Ioctl(int fd, unsigned long request, void* argument);        0 or -errno
//   static long Pread(int fd, void* buffer, size_t size, uint64_t offset);   bytes or -errno
#pragma once

#include <cstddef>
#include <cstdint>

#include "uapi/procmap.h"

namespace causeway::uapi {

struct Vma {
  uint64_t start, end;
  uint64_t offset;  // into the file, bytes
  uint64_t inode;   // 0: anonymous
  uint32_t dev_major, dev_minor;
  bool read, write, exec, shared;
  uint64_t page_size;  // 0: not known (the text does not tell)
};

// Private anonymous memory that can be read and written: what a program can move into the host memory.
inline bool IsPrivateMemory(const Vma& vma) { return !vma.shared && vma.inode == 0 && vma.read && vma.write; }

// One line of the text: "7f0000000000-7f0000021000 rw-p 00000000 00:01 1027 ...". False when it is none.
inline bool ParseMapsLine(const char* at, const char* end, Vma* out) {
  const auto number = [&](unsigned base, uint64_t* value) {
    const char* const first = at;
    for (*value = 0; at < end; ++at) {
      const char c = *at;
      const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                             : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                    : 99;
      if (digit >= base) break;
      *value = *value * base + digit;
    }
    return at != first;
  };
  const auto skip = [&](char c) { return at < end && *at == c ? (++at, true) : false; };
  uint64_t major = 0;
  uint64_t minor = 0;
  if (!number(16, &out->start) || !skip('-') || !number(16, &out->end) || !skip(' ') || end - at < 5) return false;
  out->read = at[0] == 'r';
  out->write = at[1] == 'w';
  out->exec = at[2] == 'x';
  out->shared = at[3] == 's';
  at += 4;
  if (!skip(' ') || !number(16, &out->offset) || !skip(' ') || !number(16, &major) || !skip(':') ||
      !number(16, &minor) || !skip(' ') || !number(10, &out->inode)) {
    return false;
  }
  out->dev_major = static_cast<uint32_t>(major);
  out->dev_minor = static_cast<uint32_t>(minor);
  return out->start < out->end;
}

template <typename Sys>
class VmaWalker {
 public:
  // `fd`: /proc/<pid>/maps, the caller's to close. `text`: do not try the query.
  explicit VmaWalker(int fd, bool text = false) : fd_(fd), query_(!text) {}

  // The first mapping that ends after `address`. Calls go upwards: an address below an earlier one is not looked for.
  // False: there is none.
  bool Next(uint64_t address, Vma* out) {
    if (query_) {
      procmap_query query = {};
      query.size = sizeof(query);
      query.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
      query.query_addr = address;
      const long error = Sys::Ioctl(fd_, PROCMAP_QUERY, &query);
      if (error == 0) {
        *out = {query.vma_start,
                query.vma_end,
                query.vma_offset,
                query.inode,
                query.dev_major,
                query.dev_minor,
                (query.vma_flags & PROCMAP_QUERY_VMA_READABLE) != 0,
                (query.vma_flags & PROCMAP_QUERY_VMA_WRITABLE) != 0,
                (query.vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE) != 0,
                (query.vma_flags & PROCMAP_QUERY_VMA_SHARED) != 0,
                query.vma_page_size};
        return true;
      }
      if (error == -kNoEntry) return false;
      query_ = false;  // ENOTTY of an older kernel: the text
    }
    while (!have_ || current_.end <= address) {
      have_ = ReadLine();
      if (!have_) return false;
    }
    *out = current_;
    return true;
  }

 private:
  static constexpr long kNoEntry = 2;  // ENOENT

  // Parses the next line into current_. Only a line's beginning is kept: what the path says is not asked.
  bool ReadLine() {
    for (;;) {
      size_t length = 0;
      bool whole = false;
      while (!whole) {
        if (at_ == filled_) {
          const long got = Sys::Pread(fd_, buffer_, sizeof(buffer_), position_);
          if (got <= 0) break;
          at_ = 0;
          filled_ = static_cast<size_t>(got);
          position_ += filled_;
        }
        const char c = buffer_[at_++];
        whole = c == '\n';
        if (!whole && length < sizeof(line_)) line_[length++] = c;
      }
      if (length == 0 && !whole) return false;
      if (ParseMapsLine(line_, line_ + length, &current_)) return true;
      if (!whole) return false;
    }
  }

  const int fd_;
  bool query_;
  bool have_ = false;
  Vma current_ = {};
  uint64_t position_ = 0;
  size_t at_ = 0, filled_ = 0;
  char line_[128];
  char buffer_[4096];
};

}  // namespace causeway::uapi
