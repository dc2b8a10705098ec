// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/nldev.h"

#include <linux/capability.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace causeway::infiniband {
namespace {

using namespace uapi;
using kernel::ExtAck;
using kernel::NlaPolicy;
using kernel::NlaType;

constexpr uint64_t kRxeDriverId = 14;     // RDMA_DRIVER_RXE
constexpr uint8_t kNodeTypeCa = 1;        // RDMA_NODE_IB_CA
constexpr uint8_t kSharedNamespaces = 1;  // ib_devices_shared_netns

// nldev_policy. What is not named is kUnspec.
constexpr auto kNldevPolicy = [] {
  std::array<NlaPolicy, RDMA_NLDEV_ATTR_MAX> policy = {};
  const auto all = [&](NlaType type, std::initializer_list<uint16_t> attributes) {
    for (const uint16_t attribute : attributes) policy[attribute] = {type, 0};
  };
  const auto text = [&](uint32_t len, std::initializer_list<uint16_t> attributes) {
    for (const uint16_t attribute : attributes) policy[attribute] = {NlaType::kNulString, static_cast<uint16_t>(len)};
  };
  all(NlaType::kU8,
      {RDMA_NLDEV_ATTR_DEV_DIM, RDMA_NLDEV_ATTR_DEV_NODE_TYPE, RDMA_NLDEV_ATTR_DRIVER_PRINT_TYPE, RDMA_NLDEV_ATTR_LMC,
       RDMA_NLDEV_ATTR_PORT_PHYS_STATE, RDMA_NLDEV_ATTR_PORT_STATE, RDMA_NLDEV_ATTR_RES_PATH_MIG_STATE,
       RDMA_NLDEV_ATTR_RES_POLL_CTX, RDMA_NLDEV_ATTR_RES_STATE, RDMA_NLDEV_ATTR_RES_TYPE,
       RDMA_NLDEV_SYS_ATTR_NETNS_MODE, RDMA_NLDEV_SYS_ATTR_COPY_ON_FORK, RDMA_NLDEV_ATTR_STAT_HWCOUNTER_DYNAMIC,
       RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE, RDMA_NLDEV_ATTR_DRIVER_DETAILS});
  all(NlaType::kU32, {RDMA_NLDEV_ATTR_DEV_INDEX,
                      RDMA_NLDEV_ATTR_DRIVER_U32,
                      RDMA_NLDEV_ATTR_LID,
                      RDMA_NLDEV_ATTR_NDEV_INDEX,
                      RDMA_NLDEV_ATTR_PORT_INDEX,
                      RDMA_NLDEV_ATTR_RES_CM_IDN,
                      RDMA_NLDEV_ATTR_RES_CQE,
                      RDMA_NLDEV_ATTR_RES_CQN,
                      RDMA_NLDEV_ATTR_RES_CTXN,
                      RDMA_NLDEV_ATTR_RES_LKEY,
                      RDMA_NLDEV_ATTR_RES_LOCAL_DMA_LKEY,
                      RDMA_NLDEV_ATTR_RES_LQPN,
                      RDMA_NLDEV_ATTR_RES_MRN,
                      RDMA_NLDEV_ATTR_RES_PDN,
                      RDMA_NLDEV_ATTR_RES_PID,
                      RDMA_NLDEV_ATTR_RES_PS,
                      RDMA_NLDEV_ATTR_RES_RKEY,
                      RDMA_NLDEV_ATTR_RES_RQPN,
                      RDMA_NLDEV_ATTR_RES_RQ_PSN,
                      RDMA_NLDEV_ATTR_RES_SQ_PSN,
                      RDMA_NLDEV_ATTR_RES_UNSAFE_GLOBAL_RKEY,
                      RDMA_NLDEV_ATTR_RES_SRQN,
                      RDMA_NLDEV_ATTR_MIN_RANGE,
                      RDMA_NLDEV_ATTR_MAX_RANGE,
                      RDMA_NLDEV_ATTR_SM_LID,
                      RDMA_NLDEV_ATTR_STAT_AUTO_MODE_MASK,
                      RDMA_NLDEV_ATTR_STAT_MODE,
                      RDMA_NLDEV_ATTR_STAT_RES,
                      RDMA_NLDEV_ATTR_STAT_COUNTER_ID,
                      RDMA_NLDEV_ATTR_UVERBS_DRIVER_ID,
                      RDMA_NLDEV_NET_NS_FD,
                      RDMA_NLDEV_ATTR_STAT_HWCOUNTER_INDEX});
  all(NlaType::kU64, {RDMA_NLDEV_ATTR_CHARDEV, RDMA_NLDEV_ATTR_CHARDEV_ABI, RDMA_NLDEV_ATTR_DRIVER_U64,
                      RDMA_NLDEV_ATTR_NODE_GUID, RDMA_NLDEV_ATTR_RES_IOVA, RDMA_NLDEV_ATTR_RES_MRLEN,
                      RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY_CURR, RDMA_NLDEV_ATTR_RES_USECNT, RDMA_NLDEV_ATTR_SUBNET_PREFIX,
                      RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_VALUE, RDMA_NLDEV_ATTR_SYS_IMAGE_GUID});
  all(NlaType::kS32, {RDMA_NLDEV_ATTR_DRIVER_S32});
  all(NlaType::kS64, {RDMA_NLDEV_ATTR_DRIVER_S64});
  all(NlaType::kBinary, {RDMA_NLDEV_ATTR_RES_RAW});
  all(NlaType::kNested, {RDMA_NLDEV_ATTR_DRIVER,          RDMA_NLDEV_ATTR_DRIVER_ENTRY,
                         RDMA_NLDEV_ATTR_RES_CM_ID,       RDMA_NLDEV_ATTR_RES_CM_ID_ENTRY,
                         RDMA_NLDEV_ATTR_RES_CQ,          RDMA_NLDEV_ATTR_RES_CQ_ENTRY,
                         RDMA_NLDEV_ATTR_RES_CTX,         RDMA_NLDEV_ATTR_RES_CTX_ENTRY,
                         RDMA_NLDEV_ATTR_RES_MR,          RDMA_NLDEV_ATTR_RES_MR_ENTRY,
                         RDMA_NLDEV_ATTR_RES_PD,          RDMA_NLDEV_ATTR_RES_PD_ENTRY,
                         RDMA_NLDEV_ATTR_RES_QP,          RDMA_NLDEV_ATTR_RES_QP_ENTRY,
                         RDMA_NLDEV_ATTR_RES_SUMMARY,     RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY,
                         RDMA_NLDEV_ATTR_RES_SRQ,         RDMA_NLDEV_ATTR_RES_SRQ_ENTRY,
                         RDMA_NLDEV_ATTR_STAT_COUNTER,    RDMA_NLDEV_ATTR_STAT_COUNTER_ENTRY,
                         RDMA_NLDEV_ATTR_STAT_HWCOUNTERS, RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY});
  text(kNldevEmptyString, {RDMA_NLDEV_ATTR_CHARDEV_NAME, RDMA_NLDEV_ATTR_DEV_PROTOCOL, RDMA_NLDEV_ATTR_DRIVER_STRING,
                           RDMA_NLDEV_ATTR_FW_VERSION, RDMA_NLDEV_ATTR_RES_KERN_NAME,
                           RDMA_NLDEV_ATTR_RES_SUMMARY_ENTRY_NAME, RDMA_NLDEV_ATTR_RES_SUBTYPE});
  text(0, {RDMA_NLDEV_ATTR_STAT_HWCOUNTER_ENTRY_NAME});
  text(kNldevChardevTypeSize, {RDMA_NLDEV_ATTR_CHARDEV_TYPE});
  text(kIbDeviceNameMax, {RDMA_NLDEV_ATTR_DEV_NAME});
  text(kIfNameSize, {RDMA_NLDEV_ATTR_LINK_TYPE, RDMA_NLDEV_ATTR_NDEV_NAME});
  policy[RDMA_NLDEV_ATTR_RES_DST_ADDR].len = policy[RDMA_NLDEV_ATTR_RES_SRC_ADDR].len = 128;  // sockaddr_storage
  return policy;
}();

uint64_t GuidOf(const IbDevice& device) {
  uint64_t value = 0;
  for (const uint8_t byte : Eui64(device.mac())) value = value << 8 | byte;
  return value;
}

// huge_encode_dev().
uint64_t EncodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xff) | uint64_t{major} << 8 | uint64_t{minor & ~0xffu} << 12;
}

