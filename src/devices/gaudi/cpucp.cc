// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/cpucp.h"

#include <time.h>

#include <algorithm>
#include <array>

namespace causeway::gaudi {
namespace {

uint64_t NowNs() {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail: the clock exists and the pointer is good
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

constexpr int64_t kAmbient = 35'000, kSpan = 45'000;  // m°C: idle air, and what the full power adds
constexpr int64_t kMaxTemperature = 95'000, kCritTemperature = 105'000;

// HBM stacks run a little warmer than the die, the board's own sensor cooler.
constexpr std::array kSensors = {
    Sensor{Sensor::Type::kTemperature, 0, "die", kMaxTemperature, kCritTemperature, 0},
    Sensor{Sensor::Type::kTemperature, 1, "hbm0", kMaxTemperature, kCritTemperature, 2'000},
    Sensor{Sensor::Type::kTemperature, 2, "hbm1", kMaxTemperature, kCritTemperature, 2'000},
    Sensor{Sensor::Type::kTemperature, 3, "hbm2", kMaxTemperature, kCritTemperature, 2'000},
    Sensor{Sensor::Type::kTemperature, 4, "hbm3", kMaxTemperature, kCritTemperature, 2'000},
    Sensor{Sensor::Type::kTemperature, 5, "vrm", kMaxTemperature, kCritTemperature, -1'000},
    Sensor{Sensor::Type::kTemperature, 6, "board", kMaxTemperature, kCritTemperature, -5'000},
    Sensor{Sensor::Type::kVoltage, 0, "vdd", 0, 0, 850},
    Sensor{Sensor::Type::kVoltage, 1, "hbm", 0, 0, 1'200},
    Sensor{Sensor::Type::kVoltage, 2, "input", 0, 0, 54'000},
    Sensor{Sensor::Type::kCurrent, 0, "vdd", 0, 0, 823'529},   // 70 % of the power at 0.85 V
    Sensor{Sensor::Type::kCurrent, 1, "input", 0, 0, 18'519},  // all of it at 54 V
};

const Sensor* Find(Sensor::Type type, uint16_t index) {
  const auto it = std::ranges::find_if(kSensors, [&](const Sensor& s) { return s.type == type && s.index == index; });
  return it == kSensors.end() ? nullptr : &*it;
}

}  // namespace

CpuCp::CpuCp(const CpuCpSpec& spec)
    : spec_(spec), max_power_mw_(spec.max_power_mw), max_clock_mhz_(spec.max_clock_mhz), accounted_until_ns_(NowNs()) {}

std::span<const Sensor> CpuCp::sensors() const { return kSensors; }

uint64_t CpuCp::PowerLocked(double load) const {
  const uint64_t limit = std::max(max_power_mw_, spec_.idle_power_mw);
  return spec_.idle_power_mw + static_cast<uint64_t>(load * static_cast<double>(limit - spec_.idle_power_mw));
}

int64_t CpuCp::TemperatureLocked(uint16_t index, double load) const {
  const Sensor* sensor = Find(Sensor::Type::kTemperature, index);
  const auto power = static_cast<int64_t>(PowerLocked(load));
  const int64_t own = kAmbient + kSpan * power / static_cast<int64_t>(spec_.max_power_mw) + sensor->nominal;
  const auto offset = offsets_.find(index);
  return own + heat_ + (offset == offsets_.end() ? 0 : offset->second);
}

void CpuCp::AccountLocked(double load) {
  const uint64_t now = NowNs();
  energy_nj_ += PowerLocked(load) * ((now - accounted_until_ns_) / 1'000);  // mW * us
  accounted_until_ns_ = now;
}

CpucpReply CpuCp::ReadSensor(Sensor::Type type, const CpucpPacket& packet, double load) {
  const Sensor* sensor = Find(type, packet.index);
  if (sensor == nullptr) return {CpucpRc::kInvalid, 0};
  int64_t now = 0;
  switch (type) {
    case Sensor::Type::kTemperature: now = TemperatureLocked(packet.index, load); break;
    case Sensor::Type::kVoltage: now = sensor->nominal; break;
    case Sensor::Type::kCurrent: now = static_cast<int64_t>(PowerLocked(load)) * sensor->nominal / 1'000'000; break;
  }
  const auto [it, first] = extremes_.try_emplace({static_cast<int>(type), packet.index}, now, now);
  it->second = {std::min(it->second.first, now), std::max(it->second.second, now)};
  switch (packet.type) {
    case SensorAttribute::kInput: return {CpucpRc::kSuccess, now};
    case SensorAttribute::kLowest: return {CpucpRc::kSuccess, it->second.first};
    case SensorAttribute::kHighest: return {CpucpRc::kSuccess, it->second.second};
    case SensorAttribute::kMin:
    case SensorAttribute::kMax:
      if (type == Sensor::Type::kTemperature && packet.type == SensorAttribute::kMax) {
        return {CpucpRc::kSuccess, sensor->max};
      }
      return {CpucpRc::kInvalid, 0};
    case SensorAttribute::kCrit:
      if (type == Sensor::Type::kTemperature) return {CpucpRc::kSuccess, sensor->crit};
      return {CpucpRc::kInvalid, 0};
    case SensorAttribute::kOffset:
      if (type == Sensor::Type::kTemperature) return {CpucpRc::kSuccess, offsets_[packet.index]};
      return {CpucpRc::kInvalid, 0};
  }
  return {CpucpRc::kInvalid, 0};
}

std::optional<CpuCpEvent> CpuCp::UpdateThermalLocked(double load) {
  int64_t hottest = 0;
  for (const Sensor& sensor : kSensors) {
    if (sensor.type == Sensor::Type::kTemperature) hottest = std::max(hottest, TemperatureLocked(sensor.index, load));
  }
  const bool hot = hottest > kMaxTemperature;
  if (hot == thermal_throttled_) return {};
  thermal_throttled_ = hot;
  return hot ? CpuCpEvent::kThermalStart : CpuCpEvent::kThermalEnd;
}

std::optional<CpucpReply> CpuCp::Answer(const CpucpPacket& packet, double load, std::optional<CpuCpEvent>* event) {
  if (!alive_) return {};
  AccountLocked(load);
  const auto ok = [](uint64_t value) { return CpucpReply{CpucpRc::kSuccess, static_cast<int64_t>(value)}; };
  const uint32_t clock = power_throttled_ || thermal_throttled_ ? max_clock_mhz_ / 2 : max_clock_mhz_;
  switch (packet.opcode) {
    case CpucpOpcode::kTemperatureGet: return ReadSensor(Sensor::Type::kTemperature, packet, load);
    case CpucpOpcode::kVoltageGet: return ReadSensor(Sensor::Type::kVoltage, packet, load);
    case CpucpOpcode::kCurrentGet: return ReadSensor(Sensor::Type::kCurrent, packet, load);
    case CpucpOpcode::kTemperatureSet:
      if (Find(Sensor::Type::kTemperature, packet.index) == nullptr || packet.type != SensorAttribute::kOffset) {
        return CpucpReply{CpucpRc::kInvalid, 0};
      }
      offsets_[packet.index] = packet.value;
      *event = UpdateThermalLocked(load);
      return ok(0);
    case CpucpOpcode::kFrequencySet: max_clock_mhz_ = static_cast<uint32_t>(packet.value); return ok(0);
    case CpucpOpcode::kFrequencyGet: return ok(max_clock_mhz_);
    case CpucpOpcode::kFrequencyCurrGet:
    case CpucpOpcode::kPllInfoGet: return ok(clock);
    case CpucpOpcode::kTest: return ok(kCpucpTestFence);
    case CpucpOpcode::kMaxPowerGet: return ok(max_power_mw_);
    case CpucpOpcode::kMaxPowerSet: {
      const uint64_t drawn = PowerLocked(load);
      max_power_mw_ = static_cast<uint64_t>(packet.value);
      const bool over = max_power_mw_ < drawn;
      if (over != power_throttled_) *event = over ? CpuCpEvent::kPowerStart : CpuCpEvent::kPowerEnd;
      power_throttled_ = over;
      return ok(0);
    }
    case CpucpOpcode::kTotalEnergyGet: return ok(energy_nj_ / 1'000'000);
    case CpucpOpcode::kPowerGet: return ok(PowerLocked(load));
    case CpucpOpcode::kPcieReplayCntGet:
    case CpucpOpcode::kHbmReplacedRowsInfoGet:
    case CpucpOpcode::kHbmPendingRowsStatus: return ok(0);
  }
  return CpucpReply{CpucpRc::kInvalid, 0};
}

std::optional<CpucpReply> CpuCp::Send(const CpucpPacket& packet) {
  const double load = Load();
  std::optional<CpuCpEvent> event;
  std::optional<CpucpReply> reply;
  {
    const std::lock_guard lock(mutex_);
    reply = Answer(packet, load, &event);
  }
  if (event && sink_) sink_(*event);
  return reply;
}

void CpuCp::Kill() {
  const std::lock_guard lock(mutex_);
  alive_ = false;
}

void CpuCp::Reboot() {
  const std::lock_guard lock(mutex_);
  alive_ = true;
  power_throttled_ = thermal_throttled_ = false;
  heat_ = 0;
  offsets_.clear();
  max_power_mw_ = spec_.max_power_mw;
}

bool CpuCp::alive() const {
  const std::lock_guard lock(mutex_);
  return alive_;
}

void CpuCp::Heat(int64_t millidegrees) {
  const double load = Load();
  std::optional<CpuCpEvent> event;
  {
    const std::lock_guard lock(mutex_);
    heat_ = millidegrees;
    event = UpdateThermalLocked(load);
  }
  if (event && sink_) sink_(*event);
}

uint64_t CpuCp::power_mw() const {
  const double load = Load();
  const std::lock_guard lock(mutex_);
  return PowerLocked(load);
}

bool CpuCp::throttled() const {
  const std::lock_guard lock(mutex_);
  return power_throttled_ || thermal_throttled_;
}

}  // namespace causeway::gaudi
