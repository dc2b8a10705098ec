// SPDX-License-Identifier: Apache-2.0
// HL_MEM_OP_EXPORT_DMABUF_FD: linux v6.12 memory.c export_dmabuf_from_addr() (E4), v6.1 (E1); hl_map_dmabuf() and
// alloc_sgt_from_device_pages().
#include <gtest/gtest.h>

#include <array>

#include "dmabuf/dma_buf.h"
#include "drivers/habanalabs/harness.h"

namespace causeway::habanalabs {
namespace {

using dmabuf::DmaBuf;
using dmabuf::DmaBufAttachment;
using dmabuf::SgTable;

Ref<DmaBuf> Take(Harness& harness, int fd) {
  auto dmabuf = DynamicRefCast<DmaBuf>(harness.task.files.at(fd));
  harness.task.Close(fd);
  return dmabuf;
}
const dmabuf::ImporterOps kPinned{.allow_peer2peer = true};

// validate_export_params(): Gaudi2 by mapped address. Device with 768 MiB pages, one page mapped, host memory mapped
// too.
TEST(HlExport, Gaudi2ErrnoTable) {
  for (const Flavour flavour : {Flavour::kAccel, Flavour::kDrm}) {
    Harness harness({.flavour = flavour});
    Ref<kernel::File> file = *harness.Open();
    const uint64_t handle = harness.Alloc(file, 1);
    const uint64_t va = harness.Map(file, handle);
    uint64_t host = 0;
    ASSERT_EQ(harness.MapHost(file, kUserHost, 4 * kPageSize, &host), 0);
    const uint64_t top = ~uint64_t{0} & ~(kPageSize - 1);
    const struct {
      const char* name;
      uint64_t addr, size, offset;
      int want;
    } cases[] = {
        {"whole page", va, kDramPage, 0, 0},
        {"smallest", va, kPageSize, 0, 0},
        {"last host page", va, kPageSize, kDramPage - kPageSize, 0},
        {"nothing mapped there", va + kDramPage, kPageSize, 0, EINVAL},
        {"inside a mapping", va + kPageSize, kPageSize, 0, EINVAL},
        {"a handle is no address", handle, kPageSize, 0, EINVAL},
        {"host memory", host, kPageSize, 0, EINVAL},
        {"size 0", va, 0, 0, EINVAL},
        {"size below a page", va, kPageSize - 1, 0, EINVAL},
        {"size no multiple of a page", va, kPageSize + 1, 0, EINVAL},
        {"offset no multiple of a page", va, kPageSize, 1, EINVAL},
        {"size past the mapping", va, kDramPage + kPageSize, 0, EINVAL},
        {"offset past the mapping", va, kPageSize, kDramPage, EINVAL},
        {"offset and size past the mapping", va, 2 * kPageSize, kDramPage - kPageSize, EINVAL},
        {"sum wraps", va, 2 * kPageSize, top, EINVAL},
        {"size wraps", va, top, 2 * kPageSize, EINVAL},
    };
    for (const auto& c : cases) {
      SCOPED_TRACE(c.name);
      int fd = 0;
      EXPECT_EQ(harness.Export(file, c.addr, c.size, c.offset, &fd), c.want);
      if (c.want == 0) {
        EXPECT_EQ(fd, 3);  // the lowest free number
        EXPECT_EQ(harness.task.install_flags.at(3), static_cast<uint32_t>(O_CLOEXEC));
        const auto dmabuf = Take(harness, fd);
        EXPECT_EQ(dmabuf->size(), c.size);
        EXPECT_EQ(dmabuf->exporter_name(), "habanalabs");
        EXPECT_EQ(dmabuf->Mmap(harness.task, {.length = kPageSize}).error(), Errno(EINVAL));  // no mmap op
      } else {
        EXPECT_EQ(fd, -EBADF);
      }
    }
    EXPECT_EQ(harness.driver().Report().at(0).dmabufs, 0u);
    EXPECT_EQ(harness.Unmap(file, va), 0);  // no failed export left a count behind
  }
}

// validate_export_params_no_mmu(): Gaudi by physical address.
TEST(HlExport, GaudiErrnoTable) {
  constexpr uint64_t kUser = 0x20000000, kUserEnd = 0x800000000;
  constexpr struct {
    const char* name;
    uint64_t addr, size, offset;
    int want, want_misc;
  } kCases[] = {
      {"first page of the user's memory", kUser, kPageSize, 0, 0, 0},
      {"all of it", kUser, kUserEnd - kUser, 0, 0, 0},
      {"last page", kUserEnd - kPageSize, kPageSize, 0, 0, 0},
      {"offset: not looked at in v6.1", kUser, kPageSize, kPageSize, EINVAL, 0},
      {"below the user's memory", kUser - kPageSize, kPageSize, 0, EINVAL, EINVAL},
      {"past the end", kUserEnd, kPageSize, 0, EINVAL, EINVAL},
      {"runs past the end", kUserEnd - kPageSize, 2 * kPageSize, 0, EINVAL, EINVAL},
      {"wraps", kUser, ~uint64_t{0} & ~(kPageSize - 1), 0, EINVAL, EINVAL},
      {"unaligned address", kUser + 1, kPageSize, 0, EINVAL, EINVAL},
      {"size 0", kUser, 0, 0, EINVAL, EINVAL},
      {"size below a page", kUser, kPageSize - 1, 0, EINVAL, EINVAL},
      {"size no multiple of a page: good enough for v6.1", kUser, kPageSize + 1, 0, EINVAL, 0},
  };
  for (const Flavour flavour : kEveryFlavour) {
    Harness harness({.asic = gaudi::Asic::kGaudi, .flavour = flavour});
    Ref<kernel::File> file = *harness.Open();
    for (const auto& c : kCases) {
      SCOPED_TRACE(std::string(c.name) + " " + std::string(ToString(flavour)));
      const int want = flavour == Flavour::kMisc ? c.want_misc : c.want;
      int fd = 0;
      EXPECT_EQ(harness.Export(file, c.addr, c.size, c.offset, &fd), want);
      if (want == 0) {
        EXPECT_EQ(Take(harness, fd)->size(), c.size);
      }
    }
  }
}

TEST(HlExport, Gaudi2OfTheMiscFlavourCannotExport) {
  Harness harness({.flavour = Flavour::kMisc});
  Ref<kernel::File> file = *harness.Open();
  int fd = 0;
  EXPECT_EQ(harness.Export(file, 0, 0, 0, &fd), EOPNOTSUPP);  // before any other check
  EXPECT_EQ(fd, -EBADF);
}

// A BAR that shows less than all HBM.
TEST(HlExport, OnlyWhatTheBarShowsCanBeExported) {
  {
    Harness harness({.gaudi2_bar4 = 4 * kGiB});  // pages 0..4 of 768 MiB lie in it whole
    Ref<kernel::File> file = *harness.Open();
    const uint64_t inside = harness.Map(file, harness.Alloc(file, 4 * kDramPage));
    const uint64_t across = harness.Map(file, harness.Alloc(file, 1));
    int fd = 0;
    EXPECT_EQ(harness.Export(file, inside, 4 * kDramPage, 0, &fd), 0);
    EXPECT_EQ(harness.Export(file, across, kPageSize, 0, &fd), EINVAL);
  }
  {
    Harness harness({.asic = gaudi::Asic::kGaudi, .gaudi_bar4 = 16 * kGiB});
    Ref<kernel::File> file = *harness.Open();
    int fd = 0;
    EXPECT_EQ(harness.Export(file, 16 * kGiB - kPageSize, kPageSize, 0, &fd), 0);
    EXPECT_EQ(harness.Export(file, 16 * kGiB - kPageSize, 2 * kPageSize, 0, &fd), EINVAL);
  }
}

// dma_buf_fd(): what could not get a number leaves nothing behind.
TEST(HlExport, NoFreeDescriptor) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t va = harness.Map(file, harness.Alloc(file, 1));
  int fd = 0;
  for (const int error : {EMFILE, ENFILE}) {
    harness.task.install_errno = error;
    EXPECT_EQ(harness.Export(file, va, kPageSize, 0, &fd), error);
    EXPECT_EQ(fd, -EBADF);
  }
  EXPECT_EQ(harness.driver().Report().at(0).dmabufs, 0u);
  EXPECT_EQ(harness.Unmap(file, va), 0);
}

// unmap_device_va(): export_cnt.
TEST(HlExport, ExportedMemoryCanBeNeitherUnmappedNorFreed) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t handle = harness.Alloc(file, 1);
  const uint64_t va = harness.Map(file, handle);
  int first = -1, second = -1;
  ASSERT_EQ(harness.Export(file, va, kPageSize, 0, &first), 0);
  ASSERT_EQ(harness.Export(file, va, 2 * kPageSize, kPageSize, &second), 0);
  auto attachment = DmaBufAttachment::Create(Take(harness, second), harness.machine.nic(), kPinned);
  ASSERT_TRUE(attachment.has_value());
  EXPECT_EQ(harness.Unmap(file, va), EINVAL);
  EXPECT_EQ(harness.Free(file, handle), EINVAL);
  harness.task.Close(first);
  EXPECT_EQ(harness.Unmap(file, va), EINVAL);  // the importer still holds the other
  attachment->reset();
  EXPECT_EQ(harness.Unmap(file, va), 0);
  EXPECT_EQ(harness.Free(file, handle), 0);
}

