// SPDX-License-Identifier: Apache-2.0
// The queue behind a made-up descriptor of a socket, for unit tests.
#pragma once

#include <utility>
#include <vector>

#include "kernel/socket.h"

namespace causeway::kernel {

class FakePackets : public Packets {
 public:
  Status SendPacket(FileId, std::span<const std::byte> packet) override {
    if (full) return Err(EAGAIN);
    queue.emplace_back(packet.begin(), packet.end());
    return {};
  }
  size_t QueuedBytes(FileId) const override {
    size_t bytes = 0;
    for (const auto& packet : queue) bytes += packet.size();
    return bytes;
  }
  std::vector<std::byte> Take() {
    if (queue.empty()) return {};
    auto packet = std::move(queue.front());
    queue.erase(queue.begin());
    return packet;
  }
  std::vector<std::vector<std::byte>> queue;
  bool full = false;
};

}  // namespace causeway::kernel
