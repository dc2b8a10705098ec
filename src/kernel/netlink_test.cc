// SPDX-License-Identifier: Apache-2.0
// Netlink messages, attributes and sockets: linux v6.1 lib/nlattr.c, net/netlink/af_netlink.c, net/socket.c.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "kernel/fake_packets.h"
#include "kernel/fake_task.h"
#include "kernel/netlink_socket.h"

namespace causeway::kernel {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes BytesOf(const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  return {bytes.begin(), bytes.end()};
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// One attribute, padded.
Bytes Attr(uint16_t type, const Bytes& payload) {
  Bytes bytes = BytesOf(nlattr{static_cast<uint16_t>(NLA_HDRLEN + payload.size()), type}) + payload;
  bytes.resize((bytes.size() + 3) & ~size_t{3});
  return bytes;
}

Bytes Message(uint16_t type, uint16_t flags, const Bytes& payload, uint32_t seq = 7) {
  return BytesOf(nlmsghdr{static_cast<uint32_t>(NLMSG_HDRLEN + payload.size()), type, flags, seq, 0}) + payload;
}

// ---- attributes

constexpr std::array<NlaPolicy, 8> kPolicy = {{{},
                                               {NlaType::kU32, 0},
                                               {NlaType::kNulString, 4},
                                               {NlaType::kU8, 0},
                                               {NlaType::kNested, 0},
                                               {NlaType::kUnspec, 8},
                                               {NlaType::kBinary, 4},
                                               {NlaType::kNulString, 0}}};

struct Parsed {
  int error = 0;
  NlAttributes attributes;
  ExtAck ack;
  Bytes message;
};
Parsed Parse(const Bytes& payload, bool strict) {
  Parsed parsed;
  parsed.message = Message(0x1401, 1, payload);
  const Status status = ParseAttributes(parsed.message, kPolicy, strict, &parsed.ack, &parsed.attributes);
  parsed.error = status ? 0 : status.error().code();
  return parsed;
}

TEST(NlAttributes, ValuesAreFound) {
  const auto parsed = Parse(Attr(1, BytesOf(uint32_t{0x11223344})) + Attr(2, BytesOf(std::array{'a', 'b', '\0'})) +
                                Attr(3, BytesOf(uint8_t{9})),
                            true);
  ASSERT_EQ(parsed.error, 0);
  EXPECT_EQ(parsed.attributes.U32(1), 0x11223344u);
  EXPECT_EQ(parsed.attributes.Text(2, 5), "ab");
  EXPECT_EQ(parsed.attributes.Text(2, 2), "a");  // nla_strscpy() cuts
  EXPECT_EQ(parsed.attributes.U8(3), 9);
  EXPECT_FALSE(parsed.attributes.Has(4));
  EXPECT_FALSE(parsed.attributes.Has(100));
}

// __nla_validate_parse(), validate_nla(): what nlmsg_parse_deprecated() lets through and what it does not.
TEST(NlAttributes, LiberalChecks) {
  EXPECT_EQ(Parse(Attr(0, {}) + Attr(99, {}), false).error, 0) << "unknown types are skipped";
  EXPECT_EQ(Parse(Attr(1, Bytes(8)), false).error, 0) << "longer than it must be";
  EXPECT_EQ(Parse(Attr(1, Bytes(3)), false).error, ERANGE);
  EXPECT_EQ(Parse(Attr(2, Bytes(3, std::byte{'x'})), false).error, EINVAL) << "no NUL";
  EXPECT_EQ(Parse(Attr(2, {}), false).error, EINVAL);
  EXPECT_EQ(Parse(Attr(2, Bytes(4, std::byte{'x'}) + Bytes(1)), false).error, 0) << "four and a NUL";
  EXPECT_EQ(Parse(Attr(2, Bytes(5, std::byte{'x'}) + Bytes(1)), false).error, EINVAL);
  EXPECT_EQ(Parse(Attr(2, Bytes(1) + Bytes(5, std::byte{'x'})), false).error, ERANGE);
  EXPECT_EQ(Parse(Attr(4, Bytes(3)), false).error, ERANGE);
  EXPECT_EQ(Parse(Attr(4, {}), false).error, 0);
  EXPECT_EQ(Parse(Attr(5, Bytes(7)), false).error, ERANGE);
  EXPECT_EQ(Parse(Attr(6, Bytes(5)), false).error, ERANGE);
  EXPECT_EQ(Parse(Bytes(2), false).error, 0) << "bytes are left over";
  EXPECT_EQ(Parse(BytesOf(nlattr{3, 1}), false).error, 0) << "shorter than its own header: ends there";
  EXPECT_EQ(Parse(BytesOf(nlattr{200, 1}) + Bytes(4), false).error, 0) << "longer than the message: ends there";
}

// NL_VALIDATE_STRICT, with what NL_SET_ERR_MSG_ATTR_POL() notes.
TEST(NlAttributes, StrictChecks) {
  const auto unknown = Parse(Attr(1, Bytes(4)) + Attr(99, {}), true);
  EXPECT_EQ(unknown.error, EINVAL);
  EXPECT_STREQ(unknown.ack.message, "Unknown attribute type");
  EXPECT_EQ(unknown.ack.bad_attr, NLMSG_HDRLEN + 8u);
  EXPECT_EQ(unknown.ack.policy, nullptr);
  EXPECT_EQ(Parse(Attr(0, {}), true).error, EINVAL);
  const auto length = Parse(Attr(1, Bytes(8)), true);
  EXPECT_EQ(length.error, EINVAL);
  EXPECT_STREQ(length.ack.message, "invalid attribute length");
  EXPECT_EQ(length.ack.policy, &kPolicy[1]);
  EXPECT_STREQ(Parse(Attr(4, {}), true).ack.message, "NLA_F_NESTED is missing");
  EXPECT_EQ(Parse(Attr(4 | NLA_F_NESTED, {}), true).error, 0);
  EXPECT_STREQ(Parse(Attr(1 | NLA_F_NESTED, Bytes(4)), true).ack.message, "NLA_F_NESTED not expected");
  EXPECT_STREQ(Parse(Attr(5, Bytes(8)), true).ack.message, "Unsupported attribute");
  EXPECT_STREQ(Parse(Attr(2, {}), true).ack.message, "Attribute failed policy validation");
  EXPECT_EQ(Parse(Bytes(2), true).error, EINVAL);
  EXPECT_STREQ(Parse(Bytes(2), true).ack.message, "bytes leftover after parsing attributes");
}

TEST(NlBuffer, NothingIsWrittenBeyondItsBound) {
  NlBuffer buffer(NLMSG_HDRLEN + 12);
  const auto message = buffer.Begin(1, 2, 3, 4);
  ASSERT_TRUE(message);
  EXPECT_FALSE(buffer.PutU64(1, 5) && buffer.PutU8(1, 5));
  EXPECT_EQ(buffer.room(), 0u);
  EXPECT_FALSE(buffer.NestStart(7));
  EXPECT_FALSE(buffer.Begin(1, 2, 3, 4));
  buffer.Cancel(*message);
  EXPECT_EQ(buffer.size(), 0u);
}

TEST(NlBuffer, MessagesAreTheKernels) {
  NlBuffer buffer(kNlGoodSize);
  const auto message = *buffer.Begin(0x22, 0x33, 0x1401, NLM_F_MULTI);
  EXPECT_TRUE(buffer.PutString(2, "rxe0"));
  const auto nest = *buffer.NestStart(15);
  EXPECT_TRUE(buffer.PutU8(84, 1));
  buffer.NestEnd(nest);
  buffer.End(message);
  const Bytes expected = BytesOf(nlmsghdr{40, 0x1401, NLM_F_MULTI, 0x33, 0x22}) +
                         Attr(2, BytesOf(std::array{'r', 'x', 'e', '0', '\0'})) +
                         Attr(15, Attr(84, Bytes(1, std::byte{1})));
  EXPECT_EQ(Bytes(buffer.bytes().begin(), buffer.bytes().end()), expected);
}

// ---- sockets

// Type 100: acknowledged. 101: a dump of `parts` parts. 102: one whose end is an error. 103: EINVAL with a text.
class FakeFamily : public NetlinkFamily {
 public:
  void Receive(Task& task, NetlinkSocket& socket, std::span<const std::byte> bytes, bool addressed) override {
    nlmsghdr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    const NetlinkRequest request = {task, socket, bytes, header, addressed};
    capable = request.Capable(CAP_NET_ADMIN);
    Status done;
    if (header.nlmsg_type == 101 || header.nlmsg_type == 102) {
      done = socket.StartDump(request, [this](const NetlinkRequest& again, NlBuffer& buffer, uint64_t* position) {
        if (*position == parts) return again.header.nlmsg_type == 102 ? -EINVAL : 0;
        const auto message = *buffer.Begin(again.portid(), again.header.nlmsg_seq, 101, NLM_F_MULTI);
        EXPECT_TRUE(buffer.PutU32(1, static_cast<uint32_t>(++*position)));
        rooms.push_back(buffer.size() + buffer.room());
        buffer.End(message);
        return static_cast<int>(buffer.size());
      });
      if (done) return;
    }
    ExtAck ack;
    if (header.nlmsg_type == 103) {
      static constexpr NlaPolicy kU32 = {NlaType::kU32, 0};
      ack = {.message = "no", .bad_attr = 16, .policy = &kU32};
      done = Err(EINVAL);
    }
    socket.Acknowledge(request, done ? 0 : done.error().code(), ack);
  }
  uint64_t parts = 2;
  bool capable = false;
  std::vector<size_t> rooms;
};

class NetlinkSockets : public ::testing::Test {
 protected:
  static constexpr uint64_t kUser = 0x10000, kBuffer = kUser + 0x2000;
  NetlinkSockets() { task_.user.Map(kUser, 0x8000); }

  Ref<NetlinkSocket> Open() {
    auto socket = MakeRef<NetlinkSocket>(task_, family_, ports_, packets_, 20, SOCK_RAW);
    socket->set_id(FakeTask::next_file_id++);
    return socket;
  }
  // The calls of net/socket.c. 0 or above, or -errno.
  int64_t Call(NetlinkSocket& socket, ipc::Op op, uint64_t a0 = 0, uint64_t a1 = 0, uint64_t a2 = 0, uint64_t a3 = 0) {
    ipc::Message call = {};
    call.op = static_cast<uint32_t>(op);
    call.arg[0] = a0;
    call.arg[1] = a1;
    call.arg[2] = a2;
    call.arg[3] = a3;
    const auto result = SocketCall(task_, socket, call);
    return result ? *result : -result.error().code();
  }
  template <typename T>
  uint64_t Poke(uint64_t address, const T& value) {
    CW_INVARIANT(task_.user.Write(address, value));
    return address;
  }
  int64_t Bind(NetlinkSocket& socket, uint32_t pid, uint32_t groups = 0, uint32_t length = sizeof(sockaddr_nl)) {
    return Call(socket, ipc::Op::kBind, Poke(kUser, sockaddr_nl{AF_NETLINK, 0, pid, groups}), length);
  }
  sockaddr_nl Name(NetlinkSocket& socket, bool peer = false) {
    Poke(kUser, int32_t{sizeof(sockaddr_nl)});
    EXPECT_EQ(Call(socket, ipc::Op::kSocketName, kUser + 16, kUser, peer ? 1 : 0), 0);
    return *task_.user.Read<sockaddr_nl>(kUser + 16);
  }
  int64_t Send(NetlinkSocket& socket, const Bytes& data, uint64_t flags = 0, uint64_t room = 65536) {
    CW_INVARIANT(task_.user.CopyTo(kBuffer, data));
    Poke(kUser + 256, iovec{reinterpret_cast<void*>(kBuffer), data.size()});
    msghdr message = {};
    message.msg_iov = reinterpret_cast<iovec*>(kUser + 256);
    message.msg_iovlen = 1;
    if (named_) {
      message.msg_name = reinterpret_cast<void*>(Poke(kUser + 320, to_));
      message.msg_namelen = to_bytes_;
    }
    return Call(socket, ipc::Op::kSendMessage, Poke(kUser, message), flags, room);
  }
  // recvmsg(): what came, after BeforeReceive().
  Bytes Receive(NetlinkSocket& socket, size_t room = 4096) {
    receive_error_ = Call(socket, ipc::Op::kBeforeReceive, room);
    return packets_.Take();
  }

  FakeTask task_;
  FakeFamily family_;
  NetlinkPorts ports_;
  FakePackets packets_;
  bool named_ = false;
  sockaddr_nl to_ = {};
  uint32_t to_bytes_ = sizeof(sockaddr_nl);
  int64_t receive_error_ = 0;
};

TEST_F(NetlinkSockets, PortsAreTheProcessesAndThenNegativeNumbers) {
  const auto first = Open(), second = Open();
  EXPECT_EQ(Name(*first).nl_pid, 0u);
  EXPECT_EQ(Bind(*first, 0), 0);
  EXPECT_EQ(Name(*first).nl_pid, 1000u);
  EXPECT_EQ(Bind(*second, 0), 0);
  EXPECT_EQ(static_cast<int32_t>(Name(*second).nl_pid), -4097);
  EXPECT_EQ(Bind(*second, 5), -EINVAL) << "bound to another port";
  EXPECT_EQ(Bind(*second, static_cast<uint32_t>(-4097)), 0);
  auto third = Open();
  EXPECT_EQ(Bind(*third, 1000), -EADDRINUSE);
  EXPECT_EQ(Bind(*third, 77), 0);
  third.Reset();
  EXPECT_FALSE(ports_.Has(77));
}

TEST_F(NetlinkSockets, BindChecksWhatNetlinkBindChecks) {
  const auto socket = Open();
  EXPECT_EQ(Bind(*socket, 0, 0, 11), -EINVAL);
  EXPECT_EQ(Bind(*socket, 0, 0, 129), -EINVAL);
  EXPECT_EQ(Call(*socket, ipc::Op::kBind, Poke(kUser, sockaddr_nl{AF_INET, 0, 0, 0}), 12), -EINVAL);
  EXPECT_EQ(Call(*socket, ipc::Op::kBind, 0x900000, 12), -EFAULT);
  EXPECT_EQ(Bind(*socket, 0, 1), -EPERM);
  task_.capabilities.insert(CAP_NET_ADMIN);
  EXPECT_EQ(Bind(*socket, 0, 5), 0);
  EXPECT_EQ(Name(*socket).nl_groups, 5u);
}

TEST_F(NetlinkSockets, ConnectNamesWhereMessagesGo) {
  const auto socket = Open();
  const auto connect = [&](sockaddr_nl to, uint32_t bytes) {
    return Call(*socket, ipc::Op::kConnect, Poke(kUser, to), bytes);
  };
  EXPECT_EQ(connect({AF_NETLINK, 0, 0, 0}, 12), 0);
  EXPECT_EQ(Name(*socket).nl_pid, 1000u) << "connect() binds";
  EXPECT_EQ(connect({AF_NETLINK, 0, 0, 0}, 1), -EINVAL);
  EXPECT_EQ(connect({AF_NETLINK, 0, 0, 0}, 8), -EINVAL);
  EXPECT_EQ(connect({AF_INET, 0, 0, 0}, 12), -EINVAL);
  EXPECT_EQ(connect({AF_NETLINK, 0, 5, 0}, 12), -EPERM);
  task_.capabilities.insert(CAP_NET_ADMIN);
  EXPECT_EQ(connect({AF_NETLINK, 0, 5, 6}, 12), 0);
  EXPECT_EQ(Name(*socket, true).nl_pid, 5u);
  EXPECT_EQ(Name(*socket, true).nl_groups, 2u);
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), -ECONNREFUSED);
  EXPECT_EQ(connect({AF_UNSPEC, 0, 0, 0}, 2), 0);
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
}

