// SPDX-License-Identifier: Apache-2.0
// What the uverbs targets share: the driver's own bench (src/drivers/infiniband/test_bench.h) with a fresh uverbs file
// per input, the shapes of the write commands' structs, and handles of objects that earlier commands of the input made.
#pragma once

#include <map>
#include <string_view>

#include "dmabuf/fake_exporter.h"
#include "drivers/infiniband/commands.h"
#include "drivers/infiniband/test_bench.h"
#include "drivers/infiniband/uverbs_ioctl.h"
#include "tests/fuzz/input.h"

namespace causeway::fuzz {

using namespace uapi;  // NOLINT: as the bench does

// A request as text, one letter a field, in the struct's order:
//   r response address (u64)    u address (u64)      l length (u64)       h cookie (u64)
//   P C Q M S A W  handle (u32) of a PD, CQ, QP, MR, SRQ, AH, MW          F event descriptor (s32)
//   n small number (u32)        x any u32            a access flags       m attribute mask of MODIFY_QP
//   k QP number (u32)           0 mostly 0 (u32)     d u16                g GID
//   b any u8                    O 0 or 1 (u8)        B small (u8)         z mostly 0 (u8)
//   t QP type (u8)              T QP state (u8)
struct Shape {
  uint32_t command;
  std::string_view fields;
  char makes;  // the kind of object that a success makes, its handle first in the response; 0 none
};
#define CAUSEWAY_MODIFY_QP_SHAPE "gxddzzzzzzOOgxddzzzzzzOOQmxxxkaddTTBzzBBBOBBBBBzz"
constexpr Shape kShapes[] = {
    {IB_USER_VERBS_CMD_GET_CONTEXT, "r", 0},
    {IB_USER_VERBS_CMD_QUERY_DEVICE, "r", 0},
    {IB_USER_VERBS_CMD_QUERY_PORT, "rOzzzzzzz", 0},
    {IB_USER_VERBS_CMD_ALLOC_PD, "r", 'P'},
    {IB_USER_VERBS_CMD_DEALLOC_PD, "P", 0},
    {IB_USER_VERBS_CMD_CREATE_AH, "rhP0gxzzzzdzzzOOz", 'A'},
    {IB_USER_VERBS_CMD_DESTROY_AH, "A", 0},
    {IB_USER_VERBS_CMD_REG_MR, "ruluPa", 'M'},
    {IB_USER_VERBS_CMD_REREG_MR, "rMnuluPa", 0},
    {IB_USER_VERBS_CMD_DEREG_MR, "M", 0},
    {IB_USER_VERBS_CMD_ALLOC_MW, "rPBzzz", 'W'},
    {IB_USER_VERBS_CMD_DEALLOC_MW, "W", 0},
    {IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, "r", 'F'},
    {IB_USER_VERBS_CMD_CREATE_CQ, "rhn0F0", 'C'},
    {IB_USER_VERBS_CMD_RESIZE_CQ, "rCn", 0},
    {IB_USER_VERBS_CMD_DESTROY_CQ, "rC0", 0},
    {IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, "Cn", 0},
    {IB_USER_VERBS_CMD_CREATE_QP, "rhPCCSnnnnnOtOz", 'Q'},
    {IB_USER_VERBS_CMD_QUERY_QP, "rQx", 0},
    {IB_USER_VERBS_CMD_MODIFY_QP, CAUSEWAY_MODIFY_QP_SHAPE, 0},
    {IB_USER_VERBS_CMD_DESTROY_QP, "rQ0", 0},
    {IB_USER_VERBS_CMD_POST_SEND, "rQnnn", 0},
    {IB_USER_VERBS_CMD_ATTACH_MCAST, "gQdd", 0},
    {IB_USER_VERBS_CMD_DETACH_MCAST, "gQdd", 0},
    {IB_USER_VERBS_CMD_CREATE_SRQ, "rhPnnn", 'S'},
    {IB_USER_VERBS_CMD_MODIFY_SRQ, "Snnn", 0},
    {IB_USER_VERBS_CMD_QUERY_SRQ, "rS0", 0},
    {IB_USER_VERBS_CMD_DESTROY_SRQ, "rS0", 0},
    {IB_USER_VERBS_CMD_CREATE_XSRQ, "rhnPnnnn0C", 'S'},
    {IB_USER_VERBS_EX_CMD_QUERY_DEVICE | kIbUserVerbsCmdFlagExtended, "00", 0},
    {IB_USER_VERBS_EX_CMD_CREATE_CQ | kIbUserVerbsCmdFlagExtended, "hn0F0n0", 'C'},
    {IB_USER_VERBS_EX_CMD_CREATE_QP | kIbUserVerbsCmdFlagExtended, "hPCCSnnnnnOtOz0n00", 'Q'},
    {IB_USER_VERBS_EX_CMD_MODIFY_QP | kIbUserVerbsCmdFlagExtended, CAUSEWAY_MODIFY_QP_SHAPE "n0", 0},
    {IB_USER_VERBS_EX_CMD_MODIFY_CQ | kIbUserVerbsCmdFlagExtended, "Cndd0", 0},
};
#undef CAUSEWAY_MODIFY_QP_SHAPE

class UverbsFuzz : public infiniband::UverbsBench {
 public:
  void TestBody() override {}
  using UverbsBench::kIn;
  using UverbsBench::kOut;

