// SPDX-License-Identifier: Apache-2.0
// Two programs with an open rdma_cm file each, two NICs, a network and timers that a test moves by hand. Commands are
// made from bytes, as librdmacm makes them.
//
//   10.7.0.2, fd00::2   rxe0 (net device 2)      10.7.1.2   rxe1 (net device 3)      10.9.0.1   net device 4, no NIC
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/capability.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "drivers/rdma_cm/ucm_file.h"
#include "kernel/fake_task.h"

namespace causeway::rdma_cm {

using namespace uapi;  // NOLINT: a test speaks the uAPI

inline Address At(const std::string& ip, uint16_t port = 0) {
  if (ip.find(':') == std::string::npos) {
    in_addr address = {};
    EXPECT_EQ(::inet_pton(AF_INET, ip.c_str(), &address), 1) << ip;
    return Address::Ip4(address.s_addr, port);
  }
  Gid gid = {};
  EXPECT_EQ(::inet_pton(AF_INET6, ip.c_str(), gid.data()), 1) << ip;
  return Address::Ip6(gid, port);
}

class FakeNics : public Nics {
 public:
  struct Nic {
    NicInfo info;
    std::vector<Gid> gids;
  };
  size_t count() const override { return nics.size(); }
  NicInfo Info(size_t nic) const override { return nics[nic].info; }
  bool Active(size_t) const override { return true; }
  std::optional<uint8_t> GidIndex(size_t nic, const Gid& gid) const override {
    for (size_t i = 0; i < nics[nic].gids.size(); ++i) {
      if (nics[nic].gids[i] == gid) return static_cast<uint8_t>(i);
    }
    return std::nullopt;
  }
  std::vector<Nic> nics = {
      {{.node_guid = 0x1111, .ifindex = 2, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}},
       {At("fe80::1").gid(), At("10.7.0.2").gid(), At("fd00::2").gid()}},
      {{.node_guid = 0x2222, .ifindex = 3, .mtu = 9000, .mac = {2, 0, 0, 0, 0, 2}},
       {At("fe80::2").gid(), At("10.7.1.2").gid()}},
  };
};

class FakeNetwork : public Network {
 public:
  Result<uint32_t> DeviceOf(const Address& address) const override {
    const auto it = devices.find(address.gid());
    if (it == devices.end()) return Err(EADDRNOTAVAIL);
    return it->second;
  }
  // Net 10/8 and fd00::/8 are on the link of net device 2, unless they are an address of another.
  Result<Route> FindRoute(const Address& source, const Address& destination, uint32_t oif) const override {
    const Gid to = destination.gid();
    const bool v4 = destination.family() == AF_INET;
    if (v4 ? to[12] != 10 && !destination.IsMulticast() : to[0] != 0xfd) return Err(ENETUNREACH);
    Route route = {.source = source.gid(), .ifindex = 2, .hop_limit = 64};
    if (const auto device = DeviceOf(destination)) route.ifindex = *device;
    if (oif != 0) route.ifindex = oif;
    if (source.IsZero()) route.source = v4 ? At("10.7.0.2").gid() : At("fd00::2").gid();
    if (source.IsZero() && DeviceOf(destination)) route.source = to;
    return route;
  }
  std::pair<uint16_t, uint16_t> PortRange() const override { return ports; }
  bool BindV6Only() const override { return false; }

  std::map<Gid, uint32_t> devices = {{At("10.7.0.2").gid(), 2},
                                     {At("fd00::2").gid(), 2},
                                     {At("10.7.1.2").gid(), 3},
                                     {At("10.9.0.1").gid(), 4},
                                     {At("127.0.0.1").gid(), 1}};
  std::pair<uint16_t, uint16_t> ports = {40000, 40099};
};

class FakeTimers : public Timers {
 public:
  void After(std::chrono::milliseconds delay, std::function<void()> work) override {
    work_.emplace(now_ + delay, std::move(work));
  }
  void Pass(std::chrono::milliseconds time) {
    const auto end = now_ + time;
    while (!work_.empty() && work_.begin()->first <= end) {
      const auto first = work_.extract(work_.begin());
      now_ = first.key();
      first.mapped()();
    }
    now_ = end;
  }

 private:
  std::chrono::milliseconds now_{0};
  std::multimap<std::chrono::milliseconds, std::function<void()>> work_;
};

