// SPDX-License-Identifier: Apache-2.0
// The commands' framing, errno and order of checks (linux v6.1 drivers/infiniband/core/ucma.c; verbs.md 9.1, 9.2), ids,
// queues of events, options and queries.
#include <endian.h>

#include "drivers/rdma_cm/test_bench.h"

namespace causeway::rdma_cm {
namespace {

class Ucm : public CmBench {};

struct Nothing {};

TEST_F(Ucm, Framing) {
  const auto write = [&](uint32_t command, uint16_t in, uint16_t out, uint64_t len) {
    EXPECT_TRUE(client_.task.user.Write(Program::kIn, rdma_ucm_cmd_hdr{command, in, out}));
    const auto done = client_.file->Write(client_.task, Program::kIn, len);
    return done ? 0 : done.error().code();
  };
  EXPECT_EQ(write(0, 0, 0, 7), EINVAL);
  EXPECT_EQ(write(RDMA_USER_CM_CMD_JOIN_MCAST + 1, 0, 0, 8), EINVAL);
  EXPECT_EQ(write(~0u, 0, 0, 8), EINVAL);
  EXPECT_EQ(write(RDMA_USER_CM_CMD_GET_OPTION, 1, 0, 8), EINVAL);  // `in` before the command
  EXPECT_EQ(write(RDMA_USER_CM_CMD_GET_OPTION, 0, 0, 8), ENOSYS);
  EXPECT_EQ(client_.file->Write(client_.task, 0x900000, 8).error(), Errno(EFAULT));
  EXPECT_EQ(client_.file->Write(client_.task, 0x900000, 4).error(), Errno(EINVAL));
}

// Room for the response is looked at first, then the request is read, then its fields, then its id.
TEST_F(Ucm, OrderOfChecks) {
  constexpr uint32_t kNoId = 99;
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CREATE_ID, rdma_ucm_create_id{.ps = 1}, 3), ENOSPC);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CREATE_ID, rdma_ucm_create_id{.ps = 1}, 4), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_DESTROY_ID, rdma_ucm_destroy_id{.id = kNoId}, 3), ENOSPC);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_DESTROY_ID, rdma_ucm_destroy_id{.id = kNoId}, 4), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY, rdma_ucm_query{.id = kNoId, .option = 9}, 0), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY_ROUTE, rdma_ucm_query{.id = kNoId}, 199), ENOSPC);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY_ROUTE, rdma_ucm_query{.id = kNoId}, 200), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_INIT_QP_ATTR, rdma_ucm_init_qp_attr{0, kNoId, 7}, 143), ENOSPC);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_INIT_QP_ATTR, rdma_ucm_init_qp_attr{0, kNoId, 7}, 144), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_INIT_QP_ATTR, rdma_ucm_init_qp_attr{0, kNoId, 6}, 144), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CONNECT, rdma_ucm_connect{.id = kNoId}, 0, 279), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CONNECT, rdma_ucm_connect{.id = kNoId}, 0, 280), EINVAL);  // not valid
  rdma_ucm_connect connect = {.conn_param = Program::Param(1), .id = kNoId};
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CONNECT, connect, 0, 280), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_ACCEPT, rdma_ucm_accept{.id = kNoId}, 0, 287), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_ACCEPT, rdma_ucm_accept{.id = kNoId}, 0, 288), ENOENT);
  EXPECT_EQ(client_.Reject(kNoId, "", 1), EINVAL);
  EXPECT_EQ(client_.Reject(kNoId, "", 35), ENOENT);
  EXPECT_EQ(client_.GetEvent(323), ENOSPC);  // also when nothing is queued
  EXPECT_EQ(client_.GetEvent(324), EAGAIN);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_JOIN_MCAST, rdma_ucm_join_mcast{.id = kNoId}, 0), EINVAL);  // no family
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_JOIN_IP_MCAST, rdma_ucm_join_ip_mcast{.id = kNoId}, 0), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_LEAVE_MCAST, rdma_ucm_destroy_id{.id = kNoId}, 3), ENOSPC);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_LEAVE_MCAST, rdma_ucm_destroy_id{.id = kNoId}, 4), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION, rdma_ucm_set_option{.id = kNoId, .optlen = (4 << 20) + 1}), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION, rdma_ucm_set_option{.id = kNoId, .optlen = 4}), ENOENT);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_MIGRATE_ID, rdma_ucm_migrate_id{0, kNoId, 77}), ENOENT);
}