TEST_F(NetlinkSockets, OptionsAreNetlinks) {
  const auto socket = Open();
  const auto set = [&](int level, int option, uint32_t value, uint32_t bytes = 4) {
    return Call(*socket, ipc::Op::kSetOption, static_cast<uint64_t>(level), static_cast<uint64_t>(option),
                Poke(kUser, value), bytes);
  };
  const auto get = [&](int level, int option, int32_t room = 4) {
    Poke(kUser + 8, room);
    const int64_t result = Call(*socket, ipc::Op::kGetOption, static_cast<uint64_t>(level),
                                static_cast<uint64_t>(option), kUser, kUser + 8);
    return result < 0 ? result : int64_t{*task_.user.Read<int32_t>(kUser)};
  };
  for (const int option : {NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK,
                           NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK}) {
    EXPECT_EQ(get(SOL_NETLINK, option), 0) << option;
    EXPECT_EQ(set(SOL_NETLINK, option, 1), 0) << option;
    EXPECT_EQ(get(SOL_NETLINK, option), 1) << option;
    EXPECT_EQ(set(SOL_NETLINK, option, 1, 2), 0) << "a short value counts as 0";
    EXPECT_EQ(get(SOL_NETLINK, option), 0) << option;
  }
  EXPECT_EQ(set(SOL_NETLINK, 99, 1), -ENOPROTOOPT);
  EXPECT_EQ(set(IPPROTO_TCP, NETLINK_CAP_ACK, 1), -ENOPROTOOPT);
  EXPECT_EQ(get(SOL_NETLINK, 99), -ENOPROTOOPT);
  EXPECT_EQ(get(SOL_NETLINK, NETLINK_CAP_ACK, 3), -EINVAL);
  EXPECT_EQ(get(SOL_NETLINK, NETLINK_CAP_ACK, -1), -EINVAL);
  EXPECT_EQ(get(SOL_SOCKET, SO_PROTOCOL), 20);
  EXPECT_EQ(get(SOL_SOCKET, SO_DOMAIN), AF_NETLINK);
  EXPECT_EQ(get(SOL_SOCKET, SO_TYPE), SOCK_RAW);
  EXPECT_EQ(set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 1), -EPERM);
  task_.capabilities.insert(CAP_NET_ADMIN);
  EXPECT_EQ(set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 0), -EINVAL);
  EXPECT_EQ(set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 33), -EINVAL);
  EXPECT_EQ(set(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 3), 0);
  EXPECT_EQ(get(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS), 4);
  EXPECT_EQ(set(SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, 3), 0);
  EXPECT_EQ(Name(*socket).nl_groups, 0u);
}

