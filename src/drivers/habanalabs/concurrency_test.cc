// SPDX-License-Identifier: Apache-2.0
// All MEMORY ops are safe to call concurrently from threads that share the descriptor, and opens race cleanly. Run
// under the tsan preset.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "dmabuf/dma_buf.h"
#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

TEST(HlConcurrency, ThreadsOfOneDescriptorAllocateMapExportAndFree) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  constexpr int kThreads = 4, kRounds = 50;
  std::atomic<int> failures{0};
  const auto work = [&] {
    kernel::FakeTask task;
    task.user.Map(kUserArgs, kPageSize);
    const auto memory = [&](const uapi::hl_mem_in& in, uapi::hl_mem_out* out) {
      uapi::hl_mem_args args{.in = in};
      CW_INVARIANT(task.user.Write(kUserArgs, args).has_value());
      const bool good = file->Ioctl(task, uapi::HlIoctlH(uapi::kHlMemory), kUserArgs).has_value();
      *out = (*task.user.Read<uapi::hl_mem_args>(kUserArgs)).out;
      return good;
    };
    for (int round = 0; round < kRounds; ++round) {
      uapi::hl_mem_out out{};
      if (!memory({.alloc = {.mem_size = 2 * kDramPage, .page_size = 0}, .op = uapi::kHlMemOpAlloc}, &out)) ++failures;
      const uint64_t handle = out.handle;
      if (!memory({.map_device = {.hint_addr = 0, .handle = handle}, .op = uapi::kHlMemOpMap}, &out)) ++failures;
      const uint64_t va = out.device_virt_addr;
      if (!memory({.export_dmabuf_fd = {.addr = va, .mem_size = kPageSize, .offset = kDramPage},
                   .op = uapi::kHlMemOpExportDmabufFd},
                  &out)) {
        ++failures;
      }
      {
        auto dmabuf = DynamicRefCast<dmabuf::DmaBuf>(task.files.at(out.fd));
        task.Close(out.fd);
        auto attachment = dmabuf::DmaBufAttachment::Create(dmabuf, harness.machine.nic(), {.allow_peer2peer = true});
        if (!attachment || !(*attachment)->Map(dmabuf::Direction::kBidirectional)) ++failures;
      }
      if (!memory({.unmap = {.device_virt_addr = va}, .op = uapi::kHlMemOpUnmap}, &out)) ++failures;
      if (!memory({.free = {.handle = handle}, .op = uapi::kHlMemOpFree}, &out)) ++failures;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(harness.device().dram_used(), 0u);
}

TEST(HlConcurrency, OpensAreExclusive) {
  Harness harness;
  constexpr int kThreads = 4, kRounds = 200;
  std::atomic<int> inside{0}, opened{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      kernel::FakeTask task(1);
      for (int round = 0; round < kRounds; ++round) {
        auto file = harness.device().OpenCompute(task, 1, 0);
        if (!file) {
          if (file.error() != Errno(EBUSY) && file.error() != Errno(EAGAIN)) ++wrong;
          continue;
        }
        ++opened;
        if (++inside != 1) ++wrong;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(opened, 1);
  EXPECT_EQ(harness.OpenErrno(), 0);
}

}  // namespace
}  // namespace causeway::habanalabs