  // One input: a file of its own, closed at the end. What is left then is a leak.
  template <typename Step>
  void Run(Input& in, Step step) {
    Begin();
    for (int steps = 0; steps < kMaxSteps && !in.empty(); ++steps) step();
    End();
  }

  // One write command, correct or not quite.
  void WriteStep(Input& in) {
    const Shape& shape = kShapes[in.Below(std::size(kShapes))];
    const uint8_t how = in.Byte();  // 0..0xbf: header as it should be
    std::vector<std::byte> body = Fields(in, shape.fields);
    const bool extended = (shape.command & kIbUserVerbsCmdFlagExtended) != 0;
    const size_t core_words = (body.size() + 7) / 8;
    if (extended) body.resize(core_words * 8);
    const size_t tail = how < 0x80 ? 0 : 8 * in.Below(16);
    for (size_t i = 0; i < tail; ++i) body.push_back(static_cast<std::byte>(in.Byte()));
    std::vector<std::byte> bytes;
    if (extended) {
      const uint16_t out_words = how < 0xc0 ? 40 : in.Raw<uint16_t>();
      const uint16_t driver_out_words = how < 0xc0 ? 8 : in.Raw<uint16_t>();
      bytes = UverbsBench::Bytes(ib_uverbs_cmd_hdr{
          shape.command, static_cast<uint16_t>(how < 0xe0 ? core_words : in.Raw<uint16_t>()), out_words});
      const auto ex = UverbsBench::Bytes(ib_uverbs_ex_cmd_hdr{in.Near<uint64_t>({kOut, kOut, kOut, 0}),
                                                              static_cast<uint16_t>(tail / 8), driver_out_words, 0});
      bytes.insert(bytes.end(), ex.begin(), ex.end());
    } else {
      const uint32_t command = how < 0xf8 ? shape.command : in.Raw<uint32_t>();
      bytes = UverbsBench::Bytes(
          ib_uverbs_cmd_hdr{command, static_cast<uint16_t>(how < 0xe0 ? (8 + body.size()) / 4 : in.Raw<uint16_t>()),
                            static_cast<uint16_t>(how < 0xc0 ? 0x100 / 4 : in.Raw<uint16_t>())});
    }
    bytes.insert(bytes.end(), body.begin(), body.end());
    const uint64_t len = how < 0xf0 ? bytes.size() : in.Raw<uint16_t>();
    CW_INVARIANT(task_.user.CopyTo(kIn, bytes));
    const auto written = file_->Write(task_, kIn, len);
    if (!written) {
      CW_INVARIANT(written.error().code() > 0);
      return;
    }
    CW_INVARIANT(*written == static_cast<int64_t>(len));
    if (shape.makes != 0) Made(shape.makes);
    // Where the rxe provider finds its rings: behind the core response.
    switch (shape.command) {
      case IB_USER_VERBS_CMD_CREATE_CQ: Offer(kOut + sizeof(ib_uverbs_create_cq_resp)); break;
      case IB_USER_VERBS_CMD_RESIZE_CQ: Offer(kOut + sizeof(ib_uverbs_resize_cq_resp)); break;
      case IB_USER_VERBS_CMD_CREATE_SRQ: Offer(kOut + sizeof(ib_uverbs_create_srq_resp)); break;
      case IB_USER_VERBS_CMD_CREATE_QP:
        Offer(kOut + sizeof(ib_uverbs_create_qp_resp));
        Offer(kOut + sizeof(ib_uverbs_create_qp_resp) + sizeof(mminfo));
        qpns_.push_back(Peek<ib_uverbs_create_qp_resp>(kOut).qpn);
        break;
      default: break;
    }
  }

