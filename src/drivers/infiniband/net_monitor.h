// SPDX-License-Identifier: Apache-2.0
// What happens to the host's network interfaces, as rtnetlink tells it (rtnetlink(7)): addresses that come and go,
// links that go up and down. Linux's own drivers learn it from notifiers (core/roce_gid_mgmt.c, sw/rxe/rxe_net.c
// rxe_notify()); the order of the events is the order of the messages.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "drivers/infiniband/gid_table.h"

namespace causeway::infiniband {

// All are called on the monitor's thread, but for the first resync().
struct NetEvents {
  std::function<void(uint32_t ifindex, const Gid& address, bool present)> address;
  struct Link {
    uint32_t ifindex = 0;
    std::string name;
    uint32_t mtu = 0;
    LinkState state = LinkState::kDown;
    bool gone = false;  // the interface has been removed
  };
  std::function<void(const Link& link)> link;
  // Messages were lost, or nothing was watched until now: look at everything anew.
  std::function<void()> resync;
};

// Returns when done() is true, which is asked at once and after each change of an IPv6 address of any interface; or
// when `patience` is over, or at once where such changes cannot be watched.
void AwaitAddresses(std::chrono::milliseconds patience, const std::function<bool()>& done);

// One message or several, as they come from the socket.
void ParseRtnetlink(const std::byte* data, size_t len, const NetEvents& events);

class NetMonitor {
 public:
  // Listens, calls resync(), and starts the thread. errors: those of socket(2) and bind(2).
  static Result<std::unique_ptr<NetMonitor>> Start(NetEvents events);
  ~NetMonitor();

 private:
  NetMonitor(UniqueFd socket, UniqueFd stop, NetEvents events);
  void Run();
  const UniqueFd socket_, stop_;
  const NetEvents events_;
  std::thread thread_;
};

}  // namespace causeway::infiniband
