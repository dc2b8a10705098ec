// SPDX-License-Identifier: Apache-2.0
// Device memory, and the accelerator's own DMA: host -> HBM -> another place in HBM -> host, every byte checked.
//
//   allocate_and_copy [accelerator number]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

#include "causeway/accelerator.h"

namespace {

constexpr size_t kBytes = 8 << 20;

// Page aligned, so that a mapping covers nothing else of the program's memory.
struct HostBuffer {
  std::byte* data = static_cast<std::byte*>(std::aligned_alloc(4096, kBytes));
  ~HostBuffer() { std::free(data); }
  std::span<std::byte> bytes() const { return {data, kBytes}; }
};

void Run(unsigned number) {
  causeway::Accelerator accelerator = causeway::Accelerator::Open(number);
  std::printf("%s: %s, %.0f GiB of device memory\n", accelerator.info().path.c_str(),
              accelerator.info().card_name.c_str(), static_cast<double>(accelerator.info().dram_bytes) / (1 << 30));

  const HostBuffer source, target;
  for (size_t i = 0; i < kBytes; ++i) source.data[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  std::memset(target.data, 0, kBytes);
  const causeway::HostMapping from = accelerator.Map(source.bytes());
  const causeway::HostMapping to = accelerator.Map(target.bytes());
  const causeway::DeviceMemory first = accelerator.Allocate(kBytes);
  const causeway::DeviceMemory second = accelerator.Allocate(kBytes);

  accelerator.Copy(first.address(), from.address(), kBytes);
  accelerator.Copy(second.address(), first.address(), kBytes);
  accelerator.Copy(to.address(), second.address(), kBytes);

  if (std::memcmp(source.data, target.data, kBytes) != 0) throw std::runtime_error("the bytes that came back differ");
  std::printf("%zu bytes: host -> HBM -> HBM -> host, all equal\n", kBytes);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "allocate_and_copy: %s\n", error.what());
    return 1;
  }
  return 0;
}
