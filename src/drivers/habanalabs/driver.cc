// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/driver.h"

#include "base/log.h"
#include "drivers/habanalabs/debugfs.h"
#include "drivers/habanalabs/hwmon.h"
#include "drivers/habanalabs/sysfs.h"
#include "pci/sysfs.h"

namespace causeway::habanalabs {
namespace {

// habanalabs_drv.c ids[] and get_asic_type().
Result<gaudi::Asic> AsicOf(const pci::Identity& identity, Flavour flavour) {
  if (identity.vendor != gaudi::kVendor) return Err(ENODEV);
  switch (identity.device) {
    case gaudi::kDeviceGaudi:
    case gaudi::kDeviceGaudiSec: return gaudi::Asic::kGaudi;
    case gaudi::kDeviceGaudi2:
      // v6.1 does not look at the revision.
      if (flavour != Flavour::kMisc && (identity.revision < 1 || identity.revision > 4)) return Err(ENODEV);
      return gaudi::Asic::kGaudi2;
    default: return Err(ENODEV);
  }
}

}  // namespace

Driver::Driver(kernel::Tree& tree, pci::Bus& bus, ipc::MemoryTable& memories, kernel::RefusalLog& refusals,
               WorkQueue* work)
    : tree_(tree),
      bus_(bus),
      memories_(memories),
      refusals_(refusals),
      next_hwmon_(FirstFreeHwmon()),
      own_work_(work == nullptr ? std::make_unique<WorkThread>() : nullptr),
      work_(work == nullptr ? *own_work_ : *work) {}
Driver::~Driver() = default;

Status Driver::AddDevice(const DeviceSpec& spec, const pci::Function& function) {
  CW_TRY(const gaudi::Asic asic, AsicOf(function.identity(), spec.flavour));
  CW_TRY(auto board,
         gaudi::Board::Create(
             {.asic = asic, .hbm_stacks = spec.hbm_stacks, .module_id = spec.module_id, .serial = spec.serial},
             function, bus_, memories_));
  CW_TRY(const uint32_t coherent, CoherentMemory::CreateObject(memories_, function.name() + "-coherent"));
  uint32_t& index = spec.flavour == Flavour::kMisc ? next_misc_ : next_accel_;
  const NodeNames names = NamesOf(spec.flavour, index);
  // From here on tree nodes refer to the device, so it stays; one that could not be finished is disabled.
  devices_.push_back(
      std::make_unique<HlDevice>(std::move(board), MakeAsicProperties(asic, spec.flavour, spec.hbm_stacks), bus_,
                                 refusals_, work_, memories_, coherent, names.node(), names.control_node()));
  HlDevice& device = *devices_.back();
  if (const Status added = AddToTree(names, index, function, device); !added) {
    device.set_status(uapi::kHlStatusMalfunction);
    return added;
  }
  ++index;
  device.StartHeartbeat();
  device.set_status(uapi::kHlStatusOperational);
  log::Info("{}: {} at {}, {} GiB of device memory", names.name, device.TypeName(), function.bdf().ToString(),
            device.board().hbm_bytes() / kGiB);
  return {};
}

Status Driver::AddToTree(const NodeNames& names, uint32_t index, const pci::Function& function, HlDevice& device) {
  for (const std::string& path : ClaimsOf(device.properties().flavour)) {
    if (claimed_.insert(path).second) CW_CHECK(tree_.Claim(path));
  }
  // Nodes come last: who can open them finds everything else in place.
  const std::string folder = pci::SysfsPath(bus_.topology(), function);
  CW_CHECK(AddSysfs(tree_, names, folder, device));
  CW_CHECK(AddHwmon(tree_, folder, next_hwmon_++, device));
  CW_CHECK(AddDebugfs(tree_, names, index, device));
  return AddNodes(tree_, names, device);
}

std::vector<DeviceReport> Driver::Report() const {
  std::vector<DeviceReport> reports;
  for (const auto& device : devices_) reports.push_back(device->Report());
  return reports;
}

}  // namespace causeway::habanalabs