// fill_port_info().
bool FillPort(kernel::NlBuffer& buffer, const IbDevice& device) {
  const auto port = device.QueryPort();
  const bool filled = FillHandle(buffer, device) && buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort) &&
                      buffer.PutU8(RDMA_NLDEV_ATTR_PORT_STATE, port.state) &&
                      buffer.PutU8(RDMA_NLDEV_ATTR_PORT_PHYS_STATE, port.phys_state);
  const uint32_t ifindex = device.ifindex();
  if (!filled || ifindex == 0) return filled;  // 0: the interface is gone
  return buffer.PutU32(RDMA_NLDEV_ATTR_NDEV_INDEX, ifindex) &&
         buffer.PutString(RDMA_NLDEV_ATTR_NDEV_NAME, device.netdev());
}

}  // namespace

Result<kernel::NlAttributes> ParseLiberal(const kernel::NetlinkRequest& request, ExtAck* ext_ack) {
  kernel::NlAttributes attributes;
  CW_CHECK(kernel::ParseAttributes(request.bytes, kNldevPolicy, false, ext_ack, &attributes));
  return attributes;
}

Result<kernel::NlAttributes> ParseStrict(const kernel::NetlinkRequest& request, ExtAck* ext_ack) {
  kernel::NlAttributes attributes;
  CW_CHECK(kernel::ParseAttributes(request.bytes, kNldevPolicy, true, ext_ack, &attributes));
  return attributes;
}