// ucma_get_ctx_dev(): commands that want a device.
TEST_F(Ucm, UnboundId) {
  const uint32_t id = client_.Create();
  EXPECT_EQ(client_.Route(id), EINVAL);
  EXPECT_EQ(client_.Connect(id, Program::Param(1)), EINVAL);
  EXPECT_EQ(client_.Accept(id, {}), EINVAL);
  EXPECT_EQ(client_.Reject(id), EINVAL);
  EXPECT_EQ(client_.Disconnect(id), EINVAL);
  EXPECT_EQ(client_.InitQpAttr(id, IB_QPS_INIT), EINVAL);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_NOTIFY, rdma_ucm_notify{id, IB_EVENT_COMM_EST}), EINVAL);
}

TEST_F(Ucm, IdsAreOneNumberSpaceAndBelongToTheirFile) {
  const uint32_t a = client_.Create(), b = server_.Create(), c = client_.Create();
  EXPECT_EQ(a, 0u);
  EXPECT_EQ(b, 1u);
  EXPECT_EQ(c, 2u);
  EXPECT_EQ(client_.Destroy(b), -EINVAL);
  EXPECT_EQ(client_.Destroy(a), 0);
  EXPECT_EQ(client_.Destroy(a), -ENOENT);
  EXPECT_EQ(server_.Create(), 0u);  // the lowest free
}

TEST_F(Ucm, ResponseThatCannotBeWritten) {
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_CREATE_ID, rdma_ucm_create_id{.response = 8, .ps = RDMA_PS_TCP}, 4), EFAULT);
  EXPECT_EQ(cm_.Count().ids, 0u);
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2", 1)), 0);
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_GET_EVENT, rdma_ucm_get_event{8}, 336), EFAULT);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);  // it is still there
  EXPECT_EQ(client_.Destroy(id), 1);
}

// The descriptor is readable exactly while an event is queued.
TEST_F(Ucm, Readiness) {
  const auto readable = [&] { return readiness_.readable.contains(client_.file->id()); };
  const uint32_t a = client_.Create(), b = client_.Create();
  EXPECT_FALSE(readable());
  ASSERT_EQ(client_.Resolve(a, At("10.7.0.2", 1)), 0);
  ASSERT_EQ(client_.Resolve(b, At("10.7.0.2", 1)), 0);
  EXPECT_TRUE(readable());
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  EXPECT_TRUE(readable());
  EXPECT_EQ(client_.Destroy(b), 0);  // its event goes with it
  EXPECT_FALSE(readable());
  client_.ExpectNoEvent();
  EXPECT_EQ(client_.Destroy(a), 1);
}

// Events of an id without a uid are dropped (ucma_event_handler()).
TEST_F(Ucm, NoUidNoEvents) {
  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_CREATE_ID,
                       rdma_ucm_create_id{.uid = 0, .response = Program::kOut, .ps = RDMA_PS_TCP}, 4),
            0);
  ASSERT_EQ(client_.Resolve(client_.Out<rdma_ucm_create_id_resp>().id, At("10.7.0.2", 1)), 0);
  client_.ExpectNoEvent();
}

