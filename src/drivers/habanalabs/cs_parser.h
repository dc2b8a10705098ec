// SPDX-License-Identifier: Apache-2.0
// Checks the command buffer of an external queue of Gaudi and copies it: gaudi_parse_cb_mmu() with gaudi_validate_cb().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace causeway::habanalabs {

// What a program's packets are allowed to be. errors: EPERM a packet that only the driver may use; EINVAL an unknown
// one, or one that the buffer cuts short.
Status ValidateCommands(std::span<const std::byte> commands);

// Size of the driver's copy of `size` bytes with its two last packets, which must lie in one line of 128 bytes.
constexpr uint32_t PatchedSize(uint32_t size) {
  constexpr uint32_t kTail = 32, kLine = 128;
  const uint32_t start = (size + 7) / 8 * 8;
  const uint32_t pad = start % kLine + kTail > kLine ? kLine - start % kLine : 0;
  return start + pad + kTail;
}
static_assert(PatchedSize(8) == 40 && PatchedSize(96) == 128 && PatchedSize(104) == 160);

}  // namespace causeway::habanalabs
