// SPDX-License-Identifier: Apache-2.0
#include "shim/doorbell.h"

#include <cerrno>
#include <cstring>

#include "devices/roce_nic/engine.h"
#include "shim/fd_table.h"
#include "shim/machine.h"
#include "uapi/ib_verbs.h"

namespace causeway::shim {
namespace {

// What rdma-core providers/rxe/rxe.c post_send_db() writes.
struct Doorbell {
  uapi::ib_uverbs_cmd_hdr header;
  uapi::ib_uverbs_post_send request;
};
static_assert(sizeof(Doorbell) == 32);
constexpr uint32_t kWqeSize = 128;  // sizeof(struct ibv_send_wr)

bool IsDoorbell(const void* buffer, size_t size, Doorbell* out) {
  if (size != sizeof(*out) || buffer == nullptr) return false;
  std::memcpy(out, buffer, sizeof(*out));
  return out->header.command == uapi::IB_USER_VERBS_CMD_POST_SEND && out->header.in_words == sizeof(*out) / 4 &&
         out->header.out_words == sizeof(uapi::ib_uverbs_post_send_resp) / 4 && out->request.wr_count == 0 &&
         out->request.sge_count == 0 && out->request.wqe_size == kWqeSize;
}

// (file, handle) -> QPN; 0 unknown. Direct mapped: an entry is a guess that the QP's context confirms.
constexpr uint32_t kCacheEntries = 1 << 16;
std::atomic<uint32_t> cache[kCacheEntries];

std::atomic<uint32_t>& CacheEntry(uint64_t file, uint32_t handle) {
  const uint64_t mixed = (file * 0x9e3779b97f4a7c15u) ^ (uint64_t{handle} << 20) ^ handle;
  return cache[static_cast<uint32_t>(mixed ^ mixed >> 32) % kCacheEntries];
}

// Command and response lie just above this thread's stack pointer, as the provider's do: they are mapped, and used
// without asking. Anything else goes to the machine, which answers EFAULT where Linux does.
bool IsOnThisStack(uint64_t address) {
  const auto here = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  return address - here < 65536 - sizeof(uint32_t);
}

}  // namespace

int64_t RingDoorbell(int fd, const void* buffer, size_t size) {
  Doorbell doorbell;
  if (!IsOnThisStack(reinterpret_cast<uint64_t>(buffer)) || !IsDoorbell(buffer, size, &doorbell) ||
      !IsOnThisStack(doorbell.request.response)) {
    return kNotADoorbell;
  }
  const uint64_t file = FileOf(fd);
  const uint32_t qpn = CacheEntry(file, doorbell.request.qp_handle).load(std::memory_order_relaxed);
  if (qpn == 0 || qpn >= roce::kMaxQps) return kNotADoorbell;
  const int slot = ThreadSlotIndex();
  const roce::Engine* engine = NicEngine();
  if (slot < 0 || engine == nullptr || !ipc::MachineAlive(*engine->header)) return kNotADoorbell;
  const roce::QpContext& qp = engine->nic->qps[qpn];
  // acquire: pairs with the release that made the entry valid
  if (qp.valid.load(std::memory_order_acquire) == 0 || qp.owner_file != file ||
      qp.handle != doorbell.request.qp_handle) {
    return kNotADoorbell;
  }
  // Success and failure both answer (ib_uverbs_post_send()).
  const uapi::ib_uverbs_post_send_resp response = {};
  std::memcpy(reinterpret_cast<void*>(doorbell.request.response), &response, sizeof(response));
  // Below RTS the WQEs stay where they are (linux drivers/infiniband/sw/rxe/rxe_verbs.c rxe_post_send()).
  if (qp.state.load(std::memory_order_acquire) < roce::kRts) return -EINVAL;
  const int saved_errno = errno;
  roce::RingDoorbell(*engine, static_cast<uint32_t>(slot), qpn);
  errno = saved_errno;
  return static_cast<int64_t>(size);
}

void LearnDoorbell(int fd, const void* buffer, size_t size, uint64_t answer) {
  Doorbell doorbell;
  if (answer == 0 || answer >= roce::kMaxQps || !IsDoorbell(buffer, size, &doorbell)) return;
  CacheEntry(FileOf(fd), doorbell.request.qp_handle).store(static_cast<uint32_t>(answer), std::memory_order_relaxed);
}

}  // namespace causeway::shim
