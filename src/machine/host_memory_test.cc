// SPDX-License-Identifier: Apache-2.0
#include "machine/host_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/checked.h"
#include "config/config.h"
#include "machine/arena_memory.h"
#include "pci/bus.h"

namespace causeway::machine {
namespace {

// This process is the program: what it maps of the host memory is what /proc says of it.
class HostMemoryTest : public ::testing::Test {
 protected:
  explicit HostMemoryTest(bool enabled = true) {
    arena_ = std::move(*ArenaMemory::Create("test"));
    UniqueFd copy(::dup(arena_->fd()));
    CW_INVARIANT(memories_.Adopt("arena", std::move(copy), arena_->header().arena_bytes));
    host_ = std::move(*HostMemory::Create(memories_, enabled));
    topology_ = config::BuildTopology(*config::ParseConfig("", "empty").config);
    bus_ = std::make_unique<pci::Bus>(*topology_, arena_->bus_map());
    nics_ = std::make_unique<roce::NicDevices>(arena_->base(), arena_->header(), memories_, *bus_);
    host_->set_nics(*nics_);
    mm_ = {*nics_->AddAddressSpace(static_cast<uint32_t>(::getpid())), ::getpid()};
  }

  char* Map(uint64_t offset, uint64_t len) {
    void* at = ::mmap(nullptr, len, PROT_READ | PROT_WRITE, MAP_SHARED, memories_.fd(ipc::kHostMemory),
                      static_cast<off_t>(offset));
    CW_INVARIANT(at != MAP_FAILED);
    return static_cast<char*>(at);
  }
  uint64_t Resident() { return memories_.resident_bytes(ipc::kHostMemory); }
  std::vector<kernel::SharedPages> Shared(uint64_t address, uint64_t len) {
    return kernel::PinProcessRange(kernel::ProcessMaps(mm_.pid), address, len, true, host_->file(), 0)->shared;
  }
  uint32_t Register(const char* at, uint64_t len) {
    const auto address = reinterpret_cast<uint64_t>(at);
    const auto shared = Shared(address, len);
    std::vector<roce::HostPiece> pieces;
    for (const auto& part : shared) pieces.push_back({part.start, part.len, part.offset});
    const roce::HostRegion host = {mm_.index, address, pieces};
    roce::MrCreate create = {};
    create.pd = 1;
    create.iova = address;
    create.length = len;
    create.host = &host;
    return *nics_->CreateMr(create);
  }

  std::shared_ptr<kernel::PinnedPages> Pin(const char* at, uint64_t len) {
    const auto address = reinterpret_cast<uint64_t>(at);
    return host_->Pin(mm_, address, len, Shared(address, len));
  }

