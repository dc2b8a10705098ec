// SPDX-License-Identifier: Apache-2.0
// Sockets that the machine serves: struct proto_ops, and what net/socket.c does around it. A program's descriptor of
// one is a packet socket (file_table.h): what the machine sends arrives there as it is, and receiving is the program's
// own recvmsg(), with all its flags and time limits; everything else is a call.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "ipc/channel.h"
#include "kernel/file.h"
#include "kernel/task.h"

namespace causeway::kernel {

// The way to a program's descriptor. Implemented by the machine's FileTable.
class Packets {
 public:
  virtual ~Packets() = default;
  // One packet into the descriptor's queue. errors: EAGAIN it is full; EPIPE, EBADF nobody has it open any more.
  virtual Status SendPacket(FileId file, std::span<const std::byte> packet) = 0;
  // Bytes that nobody has received yet.
  virtual size_t QueuedBytes(FileId file) const = 0;
};

class SocketFile : public File {
 public:
  using File::File;

  virtual Status Bind(Task& task, std::span<const std::byte> address) = 0;
  virtual Status Connect(Task& task, std::span<const std::byte> address) = 0;
  virtual std::vector<std::byte> Name(bool peer) const = 0;  // getsockname(), getpeername()
  virtual Status SetOption(Task& task, int level, int option, std::span<const std::byte> value) = 0;
  // What is stored at the caller's value, and the length he is told.
  struct OptionValue {
    std::vector<std::byte> value;
    uint32_t length = 0;
  };
  virtual Result<OptionValue> GetOption(int level, int option, size_t room) const = 0;
  struct Message {
    std::vector<std::byte> data;
    std::vector<std::byte> address;  // empty: none was named
    uint32_t flags = 0;
    uint32_t send_buffer = 0;  // SO_SNDBUF
  };
  virtual Result<int64_t> SendMessage(Task& task, Message message) = 0;
  // The program is about to receive up to `room` bytes. An error is what it gets instead (sk_err).
  virtual Status BeforeReceive(Task& task, size_t room) = 0;
};

// socket() of a family and protocol; `type` without its flags.
using SocketFn = std::function<Result<Ref<SocketFile>>(Task& task, int type)>;
using SocketFamilies = std::map<std::pair<int, int>, SocketFn>;

// A kBind ... kBeforeReceive of `file`: the checks and copies of net/socket.c. errors: ENOTSOCK no socket; those of the
// call.
Result<int64_t> SocketCall(Task& task, File& file, const ipc::Message& call);

}  // namespace causeway::kernel
