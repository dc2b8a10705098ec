// SPDX-License-Identifier: Apache-2.0
// What the DRM core does for each of its drivers (linux drivers/gpu/drm/drm_ioctl.c), and habanalabs' own dispatcher
// (_hl_ioctl()) in the same way.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "base/result.h"
#include "kernel/task.h"
#include "uapi/habanalabs.h"

namespace causeway::kernel {

// Copies in, calls call(std::byte* args), copies out: always, also when the call failed, and never more than the
// caller's size. A short caller reads as zero-extended up to `known`, a long one gets its extra bytes back.
// errors: EFAULT; those of the call.
template <typename Call>
Result<int64_t> CopyInCallCopyOut(Task& task, uint64_t arg, size_t in, size_t out, size_t known, const Call& call) {
  constexpr size_t kMaxArgument = size_t{1} << 14;  // _IOC_SIZEBITS
  alignas(8) std::array<std::byte, kMaxArgument> kdata;
  std::memset(kdata.data(), 0, std::max({in, out, known}));
  CW_CHECK(task.memory().CopyFrom(std::span(kdata).first(in), arg));
  const Status status = call(kdata.data());
  CW_CHECK(task.memory().CopyTo(arg, std::span<const std::byte>(kdata).first(out)));
  if (!status) return Err(status.error());
  return 0;
}

// call(Args&) on the arguments that lie at `bytes`, which need not be aligned as Args.
template <typename Args, typename Call>
Status WithArgs(std::byte* bytes, const Call& call) {
  Args args;
  std::memcpy(&args, bytes, sizeof(args));
  const Status status = call(args);
  std::memcpy(bytes, &args, sizeof(args));
  return status;
}

// struct drm_driver, as VERSION tells it.
struct DrmDriver {
  int32_t major, minor, patchlevel;
  std::string_view name, date, desc;
};

// drm_version(): as much of each text as there is room for, without a terminator; the lengths become the texts' own.
// errors: EFAULT.
inline Status DrmVersion(Task& task, uapi::drm_version& version, const DrmDriver& driver) {
  version.version_major = driver.major;
  version.version_minor = driver.minor;
  version.version_patchlevel = driver.patchlevel;
  const auto copy = [&](uint64_t address, uint64_t& len, std::string_view text) -> Status {
    const std::string_view part = text.substr(0, std::min<uint64_t>(len, text.size()));
    len = text.size();
    if (part.empty() || address == 0) return {};
    return task.memory().CopyTo(address, std::as_bytes(std::span(part.data(), part.size())));
  };
  CW_CHECK(copy(version.name, version.name_len, driver.name));
  CW_CHECK(copy(version.date, version.date_len, driver.date));
  return copy(version.desc, version.desc_len, driver.desc);
}

}  // namespace causeway::kernel
