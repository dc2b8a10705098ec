// SPDX-License-Identifier: Apache-2.0
// Address handles of UD: linux v6.1 drivers/infiniband/core/uverbs_cmd.c ib_uverbs_create_ah(), sw/rxe/rxe_verbs.c.
#pragma once

#include <cstdint>

#include "drivers/infiniband/memory.h"
#include "drivers/infiniband/uobject.h"

namespace causeway::infiniband {

class Ah final : public Uobject {
 public:
  static constexpr ObjectType kType = uapi::UVERBS_OBJECT_AH;

  Ah(IbCore& core, Ref<Pd> pd, uint32_t number, uint64_t user_handle)
      : Uobject(kType, user_handle), core_(core), pd_(std::move(pd)), number_(number) {}
  ~Ah() override { Release(); }
  Status Destroy() override;

 private:
  void Release();
  IbCore& core_;
  UserOf<Pd> pd_;
  uint32_t number_;  // ah_num, what a work request names; 0: given back
};

}  // namespace causeway::infiniband
