// SPDX-License-Identifier: Apache-2.0
#include "kernel/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/log.h"

namespace causeway::kernel {
namespace {

// A driver's call needs little (tables on the stack of an ioctl: 16 KiB); sanitizers need more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStackBytes = 2u << 20;
#else
constexpr size_t kStackBytes = 256u << 10;
#endif

void Send(int socket, const ipc::ControlMessage& message, int descriptor) {
  struct iovec data = {const_cast<ipc::ControlMessage*>(&message), sizeof(message)};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr packet = {};
  packet.msg_iov = &data;
  packet.msg_iovlen = 1;
  if (descriptor >= 0) {
    packet.msg_control = control;
    packet.msg_controllen = sizeof(control);
    struct cmsghdr* header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  // A program that does not read its answers loses them; one that is gone is seen by its hangup.
  (void)::sendmsg(socket, &packet, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Bytes received, 0 at the end, -1 when nothing is there. Of several descriptors the first is kept.
ssize_t ReceivePacket(int socket, ipc::ControlMessage* message, UniqueFd* descriptor) {
  struct iovec data = {message, sizeof(*message)};
  alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  struct msghdr packet = {};
  packet.msg_iov = &data;
  packet.msg_iovlen = 1;
  packet.msg_control = control;
  packet.msg_controllen = sizeof(control);
  const ssize_t got = ::recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&packet); header != nullptr; header = CMSG_NXTHDR(&packet, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      UniqueFd received(fd);
      if (!*descriptor) *descriptor = std::move(received);
    }
  }
  return got;
}

bool HasEnded(int pidfd) {
  struct pollfd poll = {pidfd, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 1;
}

}  // namespace

struct Server::ThreadStart {
  Server* server;
  std::shared_ptr<ProgramThread> thread;
};

Server::Server(ServerOptions options, Syscalls& syscalls, FileTable& files)
    : options_(std::move(options)), syscalls_(syscalls), files_(files) {
  for (uint32_t index = options_.slot_count; index > 0; --index) free_slots_.push_back(index - 1);
}

Result<std::unique_ptr<Server>> Server::Start(ServerOptions options, Syscalls& syscalls, FileTable& files) {
  std::unique_ptr<Server> server(new Server(std::move(options), syscalls, files));
  CW_CHECK(server->Listen());
  server->reaper_ = std::thread([raw = server.get()] { raw->Reap(); });
  (void)::pthread_setname_np(server->reaper_.native_handle(), "cw-reaper");
  return server;
}

Server::~Server() { Stop(); }

ipc::ThreadSlot& Server::slot(uint32_t index) {
  auto* const base = reinterpret_cast<std::byte*>(options_.header);
  return reinterpret_cast<ipc::ThreadSlot*>(base + options_.header->slots_offset)[index];
}

Status Server::Listen() {
  epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  listener_.Reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  spare_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!epoll_ || !listener_) return HostErr();
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (options_.socket_path.size() >= sizeof(name.sun_path)) return Err(ENAMETOOLONG);
  std::memcpy(name.sun_path, options_.socket_path.c_str(), options_.socket_path.size() + 1);
  if (::bind(listener_.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) != 0) return HostErr();
  if (::listen(listener_.get(), SOMAXCONN) != 0) return HostErr();
  Watch(listener_.get());
  return {};
}

void Server::Watch(int fd) {
  struct epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = fd;
  CW_INVARIANT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
}

void Server::Process() {
  std::array<struct epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    // A descriptor closed earlier in this round may be in use again: each branch asks the descriptor itself.
    const int fd = events[static_cast<size_t>(i)].data.fd;
    if (fd == listener_.get()) {
      Accept();
    } else if (const auto connection = connections_.find(fd); connection != connections_.end()) {
      Receive(*connection->second);
    } else if (const auto ended = by_pidfd_.find(fd); ended != by_pidfd_.end() && HasEnded(fd)) {
      EndProgram(std::shared_ptr<Program>(ended->second), true);
    }
  }
}

void Server::Accept() {
  for (;;) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno != EMFILE && errno != ENFILE) return;
      // Left alone, the connection would keep the listener readable for ever. The spare descriptor lets it be refused.
      log::Error("no descriptor is left for a new program");
      spare_.Reset();
      socket.Reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      socket.Reset();
      spare_.Reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      return;
    }
    struct ucred peer = {};
    socklen_t len = sizeof(peer);
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) continue;
    if (peer.uid != ::getuid()) {
      log::Warn("process {} of user {} was refused: a machine belongs to one user", peer.pid, peer.uid);
      continue;
    }
    const int fd = socket.get();
    auto connection = std::make_unique<Connection>();
    connection->socket = std::move(socket);
    connection->pid = peer.pid;
    connections_.emplace(fd, std::move(connection));
    Watch(fd);
  }
}

