// SPDX-License-Identifier: Apache-2.0
#include "machine/machine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "devices/roce_nic/nic.h"
#include "drivers/drm/driver.h"
#include "drivers/habanalabs/driver.h"
#include "drivers/infiniband/driver.h"
#include "drivers/infiniband/nldev.h"
#include "drivers/rdma_cm/driver.h"
#include "drivers/rdma_cm/host_network.h"
#include "drivers/rdma_cm/ucm_file.h"
#include "ipc/channel.h"
#include "ipc/memory_table.h"
#include "kernel/file_table.h"
#include "kernel/refusals.h"
#include "kernel/server.h"
#include "kernel/syscalls.h"
#include "kernel/tree.h"
#include "machine/arena_memory.h"
#include "machine/cm_ids.h"
#include "machine/control.h"
#include "machine/faults.h"
#include "machine/host_memory.h"
#include "machine/pci_tree.h"
#include "machine/rdma_nics.h"
#include "machine/reports.h"
#include "pci/bus.h"

namespace causeway::machine {
namespace {

std::string MakeMachineId() {
  uint64_t random = 0;
  (void)!::getrandom(&random, sizeof(random), 0);
  return fmt::format("{:016x}", random);
}

// One descriptor per open file, several per program: as many as the system lets us have.
void RaiseDescriptorLimit() {
  struct rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

Status MakeFolder(const std::string& folder) {
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    if (::mkdir(folder.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST) return HostErr();
    if (slash == std::string::npos) break;
  }
  struct stat status;
  if (::stat(folder.c_str(), &status) != 0) return HostErr();
  if (!S_ISDIR(status.st_mode)) return Err(ENOTDIR);
  if (status.st_uid != ::getuid() || (status.st_mode & 077) != 0) return Err(EPERM);  // a machine belongs to one user
  return {};
}

void RemoveFiles(const std::string& folder) {
  (void)::unlink((folder + "/" + ipc::kControlName).c_str());
  (void)::unlink((folder + "/" + ipc::kSocketName).c_str());
  std::error_code error;
  std::filesystem::remove_all(folder + "/tree", error);
  if (error) log::Warn("{}/tree cannot be removed: {}", folder, error.message());
}

// Removes what a killed machine left. errors: EADDRINUSE a machine that lives serves this folder.
Status RemoveStale(const std::string& folder) {
  const std::string path = folder + "/" + ipc::kSocketName;
  struct sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) return Err(ENAMETOOLONG);
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return HostErr();
  if (::connect(socket.get(), reinterpret_cast<struct sockaddr*>(&name), sizeof(name)) == 0) return Err(EADDRINUSE);
  if (errno == EAGAIN) return Err(EADDRINUSE);  // its backlog is full
  if (errno == ECONNREFUSED || ::access((folder + "/tree").c_str(), F_OK) == 0) RemoveFiles(folder);
  return {};
}

habanalabs::Flavour ToDriver(config::Flavour flavour) {
  switch (flavour) {
    case config::Flavour::kAccel: return habanalabs::Flavour::kAccel;
    case config::Flavour::kMisc: return habanalabs::Flavour::kMisc;
    case config::Flavour::kDrm: return habanalabs::Flavour::kDrm;
  }
  return habanalabs::Flavour::kAccel;
}

infiniband::Capabilities ToDriver(const config::NicCapabilities& has) {
  return {.uc = has.uc,
          .ud = has.ud,
          .multicast = has.multicast,
          .srq = has.srq,
          .mw = has.mw,
          .rereg_mr = has.rereg_mr,
          .resize_cq = has.resize_cq,
          .atomics = has.atomics,
          .atomic_write = has.atomic_write,
          .flush = has.flush,
          .odp = has.odp,
          .dmabuf = has.dmabuf};
}

infiniband::Mac ToMac(uint64_t value) {
  infiniband::Mac mac;
  for (size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<uint8_t>(value >> (8 * (mac.size() - 1 - i)));
  return mac;
}

}  // namespace

// In the order in which they are made; they go in the reverse order, after Shutdown().
struct Machine::Parts {
  Parts(config::MachineConfig machine_config, std::string machine_folder)
      : config(std::move(machine_config)), folder(std::move(machine_folder)) {}
  ~Parts() { Shutdown(); }

  Status Build();
  Status AddDevices();
  Status StartServing();
  void Shutdown();

