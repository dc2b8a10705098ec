// SPDX-License-Identifier: Apache-2.0
#include "kernel/socket.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <climits>
#include <optional>

#include "base/checked.h"

namespace causeway::kernel {
namespace {

constexpr size_t kMaxAddress = sizeof(struct sockaddr_storage);
constexpr uint64_t kMaxIovecs = 1024;  // UIO_MAXIOV
// What a message may have in all: net.core.wmem_max is far less on any host, SO_SNDBUFFORCE goes beyond it.
constexpr uint64_t kMaxMessage = 16 << 20;

// move_addr_to_kernel().
Result<std::vector<std::byte>> ReadAddress(Task& task, uint64_t address, int64_t length) {
  if (length < 0 || length > static_cast<int64_t>(kMaxAddress)) return Err(EINVAL);
  std::vector<std::byte> bytes(static_cast<size_t>(length));
  if (length != 0) CW_CHECK(task.memory().CopyFrom(bytes, address));
  return bytes;
}

// move_addr_to_user().
Status WriteAddress(Task& task, std::span<const std::byte> name, uint64_t address, uint64_t length_address) {
  CW_TRY(const int32_t room, task.memory().Read<int32_t>(length_address));
  if (room < 0) return Err(EINVAL);
  const auto part = name.first(std::min(name.size(), static_cast<size_t>(room)));
  if (!part.empty()) CW_CHECK(task.memory().CopyTo(address, part));
  return task.memory().Write(length_address, static_cast<int32_t>(name.size()));
}

// copy_msghdr_from_user(), import_iovec(): arg0 is a struct msghdr. Control messages are not looked at: none means
// anything to a socket of ours.
Result<SocketFile::Message> ReadMessage(Task& task, const ipc::Message& call) {
  CW_TRY(const auto header, task.memory().Read<struct msghdr>(call.arg[0]));
  SocketFile::Message message;
  message.flags = static_cast<uint32_t>(call.arg[1]);
  message.send_buffer = static_cast<uint32_t>(call.arg[2]);
  const auto name_bytes = static_cast<int32_t>(header.msg_namelen);
  if (name_bytes < 0) return Err(EINVAL);
  if (header.msg_name != nullptr && name_bytes != 0) {
    CW_TRY(message.address, ReadAddress(task, reinterpret_cast<uintptr_t>(header.msg_name),
                                        std::min<int64_t>(name_bytes, int64_t{kMaxAddress})));
  }
  if (header.msg_iovlen > kMaxIovecs) return Err(EMSGSIZE);
  std::vector<struct iovec> parts(header.msg_iovlen);
  CW_CHECK(
      task.memory().CopyFrom(std::as_writable_bytes(std::span(parts)), reinterpret_cast<uintptr_t>(header.msg_iov)));
  uint64_t total = 0;
  for (const auto& part : parts) {
    if (static_cast<int64_t>(part.iov_len) < 0) return Err(EINVAL);
    if (!CheckedAdd(total, part.iov_len, &total) || total > kMaxMessage) return Err(EMSGSIZE);
  }
  message.data.resize(total);
  size_t at = 0;
  for (const auto& part : parts) {
    CW_CHECK(task.memory().CopyFrom(std::span(message.data).subspan(at, part.iov_len),
                                    reinterpret_cast<uintptr_t>(part.iov_base)));
    at += part.iov_len;
  }
  return message;
}

Result<int64_t> GetOption(Task& task, const SocketFile& socket, const ipc::Message& call) {
  CW_TRY(const int32_t room, task.memory().Read<int32_t>(call.arg[3]));
  if (room < 0) return Err(EINVAL);
  CW_TRY(const auto value,
         socket.GetOption(static_cast<int>(call.arg[0]), static_cast<int>(call.arg[1]), static_cast<size_t>(room)));
  CW_CHECK(task.memory().Write(call.arg[3], value.length));
  CW_CHECK(task.memory().CopyTo(call.arg[2], value.value));
  return 0;
}

}  // namespace

Result<int64_t> SocketCall(Task& task, File& file, const ipc::Message& call) {
  auto* const socket = dynamic_cast<SocketFile*>(&file);
  if (socket == nullptr) return Err(ENOTSOCK);
  switch (static_cast<ipc::Op>(call.op)) {
    case ipc::Op::kBind: {
      CW_TRY(const auto address, ReadAddress(task, call.arg[0], static_cast<int32_t>(call.arg[1])));
      CW_CHECK(socket->Bind(task, address));
      return 0;
    }
    case ipc::Op::kConnect: {
      CW_TRY(const auto address, ReadAddress(task, call.arg[0], static_cast<int32_t>(call.arg[1])));
      CW_CHECK(socket->Connect(task, address));
      return 0;
    }
    case ipc::Op::kSocketName:
      CW_CHECK(WriteAddress(task, socket->Name(call.arg[2] != 0), call.arg[0], call.arg[1]));
      return 0;
    case ipc::Op::kSetOption: {
      const auto length = static_cast<int32_t>(call.arg[3]);
      if (length < 0) return Err(EINVAL);
      // No option that is known has more.
      std::vector<std::byte> value(std::min<size_t>(static_cast<size_t>(length), sizeof(uint64_t)));
      if (value.size() >= sizeof(int)) CW_CHECK(task.memory().CopyFrom(value, call.arg[2]));
      CW_CHECK(socket->SetOption(task, static_cast<int>(call.arg[0]), static_cast<int>(call.arg[1]), value));
      return 0;
    }
    case ipc::Op::kGetOption: return GetOption(task, *socket, call);
    case ipc::Op::kSendMessage: {
      CW_TRY(auto message, ReadMessage(task, call));
      return socket->SendMessage(task, std::move(message));
    }
    case ipc::Op::kBeforeReceive: CW_CHECK(socket->BeforeReceive(task, call.arg[0])); return 0;
    default: return Err(ENOSYS);
  }
}

}  // namespace causeway::kernel
