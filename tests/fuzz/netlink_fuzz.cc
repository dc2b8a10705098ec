// SPDX-License-Identifier: Apache-2.0
// What one send() to a NETLINK_RDMA socket may bring: messages of the RDMA core with attributes as they should be, and
// not quite, beside plain bytes; on a device with a few objects, as root and not. Receiving in between.
#include <linux/capability.h>
#include <sys/socket.h>

#include "drivers/infiniband/nldev.h"
#include "drivers/infiniband/test_bench.h"
#include "kernel/fake_packets.h"
#include "tests/fuzz/input.h"

namespace causeway::fuzz {
namespace {

using namespace uapi;  // NOLINT: as the bench does

constexpr uint64_t Type(uint32_t op) { return RdmaNlType(RDMA_NL_NLDEV, op); }

class NetlinkFuzz : public infiniband::UverbsBench {
 public:
  NetlinkFuzz() : nldev_(driver_->core(), nullptr) {
    GetContext();
    const uint32_t pd = AllocPd();
    const auto cq = CreateCq();
    (void)CreateQp(pd, cq.handle);
    (void)CreateSrq(pd);
    (void)RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage);
  }
  void TestBody() override {}

  void Run(Input& in) {
    if (in.Byte() < 0x80) {
      task_.capabilities.insert(CAP_NET_ADMIN);
    } else {
      task_.capabilities.clear();
    }
    packets_.queue.clear();
    auto socket = *nldev_.MakeSocket(task_, packets_, SOCK_RAW);
    socket->set_id(kernel::FakeTask::next_file_id++);
    for (int steps = 0; steps < kMaxSteps && !in.empty(); ++steps) {
      const uint8_t how = in.Byte();
      if (how < 0x20) {
        (void)socket->BeforeReceive(task_, in.Raw<uint16_t>());
        Check(packets_.Take());
        continue;
      }
      if (how < 0x30) {
        const uint32_t value = in.Raw<uint32_t>();
        (void)socket->SetOption(task_, SOL_NETLINK, in.Byte() % 16, std::as_bytes(std::span(&value, 1)));
        continue;
      }
      kernel::SocketFile::Message message;
      message.send_buffer = 65536;
      for (size_t count = 1 + in.Below(3); count > 0; --count) AddMessage(in, &message.data);
      if (how < 0x38) message.address = Bytes(in.Raw<sockaddr_nl>());
      (void)socket->SendMessage(task_, std::move(message));
      for (const auto& packet : packets_.queue) Check(packet);
      if (packets_.queue.size() > 64) packets_.queue.clear();
    }
  }

 private:
  static constexpr int kMaxSteps = 32;

  // Every packet is messages of their own lengths, one after the other.
  static void Check(std::span<const std::byte> packet) {
    while (!packet.empty()) {
      nlmsghdr header;
      CW_INVARIANT(packet.size() >= sizeof(header));
      std::memcpy(&header, packet.data(), sizeof(header));
      CW_INVARIANT(header.nlmsg_len >= sizeof(header) && header.nlmsg_len <= packet.size());
      packet = packet.subspan(std::min<size_t>(NLMSG_ALIGN(size_t{header.nlmsg_len}), packet.size()));
    }
  }

  static void Append(std::vector<std::byte>* to, const void* from, size_t len) {
    const auto* const bytes = static_cast<const std::byte*>(from);
    to->insert(to->end(), bytes, bytes + len);
  }

  void AddMessage(Input& in, std::vector<std::byte>* data) {
    const size_t at = data->size();
    nlmsghdr header = {};
    header.nlmsg_type = in.Near<uint16_t>(kTypes);
    header.nlmsg_flags = in.Near<uint16_t>({NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_DUMP, NLM_F_REQUEST | NLM_F_ACK});
    Append(data, &header, sizeof(header));
    for (size_t count = in.Below(6); count > 0; --count) {
      const auto type = in.Near<uint16_t>(kAttributes);
      const uint8_t shape = in.Byte();
      std::vector<uint8_t> payload;
      if (shape < 0xa0) {
        const auto value = in.Near<uint32_t>({0, 1, 2, RDMA_NLDEV_ATTR_RES_QP, RDMA_NLDEV_ATTR_RES_MR});
        payload.resize(sizeof(value));
        std::memcpy(payload.data(), &value, sizeof(value));
      } else if (shape < 0xc0) {
        payload = {'u', 'v', 'e', 'r', 'b', 's', 0};
      } else {
        payload = in.Take(in.Byte() % 80);
      }
      nlattr attribute = {static_cast<uint16_t>(sizeof(nlattr) + payload.size()), type};
      if (shape == 0xff) attribute.nla_len = in.Raw<uint16_t>();
      Append(data, &attribute, sizeof(attribute));
      Append(data, payload.data(), payload.size());
      data->resize(NLA_ALIGN(data->size()));
    }
    header.nlmsg_len = static_cast<uint32_t>(data->size() - at);
    if (in.Byte() >= 0xf0) header.nlmsg_len = in.Raw<uint32_t>();
    std::memcpy(data->data() + at, &header, sizeof(header));
  }

  static constexpr uint64_t kTypes[] = {Type(1),  Type(2),  Type(3),  Type(4),  Type(5),  Type(6),  Type(7),  Type(9),
                                        Type(10), Type(11), Type(12), Type(13), Type(14), Type(15), Type(16), Type(17),
                                        Type(18), Type(19), Type(20), Type(21), Type(22), Type(23), Type(24)};
  static constexpr uint64_t kAttributes[] = {RDMA_NLDEV_ATTR_DEV_INDEX,
                                             RDMA_NLDEV_ATTR_DEV_INDEX,
                                             RDMA_NLDEV_ATTR_DEV_INDEX,
                                             RDMA_NLDEV_ATTR_PORT_INDEX,
                                             RDMA_NLDEV_ATTR_PORT_INDEX,
                                             RDMA_NLDEV_ATTR_DEV_NAME,
                                             RDMA_NLDEV_ATTR_RES_LQPN,
                                             RDMA_NLDEV_ATTR_RES_CQN,
                                             RDMA_NLDEV_ATTR_RES_MRN,
                                             RDMA_NLDEV_ATTR_RES_PDN,
                                             RDMA_NLDEV_ATTR_RES_CTXN,
                                             RDMA_NLDEV_ATTR_RES_SRQN,
                                             RDMA_NLDEV_ATTR_RES_CM_IDN,
                                             RDMA_NLDEV_ATTR_CHARDEV_TYPE,
                                             RDMA_NLDEV_ATTR_LINK_TYPE,
                                             RDMA_NLDEV_ATTR_NDEV_NAME,
                                             RDMA_NLDEV_ATTR_STAT_RES,
                                             RDMA_NLDEV_ATTR_STAT_MODE,
                                             RDMA_NLDEV_ATTR_DEV_DIM,
                                             RDMA_NLDEV_ATTR_STAT_COUNTER_ID,
                                             RDMA_NLDEV_ATTR_STAT_AUTO_MODE_MASK,
                                             RDMA_NLDEV_SYS_ATTR_NETNS_MODE,
                                             RDMA_NLDEV_ATTR_STAT_HWCOUNTERS | NLA_F_NESTED};

  kernel::FakePackets packets_;
  infiniband::Nldev nldev_;
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const bench = new causeway::fuzz::NetlinkFuzz;
  causeway::fuzz::Input in(data, size);
  bench->Run(in);
  return 0;
}
