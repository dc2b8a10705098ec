// SPDX-License-Identifier: Apache-2.0
// NETLINK_RDMA: what iproute2's `rdma` tool and libibverbs ask the RDMA core (linux v6.1 drivers/infiniband/core/
// netlink.c and nldev.c).
//
//   nldev.cc       which messages there are, rdma_nl_rcv_msg(); devices, ports, character devices, system settings
//   nldev_res.cc   resources: what of them each object shows
//   nldev_stat.cc  counters
//
// Answers have Linux's attributes in Linux's order. A request is hostile: kernel/nlmsg.h parses it by kNldevPolicy.
#pragma once

#include <string>
#include <vector>

#include "drivers/infiniband/cm_ids.h"
#include "drivers/infiniband/device.h"
#include "kernel/netlink_socket.h"
#include "uapi/rdma_netlink.h"

namespace causeway::infiniband {

// struct ib_client with a character device for the whole system (get_global_nl_info): "rdma_cm".
struct GlobalClient {
  std::string name;
  uint32_t major = 0, minor = 0;
  uint64_t abi = 0;
  std::string device;  // its name in /dev/infiniband
};

class Nldev final : public kernel::NetlinkFamily {
 public:
  // `cm_ids` may be nullptr; both outlive this.
  Nldev(IbCore& core, const CmIds* cm_ids) : core_(core), cm_ids_(cm_ids) {}
  void AddClient(GlobalClient client) { clients_.push_back(std::move(client)); }  // before the first request

  // rdma_nl_rcv().
  void Receive(kernel::Task& task, kernel::NetlinkSocket& socket, std::span<const std::byte> bytes,
               bool addressed) override;

  // For kernel::Syscalls: socket(AF_NETLINK, type, NETLINK_RDMA).
  Result<Ref<kernel::SocketFile>> MakeSocket(kernel::Task& task, kernel::Packets& packets, int type);

  // What became of an entry: it is there; it does not fit (EMSGSIZE); it is not of the port that was asked for, or just
  // going (EAGAIN); it is not there (ENOENT); nobody fills it (EINVAL).
  enum class Filled { kYes, kNoRoom, kSkip, kGone, kUnknown };
  struct Resource;

 private:
  using Request = kernel::NetlinkRequest;
  using Buffer = kernel::NlBuffer;
  using Attributes = kernel::NlAttributes;
  struct Operation;  // struct rdma_nl_cbs
  static const Operation kOperations[];

  // errors: of the request; *silent: it is not acknowledged (a dump has begun, -EINTR there).
  Status ReceiveMessage(const Request& request, kernel::ExtAck* ext_ack, bool* silent);

  // The device that a request names. errors: EINVAL.
  Result<IbDevice*> DeviceOf(const Attributes& attributes) const;
  // ... and its port.
  Result<IbDevice*> PortOf(const Attributes& attributes) const;

  // An answer of one message.
  class Answer;

  // ib_enum_all_devs(): a message of type `op` for each device, one device a part.
  int DumpEach(const Request& request, Buffer& buffer, uint64_t* position, uint32_t op,
               bool (Nldev::*fill)(Buffer&, const IbDevice&) const);

  bool FillDevice(Buffer& buffer, const IbDevice& device) const;
  Status GetDevice(const Request& request, kernel::ExtAck* ext_ack);
  int DumpDevices(const Request& request, Buffer& buffer, uint64_t* position);
  Status SetDevice(const Request& request, kernel::ExtAck* ext_ack);
  Status NewLink(const Request& request, kernel::ExtAck* ext_ack);
  Status DeleteLink(const Request& request, kernel::ExtAck* ext_ack);
  Status GetPort(const Request& request, kernel::ExtAck* ext_ack);
  int DumpPorts(const Request& request, Buffer& buffer, uint64_t* position);
  Status GetSystem(const Request& request, kernel::ExtAck* ext_ack);
  Status SetSystem(const Request& request, kernel::ExtAck* ext_ack);
  Status GetChardev(const Request& request, kernel::ExtAck* ext_ack);

