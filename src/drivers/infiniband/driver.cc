// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/driver.h"

#include <cstring>

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
              device->netdev(), GidText(device->gids().filled().back().gid));
    core->AddDevice(std::move(device));
  }
  // The router outlives the driver as long as the NIC thread may call it.
  const std::shared_ptr<EventRouter> events = core->shared_events();
  nics.SetInterrupts({.completion = [events](uint32_t cq) { events->Completion(cq); },
                      .cq_error = [events](uint32_t cq) { events->CqError(cq); },
                      .qp = [events](uint32_t qpn, roce::QpEvent event) { events->QpEvent(qpn, event); },
                      .srq_limit = [events](uint32_t srq) { events->SrqLimit(srq); }});
  std::unique_ptr<Driver> driver(new Driver(tree, std::move(core)));
  driver->FollowNetDevices();
  return driver;
}

Driver::Driver(kernel::Tree& tree, std::unique_ptr<IbCore> core) : tree_(tree), core_(std::move(core)) {}

void Driver::FollowNetDevices() {
  const auto for_each = [this](auto visit) {
    for (const auto& device : core_->devices()) visit(*device);
  };
  NetEvents events;
  events.address = [this, for_each](uint32_t ifindex, const Gid& address, bool present) {
    for_each([&](IbDevice& device) {
      if (device.ifindex() != ifindex) return;
      if (const auto index = device.ChangeAddress(address, present)) ShowChanges(device, {*index});
    });
  };
  // By name: an interface that was removed may come again with another number.
  events.link = [this, for_each](const NetEvents::Link& link) {
    for_each([&](IbDevice& device) {
      if (link.name != device.netdev() || (link.gone && device.ifindex() != link.ifindex)) return;
      if (link.state == LinkState::kDown) ShowChanges(device, device.AwaitAddressesGone());
      device.ChangeLink(link.gone ? 0 : link.ifindex, link.mtu, link.state);
    });
  };
  events.resync = [this, for_each] { for_each([&](IbDevice& device) { ShowChanges(device, device.Resync()); }); };
  auto monitor = NetMonitor::Start(std::move(events));
  if (monitor) {
    monitor_ = std::move(*monitor);
  } else {
    log::Warn("infiniband: network interfaces cannot be followed: {}", std::strerror(monitor.error().code()));
  }
}

void Driver::ShowChanges(IbDevice& device, const std::vector<uint32_t>& indices) {
  const std::string path = pci::SysfsPath(core_->bus().topology(), device.function());
  for (const uint32_t index : indices) {
    Status shown = ShowGid(tree_, device, path, index);
    if (shown && index + 1 < GidTable::kLength && !device.gids().Get(index + 1)) {
      shown = ShowGid(tree_, device, path, index + 1);  // an empty entry ends what is shown
    }
    if (!shown) log::Warn("{}: files of GID {}: {}", device.name(), index, std::strerror(shown.error().code()));
  }
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
                       .netdev = device->netdev(),
                       .node_guid = GuidText(Eui64(device->mac())),
                       .gids = {},
                       .nic = device->nic(),
                       .function = &device->function()};
    for (const GidTable::Entry& entry : device->gids().filled()) info.gids.push_back(GidText(entry.gid));
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace causeway::infiniband