// One program: a task with memory and an open file.
struct Program {
  static constexpr uint64_t kIn = 0x10000, kOut = 0x12000;
  Program(Cm& cm, pid_t pid) : task(pid) {
    task.user.Map(kIn, 0x4000);
    Open(cm);
  }
  int Open(Cm& cm) {
    file = MakeRef<UcmFile>(cm, task.pid());
    return *task.InstallFile(Ref<kernel::File>(file), 0);
  }

  // errno, or 0. `in` is the number that the header says.
  template <typename Request>
  int Do(uint32_t command, const Request& request, size_t out = 0, std::optional<size_t> in = {}) {
    const rdma_ucm_cmd_hdr header = {command, static_cast<uint16_t>(in.value_or(sizeof(request))),
                                     static_cast<uint16_t>(out)};
    EXPECT_TRUE(task.user.Write(kIn, header));
    EXPECT_TRUE(task.user.Write(kIn + sizeof(header), request));
    const auto done = file->Write(task, kIn, sizeof(header) + sizeof(request));
    if (!done) return done.error().code();
    EXPECT_EQ(*done, static_cast<int64_t>(sizeof(header) + sizeof(request)));
    return 0;
  }
  template <typename Response>
  Response Out() {
    return *task.user.Read<Response>(kOut);
  }

  // uid 100 + its number, where no other is asked for.
  uint32_t Create(uint16_t ps = RDMA_PS_TCP, uint64_t uid = 0, uint8_t qp_type = 0) {
    EXPECT_EQ(Do(RDMA_USER_CM_CMD_CREATE_ID,
                 rdma_ucm_create_id{.uid = uid != 0 ? uid : 100, .response = kOut, .ps = ps, .qp_type = qp_type}, 4),
              0);
    return Out<rdma_ucm_create_id_resp>().id;
  }
  int Bind(uint32_t id, const Address& address) {
    rdma_ucm_bind bind = {.id = id, .addr_size = static_cast<uint16_t>(address.size())};
    std::copy_n(address.bytes().begin(), address.size(), bind.addr.bytes);
    return Do(RDMA_USER_CM_CMD_BIND, bind);
  }
  int Resolve(uint32_t id, const Address& dst, const Address& src = {}, uint32_t timeout_ms = 2000) {
    rdma_ucm_resolve_addr resolve = {.id = id,
                                     .timeout_ms = timeout_ms,
                                     .src_size = static_cast<uint16_t>(src.size()),
                                     .dst_size = static_cast<uint16_t>(dst.size())};
    std::copy_n(src.bytes().begin(), src.size(), resolve.src_addr.bytes);
    std::copy_n(dst.bytes().begin(), dst.size(), resolve.dst_addr.bytes);
    return Do(RDMA_USER_CM_CMD_RESOLVE_ADDR, resolve);
  }
  int Route(uint32_t id, uint32_t timeout_ms = 2000) {
    return Do(RDMA_USER_CM_CMD_RESOLVE_ROUTE, rdma_ucm_resolve_route{id, timeout_ms});
  }
  int Listen(uint32_t id, uint32_t backlog = 0) { return Do(RDMA_USER_CM_CMD_LISTEN, rdma_ucm_listen{id, backlog}); }
  static rdma_ucm_conn_param Param(uint32_t qp_num, const std::string& private_data = {}) {
    rdma_ucm_conn_param param = {.qp_num = qp_num};
    std::copy(private_data.begin(), private_data.end(), param.private_data);
    param.private_data_len = static_cast<uint8_t>(private_data.size());
    param.valid = 1;
    return param;
  }
  int Connect(uint32_t id, const rdma_ucm_conn_param& param) {
    return Do(RDMA_USER_CM_CMD_CONNECT, rdma_ucm_connect{.conn_param = param, .id = id});
  }
  int Accept(uint32_t id, const rdma_ucm_conn_param& param, uint64_t uid = 0) {
    return Do(RDMA_USER_CM_CMD_ACCEPT, rdma_ucm_accept{.uid = uid, .conn_param = param, .id = id});
  }
  int Reject(uint32_t id, const std::string& private_data = {}, uint8_t reason = 0) {
    rdma_ucm_reject reject = {
        .id = id, .private_data_len = static_cast<uint8_t>(private_data.size()), .reason = reason};
    std::copy(private_data.begin(), private_data.end(), reject.private_data);
    return Do(RDMA_USER_CM_CMD_REJECT, reject);
  }
  int Disconnect(uint32_t id) { return Do(RDMA_USER_CM_CMD_DISCONNECT, rdma_ucm_disconnect{id}); }
  // events_reported, or -errno.
  int Destroy(uint32_t id) {
    const int error = Do(RDMA_USER_CM_CMD_DESTROY_ID, rdma_ucm_destroy_id{.response = kOut, .id = id}, 4);
    return error != 0 ? -error : static_cast<int>(Out<rdma_ucm_destroy_id_resp>().events_reported);
  }
  int InitQpAttr(uint32_t id, uint32_t state) {
    return Do(RDMA_USER_CM_CMD_INIT_QP_ATTR, rdma_ucm_init_qp_attr{kOut, id, state}, sizeof(ib_uverbs_qp_attr));
  }
  int GetEvent(size_t out = sizeof(rdma_ucm_event_resp)) {
    return Do(RDMA_USER_CM_CMD_GET_EVENT, rdma_ucm_get_event{kOut}, out);
  }
  std::optional<rdma_ucm_event_resp> NextEvent() {
    const int error = GetEvent();
    if (error != 0) {
      EXPECT_EQ(error, EAGAIN);
      return std::nullopt;
    }
    return Out<rdma_ucm_event_resp>();
  }
  // The next event, which must be this one.
  rdma_ucm_event_resp Expect(uint32_t event, int32_t status = 0) {
    const auto got = NextEvent();
    EXPECT_TRUE(got.has_value()) << "no event where " << event << " is expected";
    if (!got) return {};
    EXPECT_EQ(got->event, event);
    EXPECT_EQ(static_cast<int32_t>(got->status), status);
    return *got;
  }
  void ExpectNoEvent() {
    const auto got = NextEvent();
    EXPECT_FALSE(got.has_value()) << "event " << got->event;
  }

