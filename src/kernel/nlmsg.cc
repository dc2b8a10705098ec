// SPDX-License-Identifier: Apache-2.0
#include "kernel/nlmsg.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace causeway::kernel {
namespace {

constexpr size_t kAttrHeader = NLA_HDRLEN;

size_t ExactLength(NlaType type) {
  switch (type) {
    case NlaType::kU8: return 1;
    case NlaType::kU32:
    case NlaType::kS32: return 4;
    case NlaType::kU64:
    case NlaType::kS64: return 8;
    default: return 0;
  }
}

bool HasNul(std::span<const std::byte> bytes) { return std::ranges::find(bytes, std::byte{0}) != bytes.end(); }

// validate_nla() from its switch on; the attribute's flags have been looked at.
Status CheckPayload(std::span<const std::byte> payload, const NlaPolicy& policy) {
  switch (policy.type) {
    case NlaType::kNulString: {
      const size_t within = policy.len != 0 ? std::min<size_t>(payload.size(), policy.len + 1u) : payload.size();
      if (within == 0 || !HasNul(payload.first(within))) return Err(EINVAL);
      const size_t len = payload.size() - (payload.back() == std::byte{0} ? 1 : 0);
      if (policy.len != 0 && len > policy.len) return Err(ERANGE);
      return {};
    }
    case NlaType::kBinary:
      if (policy.len != 0 && payload.size() > policy.len) return Err(ERANGE);
      return {};
    case NlaType::kNested:
      if (!payload.empty() && payload.size() < kAttrHeader) return Err(ERANGE);
      return {};
    case NlaType::kUnspec:
      if (payload.size() < policy.len) return Err(ERANGE);
      return {};
    default:
      if (payload.size() < ExactLength(policy.type)) return Err(ERANGE);
      return {};
  }
}

}  // namespace

std::optional<size_t> NlBuffer::Begin(uint32_t portid, uint32_t seq, uint16_t type, uint16_t flags) {
  const nlmsghdr header = {
      .nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = seq, .nlmsg_pid = portid};
  const size_t place = bytes_.size();
  if (!Append(std::as_bytes(std::span(&header, 1)))) return std::nullopt;
  return place;
}

void NlBuffer::End(size_t message) {
  const auto len = static_cast<uint32_t>(bytes_.size() - message);
  std::memcpy(bytes_.data() + message + offsetof(nlmsghdr, nlmsg_len), &len, sizeof(len));
}

bool NlBuffer::Append(std::span<const std::byte> payload) {
  const size_t padded = AlignUp(payload.size(), NLMSG_ALIGNTO);
  if (padded > room()) return false;
  bytes_.insert(bytes_.end(), payload.begin(), payload.end());
  bytes_.resize(bytes_.size() + padded - payload.size());
  return true;
}

bool NlBuffer::Put(uint16_t type, std::span<const std::byte> payload) {
  if (payload.size() > UINT16_MAX - kAttrHeader) return false;
  if (kAttrHeader + AlignUp(payload.size(), NLA_ALIGNTO) > room()) return false;
  const nlattr header = {.nla_len = static_cast<uint16_t>(kAttrHeader + payload.size()), .nla_type = type};
  return Append(std::as_bytes(std::span(&header, 1))) && Append(payload);
}

bool NlBuffer::PutString(uint16_t type, std::string_view text) {
  std::vector<std::byte> payload(text.size() + 1);
  std::memcpy(payload.data(), text.data(), text.size());
  return Put(type, payload);
}

std::optional<size_t> NlBuffer::NestStart(uint16_t type) {
  const size_t place = bytes_.size();
  if (!Put(type, {})) return std::nullopt;
  return place;
}

void NlBuffer::NestEnd(size_t nest) {
  const auto len = static_cast<uint16_t>(bytes_.size() - nest);
  std::memcpy(bytes_.data() + nest + offsetof(nlattr, nla_len), &len, sizeof(len));
}

std::string_view NlAttributes::Text(uint16_t type, size_t room) const {
  const auto bytes = Get(type);
  const auto* const text = reinterpret_cast<const char*>(bytes.data());
  return {text, std::min(::strnlen(text, bytes.size()), room - 1)};
}

