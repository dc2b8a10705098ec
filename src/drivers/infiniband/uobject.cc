// SPDX-License-Identifier: Apache-2.0
#include "drivers/infiniband/uobject.h"

#include <algorithm>

#include "base/log.h"

namespace causeway::infiniband {

// rdma_core.c uverbs_try_lock_object(), UVERBS_LOOKUP_READ and UVERBS_LOOKUP_WRITE.
bool Uobject::TryUse() {
  int32_t count = usecnt_.load(std::memory_order_relaxed);
  while (count >= 0) {
    if (usecnt_.compare_exchange_weak(count, count + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

bool Uobject::TryOwn() {
  int32_t idle = 0;
  return usecnt_.compare_exchange_strong(idle, -1, std::memory_order_acquire);
}

UobjectTable::Reservation UobjectTable::Reserve() {
  const std::lock_guard lock(mutex_);
  const uint32_t handle = free_.empty() ? next_handle_++ : free_.extract(free_.begin()).value();
  objects_.emplace(handle, Ref<Uobject>());
  return Reservation(*this, handle);
}

void UobjectTable::Publish(uint32_t handle, Ref<Uobject> object) {
  const std::lock_guard lock(mutex_);
  object->handle_ = handle;
  object->sequence_ = next_sequence_++;
  objects_.at(handle) = std::move(object);
}

void UobjectTable::Cancel(uint32_t handle) {
  const std::lock_guard lock(mutex_);
  objects_.erase(handle);
  free_.insert(handle);
}

// rdma_lookup_get_uobject().
Result<Ref<Uobject>> UobjectTable::Find(uint32_t handle, ObjectType type) const {
  const std::lock_guard lock(mutex_);
  const auto it = objects_.find(handle);
  if (it == objects_.end() || !it->second) return Err(ENOENT);
  if (it->second->type() != type) return Err(EINVAL);
  return it->second;
}

Result<Ref<Uobject>> UobjectTable::FindUsed(uint32_t handle, ObjectType type) {
  CW_TRY(Ref<Uobject> object, Find(handle, type));
  if (!object->TryUse()) return Err(EBUSY);
  return object;
}

// uobj_destroy(), uverbs_destroy_uobject().
Result<Ref<Uobject>> UobjectTable::DestroyUntyped(uint32_t handle, ObjectType type) {
  CW_TRY(Ref<Uobject> object, Find(handle, type));
  if (!object->TryOwn()) return Err(EBUSY);
  if (const Status gone = object->Destroy(); !gone) {
    object->EndOwn();
    return Err(gone.error());
  }
  Cancel(handle);  // stays owned: nobody uses it again
  return object;
}

void UobjectTable::DestroyAll() {
  for (;;) {
    std::vector<Ref<Uobject>> order;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [handle, object] : objects_) {
        if (object) order.push_back(object);
      }
    }
    if (order.empty()) return;
    std::ranges::sort(order, std::ranges::greater(), [](const Ref<Uobject>& object) { return object->sequence_; });
    bool progress = false;
    for (const auto& object : order) {
      object->Abandon();
      if (DestroyUntyped(object->handle(), object->type())) progress = true;
    }
    if (progress) continue;
    log::Error("infiniband: {} objects of a closed file still have users", order.size());
    return;
  }
}

std::vector<uint32_t> UobjectTable::Handles(ObjectType type) const {
  const std::lock_guard lock(mutex_);
  std::vector<const Uobject*> order;
  for (const auto& [handle, object] : objects_) {
    if (object && object->type() == type) order.push_back(object.get());
  }
  std::ranges::sort(order, std::ranges::greater(), &Uobject::sequence_);
  std::vector<uint32_t> handles;
  for (const Uobject* object : order) handles.push_back(object->handle());
  return handles;
}

size_t UobjectTable::Count(ObjectType type) const {
  const std::lock_guard lock(mutex_);
  return static_cast<size_t>(
      std::ranges::count_if(objects_, [&](const auto& entry) { return entry.second && entry.second->type() == type; }));
}

}  // namespace causeway::infiniband
