// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/queue_table.h"

#include "devices/gaudi/engine_table.h"

namespace causeway::habanalabs {

std::vector<QueueProperties> QueuesOf(gaudi::Asic asic) {
  constexpr uint32_t kGaudiCpuQueue = 8, kGaudi2CpuQueue = 260;
  constexpr uint32_t kMmeTpcQueueLength = 1024;  // MME_QMAN_LENGTH, TPC_QMAN_LENGTH
  const bool gaudi2 = asic == gaudi::Asic::kGaudi2;
  std::vector<QueueProperties> queues(gaudi2 ? 261 : 113);
  queues[gaudi2 ? kGaudi2CpuQueue : kGaudiCpuQueue] = {.type = QueueType::kCpu, .driver_only = true};
  const auto qmans = gaudi::QmansOf(asic);
  for (uint32_t n = 0; n < qmans.size(); ++n) {
    const gaudi::EngineKind kind = qmans[n].kind;
    for (uint32_t stream = 0; stream < 4; ++stream) {
      QueueProperties& queue = queues[qmans[n].first_queue + stream];
      queue.qman = n;
      queue.stream = stream;
      // Without the NIC driver its queues are not enabled: validate_queue_index() and gaudi2_validate_cb_address().
      if (kind == gaudi::EngineKind::kNic) continue;
      queue.length = kQueueLength;
      if (gaudi2) {
        queue.type = QueueType::kHardware;
        queue.sync_stream = true;
      } else if (kind == gaudi::EngineKind::kPciDma) {
        queue.type = QueueType::kExternal;
        queue.sync_stream = queue.collective_master = true;
      } else {
        queue.type = QueueType::kInternal;
        if (kind != gaudi::EngineKind::kDma) queue.length = kMmeTpcQueueLength;
      }
    }
  }
  return queues;
}

}  // namespace causeway::habanalabs
