// SPDX-License-Identifier: Apache-2.0
// write() on uverbs: framing (specs: verbs 2.1; linux v6.1 uverbs_main.c ib_uverbs_write(), verify_hdr()) and the errno
// of every command (2.2, 2.4).
#include <linux/capability.h>

#include "drivers/infiniband/test_bench.h"

namespace causeway::infiniband {
namespace {

class Framing : public UverbsBench {
 protected:
  // A header alone, with a body of zeros.
  int Raw(uint32_t command, size_t len, uint16_t in_words, uint16_t out_words) {
    std::vector<std::byte> bytes(std::max<size_t>(len, sizeof(ib_uverbs_cmd_hdr)));
    const ib_uverbs_cmd_hdr hdr = {command, in_words, out_words};
    std::memcpy(bytes.data(), &hdr, sizeof(hdr));
    return WriteRaw(bytes, len);
  }
};

TEST_F(Framing, PlainErrnoTable) {
  const struct {
    const char* name;
    bool context;
    uint32_t command;
    size_t len;
    uint16_t in_words, out_words;
    int want;
  } cases[] = {
      {"shorter than a header", false, 0, 7, 1, 0, EINVAL},
      {"unknown number", false, 41, 16, 99, 0, EOPNOTSUPP},
      {"reserved bits", false, 0x100, 16, 4, 0, EINVAL},
      {"reserved bits of an extended command", false, 0x80000100, 24, 0, 0, EINVAL},
      {"length mismatch comes before size", false, IB_USER_VERBS_CMD_ALLOC_PD, 8, 3, 0, EINVAL},
      {"not a multiple of 4", false, IB_USER_VERBS_CMD_ALLOC_PD, 17, 4, 1, EINVAL},
      {"short request before there is a context", false, IB_USER_VERBS_CMD_ALLOC_PD, 8, 2, 1, ENOSPC},
      {"short response before there is a context", false, IB_USER_VERBS_CMD_ALLOC_PD, 16, 4, 0, ENOSPC},
      {"no context", false, IB_USER_VERBS_CMD_ALLOC_PD, 16, 4, 1, EINVAL},
      {"response pointer bad", true, IB_USER_VERBS_CMD_ALLOC_PD, 16, 4, 1, EFAULT},
      {"short DESTROY_CQ is let through", true, IB_USER_VERBS_CMD_DESTROY_CQ, 16, 4, 2, ENOENT},
      {"but no shorter", true, IB_USER_VERBS_CMD_DESTROY_CQ, 12, 3, 2, ENOSPC},
      {"extended: no second header", true, 0x80000001, 16, 0, 0, EINVAL},
      {"extended: unknown number", true, 0x80000032, 24, 0, 0, EOPNOTSUPP},
      {"extended: length mismatch", true, 0x80000012, 24, 4, 0, EINVAL},
      {"extended: short request", true, 0x80000012, 24, 0, 2, ENOSPC},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Open();
    if (c.context) GetContext();
    EXPECT_EQ(Raw(c.command, c.len, c.in_words, c.out_words), c.want);
  }
  EXPECT_EQ(file_->Write(task_, kUnmapped, 16).error(), Errno(EFAULT));
}

TEST_F(Framing, ExtendedResponseRules) {
  GetContext();
  const ib_uverbs_ex_create_cq request = {
      .user_handle = 1, .cqe = 4, .comp_vector = 0, .comp_channel = -1, .comp_mask = 0, .flags = 0, .reserved = 0};
  const struct {
    const char* name;
    uint64_t response;
    uint16_t out_words, driver_out_words;
    uint32_t reserved;
    int want;
  } cases[] = {
      {"good", kOut, 2, 2, 0, 0},
      {"reserved field", kOut, 2, 2, 1, EINVAL},
      {"response without words", kOut, 0, 0, 0, EINVAL},
      {"words without response", 0, 2, 2, 0, EINVAL},
      {"short response", kOut, 1, 2, 0, ENOSPC},
      {"short driver response", kOut, 2, 1, 0, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto bytes =
        Bytes(ib_uverbs_cmd_hdr{0x80000000 | IB_USER_VERBS_EX_CMD_CREATE_CQ, sizeof(request) / 8, c.out_words});
    for (const auto& part :
         {Bytes(ib_uverbs_ex_cmd_hdr{c.response, 0, c.driver_out_words, c.reserved}), Bytes(request)}) {
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    EXPECT_EQ(WriteRaw(bytes), c.want);
  }
}

TEST_F(Framing, ExtendedRequestLongerThanKnownMustBeZeroThere) {
  GetContext();
  struct {
    ib_uverbs_ex_create_cq known;
    uint64_t later;
  } request = {
      {.user_handle = 1, .cqe = 4, .comp_vector = 0, .comp_channel = -1, .comp_mask = 0, .flags = 0, .reserved = 0}, 0};
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_CQ, request, 24, 16), 0);
  EXPECT_EQ(Peek<uint64_t>(kOut + 16), 0u);  // a longer response is zero-filled
  request.later = 1;
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_CQ, request, 16, 16), EOPNOTSUPP);
}

