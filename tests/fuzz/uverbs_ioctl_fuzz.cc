// SPDX-License-Identifier: Apache-2.0
// Sequences of uverbs ioctls on one file: methods and attributes as their specifications have them, and not quite;
// write commands through INVOKE_WRITE; what a program does between them.
#include "tests/fuzz/uverbs_fuzz.h"

namespace causeway::fuzz {
namespace {

using infiniband::AttrKind;
using infiniband::AttrSpec;

class IoctlFuzz : public UverbsFuzz {
 public:
  void IoctlStep(Input& in) {
    const auto methods = infiniband::Methods();
    const auto& method = methods[in.Below(methods.size())];
    const uint8_t how = in.Byte();  // 0..0xdf: header as it should be
    const Shape& shape = kShapes[in.Below(std::size(kShapes))];
    std::vector<ib_uverbs_attr> attrs;
    std::vector<const AttrSpec*> specs;
    for (const AttrSpec& spec : method.attrs) {
      const uint8_t presence = in.Byte();
      if (presence < (spec.mandatory ? 0x04 : 0x60)) continue;
      if (attrs.size() >= kMaxAttrs) break;
      attrs.push_back(Attribute(in, spec, attrs.size(), shape));
      specs.push_back(&spec);
      if (presence >= 0xfe) {  // twice, or an unknown one
        attrs.push_back(attrs.back());
        if (presence == 0xff) attrs.back().attr_id = in.Raw<uint16_t>();
        specs.push_back(nullptr);
      }
    }
    ib_uverbs_ioctl_hdr hdr = {};
    hdr.length = static_cast<uint16_t>(sizeof(hdr) + attrs.size() * sizeof(ib_uverbs_attr));
    hdr.object_id = method.object;
    hdr.method_id = method.id;
    hdr.num_attrs = static_cast<uint16_t>(attrs.size());
    hdr.driver_id = kRdmaDriverRxe;
    if (how >= 0xf0) {
      in.Copy(&hdr, sizeof(hdr));
    } else if (how >= 0xe8) {
      hdr.method_id = in.Raw<uint16_t>();
    } else if (how >= 0xe0) {
      hdr.num_attrs = in.Raw<uint16_t>();
      hdr.length = static_cast<uint16_t>(sizeof(hdr) + hdr.num_attrs * sizeof(ib_uverbs_attr));
    }
    if (IoctlRaw(hdr, attrs, how == 0xff ? in.Raw<uint32_t>() : kRdmaVerbsIoctl) != 0) return;
    for (size_t i = 0; i < specs.size(); ++i) {
      if (specs[i] == nullptr) continue;
      if (specs[i]->kind == AttrKind::kNew) {
        handles_[KindOf(specs[i]->object)].push_back(static_cast<uint32_t>(AttrAfter(i).data));
      } else if (specs[i]->kind == AttrKind::kNewFd) {
        handles_['F'].push_back(static_cast<uint32_t>(AttrAfter(i).data));
      }
    }
  }

 private:
  static constexpr size_t kMaxAttrs = 24;
  static constexpr uint64_t kData = kIn + 0x1000;  // of attribute n: at kData + n * kRoom
  static constexpr uint64_t kRoom = 0x100;

  static char KindOf(infiniband::ObjectType object) {
    switch (object) {
      case UVERBS_OBJECT_PD: return 'P';
      case UVERBS_OBJECT_CQ: return 'C';
      case UVERBS_OBJECT_QP: return 'Q';
      case UVERBS_OBJECT_SRQ: return 'S';
      case UVERBS_OBJECT_AH: return 'A';
      case UVERBS_OBJECT_MR: return 'M';
      case UVERBS_OBJECT_MW: return 'W';
      default: return 'F';
    }
  }

  ib_uverbs_attr Attribute(Input& in, const AttrSpec& spec, size_t n, const Shape& shape) {
    ib_uverbs_attr attr = {};
    attr.attr_id = spec.id;
    attr.flags = in.Near<uint16_t>({UVERBS_ATTR_F_MANDATORY, 0});
    attr.reserved = in.Near<uint16_t>({0});
    const uint64_t address = kData + n * kRoom;
    switch (spec.kind) {
      case AttrKind::kPtrIn:
        if (spec.id == UVERBS_ATTR_CORE_IN && spec.max_len > kRoom) {  // INVOKE_WRITE's request
          const auto body = Fields(in, shape.fields);
          CW_INVARIANT(body.size() <= kRoom && task_.user.CopyTo(address, body));
          attr.len = in.Near<uint16_t>({body.size()});
          attr.data = address;
          if (attr.len <= 8) std::memcpy(&attr.data, body.data(), std::min<size_t>(body.size(), 8));
          break;
        }
        attr.len = in.Near<uint16_t>({spec.min_len, spec.min_len, std::min<uint16_t>(spec.max_len, kRoom), 4, 8});
        if (attr.len <= 8) {
          attr.data = in.Near<uint64_t>({shape.command, 0, 1, 2, 3, 4, 7, 10, 24, 32, 4096, kPage, kOut, 0x4000});
          break;
        }
        for (uint64_t at = 0; at < std::min<uint64_t>(attr.len, kRoom); at += 4) {
          CW_INVARIANT(task_.user.Write(address + at, in.Near<uint32_t>({0, 1, 2, 4, 16, 0xffffff})));
        }
        attr.data = in.Near<uint64_t>({address, address, address, kUnmapped});
        break;
      case AttrKind::kPtrOut:
        attr.len = in.Near<uint16_t>({std::max<uint16_t>(spec.min_len, 16), spec.min_len, 0x200});
        attr.data = in.Near<uint64_t>({kOut + n * kRoom, kOut + n * kRoom, kOut + n * kRoom, kUnmapped, kReadOnly});
        break;
      case AttrKind::kObject:
      case AttrKind::kDestroy:
        attr.len = in.Near<uint16_t>({0});
        attr.data = static_cast<uint64_t>(static_cast<int64_t>(Handle(in, KindOf(spec.object), 0)));
        break;
      case AttrKind::kFd: attr.data = static_cast<uint64_t>(static_cast<int64_t>(Handle(in, 'F', -1))); break;
      case AttrKind::kRawFd: attr.data = in.Near<uint64_t>({kDmaBufFd, kDynamicDmaBufFd, 3, ~uint64_t{0}}); break;
      default: attr.len = in.Near<uint16_t>({0}); break;  // what the kernel fills in
    }
    return attr;
  }
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const bench = new causeway::fuzz::IoctlFuzz;
  causeway::fuzz::Input in(data, size);
  bench->Run(in, [&] {
    const uint8_t step = in.Byte();
    if (step < 0xc0) {
      bench->IoctlStep(in);
    } else if (step < 0xf0) {
      bench->WriteStep(in);
    } else {
      bench->OtherStep(in);
    }
  });
  return 0;
}
