// SPDX-License-Identifier: Apache-2.0
#include "drivers/rdma_cm/driver.h"

#include <fmt/core.h>

#include <string>

#include "drivers/rdma_cm/ucm_file.h"
#include "kernel/task.h"

namespace causeway::rdma_cm {
namespace {

// misc_register(), ucma_init().
Status AddToTree(kernel::Tree& tree, Cm& cm) {
  const std::string folder = "/sys/devices/virtual/misc/rdma_cm";
  CW_CHECK(tree.AddFolder(folder + "/power"));
  CW_CHECK(tree.AddFile(folder + "/abi_version", fmt::format("{}\n", uapi::kRdmaUserCmAbiVersion)));
  CW_CHECK(tree.AddFile(folder + "/dev", fmt::format("{}:{}\n", UcmFile::kMajor, UcmFile::kMinor)));
  CW_CHECK(tree.AddFile(
      folder + "/uevent",
      fmt::format("MAJOR={}\nMINOR={}\nDEVNAME=infiniband/rdma_cm\nDEVMODE=0666\n", UcmFile::kMajor, UcmFile::kMinor),
      0644));
  CW_CHECK(tree.AddLink(folder + "/subsystem", "../../../../class/misc"));
  CW_CHECK(tree.AddLink("/sys/class/misc/rdma_cm", "../../devices/virtual/misc/rdma_cm"));
  const std::string by_number = fmt::format("/sys/dev/char/{}:{}", UcmFile::kMajor, UcmFile::kMinor);
  CW_CHECK(tree.AddLink(by_number, "../../devices/virtual/misc/rdma_cm"));
  CW_CHECK(tree.Claim(by_number));
  CW_CHECK(tree.Claim("/sys/class/misc/rdma_cm"));
  CW_CHECK(tree.Claim(folder));
  return tree.AddDevice("/dev/infiniband/rdma_cm", 0666, UcmFile::kMajor, UcmFile::kMinor,
                        [&cm](kernel::Task& task, uint32_t) -> Result<Ref<kernel::File>> {
                          return Ref<kernel::File>(MakeRef<UcmFile>(cm, task.pid()));
                        });
}

}  // namespace

Result<std::unique_ptr<Driver>> Driver::Create(kernel::Tree& tree, Nics& nics, Network& network,
                                               kernel::Readiness& readiness) {
  auto driver = std::unique_ptr<Driver>(new Driver(nics, network, readiness));
  CW_CHECK(AddToTree(tree, driver->cm_));
  return driver;
}

Driver::~Driver() { timers_.Stop(); }

Cm::Counts Driver::Count() {
  const auto lock = cm_.Lock();
  return cm_.Count();
}

}  // namespace causeway::rdma_cm