Status ParseAttributes(std::span<const std::byte> message, std::span<const NlaPolicy> policy, bool strict,
                       ExtAck* ext_ack, NlAttributes* out) {
  ExtAck unheard;
  ExtAck& ack = ext_ack != nullptr ? *ext_ack : unheard;
  const auto fail = [&](const char* text, std::optional<size_t> at, const NlaPolicy* wanted) {
    ack.message = text;
    if (at) {
      ack.bad_attr = static_cast<uint32_t>(*at);
      ack.policy = wanted;
    }
  };
  out->table_.assign(policy.size(), std::nullopt);
  size_t at = NLMSG_HDRLEN;
  while (at < message.size() && message.size() - at >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, message.data() + at, sizeof(header));
    const size_t rest = message.size() - at;
    if (header.nla_len < sizeof(header) || header.nla_len > rest) break;  // nla_ok()
    const uint16_t type = header.nla_type & NLA_TYPE_MASK;
    const auto payload = message.subspan(at + kAttrHeader, header.nla_len - kAttrHeader);
    const size_t next = at + std::min(AlignUp(size_t{header.nla_len}, NLA_ALIGNTO), rest);
    if (type == 0 || type >= policy.size()) {
      if (strict) {
        fail("Unknown attribute type", at, nullptr);
        return Err(EINVAL);
      }
      at = next;
      continue;
    }
    const NlaPolicy& wanted = policy[type];
    if (strict) {
      const size_t exact = ExactLength(wanted.type);
      const bool nested = (header.nla_type & NLA_F_NESTED) != 0;
      const char* wrong = nullptr;
      if (exact != 0 && payload.size() != exact) {
        wrong = "invalid attribute length";
      } else if (wanted.type == NlaType::kNested && !nested) {
        wrong = "NLA_F_NESTED is missing";
      } else if (wanted.type != NlaType::kNested && wanted.type != NlaType::kUnspec && nested) {
        wrong = "NLA_F_NESTED not expected";
      }
      if (wrong != nullptr) {
        fail(wrong, at, &wanted);
        return Err(EINVAL);
      }
      if (wanted.type == NlaType::kUnspec) {
        fail("Unsupported attribute", at, nullptr);
        return Err(EINVAL);
      }
    }
    if (const Status good = CheckPayload(payload, wanted); !good) {
      fail("Attribute failed policy validation", at, &wanted);
      return good;
    }
    out->table_[type] = payload;
    at = next;
  }
  if (at < message.size()) {
    fail("bytes leftover after parsing attributes", std::nullopt, nullptr);
    if (strict) return Err(EINVAL);
  }
  return {};
}

void PutPolicy(NlBuffer& buffer, uint16_t type, const NlaPolicy& policy) {
  if (policy.type == NlaType::kUnspec) return;
  const auto nest = buffer.NestStart(type | NLA_F_NESTED);
  if (!nest) return;
  bool fits = true;
  uint32_t kind = 0;
  const auto range = [&](uint32_t name, uint64_t max) {
    kind = name;
    fits = buffer.PutU64(NL_POLICY_TYPE_ATTR_MIN_VALUE_U, 0) && buffer.PutU64(NL_POLICY_TYPE_ATTR_MAX_VALUE_U, max);
  };
  const auto signed_range = [&](uint32_t name, int64_t min, int64_t max) {
    kind = name;
    fits = buffer.PutU64(NL_POLICY_TYPE_ATTR_MIN_VALUE_S, static_cast<uint64_t>(min)) &&
           buffer.PutU64(NL_POLICY_TYPE_ATTR_MAX_VALUE_S, static_cast<uint64_t>(max));
  };
  switch (policy.type) {
    case NlaType::kU8: range(NL_ATTR_TYPE_U8, UINT8_MAX); break;
    case NlaType::kU32: range(NL_ATTR_TYPE_U32, UINT32_MAX); break;
    case NlaType::kU64: range(NL_ATTR_TYPE_U64, UINT64_MAX); break;
    case NlaType::kS32: signed_range(NL_ATTR_TYPE_S32, INT32_MIN, INT32_MAX); break;
    case NlaType::kS64: signed_range(NL_ATTR_TYPE_S64, INT64_MIN, INT64_MAX); break;
    case NlaType::kNested: kind = NL_ATTR_TYPE_NESTED; break;
    case NlaType::kNulString:
    case NlaType::kBinary:
      kind = policy.type == NlaType::kBinary ? NL_ATTR_TYPE_BINARY : NL_ATTR_TYPE_NUL_STRING;
      fits = policy.len == 0 || buffer.PutU32(NL_POLICY_TYPE_ATTR_MAX_LENGTH, policy.len);
      break;
    case NlaType::kUnspec: break;
  }
  if (fits && buffer.PutU32(NL_POLICY_TYPE_ATTR_TYPE, kind)) {
    buffer.NestEnd(*nest);
  } else {
    buffer.Cancel(*nest);
  }
}

}  // namespace causeway::kernel
