// SPDX-License-Identifier: Apache-2.0
// The list of errno that programs meet first: specs of the habanalabs driver, 11.4, every row of it. Each case is its
// own device and program. Rows that need more than a call (a reset, an importer) are cases of their own functions.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "devices/gaudi/packets.h"
#include "dmabuf/dma_buf.h"
#include "drivers/habanalabs/harness.h"
#include "uapi/habanalabs_submission.h"

namespace causeway::habanalabs {
namespace {

using gaudi::Asic;

constexpr uint64_t kChunkArray = kUserArgs + 0x400;

// A program with the device open, and the calls as one makes them: 0 or the errno.
struct Program {
  explicit Program(const HarnessSpec& spec) : h(spec), file(*h.Open()) {}
  int Info(uint32_t op, uint64_t pointer, uint32_t size, uint32_t pad) {
    uapi::hl_info_args args{.return_pointer = pointer, .return_size = size, .op = op};
    args.pad = pad;
    return h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlInfo), args);
  }
  int Alloc(uint64_t size) { return h.Memory(file, {.alloc = {.mem_size = size}, .op = uapi::kHlMemOpAlloc}); }
  int Export(uint64_t addr, uint64_t size, uint64_t offset = 0) { return h.Export(file, addr, size, offset, &fd); }
  int CreateCb(uint32_t size, uint32_t flags, uint64_t* handle = nullptr) {
    uapi::hl_cb_args args{};
    args.in.op = uapi::kHlCbOpCreate;
    args.in.cb_size = size;
    args.in.flags = flags;
    const int rc = h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlCb), args);
    if (handle != nullptr) *handle = args.out.cb_handle;
    return rc;
  }
  int Submit(const uapi::hl_cs_chunk& chunk, uint32_t flags = 0, uint64_t* seq = nullptr, uint32_t timeout = 0) {
    EXPECT_TRUE(h.task.user.Write(kChunkArray, chunk).has_value());
    uapi::hl_cs_args args{};
    args.in.chunks_execute = kChunkArray;
    args.in.num_chunks_execute = 1;
    args.in.cs_flags = flags;
    args.in.timeout = timeout;
    const int rc = h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlCs), args);
    if (seq != nullptr) *seq = args.out.seq;
    return rc;
  }
  // One packet on a queue: in a command buffer of the driver on Gaudi, in host memory on Gaudi2.
  int SubmitPacket(uint32_t queue, const std::vector<uint32_t>& words, uint32_t flags = 0, uint64_t* seq = nullptr,
                   uint32_t timeout = 0, uint32_t chunk_flags = uapi::kHlCsChunkFlagsUserAllocCb) {
    uapi::hl_cs_chunk chunk{};
    chunk.queue_index = queue;
    chunk.cb_size = static_cast<uint32_t>(words.size() * 4);
    if (h.device().properties().asic == Asic::kGaudi) {
      uint64_t handle = 0;
      EXPECT_EQ(CreateCb(chunk.cb_size, 0, &handle), 0);
      const auto mapping = file->Mmap(h.task, {.length = kPageSize, .prot = 0, .flags = 0, .offset = handle});
      uint64_t len = kPageSize;
      std::memcpy(h.machine.memories().At(mapping->memory, mapping->offset, &len), words.data(), chunk.cb_size);
      chunk.cb_handle = handle;
    } else {
      EXPECT_EQ(h.MapHost(file, kUserHost, kUserHostSize, &chunk.cb_handle), 0);
      EXPECT_TRUE(h.task.user.CopyTo(kUserHost, std::as_bytes(std::span(words))).has_value());
      chunk.cs_chunk_flags = chunk_flags;
    }
    return Submit(chunk, flags, seq, timeout);
  }
  int Wait(uint64_t seq, uint32_t flags = 0, uint8_t count = 0, uint32_t* status = nullptr,
           uint64_t timeout_us = 10'000'000) {
    uapi::hl_wait_cs_args args{};
    args.in.cs.seq = seq;
    args.in.cs.timeout_us = timeout_us;
    args.in.flags = flags;
    args.in.multi.seq_arr_len = count;
    const int rc = h.Ioctl(*file, uapi::HlIoctlH(uapi::kHlWaitCs), args);
    if (status != nullptr) *status = args.out.status;
    return rc;
  }
  uint64_t Mapped(uint64_t* handle = nullptr) {
    const uint64_t taken = h.Alloc(file, 1);
    if (handle != nullptr) *handle = taken;
    return h.Map(file, taken);
  }

  Harness h;
  Ref<kernel::File> file;
  int fd = -1;
};

