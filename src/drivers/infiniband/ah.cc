// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/ah.h"

#include "drivers/infiniband/address.h"
#include "drivers/infiniband/commands.h"

namespace causeway::infiniband {

using namespace uapi;

Status Ah::Destroy() {
  Release();
  return {};
}

void Ah::Release() {
  if (const uint32_t number = std::exchange(number_, 0); number != 0) core_.nics().DestroyAh(number);
  pd_.Release();
}

// ib_uverbs_create_ah(), rdma_create_user_ah(), rxe_create_ah(). The driver's answer is a number and a reserved word;
// who has no room for both gets neither, and of both the number alone is written.
Status CreateAhCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_create_ah>());
  auto slot = command.file.objects().Reserve();
  if (request.attr.port_num != kPort) return Err(EINVAL);
  CW_TRY(const auto pd, command.file.objects().Lookup<Pd>(request.pd_handle));
  const IbDevice& device = command.file.device();
  CW_TRY(const roce::AddressVector av, Resolve(device, AddressOf(request.attr), 0));
  CW_TRY(const uint32_t number, command.file.core().nics().CreateAh(device.nic(), pd->number(), av));
  auto ah = MakeRef<Ah>(command.file.core(), pd.ref(), number, request.user_handle);
  if (command.driver.out_len >= sizeof(rxe_create_ah_resp)) {
    CW_CHECK(command.task.memory().Write(command.driver.out + offsetof(rxe_create_ah_resp, ah_num), number));
  }
  CW_CHECK(command.Respond(ib_uverbs_create_ah_resp{.ah_handle = slot.handle()}));
  slot.Commit(std::move(ah));
  return {};
}

Status DestroyAhCommand(Command& command) {
  CW_TRY(const auto request, command.Request<ib_uverbs_destroy_ah>());
  CW_CHECK(command.file.objects().Destroy<Ah>(request.ah_handle));
  return {};
}

}  // namespace causeway::infiniband
