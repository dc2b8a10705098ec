// SPDX-License-Identifier: Apache-2.0
// Commands of uverbs as their handlers see them (struct uverbs_attr_bundle), however they came: by write(), by extended
// write(), or by the INVOKE_WRITE ioctl. kWriteCommands (uverbs_write.cc) is the only list of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/result.h"
#include "drivers/infiniband/uverbs_file.h"
#include "kernel/task.h"

namespace causeway::infiniband {

Result<int64_t> UverbsWrite(UverbsFile& file, kernel::Task& task, uint64_t buffer, uint64_t len);
Result<int64_t> UverbsIoctl(UverbsFile& file, kernel::Task& task, uint32_t request, uint64_t arg);

// struct ib_udata: the driver's part of request and response, in the program's memory.
struct Udata {
  uint64_t in = 0;
  size_t in_len = 0;
  uint64_t out = 0;
  size_t out_len = 0;
};

class Command {
 public:
  UverbsFile& file;
  kernel::Task& task;
  std::span<const std::byte> in;  // the core request
  uint64_t out = 0;               // the core response
  size_t out_len = 0;
  Udata driver;
  bool strict = false;     // extended rules: what is longer than known must be zero
  bool zero_rest = false;  // extended rules: a longer response is zero-filled

  // uverbs_request(): a shorter request reads as zero-extended. errors: EOPNOTSUPP longer than known, and not zero
  // there.
  template <typename T>
  Result<T> Request() const {
    T request = {};
    if (!in.empty()) std::memcpy(&request, in.data(), std::min(in.size(), sizeof(T)));
    if (strict && in.size() > sizeof(T) &&
        std::ranges::any_of(in.subspan(sizeof(T)), [](std::byte byte) { return byte != std::byte{0}; })) {
      return Err(EOPNOTSUPP);
    }
    return request;
  }

  // uverbs_response(). errors: EFAULT.
  template <typename T>
  Status Respond(const T& response) {
    return RespondBytes(std::as_bytes(std::span(&response, 1)));
  }
  Status RespondBytes(std::span<const std::byte> bytes);
};

struct WriteCommand {
  uint32_t number;  // IB_USER_VERBS_CMD_*, or IB_USER_VERBS_EX_CMD_* with kIbUserVerbsCmdFlagExtended
  std::string_view name;
  uint16_t request_size;   // least core request, bytes
  uint16_t response_size;  // least core response
  bool has_response;       // the request begins with a response pointer
  bool has_udata;          // what follows the core request is the driver's
  bool needs_context;      // EINVAL before GET_CONTEXT
  Status (*handler)(Command&);
  Capability capability = nullptr;  // what a device must have for the command to exist
};

std::span<const WriteCommand> WriteCommands();
// uapi_get_method(). errors: EINVAL reserved bits; EOPNOTSUPP none such, or not on this device.
Result<const WriteCommand*> FindWriteCommand(const IbDevice& device, uint32_t command);

// ---- handlers, by file
// context.cc
Status GetContextCommand(Command&);
Status QueryDeviceCommand(Command&);
Status ExQueryDeviceCommand(Command&);
Status QueryPortCommand(Command&);
Status CreateCompChannelCommand(Command&);
// memory.cc
Status AllocPdCommand(Command&);
Status DeallocPdCommand(Command&);
Status RegMrCommand(Command&);
Status ReregMrCommand(Command&);
Status DeregMrCommand(Command&);
// memory_window.cc
Status AllocMwCommand(Command&);
Status DeallocMwCommand(Command&);
// ah.cc
Status CreateAhCommand(Command&);
Status DestroyAhCommand(Command&);
// srq.cc
Status CreateSrqCommand(Command&);
Status CreateXsrqCommand(Command&);
Status ModifySrqCommand(Command&);
Status QuerySrqCommand(Command&);
Status DestroySrqCommand(Command&);
// cq.cc
Status CreateCqCommand(Command&);
Status ExCreateCqCommand(Command&);
Status ResizeCqCommand(Command&);
Status DestroyCqCommand(Command&);
Status ReqNotifyCqCommand(Command&);
// qp.cc
Status CreateQpCommand(Command&);
Status ExCreateQpCommand(Command&);
Status QueryQpCommand(Command&);
Status ModifyQpCommand(Command&);
Status ExModifyQpCommand(Command&);
Status DestroyQpCommand(Command&);
Status PostSendCommand(Command&);
Status AttachMcastCommand(Command&);
Status DetachMcastCommand(Command&);

}  // namespace causeway::infiniband
