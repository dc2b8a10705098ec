// SPDX-License-Identifier: Apache-2.0
// Queue memory on its way to the program (linux drivers/infiniband/sw/rxe/rxe_mmap.c): a create call answers with an
// mmap offset, the provider maps it once, and the memory lives until the object and every mapping are gone.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>

#include "base/ref.h"
#include "base/result.h"
#include "devices/roce_nic/nic.h"
#include "uapi/rxe.h"

namespace causeway::infiniband {

// One reference by the object, one by each mapping (struct rxe_mmap_info's kref).
class RingMemory : public RefCounted {
 public:
  RingMemory(roce::NicDevices& nics, const roce::Ring& ring) : nics_(nics), ring_(ring) {}
  ~RingMemory() override { nics_.FreeRing(ring_); }
  const roce::Ring& ring() const { return ring_; }

 private:
  roce::NicDevices& nics_;
  const roce::Ring ring_;
};

// Rings of one device that wait for their mmap().
class PendingRings {
 public:
  // Offers a ring to a context; the offset is the device's next.
  uapi::mminfo Add(uint64_t context, Ref<RingMemory> ring);
  // The object is gone: an offset that nobody mapped is void. 0 is no offset.
  void Withdraw(uint64_t offset);
  // rxe_mmap(). errors: EINVAL not offered to this context, mapped already, or longer than the ring.
  Result<Ref<RingMemory>> Take(uint64_t context, uint64_t offset, uint64_t length);
  size_t size() const;

 private:
  struct Entry {
    uint64_t context;
    uapi::mminfo info;
    Ref<RingMemory> ring;
  };
  mutable std::mutex mutex_;
  uint64_t next_offset_ = 4096;  // first value is the page size; never 0
  std::list<Entry> entries_;
};

}  // namespace causeway::infiniband
