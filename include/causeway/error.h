// SPDX-License-Identifier: Apache-2.0
// What this library throws.
#pragma once

#include <string>
#include <system_error>

namespace causeway {

/// A request that the system refused. what() names the call, the device, the errno's text and, where one is known, what
/// to do: "HL_MEM_OP_ALLOC on /dev/accel/accel0: Cannot allocate memory; device memory is used up". code() compares
/// with std::errc.
class Error : public std::system_error {
 public:
  /// @param error  errno, positive
  Error(int error, std::string call, std::string device, std::string hint = {});

  const char* what() const noexcept override { return text_.c_str(); }
  const std::string& call() const noexcept { return call_; }      ///< ioctl or function, by its own name
  const std::string& device() const noexcept { return device_; }  ///< node or RDMA device
  const std::string& hint() const noexcept { return hint_; }      ///< may be empty

 private:
  std::string call_, device_, hint_, text_;
};

}  // namespace causeway
