// SPDX-License-Identifier: Apache-2.0
// The driver's side of the management processor: messages, heartbeat, the events it puts on the queue.
// Sources: linux v6.12 drivers/accel/habanalabs/common/firmware_if.c hl_fw_send_cpu_message(), device.c
// hl_device_heartbeat().
#include <algorithm>
#include <bit>

#include "drivers/habanalabs/device.h"

namespace causeway::habanalabs {
namespace {

constexpr std::chrono::seconds kHeartbeatPeriod{10};  // HL_HEARTBEAT_PER_USEC

}  // namespace

Result<uint64_t> HlDevice::SendCpuMessage(const gaudi::CpucpPacket& packet) {
  // A device that is disabled or in reset is not asked; the caller reads zero.
  if (!operational()) return uint64_t{0};
  if (device_cpu_disabled_) return Err(EIO);
  const auto reply = pci_link_down_ ? std::optional<gaudi::CpucpReply>() : board_->cpucp().Send(packet);
  if (!reply) {
    device_cpu_disabled_ = true;
    return Err(ETIMEDOUT);
  }
  if (reply->rc != gaudi::CpucpRc::kSuccess) return Err(EIO);
  return static_cast<uint64_t>(reply->value);
}

void HlDevice::StartHeartbeat() {
  // The firmware is told what work there is, and tells us of its events.
  board_->cpucp().set_load([this] {
    if (execution_ == nullptr) return 0.0;
    const EngineMask busy = execution_->BusyEngines();
    int count = 0;
    for (const uint64_t word : busy) count += std::popcount(word);
    return std::min(1.0, count / 8.0);  // eight busy engines draw all the power there is
  });
  board_->cpucp().set_event_sink([this](gaudi::CpuCpEvent event) {
    const EventIds& ids = EventIdsOf(properties_.asic);
    const uint16_t numbers[] = {ids.power_start, ids.power_end, ids.thermal_start, ids.thermal_end};
    HandleEvent(numbers[static_cast<size_t>(event)]);
  });
  board_->cpucp().set_interrupt_sink([this](uint32_t number) {
    if (number < properties_.num_of_events) HandleEvent(static_cast<uint16_t>(number));
  });
  (void)work_.Queue(kHeartbeatPeriod, [this] { Heartbeat(); });
}

void HlDevice::Heartbeat() {
  if (operational()) {
    const auto answer = SendCpuMessage({.opcode = gaudi::CpucpOpcode::kTest});
    if (!answer || *answer != gaudi::kCpucpTestFence) {
      HeartbeatLost();
    } else {
      const std::lock_guard lock(reset_mutex_);
      if (!reset_.in_reset) reset_.prev_reset_trigger = 0;
    }
  }
  (void)work_.Queue(kHeartbeatPeriod, [this] { Heartbeat(); });
}

void HlDevice::SetPciLink(bool up) { pci_link_down_ = !up; }

uapi::hl_info_pci_counters HlDevice::PciCounters() {
  uint64_t rx = 0, tx = 0;
  for (const pci::LinkBytes& link : bus_.Links()) {
    if (link.to == function().name()) rx += link.bytes;
    if (link.from == function().name()) tx += link.bytes;
  }
  const int64_t now = KtimeNs();
  const std::lock_guard lock(pci_counters_mutex_);
  const auto ms = static_cast<uint64_t>(std::max<int64_t>((now - pci_counters_ns_) / 1'000'000, 1));
  const bool first = pci_counters_ns_ == 0;
  // Bytes per ms are KB per second.
  const uapi::hl_info_pci_counters counters = {.rx_throughput = first ? 0 : (rx - pci_rx_bytes_) / ms,
                                               .tx_throughput = first ? 0 : (tx - pci_tx_bytes_) / ms,
                                               .replay_cnt = 0};
  pci_rx_bytes_ = rx;
  pci_tx_bytes_ = tx;
  pci_counters_ns_ = now;
  return counters;
}

}  // namespace causeway::habanalabs