TEST_F(Ucm, MigrateTakesEventsAlong) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2", 1)), 0);
  const Ref<UcmFile> old = client_.file;
  const int old_fd = 3;
  ASSERT_EQ(client_.task.files.at(old_fd), Ref<kernel::File>(old));
  client_.Open(cm_);
  const auto migrate = [&](uint32_t fd, uint32_t which) {
    return client_.Do(RDMA_USER_CM_CMD_MIGRATE_ID, rdma_ucm_migrate_id{Program::kOut, which, fd}, 4);
  };
  EXPECT_EQ(migrate(50, id), ENOENT);
  EXPECT_EQ(migrate(old_fd, id + 1), ENOENT);
  ASSERT_EQ(migrate(old_fd, id), 0);
  EXPECT_EQ(client_.Out<rdma_ucm_migrate_resp>().events_reported, 0u);
  EXPECT_FALSE(readiness_.readable.contains(old->id()));
  EXPECT_TRUE(readiness_.readable.contains(client_.file->id()));
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  EXPECT_EQ(migrate(old_fd, id), EINVAL);  // it is not there any more
  EXPECT_EQ(client_.Destroy(id), 1);
}

TEST_F(Ucm, Options) {
  struct Row {
    uint32_t level, name;
    uint32_t len;
    int error;
  };
  const Row rows[] = {
      {RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, 1, 0},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, 4, EINVAL},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, 4, 0},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, 1, EINVAL},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, 4, 0},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, 8, EINVAL},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, 1, 0},
      {RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, 2, EINVAL},
      {RDMA_OPTION_ID, 4, 1, ENOSYS},
      {RDMA_OPTION_IB, 0, 72, ENOSYS},
      {RDMA_OPTION_IB, RDMA_OPTION_IB_PATH, 71, EINVAL},
      {RDMA_OPTION_IB, RDMA_OPTION_IB_PATH, 0, EINVAL},
      {2, 0, 1, ENOSYS},
  };
  const uint32_t id = client_.Create();
  ASSERT_TRUE(client_.task.user.Write(Program::kOut, uint64_t{1}));
  for (const Row& row : rows) {
    EXPECT_EQ(
        client_.Do(RDMA_USER_CM_CMD_SET_OPTION, rdma_ucm_set_option{Program::kOut, id, row.level, row.name, row.len}),
        row.error)
        << row.level << " " << row.name << " " << row.len;
  }
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION, rdma_ucm_set_option{8, id, 0, RDMA_OPTION_ID_TOS, 1}), EFAULT);
  const uint32_t ud = client_.Create(RDMA_PS_UDP);  // rdma_set_ack_timeout(): RC only
  EXPECT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION,
                       rdma_ucm_set_option{Program::kOut, ud, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, 1}),
            EINVAL);
}

// rdma_set_ib_path(): a route that the program brings.
TEST_F(Ucm, IbPathOption) {
  const uint32_t id = client_.Create();
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2", 7471)), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  ib_path_rec_data data = {.flags = IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL};
  PathRecord path;
  path.dgid = path.sgid = At("10.7.0.2").gid();
  path.mtu = 2;
  path.hop_limit = 7;
  path.packet_life_time = 12;
  path.Pack(data.path_rec);
  ASSERT_TRUE(client_.task.user.Write(Program::kOut, data));
  const rdma_ucm_set_option option = {Program::kOut, id, RDMA_OPTION_IB, RDMA_OPTION_IB_PATH, sizeof(data)};
  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_SET_OPTION, option), 0);
  client_.Expect(RDMA_CM_EVENT_ROUTE_RESOLVED);
  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY, rdma_ucm_query{Program::kOut, id, RDMA_USER_CM_QUERY_PATH}, 80), 0);
  const auto back = *client_.task.user.Read<ib_path_rec_data>(Program::kOut + sizeof(rdma_ucm_query_path_resp));
  const PathRecord got = PathRecord::Unpack(back.path_rec);
  EXPECT_EQ(got.mtu, 2);
  EXPECT_EQ(got.hop_limit, 7);
  EXPECT_EQ(got.packet_life_time, 12);
}