void Server::Receive(Connection& connection) {
  ipc::ControlMessage message = {};
  UniqueFd descriptor;
  const ssize_t got = ReceivePacket(connection.socket.get(), &message, &descriptor);
  if (got < 0) return;
  if (got == sizeof(message)) {
    Handle(connection, message, std::move(descriptor));
    return;
  }
  // The end, or something that is not our protocol.
  const int socket = connection.socket.get();
  if (connection.program) {
    EndProgram(std::shared_ptr<Program>(connection.program), true);  // disconnects too
  } else {
    Disconnect(socket);
  }
}

void Server::Handle(Connection& connection, const ipc::ControlMessage& message, UniqueFd descriptor) {
  ipc::ControlMessage answer = {};
  answer.version = ipc::kProtocolVersion;
  answer.slot = message.slot;
  int answer_fd = -1;
  switch (message.type) {
    case ipc::ControlMessage::kHello: {
      answer.type = ipc::ControlMessage::kWelcome;
      const auto thread = Hello(connection, message);
      answer.result = thread ? 0 : -thread.error().code();
      if (thread) {
        answer.slot = (*thread)->slot_number;
        answer.pid = static_cast<uint32_t>(connection.pid);
        answer.value = options_.header->arena_bytes;
        answer_fd = options_.arena_fd;
      }
      break;
    }
    case ipc::ControlMessage::kNewThread: {
      answer.type = ipc::ControlMessage::kThread;
      Result<std::shared_ptr<ProgramThread>> thread = Err(EPROTO);
      if (connection.program) thread = AddThread(connection.program, message.tid);
      answer.result = thread ? 0 : -thread.error().code();
      if (thread) answer.slot = (*thread)->slot_number;
      break;
    }
    case ipc::ControlMessage::kFetchFd: {
      answer.type = ipc::ControlMessage::kFd;
      const auto thread = FindThread(connection, message.slot);
      if (!thread) {
        answer.result = -EBADF;
        break;
      }
      // Sent and closed under the lock, which the server thread takes before its call goes on: when the program closes
      // the descriptor, no copy of ours can delay the release.
      const std::lock_guard lock(thread->mutex);
      answer.result = thread->outgoing ? 0 : -EBADF;
      Send(connection.socket.get(), answer, thread->outgoing.get());
      thread->outgoing.Reset();
      return;
    }
    case ipc::ControlMessage::kPutFd: {
      answer.type = ipc::ControlMessage::kPutDone;
      const auto thread = FindThread(connection, message.slot);
      answer.result = thread && descriptor ? 0 : -EBADF;
      if (thread) {
        const std::lock_guard lock(thread->mutex);
        thread->incoming = std::move(descriptor);
      }
      break;
    }
    default: answer.result = -EPROTO; break;
  }
  Send(connection.socket.get(), answer, answer_fd);
}

