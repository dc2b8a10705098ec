// SPDX-License-Identifier: Apache-2.0
#include "devices/gaudi/dma.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

namespace causeway::gaudi {
namespace {

constexpr uint64_t kRunBytes = uint64_t{64} << 20;      // moved at once
constexpr uint64_t kBounceBytes = uint64_t{256} << 10;  // where a copy in between is needed
constexpr uint64_t kUnlockFrom = uint64_t{4} << 10;     // shorter ones keep the lock

static_assert(2 * kTransposeBytes * kTransposeBytes <= kBounceBytes);

bool IsMemory(const Run& run) { return run.kind == Run::Kind::kBytes || run.kind == Run::Kind::kHost; }

void SwapBytes(std::byte* bytes, uint64_t len, DmaSwap swap) {
  const uint64_t unit = uint64_t{1} << static_cast<unsigned>(swap);  // 2, 4, 8
  for (uint64_t at = 0; at + unit <= len; at += unit) std::reverse(bytes + at, bytes + at + unit);
}

constexpr uint64_t kStreamFrom = uint64_t{8} << 20;  // what is longer does not stay in the caches anyway

// memcpy() past the caches: a line that is written whole is not read first. libc's own begins to do so at a share of
// the last cache's size that is often larger than what it is. docs/performance.md has the figures.
void StreamBytes(std::byte* to, const std::byte* from, uint64_t len) {
  constexpr uint64_t kLine = 64, kAhead = 512;
  const uint64_t head = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
  std::memcpy(to, from, head);
  uint64_t at = head;
  for (; at + kLine <= len; at += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(from + at + kAhead), _MM_HINT_NTA);  // beyond the end it does nothing
    const auto* const in = reinterpret_cast<const __m128i*>(from + at);
    auto* const out = reinterpret_cast<__m128i*>(to + at);
    const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
    const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  _mm_sfence();
  std::memcpy(to + at, from + at, len - at);
}

constexpr uint64_t kLookFrom = uint64_t{256} << 10;  // shorter transfers take the pages as they come

// memmove() that leaves device memory alone which nobody has touched: it reads zero, and neither reading nor zeroing it
// gives it pages. A program may move 48 GiB of such memory.
void MoveBytes(const Fabric& fabric, const Run& from, const Run& to, uint64_t len) {
  const bool overlap = from.bytes < to.bytes + len && to.bytes < from.bytes + len;
  if (len < kLookFrom || overlap) {
    std::memmove(to.bytes, from.bytes, len);  // a source and a target that overlap must not break this process
    return;
  }
  for (uint64_t at = 0; at < len;) {
    bool untouched = false, target_untouched = false;
    uint64_t part = fabric.Extent(from, at, len - at, &untouched);
    if (untouched) {
      part = fabric.Extent(to, at, part, &target_untouched);
      if (!target_untouched) std::memset(to.bytes + at, 0, part);
    } else {
      // One copy of all that is in use up to the next gap.
      for (uint64_t more = 0; at + part < len; part += more) {
        more = fabric.Extent(from, at + part, len - at - part, &untouched);
        if (untouched) break;
      }
      if (part < kStreamFrom) {
        std::memcpy(to.bytes + at, from.bytes + at, part);
      } else {
        StreamBytes(to.bytes + at, from.bytes + at, part);
      }
    }
    at += part;
  }
}

// Walks a shape, contiguous piece by piece.
class ShapeWalk {
 public:
  explicit ShapeWalk(const DmaShape& shape) : shape_(shape), left_(shape.bytes), done_(shape.bytes == 0) {}
  bool done() const { return done_; }
  uint64_t left() const { return left_; }
  uint64_t address() const {
    uint64_t address = shape_.base + (shape_.bytes - left_);
    for (size_t n = 0; n < index_.size(); ++n) address += uint64_t{index_[n]} * shape_.stride[n];
    return address;
  }
  void Advance(uint64_t bytes) {
    left_ -= bytes;
    if (left_ != 0) return;
    left_ = shape_.bytes;
    for (size_t n = 0; n < index_.size(); ++n) {
      if (++index_[n] < std::max(shape_.count[n], 1u)) return;
      index_[n] = 0;
    }
    done_ = true;
  }