  // ---- nldev_res.cc
  static constexpr uint32_t kNoObject = ~uint32_t{0};
  struct ResourceKind {  // struct nldev_fill_res_entry
    uint32_t op;
    uint32_t object;  // ObjectType; UVERBS_OBJECT_DEVICE: contexts; kNoObject: ids of rdma_cm
    uint16_t table_attribute, entry_attribute, id_attribute;
    bool per_device;  // NLDEV_PER_DEV: no port
  };
  static const ResourceKind kKinds[];
  static const ResourceKind& KindOf(uint32_t op);
  std::vector<CmIdInfo> CmIdsOf(const ResourceKind& kind, const IbDevice& device) const;
  static std::vector<Resource> Resources(const ResourceKind& kind, std::span<UverbsFile* const> files,
                                         const std::vector<CmIdInfo>& cm_ids, uint64_t from, size_t limit);
  static Filled Fill(Buffer& buffer, const ResourceKind& kind, const Resource& resource,
                     std::span<UverbsFile* const> files, bool admin, uint32_t port);
  Status GetResourceOf(const Request& request, const ResourceKind& kind, const Attributes& attributes);
  int DumpResourcesOf(const Request& request, const ResourceKind& kind, const Attributes& attributes, Buffer& buffer,
                      uint64_t* position);
  Status GetResource(const Request& request, kernel::ExtAck* ext_ack);
  int DumpResources(const Request& request, Buffer& buffer, uint64_t* position);
  bool FillSummary(Buffer& buffer, const IbDevice& device) const;
  Status GetSummary(const Request& request, kernel::ExtAck* ext_ack);
  int DumpSummaries(const Request& request, Buffer& buffer, uint64_t* position);

  // ---- nldev_stat.cc
  Status GetStatistics(const Request& request, kernel::ExtAck* ext_ack);
  int DumpStatistics(const Request& request, Buffer& buffer, uint64_t* position);
  Status GetPortCounters(const Request& request, const Attributes& attributes);
  Status GetCounterMode(const Request& request, const Attributes& attributes);
  Status CheckCounterQp(const IbDevice& device, uint32_t qpn) const;
  Status SetStatistics(const Request& request, kernel::ExtAck* ext_ack);
  Status DeleteStatistics(const Request& request, kernel::ExtAck* ext_ack);
  Status GetCounterStatus(const Request& request, kernel::ExtAck* ext_ack);

  IbCore& core_;
  const CmIds* const cm_ids_;
  kernel::NetlinkPorts ports_;
  std::vector<GlobalClient> clients_;
};

// ---- for nldev*.cc

// nlmsg_parse_deprecated() and nlmsg_parse() by nldev_policy.
Result<kernel::NlAttributes> ParseLiberal(const kernel::NetlinkRequest& request, kernel::ExtAck* ext_ack);
Result<kernel::NlAttributes> ParseStrict(const kernel::NetlinkRequest& request, kernel::ExtAck* ext_ack);

[[nodiscard]] bool FillHandle(kernel::NlBuffer& buffer, const IbDevice& device);  // fill_nldev_handle()

// One message that answers a request (nlmsg_new(), nlmsg_put(), rdma_nl_unicast()).
class Nldev::Answer {
 public:
  Answer(const Request& request, uint16_t op)
      : request_(request),
        message_(
            *buffer_.Begin(request.portid(), request.header.nlmsg_seq, uapi::RdmaNlType(uapi::RDMA_NL_NLDEV, op), 0)) {}
  Buffer& buffer() { return buffer_; }
  // errors: EMSGSIZE unless `filled`; EAGAIN the socket's queue is full.
  Status Send(bool filled) {
    if (!filled) return Err(EMSGSIZE);
    buffer_.End(message_);
    return request_.socket.Deliver(buffer_);
  }

 private:
  const Request& request_;
  Buffer buffer_{kernel::kNlGoodSize};
  const size_t message_;
};

}  // namespace causeway::infiniband
