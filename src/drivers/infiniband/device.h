// SPDX-License-Identifier: Apache-2.0
// The RDMA devices of a machine and what they share. One IbDevice per NIC (struct rxe_dev); one IbCore for all.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "devices/roce_nic/nic.h"
#include "drivers/infiniband/capabilities.h"
#include "drivers/infiniband/dmabuf_import.h"
#include "drivers/infiniband/event_file.h"
#include "drivers/infiniband/gid_table.h"
#include "drivers/infiniband/rings.h"
#include "kernel/readiness.h"
#include "pci/bus.h"
#include "pci/function.h"
#include "uapi/ib_verbs.h"

namespace causeway::infiniband {

class UverbsFile;

struct NicConfig {
  std::string name;                         // "rxe0": libibverbs' rxe provider takes devices called rxe*
  const pci::Function* function = nullptr;  // its place on the bus
  std::string netdev = "auto";              // FindNetDevice()
  std::optional<Mac> mac;                   // by default made up, one for each NIC
  uint32_t speed_mbps = 100000;             // link speed that the port reports
  Capabilities capabilities;
};

struct Config {
  std::vector<NicConfig> nics;
  bool enforce_memlock = false;                     // RLIMIT_MEMLOCK on registered memory
  std::chrono::milliseconds address_timeout{1000};  // how long an unknown address is looked for
};

// Where interrupts go: a completion to the channel of its CQ, an event to the async file of its object.
class EventRouter {
 public:
  struct Sink {
    Ref<EventFile> file;
    Ref<EventCounter> counter;
    uint64_t user_handle = 0;
  };
  struct CqSinks {
    Sink completion;  // file empty: no channel
    Sink async;
  };
  void AddCq(uint32_t cq, CqSinks sinks);
  void RemoveCq(uint32_t cq);
  void AddQp(uint32_t qpn, Sink sink);
  void RemoveQp(uint32_t qpn);
  void AddSrq(uint32_t srq, Sink sink);
  void RemoveSrq(uint32_t srq);

  // Runs on: the NIC thread.
  void Completion(uint32_t cq);
  void CqError(uint32_t cq);
  void QpEvent(uint32_t qpn, roce::QpEvent event);
  void SrqLimit(uint32_t srq);

 private:
  static void Raise(const Sink& sink, uint32_t event_type);
  std::mutex mutex_;  // never held while an event file is told
  std::unordered_map<uint32_t, CqSinks> cqs_;
  std::unordered_map<uint32_t, Sink> qps_;
  std::unordered_map<uint32_t, Sink> srqs_;
};

class IbDevice;

class IbCore {
 public:
  IbCore(roce::NicDevices& nics, pci::Bus& bus, kernel::Readiness& readiness, const Config& config);
  ~IbCore();

  roce::NicDevices& nics() { return nics_; }
  pci::Bus& bus() { return bus_; }
  kernel::Readiness& readiness() { return readiness_; }
  RemapThread& remap() { return remap_; }
  EventRouter& events() { return *events_; }
  const std::shared_ptr<EventRouter>& shared_events() const { return events_; }
  bool enforce_memlock() const { return enforce_memlock_; }
  uint32_t num_comp_vectors() const { return num_comp_vectors_; }
  const std::vector<std::unique_ptr<IbDevice>>& devices() const { return devices_; }
  void AddDevice(std::unique_ptr<IbDevice> device);

  // ib_resolve_eth_dmac(): which NIC owns a destination. kNoNic for multicast. Several NICs may share an address (they
  // share the net device): then `dest_qpn` tells, and `from` itself comes next.
  // errors: EINVAL source and destination of different IP versions; ETIMEDOUT nobody answers (after the timeout:
  // there is no wire yet, so an address that no NIC of this machine has stays unknown). No locks held.
  Result<uint16_t> ResolveAddress(const IbDevice& from, const Gid& sgid, const Gid& dgid, uint32_t dest_qpn);

  // ib_umem_get()'s RLIMIT_MEMLOCK account, per process. `limit` in pages. errors: ENOMEM.
  Status PinPages(pid_t pid, uint64_t pages, uint64_t limit);
  void UnpinPages(pid_t pid, uint64_t pages);

  // nldev.c privileged_qkey: programs may use Q_Keys with bit 31 without CAP_NET_RAW.
  bool privileged_qkey() const { return privileged_qkey_.load(std::memory_order_relaxed); }
  void set_privileged_qkey(bool allowed) { privileged_qkey_.store(allowed, std::memory_order_relaxed); }

  uint64_t NextSerial() { return next_serial_.fetch_add(1); }  // of uverbs files

 private:
  roce::NicDevices& nics_;
  pci::Bus& bus_;
  kernel::Readiness& readiness_;
  const bool enforce_memlock_;
  const std::chrono::milliseconds address_timeout_;
  const uint32_t num_comp_vectors_;
  const std::shared_ptr<EventRouter> events_ = std::make_shared<EventRouter>();
  std::vector<std::unique_ptr<IbDevice>> devices_;  // fixed before the first open
  std::atomic<uint64_t> next_serial_{1};
  std::atomic<bool> privileged_qkey_{false};

  RemapThread remap_;

  std::mutex resolve_mutex_;
  std::condition_variable resolve_done_;  // told when the machine goes down: nobody waits on
  bool stopping_ = false;

  std::mutex pinned_mutex_;
  std::map<pid_t, uint64_t> pinned_pages_;
};

class IbDevice {
 public:
  // `number`: N of uverbsN.
  IbDevice(IbCore& core, const NicConfig& config, uint32_t number, NetDevice netdev);