 private:
  const DmaShape& shape_;
  std::array<uint32_t, 4> index_{};
  uint64_t left_;
  bool done_;
};

}  // namespace

// Does the work without the lock. False: the engines were reset meanwhile.
template <typename Work>
bool DmaMover::Unlocked(std::unique_lock<std::mutex>& lock, uint64_t bytes, const Work& work) {
  if (bytes < kUnlockFrom) {
    work();
    return true;
  }
  const uint64_t epoch = epoch_;
  lock.unlock();
  work();
  lock.lock();
  return epoch == epoch_;
}

bool DmaMover::Load(const Run& run, std::byte* to, uint64_t len) {
  if (run.kind == Run::Kind::kHost) return run.host->Read(run.offset, std::span(to, len));
  std::memcpy(to, run.bytes, len);
  return true;
}

bool DmaMover::Store(const Run& run, const std::byte* from, uint64_t len) {
  if (run.kind == Run::Kind::kHost) return run.host->Write(run.offset, std::span(from, len));
  std::memcpy(run.bytes, from, len);
  return true;
}

DmaOutcome DmaMover::Copy(std::unique_lock<std::mutex>& lock, uint64_t source, uint64_t target, uint64_t size,
                          DmaSwap swap) {
  while (size != 0) {
    const Run from = fabric_.FindAndKeep(source, std::min(size, kRunBytes), false);
    if (!IsMemory(from)) return {DmaOutcome::Kind::kFault, source, false};
    const Run to = fabric_.FindAndKeep(target, from.len, false);
    if (!IsMemory(to)) return {DmaOutcome::Kind::kFault, target, true};
    uint64_t len = to.len;
    const bool bounce = swap != DmaSwap::kNone || (from.kind == Run::Kind::kHost && to.kind == Run::Kind::kHost);
    if (bounce) {
      // Swapping works on whole units, so a piece ends on one unless a mapping does not.
      len = std::min(len, kBounceBytes);
      if (bounce_.empty()) bounce_.resize(kBounceBytes);
    }
    bool loaded = true, stored = true;
    const bool same = Unlocked(lock, len, [&] {
      if (bounce) {
        loaded = Load(from, bounce_.data(), len);
        if (swap != DmaSwap::kNone) SwapBytes(bounce_.data(), len, swap);
        stored = loaded && Store(to, bounce_.data(), len);
      } else if (to.kind == Run::Kind::kHost) {
        stored = Store(to, from.bytes, len);
      } else if (from.kind == Run::Kind::kHost) {
        loaded = Load(from, to.bytes, len);
      } else {
        MoveBytes(fabric_, from, to, len);
      }
    });
    if (!same) return {DmaOutcome::Kind::kAborted, 0, false};
    if (!loaded) return {DmaOutcome::Kind::kFault, source, false};
    if (!stored) return {DmaOutcome::Kind::kFault, target, true};
    if (from.is_host_memory) fabric_.traffic().read.fetch_add(len, std::memory_order_relaxed);
    if (to.is_host_memory) fabric_.traffic().written.fetch_add(len, std::memory_order_relaxed);
    source += len;
    target += len;
    size -= len;
  }
  return {};
}

DmaOutcome DmaMover::Fill(std::unique_lock<std::mutex>& lock, uint64_t target, uint64_t size, uint64_t pattern) {
  uint64_t phase = 0;  // bytes of the pattern already used
  while (size != 0) {
    const Run to = fabric_.FindAndKeep(target, std::min(size, kRunBytes), false);
    if (!IsMemory(to)) return {DmaOutcome::Kind::kFault, target, true};
    const bool host = to.kind == Run::Kind::kHost;
    const uint64_t len = host ? std::min(to.len, kBounceBytes) : to.len;
    if (host && bounce_.empty()) bounce_.resize(kBounceBytes);
    bool stored = true;
    const bool same = Unlocked(lock, len, [&] {
      if (pattern == 0 && !host && len >= kLookFrom) {
        for (uint64_t at = 0; at < len;) {
          bool untouched = false;
          const uint64_t part = fabric_.Extent(to, at, len - at, &untouched);
          if (!untouched) std::memset(to.bytes + at, 0, part);
          at += part;
        }
        return;
      }
      std::byte* const bytes = host ? bounce_.data() : to.bytes;
      std::array<std::byte, 8> unit;
      std::memcpy(unit.data(), &pattern, unit.size());
      std::rotate(unit.begin(), unit.begin() + phase % 8, unit.end());
      uint64_t done = std::min<uint64_t>(len, unit.size());
      std::memcpy(bytes, unit.data(), done);
      while (done < len) {  // doubling, up to a piece that stays in the cache
        const uint64_t part = std::min({len - done, done, uint64_t{64} << 10});
        std::memcpy(bytes + done, bytes, part);
        done += part;
      }
      if (host) stored = to.host->Write(to.offset, std::span(bytes, len));
    });
    if (!same) return {DmaOutcome::Kind::kAborted, 0, false};
    if (!stored) return {DmaOutcome::Kind::kFault, target, true};
    if (to.is_host_memory) fabric_.traffic().written.fetch_add(len, std::memory_order_relaxed);
    target += len;
    size -= len;
    phase += len;
  }
  return {};
}

DmaOutcome DmaMover::CopyShapes(std::unique_lock<std::mutex>& lock, const DmaShape& source, const DmaShape& target) {
  ShapeWalk from(source), to(target);
  // Dimensions are the program's: with 2^32 elements each this takes as long as it would take the hardware. A reset
  // must be able to end it.
  constexpr uint32_t kPiecesBetweenBreaths = 256;
  uint32_t pieces = 0;
  while (!from.done() && !to.done()) {
    const uint64_t len = std::min(from.left(), to.left());
    const DmaOutcome outcome = Copy(lock, from.address(), to.address(), len, DmaSwap::kNone);
    if (outcome.kind != DmaOutcome::Kind::kDone) return outcome;
    from.Advance(len);
    to.Advance(len);
    if (++pieces % kPiecesBetweenBreaths == 0 && !Unlocked(lock, kUnlockFrom, [] {})) {
      return {DmaOutcome::Kind::kAborted, 0, false};
    }
  }
  return {};
}

DmaOutcome DmaMover::Transpose(std::unique_lock<std::mutex>& lock, const DmaShape& source, const DmaShape& target,
                               uint32_t rows, uint32_t element) {
  const uint32_t at_once = kTransposeBytes / element, columns = source.bytes / element;
  if (bounce_.empty()) bounce_.resize(kBounceBytes);
  std::byte* const in = bounce_.data();
  std::byte* const out = in + kTransposeBytes * kTransposeBytes;
  ShapeWalk from(source), to(target);
  while (rows != 0 && !from.done() && !to.done()) {
    uint32_t count = 0;
    for (; count < std::min(rows, at_once) && !from.done(); ++count) {
      const auto row = std::span(in + count * source.bytes, source.bytes);
      if (const auto fault = fabric_.Read(from.address(), row, false)) return {DmaOutcome::Kind::kFault, *fault, false};
      from.Advance(source.bytes);
    }
    for (uint32_t column = 0; column < columns; ++column) {
      for (uint32_t row = 0; row < count; ++row) {
        std::memcpy(out + (column * count + row) * element, in + row * source.bytes + column * element, element);
      }
    }
    auto left = std::span<const std::byte>(out, uint64_t{columns} * count * element);
    while (!left.empty() && !to.done()) {
      const auto part = left.first(std::min(to.left(), left.size()));
      if (const auto fault = fabric_.Write(to.address(), part, false)) return {DmaOutcome::Kind::kFault, *fault, true};
      to.Advance(part.size());
      left = left.subspan(part.size());
    }
    rows -= count;
    if (!Unlocked(lock, kUnlockFrom, [] {})) return {DmaOutcome::Kind::kAborted, 0, false};
  }
  return {};
}

}  // namespace causeway::gaudi