TEST_F(Ucm, Queries) {
  const uint32_t id = client_.Create();
  const auto query = [&](uint32_t option, size_t out) {
    return client_.Do(RDMA_USER_CM_CMD_QUERY, rdma_ucm_query{Program::kOut, id, option}, out);
  };
  EXPECT_EQ(query(3, 280), ENOSYS);
  EXPECT_EQ(query(RDMA_USER_CM_QUERY_ADDR, 271), ENOSPC);
  EXPECT_EQ(query(RDMA_USER_CM_QUERY_GID, 271), ENOSPC);
  EXPECT_EQ(query(RDMA_USER_CM_QUERY_PATH, 7), ENOSPC);
  ASSERT_EQ(query(RDMA_USER_CM_QUERY_ADDR, 280), 0);
  EXPECT_EQ(client_.Out<rdma_ucm_query_addr_resp>().src_size, 0);

  ASSERT_EQ(client_.Bind(id, At("10.7.0.2", 5000)), 0);
  ASSERT_EQ(client_.Resolve(id, At("10.7.0.2", 7471)), 0);
  ASSERT_EQ(query(RDMA_USER_CM_QUERY_ADDR, 280), 0);
  auto addr = client_.Out<rdma_ucm_query_addr_resp>();
  EXPECT_EQ(addr.node_guid, 0x1111u);
  EXPECT_EQ(addr.port_num, 1);
  EXPECT_EQ(addr.src_size, 16);
  EXPECT_EQ(addr.dst_size, 16);
  EXPECT_EQ(Address(addr.src_addr.bytes).port(), 5000);
  EXPECT_EQ(Address(addr.dst_addr.bytes).gid(), At("10.7.0.2").gid());
  ASSERT_EQ(query(RDMA_USER_CM_QUERY_GID, 280), 0);
  addr = client_.Out<rdma_ucm_query_addr_resp>();
  const auto ib = Address(addr.dst_addr.bytes).ib();
  EXPECT_EQ(ib.sib_family, kAfIb);
  EXPECT_EQ(be64toh(ib.sib_sid), 0x0000000001060000u | 7471);
  EXPECT_TRUE(std::ranges::equal(ib.sib_addr, At("10.7.0.2").gid()));
  ASSERT_EQ(query(RDMA_USER_CM_QUERY_PATH, 440), 0);
  EXPECT_EQ(client_.Out<rdma_ucm_query_path_resp>().num_paths, 0u);

  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY_ROUTE, rdma_ucm_query{.response = Program::kOut, .id = id}, 208), 0);
  EXPECT_EQ(client_.Out<rdma_ucm_query_route_resp>().num_paths, 0u);
  ASSERT_EQ(client_.Route(id), 0);
  ASSERT_EQ(client_.Do(RDMA_USER_CM_CMD_QUERY_ROUTE, rdma_ucm_query{.response = Program::kOut, .id = id}, 208), 0);
  const auto route = client_.Out<rdma_ucm_query_route_resp>();
  EXPECT_EQ(route.num_paths, 1u);
  EXPECT_EQ(route.ib_route[0].mtu, 3u);
  EXPECT_EQ(route.ib_route[0].hop_limit, 64);
  EXPECT_EQ(route.ib_route[0].packet_life_time, 18);
  EXPECT_EQ(be32toh(route.ib_route[0].flow_label), (5000u * 31 + 7471) & 0xfffff);
  EXPECT_EQ(route.ib_route[0].pkey, 0xffff);
  ASSERT_EQ(query(RDMA_USER_CM_QUERY_PATH, 440), 0);
  const auto path = *client_.task.user.Read<ib_path_rec_data>(Program::kOut + sizeof(rdma_ucm_query_path_resp));
  EXPECT_EQ(path.flags, IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL);
  EXPECT_EQ(PathRecord::Unpack(path.path_rec).mtu, 3);
  EXPECT_EQ(be32toh(path.path_rec[10]), 0x01020000u);  // the RoCE record's first bytes: resolved, MAC
}

// ---- multicast

