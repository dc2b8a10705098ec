// SPDX-License-Identifier: Apache-2.0
// The port's hw_counters, in rxe's order (rxe_hw_counters.c): for sysfs and NETLINK_RDMA.
#pragma once

#include "devices/roce_nic/nic.h"

namespace causeway::infiniband {

using Counter = std::atomic<uint64_t> roce::NicCounters::*;
inline constexpr struct {
  const char* name;
  Counter counter;
} kHwCounters[] = {
    {"sent_pkts", &roce::NicCounters::sent_pkts},
    {"rcvd_pkts", &roce::NicCounters::rcvd_pkts},
    {"duplicate_request", &roce::NicCounters::duplicate_request},
    {"out_of_seq_request", &roce::NicCounters::out_of_seq_request},
    {"rcvd_rnr_err", &roce::NicCounters::rcvd_rnr_err},
    {"send_rnr_err", &roce::NicCounters::send_rnr_err},
    {"rcvd_seq_err", &roce::NicCounters::rcvd_seq_err},
    {"ack_deferred", &roce::NicCounters::ack_deferred},
    {"retry_exceeded_err", &roce::NicCounters::retry_exceeded_err},
    {"retry_rnr_exceeded_err", &roce::NicCounters::retry_rnr_exceeded_err},
    {"completer_retry_err", &roce::NicCounters::completer_retry_err},
    {"send_err", &roce::NicCounters::send_err},
    {"link_downed", &roce::NicCounters::link_downed},
    {"rdma_sends", &roce::NicCounters::rdma_sends},
    {"rdma_recvs", &roce::NicCounters::rdma_recvs},
};

}  // namespace causeway::infiniband