TEST(HlExport, FreeOnGaudiDoesNotTouchTheDmaBuf) {
  Harness harness({.asic = gaudi::Asic::kGaudi});
  Ref<kernel::File> file = *harness.Open();
  uint64_t len = 1;
  const uint32_t hbm = harness.device().board().hbm_memory();
  *harness.machine.memories().At(hbm, 0x20000000, &len) = std::byte{0x42};
  int fd = -1;
  ASSERT_EQ(harness.Export(file, 0x20000000, kPageSize, 0, &fd), 0);
  EXPECT_EQ(harness.Free(file, 0x20000000), 0);
  file.Reset();
  EXPECT_EQ(*harness.machine.memories().At(hbm, 0x20000000, &len), std::byte{0x42});  // still held
  harness.task.Close(fd);
  EXPECT_EQ(harness.device().board().hbm_resident_bytes(), 0u);
}

// alloc_sgt_from_device_pages(): addresses are BAR4 + place in the HBM; neighbours merge; the offset counts.
TEST(HlMapDmaBuf, EntriesOfWholeAndPartAllocations) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t bar = harness.machine.gaudi2().bar(gaudi::kHbmBar).base;
  const auto table_of = [&](uint64_t va, uint64_t size, uint64_t offset, uint64_t segment) {
    int fd = -1;
    EXPECT_EQ(harness.Export(file, va, size, offset, &fd), 0);
    auto attachment = DmaBufAttachment::Create(Take(harness, fd), harness.machine.nic(),
                                               {.allow_peer2peer = true, .max_segment = segment});
    EXPECT_TRUE(attachment.has_value());
    auto mapping = (*attachment)->Map(dmabuf::Direction::kBidirectional);
    EXPECT_TRUE(mapping.has_value());
    return (*mapping)->table();
  };
  constexpr uint64_t k2GiB = 2 * kGiB;
  // Page 0 of the pool is HBM byte kDramPage: the first DRAM page is the driver's.
  const uint64_t three = harness.Map(file, harness.Alloc(file, 3 * kDramPage));
  EXPECT_EQ(table_of(three, kDramPage, 0, k2GiB), (SgTable{{bar + kDramPage, kDramPage}}));
  // specs/habanalabs 4.5, worked example.
  EXPECT_EQ(table_of(three, 0x60000000, 0x1000, k2GiB - 4096), (SgTable{{bar + kDramPage + 0x1000, 0x60000000}}));
  EXPECT_EQ(table_of(three, 3 * kDramPage, 0, k2GiB),
            (SgTable{{bar + kDramPage, k2GiB}, {bar + kDramPage + k2GiB, 3 * kDramPage - k2GiB}}));
  EXPECT_EQ(table_of(three, kDramPage, 0, 64 * 1024).size(), 12288u);

  // Pages that are no neighbours: 1, 3, 5 of the pool's remaining ones.
  std::array<uint64_t, 6> handles;
  for (uint64_t& handle : handles) handle = harness.Alloc(file, 1);
  for (const size_t i : {0u, 2u, 4u}) EXPECT_EQ(harness.Free(file, handles.at(i)), 0);
  const uint64_t split = harness.Map(file, harness.Alloc(file, 3 * kDramPage));
  const auto page = [&](uint64_t n) { return bar + kDramPage + (3 + n) * kDramPage; };
  EXPECT_EQ(table_of(split, 3 * kDramPage, 0, k2GiB),
            (SgTable{{page(0), kDramPage}, {page(2), kDramPage}, {page(4), kDramPage}}));
  EXPECT_EQ(table_of(split, kDramPage, kDramPage - kPageSize, k2GiB),
            (SgTable{{page(0) + kDramPage - kPageSize, kPageSize}, {page(2), kDramPage - kPageSize}}));
}

