// SPDX-License-Identifier: Apache-2.0
#include "shim/dmabuf_mr.h"

#include <stdlib.h>
#include <string.h>

#include <cerrno>

#include "shim/calls.h"
#include "shim/fd_table.h"
#include "shim/machine.h"
#include "shim/raw.h"
#include "shim/symbols.h"
#include "uapi/rdma_ioctl.h"

namespace causeway::shim {
namespace {

struct RegDmabufMrRequest {
  uapi::ib_uverbs_ioctl_hdr header;
  uapi::ib_uverbs_attr attrs[9];
};
constexpr uint32_t kMrTypeDmabuf = 3;  // IBV_MR_TYPE_DMABUF_MR

template <typename T>
T At(const void* object, size_t offset) {
  T value;
  memcpy(&value, static_cast<const char*>(object) + offset, sizeof(value));
  return value;
}

uint64_t AddressOf(void* object) { return reinterpret_cast<uintptr_t>(object); }

bool IsMachines(void* pd) {
  return IsFileKind(SettledKind(At<int>(At<void*>(pd, IbvLayout::kPdContext), IbvLayout::kContextCmdFd)));
}

}  // namespace

void* RegDmabufMr(void* pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access) {
  void* const context = At<void*>(pd, IbvLayout::kPdContext);
  const int cmd_fd = At<int>(context, IbvLayout::kContextCmdFd);
  if (!IsMachines(pd)) {
    using Function = void* (*)(void*, uint64_t, size_t, uint64_t, int, int);
    const auto next = reinterpret_cast<Function>(FindInLibibverbs("ibv_reg_dmabuf_mr"));
    if (next != nullptr) return next(pd, offset, length, iova, fd, access);
    errno = EOPNOTSUPP;
    return nullptr;
  }
  auto* mr = static_cast<VerbsMr*>(calloc(1, sizeof(VerbsMr)));  // freed by the provider's dereg_mr
  if (mr == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  RegDmabufMrRequest request = {};
  request.header.length = sizeof(request);
  request.header.object_id = uapi::UVERBS_OBJECT_MR;
  request.header.method_id = uapi::UVERBS_METHOD_REG_DMABUF_MR;
  request.header.num_attrs = 9;
  request.header.driver_id = uapi::kRdmaDriverRxe;
  const auto attribute = [&](uint16_t id, size_t len, uint64_t data) {
    request.attrs[id] = {id, static_cast<uint16_t>(len), uapi::UVERBS_ATTR_F_MANDATORY, 0, data};
  };
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_HANDLE, 0, 0);
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, 0, At<uint32_t>(pd, IbvLayout::kPdHandle));
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_OFFSET, sizeof(uint64_t), offset);
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_LENGTH, sizeof(uint64_t), length);
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_IOVA, sizeof(uint64_t), iova);
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_FD, sizeof(uint32_t), static_cast<uint32_t>(fd));
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, sizeof(uint32_t), static_cast<uint32_t>(access));
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, sizeof(mr->lkey), AddressOf(&mr->lkey));
  attribute(uapi::UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, sizeof(mr->rkey), AddressOf(&mr->rkey));
  if (Ioctl(cmd_fd, uapi::kRdmaVerbsIoctl, &request) != 0) {
    const ErrnoKeeper keeper;
    free(mr);
    keeper.Restore();
    return nullptr;
  }
  mr->context = context;
  mr->pd = pd;
  mr->addr = reinterpret_cast<void*>(offset);
  mr->length = length;
  mr->handle = static_cast<uint32_t>(request.attrs[uapi::UVERBS_ATTR_REG_DMABUF_MR_HANDLE].data);
  mr->mr_type = kMrTypeDmabuf;
  mr->access = access;
  return mr;
}

void* RegMrEx(void* pd, void* mr_init_attr) {
  constexpr uint64_t kWithFd = MrInitAttr::kFd | MrInitAttr::kFdOffset | MrInitAttr::kIova;
  if (IsMachines(pd) && At<uint64_t>(mr_init_attr, offsetof(MrInitAttr, comp_mask)) == kWithFd) {
    const auto attr = At<MrInitAttr>(mr_init_attr, 0);
    return RegDmabufMr(pd, attr.fd_offset, attr.length, attr.iova, attr.fd, attr.access);
  }
  using Function = void* (*)(void*, void*);
  const auto next = reinterpret_cast<Function>(FindInLibibverbs("ibv_reg_mr_ex"));
  if (next != nullptr) return next(pd, mr_init_attr);
  errno = EOPNOTSUPP;
  return nullptr;
}

}  // namespace causeway::shim
