// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/qp_state.h"

#include <array>
#include <cstddef>

namespace causeway::infiniband {
namespace {

using namespace uapi;

struct Row {
  ib_qp_state from, to;
  uint32_t required[3];  // RC, UC, UD
  uint32_t optional[3];
};

constexpr uint32_t kInitMust = IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_ACCESS_FLAGS;
constexpr uint32_t kInitMustUd = IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_QKEY;
constexpr uint32_t kPath = IB_QP_AV | IB_QP_PATH_MTU | IB_QP_DEST_QPN | IB_QP_RQ_PSN;
constexpr uint32_t kRtrMay = IB_QP_ALT_PATH | IB_QP_ACCESS_FLAGS | IB_QP_PKEY_INDEX;
constexpr uint32_t kRtsMayUc = IB_QP_CUR_STATE | IB_QP_ALT_PATH | IB_QP_ACCESS_FLAGS | IB_QP_PATH_MIG_STATE;
constexpr uint32_t kRtsMayRc = kRtsMayUc | IB_QP_MIN_RNR_TIMER;
constexpr uint32_t kRtsMayUd = IB_QP_CUR_STATE | IB_QP_QKEY;
constexpr uint32_t kSqdMayUc = IB_QP_AV | IB_QP_ALT_PATH | IB_QP_ACCESS_FLAGS | IB_QP_PKEY_INDEX | IB_QP_PATH_MIG_STATE;
constexpr uint32_t kSqdMayRc = kSqdMayUc | IB_QP_PORT | IB_QP_TIMEOUT | IB_QP_RETRY_CNT | IB_QP_RNR_RETRY |
                               IB_QP_MAX_QP_RD_ATOMIC | IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_MIN_RNR_TIMER;

constexpr Row kRows[] = {
    {IB_QPS_RESET, IB_QPS_RESET, {}, {}},
    {IB_QPS_RESET, IB_QPS_INIT, {kInitMust, kInitMust, kInitMustUd}, {}},
    {IB_QPS_INIT, IB_QPS_RESET, {}, {}},
    {IB_QPS_INIT, IB_QPS_ERR, {}, {}},
    {IB_QPS_INIT, IB_QPS_INIT, {}, {kInitMust, kInitMust, kInitMustUd}},
    {IB_QPS_INIT,
     IB_QPS_RTR,
     {kPath | IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_MIN_RNR_TIMER, kPath, 0},
     {kRtrMay, kRtrMay, IB_QP_PKEY_INDEX | IB_QP_QKEY}},
    {IB_QPS_RTR, IB_QPS_RESET, {}, {}},
    {IB_QPS_RTR, IB_QPS_ERR, {}, {}},
    {IB_QPS_RTR,
     IB_QPS_RTS,
     {IB_QP_TIMEOUT | IB_QP_RETRY_CNT | IB_QP_RNR_RETRY | IB_QP_SQ_PSN | IB_QP_MAX_QP_RD_ATOMIC, IB_QP_SQ_PSN,
      IB_QP_SQ_PSN},
     {kRtsMayRc, kRtsMayUc, kRtsMayUd}},
    {IB_QPS_RTS, IB_QPS_RESET, {}, {}},
    {IB_QPS_RTS, IB_QPS_ERR, {}, {}},
    {IB_QPS_RTS, IB_QPS_RTS, {}, {kRtsMayRc, kRtsMayUc, kRtsMayUd}},
    {IB_QPS_RTS, IB_QPS_SQD, {}, {IB_QP_EN_SQD_ASYNC_NOTIFY, IB_QP_EN_SQD_ASYNC_NOTIFY, IB_QP_EN_SQD_ASYNC_NOTIFY}},
    {IB_QPS_SQD, IB_QPS_RESET, {}, {}},
    {IB_QPS_SQD, IB_QPS_ERR, {}, {}},
    {IB_QPS_SQD, IB_QPS_RTS, {}, {kRtsMayRc, kRtsMayUc, kRtsMayUd}},
    {IB_QPS_SQD, IB_QPS_SQD, {}, {kSqdMayRc, kSqdMayUc, IB_QP_PKEY_INDEX | IB_QP_QKEY}},
    {IB_QPS_SQE, IB_QPS_RESET, {}, {}},
    {IB_QPS_SQE, IB_QPS_ERR, {}, {}},
    {IB_QPS_SQE, IB_QPS_RTS, {}, {0, IB_QP_CUR_STATE | IB_QP_ACCESS_FLAGS, kRtsMayUd}},
    {IB_QPS_ERR, IB_QPS_RESET, {}, {}},
    {IB_QPS_ERR, IB_QPS_ERR, {}, {}},
};

constexpr size_t kStates = IB_QPS_ERR + 1;
constexpr size_t kTypes = 3;
using Table = std::array<std::array<std::array<QpTransition, kTypes>, kStates>, kStates>;

constexpr Table kTable = [] {
  Table table = {};
  for (const Row& row : kRows) {
    for (size_t type = 0; type < kTypes; ++type) {
      table[row.from][row.to][type] = {true, row.required[type], row.optional[type]};
    }
  }
  return table;
}();

}  // namespace

QpTransition TransitionOf(ib_qp_state current, ib_qp_state next, ib_uverbs_qp_type type) {
  if (current > IB_QPS_ERR || next > IB_QPS_ERR || type < IB_UVERBS_QPT_RC || type > IB_UVERBS_QPT_UD) return {};
  return kTable[current][next][type - IB_UVERBS_QPT_RC];
}

bool ModifyQpIsOk(ib_qp_state current, ib_qp_state next, ib_uverbs_qp_type type, uint32_t mask) {
  if ((mask & IB_QP_CUR_STATE) != 0 && current != IB_QPS_RTR && current != IB_QPS_RTS && current != IB_QPS_SQD &&
      current != IB_QPS_SQE) {
    return false;
  }
  const QpTransition row = TransitionOf(current, next, type);
  return row.valid && (mask & row.required) == row.required &&
         (mask & ~(row.required | row.optional | IB_QP_STATE)) == 0;
}

}  // namespace causeway::infiniband
