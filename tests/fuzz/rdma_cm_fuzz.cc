// SPDX-License-Identifier: Apache-2.0
// Sequences of rdma_cm write commands of two programs with up to four open files, with time that passes between them.
// Ids and multicast groups come from earlier answers and events. After the last close the connection manager is empty.
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/checked.h"
#include "drivers/rdma_cm/test_bench.h"
#include "tests/fuzz/input.h"

namespace causeway::fuzz {
namespace {

using namespace rdma_cm;  // NOLINT: as the bench does
using namespace uapi;     // NOLINT

// A request as text, one letter a field, in the struct's order:
//   r response address (u64)   u uid (u64)         I id (u32)        G multicast group or id (u32)   t time-out (u32)
//   n small number (u32)       q QP number (u32)   p port space      b any u8      O 0 or 1 (u8)     z mostly 0 (u8)
//   y QP type (u8)             0 mostly 0 (u16)    Z mostly 0 (u32)  f descriptor (u32)              o option (u64)
//   m join flags (u16)         j reason (u8)       l length (u32)
//   s address, 28 bytes        A size (u16) of the address that an S, 128 bytes, gives               P private data
//   c rdma_ucm_conn_param
constexpr std::string_view kConnParam = "qZPbOBBBBBO";
struct Shape {
  uint32_t command;
  std::string_view fields;
  size_t out;  // bytes of the response
};
constexpr Shape kShapes[] = {
    {RDMA_USER_CM_CMD_CREATE_ID, "urpyzzzzz", sizeof(rdma_ucm_create_id_resp)},
    {RDMA_USER_CM_CMD_DESTROY_ID, "rIZ", sizeof(rdma_ucm_destroy_id_resp)},
    {RDMA_USER_CM_CMD_BIND_IP, "rsI", 0},
    {RDMA_USER_CM_CMD_RESOLVE_IP, "ssIt", 0},
    {RDMA_USER_CM_CMD_RESOLVE_ROUTE, "It", 0},
    {RDMA_USER_CM_CMD_QUERY_ROUTE, "rIZ", sizeof(rdma_ucm_query_route_resp)},
    {RDMA_USER_CM_CMD_CONNECT, "cIZZZ", 0},
    {RDMA_USER_CM_CMD_LISTEN, "In", 0},
    {RDMA_USER_CM_CMD_ACCEPT, "ucIZZZ", 0},
    {RDMA_USER_CM_CMD_REJECT, "Ibj0P", 0},
    {RDMA_USER_CM_CMD_DISCONNECT, "I", 0},
    {RDMA_USER_CM_CMD_INIT_QP_ATTR, "rIn", sizeof(ib_uverbs_qp_attr)},
    {RDMA_USER_CM_CMD_GET_EVENT, "r", sizeof(rdma_ucm_event_resp)},
    {RDMA_USER_CM_CMD_GET_OPTION, "oIZnn", 0},
    {RDMA_USER_CM_CMD_SET_OPTION, "oInnl", 0},
    {RDMA_USER_CM_CMD_NOTIFY, "In", 0},
    {RDMA_USER_CM_CMD_JOIN_IP_MCAST, "rusI", sizeof(rdma_ucm_create_id_resp)},
    {RDMA_USER_CM_CMD_LEAVE_MCAST, "rGZ", sizeof(rdma_ucm_destroy_id_resp)},
    {RDMA_USER_CM_CMD_MIGRATE_ID, "rIf", sizeof(rdma_ucm_migrate_resp)},
    {RDMA_USER_CM_CMD_QUERY, "rIn", sizeof(rdma_ucm_query_addr_resp)},
    {RDMA_USER_CM_CMD_BIND, "IA0S", 0},
    {RDMA_USER_CM_CMD_RESOLVE_ADDR, "ItAAZSS", 0},
    {RDMA_USER_CM_CMD_JOIN_MCAST, "ruIAmS", sizeof(rdma_ucm_create_id_resp)},
};

class RdmaCmFuzz : public CmBench {
 public:
  void TestBody() override {}

  void Run(Input& in) {
    Prelude(in);
    for (int steps = 0; steps < kMaxSteps && !in.empty(); ++steps) {
      Program& program = in.Byte() % 2 == 0 ? client_ : server_;
      const uint8_t step = in.Byte();
      if (step < 0xd8) {
        Command(in, program);
      } else if (step < 0xe8) {
        timers_.Pass(std::chrono::milliseconds(in.Near<uint16_t>({1, 100, 2000, 30000, 60000})));
      } else if (step < 0xf0) {
        if (program.task.files.size() < 2) (void)program.Open(cm_);
      } else if (step < 0xf8) {
        if (program.task.files.size() > 1) CloseOne(in, program);
      } else {
        network_.devices.erase(At(kHosts[in.Below(std::size(kHosts))]).gid());  // an interface loses its address
      }
    }
    for (Program* program : {&client_, &server_}) {
      program->file.Reset();
      program->task.files.clear();
    }
    timers_.Pass(std::chrono::hours(1));
    const auto lock = cm_.Lock();
    const Cm::Counts left = cm_.Count();
    CW_INVARIANT(left.ids == 0 && left.listening == 0 && left.connected == 0 && left.groups == 0);
  }