  // What a program does besides commands: maps rings and scribbles in them, unmaps, reads and closes event descriptors.
  void OtherStep(Input& in) {
    switch (in.Below(6)) {
      case 0: {
        kernel::MmapRequest request;
        mminfo info = {};
        if (!offers_.empty()) info = offers_[in.Below(offers_.size())];
        request.offset = in.Near<uint64_t>({info.offset});
        request.length = in.Near<uint64_t>({info.size, info.size, 4096});
        request.prot = PROT_READ | PROT_WRITE;
        request.flags = MAP_SHARED;
        if (const auto mapping = file_->Mmap(task_, request)) {
          CW_INVARIANT(mapping->memory == ipc::kArenaMemory && mapping->offset + request.length <= arena_bytes_);
          mapped_.push_back({*mapping, request.length});
        }
        break;
      }
      case 1: {
        if (mapped_.empty()) break;
        const size_t at = in.Below(mapped_.size());
        file_->Unmapped(task_, mapped_[at].mapping.vma);
        mapped_.erase(mapped_.begin() + static_cast<ptrdiff_t>(at));
        break;
      }
      case 2: {  // an index of a ring
        if (mapped_.empty()) break;
        const auto& ring = mapped_[in.Below(mapped_.size())];
        const uint64_t index =
            in.Byte() % 2 == 0 ? offsetof(rxe_queue_buf, producer_index) : offsetof(rxe_queue_buf, consumer_index);
        const auto value = in.Near<uint32_t>({0, 1, 2, 3, 15});
        std::memcpy(arena_ + ring.mapping.offset + index, &value, sizeof(value));
        break;
      }
      case 3: {  // an entry
        if (mapped_.empty()) break;
        const auto& ring = mapped_[in.Below(mapped_.size())];
        const uint64_t at = sizeof(rxe_queue_buf) + 64 * in.Byte();
        const size_t len = in.Byte();
        if (at + len <= ring.length) in.Copy(arena_ + ring.mapping.offset + at, len);
        break;
      }
      case 4: {
        const auto& fds = handles_['F'];
        if (fds.empty()) break;
        const auto it = task_.files.find(static_cast<int>(fds[in.Below(fds.size())]));
        bool drained = false;
        if (it != task_.files.end()) (void)it->second->Read(task_, kOut, in.Byte(), &drained);
        break;
      }
      default: {
        const auto& fds = handles_['F'];
        if (!fds.empty()) task_.Close(static_cast<int>(fds[in.Below(fds.size())]));
        break;
      }
    }
  }

 protected:
  static constexpr int kMaxSteps = 64;
  static constexpr int kDmaBufFd = 1000, kDynamicDmaBufFd = 1001;

