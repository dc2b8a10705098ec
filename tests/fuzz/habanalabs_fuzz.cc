// SPDX-License-Identifier: Apache-2.0
// Sequences of habanalabs ioctls on files of both generations: memory handles and device addresses of earlier calls,
// both number schemes, sizes of other versions of the uAPI. After the last close the device memory is all free again.
#include <array>
#include <map>
#include <vector>

#include "drivers/habanalabs/harness.h"
#include "tests/fuzz/input.h"

namespace causeway::fuzz {
namespace {

using namespace habanalabs;  // NOLINT: as the harness does
using namespace uapi;        // NOLINT

class HabanalabsFuzz {
 public:
  explicit HabanalabsFuzz(const HarnessSpec& spec) : harness_(spec) { free_at_start_ = FreeMemory(); }

  void Run(Input& in) {
    for (int steps = 0; steps < 64 && !in.empty(); ++steps) Step(in);
    files_.clear();
    harness_.task.files.clear();
    handles_.clear();
    addresses_.clear();
    CW_INVARIANT(FreeMemory() == free_at_start_);
  }

 private:
  uint64_t FreeMemory() {
    const auto control = harness_.OpenControl();
    CW_INVARIANT(control);
    hl_info_dram_usage usage = {};
    CW_INVARIANT(harness_.Info(*control, kHlInfoDramUsage, &usage) == 0);
    return usage.dram_free_mem;
  }

  void Step(Input& in) {
    const uint8_t step = in.Byte();
    if (files_.empty() || step >= 0xf8) {
      auto file = step % 4 == 3 ? harness_.OpenControl() : harness_.Open();
      if (file) files_.push_back(std::move(*file));
      return;
    }
    if (step >= 0xf0) {
      files_.erase(files_.begin() + static_cast<ptrdiff_t>(in.Below(files_.size())));
      return;
    }
    if (step >= 0xe8) {  // a dma-buf's descriptor
      if (harness_.task.files.empty()) return;
      auto it = harness_.task.files.begin();
      std::advance(it, static_cast<ptrdiff_t>(in.Below(harness_.task.files.size())));
      harness_.task.files.erase(it);
      return;
    }
    kernel::File& file = *files_[in.Below(files_.size())];
    if (step >= 0xe0) {
      kernel::MmapRequest request;
      request.offset = in.Near<uint64_t>(handles_);
      request.length = in.Near<uint64_t>({4096, 0x10000, 0});
      (void)file.Mmap(harness_.task, request);
      return;
    }
    std::array<std::byte, 128> args = {};
    if (step < 0x90) {
      MemoryArgs(in, args);
      Call(in, file, kHlMemory, args);
    } else if (step < 0xb0) {
      hl_info_args info = {};
      info.return_pointer = in.Near<uint64_t>({kUserOut, kUserOut, kUserReadOnly, 0, kUserNothing});
      info.return_size = in.Near<uint32_t>({4096, 8, 16, 24, 304, 0, 1, 0x4000});
      info.op = in.Near<uint32_t>({in.Byte()});
      info.dcore_id = in.Near<uint32_t>({0, 1, 2, 3, 7, 8, 100});
      info.pad = in.Near<uint32_t>({0});
      std::memcpy(args.data(), &info, sizeof(info));
      Call(in, file, kHlInfo, args);
    } else {
      // Words: small numbers, handles, addresses.
      for (size_t at = 0; at + 8 <= args.size() && at < 64; at += 8) {
        uint64_t word = 0;
        switch (in.Below(6)) {
          case 0: break;
          case 1: word = in.Byte(); break;
          case 2: word = uint64_t{in.Byte()} << 32 | in.Byte(); break;
          case 3: word = in.Near<uint64_t>(handles_); break;
          case 4: word = in.Near<uint64_t>({kUserOut, kUserHost, kUserArgs + 0x800}); break;
          default: word = in.Raw<uint64_t>(); break;
        }
        std::memcpy(args.data() + at, &word, sizeof(word));
      }
      const auto content = in.Take(in.Byte());
      (void)harness_.task.user.CopyTo(kUserArgs + 0x800, std::as_bytes(std::span(content)));
      Call(in, file, static_cast<HlIoctlRow>(in.Below(kHlIoctlCount)), args);
    }
  }

