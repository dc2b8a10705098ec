// SPDX-License-Identifier: Apache-2.0
// Two streams in one submission: the first fills device memory, the second waits in the accelerator, not in the
// program, until that is done, and brings the bytes to the host.
//
//   two_streams [accelerator number]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>

#include "causeway/accelerator.h"

namespace {

constexpr size_t kWords = 1 << 20;
constexpr uint32_t kPattern = 0x600dbeef;

void Run(unsigned number) {
  causeway::Accelerator accelerator = causeway::Accelerator::Open(number);
  alignas(4096) static uint32_t host[kWords];
  const causeway::HostMapping mapping = accelerator.Map(std::as_writable_bytes(std::span(host)));
  const causeway::DeviceMemory memory = accelerator.Allocate(sizeof(host));
  const causeway::Semaphore filled = accelerator.NewSemaphore();

  causeway::CommandBuffer clear = accelerator.NewCommandBuffer();
  clear.Clear(filled);
  accelerator.Wait(accelerator.Submit(causeway::kHostToDevice, clear));

  causeway::CommandBuffer fill = accelerator.NewCommandBuffer();
  fill.Fill(memory.address(), kPattern, sizeof(host));
  fill.Signal(filled);

  causeway::CommandBuffer fetch = accelerator.NewCommandBuffer();
  fetch.Wait(filled, 1, causeway::kDeviceToHost);
  fetch.Copy(mapping.address(), memory.address(), sizeof(host));

  const causeway::Job jobs[] = {{causeway::kDeviceToHost, &fetch}, {causeway::kHostToDevice, &fill}};
  const causeway::Submission submission = accelerator.Submit(jobs);
  accelerator.Wait(submission);

  const bool right = std::all_of(std::begin(host), std::end(host), [](uint32_t word) { return word == kPattern; });
  if (!right) throw std::runtime_error("the second stream did not wait for the first");
  std::printf("submission %llu: %zu words filled by one stream, fetched by another after it\n",
              static_cast<unsigned long long>(submission.sequence), kWords);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "two_streams: %s\n", error.what());
    return 1;
  }
  return 0;
}
