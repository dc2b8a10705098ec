// SPDX-License-Identifier: Apache-2.0
// Reference counts, used exactly where the kernel counts (struct file, dma_buf, hl_ctx).
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace causeway {

// kref rules: born holding one reference; the Put() that returns true was the last, and its caller destroys the object.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  virtual ~RefCounted() = default;

  void Get() const {
    [[maybe_unused]] const uint32_t before = refs_.fetch_add(1, std::memory_order_relaxed);
    assert(before != 0 && "reference taken on a released object");
  }
  [[nodiscard]] bool Put() const { return refs_.fetch_sub(1, std::memory_order_acq_rel) == 1; }
  uint32_t ref_count_for_report() const { return refs_.load(std::memory_order_relaxed); }

 private:
  mutable std::atomic<uint32_t> refs_{1};
};

// Holds one reference. The last Ref to go deletes the object (whose destructor is its release).
template <typename T>
class Ref {
 public:
  Ref() = default;
  // Takes over the reference the caller holds (the one an object is born with).
  static Ref Adopt(T* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  // Takes a new reference.
  static Ref Share(T* object) {
    if (object != nullptr) object->Get();
    return Adopt(object);
  }
  Ref(const Ref& other) : Ref(Share(other.object_)) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <typename U>
  requires std::is_convertible_v<U*, T*> Ref(Ref<U> other) : object_(other.Leak()) {}  // NOLINT: upcast, as a pointer's
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { Reset(); }

  // Whether this was the object's last reference (kref_put()).
  bool Reset() {
    T* object = std::exchange(object_, nullptr);
    if (object == nullptr || !object->Put()) return false;
    delete object;
    return true;
  }
  // Gives the reference up without dropping it.
  [[nodiscard]] T* Leak() { return std::exchange(object_, nullptr); }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) { return a.object_ == b.object_; }

  template <typename U, typename V>
  friend Ref<U> DynamicRefCast(const Ref<V>& from);

 private:
  T* object_ = nullptr;
};

// An empty Ref when the object is not a U.
template <typename U, typename V>
Ref<U> DynamicRefCast(const Ref<V>& from) {
  return Ref<U>::Share(dynamic_cast<U*>(from.get()));
}

template <typename T, typename... Args>
Ref<T> MakeRef(Args&&... args) {
  return Ref<T>::Adopt(new T(std::forward<Args>(args)...));
}

}  // namespace causeway
