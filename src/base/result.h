// SPDX-License-Identifier: Apache-2.0
// Errors of a failed request. Three kinds of failure exist and are never mixed: a failed request is an Errno; a failed
// transfer is a completion or an event; a broken invariant of ours is CW_INVARIANT and ends the machine. Hostile input
// is never an invariant.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <expected>  // only here: which <expected> we use stays this header's choice
#include <utility>

namespace causeway {

// A Linux error number. Positive inside; negated once, at the system call's return.
class Errno {
 public:
  explicit consteval Errno(int code) : code_(code) {  // Errno(EINVAL); a variable does not compile
    if (code <= 0 || code > 4095) throw "errno must be in 1..4095 (MAX_ERRNO)";
  }
  // An errno that a host system call left. 0 or less becomes EIO: an unknown failure is still a failure.
  static constexpr Errno FromHost(int host_errno) { return Errno(Raw{host_errno > 0 ? host_errno : EIO}); }
  constexpr int code() const { return code_; }
  friend constexpr bool operator==(Errno, Errno) = default;

 private:
  struct Raw {
    int value;
  };
  explicit constexpr Errno(Raw raw) : code_(raw.value) {}
  int code_;
};

template <typename T>
struct [[nodiscard]] Result : std::expected<T, Errno> {
  using std::expected<T, Errno>::expected;
};
using Status = Result<void>;

consteval std::unexpected<Errno> Err(int code) { return std::unexpected(Errno(code)); }
inline std::unexpected<Errno> HostErr() { return std::unexpected(Errno::FromHost(errno)); }
constexpr std::unexpected<Errno> Err(Errno error) { return std::unexpected(error); }

}  // namespace causeway

#define CW_CONCAT_INNER(a, b) a##b
#define CW_CONCAT(a, b) CW_CONCAT_INNER(a, b)

// Passes an error on to the caller.
#define CW_CHECK(expr)                                                                  \
  do {                                                                                  \
    if (auto cw_status = (expr); !cw_status) return ::causeway::Err(cw_status.error()); \
  } while (0)

// Binds the value, or passes the error on: CW_TRY(auto file, task.GetFile(fd));
#define CW_TRY(var, expr) CW_TRY_INNER(CW_CONCAT(cw_result_, __LINE__), var, expr)
#define CW_TRY_INNER(result, var, expr)                \
  auto result = (expr);                                \
  if (!result) return ::causeway::Err(result.error()); \
  var = std::move(*result)

// A broken invariant of ours: says where, and aborts.
#define CW_INVARIANT(expr)                                                                          \
  do {                                                                                              \
    if (!(expr)) {                                                                                  \
      std::fprintf(stderr, "causeway: broken invariant at %s:%d: %s\n", __FILE__, __LINE__, #expr); \
      std::abort();                                                                                 \
    }                                                                                               \
  } while (0)
