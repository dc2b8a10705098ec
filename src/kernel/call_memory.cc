// SPDX-License-Identifier: Apache-2.0
#include "kernel/call_memory.h"

#include <cstring>

#include "base/checked.h"

namespace causeway::kernel {

CallMemory::CallMemory(pid_t pid, const ipc::Message& call, const std::byte* input, std::byte* output)
    : process_(pid), input_(input), output_(output) {
  uint64_t end = 0;
  if (call.input_bytes <= ipc::kCallBytes && CheckedAdd(call.input_address, call.input_bytes, &end)) {
    input_start_ = input_next_ = call.input_address;
    input_end_ = end;
  }
  if (call.stack_low < call.stack_high) {
    stack_low_ = call.stack_low;
    stack_high_ = call.stack_high;
  }
}

Status CallMemory::CopyFrom(std::span<std::byte> to, uint64_t address) {
  if (to.empty()) return {};
  uint64_t end = 0;
  if (!CheckedAdd(address, to.size(), &end)) return Err(EFAULT);
  if (address >= input_next_ && end <= input_end_) {
    std::memcpy(to.data(), input_ + (address - input_start_), to.size());
    input_next_ = end;
    return {};
  }
  Supersede(address, end);
  CarryOut();
  return process_.CopyFrom(to, address);
}

Status CallMemory::CopyTo(uint64_t address, std::span<const std::byte> from) {
  if (from.empty()) return {};
  uint64_t end = 0;
  if (!CheckedAdd(address, from.size(), &end)) return Err(EFAULT);
  if (dropped_) return {};
  Supersede(address, end);
  const ipc::OutputRecord record = {address, from.size()};
  if (address >= stack_low_ && end <= stack_high_ && store_count_ < stores_.size() &&
      from.size() <= ipc::kCallBytes - sizeof(record) &&
      output_bytes_ + sizeof(record) + AlignUp(from.size(), sizeof(record)) <= ipc::kCallBytes) {
    const auto at = static_cast<uint32_t>(output_bytes_ + sizeof(record));
    std::memcpy(output_ + output_bytes_, &record, sizeof(record));
    std::memcpy(output_ + at, from.data(), from.size());
    stores_[store_count_++] = {address, end, at};
    output_bytes_ = at + static_cast<uint32_t>(AlignUp(from.size(), sizeof(record)));
    return {};
  }
  CarryOut();
  return process_.CopyTo(address, from);
}

// [address, end) is looked at or stored to in its place: if the input speaks of it, what it says is old from now on.
void CallMemory::Supersede(uint64_t address, uint64_t end) {
  if (address < input_end_ && end > input_start_) input_next_ = input_end_;
}

// The stores so far, here instead of in the program, so that nothing overtakes them. A store that fails now was to
// memory which the program said is there.
void CallMemory::CarryOut() {
  for (const Store& store : std::span(stores_).first(store_count_)) {
    (void)process_.CopyTo(store.address, std::span<const std::byte>(output_ + store.at, store.end - store.address));
  }
  store_count_ = output_bytes_ = 0;
}

}  // namespace causeway::kernel
