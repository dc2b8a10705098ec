// SPDX-License-Identifier: Apache-2.0
// NETLINK_RDMA: linux v6.1 drivers/infiniband/core/nldev.c and restrack.c. That every request's answer has the kernel's
// attributes is tests/conformance/test_rdma_tool.py's.
#include <linux/capability.h>
#include <sys/socket.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "drivers/infiniband/nldev.h"
#include "drivers/infiniband/test_bench.h"
#include "kernel/fake_packets.h"

namespace causeway::infiniband {
namespace {

using ByteVector = std::vector<std::byte>;

// type (without flags) and payload of each attribute, in order.
std::vector<std::pair<uint16_t, ByteVector>> Attributes(std::span<const std::byte> bytes) {
  std::vector<std::pair<uint16_t, ByteVector>> found;
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.nla_len < sizeof(header) || header.nla_len > bytes.size()) break;
    const auto payload = bytes.subspan(sizeof(header), header.nla_len - sizeof(header));
    found.emplace_back(header.nla_type & NLA_TYPE_MASK, ByteVector(payload.begin(), payload.end()));
    bytes = bytes.subspan(std::min<size_t>(NLA_ALIGN(size_t{header.nla_len}), bytes.size()));
  }
  return found;
}

uint64_t Number(const ByteVector& payload) {
  uint64_t value = 0;
  std::memcpy(&value, payload.data(), std::min(payload.size(), sizeof(value)));
  return value;
}

class FakeCmIds : public CmIds {
 public:
  std::vector<CmIdInfo> List(uint32_t device) const override { return device == 0 ? ids : std::vector<CmIdInfo>(); }
  std::vector<CmIdInfo> ids;
};

class NldevBench : public UverbsBench {
 protected:
  using Entry = std::map<uint16_t, ByteVector>;

  NldevBench() : nldev_(driver_->core(), &cm_ids_) {
    task_.pid_value = task_.tid_value = ::getpid();
    socket_ = *nldev_.MakeSocket(task_, packets_, SOCK_RAW);
    socket_->set_id(kernel::FakeTask::next_file_id++);
  }

  static ByteVector U32(uint16_t type, uint32_t value) {
    kernel::NlBuffer buffer(64);
    EXPECT_TRUE(buffer.PutU32(type, value));
    return {buffer.bytes().begin(), buffer.bytes().end()};
  }
  void Send(uint32_t op, uint16_t flags, std::initializer_list<ByteVector> attributes) {
    ByteVector data(sizeof(nlmsghdr));
    for (const ByteVector& attribute : attributes) data.insert(data.end(), attribute.begin(), attribute.end());
    const nlmsghdr header = {static_cast<uint32_t>(data.size()), RdmaNlType(RDMA_NL_NLDEV, op), flags, 1, 0};
    std::memcpy(data.data(), &header, sizeof(header));
    kernel::SocketFile::Message message;
    message.data = std::move(data);
    message.send_buffer = 65536;
    EXPECT_TRUE(socket_->SendMessage(task_, std::move(message)));
  }
  // 0 and the attributes of the answer, or the errno that was acknowledged.
  int Ask(uint32_t op, std::initializer_list<ByteVector> attributes, Entry* answer = nullptr) {
    Send(op, NLM_F_REQUEST, attributes);
    const ByteVector packet = packets_.Take();
    nlmsghdr header;
    CW_INVARIANT(packet.size() >= sizeof(header));
    std::memcpy(&header, packet.data(), sizeof(header));
    const auto payload = std::span(packet).subspan(sizeof(header));
    if (header.nlmsg_type == NLMSG_ERROR)
      return -static_cast<int>(static_cast<int32_t>(Number({payload.begin(), payload.begin() + 4})));
    if (answer != nullptr) {
      for (auto& [type, value] : Attributes(payload)) (*answer)[type] = std::move(value);
    }
    return 0;
  }
  // The entries of a dump's tables; *parts: how many packets brought them.
  std::vector<Entry> Dump(uint32_t op, uint32_t device = 0, size_t room = 8192, size_t* parts = nullptr) {
    Send(op, NLM_F_REQUEST | NLM_F_DUMP, {U32(RDMA_NLDEV_ATTR_DEV_INDEX, device)});
    std::vector<Entry> entries;
    for (;;) {
      EXPECT_TRUE(socket_->BeforeReceive(task_, room));
      const ByteVector packet = packets_.Take();
      nlmsghdr header;
      CW_INVARIANT(packet.size() >= sizeof(header));
      std::memcpy(&header, packet.data(), sizeof(header));
      EXPECT_EQ(header.nlmsg_len, packet.size());
      if (header.nlmsg_type == NLMSG_DONE) return entries;
      if (parts != nullptr) ++*parts;
      for (const auto& [type, table] : Attributes(std::span(packet).subspan(sizeof(header)))) {
        if (type == RDMA_NLDEV_ATTR_DEV_INDEX || type == RDMA_NLDEV_ATTR_DEV_NAME) continue;
        for (const auto& [entry_type, bytes] : Attributes(table)) {
          Entry entry;
          for (auto& [attribute, value] : Attributes(bytes)) entry[attribute] = std::move(value);
          entries.push_back(std::move(entry));
        }
      }
    }
  }
  static uint64_t Of(const Entry& entry, uint16_t type) {
    EXPECT_TRUE(entry.contains(type)) << type;
    return entry.contains(type) ? Number(entry.at(type)) : 0;
  }

