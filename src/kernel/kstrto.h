// SPDX-License-Identifier: Apache-2.0
// Numbers that programs write to files of sysfs and debugfs (linux lib/kstrtox.c): an optional sign, digits, one
// newline at the end that is no part of them. Some writers send the terminator, too.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace causeway::kernel {

namespace kstrto_internal {

constexpr bool IsHex(std::string_view text) {
  return text.size() > 1 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

// _kstrtoull().
inline Result<uint64_t> Digits(std::string_view text, int base) {
  if (base == 0) base = IsHex(text) ? 16 : text.size() > 1 && text[0] == '0' ? 8 : 10;
  if (base == 16 && IsHex(text)) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error == std::errc::result_out_of_range) return Err(ERANGE);
  if (error != std::errc() || end != text.data() + text.size()) return Err(EINVAL);
  return value;
}

inline std::string_view Trimmed(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

}  // namespace kstrto_internal

// kstrtoull() and its narrower ones. Base 0: by prefix. errors: EINVAL; ERANGE beyond `max`.
inline Result<uint64_t> Kstrtoull(std::string_view text, int base, uint64_t max = UINT64_MAX) {
  text = kstrto_internal::Trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  CW_TRY(const uint64_t value, kstrto_internal::Digits(text, base));
  if (value > max) return Err(ERANGE);
  return value;
}

// kstrtoll(). errors: EINVAL, ERANGE.
inline Result<int64_t> Kstrtoll(std::string_view text, int base) {
  text = kstrto_internal::Trimmed(text);
  const bool negative = text.starts_with('-');
  if (!negative) {
    CW_TRY(const uint64_t value, Kstrtoull(text, base, INT64_MAX));
    return static_cast<int64_t>(value);
  }
  CW_TRY(const uint64_t value, kstrto_internal::Digits(text.substr(1), base));
  if (value > uint64_t{1} << 63) return Err(ERANGE);
  return static_cast<int64_t>(-value);
}

}  // namespace causeway::kernel
