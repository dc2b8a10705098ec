// SPDX-License-Identifier: Apache-2.0
// The queue pair state machine as a table: linux v6.1 drivers/infiniband/core/verbs.c qp_state_table,
// ib_modify_qp_is_ok(). IBTA volume 1, 11.2.5.2.
//
//   RESET -> INIT -> RTR -> RTS <-> SQD        any -> RESET; any but RESET -> ERR; SQE -> RTS
#pragma once

#include <cstdint>

#include "uapi/ib_verbs.h"

namespace causeway::infiniband {

// May `mask` (IB_QP_*) take a QP of this type from `current` to `next`?
bool ModifyQpIsOk(uapi::ib_qp_state current, uapi::ib_qp_state next, uapi::ib_uverbs_qp_type type, uint32_t mask);

struct QpTransition {
  bool valid = false;
  uint32_t required = 0;
  uint32_t optional = 0;
};
// RC, UC and UD; not valid for any other type.
QpTransition TransitionOf(uapi::ib_qp_state current, uapi::ib_qp_state next, uapi::ib_uverbs_qp_type type);

}  // namespace causeway::infiniband