  FakeCmIds cm_ids_;
  kernel::FakePackets packets_;
  Nldev nldev_;
  Ref<kernel::SocketFile> socket_;
};

// fill_res_..._entry(): what the objects are.
TEST_F(NldevBench, ResourcesAreTheObjects) {
  GetContext();
  const uint32_t pd = AllocPd();
  const auto cq = CreateCq(100);
  const auto qp = CreateQp(pd, cq.handle);
  ASSERT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
  const uint32_t key = Response<ib_uverbs_reg_mr_resp>().lkey;

  ASSERT_EQ(Dump(RDMA_NLDEV_CMD_RES_CTX_GET).size(), 1u);
  const auto pds = Dump(RDMA_NLDEV_CMD_RES_PD_GET);
  ASSERT_EQ(pds.size(), 1u);
  EXPECT_EQ(Of(pds[0], RDMA_NLDEV_ATTR_RES_USECNT), 2u);  // a QP, a region
  EXPECT_EQ(Of(pds[0], RDMA_NLDEV_ATTR_RES_PID), static_cast<uint32_t>(::getpid()));
  const auto cqs = Dump(RDMA_NLDEV_CMD_RES_CQ_GET);
  ASSERT_EQ(cqs.size(), 1u);
  EXPECT_EQ(Of(cqs[0], RDMA_NLDEV_ATTR_RES_CQE), 127u);
  EXPECT_EQ(Of(cqs[0], RDMA_NLDEV_ATTR_RES_USECNT), 2u);  // a send and a receive queue
  auto qps = Dump(RDMA_NLDEV_CMD_RES_QP_GET);
  ASSERT_EQ(qps.size(), 1u);
  EXPECT_EQ(Of(qps[0], RDMA_NLDEV_ATTR_RES_LQPN), qp.core.qpn);
  EXPECT_FALSE(qps[0].contains(RDMA_NLDEV_ATTR_PORT_INDEX)) << "at no port yet";
  ToRts(qp.core.qp_handle, 77);
  qps = Dump(RDMA_NLDEV_CMD_RES_QP_GET);
  EXPECT_EQ(Of(qps[0], RDMA_NLDEV_ATTR_PORT_INDEX), 1u);
  EXPECT_EQ(Of(qps[0], RDMA_NLDEV_ATTR_RES_RQPN), 77u);
  EXPECT_EQ(Of(qps[0], RDMA_NLDEV_ATTR_RES_STATE), static_cast<uint64_t>(IB_QPS_RTS));
  EXPECT_EQ(Of(qps[0], RDMA_NLDEV_ATTR_RES_SQ_PSN), 0x654321u);
  auto mrs = Dump(RDMA_NLDEV_CMD_RES_MR_GET);
  ASSERT_EQ(mrs.size(), 1u);
  EXPECT_EQ(Of(mrs[0], RDMA_NLDEV_ATTR_RES_MRLEN), 4096u);
  EXPECT_EQ(Of(mrs[0], RDMA_NLDEV_ATTR_RES_PDN), Of(pds[0], RDMA_NLDEV_ATTR_RES_PDN));
  EXPECT_FALSE(mrs[0].contains(RDMA_NLDEV_ATTR_RES_LKEY)) << "keys are for CAP_NET_ADMIN";
  task_.capabilities.insert(CAP_NET_ADMIN);
  mrs = Dump(RDMA_NLDEV_CMD_RES_MR_GET);
  EXPECT_EQ(Of(mrs[0], RDMA_NLDEV_ATTR_RES_LKEY), key);
  EXPECT_TRUE(Dump(RDMA_NLDEV_CMD_RES_MR_GET, 1).empty()) << "of another device";
}

