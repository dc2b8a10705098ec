// SPDX-License-Identifier: Apache-2.0
#include "shim/machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/checked.h"
#include "ipc/memory_window.h"
#include "shim/fd_table.h"
#include "shim/mapping.h"
#include "shim/path.h"
#include "shim/process.h"
#include "shim/raw.h"
#include "shim/real.h"

namespace causeway::shim {

std::atomic<Mode> shim_mode{Mode::kUnknown};

namespace {

constexpr int kMaxDepth = 4;  // calls of one thread at once: signal handlers nest
constexpr size_t kMaxFolder = 192;

char machine_folder[kMaxFolder];
char tree_root[PATH_MAX];
size_t tree_root_len;

std::atomic<const ipc::ArenaHeader*> arena{nullptr};
struct stat arena_stat;  // which memfd `arena` maps; connect_lock

enum Connection : uint32_t { kNotTried, kConnected, kFailed };
std::atomic<uint32_t> connection{kNotTried};
std::atomic<int> control_fd{-1};

// Order: connect_lock, then control_lock.
Lock connect_lock;
Lock control_lock;  // one exchange on the control socket at a time

roce::Engine engine;
std::atomic<bool> engine_ready{false};

pthread_key_t exit_key;
bool exit_key_made = false;  // connect_lock

struct ThreadChannels {
  uint32_t slot[kMaxDepth];  // slot number + 1; 0 none
  uint32_t depth;
  int installed;  // descriptor that the last call installed here; -1 none
};
thread_local ThreadChannels channels;

const ipc::ArenaHeader* Header() { return arena.load(std::memory_order_acquire); }

ipc::ThreadSlot* SlotAt(uint32_t index) {
  const ipc::ArenaHeader* header = Header();
  auto* base = reinterpret_cast<std::byte*>(const_cast<ipc::ArenaHeader*>(header));
  return reinterpret_cast<ipc::ThreadSlot*>(base + header->slots_offset) + index;
}

// ---- control socket

// Sends `message` (with `send_fd` if >= 0), receives the answer into it (a descriptor into *got_fd, if given).
// Returns 0 or -errno: that of sending a bad descriptor, or -EMFILE when the descriptor found no number.
int Exchange(int socket, ipc::ControlMessage* message, int send_fd, int* got_fd, bool cloexec) {
  struct iovec part = {message, sizeof(*message)};
  alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  struct msghdr out = {};
  out.msg_iov = &part;
  out.msg_iovlen = 1;
  if (send_fd >= 0) {
    memset(space, 0, sizeof(space));
    out.msg_control = space;
    out.msg_controllen = sizeof(space);
    struct cmsghdr* header = CMSG_FIRSTHDR(&out);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &send_fd, sizeof(int));
  }
  long done = 0;
  do {
    done = Raw(SYS_sendmsg, socket, &out, MSG_NOSIGNAL);
  } while (done == -EINTR);
  if (done < 0) return static_cast<int>(done);