TEST_F(NetlinkSockets, SendChecksWhatNetlinkSendmsgChecks) {
  const auto socket = Open();
  EXPECT_EQ(Send(*socket, {}), -ENODATA);
  EXPECT_EQ(Send(*socket, Message(100, 5, {}), MSG_OOB), -EOPNOTSUPP);
  EXPECT_EQ(Send(*socket, Message(100, 5, {}), 0, 47), -EMSGSIZE) << "more than SO_SNDBUF less 32";
  EXPECT_EQ(Send(*socket, Message(100, 5, {}), 0, 48), 16);
  named_ = true;
  to_ = {AF_NETLINK, 0, 0, 0};
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
  to_bytes_ = 8;
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), -EINVAL);
  to_bytes_ = sizeof(to_);
  to_ = {AF_INET, 0, 0, 0};
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), -EINVAL);
  to_ = {AF_NETLINK, 0, 9, 0};
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), -EPERM);
  EXPECT_EQ(Call(*socket, ipc::Op::kSendMessage, 0x900000, 0, 65536), -EFAULT);
}

// netlink_capable(): who opened the socket counts too, when the message names an address.
TEST_F(NetlinkSockets, BothTheOpenerAndTheSenderMustBeCapable) {
  const auto socket = Open();
  task_.capabilities.insert(CAP_NET_ADMIN);
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
  EXPECT_TRUE(family_.capable);
  named_ = true;
  to_ = {AF_NETLINK, 0, 0, 0};
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
  EXPECT_FALSE(family_.capable);
}

