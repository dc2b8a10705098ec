// SPDX-License-Identifier: Apache-2.0
// Sources: linux include/gaudi2/arc/gaudi2_packets.h (struct packet_msg_short's views of SOB, ARM and CONFIG values),
// asic_reg/dcore0_sync_mngr_{objs,glbl}_regs.h.
#include "devices/gaudi/sync_manager.h"

#include <algorithm>

namespace causeway::gaudi {
namespace {

constexpr uint32_t kSobMax = 0x7fff;  // 15 bits
constexpr uint32_t kSobLongMode = 1u << 24, kSobAdd = 1u << 31;

constexpr uint32_t ArmGroupOf(uint32_t arm) { return arm & 0xff; }
constexpr uint32_t ArmMaskOf(uint32_t arm) { return (arm >> 8) & 0xff; }  // a 0 bit: that SOB of the group is watched
constexpr bool ArmIsEqual(uint32_t arm) { return (arm >> 16 & 1) != 0; }
constexpr uint32_t ArmValueOf(uint32_t arm) { return arm >> 17; }

constexpr uint32_t kConfigLongSob = 1u << 0, kConfigCqEnable = 1u << 4, kConfigLbwEnable = 1u << 8;
constexpr uint32_t ConfigWritesOf(uint32_t config) { return ((config >> 5) & 3) + 1; }
constexpr uint32_t ConfigGroupMsbOf(uint32_t config) { return (config >> 16) & 0xf; }

constexpr uint32_t kLongParts = 4;
constexpr uint64_t kLongMask = (uint64_t{1} << 60) - 1;
constexpr uint32_t kStatusValid = 1u << 0;

// 15-bit two's complement.
int64_t SignedStep(uint32_t value) {
  const int64_t step = value & kSobMax;
  return (value & 0x4000) != 0 ? step - 0x8000 : step;
}

}  // namespace

SyncManager::SyncManager(Asic asic, uint32_t driver_cqs)
    : asic_(asic),
      registers_(SyncManagerRegistersOf(asic)),
      driver_cqs_(driver_cqs),
      sobs_(registers_.sobs),
      monitors_(registers_.monitors),
      armed_(registers_.sobs / 8),
      cqs_(asic == Asic::kGaudi2 ? kSmCqs : 0) {}

void SyncManager::Reset(uint32_t from_sob, uint32_t from_monitor, uint32_t from_cq) {
  for (uint32_t i = from_sob; i < sobs_.size(); ++i) sobs_[i] = 0;
  for (uint32_t i = from_monitor; i < monitors_.size(); ++i) {
    Disarm(i);
    monitors_[i] = {};
  }
  for (uint32_t i = from_cq; i < cqs_.size(); ++i) cqs_[i] = {};
  if (from_sob == 0 && from_monitor == 0) stores_.clear();
  PublishAll();
}

void SyncManager::PublishTo(uint32_t* objects, uint32_t* global) {
  objects_ = objects;
  global_ = global;
  PublishAll();
}

void SyncManager::PublishAll() {
  for (uint32_t offset = 0; objects_ != nullptr && offset < registers_.size; offset += 4) Publish(offset);
  for (uint32_t offset = kSmCqBaseLo; global_ != nullptr && offset < kSmCqIncMode + kSmCqs * 4; offset += 4) {
    PublishGlobal(offset);
  }
}

void SyncManager::Write(uint32_t offset, uint32_t value) {
  if (offset < registers_.sobs * 4) return WriteSob(offset / 4, value);
  const auto in = [&](uint32_t base) { return base != 0 && offset >= base && offset < base + registers_.monitors * 4; };
  if (in(registers_.pay_addr_lo)) {
    monitors_[(offset - registers_.pay_addr_lo) / 4].address_lo = value;
  } else if (in(registers_.pay_addr_hi)) {
    monitors_[(offset - registers_.pay_addr_hi) / 4].address_hi = value;
  } else if (in(registers_.pay_data)) {
    monitors_[(offset - registers_.pay_data) / 4].data = value;
  } else if (in(registers_.arm)) {
    Arm((offset - registers_.arm) / 4, value);
  } else if (in(registers_.config)) {
    monitors_[(offset - registers_.config) / 4].config = value;
  } else if (in(registers_.status)) {
    // A driver clears it between users: the monitor waits for nothing any more.
    if ((value & kStatusValid) == 0) Disarm((offset - registers_.status) / 4);
  }
  Publish(offset);
}

uint32_t SyncManager::Read(uint32_t offset) const {
  if (offset < registers_.sobs * 4) return sobs_[offset / 4];
  const auto in = [&](uint32_t base) { return base != 0 && offset >= base && offset < base + registers_.monitors * 4; };
  if (in(registers_.pay_addr_lo)) return monitors_[(offset - registers_.pay_addr_lo) / 4].address_lo;
  if (in(registers_.pay_addr_hi)) return monitors_[(offset - registers_.pay_addr_hi) / 4].address_hi;
  if (in(registers_.pay_data)) return monitors_[(offset - registers_.pay_data) / 4].data;
  if (in(registers_.arm)) return monitors_[(offset - registers_.arm) / 4].arm;
  if (in(registers_.config)) return monitors_[(offset - registers_.config) / 4].config;
  if (in(registers_.status)) return monitors_[(offset - registers_.status) / 4].armed ? kStatusValid : 0;
  return 0;
}

void SyncManager::WriteSob(uint32_t index, uint32_t value) {
  const bool long_mode = asic_ == Asic::kGaudi2 && (value & kSobLongMode) != 0 && index + kLongParts <= sobs_.size();
  if (!long_mode) {
    if ((value & kSobAdd) != 0) {
      // Past 15 bits a SOB wraps; no source says what hardware does there, and the driver never goes so far.
      sobs_[index] = static_cast<uint32_t>(static_cast<int64_t>(sobs_[index]) + SignedStep(value)) & kSobMax;
    } else {
      sobs_[index] = value & kSobMax;
    }
    Publish(index * 4);
    return Evaluate(index / 8);
  }
  uint64_t whole = 0;
  if ((value & kSobAdd) != 0) {
    for (uint32_t part = 0; part < kLongParts; ++part) whole |= uint64_t{sobs_[index + part]} << (15 * part);
    whole = (whole + static_cast<uint64_t>(SignedStep(value))) & kLongMask;
  } else {
    whole = value & kSobMax;
  }
  for (uint32_t part = 0; part < kLongParts; ++part) sobs_[index + part] = (whole >> (15 * part)) & kSobMax;
  for (uint32_t part = 0; part < kLongParts; ++part) Publish((index + part) * 4);
  Evaluate(index / 8);
  if ((index + kLongParts - 1) / 8 != index / 8) Evaluate((index + kLongParts - 1) / 8);
}

uint32_t SyncManager::GroupOf(const Monitor& monitor) const {
  const uint32_t group = ArmGroupOf(monitor.arm) | ConfigGroupMsbOf(monitor.config) << 8;
  return asic_ == Asic::kGaudi ? ArmGroupOf(monitor.arm) : group;
}

// Is this monitor one of the three that hold the upper bits of a long monitor's value?
bool SyncManager::IsExtension(uint32_t index) const {
  for (uint32_t back = 1; back < kLongParts && back <= index; ++back) {
    if ((monitors_[index - back].config & kConfigLongSob) != 0) return true;
  }
  return false;
}

void SyncManager::Disarm(uint32_t index) {
  Monitor& monitor = monitors_[index];
  if (!monitor.armed) return;
  monitor.armed = false;
  auto& watchers = armed_[monitor.armed_group];
  watchers.erase(std::remove(watchers.begin(), watchers.end(), static_cast<uint16_t>(index)), watchers.end());
  Publish(registers_.status + index * 4);
}

void SyncManager::Arm(uint32_t index, uint32_t value) {
  Disarm(index);
  Monitor& monitor = monitors_[index];
  monitor.arm = value;
  if ((monitor.config & kConfigLongSob) == 0 && IsExtension(index)) return;
  if (GroupOf(monitor) >= armed_.size()) return;  // no such SOBs: never satisfied
  if (ArmMaskOf(value) == 0xff) return;           // watches nothing
  monitor.armed = true;
  monitor.armed_group = GroupOf(monitor);
  armed_[monitor.armed_group].push_back(static_cast<uint16_t>(index));
  Publish(registers_.status + index * 4);
  if (Satisfied(index)) Fire(index);
}

bool SyncManager::Satisfied(uint32_t index) const {
  const Monitor& monitor = monitors_[index];
  const uint32_t first = monitor.armed_group * 8;
  const uint32_t ignored = ArmMaskOf(monitor.arm);
  if ((monitor.config & kConfigLongSob) != 0) {
    uint32_t sob = first;
    while (sob < first + 8 && (ignored >> (sob - first) & 1) != 0) ++sob;
    if (sob + kLongParts > sobs_.size() || index + kLongParts > monitors_.size()) return false;
    uint64_t now = 0, wanted = 0;
    for (uint32_t part = 0; part < kLongParts; ++part) {
      now |= uint64_t{sobs_[sob + part]} << (15 * part);
      wanted |= uint64_t{ArmValueOf(monitors_[index + part].arm)} << (15 * part);
    }
    return ArmIsEqual(monitor.arm) ? now == wanted : now >= wanted;
  }
  const uint32_t wanted = ArmValueOf(monitor.arm);
  for (uint32_t bit = 0; bit < 8; ++bit) {
    if ((ignored >> bit & 1) != 0) continue;
    const uint32_t now = sobs_[first + bit];
    if (ArmIsEqual(monitor.arm) ? now != wanted : now < wanted) return false;
  }
  return true;
}

void SyncManager::Evaluate(uint32_t group) {
  std::vector<uint16_t>& watchers = armed_[group];
  for (size_t i = 0; i < watchers.size();) {
    const uint16_t index = watchers[i];
    if (Satisfied(index)) {
      Fire(index);  // takes it out of `watchers`
    } else {
      ++i;
    }
  }
}

void SyncManager::Fire(uint32_t index) {
  Disarm(index);
  const Monitor& monitor = monitors_[index];
  if (asic_ == Asic::kGaudi2 && (monitor.config & kConfigCqEnable) != 0) {
    Complete(monitor.address_lo, monitor.data, (monitor.config & kConfigLbwEnable) != 0);
    return;
  }
  const uint32_t writes = asic_ == Asic::kGaudi2 ? ConfigWritesOf(monitor.config) : 1;
  for (uint32_t n = 0; n < writes && index + n < monitors_.size(); ++n) {
    const Monitor& payload = monitors_[index + n];
    Push({.address = uint64_t{payload.address_hi} << 32 | payload.address_lo, .value = payload.data});
  }
}

// An entry of a completion queue: data into a ring of 2^size_log2 bytes, or, in increment mode, added to a counter of
// 64 bits at the base. Then the queue's LBW message, when the monitor asks for it.
void SyncManager::Complete(uint32_t number, uint32_t data, bool message) {
  if (number >= cqs_.size()) return;
  CompletionQueue& cq = cqs_[number];
  const bool driver = number < driver_cqs_;
  if ((cq.inc_mode & 1) != 0) {
    cq.counter += data;
    Push({.address = cq.base, .value = cq.counter, .bytes = 8, .completion_queue = true, .driver_queue = driver});
  } else {
    const uint64_t ring = cq.size_log2 < 32 ? uint64_t{1} << cq.size_log2 : uint64_t{1} << 32;
    const uint64_t entries = std::max<uint64_t>(ring / 4, 1);
    Push({.address = cq.base + cq.pi % entries * 4,
          .value = data,
          .bytes = 4,
          .completion_queue = true,
          .driver_queue = driver});
    ++cq.pi;
    PublishGlobal(kSmCqPi + number * 4);
  }
  if (message) Push({.address = cq.lbw_address, .value = cq.lbw_data});
}

void SyncManager::WriteGlobal(uint32_t offset, uint32_t value) {
  const uint32_t index = (offset - kSmCqBaseLo) % 0x100 / 4;
  if (offset < kSmCqBaseLo || index >= cqs_.size()) return;
  CompletionQueue& cq = cqs_[index];
  constexpr uint64_t kLow = 0xffffffff;
  switch (offset - index * 4) {
    case kSmCqBaseLo: cq.base = (cq.base & ~kLow) | value; break;
    case kSmCqBaseHi: cq.base = (cq.base & kLow) | uint64_t{value} << 32; break;
    case kSmCqSizeLog2: cq.size_log2 = value; break;
    case kSmCqPi: cq.pi = value; break;
    case kSmCqLbwAddrLo: cq.lbw_address = (cq.lbw_address & ~kLow) | value; break;
    case kSmCqLbwAddrHi: cq.lbw_address = (cq.lbw_address & kLow) | uint64_t{value} << 32; break;
    case kSmCqLbwData: cq.lbw_data = value; break;
    case kSmCqIncMode:
      cq.inc_mode = value;
      cq.counter = 0;
      break;
    default: break;
  }
  PublishGlobal(offset);
}

uint32_t SyncManager::ReadGlobal(uint32_t offset) const {
  const uint32_t index = (offset - kSmCqBaseLo) % 0x100 / 4;
  if (offset < kSmCqBaseLo || index >= cqs_.size()) return 0;
  const CompletionQueue& cq = cqs_[index];
  switch (offset - index * 4) {
    case kSmCqBaseLo: return static_cast<uint32_t>(cq.base);
    case kSmCqBaseHi: return static_cast<uint32_t>(cq.base >> 32);
    case kSmCqSizeLog2: return cq.size_log2;
    case kSmCqPi: return cq.pi;
    case kSmCqLbwAddrLo: return static_cast<uint32_t>(cq.lbw_address);
    case kSmCqLbwAddrHi: return static_cast<uint32_t>(cq.lbw_address >> 32);
    case kSmCqLbwData: return cq.lbw_data;
    case kSmCqIncMode: return cq.inc_mode;
    default: return 0;
  }
}

bool SyncManager::TakeStore(SmStore* store) {
  if (stores_.empty()) return false;
  *store = stores_.front();
  stores_.pop_front();
  return true;
}

}  // namespace causeway::gaudi
