// SPDX-License-Identifier: Apache-2.0
// Memory windows: linux v6.1 drivers/infiniband/core/uverbs_cmd.c ib_uverbs_alloc_mw(), sw/rxe/rxe_mw.c. What binds and
// invalidates them are work requests (devices/roce_nic).
#pragma once

#include <cstdint>

#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

class Mw final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_MW;

  Mw(IbCore& core, Ref<Pd> pd, uint32_t index)
      : Uobject(kType, 0), core_(core), pd_(std::move(pd)), index_(index), allocated_(true) {}
  ~Mw() override { Release(); }
  Status Destroy() override;  // bound or not

 private:
  void Release();
  IbCore& core_;
  UserOf<Pd> pd_;
  const uint32_t index_;
  bool allocated_;
};

}  // namespace causeway::infiniband