// With an IOMMU the importer sees addresses of its own domain, and they decode to the same bytes.
TEST(HlMapDmaBuf, AddressesDecodeToTheExportedBytes) {
  for (const pci::IommuMode iommu : {pci::IommuMode::kOff, pci::IommuMode::kPassthrough, pci::IommuMode::kOn}) {
    SCOPED_TRACE(pci::ToString(iommu));
    Harness harness({.iommu = iommu});
    Ref<kernel::File> file = *harness.Open();
    const uint64_t va = harness.Map(file, harness.Alloc(file, 1));
    int fd = -1;
    ASSERT_EQ(harness.Export(file, va, 2 * kPageSize, kPageSize, &fd), 0);
    auto attachment = DmaBufAttachment::Create(Take(harness, fd), harness.machine.nic(), kPinned);
    ASSERT_TRUE(attachment.has_value());
    auto mapping = (*attachment)->Map(dmabuf::Direction::kBidirectional);
    ASSERT_TRUE(mapping.has_value());
    ASSERT_EQ((*mapping)->table().size(), 1u);
    const uint64_t address = (*mapping)->table()[0].dma_address;
    const auto& map = harness.machine.bus_map();
    const uint32_t window = pci::FindWindow(map, harness.machine.nic().index(), address, 2 * kPageSize, 0);
    ASSERT_LT(window, pci::kMaxWindows);
    EXPECT_EQ(map.windows[window].memory, harness.device().board().hbm_memory());
    EXPECT_EQ(map.windows[window].memory_offset + (address - map.windows[window].base), kDramPage + kPageSize);
    EXPECT_EQ(map.windows[window].target, harness.machine.gaudi2().index());
  }
}

