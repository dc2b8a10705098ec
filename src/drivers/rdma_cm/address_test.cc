// SPDX-License-Identifier: Apache-2.0
// Binding, port spaces and resolving: linux v6.1 drivers/infiniband/core/cma.c and addr.c.
#include "drivers/rdma_cm/test_bench.h"

namespace causeway::rdma_cm {
namespace {

using namespace std::chrono_literals;

class Addresses : public CmBench {
 protected:
  rdma_ucm_query_addr_resp Query(Program& program, uint32_t id) {
    EXPECT_EQ(program.Do(RDMA_USER_CM_CMD_QUERY, rdma_ucm_query{Program::kOut, id, RDMA_USER_CM_QUERY_ADDR}, 280), 0);
    return program.Out<rdma_ucm_query_addr_resp>();
  }
  uint16_t Port(uint32_t id) { return Address(Query(server_, id).src_addr.bytes).port(); }
};

TEST_F(Addresses, BindErrno) {
  const struct {
    const char* address;
    uint16_t port;
    int error;
  } rows[] = {
      {"0.0.0.0", 5000, 0},
      {"127.0.0.1", 5001, 0},  // as good as the wildcard
      {"::", 5002, 0},
      {"10.7.0.2", 5003, 0},
      {"10.7.1.2", 5003, 0},  // another address, another owner
      {"fd00::2", 5003, 0},
      {"10.7.0.9", 5004, EADDRNOTAVAIL},  // nobody has it
      {"0.0.0.49", 5004, EADDRNOTAVAIL},  // no wildcard: what fio binds to for bindname=1...
      {"10.9.0.1", 5004, ENODEV},         // no NIC has it
      {"fe80::1", 5004, EINVAL},          // link-local without a scope
      {"10.7.0.2", 1023, EACCES},
  };
  for (const auto& row : rows) {
    const uint32_t id = server_.Create();
    EXPECT_EQ(server_.Bind(id, At(row.address, row.port)), row.error) << row.address;
    if (row.error == 0) {
      EXPECT_EQ(server_.Bind(id, At(row.address, row.port)), EINVAL) << row.address;
    }
  }
  server_.task.capabilities.insert(CAP_NET_BIND_SERVICE);
  EXPECT_EQ(server_.Bind(server_.Create(), At("10.7.0.2", 1023)), 0);
}

TEST_F(Addresses, FamiliesAndSizes) {
  const uint32_t id = server_.Create();
  rdma_ucm_bind bind = {.id = id, .addr_size = 16};
  EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_BIND, bind), EINVAL);  // family 0
  std::copy_n(At("10.7.0.2").bytes().begin(), 16, bind.addr.bytes);
  bind.addr_size = 28;
  EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_BIND, bind), EINVAL);
  bind.addr_size = 16;
  bind.reserved = 1;
  EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_BIND, bind), EINVAL);
  rdma_ucm_bind_ip bind_ip = {.id = id};
  std::copy_n(Address::Ib({.sib_family = kAfIb}).bytes().begin(), 28, bind_ip.addr.bytes);
  EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_BIND_IP, bind_ip), EINVAL);  // does not fit a sockaddr_in6
  std::copy_n(At("10.7.0.2", 5000).bytes().begin(), 28, bind_ip.addr.bytes);
  EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_BIND_IP, bind_ip), 0);
}

// ucma_init(): librdmacm asks in this way whether the kernel knows AF_IB; on RoCE it says yes and can do no more.
TEST_F(Addresses, AfIbProbe) {
  const uint32_t id = server_.Create(RDMA_PS_IB, 0, kQptRc);
  const Address any = Address::Ib(
      {.sib_family = kAfIb, .sib_sid = htobe64(0x0000000001060000), .sib_sid_mask = htobe64(0xffffffffffff0000)});
  EXPECT_EQ(server_.Bind(id, any), 0);
  EXPECT_NE(Port(id), 0);
  sockaddr_ib own = {.sib_family = kAfIb, .sib_sid_mask = ~uint64_t{0}};
  std::ranges::copy(At("10.7.0.2").gid(), own.sib_addr);
  EXPECT_EQ(server_.Bind(server_.Create(RDMA_PS_IB, 0, kQptRc), Address::Ib(own)), ENODEV);
  // A service id of no IP port space.
  EXPECT_EQ(
      server_.Bind(
          server_.Create(RDMA_PS_TCP),
          Address::Ib({.sib_family = kAfIb, .sib_sid = htobe64(0x5500000000000000), .sib_sid_mask = ~uint64_t{0}})),
      EPROTONOSUPPORT);
}

