// SPDX-License-Identifier: Apache-2.0
// The queues' memory, the registers that make the device use it, and how jobs are put on them. Sources: linux v6.12
// gaudi/gaudi.c (gaudi_init_*_qman, gaudi_add_end_of_cb_packets), gaudi2/gaudi2.c (gaudi2_init_qman,
// gaudi2_pre_schedule_cs).
#include <bit>
#include <cstring>

#include "devices/gaudi/packets.h"
#include "drivers/habanalabs/device.h"
#include "drivers/habanalabs/submission.h"

namespace causeway::habanalabs {
namespace {

using gaudi::RegisterWrite;

constexpr uint32_t kSobIncrement = 0x80000001;  // QM_PQC_LBW_WDATA
constexpr uint32_t kPacketProt = 16;            // struct packet_msg_prot

// struct hl_bd.
struct BufferDescriptor {
  uint64_t ptr;
  uint32_t len;
  uint32_t ctl;
};
static_assert(sizeof(BufferDescriptor) == 16);

}  // namespace

void Submission::CreateQueues() {
  queues_.resize(queue_properties_.size());
  uint32_t sync_streams = 0;
  for (uint32_t id = 0; id < queues_.size(); ++id) {
    const QueueProperties& properties = queue_properties_[id];
    Queue& queue = queues_[id];
    if (properties.length == 0) continue;
    auto ring = device_.coherent().Allocate(properties.length * sizeof(BufferDescriptor));
    CW_INVARIANT(ring.has_value());
    queue.ring = std::move(*ring);
    if (properties.type == QueueType::kExternal) {
      auto cq = device_.coherent().Allocate(kQueueLength * sizeof(uint32_t));
      CW_INVARIANT(cq.has_value());
      queue.cq = std::move(*cq);
      queue.shadow.resize(kQueueLength);
    }
    if (!properties.sync_stream) continue;
    // sync_stream_queue_init().
    const uint32_t first_sob = gaudi2_ ? 85 : 128, first_mon = gaudi2_ ? 125 : 64;
    queue.base_mon = first_mon + sync_streams;
    for (uint32_t n = 0; n < queue.sobs.size(); ++n) {
      queue.sobs[n].id = first_sob + sync_streams * 2 + n;
      // gaudi2_get_sob_addr() reports none.
      queue.sobs[n].address_offset =
          gaudi2_ ? 0 : gaudi::SyncManagerBase(gaudi::Asic::kGaudi, 0) + queue.sobs[n].id * 4;
    }
    ++sync_streams;
  }
  if (gaudi2_) {
    auto cq = device_.coherent().Allocate(kCsCqEntries * sizeof(uint32_t));
    CW_INVARIANT(cq.has_value());
    cs_cq_ = std::move(*cq);
  }
}

// hl_hw_queue_reset() and the ASIC's queue initialisation: everything as after power-up.
void Submission::InitDeviceLocked() {
  const gaudi::Asic asic = device_.properties().asic;
  const uint64_t cfg = gaudi::MapOf(asic).cfg_base;
  const gaudi::QmanRegisters& r = gaudi::QmanRegistersOf(asic);
  const gaudi::SyncManagerRegisters& sm = gaudi::SyncManagerRegistersOf(asic);
  const uint64_t host_base = gaudi2_ ? 0 : gaudi::kGaudiHostBase;
  std::vector<RegisterWrite> writes;
  const auto quad = [&](uint32_t lo, uint32_t hi, uint64_t value) {
    writes.push_back({lo, static_cast<uint32_t>(value)});
    writes.push_back({hi, static_cast<uint32_t>(value >> 32)});
  };
  const auto& specs = engines_.qman_specs();
  for (Queue& queue : queues_) {
    queue.pi = queue.ci = queue.cq_pi = queue.cq_ci = 0;
    if (queue.cq) std::memset(queue.cq.bytes(), 0, queue.cq.size());
    queue.next_sob_val = 1;
    queue.curr_sob = 0;
    for (HwSob& sob : queue.sobs) {
      sob.refs = 1;
      sob.need_reset = false;
    }
  }
  for (uint32_t id = 0; id < queues_.size(); ++id) {
    const QueueProperties& properties = queue_properties_[id];
    if (properties.length == 0) continue;
    const uint32_t base = specs[properties.qman].base;
    const uint32_t n = properties.stream * 4;
    quad(base + r.pq_base_lo + n, base + r.pq_base_hi + n, host_base + queues_[id].ring.dma_address());
    writes.push_back({base + r.pq_size + n, static_cast<uint32_t>(std::countr_zero(properties.length))});
    writes.push_back({base + r.pq_pi + n, 0});
    writes.push_back({base + r.pq_ci + n, 0});
    if (properties.stream != 0) continue;
    // The whole QMAN, once. Message bases: monitors and SOBs of one sync manager; on Gaudi also those of W_S where the
    // driver's own sync streams run.
    const uint32_t user_sm = gaudi::SyncManagerBase(asic, gaudi2_ ? 0 : gaudi::kGaudiSmEastNorth);
    const uint32_t driver_sm = gaudi::SyncManagerBase(asic, 0);
    for (uint32_t cp = 0; cp < gaudi::kCps; ++cp) {
      const uint32_t c = cp * 4;
      quad(base + r.msg_base_lo[0] + c, base + r.msg_base_hi[0] + c, cfg + user_sm + sm.pay_addr_lo);
      quad(base + r.msg_base_lo[1] + c, base + r.msg_base_hi[1] + c, cfg + user_sm);
      if (gaudi2_) continue;
      quad(base + r.msg_base_lo[2] + c, base + r.msg_base_hi[2] + c, cfg + driver_sm + sm.pay_addr_lo);
      quad(base + r.msg_base_lo[3] + c, base + r.msg_base_hi[3] + c, cfg + driver_sm);
    }
    if (gaudi2_) {
      for (uint32_t stream = 0; stream < gaudi::kStreams; ++stream) {
        writes.push_back({base + r.pqc_lbw_wdata + stream * 4, kSobIncrement});
      }
      quad(base + r.pqc_lbw_base_lo, base + r.pqc_lbw_base_hi, cfg + driver_sm);
      writes.push_back({base + r.pqc_cfg, 1});
    }
    // Gaudi's PCI DMA queues run the driver's copies of command buffers, which nobody else can write.
    writes.push_back({base + r.glbl_prot, properties.type == QueueType::kExternal ? 1u : 0u});
    writes.push_back({base + r.glbl_cfg0, 1});
  }
  if (gaudi2_) {
    // gaudi2_init_sm(): completion queue 0.
    const uint32_t base = gaudi::SyncManagerGlobalBase(0);
    std::memset(cs_cq_.bytes(), 0, cs_cq_.size());
    cs_cq_ci_ = 0;
    quad(base + gaudi::kSmCqBaseLo, base + gaudi::kSmCqBaseHi, cs_cq_.dma_address());
    writes.push_back({base + gaudi::kSmCqSizeLog2, static_cast<uint32_t>(std::countr_zero(kCsCqEntries * 4))});
    writes.push_back({base + gaudi::kSmCqPi, 0});
    quad(base + gaudi::kSmCqLbwAddrLo, base + gaudi::kSmCqLbwAddrHi, cfg + gaudi::kGaudi2MsixDoorbell);
    writes.push_back({base + gaudi::kSmCqLbwData, kGaudi2CsCompletionVector});
    writes.push_back({base + gaudi::kSmCqIncMode, 0});
  }
  engines_.WriteRegisters(writes);
}

// ext_queue_schedule_job(), int_queue_schedule_job(), hw_queue_schedule_job(), then the doorbells.
void Submission::SubmitJobsLocked(const CsRef& cs) {
  const gaudi::Asic asic = device_.properties().asic;
  const gaudi::QmanRegisters& r = gaudi::QmanRegistersOf(asic);
  const auto slot = static_cast<uint32_t>(cs->sequence & (max_pending_cs_ - 1));
  std::vector<RegisterWrite> writes;
  if (gaudi2_) {
    // gaudi2_arm_cq_monitor(): SOB[slot] counts jobs, MON[slot] tells queue 0 when all are done.
    const gaudi::SyncManagerRegisters& sm = gaudi::kGaudi2Sm;
    const uint32_t base = gaudi::SyncManagerBase(asic, 0);
    const uint32_t mask = 0xffu & ~(1u << slot % 8);
    const auto jobs = static_cast<uint32_t>(cs->jobs.size());
    writes.push_back({base + sm.pay_addr_lo + slot * 4, 0});
    writes.push_back({base + sm.pay_addr_hi + slot * 4, 0});
    writes.push_back({base + sm.pay_data + slot * 4, kCqReady | kCqShadowValid | slot});
    writes.push_back({base + sm.config + slot * 4, 1u << 4 | 1u << 8});  // CQ_EN, LBW_EN
    writes.push_back({base + sm.arm + slot * 4, slot / 8 | mask << 8 | jobs << 17});
  }
  cs->pending_jobs = 0;
  for (Job& job : cs->jobs) {
    Queue& queue = queues_[job.queue];
    const QueueProperties& properties = queue_properties_[job.queue];
    const uint32_t at = queue.pi % properties.length;
    BufferDescriptor descriptor{.ptr = job.address, .len = job.size, .ctl = 0};
    if (properties.type == QueueType::kExternal) {
      descriptor.ctl = at;
      if (!cs->NeedsCompletion()) {
        descriptor.len = job.user_size;  // without room for the last packets
      } else {
        // gaudi_add_end_of_cb_packets(): NOPs up to the last two packets, which store the completion entry and raise
        // the interrupt.
        std::byte* const bytes = job.bytes;
        const uint32_t tail = job.size - 2 * kPacketProt;
        for (uint32_t pad = job.user_size; pad < tail; pad += 8) {
          const uint32_t nop[2] = {0, static_cast<uint32_t>(gaudi::Opcode::kNop) << 24};
          std::memcpy(bytes + pad, nop, sizeof(nop));
        }
        const uint64_t entry = gaudi::kGaudiHostBase + queue.cq.dma_address() + queue.cq_pi % kQueueLength * 4;
        const uint64_t msi = gaudi::kGaudiMap.cfg_base + gaudi::kGaudiMsiRequest;
        const uint32_t ctl = static_cast<uint32_t>(gaudi::Opcode::kMsgProt) << 24 | gaudi::kCtlMessageBarrier;
        const struct {
          uint32_t value, ctl;
          uint64_t address;
        } packets[2] = {{kCqReady | kCqShadowValid | at, ctl | gaudi::kCtlEngineBarrier, entry}, {1, ctl, msi}};
        static_assert(sizeof(packets) == 2 * kPacketProt);
        std::memcpy(bytes + tail, packets, sizeof(packets));
        ++queue.cq_pi;
        queue.shadow[at] = cs;
        ++cs->pending_jobs;
      }
    } else if (properties.type == QueueType::kHardware) {
      descriptor.ctl = slot << 16 | (queue.pi & 0xffff);
      ++cs->pending_jobs;
    }
    std::memcpy(queue.ring.bytes() + at * sizeof(descriptor), &descriptor, sizeof(descriptor));
    ++queue.pi;
  }
  for (const auto& [id, count] : cs->jobs_in_queue) {
    const QueueProperties& properties = queue_properties_[id];
    writes.push_back({engines_.qman_specs()[properties.qman].base + r.pq_pi + properties.stream * 4,
                      queues_[id].pi & (2 * properties.length - 1)});
  }
  engines_.RingDoorbells(writes);
}

}  // namespace causeway::habanalabs