  struct msghdr in = {};
  in.msg_iov = &part;
  in.msg_iovlen = 1;
  in.msg_control = space;
  in.msg_controllen = sizeof(space);
  do {
    done = Raw(SYS_recvmsg, socket, &in, cloexec ? MSG_CMSG_CLOEXEC : 0);
  } while (done == -EINTR);
  if (done < 0) return static_cast<int>(done);
  int received = -1;
  if (const struct cmsghdr* header = CMSG_FIRSTHDR(&in);
      header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    memcpy(&received, CMSG_DATA(header), sizeof(int));
  }
  if (got_fd != nullptr) {
    *got_fd = received;
    if (received < 0 && (in.msg_flags & MSG_CTRUNC) != 0) return -EMFILE;
  } else if (received >= 0) {
    (void)Raw(SYS_close, received);
  }
  return done == static_cast<long>(sizeof(*message)) ? 0 : -ENODEV;
}

int Control(ipc::ControlMessage* message, int send_fd, int* got_fd, bool cloexec) {
  const LockGuard lock(control_lock);
  const int socket = control_fd.load(std::memory_order_relaxed);
  if (socket < 0) return -ENODEV;
  return Exchange(socket, message, send_fd, got_fd, cloexec);
}

ipc::ControlMessage ControlRequest(ipc::ControlMessage::Type type) {
  ipc::ControlMessage message = {};
  message.type = type;
  message.version = ipc::kProtocolVersion;
  message.pid = static_cast<uint32_t>(Raw(SYS_getpid));
  message.tid = static_cast<uint32_t>(Raw(SYS_gettid));
  return message;
}

// A number out of the program's way, high up. The low one is freed.
int MoveHigh(int fd) {
  struct rlimit limit = {};
  long top = 1024;
  if (Raw(SYS_prlimit64, 0, RLIMIT_NOFILE, nullptr, &limit) == 0) {
    top = limit.rlim_cur > 65536 ? 65536 : static_cast<long>(limit.rlim_cur);
  }
  for (long low = top - 16; low > 2; low /= 2) {
    const long moved = Raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, low);
    if (moved < 0) continue;
    (void)Raw(SYS_close, fd);
    return static_cast<int>(moved);
  }
  return fd;
}

int ConnectSocket() {
  const long socket = Raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  // A folder whose path is too long for a socket's name is reached through a descriptor.
  long folder = -1;
  char* at = name.sun_path;
  const size_t folder_len = strlen(machine_folder);
  if (folder_len + 1 + strlen(ipc::kSocketName) + 1 <= sizeof(name.sun_path)) {
    memcpy(at, machine_folder, folder_len);
    at += folder_len;
  } else {
    folder = Raw(SYS_openat, AT_FDCWD, machine_folder, O_PATH | O_CLOEXEC, 0);
    at = AppendText(at, "/proc/self/fd/");
    at = AppendNumber(at, static_cast<uint64_t>(folder < 0 ? 0 : folder));
  }
  at = AppendText(at, "/");
  (void)AppendText(at, ipc::kSocketName);
  long done = 0;
  do {
    done = Raw(SYS_connect, socket, &name, sizeof(name));
  } while (done == -EINTR);
  if (folder >= 0) (void)Raw(SYS_close, folder);
  if (done != 0) {
    (void)Raw(SYS_close, socket);
    return -1;
  }
  return static_cast<int>(socket);
}

