// SPDX-License-Identifier: Apache-2.0
// HL_IOCTL_INFO.
#pragma once

#include <span>
#include <string_view>

#include "drivers/habanalabs/file.h"
#include "uapi/habanalabs.h"

namespace causeway::habanalabs {

struct InfoCall {
  HlDevice& device;
  HlFile* file;  // nullptr on the control node
  NotifierEvent& notifier;
  kernel::Task& task;
  uapi::hl_info_args& args;
};

// _hl_info_ioctl(); on the control node hl_info_ioctl_control(). `args` is copied back, on failure too.
Status InfoIoctl(const InfoCall& call);

// When an opcode is answered. kMiscLive: only on an operational device in v6.1, always later.
enum class InfoWhen : uint8_t { kAlways, kLive, kMiscLive };

struct InfoRow {
  uapi::HlInfoOp op;
  std::string_view name;  // HL_INFO_<name>
  InfoWhen when;
  bool accel_only;  // not in <misc/habanalabs.h>
  Status (*call)(const InfoCall&);
};
// Every opcode that is answered; others are EINVAL.
std::span<const InfoRow> InfoRows();

}  // namespace causeway::habanalabs