  std::vector<std::byte> Fields(Input& in, std::string_view fields) {
    std::vector<std::byte> bytes;
    const auto put = [&](auto value) {
      const auto raw = UverbsBench::Bytes(value);
      bytes.insert(bytes.end(), raw.begin(), raw.end());
    };
    for (const char field : fields) {
      switch (field) {
        case 'r': put(in.Near<uint64_t>({kOut, kOut, kOut, kOut, kOut, kOut, kOut, kUnmapped, kReadOnly})); break;
        case 'u': put(in.Near<uint64_t>({kPage, kPage, kPage + 8, kUser, kReadOnly, kUnmapped, 0})); break;
        case 'l': put(in.Near<uint64_t>({4096, 0x8000, 8, 0, 1, ~uint64_t{0}, 0x10000})); break;
        case 'h': put(uint64_t{in.Byte()}); break;
        case 'n': put(in.Near<uint32_t>({1, 0, 2, 3, 4, 16, 7, 32, 100, 1000, 32767, 32768})); break;
        case 'a': put(in.Near<uint32_t>({1, 0, 7, 15, 0x1f, 2, 0x40, 0x41, 0x100f, 1u << 20})); break;
        case 'm':
          put(in.Near<uint32_t>({kToInit, kToRtr, kToRts, IB_QP_STATE, IB_QP_STATE | IB_QP_CUR_STATE, 0}));
          break;
        case 'k': put(qpns_.empty() ? in.Raw<uint32_t>() : in.Near<uint32_t>(qpns_)); break;
        case '0': put(in.Near<uint32_t>({0})); break;
        case 'x': put(in.Near<uint32_t>({0, 1, 0xffffff, 0x1000000})); break;
        case 'd': put(in.Near<uint16_t>({0})); break;
        case 'b': put(in.Byte()); break;
        case 'O': put(in.Near<uint8_t>({1, 1, 0})); break;
        case 'B': put(in.Near<uint8_t>({1, 0, 2, 3, 4, 7, 12})); break;
        case 'z': put(in.Near<uint8_t>({0})); break;
        case 't': put(in.Near<uint8_t>({2, 2, 4, 3, 8, 9})); break;
        case 'T': put(in.Near<uint8_t>({0, 1, 2, 3, 4, 5, 6})); break;
        case 'F': put(Handle(in, 'F', -1)); break;
        case 'g': {
          const auto good = GoodAttributes(0, 0, IB_QPS_RESET);  // with a GID of this machine
          const bool any = in.Byte() >= 0xf0;
          for (const uint8_t byte : good.dest.dgid) put(any ? in.Byte() : byte);
          break;
        }
        default: put(Handle(in, field, 0)); break;  // a handle
      }
    }
    return bytes;
  }
  int32_t Handle(Input& in, char kind, int32_t none) {
    const auto& known = handles_[kind];
    return known.empty() ? in.Near<int32_t>({static_cast<uint64_t>(static_cast<int64_t>(none))})
                         : in.Near<int32_t>(known);
  }
  void Made(char kind) { handles_[kind].push_back(Peek<uint32_t>(kOut)); }
  void Offer(uint64_t address) { offers_.push_back(Peek<mminfo>(address)); }

  std::map<char, std::vector<uint32_t>> handles_;
  std::vector<uint32_t> qpns_;
  std::vector<mminfo> offers_;

 private:
  void Begin() {
    for (const bool dynamic : {false, true}) {
      auto dmabuf = dmabuf::DmaBuf::Export(
          {.exporter_name = "fake", .size = 0x4000, .ops = std::make_unique<dmabuf::FakeExporter>(exporter_, dynamic)});
      CW_INVARIANT(dmabuf);
      task_.files[dynamic ? kDynamicDmaBufFd : kDmaBufFd] = *dmabuf;
    }
    Open();
  }
  void End() {
    file_.Reset();
    task_.files.clear();
    handles_.clear();
    qpns_.clear();
    offers_.clear();
    mapped_.clear();
    CW_INVARIANT(exporter_->attached == 0 && exporter_->mapped == 0 && exporter_->pinned == 0);
    for (const auto& device : driver_->core().devices()) CW_INVARIANT(device->rings().size() == 0);
    CW_INVARIANT(driver_->Contexts().empty());
  }

  struct Mapped {
    kernel::Mapping mapping;
    uint64_t length;
  };
  std::vector<Mapped> mapped_;
  std::shared_ptr<dmabuf::FakeExporterState> exporter_ = std::make_shared<dmabuf::FakeExporterState>();
};

}  // namespace causeway::fuzz
