// SPDX-License-Identifier: Apache-2.0
// Two NICs with their driver on a bench, for tests: a real arena, bus and NicDevices, a made-up program (FakeTask) with
// memory at kUser, and its uverbs file opened on rxe0. Commands are made from bytes, as libibverbs makes them.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/log.h"
#include "drivers/infiniband/driver.h"
#include "drivers/infiniband/uverbs_file.h"
#include "drivers/infiniband/uverbs_ioctl.h"
#include "kernel/fake_task.h"
#include "uapi/rdma_ioctl.h"
#include "uapi/rxe.h"

namespace causeway::infiniband {

using namespace uapi;  // NOLINT: a test speaks the uAPI

class UverbsBench : public ::testing::Test {
 protected:
  static constexpr uint64_t kUser = 0x100000;  // 64 KiB of the program's memory
  static constexpr uint64_t kIn = kUser, kOut = kUser + 0x4000, kDriverOut = kUser + 0x5000, kPage = kUser + 0x8000;
  static constexpr uint64_t kReadOnly = 0x200000;  // one page
  static constexpr uint64_t kUnmapped = 0x900000;

  explicit UverbsBench(const Capabilities& capabilities = {}) {
    [[maybe_unused]] static const bool quiet = (log::Configure("", log::Level::kWarn), true);
    pci::TopologySpec spec;
    spec.host_bridges = {{.name = "pc0"}};
    spec.root_ports = {{.name = "rp0", .on = "pc0"}};
    spec.switches = {{.name = "sw0", .on = "rp0", .ports = {"a", "b", "c"}}};
    pci::FunctionSpec accelerator = {.name = "gaudi0", .at = "a"};
    accelerator.bars[4] = {.size = kHbmBytes, .prefetchable = true};
    spec.functions = {accelerator, {.name = "rxe0", .at = "b"}, {.name = "rxe1", .at = "c"}};
    topology_ = std::move(*pci::Topology::Build(spec));

    const uint64_t slots = AlignUp(sizeof(ipc::ArenaHeader), kPageSize);
    const uint64_t bus_map = AlignUp(slots + sizeof(ipc::ThreadSlot) * ipc::kMaxThreads, kPageSize);
    const uint64_t nic = AlignUp(bus_map + sizeof(pci::BusMap), kPageSize);
    const uint64_t heap = AlignUp(nic + sizeof(roce::NicMemory), kPageSize);
    arena_bytes_ = heap + (64 << 20);
    UniqueFd fd(::memfd_create("arena", MFD_CLOEXEC));
    CW_INVARIANT(fd && ::ftruncate(fd.get(), static_cast<off_t>(arena_bytes_)) == 0);
    arena_ = static_cast<std::byte*>(
        ::mmap(nullptr, arena_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0));
    CW_INVARIANT(arena_ != MAP_FAILED);
    auto* header = new (arena_) ipc::ArenaHeader;
    header->arena_bytes = arena_bytes_;
    header->slots_offset = slots;
    header->slots_used = ipc::kMaxThreads;
    header->region_offset[ipc::kRegionBusMap] = bus_map;
    header->region_offset[ipc::kRegionNic] = nic;
    header->region_offset[ipc::kRegionNicHeap] = heap;
    CW_INVARIANT(*memories_.Adopt("arena", std::move(fd), arena_bytes_) == ipc::kArenaMemory);
    bus_ = std::make_unique<pci::Bus>(*topology_, *reinterpret_cast<pci::BusMap*>(arena_ + bus_map));
    hbm_ = *memories_.Create("hbm", kHbmBytes);
    CW_INVARIANT(bus_->BackBar(*topology_->FindFunction("gaudi0"), 4, 0, kHbmBytes, hbm_, 0));

    nics_ = std::make_unique<roce::NicDevices>(arena_, *header, memories_, *bus_);
    char root[] = "/tmp/causeway-infiniband-test-XXXXXX";
    CW_INVARIANT(::mkdtemp(root) != nullptr);
    root_ = root;
    tree_ = std::make_unique<kernel::Tree>(root_, *header);
    header_ = header;
    MakeDriver(capabilities);
    task_.user.Map(kUser, 0x10000);
    task_.user.Map(kReadOnly, kPageSize, /*writable=*/false);
    task_.space.index = *nics_->AddAddressSpace(static_cast<uint32_t>(::getpid()));
    Open();
  }