 private:
  // What the programs have done before: nothing, listened and looked for a route, asked for a connection, made one.
  void Prelude(Input& in) {
    const uint16_t ps = in.Byte() % 2 == 0 ? RDMA_PS_TCP : RDMA_PS_UDP;
    switch (in.Below(4)) {
      case 0: return;
      case 1:
      case 2: {
        const Ready ready = Prepare(ps);
        ids_ = {ready.client, ready.listener};
        if (in.Byte() % 2 != 0 && client_.Connect(ready.client, Program::Param(17)) == 0) {
          if (const auto event = server_.NextEvent()) ids_.push_back(event->id);
        }
        return;
      }
      default: {
        const Connected connected = Establish();
        ids_ = {connected.client, connected.server, connected.listener};
      }
    }
  }

  static constexpr int kMaxSteps = 64;
  static constexpr uint64_t kOption = Program::kIn + 0x3000;
  static constexpr const char* kHosts[] = {"10.7.0.2", "10.7.1.2", "fd00::2",   "0.0.0.0",    "::",     "127.0.0.1",
                                           "10.9.0.1", "10.1.1.1", "239.1.2.3", "224.0.0.18", "ff0e::1"};

  static void CloseOne(Input& in, Program& program) {
    auto it = program.task.files.begin();
    std::advance(it, static_cast<ptrdiff_t>(in.Below(program.task.files.size())));
    const bool current = it->second.get() == program.file.get();
    program.task.files.erase(it);
    if (current) program.file = DynamicRefCast<UcmFile>(program.task.files.begin()->second);
  }

  Address SomeAddress(Input& in) {
    const uint16_t port = in.Near<uint16_t>({7471, 0, 7472, 80, 40000});
    Address address = At(kHosts[in.Below(std::size(kHosts))], port);
    if (in.Byte() >= 0xe0) {  // the same as AF_IB
      sockaddr_ib ib = {};
      ib.sib_family = kAfIb;
      ib.sib_pkey = in.Near<uint16_t>({0xffff, 0});
      std::ranges::copy(address.gid(), ib.sib_addr);
      ib.sib_sid = in.Near<uint64_t>({htobe64(0x01060000 | port), htobe64(0x013f0000 | port), 0});
      ib.sib_sid_mask = in.Near<uint64_t>({~uint64_t{0}, 0, htobe64(0xffff)});
      address = Address::Ib(ib);
    }
    return address;
  }