bool FillHandle(kernel::NlBuffer& buffer, const IbDevice& device) {
  return buffer.PutU32(RDMA_NLDEV_ATTR_DEV_INDEX, device.number()) &&
         buffer.PutString(RDMA_NLDEV_ATTR_DEV_NAME, device.name());
}

// nldev_cb_table.
struct Nldev::Operation {
  uint32_t op;
  Status (Nldev::*doit)(const Request&, ExtAck*);
  int (Nldev::*dump)(const Request&, Buffer&, uint64_t*);
  bool admin;  // RDMA_NL_ADMIN_PERM
};
const Nldev::Operation Nldev::kOperations[] = {
    {RDMA_NLDEV_CMD_GET, &Nldev::GetDevice, &Nldev::DumpDevices, false},
    {RDMA_NLDEV_CMD_SET, &Nldev::SetDevice, nullptr, true},
    {RDMA_NLDEV_CMD_NEWLINK, &Nldev::NewLink, nullptr, true},
    {RDMA_NLDEV_CMD_DELLINK, &Nldev::DeleteLink, nullptr, true},
    {RDMA_NLDEV_CMD_PORT_GET, &Nldev::GetPort, &Nldev::DumpPorts, false},
    {RDMA_NLDEV_CMD_SYS_GET, &Nldev::GetSystem, nullptr, false},
    {RDMA_NLDEV_CMD_SYS_SET, &Nldev::SetSystem, nullptr, true},
    {RDMA_NLDEV_CMD_GET_CHARDEV, &Nldev::GetChardev, nullptr, false},
    {RDMA_NLDEV_CMD_RES_GET, &Nldev::GetSummary, &Nldev::DumpSummaries, false},
    {RDMA_NLDEV_CMD_RES_QP_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_CM_ID_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_CQ_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_MR_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_PD_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_CTX_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_SRQ_GET, &Nldev::GetResource, &Nldev::DumpResources, false},
    {RDMA_NLDEV_CMD_RES_QP_GET_RAW, &Nldev::GetResource, &Nldev::DumpResources, true},
    {RDMA_NLDEV_CMD_RES_CQ_GET_RAW, &Nldev::GetResource, &Nldev::DumpResources, true},
    {RDMA_NLDEV_CMD_RES_MR_GET_RAW, &Nldev::GetResource, &Nldev::DumpResources, true},
    {RDMA_NLDEV_CMD_STAT_SET, &Nldev::SetStatistics, nullptr, true},
    {RDMA_NLDEV_CMD_STAT_GET, &Nldev::GetStatistics, &Nldev::DumpStatistics, false},
    {RDMA_NLDEV_CMD_STAT_DEL, &Nldev::DeleteStatistics, nullptr, true},
    {RDMA_NLDEV_CMD_STAT_GET_STATUS, &Nldev::GetCounterStatus, nullptr, false},
};

Result<Ref<kernel::SocketFile>> Nldev::MakeSocket(kernel::Task& task, kernel::Packets& packets, int type) {
  if (type != SOCK_RAW && type != SOCK_DGRAM) return Err(ESOCKTNOSUPPORT);
  return Ref<kernel::SocketFile>(MakeRef<kernel::NetlinkSocket>(task, *this, ports_, packets, kNetlinkRdma, type));
}