  std::unique_ptr<ArenaMemory> arena_;
  ipc::MemoryTable memories_;
  std::unique_ptr<HostMemory> host_;
  std::unique_ptr<pci::Topology> topology_;
  std::unique_ptr<pci::Bus> bus_;
  std::unique_ptr<roce::NicDevices> nics_;
  kernel::AddressSpace mm_;
};

class HostMemoryOff : public HostMemoryTest {
 protected:
  HostMemoryOff() : HostMemoryTest(false) {}
};

TEST_F(HostMemoryOff, SharesNothing) { EXPECT_EQ(host_->Share(mm_, 0x10000, 4096).error(), Errno(EOPNOTSUPP)); }

TEST_F(HostMemoryTest, OffsetsAreGivenOnceAndLieInHugePagesAsTheAddressesDo) {
  EXPECT_EQ(host_->Share(mm_, 0x10001, 4096).error(), Errno(EINVAL));
  EXPECT_EQ(host_->Share(mm_, 0x10000, 0).error(), Errno(EINVAL));
  EXPECT_EQ(host_->Share(mm_, ~uint64_t{4095}, 8192).error(), Errno(EINVAL));
  EXPECT_EQ(host_->Share(mm_, 0x10000, uint64_t{1} << 60).error(), Errno(ENOSPC));
  const uint64_t first = *host_->Share(mm_, 0x10000, 4096);
  EXPECT_EQ(*host_->Share(mm_, 0x11000, 8192), first + 4096);  // neighbours stay neighbours: one mapping
  const uint64_t large = *host_->Share(mm_, 0x7f0000345000, 300 * kMiB);
  EXPECT_EQ(large % (2 * kMiB), 0x145000u);
  const kernel::AddressSpace other = {*nics_->AddAddressSpace(1), 1};
  const uint64_t theirs = *host_->Share(other, 0x10000, 4096);
  EXPECT_TRUE(theirs + 4096 <= first || theirs >= first + 64 * kMiB);
  EXPECT_TRUE(theirs + 4096 <= large || theirs >= large + 300 * kMiB);
}

TEST_F(HostMemoryTest, PagesGoWhenNeitherMappingNorRegionHoldsThem) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, 4 * kMiB);
  char* const at = Map(offset, 4 * kMiB);
  memset(at, 1, 4 * kMiB);
  const uint32_t mr = Register(at + 5000, kMiB);
  EXPECT_EQ(nics_->HostRegions().at(0).shared_bytes, kMiB);
  ASSERT_EQ(::munmap(at + 3 * kMiB, kMiB), 0);
  host_->Unmapped(mm_, reinterpret_cast<uint64_t>(at) + 3 * kMiB, kMiB);
  EXPECT_EQ(Resident(), 3 * kMiB);
  // Forgotten by libc: the next look finds it, but what a region refers to stays.
  ASSERT_EQ(::munmap(at, 3 * kMiB), 0);
  host_->Unmapped(mm_, 0x1000, 4096);
  EXPECT_EQ(Resident(), kMiB + 4096);
  EXPECT_EQ(nics_->HostRegions().at(0).shared_bytes, kMiB);
  // Told of: the region turns to system calls.
  host_->Unmapped(mm_, reinterpret_cast<uint64_t>(at), 3 * kMiB);
  EXPECT_EQ(Resident(), 0u);
  EXPECT_EQ(nics_->HostRegions().at(0).shared_bytes, 0u);
  nics_->DestroyMr(mr);
}

TEST_F(HostMemoryTest, ARegionReachedBySystemCallHoldsItsPagesWhereTheyAre) {
  char* const own =
      static_cast<char*>(::mmap(nullptr, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const auto address = reinterpret_cast<uint64_t>(own);
  const uint32_t mr = Register(own + 4096, 4096);
  EXPECT_EQ(nics_->HostRegions().at(0).shared_bytes, 0u);
  EXPECT_EQ(host_->Share(mm_, address, 8 * 4096).error(), Errno(EBUSY));
  EXPECT_TRUE(host_->Share(mm_, address, 4096));
  EXPECT_TRUE(host_->Share(mm_, address + 2 * 4096, 4096));
  nics_->DestroyMr(mr);
  EXPECT_TRUE(host_->Share(mm_, address, 8 * 4096));
  ::munmap(own, 8 * 4096);
}

// get_user_pages(FOLL_LONGTERM): what a device holds is not given back when the program unmaps it.
TEST_F(HostMemoryTest, PinnedPagesStayWhatTheyAre) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, 2 * kMiB);
  char* const at = Map(offset, 2 * kMiB);
  memset(at, 7, 2 * kMiB);
  const auto address = reinterpret_cast<uint64_t>(at);
  auto pin = Pin(at + kMiB, kMiB);
  ASSERT_EQ(::munmap(at, 2 * kMiB), 0);
  host_->Unmapped(mm_, address, 2 * kMiB);
  EXPECT_EQ(Resident(), kMiB);
  pin.reset();
  host_->Unmapped(mm_, 0x1000, 4096);
  EXPECT_EQ(Resident(), 0u);
}

