// SPDX-License-Identifier: Apache-2.0
// Context, device and port commands: linux v6.1 drivers/infiniband/core/uverbs_cmd.c.
#include <fcntl.h>

#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

// ib_init_ucontext(), with the event file that the write() form makes itself.
struct NewDescriptor {
  kernel::Task& task;
  int fd;
  bool kept = false;
  ~NewDescriptor() {
    if (!kept) task.TakeBack(fd);
  }
};

}  // namespace

// ib_uverbs_get_context().
Status GetContextCommand(Command& command) {
  if (command.file.has_context()) return Err(EINVAL);
  auto events = command.file.NewEventFile(EventFile::Type::kAsync);
  CW_TRY(const int fd, command.task.InstallFile(events, O_CLOEXEC));
  NewDescriptor descriptor{command.task, fd};
  CW_CHECK(command.Respond(ib_uverbs_get_context_resp{.async_fd = static_cast<uint32_t>(fd),
                                                      .num_comp_vectors = command.file.core().num_comp_vectors()}));
  CW_CHECK(command.file.MakeContext(command.task));
  command.file.OfferDefaultAsync(events);
  descriptor.kept = true;
  return {};
}

Status QueryDeviceCommand(Command& command) { return command.Respond(command.file.device().QueryDevice()); }

// ib_uverbs_ex_query_device().
Status ExQueryDeviceCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_ex_query_device>());
  if (request.comp_mask != 0 || request.reserved != 0) return Err(EINVAL);
  if (command.driver.in_len != 0 || command.driver.out_len != 0) return Err(EINVAL);  // rxe_query_device()
  ib_uverbs_ex_query_device_resp response = {};
  response.base = command.file.device().QueryDevice();
  response.response_length = static_cast<uint32_t>(std::min(command.out_len, sizeof(response)));
  response.odp_caps = command.file.device().OdpCaps();
  response.device_cap_flags_ex = command.file.device().DeviceCapFlags();
  return command.Respond(response);
}

// ib_uverbs_query_port().
Status QueryPortCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_query_port>());
  if (request.port_num != 1) return Err(EINVAL);
  return command.Respond(command.file.device().QueryPort());
}

// ib_uverbs_create_comp_channel().
Status CreateCompChannelCommand(Command& command) {
  CW_CHECK(command.Request<ib_uverbs_create_comp_channel>());
  CW_TRY(const int fd, command.task.InstallFile(command.file.NewEventFile(EventFile::Type::kCompletion), O_CLOEXEC));
  NewDescriptor descriptor{command.task, fd};
  CW_CHECK(command.Respond(ib_uverbs_create_comp_channel_resp{.fd = static_cast<uint32_t>(fd)}));
  descriptor.kept = true;
  return {};
}

}  // namespace causeway::infiniband