// rdma_restrack_add(): numbers count on; what is destroyed is nobody's number any more.
TEST_F(NldevBench, NumbersCountOn) {
  GetContext();
  const uint32_t first = AllocPd(), second = AllocPd();
  ASSERT_EQ(DeallocPd(first), 0);
  EXPECT_EQ(Ask(RDMA_NLDEV_CMD_RES_PD_GET, {U32(RDMA_NLDEV_ATTR_DEV_INDEX, 0), U32(RDMA_NLDEV_ATTR_RES_PDN, 0)}),
            ENOENT);
  Entry answer;
  EXPECT_EQ(
      Ask(RDMA_NLDEV_CMD_RES_PD_GET, {U32(RDMA_NLDEV_ATTR_DEV_INDEX, 0), U32(RDMA_NLDEV_ATTR_RES_PDN, 1)}, &answer), 0);
  EXPECT_EQ(Of(answer, RDMA_NLDEV_ATTR_RES_PDN), 1u);
  AllocPd();
  const auto pds = Dump(RDMA_NLDEV_CMD_RES_PD_GET);
  ASSERT_EQ(pds.size(), 2u);
  EXPECT_EQ(Of(pds[1], RDMA_NLDEV_ATTR_RES_PDN), 2u);
  ASSERT_EQ(DeallocPd(second), 0);
  file_.Reset();
  EXPECT_TRUE(Dump(RDMA_NLDEV_CMD_RES_PD_GET).empty());
  EXPECT_TRUE(Dump(RDMA_NLDEV_CMD_RES_CTX_GET).empty());
}

// res_get_common_dumpit(): what does not fit goes on in the next part.
TEST_F(NldevBench, ManyComeInParts) {
  GetContext();
  constexpr size_t kPds = 1000;
  for (size_t i = 0; i < kPds; ++i) AllocPd();
  size_t parts = 0;
  std::set<uint64_t> numbers;
  for (const Entry& entry : Dump(RDMA_NLDEV_CMD_RES_PD_GET, 0, 4096, &parts)) {
    numbers.insert(Of(entry, RDMA_NLDEV_ATTR_RES_PDN));
  }
  EXPECT_EQ(numbers.size(), kPds);
  EXPECT_GT(parts, 9u);
}

// fill_res_srq_qps(): numbers that follow each other are one range.
TEST_F(NldevBench, AnSrqNamesItsQps) {
  GetContext();
  const uint32_t pd = AllocPd();
  const auto cq = CreateCq();
  const auto srq = CreateSrq(pd);
  auto request = QpRequest(pd, cq.handle);
  request.srq_handle = srq.core.srq_handle;
  request.is_srq = 1;
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, request, 32 + 32), 0);
  const uint32_t qpn = Response<ib_uverbs_create_qp_resp>().qpn;
  const auto srqs = Dump(RDMA_NLDEV_CMD_RES_SRQ_GET);
  ASSERT_EQ(srqs.size(), 1u);
  const auto ranges = Attributes(srqs[0].at(RDMA_NLDEV_ATTR_RES_QP));
  ASSERT_EQ(ranges.size(), 1u);
  const auto range = Attributes(ranges[0].second);
  ASSERT_EQ(range.size(), 1u);
  EXPECT_EQ(range[0].first, RDMA_NLDEV_ATTR_RES_LQPN);
  EXPECT_EQ(Number(range[0].second), qpn);
}

