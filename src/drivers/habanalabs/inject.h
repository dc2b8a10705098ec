// SPDX-License-Identifier: Apache-2.0
// Fault injection: what can go wrong with an accelerator, on demand. A fault goes in where the hardware would report
// it (management processor, event queue, MMU, PCIe link), so programs see what the driver makes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "drivers/habanalabs/device.h"

namespace causeway::habanalabs {

struct Fault {
  std::string name;                 // of FaultKinds()
  std::optional<uint64_t> address;  // page-fault: device VA; razwi: device address
  std::optional<uint16_t> engine;   // engine id as INFO HW_IDLE numbers them; default: the first PCI DMA
  std::optional<uint32_t> stream;   // undefined-opcode: 0..4
  std::optional<uint32_t> index;    // ecc: HBM stack
  std::optional<int64_t> celsius;   // thermal: degrees added; 0 ends it
  std::optional<uint16_t> event;    // event: its number
  std::optional<std::string> at;    // reset: "now", "submit"
  std::optional<uint64_t> after;    // reset at a point of submission: the nth from now on, 1 the next
  bool write = false;               // razwi
  bool uncorrectable = false;       // ecc
  bool critical = false;            // event: the firmware's word
};

struct FaultKind {
  std::string_view name;
  std::string_view what;     // what happens, one line
  std::string_view options;  // "--address ADDR [--engine N]"
};
std::span<const FaultKind> FaultKinds();

// What will be seen, for people. errors: ENOENT no such kind; EINVAL options that the kind or the device does not have.
Result<std::string> Inject(HlDevice& device, const Fault& fault);

}  // namespace causeway::habanalabs
