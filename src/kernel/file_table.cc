// SPDX-License-Identifier: Apache-2.0
#include "kernel/file_table.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <utility>

namespace causeway::kernel {
namespace {

thread_local FileTable::CallScope* current_call = nullptr;

// Does a byte lie in the other end's queue (unix_outq_len(): what was sent and is not yet received)? Where the host
// cannot tell, `assumed`.
bool Queued(int end, bool assumed) {
  int bytes = 0;
  return ::ioctl(end, SIOCOUTQ, &bytes) == 0 ? bytes > 0 : assumed;
}

void SendByte(int end) {
  const char byte = 1;
  // EAGAIN cannot be (one byte at most is queued); EPIPE: the last descriptor has just gone.
  (void)::send(end, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool HungUp(int end) {
  struct pollfd poll = {end, 0, 0};
  return ::poll(&poll, 1, 0) == 1 && (poll.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

FileTable::CallScope::CallScope() : outer_(std::exchange(current_call, this)) {}
FileTable::CallScope::~CallScope() { current_call = outer_; }

FileTable::FileTable(std::string machine_id)
    : name_prefix_(std::string(1, '\0') + "causeway/" + machine_id + "/"),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  CW_INVARIANT(epoll_ && stop_);
  thread_ = std::thread([this] { Run(); });
  (void)::pthread_setname_np(thread_.native_handle(), "cw-release");
}

FileTable::~FileTable() {
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  thread_.join();
  ReleaseAll();
}

void FileTable::ReleaseAll() {
  const std::lock_guard release_lock(release_mutex_);
  // A file's destructor may look into this table (readiness of another): the files go without mutex_.
  std::unordered_map<FileId, Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(entries_);
  }
}

Result<FileTable::Installed> FileTable::Install(Ref<File> file, uint32_t flags, uint32_t access, pid_t opener) {
  if (file->id() != 0) return Err(EEXIST);
  const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
  int ends[2];
  if (::socketpair(AF_UNIX, type, 0, ends) != 0) return HostErr();
  UniqueFd machine_end(ends[0]), program_end(ends[1]);
  if (file->kind() == ipc::kFileNetlink) {
    const int room = 1 << 20;  // cut to net.core.wmem_max: the longest request fits into its answer
    (void)::setsockopt(machine_end.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
  }
  if ((flags & O_NONBLOCK) != 0 && ::fcntl(program_end.get(), F_SETFL, O_NONBLOCK) != 0) return HostErr();

  FileId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_id_++;
  }
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, name_prefix_.data(), name_prefix_.size());
  char* const hex = name.sun_path + name_prefix_.size();
  const auto end = std::to_chars(hex, name.sun_path + sizeof(name.sun_path), id, 16);
  const auto name_bytes = static_cast<socklen_t>(end.ptr - reinterpret_cast<char*>(&name));
  if (::bind(machine_end.get(), reinterpret_cast<struct sockaddr*>(&name), name_bytes) != 0) return HostErr();

  const int watched = machine_end.get();
  file->set_id(id);
  {
    const std::lock_guard lock(mutex_);
    entries_.emplace(id, Entry{std::move(file), std::move(machine_end), access, opener});
  }
  struct epoll_event event = {};  // no events asked for: EPOLLHUP always comes
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched, &event) != 0) {
    const auto error = HostErr();
    Drop(id);
    return error;
  }
  return Installed{std::move(program_end), id};
}

void FileTable::Drop(FileId id) {
  Entry entry;
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return;
    entry = std::move(it->second);
    entries_.erase(it);
  }
  // A copy of the end in a forked child would keep it in epoll_ after close() (man 7 epoll, question 6).
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry.end.get(), nullptr);
  // `entry` goes here, without mutex_: closes the machine's end and drops the Ref.
}

void FileTable::Sync(FileId id) {
  const std::lock_guard release_lock(release_mutex_);
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end() || !HungUp(it->second.end.get())) return;
  }
  Drop(id);
}

void FileTable::Drain() {
  const std::lock_guard release_lock(release_mutex_);
  std::array<struct epoll_event, 64> events;
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (count <= 0) return;
    for (int i = 0; i < count; ++i) Drop(events[static_cast<size_t>(i)].data.u64);
  }
}

void FileTable::Run() {
  for (;;) {
    struct pollfd polls[2] = {{epoll_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0) continue;  // EINTR
    if (polls[1].revents != 0) return;
    Drain();
  }
}

Result<FileTable::Opened> FileTable::Get(FileId id) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return Err(EBADF);
  return Opened{it->second.file, it->second.access};
}

Ref<File> FileTable::Identify(int descriptor) const {
  struct sockaddr_un name = {};
  socklen_t len = sizeof(name);
  if (::getpeername(descriptor, reinterpret_cast<struct sockaddr*>(&name), &len) != 0) return {};
  constexpr size_t kPath = offsetof(struct sockaddr_un, sun_path);
  if (name.sun_family != AF_UNIX || len <= kPath || len > sizeof(name)) return {};
  const std::string_view path(name.sun_path, len - kPath);
  if (!path.starts_with(name_prefix_)) return {};
  FileId id = 0;
  const auto parsed = std::from_chars(path.data() + name_prefix_.size(), path.data() + path.size(), id, 16);
  if (parsed.ec != std::errc() || parsed.ptr != path.data() + path.size()) return {};
  auto opened = Get(id);
  return opened ? std::move(opened->file) : Ref<File>();
}

void FileTable::SetReadable(FileId file) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  ++entry.generation;
  if (entry.readable && Queued(entry.end.get(), true)) return;
  entry.readable = true;
  SendByte(entry.end.get());
}

void FileTable::ClearReadable(FileId file) {
  CallScope* const call = current_call;
  // Nobody is there to take the byte back, or he has one to take already: a read that finds nothing will do it.
  if (call == nullptr || (call->cleared_ != 0 && call->cleared_ != file)) return;
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  if (it == entries_.end() || !it->second.readable) return;
  it->second.readable = false;
  call->cleared_ = file;
}

uint64_t FileTable::Generation(FileId file) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  return it == entries_.end() ? 0 : it->second.generation;
}

bool FileTable::TakeReadable(FileId file, uint64_t generation) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  if (it == entries_.end() || it->second.generation != generation) return false;
  // A byte may be queued although the file is not readable: a ClearReadable() whose program could not take it.
  const bool take = it->second.readable || Queued(it->second.end.get(), false);
  it->second.readable = false;
  return take;
}

Status FileTable::SendPacket(FileId file, std::span<const std::byte> packet) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  if (it == entries_.end()) return Err(EBADF);
  if (::send(it->second.end.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return HostErr();
  return {};
}

size_t FileTable::QueuedBytes(FileId file) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(file);
  int bytes = 0;
  if (it == entries_.end() || ::ioctl(it->second.end.get(), SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<size_t>(bytes);
}

std::vector<FileTable::FileInfo> FileTable::List() const {
  // Keeps releases off while this function holds Refs, so that none of its Refs is the last.
  const std::lock_guard release_lock(release_mutex_);
  std::vector<std::pair<pid_t, Ref<File>>> files;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) files.emplace_back(entry.opener, entry.file);
  }
  std::vector<FileInfo> list;  // Name() runs without the lock
  for (const auto& [opener, file] : files) list.push_back({file->id(), opener, file->Name()});
  std::sort(list.begin(), list.end(), [](const FileInfo& a, const FileInfo& b) { return a.id < b.id; });
  return list;
}

size_t FileTable::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace causeway::kernel