Result<std::shared_ptr<ProgramThread>> Server::Hello(Connection& connection, const ipc::ControlMessage& message) {
  if (message.version != ipc::kProtocolVersion) {
    log::Warn("process {} speaks protocol {}, this machine {}", connection.pid, message.version, ipc::kProtocolVersion);
    return Err(EPROTO);
  }
  if (connection.program) return Err(EPROTO);
  std::shared_ptr<Program> former;
  {
    const std::lock_guard lock(mutex_);
    const auto it = programs_.find(connection.pid);
    if (it != programs_.end()) former = it->second;
  }
  if (former) EndProgram(former, true);  // exec: the old image's sockets are still on their way to hangup

  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, connection.pid, 0)));
  if (!pidfd) return HostErr();
  uint32_t mm = 0;
  if (options_.hooks.add_address_space) {
    CW_TRY(mm, options_.hooks.add_address_space(static_cast<uint32_t>(connection.pid)));
  }
  auto program = std::make_shared<Program>(connection.pid, AddressSpace{mm, connection.pid}, options_.host_memory,
                                           options_.keeper);
  program->connection = connection.socket.get();
  auto thread = AddThread(program, message.tid);
  if (!thread) {
    const std::lock_guard lock(mutex_);
    ended_.push_back(program);  // its address space ends on the reaper: that may wait
    reaper_wake_.notify_one();
    return Err(thread.error());
  }
  const int watched = pidfd.get();
  program->pidfd = std::move(pidfd);
  by_pidfd_.emplace(watched, program);
  connection.program = program;
  {
    const std::lock_guard lock(mutex_);
    programs_.emplace(program->pid, program);
  }
  Watch(watched);
  return thread;
}

bool Server::SlotsComeBackLocked() const {
  size_t living = 0;
  for (const auto& [pid, program] : programs_) living += program->threads.size();
  return !finished_.empty() || threads_alive_ > living;
}

Result<std::shared_ptr<ProgramThread>> Server::AddThread(const std::shared_ptr<Program>& program, uint32_t tid) {
  std::shared_ptr<ProgramThread> thread;
  {
    std::unique_lock lock(mutex_);
    // Slots of threads that have ended may be on their way back: their programs are gone, so nobody may be refused for
    // them. The reaper and those threads do not need the main loop, which waits here.
    (void)settled_.wait_for(lock, std::chrono::seconds(2),
                            [&] { return !free_slots_.empty() || stopping_ || !SlotsComeBackLocked(); });
    if (free_slots_.empty()) return Err(ENOMEM);
    const uint32_t index = free_slots_.back();
    free_slots_.pop_back();
    if (index >= options_.header->slots_used.load()) options_.header->slots_used.store(index + 1);
    thread = std::make_shared<ProgramThread>(program, index, slot(index), static_cast<pid_t>(tid));
    program->threads.push_back(thread);
    ++threads_alive_;
  }
  ipc::ThreadSlot& shared = slot(thread->slot_number);
  shared.pid = static_cast<uint32_t>(program->pid);
  shared.tid = tid;
  shared.mm = program->mm.index;
  shared.message = {};
  shared.program_sleeps.store(0);
  shared.machine_sleeps.store(0);
  shared.turn.store(ipc::kTurnProgram);
  shared.state.store(ipc::ThreadSlot::kConnected);

  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  auto start = std::make_unique<ThreadStart>(ThreadStart{this, thread});
  const auto run = [](void* argument) -> void* {
    const std::unique_ptr<ThreadStart> mine(static_cast<ThreadStart*>(argument));
    mine->server->Serve(*mine->thread);
    {
      const std::lock_guard lock(mine->server->mutex_);
      mine->server->finished_.push_back(std::move(mine->thread));
      mine->server->reaper_wake_.notify_one();
    }
    return nullptr;
  };
  // The reaper joins only what has finished, and `server` is written before that: under the lock.
  std::unique_lock lock(mutex_);
  const int error = ::pthread_create(&thread->server, &attributes, run, start.get());
  ::pthread_attr_destroy(&attributes);
  if (error != 0) {
    shared.state.store(ipc::ThreadSlot::kFree);
    free_slots_.push_back(thread->slot_number);
    std::erase(program->threads, thread);
    --threads_alive_;
    return Err(ENOMEM);
  }
  (void)start.release();
  (void)::pthread_setname_np(thread->server, fmt::format("cw-{}", tid).c_str());
  return thread;
}

std::shared_ptr<ProgramThread> Server::FindThread(const Connection& connection, uint32_t slot_number) {
  if (!connection.program) return nullptr;
  const std::lock_guard lock(mutex_);
  for (const auto& thread : connection.program->threads) {
    if (thread->slot_number == slot_number) return thread;
  }
  return nullptr;
}