// rdma_nl_rcv_skb(). What has no whole header, or is shorter than it says, ends the request without a word.
void Nldev::Receive(kernel::Task& task, kernel::NetlinkSocket& socket, std::span<const std::byte> bytes,
                    bool addressed) {
  ExtAck ext_ack;
  while (bytes.size() >= NLMSG_HDRLEN) {
    nlmsghdr header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > bytes.size()) return;
    const Request request = {task, socket, bytes.first(header.nlmsg_len), header, addressed};
    Status done;
    bool silent = false;
    const bool asks = (header.nlmsg_flags & NLM_F_REQUEST) != 0 || RdmaNlClient(header.nlmsg_type) == RDMA_NL_LS;
    if (asks && header.nlmsg_type >= NLMSG_MIN_TYPE) done = ReceiveMessage(request, &ext_ack, &silent);
    if (!silent && ((header.nlmsg_flags & NLM_F_ACK) != 0 || !done)) {
      socket.Acknowledge(request, done ? 0 : done.error().code(), ext_ack);
    }
    bytes = bytes.subspan(std::min<size_t>(NLMSG_ALIGN(size_t{header.nlmsg_len}), bytes.size()));
  }
}

// rdma_nl_rcv_msg(). Of the core's clients there is NLDEV.
Status Nldev::ReceiveMessage(const Request& request, ExtAck* ext_ack, bool* silent) {
  if (RdmaNlClient(request.header.nlmsg_type) != RDMA_NL_NLDEV) return Err(EINVAL);
  const auto* const operation = std::ranges::find(kOperations, RdmaNlOp(request.header.nlmsg_type), &Operation::op);
  if (operation == std::end(kOperations)) return Err(EINVAL);
  if (operation->admin && !request.Capable(CAP_NET_ADMIN)) return Err(EPERM);
  if ((request.header.nlmsg_flags & NLM_F_DUMP) != 0) {
    if (operation->dump == nullptr) return Err(EINVAL);
    CW_CHECK(request.socket.StartDump(
        request, [this, dump = operation->dump](const Request& again, Buffer& buffer, uint64_t* position) {
          return (this->*dump)(again, buffer, position);
        }));
    *silent = true;
    return {};
  }
  if (operation->doit == nullptr) return Err(EINVAL);
  return (this->*operation->doit)(request, ext_ack);
}

Result<IbDevice*> Nldev::DeviceOf(const Attributes& attributes) const {
  if (!attributes.Has(RDMA_NLDEV_ATTR_DEV_INDEX)) return Err(EINVAL);
  const uint32_t index = attributes.U32(RDMA_NLDEV_ATTR_DEV_INDEX);
  if (index >= core_.devices().size()) return Err(EINVAL);
  return core_.devices()[index].get();
}

Result<IbDevice*> Nldev::PortOf(const Attributes& attributes) const {
  if (!attributes.Has(RDMA_NLDEV_ATTR_PORT_INDEX)) return Err(EINVAL);
  CW_TRY(IbDevice* const device, DeviceOf(attributes));
  if (attributes.U32(RDMA_NLDEV_ATTR_PORT_INDEX) != kPort) return Err(EINVAL);
  return device;
}

// fill_dev_info().
bool Nldev::FillDevice(Buffer& buffer, const IbDevice& device) const {
  return FillHandle(buffer, device) && buffer.PutU32(RDMA_NLDEV_ATTR_PORT_INDEX, kPort) &&
         buffer.PutU64(RDMA_NLDEV_ATTR_CAP_FLAGS, device.DeviceCapFlags()) &&
         buffer.PutU64(RDMA_NLDEV_ATTR_NODE_GUID, GuidOf(device)) &&
         buffer.PutU64(RDMA_NLDEV_ATTR_SYS_IMAGE_GUID, GuidOf(device)) &&
         buffer.PutU8(RDMA_NLDEV_ATTR_DEV_NODE_TYPE, kNodeTypeCa) &&
         buffer.PutU8(RDMA_NLDEV_ATTR_DEV_DIM, device.use_cq_dim() ? 1 : 0) &&
         buffer.PutString(RDMA_NLDEV_ATTR_DEV_PROTOCOL, "roce");
}