  IbCore& core() const { return core_; }
  const std::string& name() const { return config_.name; }
  uint32_t number() const { return number_; }
  uint32_t nic() const { return nic_; }
  const NicConfig& config() const { return config_; }
  // `capability` may be nullptr: something that every device has.
  bool Has(Capability capability) const { return capability == nullptr || config_.capabilities.*capability; }
  const pci::Function& function() const { return *config_.function; }
  const std::string& netdev() const { return netdev_; }  // its name
  uint32_t ifindex() const { return ifindex_.load(std::memory_order_relaxed); }
  uint32_t net_mtu() const { return net_mtu_.load(std::memory_order_relaxed); }
  const Mac& mac() const { return mac_; }
  const GidTable& gids() const { return gids_; }
  PendingRings& rings() { return rings_; }
  bool use_cq_dim() const { return use_cq_dim_.load(std::memory_order_relaxed); }  // of kernel CQs: there are none
  void set_use_cq_dim(bool use) { use_cq_dim_.store(use, std::memory_order_relaxed); }

  LinkState link() const { return QueryLink(netdev_); }
  LinkRate rate() const { return RateOf(config_.speed_mbps); }
  uint8_t active_mtu() const { return ActiveMtu(net_mtu()); }
  // rxe_query_device(), rxe_query_port() in the form of the uAPI.
  uapi::ib_uverbs_query_device_resp QueryDevice() const;
  uint64_t DeviceCapFlags() const;  // those that QUERY_DEVICE has no room for too
  uapi::ib_uverbs_odp_caps OdpCaps() const;
  uapi::ib_uverbs_query_port_resp QueryPort() const;

  // What becomes of its net device (on the monitor's thread, or before there is one).
  // An address comes or goes: the index of the GID table that changed, after GID_CHANGE was raised.
  std::optional<uint32_t> ChangeAddress(const Gid& address, bool present);
  // roce_gid_mgmt.c update_gid_ip() for what the interface has now. Returns the indices that changed.
  std::vector<uint32_t> Resync();
  std::vector<uint32_t> ResyncAddresses();
  // The interface was taken down: rtnetlink tells that before it tells of the IPv6 addresses that go with it, while
  // Linux's drivers see GID_CHANGE and then PORT_ERR. Waits a moment for them to be gone. Returns the indices that
  // changed.
  std::vector<uint32_t> AwaitAddressesGone();
  // rxe_notify(): PORT_ACTIVE or PORT_ERR when the port changes.
  void ChangeLink(uint32_t ifindex, uint32_t mtu, LinkState state);

  // rdma_restrack_add(): numbers of one kind of resource count from 0. They come again after 2^32 of them, where Linux
  // would step over those in use.
  enum class Restrack : uint8_t { kPd, kCq, kQp, kCmId, kMr, kCtx, kCounter, kSrq };
  uint32_t NextResId(Restrack kind) { return next_res_id_[static_cast<size_t>(kind)].fetch_add(1); }

  // struct rdma_port_counter: how QPs are bound to counters of their own. There are none.
  struct CounterMode {
    uint32_t mode = 0;
    uint32_t mask = 0;
  };
  CounterMode counter_mode() const {
    const std::lock_guard lock(counter_mutex_);
    return counter_mode_;
  }
  void set_counter_mode(CounterMode mode) {
    const std::lock_guard lock(counter_mutex_);
    counter_mode_ = mode;
  }

  // Open files, for reports.
  void AddFile(UverbsFile* file);
  void RemoveFile(UverbsFile* file);
  template <typename Visit>
  void ForEachFile(Visit visit) const {
    const std::lock_guard lock(files_mutex_);
    for (UverbsFile* file : files_) visit(*file);
  }
  // All at once; none of them begins to go before this returns.
  template <typename Visit>
  auto WithFiles(Visit visit) const {
    const std::lock_guard lock(files_mutex_);
    return visit(std::span<UverbsFile* const>(files_));
  }

 private:
  IbCore& core_;
  const NicConfig config_;
  const uint32_t number_;
  const uint32_t nic_;
  const Mac mac_;
  const std::string netdev_;
  std::atomic<uint32_t> ifindex_, net_mtu_;
  GidTable gids_;
  LinkState last_link_;  // the one that events were raised for
  PendingRings rings_;
  std::atomic<bool> use_cq_dim_{false};
  std::array<std::atomic<uint32_t>, 8> next_res_id_ = {};  // by Restrack
  mutable std::mutex counter_mutex_;
  CounterMode counter_mode_;
  void RaisePortEvent(uint32_t event_type);  // ib_uverbs_event_handler(): to every context
  mutable std::mutex files_mutex_;
  std::vector<UverbsFile*> files_;
};

// Limits that commands check (rxe_param.h).
constexpr uint32_t kMaxQpWr = 1048576;
constexpr uint32_t kMaxSge = 32;
constexpr uint32_t kMaxInlineData = 512;
constexpr uint32_t kMaxCqe = 32767;
constexpr uint32_t kMaxQpRdAtom = 128;
constexpr uint32_t kMaxSrqWr = 1048576;
constexpr uint32_t kMaxSrqSge = 27;
constexpr uint8_t kPort = 1;    // the only one
constexpr uint8_t kMaxMtu = 5;  // IB_MTU_4096
// Device numbers of uverbsN: IB_UVERBS_MAJOR, IB_UVERBS_BASE_MINOR + N.
constexpr uint32_t kUverbsMajor = 231;
constexpr uint32_t kUverbsMinor = 192;

}  // namespace causeway::infiniband
