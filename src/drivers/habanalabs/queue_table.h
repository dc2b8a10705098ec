// SPDX-License-Identifier: Apache-2.0
// Properties of every queue id of the uAPI: struct hw_queue_properties as gaudi_set_fixed_properties() and
// gaudi2_set_hw_queue_properties() fill it.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/gaudi/address_map.h"

namespace causeway::habanalabs {

enum class QueueType : uint8_t {
  kNone,      // QUEUE_TYPE_NA
  kExternal,  // QUEUE_TYPE_EXT: Gaudi's PCI DMA; the driver parses and copies command buffers
  kInternal,  // QUEUE_TYPE_INT: the other engines of Gaudi; no completion
  kCpu,
  kHardware,  // QUEUE_TYPE_HW: all of Gaudi2
};

struct QueueProperties {
  QueueType type = QueueType::kNone;
  bool driver_only = false;
  bool sync_stream = false;  // SIGNAL and WAIT
  bool collective_master = false;
  uint32_t length = 0;  // entries
  uint32_t qman = 0;    // index in gaudi::QmansOf()
  uint32_t stream = 0;
};

constexpr uint32_t kQueueLength = 4096;  // HL_QUEUE_LENGTH

std::vector<QueueProperties> QueuesOf(gaudi::Asic asic);

}  // namespace causeway::habanalabs