// netlink_ack().
TEST_F(NetlinkSockets, AcknowledgementsAreCappedAsAsked) {
  const auto socket = Open();
  const Bytes request = Message(103, 5, Attr(1, Bytes(4)));
  Send(*socket, request);
  const Bytes whole = BytesOf(nlmsghdr{44, NLMSG_ERROR, 0, 7, 1000}) + BytesOf(int32_t{-EINVAL}) + request;
  EXPECT_EQ(packets_.Take(), whole);
  const int on = 1;
  Call(*socket, ipc::Op::kSetOption, SOL_NETLINK, NETLINK_CAP_ACK, Poke(kUser, on), 4);
  Send(*socket, request);
  const Bytes head(request.begin(), request.begin() + 16);
  const Bytes capped = BytesOf(nlmsghdr{36, NLMSG_ERROR, NLM_F_CAPPED, 7, 1000}) + BytesOf(int32_t{-EINVAL}) + head;
  EXPECT_EQ(packets_.Take(), capped);
  Call(*socket, ipc::Op::kSetOption, SOL_NETLINK, NETLINK_EXT_ACK, Poke(kUser, on), 4);
  Send(*socket, request);
  const Bytes texts = Attr(NLMSGERR_ATTR_MSG, BytesOf(std::array{'n', 'o', '\0'})) +
                      Attr(NLMSGERR_ATTR_OFFS, BytesOf(uint32_t{16})) +
                      Attr(NLMSGERR_ATTR_POLICY | NLA_F_NESTED,
                           Attr(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, Bytes(8)) +
                               Attr(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, BytesOf(uint64_t{UINT32_MAX})) +
                               Attr(NL_POLICY_TYPE_ATTR_TYPE, BytesOf(uint32_t{NL_ATTR_TYPE_U32})));
  const Bytes extended =
      BytesOf(nlmsghdr{static_cast<uint32_t>(36 + texts.size()), NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 7, 1000}) +
      BytesOf(int32_t{-EINVAL}) + head + texts;
  EXPECT_EQ(packets_.Take(), extended);
  Send(*socket, Message(100, 5, {}));
  EXPECT_EQ(packets_.Take().size(), 36u) << "success says no texts";
}