// verify_hdr(): rdma-core 18 and 19 say 16 bytes and have 24.
TEST_F(Framing, AShortDestroyCqIsReadWhole) {
  GetContext();
  AllocPd();
  const uint32_t cq = CreateCq().handle;
  struct {
    ib_uverbs_cmd_hdr hdr;
    ib_uverbs_destroy_cq request;
  } const whole = {{IB_USER_VERBS_CMD_DESTROY_CQ, 4, 2}, {kOut, cq, 0}};
  EXPECT_EQ(WriteRaw(Bytes(whole), 16), 0);
  EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_CQ), 0u);
}

// What rxe lacks is EOPNOTSUPP whatever it looks like.
TEST_F(Framing, NumbersThatNobodyServes) {
  GetContext();
  for (const uint32_t number : {6u, 7u, 10u, 12u, 15u, 21u, 22u, 29u, 36u, 37u, 38u, 40u, 41u, 200u}) {
    EXPECT_EQ(Raw(number, 8, 99, 0), EOPNOTSUPP) << number;
  }
  for (const uint32_t number : {0u, 2u, 9u, 50u, 51u, 52u, 53u, 54u, 55u, 56u, 57u, 58u}) {
    EXPECT_EQ(Raw(0x80000000 | number, 24, 99, 0), EOPNOTSUPP) << number;
  }
  for (const uint32_t number : {5u, 8u, 11u, 14u, 16u, 30u, 31u, 32u, 33u, 34u, 35u, 39u}) {
    EXPECT_EQ(Raw(number, 8, 2, 16), ENOSPC) << number;
  }
  // Each row of the table was named once above or has its own test; none is there twice.
  std::set<uint32_t> numbers;
  for (const WriteCommand& row : WriteCommands()) EXPECT_TRUE(numbers.insert(row.number).second) << row.name;
}

class Commands : public UverbsBench {
 protected:
  Commands() { GetContext(); }
};

TEST_F(Commands, GetContextOnlyOnce) {
  EXPECT_EQ(Response<ib_uverbs_get_context_resp>().num_comp_vectors, file_->core().num_comp_vectors());
  EXPECT_EQ(task_.install_flags.at(async_fd_), static_cast<uint32_t>(O_CLOEXEC));
  const size_t before = task_.files.size();
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kOut}, 8), EINVAL);
  Open();
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kUnmapped}, 8), EFAULT);
  EXPECT_EQ(task_.files.size(), before);  // the descriptor was taken back
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kOut}, 8), 0);
  task_.install_errno = EMFILE;
  Open();
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_GET_CONTEXT, ib_uverbs_get_context{kOut}, 8), EMFILE);
}

TEST_F(Commands, QueryDevice) {  // 4.11
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_DEVICE, ib_uverbs_query_device{kOut}, 176), 0);
  const auto attr = Response<ib_uverbs_query_device_resp>();
  EXPECT_EQ(attr.vendor_id, 0xffffffu);
  EXPECT_EQ(attr.max_qp, 1048560u);
  EXPECT_EQ(attr.device_cap_flags, 0x01223c76u);
  EXPECT_EQ(attr.atomic_cap, 1u);
  EXPECT_NE(attr.node_guid, 0u);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_DEVICE, ib_uverbs_query_device{kUnmapped}, 176), EFAULT);
}