// Yama (ptrace_scope 1) lets only ancestors reach a process's memory: the machine and sibling programs must, too.
void AllowMemoryAccess() {
  const long fd = Raw(SYS_openat, AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  char scope = '0';
  if (Raw(SYS_read, fd, &scope, 1) == 1 && scope == '1') (void)Raw(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  (void)Raw(SYS_close, fd);
}

std::byte* MapWindowForEngine(void* /*context*/, uint32_t memory, uint32_t window) { return MapWindow(memory, window); }

// The arena of a Welcome. Maps it unless it is the one mapped already (the child of a fork).
const ipc::ArenaHeader* MapArena(int fd, uint64_t bytes) {
  struct stat status;
  if (Raw(SYS_fstat, fd, &status) != 0) return nullptr;
  if (const auto* header = Header();
      header != nullptr && status.st_ino == arena_stat.st_ino && status.st_dev == arena_stat.st_dev) {
    return header;
  }
  const long address = Raw(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (address < 0 && address > -4096) return nullptr;
  const auto* header = reinterpret_cast<const ipc::ArenaHeader*>(address);
  if (header->magic != ipc::kArenaMagic || header->version != ipc::kProtocolVersion) {
    (void)Raw(SYS_munmap, address, bytes);
    return nullptr;
  }
  (void)Raw(SYS_madvise, address, bytes, MADV_DONTDUMP);
  arena_stat = status;
  return header;
}

void OnThreadExit(void*) {
  for (uint32_t& slot : channels.slot) {
    const uint32_t index = slot;
    slot = 0;
    if (index == 0 || Header() == nullptr) continue;
    ipc::ThreadSlot* channel = SlotAt(index - 1);
    if (channel->turn.load(std::memory_order_acquire) != ipc::kTurnProgram) continue;
    channel->message = {};
    channel->message.op = static_cast<uint32_t>(ipc::Op::kExit);
    uint32_t expected = ipc::kTurnProgram;
    // Nobody waits for the answer: the slot may be another thread's by then.
    if (channel->turn.compare_exchange_strong(expected, ipc::kTurnMachine) && channel->machine_sleeps.load() != 0) {
      FutexWakeAll(channel->turn);
    }
  }
}

void TakeSlot(uint32_t depth, uint32_t slot) {
  channels.slot[depth] = slot + 1;
  if (exit_key_made) (void)pthread_setspecific(exit_key, &channels);
}

bool ConnectLocked() {
  const int socket = ConnectSocket();
  if (socket < 0) return false;
  ipc::ControlMessage hello = ControlRequest(ipc::ControlMessage::kHello);
  hello.value = ipc::kProtocolVersion;
  int fd = -1;
  const int error = Exchange(socket, &hello, -1, &fd, true);
  const ipc::ArenaHeader* header = nullptr;
  if (error == 0 && hello.type == ipc::ControlMessage::kWelcome && hello.result == 0 && fd >= 0) {
    header = MapArena(fd, hello.value);
  }
  if (fd >= 0) (void)Raw(SYS_close, fd);
  if (header == nullptr) {
    (void)Raw(SYS_close, socket);
    return false;
  }
  const int high = MoveHigh(socket);
  (void)SetFd(high, kFdPrivate, 0);
  control_fd.store(high, std::memory_order_relaxed);
  arena.store(header, std::memory_order_release);

  // /proc shows paths without symbolic links: the root is kept as it will be seen there.
  if (tree_root_len == 0) {
    const long root = Raw(SYS_openat, AT_FDCWD, header->tree_root, O_PATH | O_CLOEXEC, 0);
    long len = -1;
    if (root >= 0) {
      char link[64];
      (void)AppendNumber(AppendText(link, "/proc/self/fd/"), static_cast<uint64_t>(root));
      len = Raw(SYS_readlink, link, tree_root, sizeof(tree_root) - 1);
      (void)Raw(SYS_close, root);
    }
    if (len <= 0) {
      len = static_cast<long>(strnlen(header->tree_root, sizeof(header->tree_root)));
      memcpy(tree_root, header->tree_root, static_cast<size_t>(len));
    }
    tree_root[len] = '\0';
    tree_root_len = static_cast<size_t>(len);
    UseClaims(*header);
  }
  if (!exit_key_made) exit_key_made = pthread_key_create(&exit_key, OnThreadExit) == 0;
  TakeSlot(0, hello.slot);
  roce::InitEngine(engine, reinterpret_cast<std::byte*>(const_cast<ipc::ArenaHeader*>(header)), SlotAt(hello.slot)->mm,
                   MapWindowForEngine, nullptr);
  static_assert(roce::kMemories == ipc::kMaxMemories && uint64_t{1} << roce::kWindowBits == ipc::kMemoryWindow);
  for (uint32_t memory = 0; memory < roce::kMemories; ++memory) engine.windows[memory] = WindowTable(memory);
  engine_ready.store(true, std::memory_order_release);
  AllowMemoryAccess();
  return true;
}

bool Connected() {
  const uint32_t now = connection.load(std::memory_order_acquire);
  if (__builtin_expect(now == kConnected, 1)) return true;
  if (now == kFailed || !IsActive()) return false;
  const LockGuard lock(connect_lock);
  if (connection.load(std::memory_order_relaxed) == kNotTried) {
    const ErrnoKeeper keeper;
    connection.store(ConnectLocked() ? kConnected : kFailed, std::memory_order_release);
    keeper.Restore();
  }
  return connection.load(std::memory_order_relaxed) == kConnected;
}

// This thread's slot number for a call at `depth`, or -errno.
int64_t SlotForDepth(uint32_t depth) {
  if (!Connected()) return -ENODEV;
  if (channels.slot[depth] == 0) {
    ipc::ControlMessage request = ControlRequest(ipc::ControlMessage::kNewThread);
    if (const int error = Control(&request, -1, nullptr, true); error != 0) return -ENODEV;
    if (request.result < 0) return request.result;
    TakeSlot(depth, request.slot);
  }
  return int64_t{channels.slot[depth]} - 1;
}

// ---- requests of the machine during a call

// Only the cases of IsFileKind() are stored: what a later protocol may add is served like a device.
uint8_t KindFor(uint32_t file_kind) {
  return file_kind > ipc::kFileNone && file_kind <= ipc::kFileNetlink ? static_cast<uint8_t>(file_kind)
                                                                      : uint8_t{kFdDevice};
}

int64_t InstallFd(uint32_t slot, const ipc::Message& message) {
  ipc::ControlMessage request = ControlRequest(ipc::ControlMessage::kFetchFd);
  request.slot = slot;
  int fd = -1;
  const bool is_private = message.value[1] != 0;
  const bool cloexec = is_private || (message.value[0] & O_CLOEXEC) != 0;
  if (const int error = Control(&request, -1, &fd, cloexec); error != 0) return error;
  if (request.result < 0) return request.result;
  if (fd < 0) return -EMFILE;
  if ((message.value[0] & O_NONBLOCK) != 0) {
    const long flags = Raw(SYS_fcntl, fd, F_GETFL, 0);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0) (void)Raw(SYS_fcntl, fd, F_SETFL, flags | O_NONBLOCK);
  }
  if (!is_private && message.file != 0) {
    (void)SetFd(fd, KindFor(message.file_kind), message.file);
  } else {
    ClearFd(fd);
  }
  return fd;
}

int64_t SendFd(uint32_t slot, const ipc::Message& message) {
  const int fd = static_cast<int>(message.value[0]);
  if (fd < 0 || KindOf(fd) == kFdPrivate) return -EBADF;
  ipc::ControlMessage request = ControlRequest(ipc::ControlMessage::kPutFd);
  request.slot = slot;
  const int error = Control(&request, fd, nullptr, true);
  return error != 0 ? error : request.result;
}

void AnswerMachine(uint32_t index, ipc::ThreadSlot* slot) {
  ipc::Message& message = slot->message;
  switch (static_cast<ipc::Op>(message.op)) {
    case ipc::Op::kInstallFd:
      message.result = InstallFd(index, message);
      channels.installed = static_cast<int>(message.result);
      break;
    case ipc::Op::kSendFd: message.result = SendFd(index, message); break;
    case ipc::Op::kCloseFd: {
      const int fd = static_cast<int>(message.value[0]);
      ClearFd(fd);
      message.result = Raw(SYS_close, fd);
      break;
    }
    default: message.result = -ENOSYS; break;
  }
}

// How often to look before sleeping: about 20 us, or not at all where the machine could not run meanwhile.
uint32_t spins;
uint32_t ChooseSpins() {
  uint64_t cpus[1024 / 64] = {};
  if (Raw(SYS_sched_getaffinity, 0, sizeof(cpus), cpus) < 0) return 0;
  int count = 0;
  for (const uint64_t word : cpus) count += __builtin_popcountll(word);
  return count > 1 ? 1000 : 0;
}

bool GiveTurn(ipc::ThreadSlot* slot) {
  uint32_t expected = ipc::kTurnProgram;
  if (!slot->turn.compare_exchange_strong(expected, ipc::kTurnMachine)) return false;
  if (slot->machine_sleeps.load() != 0) FutexWakeAll(slot->turn);
  return true;
}

// Waits for the program's turn. False: the machine is gone.
bool AwaitTurn(ipc::ThreadSlot* slot) {
  for (uint32_t spin = 0; spin < spins; ++spin) {
    if (slot->turn.load(std::memory_order_acquire) != ipc::kTurnMachine) break;
    __builtin_ia32_pause();
  }
  for (;;) {
    const uint32_t turn = slot->turn.load(std::memory_order_acquire);
    if (turn == ipc::kTurnProgram) return true;
    if (turn == ipc::kTurnClosed) return false;
    slot->program_sleeps.store(1);
    (void)FutexWaitFor(slot->turn, ipc::kTurnMachine, 100'000'000);  // wakes for signals, too: looked at again
    slot->program_sleeps.store(0);
    if (!ipc::MachineAlive(*Header()) && slot->turn.load(std::memory_order_acquire) != ipc::kTurnProgram) return false;
  }
}

// Carries out what a call stored to the stack it named.
void TakeOutput(const ipc::ThreadSlot* slot, StackRange stack) {
  const uint32_t bytes = slot->message.output_bytes;
  ipc::OutputRecord record;
  for (uint64_t at = 0; at + sizeof(record) <= bytes && bytes <= ipc::kCallBytes;) {
    CopyRaw(&record, slot->output + at, sizeof(record));
    at += sizeof(record);
    if (record.bytes > bytes - at || !stack.Holds(record.address, record.bytes)) return;
    CopyRaw(reinterpret_cast<void*>(record.address), slot->output + at, record.bytes);
    at += AlignUp(record.bytes, sizeof(record));
  }
}

int64_t TransactOn(uint32_t index, ipc::Message* message) {
  ipc::ThreadSlot* slot = SlotAt(index);
  const StackRange stack = {message->stack_low, message->stack_high};
  if (message->input_bytes != 0) {
    CopyRaw(slot->input, reinterpret_cast<const void*>(message->input_address), message->input_bytes);
  }
  slot->message = *message;
  do {
    if (!GiveTurn(slot) || !AwaitTurn(slot)) return -ENODEV;
    if (slot->message.op == static_cast<uint32_t>(ipc::Op::kDone)) {
      *message = slot->message;
      TakeOutput(slot, stack);
      return message->result;
    }
    AnswerMachine(index, slot);
  } while (true);
}

}  // namespace

void Start() {
  uint64_t signals = 0;
  connect_lock.Acquire(&signals);
  if (shim_mode.load(std::memory_order_relaxed) == Mode::kUnknown) {
    const char* folder = getenv(ipc::kMachineEnv);
    const size_t len = folder != nullptr ? strnlen(folder, kMaxFolder) : 0;
    if (len == 0 || len >= kMaxFolder || folder[0] != '/') {
      shim_mode.store(Mode::kPassThrough, std::memory_order_release);
    } else {
      memcpy(machine_folder, folder, len + 1);
      RecogniseInherited();
      UpdateCwd();
      spins = ChooseSpins();
      shim_mode.store(Mode::kActive, std::memory_order_release);
    }
  }
  connect_lock.ReleaseTo(&signals);
}

const ipc::ArenaHeader* Machine() {
  if (const ipc::ArenaHeader* header = Header(); header != nullptr) return header;
  return Connected() ? Header() : nullptr;
}
const ipc::ArenaHeader* MachineIfConnected() { return Header(); }
const char* TreeRoot() { return tree_root; }
size_t TreeRootLen() { return tree_root_len; }
const char* MachineFolder() { return machine_folder; }

int64_t Transact(ipc::Message* message) {
  ThreadChannels& mine = channels;
  const uint32_t depth = mine.depth;
  if (depth >= kMaxDepth) return -EAGAIN;
  const ErrnoKeeper keeper;
  mine.depth = depth + 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const auto op = static_cast<ipc::Op>(message->op);
  mine.installed = -1;
  const int64_t slot = SlotForDepth(depth);
  const int64_t result = slot < 0 ? slot : TransactOn(static_cast<uint32_t>(slot), message);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  mine.depth = depth;
  if (slot >= 0 && op != ipc::Op::kStat && message->op == static_cast<uint32_t>(ipc::Op::kDone) &&
      message->value[3] != 0) {
    // The call took away what was left to read on that file.
    if (const int fd = FindFd(message->value[3]); fd >= 0) TakeReadinessByte(fd);
  }
  keeper.Restore();
  return result;
}

int InstalledFd() { return channels.installed; }

int64_t PlainCall(ipc::Op op, uint64_t file, CallArgs args, ipc::Message* reply) {
  ipc::Message message = {};
  message.op = static_cast<uint32_t>(op);
  message.file = file;
  message.arg[0] = args.a0;
  message.arg[1] = args.a1;
  message.arg[2] = args.a2;
  message.arg[3] = args.a3;
  const int64_t result = Transact(&message);
  if (reply != nullptr) *reply = message;
  return result;
}

int64_t FileCall(int fd, ipc::Op op, CallArgs args, ipc::Message* reply, const CallData& data) {
  ipc::Message message = {};
  if (data.input_bytes <= ipc::kCallBytes && data.stack.Holds(data.input_address, data.input_bytes)) {
    message.input_address = data.input_address;
    message.input_bytes = static_cast<uint32_t>(data.input_bytes);
  }
  message.stack_low = data.stack.low;
  message.stack_high = data.stack.high;
  message.op = static_cast<uint32_t>(op);
  message.file = FileOf(fd);
  message.file_kind = KindOf(fd);
  message.arg[0] = args.a0;
  message.arg[1] = args.a1;
  message.arg[2] = args.a2;
  message.arg[3] = args.a3;
  const int64_t result = Transact(&message);
  if (reply != nullptr) *reply = message;
  return result;
}

uint8_t SettledKind(int fd) {
  const uint8_t kind = KindOf(fd);
  if (kind != kFdUnasked) return kind;
  const ipc::ArenaHeader* header = Machine();
  if (header == nullptr) return kFdDevice;  // its machine is gone: calls answer ENODEV
  uint64_t file = 0;
  if (!PeerFile(fd, header->machine_id, &file)) {
    ClearFd(fd);
    return kFdOrdinary;
  }
  ipc::Message reply;
  if (PlainCall(ipc::Op::kStat, file, {}, &reply) < 0) return kFdDevice;
  const uint8_t settled = KindFor(reply.file_kind);
  SettleFd(file, settled);
  return settled;
}

int ThreadSlotIndex() { return static_cast<int>(SlotForDepth(0) < 0 ? -1 : int64_t{channels.slot[0]} - 1); }

const roce::Engine* NicEngine() { return engine_ready.load(std::memory_order_acquire) ? &engine : nullptr; }

int ControlFd() { return control_fd.load(std::memory_order_relaxed); }

void MoveControlFd(int avoid) {
  const LockGuard lock(control_lock);
  const int now = control_fd.load(std::memory_order_relaxed);
  if (now != avoid || now < 0) return;
  const long moved = Raw(SYS_fcntl, now, F_DUPFD_CLOEXEC, 3);
  if (moved < 0) return;
  (void)SetFd(static_cast<int>(moved), kFdPrivate, 0);
  control_fd.store(static_cast<int>(moved), std::memory_order_relaxed);
  ClearFd(now);
  (void)Raw(SYS_close, now);
}

namespace {
uint64_t fork_signals[2];
}

void LockForFork() {
  uint64_t signals[2];
  connect_lock.Acquire(&signals[0]);
  control_lock.Acquire(&signals[1]);
  fork_signals[0] = signals[0];
  fork_signals[1] = signals[1];
}

void UnlockInParent() {
  const uint64_t signals[2] = {fork_signals[0], fork_signals[1]};
  control_lock.ReleaseTo(&signals[1]);
  connect_lock.ReleaseTo(&signals[0]);
}

void ResetInChild() {
  const int socket = control_fd.load(std::memory_order_relaxed);
  if (socket >= 0) {
    ClearFd(socket);
    (void)Raw(SYS_close, socket);
    control_fd.store(-1, std::memory_order_relaxed);
  }
  channels = {};
  engine_ready.store(false, std::memory_order_relaxed);
  connection.store(kNotTried, std::memory_order_relaxed);
  UnlockInParent();
}

}  // namespace causeway::shim
