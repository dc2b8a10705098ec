// SPDX-License-Identifier: Apache-2.0
#include "kernel/netlink_socket.h"

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace causeway::kernel {
namespace {

constexpr size_t kQueueRoom = 212992;  // net.core.rmem_default
constexpr uint32_t kSendOverhead = 32;

std::atomic<uint64_t> next_inode{1};

// netlink_group_mask() of what connect() kept: the lowest group.
uint32_t LowestGroup(uint32_t groups) { return groups & -groups; }

template <typename T>
SocketFile::OptionValue ValueOf(T value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {{bytes.begin(), bytes.end()}, sizeof(value)};
}

}  // namespace

uint32_t NetlinkRequest::portid() const { return socket.portid(); }

bool NetlinkRequest::Capable(int capability) const {
  return (!addressed || socket.opener_capable()) && task.Capable(capability);
}

bool NetlinkPorts::Insert(uint32_t portid) {
  const std::lock_guard lock(mutex_);
  return taken_.insert(portid).second;
}

void NetlinkPorts::Remove(uint32_t portid) {
  const std::lock_guard lock(mutex_);
  taken_.erase(portid);
}

bool NetlinkPorts::Has(uint32_t portid) const {
  const std::lock_guard lock(mutex_);
  return taken_.contains(portid);
}

NetlinkSocket::NetlinkSocket(Task& opener, NetlinkFamily& family, NetlinkPorts& ports, Packets& packets, int protocol,
                             int type)
    : SocketFile(ipc::kFileNetlink),
      family_(family),
      ports_(ports),
      packets_(packets),
      protocol_(protocol),
      type_(type),
      inode_(next_inode.fetch_add(1)),
      opener_capable_(opener.Capable(CAP_NET_ADMIN)) {}

NetlinkSocket::~NetlinkSocket() {
  if (bound_) ports_.Remove(portid_);
}

FileStat NetlinkSocket::Stat() const { return {.mode = S_IFSOCK | 0777, .inode = inode_}; }
std::string NetlinkSocket::Name() const { return "socket:[" + std::to_string(inode_) + "]"; }

// netlink_autobind(): the process's id, or else a negative number that is free.
Status NetlinkSocket::AutobindLocked(Task& task) {
  if (bound_) return {};
  portid_ = static_cast<uint32_t>(task.pid());
  for (uint32_t rover = static_cast<uint32_t>(-4097); !ports_.Insert(portid_); --rover) portid_ = rover;
  bound_ = true;
  return {};
}

Status NetlinkSocket::Bind(Task& task, std::span<const std::byte> address) {
  struct sockaddr_nl name;
  if (address.size() < sizeof(name)) return Err(EINVAL);
  std::memcpy(&name, address.data(), sizeof(name));
  if (name.nl_family != AF_NETLINK) return Err(EINVAL);
  const bool admin = name.nl_groups == 0 || task.Capable(CAP_NET_ADMIN);
  if (!admin) return Err(EPERM);
  const std::lock_guard lock(mutex_);
  if (bound_) {
    if (name.nl_pid != portid_) return Err(EINVAL);
  } else if (name.nl_pid != 0) {
    if (!ports_.Insert(name.nl_pid)) return Err(EADDRINUSE);  // netlink_insert()
    portid_ = name.nl_pid;
    bound_ = true;
  } else {
    CW_CHECK(AutobindLocked(task));
  }
  groups_ = name.nl_groups;
  return {};
}

Status NetlinkSocket::Connect(Task& task, std::span<const std::byte> address) {
  struct sockaddr_nl name = {};
  if (address.size() < sizeof(name.nl_family)) return Err(EINVAL);
  std::memcpy(&name, address.data(), std::min(address.size(), sizeof(name)));
  if (name.nl_family == AF_UNSPEC) {
    const std::lock_guard lock(mutex_);
    dst_portid_ = dst_groups_ = 0;
    return {};
  }
  if (name.nl_family != AF_NETLINK || address.size() < sizeof(name)) return Err(EINVAL);
  if ((name.nl_groups != 0 || name.nl_pid != 0) && !task.Capable(CAP_NET_ADMIN)) return Err(EPERM);
  const std::lock_guard lock(mutex_);
  CW_CHECK(AutobindLocked(task));
  dst_portid_ = name.nl_pid;
  dst_groups_ = LowestGroup(name.nl_groups);
  return {};
}

std::vector<std::byte> NetlinkSocket::Name(bool peer) const {
  const std::lock_guard lock(mutex_);
  struct sockaddr_nl name = {};
  name.nl_family = AF_NETLINK;
  name.nl_pid = peer ? dst_portid_ : portid_;
  name.nl_groups = peer ? dst_groups_ : groups_;
  const auto bytes = std::as_bytes(std::span(&name, 1));
  return {bytes.begin(), bytes.end()};
}

std::optional<NetlinkSocket::Flag> NetlinkSocket::FlagOf(int option) {
  switch (option) {
    case NETLINK_PKTINFO: return kPktInfo;
    case NETLINK_BROADCAST_ERROR: return kBroadcastError;
    case NETLINK_NO_ENOBUFS: return kNoEnobufs;
    case NETLINK_CAP_ACK: return kCapAck;
    case NETLINK_EXT_ACK: return kExtAck;
    case NETLINK_GET_STRICT_CHK: return kStrictCheck;
    default: return std::nullopt;
  }
}

Status NetlinkSocket::SetOption(Task& task, int level, int option, std::span<const std::byte> value) {
  if (level != SOL_NETLINK) return Err(ENOPROTOOPT);
  uint32_t number = 0;
  if (value.size() >= sizeof(number)) std::memcpy(&number, value.data(), sizeof(number));
  switch (option) {
    case NETLINK_ADD_MEMBERSHIP:
    case NETLINK_DROP_MEMBERSHIP: {
      if (!task.Capable(CAP_NET_ADMIN)) return Err(EPERM);
      if (number == 0 || number > kGroups) return Err(EINVAL);
      const uint32_t group = 1u << (number - 1);
      const std::lock_guard lock(mutex_);
      groups_ = option == NETLINK_ADD_MEMBERSHIP ? groups_ | group : groups_ & ~group;
      return {};
    }
    case NETLINK_LISTEN_ALL_NSID: {
      if (!task.Capable(CAP_NET_BROADCAST)) return Err(EPERM);
      const std::lock_guard lock(mutex_);
      flags_ = number != 0 ? flags_ | kListenAllNsid : flags_ & ~kListenAllNsid;
      return {};
    }
    default: break;
  }
  const auto flag = FlagOf(option);
  if (!flag) return Err(ENOPROTOOPT);
  const std::lock_guard lock(mutex_);
  flags_ = number != 0 ? flags_ | *flag : flags_ & ~*flag;
  if (*flag == kNoEnobufs && number != 0) congested_ = false;
  return {};
}

Result<SocketFile::OptionValue> NetlinkSocket::GetOption(int level, int option, size_t room) const {
  if (level == SOL_SOCKET) {  // sk_getsockopt(); the program's side answers the rest
    OptionValue answer;
    switch (option) {
      case SO_DOMAIN: answer = ValueOf(int{AF_NETLINK}); break;
      case SO_TYPE: answer = ValueOf(type_); break;
      case SO_PROTOCOL: answer = ValueOf(protocol_); break;
      default: return Err(ENOPROTOOPT);
    }
    answer.value.resize(std::min(room, answer.value.size()));
    answer.length = static_cast<uint32_t>(answer.value.size());
    return answer;
  }
  if (level != SOL_NETLINK) return Err(ENOPROTOOPT);
  const std::lock_guard lock(mutex_);
  if (option == NETLINK_LIST_MEMBERSHIPS) {
    OptionValue answer = ValueOf(groups_);
    if (room < sizeof(groups_)) answer.value.clear();
    return answer;
  }
  const auto flag = FlagOf(option);
  if (!flag) return Err(ENOPROTOOPT);
  if (room < sizeof(int)) return Err(EINVAL);
  return ValueOf(int{(flags_ & *flag) != 0 ? 1 : 0});
}

// netlink_sendmsg().
Result<int64_t> NetlinkSocket::SendMessage(Task& task, Message message) {
  if ((message.flags & MSG_OOB) != 0) return Err(EOPNOTSUPP);
  if (message.data.empty()) return Err(ENODATA);
  const std::lock_guard lock(mutex_);
  uint32_t portid = dst_portid_;
  const bool addressed = !message.address.empty();
  if (addressed) {
    struct sockaddr_nl name;
    if (message.address.size() < sizeof(name)) return Err(EINVAL);
    std::memcpy(&name, message.address.data(), sizeof(name));
    if (name.nl_family != AF_NETLINK) return Err(EINVAL);
    portid = name.nl_pid;
    if ((name.nl_pid != 0 || name.nl_groups != 0) && !task.Capable(CAP_NET_ADMIN)) return Err(EPERM);
  }
  CW_CHECK(AutobindLocked(task));
  if (message.send_buffer < kSendOverhead || message.data.size() > message.send_buffer - kSendOverhead) {
    return Err(EMSGSIZE);
  }
  // Between programs nothing is carried (docs/fidelity.md).
  if (portid != 0) {
    if (!ports_.Has(portid)) return Err(ECONNREFUSED);
    return Err(EPERM);
  }
  family_.Receive(task, *this, message.data, addressed);
  return static_cast<int64_t>(message.data.size());
}

// netlink_attachskb(), netlink_overrun(): what finds no room is lost, and said so at the next receive.
Status NetlinkSocket::Deliver(const NlBuffer& buffer) {
  const bool full = congested_ || packets_.QueuedBytes(id()) >= kQueueRoom;
  Status sent = full ? Status(Err(EAGAIN)) : packets_.SendPacket(id(), buffer.bytes());
  if (!sent && sent.error() == Errno(EAGAIN) && (flags_ & kNoEnobufs) == 0) {
    congested_ = true;
    error_ = ENOBUFS;
  }
  return sent;
}

void NetlinkSocket::Acknowledge(const NetlinkRequest& request, int error, const ExtAck& ext_ack) {
  const bool capped = error == 0 || (flags_ & kCapAck) != 0;
  const bool texts = (flags_ & kExtAck) != 0 && (ext_ack.message != nullptr || (error != 0 && ext_ack.bad_attr));
  uint16_t flags = 0;
  if (capped) flags |= NLM_F_CAPPED;
  if (texts) flags |= NLM_F_ACK_TLVS;
  NlBuffer buffer(request.bytes.size() + kNlGoodSize);
  const auto message = buffer.Begin(portid_, request.header.nlmsg_seq, NLMSG_ERROR, flags);
  const nlmsgerr head = {.error = -error, .msg = request.header};
  if (!message || !buffer.Append(std::as_bytes(std::span(&head, 1)))) return;
  if (!capped && !buffer.Append(request.bytes.subspan(NLMSG_HDRLEN))) return;
  if (texts) {
    if (ext_ack.message != nullptr) (void)buffer.PutString(NLMSGERR_ATTR_MSG, ext_ack.message);
    if (error != 0 && ext_ack.bad_attr) (void)buffer.PutU32(NLMSGERR_ATTR_OFFS, *ext_ack.bad_attr);
    if (error != 0 && ext_ack.policy != nullptr) PutPolicy(buffer, NLMSGERR_ATTR_POLICY, *ext_ack.policy);
  }
  buffer.End(*message);
  (void)Deliver(buffer);
}

Status NetlinkSocket::StartDump(const NetlinkRequest& request, NetlinkDumpFn dump) {
  if (dump_) return Err(EBUSY);
  dump_ = std::make_unique<Dump>(Dump{.message = {request.bytes.begin(), request.bytes.end()},
                                      .header = request.header,
                                      .addressed = request.addressed,
                                      .fill = std::move(dump)});
  return ContinueDumpLocked(request.task);
}

// netlink_dump(): one part.
Status NetlinkSocket::ContinueDumpLocked(Task& task) {
  Dump& dump = *dump_;
  const NetlinkRequest request = {task, *this, dump.message, dump.header, dump.addressed};
  NlBuffer buffer(std::max(kNlGoodSize, max_recvmsg_len_));
  if (packets_.QueuedBytes(id()) >= kQueueRoom) return Err(ENOBUFS);
  if (dump.done_errno > 0) dump.done_errno = dump.fill(request, buffer, &dump.position);
  if (dump.done_errno > 0 || buffer.room() < NLMSG_HDRLEN + sizeof(int32_t)) {
    (void)packets_.SendPacket(id(), buffer.bytes());
    return {};
  }
  // netlink_dump_done(). What was found after the last part was full is said with the end.
  const int32_t done = dump.done_errno;
  if (const auto end = buffer.Begin(portid_, dump.header.nlmsg_seq, NLMSG_DONE, NLM_F_MULTI)) {
    (void)buffer.Append(std::as_bytes(std::span(&done, 1)));
    buffer.End(*end);
  }
  (void)packets_.SendPacket(id(), buffer.bytes());
  dump_.reset();
  return {};
}

// netlink_recvmsg(), what it does beside receiving.
Status NetlinkSocket::BeforeReceive(Task& task, size_t room) {
  const std::lock_guard lock(mutex_);
  if (const int error = std::exchange(error_, 0); error != 0) return Err(Errno::FromHost(error));
  max_recvmsg_len_ = std::min(std::max(max_recvmsg_len_, room), kNlMaxDump);
  const size_t queued = packets_.QueuedBytes(id());
  if (queued == 0) congested_ = false;
  if (dump_ && queued <= kQueueRoom / 2) {
    if (const Status more = ContinueDumpLocked(task); !more) error_ = more.error().code();
  }
  return {};
}

}  // namespace causeway::kernel