  kernel::FakeTask task;
  Ref<UcmFile> file;
};

class CmBench : public ::testing::Test {
 protected:
  FakeNics nics_;
  FakeNetwork network_;
  FakeTimers timers_;
  kernel::FakeReadiness readiness_;
  Cm cm_{nics_, network_, timers_, readiness_};
  Program server_{cm_, 1000}, client_{cm_, 2000};

  static constexpr uint16_t kPort = 7471;

  // A server that listens at `ip` and a client that has its route. Both ids are returned; no event is left.
  struct Ready {
    uint32_t listener = 0, client = 0;
  };
  Ready Prepare(uint16_t ps = RDMA_PS_TCP, const std::string& listen = "0.0.0.0", const std::string& ip = "10.7.0.2") {
    Ready ready;
    ready.listener = server_.Create(ps, 500);
    EXPECT_EQ(server_.Bind(ready.listener, At(listen, kPort)), 0);
    EXPECT_EQ(server_.Listen(ready.listener), 0);
    ready.client = Routed(ps, ip);
    return ready;
  }
  uint32_t Routed(uint16_t ps = RDMA_PS_TCP, const std::string& ip = "10.7.0.2") {
    const uint32_t id = client_.Create(ps, 600);
    EXPECT_EQ(client_.Resolve(id, At(ip, kPort)), 0);
    client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
    EXPECT_EQ(client_.Route(id), 0);
    client_.Expect(RDMA_CM_EVENT_ROUTE_RESOLVED);
    return id;
  }
  // An established RC connection: the server's id of it, and the client's.
  struct Connected {
    uint32_t listener = 0, server = 0, client = 0;
  };
  Connected Establish() {
    const Ready ready = Prepare();
    EXPECT_EQ(client_.Connect(ready.client, Program::Param(17)), 0);
    Connected connected = {.listener = ready.listener, .client = ready.client};
    connected.server = server_.Expect(RDMA_CM_EVENT_CONNECT_REQUEST).id;
    EXPECT_EQ(server_.Accept(connected.server, Program::Param(18), 700), 0);
    client_.Expect(RDMA_CM_EVENT_CONNECT_RESPONSE);
    EXPECT_EQ(client_.Accept(connected.client, {}), 0);
    server_.Expect(RDMA_CM_EVENT_ESTABLISHED);
    return connected;
  }
};

}  // namespace causeway::rdma_cm