// hl_dmabuf_attach(), hl_map_dmabuf(): the refusal is logged with rule, both functions and a remedy.
TEST(HlMapDmaBuf, RefusalTellsWhy) {
  Harness harness;
  Ref<kernel::File> file = *harness.Open();
  const uint64_t va = harness.Map(file, harness.Alloc(file, 1));
  int fd = -1;
  ASSERT_EQ(harness.Export(file, va, kPageSize, 0, &fd), 0);
  const auto dmabuf = Take(harness, fd);
  const auto far = DmaBufAttachment::Create(dmabuf, harness.machine.far(),
                                            {.allow_peer2peer = true, .move_notify = [](DmaBufAttachment&) {}});
  ASSERT_FALSE(far.has_value());
  EXPECT_EQ(far.error(), Errno(EPERM));
  const auto refusals = harness.refusals.Snapshot();
  ASSERT_EQ(refusals.size(), 1u);
  EXPECT_EQ(refusals[0].what, "dma-buf of gaudi2_0 mapped for far: EPERM");
  EXPECT_TRUE(refusals[0].provider.starts_with("gaudi2_0 ("));
  EXPECT_TRUE(refusals[0].client.starts_with("far ("));
  EXPECT_FALSE(refusals[0].rule.empty());
  EXPECT_FALSE(refusals[0].remedy.empty());

  // An importer that takes no peer-to-peer addresses at all.
  auto plain = DmaBufAttachment::Create(dmabuf, harness.machine.nic());
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ((*plain)->Map(dmabuf::Direction::kToDevice).error(), Errno(EPERM));
  EXPECT_EQ(harness.refusals.Snapshot().size(), 2u);
}

TEST(HlExport, SameMemoryManyTimes) {
  for (const gaudi::Asic asic : kEveryAsic) {
    Harness harness({.asic = asic});
    Ref<kernel::File> file = *harness.Open();
    const uint64_t addr = asic == gaudi::Asic::kGaudi ? 0x20000000 : harness.Map(file, harness.Alloc(file, 1));
    int a = -1, b = -1;
    ASSERT_EQ(harness.Export(file, addr, 2 * kPageSize, 0, &a), 0);
    ASSERT_EQ(harness.Export(file, addr, kPageSize, 0, &b), 0);
    EXPECT_NE(a, b);
    EXPECT_EQ(harness.task.files.at(a)->Stat().size, 2 * kPageSize);  // sizes are their own (E4)
    EXPECT_EQ(harness.task.files.at(b)->Stat().size, kPageSize);
  }
}

}  // namespace
}  // namespace causeway::habanalabs