  ~UverbsBench() override {
    file_.Reset();
    task_.files.clear();
    driver_.reset();  // before the NICs, as in the machine: their thread may still call the router, which stays
    nics_.reset();
    tree_.reset();
    std::filesystem::remove_all(root_);
    ::munmap(arena_, arena_bytes_);
  }

  void MakeDriver(const Capabilities& capabilities) {
    for (const char* name : {"rxe0", "rxe1"}) {
      config_.nics.push_back(
          {.name = name, .function = topology_->FindFunction(name), .netdev = "lo", .capabilities = capabilities});
    }
    config_.address_timeout = std::chrono::milliseconds(1);
    driver_ = std::move(*Driver::Create(*tree_, *nics_, *bus_, readiness_, config_));
  }
  IbDevice& device(size_t n = 0) { return *driver_->core().devices().at(n); }

  // A fresh uverbs file without a context.
  void Open(size_t n = 0) {
    file_ = MakeRef<UverbsFile>(device(n), task_.pid());
    file_->set_id(kernel::FakeTask::next_file_id++);
  }

  // ---- write()
  template <typename T>
  static std::vector<std::byte> Bytes(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    return {bytes.begin(), bytes.end()};
  }
  int WriteRaw(const std::vector<std::byte>& bytes, uint64_t len) {
    CW_INVARIANT(task_.user.CopyTo(kIn, bytes));
    const auto written = file_->Write(task_, kIn, len);
    if (!written) return written.error().code();
    EXPECT_EQ(*written, static_cast<int64_t>(len));
    return 0;
  }
  int WriteRaw(const std::vector<std::byte>& bytes) { return WriteRaw(bytes, bytes.size()); }
  // A plain command; `out_bytes` of response room in all (core and driver).
  template <typename T>
  int Plain(uint32_t command, const T& request, size_t out_bytes, size_t driver_in_bytes = 0) {
    std::vector<std::byte> bytes = Bytes(request);
    bytes.resize(bytes.size() + driver_in_bytes);
    const ib_uverbs_cmd_hdr hdr = {command, static_cast<uint16_t>((sizeof(hdr) + bytes.size()) / 4),
                                   static_cast<uint16_t>(out_bytes / 4)};
    const auto head = Bytes(hdr);
    bytes.insert(bytes.begin(), head.begin(), head.end());
    return WriteRaw(bytes);
  }
  // An extended command; the response lies at kOut.
  template <typename T>
  int Extended(uint32_t command, const T& request, size_t out_bytes, size_t driver_out_bytes = 0,
               size_t driver_in_bytes = 0) {
    const ib_uverbs_cmd_hdr hdr = {command | kIbUserVerbsCmdFlagExtended, sizeof(T) / 8,
                                   static_cast<uint16_t>(out_bytes / 8)};
    const ib_uverbs_ex_cmd_hdr ex = {out_bytes + driver_out_bytes != 0 ? kOut : 0,
                                     static_cast<uint16_t>(driver_in_bytes / 8),
                                     static_cast<uint16_t>(driver_out_bytes / 8), 0};
    std::vector<std::byte> bytes = Bytes(hdr);
    for (const auto& part : {Bytes(ex), Bytes(request), std::vector<std::byte>(driver_in_bytes)}) {
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return WriteRaw(bytes);
  }
  template <typename T>
  T Peek(uint64_t address) {
    const auto value = task_.user.Read<T>(address);
    CW_INVARIANT(value);
    return *value;
  }
  template <typename T>
  T Response() {
    return Peek<T>(kOut);
  }

  // ---- what most tests need first
  void GetContext() {
    ASSERT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kOut}, sizeof(ib_uverbs_get_context_resp)), 0);
    async_fd_ = static_cast<int>(Response<ib_uverbs_get_context_resp>().async_fd);
  }
  uint32_t AllocPd() {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_ALLOC_PD, ib_uverbs_alloc_pd{kOut}, 4), 0);
    return Response<ib_uverbs_alloc_pd_resp>().pd_handle;
  }
  int CreateChannel() {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, ib_uverbs_create_comp_channel{kOut}, 4), 0);
    return static_cast<int>(Response<ib_uverbs_create_comp_channel_resp>().fd);
  }
  struct CqMade {
    uint32_t handle, cqe;
    mminfo mi;
  };
  CqMade CreateCq(uint32_t cqe = 10, int channel = -1, uint64_t user_handle = 0xc0) {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_CQ, ib_uverbs_create_cq{kOut, user_handle, cqe, 0, channel, 0}, 8 + 16),
              0);
    const auto core = Response<ib_uverbs_create_cq_resp>();
    return {core.cq_handle, core.cqe, Peek<mminfo>(kOut + sizeof(core))};
  }
  struct QpMade {
    ib_uverbs_create_qp_resp core;
    rxe_create_qp_resp rings;
  };
  static ib_uverbs_create_qp QpRequest(uint32_t pd, uint32_t cq) {
    return {.response = kOut,
            .user_handle = 0x9b,
            .pd_handle = pd,
            .send_cq_handle = cq,
            .recv_cq_handle = cq,
            .srq_handle = 0,
            .max_send_wr = 16,
            .max_recv_wr = 16,
            .max_send_sge = 4,
            .max_recv_sge = 4,
            .max_inline_data = 0,
            .sq_sig_all = 0,
            .qp_type = IB_UVERBS_QPT_RC,
            .is_srq = 0,
            .reserved = 0};
  }
  QpMade CreateQp(uint32_t pd, uint32_t cq) {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, QpRequest(pd, cq), 32 + 32), 0);
    return {Response<ib_uverbs_create_qp_resp>(), Peek<rxe_create_qp_resp>(kOut + 32)};
  }
  struct SrqMade {
    ib_uverbs_create_srq_resp core;
    rxe_create_srq_resp driver;
  };
  SrqMade CreateSrq(uint32_t pd, uint32_t max_wr = 10, uint32_t max_sge = 2, uint32_t limit = 0) {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_SRQ, ib_uverbs_create_srq{kOut, 0x54, pd, max_wr, max_sge, limit},
                    sizeof(SrqMade)),
              0);
    return {Response<ib_uverbs_create_srq_resp>(), Peek<rxe_create_srq_resp>(kOut + sizeof(ib_uverbs_create_srq_resp))};
  }
  int DestroySrq(uint32_t handle) {
    return Plain(IB_USER_VERBS_CMD_DESTROY_SRQ, ib_uverbs_destroy_srq{kOut, handle, 0}, 4);
  }
  int RegMr(uint32_t pd, uint64_t start, uint64_t length, uint32_t access, uint64_t iova) {
    return Plain(IB_USER_VERBS_CMD_REG_MR, ib_uverbs_reg_mr{kOut, start, length, iova, pd, access}, 12);
  }
  int DestroyQp(uint32_t handle) {
    return Plain(IB_USER_VERBS_CMD_DESTROY_QP, ib_uverbs_destroy_qp{kOut, handle, 0}, 4);
  }
  int DestroyCq(uint32_t handle) {
    return Plain(IB_USER_VERBS_CMD_DESTROY_CQ, ib_uverbs_destroy_cq{kOut, handle, 0}, 8);
  }
  int DeallocPd(uint32_t handle) { return Plain(IB_USER_VERBS_CMD_DEALLOC_PD, ib_uverbs_dealloc_pd{handle}, 0); }
  int Modify(const ib_uverbs_modify_qp& request) { return Plain(IB_USER_VERBS_CMD_MODIFY_QP, request, 0); }
  // An RC modification with good values for every attribute; the mask picks.
  ib_uverbs_modify_qp GoodAttributes(uint32_t handle, uint32_t mask, ib_qp_state state) {
    ib_uverbs_modify_qp request = {};
    request.qp_handle = handle;
    request.attr_mask = mask;
    request.qp_state = static_cast<uint8_t>(state);
    request.port_num = 1;
    request.path_mtu = 3;
    request.dest_qp_num = 17;
    request.timeout = 14;
    request.retry_cnt = 7;
    request.rnr_retry = 7;
    request.min_rnr_timer = 12;
    request.max_rd_atomic = request.max_dest_rd_atomic = 1;
    request.qp_access_flags = IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ;
    request.rq_psn = 0x123456;
    request.sq_psn = 0x654321;
    request.dest.is_global = 1;
    request.dest.port_num = 1;
    std::ranges::copy(device().gids().filled()[0].gid, request.dest.dgid);
    return request;
  }
  static constexpr uint32_t kToInit = IB_QP_STATE | IB_QP_PKEY_INDEX | IB_QP_PORT | IB_QP_ACCESS_FLAGS;
  static constexpr uint32_t kToRtr = IB_QP_STATE | IB_QP_AV | IB_QP_PATH_MTU | IB_QP_DEST_QPN | IB_QP_RQ_PSN |
                                     IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_MIN_RNR_TIMER;
  static constexpr uint32_t kToRts =
      IB_QP_STATE | IB_QP_TIMEOUT | IB_QP_RETRY_CNT | IB_QP_RNR_RETRY | IB_QP_SQ_PSN | IB_QP_MAX_QP_RD_ATOMIC;
  void ToRts(uint32_t handle, uint32_t dest_qpn) {
    ASSERT_EQ(Modify(GoodAttributes(handle, kToInit, IB_QPS_INIT)), 0);
    auto rtr = GoodAttributes(handle, kToRtr, IB_QPS_RTR);
    rtr.dest_qp_num = dest_qpn;
    rtr.rq_psn = GoodAttributes(handle, 0, IB_QPS_RTS).sq_psn;  // what the peer will send with
    ASSERT_EQ(Modify(rtr), 0);
    ASSERT_EQ(Modify(GoodAttributes(handle, kToRts, IB_QPS_RTS)), 0);
  }
  ib_uverbs_query_qp_resp QueryQp(uint32_t handle) {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_QP, ib_uverbs_query_qp{kOut, handle, 0}, 128), 0);
    return Response<ib_uverbs_query_qp_resp>();
  }
  int Notify(uint32_t cq, uint32_t solicited_only = 0) {
    return Plain(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ, ib_uverbs_req_notify_cq{cq, solicited_only}, 0);
  }
  Ref<EventFile> Events(int fd) { return DynamicRefCast<EventFile>(task_.files.at(fd)); }

  // ---- ioctl()
  static ib_uverbs_attr Attr(uint16_t id, size_t len, uint64_t data, uint16_t flags = UVERBS_ATTR_F_MANDATORY) {
    return {id, static_cast<uint16_t>(len), flags, 0, data};
  }
  int Ioctl(uint16_t object, uint16_t method, const std::vector<ib_uverbs_attr>& attrs) {
    ib_uverbs_ioctl_hdr hdr = {};
    hdr.length = static_cast<uint16_t>(sizeof(hdr) + attrs.size() * sizeof(ib_uverbs_attr));
    hdr.object_id = object;
    hdr.method_id = method;
    hdr.num_attrs = static_cast<uint16_t>(attrs.size());
    hdr.driver_id = kRdmaDriverRxe;
    return IoctlRaw(hdr, attrs);
  }
  int IoctlRaw(const ib_uverbs_ioctl_hdr& hdr, const std::vector<ib_uverbs_attr>& attrs,
               uint32_t request = kRdmaVerbsIoctl) {
    CW_INVARIANT(task_.user.Write(kIn, hdr));
    CW_INVARIANT(task_.user.CopyTo(kIn + sizeof(hdr), std::as_bytes(std::span(attrs))));
    const auto done = file_->Ioctl(task_, request, kIn);
    return done ? 0 : done.error().code();
  }
  // The n-th attribute as the kernel left it.
  ib_uverbs_attr AttrAfter(size_t n) {
    return Peek<ib_uverbs_attr>(kIn + sizeof(ib_uverbs_ioctl_hdr) + n * sizeof(ib_uverbs_attr));
  }

  static constexpr uint64_t kHbmBytes = 16 << 20;
  std::unique_ptr<pci::Topology> topology_;
  ipc::MemoryTable memories_;
  uint32_t hbm_ = 0;
  ipc::ArenaHeader* header_ = nullptr;
  std::byte* arena_ = nullptr;
  uint64_t arena_bytes_ = 0;
  std::unique_ptr<pci::Bus> bus_;
  std::unique_ptr<roce::NicDevices> nics_;
  std::string root_;
  std::unique_ptr<kernel::Tree> tree_;
  kernel::FakeReadiness readiness_;
  Config config_;
  std::unique_ptr<Driver> driver_;
  kernel::FakeTask task_;
  Ref<UverbsFile> file_;
  int async_fd_ = -1;
};

}  // namespace causeway::infiniband