  // The request's bytes. Sizes (A) stand before their addresses (S): both are chosen first.
  std::vector<std::byte> Fields(Input& in, std::string_view fields) {
    std::vector<std::byte> bytes;
    addresses_.clear();
    for (const char field : fields) {
      if (field == 'S') addresses_.push_back(SomeAddress(in));
    }
    size_t size_of = 0, given = 0;
    const auto put = [&](auto value) {
      const auto* raw = reinterpret_cast<const std::byte*>(&value);
      bytes.insert(bytes.end(), raw, raw + sizeof(value));
    };
    const auto put_address = [&](const Address& address, size_t room) {
      const size_t at = bytes.size();
      bytes.resize(at + room);
      const size_t len = std::min<size_t>(room, address.bytes().size());
      std::transform(address.bytes().begin(), address.bytes().begin() + static_cast<ptrdiff_t>(len),
                     bytes.begin() + static_cast<ptrdiff_t>(at), [](uint8_t byte) { return std::byte{byte}; });
      if (in.Byte() >= 0xf0) bytes[at + in.Below(room)] = std::byte{in.Byte()};
    };
    const auto param = [&](char kind) {
      switch (kind) {
        case 'q': return put(in.Near<uint32_t>({17, 18, 19, 0, 0x1000011}));
        case 'b': return put(in.Near<uint8_t>({0, 4, 92, 56, 196, 255}));
        case 'O': return put(in.Near<uint8_t>({1, 1, 0}));
        case 'B': return put(in.Near<uint8_t>({1, 0, 7, 2, 128, 255}));
        case 'P': {
          const uint8_t fill = in.Byte();
          bytes.insert(bytes.end(), kRdmaMaxPrivateData, std::byte{fill});
          return;
        }
        default: return put(in.Near<uint32_t>({0}));
      }
    };
    for (const char field : fields) {
      switch (field) {
        case 'c':
          while (bytes.size() % 8 != 0) bytes.push_back({});
          for (const char kind : kConnParam) param(kind);
          break;
        case 'r': put(in.Near<uint64_t>({Program::kOut, Program::kOut, Program::kOut, Program::kOut, 0})); break;
        case 'u': put(uint64_t{in.Byte()}); break;
        case 'o': put(in.Near<uint64_t>({kOption, kOption, kOption, 0})); break;
        case 'I': put(ids_.empty() ? in.Near<uint32_t>({0, 1}) : in.Near<uint32_t>(ids_)); break;
        case 'G': put(groups_.empty() ? in.Near<uint32_t>({0, 1}) : in.Near<uint32_t>(groups_)); break;
        case 't': put(in.Near<uint32_t>({2000, 0, 1, ~0u})); break;
        case 'n': put(in.Near<uint32_t>({0, 1, 2, 3, 4, 5, 100})); break;
        case 'l': put(in.Near<uint32_t>({4, 1, sizeof(ib_path_rec_data), 2 * sizeof(ib_path_rec_data), 0})); break;
        case 'p': put(in.Near<uint16_t>({RDMA_PS_TCP, RDMA_PS_TCP, RDMA_PS_UDP, RDMA_PS_IB, RDMA_PS_IPOIB})); break;
        case 'y': put(in.Near<uint8_t>({2, 3, 4})); break;
        case 'j': put(in.Near<uint8_t>({0, 28, 35})); break;
        case 'z': put(in.Near<uint8_t>({0})); break;
        case 'm': put(in.Near<uint16_t>({0, 1})); break;
        case '0': put(in.Near<uint16_t>({0})); break;
        case 'f': put(in.Near<uint32_t>({3, 4, 5})); break;
        case 's': put_address(SomeAddress(in), sizeof(sockaddr_in6_bytes)); break;
        case 'A':
          put(in.Near<uint16_t>({size_of < addresses_.size() ? addresses_[size_of].size() : 0, 0})), ++size_of;
          break;
        case 'S':
          while (bytes.size() % 8 != 0) bytes.push_back({});
          put_address(addresses_[given++], sizeof(sockaddr_storage_bytes));
          break;
        default: param(field); break;
      }
    }
    while (bytes.size() % 4 != 0) bytes.push_back({});
    return bytes;
  }

  void Command(Input& in, Program& program) {
    const Shape& shape = kShapes[in.Below(std::size(kShapes))];
    const uint8_t how = in.Byte();  // 0..0xdf: the header as it should be
    const std::vector<std::byte> body = Fields(in, shape.fields);
    if (shape.command == RDMA_USER_CM_CMD_SET_OPTION) Option(in, program);
    const rdma_ucm_cmd_hdr header = {how < 0xf8 ? shape.command : in.Raw<uint32_t>(),
                                     static_cast<uint16_t>(how < 0xe0 ? body.size() : in.Raw<uint16_t>()),
                                     static_cast<uint16_t>(how < 0xf0 ? shape.out : in.Raw<uint16_t>())};
    CW_INVARIANT(program.task.user.Write(Program::kIn, header));
    CW_INVARIANT(program.task.user.CopyTo(Program::kIn + sizeof(header), body));
    const uint64_t len = how < 0xf0 ? sizeof(header) + body.size() : in.Raw<uint16_t>();
    const auto written = program.file->Write(program.task, Program::kIn, len);
    if (!written) {
      CW_INVARIANT(written.error().code() > 0);
      return;
    }
    CW_INVARIANT(*written == static_cast<int64_t>(len));
    switch (header.cmd) {
      case RDMA_USER_CM_CMD_CREATE_ID: ids_.push_back(program.Out<uint32_t>()); break;
      case RDMA_USER_CM_CMD_JOIN_IP_MCAST:
      case RDMA_USER_CM_CMD_JOIN_MCAST: groups_.push_back(program.Out<uint32_t>()); break;
      case RDMA_USER_CM_CMD_GET_EVENT: {
        const auto event = program.Out<rdma_ucm_event_resp>();
        if (event.event == RDMA_CM_EVENT_CONNECT_REQUEST) ids_.push_back(event.id);
        break;
      }
      default: break;
    }
  }

  // What SET_OPTION's pointer leads to: a number, or path records.
  void Option(Input& in, Program& program) {
    std::array<ib_path_rec_data, 2> records = {};
    for (auto& record : records) {
      record.flags = in.Near<uint32_t>({IB_PATH_GMP | IB_PATH_PRIMARY | IB_PATH_BIDIRECTIONAL, 1, 0});
      if (in.Byte() >= 0x80) in.Copy(record.path_rec, sizeof(record.path_rec));
    }
    CW_INVARIANT(program.task.user.CopyTo(kOption, std::as_bytes(std::span(records))));
  }

  std::vector<uint32_t> ids_, groups_;
  std::vector<Address> addresses_;
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  causeway::fuzz::Input in(data, size);
  causeway::fuzz::RdmaCmFuzz bench;
  bench.Run(in);
  return 0;
}