TEST_F(Commands, ExQueryDevice) {
  const ib_uverbs_ex_query_device good = {0, 0};
  ASSERT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, good, 304), 0);
  EXPECT_EQ(Response<ib_uverbs_ex_query_device_resp>().response_length, 304u);
  const auto response = Response<ib_uverbs_ex_query_device_resp>();
  EXPECT_EQ(response.device_cap_flags_ex, 0x1c001223c76u);  // linux v6.12
  EXPECT_EQ(response.odp_caps.general_caps, uint64_t{IB_ODP_SUPPORT});
  EXPECT_EQ(response.odp_caps.rc_odp_caps, 0xffu);
  EXPECT_EQ(response.odp_caps.uc_odp_caps, 0u);
  EXPECT_EQ(response.odp_caps.ud_odp_caps, 0x23u);
  EXPECT_EQ(response.xrc_odp_caps, 0u);
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, good, 168), 0);  // short: truncated
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, ib_uverbs_ex_query_device{1, 0}, 304), EINVAL);
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, ib_uverbs_ex_query_device{0, 1}, 304), EINVAL);
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, good, 304, 8), EINVAL);
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_QUERY_DEVICE, good, 304, 0, 8), EINVAL);
}

TEST_F(Commands, QueryPort) {
  ASSERT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_PORT, ib_uverbs_query_port{kOut, 1, {}}, 40), 0);
  const auto port = Response<ib_uverbs_query_port_resp>();
  EXPECT_EQ(port.gid_tbl_len, 1024u);
  EXPECT_EQ(port.link_layer, 2);
  EXPECT_EQ(port.flags, 1);
  EXPECT_EQ(port.max_mtu, 5);
  EXPECT_EQ(port.active_mtu, ActiveMtu(device().net_mtu()));
  for (const uint8_t bad : std::initializer_list<uint8_t>{0, 2, 255}) {
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_PORT, ib_uverbs_query_port{kOut, bad, {}}, 40), EINVAL);
  }
}

TEST_F(Commands, PdErrnoTable) {
  const uint32_t pd = AllocPd();
  EXPECT_EQ(pd, 0u);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_ALLOC_PD, ib_uverbs_alloc_pd{kUnmapped}, 4), EFAULT);
  EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_PD), 1u);  // undone
  EXPECT_EQ(AllocPd(), 1u);
  EXPECT_EQ(DeallocPd(7), ENOENT);
  const auto cq = CreateCq();
  EXPECT_EQ(DeallocPd(cq.handle), EINVAL);
  const auto qp = CreateQp(pd, cq.handle);
  EXPECT_EQ(DeallocPd(pd), EBUSY);
  EXPECT_EQ(DestroyQp(qp.core.qp_handle), 0);
  EXPECT_EQ(RegMr(pd, kPage, 4096, IB_ACCESS_LOCAL_WRITE, kPage), 0);
  const uint32_t mr = Response<ib_uverbs_reg_mr_resp>().mr_handle;
  EXPECT_EQ(DeallocPd(pd), EBUSY);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DEREG_MR, ib_uverbs_dereg_mr{mr}, 0), 0);
  EXPECT_EQ(DeallocPd(pd), 0);
  EXPECT_EQ(DeallocPd(pd), ENOENT);
}

TEST_F(Commands, CreateCqErrnoTable) {
  const int channel = CreateChannel();
  const uint32_t vectors = file_->core().num_comp_vectors();
  const struct {
    const char* name;
    ib_uverbs_create_cq request;
    size_t out;
    int want;
  } cases[] = {
      {"good", {kOut, 1, 10, 0, -1, 0}, 24, 0},
      {"with a channel", {kOut, 1, 10, 0, channel, 0}, 24, 0},
      {"any negative channel is none", {kOut, 1, 10, 0, -77, 0}, 24, 0},
      {"reserved is ignored", {kOut, 1, 10, 0, -1, 5}, 24, 0},
      {"cqe 0", {kOut, 1, 0, 0, -1, 0}, 24, EINVAL},
      {"cqe negative", {kOut, 1, 0x80000000, 0, -1, 0}, 24, EINVAL},
      {"cqe at the limit", {kOut, 1, 32767, 0, -1, 0}, 24, 0},
      {"cqe above the limit", {kOut, 1, 32768, 0, -1, 0}, 24, EINVAL},
      {"comp_vector", {kOut, 1, 10, vectors, -1, 0}, 24, EINVAL},
      {"driver response too short", {kOut, 1, 10, 0, -1, 0}, 20, EINVAL},
      {"channel not open", {kOut, 1, 10, 0, 999, 0}, 24, EBADF},
      {"channel is an async descriptor", {kOut, 1, 10, 0, async_fd_, 0}, 24, EBADF},
      {"response unmapped", {kUnmapped, 1, 10, 0, -1, 0}, 24, EFAULT},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const size_t before = file_->objects().Count(UVERBS_OBJECT_CQ);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_CQ, c.request, c.out), c.want);
    EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_CQ), before + (c.want == 0 ? 1 : 0));
  }
  // A channel of another open of the same device.
  const Ref<UverbsFile> first = file_;
  Open();
  GetContext();
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_CQ, ib_uverbs_create_cq{kOut, 1, 10, 0, channel, 0}, 24), EBADF);
}

