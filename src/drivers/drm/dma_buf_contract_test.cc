// SPDX-License-Identifier: Apache-2.0
// dmabuf's contract suite against a GPU's buffers: an exporter that may move them.
#include "dmabuf/contract_suite.h"

#include "drivers/drm/test_bench.h"

namespace causeway::dmabuf {
namespace {

using drm::TestBench;

class DrmFixture : public ExporterFixture {
 public:
  DrmFixture() : file_(bench_.Open()) {}
  Ref<DmaBuf> Export() override {
    uint32_t handle = 0;
    int fd = -1;
    EXPECT_EQ(bench_.Create(*file_, 16 * kPageSize, &handle), 0);
    EXPECT_EQ(bench_.ToFd(*file_, handle, &fd), 0);
    auto dmabuf = DynamicRefCast<DmaBuf>(bench_.task.files.at(fd));
    bench_.task.Close(fd);
    return dmabuf;
  }
  bool MemoryHeld() override { return bench_.device().used_bytes() != 0; }
  void OwnerLeaves() override { file_.Reset(); }
  const pci::Function& Importer() override { return bench_.function("nic0"); }
  const pci::Function* Unreachable() override { return &bench_.function("far"); }
  bool dynamic() const override { return true; }
  void Move(DmaBuf&) override { (void)bench_.device().Evict(); }

 private:
  TestBench bench_;
  Ref<drm::DrmFile> file_;
};

// Without an IOMMU a move shows in the scatterlist; with one the new place may get the old IOVA.
INSTANTIATE_TEST_SUITE_P(
    Drm, DmaBufContract,
    testing::Combine(testing::Values(ExporterCase{"amdgpu", [] { return std::make_unique<DrmFixture>(); }}),
                     kEveryImporter),
    [](const auto& parameter) {
      return std::get<0>(parameter.param).name +
             (std::get<1>(parameter.param) == ImporterKind::kPinned ? "_Pinned" : "_DynamicImporter");
    });

}  // namespace
}  // namespace causeway::dmabuf