  void MemoryArgs(Input& in, std::array<std::byte, 128>& args) {
    hl_mem_in memory = {};
    memory.op = in.Near<uint32_t>({0, 2, 5, 1, 3, 2, 4, 6});
    memory.flags = in.Near<uint32_t>({0, 0, 1, 2, 4, 8, 12, 0x40, 2});
    const auto handle = [&] { return handles_.empty() ? in.Raw<uint64_t>() : in.Near<uint64_t>(handles_); };
    const auto address = [&] { return addresses_.empty() ? in.Raw<uint64_t>() : in.Near<uint64_t>(addresses_); };
    const auto size = [&] {
      return in.Near<uint64_t>(
          {4096, 1, 0x200000, 0x10000, kDramPage, 3 * kDramPage, 0, ~uint64_t{0}, 5000, 1ull << 40});
    };
    const auto host = [&] {
      return in.Near<uint64_t>(
          {kUserHost, kUserHost + 0x1000, kUserHost + 8, kUserReadOnly, kUserNothing, ~uint64_t{0xfff}});
    };
    switch (memory.op) {
      case kHlMemOpAlloc: memory.alloc = {size(), in.Near<uint64_t>({0, 0, 4096, 0x200000, kDramPage})}; break;
      case kHlMemOpFree: memory.free.handle = handle(); break;
      case kHlMemOpMap:
        if ((memory.flags & kHlMemUserptr) != 0) {
          const uint64_t at = host();
          memory.map_host = {at, address(), size()};
        } else {
          const uint64_t hint = in.Near<uint64_t>({0, 0, addresses_.empty() ? 0 : addresses_[0]});
          memory.map_device = {hint, handle()};
        }
        break;
      case kHlMemOpUnmap: memory.unmap.device_virt_addr = address(); break;
      case kHlMemOpMapBlock: memory.map_block.block_addr = in.Raw<uint64_t>(); break;
      case kHlMemOpExportDmabufFd: {
        const uint64_t at = in.Byte() < 0x80 ? handle() : address();
        const uint64_t bytes = size();
        memory.export_dmabuf_fd = {at, bytes, in.Near<uint64_t>({0, 0, 4096, 1, kDramPage})};
        break;
      }
      default: memory.alloc = {in.Raw<uint64_t>(), in.Raw<uint64_t>()}; break;
    }
    memory.ctx_id = in.Near<uint32_t>({0});
    memory.num_of_elements = in.Near<uint32_t>({0, 1, 64});
    std::memcpy(args.data(), &memory, sizeof(memory));
  }

  void Call(Input& in, kernel::File& file, HlIoctlRow row, const std::array<std::byte, 128>& args) {
    uint32_t request = 0;
    const uint8_t how = in.Byte();
    if (how < 0x80) {
      request = HlIoctlH(row);
    } else if (how < 0xe0) {
      request = HlIoctlDrm(row);
    } else if (how < 0xf0) {
      request =
          HlRequest(how % 2 == 0 ? 'H' : 'd', how % 2 == 0 ? kHlIoctls[row].nr : kHlIoctls[row].drm_nr, in.Byte());
    } else {
      request = in.Raw<uint32_t>();
    }
    kernel::FakeTask& task = harness_.task;
    CW_INVARIANT(task.user.CopyTo(kUserArgs, args));
    const size_t fds = task.files.size();
    const auto result = file.Ioctl(task, request, in.Near<uint64_t>({kUserArgs}));
    if (!result) {
      CW_INVARIANT(task.files.size() == fds);  // a failed call leaves no descriptor
      return;
    }
    if (row != kHlMemory || task.files.size() != fds) return;
    hl_mem_in sent = {};
    std::memcpy(static_cast<void*>(&sent), args.data(), sizeof(sent));
    const auto out = *task.user.Read<hl_mem_out>(kUserArgs);
    if (sent.op == kHlMemOpAlloc || sent.op == kHlMemOpTsAlloc || sent.op == kHlMemOpMapBlock) {
      handles_.push_back(out.handle);
    }
    if (sent.op == kHlMemOpMap) addresses_.push_back(out.device_virt_addr);
  }

  Harness harness_;
  uint64_t free_at_start_ = 0;
  std::vector<Ref<kernel::File>> files_;
  std::vector<uint64_t> handles_, addresses_;
};

}  // namespace
}  // namespace causeway::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using causeway::fuzz::HabanalabsFuzz;
  using causeway::habanalabs::Flavour;
  namespace gaudi = causeway::gaudi;
  static std::array<HabanalabsFuzz*, 3> devices = {
      new HabanalabsFuzz({.asic = gaudi::Asic::kGaudi2, .flavour = Flavour::kAccel}),
      new HabanalabsFuzz({.asic = gaudi::Asic::kGaudi, .flavour = Flavour::kMisc}),
      new HabanalabsFuzz({.asic = gaudi::Asic::kGaudi2, .flavour = Flavour::kDrm})};
  causeway::fuzz::Input in(data, size);
  devices[in.Below(devices.size())]->Run(in);
  return 0;
}