std::vector<uint32_t> Packet(gaudi::Opcode opcode, uint32_t word0 = 0, std::vector<uint32_t> rest = {}) {
  std::vector<uint32_t> words = {word0, static_cast<uint32_t>(opcode) << 24};
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}
const std::vector<uint32_t> kNop = Packet(gaudi::Opcode::kNop);
// A fence that nobody opens.
const std::vector<uint32_t> kStuck = Packet(gaudi::Opcode::kFence, 1u | 1u << 16);

TEST(HlErrno, TableOfTheSpecs) {
  const HarnessSpec gaudi1{.asic = Asic::kGaudi}, gaudi2{.asic = Asic::kGaudi2},
      drm{.asic = Asic::kGaudi2, .flavour = Flavour::kDrm};
  const struct {
    const char* call;
    HarnessSpec spec;
    std::function<int(Program&)> run;
    int want;
  } cases[] = {
      {"second open of the compute node while the first is open", gaudi2, [](Program& p) { return p.h.OpenErrno(); },
       EBUSY},
      {"open during a reset", gaudi2,
       [](Program& p) {
         p.h.device().set_status(uapi::kHlStatusInReset);
         const int rc = p.h.OpenErrno();
         p.h.device().set_status(uapi::kHlStatusOperational);
         return rc;
       },
       EAGAIN},
      {"INFO, no such op", gaudi2, [](Program& p) { return p.Info(0x777, kUserOut, 8, 0); }, EINVAL},
      {"INFO, pad set", gaudi2, [](Program& p) { return p.Info(uapi::kHlInfoHwIpInfo, kUserOut, 256, 1); }, EINVAL},
      {"INFO, no buffer", gaudi2, [](Program& p) { return p.Info(uapi::kHlInfoHwIpInfo, 0, 256, 0); }, EINVAL},
      {"ALLOC of nothing", gaudi2, [](Program& p) { return p.Alloc(0); }, EINVAL},
      {"ALLOC of nothing, Gaudi", gaudi1, [](Program& p) { return p.Alloc(0); }, EINVAL},
      {"ALLOC of more than is free", gaudi2, [](Program& p) { return p.Alloc(128 * kDramPage); }, ENOMEM},
      {"FREE of a mapped handle", gaudi2,
       [](Program& p) {
         uint64_t handle = 0;
         (void)p.Mapped(&handle);
         return p.h.Free(p.file, handle);
       },
       EINVAL},
      {"UNMAP of an address inside", gaudi2, [](Program& p) { return p.h.Unmap(p.file, p.Mapped() + kPageSize); },
       EINVAL},
      {"UNMAP of an exported address", gaudi2,
       [](Program& p) {
         const uint64_t va = p.Mapped();
         EXPECT_EQ(p.Export(va, kPageSize), 0);
         return p.h.Unmap(p.file, va);
       },
       EINVAL},
      {"the same, DRM flavour", drm,
       [](Program& p) {
         const uint64_t va = p.Mapped();
         EXPECT_EQ(p.Export(va, kPageSize), 0);
         return p.h.Unmap(p.file, va);
       },
       EINVAL},
      {"EXPORT of an address that is not mapped", gaudi2,
       [](Program& p) { return p.Export(p.h.device().properties().dram.start, kPageSize); }, EINVAL},
      {"EXPORT of host memory", gaudi2,
       [](Program& p) {
         uint64_t host = 0;
         EXPECT_EQ(p.h.MapHost(p.file, kUserHost, kPageSize, &host), 0);
         return p.Export(host, kPageSize);
       },
       EINVAL},
      {"EXPORT of a size that is no multiple of a page", gaudi2,
       [](Program& p) { return p.Export(p.Mapped(), kPageSize + 1); }, EINVAL},
      {"EXPORT with an offset, Gaudi", gaudi1, [](Program& p) { return p.Export(0x20000000, kPageSize, kPageSize); },
       EINVAL},
      {"EXPORT below what is the user's, Gaudi", gaudi1,
       [](Program& p) { return p.Export(0x20000000 - kPageSize, kPageSize); }, EINVAL},
      {"mmap of a dma-buf", gaudi2,
       [](Program& p) {
         EXPECT_EQ(p.Export(p.Mapped(), kPageSize), 0);
         const auto mapping =
             p.h.task.files.at(p.fd)->Mmap(p.h.task, {.length = kPageSize, .prot = 0, .flags = 0, .offset = 0});
         return mapping ? 0 : mapping.error().code();
       },
       EINVAL},
      {"an importer without a peer-to-peer path", gaudi2,
       [](Program& p) {
         EXPECT_EQ(p.Export(p.Mapped(), kPageSize), 0);
         auto attachment = dmabuf::DmaBufAttachment::Create(DynamicRefCast<dmabuf::DmaBuf>(p.h.task.files.at(p.fd)),
                                                            p.h.machine.nic());
         EXPECT_TRUE(attachment.has_value());
         const auto mapping = (*attachment)->Map(dmabuf::Direction::kToDevice);
         return mapping ? 0 : mapping.error().code();
       },
       EPERM},
      {"MAP_BLOCK, Gaudi", gaudi1,
       [](Program& p) {
         return p.h.Memory(p.file, {.map_block = {.block_addr = 0x7FFC4B0000}, .op = uapi::kHlMemOpMapBlock});
       },
       EPERM},
      {"CB of 2 MiB", gaudi2, [](Program& p) { return p.CreateCb(2u << 20, 0); }, EINVAL},
      {"CB with the MAP flag, Gaudi", gaudi1, [](Program& p) { return p.CreateCb(4096, uapi::kHlCbFlagsMap); }, ENOMEM},
      {"MSG_PROT in an external queue's buffer, Gaudi", gaudi1,
       [](Program& p) {
         return p.SubmitPacket(0, Packet(gaudi::Opcode::kMsgProt, 1, {0, 0}));
       },
       EPERM},
      {"CS to queue 8, Gaudi", gaudi1, [](Program& p) { return p.SubmitPacket(8, kNop); }, EINVAL},
      {"CS to queue 260", gaudi2, [](Program& p) { return p.SubmitPacket(260, kNop); }, EINVAL},
      {"a staged CS, Gaudi2", gaudi2,
       [](Program& p) { return p.SubmitPacket(0, kNop, uapi::kHlCsStaged | uapi::kHlCsStagedFirst); }, EPERM},
      // Mainline's driver has no stream 2; hl-thunk's tests want it (specs 6.3).
      {"CS to queue 2, Gaudi2", gaudi2, [](Program& p) { return p.SubmitPacket(2, kNop); }, 0},
      {"MAP with FORCE_HINT and hint 0", gaudi2,
       [](Program& p) {
         uint64_t va = 0;
         return p.h.MapHost(p.file, kUserHost, kPageSize, &va, 0, uapi::kHlMemForceHint);
       },
       ENOMEM},
      {"CS without USER_ALLOC_CB, Gaudi2", gaudi2, [](Program& p) { return p.SubmitPacket(0, kNop, 0, nullptr, 0, 0); },
       EINVAL},
      {"CS at an address outside of every range", gaudi2,
       [](Program& p) {
         uapi::hl_cs_chunk chunk{};
         chunk.cb_handle = 0x1234;
         chunk.cb_size = 8;
         chunk.cs_chunk_flags = uapi::kHlCsChunkFlagsUserAllocCb;
         return p.Submit(chunk);
       },
       EFAULT},
      {"the same on an internal queue, Gaudi", gaudi1,
       [](Program& p) {
         uapi::hl_cs_chunk chunk{};
         chunk.cb_handle = 0x1234;
         chunk.cb_size = 8;
         chunk.queue_index = 9;
         return p.Submit(chunk);
       },
       EFAULT},
      {"WAIT for a number never issued", gaudi2, [](Program& p) { return p.Wait(5); }, EINVAL},
      {"WAIT for several, Gaudi2", gaudi2, [](Program& p) { return p.Wait(kUserOut, uapi::kHlWaitMultiCs, 1); }, EPERM},
      {"WAIT for a user interrupt, Gaudi", gaudi1, [](Program& p) { return p.Wait(0, uapi::kHlWaitInterrupt); }, EPERM},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.call);
    Program program(c.spec);
    EXPECT_EQ(c.run(program), c.want);
  }
}

// The reset that a time-out brings is another's test: here it never gets so far.
TEST(HlErrno, WaitForATimedOutSubmission) {
  for (const Asic asic : kEveryAsic) {
    Program p({.asic = asic, .flavour = Flavour::kMisc});
    uint64_t seq = 0;
    ASSERT_EQ(p.SubmitPacket(0, kStuck, uapi::kHlCsCustomTimeout, &seq, 1), 0);
    while (p.h.device().status() == uapi::kHlStatusOperational) {
    }
    int rc = 0;
    uint32_t status = uapi::kHlWaitBusy;
    do {
      p.h.work.Advance(std::chrono::seconds(0));
      p.h.device().set_status(uapi::kHlStatusOperational);
      rc = p.Wait(seq, 0, 0, &status, 0);
    } while (rc == 0 && status == uapi::kHlWaitBusy);
    EXPECT_EQ(rc, ETIMEDOUT);
    EXPECT_EQ(status, uapi::kHlWaitTimedOut);
  }
}

}  // namespace
}  // namespace causeway::habanalabs
