// SPDX-License-Identifier: Apache-2.0
#include "kernel/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <charconv>

#include "base/checked.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "uapi/vma_walker.h"

namespace causeway::kernel {
namespace {

using VmCopy = ssize_t(pid_t, const struct iovec*, unsigned long, const struct iovec*, unsigned long, unsigned long);

Status Copy(VmCopy* copy, pid_t pid, void* local, uint64_t user_address, size_t len) {
  size_t done = 0;
  while (done < len) {
    const struct iovec here = {static_cast<char*>(local) + done, len - done};
    const struct iovec there = {reinterpret_cast<void*>(user_address + done), len - done};
    const ssize_t copied = copy(pid, &here, 1, &there, 1, 0);
    if (copied <= 0) {
      if (copied < 0 && errno == EPERM) {
        static std::atomic<bool> said = false;
        if (!said.exchange(true)) {
          log::Error(
              "process_vm_readv of process {} is refused: it is not dumpable, or kernel.yama.ptrace_scope forbids",
              pid);
        }
      }
      return Err(EFAULT);
    }
    // Short: up to an unmapped page, or the host's limit per call; the next round tells which.
    done += static_cast<size_t>(copied);
  }
  return {};
}

// The whole of a /proc file; empty when it cannot be read.
std::string ReadProc(pid_t pid, const char* name) {
  const UniqueFd fd(::open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd) return text;
  for (;;) {
    const size_t had = text.size();
    text.resize(had + 16384);
    const ssize_t got = ::read(fd.get(), text.data() + had, text.size() - had);
    text.resize(had + static_cast<size_t>(got > 0 ? got : 0));
    if (got <= 0) return text;
  }
}

struct HostSystem {
  static long Ioctl(int fd, unsigned long request, void* argument) {
    return ::ioctl(fd, request, argument) < 0 ? -errno : 0;
  }
  static long Pread(int fd, void* buffer, size_t size, uint64_t offset) {
    const ssize_t got = ::pread(fd, buffer, size, static_cast<off_t>(offset));
    return got < 0 ? -errno : got;
  }
};

bool IsOf(const uapi::Vma& vma, HostFile file) {
  return file.inode != 0 && vma.shared && vma.inode == file.inode &&
         ::gnu_dev_makedev(vma.dev_major, vma.dev_minor) == file.device;
}

}  // namespace

Status ProcessMemory::CopyFrom(std::span<std::byte> to, uint64_t user_address) {
  return Copy(::process_vm_readv, pid_, to.data(), user_address, to.size());
}

Status ProcessMemory::CopyTo(uint64_t user_address, std::span<const std::byte> from) {
  // process_vm_writev() only reads the local side.
  return Copy(::process_vm_writev, pid_, const_cast<std::byte*>(from.data()), user_address, from.size());
}

ProcessMaps::ProcessMaps(pid_t pid) : fd_(::open(fmt::format("/proc/{}/maps", pid).c_str(), O_RDONLY | O_CLOEXEC)) {}

Status CheckRangeInMaps(std::string_view maps, uint64_t address, uint64_t len, bool write) {
  uint64_t end = 0;
  if (!CheckedAdd(address, len, &end)) return Err(EFAULT);
  if (len == 0) return {};
  uint64_t covered = address;  // [address, covered) is good
  while (!maps.empty()) {
    const size_t newline = std::min(maps.find('\n'), maps.size());
    const std::string_view line = maps.substr(0, newline);
    maps.remove_prefix(std::min(newline + 1, maps.size()));
    // "7f0000000000-7f0000021000 rw-p ..."
    uint64_t from = 0, to = 0;
    const char* const last = line.data() + line.size();
    const auto first = std::from_chars(line.data(), last, from, 16);
    if (first.ec != std::errc() || first.ptr == last) continue;
    const auto second = std::from_chars(first.ptr + 1, last, to, 16);
    if (second.ec != std::errc() || last - second.ptr < 5) continue;
    if (to <= covered) continue;
    if (from > covered) return Err(EFAULT);  // a hole: lines are in address order
    const char* const permissions = second.ptr + 1;
    if (permissions[write ? 1 : 0] != (write ? 'w' : 'r')) return Err(EFAULT);
    covered = to;
    if (covered >= end) return {};
  }
  return Err(EFAULT);
}

Status CheckProcessRange(const ProcessMaps& maps, uint64_t address, uint64_t len, bool write) {
  CW_CHECK(PinProcessRange(maps, address, len, write, {}, 0));
  return {};
}

bool ProcessPagesAre(const ProcessMaps& maps, uint64_t address, uint64_t len, uint64_t page) {
  uint64_t end = 0;
  if (!CheckedAdd(address, len, &end)) return false;
  uapi::VmaWalker<HostSystem> walker(maps.fd());
  uapi::Vma vma;
  for (uint64_t covered = address; covered < end; covered = vma.end) {
    if (!walker.Next(covered, &vma) || vma.start > covered || vma.page_size < page) return false;
  }
  return true;
}

Result<ProcessRange> PinProcessRange(const ProcessMaps& maps, uint64_t address, uint64_t len, bool write, HostFile file,
                                     uint64_t stack) {
  uint64_t end = 0;
  if (!CheckedAdd(address, len, &end)) return Err(EFAULT);
  ProcessRange range;
  if (len == 0) return range;
  uapi::VmaWalker<HostSystem> walker(maps.fd());
  uapi::Vma vma;
  for (uint64_t covered = address; covered < end; covered = vma.end) {
    if (!walker.Next(covered, &vma) || vma.start > covered) return Err(EFAULT);  // a hole
    if (write ? !vma.write : !vma.read) return Err(EFAULT);
    if (IsOf(vma, file)) {
      const uint64_t stop = vma.end < end ? vma.end : end;
      range.shared.push_back({covered - address, stop - covered, vma.offset + (covered - vma.start)});
    } else if (uapi::IsPrivateMemory(vma) && (stack < vma.start || stack >= vma.end)) {
      range.has_private = true;
    }
  }
  return range;
}

Result<std::vector<std::pair<uint64_t, uint64_t>>> MappedOffsets(pid_t pid, HostFile file) {
  std::vector<std::pair<uint64_t, uint64_t>> mapped;
  const ProcessMaps maps(pid);
  if (maps.fd() < 0) return HostErr();
  // The text: one read gives a hundred mappings, which all are asked for.
  uapi::VmaWalker<HostSystem> walker(maps.fd(), true);
  uapi::Vma vma;
  for (uint64_t at = 0; walker.Next(at, &vma); at = vma.end) {
    if (IsOf(vma, file)) mapped.emplace_back(vma.offset, vma.offset + (vma.end - vma.start));
  }
  return mapped;
}

bool ProcessCapable(pid_t pid, int capability) {
  const std::string status = ReadProc(pid, "status");
  constexpr std::string_view kKey = "\nCapEff:\t";
  const size_t at = status.find(kKey);
  if (at == std::string::npos || capability < 0 || capability > 63) return false;
  uint64_t effective = 0;
  const char* const text = status.data() + at + kKey.size();
  if (std::from_chars(text, status.data() + status.size(), effective, 16).ec != std::errc()) return false;
  return ((effective >> capability) & 1) != 0;
}

std::string ProcessName(pid_t pid) {
  std::string name = ReadProc(pid, "comm");
  if (!name.empty() && name.back() == '\n') name.pop_back();
  return name.empty() ? "?" : name;
}

}  // namespace causeway::kernel
