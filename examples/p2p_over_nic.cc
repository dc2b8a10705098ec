// SPDX-License-Identifier: Apache-2.0
// A NIC writes host memory straight into an accelerator's memory, and reads it back from there: no copy in between.
//
//   p2p_over_nic [accelerator number] [RDMA device]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <vector>

#include "causeway/accelerator.h"
#include "causeway/nic.h"

namespace {

constexpr size_t kBytes = 16 << 20;

void Run(unsigned number, const std::string& nic_name) {
  causeway::Accelerator accelerator = causeway::Accelerator::Open(number);
  const causeway::DeviceMemory memory = accelerator.Allocate(kBytes);
  causeway::Nic nic = causeway::Nic::Open(nic_name);

  const causeway::MemoryRegion hbm = nic.Register(memory.Export());
  std::vector<std::byte> sent(kBytes), received(kBytes);
  for (size_t i = 0; i < kBytes; ++i) sent[i] = static_cast<std::byte>(i * 2654435761U >> 11);
  const causeway::MemoryRegion source = nic.Register(sent);
  const causeway::MemoryRegion target = nic.Register(received);

  // Both ends in this program; between programs, Endpoint and RemoteRegion travel by a socket or a file.
  causeway::Connection here = nic.NewConnection();
  causeway::Connection there = nic.NewConnection();
  here.Connect(there.local());
  there.Connect(here.local());

  here.Write(source, 0, hbm.remote(), 0, kBytes);
  here.Read(target, 0, hbm.remote(), 0, kBytes);
  if (!std::equal(sent.begin(), sent.end(), received.begin())) {
    throw std::runtime_error("the bytes that came back differ");
  }
  std::printf("%zu bytes: host -> %s -> HBM of %s -> %s -> host, all equal\n", kBytes, nic.name().c_str(),
              accelerator.info().path.c_str(), nic.name().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 0, argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "p2p_over_nic: %s\n", error.what());
    return 1;
  }
  return 0;
}
