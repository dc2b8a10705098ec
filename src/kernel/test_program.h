// SPDX-License-Identifier: Apache-2.0
// A program as the machine sees one, for tests: connects, makes calls, answers what it is asked (ipc/channel.h). What
// the preloaded library does, without interposing anything. One object is one connected thread.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>

#include "base/unique_fd.h"
#include "ipc/arena.h"
#include "ipc/channel.h"

namespace causeway::kernel {

class TestProgram {
 public:
  // Connects and says Hello; hello_result() is the machine's answer (0, or -errno).
  explicit TestProgram(const std::string& socket_path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    struct sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, socket_path.c_str(), sizeof(name.sun_path) - 1);
    if (::connect(socket_.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) != 0) {
      hello_result_ = -errno;
      return;
    }
    ipc::ControlMessage hello = Request(ipc::ControlMessage::kHello);
    hello.version = ipc::kProtocolVersion;
    const ipc::ControlMessage welcome = Exchange(hello, -1, &arena_fd_);
    hello_result_ = welcome.type == ipc::ControlMessage::kWelcome ? welcome.result : -EPROTO;
    if (hello_result_ != 0) return;
    void* arena =
        ::mmap(nullptr, welcome.value, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena_fd_.get(), 0);
    if (arena == MAP_FAILED) std::abort();
    arena_ = static_cast<std::byte*>(arena);
    arena_bytes_ = welcome.value;
    slot_number_ = welcome.slot;
  }
  // Another thread of the same process image.
  explicit TestProgram(TestProgram& first) : arena_(first.arena_), control_(&first) {
    ipc::ControlMessage request = Request(ipc::ControlMessage::kNewThread);
    const ipc::ControlMessage answer = first.Exchange(request, -1, nullptr);
    hello_result_ = answer.result;
    slot_number_ = answer.slot;
  }
  TestProgram(const TestProgram&) = delete;
  TestProgram& operator=(const TestProgram&) = delete;
  ~TestProgram() {
    if (arena_bytes_ != 0) ::munmap(arena_, arena_bytes_);
  }

  int hello_result() const { return hello_result_; }
  const ipc::ArenaHeader& header() const { return *reinterpret_cast<ipc::ArenaHeader*>(arena_); }
  ipc::ThreadSlot& slot() const {
    return reinterpret_cast<ipc::ThreadSlot*>(arena_ + header().slots_offset)[slot_number_];
  }
  uint32_t slot_number() const { return slot_number_; }
  std::byte* arena() const { return arena_; }

  // A system call: result, and the whole answer.
  ipc::Message Call(ipc::Op op, uint64_t file, std::initializer_list<uint64_t> arguments) {
    ipc::Message message = {};
    message.op = static_cast<uint32_t>(op);
    message.file = file;
    std::copy(arguments.begin(), arguments.end(), message.arg);
    for (;;) {
      slot().message = message;
      slot().turn.store(ipc::kTurnMachine);
      if (slot().machine_sleeps.load() != 0) {
        (void)::syscall(SYS_futex, &slot().turn, FUTEX_WAKE, 1, nullptr, nullptr, 0);
      }
      slot().program_sleeps.store(1);
      while (slot().turn.load() == ipc::kTurnMachine) {
        (void)::syscall(SYS_futex, &slot().turn, FUTEX_WAIT, ipc::kTurnMachine, nullptr, nullptr, 0);
      }
      message = slot().message;
      if (message.op == static_cast<uint32_t>(ipc::Op::kDone)) return message;
      Answer(&message);
    }
  }
  int64_t Result(ipc::Op op, uint64_t file, std::initializer_list<uint64_t> arguments) {
    return Call(op, file, arguments).result;
  }
  // Node id of a path of the machine's tree; 0 when there is none.
  uint32_t Node(const std::string& path) const {
    struct stat status;
    if (::stat((header().tree_root + path).c_str(), &status) != 0) return 0;
    for (uint32_t i = 0; i < header().node_count.load(); ++i) {
      if (header().nodes[i].inode.load() == status.st_ino) return header().nodes[i].node_id;
    }
    return 0;
  }
  // open(): the descriptor, or -errno; file id in *file.
  int Open(const std::string& path, uint32_t flags, uint64_t* file) {
    const auto result = Result(ipc::Op::kOpen, 0, {Node(path), flags, 0});
    if (result >= 0 && file != nullptr) *file = last_file;
    return static_cast<int>(result);
  }

