// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/uverbs_ioctl.h"

#include <fcntl.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "base/checked.h"

namespace causeway::infiniband {
namespace {

using namespace uapi;

constexpr size_t kInline = sizeof(ib_uverbs_attr::data);

bool IsInline(const ib_uverbs_attr& attr) { return attr.len <= kInline; }

bool AllZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

// ib_uverbs_ioctl(), ib_uverbs_cmd_verbs().
Result<int64_t> UverbsIoctl(UverbsFile& file, kernel::Task& task, uint32_t request, uint64_t arg) {
  if (request != kRdmaVerbsIoctl) return Err(ENOTTY);
  CW_TRY(const auto hdr, task.memory().Read<ib_uverbs_ioctl_hdr>(arg));
  if (hdr.length > kPageSize || hdr.length != sizeof(hdr) + hdr.num_attrs * sizeof(ib_uverbs_attr)) return Err(EINVAL);
  if (hdr.reserved1 != 0 || hdr.reserved2 != 0) return Err(EPROTONOSUPPORT);
  if (hdr.driver_id != kRdmaDriverRxe) return Err(EINVAL);
  const auto method = std::ranges::find_if(
      Methods(), [&](const MethodSpec& known) { return known.object == hdr.object_id && known.id == hdr.method_id; });
  if (method == Methods().end() || !file.device().Has(method->capability)) return Err(EPROTONOSUPPORT);
  std::vector<ib_uverbs_attr> attrs(hdr.num_attrs);
  const uint64_t user_attrs = arg + sizeof(hdr);
  CW_CHECK(task.memory().CopyFrom(std::as_writable_bytes(std::span(attrs)), user_attrs));
  CW_CHECK(MethodCall(file, task, *method, user_attrs, std::move(attrs)).Run());
  return 0;
}

MethodCall::MethodCall(UverbsFile& file_in, kernel::Task& task_in, const MethodSpec& method, uint64_t user_attrs,
                       std::vector<ib_uverbs_attr> attrs)
    : file(file_in),
      task(task_in),
      method_(method),
      user_attrs_(user_attrs),
      attrs_(std::move(attrs)),
      present_(method.attrs.size()),
      taken_(method.attrs.size()) {}

const AttrSpec* MethodCall::SpecOf(uint16_t id) const {
  const auto it = std::ranges::find(method_.attrs, id, &AttrSpec::id);
  return it == method_.attrs.end() ? nullptr : &*it;
}

const ib_uverbs_attr* MethodCall::Slot(uint16_t id) const {
  const AttrSpec* spec = SpecOf(id);
  return spec == nullptr ? nullptr : present_[static_cast<size_t>(spec - method_.attrs.data())];
}

// Where the attribute's bytes are in the program: an inline value is in the attribute itself.
uint64_t MethodCall::DataAddress(const ib_uverbs_attr& attr) const {
  if (!IsInline(attr)) return attr.data;
  return user_attrs_ + static_cast<uint64_t>(&attr - attrs_.data()) * sizeof(attr) + offsetof(ib_uverbs_attr, data);
}

// uverbs_process_attr(): pointers.
Status MethodCall::TakeData(const ib_uverbs_attr& attr, const AttrSpec& spec) {
  if (attr.len < spec.min_len || (!spec.zero_trailing && attr.len > spec.max_len)) return Err(EINVAL);
  if (spec.kind != AttrKind::kPtrIn || !spec.zero_trailing || attr.len <= spec.max_len) return {};
  // What is longer than known must be zero there.
  std::vector<std::byte> rest(attr.len - spec.max_len);
  CW_CHECK(task.memory().CopyFrom(rest, DataAddress(attr) + spec.max_len));
  if (!AllZero(rest)) return Err(EOPNOTSUPP);
  return {};
}

// uverbs_set_attr(), uverbs_process_attr().
Status MethodCall::Take(size_t index) {
  const ib_uverbs_attr& attr = attrs_[index];
  const AttrSpec* const spec = SpecOf(attr.attr_id);
  if (spec == nullptr) {
    if ((attr.flags & UVERBS_ATTR_F_MANDATORY) != 0) return Err(EPROTONOSUPPORT);
    return {};
  }
  const auto at = static_cast<size_t>(spec - method_.attrs.data());
  if (present_[at] != nullptr) return Err(EINVAL);
  if (attr.reserved != 0) return Err(EINVAL);
  TakenObject& taken = taken_[at];
  switch (spec->kind) {
    case AttrKind::kPtrIn:
    case AttrKind::kPtrOut: CW_CHECK(TakeData(attr, *spec)); break;
    case AttrKind::kObject:
    case AttrKind::kDestroy: {
      if (attr.len != 0) return Err(EINVAL);
      if (static_cast<int64_t>(attr.data) < 0) return Err(EINVAL);  // lookup_get_idr_uobject()
      if (attr.data > UINT32_MAX) return Err(ENOENT);
      const auto handle = static_cast<uint32_t>(attr.data);
      if (spec->kind == AttrKind::kObject) {
        CW_TRY(taken.use, file.objects().LookupUntyped(handle, spec->object));
      } else {
        CW_TRY(taken.object, file.objects().Find(handle, spec->object));
      }
      break;
    }
    case AttrKind::kNew: {
      if (attr.len != 0) return Err(EINVAL);
      if (!file.has_context()) return Err(EINVAL);
      taken.slot = file.objects().Reserve();
      const uint64_t handle = taken.slot.handle();
      CW_CHECK(task.memory().Write(DataAddress(attr), handle));
      break;
    }
    case AttrKind::kFd: {
      if (attr.len != 0) return Err(EINVAL);
      CW_TRY(taken.events, file.GetEventFile(task, static_cast<int64_t>(attr.data),
                                             spec->object == UVERBS_OBJECT_ASYNC_EVENT ? EventFile::Type::kAsync
                                                                                       : EventFile::Type::kCompletion));
      break;
    }
    case AttrKind::kNewFd:
      if (attr.len != 0 || !file.has_context()) return Err(EINVAL);
      break;
    case AttrKind::kRawFd:
      if (attr.len != 0 && attr.len != sizeof(int32_t)) return Err(EINVAL);
      break;
  }
  present_[at] = &attr;
  return {};
}

Status MethodCall::Run() {
  for (size_t i = 0; i < attrs_.size(); ++i) CW_CHECK(Take(i));
  for (size_t i = 0; i < method_.attrs.size(); ++i) {
    if (method_.attrs[i].mandatory && present_[i] == nullptr) return Err(EINVAL);
  }
  for (size_t i = 0; i < method_.attrs.size(); ++i) {
    if (method_.attrs[i].kind != AttrKind::kDestroy || present_[i] == nullptr) continue;
    CW_CHECK(file.objects().DestroyUntyped(static_cast<uint32_t>(present_[i]->data), method_.attrs[i].object));
  }
  if (const Status done = method_.handler(*this); !done) {
    // EPROTONOSUPPORT is the framework's own: it says that the method or an attribute is unknown.
    if (done.error() == Errno(EPROTONOSUPPORT)) return Err(EINVAL);
    return done;
  }
  // Drivers do not tell what they wrote: a driver response counts as written.
  return SetValid(UVERBS_ATTR_UHW_OUT);
}

Status MethodCall::CopyIn(uint16_t id, std::span<std::byte> to) {
  const ib_uverbs_attr* attr = Slot(id);
  if (attr == nullptr) return {};
  const size_t len = std::min<size_t>(attr->len, to.size());
  if (IsInline(*attr)) {
    std::memcpy(to.data(), &attr->data, len);
    return {};
  }
  return task.memory().CopyFrom(to.first(len), attr->data);
}

Result<uint64_t> MethodCall::Const(uint16_t id, uint64_t max) const {
  const ib_uverbs_attr* attr = Slot(id);
  if (attr == nullptr) return uint64_t{0};
  if (attr->data > max) return Err(EINVAL);
  return attr->data;
}

Result<uint32_t> MethodCall::Flags(uint16_t id, uint64_t allowed) const {
  const ib_uverbs_attr* attr = Slot(id);
  if (attr == nullptr) return 0u;
  uint64_t flags = 0;
  if (attr->len == sizeof(uint64_t)) {
    flags = attr->data;
  } else if (attr->len == sizeof(uint32_t)) {
    flags = static_cast<uint32_t>(attr->data);
  } else {
    return Err(EINVAL);
  }
  if ((flags & ~allowed) != 0 || flags > UINT32_MAX) return Err(EINVAL);
  return static_cast<uint32_t>(flags);
}

Result<int> MethodCall::RawFd(uint16_t id) const {
  const ib_uverbs_attr* attr = Slot(id);
  const auto wide = static_cast<int64_t>(attr->data);
  if (attr->len == 0 && (wide < INT_MIN || wide > INT_MAX)) return Err(EINVAL);
  return static_cast<int>(static_cast<uint32_t>(attr->data));
}

Status MethodCall::OutBytes(uint16_t id, std::span<const std::byte> bytes) {
  const ib_uverbs_attr* attr = Slot(id);
  if (attr == nullptr) return {};
  const size_t len = std::min<size_t>(attr->len, bytes.size());
  CW_CHECK(task.memory().CopyTo(attr->data, bytes.first(len)));
  if (SpecOf(id)->zero_trailing && attr->len > len) {
    CW_CHECK(task.memory().CopyTo(attr->data + len, std::vector<std::byte>(attr->len - len)));
  }
  return SetValid(id);
}

Status MethodCall::SetValid(uint16_t id) {
  const ib_uverbs_attr* attr = Slot(id);
  if (attr == nullptr) return {};
  const auto flags = static_cast<uint16_t>(attr->flags | UVERBS_ATTR_F_VALID_OUTPUT);
  const auto index = static_cast<uint64_t>(attr - attrs_.data());
  return task.memory().Write(user_attrs_ + index * sizeof(*attr) + offsetof(ib_uverbs_attr, flags), flags);
}

Status MethodCall::CommitFd(uint16_t id, Ref<EventFile> events) {
  CW_TRY(const int fd, task.InstallFile(std::move(events), O_CLOEXEC));
  const Status told = task.memory().Write(DataAddress(*Slot(id)), static_cast<int64_t>(fd));
  if (!told) task.TakeBack(fd);
  return told;
}

Udata MethodCall::driver() const {
  Udata udata;
  if (const ib_uverbs_attr* in = Slot(UVERBS_ATTR_UHW_IN)) {
    udata.in = DataAddress(*in);
    udata.in_len = in->len;
  }
  if (const ib_uverbs_attr* out = Slot(UVERBS_ATTR_UHW_OUT)) {
    udata.out = out->data;
    udata.out_len = out->len;
  }
  return udata;
}

}  // namespace causeway::infiniband