  const config::MachineConfig config;
  const std::string folder;
  UniqueFd stop;
  bool made_files = false;  // what lies in the folder is ours to remove
  std::unique_ptr<ArenaMemory> arena;
  std::unique_ptr<pci::Topology> topology;
  ipc::MemoryTable memories;
  std::unique_ptr<HostMemory> host_memory;
  kernel::RefusalLog refusals;
  std::optional<kernel::Tree> tree;
  std::optional<pci::Bus> bus;
  std::optional<kernel::FileTable> files;
  std::optional<roce::NicDevices> nics;
  std::optional<habanalabs::Driver> habanalabs;
  std::optional<drm::Driver> drm;
  std::unique_ptr<infiniband::Driver> infiniband;
  rdma_cm::HostNetwork network;
  std::optional<RdmaNics> rdma_nics;
  std::unique_ptr<rdma_cm::Driver> rdma_cm;
  std::optional<CmIds> cm_ids;
  std::optional<infiniband::Nldev> nldev;
  std::optional<kernel::Syscalls> syscalls;
  std::unique_ptr<kernel::Server> server;
  std::unique_ptr<ControlServer> control;
};

Status Machine::Parts::Build() {
  RaiseDescriptorLimit();
  CW_CHECK(MakeFolder(folder));
  stop.Reset(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return HostErr();
  const std::string machine_id = MakeMachineId();
  CW_TRY(arena, ArenaMemory::Create(machine_id));
  UniqueFd arena_copy(::fcntl(arena->fd(), F_DUPFD_CLOEXEC, 0));
  if (!arena_copy) return HostErr();
  CW_TRY(const uint32_t memory, memories.Adopt("arena", std::move(arena_copy), arena->header().arena_bytes));
  CW_INVARIANT(memory == ipc::kArenaMemory);
  CW_TRY(host_memory, HostMemory::Create(memories, config.host_memory == config::HostMemory::kShared));

  const std::string root = folder + "/tree";
  if (root.size() >= sizeof(arena->header().tree_root)) return Err(ENAMETOOLONG);
  CW_CHECK(RemoveStale(folder));
  if (::mkdir(root.c_str(), 0700) != 0) return HostErr();
  made_files = true;
  tree.emplace(root, arena->header());
  topology = config::BuildTopology(config);
  bus.emplace(*topology, arena->bus_map());
  files.emplace(machine_id);
  nics.emplace(arena->base(), arena->header(), memories, *bus);
  host_memory->set_nics(*nics);
  CW_CHECK(AddDevices());
  return StartServing();
}

Status Machine::Parts::AddDevices() {
  const auto driver_of = [this](const pci::Function& function) {
    const bool accelerator = std::ranges::find(config.accelerators, function.name(), &config::Accelerator::name) !=
                             config.accelerators.end();
    if (accelerator) return "habanalabs";
    const bool gpu = std::ranges::find(config.gpus, function.name(), &config::Gpu::name) != config.gpus.end();
    return gpu ? "amdgpu" : "";
  };
  CW_CHECK(FillPciTree(*tree, *topology, driver_of));

  habanalabs.emplace(*tree, *bus, memories, refusals);
  for (const config::Accelerator& accelerator : config.accelerators) {
    CW_CHECK(habanalabs->AddDevice({.flavour = ToDriver(accelerator.flavour),
                                    .hbm_stacks = accelerator.hbm_stacks,
                                    .module_id = accelerator.module_id,
                                    .serial = fmt::format("CW{:06}", accelerator.module_id)},
                                   *topology->FindFunction(accelerator.name)));
  }

  drm.emplace(*tree, *bus, memories, refusals);
  for (const config::Gpu& gpu : config.gpus) {
    CW_CHECK(drm->AddDevice(gpu.vram, *topology->FindFunction(gpu.name)));
  }

  infiniband::Config nic_config;
  nic_config.enforce_memlock = config.memlock == config::Memlock::kEnforce;
  for (const config::Nic& nic : config.nics) {
    nic_config.nics.push_back({.name = nic.name,
                               .function = topology->FindFunction(nic.name),
                               .netdev = nic.netdev,
                               .mac = ToMac(config::NicMac(config, nic)),
                               .capabilities = ToDriver(nic.capabilities)});
  }
  CW_TRY(infiniband, infiniband::Driver::Create(*tree, *nics, *bus, *files, nic_config));
  rdma_nics.emplace(*infiniband);
  CW_TRY(rdma_cm, rdma_cm::Driver::Create(*tree, *rdma_nics, network, *files));
  cm_ids.emplace(*rdma_cm);
  nldev.emplace(infiniband->core(), &*cm_ids);
  nldev->AddClient({.name = "rdma_cm",
                    .major = rdma_cm::UcmFile::kMajor,
                    .minor = rdma_cm::UcmFile::kMinor,
                    .abi = uapi::kRdmaUserCmAbiVersion,
                    .device = "rdma_cm"});
  return {};
}

Status Machine::Parts::StartServing() {
  syscalls.emplace(*tree, *files, memories);
  syscalls->AddSocketFamily(AF_NETLINK, uapi::kNetlinkRdma,
                            [this](kernel::Task& task, int type) { return nldev->MakeSocket(task, *files, type); });
  kernel::ServerOptions options;
  options.socket_path = folder + "/" + ipc::kSocketName;
  options.header = &arena->header();
  options.arena_fd = arena->fd();
  options.slot_count = roce::kMachineSlot;  // the last slot is the machine's own
  options.hooks.add_address_space = [this](uint32_t pid) { return nics->AddAddressSpace(pid); };
  options.hooks.end_address_space = [this](uint32_t mm) {
    nics->EndAddressSpace(mm);
    host_memory->EndAddressSpace(mm);
  };
  options.host_memory = host_memory->file();
  options.keeper = host_memory.get();
  options.hooks.recover_slot = [this](uint32_t slot) { nics->RecoverSlot(slot); };
  nics->Start();
  arena->BeginLife();
  CW_TRY(server, kernel::Server::Start(std::move(options), *syscalls, *files));
  syscalls->set_settle_ends([this] { server->SettleEnds(); });

  auto handlers = ReportHandlers({.folder = folder,
                                  .server = *server,
                                  .files = *files,
                                  .refusals = refusals,
                                  .memories = memories,
                                  .bus = *bus,
                                  .nics = *nics,
                                  .habanalabs = *habanalabs,
                                  .infiniband = *infiniband,
                                  .drm = *drm,
                                  .rdma_cm = *rdma_cm});
  handlers["down"] = [this](const auto&) {
    const uint64_t one = 1;
    (void)!::write(stop.get(), &one, sizeof(one));
    return nlohmann::ordered_json({{"down", true}});
  };
  AddFaultHandlers(handlers, *habanalabs);
  CW_TRY(control, ControlServer::Start(folder + "/" + ipc::kControlName, std::move(handlers)));
  return {};
}

void Machine::Parts::Shutdown() {
  control.reset();
  if (arena) arena->EndLife();  // from here on programs answer ENODEV by themselves
  if (server) server->Stop();
  if (files) files->ReleaseAll();
  if (!made_files) return;
  RemoveFiles(folder);
  (void)::rmdir(folder.c_str());  // stays when others keep files in it
}

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Machine::~Machine() = default;

Result<std::unique_ptr<Machine>> Machine::Create(const config::MachineConfig& config, const std::string& folder) {
  auto parts = std::make_unique<Parts>(config, folder);
  CW_CHECK(parts->Build());
  return std::unique_ptr<Machine>(new Machine(std::move(parts)));
}

void Machine::Stop() {
  const uint64_t one = 1;
  (void)!::write(parts_->stop.get(), &one, sizeof(one));
}

void Machine::Run(int also) {
  for (;;) {
    struct pollfd polls[3] = {{parts_->server->fd(), POLLIN, 0}, {parts_->stop.get(), POLLIN, 0}, {also, POLLIN, 0}};
    if (::poll(polls, 3, -1) < 0) continue;  // EINTR
    if (polls[1].revents != 0 || polls[2].revents != 0) return;
    parts_->server->Process();
  }
}

int RunMachine(const config::MachineConfig& config, const std::string& folder, int ready_fd) {
  UniqueFd ready(ready_fd);
  // Blocked before the first thread is made, so that all have it so and the signals come to the main loop.
  sigset_t signals, before;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  const UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC));
  int status = 0;
  {
    const auto machine = Machine::Create(config, folder);
    if (!machine) {
      log::Error("the machine '{}' cannot be made in {}: {}", config.name, folder,
                 std::strerror(machine.error().code()));
      status = 1;
    } else {
      log::Info("machine '{}' is up in {}", config.name, folder);
      if (ready) (void)!::write(ready.get(), "1", 1);
      ready.Reset();
      (*machine)->Run(signal_fd.get());
      log::Info("machine '{}' goes down", config.name);
    }
  }
  // A signal that ended the run is taken, so that it does not kill the caller when it is let through again.
  const struct timespec now = {0, 0};
  while (::sigtimedwait(&signals, nullptr, &now) > 0) {
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

}  // namespace causeway::machine
