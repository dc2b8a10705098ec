// SPDX-License-Identifier: Apache-2.0
// Protection domains and memory regions.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>

#include "dmabuf/dma_buf.h"
#include "drivers/infiniband/dmabuf_import.h"
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

// A region of the program's memory, or of a dma-buf. The import and the pages' account end with it.
class Mr final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_MR;

  // ib_uverbs_reg_mr() from the access check on, ib_umem_get(), rxe_reg_user_mr().
  // With IB_ACCESS_ON_DEMAND (rxe_odp_mr_init_user()) memory is looked at when it is accessed, and nothing is
  // accounted. errors: EINVAL flags, or an empty or wrapping range; EOVERFLOW a wrapping range on demand; EFAULT
  // memory; ENOMEM over RLIMIT_MEMLOCK, or the table is full.
  static Result<Ref<Mr>> RegisterHost(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, uint64_t start, uint64_t length,
                                      uint64_t iova, uint32_t access);

  struct DmaBufRequest {
    uint64_t offset, length, iova;
    int fd;
    uint32_t access;
  };
  // REG_DMABUF_MR: uverbs_std_types_mr.c, then ib_umem_dmabuf_get_pinned(). errors: specs in the body; the exporter's.
  static Result<Ref<Mr>> RegisterDmaBuf(UverbsFile& file, kernel::Task& task, Ref<Pd> pd, const DmaBufRequest& request);

  Mr(UverbsFile& file, Ref<Pd> pd)
      : Uobject(kType, 0), core_(file.core()), pdn_(pd->tracked().id), pd_(std::move(pd)) {}
  ~Mr() override;
  Status Destroy() override;  // EINVAL: memory windows are bound to it (rxe_dereg_mr())

  // rxe_rereg_user_mr() of linux v6.12: protection domain and access; an empty `pd` leaves it.
  // errors: EOPNOTSUPP anything else, flags that rxe does not have for regions, or a dma-buf's region.
  Status Reregister(uint32_t flags, Ref<Pd> pd, uint32_t access);

  uint32_t key() const { return key_; }  // lkey and rkey
  uint64_t iova() const { return iova_; }
  uint64_t length() const { return length_; }
  uint32_t pdn() const { return pdn_.load(std::memory_order_relaxed); }  // its PD's number of NETLINK_RDMA
  bool is_dmabuf() const { return static_cast<bool>(import_); }

 private:
  Status Program(const roce::MrCreate& create);
  void Release();

  IbCore& core_;
  std::atomic<uint32_t> pdn_;
  uint32_t index_ = 0;  // 0: not programmed
  std::mutex mutex_;    // one change at a time; guards pd_
  UserOf<Pd> pd_;
  uint32_t key_ = 0;
  uint64_t iova_ = 0, length_ = 0;
  pid_t pinned_by_ = 0;
  uint64_t pinned_pages_ = 0;
  Ref<DmaBufImport> import_;  // whose `index_` is then
};

// ib_check_mr_access(). errors: EINVAL.
Status CheckAccess(const IbDevice& device, uint32_t access);

// ADVISE_MR: rxe_ib_advise_mr() of later kernels. What is advised is looked up at once; without
// IB_UVERBS_ADVISE_MR_FLAG_FLUSH the rest would be done by a worker, whose failures nobody learns of, so there it is
// not an error that memory cannot be had. errors: EOPNOTSUPP unknown advice; EINVAL a key that is not an on-demand
// region's of this PD; EPERM writing to a read-only region; EFAULT beyond the region, or memory that is not there.
Status AdviseMr(UverbsFile& file, kernel::Task& task, const Pd& pd, uint32_t advice, uint32_t flags,
                std::span<const uapi::ib_uverbs_sge> list);

}  // namespace causeway::infiniband