TEST_F(HostMemoryTest, PinnedPagesAreReached) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, 2 * kMiB);
  char* const at = Map(offset, 2 * kMiB);
  const auto address = reinterpret_cast<uint64_t>(at);
  memset(at, 7, 2 * kMiB);
  auto pin = Pin(at + kMiB, kMiB);
  ASSERT_EQ(::munmap(at, 2 * kMiB), 0);
  uint64_t len = 2 * kMiB;
  const std::byte* const bytes = pin->Bytes(address + kMiB + 4096, &len);
  ASSERT_NE(bytes, nullptr);
  EXPECT_EQ(len, kMiB - 4096);
  EXPECT_EQ(bytes[0], std::byte{7});
  len = 1;
  EXPECT_EQ(pin->Bytes(address + kMiB - 1, &len), nullptr);  // outside
  EXPECT_EQ(pin->Bytes(address + 2 * kMiB, &len), nullptr);
}

TEST_F(HostMemoryTest, PagesThatADeviceReachesBySystemCallAreNotMoved) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, 4096);
  char* const own =
      static_cast<char*>(::mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const auto address = reinterpret_cast<uint64_t>(own);
  ASSERT_EQ(::mmap(own + 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memories_.fd(ipc::kHostMemory),
                   static_cast<off_t>(offset)),
            own + 4096);
  auto pin = Pin(own, 3 * 4096);
  uint64_t len = 3 * 4096;
  EXPECT_EQ(pin->Bytes(address, &len), nullptr);
  EXPECT_EQ(len, 4096u);
  len = 3 * 4096;
  EXPECT_NE(pin->Bytes(address + 4096, &len), nullptr);
  EXPECT_EQ(len, 4096u);
  EXPECT_EQ(host_->Share(mm_, address, 4 * 4096).error(), Errno(EBUSY));
  EXPECT_EQ(host_->Share(mm_, address + 2 * 4096, 4096).error(), Errno(EBUSY));
  EXPECT_TRUE(host_->Share(mm_, address + 3 * 4096, 4096));
  pin.reset();
  EXPECT_TRUE(host_->Share(mm_, address, 4096));
  ::munmap(own, 4 * 4096);
}

// A descriptor that another process has keeps the device's mappings; the offsets are nobody else's until they end.
TEST_F(HostMemoryTest, APinOutlivesItsProgram) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, kMiB);
  char* const at = Map(offset, kMiB);
  memset(at, 7, kMiB);
  auto pin = Pin(at, kMiB);
  EXPECT_TRUE(pin->HasImage());
  nics_->EndAddressSpace(mm_.index);
  host_->EndAddressSpace(mm_.index);
  EXPECT_FALSE(pin->HasImage());
  EXPECT_EQ(Resident(), kMiB);
  const kernel::AddressSpace next = {*nics_->AddAddressSpace(1), 1};
  EXPECT_NE(*host_->Share(next, 0x100000, kMiB), offset);
  pin.reset();
  EXPECT_EQ(Resident(), 0u);
  ::munmap(at, kMiB);
}

// A call of a dead program can be under way when its image has ended: what it shares is not the next image's.
TEST_F(HostMemoryTest, WhatComesAfterTheEndIsNotTheNextImages) {
  nics_->EndAddressSpace(mm_.index);
  host_->EndAddressSpace(mm_.index);
  char* const at = Map(*host_->Share(mm_, 0x100000, kMiB), kMiB);
  memset(at, 1, kMiB);
  const kernel::AddressSpace next = {mm_.index, 1};
  EXPECT_TRUE(host_->Share(next, 0x100000, kMiB));
  EXPECT_EQ(Resident(), 0u);
  ::munmap(at, kMiB);
}

TEST_F(HostMemoryTest, AnImagesEndGivesEverythingBack) {
  const uint64_t offset = *host_->Share(mm_, 0x100000, kMiB);
  char* const at = Map(offset, kMiB);
  memset(at, 1, kMiB);
  const uint32_t mr = Register(at, kMiB);
  nics_->EndAddressSpace(mm_.index);
  host_->EndAddressSpace(mm_.index);
  EXPECT_EQ(Resident(), 0u);
  EXPECT_EQ(at[0], 0);  // a mapping of a peer: no fault
  const kernel::AddressSpace next = {*nics_->AddAddressSpace(1), 1};
  EXPECT_EQ(*host_->Share(next, 0x100000, kMiB), offset);  // its offsets are used again
  nics_->DestroyMr(mr);
  ::munmap(at, kMiB);
}

}  // namespace
}  // namespace causeway::machine
