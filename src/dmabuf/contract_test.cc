// SPDX-License-Identifier: Apache-2.0
// The contract suite against this room's own exporters: a static and a dynamic one. Drivers run it against theirs.
#include <gtest/gtest.h>

#include "devices/gaudi/fake_machine.h"
#include "dmabuf/contract_suite.h"
#include "dmabuf/fake_exporter.h"

namespace causeway::dmabuf {
namespace {

class FakeFixture : public ExporterFixture {
 public:
  explicit FakeFixture(bool is_dynamic) : state_(std::make_shared<FakeExporterState>()), dynamic_(is_dynamic) {}
  ~FakeFixture() override {
    EXPECT_EQ(state_->attached, 0);
    EXPECT_EQ(state_->mapped, 0);
    EXPECT_EQ(state_->pinned, 0);
  }
  Ref<DmaBuf> Export() override {
    auto dmabuf = DmaBuf::Export(
        {.exporter_name = "fake", .size = 8 * kPageSize, .ops = std::make_unique<FakeExporter>(state_, dynamic_)});
    CW_INVARIANT(dmabuf.has_value());
    return *dmabuf;
  }
  bool MemoryHeld() override { return state_->alive; }
  const pci::Function& Importer() override { return machine_.nic(); }
  bool dynamic() const override { return dynamic_; }
  void Move(DmaBuf& dmabuf) override {
    const std::lock_guard lock(dmabuf.resv_mutex());
    if (state_->pinned != 0) return;
    state_->base += uint64_t{1} << 32;
    dmabuf.MoveNotifyLocked();
  }

 private:
  gaudi::FakeMachine machine_;
  const std::shared_ptr<FakeExporterState> state_;
  const bool dynamic_;
};

const ExporterCase kStatic{"static", [] { return std::make_unique<FakeFixture>(false); }};
const ExporterCase kDynamic{"dynamic", [] { return std::make_unique<FakeFixture>(true); }};

INSTANTIATE_TEST_SUITE_P(Fake, DmaBufContract, testing::Combine(testing::Values(kStatic, kDynamic), kEveryImporter),
                         [](const auto& parameter) {
                           return std::get<0>(parameter.param).name +
                                  (std::get<1>(parameter.param) == ImporterKind::kPinned ? "_Pinned"
                                                                                         : "_DynamicImporter");
                         });

}  // namespace
}  // namespace causeway::dmabuf
