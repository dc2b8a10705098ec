// SPDX-License-Identifier: Apache-2.0
// The input of a fuzz target, read as a stream of choices. What is behind the end reads as zero, so that every prefix
// of an input is an input, and a mutation in the front does not invalidate what follows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

namespace causeway::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  size_t size() const { return rest_.size(); }

  // The next sizeof(T) bytes.
  template <typename T>
  T Raw() {
    T value = {};
    const size_t len = std::min(rest_.size(), sizeof(T));
    if (len != 0) std::memcpy(static_cast<void*>(&value), rest_.data(), len);
    rest_ = rest_.subspan(len);
    return value;
  }
  uint8_t Byte() { return Raw<uint8_t>(); }
  // 0..limit - 1 by one byte.
  size_t Below(size_t limit) { return limit == 0 ? 0 : Byte() % limit; }
  // The next bytes, to anywhere: at most `len`.
  void Copy(void* to, size_t len) {
    len = std::min(len, rest_.size());
    if (len != 0) std::memcpy(to, rest_.data(), len);
    rest_ = rest_.subspan(len);
  }
  std::vector<uint8_t> Take(size_t len) {
    len = std::min(len, rest_.size());
    std::vector<uint8_t> bytes(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(len));
    rest_ = rest_.subspan(len);
    return bytes;
  }

  // Most selector bytes pick something that passes the next check, so that later ones are reached; some take any value.
  template <typename T, typename List>
  T Near(const List& likely) {
    const uint8_t selector = Byte();
    if (selector >= kAny || std::size(likely) == 0) return Raw<T>();
    return static_cast<T>(*(std::begin(likely) + selector % std::size(likely)));
  }
  template <typename T>
  T Near(std::initializer_list<uint64_t> likely) {
    return Near<T, std::initializer_list<uint64_t>>(likely);
  }

 private:
  static constexpr uint8_t kAny = 0xf0;
  std::span<const uint8_t> rest_;
};

}  // namespace causeway::fuzz
