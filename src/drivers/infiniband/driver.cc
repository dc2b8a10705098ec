// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/driver.h"

#include "base/log.h"
#include "drivers/infiniband/uverbs_file.h"
#include "pci/sysfs.h"

namespace causeway::infiniband {

Result<std::unique_ptr<Driver>> Driver::Create(kernel::Tree& tree, roce::NicDevices& nics, pci::Bus& bus,
                                               kernel::Readiness& readiness, const Config& config) {
  auto core = std::make_unique<IbCore>(nics, bus, readiness, config);
  CW_CHECK(AddClasses(tree));
  uint32_t number = 0;
  for (const NicConfig& nic : config.nics) {
    auto netdev = FindNetDevice(nic.netdev);
    if (!netdev) {
      log::Error("{}: no network interface {}", nic.name, nic.netdev);
      return Err(netdev.error());
    }
    auto device = std::make_unique<IbDevice>(*core, nic, number++, std::move(*netdev));
    CW_CHECK(AddToTree(tree, *device, pci::SysfsPath(bus.topology(), *nic.function)));
    log::Info("{}: node guid {}, net device {}, GID {}", device->name(), GuidText(Eui64(device->mac())),
              device->netdev().name, GidText(device->gids().filled().back()));
    core->AddDevice(std::move(device));
  }
  // The router outlives the driver as long as the NIC thread may call it.
  const std::shared_ptr<EventRouter> events = core->shared_events();
  nics.SetInterrupts({.completion = [events](uint32_t cq) { events->Completion(cq); },
                      .cq_error = [events](uint32_t cq) { events->CqError(cq); },
                      .qp = [events](uint32_t qpn, roce::QpEvent event) { events->QpEvent(qpn, event); },
                      .srq_limit = [events](uint32_t srq) { events->SrqLimit(srq); }});
  return std::unique_ptr<Driver>(new Driver(std::move(core)));
}

Driver::~Driver() = default;

std::vector<Driver::ContextInfo> Driver::Contexts() const {
  std::vector<ContextInfo> contexts;
  for (const auto& device : core_->devices()) {
    device->ForEachFile([&](UverbsFile& file) {
      const UobjectTable& objects = file.objects();
      contexts.push_back({.device = device->name(),
                          .pid = file.opener(),
                          .pds = objects.Count(uapi::UVERBS_OBJECT_PD),
                          .mrs = objects.Count(uapi::UVERBS_OBJECT_MR),
                          .cqs = objects.Count(uapi::UVERBS_OBJECT_CQ),
                          .qps = objects.Count(uapi::UVERBS_OBJECT_QP)});
    });
  }
  return contexts;
}

std::vector<Driver::DeviceInfo> Driver::Devices() const {
  std::vector<DeviceInfo> devices;
  for (const auto& device : core_->devices()) {
    DeviceInfo info = {.name = device->name(),
                       .node = "/dev/infiniband/uverbs" + std::to_string(device->number()),
                       .netdev = device->netdev().name,
                       .node_guid = GuidText(Eui64(device->mac())),
                       .gids = {},
                       .nic = device->nic(),
                       .function = &device->function()};
    for (const Gid& gid : device->gids().filled()) info.gids.push_back(GidText(gid));
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace causeway::infiniband
