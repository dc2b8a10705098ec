// SPDX-License-Identifier: Apache-2.0
// copy_from_user() and copy_to_user(): a program's memory as the kernel half sees it. The machine's own implementation
// reads the other process by process_vm_readv(); tests use FakeUserMemory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace causeway::kernel {

class UserMemory {
 public:
  virtual ~UserMemory() = default;
  // EFAULT unless every byte could be copied.
  virtual Status CopyFrom(std::span<std::byte> to, uint64_t user_address) = 0;
  virtual Status CopyTo(uint64_t user_address, std::span<const std::byte> from) = 0;

  template <typename T>
  requires std::is_trivially_copyable_v<T> Result<T> Read(uint64_t user_address) {
    T value;
    CW_CHECK(CopyFrom(std::as_writable_bytes(std::span(&value, 1)), user_address));
    return value;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T> Status Write(uint64_t user_address, const T& value) {
    return CopyTo(user_address, std::as_bytes(std::span(&value, 1)));
  }
};

// Pages of a program that a device holds. Addresses are the program's.
class PinnedMemory : public UserMemory {
 public:
  // The bytes themselves where this process has them mapped, nullptr where only CopyFrom() and CopyTo() reach them.
  // *len is cut to what the answer is true for.
  virtual std::byte* Bytes(uint64_t /*address*/, uint64_t* /*len*/) { return nullptr; }
};

// Memory of a made-up program, for unit tests: regions at chosen addresses.
class FakeUserMemory : public PinnedMemory {
 public:
  FakeUserMemory() = default;
  FakeUserMemory(uint64_t address, size_t len) { Map(address, len); }
  void Map(uint64_t address, size_t len, bool writable = true) {
    regions_[address].resize(len);
    if (!writable) read_only_.insert(address);
  }
  // Is all of [address, address + len) inside one region, writable if asked?
  bool Contains(uint64_t address, uint64_t len, bool write) {
    if (Find(address, len) == nullptr) return false;
    if (!write || len == 0) return true;
    return !read_only_.contains(std::prev(regions_.upper_bound(address))->first);
  }
  Status CopyFrom(std::span<std::byte> to, uint64_t address) override {
    std::byte* at = Find(address, to.size());
    if (at == nullptr) return Err(EFAULT);
    if (!to.empty()) std::memcpy(to.data(), at, to.size());
    return {};
  }
  Status CopyTo(uint64_t address, std::span<const std::byte> from) override {
    if (!Contains(address, from.size(), true)) return Err(EFAULT);
    std::byte* at = Find(address, from.size());
    if (!from.empty()) std::memcpy(at, from.data(), from.size());
    return {};
  }

 private:
  std::byte* Find(uint64_t address, uint64_t len) {
    static std::byte nothing;
    if (len == 0) return &nothing;
    auto it = regions_.upper_bound(address);
    if (it == regions_.begin()) return nullptr;
    --it;
    const uint64_t offset = address - it->first;
    if (offset > it->second.size() || len > it->second.size() - offset) return nullptr;
    return it->second.data() + offset;
  }
  std::map<uint64_t, std::vector<std::byte>> regions_;
  std::set<uint64_t> read_only_;  // by address of the region
};

}  // namespace causeway::kernel
