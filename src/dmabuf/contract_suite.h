// SPDX-License-Identifier: Apache-2.0
// The exporter and importer contract of linux drivers/dma-buf/dma-buf.c as one suite, run against every exporter (each
// room that has one instantiates it) by every kind of importer.
//
//   INSTANTIATE_TEST_SUITE_P(Habanalabs, DmaBufContract,
//                            testing::Combine(testing::Values(ExporterCase{"gaudi2", MakeGaudi2}), kEveryImporter));
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "base/checked.h"
#include "dmabuf/dma_buf.h"

namespace causeway::dmabuf {

// One exporter under test, with one buffer of its own.
class ExporterFixture {
 public:
  virtual ~ExporterFixture() = default;
  virtual Ref<DmaBuf> Export() = 0;  // a new buffer
  virtual bool MemoryHeld() = 0;     // the exporter keeps the memory of some buffer
  virtual void OwnerLeaves() {}      // the exporting program closes and forgets all it can
  virtual const pci::Function& Importer() = 0;
  virtual const pci::Function* Unreachable() { return nullptr; }  // an importer that the exporter must refuse
  virtual bool dynamic() const { return false; }
  virtual void Move(DmaBuf&) {}  // dynamic only; called without resv
};

struct ExporterCase {
  std::string name;
  std::function<std::unique_ptr<ExporterFixture>()> make;
};
enum class ImporterKind { kPinned, kDynamic };

inline const auto kEveryImporter = testing::Values(ImporterKind::kPinned, ImporterKind::kDynamic);

class DmaBufContract : public testing::TestWithParam<std::tuple<ExporterCase, ImporterKind>> {
 protected:
  DmaBufContract() : exporter_(std::get<0>(GetParam()).make()) {}

  bool importer_is_dynamic() const { return std::get<1>(GetParam()) == ImporterKind::kDynamic; }
  ImporterOps Ops(uint64_t max_segment = uint64_t{2} << 30) {
    ImporterOps ops{.allow_peer2peer = true, .max_segment = max_segment};
    if (importer_is_dynamic()) ops.move_notify = [this](DmaBufAttachment&) { ++moves_; };
    return ops;
  }
  Result<std::unique_ptr<DmaBufAttachment>> Attach(const Ref<DmaBuf>& dmabuf) {
    return DmaBufAttachment::Create(dmabuf, exporter_->Importer(), Ops());
  }
  static uint64_t Total(const SgTable& table) {
    return std::accumulate(table.begin(), table.end(), uint64_t{0},
                           [](uint64_t sum, const SgEntry& entry) { return sum + entry.len; });
  }

