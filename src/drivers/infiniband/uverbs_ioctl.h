// SPDX-License-Identifier: Apache-2.0
// The attribute parser of uverbs' ioctl: linux v6.1 drivers/infiniband/core/uverbs_ioctl.c. A method is a row of
// kMethods (uverbs_methods.cc) with the specifications of its attributes; the parser checks a request against them in
// the order in which the program wrote its attributes, takes objects, and calls the handler:
//
//   header -> method -> each attribute (unknown, duplicate, length, object) -> mandatory ones -> destroy -> handler
//
// Handles of new objects are reserved and told to the program while parsing, as Linux does; they become valid when the
// handler has succeeded (it commits them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "drivers/infiniband/commands.h"
#include "drivers/infiniband/uobject.h"
#include "uapi/rdma_ioctl.h"

namespace causeway::infiniband {

enum class AttrKind : uint8_t {
  kPtrIn,  // inline when not longer than 8 bytes
  kPtrOut,
  kObject,   // a handle, shared use
  kNew,      // a handle that the kernel makes
  kDestroy,  // a handle that goes before the handler runs
  kFd,       // an event descriptor of this context
  kNewFd,    // a descriptor that the kernel makes
  kRawFd,    // any descriptor: a 32-bit value, or in the descriptor form (length 0)
};

struct AttrSpec {
  uint16_t id;
  AttrKind kind;
  bool mandatory;
  uint16_t min_len = 0, max_len = 0;
  bool zero_trailing = false;                      // longer is fine: input must be zero there, output is zero-filled
  ObjectType object = uapi::UVERBS_OBJECT_DEVICE;  // also tells async from completion descriptors
};

class MethodCall;
struct MethodSpec {
  uint16_t object, id;
  std::string_view name;
  std::span<const AttrSpec> attrs;
  Status (*handler)(MethodCall&);
  Capability capability = nullptr;  // what a device must have for the method to exist
};
std::span<const MethodSpec> Methods();

// One ioctl in progress (struct uverbs_attr_bundle).
class MethodCall {
 public:
  MethodCall(UverbsFile& file_in, kernel::Task& task_in, const MethodSpec& method, uint64_t user_attrs,
             std::vector<uapi::ib_uverbs_attr> attrs);

  // ib_uverbs_run_method().
  Status Run();

  UverbsFile& file;
  kernel::Task& task;

  bool Has(uint16_t id) const { return Slot(id) != nullptr; }
  uint16_t LengthOf(uint16_t id) const { return Has(id) ? Slot(id)->len : 0; }
  uint64_t DataOf(uint16_t id) const { return Slot(id)->data; }

  // uverbs_copy_from_or_zero(). errors: EFAULT. An absent optional attribute reads as zero.
  template <typename T>
  Result<T> In(uint16_t id) {
    T value = {};
    CW_CHECK(CopyIn(id, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  Status CopyIn(uint16_t id, std::span<std::byte> to);
  // uverbs_get_const(): a value of 8 bytes that must fit. errors: EINVAL.
  Result<uint64_t> Const(uint16_t id, uint64_t max = std::numeric_limits<uint32_t>::max()) const;
  // uverbs_get_flags32(): 0 when absent. errors: EINVAL other bits, or neither 4 nor 8 bytes.
  Result<uint32_t> Flags(uint16_t id, uint64_t allowed) const;
  Result<int> RawFd(uint16_t id) const;

  // uverbs_copy_to(), uverbs_copy_to_struct_or_zero(). An absent optional attribute is skipped. errors: EFAULT.
  template <typename T>
  Status Out(uint16_t id, const T& value) {
    return OutBytes(id, std::as_bytes(std::span(&value, 1)));
  }
  Status OutBytes(uint16_t id, std::span<const std::byte> bytes);
  Status SetValid(uint16_t id);  // uverbs_set_output()

  // What the parser took. Precondition: the attribute is there and of that type.
  template <typename T>
  Ref<T> Object(uint16_t id) {
    return Ref<T>::Share(static_cast<T*>(Taken(id).use.get()));
  }
  template <typename T>
  Ref<T> Destroyed(uint16_t id) {
    return Ref<T>::Share(static_cast<T*>(Taken(id).object.get()));
  }
  Ref<EventFile> Events(uint16_t id) { return Has(id) ? Taken(id).events : Ref<EventFile>(); }
  uint32_t NewHandle(uint16_t id) { return Taken(id).slot.handle(); }
  void Commit(uint16_t id, Ref<Uobject> object) { Taken(id).slot.Commit(std::move(object)); }
  // Gives the program the descriptor that a kNewFd attribute stands for. errors: EMFILE ...; EFAULT.
  Status CommitFd(uint16_t id, Ref<EventFile> events);

  Udata driver() const;

 private:
  struct TakenObject {
    Use<Uobject> use;
    Ref<Uobject> object;  // to be destroyed, then destroyed
    UobjectTable::Reservation slot;
    Ref<EventFile> events;
  };
  const AttrSpec* SpecOf(uint16_t id) const;
  const uapi::ib_uverbs_attr* Slot(uint16_t id) const;
  TakenObject& Taken(uint16_t id) { return taken_.at(static_cast<size_t>(SpecOf(id) - method_.attrs.data())); }
  uint64_t DataAddress(const uapi::ib_uverbs_attr& attr) const;
  Status Take(size_t index);
  Status TakeData(const uapi::ib_uverbs_attr& attr, const AttrSpec& spec);

  const MethodSpec& method_;
  const uint64_t user_attrs_;
  const std::vector<uapi::ib_uverbs_attr> attrs_;
  std::vector<const uapi::ib_uverbs_attr*> present_;  // by specification
  std::vector<TakenObject> taken_;                    // by specification
};

}  // namespace causeway::infiniband