  // What the machine said of the last descriptor that it installed.
  uint64_t last_file = 0;
  uint32_t last_kind = 0;
  bool last_private = false;
  // Not 0: descriptors cannot be installed, with this errno.
  int install_errno = 0;

  ipc::ControlMessage Exchange(const ipc::ControlMessage& request, int send_fd, UniqueFd* received) {
    if (control_ != nullptr) return control_->Exchange(request, send_fd, received);
    alignas(struct cmsghdr) char buffer[CMSG_SPACE(sizeof(int))] = {};
    ipc::ControlMessage message = request;
    struct iovec data = {&message, sizeof(message)};
    struct msghdr packet = {};
    packet.msg_iov = &data;
    packet.msg_iovlen = 1;
    if (send_fd >= 0) {
      packet.msg_control = buffer;
      packet.msg_controllen = sizeof(buffer);
      struct cmsghdr* header = CMSG_FIRSTHDR(&packet);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &send_fd, sizeof(int));
    }
    ipc::ControlMessage answer = {};
    if (::sendmsg(socket_.get(), &packet, MSG_NOSIGNAL) < 0) return answer;
    data = {&answer, sizeof(answer)};
    packet.msg_control = buffer;
    packet.msg_controllen = sizeof(buffer);
    if (::recvmsg(socket_.get(), &packet, MSG_CMSG_CLOEXEC) != sizeof(answer)) return ipc::ControlMessage{};
    const struct cmsghdr* header = CMSG_FIRSTHDR(&packet);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header), sizeof(int));
      UniqueFd got(fd);
      if (received != nullptr) *received = std::move(got);
    }
    return answer;
  }

  void Disconnect() { socket_.Reset(); }

 private:
  static ipc::ControlMessage Request(ipc::ControlMessage::Type type) {
    ipc::ControlMessage message = {};
    message.type = type;
    message.pid = static_cast<uint32_t>(::getpid());
    message.tid = static_cast<uint32_t>(::gettid());
    return message;
  }
  // Turns a request of the machine into its answer.
  void Answer(ipc::Message* message) {
    ipc::ControlMessage request = Request(ipc::ControlMessage::kFetchFd);
    request.slot = slot_number_;
    switch (static_cast<ipc::Op>(message->op)) {
      case ipc::Op::kInstallFd: {
        last_file = message->file;
        last_kind = message->file_kind;
        last_private = message->value[1] == 1;
        UniqueFd fd;
        const ipc::ControlMessage answer = Exchange(request, -1, &fd);
        if (install_errno != 0) {
          message->result = -install_errno;
        } else {
          message->result = answer.result < 0 ? answer.result : fd.Release();
        }
        break;
      }
      case ipc::Op::kSendFd: {
        const int fd = static_cast<int>(message->value[0]);
        if (::fcntl(fd, F_GETFD) < 0) {
          message->result = -EBADF;
          break;
        }
        request.type = ipc::ControlMessage::kPutFd;
        message->result = Exchange(request, fd, nullptr).result;
        break;
      }
      case ipc::Op::kCloseFd: message->result = ::close(static_cast<int>(message->value[0])); break;
      default: message->result = -ENOSYS; break;
    }
  }

  UniqueFd socket_, arena_fd_;
  int hello_result_ = 0;
  std::byte* arena_ = nullptr;
  uint64_t arena_bytes_ = 0;  // 0: the mapping is another object's
  uint32_t slot_number_ = 0;
  TestProgram* const control_ = nullptr;
};

}  // namespace causeway::kernel