TEST_F(Commands, ExCreateCqErrnoTable) {
  const struct {
    const char* name;
    ib_uverbs_ex_create_cq request;
    int want;
  } cases[] = {
      {"good", {1, 10, 0, -1, 0, 0, 0}, 0},
      {"comp_mask", {1, 10, 0, -1, 1, 0, 0}, EINVAL},
      {"reserved", {1, 10, 0, -1, 0, 0, 1}, EINVAL},
      {"timestamps", {1, 10, 0, -1, 0, 1, 0}, EOPNOTSUPP},
      {"unknown flag", {1, 10, 0, -1, 0, 0x80, 0}, EOPNOTSUPP},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_CQ, c.request, 16, 16), c.want);
  }
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_CQ, cases[0].request, 16, 16, 8), 0);  // driver input is ignored
  EXPECT_EQ(Response<ib_uverbs_ex_create_cq_resp>().response_length, 16u);
  EXPECT_EQ(Response<ib_uverbs_ex_create_cq_resp>().base.cqe, 15u);
}

TEST_F(Commands, CqCapacityIsAPowerOfTwoLessOne) {
  EXPECT_EQ(CreateCq(10).cqe, 15u);
  EXPECT_EQ(CreateCq(15).cqe, 15u);
  EXPECT_EQ(CreateCq(16).cqe, 31u);
  EXPECT_EQ(CreateCq(1).cqe, 1u);
}

TEST_F(Commands, ResizeCqErrnoTable) {
  const auto cq = CreateCq(10);
  const auto resize = [&](uint32_t handle, uint32_t cqe, size_t out, uint64_t response = kOut) {
    return Plain(IB_USER_VERBS_CMD_RESIZE_CQ, ib_uverbs_resize_cq{response, handle, cqe}, out);
  };
  EXPECT_EQ(resize(cq.handle, 40, 24), 0);
  EXPECT_EQ(Response<ib_uverbs_resize_cq_resp>().cqe, 63u);
  const auto mi = Peek<mminfo>(kOut + sizeof(ib_uverbs_resize_cq_resp));
  EXPECT_GT(mi.offset, cq.mi.offset);
  EXPECT_EQ(resize(cq.handle, 5, 24), 0);
  EXPECT_EQ(Response<ib_uverbs_resize_cq_resp>().cqe, 7u);
  EXPECT_EQ(resize(cq.handle, 0, 24), EINVAL);
  EXPECT_EQ(resize(cq.handle, 32768, 24), EINVAL);
  EXPECT_EQ(resize(cq.handle, 0x80000001, 24), EINVAL);
  EXPECT_EQ(resize(cq.handle, 10, 20), EINVAL);
  EXPECT_EQ(resize(77, 10, 24), ENOENT);
  EXPECT_EQ(resize(cq.handle, 10, 24, kUnmapped), EFAULT);
}

TEST_F(Commands, DestroyCqIsBusyUnderAQp) {
  const uint32_t pd = AllocPd();
  const auto cq = CreateCq();
  const auto qp = CreateQp(pd, cq.handle);
  EXPECT_EQ(DestroyCq(cq.handle), EBUSY);
  EXPECT_EQ(Notify(cq.handle), 0);  // unharmed
  EXPECT_EQ(DestroyQp(qp.core.qp_handle), 0);
  EXPECT_EQ(DestroyCq(cq.handle), 0);
  EXPECT_EQ(DestroyCq(cq.handle), ENOENT);
  EXPECT_EQ(DestroyCq(pd), EINVAL);
}

