// SPDX-License-Identifier: Apache-2.0
// dmabuf's contract suite against this driver's exporter, both ASICs, every flavour that exports.
#include "dmabuf/contract_suite.h"

#include "drivers/habanalabs/harness.h"

namespace causeway::dmabuf {
namespace {

using habanalabs::Flavour;
using habanalabs::Harness;
using habanalabs::HarnessSpec;

class HabanalabsFixture : public ExporterFixture {
 public:
  explicit HabanalabsFixture(const HarnessSpec& spec) : harness_(spec), file_(*harness_.Open()) {
    addr_ = 0x20000000;
    if (spec.asic == gaudi::Asic::kGaudi2) addr_ = harness_.Map(file_, harness_.Alloc(file_, 1));
  }
  Ref<DmaBuf> Export() override {
    int fd = -1;
    EXPECT_EQ(harness_.Export(file_, addr_, 16 * kPageSize, 0, &fd), 0);
    auto dmabuf = DynamicRefCast<DmaBuf>(harness_.task.files.at(fd));
    harness_.task.Close(fd);
    return dmabuf;
  }
  // The context, with everything it owns, lives while an export does.
  bool MemoryHeld() override { return harness_.device().open_stats().active; }
  void OwnerLeaves() override { file_.Reset(); }
  const pci::Function& Importer() override { return harness_.machine.nic(); }
  const pci::Function* Unreachable() override { return &harness_.machine.far(); }

 private:
  Harness harness_;
  Ref<kernel::File> file_;
  uint64_t addr_ = 0;
};

ExporterCase Case(std::string name, HarnessSpec spec) {
  return {std::move(name), [spec] { return std::make_unique<HabanalabsFixture>(spec); }};
}

INSTANTIATE_TEST_SUITE_P(
    Habanalabs, DmaBufContract,
    testing::Combine(testing::Values(Case("gaudi2", {}), Case("gaudi2_drm", {.flavour = Flavour::kDrm}),
                                     Case("gaudi", {.asic = gaudi::Asic::kGaudi}),
                                     Case("gaudi_misc", {.asic = gaudi::Asic::kGaudi, .flavour = Flavour::kMisc}),
                                     Case("gaudi2_iommu", {.iommu = pci::IommuMode::kOn})),
                     kEveryImporter),
    [](const auto& parameter) {
      return std::get<0>(parameter.param).name +
             (std::get<1>(parameter.param) == ImporterKind::kPinned ? "_Pinned" : "_DynamicImporter");
    });

}  // namespace
}  // namespace causeway::dmabuf
