// SPDX-License-Identifier: Apache-2.0
// Two accelerators, each beside its NIC: the first one's memory goes to the second one's by RDMA. The accelerators fill
// and fetch it themselves; the host's memory is not on the way.
//
//   two_accelerators [first NIC] [second NIC]
#include <algorithm>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>

#include "causeway/accelerator.h"
#include "causeway/nic.h"

namespace {

constexpr size_t kWords = 4 << 20;
constexpr uint32_t kPattern = 0x5eedf00d;

struct Side {
  causeway::Accelerator accelerator;
  causeway::Nic nic;
  causeway::DeviceMemory memory = accelerator.Allocate(kWords * 4);
  causeway::MemoryRegion region = nic.Register(memory.Export());
  causeway::Connection connection = nic.NewConnection();
};

void Run(const char* first_nic, const char* second_nic) {
  Side first{causeway::Accelerator::Open(0), causeway::Nic::Open(first_nic)};
  Side second{causeway::Accelerator::Open(1), causeway::Nic::Open(second_nic)};
  first.connection.Connect(second.connection.local());
  second.connection.Connect(first.connection.local());

  causeway::CommandBuffer fill = first.accelerator.NewCommandBuffer();
  fill.Fill(first.memory.address(), kPattern, kWords * 4);
  first.accelerator.Wait(first.accelerator.Submit(causeway::kHostToDevice, fill));

  first.connection.Write(first.region, 0, second.region.remote(), 0, kWords * 4);

  alignas(4096) static uint32_t host[kWords];
  const causeway::HostMapping mapping = second.accelerator.Map(std::as_writable_bytes(std::span(host)));
  second.accelerator.Copy(mapping.address(), second.memory.address(), kWords * 4);
  if (!std::all_of(std::begin(host), std::end(host), [](uint32_t word) { return word == kPattern; })) {
    throw std::runtime_error("the second accelerator has other bytes than the first wrote");
  }
  std::printf("%zu bytes: %s -> %s -> %s -> %s, all equal\n", kWords * 4, first.accelerator.info().path.c_str(),
              first.nic.name().c_str(), second.nic.name().c_str(), second.accelerator.info().path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(argc > 1 ? argv[1] : "rxe0", argc > 2 ? argv[2] : "rxe1");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "two_accelerators: %s\n", error.what());
    return 1;
  }
  return 0;
}
