// SPDX-License-Identifier: Apache-2.0
// Memory windows: binding, invalidating, looking up. A window's fields are read and written under its lock; accesses
// through a type 2 window run under the RQ lock of the QP that it is bound to, which is how an invalidation knows that
// none is in progress. Freestanding.
#pragma once

#include "devices/roce_nic/dma.h"
#include "devices/roce_nic/engine.h"
#include "uapi/rxe.h"

namespace causeway::roce {

// The index range of a key tells its kind (rxe_mw.c, rkey_is_mw()).
inline bool IsWindowKey(uint32_t key) { return (key >> 8) > kMaxMrs; }

// FindRegion() for the key of a window that `qp` may use: the window's rights and bounds, and its region's life. With
// the RQ lock of `qp` held.
KeyCheck FindThroughWindow(const Engine& engine, const Actor& actor, const QpContext& qp, uint32_t key, uint32_t access,
                           uint64_t iova, uint64_t len, Stretch* out);

// A BIND_MW work request, read from the ring once.
struct Bind {
  uint64_t addr, length;
  uint32_t mr_lkey, mw_rkey, rkey, access;
};
// Binds as `qp` asks (rxe_mw.c rxe_check_bind_mw(), rxe_do_bind_mw()). False: refused, nothing has changed.
// With the SQ lock of `qp` held, and no RQ lock.
bool BindWindow(const Engine& engine, const Actor& actor, const QpContext& qp, const Bind& bind);

// Frees the type 2 window of `key` for LOCAL_INV and SEND_WITH_INV (rxe_mw.c rxe_invalidate_mw()). False: not a bound
// window of type 2 of this PD under this key. `in_responder`: the RQ lock of `qp` is held; else no RQ lock is, and no
// access through the window is in progress when this returns.
bool InvalidateWindow(const Engine& engine, const Actor& actor, const QpContext& qp, uint32_t key, bool in_responder);

}  // namespace causeway::roce
