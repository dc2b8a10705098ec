// SPDX-License-Identifier: Apache-2.0
// Netlink sockets between programs and the machine: linux v6.1 net/netlink/af_netlink.c. What a request means is its
// family's (NetlinkFamily: a struct netlink_kernel_cfg); port ids, acknowledgements and dumps are here.
//
//   program: sendmsg()  -> SendMessage() -> family.Receive() -> Deliver(), Acknowledge(), StartDump()
//            recvmsg()  -> BeforeReceive(): the next part of a dump, an error -> the descriptor's own queue
//
// A dump is made in parts, as fast as they are received, so that it never overruns the queue. As in the kernel the part
// after the one that is being received is there when that call returns, so that poll() tells the truth.
//
// Runs on: server threads. One lock per socket, held while a request is carried out; the family's locks are taken
// within. A program's memory is not touched under it.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "kernel/nlmsg.h"
#include "kernel/socket.h"

namespace causeway::kernel {

class NetlinkSocket;

// One message of a request, and who sent it: struct nlmsghdr with its struct netlink_skb_parms. Lives as long as the
// call.
struct NetlinkRequest {
  Task& task;
  NetlinkSocket& socket;
  std::span<const std::byte> bytes;  // header included, as long as it says
  nlmsghdr header;
  bool addressed = false;  // NETLINK_SKB_DST: sent to a named address

  uint32_t portid() const;
  bool Capable(int capability) const;  // netlink_capable()
};

// netlink_callback.dump: adds what fits to the buffer. 0: nothing is left; below 0: -errno; else there may be more.
// `position` is cb->args[0].
using NetlinkDumpFn = std::function<int(const NetlinkRequest& request, NlBuffer& buffer, uint64_t* position)>;

class NetlinkFamily {
 public:
  virtual ~NetlinkFamily() = default;
  // netlink_kernel_cfg.input. `bytes` is all that one send() brought.
  virtual void Receive(Task& task, NetlinkSocket& socket, std::span<const std::byte> bytes, bool addressed) = 0;
};

// Which ports of a protocol are taken.
class NetlinkPorts {
 public:
  bool Insert(uint32_t portid);  // false: taken
  void Remove(uint32_t portid);
  bool Has(uint32_t portid) const;

 private:
  mutable std::mutex mutex_;
  std::set<uint32_t> taken_;
};

class NetlinkSocket final : public SocketFile {
 public:
  // netlink_create(). All outlive the socket; `type` is SOCK_RAW or SOCK_DGRAM.
  NetlinkSocket(Task& opener, NetlinkFamily& family, NetlinkPorts& ports, Packets& packets, int protocol, int type);
  ~NetlinkSocket() override;

  Status Bind(Task& task, std::span<const std::byte> address) override;
  Status Connect(Task& task, std::span<const std::byte> address) override;
  std::vector<std::byte> Name(bool peer) const override;
  Status SetOption(Task& task, int level, int option, std::span<const std::byte> value) override;
  Result<OptionValue> GetOption(int level, int option, size_t room) const override;
  Result<int64_t> SendMessage(Task& task, Message message) override;
  Status BeforeReceive(Task& task, size_t room) override;
  Result<int64_t> ReadAt(Task&, uint64_t, uint64_t, int64_t, bool*) override { return Err(ESPIPE); }
  Result<int64_t> WriteAt(Task&, uint64_t, uint64_t, int64_t) override { return Err(ESPIPE); }
  FileStat Stat() const override;
  std::string Name() const override;

  // ---- for the family, from within Receive()
  uint32_t portid() const { return portid_; }
  bool opener_capable() const { return opener_capable_; }
  // nlmsg_unicast() to this socket. errors: EAGAIN its queue is full, and the next receive says ENOBUFS.
  Status Deliver(const NlBuffer& buffer);
  // netlink_ack(). `error` 0 or an errno.
  void Acknowledge(const NetlinkRequest& request, int error, const ExtAck& ext_ack);
  // netlink_dump_start(). Its first part is queued. errors: EBUSY a dump is running; ENOBUFS.
  Status StartDump(const NetlinkRequest& request, NetlinkDumpFn dump);

 private:
  enum Flag : uint32_t {
    kPktInfo = 1 << 0,
    kBroadcastError = 1 << 1,
    kNoEnobufs = 1 << 2,
    kListenAllNsid = 1 << 3,
    kCapAck = 1 << 4,
    kExtAck = 1 << 5,
    kStrictCheck = 1 << 6,
  };
  static std::optional<Flag> FlagOf(int option);
  static constexpr uint32_t kGroups = 32;  // netlink_kernel_create(): no family has fewer

  struct Dump {
    std::vector<std::byte> message;
    nlmsghdr header;
    bool addressed;
    NetlinkDumpFn fill;
    uint64_t position = 0;
    int done_errno = 1;  // what fill() said last; above 0: more
  };
  Status AutobindLocked(Task& task);
  Status ContinueDumpLocked(Task& task);

  NetlinkFamily& family_;
  NetlinkPorts& ports_;
  Packets& packets_;
  const int protocol_, type_;
  const uint64_t inode_;
  const bool opener_capable_;  // file_ns_capable(CAP_NET_ADMIN)

  mutable std::mutex mutex_;  // guards what follows
  uint32_t portid_ = 0;
  bool bound_ = false;
  uint32_t dst_portid_ = 0, dst_groups_ = 0;
  uint32_t flags_ = 0;
  uint32_t groups_ = 0;
  size_t max_recvmsg_len_ = 0;
  bool congested_ = false;
  int error_ = 0;  // sk_err
  std::unique_ptr<Dump> dump_;
};

}  // namespace causeway::kernel