  std::unique_ptr<ExporterFixture> exporter_;
  int moves_ = 0;
};

TEST_P(DmaBufContract, MappingIsPageAlignedAndSumsToTheSize) {
  auto dmabuf = exporter_->Export();
  auto attachment = Attach(dmabuf);
  ASSERT_TRUE(attachment.has_value());
  for (const Direction direction : {Direction::kBidirectional, Direction::kToDevice, Direction::kFromDevice}) {
    auto mapping = (*attachment)->Map(direction);
    ASSERT_TRUE(mapping.has_value());
    EXPECT_EQ(Total((*mapping)->table()), dmabuf->size());
    for (const SgEntry& entry : (*mapping)->table()) {
      EXPECT_TRUE(IsAligned(entry.dma_address, kPageSize));
      EXPECT_TRUE(IsAligned(entry.len, kPageSize));
      EXPECT_GT(entry.len, 0u);
    }
  }
}

TEST_P(DmaBufContract, AttachmentsOfOneImporterAreIndependent) {
  auto dmabuf = exporter_->Export();
  auto first = Attach(dmabuf);
  auto second = Attach(dmabuf);
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(dmabuf->attachment_count(), 2u);
  auto a = (*first)->Map(Direction::kBidirectional);
  auto b = (*second)->Map(Direction::kBidirectional);
  ASSERT_TRUE(a.has_value() && b.has_value());
  a->reset();
  first->reset();
  EXPECT_EQ(dmabuf->attachment_count(), 1u);
  EXPECT_EQ(Total((*b)->table()), dmabuf->size());
  b->reset();
  second->reset();
  EXPECT_EQ(dmabuf->attachment_count(), 0u);
}

TEST_P(DmaBufContract, NoEntryIsLongerThanTheImportersSegment) {
  auto dmabuf = exporter_->Export();
  // One and a half pages round down to one: alloc_sgt_from_device_pages(), ALIGN_DOWN(dma_max_seg_size, PAGE_SIZE).
  auto attachment = DmaBufAttachment::Create(dmabuf, exporter_->Importer(), Ops(kPageSize + kPageSize / 2));
  ASSERT_TRUE(attachment.has_value());
  auto mapping = (*attachment)->Map(Direction::kBidirectional);
  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ((*mapping)->table().size(), dmabuf->size() / kPageSize);
  EXPECT_EQ(Total((*mapping)->table()), dmabuf->size());
}

TEST_P(DmaBufContract, SegmentSmallerThanAPageCannotBeMapped) {
  auto dmabuf = exporter_->Export();
  auto attachment = DmaBufAttachment::Create(dmabuf, exporter_->Importer(), Ops(kPageSize - 1));
  // dma_buf_dynamic_attach() maps at once when only one side is dynamic.
  if (importer_is_dynamic() != exporter_->dynamic()) {
    ASSERT_FALSE(attachment.has_value());
    EXPECT_EQ(attachment.error(), Errno(EINVAL));
  } else {
    ASSERT_TRUE(attachment.has_value());
    EXPECT_EQ((*attachment)->Map(Direction::kBidirectional).error(), Errno(EINVAL));
  }
}

TEST_P(DmaBufContract, ImporterWithoutAPathIsRefusedWithEperm) {
  if (exporter_->Unreachable() == nullptr) return;  // this exporter's memory is reachable from everywhere
  auto dmabuf = exporter_->Export();
  auto attachment = DmaBufAttachment::Create(dmabuf, *exporter_->Unreachable(), Ops());
  if (importer_is_dynamic() != exporter_->dynamic()) {
    ASSERT_FALSE(attachment.has_value());
    EXPECT_EQ(attachment.error(), Errno(EPERM));
  } else {
    ASSERT_TRUE(attachment.has_value());
    EXPECT_FALSE((*attachment)->peer2peer);
    EXPECT_EQ((*attachment)->Map(Direction::kBidirectional).error(), Errno(EPERM));
  }
  attachment = Err(EINVAL);  // a failed attach leaves nothing behind
  EXPECT_EQ(dmabuf->attachment_count(), 0u);
}

// A descriptor and two attachments, released in every order; the exporting program is gone from the start.
TEST_P(DmaBufContract, MemoryLivesUntilTheLastOfThreeHolders) {
  std::array<int, 3> order = {0, 1, 2};
  do {
    exporter_ = std::get<0>(GetParam()).make();
    Ref<DmaBuf> descriptor = exporter_->Export();
    auto first = Attach(descriptor);
    auto second = Attach(descriptor);
    ASSERT_TRUE(first.has_value() && second.has_value());
    auto first_mapping = (*first)->Map(Direction::kBidirectional);
    auto second_mapping = (*second)->Map(Direction::kBidirectional);
    ASSERT_TRUE(first_mapping.has_value() && second_mapping.has_value());
    exporter_->OwnerLeaves();
    for (const int holder : order) {
      EXPECT_TRUE(exporter_->MemoryHeld()) << "order " << order[0] << order[1] << order[2];
      switch (holder) {
        case 0: descriptor.Reset(); break;
        case 1: first_mapping->reset(), first->reset(); break;
        default: second_mapping->reset(), second->reset(); break;
      }
    }
    EXPECT_FALSE(exporter_->MemoryHeld()) << "order " << order[0] << order[1] << order[2];
  } while (std::ranges::next_permutation(order).found);
}

TEST_P(DmaBufContract, OnlyDynamicImportersOfADynamicExporterAreToldOfAMove) {
  if (!exporter_->dynamic()) return;  // a static exporter never moves
  auto dmabuf = exporter_->Export();
  auto attachment = Attach(dmabuf);
  ASSERT_TRUE(attachment.has_value());
  auto before = (*attachment)->Map(Direction::kBidirectional);
  ASSERT_TRUE(before.has_value());
  const SgTable old_table = (*before)->table();
  if (importer_is_dynamic()) {
    before->reset();
    exporter_->Move(*dmabuf);
    EXPECT_EQ(moves_, 1);
    auto after = (*attachment)->Map(Direction::kBidirectional);
    ASSERT_TRUE(after.has_value());
    EXPECT_NE((*after)->table(), old_table);
  } else {
    exporter_->Move(*dmabuf);  // pinned under the mapping: stays
    EXPECT_EQ(moves_, 0);
    auto after = (*attachment)->Map(Direction::kBidirectional);
    ASSERT_TRUE(after.has_value());
    EXPECT_EQ((*after)->table(), old_table);
  }
}

TEST_P(DmaBufContract, PinsOfADynamicImporterEndWithItsAttachment) {
  auto dmabuf = exporter_->Export();
  auto attachment = Attach(dmabuf);
  ASSERT_TRUE(attachment.has_value());
  {
    const std::lock_guard lock(dmabuf->resv_mutex());
    EXPECT_TRUE((*attachment)->PinLocked().has_value());
    dmabuf->MoveNotifyLocked();
    (*attachment)->UnpinLocked();
    EXPECT_TRUE((*attachment)->PinLocked().has_value());
  }
  attachment->reset();
  EXPECT_EQ(dmabuf->attachment_count(), 0u);
}

}  // namespace causeway::dmabuf