// fill_res_cm_id_entry(): ids are another driver's.
TEST_F(NldevBench, IdsOfRdmaCm) {
  CmIdInfo id = {.tracked = {.id = 5, .pid = ::getpid(), .tid = ::getpid()}, .port_num = 1, .ps = 0x106, .state = 8};
  id.src[0] = std::byte{AF_INET};
  cm_ids_.ids = {id};
  const auto ids = Dump(RDMA_NLDEV_CMD_RES_CM_ID_GET);
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_EQ(Of(ids[0], RDMA_NLDEV_ATTR_RES_STATE), 8u);
  EXPECT_EQ(ids[0].at(RDMA_NLDEV_ATTR_RES_SRC_ADDR).size(), 128u);
  EXPECT_FALSE(ids[0].contains(RDMA_NLDEV_ATTR_RES_DST_ADDR));
  EXPECT_FALSE(ids[0].contains(RDMA_NLDEV_ATTR_RES_LQPN));
  EXPECT_TRUE(Dump(RDMA_NLDEV_CMD_RES_CM_ID_GET, 1).empty());
}

// rdma_nl_get_privileged_qkey() in modify_qp().
TEST_F(NldevBench, PrivilegedQkeysCanBeAllowed) {
  EXPECT_EQ(Ask(RDMA_NLDEV_CMD_SYS_SET, {}), EPERM);
  task_.capabilities.insert(CAP_NET_ADMIN);
  kernel::NlBuffer mode(64);
  ASSERT_TRUE(mode.PutU8(RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE, 1));
  Send(RDMA_NLDEV_CMD_SYS_SET, NLM_F_REQUEST, {{mode.bytes().begin(), mode.bytes().end()}});
  EXPECT_TRUE(packets_.queue.empty());
  Entry system;
  EXPECT_EQ(Ask(RDMA_NLDEV_CMD_SYS_GET, {}, &system), 0);
  EXPECT_EQ(Of(system, RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE), 1u);
  EXPECT_TRUE(driver_->core().privileged_qkey());
}

// Objects come and go while they are listed.
TEST_F(NldevBench, ListedWhileTheyGo) {
  GetContext();
  const uint32_t pd = AllocPd();
  std::atomic<bool> stop{false};
  kernel::FakeTask reader;
  kernel::FakePackets packets;
  auto socket = *nldev_.MakeSocket(reader, packets, SOCK_RAW);
  socket->set_id(kernel::FakeTask::next_file_id++);
  std::thread listing([&] {
    for (uint32_t op = RDMA_NLDEV_CMD_RES_GET; !stop.load();
         op = op == RDMA_NLDEV_CMD_RES_PD_GET ? RDMA_NLDEV_CMD_RES_GET : op + 1) {
      ByteVector data(sizeof(nlmsghdr));
      const ByteVector index = U32(RDMA_NLDEV_ATTR_DEV_INDEX, 0);
      data.insert(data.end(), index.begin(), index.end());
      const nlmsghdr header = {static_cast<uint32_t>(data.size()), RdmaNlType(RDMA_NL_NLDEV, op),
                               NLM_F_REQUEST | NLM_F_DUMP, 1, 0};
      std::memcpy(data.data(), &header, sizeof(header));
      kernel::SocketFile::Message message;
      message.data = std::move(data);
      message.send_buffer = 65536;
      EXPECT_TRUE(socket->SendMessage(reader, std::move(message)));
      for (int i = 0; i < 3; ++i) (void)socket->BeforeReceive(reader, 8192);
      packets.queue.clear();
    }
  });
  for (int i = 0; i < 200; ++i) {
    const auto cq = CreateCq();
    const auto qp = CreateQp(pd, cq.handle);
    ASSERT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
    const uint32_t mr = Response<ib_uverbs_reg_mr_resp>().mr_handle;
    ASSERT_EQ(DestroyQp(qp.core.qp_handle), 0);
    ASSERT_EQ(DestroyCq(cq.handle), 0);
    ASSERT_EQ(Plain(IB_USER_VERBS_CMD_DEREG_MR, ib_uverbs_dereg_mr{mr}, 0), 0);
  }
  stop.store(true);
  listing.join();
}

}  // namespace
}  // namespace causeway::infiniband
