// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/net_monitor.h"

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>

namespace causeway::infiniband {
namespace {

// Calls visit(type, payload) for each attribute behind a message's fixed part.
void ForEachAttribute(std::span<const std::byte> bytes, auto&& visit) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.rta_len < sizeof(header) || header.rta_len > bytes.size()) return;
    visit(header.rta_type, bytes.subspan(sizeof(header), header.rta_len - sizeof(header)));
    bytes = bytes.subspan(std::min<size_t>(RTA_ALIGN(header.rta_len), bytes.size()));
  }
}

std::optional<uint32_t> Word(std::span<const std::byte> payload) {
  uint32_t value;
  if (payload.size() != sizeof(value)) return std::nullopt;
  std::memcpy(&value, payload.data(), sizeof(value));
  return value;
}

// An IPv6 address counts when it has been found to be nobody else's (RTM_NEWADDR comes again then).
void ParseAddress(std::span<const std::byte> body, bool present, const NetEvents& events) {
  ifaddrmsg message;
  if (body.size() < sizeof(message)) return;
  std::memcpy(&message, body.data(), sizeof(message));
  uint32_t flags = message.ifa_flags;
  std::optional<Gid> address, local;
  ForEachAttribute(body.subspan(NLMSG_ALIGN(sizeof(message))), [&](uint16_t type, std::span<const std::byte> payload) {
    if (type == IFA_FLAGS) flags = Word(payload).value_or(flags);
    if (type != IFA_LOCAL && type != IFA_ADDRESS) return;
    Gid gid = {};
    if (message.ifa_family == AF_INET && payload.size() == 4) {
      gid[10] = gid[11] = 0xff;
      std::memcpy(gid.data() + 12, payload.data(), 4);
    } else if (message.ifa_family == AF_INET6 && payload.size() == 16) {
      std::memcpy(gid.data(), payload.data(), 16);
    } else {
      return;
    }
    (type == IFA_LOCAL ? local : address) = gid;
  });
  if (!local) local = address;  // IFA_ADDRESS is the peer's, where there is a peer
  if (!local || (present && (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0)) return;
  events.address(message.ifa_index, *local, present);
}

void ParseLink(std::span<const std::byte> body, bool gone, const NetEvents& events) {
  ifinfomsg message;
  if (body.size() < sizeof(message)) return;
  std::memcpy(&message, body.data(), sizeof(message));
  if (message.ifi_family != AF_UNSPEC) return;  // a bridge's port, not the interface
  NetEvents::Link link;
  link.ifindex = static_cast<uint32_t>(message.ifi_index);
  link.gone = gone;
  if (!gone && (message.ifi_flags & IFF_UP) != 0) {
    link.state = (message.ifi_flags & IFF_RUNNING) != 0 ? LinkState::kUp : LinkState::kNoCarrier;
  }
  ForEachAttribute(body.subspan(NLMSG_ALIGN(sizeof(message))), [&](uint16_t type, std::span<const std::byte> payload) {
    if (type == IFLA_MTU) link.mtu = Word(payload).value_or(0);
    if (type == IFLA_IFNAME) {
      const auto* text = reinterpret_cast<const char*>(payload.data());
      link.name.assign(text, ::strnlen(text, payload.size()));
    }
  });
  events.link(link);
}

// A socket that hears of `groups`, and of nothing that was before.
Result<UniqueFd> OpenRtnetlink(uint32_t groups) {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return HostErr();
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return HostErr();
  return socket;
}

}  // namespace

void AwaitAddresses(std::chrono::milliseconds patience, const std::function<bool()>& done) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + patience;
  const auto socket = OpenRtnetlink(RTMGRP_IPV6_IFADDR);
  if (!socket) return;
  while (!done()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    pollfd readable = {socket->get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) == 0) return;
    std::byte message;  // that there was one is enough: done() looks itself
    while (::recv(socket->get(), &message, sizeof(message), MSG_DONTWAIT) >= 0) {
    }
  }
}

void ParseRtnetlink(const std::byte* data, size_t len, const NetEvents& events) {
  std::span<const std::byte> bytes(data, len);
  while (bytes.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > bytes.size()) return;
    const auto body = bytes.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
    switch (header.nlmsg_type) {
      case RTM_NEWADDR: ParseAddress(body, true, events); break;
      case RTM_DELADDR: ParseAddress(body, false, events); break;
      case RTM_NEWLINK: ParseLink(body, false, events); break;
      case RTM_DELLINK: ParseLink(body, true, events); break;
      default: break;
    }
    bytes = bytes.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), bytes.size()));
  }
}

Result<std::unique_ptr<NetMonitor>> NetMonitor::Start(NetEvents events) {
  CW_TRY(UniqueFd socket, OpenRtnetlink(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return HostErr();
  events.resync();  // what changed before the socket listened
  return std::unique_ptr<NetMonitor>(new NetMonitor(std::move(socket), std::move(stop), std::move(events)));
}

NetMonitor::NetMonitor(UniqueFd socket, UniqueFd stop, NetEvents events)
    : socket_(std::move(socket)), stop_(std::move(stop)), events_(std::move(events)), thread_([this] { Run(); }) {}

NetMonitor::~NetMonitor() {
  const uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void NetMonitor::Run() {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;
  for (;;) {
    struct pollfd polls[2] = {{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0) continue;  // EINTR
    if (polls[1].revents != 0) return;
    sockaddr_nl from = {};
    socklen_t from_len = sizeof(from);
    const ssize_t got = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&from), &from_len);
    if (got < 0 && errno != ENOBUFS) continue;
    if (got < 0 || static_cast<size_t>(got) > buffer.size()) {
      events_.resync();
    } else if (from.nl_pid == 0) {  // from the kernel
      ParseRtnetlink(buffer.data(), static_cast<size_t>(got), events_);
    }
  }
}

}  // namespace causeway::infiniband