// nldev_get_doit().
Status Nldev::GetDevice(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(const IbDevice* const device, DeviceOf(*attributes));
  Answer answer(request, RDMA_NLDEV_CMD_GET);
  return answer.Send(FillDevice(answer.buffer(), *device));
}

int Nldev::DumpEach(const Request& request, Buffer& buffer, uint64_t* position, uint32_t op,
                    bool (Nldev::*fill)(Buffer&, const IbDevice&) const) {
  if (*position >= core_.devices().size()) return 0;
  const auto message = buffer.Begin(request.portid(), request.header.nlmsg_seq,
                                    RdmaNlType(RDMA_NL_NLDEV, static_cast<uint16_t>(op)), NLM_F_MULTI);
  if (!message || !(this->*fill)(buffer, *core_.devices()[*position])) return 0;
  buffer.End(*message);
  ++*position;
  return static_cast<int>(buffer.size());
}

// nldev_get_dumpit().
int Nldev::DumpDevices(const Request& request, Buffer& buffer, uint64_t* position) {
  return DumpEach(request, buffer, position, RDMA_NLDEV_CMD_GET, &Nldev::FillDevice);
}

// nldev_set_doit(). Deviation: a device's name is what the machine's configuration says.
Status Nldev::SetDevice(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(IbDevice* const device, DeviceOf(*attributes));
  if (attributes->Has(RDMA_NLDEV_ATTR_DEV_NAME)) {
    const auto name = attributes->Text(RDMA_NLDEV_ATTR_DEV_NAME, kIbDeviceNameMax);
    if (name.empty()) return Err(EINVAL);
    if (name == device->name()) return {};
    if (std::ranges::any_of(core_.devices(), [&](const auto& other) { return other->name() == name; })) {
      return Err(EEXIST);
    }
    return Err(EOPNOTSUPP);
  }
  if (attributes->Has(RDMA_NLDEV_NET_NS_FD)) return Err(EOPNOTSUPP);  // ib_devices_shared_netns
  if (attributes->Has(RDMA_NLDEV_ATTR_DEV_DIM)) {
    const uint8_t use = attributes->U8(RDMA_NLDEV_ATTR_DEV_DIM);
    if (use > 1) return Err(EINVAL);
    device->set_use_cq_dim(use != 0);
  }
  return {};
}

// nldev_newlink(), rxe_newlink(). Deviation: which devices there are is what the machine's configuration says.
Status Nldev::NewLink(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes || !attributes->Has(RDMA_NLDEV_ATTR_DEV_NAME) || !attributes->Has(RDMA_NLDEV_ATTR_LINK_TYPE) ||
      !attributes->Has(RDMA_NLDEV_ATTR_NDEV_NAME)) {
    return Err(EINVAL);
  }
  const auto name = attributes->Text(RDMA_NLDEV_ATTR_DEV_NAME, kIbDeviceNameMax);
  if (name.empty() || name.find('%') != name.npos) return Err(EINVAL);
  const std::string netdev(attributes->Text(RDMA_NLDEV_ATTR_NDEV_NAME, kIfNameSize));
  if (::if_nametoindex(netdev.c_str()) == 0) return Err(ENODEV);
  if (attributes->Text(RDMA_NLDEV_ATTR_LINK_TYPE, kIfNameSize) != "rxe") return Err(EINVAL);
  if (std::ranges::any_of(core_.devices(), [&](const auto& device) { return device->netdev() == netdev; })) {
    return Err(EEXIST);
  }
  return Err(EOPNOTSUPP);
}

// nldev_dellink(): a device that is a function of a bus cannot be removed (no IBK_ALLOW_USER_UNREG).
Status Nldev::DeleteLink(const Request&, ExtAck*) { return Err(EINVAL); }