TEST_F(Commands, ReqNotifyCqErrnoTable) {
  const auto cq = CreateCq();
  EXPECT_EQ(Notify(cq.handle, 0), 0);
  EXPECT_EQ(Notify(cq.handle, 1), 0);
  EXPECT_EQ(Notify(cq.handle, 77), 0);
  EXPECT_EQ(Notify(99), ENOENT);
  const int channel = CreateChannel();
  const auto with = CreateCq(10, channel);
  task_.Close(channel);
  EXPECT_EQ(Notify(with.handle), 0);  // also after the channel was closed
}

TEST_F(Commands, RegMrErrnoTable) {
  const uint32_t pd = AllocPd();
  const struct {
    const char* name;
    uint64_t start, length, iova;
    uint32_t pd, access;
    int want;
  } cases[] = {
      {"good", kPage, 4096, kPage, pd, IB_ACCESS_LOCAL_WRITE, 0},
      {"no access at all", kPage, 4096, kPage, pd, 0, 0},
      {"another base", kPage + 5, 100, 0x5005, pd, IB_ACCESS_LOCAL_WRITE, 0},
      {"low bits differ", kPage, 4096, kPage + 1, pd, IB_ACCESS_LOCAL_WRITE, EINVAL},
      {"remote write alone", kPage, 4096, kPage, pd, IB_ACCESS_REMOTE_WRITE, EINVAL},
      {"remote atomic alone", kPage, 4096, kPage, pd, IB_ACCESS_REMOTE_ATOMIC, EINVAL},
      {"remote read alone", kPage, 4096, kPage, pd, IB_ACCESS_REMOTE_READ, 0},
      {"flush, global", kPage, 4096, kPage, pd, IB_ACCESS_FLUSH_GLOBAL, 0},
      {"flush, persistent", kPage, 4096, kPage, pd, IB_ACCESS_FLUSH_PERSISTENT, 0},
      {"bit 10", kPage, 4096, kPage, pd, 1u << 10, EINVAL},
      {"bit 30", kPage, 4096, kPage, pd, 1u << 30, EINVAL},
      {"huge pages", kPage, 4096, kPage, pd, IB_ACCESS_HUGETLB, 0},
      {"optional bits", kPage, 4096, kPage, pd, IB_ACCESS_OPTIONAL, 0},
      {"on demand", kPage, 4096, kPage, pd, IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE, 0},
      {"no pages", kPage, 0, kPage, pd, IB_ACCESS_LOCAL_WRITE, EINVAL},
      {"wraps", kPage, ~uint64_t{0}, kPage, pd, IB_ACCESS_LOCAL_WRITE, EINVAL},
      {"wraps in its last page", ~uint64_t{4095}, 4095, ~uint64_t{4095}, pd, IB_ACCESS_LOCAL_WRITE, EINVAL},
      {"unmapped", kUnmapped, 4096, kUnmapped, pd, IB_ACCESS_LOCAL_WRITE, EFAULT},
      {"partly unmapped", kUser + 0xf000, 8192, kUser + 0xf000, pd, 0, EFAULT},
      {"read-only memory to be written", kReadOnly, 4096, kReadOnly, pd, IB_ACCESS_LOCAL_WRITE, EFAULT},
      {"read-only memory to be bound", kReadOnly, 4096, kReadOnly, pd, IB_ACCESS_MW_BIND, EFAULT},
      {"read-only memory to be read", kReadOnly, 4096, kReadOnly, pd, IB_ACCESS_REMOTE_READ, 0},
      {"no such PD", kPage, 4096, kPage, 99, IB_ACCESS_LOCAL_WRITE, ENOENT},
      {"flags are checked before the PD", kPage, 4096, kPage, 99, 1u << 10, EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(RegMr(c.pd, c.start, c.length, c.access, c.iova), c.want);
    if (c.want != 0) continue;
    const auto response = Response<ib_uverbs_reg_mr_resp>();
    EXPECT_EQ(response.lkey, response.rkey);  // also without remote access (trap 12)
    EXPECT_NE(response.lkey >> 8, 0u);
  }
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DEREG_MR, ib_uverbs_dereg_mr{99}, 0), ENOENT);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_DEREG_MR, ib_uverbs_dereg_mr{pd}, 0), EINVAL);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_REG_MR, ib_uverbs_reg_mr{kUnmapped, kPage, 64, kPage, pd, 0}, 12), EFAULT);
}