void Server::EndProgram(const std::shared_ptr<Program>& program, bool recover) {
  std::vector<uint32_t> slots;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& thread : program->threads) {
      thread->channel.Close();
      slots.push_back(thread->slot_number);
    }
    const auto it = programs_.find(program->pid);
    if (it != programs_.end() && it->second == program) programs_.erase(it);
    ++ending_;
  }
  if (recover && options_.hooks.recover_slot) {
    for (const uint32_t index : slots) options_.hooks.recover_slot(index);
  }
  by_pidfd_.erase(program->pidfd.get());
  program->pidfd.Reset();
  Disconnect(program->connection);
  const std::lock_guard lock(mutex_);
  ended_.push_back(program);
  reaper_wake_.notify_one();
}

void Server::Disconnect(int socket) { connections_.erase(socket); }

void Server::Serve(ProgramThread& thread) {
  ipc::Message call;
  while (thread.channel.WaitForCall(&call)) {
    if (static_cast<ipc::Op>(call.op) == ipc::Op::kExit) {
      ipc::Message answer = {};
      answer.op = static_cast<uint32_t>(ipc::Op::kDone);
      thread.channel.Done(answer);
      return;
    }
    ProgramTask task(thread, files_, call);
    ipc::Message answer = syscalls_.Handle(task, call);
    answer.output_bytes = task.output_bytes();
    thread.channel.Done(answer);
  }
  // Closed. A call that came too late gets an answer all the same, if there is still somebody to read it.
  ipc::Message answer = {};
  answer.op = static_cast<uint32_t>(ipc::Op::kDone);
  answer.result = -ENODEV;
  if (slot(thread.slot_number).turn.load() == ipc::kTurnMachine) thread.channel.Done(answer);
}

void Server::SettleEnds() {
  // The main loop sees a pidfd as soon as this thread does. A deadline all the same: a call must not hang on another
  // program's end that hangs.
  std::unique_lock lock(mutex_);
  (void)settled_.wait_for(lock, std::chrono::seconds(10), [&] {
    if (stopping_) return true;
    return ending_ == 0 &&
           std::ranges::none_of(programs_, [](const auto& entry) { return HasEnded(entry.second->pidfd.get()); });
  });
}

void Server::Reap() {
  std::unique_lock lock(mutex_);
  for (;;) {
    reaper_wake_.wait(lock,
                      [&] { return !ended_.empty() || !finished_.empty() || (stopping_ && threads_alive_ == 0); });
    if (!ended_.empty()) {
      const std::shared_ptr<Program> program = std::move(ended_.front());
      ended_.pop_front();
      lock.unlock();
      if (options_.hooks.end_address_space) options_.hooks.end_address_space(program->mm.index);
      DeadTask task(*program);
      for (const Program::Vma& vma : program->TakeAllVmas()) vma.file->Unmapped(task, vma.vma);
      lock.lock();
      --ending_;
      settled_.notify_all();
    } else if (!finished_.empty()) {
      const std::shared_ptr<ProgramThread> thread = std::move(finished_.front());
      finished_.pop_front();
      (void)::pthread_join(thread->server, nullptr);  // it only has to return
      std::erase(thread->program->threads, thread);
      slot(thread->slot_number).state.store(ipc::ThreadSlot::kFree);
      free_slots_.push_back(thread->slot_number);
      --threads_alive_;
      settled_.notify_all();
    } else {
      return;
    }
  }
}

void Server::Stop() {
  if (!reaper_.joinable()) return;
  std::vector<std::shared_ptr<Program>> programs;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [pid, program] : programs_) programs.push_back(program);
  }
  // Their threads live and may be inside the data path: nothing is recovered for them.
  for (const auto& program : programs) EndProgram(program, false);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    reaper_wake_.notify_one();
  }
  reaper_.join();
  connections_.clear();
}

std::vector<Server::ProgramInfo> Server::Programs() const {
  std::vector<ProgramInfo> list;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [pid, program] : programs_) {
      list.push_back({pid, {}, static_cast<uint32_t>(program->threads.size()), program->mm.index});
    }
  }
  for (ProgramInfo& info : list) info.comm = ProcessName(info.pid);
  std::sort(list.begin(), list.end(), [](const ProgramInfo& a, const ProgramInfo& b) { return a.pid < b.pid; });
  return list;
}

uint32_t Server::free_slots() const {
  const std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(free_slots_.size());
}

}  // namespace causeway::kernel
