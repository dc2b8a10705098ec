// SPDX-License-Identifier: Apache-2.0
// An RDMA NIC by libibverbs: registered memory, host's or an accelerator's, and reliable connections between it. A thin
// layer: the ibv_* objects stay in reach for what it does not wrap. Link with -libverbs.
//
//   causeway::Nic nic = causeway::Nic::Open();
//   causeway::MemoryRegion region = nic.Register(memory.Export());   // the accelerator's memory: no copy, no host
//   causeway::Connection connection = nic.NewConnection();
//   connection.Connect(peer);                                        // Endpoint of the other side, by any channel
//   connection.Write(region, 0, remote, 0, bytes);
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "causeway/error.h"
#include "causeway/memory.h"

namespace causeway {

namespace detail {
struct NicState;
}

/// What a peer must know to use a region. Plain bytes: send it by any channel between hosts of one byte order.
struct RemoteRegion {
  uint64_t address;
  uint64_t bytes;
  uint32_t rkey;
};

/// What a peer must know to connect. Plain bytes, as above.
struct Endpoint {
  ibv_gid gid;
  uint32_t qpn;
  uint32_t psn;
  uint32_t mtu;  ///< enum ibv_mtu
};

/// Registered memory (MR). Source: ibv_reg_mr(), ibv_reg_dmabuf_mr().
class MemoryRegion {
 public:
  MemoryRegion() = default;
  MemoryRegion(MemoryRegion&& other) noexcept;
  MemoryRegion& operator=(MemoryRegion&& other) noexcept;
  ~MemoryRegion();

  RemoteRegion remote() const noexcept { return {address_, bytes_, mr_->rkey}; }
  uint64_t bytes() const noexcept { return bytes_; }
  ibv_mr* mr() const noexcept { return mr_; }

 private:
  friend class Nic;
  friend class Connection;
  void Deregister() noexcept;
  std::shared_ptr<detail::NicState> nic_;
  ibv_mr* mr_ = nullptr;
  uint64_t address_ = 0;  // first address that work requests name
  uint64_t bytes_ = 0;
};

/// A reliable connection (RC queue pair) with one operation at a time: enough to move bulk data and to learn.
class Connection {
 public:
  Connection() = default;
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;
  ~Connection();

  Endpoint local() const noexcept;
  /// @throws Error  ETIMEDOUT the address does not answer; EINVAL the addresses are of different IP versions
  void Connect(const Endpoint& peer);

  /// RDMA WRITE and READ of `bytes`, in pieces of at most 1 GiB; return when the last byte is there.
  /// @throws Error  EREMOTEIO with the completion status in words: "RDMA write on rxe0: remote access error"
  void Write(const MemoryRegion& from, uint64_t from_offset, const RemoteRegion& to, uint64_t to_offset,
             uint64_t bytes);
  void Read(const MemoryRegion& to, uint64_t to_offset, const RemoteRegion& from, uint64_t from_offset, uint64_t bytes);

  ibv_qp* qp() const noexcept { return qp_; }

 private:
  friend class Nic;
  void Destroy() noexcept;
  void Run(ibv_wr_opcode opcode, const MemoryRegion& local, uint64_t local_offset, const RemoteRegion& remote,
           uint64_t remote_offset, uint64_t bytes);
  std::shared_ptr<detail::NicState> nic_;
  ibv_cq* cq_ = nullptr;
  ibv_qp* qp_ = nullptr;
};

class Nic {
 public:
  /// @param name  RDMA device; empty: the first by name. @throws Error  ENODEV none, or none of this name; ENETDOWN the
  /// port is not active
  static Nic Open(const std::string& name = {});

  const std::string& name() const noexcept;
  ibv_context* context() const noexcept;

  /// Access: local write, remote read and write. @throws Error  EFAULT; ENOMEM: raise `ulimit -l`
  MemoryRegion Register(std::span<std::byte> host);
  /// A device's memory. The region keeps it alive: the DmaBuf may go.
  /// @throws Error  EOPNOTSUPP the NIC cannot import dma-bufs; EREMOTEIO, EPERM, ... it cannot reach the exporter
  MemoryRegion Register(const DmaBuf& memory);
  MemoryRegion Register(const DmaBuf& memory, uint64_t offset, uint64_t bytes);

  Connection NewConnection();

 private:
  explicit Nic(std::shared_ptr<detail::NicState> state) : state_(std::move(state)) {}
  std::shared_ptr<detail::NicState> state_;
};

}  // namespace causeway
