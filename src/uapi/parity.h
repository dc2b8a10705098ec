// SPDX-License-Identifier: Apache-2.0
// What *_parity_test.cc say: ours (cw::) and the system's header (::) agree in the size of a struct, in the place and
// the size of its fields, in a number's value. Include it after the system's header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::uapi {}
namespace cw = causeway::uapi;

#define SIZE(type) static_assert(sizeof(cw::type) == sizeof(::type), #type)
#define FIELD(type, field)                                                                                             \
  static_assert(                                                                                                       \
      offsetof(cw::type, field) == offsetof(struct ::type, field) && sizeof(cw::type::field) == sizeof(::type::field), \
      #type "::" #field)
#define FIELD_AS(type, ours, theirs) static_assert(offsetof(cw::type, ours) == offsetof(struct ::type, theirs), #type)
#define VALUE(name) static_assert(static_cast<uint64_t>(cw::name) == static_cast<uint64_t>(::name), #name)
#define F2(t, a, b) \
  FIELD(t, a);      \
  FIELD(t, b)
#define F3(t, a, b, c) \
  F2(t, a, b);         \
  FIELD(t, c)
#define F4(t, a, b, c, d) \
  F3(t, a, b, c);         \
  FIELD(t, d)
#define F5(t, a, b, c, d, e) \
  F4(t, a, b, c, d);         \
  FIELD(t, e)
#define F6(t, a, b, c, d, e, f) \
  F5(t, a, b, c, d, e);         \
  FIELD(t, f)
#define F8(t, a, b, c, d, e, f, g, h) \
  F6(t, a, b, c, d, e, f);            \
  F2(t, g, h)
#define V2(a, b) \
  VALUE(a);      \
  VALUE(b)
#define V3(a, b, c) \
  V2(a, b);         \
  VALUE(c)
#define V4(a, b, c, d) \
  V3(a, b, c);         \
  VALUE(d)
#define V5(a, b, c, d, e) \
  V4(a, b, c, d);         \
  VALUE(e)
#define V7(a, b, c, d, e, f, g) \
  V5(a, b, c, d, e);            \
  V2(f, g)
