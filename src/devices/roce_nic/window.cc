// SPDX-License-Identifier: Apache-2.0
#include "devices/roce_nic/window.h"

#include "base/checked.h"

namespace causeway::roce {
namespace {

constexpr uint32_t kType2 = 2;  // IB_MW_TYPE_2

MwEntry* FindWindowEntry(const Engine& engine, uint32_t key) {
  const uint64_t index = key >> 8;
  if (index <= kMaxMrs || index > kMaxMrs + kMaxMws) return nullptr;
  MwEntry& mw = engine.nic->mws[index - kMaxMrs - 1];
  return mw.valid.load(std::memory_order_acquire) != 0 ? &mw : nullptr;
}

// Marks the window as half changed while it is; a holder of its lock who is killed meanwhile leaves it void
// (NicDevices::RecoverSlot()).
class Changing {
 public:
  explicit Changing(MwEntry& mw) : mw_(mw) {
    mw_.changing.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;
  ~Changing() { mw_.changing.store(0, std::memory_order_release); }

 private:
  MwEntry& mw_;
};

// rxe_check_bind_mw(). Beyond it: region, window and QP are of one PD for windows of type 1 too.
bool MayBind(const QpContext& qp, const MwEntry& mw, const MrEntry* mr, const Bind& bind) {
  if (mw.valid.load(std::memory_order_relaxed) == 0 || mw.rkey != bind.mw_rkey || mw.pd != qp.pd) return false;
  if (mw.type == kType2) {
    if (mw.mr != 0 || mr == nullptr) return false;  // o10-37.2.30, o10-37.2.40
  } else if ((bind.access & uapi::IB_ZERO_BASED) != 0) {
    return false;  // o10-36.2.2
  }
  if (mr == nullptr) return true;
  if (mr->pd != qp.pd || (mr->access & uapi::IB_ZERO_BASED) != 0) return false;
  if ((mr->access & uapi::IB_ACCESS_MW_BIND) == 0) return false;  // C10-73
  constexpr uint32_t kChanges = uapi::IB_ACCESS_REMOTE_WRITE | uapi::IB_ACCESS_REMOTE_ATOMIC;
  if ((bind.access & kChanges) != 0 && (mr->access & uapi::IB_ACCESS_LOCAL_WRITE) == 0) return false;  // C10-74
  if ((bind.access & uapi::IB_ZERO_BASED) != 0) return bind.length <= mr->length;                      // C10-75
  return bind.addr >= mr->iova && InRange(bind.addr - mr->iova, bind.length, mr->length);
}

}  // namespace

KeyCheck FindThroughWindow(const Engine& engine, const Actor& actor, const QpContext& qp, uint32_t key, uint32_t access,
                           uint64_t iova, uint64_t len, Stretch* out) {
  MwEntry* mw = FindWindowEntry(engine, key);
  if (mw == nullptr) return KeyCheck::kBadKey;
  uint32_t mr_key;
  uint64_t start;
  {
    const OwnedLockGuard lock(actor, mw->lock, ipc::kLockShared);
    if (mw->valid.load(std::memory_order_relaxed) == 0 || mw->rkey != key || mw->pd != qp.pd || mw->mr == 0 ||
        (mw->type == kType2 && mw->qpn != qp.qpn) || (mw->access & access) != access) {
      return KeyCheck::kBadKey;
    }
    // Deviation: rxe of Linux 6.1 checks the region's bounds only (specs 4.10).
    const bool zero_based = (mw->access & uapi::IB_ZERO_BASED) != 0;
    const uint64_t base = zero_based ? 0 : mw->addr;
    if (iova < base || !InRange(iova - base, len, mw->length)) return KeyCheck::kBadRange;
    start = zero_based ? mw->addr + iova : iova;
    mr_key = engine.nic->mrs[mw->mr].key;
  }
  return FindRegion(engine, mr_key, qp.pd, 0, start, len, out);
}

bool BindWindow(const Engine& engine, const Actor& actor, const QpContext& qp, const Bind& bind) {
  MwEntry* mw = FindWindowEntry(engine, bind.mw_rkey);
  if (mw == nullptr) return false;
  const MrEntry* mr = nullptr;
  const uint32_t index = bind.mr_lkey >> 8;
  if (bind.length != 0) {
    if (index == 0 || index >= kMaxMrs) return false;
    mr = &engine.nic->mrs[index];
    if (mr->valid.load(std::memory_order_acquire) == kMrDead || mr->key != bind.mr_lkey) return false;
  }
  const OwnedLockGuard lock(actor, mw->lock, ipc::kLockShared);
  if (!MayBind(qp, *mw, mr, bind)) return false;
  const Changing changing(*mw);
  __atomic_store_n(&mw->rkey, (mw->rkey & ~0xffu) | (bind.rkey & 0xff),
                   __ATOMIC_RELAXED);  // read without the lock, too
  mw->access = bind.access;
  mw->addr = bind.addr;
  mw->length = bind.length;
  mw->qpn = mw->type == kType2 ? qp.qpn : 0;
  mw->mr = mr != nullptr ? index : 0;
  return true;
}

bool InvalidateWindow(const Engine& engine, const Actor& actor, const QpContext& qp, uint32_t key, bool in_responder) {
  MwEntry* mw = FindWindowEntry(engine, key);
  if (mw == nullptr) return false;
  const auto free = [&] {
    const OwnedLockGuard lock(actor, mw->lock, ipc::kLockShared);
    // A free window is an error too; the kernel's rxe would follow a null pointer.
    if (mw->valid.load(std::memory_order_relaxed) == 0 || mw->rkey != key || mw->pd != qp.pd || mw->type != kType2 ||
        mw->mr == 0) {
      return false;
    }
    mw->mr = 0;
    return true;
  };
  if (in_responder) return free();
  uint32_t user;
  {
    const OwnedLockGuard lock(actor, mw->lock, ipc::kLockShared);
    user = mw->qpn;
  }
  const OwnedLockGuard accesses(actor, engine.nic->qps[user].rq_lock, ipc::kLockRq);
  return free();
}

}  // namespace causeway::roce