// cma_check_port(): the wildcard says EADDRNOTAVAIL where the same address says EADDRINUSE.
TEST_F(Addresses, PortsInUse) {
  const auto bind = [&](const char* address, uint16_t ps = RDMA_PS_TCP, bool reuse = false) {
    const uint32_t id = server_.Create(ps);
    if (reuse) {
      EXPECT_TRUE(server_.task.user.Write(Program::kOut, uint32_t{1}));
      EXPECT_EQ(server_.Do(RDMA_USER_CM_CMD_SET_OPTION,
                           rdma_ucm_set_option{Program::kOut, id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, 4}),
                0);
    }
    const int error = server_.Bind(id, At(address, 5000));
    if (error != 0) server_.Destroy(id);
    return error == 0 ? static_cast<int>(id) : -error;
  };
  const int first = bind("10.7.0.2");
  ASSERT_GE(first, 0);
  EXPECT_EQ(bind("10.7.0.2"), -EADDRINUSE);
  EXPECT_EQ(bind("0.0.0.0"), -EADDRNOTAVAIL);
  EXPECT_GE(bind("10.7.1.2"), 0);
  EXPECT_GE(bind("10.7.0.2", RDMA_PS_UDP), 0);                  // another port space
  EXPECT_EQ(bind("10.7.0.2", RDMA_PS_TCP, true), -EADDRINUSE);  // the other does not share
  EXPECT_EQ(server_.Destroy(static_cast<uint32_t>(first)), 0);
  const int shared = bind("10.7.0.2", RDMA_PS_TCP, true);
  ASSERT_GE(shared, 0);
  const int other = bind("10.7.0.2", RDMA_PS_TCP, true);
  ASSERT_GE(other, 0);
  EXPECT_EQ(server_.Listen(static_cast<uint32_t>(shared)), EADDRINUSE);  // who listens is alone
  EXPECT_EQ(server_.Destroy(static_cast<uint32_t>(other)), 0);
  EXPECT_EQ(server_.Listen(static_cast<uint32_t>(shared)), 0);
}

TEST_F(Addresses, AnyPortUntilNoneIsLeft) {
  network_.ports = {40000, 40003};
  std::set<uint16_t> ports;
  for (int i = 0; i < 4; ++i) {
    const uint32_t id = server_.Create();
    ASSERT_EQ(server_.Bind(id, At("10.7.0.2")), 0);
    ports.insert(Port(id));
  }
  EXPECT_EQ(ports, (std::set<uint16_t>{40000, 40001, 40002, 40003}));
  EXPECT_EQ(server_.Bind(server_.Create(), At("10.7.0.2")), EADDRNOTAVAIL);
  EXPECT_EQ(server_.Bind(server_.Create(), At("10.7.1.2")), 0);  // cma_port_is_unique(): another address
}

TEST_F(Addresses, ListenBindsAnUnboundId) {
  const uint32_t id = server_.Create();
  ASSERT_EQ(server_.Listen(id), 0);
  EXPECT_NE(Port(id), 0);
  EXPECT_EQ(server_.Listen(id), EINVAL);
}

TEST_F(Addresses, ResolveErrno) {
  const uint32_t id = client_.Create();
  EXPECT_EQ(client_.Resolve(id, At("192.168.0.1")), ENETUNREACH);
  EXPECT_EQ(client_.Resolve(id, At("fd00::2")), EINVAL);  // it is bound to an IPv4 address now
  EXPECT_EQ(client_.Resolve(id, At("10.7.0.2")), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  EXPECT_EQ(client_.Resolve(id, At("10.7.0.2")), EINVAL);
  EXPECT_EQ(client_.Route(id, 0), EINVAL);
  EXPECT_EQ(client_.Route(id), 0);
  EXPECT_EQ(client_.Route(id), EINVAL);
  EXPECT_EQ(client_.Resolve(client_.Create(), At("10.7.0.2"), At("10.7.0.9")), EADDRNOTAVAIL);
  rdma_ucm_resolve_addr resolve = {.id = id, .dst_size = 16, .reserved = 1};
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_RESOLVE_ADDR, resolve), EINVAL);
}

// process_one_req(): nobody answers for the address in time.
TEST_F(Addresses, UnknownNeighbour) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.77"), {}, 2000), 0);
  timers_.Pass(1999ms);
  client_.ExpectNoEvent();
  timers_.Pass(1ms);
  client_.Expect(RDMA_CM_EVENT_ADDR_ERROR, -ETIMEDOUT);
  EXPECT_EQ(client_.Route(id), EINVAL);
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2")), 0);  // it may try another
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
}

TEST_F(Addresses, UnknownNeighbourOfAnIdThatGoes) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.77")), 0);
  EXPECT_EQ(client_.Destroy(id), 0);
  timers_.Pass(10s);
  client_.ExpectNoEvent();
}

// cma_acquire_dev_by_src_ip(): the route is there, but no NIC sits on it.
TEST_F(Addresses, RouteWithoutNic) {
  nics_.nics[1].gids.push_back(At("10.9.0.1").gid());
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.9.0.1")), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_ERROR, -ENODEV);
}

// cma_resolve_loopback(): resolves to a device, and cannot be routed on RoCE.
TEST_F(Addresses, Loopback) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("127.0.0.1", 7471)), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  const auto addr = Query(client_, id);
  EXPECT_EQ(Address(addr.src_addr.bytes).gid(), At("127.0.0.1").gid());
  EXPECT_EQ(addr.node_guid, 0x1111u);
  EXPECT_EQ(client_.Route(id), ENODEV);
}

// A NIC that sits on the loopback interface, which Linux does not have.
TEST_F(Addresses, NicOnLoopbackInterface) {
  nics_.nics[0].gids.push_back(At("127.0.0.1").gid());
  nics_.nics[0].info.ifindex = 1;
  const uint32_t id = server_.Create();
  ASSERT_EQ(server_.Bind(id, At("127.0.0.1", 7471)), 0);
  EXPECT_EQ(Query(server_, id).node_guid, 0x1111u);
}

TEST_F(Addresses, TheNicIsTheSourcesOne) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2"), At("10.7.1.2")), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  const auto addr = Query(client_, id);
  EXPECT_EQ(addr.node_guid, 0x2222u);
  EXPECT_EQ(Address(addr.src_addr.bytes).gid(), At("10.7.1.2").gid());
}

}  // namespace
}  // namespace causeway::rdma_cm
