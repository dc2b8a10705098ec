// SPDX-License-Identifier: Apache-2.0
// The structs of libibverbs whose layout dmabuf_mr.cc relies on, against its public header. struct verbs_mr stands in
// its private one: verbs.md 6.3 and the conformance tests vouch for it.
#include <gtest/gtest.h>
#include <infiniband/verbs.h>

#include <cstddef>

#include "shim/dmabuf_mr.h"

namespace causeway::shim {
namespace {

static_assert(offsetof(struct ibv_context, cmd_fd) == IbvLayout::kContextCmdFd);
static_assert(offsetof(struct ibv_pd, context) == IbvLayout::kPdContext);
static_assert(offsetof(struct ibv_pd, handle) == IbvLayout::kPdHandle);
static_assert(offsetof(struct ibv_mr, context) == offsetof(VerbsMr, context));
static_assert(offsetof(struct ibv_mr, pd) == offsetof(VerbsMr, pd));
static_assert(offsetof(struct ibv_mr, addr) == offsetof(VerbsMr, addr));
static_assert(offsetof(struct ibv_mr, length) == offsetof(VerbsMr, length));
static_assert(offsetof(struct ibv_mr, handle) == offsetof(VerbsMr, handle));
static_assert(offsetof(struct ibv_mr, lkey) == offsetof(VerbsMr, lkey));
static_assert(offsetof(struct ibv_mr, rkey) == offsetof(VerbsMr, rkey));
static_assert(sizeof(struct ibv_mr) == offsetof(VerbsMr, mr_type));

TEST(RegDmabufMr, ADeviceThatIsNotTheMachinesGoesToLibibverbs) {
  // No libibverbs is linked here, so there is no next definition: what its own dummy answers.
  struct ibv_context context = {};
  context.cmd_fd = 0;
  struct ibv_pd pd = {};
  pd.context = &context;
  errno = 0;
  EXPECT_EQ(RegDmabufMr(&pd, 0, 4096, 0, -1, 0), nullptr);
  EXPECT_EQ(errno, EOPNOTSUPP);
}

}  // namespace
}  // namespace causeway::shim
