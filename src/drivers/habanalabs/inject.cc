// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/inject.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "drivers/habanalabs/engine_status.h"

namespace causeway::habanalabs {
namespace {

constexpr std::array kKinds = {
    FaultKind{"ecc", "the HBM reports an ECC error: corrected, or with --uncorrectable one that resets the device",
              "[--index STACK] [--uncorrectable]"},
    FaultKind{"page-fault", "an engine touches an address that is not mapped", "--address VA [--engine N]"},
    FaultKind{"razwi", "an engine touches a protected or missing register or address",
              "--address ADDR [--write] [--engine N]"},
    FaultKind{"undefined-opcode", "a queue manager meets a packet that it does not know", "[--engine N] [--stream N]"},
    FaultKind{"heartbeat", "the management processor dies; the next heartbeat, within 10 s, finds out", ""},
    FaultKind{"thermal", "the board gets hotter by N degrees; 0 ends it", "[--celsius N]"},
    FaultKind{"pcie-down", "the PCIe link goes down; the next heartbeat, within 10 s, finds out", ""},
    FaultKind{"pcie-up", "the PCIe link is there again; a hard reset (sysfs hard_reset) brings the device back", ""},
    FaultKind{"reset", "a hard reset: now, or inside the Nth CS ioctl, when its jobs are in the queues",
              "[--at now|submit] [--after N]"},
    FaultKind{"event", "the firmware puts this number on the event queue", "--event NUMBER [--engine N] [--critical]"},
};

// Does the kind have every option that is given?
bool Takes(const FaultKind& kind, const Fault& fault) {
  const std::pair<bool, std::string_view> given[] = {{fault.address.has_value(), "--address"},
                                                     {fault.engine.has_value(), "--engine"},
                                                     {fault.stream.has_value(), "--stream"},
                                                     {fault.index.has_value(), "--index"},
                                                     {fault.celsius.has_value(), "--celsius"},
                                                     {fault.event.has_value(), "--event"},
                                                     {fault.at.has_value(), "--at"},
                                                     {fault.after.has_value(), "--after"},
                                                     {fault.write, "--write"},
                                                     {fault.uncorrectable, "--uncorrectable"},
                                                     {fault.critical, "--critical"}};
  return std::ranges::all_of(given, [&](const auto& option) {
    return !option.first || kind.options.find(option.second) != std::string_view::npos;
  });
}

// The PCI DMA from host to device: DMA0, PDMA0.
uint16_t DefaultEngine(gaudi::Asic asic) { return asic == gaudi::Asic::kGaudi ? 0 : 45; }

}  // namespace

std::span<const FaultKind> FaultKinds() { return kKinds; }

Result<std::string> Inject(HlDevice& device, const Fault& fault) {
  const auto kind = std::ranges::find(kKinds, fault.name, &FaultKind::name);
  if (kind == kKinds.end()) return Err(ENOENT);
  if (!Takes(*kind, fault)) return Err(EINVAL);
  const AsicProperties& properties = device.properties();
  const EventIds& ids = EventIdsOf(properties.asic);
  const uint16_t engine = fault.engine.value_or(DefaultEngine(properties.asic));
  if (engine >= EngineCount(properties.asic)) return Err(EINVAL);
  const std::string engine_name = EngineName(properties.asic, engine);

  if (fault.name == "ecc") {
    const uint32_t stacks = properties.asic == gaudi::Asic::kGaudi ? 4 : 6;
    const uint32_t index = fault.index.value_or(0);
    if (index >= stacks) return Err(EINVAL);
    const uint32_t step = properties.asic == gaudi::Asic::kGaudi ? 1 : 4;  // Gaudi2: two controllers, two events each
    const auto event = static_cast<uint16_t>((fault.uncorrectable ? ids.hbm_derr : ids.hbm_serr) + index * step);
    device.HandleEvent(event, {.critical = fault.uncorrectable});
    return fmt::format("event {}: {} error of HBM {}", event, fault.uncorrectable ? "uncorrectable" : "corrected",
                       index);
  }
  if (fault.name == "page-fault") {
    if (!fault.address) return Err(EINVAL);
    const uint64_t va = *fault.address;
    device.PageFault(va, engine, va >= properties.host.start && va < properties.host.end);
    return fmt::format("page fault of {} at {:#x}", engine_name, va);
  }
  if (fault.name == "razwi") {
    if (!fault.address) return Err(EINVAL);
    const uint8_t direction = fault.write ? uapi::kHlRazwiWrite : uapi::kHlRazwiRead;
    device.Razwi(*fault.address, engine, static_cast<uint8_t>(direction | uapi::kHlRazwiHbw));
    return fmt::format("illegal {} of {} at {:#x}", fault.write ? "write" : "read", engine_name, *fault.address);
  }
  if (fault.name == "undefined-opcode") {
    const uint32_t stream = fault.stream.value_or(0);
    if (stream > 4) return Err(EINVAL);
    uapi::hl_info_undefined_opcode_event event{};
    event.engine_id = engine;
    event.stream_id = stream;
    device.UndefinedOpcode(event);
    return fmt::format("undefined opcode on stream {} of {}", stream, engine_name);
  }
  if (fault.name == "heartbeat") {
    device.board().cpucp().Kill();
    return std::string("the management processor answers no more; the next heartbeat resets the device");
  }
  if (fault.name == "thermal") {
    const int64_t celsius = fault.celsius.value_or(60);
    if (celsius < -100 || celsius > 1000) return Err(EINVAL);
    device.board().cpucp().Heat(celsius * 1000);
    return fmt::format("{} degrees more; the clock is {}", celsius,
                       device.board().cpucp().throttled() ? "throttled" : "not throttled");
  }
  if (fault.name == "pcie-down") {
    device.SetPciLink(false);
    return std::string("the link is down; the next heartbeat tries a reset, which cannot succeed");
  }
  if (fault.name == "pcie-up") {
    device.SetPciLink(true);
    return std::string("the link is up");
  }
  if (fault.name == "reset") {
    const std::string at = fault.at.value_or(fault.after ? "submit" : "now");
    if (at == "now") {
      if (fault.after) return Err(EINVAL);
      CW_CHECK(device.Reset(kResetHard));
      return std::string("hard reset");
    }
    if (at != "submit") return Err(EINVAL);
    const uint64_t after = fault.after.value_or(1);
    if (after == 0) return Err(EINVAL);
    device.ArmReset(after);
    return fmt::format("hard reset when command submission number {} from now is submitted", after);
  }
  if (!fault.event) return Err(EINVAL);
  if (*fault.event >= properties.num_of_events) return Err(EINVAL);
  const EventClass* known = FindEvent(properties.asic, *fault.event);
  device.HandleEvent(*fault.event, {.engine_id = engine, .critical = fault.critical});
  return fmt::format("event {} ({})", *fault.event, known == nullptr ? "unknown to the driver" : known->name);
}

}  // namespace causeway::habanalabs