// netlink_dump(): the part after the one that is received is there when the call returns; the end comes alone.
TEST_F(NetlinkSockets, DumpsComeInPartsAsTheyAreReceived) {
  const auto socket = Open();
  Send(*socket, Message(101, 0x301, {}));
  EXPECT_EQ(packets_.queue.size(), 1u);
  EXPECT_EQ(Send(*socket, Message(101, 0x301, {}, 8)), 16);
  ASSERT_EQ(packets_.queue.size(), 2u);
  EXPECT_EQ(packets_.queue[1].size(), 36u + 0u) << "EBUSY: one dump at a time";
  packets_.queue.pop_back();
  EXPECT_EQ(Receive(*socket, 8192).size(), 24u);
  EXPECT_EQ(packets_.queue.size(), 1u);
  EXPECT_EQ(Receive(*socket, 8192).size(), 24u);
  EXPECT_EQ(Receive(*socket), BytesOf(nlmsghdr{20, NLMSG_DONE, NLM_F_MULTI, 7, 1000}) + BytesOf(int32_t{0}));
  EXPECT_TRUE(Receive(*socket).empty());
  // The first part before anybody received, the second for a reader of 8 KiB.
  EXPECT_EQ(family_.rooms, (std::vector<size_t>{kNlGoodSize, 8192}));
  family_.parts = 0;
  Send(*socket, Message(102, 0x301, {}));
  EXPECT_EQ(Receive(*socket), BytesOf(nlmsghdr{20, NLMSG_DONE, NLM_F_MULTI, 7, 1000}) + BytesOf(int32_t{-EINVAL}));
}

// netlink_overrun(): what is lost is said once, at the next receive.
TEST_F(NetlinkSockets, AFullQueueIsSaid) {
  const auto socket = Open();
  packets_.full = true;
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
  packets_.full = false;
  Receive(*socket);
  EXPECT_EQ(receive_error_, -ENOBUFS);
  Receive(*socket);
  EXPECT_EQ(receive_error_, 0);
  EXPECT_EQ(Send(*socket, Message(100, 5, {})), 16);
  EXPECT_EQ(Receive(*socket).size(), 36u);
}

TEST_F(NetlinkSockets, OtherFilesAreNoSockets) {
  class Plain : public File {
   public:
    Plain() : File(ipc::kFileDevice) {}
    FileStat Stat() const override { return {}; }
    std::string Name() const override { return "plain"; }
  };
  const auto file = MakeRef<Plain>();
  ipc::Message call = {};
  call.op = static_cast<uint32_t>(ipc::Op::kBind);
  const auto result = SocketCall(task_, *file, call);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), Errno(ENOTSOCK));
}

}  // namespace
}  // namespace causeway::kernel