class MulticastTest : public CmBench {
 protected:
  int Join(uint32_t id, const Address& address, uint16_t flags = RDMA_MC_JOIN_FLAG_FULLMEMBER) {
    rdma_ucm_join_mcast join = {.response = Program::kOut,
                                .uid = 900,
                                .id = id,
                                .addr_size = static_cast<uint16_t>(address.size()),
                                .join_flags = flags};
    std::copy_n(address.bytes().begin(), address.size(), join.addr.bytes);
    return client_.Do(RDMA_USER_CM_CMD_JOIN_MCAST, join, 4);
  }
  int Leave(uint32_t id) {
    const int error =
        client_.Do(RDMA_USER_CM_CMD_LEAVE_MCAST, rdma_ucm_destroy_id{.response = Program::kOut, .id = id}, 4);
    return error != 0 ? -error : static_cast<int>(client_.Out<rdma_ucm_destroy_id_resp>().events_reported);
  }
};

// mckey: bind, resolve the group, join, leave.
TEST_F(MulticastTest, JoinTellsTheGroup) {
  const uint32_t id = client_.Create(RDMA_PS_UDP);
  EXPECT_EQ(Join(id, At("239.1.1.1")), EINVAL);  // no device
  ASSERT_EQ(client_.Bind(id, At("10.7.0.2")), 0);
  ASSERT_EQ(client_.Resolve(id, At("239.1.1.1")), 0);
  client_.Expect(RDMA_CM_EVENT_ADDR_RESOLVED);
  ASSERT_EQ(Join(id, At("239.1.1.1")), 0);
  const uint32_t mc = client_.Out<rdma_ucm_create_id_resp>().id;
  EXPECT_EQ(mc, 0u);  // a number space of its own
  const auto joined = client_.Expect(RDMA_CM_EVENT_MULTICAST_JOIN);
  EXPECT_EQ(joined.uid, 900u);
  EXPECT_EQ(joined.id, mc);
  EXPECT_EQ(joined.param.ud.qp_num, 0xffffffu);
  EXPECT_EQ(joined.param.ud.qkey, 0x01234567u);
  EXPECT_EQ(joined.param.ud.ah_attr.grh.hop_limit, 64);
  EXPECT_TRUE(std::ranges::equal(joined.param.ud.ah_attr.grh.dgid, At("239.1.1.1").gid()));
  EXPECT_EQ(Leave(mc), 1);
  EXPECT_EQ(Leave(mc), -ENOENT);
  EXPECT_EQ(client_.Destroy(id), 2);
}

TEST_F(MulticastTest, Refusals) {
  const uint32_t id = client_.Create(RDMA_PS_UDP);
  ASSERT_EQ(client_.Bind(id, At("10.7.0.2")), 0);
  EXPECT_EQ(Join(id, At("0.0.0.0")), EINVAL);
  EXPECT_EQ(Join(id, At("239.1.1.1"), 2), EINVAL);
  EXPECT_EQ(Join(id, At("ff02::1")), 524);  // -ENOTSUPP, which is no errno of user space
  const uint32_t rc = client_.Create(RDMA_PS_TCP);
  ASSERT_EQ(client_.Bind(rc, At("10.7.0.2")), 0);
  EXPECT_EQ(Join(rc, At("239.1.1.1")), EINVAL);
}

TEST_F(MulticastTest, LeaveDropsTheUnreadEvent) {
  const uint32_t id = client_.Create(RDMA_PS_UDP);
  ASSERT_EQ(client_.Bind(id, At("10.7.0.2")), 0);
  ASSERT_EQ(Join(id, At("239.1.1.1")), 0);
  EXPECT_EQ(Leave(0), 0);
  client_.ExpectNoEvent();
  ASSERT_EQ(Join(id, At("239.1.1.1")), 0);
  EXPECT_EQ(client_.Destroy(id), 0);  // leaves its groups
  EXPECT_EQ(Leave(0), -ENOENT);
}

}  // namespace
}  // namespace causeway::rdma_cm