TEST_F(Commands, CreateQpErrnoTable) {
  const uint32_t pd = AllocPd();
  const uint32_t cq = CreateCq().handle;
  const auto with = [&](auto change) {
    auto request = QpRequest(pd, cq);
    change(request);
    return request;
  };
  using R = ib_uverbs_create_qp;
  const struct {
    const char* name;
    ib_uverbs_create_qp request;
    int want;
  } cases[] = {
      {"good", with([](R&) {}), 0},
      {"reserved and odd signal flag", with([](R& r) {
         r.reserved = 1;
         r.sq_sig_all = 7;
       }),
       0},
      {"nothing to post", with([](R& r) { r.max_send_wr = r.max_recv_wr = r.max_send_sge = r.max_recv_sge = 0; }), 0},
      {"UC", with([](R& r) { r.qp_type = IB_UVERBS_QPT_UC; }), 0},
      {"UD", with([](R& r) { r.qp_type = IB_UVERBS_QPT_UD; }), 0},
      {"raw packet needs a capability", with([](R& r) { r.qp_type = IB_UVERBS_QPT_RAW_PACKET; }), EPERM},
      {"XRC send", with([](R& r) { r.qp_type = IB_UVERBS_QPT_XRC_INI; }), EOPNOTSUPP},
      {"driver type", with([](R& r) { r.qp_type = IB_UVERBS_QPT_DRIVER; }), EOPNOTSUPP},
      {"SMI", with([](R& r) { r.qp_type = 0; }), EINVAL},
      {"GSI", with([](R& r) { r.qp_type = 1; }), EINVAL},
      {"XRC receive", with([](R& r) { r.qp_type = IB_UVERBS_QPT_XRC_TGT; }), EINVAL},
      {"unknown type", with([](R& r) { r.qp_type = 77; }), EINVAL},
      {"send_wr", with([](R& r) { r.max_send_wr = 1048577; }), EINVAL},
      {"recv_wr", with([](R& r) { r.max_recv_wr = 1048577; }), EINVAL},
      {"send_sge", with([](R& r) { r.max_send_sge = 33; }), EINVAL},
      {"recv_sge", with([](R& r) { r.max_recv_sge = 33; }), EINVAL},
      {"inline", with([](R& r) { r.max_inline_data = 513; }), EINVAL},
      {"inline at the limit", with([](R& r) { r.max_inline_data = 512; }), 0},
      {"no such PD", with([](R& r) { r.pd_handle = 99; }), ENOENT},
      {"PD handle names a CQ", with([cq](R& r) { r.pd_handle = cq; }), EINVAL},
      {"no such send CQ", with([](R& r) { r.send_cq_handle = 99; }), ENOENT},
      {"no such receive CQ", with([](R& r) { r.recv_cq_handle = 99; }), ENOENT},
      {"no such SRQ", with([](R& r) {
         r.is_srq = 1;
         r.srq_handle = 99;
       }),
       ENOENT},
      {"SRQ handle names a CQ", with([cq](R& r) {
         r.is_srq = 1;
         r.srq_handle = cq;
       }),
       EINVAL},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const size_t before = file_->objects().Count(UVERBS_OBJECT_QP);
    EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, c.request, 64), c.want);
    EXPECT_EQ(file_->objects().Count(UVERBS_OBJECT_QP), before + (c.want == 0 ? 1 : 0));
  }
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, QpRequest(pd, cq), 64, 8), EINVAL);  // a driver request
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, QpRequest(pd, cq), 60), EINVAL);     // short driver response
  task_.capabilities.insert(CAP_NET_RAW);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_CREATE_QP, with([](R& r) { r.qp_type = IB_UVERBS_QPT_RAW_PACKET; }), 64),
            EOPNOTSUPP);
}

