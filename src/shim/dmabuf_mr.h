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

// nullptr and errno.
void* RegDmabufMr(void* pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access);

}  // namespace causeway::shim
