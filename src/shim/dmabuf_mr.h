// SPDX-License-Identifier: Apache-2.0
// ibv_reg_dmabuf_mr() for devices of the machine. The rxe provider has no such operation (libibverbs answers EOPNOTSUPP
// without a system call), the machine's driver has: the call is made here, by the uverbs ioctl that libibverbs' own
// ibv_cmd_reg_dmabuf_mr() makes. Other devices get libibverbs' definition.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::shim {

// Layouts of libibverbs' structs, the same in every release since 20: checked against its header in shim_test.
struct IbvLayout {
  static constexpr size_t kContextCmdFd = 264;  // ibv_context::cmd_fd
  static constexpr size_t kPdContext = 0;       // ibv_pd
  static constexpr size_t kPdHandle = 8;
};
// struct verbs_mr of libibverbs' driver.h, which ibv_dereg_mr() reads and the provider frees.
struct VerbsMr {
  void* context;
  void* pd;
  void* addr;
  size_t length;
  uint32_t handle;
  uint32_t lkey;
  uint32_t rkey;
  uint32_t reserved;
  uint32_t mr_type;  // IBV_MR_TYPE_DMABUF_MR 3: no fork range, no rereg
  int32_t access;
};
static_assert(sizeof(VerbsMr) == 56 && offsetof(VerbsMr, handle) == 32 && offsetof(VerbsMr, mr_type) == 48);

// struct ibv_mr_init_attr of rdma-core 59 and newer (IBVERBS_1.15), up to what is used here.
struct MrInitAttr {
  static constexpr uint64_t kIova = 1 << 0, kAddr = 1 << 1, kFd = 1 << 2, kFdOffset = 1 << 3;  // IBV_REG_MR_MASK_*
  size_t length;
  int access;
  uint64_t comp_mask;
  uint64_t iova;
  void* addr;
  int fd;
  uint64_t fd_offset;
};
static_assert(offsetof(MrInitAttr, comp_mask) == 16 && offsetof(MrInitAttr, fd) == 40 && sizeof(MrInitAttr) == 56);

// nullptr and errno.
void* RegDmabufMr(void* pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access);
// ibv_reg_mr_ex(): with a descriptor as above, everything else is libibverbs'. The rules between the masks are those of
// its dummy operation (dummy_ops.c reg_mr_ex()), which rxe gets. EOPNOTSUPP where libibverbs has no such function.
void* RegMrEx(void* pd, void* mr_init_attr);

}  // namespace causeway::shim
