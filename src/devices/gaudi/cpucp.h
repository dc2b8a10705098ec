// SPDX-License-Identifier: Apache-2.0
// The management processor of a board ("CPU-CP"), as open code: what firmware does there, as far as a driver sees it.
// It answers packets (struct cpucp_packet: an opcode, a sensor or PLL, a value), has sensors whose values follow the
// load of the engines, and puts events on the event queue.
//
// The model, all of it:  power = idle + (limit - idle) * load        load: share of the engines that are busy
//                        temperature = 35 C + 45 C * power / default limit (+ what a driver set as offset)
//                        clock = its maximum, half of it while throttled
// A power limit below the power drawn now starts power throttling (an event), one above it ends it.
//
// Packet numbers and result codes: linux v6.12 include/linux/habanalabs/cpucp_if.h. Runs on: any thread; the event sink
// and the load are called without locks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <utility>

namespace causeway::gaudi {

enum class CpucpOpcode : uint16_t {  // CPUCP_PACKET_...
  kTemperatureGet = 3,
  kVoltageGet = 4,
  kCurrentGet = 5,
  kFrequencySet = 9,
  kFrequencyGet = 10,
  kTest = 18,  // the heartbeat
  kFrequencyCurrGet = 19,
  kMaxPowerGet = 20,
  kMaxPowerSet = 21,
  kTemperatureSet = 24,
  kPcieReplayCntGet = 28,
  kTotalEnergyGet = 29,
  kPllInfoGet = 30,
  kPowerGet = 32,
  kHbmReplacedRowsInfoGet = 35,
  kHbmPendingRowsStatus = 36,
};
constexpr uint64_t kCpucpTestFence = 0xABAB;  // CPUCP_PACKET_FENCE_VAL: what a living CPU-CP answers to kTest

enum class SensorAttribute : uint16_t {  // enum cpucp_temp_type, cpucp_in_attributes, cpucp_curr_attributes
  kInput = 0,
  kMin = 1,
  kMax = 2,
  kCrit = 4,
  kOffset = 19,
  kLowest = 21,
  kHighest = 22,
};

struct CpucpPacket {
  CpucpOpcode opcode;
  uint16_t index = 0;  // sensor, PLL
  SensorAttribute type = SensorAttribute::kInput;
  int64_t value = 0;
};
enum class CpucpRc : uint8_t { kSuccess = 0, kInvalid = 1 };  // cpucp_packet_rc
struct CpucpReply {
  CpucpRc rc;
  int64_t value;
};

// A sensor that the firmware lists (struct cpucp_sensor). Units are hwmon's: m°C, mV, mA.
struct Sensor {
  enum class Type : uint8_t { kTemperature, kVoltage, kCurrent } type;
  uint16_t index;
  const char* label;
  int64_t max, crit;  // temperature
  int64_t nominal;    // voltage: mV; current: mA per mW of power, in millionths
};

struct CpuCpSpec {
  uint64_t idle_power_mw, max_power_mw;
  uint32_t max_clock_mhz;
  uint32_t hbm_stacks;
};

enum class CpuCpEvent : uint8_t { kPowerStart, kPowerEnd, kThermalStart, kThermalEnd };

class CpuCp {
 public:
  explicit CpuCp(const CpuCpSpec& spec);

  // Both before the first packet. Load: 0 .. 1.
  void set_load(std::function<double()> load) { load_ = std::move(load); }
  void set_event_sink(std::function<void(CpuCpEvent)> sink) { sink_ = std::move(sink); }

  // Events that the firmware only passes on.
  void set_interrupt_sink(std::function<void(uint32_t)> sink) { interrupt_sink_ = std::move(sink); }

  // Empty: it does not answer (it is dead, or the PCIe link is): the driver's wait times out.
  std::optional<CpucpReply> Send(const CpucpPacket& packet);
  std::span<const Sensor> sensors() const;

  // A dead one answers nothing until Reboot().
  void Kill();
  void Reboot();
  bool alive() const;
  // An interrupt of the device's blocks, by number.
  void Interrupt(uint32_t number) {
    if (alive() && interrupt_sink_) interrupt_sink_(number);
  }
  // Overheating from outside, in m°C added to every temperature: raises the thermal events at their limits.
  void Heat(int64_t millidegrees);

  uint64_t power_mw() const;
  bool throttled() const;

 private:
  uint64_t PowerLocked(double load) const;
  int64_t TemperatureLocked(uint16_t index, double load) const;
  void AccountLocked(double load);
  std::optional<CpucpReply> Answer(const CpucpPacket& packet, double load, std::optional<CpuCpEvent>* event);
  CpucpReply ReadSensor(Sensor::Type type, const CpucpPacket& packet, double load);
  std::optional<CpuCpEvent> UpdateThermalLocked(double load);
  double Load() const { return load_ ? load_() : 0; }

  const CpuCpSpec spec_;
  std::function<double()> load_;
  std::function<void(CpuCpEvent)> sink_;
  std::function<void(uint32_t)> interrupt_sink_;

  mutable std::mutex mutex_;  // guards what follows
  bool alive_ = true;
  uint64_t max_power_mw_;
  uint32_t max_clock_mhz_;
  bool power_throttled_ = false, thermal_throttled_ = false;
  int64_t heat_ = 0;
  std::map<uint16_t, int64_t> offsets_;
  std::map<std::pair<int, uint16_t>, std::pair<int64_t, int64_t>> extremes_;  // lowest, highest seen
  uint64_t energy_nj_ = 0, accounted_until_ns_;
};

}  // namespace causeway::gaudi
