// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/memory_window.h"

#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {

using namespace uapi;

Status Mw::Destroy() {
  Release();
  return {};
}

void Mw::Release() {
  if (std::exchange(allocated_, false)) core_.nics().DestroyMw(index_);
  pd_.Release();
}

Status AllocMwCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_alloc_mw>());
  auto slot = command.file.objects().Reserve();
  CW_TRY(const auto pd, command.file.objects().Lookup<Pd>(request.pd_handle));
  if (request.mw_type != IB_MW_TYPE_1 && request.mw_type != IB_MW_TYPE_2) return Err(EINVAL);
  roce::NicDevices& nics = command.file.core().nics();
  CW_TRY(const uint32_t index,
         nics.CreateMw(command.file.device().nic(), pd->number(), static_cast<roce::MwType>(request.mw_type)));
  const uint32_t rkey = nics.mw(index).rkey;
  auto mw = MakeRef<Mw>(command.file.core(), pd.ref(), index);
  CW_CHECK(command.Respond(ib_uverbs_alloc_mw_resp{.mw_handle = slot.handle(), .rkey = rkey}));
  slot.Commit(std::move(mw));
  return {};
}

Status DeallocMwCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_dealloc_mw>());
  CW_CHECK(command.file.objects().Destroy<Mw>(request.mw_handle));
  return {};
}

}  // namespace causeway::infiniband
