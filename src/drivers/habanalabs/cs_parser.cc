// SPDX-License-Identifier: Apache-2.0
#include "drivers/habanalabs/cs_parser.h"

#include <cstring>

#include "devices/gaudi/packets.h"

namespace causeway::habanalabs {

Status ValidateCommands(std::span<const std::byte> commands) {
  using gaudi::Opcode;
  constexpr uint32_t kLoadDst = gaudi::kLoadDstScalars;
  while (!commands.empty()) {
    if (commands.size() < 8) return Err(EINVAL);
    uint32_t words[2];
    std::memcpy(words, commands.data(), sizeof(words));
    const auto opcode = static_cast<Opcode>(gaudi::OpcodeOf(words[1]));
    const uint32_t size = gaudi::PacketSize(gaudi::Asic::kGaudi, words[0], words[1]);
    if (size == 0 || opcode == Opcode::kWait) return Err(EINVAL);
    if (size > commands.size() && opcode != Opcode::kWregBulk) return Err(EINVAL);
    switch (opcode) {
      case Opcode::kMsgProt:
      case Opcode::kCpDma:
      case Opcode::kStop:
      case Opcode::kWregBulk: return Err(EPERM);
      case Opcode::kLoadAndExe:
        if ((words[0] & kLoadDst) != 0) return Err(EPERM);  // gaudi_validate_load_and_exe_pkt()
        break;
      default: break;
    }
    commands = commands.subspan(size);
  }
  return {};
}

}  // namespace causeway::habanalabs
