// SPDX-License-Identifier: Apache-2.0
// The state machine against the attribute tables of IBTA and rxe (specs: verbs 5.1): every pair of states for RC, UC
// and UD, and every single mask bit added to or taken from each transition. The table here is written in words, from
// the specification, and not from the code's.
#include "drivers/infiniband/qp_state.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

namespace causeway::infiniband {
namespace {

using namespace uapi;

const std::map<std::string, uint32_t> kBits = {
    {"state", 0},   {"cur", 1},  {"sqd_notify", 2}, {"access", 3},   {"pkey", 4},    {"port", 5},
    {"qkey", 6},    {"av", 7},   {"mtu", 8},        {"timeout", 9},  {"retry", 10},  {"rnr_retry", 11},
    {"rq_psn", 12}, {"rd", 13},  {"alt", 14},       {"min_rnr", 15}, {"sq_psn", 16}, {"dest_rd", 17},
    {"mig", 18},    {"cap", 19}, {"dest_qpn", 20}};
const std::map<std::string, ib_qp_state> kStates = {{"RESET", IB_QPS_RESET}, {"INIT", IB_QPS_INIT}, {"RTR", IB_QPS_RTR},
                                                    {"RTS", IB_QPS_RTS},     {"SQD", IB_QPS_SQD},   {"SQE", IB_QPS_SQE},
                                                    {"ERR", IB_QPS_ERR}};

struct Words {
  const char *from, *to;
  const char* required[3];  // RC, UC, UD
  const char* optional[3];
};
constexpr Words kRows[] = {
    {"RESET", "INIT", {"pkey port access", "pkey port access", "pkey port qkey"}, {"", "", ""}},
    {"INIT", "INIT", {"", "", ""}, {"pkey port access", "pkey port access", "pkey port qkey"}},
    {"INIT",
     "RTR",
     {"av mtu dest_qpn rq_psn dest_rd min_rnr", "av mtu dest_qpn rq_psn", ""},
     {"alt access pkey", "alt access pkey", "pkey qkey"}},
    {"RTR",
     "RTS",
     {"timeout retry rnr_retry sq_psn rd", "sq_psn", "sq_psn"},
     {"cur alt access min_rnr mig", "cur alt access mig", "cur qkey"}},
    {"RTS", "RTS", {"", "", ""}, {"cur access alt mig min_rnr", "cur access alt mig", "cur qkey"}},
    {"RTS", "SQD", {"", "", ""}, {"sqd_notify", "sqd_notify", "sqd_notify"}},
    {"SQD",
     "SQD",
     {"", "", ""},
     {"port av timeout retry rnr_retry rd dest_rd alt access pkey min_rnr mig", "av alt access pkey mig", "pkey qkey"}},
    {"SQD", "RTS", {"", "", ""}, {"cur alt access min_rnr mig", "cur alt access mig", "cur qkey"}},
    {"SQE", "RTS", {"", "", ""}, {"", "cur access", "cur qkey"}},
};

uint32_t Mask(const std::string& words) {
  uint32_t mask = 0;
  std::istringstream in(words);
  for (std::string word; in >> word;) mask |= 1u << kBits.at(word);
  return mask;
}

const Words* RowOf(const std::string& from, const std::string& to) {
  for (const Words& row : kRows) {
    if (row.from == from && row.to == to) return &row;
  }
  return nullptr;
}

TEST(QpState, EveryPairAndEveryMaskBit) {
  constexpr ib_uverbs_qp_type kTypes[] = {IB_UVERBS_QPT_RC, IB_UVERBS_QPT_UC, IB_UVERBS_QPT_UD};
  int checked = 0;
  for (const auto& [from, current] : kStates) {
    for (const auto& [to, next] : kStates) {
      for (size_t type = 0; type < 3; ++type) {
        SCOPED_TRACE(from + " -> " + to + " type " + std::to_string(kTypes[type]));
        const Words* row = RowOf(from, to);
        const bool leaves = to == "RESET" || (to == "ERR" && from != "RESET");
        const uint32_t required = row != nullptr ? Mask(row->required[type]) : 0;
        const uint32_t optional = row != nullptr ? Mask(row->optional[type]) : 0;
        const bool valid = row != nullptr || leaves;
        EXPECT_EQ(ModifyQpIsOk(current, next, kTypes[type], IB_QP_STATE | required), valid);
        for (uint32_t bit = 0; bit <= 20; ++bit) {
          const uint32_t mask = (IB_QP_STATE | required) ^ (1u << bit);
          // Taking a required bit away fails; STATE may go; adding needs an optional one. CUR_STATE has its own rule.
          bool want = valid;
          if ((required >> bit & 1) != 0) want = false;
          if (bit != 0 && ((required | optional) >> bit & 1) == 0) want = false;
          if (bit == 1 && (current == IB_QPS_RESET || current == IB_QPS_INIT || current == IB_QPS_ERR)) want = false;
          EXPECT_EQ(ModifyQpIsOk(current, next, kTypes[type], mask), want) << "bit " << bit;
          ++checked;
        }
      }
    }
  }
  EXPECT_EQ(checked, 7 * 7 * 3 * 21);
}

TEST(QpState, UnknownTypesHaveNoTransitions) {
  EXPECT_FALSE(ModifyQpIsOk(IB_QPS_RESET, IB_QPS_RESET, IB_UVERBS_QPT_RAW_PACKET, IB_QP_STATE));
  EXPECT_FALSE(ModifyQpIsOk(IB_QPS_RESET, IB_QPS_RESET, IB_UVERBS_QPT_XRC_INI, IB_QP_STATE));
}

}  // namespace
}  // namespace causeway::infiniband
