// SPDX-License-Identifier: Apache-2.0
// Netlink messages and their attributes: building and parsing (linux lib/nlattr.c, include/net/netlink.h, v6.1).
//
//   nlmsghdr (16 bytes) | attribute | attribute ...      each attribute: nlattr (4 bytes), payload, padding to 4
//
// A message that a program sent is hostile: ParseAttributes() checks every length before it looks at what follows.
#pragma once

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace causeway::kernel {

// What the kernel's buffers hold: NLMSG_GOODSIZE with 4 KiB pages, and the most that a dump takes for a reader with a
// large buffer (netlink_recvmsg()).
constexpr size_t kNlGoodSize = 4096 - 320;
constexpr size_t kNlMaxDump = 32768 - 320;

// struct sk_buff of an answer: messages one after the other, within a bound. Whatever does not fit is not written, and
// says false or nullopt: EMSGSIZE to who wanted it.
class NlBuffer {
 public:
  explicit NlBuffer(size_t capacity) : capacity_(capacity) {}

  // nlmsg_put() without payload. The place of the header, for End() and Cancel().
  std::optional<size_t> Begin(uint32_t portid, uint32_t seq, uint16_t type, uint16_t flags);
  void End(size_t message);  // nlmsg_end()
  // nlmsg_cancel(), nla_nest_cancel(): takes back everything from there on.
  void Cancel(size_t place) { bytes_.resize(place); }

  [[nodiscard]] bool Append(std::span<const std::byte> payload);  // nlmsg_append(): padded
  [[nodiscard]] bool Put(uint16_t type, std::span<const std::byte> payload);
  [[nodiscard]] bool PutU8(uint16_t type, uint8_t value) { return PutValue(type, value); }
  [[nodiscard]] bool PutU32(uint16_t type, uint32_t value) { return PutValue(type, value); }
  [[nodiscard]] bool PutU64(uint16_t type, uint64_t value) { return PutValue(type, value); }
  [[nodiscard]] bool PutString(uint16_t type, std::string_view text);  // with its NUL

  // nla_nest_start_noflag(); with NLA_F_NESTED in `type` nla_nest_start().
  std::optional<size_t> NestStart(uint16_t type);
  void NestEnd(size_t nest);

  size_t size() const { return bytes_.size(); }
  size_t room() const { return capacity_ - bytes_.size(); }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  template <typename T>
  bool PutValue(uint16_t type, T value) {
    return Put(type, std::as_bytes(std::span(&value, 1)));
  }
  const size_t capacity_;
  std::vector<std::byte> bytes_;
};

// struct nla_policy, as far as it is needed. `len`: the longest string without its NUL, or the least of kUnspec.
enum class NlaType : uint8_t { kUnspec, kU8, kU32, kU64, kS32, kS64, kNulString, kBinary, kNested };
struct NlaPolicy {
  NlaType type = NlaType::kUnspec;
  uint16_t len = 0;
};

// struct netlink_ext_ack: what an error's answer says beside the number, to who asked for it (NETLINK_EXT_ACK).
struct ExtAck {
  const char* message = nullptr;
  std::optional<uint32_t> bad_attr;  // where it is in the request
  const NlaPolicy* policy = nullptr;
};

// struct nlattr* tb[].
class NlAttributes {
 public:
  bool Has(uint16_t type) const { return type < table_.size() && table_[type].has_value(); }
  std::span<const std::byte> Get(uint16_t type) const { return *table_[type]; }
  // nla_get_u8(), nla_get_u32() of what is there and passed its policy.
  uint8_t U8(uint16_t type) const { return Value<uint8_t>(type); }
  uint32_t U32(uint16_t type) const { return Value<uint32_t>(type); }
  // nla_strscpy(): at most `room` - 1 characters, up to a NUL.
  std::string_view Text(uint16_t type, size_t room) const;

 private:
  friend Status ParseAttributes(std::span<const std::byte>, std::span<const NlaPolicy>, bool, ExtAck*, NlAttributes*);
  template <typename T>
  T Value(uint16_t type) const {
    T value = {};
    const auto bytes = Get(type);
    if (bytes.size() >= sizeof(value)) __builtin_memcpy(&value, bytes.data(), sizeof(value));
    return value;
  }
  std::vector<std::optional<std::span<const std::byte>>> table_;
};

// nlmsg_parse() (strict) and nlmsg_parse_deprecated(), with no family header. `message` has its header and is as long
// as that says. `ext_ack` may be nullptr. errors: EINVAL, ERANGE.
Status ParseAttributes(std::span<const std::byte> message, std::span<const NlaPolicy> policy, bool strict,
                       ExtAck* ext_ack, NlAttributes* out);

// netlink_policy_dump_write_attr(): what a policy wants, for NLMSGERR_ATTR_POLICY. Nothing for kUnspec.
void PutPolicy(NlBuffer& buffer, uint16_t type, const NlaPolicy& policy);

}  // namespace causeway::kernel
