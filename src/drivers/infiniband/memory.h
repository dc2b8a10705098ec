// SPDX-License-Identifier: Apache-2.0
// Protection domains and memory regions.
#pragma once

#include <cstdint>
#include <memory>

#include "dmabuf/dma_buf.h"
#include "drivers/infiniband/uobject.h"
#include "drivers/infiniband/uverbs_file.h"

namespace causeway::infiniband {

class Pd final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_PD;
  explicit Pd(uint32_t number) : Uobject(kType, 0), number_(number) {}
  uint32_t number() const { return number_; }  // the NIC's
  Status Destroy() override;

 private:
  const uint32_t number_;
};

// A region of the program's memory, or of a dma-buf. The attachment, the mapping and the pages' account end with it.
class Mr final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_MR;

  // ib_uverbs_reg_mr() from the access check on, ib_umem_get(), rxe_reg_user_mr().
  // errors: EINVAL flags, or an empty or wrapping range; EFAULT memory; ENOMEM over RLIMIT_MEMLOCK, or the table is
  // full.
  static Result<Ref<Mr>> RegisterHost(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, uint64_t start, uint64_t length,
                                      uint64_t iova, uint32_t access);

  struct DmaBufRequest {
    uint64_t offset, length, iova;
    int fd;
    uint32_t access;
  };
  // REG_DMABUF_MR: uverbs_std_types_mr.c, then ib_umem_dmabuf_get_pinned(). errors: specs in the body; the exporter's.
  static Result<Ref<Mr>> RegisterDmaBuf(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, const DmaBufRequest& request);

  Mr(UverbsFile& file, Ref<Pd> pd) : Uobject(kType, 0), core_(file.core()), pd_(std::move(pd)) {}
  ~Mr() override;
  Status Destroy() override;

  uint32_t key() const { return key_; }  // lkey and rkey
  uint64_t iova() const { return iova_; }
  uint64_t length() const { return length_; }
  bool is_dmabuf() const { return is_dmabuf_; }

 private:
  Status Program(const roce::MrCreate& create);
  void Release();

  IbCore& core_;
  UserOf<Pd> pd_;
  uint32_t index_ = 0;  // 0: not programmed
  uint32_t key_ = 0;
  uint64_t iova_ = 0, length_ = 0;
  bool is_dmabuf_ = false;
  pid_t pinned_by_ = 0;
  uint64_t pinned_pages_ = 0;
  std::unique_ptr<dmabuf::DmaBufAttachment> attachment_;
  std::unique_ptr<dmabuf::DmaBufMapping> mapping_;  // dies before its attachment
};

}  // namespace causeway::infiniband