// nldev_port_get_doit(): its answer is a RDMA_NLDEV_CMD_GET.
Status Nldev::GetPort(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseLiberal(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  CW_TRY(const IbDevice* const device, PortOf(*attributes));
  Answer answer(request, RDMA_NLDEV_CMD_GET);
  return answer.Send(FillPort(answer.buffer(), *device));
}

// nldev_port_get_dumpit().
int Nldev::DumpPorts(const Request& request, Buffer& buffer, uint64_t* position) {
  const auto attributes = ParseLiberal(request, nullptr);
  if (!attributes) return -EINVAL;
  const auto device = DeviceOf(*attributes);
  if (!device) return -EINVAL;
  if (*position != 0) return 0;
  const auto message = buffer.Begin(request.portid(), request.header.nlmsg_seq,
                                    RdmaNlType(RDMA_NL_NLDEV, RDMA_NLDEV_CMD_PORT_GET), NLM_F_MULTI);
  if (!message || !FillPort(buffer, **device)) return 0;
  buffer.End(*message);
  ++*position;
  return static_cast<int>(buffer.size());
}

// nldev_sys_get_doit(). Registered memory stays the parent's when a program forks (docs/architecture.md), as where
// Linux copies pinned pages.
Status Nldev::GetSystem(const Request& request, ExtAck* ext_ack) {
  CW_CHECK(ParseStrict(request, ext_ack));
  Answer answer(request, RDMA_NLDEV_CMD_SYS_GET);
  return answer.Send(answer.buffer().PutU8(RDMA_NLDEV_SYS_ATTR_NETNS_MODE, kSharedNamespaces) &&
                     answer.buffer().PutU8(RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE, core_.privileged_qkey() ? 1 : 0) &&
                     answer.buffer().PutU8(RDMA_NLDEV_SYS_ATTR_COPY_ON_FORK, 1));
}

// nldev_set_sys_set_doit(). Deviation: devices stay in all network namespaces, as where there are several (EBUSY).
Status Nldev::SetSystem(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes) return Err(EINVAL);
  if (attributes->Has(RDMA_NLDEV_SYS_ATTR_NETNS_MODE)) {
    const uint8_t mode = attributes->U8(RDMA_NLDEV_SYS_ATTR_NETNS_MODE);
    if (mode > 1) return Err(EINVAL);
    if (mode != kSharedNamespaces) return Err(EBUSY);  // rdma_compatdev_set()
    return {};
  }
  if (attributes->Has(RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE)) {
    const uint8_t mode = attributes->U8(RDMA_NLDEV_SYS_ATTR_PRIVILEGED_QKEY_MODE);
    if (mode > 1) return Err(EINVAL);
    core_.set_privileged_qkey(mode != 0);
    return {};
  }
  return Err(EINVAL);
}

// nldev_get_chardev(), ib_get_client_nl_info().
Status Nldev::GetChardev(const Request& request, ExtAck* ext_ack) {
  const auto attributes = ParseStrict(request, ext_ack);
  if (!attributes || !attributes->Has(RDMA_NLDEV_ATTR_CHARDEV_TYPE)) return Err(EINVAL);
  const auto client = attributes->Text(RDMA_NLDEV_ATTR_CHARDEV_TYPE, kNldevChardevTypeSize);
  Answer answer(request, RDMA_NLDEV_CMD_GET_CHARDEV);
  kernel::NlBuffer& buffer = answer.buffer();
  const auto send = [&](uint32_t major, uint32_t minor, uint64_t abi, const std::string& name) {
    return answer.Send(buffer.PutU64(RDMA_NLDEV_ATTR_CHARDEV, EncodeDevice(major, minor)) &&
                       buffer.PutU64(RDMA_NLDEV_ATTR_CHARDEV_ABI, abi) &&
                       buffer.PutString(RDMA_NLDEV_ATTR_CHARDEV_NAME, name));
  };
  if (attributes->Has(RDMA_NLDEV_ATTR_DEV_INDEX)) {
    CW_TRY(const IbDevice* const device, DeviceOf(*attributes));
    const bool of_port = attributes->Has(RDMA_NLDEV_ATTR_PORT_INDEX);
    if (of_port) CW_CHECK(PortOf(*attributes));
    if (client != "uverbs") return Err(EOPNOTSUPP);
    if (of_port) return Err(EINVAL);  // ib_uverbs_get_nl_info()
    if (!buffer.PutU32(RDMA_NLDEV_ATTR_UVERBS_DRIVER_ID, kRxeDriverId)) return Err(EMSGSIZE);
    return send(kUverbsMajor, kUverbsMinor + device->number(), kRxeUverbsAbiVersion,
                "uverbs" + std::to_string(device->number()));
  }
  if (attributes->Has(RDMA_NLDEV_ATTR_PORT_INDEX)) return Err(EINVAL);
  const auto it = std::ranges::find(clients_, client, &GlobalClient::name);
  if (it == clients_.end()) return Err(EOPNOTSUPP);
  return send(it->major, it->minor, it->abi, it->device);
}

}  // namespace causeway::infiniband