TEST_F(Commands, ExCreateQpFlags) {
  ib_uverbs_ex_create_qp request = {};
  request.pd_handle = AllocPd();
  request.send_cq_handle = request.recv_cq_handle = CreateCq().handle;
  request.qp_type = IB_UVERBS_QPT_RC;
  task_.capabilities.insert(CAP_NET_RAW);
  for (uint32_t bit = 0; bit < 32; ++bit) {
    request.create_flags = 1u << bit;
    const bool known = (0xf1e >> bit & 1) != 0 && bit < 12;
    EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_QP, request, 40, 32), known ? EOPNOTSUPP : EINVAL) << bit;
  }
  request.create_flags = 0;
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_QP, request, 40, 32), 0);
  EXPECT_EQ(Response<ib_uverbs_ex_create_qp_resp>().response_length, 40u);
  request.reserved = 1;
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_QP, request, 40, 32), EINVAL);
  request.reserved = 0;
  request.comp_mask = 2;
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_QP, request, 40, 32), EINVAL);
  request.comp_mask = IB_UVERBS_CREATE_QP_MASK_IND_TABLE;
  EXPECT_EQ(Extended(IB_USER_VERBS_EX_CMD_CREATE_QP, request, 40, 32), EINVAL);
}

TEST_F(Commands, PostSendErrnoTable) {  // 2.4, 4.7
  const uint32_t pd = AllocPd();
  const uint32_t cq = CreateCq().handle;
  const auto qp = CreateQp(pd, cq);
  const auto peer = CreateQp(pd, cq);
  const auto ring = [&](const ib_uverbs_post_send& request, size_t out = 4) {
    return Plain(IB_USER_VERBS_CMD_POST_SEND, request, out);
  };
  const uint32_t handle = qp.core.qp_handle;
  EXPECT_EQ(ring({kOut, handle, 0, 0, 128}), EINVAL);  // RESET
  EXPECT_EQ(Response<ib_uverbs_post_send_resp>().bad_wr, 0u);
  ASSERT_TRUE(task_.user.Write(kOut, uint32_t{77}));
  EXPECT_EQ(ring({kOut, handle, 0, 0, 128}), EINVAL);
  EXPECT_EQ(Response<ib_uverbs_post_send_resp>().bad_wr, 0u);  // written also when it fails
  ToRts(handle, peer.core.qpn);
  EXPECT_EQ(ring({kOut, handle, 0, 0, 128}), 0);
  EXPECT_EQ(ring({kOut, handle, 0, 0, 55}), EINVAL);
  EXPECT_EQ(ring({kOut, handle, 0, 0, 56}), 0);
  EXPECT_EQ(ring({kOut, handle, 1, 0, 56}), ENOSPC);
  EXPECT_EQ(ring({kOut, handle, 0, 1, 56}), ENOSPC);
  EXPECT_EQ(ring({kOut, handle, 0xffffffff, 0xffffffff, 0xffffffff}), ENOSPC);
  EXPECT_EQ(ring({kOut, handle, 0, 0, 128}, 0), ENOSPC);
  EXPECT_EQ(ring({0, handle, 0, 0, 128}), EFAULT);
  EXPECT_EQ(ring({kOut, 99, 0, 0, 128}), ENOENT);
  EXPECT_EQ(ring({kOut, cq, 0, 0, 128}), EINVAL);
}

TEST_F(Commands, TheDoorbellHintIsTheQpn) {
  struct HintTask : kernel::FakeTask {
    void set_hint(uint64_t value) override { hint = value; }
    uint64_t hint = 0;
  } task;
  const auto qp = CreateQp(AllocPd(), CreateCq().handle);
  const struct {
    ib_uverbs_cmd_hdr hdr;
    ib_uverbs_post_send request;
  } doorbell = {{IB_USER_VERBS_CMD_POST_SEND, 8, 1}, {kOut, qp.core.qp_handle, 0, 0, 128}};
  task.user.Map(kUser, 0x10000);
  ASSERT_TRUE(task.user.Write(kIn, doorbell));
  EXPECT_FALSE(file_->Write(task, kIn, sizeof(doorbell)));
  EXPECT_EQ(task.hint, qp.core.qpn);
}

TEST_F(Commands, DestroyQpErrnoTable) {
  const uint32_t pd = AllocPd();
  const auto qp = CreateQp(pd, CreateCq().handle);
  EXPECT_EQ(DestroyQp(99), ENOENT);
  EXPECT_EQ(DestroyQp(pd), EINVAL);
  EXPECT_EQ(DestroyQp(qp.core.qp_handle), 0);
  EXPECT_EQ(DestroyQp(qp.core.qp_handle), ENOENT);
  EXPECT_EQ(Plain(IB_USER_VERBS_CMD_QUERY_QP, ib_uverbs_query_qp{kOut, qp.core.qp_handle, 0}, 128), ENOENT);
}

}  // namespace
}  // namespace causeway::infiniband
