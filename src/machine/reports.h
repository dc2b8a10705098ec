// SPDX-License-Identifier: Apache-2.0
// The machine's state as JSON, for the control socket: one function per op (control.h says what each holds).
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "devices/roce_nic/nic.h"
#include "drivers/drm/driver.h"
#include "drivers/habanalabs/driver.h"
#include "drivers/infiniband/driver.h"
#include "drivers/rdma_cm/driver.h"
#include "ipc/memory_table.h"
#include "kernel/file_table.h"
#include "kernel/refusals.h"
#include "kernel/server.h"
#include "machine/control.h"
#include "pci/bus.h"

namespace causeway::machine {

// All outlive the handlers.
struct ReportSources {
  std::string folder;
  const kernel::Server& server;
  const kernel::FileTable& files;
  const kernel::RefusalLog& refusals;
  const ipc::MemoryTable& memories;
  const pci::Bus& bus;
  const roce::NicDevices& nics;
  const habanalabs::Driver& habanalabs;
  const infiniband::Driver& infiniband;
  const drm::Driver& drm;
  rdma_cm::Driver& rdma_cm;
};

// Every op but "down".
std::map<std::string, ControlServer::Handler> ReportHandlers(const ReportSources& sources);

}  // namespace causeway::machine
