// SPDX-License-Identifier: Apache-2.0
// How a program learns that its accelerator has a problem: a descriptor that becomes readable, then a mask of what
// happened. Under Causeway, `causeway inject` in another terminal makes one happen.
//
//   notifications [accelerator number] [seconds to wait]
#include <poll.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "causeway/accelerator.h"

namespace {

// HL_NOTIFIER_EVENT_*, by bit.
constexpr const char* kNames[] = {
    "TPC assert",         "undefined opcode",        "device reset",           "submission timed out",
    "device unavailable", "user engine error",       "hardware error",         "illegal access (RAZWI)",
    "page fault",         "critical hardware error", "critical firmware error"};

int Run(unsigned number, int seconds) {
  causeway::Accelerator accelerator = causeway::Accelerator::Open(number);
  pollfd ready = {accelerator.notification_fd(), POLLIN, 0};
  std::printf("waiting for %s\n", accelerator.info().path.c_str());
  std::fflush(stdout);
  if (poll(&ready, 1, seconds * 1000) == 0) {
    std::printf("nothing happened in %d s\n", seconds);
    return 0;
  }
  const uint64_t happened = accelerator.TakeNotifications();
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((happened >> bit & 1) != 0) std::printf("event: %s\n", bit < std::size(kNames) ? kNames[bit] : "unknown");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 0, argc > 2 ? std::atoi(argv[2]) : 60);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "notifications: %s\n", error.what());
    return 1;
  }
}
