// SPDX-License-Identifier: Apache-2.0
// Objects of one open uverbs file, named by handles: linux drivers/infiniband/core/rdma_core.c.
//
//   Reserve() -> number, seen by nobody --Commit()--> object, found by Lookup()  --Destroy()--> gone, number free
//                        \--~Reservation--> number free
//
// One number space for all types, always the lowest free number. Two counts keep an object alive, as in the kernel:
// `usecnt` says who is working with the handle right now (shared by calls that use it, exclusive for the one that
// destroys it; a loser gets EBUSY), `users` says which other objects are built on it (a PD's QPs; destroying it is
// EBUSY).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/ref.h"
#include "base/result.h"
#include "uapi/rdma_ioctl.h"

namespace causeway::infiniband {

using ObjectType = uapi::uverbs_default_objects;

// struct rdma_restrack_entry: the number that NETLINK_RDMA knows a resource by, and the thread that made it.
struct Tracked {
  uint32_t id = 0;
  pid_t pid = 0, tid = 0;
};

class Uobject : public RefCounted {
 public:
  Uobject(ObjectType type, uint64_t user_handle) : type_(type), user_handle_(user_handle) {}

  ObjectType type() const { return type_; }
  uint64_t user_handle() const { return user_handle_; }  // the client's own, returned bit for bit in events
  uint32_t handle() const { return handle_; }
  const Tracked& tracked() const { return tracked_; }
  void set_tracked(const Tracked& tracked) { tracked_ = tracked; }  // before it is committed

  // Ends the hardware object. errors: EBUSY something is built on it; the object is as before. Called once
  // successfully.
  virtual Status Destroy() = 0;
  // The file is being closed: gives up what would keep Destroy() from succeeding and needs the object's user to undo it
  // (multicast attachments). May be called several times.
  virtual void Abandon() {}

  // Other objects built on this one (ib_pd::usecnt, ib_cq::usecnt).
  std::atomic<uint32_t> users{0};

 private:
  friend class UobjectTable;
  template <typename T>
  friend class Use;
  bool TryUse();
  void EndUse() { usecnt_.fetch_sub(1, std::memory_order_release); }
  bool TryOwn();
  void EndOwn() { usecnt_.store(0, std::memory_order_release); }

  const ObjectType type_;
  const uint64_t user_handle_;
  Tracked tracked_;
  uint32_t handle_ = 0;
  uint64_t sequence_ = 0;           // order of creation
  std::atomic<int32_t> usecnt_{0};  // -1: owned exclusively
};

// A shared use of an object, for the time of one call.
template <typename T>
class Use {
 public:
  Use() = default;
  explicit Use(Ref<T> object) : object_(std::move(object)) {}  // TryUse() has succeeded
  Use(Use&& other) noexcept = default;
  Use& operator=(Use&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Use() {
    if (object_) object_->EndUse();
  }
  T* operator->() const { return object_.get(); }
  T& operator*() const { return *object_; }
  T* get() const { return object_.get(); }
  const Ref<T>& ref() const { return object_; }
  explicit operator bool() const { return static_cast<bool>(object_); }

 private:
  Ref<T> object_;
};

// Keeps another object's `users` count up: a member of what is built on it. T is a Uobject.
template <typename T>
class UserOf {
 public:
  explicit UserOf(Ref<T> object) : object_(std::move(object)) {
    if (object_) object_->users.fetch_add(1, std::memory_order_relaxed);
  }
  UserOf(const UserOf&) = delete;
  UserOf& operator=(const UserOf&) = delete;
  ~UserOf() { Release(); }
  void Release() {
    if (object_) object_->users.fetch_sub(1, std::memory_order_acq_rel);
    object_.Reset();
  }
  void Replace(Ref<T> object) {
    if (object) object->users.fetch_add(1, std::memory_order_relaxed);
    Release();
    object_ = std::move(object);
  }
  T* operator->() const { return object_.get(); }
  T* get() const { return object_.get(); }

 private:
  Ref<T> object_;
};

class UobjectTable {
 public:
  // A number that is taken and not yet seen; given back unless committed.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(UobjectTable& table, uint32_t handle) : table_(&table), handle_(handle) {}
    Reservation(Reservation&& other) noexcept : table_(std::exchange(other.table_, nullptr)), handle_(other.handle_) {}
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(table_, other.table_);
      std::swap(handle_, other.handle_);
      return *this;
    }
    ~Reservation() {
      if (table_ != nullptr) table_->Cancel(handle_);
    }
    uint32_t handle() const { return handle_; }
    void Commit(Ref<Uobject> object) { std::exchange(table_, nullptr)->Publish(handle_, std::move(object)); }

   private:
    UobjectTable* table_ = nullptr;
    uint32_t handle_ = 0;
  };

  Reservation Reserve();

  // errors: ENOENT no such handle; EINVAL of another type; EBUSY being destroyed.
  template <typename T>
  Result<Use<T>> Lookup(uint32_t handle) {
    CW_TRY(Ref<Uobject> object, FindUsed(handle, T::kType));
    return Use<T>(Ref<T>::Adopt(static_cast<T*>(object.Leak())));
  }
  Result<Use<Uobject>> LookupUntyped(uint32_t handle, ObjectType type) {
    CW_TRY(Ref<Uobject> object, FindUsed(handle, type));
    return Use<Uobject>(std::move(object));
  }
  // Without using it: for a destroy that comes later. errors: ENOENT, EINVAL.
  Result<Ref<Uobject>> Find(uint32_t handle, ObjectType type) const;

  // Destroys the object and frees its number; the object itself stays readable while the Ref lives (event counts).
  // errors: as Lookup(), and EBUSY in use by another call or by other objects.
  template <typename T>
  Result<Ref<T>> Destroy(uint32_t handle) {
    CW_TRY(Ref<Uobject> object, DestroyUntyped(handle, T::kType));
    return Ref<T>::Adopt(static_cast<T*>(object.Leak()));
  }
  Result<Ref<Uobject>> DestroyUntyped(uint32_t handle, ObjectType type);

  // File close: newest first, again and again while some had users. What cannot go (a broken invariant) is logged.
  void DestroyAll();

  std::vector<uint32_t> Handles(ObjectType type) const;  // newest first
  size_t Count(ObjectType type) const;
  // Visits those of one type, under the table's lock: not for long.
  template <typename Visit>
  void ForEach(ObjectType type, Visit visit) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [handle, object] : objects_) {
      if (object && object->type() == type) visit(object);
    }
  }

 private:
  Result<Ref<Uobject>> FindUsed(uint32_t handle, ObjectType type);
  void Publish(uint32_t handle, Ref<Uobject> object);
  void Cancel(uint32_t handle);

  mutable std::mutex mutex_;
  uint64_t next_sequence_ = 1;
  uint32_t next_handle_ = 0;                  // never given out yet
  std::set<uint32_t> free_;                   // given back
  std::map<uint32_t, Ref<Uobject>> objects_;  // an empty Ref: reserved
};

}  // namespace causeway::infiniband
